//! Limits that hold over processes: runs of a job, pools, all runs, connections; who goes first.
//!
//! What was at work at once is read from the history, where the server's clock wrote when each attempt
//! was claimed, after it had its slots, and when it ended, before it gave them back.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use pgtide::config::environment::Environment;
use pgtide::config::overrides::Overrides;
use pgtide::config::project::Project as Configuration;
use pgtide::engine::{Engine, Options};
use pgtide::event::{Events, Halt};
use pgtide::ledger::Owner;
use pgtide::plan::{Dates, Request};

use crate::support::cli::write_file;
use crate::support::events;
use crate::support::{Database, Project, databases, until};

const TWELVE: &str = "--from-date 2026-01-01 --to-date 2026-01-12";

/// A job over its own table, so that two jobs may run on the same rows.
fn job(into: &str, keys: &str) -> String {
    let job = events::job(&format!("{}create = true\n{keys}", events::DAILY));
    job.replace("mart.events", into).replace("max_active_runs = 2\n", "")
}

/// Says something about the project as a whole.
fn declare(project: &Project, text: &str) {
    let file = project.folder().join("pgtide.toml");
    let rest = std::fs::read_to_string(&file).unwrap();
    write_file(project.folder(), "pgtide.toml", &format!("{text}\n{rest}"));
}

/// The most slots that were taken at once, if an attempt of each job takes so many.
async fn most_at_once(project: &Project, takes: &str) -> i64 {
    let sql = format!(
        "with steps as (
             select a.started_at as at, {takes} as change
             from pgtide.attempt a join pgtide.interval i on i.id = a.interval_id
             union all
             select a.finished_at, -({takes})
             from pgtide.attempt a join pgtide.interval i on i.id = a.interval_id)
         select max(open) from (select sum(change) over (order by at, change) as open from steps) s"
    );
    project.destination.scalar(&sql).await.parse().unwrap()
}

#[tokio::test]
async fn max_active_runs_holds_over_processes() {
    let pair = databases("limit_runs").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 2"));
    let commands = ["backfill events", "backfill events", "run events"];
    let runs: Vec<_> =
        commands.map(|verb| project.pgtide(&format!("{verb} {TWELVE} --parallel 4")).spawn()).into();
    for run in runs {
        let output = run.finish().await;
        assert!([0, 75].contains(&output.code), "{}: {}", output.code, output.stderr);
    }
    project.pgtide(&format!("backfill events {TWELVE}")).run().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(most_at_once(&project, "1").await, 2);
}

#[tokio::test]
async fn a_pool_holds_over_jobs_that_take_one_slot_or_two() {
    let pair = databases("limit_pool").await;
    events::make(&pair).await;
    let light = job("mart.light", "pool = \"heavy\"\nmax_active_runs = 8");
    let heavy = job("mart.heavy", "pool = \"heavy\"\npool_slots = 2\nmax_active_runs = 8");
    let project = Project::new(&pair).job("light", &light).job("heavy", &heavy);
    declare(&project, "parallelism = 8\n[pools]\nheavy = 3");
    for job in ["light", "heavy"] {
        project.pgtide(&format!("run {job} --date 2026-01-01")).run().await.expect(0);
    }
    let runs =
        ["light", "heavy"].map(|job| project.pgtide(&format!("run {job} {TWELVE} --parallel 8")).spawn());
    for run in runs {
        run.finish().await.expect(0);
    }
    for into in ["mart.light", "mart.heavy"] {
        crate::support::rows::assert_equal(&pair.source, &pair.destination, events::FROM, into).await;
    }
    let most = most_at_once(&project, "case when i.job = 'heavy' then 2 else 1 end").await;
    assert!((2..=3).contains(&most), "{most} slots were taken at once");
}

