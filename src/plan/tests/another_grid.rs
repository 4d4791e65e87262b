//! Intervals of another unit or time zone, and of none.

use super::*;

#[test]
fn intervals_of_another_unit_or_zone_in_the_way_are_refused() {
    let recorded = loaded(["2026-01-05", "2026-01-06"]);
    let berlin = Calendar { unit: Unit::Day, timezone: Europe::Berlin };
    let monthly = Calendar { unit: Unit::Month, ..NEW_YORK };
    for (calendar, request) in [
        (berlin, days(["2026-01-06"])),
        (berlin, due()),
        (Calendar { unit: Unit::Hour, ..NEW_YORK }, days(["2026-01-06T03:00"])),
        (monthly, Request { dates: Dates::Days(vec!["2026-01".to_owned()]), ..due() }),
    ] {
        let job = job_with(|job| job.calendar = Some(calendar));
        let outcome = plan(&job, &request, &recorded, at("2026-02-11T03:00"));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(text_of(&error).contains("set the job's `interval` and `timezone` back"));
    }
    let job = job_with(|job| job.calendar = Some(berlin));
    assert_eq!(
        refused(&job, &days(["2026-01-06"]), &recorded).details(),
        ["2026-01-06 shares time with 2026-01-06 06:00+01:00 to 2026-01-07 06:00+01:00, 24 h \
          (2026-01-06 05:00Z to 2026-01-07 05:00Z)"]
    );
}

#[test]
fn intervals_of_another_unit_elsewhere_or_skipped_are_no_hindrance() {
    let hourly = job_with(|job| job.calendar = Some(Calendar { unit: Unit::Hour, ..NEW_YORK }));
    let mut recorded = loaded(["2026-01-05"]);
    recorded.push(day("2026-01-07", State::Skipped));
    let request = days(["2026-01-04T23:00", "2026-01-06T00:00", "2026-01-07T00:00"]);
    assert_eq!(keys(&hourly, &request, &recorded).len(), 3);
}

#[test]
fn whole_and_dated_loads_of_one_job_do_not_mix() {
    let whole = record(DataInterval::WHOLE, State::Loaded);
    assert_eq!(
        refused(&job(), &days(["2026-01-05"]), std::slice::from_ref(&whole)).kind(),
        ErrorKind::Config
    );
    assert_eq!(refused(&job(), &due(), &[whole]).kind(), ErrorKind::Config);
    assert_eq!(refused(&whole_job(), &due(), &loaded(["2026-01-05"])).kind(), ErrorKind::Config);
}

#[test]
fn an_unfinished_interval_of_another_unit_is_not_forgotten() {
    let hourly = job_with(|job| job.calendar = Some(Calendar { unit: Unit::Hour, ..NEW_YORK }));
    let plan = planned(&hourly, &due(), &[day("2025-01-05", State::Interrupted)]);
    assert_eq!(plan.to_load().count(), 1);
    assert_eq!(
        plan.notes[1],
        "unfinished, of another unit or time zone: 1, \
         2025-01-05T00:00-05:00/2025-01-06T00:00-05:00; left alone"
    );
}
