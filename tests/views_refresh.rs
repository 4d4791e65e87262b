//! Refreshing: the order, the three ways, failures, runs that meet, runs that are killed.

mod after_load;
mod ways;

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Database, Pair, Project, private_server, until, until_counted};
use crate::views_graph::project;

/// Objects of an event.
fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// 30 views in 4 layers: 10, 10, 6 and 4; each reads two of the layer below.
fn thirty() -> (String, BTreeMap<String, Vec<String>>) {
    let mut sql = "create table src.t (id int primary key, v int);
                   insert into src.t select i, i % 7 from generate_series(1, 500) i;"
        .to_owned();
    let mut reads = BTreeMap::new();
    let mut below: Vec<String> = Vec::new();
    for (layer, number) in [10, 10, 6, 4].into_iter().enumerate() {
        let mut here = Vec::new();
        for i in 0..number {
            let name = format!("mart.l{layer}_{i}");
            let from = match below.len() {
                0 => vec!["src.t".to_owned()],
                n => vec![below[i % n].clone(), below[(i + 3) % n].clone()],
            };
            let joined = from.iter().map(|f| format!("select id, v from {f}")).collect::<Vec<_>>();
            sql.push_str(&format!(
                "create materialized view {name} as select distinct id, v from ({}) x with no data;\n",
                joined.join(" union all ")
            ));
            reads.insert(name.clone(), from);
            here.push(name);
        }
        below = here;
    }
    (sql, reads)
}

#[tokio::test]
async fn thirty_views_in_four_layers_go_each_after_what_it_reads_and_once() {
    let (sql, reads) = thirty();
    let project = project("refresh_thirty", &sql).await;
    let output = project.pgtide("views refresh --jobs 2 -o json").run().await.expect(0);
    let lines = objects(&output.stdout);
    let at = |event: &str, view: &str| {
        let found: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line["event"] == event && line["view"] == view)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(found.len(), 1, "{event} of {view}");
        found[0]
    };
    for (view, from) in &reads {
        let started = at("view_started", view);
        for below in from.iter().filter(|name| name.starts_with("mart.")) {
            assert!(at("view_refreshed", below) < started, "{view} started before {below} was done");
        }
    }
    let again = project.pgtide("views refresh -o json").run().await.expect(0);
    let lines = objects(&again.stdout);
    let finished = events(&lines, "views_finished")[0];
    assert_eq!((finished["refreshed"].as_u64(), finished["fresh"].as_u64()), (Some(0), Some(30)));
    println!("30 fresh views: {} ms beside looking", finished["elapsed_ms"]);
    let count = "select count(*) from pgtide.view_refresh";
    assert_eq!(project.destination.scalar(count).await, "30");
}

#[tokio::test]
async fn on_unchanged_data_nothing_is_written_to_the_log() {
    let (sql, _) = thirty();
    let server = private_server("refresh_wal").await;
    let database = Database::create(&server, "dw").await;
    database.exec(&format!("create schema src; create schema mart; {sql}")).await;
    let project = Project::new(&Pair { source: database.clone(), destination: database.clone() });
    project.pgtide("views refresh").run().await.expect(0);
    database.exec("checkpoint").await;
    let mut least = u64::MAX;
    // The server writes a record of its own now and then.
    for _ in 0..5 {
        let before = database.scalar("select pg_current_wal_insert_lsn()").await;
        let started = std::time::Instant::now();
        // Not `run`, which may write something to wait for.
        project.pgtide("views refresh").spawn().finish().await.expect(0);
        println!("30 fresh views: {:?} in all", started.elapsed());
        let written = format!("select pg_current_wal_insert_lsn() - '{before}'::pg_lsn");
        least = least.min(database.scalar(&written).await.parse().unwrap());
    }
    assert_eq!(least, 0, "bytes of the write-ahead log");
}

