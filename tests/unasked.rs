//! Runs without names: what is due, what is left, what is loaded again, and in which order.
//!
//! The clock is the real one, so days are counted back from today in UTC, and moments of schedules that
//! must have passed, or must not come, are those of New Year.

use serde_json::Value;

use crate::support::project::versions;
use crate::support::rows::{assert_equal, digest};
use crate::support::{Pair, Project, databases};

/// Five days of 24 rows each, up to yesterday.
const SOURCE: &str = "
create table public.events (id int primary key, at timestamptz not null, amount int not null default 0);
create index on public.events (at);
insert into public.events
select g, date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '5 days' + g * interval '1 hour'
from generate_series(0, 119) g";

const DESTINATION: &str = "create schema mart;
    create table mart.events (id int, at timestamptz not null, amount int constraint not_seven check (amount <> 7));
    create index on mart.events (at)";

const JOB: &str = "table = \"public.events\"\ninto = \"mart.events\"\ntime_column = \"at\"\n\
    interval = \"day\"\ntimezone = \"UTC\"\nmin_delay = 0\n";

async fn stage(hint: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source.exec(SOURCE).await;
    pair.destination.exec(DESTINATION).await;
    pair
}

fn project(pair: &Pair, keys: &str) -> Project {
    Project::new(pair).job("events", &format!("{JOB}{keys}"))
}

/// The date so many days ago.
async fn ago(pair: &Pair, days: u32) -> String {
    pair.destination.scalar(&format!("select ((now() at time zone 'UTC')::date - {days})::text")).await
}

/// `key state` of the ledger, in the order in which the latest attempts began.
async fn ledger(pair: &Pair) -> Vec<String> {
    let sql = "select key || ' ' || state from pgtide.interval order by started_at";
    pair.destination.rows(sql).await.into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// Lets each interval look as if it had been loaded an hour after its end.
const IN_TIME: &str = "update pgtide.interval set loaded_at = interval_end + interval '1 hour',
                       load_started_at = interval_end + interval '1 hour'";

#[tokio::test]
async fn a_snapshot_is_taken_once_for_each_moment_and_whenever_it_is_named() {
    let pair = stage("snapshot").await;
    let job = "query = \"select id, '{{ ds }}'::date as day, '{{ data_interval_end }}'::timestamptz as at from events\"\n\
        into = \"mart.snapshot\"\nmode = \"replace\"\ncreate = true\nschedule = \"0 3 1 1 *\"\n";
    let project = Project::new(&pair).job("snapshot", job);
    let destination = &pair.destination;
    let sql = "select to_char(date_trunc('year', now() at time zone 'America/New_York'), 'YYYY-01-01')";
    let new_year = destination.scalar(sql).await;

    project.pgtide("run").run().await.expect(0);
    let recorded = "select key, interval_start::text, interval_end::text, state from pgtide.interval";
    let row: Vec<_> = destination.rows(recorded).await[0].iter().flatten().cloned().collect();
    assert_eq!(row, [&*format!("{new_year}T03:00"), "-infinity", "infinity", "loaded"]);
    let stored = "select distinct day || ' ' || to_char(at at time zone 'America/New_York', 'MM-DD HH24') from mart.snapshot";
    assert_eq!(destination.scalar(stored).await, format!("{new_year} 01-01 03"));

    let before = versions(destination, "mart.snapshot").await;
    let output = project.pgtide("run").run().await.expect(0);
    assert!(output.stderr.contains("nothing is due: the next snapshot is for "), "{}", output.stderr);
    assert_eq!(versions(destination, "mart.snapshot").await, before, "no moment has passed since");

    let plan = project.pgtide("plan snapshot -o json").run().await.expect(0).stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan[0]["intervals"][0]["interval"], format!("{new_year}T03:00"));
    assert_eq!(plan[0]["intervals"][0]["action"], "reload");
    project.pgtide("run snapshot").run().await.expect(0);
    let named = versions(destination, "mart.snapshot").await;
    assert_ne!(named, before, "it was named");

    let older = "update pgtide.interval set loaded_at = loaded_at - interval '2 years',
                 load_started_at = load_started_at - interval '2 years'";
    destination.exec(older).await;
    project.pgtide("run").run().await.expect(0);
    assert_ne!(versions(destination, "mart.snapshot").await, named, "a moment has passed");
    project.pgtide("check snapshot").run().await.expect(0);
}

