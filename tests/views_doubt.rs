//! What counters that stand still do not prove: rows that a session has not reported yet, counters that
//! started again, and another run's refresh that began before the rows were written.

use pgtide::sandbox::StopMode;
use tokio_postgres::Client;

use crate::support::{Database, Pair, Project, private_server, until, until_counted};
use crate::views_graph::project;

const BASE: &str = "
create table src.t (x int); insert into src.t select 1 from generate_series(1, 10);
create materialized view mart.a as select count(*) as n, sum(x) as s from src.t;";

const COUNTERS: &str = "select pg_stat_get_tuples_inserted('src.t'::regclass)";

/// The view shows what is there.
async fn is_right(project: &Project) {
    let difference = "select (select n || ' ' || s from mart.a) is distinct from (select count(*) || ' ' || sum(x) from src.t)";
    assert_eq!(project.destination.scalar(difference).await, "f", "the view shows its table");
}

async fn refresh(project: &Project, arguments: &str) -> String {
    project.pgtide(&format!("views refresh {arguments}")).run().await.expect(0).stderr
}

async fn until_counters_are(database: &Database, rows: &str) {
    until("the rows are counted", || async { database.scalar(COUNTERS).await == rows }).await;
}

/// A session that stays, and has reported all that it has done.
async fn reported(project: &Project) -> Client {
    let client = project.destination.client().await;
    client.batch_execute("insert into src.t values (2)").await.unwrap();
    // It reports at the end of a transaction, not more often than every second.
    until("the session has reported", || async {
        client.batch_execute("select 1").await.unwrap();
        project.destination.scalar(COUNTERS).await == "11"
    })
    .await;
    client
}

