//! Snapshot jobs: once for each moment of the schedule, and whenever they are named.

use super::*;

fn job() -> Job {
    job_with(|job| {
        job.calendar = None;
        job.timezone = America::New_York;
        job.schedule = Some(Schedule::parse("0 3,15 * * *", America::New_York).unwrap());
    })
}

fn taken(moment: &str) -> Recorded {
    Recorded {
        loaded_at: Some(at(moment)),
        finished: Some(at(moment)),
        ..record(DataInterval::WHOLE, State::Loaded)
    }
}

fn planned_at(request: &Request, recorded: &[Recorded], now: &str) -> Plan {
    plan(&job(), request, recorded, at(now)).unwrap()
}

fn named() -> Request {
    Request { named: true, ..due() }
}

#[test]
fn each_moment_is_loaded_once_under_its_name() {
    let plan = planned_at(&due(), &[], "2026-01-11T02:00");
    assert_eq!(lines(&plan), ["2026-01-10T15:00 load: never loaded"]);
    let recorded = [taken("2026-01-10T15:01")];
    let plan = planned_at(&due(), &recorded, "2026-01-11T02:00");
    assert_eq!((plan.intervals.len(), plan.done), (0, 1));
    assert_eq!(
        plan.notes,
        ["nothing is due: the next snapshot is for 2026-01-11 03:00; `pgtide run users` loads one now"]
    );
    let plan = planned_at(&due(), &recorded, "2026-01-11T03:00");
    assert_eq!(lines(&plan), ["2026-01-11T03:00 reload: loaded 2026-01-10 15:01, 27,004 rows"]);
    assert!(plan.intervals[0].interval.is_whole());
}

#[test]
fn a_snapshot_that_is_named_is_always_loaded() {
    let recorded = [taken("2026-01-10T15:01")];
    for request in [named(), reloading(due())] {
        let plan = planned_at(&request, &recorded, "2026-01-11T02:00");
        assert_eq!(lines(&plan), ["2026-01-10T15:00 reload: loaded 2026-01-10 15:01, 27,004 rows"]);
        assert_eq!(plan.intervals[0].tries_left, None);
    }
    let dated = plan(&job(), &days(["2026-01-10"]), &[], now()).unwrap_err();
    assert!(text_of(&dated).contains("pgtide run users loads it now"));
}

#[test]
fn each_moment_has_a_try_though_those_before_used_theirs_up() {
    let failed = |attempts, moment: &str| {
        [Recorded { attempts, finished: Some(at(moment)), ..record(DataInterval::WHOLE, State::Failed) }]
    };
    let plan = planned_at(&due(), &failed(4, "2026-01-10T15:05"), "2026-01-11T02:00");
    assert_eq!(plan.exhausted().count(), 1);
    assert!(lines(&plan)[0].ends_with("all of its 4 tries are used; `pgtide run users` tries again"));
    let plan = planned_at(&due(), &failed(4, "2026-01-10T15:05"), "2026-01-11T03:00");
    assert_eq!((plan.to_load().count(), plan.intervals[0].tries_left), (1, Some(1)));
    let plan = planned_at(&due(), &failed(1, "2026-01-10T15:05"), "2026-01-11T02:00");
    assert_eq!(plan.intervals[0].tries_left, Some(3));
}

#[test]
fn marks_bounds_and_deadlines_hold() {
    let with = |state, moment| [Recorded { state, ..taken(moment) }];
    assert_eq!(
        planned_at(&due(), &with(State::Skipped, "2026-01-01"), "2026-01-11T03:00").to_load().count(),
        0
    );
    let stale = with(State::Stale, "2026-01-11T03:01");
    assert_eq!(planned_at(&due(), &stale, "2026-01-11T04:00").to_load().count(), 0);
    assert_eq!(planned_at(&with_stale(due()), &stale, "2026-01-11T04:00").to_load().count(), 1);
    let bounded = Job { end_date: Some(date("2026-01-10")), ..job() };
    let plan = plan(&bounded, &due(), &[], now()).unwrap();
    assert_eq!((plan.to_load().count(), &*plan.notes[0]), (0, "nothing is due: the job has ended"));
}

#[test]
fn a_snapshot_is_late_when_its_latest_moment_is_and_not_for_those_before() {
    let timed = Job { deadline: Some(Duration::from_secs(3_600)), ..job() };
    let late = |job: &Job, state, loaded: Option<&str>, now: &str| {
        is_late(job, &DataInterval::WHOLE, (state, loaded.map(at)), at(now))
    };
    let afternoon = Some("2026-01-10T15:01");
    assert!(!late(&timed, Some(State::Loaded), afternoon, "2026-01-11T03:59"));
    assert!(late(&timed, Some(State::Loaded), afternoon, "2026-01-11T04:00"));
    assert!(late(&timed, Some(State::Failed), afternoon, "2026-01-11T04:00"));
    assert!(!late(&timed, Some(State::Failed), Some("2026-01-11T03:01"), "2026-01-11T04:00"));
    assert!(!late(&timed, Some(State::Skipped), None, "2026-01-11T04:00"));
    assert!(
        !late(&timed, Some(State::Loaded), Some("2026-01-11T15:02"), "2026-01-11T15:30"),
        "after many gaps"
    );
    assert!(late(&timed, None, None, "2026-01-11T04:00"), "never loaded");
    let future = Job { start_date: Some(date("2026-02-01")), ..timed };
    assert!(!late(&future, None, None, "2026-01-11T04:00"), "not begun");
    assert!(!late(&job(), None, None, "2026-01-11T04:00"), "no deadline");
}

#[test]
fn the_moments_that_have_come_are_told_newest_first_within_the_bounds() {
    let keys = |job: &Job, now: &str| -> Vec<String> {
        moments(job, at(now)).take(3).map(|tick| tick.key(America::New_York)).collect()
    };
    assert_eq!(
        keys(&job(), "2026-01-11T03:30"),
        ["2026-01-11T03:00", "2026-01-10T15:00", "2026-01-10T03:00"]
    );
    let bounded = Job { start_date: Some(date("2026-01-09")), end_date: Some(date("2026-01-09")), ..job() };
    assert_eq!(keys(&bounded, "2026-01-11T03:30"), ["2026-01-09T15:00", "2026-01-09T03:00"]);
    assert_eq!(keys(&whole_job(), "2026-01-11T03:30"), [""; 0]);
}

#[test]
fn the_next_moment_is_that_of_the_schedule() {
    let recorded = [taken("2026-01-10T15:01")];
    assert_eq!(next_due(&job(), &recorded, at("2026-01-11T02:00")), Some(at("2026-01-11T03:00")));
    assert_eq!(next_due(&job(), &recorded, at("2026-01-11T03:30")), Some(at("2026-01-11T03:30")));
    let future = Job { start_date: Some(date("2026-02-01")), ..job() };
    assert_eq!(next_due(&future, &[], now()), Some(at("2026-02-01T03:00")));
}

#[test]
fn a_query_has_the_moment_as_its_logical_date() {
    let mut snapshot = job();
    snapshot.origin = Origin::Query(
        "{{ ds }} {{ logical_date }} {{ data_interval_start }} {{ data_interval_end }} {{ next_ds }}"
            .to_owned(),
    );
    let rendered = snapshot.at(now()).render_query(&DataInterval::WHOLE, "run").unwrap();
    assert_eq!(
        rendered.as_deref(),
        Some(
            "2026-01-11 2026-01-11T03:00:00-05:00 2026-01-10T15:00:00-05:00 2026-01-11T03:00:00-05:00 2026-01-11"
        )
    );
}
