//! Intervals that another live run holds: 75 for who asks once; the schedule leaves them, and looks again.

use nix::sys::signal::Signal;
use tokio_postgres::Client;

use crate::support::cli::{Running, write_file};
use crate::support::{Project, databases, events, until};

/// Three days that are due, and a program that is told of failures.
const THREE_DAYS: &str = "create = true\ncatchup = \"all\"\nstart_date = 2026-01-01\nend_date = 2026-01-03\n\
                          notify_on_failure = [\"sh\", \"-c\", \"cat >> told.json\"]\n";

/// Makes an interval wait until the test opens the gate.
const GATE: &str = "pre_sql = [\"select pg_catalog.pg_advisory_xact_lock(4711)\"]\n";

/// A process that holds an interval, and the session that keeps it waiting.
struct Holding {
    holder: Running,
    gate: Client,
}

impl Holding {
    async fn kill(self) {
        self.holder.signal(Signal::SIGKILL);
        self.holder.finish().await.expect(137);
        // A server process that waits for a lock does not see that its client is gone.
        drop(self.gate);
    }
}

/// A project in which another process holds 2026-01-01 until it is killed; these keys are added then.
async fn held(name: &str, added: &str) -> (Project, Holding) {
    let pair = databases(name).await;
    let keys = format!("{THREE_DAYS}{added}");
    let project = events::daily(&pair, &format!("{THREE_DAYS}{GATE}")).await;
    let gate = project.destination.client().await;
    gate.batch_execute("select pg_catalog.pg_advisory_lock(4711)").await.unwrap();
    let holder = project.pgtide("run events --date 2026-01-01").spawn();
    let waits = "select count(*) from pg_catalog.pg_stat_activity
                 where datname = current_database() and wait_event = 'advisory'";
    until("the holder stands at the gate", || async { project.destination.scalar(waits).await == "1" }).await;
    write_file(project.folder(), "jobs/events.toml", &events::job(&format!("{}{keys}", events::DAILY)));
    (project, Holding { holder, gate })
}

async fn until_loaded(project: &Project, days: &str) {
    let sql = "select count(*) from pgtide.interval where state = 'loaded'";
    until("the days are loaded", || async { project.destination.scalar(sql).await == days }).await;
}

fn told(project: &Project) -> bool {
    project.folder().join("told.json").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_meets_a_held_interval_ends_with_75_with_dates_and_without() {
    let (project, holder) = held("held_run", "").await;
    for arguments in ["run events --date 2026-01-01", "run events", "run"] {
        let output = project.pgtide(arguments).run().await.expect(75);
        assert!(output.stderr.contains("already running on "), "{arguments}: {}", output.stderr);
        assert!(output.stderr.contains("--take-over"), "{arguments}: {}", output.stderr);
    }
    until_loaded(&project, "2").await;
    holder.kill().await;
    project.pgtide("run").run().await.expect(0);
    until_loaded(&project, "3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_leaves_a_held_interval_and_looks_again() {
    let (project, holder) = held("held_schedule", "").await;
    let schedule = project.pgtide("schedule -v").spawn();
    schedule.stderr_contains("events 2026-01-01  skipped: already running (").await;
    until_loaded(&project, "2").await;
    schedule.stderr_contains("  next: events ").await;
    assert!(!told(&project), "nobody is told");
    holder.kill().await;
    until_loaded(&project, "3").await;
    schedule.signal(Signal::SIGTERM);
    let said = schedule.finish().await.expect(143).stderr;
    assert!(!said.contains("failed") && !said.contains("try again"), "{said}");
    assert!(!told(&project), "nobody is told");
    let tries = "select string_agg(outcome, ' ' order by id) from pgtide.attempt where attempt = 1";
    assert_eq!(project.destination.scalar(tries).await, "loaded loaded interrupted", "and none failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_loads_nothing_before_its_past_that_another_run_holds() {
    // The holder's version of the job has more than one slot, so that this one is not kept by the limit.
    let (project, holder) = held("held_past", "depends_on_past = true\n").await;
    let schedule = project.pgtide("schedule -v").spawn();
    schedule.stderr_contains("events 2026-01-01  skipped: already running (").await;
    schedule.stderr_contains("events 2026-01-03  skipped: ").await;
    schedule
        .stderr_contains(
            "nothing to do  events: 3 skipped (2 waits for what another run has, 1 already running)",
        )
        .await;
    until_loaded(&project, "0").await;
    assert!(!told(&project), "nobody is told");
    holder.kill().await;
    until_loaded(&project, "3").await;
    schedule.signal(Signal::SIGTERM);
    let said = schedule.finish().await.expect(143).stderr;
    let looks = said.matches("2026-01-01  skipped").count();
    assert!(looks < 10, "{looks} looks");
    let order = "select string_agg(key, ' ' order by loaded_at) from pgtide.interval";
    assert_eq!(project.destination.scalar(order).await, "2026-01-01 2026-01-02 2026-01-03");
    assert!(!told(&project), "nobody is told");
}
