//! Wrong calendars and schedules: one clear line that names the key or the date, the right exit code, and
//! nothing changed.

use crate::support::{Pair, Project, databases};

/// Two days of rows in New York.
const SOURCE: &str = "
create table public.events (id int primary key, at timestamptz not null);
create index on public.events (at);
insert into public.events
select g, timestamptz '2024-05-01 04:30Z' + g * interval '1 hour' from generate_series(0, 95) g";

const DESTINATION: &str = "create schema mart; create table mart.events (id int, at timestamptz not null); \
    create index on mart.events (at)";

const JOB: &str = "table = \"public.events\"\ninto = \"mart.events\"\ntime_column = \"at\"\n";

async fn stage(hint: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source.exec(SOURCE).await;
    pair.destination.exec(DESTINATION).await;
    pair
}

/// A project with the job and these keys.
fn project(pair: &Pair, keys: &str) -> Project {
    Project::new(pair).job("events", &format!("{JOB}{keys}"))
}

/// Runs, and fails unless it ends with the code, says each part, and leaves no ledger.
async fn refused(pair: &Pair, keys: &str, arguments: &str, (code, says): (i32, &[&str])) {
    let output = project(pair, keys).pgtide(arguments).run().await.expect(code);
    for part in says {
        assert!(output.stderr.contains(part), "{keys}{arguments} does not say {part:?}:\n{}", output.stderr);
    }
    let ledger = "select count(*) from pg_namespace where nspname = 'pgtide'";
    assert_eq!(pair.destination.scalar(ledger).await, "0", "{keys}{arguments}");
}

const DAY: &str = "interval = \"day\"\n";

#[tokio::test]
async fn keys_that_make_no_sense_are_findings_with_line_and_remedy() {
    let pair = stage("bad_keys").await;
    for (keys, says) in [
        (
            "schedule = \"0 3 * *\"",
            "events.toml:5: `schedule`: a cron expression has five fields, this has 4",
        ),
        ("schedule = \"0 25 * * *\"", "`schedule`: `25` is no hour of cron: 0 to 23"),
        ("schedule = \"0 0 30 2 *\"", "`schedule`: `0 0 30 2 *` never fires: no date is like that"),
        ("schedule = \"@dialy\"", "`schedule`: `@dialy` is not a schedule, did you mean `@daily`?"),
        (
            "timezone = \"Europe/Berln\"",
            "`Europe/Berln` is not an IANA time zone, did you mean `Europe/Berlin`?",
        ),
        (
            "schedule = \"@daily\"\nschedule_timezone = \"New_York\"",
            "events.toml:6: `schedule_timezone`: `New_York` is not an IANA time zone, did you mean `America/New_York`?",
        ),
        ("schedule_timezone = \"UTC\"", "`schedule_timezone`: is for a job with a `schedule`"),
        (
            "lookback = 2\ndepends_on_past = true",
            "events.toml:5: `lookback`: changes intervals that later ones were built on",
        ),
        ("lookback = 2\nmode = \"append\"", "`lookback`: loads again, and append would add the rows twice"),
        ("lookback = [0, 1]", "`lookback`: is not a count"),
        ("deadline = \"5m\"", "`deadline`: is not longer than min_delay, 600 s"),
        ("catchup = \"all\"", "`catchup`: \"all\" needs a `start_date`"),
    ] {
        refused(&pair, &format!("{DAY}{keys}\n"), "run events", (78, &[says])).await;
    }
    refused(
        &pair,
        "mode = \"replace\"\ndeadline = \"2h\"\n",
        "run events",
        (78, &["needs an `interval` or a `schedule`"]),
    )
    .await;
}

