//! Backfills as objects: processes share one, some die, some pause; each interval is loaded once.

use nix::sys::signal::Signal;

use crate::support::events::{self, FROM, INTO};
use crate::support::{Project, databases, flights, until};

const FLIGHTS: &str = r#"
table = "public.flights"
into = "mart.flights"
time_column = "time_hour"
interval = "day"
timezone = "America/New_York"
mode = "delete-insert"
create = true
max_active_runs = 16
"#;

const YEAR: &str = "backfill flights --from-date 2013-01-01 --to-date 2013-12-31 --parallel 2";

const TWELVE: &str = "backfill events --from-date 2026-01-01 --to-date 2026-01-12";

/// So many rows a second that a test can see a backfill at work: a day has 1,000.
const SLOWLY: &str = "--max-rate 1500";

/// A job whose days are many at once, if a test lets them.
fn wide(keys: &str) -> String {
    events::job(&format!("{}{keys}", events::DAILY)).replace("max_active_runs = 2", "max_active_runs = 8")
}

async fn project(hint: &str, keys: &str) -> Project {
    let pair = databases(hint).await;
    events::make(&pair).await;
    Project::new(&pair).job("events", &wide(keys))
}

/// Waits until so many intervals are loaded.
async fn until_loaded(project: &Project, number: i64) {
    let client = project.destination.client().await;
    until("enough intervals are loaded", || async {
        let sql = "select count(*) from pgtide.interval where loaded_at is not null";
        // The first run is about to make the ledger.
        client.query_one(sql, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) >= number)
    })
    .await;
}

/// A transaction that has these keys: who stores a row with one of them waits for its end.
async fn held(project: &Project, ids: &str) -> tokio_postgres::Client {
    let client = project.destination.client().await;
    let sql = format!("begin; insert into mart.events select id, now(), '' from {ids} id");
    client.batch_execute(&sql).await.unwrap();
    client
}

async fn state(project: &Project) -> String {
    project
        .destination
        .scalar("select string_agg(number || ' ' || state, ', ' order by number) from pgtide.backfill")
        .await
}

/// Attempts that loaded, and intervals.
async fn loads(project: &Project) -> String {
    let sql = "select count(*) || ' of ' || count(distinct interval_id) from pgtide.attempt
               where outcome = 'loaded'";
    project.destination.scalar(sql).await
}

#[tokio::test]
async fn four_processes_share_a_year_and_two_of_them_are_killed() {
    let pair = databases("backfill_year").await;
    flights::load_year(&pair.source).await;
    pair.destination.exec("create schema mart").await;
    let project = Project::new(&pair).job("flights", FLIGHTS);
    project.pgtide("run flights --date 2013-01-01").run().await.expect(0);
    pair.destination.exec("create index on mart.flights (time_hour)").await;

    let mut runs: Vec<_> = (0..4).map(|_| project.pgtide(YEAR).spawn()).collect();
    for loaded in [60, 150] {
        until_loaded(&project, loaded).await;
        let killed = runs.remove(0);
        killed.signal(Signal::SIGKILL);
        killed.finish().await.expect(137);
    }
    for run in runs {
        let output = run.finish().await.expect(0);
        assert!(output.stderr.contains("flights/1: "), "{}", output.stderr);
        assert!(output.stderr.contains("by other processes"), "{}", output.stderr);
    }
    project.assert_loaded("public.flights", "mart.flights").await;
    assert_eq!(loads(&project).await, "365 of 365", "each day was loaded once");
    assert_eq!(state(&project).await, "1 done");

    let list = project.pgtide("backfill list").run().await.expect(0).stdout;
    for part in ["flights/1", "2013-01-01 .. 2013-12-31", "365/365", "done"] {
        assert!(list.contains(part), "{part:?} is not in\n{list}");
    }
    // All is loaded: there is nothing to make an object for.
    project.pgtide(YEAR).run().await.expect(0);
    assert_eq!(state(&project).await, "1 done");
}

