//! A job that has another name than before goes on where it was: its ledger is carried over, once and whole.

use crate::support::events::{self, DAILY};
use crate::support::project::versions;
use crate::support::{Project, databases};

const FIRST_TWO: &str = "run events --from-date 2026-01-01 --to-date 2026-01-02";

/// Two loaded days of `events`, which is called `happenings` from now on.
async fn renamed(hint: &str) -> Project {
    let pair = databases(hint).await;
    let project = events::daily(&pair, "").await;
    project.pgtide(FIRST_TWO).run().await.expect(0);
    std::fs::remove_file(project.folder().join("jobs/events.toml")).unwrap();
    project.job("happenings", &events::job(&format!("{DAILY}was = \"events\"\n")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loading_verb_carries_the_ledger_over_and_loads_only_what_is_missing() {
    let project = renamed("rename_run").await;
    let before = versions(&project.destination, events::INTO).await;
    let output = project.pgtide("run happenings --date 2026-01-01").run().await.expect(0);
    assert!(
        output.stderr.contains("goes on with what the ledger has as events, intervals: 2"),
        "{}",
        output.stderr
    );
    assert_eq!(versions(&project.destination, events::INTO).await, before, "nothing was loaded again");
    let jobs = "select string_agg(job || ' ' || key, ', ' order by key) from pgtide.interval";
    assert_eq!(project.destination.scalar(jobs).await, "happenings 2026-01-01, happenings 2026-01-02");
    let rest = "run happenings --from-date 2026-01-01 --to-date 2026-01-12";
    let output = project.pgtide(rest).run().await.expect(0);
    assert!(!output.stderr.contains("goes on with"), "once: {}", output.stderr);
    events::assert_loaded(&project).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_each_interval_says_so() {
    let project = renamed("rename_audit").await;
    project.pgtide("run happenings --date 2026-01-01").run().await.expect(0);
    let audit =
        "select string_agg(outcome || ' ' || state || ' ' || reason || ' ' || (host is not null), ', ')
                 from pgtide.attempt where outcome = 'marked'";
    let line = "marked loaded renamed: was events true";
    assert_eq!(project.destination.scalar(audit).await, format!("{line}, {line}"));
    let day = project.pgtide("status happenings --date 2026-01-01").run().await.expect(0).stdout;
    assert!(day.contains("renamed: was events") && day.contains("try 1"), "{day}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_sees_both_names_and_changes_neither() {
    let project = renamed("rename_look").await;
    let before = versions(&project.destination, "pgtide.interval").await;
    let status = project.pgtide("status happenings").run().await.expect(0).stdout;
    assert!(status.contains("2 loaded"), "{status}");
    let plan =
        project.pgtide("plan happenings --from-date 2026-01-01 --to-date 2026-01-03").run().await.expect(0);
    assert!(plan.stdout.contains("1 to load, 2 left alone"), "{}", plan.stdout);
    let day = project.pgtide("status happenings --date 2026-01-01").run().await.expect(0).stdout;
    assert!(day.contains("try 1"), "{day}");
    assert_eq!(versions(&project.destination, "pgtide.interval").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_of_the_new_name_too() {
    let project = renamed("rename_mark").await;
    project.pgtide("mark happenings stale --date 2026-01-01 --reason late").run().await.expect(0);
    let jobs = "select string_agg(job || ' ' || state, ', ' order by key) from pgtide.interval";
    assert_eq!(project.destination.scalar(jobs).await, "happenings stale, happenings loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_both_names_have_is_refused_and_nothing_is_carried_over() {
    let project = renamed("rename_conflict").await;
    project
        .destination
        .exec(
            "insert into pgtide.interval (job, interval_start, interval_end, key, state, table_oid, table_name)
             select 'happenings', interval_start, interval_end, key, 'failed', table_oid, table_name
             from pgtide.interval where key = '2026-01-02'",
        )
        .await;
    let before = versions(&project.destination, "pgtide.interval").await;
    let output = project.pgtide("run happenings --date 2026-01-03").run().await.expect(78);
    let what = "carrying the ledger of events over to happenings: both have 2026-01-02; nothing was changed";
    assert!(output.stderr.contains(what), "{}", output.stderr);
    assert!(output.stderr.contains("leave out `was`"), "{}", output.stderr);
    assert_eq!(versions(&project.destination, "pgtide.interval").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_the_old_name_is_waited_for() {
    let pair = databases("rename_live").await;
    let project = events::daily(&pair, "").await;
    let blocker = pair.destination.client().await;
    // Whoever looks passes; the first batch waits, and the claim with it.
    blocker.batch_execute("begin; lock table mart.events in exclusive mode").await.unwrap();
    let run = project.pgtide("run events --date 2026-01-01").spawn();
    let live = "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2 and granted
                and database = (select oid from pg_database where datname = current_database())";
    crate::support::until("the run holds the day", || async { pair.destination.scalar(live).await != "0" })
        .await;
    std::fs::remove_file(project.folder().join("jobs/events.toml")).unwrap();
    let project = project.job("happenings", &events::job(&format!("{DAILY}was = \"events\"\n")));
    let output = project.pgtide("mark happenings stale --date 2026-01-01 --reason x").run().await.expect(75);
    assert!(output.stderr.contains("is being loaded, on "), "{}", output.stderr);
    blocker.batch_execute("rollback").await.unwrap();
    run.finish().await.expect(0);
    project.pgtide("run happenings --date 2026-01-01").run().await.expect(0);
    let jobs = "select string_agg(distinct job, ', ') from pgtide.interval";
    assert_eq!(project.destination.scalar(jobs).await, "happenings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_still_has_a_file_is_a_finding() {
    let pair = databases("rename_file").await;
    let project = events::daily(&pair, "").await;
    let project = project.job("happenings", &events::job(&format!("{DAILY}was = \"events\"\n")));
    let output = project.pgtide("run happenings --date 2026-01-01").run().await.expect(78);
    assert!(output.stderr.contains("`was`: `events` has a file of its own"), "{}", output.stderr);
}
