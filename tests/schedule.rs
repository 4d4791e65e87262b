//! What is due is loaded for ever: by one leader among several, whatever breaks and whoever edits a file.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::cli::{Running, write_file};
use crate::support::project::no_session_on;
use crate::support::{Database, Pair, Project, databases, until};

/// A row for each second of a few minutes around now.
const TICKS: &str = "
create table public.ticks as
select at, md5(at::text) as body
from generate_series(date_trunc('second', now()) - interval '5 minutes', now() + interval '10 minutes',
                     interval '1 second') at;
create index on public.ticks (at)";

/// A job whose next interval is complete every two seconds.
fn ticks(into: &str, keys: &str) -> String {
    format!(
        "table = \"public.ticks\"\ninto = \"mart.{into}\"\ncreate = true\ntime_column = \"at\"\n\
         interval = \"2s\"\nmin_delay = \"0s\"\n{keys}"
    )
}

/// A job of three days that are all over.
const DAYS: &str = "
table = \"public.days\"
into = \"mart.days\"
create = true
time_column = \"at\"
interval = \"day\"
catchup = \"all\"
start_date = 2026-01-01
end_date = 2026-01-03
";

const DAYS_TABLE: &str = "
create table public.days as
select at from generate_series(timestamptz '2026-01-01 12:00Z', '2026-01-10 12:00Z', interval '1 day') at";

async fn scheduled(hint: &str) -> (Pair, Project) {
    let pair = databases(hint).await;
    pair.source.exec(TICKS).await;
    pair.source.exec(DAYS_TABLE).await;
    pair.destination.exec("create schema mart").await;
    (pair.clone(), Project::new(&pair))
}

/// Starts the schedule of a project, known to others by its name.
fn start(project: &Project) -> Running {
    project.pgtide("schedule").spawn()
}

async fn until_loaded(destination: &Database, job: &str, at_least: i64) {
    let client = destination.client().await;
    until("intervals are loaded", || async {
        let sql = "select count(*) from pgtide.interval where job = $1 and state = 'loaded'";
        // The ledger is made by the first load.
        client.query_one(sql, &[&job]).await.is_ok_and(|row| row.get::<_, i64>(0) >= at_least)
    })
    .await;
}

async fn loaded(destination: &Database, job: &str) -> i64 {
    let sql = format!("select count(*) from pgtide.interval where job = '{job}' and state = 'loaded'");
    destination.scalar(&sql).await.parse().unwrap()
}

async fn stop(running: Running) -> String {
    running.signal(Signal::SIGTERM);
    running.finish().await.expect(143).stderr
}

