//! The flights of 2013 as 365 days in New York time, two of which have not 24 hours.

use crate::support::project::versions;
use crate::support::rows::{assert_equal, digest};
use crate::support::{Project, databases, flights};

const JOB: &str = r#"
table = "public.flights"
into = "mart.flights"
time_column = "time_hour"
interval = "day"
timezone = "America/New_York"
mode = "delete-insert"
create = true
writers = 2
max_active_runs = 4
"#;

const YEAR: &str = "run flights --from-date 2013-01-01 --to-date 2013-12-31";

/// A day of flights in New York, as SQL says it.
fn day(date: &str) -> String {
    format!("(time_hour at time zone 'America/New_York')::date = date '{date}'")
}

#[tokio::test]
async fn a_year_arrives_day_by_day_and_nothing_moves_that_need_not() {
    let pair = databases("year").await;
    flights::load_year(&pair.source).await;
    pair.destination.exec("create schema mart").await;
    let project = Project::new(&pair).job("flights", JOB);
    let (source, destination) = (&pair.source, &pair.destination);

    // The first day makes the table; an index spares each of the others a scan.
    project.pgtide("run flights --date 2013-01-01").run().await.expect(0);
    destination.exec("create index on mart.flights (time_hour)").await;
    project.pgtide(YEAR).run().await.expect(0);
    project.assert_loaded("public.flights", "mart.flights").await;
    let ledger = "select count(*), sum(rows), min(key), max(key), count(distinct state) || min(state)
                  from pgtide.interval";
    let ledger = destination.rows(ledger).await;
    let ledger: Vec<_> = ledger[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(ledger, ["365", "336776", "2013-01-01", "2013-12-31", "1loaded"]);

    // Again: nothing is due, and no row is touched.
    let before = versions(destination, "mart.flights").await;
    let output = project.pgtide(YEAR).run().await.expect(0);
    assert!(output.stderr.contains("365 skipped"), "{}", output.stderr);
    assert_eq!(versions(destination, "mart.flights").await, before);

    // A day that is gone from table and ledger comes back; all others stay where they lie.
    let others = format!("(select ctid, xmin from mart.flights where not {})", day("2013-06-15"));
    let before = digest(destination, &others).await;
    destination.exec(&format!("delete from mart.flights where {}", day("2013-06-15"))).await;
    destination.exec("delete from pgtide.interval where key = '2013-06-15'").await;
    let output = project.pgtide(YEAR).run().await.expect(0);
    assert!(output.stderr.contains("1 loaded"), "{}", output.stderr);
    assert_eq!(digest(destination, &others).await, before);
    assert_equal(source, destination, "public.flights", "mart.flights").await;
    assert_eq!(destination.scalar("select count(*) from pgtide.interval").await, "365");

    the_days_of_the_clock_change_are_whole(&project).await;
}

/// In the ledger a day is as long as the clock made it, and holds the flights of that local date.
async fn the_days_of_the_clock_change_are_whole(project: &Project) {
    for (date, hours) in [("2013-03-10", "23"), ("2013-11-03", "25"), ("2013-07-04", "24")] {
        let recorded = format!(
            "select extract(epoch from interval_end - interval_start)::integer / 3600, rows
             from pgtide.interval where key = '{date}'"
        );
        let recorded = project.destination.rows(&recorded).await;
        assert_eq!(recorded[0][0].as_deref(), Some(hours), "hours of {date}");
        let flights = format!("select count(*) from public.flights where {}", day(date));
        assert_eq!(recorded[0][1], Some(project.source.scalar(&flights).await), "flights of {date}");
        let (from, into) =
            ["public", "mart"].map(|s| format!("(select * from {s}.flights where {})", day(date))).into();
        assert_equal(&project.source, &project.destination, &from, &into).await;
    }
}

#[tokio::test]
async fn rows_that_pgtide_did_not_load_are_refused_until_somebody_decides() {
    let pair = databases("foreign_rows").await;
    flights::load_january(&pair.source).await;
    pair.destination.exec("create schema mart").await;
    let project = Project::new(&pair).job("flights", JOB);
    let destination = &pair.destination;
    project.pgtide("run flights --date 2013-01-04").run().await.expect(0);
    destination
        .exec(
            "insert into mart.flights (time_hour, carrier, flight, origin, dest, distance)
             select time_hour + '1 day', carrier, flight, origin, dest, distance from mart.flights limit 1",
        )
        .await;
    let before = versions(destination, "mart.flights").await;

    let output = project.pgtide("run flights --date 2013-01-05").run().await.expect(78);
    for part in [
        "mart.flights already has rows of 2013-01-05 that pgtide did not load",
        "pgtide run flights --date 2013-01-05 --reload",
        "pgtide mark flights loaded --date 2013-01-05",
    ] {
        assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
    }
    assert_eq!(versions(destination, "mart.flights").await, before, "a refusal changes nothing");
    project.assert_ledger_is_settled().await;

    // Either remedy settles it: the rows are kept as they are, or replaced by the source's.
    let mark = project.pgtide("mark flights loaded --date 2013-01-05 --reason mine").run().await.expect(0);
    assert_eq!(versions(destination, "mart.flights").await, before, "{}", mark.stderr);
    project.pgtide("run flights --date 2013-01-05").run().await.expect(0);
    assert_eq!(versions(destination, "mart.flights").await, before, "it counts as loaded");
    project.pgtide("run flights --date 2013-01-05 --reload").run().await.expect(0);
    let days = format!("(select * from flights where {} or {})", day("2013-01-04"), day("2013-01-05"));
    project.assert_loaded(&days.replace("flights", "public.flights"), "mart.flights").await;
}
