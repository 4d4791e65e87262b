//! A program of the user is told how runs ended: the outcome on its standard input, and nothing else changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::events::{self, RUN};
use crate::support::{CANARY, Project, cli, databases, until};

/// Both programs write what they read into a file of their own.
const TOLD: &str = "notify_on_success = [\"sh\", \"-c\", \"cat > told-success.json; env > told-env\"]\n\
                    notify_on_failure = [\"./told.sh\", \"failure\"]\n";

/// A project whose programs are told.
async fn told(hint: &str, keys: &str) -> Project {
    let pair = databases(hint).await;
    let project = events::daily(&pair, keys).await;
    script(project.folder(), "told.sh", "#!/bin/sh\ncat > told-$1.json\n");
    project
}

fn script(folder: &Path, name: &str, text: &str) {
    cli::write_file(folder, name, text);
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn read(project: &Project, name: &str) -> Option<Value> {
    let text = fs::read_to_string(project.folder().join(name)).ok()?;
    assert!(!text.contains(CANARY), "{text}");
    Some(serde_json::from_str(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_went_well_is_told_with_what_it_loaded() {
    let project = told("notify_well", TOLD).await;
    project.pgtide("run events --date 2026-01-01 --date 2026-01-02").run().await.expect(0);
    let told = read(&project, "told-success.json").unwrap();
    assert_eq!(told["job"], "events");
    assert_eq!(told["state"], "success");
    assert_eq!(told["loaded"], serde_json::json!(["2026-01-01", "2026-01-02"]));
    assert_eq!((&told["failed"], &told["error"]), (&serde_json::json!([]), &Value::Null));
    assert_eq!(told["rows"], 2_000);
    assert_eq!(told["retry_command"], Value::Null);
    let runs = project.destination.rows("select distinct run_id, host from pgtide.interval").await;
    assert_eq!(
        runs,
        [[told["run_id"].as_str().map(str::to_owned), told["host"].as_str().map(str::to_owned)]]
    );
    assert!(told["started"].as_str().unwrap() <= told["finished"].as_str().unwrap());
    let environment = fs::read_to_string(project.folder().join("told-env")).unwrap();
    assert!(environment.contains("HOME=") && !environment.contains(CANARY), "{environment}");
    assert!(read(&project, "told-failure.json").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_failures_is_told_with_each_error_and_the_command_that_tries_again() {
    let project = told("notify_badly", TOLD).await;
    project.destination.exec("alter table mart.events add constraint even check (id % 12 <> 1)").await;
    project.pgtide("run events --from-date 2026-01-01 --to-date 2026-01-02").run().await.expect(1);
    let told = read(&project, "told-failure.json").unwrap();
    assert_eq!(told["state"], "failure");
    assert_eq!(told["loaded"], serde_json::json!(["2026-01-01"]));
    let failed = &told["failed"][0];
    assert_eq!((&failed["interval"], &failed["sqlstate"]), (&"2026-01-02".into(), &"23514".into()));
    assert!(failed["error"].as_str().unwrap().contains("mart.events"), "{failed}");
    assert_eq!(told["retry_command"], "pgtide run events --date 2026-01-02");
    assert!(read(&project, "told-success.json").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_start_is_told_too() {
    let project = told("notify_unstarted", TOLD).await;
    project.destination.exec("drop table mart.events").await;
    project.pgtide("run events --date 2026-01-01").run().await.expect(78);
    let told = read(&project, "told-failure.json").unwrap();
    assert!(told["error"]["error"].as_str().unwrap().contains("mart.events"), "{told}");
    assert_eq!(told["loaded"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_a_dry_run_or_when_nothing_was_to_do() {
    let project = told("notify_nothing", TOLD).await;
    project.pgtide("run events --date 2026-01-01 --dry-run").run().await.expect(0);
    assert!(read(&project, "told-success.json").is_none());
    project.pgtide("run events --date 2026-01-01").run().await.expect(0);
    fs::remove_file(project.folder().join("told-success.json")).unwrap();
    project.pgtide("run events --date 2026-01-01").run().await.expect(0);
    assert!(read(&project, "told-success.json").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_a_warning_and_the_exit_code_stays() {
    let project = told("notify_fails", "notify_on_success = [\"./missing.sh\"]\n").await;
    let output = project.pgtide("run events --date 2026-01-01").run().await.expect(0);
    assert!(
        output.stderr.contains("nobody may have been told: `./missing.sh` cannot be"),
        "{}",
        output.stderr
    );
    script(project.folder(), "missing.sh", "#!/bin/sh\necho the mail server is down >&2\nexit 3\n");
    let output = project.pgtide("run events --date 2026-01-02").run().await.expect(0);
    assert!(
        output.stderr.contains("ended with exit status: 3: the mail server is down"),
        "{}",
        output.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_end_holds_nobody_who_was_asked_to_stop() {
    let keys = "notify_on_success = [\"sh\", \"-c\", \"touch started; exec sleep 1000\"]\n";
    let project = told("notify_hangs", keys).await;
    let running = project.pgtide("run events --date 2026-01-01").spawn();
    let started = project.folder().join("started");
    until("the program has started", || async { started.exists() }).await;
    running.signal(Signal::SIGTERM);
    let output = running.finish().await.expect(0);
    assert!(output.stderr.contains("was killed: pgtide was asked to stop"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_tells_nobody() {
    let project = told("notify_stopped", TOLD).await;
    let running = project.pgtide(RUN).arg(events::SLOWLY).spawn();
    events::until_sent(&project.destination, running.pid(), events::ROW_BYTES * 250).await;
    running.signal(Signal::SIGTERM);
    let output = running.finish().await.expect(143);
    for file in ["told-success.json", "told-failure.json"] {
        assert!(read(&project, file).is_none(), "{file} is there; {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_its_first_interval_tells_nobody() {
    let project = told("notify_stopped_early", TOLD).await;
    let client = project.source.client().await;
    client.batch_execute("begin; lock table public.events in access exclusive mode").await.unwrap();
    let running = project.pgtide(RUN).spawn();
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name like 'pgtide%' and wait_event_type = 'Lock'";
    until("the run waits for the lock", || async { project.source.scalar(waits).await != "0" }).await;
    running.signal(Signal::SIGTERM);
    let output = running.finish().await.expect(143);
    for file in ["told-success.json", "told-failure.json"] {
        assert!(read(&project, file).is_none(), "{file} is there; {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_of_the_guide_posts_one_line() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/notify.sh");
    let keys = format!("notify_on_failure = [\"{}\", \"./post.sh\"]\n", guide.display());
    let project = told("notify_guide", &keys).await;
    script(project.folder(), "post.sh", "#!/bin/sh\ncat > posted\n");
    project.destination.exec("alter table mart.events add constraint even check (id % 12 <> 1)").await;
    project.pgtide("run events --from-date 2026-01-01 --to-date 2026-01-02").run().await.expect(1);
    let posted = fs::read_to_string(project.folder().join("posted")).unwrap();
    assert!(posted.starts_with("pgtide: events failure"), "{posted}");
    assert!(posted.contains("\n2026-01-02: "), "{posted}");
    assert!(posted.contains("\npgtide run events --date 2026-01-02\n"), "{posted}");
}
