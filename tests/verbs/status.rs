//! What status shows, and that it only looks.

use insta::assert_snapshot;
use pgtide::config::connection::ConnectionSpec;
use pgtide::ledger::{ClaimOutcome, ClaimRequest, Ledger, Owner, TableRef};
use pgtide::postgres::catalog;
use pgtide::postgres::connect::{Session, Side};
use serde_json::Value;

use super::{EVENTS_JOB, Site, stable};
use crate::support::Database;

/// A failed day, a skipped, a stale and a missing one among loaded ones.
async fn eventful(hint: &str) -> Site {
    let site = Site::with_events(hint).await;
    let table = "create table mart.events (id bigint primary key, at timestamptz not null, \
                 amount numeric(12,4) constraint not_seven check (amount <> 7))";
    site.pair.destination.exec(table).await;
    site.printed("run events --from-date 2013-01-02 --to-date 2013-01-06").await;
    site.pgtide("run events --date 2013-01-07").run().await.expect(1);
    site.pgtide("mark events skipped --date 2013-01-09 --reason").arg("a holiday").run().await.expect(0);
    site.pgtide("mark events stale --date 2013-01-05 --reason").arg("3 rows came late").run().await.expect(0);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_run_every_day_is_missing_and_looking_makes_no_ledger() {
    let site = Site::with_events("status_before").await;
    let _stable = stable();
    assert_snapshot!(site.printed("status events").await, @"
    events  source -> warehouse mart.events  day  America/New_York
    0 loaded  10 missing     2013-01-01 .. 2013-01-10

             Jan 2013
          31  7
      Mon     .      # loaded    X failed
      Tue  .  .      . missing   ~ stale
      Wed  .  .      > running   ! interrupted
      Thu  .  .      - skipped
      Fri  .
      Sat  .
      Sun  .

    . 2013-01-01 .. 2013-01-10 (10)  never loaded
                  pgtide run events --from-date 2013-01-01 --to-date 2013-01-10

    nothing is next: the job ends with 2013-01-10
    no ledger yet in schema pgtide of warehouse: nothing was ever loaded
    ");
    let schemas = "select count(*) from pg_namespace where nspname = 'pgtide'";
    assert_eq!(site.pair.destination.scalar(schemas).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_shows_every_state_and_what_mends_it() {
    let site = eventful("status_calendar").await;
    assert_snapshot!(site.printed("status events").await, @"
    events  source -> warehouse mart.events  day  America/New_York
    4 loaded  1 failed  3 missing  1 stale  1 skipped     2013-01-01 .. 2013-01-10
    loaded from 2013-01-02 to 2013-01-06

             Jan 2013
          31  7
      Mon     X      # loaded    X failed
      Tue  .  .      . missing   ~ stale
      Wed  #  -      > running   ! interrupted
      Thu  #  .      - skipped
      Fri  #
      Sat  ~         rows a day, last 14
      Sun  #         _____█████____   3 median

    X 2013-01-07  copying batch 1 of mart.events for 2013-01-07: row violates con...
                  pgtide status events --date 2013-01-07
    . 2013-01-10  never loaded
                  pgtide run events --date 2013-01-10
    . 2013-01-08  never loaded
                  pgtide run events --date 2013-01-08
    . 2013-01-01  never loaded
                  pgtide run events --date 2013-01-01
    ~ 2013-01-05  3 rows came late
                  pgtide run events --date 2013-01-05 --reload

    nothing is next: the job ends with 2013-01-10
    ");
    let from = site.printed("status events --from-date 2013-01-07").await;
    assert!(from.contains("\n       7\n  Mon  X"), "{from}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_needs_the_destination_only() {
    let site = eventful("status_one_side").await;
    let run = site.bare("status events").env("WAREHOUSE_URL", site.pair.destination.url());
    let stdout = run.run().await.expect(0).stdout;
    assert!(stdout.starts_with("events  source -> warehouse mart.events"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_day_tells_of_every_try_and_mark() {
    let site = eventful("status_day").await;
    site.pgtide("mark events loaded --date 2013-01-07 --reason").arg("by hand").run().await.expect(0);
    let _stable = stable();
    assert_snapshot!(site.printed("status events --date 2013-01-07").await, @"
    events 2013-01-07  # loaded  rows that pgtide did not count
      interval  2013-01-07 00:00-05:00 to 2013-01-08 00:00-05:00
      in UTC    2013-01-07 05:00Z to 2013-01-08 05:00Z
      table     warehouse mart.events
      loaded    [time]
      marked    by hand

      try 1     [time]  failed after [s]
                by postgres on [host], process [pid], run [id]
                copying batch 1 of mart.events for 2013-01-07: row violates constraint not_seven of mart.events (23514)
                COPY events, line 1
      mark      [time]  marked loaded
                by postgres on [host], process [pid]: by hand
    ");
    assert_snapshot!(site.printed("status events --date 2013-01-05").await, @"
    events 2013-01-05  ~ stale  3 rows, 120 B in 1 batch
      interval  2013-01-05 00:00-05:00 to 2013-01-06 00:00-05:00
      in UTC    2013-01-05 05:00Z to 2013-01-06 05:00Z
      table     warehouse mart.events
      loaded    [time]
      marked    3 rows came late

      try 1     [time]  loaded 3 rows after [s]
                by postgres on [host], process [pid], run [id]
      mark      [time]  marked stale
                by postgres on [host], process [pid]: 3 rows came late

      pgtide run events --date 2013-01-05 --reload
    ");
    assert_snapshot!(site.printed("status events --date 2013-01-08").await, @"
    events 2013-01-08  . missing
      interval  2013-01-08 00:00-05:00 to 2013-01-09 00:00-05:00
      in UTC    2013-01-08 05:00Z to 2013-01-09 05:00Z
      table     warehouse mart.events

      pgtide run events --date 2013-01-08
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_days_are_a_line_each() {
    let site = eventful("status_month").await;
    assert_snapshot!(site.printed("status events --date 2013-01-04 --exit-code").await.lines().next().unwrap(), @"events 2013-01-04  # loaded  3 rows, 120 B in 1 batch");
    let month = site.printed("status events --date 2013-01").await;
    assert!(month.contains("\n# 2013-01-04  loaded  3 rows"), "{month}");
    assert!(month.contains("\nX 2013-01-07  failed  copying batch 1 of mart.events"), "{month}");
    assert!(month.ends_with("\n  pgtide status events --date 2013-01-07\n"), "{month}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_when_something_wants_attention() {
    let site = Site::with_events("status_code").await;
    site.pgtide("status events --exit-code").run().await.expect(1);
    site.printed("run events --from-date 2013-01-01 --to-date 2013-01-10").await;
    site.printed("status --exit-code").await;
    site.printed("status events --exit-code").await;
    site.pgtide("mark events stale --date 2013-01-05 --reason late").run().await.expect(0);
    site.pgtide("status --exit-code").run().await.expect(1);
    site.pgtide("status events --exit-code --date 2013-01-05").run().await.expect(1);
    site.printed("status events --exit-code --date 2013-01-04").await;
    site.printed("status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_a_line_per_job() {
    let site = eventful("status_project").await;
    site.pair
        .source
        .exec("create table public.kinds (kind text primary key); insert into public.kinds values ('a')")
        .await;
    site.job("kinds", "table = \"public.kinds\"\ninto = \"mart.kinds\"\ncreate = true\n");
    let line = |text: &str, job: &str| text.lines().find(|line| line.contains(job)).map(str::to_owned);
    assert_snapshot!(site.printed("status").await, @"
      job     loaded  failed  missing   stale  newest loaded  next complete
    X events       4       1        3       1  2013-01-06     -
    . kinds        0       0        1       0  -              -
    ");
    site.printed("run kinds").await;
    let kinds = line(&site.printed("status").await, "kinds").unwrap();
    assert!(kinds.starts_with("# kinds "), "{kinds}");
    let whole = site.printed("status kinds").await;
    assert!(whole.starts_with("kinds  source -> warehouse mart.kinds  whole table\n# loaded  20"), "{whole}");
    assert!(whole.ends_with(", 1 row\n"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_hides_no_other_and_ends_with_75() {
    let site = eventful("status_down").await;
    let elsewhere = EVENTS_JOB.replace("into =", "destination = \"elsewhere\"\ninto =");
    site.job("other", &elsewhere);
    let down = "postgres://nobody@127.0.0.1:1/nothing";
    let output = site.pgtide("status").env("PGTIDE_CONN_ELSEWHERE", down).run().await.expect(75);
    assert!(output.stdout.contains("\nX events  "), "{}", output.stdout);
    assert!(output.stdout.contains("\n? other   elsewhere could not be looked at\n"), "{}", output.stdout);
    assert!(output.stderr.contains("error: cannot connect to elsewhere"), "{}", output.stderr);
    let one = site.pgtide("status other").env("PGTIDE_CONN_ELSEWHERE", down).run().await.expect(75);
    assert_eq!(one.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_objects() {
    let site = eventful("status_json").await;
    let object = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let job = object(site.printed("status events -o json").await);
    assert_eq!(job["counts"]["loaded"], 4);
    assert_eq!(job["counts"]["missing"], 3);
    assert_eq!(job["intervals"].as_array().unwrap().len(), 10);
    assert_eq!((&job["ledger"], &job["next_complete"]), (&Value::Bool(true), &Value::Null));
    let project = object(site.printed("status -o json").await);
    assert_eq!((&project["job"], &project["newest"]), (&"events".into(), &"2013-01-06".into()));
    let day = object(site.printed("status events --date 2013-01-07 -o json").await);
    assert_eq!(day["state"], "failed");
    assert_eq!(day["interval_start"], "2013-01-07T05:00:00+00:00");
    assert_eq!(day["attempts"][0]["error_code"], "23514");
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_are_drawn_by_day() {
    let site = Site::with_events("status_hours").await;
    let job = EVENTS_JOB.replace("\"day\"", "\"hour\"").replace("2013-01-10", "2013-01-02");
    site.job("events", &job);
    site.printed("run events --date 2013-01-01").await;
    let text = site.printed("status events").await;
    assert!(text.contains("24 loaded  24 missing     2013-01-01T00:00 .. 2013-01-02T23:00"), "{text}");
    assert!(text.contains("\n  Tue  #") && text.contains("\n  Wed  ."), "{text}");
    let hour = site.printed("status events --date 2013-01-01T03:00").await;
    assert!(hour.starts_with("events 2013-01-01T03:00  # loaded  1 row, "), "{hour}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_and_a_dead_one_look_different() {
    let site = eventful("status_alive").await;
    let live = claim(&site.pair.destination, "2013-01-08", (6, 7)).await;
    let text = site.printed("status events").await;
    assert!(text.contains("\n> 2013-01-08  on etl-1 since 20"), "{text}");
    drop(live);
    let dead =
        "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
        and database = (select oid from pg_database where datname = current_database())";
    crate::support::until("the dead run's lock is gone", || async {
        site.pair.destination.scalar(dead).await == "0"
    })
    .await;
    let text = site.printed("status events").await;
    assert!(text.contains("\n! 2013-01-08  the run that loaded it died; the next takes it over"), "{text}");
    let day = site.printed("status events --date 2013-01-08").await;
    assert!(day.contains("died; the next run takes it over"), "{day}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_and_a_changed_definition_are_told_though_the_day_is_loaded() {
    let site = eventful("status_reload").await;
    site.pair.source.exec("update public.events set amount = 7 where id = 40").await;
    site.pgtide("run events --date 2013-01-04 --reload").run().await.expect(1);
    site.job("events", &format!("{EVENTS_JOB}where = \"amount > 0\"\n"));
    let text = site.printed("status events").await;
    assert!(text.contains("reload failed, what was loaded before stays: 1, 2013-01-04"), "{text}");
    assert!(text.contains("loaded by another definition: 5, 2013-01-02 to 2013-01-06"), "{text}");
}

/// Claims a day as a run on another machine would; the claim lives as long as the session.
async fn claim(database: &Database, key: &str, (start, end): (i64, i64)) -> Session {
    let spec = ConnectionSpec::from_url("warehouse", &database.url()).unwrap();
    let session = Session::open(&spec, Side::Destination, "etl-1").await.unwrap();
    let ledger = Ledger::open(&session, "pgtide").await.unwrap();
    let table = catalog::find_relation(&session, &"mart.events".parse().unwrap()).await.unwrap();
    // Days of New York, in hours of UTC.
    let day = |day: i64| {
        "2013-01-02T05:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap()
            + chrono::TimeDelta::days(day)
    };
    let request = ClaimRequest {
        job: "events".to_owned(),
        table: TableRef { oid: table.oid, name: table.name.to_string() },
        scope: None,
        interval: pgtide::interval::DataInterval { start: day(start), end: day(end) },
        key: key.to_owned(),
        timezone: Some("America/New_York".to_owned()),
        definition_hash: "h".to_owned(),
        fingerprint: String::new(),
        origin: None,
        owner: Owner { host: "etl-1".to_owned(), pid: 1, run_id: "r".to_owned(), trigger: None },
        seen: None,
        reload: false,
        stale: false,
        force: false,
        take_over: false,
        leave_failed_after: None,
        since: None,
    };
    assert!(matches!(ledger.claim(&session, &request).await.unwrap(), ClaimOutcome::Claimed(_)));
    session
}
