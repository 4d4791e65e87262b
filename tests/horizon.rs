//! A day is over when the source says so: its clock may be behind ours, and a standby behind its primary.
//!
//! The clock of a server cannot be set, but in one database of it functions of `pg_catalog` can be others.

use crate::support::{Database, Pair, Project, databases, rows};

const DAILY: &str = "table = \"app.events\"\ninto = \"mart.events\"\ntime_column = \"at\"\ninterval = \"day\"\n\
                     create = true\nstart_date = 2026-01-01\nend_date = 2026-01-31\nmin_delay = \"1h\"\n\
                     timezone = \"America/New_York\"\n";

async fn world(hint: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source
        .exec(
            "create schema app; create table app.events (id bigint primary key, at timestamptz not null);
             insert into app.events select n, '2026-01-01 12:00+00'::timestamptz + n * interval '1 hour'
                 from generate_series(1, 240) n",
        )
        .await;
    pair.destination.exec("create schema mart").await;
    pair
}

/// Replaces a function by another one's answer, in one database.
async fn say(database: &Database, function: &str, returns: &str, answer: &str) {
    let (schema, name) = ("pg_catalog", function);
    let sql = format!(
        "set allow_system_table_mods = on;
         do $$ begin
             if to_regprocedure('{schema}.real_{name}()') is null then
                 alter function {schema}.{name}() rename to real_{name};
             end if;
         end $$;
         create or replace function {schema}.{name}() returns {returns} language sql volatile as $q$ select {answer} $q$"
    );
    database.exec(&sql).await;
}

async fn set_clock(database: &Database, moment: &str) {
    say(database, "clock_timestamp", "timestamptz", &format!("'{moment}'::timestamptz")).await;
}

async fn stand_by(database: &Database, replayed: &str) {
    say(database, "pg_is_in_recovery", "boolean", "true").await;
    let answer = if replayed.is_empty() {
        "null::timestamptz".to_owned()
    } else {
        format!("'{replayed}'::timestamptz")
    };
    say(database, "pg_last_xact_replay_timestamp", "timestamptz", &answer).await;
}

async fn tries(destination: &Database) -> String {
    let sql = "select case when to_regclass('pgtide.interval') is null then 'no ledger'
        else (xpath('/row/n/text()', query_to_xml('select count(*) as n from pgtide.interval', true, true, '')))[1]::text
        end";
    destination.scalar(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_over_on_the_source_is_not_loaded_and_not_counted_as_tried() {
    let pair = world("source_clock").await;
    let project = Project::new(&pair).job("events", &format!("{DAILY}retries = 3\nretry_delay = \"1s\"\n"));
    // 2026-01-05 ends at 05:00 in UTC; with min_delay, it is complete at 06:00.
    set_clock(&pair.source, "2026-01-06 05:59:00+00").await;
    let output = project.pgtide("run events --date 2026-01-05").run().await.expect(75);
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(
        text.contains("on source it is 2026-01-06 00:59:00 America/New_York, not 2026-01-06 01:00:00"),
        "{text}"
    );
    assert!(text.contains("mend the clock"), "{text}");
    assert_eq!(tries(&pair.destination).await, "0");
    assert_eq!(pair.destination.scalar("select count(*) from mart.events").await, "0");

    // What is over is loaded beside it.
    project.pgtide("run events --from-date 2026-01-04 --to-date 2026-01-05").run().await.expect(75);
    let loaded =
        "select string_agg(key || ' ' || state || ' ' || rows, ', ' order by key) from pgtide.interval";
    assert_eq!(pair.destination.scalar(loaded).await, "2026-01-04 loaded 24");

    set_clock(&pair.source, "2026-01-06 06:00:00+00").await;
    project.pgtide("run events --date 2026-01-05").run().await.expect(0);
    assert_eq!(pair.destination.scalar(loaded).await, "2026-01-04 loaded 24, 2026-01-05 loaded 24");
    let first = "select attempt from pgtide.interval where key = '2026-01-05'";
    assert_eq!(pair.destination.scalar(first).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_read_as_far_as_it_has_replayed() {
    let pair = world("source_standby").await;
    let project = Project::new(&pair).job("events", DAILY);
    for replayed in ["", "2026-01-06 05:59:59.9+00"] {
        stand_by(&pair.source, replayed).await;
        let output = project.pgtide("run events --date 2026-01-05").run().await.expect(75);
        let text = format!("{}{}", output.stdout, output.stderr);
        let expected = if replayed.is_empty() {
            "nobody knows how far it has replayed"
        } else {
            "replayed up to 2026-01-06 00:59:59"
        };
        assert!(text.contains("source is a standby") && text.contains(expected), "{text}");
        assert_eq!(tries(&pair.destination).await, "0");
    }
    stand_by(&pair.source, "2026-01-06 06:00:00+00").await;
    project.pgtide("run events --date 2026-01-05").run().await.expect(0);
    rows::assert_equal(
        &pair.source,
        &pair.destination,
        "(select * from app.events where at >= '2026-01-05 05:00+00' and at < '2026-01-06 05:00+00')",
        "mart.events",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_when_the_source_has_come_to_its_moment() {
    let pair = world("source_snapshot").await;
    let job = "table = \"app.events\"\ninto = \"mart.snapshot\"\nmode = \"replace\"\ncreate = true\n\
               schedule = \"0 3 1 1 *\"\ntimezone = \"UTC\"\n";
    let copy = "table = \"app.events\"\ninto = \"mart.copied\"\nmode = \"replace\"\ncreate = true\n";
    let project = Project::new(&pair).job("snapshot", job).job("copied", copy);
    let year = pair.source.scalar("select extract(year from now() at time zone 'UTC')::integer").await;
    stand_by(&pair.source, &format!("{year}-01-01 02:00:00+00")).await;
    let output = project.pgtide("run snapshot").run().await.expect(75);
    assert!(output.stderr.contains(&format!("not {year}-01-01 03:00:00 UTC")), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select count(*) from mart.snapshot").await, "0");
    // A copy that is for no moment is of the rows as they are.
    project.pgtide("run copied").run().await.expect(0);
    stand_by(&pair.source, &format!("{year}-01-01 03:00:00+00")).await;
    project.pgtide("run snapshot").run().await.expect(0);
    rows::assert_equal(&pair.source, &pair.destination, "app.events", "mart.snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_due_no_source_is_needed() {
    let pair = world("no_source").await;
    let job = DAILY.replace("2026-01-31", "2026-01-02");
    let project = Project::new(&pair).job("events", &job);
    project.pgtide("backfill events").run().await.expect(0);
    let nowhere = pair.source.url_at(1);
    let away = Project::through(&pair, &nowhere, &pair.destination.url()).job("events", &job);
    away.pgtide("run events").run().await.expect(0);
    away.pgtide("run events --date 2026-01-02").run().await.expect(0);
    let output = away.pgtide("run events --date 2026-01-02 --reload").run().await.expect(75);
    assert!(output.stderr.contains("cannot connect to source"), "{}", output.stderr);
}
