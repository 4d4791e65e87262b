//! Keys of a merge: one that comes twice is refused in whatever batches, and equal ones become the same.

use crate::support::{Pair, Project, databases, rows};

const JOB: &str = "into = \"mart.t\"\nmode = \"merge\"\nkey = [\"id\"]\nbatch_rows = 2000\n";

async fn project(pair: &Pair, source: &str, destination: &str, job: &str) -> Project {
    pair.source.exec(source).await;
    pair.destination.exec(&format!("create schema mart; {destination}")).await;
    Project::new(pair).job("t", &format!("{job}{JOB}"))
}

const TARGET: &str = "create table mart.t (id int primary key, v int, pad text);";

#[tokio::test]
async fn a_key_that_comes_twice_is_refused_with_any_number_of_writers() {
    let twice = "create table public.t (id int, v int, pad text);
        insert into public.t select g, v, repeat('x', 200) from generate_series(1, 2) v, generate_series(1, 9000) g";
    // The first of the two changes nothing that is stored.
    let stored = "insert into mart.t select g, 1, repeat('x', 200) from generate_series(1, 9000) g";
    for job in ["table = \"public.t\"\n", "query = \"select * from public.t\"\n"] {
        for (writers, stored) in [(1, ""), (4, ""), (1, stored), (4, stored)] {
            let destination = format!("{TARGET}{stored}");
            let job = format!("{job}writers = {writers}\n");
            let project = project(&databases("twice").await, twice, &destination, &job).await;
            let output = project.pgtide("run t").run().await.expect(1);
            assert!(output.stderr.contains("two rows with the same (id)"), "{}", output.stderr);
            let stages = "select count(*) from pg_class where relname like 'stage%'";
            assert_eq!(project.destination.scalar(stages).await, "0");
        }
    }
}

#[tokio::test]
async fn what_was_refused_for_a_key_is_merged_once_the_source_is_right() {
    let source = "create table public.t (id int, v int, pad text);
        insert into public.t select g, 1, repeat('x', 200) from generate_series(1, 9000) g;
        insert into public.t values (1, 2, 'again')";
    let project = project(&databases("mended").await, source, TARGET, "table = \"public.t\"\n").await;
    project.pgtide("run t").run().await.expect(1);
    project.source.exec("delete from public.t where pad = 'again'").await;
    project.pgtide("run t").run().await.expect(0);
    project.assert_loaded("public.t", "mart.t").await;
}

#[tokio::test]
async fn a_parent_and_its_child_may_give_a_key_twice_though_each_is_unique() {
    let source = "create table public.t (id int primary key, v int, pad text);
        create table public.child (primary key (id)) inherits (public.t);
        insert into public.t select g, 1, repeat('x', 200) from generate_series(1, 5000) g;
        insert into public.child select g, 2, repeat('x', 200) from generate_series(1, 5000) g";
    let project = project(&databases("twice_child").await, source, TARGET, "table = \"public.t\"\n").await;
    let output = project.pgtide("run t").run().await.expect(1);
    assert!(output.stderr.contains("two rows with the same (id)"), "{}", output.stderr);
}

#[tokio::test]
async fn a_source_that_is_unique_keeps_no_keys() {
    let source = "create table public.t (id int primary key, v int, pad text);
        insert into public.t select g, 1, repeat('x', 200) from generate_series(1, 9000) g";
    // Whatever makes a table in the ledger's schema fails.
    let frozen = "create function mart.frozen() returns event_trigger language plpgsql as $$ declare c record; begin
            for c in select * from pg_event_trigger_ddl_commands() where object_identity like 'pgtide.stage%' loop
                raise exception 'made %', c.object_identity; end loop; end $$;
        create event trigger frozen on ddl_command_end execute function mart.frozen()";
    let destination = format!("{TARGET}{frozen}");
    let project = project(&databases("unique").await, source, &destination, "table = \"public.t\"\n").await;
    project.pgtide("run t").run().await.expect(0);
    project.assert_loaded("public.t", "mart.t").await;
}

#[tokio::test]
async fn a_key_that_equals_the_stored_one_is_stored_as_the_source_has_it() {
    for (data_type, before, after) in [
        ("numeric", "1.0", "1.00"),
        ("float8", "0", "'-0'"),
        ("interval", "'24 hours'", "'1 day'"),
        ("jsonb", "'[1.0]'", "'[1.00]'"),
        ("numeric[]", "'{1.0}'", "'{1.00}'"),
    ] {
        let table = |schema: &str| format!("create table {schema}.t (id {data_type} primary key, v int);");
        let source = format!("{} insert into public.t values ({before}, 1)", table("public"));
        let project =
            project(&databases("equal").await, &source, &table("mart"), "table = \"public.t\"\n").await;
        project.pgtide("run t").run().await.expect(0);
        project.source.exec(&format!("update public.t set id = {after}")).await;
        project.pgtide("run t --reload").run().await.expect(0);
        project.assert_loaded("public.t", "mart.t").await;
        let before = rows::digest(&project.destination, "(select ctid, xmin from mart.t)").await;
        project.pgtide("run t --reload").run().await.expect(0);
        let after = rows::digest(&project.destination, "(select ctid, xmin from mart.t)").await;
        assert_eq!(before, after, "{data_type}: nothing to change");
    }
}

#[tokio::test]
async fn a_collation_that_calls_different_texts_equal_is_minded() {
    let pair = databases("nondeterministic").await;
    let has_icu =
        "select exists (select from pg_collation where collprovider = 'i' and collname = 'und-x-icu')";
    if pair.destination.scalar(has_icu).await == "f" {
        return;
    }
    let source = "create table public.t (id text primary key, v int); insert into public.t values ('Abc', 1)";
    // The index decides, not the column.
    let destination =
        "create collation mart.nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        create table mart.t (id text not null, v int); create unique index on mart.t (id collate mart.nd)";
    let project = project(&pair, source, destination, "table = \"public.t\"\n").await;
    project.pgtide("run t").run().await.expect(0);
    pair.source.exec("update public.t set id = 'aBC'").await;
    project.pgtide("run t --reload").run().await.expect(0);
    project.assert_loaded("public.t", "mart.t").await;
    pair.source.exec("insert into public.t select 'abc', 2 union all select 'k' || g, g from generate_series(1, 9000) g").await;
    let output = project.pgtide("run t --reload").run().await.expect(1);
    assert!(output.stderr.contains("two rows with the same (id)"), "{}", output.stderr);
}

#[tokio::test]
async fn identity_columns_are_merged_or_refused_by_name() {
    let source =
        "create table public.t (id int primary key, v int); insert into public.t values (1, 1), (2, 2)";
    let key = "create table mart.t (id int generated always as identity primary key, v int)";
    let merged = project(&databases("identity_key").await, source, key, "table = \"public.t\"\n").await;
    merged.pgtide("run t").run().await.expect(0);
    merged.source.exec("update public.t set v = v + 1").await;
    merged.pgtide("run t --reload").run().await.expect(0);
    merged.assert_loaded("public.t", "mart.t").await;
    let value = "create table mart.t (id int primary key, v int generated always as identity)";
    let refused = project(&databases("identity_value").await, source, value, "table = \"public.t\"\n").await;
    let output = refused.pgtide("run t").run().await.expect(78);
    let remedy = "alter table mart.t alter column \"v\" set generated by default;";
    assert!(output.stderr.contains(remedy), "{}", output.stderr);
    refused.destination.exec(remedy).await;
    refused.pgtide("run t").run().await.expect(0);
    refused.assert_loaded("public.t", "mart.t").await;
}
