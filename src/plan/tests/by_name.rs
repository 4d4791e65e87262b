//! Intervals that are named: what is done with each, and why.

use super::*;

#[test]
fn exactly_the_named_days_are_planned_oldest_first_and_once() {
    let request = days(["2026-01-07", "2026-01-05", "2026-01-07"]);
    let plan = planned(&job(), &request, &loaded(["2026-01-02"]));
    assert_eq!(lines(&plan), ["2026-01-05 load: never loaded", "2026-01-07 load: never loaded"]);
    let backwards = Request { backwards: true, ..request };
    assert_eq!(keys(&job(), &backwards, &[]), ["2026-01-07", "2026-01-05"]);
}

#[test]
fn each_state_has_its_action_and_reason() {
    let noted = |state, note: &str| Recorded { note: Some(note.to_owned()), ..day("2026-01-05", state) };
    let other = |state| Recorded { definition_hash: Some("old".into()), ..day("2026-01-05", state) };
    let unknown = Recorded { definition_hash: None, ..day("2026-01-05", State::Loaded) };
    let one_row = Recorded { rows: Some(1), ..day("2026-01-05", State::Loaded) };
    let often = Recorded { attempts: 9, ..noted(State::Failed, "deadlock (40P01)") };
    let plain = days(["2026-01-05"]);
    let reload = reloading(plain.clone());
    let stale = with_stale(plain.clone());
    for (record, request, line) in [
        (day("2026-01-05", State::Loaded), &plain, "skip: loaded 2026-01-08 03:00, 27,004 rows"),
        (one_row, &plain, "skip: loaded 2026-01-08 03:00, 1 row"),
        (day("2026-01-05", State::Loaded), &stale, "skip: loaded 2026-01-08 03:00, 27,004 rows"),
        (day("2026-01-05", State::Loaded), &reload, "reload: loaded 2026-01-08 03:00, 27,004 rows"),
        (unknown, &stale, "skip: loaded 2026-01-08 03:00, 27,004 rows"),
        (
            other(State::Loaded),
            &plain,
            "skip: loaded 2026-01-08 03:00, 27,004 rows, by another definition; --stale reloads it",
        ),
        (other(State::Loaded), &stale, "reload: loaded 2026-01-08 03:00, 27,004 rows, by another definition"),
        (
            noted(State::Stale, "source has 212 rows more"),
            &plain,
            "skip: stale 2026-01-08 03:00, 27,004 rows: source has 212 rows more; --stale reloads it",
        ),
        (day("2026-01-05", State::Stale), &stale, "reload: stale 2026-01-08 03:00, 27,004 rows"),
        (day("2026-01-05", State::Stale), &reload, "reload: stale 2026-01-08 03:00, 27,004 rows"),
        (
            noted(State::Skipped, "a holiday"),
            &plain,
            "skip: skipped 2026-01-08 03:00: a holiday; --reload loads it",
        ),
        (day("2026-01-05", State::Skipped), &stale, "skip: skipped 2026-01-08 03:00; --reload loads it"),
        (day("2026-01-05", State::Skipped), &reload, "load: skipped 2026-01-08 03:00"),
        (noted(State::Running, "on etl-1"), &plain, "load: running: on etl-1; the claim decides"),
        (day("2026-01-05", State::Interrupted), &plain, "load: interrupted 2026-01-08 03:00; this is try 2"),
        (often, &plain, "load: failed 2026-01-08 03:00: deadlock (40P01); this is try 10"),
    ] {
        let plan = planned(&job(), request, &[record]);
        assert_eq!(lines(&plan), [format!("2026-01-05 {line}")]);
    }
}

#[test]
fn an_interval_that_is_not_complete_waits_and_says_until_when() {
    for (now, action) in [
        ("2026-01-11T00:09:59", Some("2026-01-11T00:10")),
        ("2026-01-10T12:00", Some("2026-01-11T00:10")),
        ("2026-01-11T00:10", None),
    ] {
        let plan = plan(&job(), &days(["2026-01-10"]), &[], at(now)).unwrap();
        let wanted = action.map_or(Action::Load, |ready| Action::Wait { ready_at: at(ready) });
        assert_eq!(plan.intervals[0].action, wanted, "{now}");
        assert_eq!(plan.waiting().count(), usize::from(action.is_some()));
    }
    let plan = planned(&job(), &days(["2026-01-12"]), &[]);
    assert_eq!(lines(&plan), ["2026-01-12 wait: not complete until 2026-01-13 00:10"]);
    let never = job_with(|job| job.min_delay = Duration::MAX);
    assert_eq!(planned(&never, &days(["2026-01-05"]), &[]).waiting().count(), 1);
    assert!(planned(&never, &due(), &[]).intervals.is_empty());
}