#[tokio::test]
async fn a_failure_leaves_out_what_reads_the_view_and_nothing_else() {
    let project = project(
        "refresh_failure",
        "create table src.t (id int);  insert into src.t values (0);
         create materialized view mart.a as select 1 / id as x from src.t with no data;
         create materialized view mart.b as select * from mart.a with no data;
         create materialized view mart.c as select * from mart.b with no data;
         create materialized view mart.d as select * from src.t with no data;",
    )
    .await;
    let output = project.pgtide("views refresh").run().await.expect(1);
    for part in [
        "x view mart.a  not refreshed",
        "- view mart.b  left alone: upstream failed: mart.a",
        "- view mart.c  left alone: upstream failed: mart.b",
        "# view mart.d  refreshed",
        "1 refreshed, 1 failed, 2 left alone",
        "try again: pgtide views refresh",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    let status = project.pgtide("views status --exit-code").run().await.expect(1);
    assert!(status.stdout.contains("X  mart.a") || status.stdout.contains(".  mart.a"), "{}", status.stdout);
    project.destination.exec("update src.t set id = 1").await;
    let again = project.pgtide("views refresh").run().await.expect(0);
    assert!(again.stderr.contains("4 refreshed"), "{}", again.stderr);
}

/// A view whose refresh waits while the test holds a lock on its table.
async fn blocked(hint: &str) -> (Project, tokio_postgres::Client) {
    let project = project(
        hint,
        "create table src.t (id int primary key); insert into src.t values (1);
         create materialized view mart.a as select * from src.t; create unique index on mart.a (id);",
    )
    .await;
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("insert into src.t values (2)").await;
    until_counted(&project.destination).await;
    let blocker = project.destination.client().await;
    blocker.batch_execute("begin; lock table src.t in access exclusive mode").await.unwrap();
    (project, blocker)
}

async fn until_refreshing(project: &Project, sessions: i64) {
    let client = project.destination.client().await;
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and application_name like 'pgtide/refresh/mart%'";
    until("the refresh is at work", || async {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) >= sessions
    })
    .await;
}

#[tokio::test]
async fn two_runs_at_once_refresh_a_view_once() {
    let (project, blocker) = blocked("refresh_two").await;
    let (one, two) = (project.pgtide("views refresh").spawn(), project.pgtide("views refresh").spawn());
    until_refreshing(&project, 2).await;
    blocker.batch_execute("rollback").await.unwrap();
    let (one, two) = (one.finish().await.expect(0), two.finish().await.expect(0));
    let both = format!("{}{}", one.stderr, two.stderr);
    assert_eq!(both.matches("# view mart.a").count(), 1, "{both}");
    let count = "select count(*) from pgtide.view_refresh where status = 'refreshed'";
    assert_eq!(project.destination.scalar(count).await, "2", "the first time, and once since");
}

#[tokio::test]
async fn a_run_that_is_killed_in_a_refresh_loses_nothing() {
    let (project, blocker) = blocked("refresh_kill").await;
    let running = project.pgtide("views refresh").spawn();
    until_refreshing(&project, 1).await;
    running.signal(Signal::SIGKILL);
    running.finish().await.expect(137);
    blocker.batch_execute("rollback").await.unwrap();
    project.no_session_left().await;
    assert_eq!(project.destination.scalar("select count(*) from mart.a").await, "1");
    project.pgtide("views refresh").run().await.expect(0);
    assert_eq!(project.destination.scalar("select count(*) from mart.a").await, "2");
}