#[tokio::test]
async fn a_paused_backfill_ends_its_open_days_and_goes_on_when_it_is_resumed() {
    let project = project("backfill_pause", "").await;
    let running = project.pgtide(&format!("{TWELVE} {SLOWLY} --parallel 2")).spawn();
    until_loaded(&project, 1).await;
    let said = project.pgtide("backfill pause events/1").run().await.expect(0).stdout;
    assert!(said.contains("events/1 is paused"), "{said}");
    let output = running.finish().await.expect(75);
    for part in ["paused  events/1", "not done", "go on with: pgtide backfill resume events/1"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let open = "select count(*) from pgtide.interval where token is not null or state <> 'loaded'";
    assert_eq!(project.destination.scalar(open).await, "0", "what was open went on to its end");

    // Whoever starts the command again by itself does not undo what a person decided.
    let output = project.pgtide(TWELVE).run().await.expect(75);
    for part in ["events/1 was paused by postgres on", "pgtide backfill resume events/1"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let list = project.pgtide("backfill list events -o json").run().await.expect(0).stdout;
    let one: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&one["backfill"], &one["state"]), (&"events/1".into(), &"paused".into()));
    assert_eq!((&one["settings"]["max_rate"], &one["intervals"]), (&"1500".into(), &12.into()));

    project.pgtide("backfill resume events/1 --max-rate 1M").run().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!((state(&project).await, loads(&project).await), ("1 done".into(), "12 of 12".into()));
}

#[tokio::test]
async fn a_cancelled_backfill_stops_at_once_and_leaves_its_days_to_others() {
    let project = project("backfill_cancel", "").await;
    // A batch of a day is committed before the next chunk may come.
    let running = project.pgtide(&format!("{TWELVE} --max-rate 300 --parallel 2")).spawn();
    let client = project.destination.client().await;
    until("two days are at work", || async {
        let sql = "select count(*) from pgtide.interval where token is not null";
        client.query_one(sql, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == 2)
    })
    .await;
    project.pgtide("backfill cancel events/1").run().await.expect(0);
    let output = running.finish().await.expect(1);
    assert!(output.stderr.contains("cancelled  events/1: "), "{}", output.stderr);
    assert!(!output.stderr.contains("resume"), "{}", output.stderr);
    project.no_session_left().await;

    for verb in ["resume", "pause"] {
        let output = project.pgtide(&format!("backfill {verb} events/1")).run().await.expect(2);
        assert!(output.stderr.contains(&format!("cancelled: it cannot be {verb}d")), "{}", output.stderr);
    }
    project.pgtide(TWELVE).run().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(state(&project).await, "1 cancelled, 2 done");
}

#[tokio::test]
async fn a_day_that_fails_fails_the_backfill_of_every_process() {
    let project = project("backfill_fails", "").await;
    // The last row of a day; its first, as that of each other day, waits until both processes are at work.
    project.destination.exec("alter table mart.events add constraint not_2 check (id <> 11990)").await;
    let keys = held(&project, "generate_series(1, 12)").await;
    let watch = project.destination.client().await;
    let runs: Vec<_> =
        (0..2).map(|_| project.pgtide(&format!("{TWELVE} --parallel 2 --max-rate 3000")).spawn()).collect();
    until("each of both has two days", || async {
        let sql =
            "select count(*) = 4 and count(distinct pid) = 2 from pgtide.interval where token is not null";
        // The first run is about to make the ledger.
        watch.query_one(sql, &[]).await.is_ok_and(|row| row.get(0))
    })
    .await;
    keys.batch_execute("rollback").await.unwrap();
    for run in runs {
        let output = run.finish().await.expect(1);
        for part in ["1 failed", "x 2026-01-03", "not_2", "try again: pgtide backfill resume events/1"] {
            assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
        }
    }
    let failed = "select count(*) from pgtide.attempt where outcome = 'failed'";
    assert_eq!(project.destination.scalar(failed).await, "1", "one of them tried it, once");
    assert_eq!(state(&project).await, "1 running");
    project.destination.exec("alter table mart.events drop constraint not_2").await;
    project.pgtide("backfill resume events/1").run().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!((state(&project).await, loads(&project).await), ("1 done".into(), "12 of 12".into()));
}