#[test]
fn an_incomplete_interval_that_is_loaded_is_left_alone() {
    let plan = planned(&job(), &days(["2026-01-11"]), &loaded(["2026-01-11"]));
    assert_eq!(plan.skipped().count(), 1);
    let plan = planned(&job(), &reloading(days(["2026-01-11"])), &loaded(["2026-01-11"]));
    assert_eq!(plan.waiting().count(), 1);
}

#[test]
fn days_after_the_last_of_the_job_are_loaded_with_a_remark() {
    let job = job_with(|job| job.end_date = Some(date("2026-01-05")));
    assert_eq!(
        lines(&planned(&job, &days(["2026-01-05", "2026-01-06"]), &[])),
        ["2026-01-05 load: never loaded", "2026-01-06 load: never loaded; after end_date 2026-01-05"]
    );
}

#[test]
fn days_before_the_first_of_the_job_are_refused_with_the_remedy() {
    let job = job_with(|job| {
        job.start_date = Some(date("2026-01-03"));
        job.file = Some("/srv/etl/jobs/users.toml".into());
    });
    for (request, which) in [
        (days(["2026-01-02", "2026-01-05"]), "2026-01-02 is before it"),
        (
            range(Some("2026-01-01"), Some("2026-01-05")),
            "2 of the intervals are before it, from 2026-01-01 on",
        ),
        (instants("2026-01-02", "2026-01-04"), "2026-01-02 is before it"),
    ] {
        let error = refused(&job, &request, &[]);
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert_eq!(
            text_of(&error),
            format!(
                "users starts with `start_date`, 2026-01-03: {which}\n\
                 hint: ask for 2026-01-03 and later, or set `start_date` in jobs/users.toml to an earlier date"
            )
        );
    }
    let seen = look_up(&job, Dates::Days(vec!["2026-01-02".to_owned()]), now()).unwrap();
    assert_eq!(lines(&seen), ["2026-01-02 load: never loaded"]);
}

#[test]
fn an_open_range_begins_with_the_first_interval_inside_the_job() {
    let weekly = job_with(|job| {
        job.calendar = Some(Calendar { unit: Unit::Week, ..NEW_YORK });
        job.start_date = Some(date("2025-12-17"));
    });
    assert_eq!(keys(&weekly, &range(None, Some("2025-12-31")), &[]), ["2025-W52", "2026-W01"]);
}

#[test]
fn a_date_without_an_instant_is_skipped_with_a_reason() {
    let zone = Calendar { unit: Unit::Day, timezone: Pacific::Apia };
    let apia = job_with(|job| job.calendar = Some(zone));
    assert_eq!(
        lines(&planned(&apia, &reloading(range(Some("2011-12-29"), Some("2011-12-31"))), &[])),
        [
            "2011-12-29 load: never loaded",
            "2011-12-30 skip: Pacific/Apia left this date out: it has no instant",
            "2011-12-31 load: never loaded"
        ]
    );
    let hourly = job_with(|job| job.calendar = Some(Calendar { unit: Unit::Hour, ..zone }));
    let plan = planned(&hourly, &days(["2011-12-30"]), &[]);
    assert_eq!(plan.notes, ["no hour of the job starts on these dates"]);
}

#[test]
fn a_month_is_all_its_days() {
    let loads = keys(&job(), &days(["2025-02"]), &[]);
    assert_eq!((loads.len(), &*loads[0], &*loads[27]), (28, "2025-02-01", "2025-02-28"));
}

#[test]
fn a_date_takes_what_the_unit_makes_of_it() {
    for (unit, text, first, count) in [
        (Unit::Hour, "2025-11-02", "2025-11-02T00:00", 25),
        (Unit::Hour, "2025-11-02T01:00-05:00", "2025-11-02T01:00-05:00", 1),
        (Unit::Week, "2026-01-01", "2026-W01", 1),
        (Unit::Week, "2026-W01", "2026-W01", 1),
        (Unit::Week, "2025-12", "2025-W49", 5),
        (Unit::Month, "2025-12-24", "2025-12", 1),
        (Unit::Month, "2025-12", "2025-12", 1),
        (Unit::Elapsed(TimeDelta::hours(6)), "2026-01-05", "2026-01-05T01:00-05:00", 4),
    ] {
        let job = job_with(|job| job.calendar = Some(Calendar { unit, ..NEW_YORK }));
        let plan = planned(&job, &days([text]), &[]);
        assert_eq!((&*plan.intervals[0].key, plan.intervals.len()), (first, count), "{text}");
    }
}
