//! Nothing is named: holes, `catchup`, tries, bounds, and what is told beside.

use super::*;

#[test]
fn holes_after_the_first_loaded_interval_are_due_and_nothing_before() {
    let recorded = loaded(["2026-01-06", "2026-01-08", "2026-01-09"]);
    let plan = planned(&job(), &due(), &recorded);
    assert_eq!(lines(&plan), ["2026-01-07 load: never loaded", "2026-01-10 load: never loaded"]);
    assert_eq!(plan.done, 3);
    assert_eq!(plan.notes, [""; 0]);
}

#[test]
fn with_an_empty_ledger_the_newest_interval_is_due_and_the_command_for_the_rest_is_told() {
    let plan = planned(&job(), &due(), &[]);
    assert_eq!(lines(&plan), ["2026-01-10 load: never loaded"]);
    assert_eq!(
        plan.notes,
        ["nothing is loaded yet, so only the newest interval, 2026-01-10, is due; \
          for what came before: pgtide backfill users --from-date DATE --to-date 2026-01-09"]
    );
    let started = job_with(|job| job.start_date = Some(date("2025-01-01")));
    assert!(planned(&started, &due(), &[]).notes[0].ends_with(": pgtide backfill users"));
    let new = job_with(|job| job.start_date = Some(date("2026-01-10")));
    assert_eq!(planned(&new, &due(), &[]).notes, [""; 0]);
}

