//! Ranges of dates and instants: both ends, open ends, and what makes no sense.

use super::*;

#[test]
fn ranges_include_both_ends() {
    assert_eq!(
        keys(&job(), &range(Some("2025-12-31"), Some("2026-01-02")), &[]),
        ["2025-12-31", "2026-01-01", "2026-01-02"]
    );
    assert_eq!(keys(&job(), &range(Some("2025-11"), Some("2025-12")), &[]).len(), 61);
}

#[test]
fn an_open_range_goes_from_the_start_date_to_the_newest_complete_interval() {
    let started = job_with(|job| job.start_date = Some(date("2026-01-08")));
    assert_eq!(keys(&started, &range(None, None), &[]), ["2026-01-08", "2026-01-09", "2026-01-10"]);
    assert_eq!(keys(&started, &range(None, Some("2026-01-08")), &[]), ["2026-01-08"]);
    let hourly = job_with(|job| job.calendar = Some(Calendar { unit: Unit::Hour, ..NEW_YORK }));
    let plan = planned(&hourly, &range(Some("2026-01-11"), None), &[]);
    assert_eq!(plan.to_load().count(), 2);
    assert_eq!(plan.waiting().count(), 0);
    let ended = job_with(|job| job.end_date = Some(date("2026-01-05")));
    assert_eq!(keys(&ended, &range(Some("2026-01-04"), None), &[]), ["2026-01-04", "2026-01-05"]);
    let error = refused(&job(), &range(None, None), &[]);
    assert!(text_of(&error).contains("users has no `start_date`"));
}

#[test]
fn an_open_range_that_starts_in_the_future_waits() {
    let plan = planned(&job(), &range(Some("2026-02-01"), None), &[]);
    assert_eq!(lines(&plan), ["2026-02-01 wait: not complete until 2026-02-02 00:10"]);
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    for (request, text) in [
        (
            range(Some("2026-01-05"), Some("2026-01-01")),
            "the range ends on 2026-01-01 before it starts on 2026-01-05",
        ),
        (
            range(Some("0001-01-01"), Some("9999-12-31")),
            "0001-01-01 to 9999-12-31 are 3,652,059 intervals; a plan holds at most 250,000\n\
             hint: take them in parts, with --from-date and --to-date",
        ),
        (
            range(Some("2026-02-30"), Some("2026-13-01")),
            "2 of the dates are not valid\n\
             `2026-02-30` is not a date: February 2026 has 28 days\n\
             `2026-13-01` is not a date: there is no month 13",
        ),
        (days(["2026-01-05", "yesterday"]), "`yesterday` is not a date: dates are written YYYY-MM-DD"),
    ] {
        let error = refused(&job(), &request, &[]);
        assert_eq!((error.kind(), text_of(&error)), (ErrorKind::Usage, text.to_owned()));
    }
}

#[test]
fn the_limit_holds_for_all_dates_together() {
    let hourly = job_with(|job| job.calendar = Some(Calendar { unit: Unit::Hour, timezone: Tz::UTC }));
    let two_years = range(Some("2023-01-01"), Some("2024-12-31"));
    assert_eq!(planned(&hourly, &two_years, &[]).intervals.len(), 17_544);
    let months: Vec<String> =
        (1990..2020).flat_map(|y| (1..13).map(move |m| format!("{y}-{m:02}"))).collect();
    let error = refused(&hourly, &asking(Dates::Days(months)), &[]);
    assert_eq!(error.to_string(), "the dates are 262,968 intervals; a plan holds at most 250,000");
}

#[test]
fn instants_are_half_open_and_on_the_grid() {
    assert_eq!(
        keys(&job(), &instants("2026-01-05T00:00", "2026-01-07T05:00:00Z"), &[]),
        ["2026-01-05", "2026-01-06"]
    );
    let error = refused(&job(), &instants("2026-01-05T00:00Z", "2026-01-06T00:00-05:00"), &[]);
    assert_eq!(
        text_of(&error),
        "no interval of one `day` in America/New_York starts at 2026-01-05T00:00Z: \
         the nearest start at 2026-01-04T00:00-05:00 and 2026-01-05T00:00-05:00"
    );
}

#[test]
fn instants_without_width_are_refused_with_the_remedy() {
    let error = refused(&job(), &instants("2026-01-02T00:00:00+00:00", "2026-01-02T00:00:00Z"), &[]);
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        text_of(&error).contains("has no width") && text_of(&error).contains("CronDataIntervalTimetable")
    );
    let error = refused(&job(), &instants("2026-01-03", "2026-01-02"), &[]);
    assert_eq!(error.to_string(), "the interval ends at 2026-01-02 before it starts at 2026-01-03");
    let error = refused(&job(), &instants("2026-03-08T02:30", "never"), &[]);
    assert_eq!(error.details().len(), 2);
}