#[tokio::test]
async fn parallelism_holds_over_jobs() {
    let pair = databases("limit_all").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("one", &job("mart.one", "")).job("other", &job("mart.other", ""));
    declare(&project, "parallelism = 2");
    let runs = ["one", "other"].map(|job| project.pgtide(&format!("run {job} {TWELVE}")).spawn());
    for run in runs {
        run.finish().await.expect(0);
    }
    assert_eq!(most_at_once(&project, "1").await, 2);
}

#[tokio::test]
async fn connections_to_a_server_are_never_more_than_its_entry_allows() {
    let pair = databases("limit_connections").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 8\nwriters = 2"));
    let file = project.folder().join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[connections.source]\n", "[connections.source]\nmax_connections = 3\n");
    let text =
        text.replace("[connections.destination]\n", "[connections.destination]\nmax_connections = 7\n");
    std::fs::write(&file, text).unwrap();
    project.pgtide("run events --date 2026-01-01").run().await.expect(0);

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watch = |database: &Database| {
        let (database, stopped) = (database.clone(), stopped.clone());
        tokio::spawn(async move {
            let client = database.client().await;
            // The process that holds slots beside those that only wait for theirs.
            let sql = "select count(*) from pg_catalog.pg_stat_activity
                       where datname = current_database() and application_name = 'pgtide/events'";
            let mut most = 0;
            while !*stopped.borrow() {
                most = most.max(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0));
            }
            most
        })
    };
    let (source, destination) = (watch(&pair.source), watch(&pair.destination));
    let runs: Vec<_> = (0..3).map(|_| project.pgtide(&format!("backfill events {TWELVE}")).spawn()).collect();
    for run in runs {
        run.finish().await.expect(0);
    }
    stop.send(true).unwrap();
    let (source, destination) = (source.await.unwrap(), destination.await.unwrap());
    assert!((1..=3).contains(&source), "{source} on the source");
    // A process that waits has one session, its control session, and there were three processes.
    assert!((4..=7 + 3).contains(&destination), "{destination} on the destination");
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_run_goes_before_a_backfill_that_is_at_work() {
    let pair = databases("limit_first").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 2"));
    let eleven = "--from-date 2026-01-01 --to-date 2026-01-11";
    let backfill = project.pgtide(&format!("backfill events {eleven} --max-rate 1000")).spawn();
    until_at_work(&project, 2).await;
    project.pgtide("run events --date 2026-01-12").run().await.expect(0);
    let loaded = "select count(*) from pgtide.interval where state = 'loaded'";
    let loaded: i64 = project.destination.scalar(loaded).await.parse().unwrap();
    assert!(loaded < 10, "the run waited until {loaded} days were loaded");
    backfill.finish().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(most_at_once(&project, "1").await, 2);
}

#[tokio::test]
async fn a_backfill_gets_a_slot_beside_runs_that_would_take_all() {
    let pair = databases("limit_share").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 2"));
    let eleven = "--from-date 2026-01-01 --to-date 2026-01-11";
    let run = project.pgtide(&format!("run events {eleven} --max-rate 1000")).spawn();
    until_at_work(&project, 2).await;
    project.pgtide("backfill events --date 2026-01-12").run().await.expect(0);
    let loaded = "select count(*) from pgtide.interval where state = 'loaded'";
    let loaded: i64 = project.destination.scalar(loaded).await.parse().unwrap();
    assert!(loaded < 10, "the backfill waited until {loaded} days were loaded");
    run.finish().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(most_at_once(&project, "1").await, 2);
}

#[tokio::test]
async fn a_run_goes_before_a_backfill_that_has_the_only_slot() {
    let pair = databases("limit_only").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 1"));
    let eleven = "--from-date 2026-01-01 --to-date 2026-01-11";
    let backfill = project.pgtide(&format!("backfill events {eleven} --max-rate 1500")).spawn();
    until_at_work(&project, 1).await;
    let run = project.pgtide("run events --date 2026-01-12").spawn();
    run.stderr_contains("events waits: other runs of it have all 1 slots").await;
    run.finish().await.expect(0);
    let loaded = "select count(*) from pgtide.interval where state = 'loaded'";
    let loaded: i64 = project.destination.scalar(loaded).await.parse().unwrap();
    assert!(loaded < 10, "the run waited until {loaded} days were loaded");
    backfill.finish().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(most_at_once(&project, "1").await, 1);
}