#[tokio::test]
async fn a_schedule_holds_back_what_nobody_named() {
    let pair = stage("held").await;
    let project = project(&pair, "schedule = \"0 3 1 1 *\"\n");
    let sql = "select to_char(date_trunc('year', now() at time zone 'UTC') - interval '1 day', 'YYYY-12-31')";
    let last = pair.destination.scalar(sql).await;
    project.pgtide("run").run().await.expect(0);
    assert_eq!(ledger(&pair).await, [format!("{last} loaded")]);
    let yesterday = ago(&pair, 1).await;
    if yesterday == last {
        return;
    }
    project.pgtide(&format!("run events --date {yesterday}")).run().await.expect(0);
    assert_eq!(ledger(&pair).await, [format!("{last} loaded"), format!("{yesterday} loaded")]);
}

#[tokio::test]
async fn lookback_loads_earlier_days_again_once_and_nothing_else_moves() {
    let pair = stage("lookback").await;
    let (source, destination) = (&pair.source, &pair.destination);
    let project = project(&pair, "lookback = 2\nretries = 1\n");
    let days = format!("run events --from-date {} --to-date {}", ago(&pair, 5).await, ago(&pair, 2).await);
    project.pgtide(&days).run().await.expect(0);
    destination.exec(IN_TIME).await;
    // Late rows: on each of the four days one, of which two days are looked back at; one cannot be stored.
    source.exec("insert into public.events select 1000 + g, at, g from public.events, generate_series(4, 7) g where id = (g - 4) * 24").await;
    source.exec("update public.events set amount = 7 where id = 1006; update public.events set amount = 3 where id = 1007").await;
    let untouched = format!("(select ctid, xmin from mart.events where at < date '{}')", ago(&pair, 3).await);
    let before = digest(destination, &untouched).await;

    let output = project.pgtide("run").run().await.expect(1);
    let [four, three, two, one] =
        [ago(&pair, 4).await, ago(&pair, 3).await, ago(&pair, 2).await, ago(&pair, 1).await];
    assert!(output.stderr.contains(&three), "{}", output.stderr);
    let loaded =
        "select count(*) from pgtide.interval where state = 'loaded' and loaded_at > now() - interval '1 h'";
    assert_eq!(destination.scalar(loaded).await, "2", "{two} again, and {one}");
    assert_eq!(digest(destination, &untouched).await, before, "{four} and before are left alone");

    // What failed is tried again, alone; then nothing moves any more.
    source.exec("update public.events set amount = 6 where id = 1006").await;
    let plan = project.pgtide("plan").run().await.expect(0).stdout;
    assert!(
        plan.contains("1 to load") && plan.contains(&format!("{three}  reload  lookback from {one}: ")),
        "{plan}"
    );
    project.pgtide("run").run().await.expect(0);
    let recent = |table: &str| format!("(select id, at, amount from {table} where at >= date '{three}')");
    assert_equal(source, destination, &recent("public.events"), &recent("mart.events")).await;
    let all = versions(destination, "mart.events").await;
    project.pgtide("run").run().await.expect(0);
    assert_eq!(versions(destination, "mart.events").await, all);
    assert_eq!(digest(destination, &untouched).await, before);
}

#[tokio::test]
async fn a_chain_runs_in_order_and_stops_at_its_first_failure() {
    let pair = stage("chain").await;
    let project = project(&pair, "depends_on_past = true\nmax_active_runs = 4\n");
    pair.source.exec("update public.events set amount = 7 where id = 50").await;
    let days: Vec<String> = futures::future::join_all((1..=5).rev().map(|days| ago(&pair, days))).await;
    let range = format!("run events --from-date {} --to-date {}", days[0], days[4]);
    let output = project.pgtide(&range).run().await.expect(1);
    assert!(output.stderr.contains("2 of 5 loaded, 1 failed, 2 not done"), "{}", output.stderr);
    let states: Vec<_> = ["loaded", "loaded", "failed"]
        .iter()
        .zip(&days)
        .map(|(state, day)| format!("{day} {state}"))
        .collect();
    assert_eq!(ledger(&pair).await, states, "nothing was started after the failure");

    let last = format!("run events --date {}", days[4]);
    let output = project.pgtide(&last).run().await.expect(75);
    assert!(
        output.stderr.contains(&format!("waits for {}, which was never loaded", days[3])),
        "{}",
        output.stderr
    );
    let plan = project.pgtide(&format!("plan events --date {}", days[4])).run().await.expect(0).stdout;
    assert!(plan.contains(&format!("{}  blocked  waits for {}", days[4], days[3])), "{plan}");

    pair.source.exec("update public.events set amount = 5 where id = 50").await;
    project.pgtide(&range).run().await.expect(0);
    let done: Vec<_> = days.iter().map(|day| format!("{day} loaded")).collect();
    assert_eq!(ledger(&pair).await, done);
    let overlapping = "select count(*) from pgtide.attempt a join pgtide.attempt b on a.id < b.id
        and tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)";
    assert_eq!(pair.destination.scalar(overlapping).await, "0", "never two at once");
}