/// Finishes what was stopped in the middle; then no row is there twice, and nothing is left over.
async fn assert_each_once(pair: &Pair, project: &Project) {
    project.no_session_left().await;
    project.pgtide("run").run().await.expect(0);
    project.assert_ledger_is_settled().await;
    let twice = "select count(*) from (select at from mart.ticks group by at having count(*) > 1) t";
    assert_eq!(pair.destination.scalar(twice).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_due_is_loaded_when_it_is_due_and_sigterm_ends_it_cleanly() {
    let (pair, project) = scheduled("schedule_due").await;
    let project = project.job("ticks", &ticks("ticks", "")).job("days", DAYS);
    let running = start(&project);
    running.stderr_contains("destination: this process leads the schedule of ").await;
    until_loaded(&pair.destination, "ticks", 4).await;
    until_loaded(&pair.destination, "days", 3).await;
    running.stderr_contains("  next: ticks ").await;
    let said = stop(running).await;
    assert!(!said.contains("failed"), "{said}");
    assert_each_once(&pair, &project).await;
    let tries = "select max(attempt) from pgtide.interval where job = 'days'";
    assert_eq!(pair.destination.scalar(tries).await, "1", "what is loaded is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_leads_and_the_other_takes_over_when_it_is_killed() {
    let (pair, project) = scheduled("schedule_leader").await;
    let project = project.job("ticks", &ticks("ticks", ""));
    let first = start(&project);
    first.stderr_contains("this process leads").await;
    let second = start(&project);
    second.stderr_contains("destination: standing by; the leader is ").await;
    second.stderr_contains(&format!("(process {})", first.pid())).await;
    until_loaded(&pair.destination, "ticks", 3).await;
    let by = "select count(distinct pid) from pgtide.interval";
    assert_eq!(pair.destination.scalar(by).await, "1", "who stands by loads nothing");
    first.signal(Signal::SIGKILL);
    first.finish().await.expect(137);
    let before = loaded(&pair.destination, "ticks").await;
    second.stderr_contains("this process leads").await;
    until_loaded(&pair.destination, "ticks", before + 2).await;
    stop(second).await;
    assert_each_once(&pair, &project).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_of_other_names_do_not_stand_by_for_each_other() {
    let (pair, one) = scheduled("schedule_names").await;
    let one = one.job("ticks", &ticks("ticks", ""));
    let other = Project::new(&pair).job("others", &ticks("others", ""));
    let (first, second) = (start(&one), start(&other));
    first.stderr_contains("this process leads").await;
    second.stderr_contains("this process leads").await;
    rename(other.folder(), "reports");
    second.stderr_contains("this process leads the schedule of reports").await;
    stop(first).await;
    stop(second).await;
}

/// Gives a project a name of its own.
fn rename(folder: &Path, name: &str) {
    let file = folder.join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("name = \"{name}\"\n{text}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_connection_breaks_says_so_and_competes_again() {
    let (pair, project) = scheduled("schedule_broken").await;
    let project = project.job("ticks", &ticks("ticks", ""));
    let running = start(&project);
    until_loaded(&pair.destination, "ticks", 1).await;
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and application_name like 'pgtide/leader %'";
    assert_eq!(pair.destination.scalar(sql).await, "1");
    running.stderr_contains("destination: cannot be asked, trying again: ").await;
    let before = loaded(&pair.destination, "ticks").await;
    until_loaded(&pair.destination, "ticks", before + 2).await;
    let said = stop(running).await;
    assert_eq!(said.matches("this process leads").count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_is_waited_for_and_holds_no_other() {
    let (pair, project) = scheduled("schedule_down").await;
    let project = project
        .job("ticks", &ticks("ticks", ""))
        .job("lost", &ticks("lost", "destination = \"elsewhere\"\n"));
    let down = "[connections.elsewhere]\nurl = \"postgres://nobody@127.0.0.1:1/nothing\"\n";
    let file = project.folder().join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{down}")).unwrap();
    let running = start(&project);
    running.stderr_contains("elsewhere: cannot be asked, trying again: ").await;
    until_loaded(&pair.destination, "ticks", 2).await;
    let up = format!("[connections.elsewhere]\nurl = \"{}\"\n", pair.destination.url());
    std::fs::write(&file, format!("{text}{up}")).unwrap();
    until_loaded(&pair.destination, "lost", 1).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_again_and_a_broken_edit_keeps_the_last_good_version() {
    let (pair, project) = scheduled("schedule_files").await;
    let project = project.job("ticks", &ticks("ticks", ""));
    let running = start(&project);
    until_loaded(&pair.destination, "ticks", 1).await;
    write_file(project.folder(), "jobs/days.toml", DAYS);
    running.stderr_contains("days: new job").await;
    until_loaded(&pair.destination, "days", 3).await;

    write_file(project.folder(), "jobs/ticks.toml", &ticks("ticks", "mdoe = \"merge\"\n"));
    running.stderr_contains("! ticks: is not valid; the last good version goes on").await;
    running.stderr_contains("ticks.toml:7: unknown key `mdoe`").await;
    let before = loaded(&pair.destination, "ticks").await;
    until_loaded(&pair.destination, "ticks", before + 2).await;
    write_file(project.folder(), "jobs/ticks.toml", &ticks("ticks", ""));
    running.stderr_contains("ticks: is good again").await;

    write_file(project.folder(), "jobs/days.toml", &DAYS.replace("2026-01-03", "2026-01-04"));
    running.stderr_contains("days: its file changed").await;
    until_loaded(&pair.destination, "days", 4).await;

    std::fs::remove_file(project.folder().join("jobs/days.toml")).unwrap();
    running.stderr_contains("days: its file is gone").await;
    let said = stop(running).await;
    assert_eq!(said.matches("is not valid").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_project_file_keeps_the_last_good_one() {
    let (pair, project) = scheduled("schedule_project").await;
    let project = project.job("ticks", &ticks("ticks", ""));
    let running = start(&project);
    until_loaded(&pair.destination, "ticks", 1).await;
    let file = project.folder().join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}retires = 3\n")).unwrap();
    running.stderr_contains("! pgtide.toml: is not valid; the last good version goes on").await;
    let before = loaded(&pair.destination, "ticks").await;
    until_loaded(&pair.destination, "ticks", before + 2).await;
    std::fs::write(&file, text).unwrap();
    running.stderr_contains("pgtide.toml: is good again").await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_start_is_said_once_and_holds_no_other() {
    let (pair, project) = scheduled("schedule_stuck").await;
    let stuck = "table = \"public.nothing\"\ninto = \"mart.nothing\"\ncreate = true\n";
    let project = project.job("ticks", &ticks("ticks", "")).job("stuck", stuck);
    let running = start(&project);
    running.stderr_contains("x stuck: not started, again in ").await;
    until_loaded(&pair.destination, "ticks", 3).await;
    pair.source.exec("create table public.nothing (id int)").await;
    // A changed file is tried at once; what was mended elsewhere, within the minute.
    write_file(project.folder(), "jobs/stuck.toml", &format!("{stuck}batch_rows = 10\n"));
    until_loaded(&pair.destination, "stuck", 1).await;
    let said = stop(running).await;
    assert_eq!(said.matches("stuck: not started").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_failed_too_often_is_left_and_the_next_ones_are_not() {
    let (pair, project) = scheduled("schedule_failed").await;
    pair.destination.exec("create table mart.days (at timestamptz check (at <> '2026-01-02 12:00Z'))").await;
    let keys = "retries = 1\nretry_delay = \"100ms\"\n";
    let project = project.job("ticks", &ticks("ticks", "")).job("days", &format!("{DAYS}{keys}"));
    let running = start(&project);
    until_loaded(&pair.destination, "days", 2).await;
    let tries = "select coalesce(max(tries), 0) from pgtide.interval where job = 'days' and state = 'failed'";
    until("both tries are used", || async { pair.destination.scalar(tries).await == "2" }).await;
    let before = loaded(&pair.destination, "ticks").await;
    until_loaded(&pair.destination, "ticks", before + 2).await;
    assert_eq!(pair.destination.scalar(tries).await, "2");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_an_object_for_all_that_is_said() {
    let (pair, project) = scheduled("schedule_json").await;
    let project = project.job("ticks", &ticks("ticks", ""));
    let running = project.pgtide("schedule -o json").spawn();
    until_loaded(&pair.destination, "ticks", 2).await;
    running.stdout_contains("\"schedule_waiting\"").await;
    running.signal(Signal::SIGTERM);
    let output = running.finish().await.expect(143);
    let objects: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| objects.iter().find(|object| object["event"] == event).cloned().unwrap();
    assert_eq!(of("schedule_leading")["destination"], "destination");
    assert_eq!(of("run_finished")["job"], "ticks");
    assert!(of("schedule_waiting")["due"].as_str().unwrap().contains('T'));
    assert!(!output.stderr.contains("leads"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_it_at_the_start() {
    let (pair, project) = scheduled("schedule_refused").await;
    project.pgtide("schedule").run().await.expect(78);
    let project = project.job("days", DAYS);
    let unknown = project.pgtide("schedule dasy").run().await.expect(2);
    assert!(unknown.stderr.contains("did you mean `days`"), "{}", unknown.stderr);
    let project = project.job("days", "table = 3\n");
    let broken = project.pgtide("schedule").run().await.expect(78);
    assert!(broken.stderr.contains("days.toml:1: `table`"), "{}", broken.stderr);
    no_session_on(&pair.destination).await;
}