#[tokio::test]
async fn dates_that_make_no_sense_are_usage_errors_with_the_nearest_that_do() {
    let pair = stage("bad_dates").await;
    let started = format!("{DAY}start_date = 2024-05-02\n");
    let chained = format!("{DAY}depends_on_past = true\n");
    for (keys, arguments, says) in [
        (
            &*started,
            "run events --date 2024-05-01 --date 2024-05-02",
            &[
                "events starts with `start_date`, 2024-05-02: 2024-05-01 is before it",
                "in jobs/events.toml to an earlier date",
            ][..],
        ),
        (
            &started,
            "backfill events --from-date 2024-04 --to-date 2024-05",
            &["31 of the intervals are before it"],
        ),
        (
            DAY,
            "run events --interval-start 2024-05-01T01:00 --interval-end 2024-05-02",
            &[
                "no interval of one `day` in America/New_York starts at 2024-05-01T01:00: the nearest start at \
               2024-05-01T00:00-04:00 and 2024-05-02T00:00-04:00",
            ],
        ),
        (
            DAY,
            "run events --interval-start 2024-05-01T00:00Z --interval-end 2024-05-01T00:00Z",
            &["has no width", "CronDataIntervalTimetable"],
        ),
        (&chained, "run events --run-backwards", &["`depends_on_past`: it cannot be loaded newest first"]),
        (&chained, "run events --date 2024-05-01 --run-backwards", &["leave --run-backwards out"]),
        (
            "mode = \"replace\"\nschedule = \"@daily\"\n",
            "run events --date 2024-05-01",
            &["pgtide run events loads it now"],
        ),
    ] {
        refused(&pair, keys, arguments, (2, says)).await;
    }
    let copy = project(&pair, DAY).pgtide("copy public.events --run-backwards").run().await.expect(2);
    assert!(copy.stderr.contains("--run-backwards orders intervals, and a copy has none"), "{}", copy.stderr);
}

#[tokio::test]
async fn another_zone_or_unit_over_loaded_days_is_refused_and_changes_nothing() {
    let pair = stage("bad_zone").await;
    project(&pair, DAY).pgtide("run events --date 2024-05-01").run().await.expect(0);
    let ledger = "select string_agg(i::text, ' ') from pgtide.interval i";
    let before = pair.destination.scalar(ledger).await;
    for keys in ["interval = \"day\"\ntimezone = \"Europe/Berlin\"\n", "interval = \"hour\"\n"] {
        for verb in ["run", "plan"] {
            let command = format!("{verb} events --date 2024-05-01");
            let output = project(&pair, keys).pgtide(&command).run().await.expect(78);
            assert!(output.stderr.contains("shares time with 2024-05-01 "), "{}", output.stderr);
            assert!(
                output.stderr.contains("set the job's `interval` and `timezone` back"),
                "{}",
                output.stderr
            );
        }
    }
    assert_eq!(pair.destination.scalar(ledger).await, before);
}

#[tokio::test]
async fn a_job_that_was_edited_says_which_days_another_definition_loaded() {
    let pair = stage("bad_edited").await;
    project(&pair, DAY)
        .pgtide("run events --from-date 2024-05-01 --to-date 2024-05-02")
        .run()
        .await
        .expect(0);
    let edited = format!("{DAY}where = \"id % 2 = 0\"\nend_date = 2024-05-03\n");
    let edited = project(&pair, &edited);
    edited.pgtide("run events").run().await.expect(0);
    let plan = edited.pgtide("plan events -v").run().await.expect(0).stdout;
    assert!(
        plan.contains("loaded by another definition: 2, 2024-05-01 to 2024-05-02; --stale reloads them"),
        "{plan}"
    );
    assert!(plan.contains("of another definition: 2024-05-01 2024-05-02\n"), "{plan}");
    let run = edited.pgtide("run events").run().await.expect(0).stderr;
    assert!(run.contains("loaded by another definition: 2, 2024-05-01 to 2024-05-02"), "{run}");
    let named =
        edited.pgtide("plan events --date 2024-05-02 --date 2024-05-03 -o json").run().await.expect(0);
    let named: serde_json::Value = serde_json::from_str(&named.stdout).unwrap();
    assert_eq!(named[0]["other_definition"], serde_json::json!(["2024-05-02"]));
    edited.pgtide("run events --stale").run().await.expect(0);
    assert_eq!(pair.destination.scalar("select count(*) from mart.events").await, "36");
}

#[tokio::test]
async fn two_jobs_into_one_table_need_scopes() {
    let pair = stage("bad_scope").await;
    let both = |one: &str, other: &str| {
        let job = |keys: &str| format!("{JOB}{DAY}{keys}");
        Project::new(&pair).job("even", &job(one)).job("odd", &job(other))
    };
    let bare = both("", "");
    bare.pgtide("run even --date 2024-05-01").run().await.expect(0);
    let output = bare.pgtide("run odd --date 2024-05-01").run().await.expect(78);
    assert!(output.stderr.contains("overlaps 2024-05-01 of job `even`"), "{}", output.stderr);
    assert!(output.stderr.contains("`scope`"), "{}", output.stderr);
}
