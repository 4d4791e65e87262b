//! What was asked for and what another run does meanwhile: a reload is done by a load that began after it
//! was asked for, and by no other.

use crate::support::events::{self, DAILY, SLOWLY};
use crate::support::{Project, databases, until};

/// A run's first transaction waits for this lock while a test has it.
const GATE: i64 = 77;

async fn project(hint: &str, keys: &str) -> Project {
    let pair = databases(hint).await;
    events::make(&pair).await;
    let gate = format!("pre_sql = [\"select pg_advisory_xact_lock_shared({GATE})\"]\n");
    let project = Project::new(&pair).job("events", &events::job(&format!("{DAILY}{gate}{keys}")));
    project.pgtide("run events --from-date 2026-01-04 --to-date 2026-01-05").run().await.expect(0);
    project
}

/// Waits until a run stands at the gate.
async fn until_at_the_gate(project: &Project) {
    let client = project.destination.client().await;
    until("a run waits at the gate", || async {
        let sql = "select count(*) from pg_catalog.pg_locks
                   where locktype = 'advisory' and not granted
                     and database = (select oid from pg_catalog.pg_database where datname = current_database())";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}

/// How many rows of both days are as the source has them now.
async fn corrected(project: &Project) -> String {
    let sql = "select count(*) filter (where body = 'corrected') || ' of ' || count(*) from mart.events";
    project.destination.scalar(sql).await
}

/// A run that reloads the 5th has read rows; then the source is corrected, and another command asks for the
/// 4th and the 5th. It comes to the 5th when the first run is done with it.
async fn asked_after_a_correction(project: &Project, command: &str) {
    let earlier = project.pgtide(&format!("run events --date 2026-01-05 --reload {SLOWLY}")).spawn();
    events::until_sent(&project.destination, earlier.pid(), events::BYTES / 30).await;
    project.source.exec("update public.events set body = 'corrected'").await;
    let gate = project.destination.client().await;
    gate.batch_execute(&format!("select pg_advisory_lock({GATE})")).await.unwrap();
    let later = project.pgtide(&format!("{command} --reload --parallel 1")).spawn();
    until_at_the_gate(project).await;
    earlier.finish().await.expect(0);
    assert_eq!(corrected(project).await, "0 of 2000", "the first run read what was there before");
    gate.batch_execute(&format!("select pg_advisory_unlock({GATE})")).await.unwrap();
    later.finish().await.expect(0);
    assert_eq!(corrected(project).await, "2000 of 2000");
}

#[tokio::test]
async fn a_reload_is_not_done_by_a_load_that_began_before_it_was_asked_for() {
    let project = project("asked_run", "").await;
    let command = "run events --from-date 2026-01-04 --to-date 2026-01-05";
    asked_after_a_correction(&project, command).await;
}

#[tokio::test]
async fn nor_is_a_backfill_that_reloads() {
    let project = project("asked_backfill", "").await;
    let command = "backfill events --from-date 2026-01-04 --to-date 2026-01-05";
    asked_after_a_correction(&project, command).await;
    let state = "select state from pgtide.backfill";
    assert_eq!(project.destination.scalar(state).await, "done");
}

#[tokio::test]
async fn a_backfill_made_by_a_clock_that_was_ahead_ends_all_the_same() {
    let project = project("asked_clock", "").await;
    let backfill = "backfill events --from-date 2026-01-04 --to-date 2026-01-05 --reload";
    let gate = project.destination.client().await;
    gate.batch_execute(&format!("select pg_advisory_lock({GATE})")).await.unwrap();
    let first = project.pgtide(&format!("{backfill} --parallel 1")).spawn();
    until_at_the_gate(&project).await;
    // As if the clock had been set back by an hour since.
    project.destination.exec("update pgtide.backfill set created_at = created_at + interval '1 hour'").await;
    let second = project.pgtide(&format!("{backfill} --parallel 1")).spawn();
    let waiting = "select count(distinct pid) from pg_catalog.pg_locks
                   where locktype = 'advisory' and not granted
                     and database = (select oid from pg_catalog.pg_database where datname = current_database())";
    let client = project.destination.client().await;
    until("both stand at the gate", || async {
        client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    gate.batch_execute(&format!("select pg_advisory_unlock({GATE})")).await.unwrap();
    first.finish().await.expect(0);
    second.finish().await.expect(0);
    assert_eq!(
        project.destination.scalar("select string_agg(state, ' ') from pgtide.backfill").await,
        "done"
    );
    let twice = "select string_agg(distinct n::text, ' ') from (
                     select count(*) as n from pgtide.attempt where outcome = 'loaded' group by interval_id) each";
    // Of a load whose moment is in doubt nobody says that it was asked for.
    let loads = project.destination.scalar(twice).await;
    assert!(["2", "2 3", "3"].contains(&&*loads), "{loads}");
}

#[tokio::test]
async fn a_plain_run_leaves_what_another_has_loaded_meanwhile() {
    let project = project("asked_plain", "").await;
    let gate = project.destination.client().await;
    gate.batch_execute(&format!("select pg_advisory_lock({GATE})")).await.unwrap();
    let first = project.pgtide("run events --date 2026-01-06 --date 2026-01-07 --parallel 1").spawn();
    until_at_the_gate(&project).await;
    let count = "select count(*) from pgtide.attempt where outcome = 'loaded'";
    // Without the gate, another process loads the 7th, which the first has seen as never loaded.
    let job = project.folder().join("jobs/events.toml");
    std::fs::write(&job, events::job(DAILY)).unwrap();
    project.pgtide("run events --date 2026-01-07").run().await.expect(0);
    gate.batch_execute(&format!("select pg_advisory_unlock({GATE})")).await.unwrap();
    let output = first.finish().await.expect(0);
    assert!(output.stderr.contains("loaded meanwhile by another run"), "{}", output.stderr);
    assert_eq!(project.destination.scalar(count).await, "4");
}
