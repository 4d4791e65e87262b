//! A run of refreshes as a whole: again and again, limited, and what it says to do next.

use nix::sys::signal::Signal;

use crate::support::proxy::Proxy;
use crate::support::{Project, databases, until};
use crate::views_graph::project;
use crate::views_retries::until_stale;

const ONE: &str = "create table src.t (id int); insert into src.t values (1);
                   create materialized view mart.a as select 6 / id as n from src.t;";

async fn until_shown(project: &Project, n: &str) {
    until("the view shows it", || async {
        project.destination.rows("select n from mart.a where n is not null").await == [[Some(n.to_owned())]]
    })
    .await;
}

#[tokio::test]
async fn watch_refreshes_again_and_again_goes_on_after_a_failure_and_ends_by_a_signal() {
    let project = project("runs_watch", ONE).await;
    let running = project.pgtide("views refresh --watch 100ms").spawn();
    running.stderr_contains("1 refreshed").await;
    project.destination.exec("update src.t set id = 2").await;
    until_shown(&project, "3").await;
    project.destination.exec("update src.t set id = 0").await;
    running.stderr_contains("x view mart.a  not refreshed").await;
    project.destination.exec("update src.t set id = 6").await;
    until_shown(&project, "1").await;
    running.signal(Signal::SIGTERM);
    running.finish().await.expect(143);
    project.no_session_left().await;
}

#[tokio::test]
async fn watch_outlasts_a_server_that_is_away() {
    let pair = databases("runs_watch_away").await;
    pair.destination.exec(&format!("create schema src; create schema mart; {ONE}")).await;
    let proxy = Proxy::start(&pair.destination).await;
    let project = Project::through(&pair, &pair.source.url(), &proxy.url(&pair.destination));
    let running = project.pgtide("views refresh --watch 100ms").spawn();
    running.stderr_contains("1 refreshed").await;
    proxy.cut();
    running.stderr_contains("error:").await;
    project.destination.exec("update src.t set id = 2").await;
    proxy.heal();
    until_shown(&project, "3").await;
    running.signal(Signal::SIGINT);
    running.finish().await.expect(130);
}

#[tokio::test]
async fn after_max_runtime_nothing_new_is_started_and_the_next_run_takes_what_is_left() {
    let project = project(
        "runs_limit",
        "create materialized view mart.a as select 1 as n, pg_sleep(1.1) is null as slept with no data;
         create materialized view mart.b as select n from mart.a with no data;
         create materialized view mart.c as select n from mart.b with no data;",
    )
    .await;
    let output = project.pgtide("views refresh --max-runtime 1s").run().await.expect(75);
    assert!(output.stderr.contains("1 refreshed, 2 not done"), "{}", output.stderr);
    assert!(output.stderr.contains("go on with: pgtide views refresh"), "{}", output.stderr);
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("2 refreshed, 1 fresh"), "{}", output.stderr);
}

#[tokio::test]
async fn with_fail_fast_nothing_is_started_after_the_first_failure() {
    let project = project(
        "runs_fail_fast",
        "create table src.t (id int); insert into src.t values (0);
         create materialized view mart.a as select 1 / id as n from src.t with no data;
         create materialized view mart.b as select * from src.t with no data;
         create materialized view mart.c as select * from src.t with no data;",
    )
    .await;
    let output = project.pgtide("views refresh --jobs 1 --fail-fast").run().await.expect(1);
    assert!(output.stderr.contains("1 failed, 2 not done"), "{}", output.stderr);
    let output = project.pgtide("views refresh --jobs 1").run().await.expect(1);
    assert!(output.stderr.contains("2 refreshed, 1 failed"), "{}", output.stderr);
}