#[tokio::test]
async fn a_signal_ends_the_refresh_on_the_server_too() {
    let (project, blocker) = blocked("refresh_signal").await;
    let running = project.pgtide("views refresh").spawn();
    until_refreshing(&project, 1).await;
    running.signal(Signal::SIGTERM);
    let output = running.finish().await.expect(143);
    assert!(output.stderr.contains("stopped"), "{}", output.stderr);
    project.no_session_left().await;
    blocker.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_killed_between_build_and_exchange_leaves_what_the_next_one_removes() {
    let project = project(
        "refresh_kill_swap",
        "create table src.t (id int); insert into src.t values (1);
         create materialized view mart.a as select * from src.t;",
    )
    .await;
    let reader = project.destination.client().await;
    reader.batch_execute("begin; select * from mart.a").await.unwrap();
    let running = project.pgtide("views refresh --strategy swap").spawn();
    project.destination.until_awaited("mart.a").await;
    running.signal(Signal::SIGKILL);
    running.finish().await.expect(137);
    reader.batch_execute("rollback").await.unwrap();
    project.no_session_left().await;
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
    assert_eq!(project.destination.scalar(left).await, "1");
    assert_eq!(project.destination.scalar("select count(*) from mart.a").await, "1");
    let output = project.pgtide("views refresh --strategy swap").run().await.expect(0);
    assert!(output.stderr.contains("which a run that died had left"), "{}", output.stderr);
    assert_eq!(project.destination.scalar(left).await, "0");
    let fresh = project.pgtide("views status").run().await.expect(0);
    assert!(fresh.stdout.contains("1 fresh"), "{}", fresh.stdout);
}

#[tokio::test]
async fn a_refresh_that_would_make_readers_wait_gives_way_and_tries_again() {
    let (project, blocker) = blocked("refresh_gives_way").await;
    blocker.batch_execute("rollback; begin; select * from mart.a").await.unwrap();
    let running = project.pgtide("views refresh --strategy plain").spawn();
    running.stderr_contains("~ view mart.a  next try in").await;
    blocker.batch_execute("rollback").await.unwrap();
    let output = running.finish().await.expect(0);
    assert!(output.stderr.contains("# view mart.a"), "{}", output.stderr);
}

#[tokio::test]
async fn consistent_shows_all_views_one_snapshot() {
    let project = project(
        "refresh_consistent",
        "create table src.a (id int); create table src.b (id int);
         create materialized view mart.a as select count(*) as n from src.a with no data;
         create materialized view mart.b as select count(*) as n from src.b with no data;
         create materialized view mart.c as select a.n + b.n as n from mart.a, mart.b b with no data;"
            .replace("from mart.a, mart.b b", "from mart.a a, mart.b b")
            .as_str(),
    )
    .await;
    let blocker = project.destination.client().await;
    blocker.batch_execute("begin; lock table src.a in access exclusive mode").await.unwrap();
    let running = project.pgtide("views refresh mart.c --upstream --consistent --jobs 1").spawn();
    until_refreshing(&project, 1).await;
    project.destination.exec("insert into src.b values (1)").await;
    blocker.batch_execute("rollback").await.unwrap();
    running.finish().await.expect(0);
    let shown = "select a.n + b.n * 10 + c.n * 100 from mart.a a, mart.b b, mart.c c";
    assert_eq!(project.destination.scalar(shown).await, "0", "the row came after the snapshot");
    let told = project.pgtide("views refresh").run().await.expect(0);
    assert!(told.stderr.contains("src.b"), "{}", told.stderr);
    assert_eq!(project.destination.scalar(shown).await, "110");
}

#[tokio::test]
async fn a_function_whose_text_lacks_a_schema_is_named_with_what_helps() {
    let project = project(
        "refresh_path",
        "create table public.rates (id int); insert into public.rates values (1);
         create function mart.by_sql() returns bigint language sql as 'select count(*) from rates';
         create function mart.by_plpgsql() returns bigint language plpgsql as
           'begin return (select count(*) from rates); end';
         create materialized view mart.a as select mart.by_sql() as n with no data;
         create materialized view mart.b as select mart.by_plpgsql() as n with no data;",
    )
    .await;
    for (view, function) in [("a", "SQL function \"by_sql\""), ("b", "PL/pgSQL function mart.by_plpgsql()")] {
        let output = project.pgtide(&format!("views refresh mart.{view}")).run().await.expect(78);
        for part in
            ["relation \"rates\" does not exist (42P01)", &format!("hint: {function} names it without")]
        {
            assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
        }
    }
    let mended = "alter function mart.by_sql() set search_path = public;
                  alter function mart.by_plpgsql() set search_path = public";
    project.destination.exec(mended).await;
    project.pgtide("views refresh").run().await.expect(0);
}

#[tokio::test]
async fn younger_than_asked_for_and_never_are_left_alone_and_force_takes_fresh_ones() {
    let project = project(
        "refresh_asked",
        "create table src.t (id int);
         create materialized view mart.a as select * from src.t;
         create materialized view mart.never as select * from src.t;",
    )
    .await;
    let rules = "[views.\"mart.never\"]\nrefresh = \"never\"\n";
    project.add_to_file(rules);
    let first = project.pgtide("views refresh").run().await.expect(0);
    assert!(first.stderr.contains("mart.never  left alone: refresh: never"), "{}", first.stderr);
    project.destination.exec("insert into src.t values (1)").await;
    let young = project.pgtide("views refresh mart.a --if-older-than 1h").run().await.expect(0);
    assert!(young.stderr.contains("refreshed less than 1h ago"), "{}", young.stderr);
    project.pgtide("views refresh mart.a").run().await.expect(0);
    let forced = project.pgtide("views refresh mart.a --force").run().await.expect(0);
    assert!(forced.stderr.contains("asked for, though it is fresh"), "{}", forced.stderr);
    let typo = project.pgtide("views refresh mart.aa").run().await.expect(2);
    assert!(typo.stderr.contains("did you mean `mart.a`"), "{}", typo.stderr);
    let table = project.pgtide("views refresh src.t").run().await.expect(2);
    assert!(table.stderr.contains("--after-load src.t"), "{}", table.stderr);
}
