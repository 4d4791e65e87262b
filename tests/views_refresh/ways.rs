//! The three ways: what each needs, what it keeps, how long readers wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::Project;
use crate::views_graph::project;

#[tokio::test]
async fn only_some_indexes_make_a_concurrent_refresh_possible() {
    let project = project("ways_indexes", "create table src.t (id int, v int);").await;
    let kinds = [
        ("plain", "unique index on {} (id)", true),
        ("two", "unique index on {} (id desc, v)", true),
        ("including", "unique index on {} (id) include (v)", true),
        ("partial", "unique index on {} (id) where v = 1", false),
        ("expression", "unique index on {} ((id + 1))", false),
        ("mixed", "unique index on {} (id, (v + 1))", false),
        ("common", "index on {} (id)", false),
    ];
    for (name, index, _) in kinds {
        let index = index.replace("{}", &format!("mart.{name}"));
        let sql = format!("create materialized view mart.{name} as select * from src.t; create {index}");
        project.destination.exec(&sql).await;
    }
    for (name, _, possible) in kinds {
        let code = if possible { 0 } else { 78 };
        let output = project.pgtide(&format!("views refresh mart.{name} --force --strategy concurrent"));
        let output = output.run().await.expect(code);
        let part = if possible { "refreshed in" } else { "no unique index" };
        assert!(output.stderr.contains(part), "{name}: {}", output.stderr);
    }
}

/// A concurrent refresh counts what it changes; swaps do not, and follow what the latest one counted.
#[tokio::test]
async fn many_changes_stay_with_swaps_until_they_were_counted_long_ago() {
    let project = project(
        "ways_changes",
        "create table src.t (id int primary key, v int); insert into src.t select n, 0 from generate_series(1, 500) n;
         create materialized view mart.a as select id, v from src.t; create unique index on mart.a (id);",
    )
    .await;
    let db = &project.destination;
    let next = async || {
        db.exec("update src.t set v = v + 1").await;
        project.pgtide("views refresh").run().await.expect(0);
        db.scalar("select mode from pgtide.view_refresh order by id desc limit 1").await
    };
    let slow = "update pgtide.view_refresh set finished_at = started_at + interval '9 s'";
    let quick = "update pgtide.view_refresh set finished_at = started_at + interval '50 ms'";
    assert_eq!(next().await, "concurrent", "nothing was counted yet");
    db.exec(quick).await;
    assert_eq!(next().await, "concurrent", "nobody waits for a moment");
    for _ in 0..2 {
        db.exec(slow).await;
        assert_eq!(next().await, "swap");
    }
    let columns = "view_oid, view_name, run_id, host, pid, reason, mode, status, attempt, started_at";
    let more = format!(
        "insert into pgtide.view_refresh ({columns}) select {columns}
         from (select * from pgtide.view_refresh order by id desc limit 1) swap, generate_series(1, 30)"
    );
    db.exec(&more).await;
    db.exec(slow).await;
    assert_eq!(next().await, "concurrent", "it is counted again");
}

#[tokio::test]
async fn nulls_in_the_key_are_warned_of_and_a_key_that_is_there_twice_is_told() {
    let project = project(
        "ways_keys",
        "create table src.t (id int); insert into src.t values (null), (null), (1);
         create materialized view mart.nulls as select * from src.t; create unique index on mart.nulls (id);
         analyze mart.nulls; create table src.u (id int); insert into src.u values (1);
         create materialized view mart.twice as select * from src.u; create unique index on mart.twice (id);",
    )
    .await;
    let output = project.pgtide("views refresh mart.nulls --strategy concurrent").run().await.expect(0);
    assert!(output.stderr.contains("has NULLs"), "{}", output.stderr);
    let plan = project.pgtide("views refresh mart.nulls --force --dry-run").run().await.expect(0);
    assert!(!plan.stdout.contains("concurrent  "), "{}", plan.stdout);
    project.destination.exec("insert into src.u values (1)").await;
    for way in ["concurrent", "plain", "swap"] {
        let output =
            project.pgtide("views refresh mart.twice --force --strategy").arg(way).run().await.expect(1);
        assert!(output.stderr.contains("gives a key twice"), "{way}: {}", output.stderr);
        assert!(!output.stderr.contains("(1)"), "no value: {}", output.stderr);
    }
}

/// Everything of `mart.a` and of the view above it that somebody could miss.
const KEPT: &str = "
select pg_get_userbyid(c.relowner), c.relacl::text, c.reloptions::text, obj_description(c.oid, 'pg_class'),
       col_description(c.oid, 1),
       (select string_agg(pg_get_indexdef(i.indexrelid) || i.indisclustered || coalesce(obj_description(i.indexrelid, 'pg_class'), ''), ';' order by 1)
        from pg_index i where i.indrelid = c.oid),
       (select string_agg(pg_get_statisticsobjdef(s.oid) || coalesce(obj_description(s.oid, 'pg_statistic_ext'), ''), ';') from pg_statistic_ext s where s.stxrelid = c.oid),
       (select string_agg(attname || coalesce(attstattarget, -1)
                          || (select coalesce(string_agg(o, ','), '') from unnest(attoptions) o where o not like 'pg\\_%')
                          || coalesce(attacl::text, ''), ';' order by attnum)
        from pg_attribute a where a.attrelid = c.oid and attnum > 0),
       (select v.oid || coalesce(v.relacl::text, '') || coalesce(v.reloptions::text, '') || pg_get_viewdef(v.oid) || obj_description(v.oid, 'pg_class')
        from pg_class v where v.oid = 'mart.\"Above it\"'::regclass),
       (select relfilenode from pg_class where oid = 'mart.top'::regclass)