#[tokio::test]
async fn if_older_than_leaves_what_was_refreshed_lately() {
    let project = project("runs_older", ONE).await;
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("update src.t set id = 2").await;
    let output = project.pgtide("views refresh --if-older-than 1h").run().await.expect(0);
    assert!(output.stderr.contains("left alone: refreshed less than 1h ago"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select n from mart.a").await, "6");
    let plan = project.pgtide("views refresh --if-older-than 1h --force --dry-run").run().await.expect(0);
    assert!(plan.stdout.contains("refreshed less than 1h ago"), "{}", plan.stdout);
    project.destination.exec("update pgtide.view set refreshed_at = refreshed_at - interval '2 h'").await;
    project.pgtide("views refresh --if-older-than 1h").run().await.expect(0);
    assert_eq!(project.destination.scalar("select n from mart.a").await, "3");
}

#[tokio::test]
async fn the_command_to_try_again_is_what_was_asked_for() {
    let project = project(
        "runs_again",
        "create table src.t (id int); insert into src.t values (0);
         create materialized view mart.\"it's\" as select 1 / id as n from src.t with no data;
         create materialized view mart.b as select n from mart.\"it's\" with no data;
         create materialized view mart.c as select 1 / id as n from src.t with no data;",
    )
    .await;
    let asked = [
        (vec!["mart.b", "--upstream", "--jobs", "3"], "mart.b --upstream --jobs 3"),
        (vec!["mart.\"it's\"", "--downstream"], "'mart.\"it'\\''s\"' --downstream"),
        (vec!["--after-load", "src.t", "--strategy", "plain"], "--after-load src.t --strategy plain"),
        (vec!["--consistent", "--fail-fast", "--force"], "--consistent --fail-fast"),
    ];
    for (arguments, told) in asked {
        let mut run = project.pgtide("views refresh");
        for argument in arguments {
            run = run.arg(argument);
        }
        let output = run.run().await.expect(1);
        let line = format!("try again: pgtide views refresh {told}\n");
        assert!(output.stderr.ends_with(&line), "{line}{}", output.stderr);
    }
    let json = project.pgtide("views refresh mart.c -o json").run().await.expect(1).stdout;
    assert!(json.contains(r#""retry_command":"pgtide views refresh mart.c""#), "{json}");
}

#[tokio::test]
async fn of_a_diamond_the_top_is_refreshed_once_and_left_alone_while_one_side_fails() {
    let project = project(
        "runs_diamond",
        "create table src.t (id int); insert into src.t values (1);
         create materialized view mart.base as select id from src.t;
         create materialized view mart.left as select id from mart.base;
         create materialized view mart.right as select 1 / id as n from mart.base;
         create materialized view mart.top as select count(*) as n from mart.left, mart.right;",
    )
    .await;
    project.pgtide("views refresh --jobs 4").run().await.expect(0);
    project.destination.exec("insert into src.t values (2)").await;
    until_stale(&project).await;
    let output = project.pgtide("views refresh --jobs 4").run().await.expect(0);
    assert_eq!(output.stderr.matches("# view mart.top").count(), 1, "{}", output.stderr);
    assert_eq!(project.destination.scalar("select n from mart.top").await, "4");
    project.destination.exec("insert into src.t values (0)").await;
    until_stale(&project).await;
    let output = project.pgtide("views refresh --jobs 4").run().await.expect(1);
    assert!(
        output.stderr.contains("view mart.top  left alone: upstream failed: mart.right"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("2 refreshed, 1 failed, 1 left alone"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select n from mart.top").await, "4", "of one moment");
}

#[tokio::test]
async fn a_view_that_is_dropped_before_its_turn_fails_alone() {
    let project = project(
        "runs_dropped",
        "create table src.t (id int); create table src.u (id int);
         create materialized view mart.a as select * from src.t with no data;
         create materialized view mart.b as select * from src.u with no data;
         create materialized view mart.c as select * from src.u with no data;",
    )
    .await;
    let blocker = project.destination.client().await;
    blocker.batch_execute("begin; lock table src.t in access exclusive mode").await.unwrap();
    let running = project.pgtide("views refresh --jobs 1").spawn();
    project.destination.until_awaited("src.t").await;
    project.destination.exec("drop materialized view mart.b").await;
    blocker.batch_execute("rollback").await.unwrap();
    let output = running.finish().await.expect(1);
    assert!(output.stderr.contains("mart.b was dropped or replaced meanwhile"), "{}", output.stderr);
    assert!(output.stderr.contains("2 refreshed, 1 failed"), "{}", output.stderr);
}

#[tokio::test]
async fn a_view_above_one_without_rows_is_told_to_refresh_that_first() {
    let project = project(
        "runs_unpopulated",
        "create materialized view mart.a as select 1 as n with no data;
         create unique index on mart.a (n);
         create materialized view mart.b as select n from mart.a with no data;",
    )
    .await;
    let output = project.pgtide("views refresh mart.b").run().await.expect(1);
    assert!(output.stderr.contains("pgtide views refresh mart.b --upstream"), "{}", output.stderr);
    let output =
        project.pgtide("views refresh mart.b --upstream --strategy concurrent").run().await.expect(0);
    assert_eq!(output.stderr.matches("  plain  ").count(), 2, "nobody can read them yet: {}", output.stderr);
}

#[tokio::test]
async fn every_kind_of_unique_index_is_known_for_what_it_lets_a_refresh_do() {
    let project =
        project("runs_indexes", "create table src.t (id int, name text); insert into src.t values (1, 'a');")
            .await;
    let version: i32 = project.destination.scalar("show server_version_num").await.parse().unwrap();
    let mut kinds = vec![
        ("class", "create unique index on {} (name text_pattern_ops)", true),
        ("collation", "create unique index on {} (name collate \"C\")", true),
        ("beside", "create unique index concurrently on {} (id)", true),
        ("invalid", "create unique index broken on {} (id)", false),
        ("hashed", "create index on {} using hash (id)", false),
    ];
    if version >= 150_000 {
        kinds.push(("nulls", "create unique index on {} (id) nulls not distinct", true));
    }
    for (name, index, possible) in kinds {
        let view = format!("mart.{name}");
        project.destination.exec(&format!("create materialized view {view} as select * from src.t")).await;
        project.destination.exec(&index.replace("{}", &view)).await;
        if name == "invalid" {
            let sql = "update pg_index set indisvalid = false where indexrelid = 'mart.broken'::regclass";
            project.destination.exec(sql).await;
        }
        let run = project.pgtide("views refresh --force --strategy concurrent").arg(&view);
        let output = run.run().await.expect(if possible { 0 } else { 78 });
        let part = if possible { "  concurrent  " } else { "no unique index" };
        assert!(output.stderr.contains(part), "{name}: {}", output.stderr);
    }
}
