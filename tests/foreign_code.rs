//! Code that is not pgtide's runs with a load, such as triggers, rules and hooks: no row goes or comes unseen.

use crate::support::{Pair, Project, databases, rows};

const FILL: &str = "create table public.t (id int primary key, at timestamptz not null, v int);
    insert into public.t select g, '2026-01-05 00:00Z'::timestamptz + g * interval '1 second', g
    from generate_series(1, 100) g";

const DAILY: &str =
    "table = \"public.t\"\ninto = \"mart.t\"\ntimezone = \"UTC\"\ninterval = \"day\"\ntime_column = \"at\"\n";
const WHOLE: &str = "table = \"public.t\"\ninto = \"mart.t\"\n";
const RUN: &str = "run t --date 2026-01-05";

async fn project(pair: &Pair, job: &str, destination: &str) -> Project {
    pair.source.exec(FILL).await;
    let table =
        "create schema mart; create table mart.t (id int primary key, at timestamptz not null, v int);
        create index on mart.t (at);";
    pair.destination.exec(&format!("{table}{destination}")).await;
    Project::new(pair).job("t", job)
}

fn function(body: &str) -> String {
    format!("create function mart.f() returns trigger language plpgsql as $f$ begin {body} end $f$;")
}

/// A constraint trigger that waits for the commit.
fn at_commit(event: &str, body: &str) -> String {
    let function = function(&format!("{body} return null;"));
    format!(
        "{function} create constraint trigger late after {event} on mart.t deferrable initially deferred
         for each row execute function mart.f();"
    )
}

/// Runs, and expects that rows are missed or too many, that the culprit is named, and that nothing is loaded.
async fn refused(project: &Project, run: &str, says: &str) {
    let output = project.pgtide(run).run().await.expect(1);
    assert!(output.stderr.contains(says), "{run}: {says}\n{}", output.stderr);
    let loaded =
        "select count(*) from pgtide.interval where state = 'loaded' and attempt = 1 and rows <> 100";
    assert_eq!(project.destination.scalar(loaded).await, "0");
}

#[tokio::test]
async fn a_rule_that_keeps_rows_from_being_deleted_doubles_none() {
    for action in ["nothing", "update mart.t set v = 0 where id = old.id"] {
        let rule = format!("create rule keep as on delete to mart.t do instead {action}");
        for (job, run) in [
            (DAILY.to_owned(), RUN),
            (format!("{DAILY}commit = \"interval\"\n"), RUN),
            (format!("{WHOLE}mode = \"replace\"\nempty_with = \"delete\"\n"), "run t"),
        ] {
            let pair = databases("delete_rule").await;
            let project = project(&pair, &job, "alter table mart.t drop constraint t_pkey").await;
            pair.destination.exec(&rule).await;
            project.pgtide(run).run().await.expect(0);
            refused(&project, &format!("{run} --reload"), "rules on mart.t: keep (ON DELETE)").await;
            rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
        }
    }
}

#[tokio::test]
async fn a_rule_on_insert_is_ignored_by_first_loads_and_by_reloads() {
    let rule = "create table mart.other (like mart.t);
        create rule away as on insert to mart.t do instead insert into mart.other values (new.*)";
    let project = project(&databases("insert_rule").await, &format!("{DAILY}batch_rows = 10\n"), rule).await;
    for run in [RUN.to_owned(), format!("{RUN} --reload")] {
        let output = project.pgtide(&run).run().await.expect(0);
        assert!(output.stderr.contains("rules, which COPY ignores"), "{}", output.stderr);
        project.assert_loaded("public.t", "mart.t").await;
    }
    assert_eq!(project.destination.scalar("select count(*) from mart.other").await, "0");
}

#[tokio::test]
async fn rules_that_a_mode_would_fire_are_refused_by_name() {
    for (rule, job, says) in [
        (
            "insert to mart.t do also nothing",
            "mode = \"merge\"\nkey = [\"id\"]\n",
            "alter table mart.t disable rule \"r\";",
        ),
        (
            "update to mart.t do also nothing",
            "mode = \"merge\"\nkey = [\"id\"]\n",
            "drop rule \"r\" on mart.t;",
        ),
        (
            "insert to mart.t do also nothing",
            "mode = \"append\"\ncommit = \"staged\"\n",
            "alter table mart.t disable rule \"r\";",
        ),
    ] {
        let rule = format!("create rule r as on {rule}");
        let project = project(&databases("refused_rule").await, &format!("{WHOLE}{job}"), &rule).await;
        let output = project.pgtide("run t").run().await.expect(78);
        assert!(output.stderr.contains(says), "{}", output.stderr);
        // The remedy works.
        project.destination.exec(says).await;
        project.pgtide("run t").run().await.expect(0);
        project.assert_loaded("public.t", "mart.t").await;
    }
}