#[tokio::test]
async fn a_day_that_another_run_has_is_passed_over_and_waited_for() {
    let project = project("backfill_held", "").await;
    project.pgtide("run events --date 2026-01-01").run().await.expect(0);
    let keys = held(&project, "generate_series(2, 2)").await;
    let run = project.pgtide("run events --date 2026-01-03").spawn();
    let held = "select count(*) from pgtide.interval where key = '2026-01-03' and token is not null";
    until("the run has its day", || async { project.destination.scalar(held).await == "1" }).await;
    let backfill = project.pgtide(TWELVE).spawn();
    until_loaded(&project, 11).await;
    assert_eq!(project.destination.scalar(held).await, "1", "all others were loaded around it");
    backfill.stderr_contains("other processes have the last 1 of it").await;
    keys.batch_execute("rollback").await.unwrap();
    let output = backfill.finish().await.expect(0);
    for part in ["other processes have the last 1 of it", "10 of 11 loaded, 1 by other processes"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    run.finish().await.expect(0);
    events::assert_loaded(&project).await;
    assert_eq!(loads(&project).await, "12 of 12");
}

#[tokio::test]
async fn processes_that_reload_share_the_days_too() {
    let project = project("backfill_reload", "").await;
    project.pgtide(events::RUN).run().await.expect(0);
    project.source.exec("update public.events set body = 'changed' where id % 7 = 0").await;
    let reload = format!("{TWELVE} --reload --parallel 2");
    let runs: Vec<_> = (0..3).map(|_| project.pgtide(&reload).spawn()).collect();
    for run in runs {
        run.finish().await.expect(0);
    }
    events::assert_loaded(&project).await;
    let twice = "select min(loads) || ' ' || max(loads) from (
                     select count(*) as loads from pgtide.attempt where outcome = 'loaded'
                     group by interval_id) each";
    assert_eq!(project.destination.scalar(twice).await, "2 2", "each day was loaded, and reloaded once");
}