#[tokio::test]
async fn newest_first_is_loaded_newest_first() {
    let pair = stage("backwards").await;
    let project = project(&pair, "max_active_runs = 1\n");
    let range = format!("--from-date {} --to-date {}", ago(&pair, 3).await, ago(&pair, 1).await);
    project.pgtide(&format!("run events --run-backwards {range}")).run().await.expect(0);
    let newest_first: Vec<String> = futures::future::join_all((1..=3).map(|days| ago(&pair, days)))
        .await
        .iter()
        .map(|day| format!("{day} loaded"))
        .collect();
    assert_eq!(ledger(&pair).await, newest_first);
}

#[tokio::test]
async fn automatic_tries_are_counted_over_runs_and_a_name_goes_beyond() {
    let pair = stage("tries").await;
    let project = project(&pair, "retries = 1\n");
    pair.source.exec("update public.events set amount = 7").await;
    let yesterday = ago(&pair, 1).await;
    for _ in 0..2 {
        project.pgtide("run").run().await.expect(1);
    }
    let output = project.pgtide("run").run().await.expect(1);
    let said = format!("all of its 2 tries are used; `pgtide run events --date {yesterday}` tries again");
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select tries from pgtide.interval").await, "2");
    pair.source.exec("update public.events set amount = 1").await;
    project.pgtide(&format!("run events --date {yesterday}")).run().await.expect(0);
}

#[tokio::test]
async fn a_plan_shows_bounds_and_hours_and_a_dry_run_changes_nothing() {
    let pair = stage("bounds").await;
    let job = format!("{JOB}catchup = \"none\"\n").replace("\"UTC\"", "\"America/New_York\"");
    let project = Project::new(&pair).job("events", &job);
    let dates = "events --from-date 2024-03-10 --to-date 2024-03-11";
    let plan = project.pgtide(&format!("plan {dates} -o json")).run().await.expect(0).stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let day = &plan[0]["intervals"][0];
    assert_eq!(
        (&day["start"], &day["end"]),
        (&"2024-03-10T05:00:00Z".into(), &"2024-03-11T04:00:00Z".into())
    );
    assert_eq!(day["local_start"], "2024-03-10T00:00:00-05:00");
    assert_eq!(day["local_end"], "2024-03-11T00:00:00-04:00");
    assert_eq!((&day["hours"], &day["tries_left"]), (&23.0.into(), &Value::Null));
    let text = project.pgtide(&format!("plan {dates} -v")).run().await.expect(0).stdout;
    let bounds =
        "2024-03-10 00:00-05:00 to 2024-03-11 00:00-04:00, 23 h (2024-03-10 05:00Z to 2024-03-11 04:00Z)";
    assert!(text.contains(bounds), "{text}");

    for command in ["run", "backfill"] {
        let dry = project.pgtide(&format!("{command} {dates} --dry-run")).run().await.expect(0).stdout;
        assert!(dry.contains("2024-03-10  load    never loaded"), "{dry}");
    }
    let copy = project.pgtide("copy public.events --into mart.copied --dry-run").run().await.expect(0).stdout;
    assert!(copy.contains("all  load    never loaded") && copy.contains("would be made"), "{copy}");
    let left = "select count(*) from pg_class where relname = 'copied' or relnamespace::regnamespace::text = 'pgtide'";
    assert_eq!(pair.destination.scalar(left).await, "0");
    let nothing = project.pgtide("plan").run().await.expect(0).stdout;
    assert!(
        nothing.contains("nothing is due: the job has `catchup = \"none\"`, so name the dates"),
        "{nothing}"
    );
}