#[tokio::test]
async fn what_a_trigger_puts_off_to_the_commit_is_counted_in_every_mode() {
    let deletes = at_commit("insert", "delete from mart.t where id = new.id and id = 4;");
    for mode in [
        "mode = \"delete-insert\"\n",
        "mode = \"delete-insert\"\ncommit = \"interval\"\n",
        "mode = \"append\"\n",
        "mode = \"append\"\nresume_key = \"id\"\nbatch_rows = 10\n",
        "mode = \"merge\"\nkey = [\"id\"]\n",
    ] {
        let project = project(&databases("deferred").await, &format!("{DAILY}{mode}"), &deletes).await;
        refused(&project, RUN, "triggers on mart.t: late").await;
    }
    for mode in ["", "commit = \"interval\"\n"] {
        let job = format!("{WHOLE}mode = \"replace\"\n{mode}");
        let project = project(&databases("deferred").await, &job, &deletes).await;
        refused(&project, "run t", "triggers on mart.t: late").await;
    }
}

#[tokio::test]
async fn a_trigger_that_takes_rows_of_an_earlier_batch_away_is_noticed_at_the_end() {
    let job = format!("{WHOLE}mode = \"merge\"\nkey = [\"id\"]\nbatch_rows = 1\n");
    let deletes = at_commit("insert", "delete from mart.t where id = new.id - 9999;");
    let project = project(&databases("earlier_batch").await, &job, &deletes).await;
    let more = "insert into public.t select g, '2026-01-05', g from generate_series(101, 20000) g";
    project.source.exec(more).await;
    let output = project.pgtide("run t").run().await.expect(1);
    assert!(output.stderr.contains("of them"), "{}", output.stderr);
    assert!(output.stderr.contains("triggers on mart.t: late"), "{}", output.stderr);
}

#[tokio::test]
async fn triggers_count_as_they_fire_in_the_role_s_sessions() {
    let moves = function("new.at := new.at - interval '1 day'; return new;");
    for (setting, enable, code) in [
        ("replica", "enable replica", 1),
        ("replica", "enable always", 1),
        ("replica", "enable", 0),
        ("origin", "enable always", 1),
        ("origin", "enable replica", 0),
    ] {
        let pair = databases("replica").await;
        let trigger = "create trigger moves before insert on mart.t for each row execute function mart.f()";
        let name = pair.destination.scalar("select current_database()").await;
        let more = format!(
            "{moves} {trigger}; alter table mart.t {enable} trigger moves;
             alter database {name} set session_replication_role = {setting}"
        );
        let project = project(&pair, DAILY, &more).await;
        let output = project.pgtide(RUN).run().await.expect(code);
        let is_named = output.stderr.contains("triggers on mart.t: moves");
        assert_eq!(is_named, code == 1, "{setting} {enable}\n{}", output.stderr);
        if code == 0 {
            project.assert_loaded("public.t", "mart.t").await;
        }
    }
}

#[tokio::test]
async fn a_trigger_that_swallows_what_is_merged_is_noticed() {
    let skips = function("if new.id % 2 = 0 then return null; end if; return new;");
    let job = format!("{WHOLE}mode = \"merge\"\nkey = [\"id\"]\n");
    let trigger = |event: &str| {
        format!("create trigger s before {event} on mart.t for each row execute function mart.f()")
    };
    let pair = databases("swallowed").await;
    let project = project(&pair, &job, &format!("{skips} {}", trigger("insert"))).await;
    refused(&project, "run t", "sent 100 rows, 50 were stored").await;
    pair.destination.exec("drop trigger s on mart.t").await;
    project.pgtide("run t").run().await.expect(0);
    pair.destination.exec(&trigger("update")).await;
    // Nothing to update, nothing to swallow.
    project.pgtide("run t --reload").run().await.expect(0);
    pair.source.exec("update public.t set v = -v").await;
    refused(&project, "run t --reload", "sent 100 rows, 50 were stored").await;
    // One that changes values is the user's own.
    let changes = "create or replace function mart.f() returns trigger language plpgsql as
        'begin new.v := 7; return new; end'";
    pair.destination.exec(changes).await;
    project.pgtide("run t --reload").run().await.expect(0);
    assert_eq!(pair.destination.scalar("select count(*) from mart.t where v = 7").await, "100");
}