#[tokio::test]
async fn a_reader_never_sees_a_day_that_is_reloaded_with_a_hole_or_twice() {
    let project = project("backfill_reader", "").await;
    project.pgtide(events::RUN).run().await.expect(0);
    let client = project.destination.client().await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reader = tokio::spawn(async move {
        let sql = format!(
            "select count(*), count(distinct id), min(day), max(day) from (
                 select id, count(*) over (partition by (at at time zone 'America/New_York')::date) as day
                 from {INTO}) rows"
        );
        let statement = client.prepare(&sql).await.unwrap();
        let mut counts = std::collections::BTreeSet::new();
        let mut looks = 0;
        while stopped.try_recv().is_err() {
            let row = client.query_one(&statement, &[]).await.unwrap();
            let [all, ids, least, most] = [0, 1, 2, 3].map(|column| row.get::<_, i64>(column));
            counts.insert((all, ids, least, most));
            looks += 1;
        }
        (looks, counts)
    });
    project.pgtide(&format!("{TWELVE} --reload --parallel 4")).run().await.expect(0);
    stop.send(()).unwrap();
    let (looks, counts) = reader.await.unwrap();
    assert!(looks > 0, "the reader looked");
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(12_000, 12_000, 1_000, 1_000)]);
    project.assert_loaded(FROM, INTO).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_what_is_there() {
    let project = project("backfill_bad", "").await;
    for (arguments, code, parts) in [
        ("backfill events --stop-at 25:00", 2, &["--stop-at", "such as 07:00"][..]),
        ("backfill events --stop-at soon", 2, &["--stop-at", "07:00"]),
        ("backfill events --max-rate fast", 2, &["--max-rate", "50k", "20MiB"]),
        ("backfill events --max-rate 0", 2, &["--max-rate", "above 0"]),
        ("backfill pause events", 2, &["JOB/NUMBER", "orders/7"]),
        ("backfill pause events/1", 2, &["no backfill events/1", "no ledger yet"]),
        ("backfill pause evens/1", 2, &["no job `evens`", "`events`"]),
        ("backfill events list", 2, &["stands before list"]),
        ("backfill", 2, &["JOB"]),
    ] {
        let output = project.pgtide(arguments).run().await.expect(code);
        for part in parts {
            assert!(output.stderr.contains(part), "{arguments}: {part:?} is not in\n{}", output.stderr);
        }
    }
    project.pgtide("backfill events --date 2026-01-01 --date 2026-01-04").run().await.expect(0);
    let output = project.pgtide("backfill cancel events/11").run().await.expect(2);
    for part in ["no backfill events/11, did you mean `events/1`?", "backfills: events/1"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let output = project.pgtide("backfill cancel events/1").run().await.expect(2);
    assert!(output.stderr.contains("events/1 is done: it cannot be cancelled"), "{}", output.stderr);
    let output = project.pgtide("backfill resume events/1").run().await.expect(0);
    assert!(output.stderr.contains("nothing to do  events/1"), "{}", output.stderr);
}

/// Backfills of other dates, and a run beside them: a day is loaded by whoever comes first.
#[tokio::test]
async fn backfills_that_overlap_meet_in_the_ledger() {
    let project = project("backfill_overlap", "").await;
    let runs = ["--from-date 2026-01-01 --to-date 2026-01-08", "--from-date 2026-01-05 --to-date 2026-01-12"]
        .map(|dates| project.pgtide(&format!("backfill events {dates} --parallel 2")).spawn());
    let due = project.pgtide("run events --date 2026-01-06").run().await;
    assert!([0, 75].contains(&due.code), "{}: {}", due.code, due.stderr);
    for run in runs {
        run.finish().await.expect(0);
    }
    events::assert_loaded(&project).await;
    assert_eq!((state(&project).await, loads(&project).await), ("1 done, 2 done".into(), "12 of 12".into()));
}

/// A missing table stays missing; a session that is gone is opened again.
#[tokio::test]
async fn a_failure_is_tried_again_by_its_kind() {
    let keys = "retries = 3\nretry_delay = \"100ms\"";
    let project = project("backfill_retries", keys).await;
    let broken = "alter table public.events rename to rows;
        create function public.missing() returns integer language plpgsql as
            $$ begin return (select count(*) from public.nowhere); end $$;
        create view public.events as
            select id, at, case when id = 4 then body || public.missing() else body end as body from public.rows";
    project.source.exec(broken).await;
    let output = project.pgtide(TWELVE).run().await.expect(1);
    for part in ["11 of 12 loaded, 1 failed", "x 2026-01-05", "public.nowhere", "42P01"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let history = "select string_agg(a.outcome || ' ' || coalesce(a.error_code, ''), ', ' order by a.id)
                   from pgtide.attempt a join pgtide.interval i on i.id = interval_id where key = '2026-01-05'";
    assert_eq!(project.destination.scalar(history).await, "failed 42P01", "it was tried once");

    project.source.exec("create table public.nowhere ()").await;
    let resumed = project.pgtide("backfill resume events/1 --max-rate 200").spawn();
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and query like '/* pgtide job=events%'";
    until("the session that reads was ended", || async { project.source.scalar(ended).await == "1" }).await;
    resumed.stderr_contains("next try in").await;
    resumed.finish().await.expect(0);
    let history = project.destination.scalar(history).await;
    let outcomes: Vec<_> = history.split(", ").map(|one| one.split(' ').next().unwrap()).collect();
    assert_eq!(outcomes, ["failed", "failed", "loaded"], "{history}");
    assert_eq!(state(&project).await, "1 done");
}