from pg_class c where c.oid = 'mart.a'::regclass";

#[tokio::test]
async fn a_swap_keeps_all_that_belongs_to_the_view_and_to_the_views_above() {
    let project = project(
        "ways_kept",
        "create role kept_reader; create role kept_owner; create role kept_default;
         grant usage, create on schema mart to kept_owner;
         create table src.t (id int, grp text, v int); insert into src.t values (1, 'a', 1), (2, 'b', 2);
         grant usage on schema src to kept_owner; grant select on src.t to kept_owner;
         create materialized view mart.a with (fillfactor = 70, autovacuum_enabled = false)
           as select id, grp, v as \"Odd name\" from src.t;
         create unique index a_key on mart.a (id); create index \"a odd\" on mart.a (\"Odd name\" desc, grp);
         comment on index mart.a_key is 'the key'; alter materialized view mart.a cluster on a_key;
         create statistics mart.a_stat (dependencies) on id, grp from mart.a;
         comment on statistics mart.a_stat is 'it''s';
         alter materialized view mart.a alter column grp set statistics 500;
         alter materialized view mart.a alter column grp set (n_distinct = -0.5);
         comment on materialized view mart.a is 'It''s a \\ comment'; comment on column mart.a.id is 'key';
         alter materialized view mart.a owner to kept_owner;
         grant select on mart.a to kept_reader with grant option; grant select (id) on mart.a to public;
         revoke delete on mart.a from kept_owner;
         alter default privileges in schema mart grant select on tables to kept_default;
         create view mart.\"Above it\" with (security_barrier = true) as select id, \"Odd name\" from mart.a where id > 0;
         comment on view mart.\"Above it\" is 'above'; grant select on mart.\"Above it\" to kept_reader;
         create materialized view mart.top as select count(*) as n from mart.\"Above it\";",
    )
    .await;
    let before = project.destination.rows(KEPT).await;
    let oid = project.destination.scalar("select 'mart.a'::regclass::oid").await;
    project.destination.exec("insert into src.t values (3, 'c', 3)").await;
    project.pgtide("views refresh mart.a --strategy swap").run().await.expect(0);
    assert_ne!(project.destination.scalar("select 'mart.a'::regclass::oid").await, oid);
    let after = project.destination.rows(KEPT).await;
    for (number, (one, other)) in before[0].iter().zip(&after[0]).enumerate() {
        assert_eq!(one, other, "part {number}");
    }
    assert_eq!(project.destination.scalar("select count(*) from mart.\"Above it\"").await, "3");
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
    assert_eq!(project.destination.scalar(left).await, "0");
    // What reads the view above knows that there are other rows.
    let told = project.pgtide("views refresh mart.top").run().await.expect(0);
    assert!(told.stderr.contains("# view mart.top"), "{}", told.stderr);
    let all = project.pgtide("views refresh").run().await.expect(0);
    assert!(all.stderr.contains("nothing to do"), "{}", all.stderr);
}

#[tokio::test]
async fn what_cannot_be_moved_to_a_new_view_is_named_and_nothing_is_changed() {
    let project = project(
        "ways_blocked",
        "create table src.t (id int); create materialized view mart.a as select * from src.t;
         create materialized view mart.b as select * from mart.a;
         create function mart.f() returns setof mart.a language sql as 'select * from mart.a';",
    )
    .await;
    let output = project.pgtide("views refresh mart.a --force --strategy swap").run().await.expect(78);
    assert!(output.stderr.contains("cannot be swapped"), "{}", output.stderr);
    let automatic = project.pgtide("views refresh").run().await.expect(0);
    assert!(automatic.stderr.contains("a unique index would let them go on"), "{}", automatic.stderr);
}

/// The longest time that a reader in a loop had to wait while this ran.
async fn longest_wait(project: &Project, arguments: &str) -> (Duration, Duration) {
    let done = Arc::new(AtomicBool::new(false));
    let (stop, database) = (done.clone(), project.destination.clone());
    let reader = tokio::spawn(async move {
        let client = database.client().await;
        let (mut longest, mut reads) = (Duration::ZERO, 0);
        while !stop.load(Ordering::Relaxed) || reads == 0 {
            let started = Instant::now();
            client.query_one("select id, v from mart.a where id = 77", &[]).await.unwrap();
            longest = longest.max(started.elapsed());
            reads += 1;
        }
        longest
    });
    let started = Instant::now();
    project.pgtide(arguments).run().await.expect(0);
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    (reader.await.unwrap(), took)
}

#[tokio::test]
async fn a_reader_in_a_loop_reads_on_in_every_way() {
    let project = project(
        "ways_reader",
        "create table src.t (id int, v text);
         insert into src.t select i, md5(i::text) from generate_series(1, 200000) i;
         create materialized view mart.a as select * from src.t; create unique index on mart.a (id);
         create index on mart.a (v);",
    )
    .await;
    for way in ["plain", "concurrent", "swap"] {
        project.destination.exec("update src.t set v = v || 'x' where id % 50 = 0").await;
        let arguments = format!("views refresh mart.a --force --strategy {way}");
        let (longest, took) = longest_wait(&project, &arguments).await;
        println!("{way}: longest read {longest:?}, refresh {took:?}");
    }
}