#[tokio::test]
async fn hooks_that_change_the_rows_or_how_they_are_sent_are_refused() {
    for (hook, says) in [
        ("post_sql = [\"delete from mart.t where id < 50\"]\n", "100 were written, the table has 51"),
        ("post_sql = [\"truncate mart.t\"]\n", "100 were written, the table has 0"),
        (
            "commit = \"interval\"\npre_sql = [\"savepoint s\"]\npost_sql = [\"rollback to s\"]\n",
            "the table has 0",
        ),
        ("post_sql = [\"insert into mart.t select id + 1000, at, v from mart.t\"]\n", "the table has 200"),
    ] {
        for mode in ["", "mode = \"append\"\n"] {
            if mode.is_empty() || hook.starts_with("post_sql = [\"delete") {
                let project = project(&databases("hooks").await, &format!("{DAILY}{mode}{hook}"), "").await;
                refused(&project, RUN, says).await;
            }
        }
    }
    let hook = "commit = \"interval\"\npre_sql = [\"set client_encoding = latin1\"]\n";
    let project = project(&databases("encoding_hook").await, &format!("{DAILY}{hook}"), "").await;
    let output = project.pgtide(RUN).run().await.expect(78);
    assert!(output.stderr.contains("it changed client_encoding"), "{}", output.stderr);
}

#[tokio::test]
async fn rows_of_tables_that_inherit_are_left_alone() {
    for (job, run) in [
        (DAILY.to_owned(), RUN),
        (format!("{DAILY}commit = \"interval\"\n"), RUN),
        (format!("{WHOLE}mode = \"replace\"\n"), "run t"),
        (format!("{WHOLE}mode = \"replace\"\nempty_with = \"delete\"\n"), "run t"),
        (format!("{WHOLE}mode = \"merge\"\nkey = [\"id\"]\n"), "run t"),
    ] {
        let child = "create table mart.child (extra text) inherits (mart.t);
            insert into mart.child values (4, '2026-01-05 12:00Z', 77, 'mine')";
        let project = project(&databases("inherit").await, &job, child).await;
        for run in [run.to_owned(), format!("{run} --reload")] {
            let output = project.pgtide(&run).run().await.expect(0);
            assert!(output.stderr.contains("that inherit from it"), "{}", output.stderr);
            project.assert_loaded("public.t", "only mart.t").await;
        }
        assert_eq!(project.destination.scalar("select extra from mart.child").await, "mine");
    }
}

#[tokio::test]
async fn foreign_keys_that_would_delete_elsewhere_are_found_for_partitions_too() {
    let table = "create schema mart;
        create table mart.root (id int, at timestamptz not null, v int) partition by range (at);
        create table mart.leaf partition of mart.root for values from ('2026-01-01') to ('2026-02-01');
        create index on mart.root (at);";
    for (into, key, points_at, action) in [
        ("root", "create unique index on mart.leaf (id)", "leaf (id)", "cascade"),
        ("root", "create unique index on mart.leaf (id)", "leaf (id)", "set null"),
        ("root", "alter table mart.root add primary key (id, at)", "root (id, at)", "cascade"),
        ("leaf", "alter table mart.root add primary key (id, at)", "root (id, at)", "cascade"),
        ("leaf", "create unique index on mart.leaf (id)", "leaf (id)", "set default"),
    ] {
        let pair = databases("leaf_key").await;
        pair.source.exec(FILL).await;
        let columns = if points_at.contains("at)") { "id, at" } else { "id" };
        pair.destination
            .exec(&format!(
                "{table} {key}; create table mart.notes (id int, at timestamptz,
                 constraint to_it foreign key ({columns}) references mart.{points_at} on delete {action})"
            ))
            .await;
        let job = DAILY.replace("mart.t", &format!("mart.{into}"));
        let project = Project::new(&pair).job("t", &job);
        let output = project.pgtide(RUN).run().await.expect(78);
        assert!(output.stderr.contains("mart.notes too: foreign key to_it"), "{}", output.stderr);
        assert!(output.stderr.contains("ON DELETE"), "{}", output.stderr);
        pair.destination.exec("drop table mart.notes").await;
        project.pgtide(RUN).run().await.expect(0);
    }
}

#[tokio::test]
async fn a_table_that_a_partition_s_foreign_key_points_at_is_not_truncated() {
    let pair = databases("leaf_truncate").await;
    pair.source.exec(FILL).await;
    pair.destination
        .exec(
            "create schema mart;
             create table mart.t (id int, at timestamptz not null, v int) partition by range (at);
             create table mart.leaf partition of mart.t for values from ('2026-01-01') to ('2026-02-01');
             create unique index on mart.leaf (id);
             create table mart.notes (id int references mart.leaf (id))",
        )
        .await;
    let project = Project::new(&pair).job("t", &format!("{WHOLE}mode = \"replace\"\n"));
    for run in ["run t", "run t --reload"] {
        project.pgtide(run).run().await.expect(0);
        project.assert_loaded("public.t", "mart.t").await;
    }
}
