//! What makes a view stale and what does not, one source at a time; never fresh wrongly.

use serde_json::Value;

use crate::support::{Project, databases};
use crate::views_graph::project;

/// State and reason of a view.
async fn state(project: &Project, view: &str) -> (String, String) {
    let output = project.pgtide("views status -o json").run().await.expect(0);
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.into_iter().find(|line| line["view"] == view).unwrap();
    (line["state"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap().to_owned())
}

async fn refreshed(project: &Project) {
    project.pgtide("views refresh").run().await.expect(0);
    assert_eq!(state(project, "mart.a").await.0, "fresh");
}

const ONE: &str = "
    create table src.t (id int primary key, v int) with (autovacuum_enabled = false);
    insert into src.t select i, 0 from generate_series(1, 100) i;
    create materialized view mart.a as select * from src.t;
    create unique index on mart.a (id);";

#[tokio::test]
async fn what_writes_a_table_anew_makes_the_view_stale_and_never_hides_rows() {
    let project = project("sources_rewrite", ONE).await;
    for rewrite in [
        "vacuum full src.t",
        "cluster src.t using t_pkey",
        "alter table src.t alter column v type bigint using v",
        "truncate src.t",
    ] {
        if rewrite.starts_with("alter") {
            // A view keeps the types of its columns; what it does not read can change.
            project
                .destination
                .exec("drop materialized view mart.a; create materialized view mart.a as select id from src.t; create unique index on mart.a (id)")
                .await;
        }
        refreshed(&project).await;
        project.destination.exec(rewrite).await;
        let (word, reason) = state(&project, "mart.a").await;
        assert_eq!(word, "stale", "{rewrite}: {reason}");
        assert!(reason.contains("rewritten"), "{rewrite}: {reason}");
    }
    // A row, and right after it a rewrite: the row is shown by the next refresh.
    refreshed(&project).await;
    project.destination.exec("insert into src.t values (1000, 1)").await;
    project.destination.exec("vacuum full src.t").await;
    assert_eq!(state(&project, "mart.a").await.0, "stale");
    refreshed(&project).await;
    assert_eq!(project.destination.scalar("select count(*) from mart.a where id = 1000").await, "1");
}

#[tokio::test]
async fn what_changes_no_row_leaves_the_view_fresh() {
    let project = project("sources_same", ONE).await;
    refreshed(&project).await;
    for harmless in [
        "vacuum src.t",
        "analyze src.t",
        "vacuum (analyze, freeze) src.t",
        "alter table src.t add column note text",
        "alter table src.t set (fillfactor = 80)",
        "create index on src.t (v)",
        "reindex table src.t",
        "comment on table src.t is 'x'",
        "grant select on src.t to public",
        "select count(*) from src.t",
    ] {
        project.destination.exec(harmless).await;
        let (word, reason) = state(&project, "mart.a").await;
        assert_eq!(word, "fresh", "{harmless}: {reason}");
    }
}

#[tokio::test]
async fn rows_that_were_rolled_back_cost_a_look_at_most() {
    let project = project("sources_rollback", ONE).await;
    refreshed(&project).await;
    project.destination.exec("begin; insert into src.t values (1000, 1); rollback").await;
    // The server counts them; whether it has told so yet is its own affair.
    project.pgtide("views refresh --strategy concurrent").run().await.expect(0);
    assert_eq!(state(&project, "mart.a").await.0, "fresh");
    assert_eq!(project.destination.scalar("select count(*) from mart.a").await, "100");
}

#[tokio::test]
async fn partitions_that_come_go_and_are_written_are_seen_through_their_parent() {
    let project = project(
        "sources_partitions",
        "create table src.p (d int) partition by list (d);
         create table src.p1 partition of src.p for values in (1);
         create table src.p2 partition of src.p for values in (2) partition by list (d);
         create table src.p2a partition of src.p2 for values in (2);
         insert into src.p values (1), (2);
         create materialized view mart.a as select d from src.p;",
    )
    .await;
    for change in [
        "insert into src.p2a values (2)",
        "truncate src.p2a",
        "alter table src.p2 detach partition src.p2a",
        "alter table src.p2 attach partition src.p2a for values in (2)",
        "alter table src.p detach partition src.p1",
        "insert into src.p2 values (2)",
        "drop table src.p2",
    ] {
        refreshed(&project).await;
        project.destination.exec(change).await;
        assert_eq!(state(&project, "mart.a").await.0, "stale", "{change}");
    }
    refreshed(&project).await;
    // What was detached is a table of its own, and none of the view's affair.
    project.destination.exec("insert into src.p1 values (1)").await;
    assert_eq!(state(&project, "mart.a").await.0, "fresh");
}

#[tokio::test]
async fn a_foreign_table_is_unknown_until_it_is_said_how_old_it_may_get() {
    let project =
        project("sources_foreign", "create table src.near (id int); insert into src.near values (1);").await;
    let (name, port) = (project.destination.name(), project.destination.port());
    project
        .destination
        .exec(&format!(
            "create extension postgres_fdw;
             create server s foreign data wrapper postgres_fdw options (host '127.0.0.1', port '{port}', dbname '{name}');
             create user mapping for current_user server s options (user 'postgres');
             create foreign table src.far (id int) server s options (schema_name 'src', table_name 'near');
             create view mart.between as select id from src.far;
             create materialized view mart.a as select * from mart.between;
             create materialized view mart.b as select count(*) as n from mart.a;"
        ))
        .await;
    project.pgtide("views refresh").run().await.expect(0);
    let unknown = ("unknown".to_owned(), "reads foreign table src.far; no max_age is set".to_owned());
    assert_eq!(state(&project, "mart.a").await, unknown);
    // It is refreshed each time: nobody can see that there is nothing new.
    project.destination.exec("insert into src.near values (2)").await;
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("reads foreign table src.far"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select n from mart.b").await, "2");
    project.add_to_file("[views.\"mart.a\"]\nmax_age = \"1h\"\n");
    for view in ["mart.a", "mart.b"] {
        assert_eq!(state(&project, view).await.0, "fresh", "{view}");
    }
    project.destination.exec("update pgtide.view set refreshed_at = refreshed_at - interval '2 h'").await;
    assert!(state(&project, "mart.a").await.1.contains("older than max_age 1h"));
    project.pgtide("views refresh").run().await.expect(0);
    project.pgtide("views status --exit-code").run().await.expect(0);
}

#[tokio::test]
async fn the_time_is_found_in_a_query_in_a_view_between_and_in_a_function_of_sql() {
    let project = project(
        "sources_clock",
        "create table src.t (at timestamptz); create view mart.recent as select at from src.t where at > now() - interval '1 day';
         create materialized view mart.a as select count(*) as n from mart.recent;
         create materialized view mart.random as select random() as r;
         create materialized view mart.still as select date '2026-01-01' as d, 'now() is a word' as w from src.t;",
    )
    .await;
    project.pgtide("views refresh").run().await.expect(0);
    for view in ["mart.a", "mart.random"] {
        let found = state(&project, view).await;
        assert_eq!(found.0, "time-dependent", "{view}: {}", found.1);
    }
    assert_eq!(state(&project, "mart.still").await.0, "fresh");
    project.add_to_file("[views.\"mart.*\"]\nmax_age = \"1h\"\n");
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("nothing to do  views: 3 fresh"), "{}", output.stderr);
    project.destination.exec("insert into src.t values (now())").await;
    assert_eq!(state(&project, "mart.a").await.1, "src.t: rows were written");
    project.pgtide("views refresh").run().await.expect(0);
    assert_eq!(project.destination.scalar("select n from mart.a").await, "1");
    project.destination.exec("update pgtide.view set refreshed_at = refreshed_at - interval '2 h'").await;
    assert!(state(&project, "mart.a").await.1.contains("older than max_age 1h"));
}

#[tokio::test]
async fn a_load_of_no_rows_leaves_the_table_as_it_was_and_the_view_fresh() {
    let pair = databases("sources_no_rows").await;
    pair.source
        .exec(
            "create table public.orders (id int primary key, at timestamptz not null);
               insert into public.orders values (1, '2026-01-05 12:00Z')",
        )
        .await;
    pair.destination
        .exec(
            "create schema mart; create table mart.orders (id int primary key, at timestamptz not null);
               create materialized view mart.a as select count(*) as n from mart.orders;",
        )
        .await;
    let job = "table = \"public.orders\"\ninto = \"mart.orders\"\ntime_column = \"at\"\ninterval = \"day\"\n\
               start_date = 2026-01-01\nrefresh = \"dependents\"\non_empty = \"ok\"\n";
    let project = Project::new(&pair).job("orders", job);
    project.pgtide("run orders --date 2026-01-05").run().await.expect(0);
    let version = "select version from pgtide.table_version where table_oid = 'mart.orders'::regclass";
    assert_eq!(project.destination.scalar(version).await, "1");
    let refreshes = "select count(*) from pgtide.view_refresh";
    let before = project.destination.scalar(refreshes).await;
    // A day without rows, loaded and loaded again.
    for again in ["", " --reload"] {
        let run = format!("run orders --date 2026-01-06{again}");
        let output = project.pgtide(&run).run().await.expect(0);
        assert!(output.stderr.contains("1 loaded"), "{}", output.stderr);
    }
    assert_eq!(project.destination.scalar(version).await, "1");
    assert_eq!(project.destination.scalar(refreshes).await, before);
    assert_eq!(state(&project, "mart.a").await.0, "fresh");
    // The rows of a day that go count as a change.
    project.source.exec("delete from public.orders").await;
    project.pgtide("run orders --date 2026-01-05 --reload").run().await.expect(0);
    assert_eq!(project.destination.scalar(version).await, "2");
    assert_eq!(project.destination.scalar("select n from mart.a").await, "0");
}
