//! Runs that meet: another run, a failing neighbour, a signal, a take-over.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::timeout;

use crate::support::events::{self, INTO, RUN, until_sent};
use crate::support::project::versions;
use crate::support::{Project, databases, until};

/// A stop is promised within this time.
const STOP: Duration = Duration::from_secs(5);

/// So much of the load is done before something happens to it.
const MIDDLE: u64 = events::BYTES / 3;

#[tokio::test]
async fn runs_of_the_same_days_at_the_same_time_load_them_once() {
    let project = events::daily(&databases("at_once").await, "writers = 2").await;
    // The first runs ever: they make the ledger at the same time too.
    let runs: Vec<_> = (0..4).map(|_| project.pgtide(RUN).spawn()).collect();
    let mut codes = Vec::new();
    for run in runs {
        let output = run.finish().await;
        assert!([0, 75].contains(&output.code), "{}: {}", output.code, output.stderr);
        assert_eq!(output.code == 75, output.stderr.contains("already running on"), "{}", output.stderr);
        codes.push(output.code);
    }
    // What one of them was told is another's; together they may leave a day to nobody.
    project.no_session_left().await;
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
    let attempts = "select count(*), count(*) filter (where outcome = 'loaded') from pgtide.attempt";
    let attempts = project.destination.rows(attempts).await;
    assert_eq!(attempts[0], vec![Some("12".to_owned()); 2], "each day was loaded once; {codes:?}");
}

#[tokio::test]
async fn runs_of_a_copy_at_the_same_time_make_the_table_and_load_it_once() {
    let pair = databases("copies").await;
    events::make(&pair).await;
    let project = Project::new(&pair);
    let copy = "copy public.events --into mart.made";
    let runs: Vec<_> = (0..3).map(|_| project.pgtide(copy).spawn()).collect();
    let mut done = 0;
    for run in runs {
        let output = run.finish().await;
        // 78: one was later, and found rows that another had loaded.
        assert!([0, 75, 78].contains(&output.code), "{}: {}", output.code, output.stderr);
        done += usize::from(output.code == 0);
    }
    assert!(done >= 1, "one of them copies");
    project.assert_loaded("public.events", "mart.made").await;
}

#[tokio::test]
async fn a_day_that_fails_leaves_the_others_loaded_and_is_named_with_its_command() {
    let project = events::daily(&databases("one_fails").await, "").await;
    let fifth = "(at at time zone 'America/New_York')::date <> '2026-01-05' or id <> 4";
    project
        .destination
        .exec(&format!("alter table mart.events add constraint not_then check ({fifth})"))
        .await;
    let eight = "run events --from-date 2026-01-01 --to-date 2026-01-08 --parallel 8";
    let output = project.pgtide(eight).run().await.expect(1);
    for part in [
        "7 of 8 loaded, 1 failed",
        "x 2026-01-05",
        "constraint not_then",
        "pgtide run events --date 2026-01-05\n",
    ] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let states = "select string_agg(key, ' ' order by key) filter (where state = 'loaded'),
                         string_agg(key, ' ') filter (where state = 'failed') from pgtide.interval";
    let states = project.destination.rows(states).await;
    let loaded = ["01", "02", "03", "04", "06", "07", "08"].map(|d| format!("2026-01-{d}")).join(" ");
    assert_eq!(states[0], [Some(loaded), Some("2026-01-05".to_owned())]);

    project.destination.exec("alter table mart.events drop constraint not_then").await;
    project.pgtide("run events --date 2026-01-05").run().await.expect(0);
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_day_that_fails_ends_a_run_that_should_fail_fast() {
    let project = events::daily(&databases("fail_fast").await, "").await;
    project.destination.exec("alter table mart.events add constraint not_4 check (id <> 4)").await;
    let output = project.pgtide(&format!("{RUN} --parallel 1 --fail-fast")).run().await.expect(1);
    assert!(output.stderr.contains("4 of 12 loaded, 1 failed, 7 not done"), "{}", output.stderr);
    project.destination.exec("alter table mart.events drop constraint not_4").await;
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_signal_in_the_middle_stops_the_run_and_leaves_it_to_the_next() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let keys = "writers = 2\nretries = 3";
        let project = events::daily(&databases("signal").await, keys).await;
        let running = project.pgtide(RUN).arg(events::SLOWLY).spawn();
        until_sent(&project.destination, running.pid(), MIDDLE).await;
        running.signal(signal);
        let output = timeout(STOP, running.finish()).await.expect("it stops in time").expect(code);
        assert!(
            output.stderr.contains("go on with: pgtide run events --from-date 2026-01-01"),
            "{}",
            output.stderr
        );
        project.no_session_left().await;
        assert_eq!(locks(&project).await, "0");
        project.pgtide(RUN).run().await.expect(0);
        events::assert_loaded(&project).await;
    }
}

/// Whatever the run waits for when the signal comes.
#[tokio::test]
async fn a_signal_is_heard_while_the_run_waits() {
    let cases = [
        ("a lock on the ledger", "lock table pgtide.interval", "pgtide.interval"),
        ("a lock on the destination", "lock table mart.events", "mart.events"),
    ];
    for (what, lock, relation) in cases {
        let project = events::daily(&databases("signal_waits").await, "writers = 2").await;
        project.pgtide("run events --date 2026-01-01").run().await.expect(0);
        let client = project.destination.client().await;
        client.batch_execute(&format!("begin; {lock}")).await.unwrap();
        let running = project.pgtide(RUN).spawn();
        project.destination.until_awaited(relation).await;
        running.signal(Signal::SIGTERM);
        let stopped = timeout(STOP, running.finish()).await;
        let output = stopped.unwrap_or_else(|_| panic!("it does not stop while it waits for {what}"));
        output.expect(143);
        client.batch_execute("rollback").await.unwrap();
        project.no_session_left().await;
        project.pgtide(RUN).run().await.expect(0);
        events::assert_loaded(&project).await;
    }
}