#[test]
fn catchup_says_how_far_back_is_looked() {
    let started = |catchup| {
        job_with(|job| {
            job.catchup = catchup;
            job.start_date = Some(date("2026-01-05"));
        })
    };
    let recorded = loaded(["2026-01-07", "2026-01-08"]);
    for (catchup, due_keys) in [
        (Catchup::Gaps, vec!["2026-01-09", "2026-01-10"]),
        (Catchup::All, vec!["2026-01-05", "2026-01-06", "2026-01-09", "2026-01-10"]),
        (Catchup::Last, vec!["2026-01-10"]),
        (Catchup::None, vec![]),
    ] {
        assert_eq!(keys(&started(catchup), &due(), &recorded), due_keys, "{catchup:?}");
    }
    let error = refused(&job_with(|job| job.catchup = Catchup::All), &due(), &[]);
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn the_bounds_of_the_job_hold() {
    let bounded = job_with(|job| {
        job.start_date = Some(date("2026-01-04"));
        job.end_date = Some(date("2026-01-05"));
    });
    assert_eq!(keys(&bounded, &due(), &loaded(["2026-01-01"])), ["2026-01-04", "2026-01-05"]);
    let plan = planned(&bounded, &due(), &loaded(["2026-01-04", "2026-01-05"]));
    assert_eq!(plan.notes, ["nothing is due: the job ended with 2026-01-05"]);
    let future = job_with(|job| job.start_date = Some(date("2026-02-01")));
    let plan = planned(&future, &due(), &[]);
    assert_eq!(plan.notes, ["nothing is due: the next interval, 2026-02-01, is due at 2026-02-02 00:10"]);
}

#[test]
fn a_week_belongs_to_the_bounds_by_its_start() {
    let weekly = job_with(|job| {
        job.calendar = Some(Calendar { unit: Unit::Week, ..NEW_YORK });
        job.catchup = Catchup::All;
        job.start_date = Some(date("2025-12-17"));
        job.end_date = Some(date("2025-12-29"));
    });
    assert_eq!(keys(&weekly, &due(), &[]), ["2025-W52", "2026-W01"]);
}

#[test]
fn an_interval_is_due_once_it_is_complete_and_no_sooner() {
    let recorded = loaded(["2026-01-09"]);
    let early = plan(&job(), &due(), &recorded, at("2026-01-11T00:09:59")).unwrap();
    assert_eq!(early.to_load().count(), 0);
    assert_eq!(early.notes, ["nothing is due: the next interval, 2026-01-10, is due at 2026-01-11 00:10"]);
    let ready = plan(&job(), &due(), &recorded, at("2026-01-11T00:10")).unwrap();
    assert_eq!(lines(&ready), ["2026-01-10 load: never loaded"]);
}

#[test]
fn automatic_tries_stop_after_the_retries() {
    let failed = |attempts| Recorded { attempts, ..day("2026-01-10", State::Failed) };
    for (attempts, line) in [
        (1, "load: failed 2026-01-08 03:00; this is try 2 of 4"),
        (3, "load: failed 2026-01-08 03:00; this is try 4 of 4"),
        (
            4,
            "exhausted: failed 2026-01-08 03:00; all of its 4 tries are used; \
             `pgtide run users --date 2026-01-10` tries again",
        ),
    ] {
        let plan = planned(&job(), &due(), &[failed(attempts)]);
        assert_eq!(lines(&plan), [format!("2026-01-10 {line}")]);
        assert_eq!(plan.exhausted().count(), usize::from(attempts == 4));
    }
}

#[test]
fn an_interrupted_interval_is_always_taken_up_again() {
    let interrupted = Recorded { attempts: 40, ..day("2026-01-10", State::Interrupted) };
    let plan = planned(&job(), &due(), &[interrupted]);
    assert_eq!(lines(&plan), ["2026-01-10 load: interrupted 2026-01-08 03:00; this is try 41"]);
}

#[test]
fn what_was_left_unfinished_before_the_first_loaded_interval_is_taken_too() {
    let mut recorded = loaded(["2026-01-09", "2026-01-10"]);
    recorded.push(day("2025-06-02", State::Interrupted));
    recorded.push(day("2025-06-01", State::Failed));
    assert_eq!(keys(&job(), &due(), &recorded), ["2025-06-01", "2025-06-02"]);
    let last = job_with(|job| job.catchup = Catchup::Last);
    let plan = planned(&last, &due(), &recorded);
    assert_eq!(plan.to_load().count(), 0);
    assert_eq!(
        plan.notes[0],
        "unfinished, but left out by `catchup`: 2, 2025-06-01 to 2025-06-02; name them to load them"
    );
}

#[test]
fn stale_and_redefined_intervals_are_told_and_taken_only_when_asked() {
    let mut recorded = loaded(["2026-01-07", "2026-01-08", "2026-01-09"]);
    recorded[1].definition_hash = Some("old".into());
    recorded.push(day("2026-01-10", State::Stale));
    let plan = planned(&job(), &due(), &recorded);
    assert_eq!(lines(&plan), ["2026-01-10 skip: stale 2026-01-08 03:00, 27,004 rows; --stale reloads it"]);
    assert_eq!(plan.notes, ["loaded by another definition: 1, 2026-01-08; --stale reloads them"]);
    assert_eq!(keys(&job(), &with_stale(due()), &recorded), ["2026-01-08", "2026-01-10"]);
}

#[test]
fn skipped_intervals_and_dates_without_an_instant_are_no_holes() {
    let mut recorded = loaded(["2026-01-08", "2026-01-10"]);
    recorded.push(day("2026-01-09", State::Skipped));
    let plan = planned(&job(), &due(), &recorded);
    assert_eq!((plan.intervals.len(), plan.done), (0, 3));
    let zone = Calendar { unit: Unit::Day, timezone: Pacific::Apia };
    let apia = job_with(|job| job.calendar = Some(zone));
    let first = record(zone.parse_key("2011-12-29").unwrap(), State::Loaded);
    let now = parse_instant("2012-01-01T03:00", Pacific::Apia).unwrap();
    let plan = super::plan(&apia, &due(), &[first], now).unwrap();
    assert_eq!(lines(&plan), ["2011-12-31 load: never loaded"]);
}

#[test]
fn on_the_day_after_one_without_an_instant_the_newest_is_the_day_before_both() {
    let zone = Calendar { unit: Unit::Day, timezone: Pacific::Apia };
    let apia = job_with(|job| job.calendar = Some(zone));
    let now = parse_instant("2011-12-31T03:00", Pacific::Apia).unwrap();
    assert_eq!(lines(&plan(&apia, &due(), &[], now).unwrap()), ["2011-12-29 load: never loaded"]);
}

#[test]
fn a_running_interval_is_left_to_the_claim() {
    let plan = planned(&job(), &due(), &[day("2026-01-10", State::Running)]);
    assert_eq!(lines(&plan), ["2026-01-10 load: running; the claim decides"]);
}

#[test]
fn a_reload_needs_dates() {
    assert_eq!(refused(&job(), &reloading(due()), &[]).kind(), ErrorKind::Usage);
}

#[test]
fn more_holes_than_a_plan_holds_are_left_for_the_next_run() {
    let hourly = job_with(|job| {
        job.calendar = Some(Calendar { unit: Unit::Hour, timezone: Tz::UTC });
        job.catchup = Catchup::All;
        job.start_date = Some(date("1990-01-01"));
    });
    let plan = planned(&hourly, &due(), &[]);
    assert_eq!(plan.to_load().count(), MAX_INTERVALS);
    assert_eq!(plan.notes, ["up to 65,823 more from 2018-07-09T16:00 on are for the next run"]);
}

#[test]
fn a_long_history_needs_nothing_listed() {
    let calendar = Calendar { unit: Unit::Hour, timezone: America::New_York };
    let hourly = job_with(|job| job.calendar = Some(calendar));
    let hours = calendar.intervals_between(at("2015-01-01"), at("2026-01-11T02:00"));
    let mut recorded: Vec<_> = hours.map(|hour| record(hour, State::Loaded)).collect();
    assert!(recorded.len() > 90_000);
    let hole = recorded.swap_remove(1_000);
    let plan = planned(&hourly, &due(), &recorded);
    assert_eq!(keys(&hourly, &due(), &recorded), [calendar.key(&hole.interval)]);
    assert_eq!(plan.done, recorded.len());
}

#[test]
fn the_upcoming_interval_is_the_first_that_is_not_complete() {
    let upcoming_of = |job: &Job| upcoming(job, now()).map(|(i, ready)| (NEW_YORK.key(&i), ready));
    assert_eq!(upcoming_of(&job()), Some(("2026-01-11".to_owned(), at("2026-01-12T00:10"))));
    let ended = job_with(|job| job.end_date = Some(date("2026-01-10")));
    assert_eq!(upcoming_of(&ended), None);
    let future = job_with(|job| job.start_date = Some(date("2026-03-01")));
    assert_eq!(upcoming_of(&future), Some(("2026-03-01".to_owned(), at("2026-03-02T00:10"))));
    assert_eq!(upcoming(&whole_job(), now()), None);
}