#[tokio::test]
async fn what_bounds_the_speed_is_said_beside_the_totals() {
    let pair = databases("limit_now").await;
    let project = events::daily(&pair, "").await;
    let run = project.pgtide("run events --date 2026-01-01 --max-rate 100").spawn();
    run.stderr_contains("the limit now: --max-rate (rows are held back ").await;
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.finish().await.expect(143);
}

#[tokio::test]
async fn a_killed_process_gives_its_slots_back() {
    let pair = databases("limit_killed").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &job("mart.events", "max_active_runs = 1"));
    let killed = project.pgtide(&format!("run events {TWELVE} --max-rate 500")).spawn();
    until_at_work(&project, 1).await;
    let next = project.pgtide(&format!("backfill events {TWELVE}")).spawn();
    next.stderr_contains("events waits").await;
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    killed.finish().await.expect(137);
    next.finish().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_pool_that_is_not_declared_is_a_finding() {
    let pair = databases("limit_pool_unknown").await;
    let project = Project::new(&pair)
        .job("events", &job("mart.events", "pool = \"havy\""))
        .job("large", &job("mart.large", "pool = \"heavy\"\npool_slots = 9"));
    declare(&project, "[pools]\nheavy = 3");
    for (job, parts) in [
        ("events", ["`pool`: `havy` is not declared, did you mean `heavy`?", "[pools]"]),
        ("large", ["jobs/large.toml", "`heavy` has 3 slots, and an interval takes 9"]),
    ] {
        let output = project.pgtide(&format!("run {job}")).run().await.expect(78);
        for part in parts {
            assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
        }
    }
    let output = project.pgtide("check").run().await.expect(78);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("havy") && said.contains("takes 9"), "{said}");
}

#[tokio::test]
async fn nothing_starts_after_the_time_to_stop() {
    let pair = databases("limit_stop_at").await;
    let project = events::daily(&pair, "").await;
    let env = Environment::empty(project.folder()).with_user("postgres");
    let configuration = Configuration::load(&Overrides::default(), &env).unwrap();
    let job = configuration.job("events").unwrap();
    let dates = Dates::Range { from: Some("2026-01-01".into()), to: Some("2026-01-12".into()) };
    let request = Request::of(&job, dates);
    let engine = |stop_at| {
        Arc::new(Engine {
            source: configuration.connection("source").unwrap(),
            destination: configuration.connection("destination").unwrap(),
            ledger_schema: "pgtide".into(),
            owner: Owner { host: "etl-1".into(), pid: 1, run_id: "run".into(), trigger: None },
            events: Events::silent(),
            shutdown: pgtide::shutdown::channel().1,
            view_rules: configuration.view_rules().clone(),
            options: Options { stop_at: Some(stop_at), ..Options::default() },
        })
    };
    let (now, job) = (Utc::now(), Arc::new(job));
    let summary = Box::pin(engine(now).run(&job, &request, now)).await.unwrap();
    assert_eq!((summary.loaded, summary.not_started, summary.halted), (0, 12, Some(Halt::StopAt)));
    assert_eq!(pgtide::exit::of_runs(&[summary]), 75);
    let later = now + TimeDelta::hours(1);
    let summary = Box::pin(engine(later).run(&job, &request, now)).await.unwrap();
    assert_eq!((summary.loaded, summary.not_started, summary.halted), (12, 0, None));
    events::assert_loaded(&project).await;
}

/// Waits until so many intervals are at work.
async fn until_at_work(project: &Project, number: i64) {
    let client = project.destination.client().await;
    until("enough intervals are at work", || async {
        let sql = "select count(*) from pgtide.interval where token is not null";
        // The first run is about to make the ledger.
        client.query_one(sql, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) >= number)
    })
    .await;
}