#[tokio::test]
async fn two_quick_commits_of_a_session_that_stays_are_found_by_all_and_by_name() {
    for (hint, arguments) in
        [("doubt_quick_all", ""), ("doubt_quick_name", "mart.a"), ("doubt_quick_below", "--after-load src.t")]
    {
        let project = project(hint, BASE).await;
        let client = reported(&project).await;
        refresh(&project, "").await;
        let said = refresh(&project, arguments).await;
        assert!(said.contains("nothing to do"), "who was at work before is no doubt: {said}");
        client.batch_execute("insert into src.t values (3)").await.unwrap();
        client.batch_execute("insert into src.t values (4)").await.unwrap();
        let said = refresh(&project, arguments).await;
        assert!(said.contains("1 refreshed"), "{hint}: {said}");
        is_right(&project).await;
        drop(client);
        until("the session has ended", || async {
            let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
            project.destination.scalar(others).await == "0"
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_in_a_long_transaction_may_have_written_just_before_it() {
    let project = project("doubt_long", BASE).await;
    let client = reported(&project).await;
    refresh(&project, "").await;
    // One message each, so that the last is within a second of the first.
    client.batch_execute("insert into src.t values (3)").await.unwrap();
    client.batch_execute("insert into src.t values (4)").await.unwrap();
    client.batch_execute("begin; select 1").await.unwrap();
    let said = refresh(&project, "").await;
    assert!(said.contains("1 refreshed"), "{said}");
    is_right(&project).await;
    // It is in that transaction still, and the refresh was later.
    assert!(refresh(&project, "").await.contains("nothing to do"));
    assert!(refresh(&project, "mart.a").await.contains("nothing to do"));
}

#[tokio::test]
async fn what_a_role_may_not_see_is_waited_for_and_refreshed_by_name() {
    let sql = format!(
        "{BASE} create role doubt_small login password '{}'; grant all on schema src, mart to doubt_small;
         grant create on database DATABASE to doubt_small;
         grant all on all tables in schema src to doubt_small; alter materialized view mart.a owner to doubt_small",
        crate::support::CANARY
    );
    let pair = crate::support::databases("doubt_hidden").await;
    let sql = sql.replace("DATABASE", &format!("\"{}\"", pair.destination.name()));
    pair.destination.exec(&format!("create schema src; create schema mart; {sql}")).await;
    let url = pair.destination.url();
    let (_, place) = url.split_once('@').expect("a role and a place");
    let small = format!("postgres://doubt_small:{}@{place}", crate::support::CANARY);
    let project = Project::through(&pair, &pair.source.url(), &small);
    let client = reported(&project).await;
    refresh(&project, "").await;
    client.batch_execute("insert into src.t values (3)").await.unwrap();
    client.batch_execute("insert into src.t values (4)").await.unwrap();
    refresh(&project, "").await;
    is_right(&project).await;
    let plan = project.pgtide("views refresh mart.a --dry-run").run().await.expect(0);
    assert!(plan.stdout.contains("grant pg_read_all_stats to this role"), "{}", plan.stdout);
}

#[tokio::test]
async fn counters_that_were_reset_and_reach_the_same_number_prove_nothing() {
    let project = project("doubt_reset", BASE).await;
    until_counters_are(&project.destination, "10").await;
    refresh(&project, "").await;
    for reset in ["pg_stat_reset()", "pg_stat_reset_single_table_counters('src.t'::regclass)"] {
        project.destination.exec(&format!("select {reset}")).await;
        until_counters_are(&project.destination, "0").await;
        project
            .destination
            .exec("delete from src.t; insert into src.t select 5 from generate_series(1, 10)")
            .await;
        project.destination.exec("insert into src.t select 6 from generate_series(1, 10)").await;
        until_counted(&project.destination).await;
        let said = refresh(&project, "").await;
        assert!(said.contains("1 refreshed"), "{reset}: {said}");
        is_right(&project).await;
        project.destination.exec(&format!("select {reset}")).await;
        until_counters_are(&project.destination, "0").await;
        refresh(&project, "").await;
    }
    assert!(refresh(&project, "").await.contains("nothing to do"));
}

#[tokio::test]
async fn counters_that_a_crash_has_lost_prove_nothing_and_a_clean_restart_keeps_them() {
    let mut server = private_server("doubt_crash").await;
    let database = Database::create(&server, "doubt_crash").await;
    let pair = Pair { source: database.clone(), destination: database.clone() };
    database.exec(&format!("create schema src; create schema mart; {BASE}")).await;
    let project = Project::new(&pair);
    until_counters_are(&database, "10").await;
    refresh(&project, "").await;
    assert!(refresh(&project, "mart.a").await.contains("nothing to do"));

    server.restart(StopMode::Fast).unwrap();
    assert!(refresh(&project, "").await.contains("nothing to do"), "after a clean restart");

    server.restart(StopMode::Immediate).unwrap();
    database.exec("update src.t set x = 7").await;
    let counters = "select pg_stat_get_tuples_updated('src.t'::regclass)";
    until("the rows are counted", || async { database.scalar(counters).await == "10" }).await;
    let status = project.pgtide("views status -o json").run().await.expect(0);
    assert!(status.stdout.contains("counters started again"), "{}", status.stdout);
    refresh(&project, "").await;
    is_right(&project).await;
}

#[tokio::test]
async fn what_others_write_just_after_a_load_is_not_taken_for_its_rows() {
    let project = crate::views_graph::project(
        "doubt_after_load",
        "create table src.o (id bigint, at timestamptz not null); create index on src.o (at);
         create table src.s (id bigint, at timestamptz not null);
         create materialized view mart.o as select count(*) as n from src.o",
    )
    .await;
    project
        .source
        .exec("create schema if not exists src; create table src.o as select g::bigint as id, timestamptz '2026-01-05 12:00+00' as at from generate_series(1, 100) g")
        .await;
    let project = project.job(
        "o",
        "table = \"src.o\"\ninto = \"src.o\"\ntime_column = \"at\"\ninterval = \"day\"\ntimezone = \"UTC\"\nrefresh = \"dependents\"\n",
    );
    project.pgtide("run o --date 2026-01-05").run().await.expect(0);
    assert_eq!(project.destination.scalar("select n from mart.o").await, "100");
    assert!(refresh(&project, "").await.contains("nothing to do"), "its own rows are no change since");
    project.destination.exec("insert into src.o select 1000, '2026-02-05' from generate_series(1, 50)").await;
    until_counted(&project.destination).await;
    refresh(&project, "").await;
    assert_eq!(project.destination.scalar("select n from mart.o").await, "150");
}

/// A view whose query goes on until there is a row in `src.gate`; its rows are those of its start.
const GATED: &str = "
create table src.gate (x int);
create function mart.pass() returns int language plpgsql volatile as
'begin while not exists (select from src.gate) loop perform pg_sleep(0.01); end loop; return 1; end';
create table src.t (x int primary key); insert into src.t values (1);
create materialized view mart.a as select (select count(*) from src.t) as n, (select sum(x) from src.t) as s, mart.pass() as one with no data;
create unique index on mart.a (n);";

/// Waits until so many sessions run a refresh's query, and others wait for its lock.
async fn until_at_work(project: &Project, running: &str, waiting: &str) {
    let sql = "select (select count(*) from pg_stat_activity where datname = current_database() and query ~* '^refresh materialized' and state = 'active'),
                      (select count(*) from pg_locks where locktype = 'advisory' and not granted
                       and database = (select oid from pg_database where datname = current_database()))";
    let wanted = [[Some(running.to_owned()), Some(waiting.to_owned())]];
    until("the refreshes are at work", || async { project.destination.rows(sql).await == wanted }).await;
}

#[tokio::test]
async fn a_refresh_of_another_run_that_began_before_the_rows_is_not_taken_for_ones_own() {
    for way in ["plain", "concurrent", "swap"] {
        let project = project(&format!("doubt_other_{way}"), GATED).await;
        project.add_to_file("[views.\"mart.a\"]\ndepends_on = [\"src.t\"]\n");
        project.destination.exec("insert into src.gate values (1)").await;
        refresh(&project, "").await;
        project.destination.exec("truncate src.gate; insert into src.t values (2)").await;
        until_counted(&project.destination).await;

        let first = project.pgtide("views refresh --strategy").arg(way).spawn();
        until_at_work(&project, "1", "0").await;
        project.destination.exec("insert into src.t values (3)").await;
        until_counted(&project.destination).await;
        let second = project.pgtide("views refresh --strategy").arg(way).spawn();
        until_at_work(&project, "1", "1").await;
        project.destination.exec("insert into src.gate values (1)").await;
        first.finish().await.expect(0);
        let second = second.finish().await.expect(0);
        assert!(second.stderr.contains("1 refreshed"), "{way}: {}", second.stderr);
        is_right(&project).await;
        assert!(refresh(&project, "").await.contains("nothing to do"), "{way}");
    }
}

#[tokio::test]
async fn who_asks_for_a_fresh_view_is_not_served_by_a_refresh_that_began_before() {
    for (number, (arguments, refreshes)) in
        [("--force", "3"), ("", "2"), ("--force --if-older-than 1h", "2")].into_iter().enumerate()
    {
        let project = project(&format!("doubt_forced_{number}"), GATED).await;
        project.add_to_file("[views.\"mart.a\"]\ndepends_on = [\"src.t\"]\n");
        project.destination.exec("insert into src.gate values (1)").await;
        refresh(&project, "").await;
        project.destination.exec("truncate src.gate; insert into src.t values (2)").await;
        until_counted(&project.destination).await;
        // So that the one before is no reason to leave it alone.
        let age =
            "update pgtide.view set sources = jsonb_set(sources, '{at}', to_jsonb(now() - interval '2 h'))";
        project.destination.exec(age).await;

        let first = project.pgtide("views refresh --force").spawn();
        until_at_work(&project, "1", "0").await;
        let second = project.pgtide(&format!("views refresh {arguments}")).spawn();
        until_at_work(&project, "1", "1").await;
        project.destination.exec("insert into src.gate values (1)").await;
        first.finish().await.expect(0);
        second.finish().await.expect(0);
        is_right(&project).await;
        let count = "select count(*) from pgtide.view_refresh where status = 'refreshed'";
        assert_eq!(project.destination.scalar(count).await, refreshes, "{arguments}");
    }
}

#[tokio::test]
async fn a_refresh_that_took_hours_is_as_old_as_its_start() {
    let project = project("doubt_older", BASE).await;
    refresh(&project, "").await;
    let left = refresh(&project, "--force --if-older-than 1h").await;
    assert!(left.contains("refreshed less than 1h ago"), "{left}");
    let age = "update pgtide.view set sources = jsonb_set(sources, '{at}', to_jsonb(now() - interval '2 h'))";
    project.destination.exec(age).await;
    assert!(refresh(&project, "--force --if-older-than 1h").await.contains("1 refreshed"));
}

#[tokio::test]
async fn what_is_not_counted_at_all_is_unknown() {
    let project = project(
        "doubt_system",
        "create sequence src.numbers;
         create materialized view mart.sequence as select last_value from src.numbers;
         create materialized view mart.roles as select count(*) as n from pg_catalog.pg_class;
         create view mart.activity as select count(*) as n from pg_catalog.pg_stat_all_tables;
         create materialized view mart.through as select n from mart.activity;",
    )
    .await;
    refresh(&project, "").await;
    let status = project.pgtide("views status -o json").run().await.expect(0);
    for (view, what) in [
        ("sequence", "reads sequence src.numbers"),
        ("roles", "reads tables of the system"),
        ("through", "reads tables of the system"),
    ] {
        let line = status.stdout.lines().find(|line| line.contains(&format!("mart.{view}\""))).unwrap();
        assert!(line.contains("\"unknown\"") && line.contains(what), "{line}");
    }
}