#[tokio::test]
async fn a_signal_is_heard_while_the_source_is_waited_for() {
    let project = events::daily(&databases("signal_source").await, "").await;
    let client = project.source.client().await;
    client.batch_execute("begin; lock table public.events").await.unwrap();
    let running = project.pgtide(RUN).spawn();
    project.source.until_awaited("public.events").await;
    running.signal(Signal::SIGINT);
    timeout(STOP, running.finish()).await.expect("it stops in time").expect(130);
    client.batch_execute("rollback").await.unwrap();
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_signal_is_heard_while_a_view_is_refreshed() {
    let project = events::daily(&databases("signal_view").await, "refresh = \"dependents\"").await;
    // Its query waits for a lock that the test holds.
    let view = "create function mart.waits() returns integer language plpgsql as
                $$ begin perform pg_advisory_xact_lock(42); return 1; end $$;
                create materialized view mart.daily as
                select count(*), mart.waits() from mart.events with no data";
    project.destination.exec(view).await;
    let client = project.destination.client().await;
    client.batch_execute("select pg_advisory_lock(42)").await.unwrap();
    let running = project.pgtide(RUN).spawn();
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 42";
    until("the refresh waits", || async { project.destination.scalar(waits).await != "0" }).await;
    running.signal(Signal::SIGTERM);
    timeout(STOP, running.finish()).await.expect("it stops in time").expect(143);
    until("the server ends the refresh", || async { project.destination.scalar(waits).await == "0" }).await;
    drop(client);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_run_at_once() {
    let project = events::daily(&databases("two_signals").await, "").await;
    let client = project.destination.client().await;
    client.batch_execute("begin; lock table mart.events").await.unwrap();
    let running = project.pgtide(RUN).spawn();
    project.destination.until_awaited(INTO).await;
    running.signal(Signal::SIGTERM);
    running.stderr_contains("SIGTERM: stopping").await;
    running.signal(Signal::SIGTERM);
    running.finish().await.expect(143);
    client.batch_execute("rollback").await.unwrap();
    project.no_session_left().await;
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn an_interval_is_taken_over_from_a_run_that_hangs() {
    let project =
        events::daily(&databases("take_over").await, "writers = 2\nretries = 3\nretry_delay = \"100ms\"")
            .await;
    // A writer that waits for a lock hangs as one in COPY on a dead network does.
    let client = project.destination.client().await;
    client.batch_execute("begin; lock table mart.events").await.unwrap();
    let first = project.pgtide("run events --date 2026-01-03").spawn();
    project.destination.until_awaited(INTO).await;

    let output = project.pgtide("run events --date 2026-01-03").run().await.expect(75);
    for part in ["already running on", "--take-over"] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    let second = project.pgtide("run events --date 2026-01-03 --take-over").spawn();
    let output = first.finish().await.expect(75);
    assert!(output.stderr.contains("already running on"), "it tries again, and is told: {}", output.stderr);
    client.batch_execute("rollback").await.unwrap();
    second.finish().await.expect(0);

    let before = versions(&project.destination, INTO).await;
    project.pgtide("run events --date 2026-01-03").run().await.expect(0);
    assert_eq!(versions(&project.destination, INTO).await, before);
    project.pgtide(RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

/// Money moves between rows all the time: only rows of one snapshot add up.
#[tokio::test]
async fn rows_that_change_during_a_copy_are_of_one_snapshot() {
    let pair = databases("snapshot").await;
    let accounts = "create table public.accounts as select id, 100 as money, repeat('x', 500) as body
                    from generate_series(1, 8000) id; alter table public.accounts add primary key (id)";
    pair.source.exec(accounts).await;
    let client = pair.source.client().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let moves = "update public.accounts set money = money + case when id = $1 then -1 else 1 end
                     where id in ($1, 8001 - $1)";
        let statement = client.prepare(moves).await.unwrap();
        let (mut moved, mut stopped) = (0, stopped);
        while stopped.try_recv().is_err() {
            moved += 1;
            client.execute(&statement, &[&(moved % 4000 + 1)]).await.unwrap();
        }
        moved
    });
    let project = Project::new(&pair);
    for copy in ["copy public.accounts", "copy public.accounts --mode replace --batch-rows 100 --writers 2"] {
        project.pgtide(copy).run().await.expect(0);
        let sum = "select sum(money) || ' of ' || count(*) from public.accounts";
        assert_eq!(pair.destination.scalar(sum).await, "800000 of 8000");
    }
    stop.send(()).unwrap();
    assert!(writer.await.unwrap() > 0, "money moved");
}

/// A TRUNCATE is seen by snapshots that are older than it: without its lock first, a day would be empty.
#[tokio::test]
async fn a_source_that_is_truncated_and_filled_again_is_never_read_empty() {
    let pair = databases("truncated").await;
    let project = events::daily(&pair, "").await;
    let running = project.pgtide(RUN).arg(events::SLOWLY).spawn();
    let pid = running.pid();
    for part in [8, 5, 3, 2] {
        until_sent(&pair.destination, pid, events::BYTES / part).await;
        let again = "begin; create temporary table kept on commit drop as table public.events;
                     truncate public.events; insert into public.events table kept; commit";
        pair.source.exec(again).await;
    }
    running.finish().await.expect(0);
    events::assert_loaded(&project).await;
}

async fn locks(project: &Project) -> String {
    let sql = "select count(*) from pg_locks where locktype = 'advisory'
               and database = (select oid from pg_database where datname = current_database())";
    project.destination.scalar(sql).await
}
