//! Schedules: when intervals are due, what is next, what is late, and what is loaded again.

use super::*;

fn scheduled(cron: &str, change: impl FnOnce(&mut Job)) -> Job {
    job_with(|job| {
        job.schedule = Some(Schedule::parse(cron, America::New_York).unwrap());
        change(job);
    })
}

fn loaded_at(text: &str, moment: &str) -> Recorded {
    Recorded { loaded_at: Some(at(moment)), ..day(text, State::Loaded) }
}

fn planned_at(job: &Job, request: &Request, recorded: &[Recorded], now: &str) -> Plan {
    plan(job, request, recorded, at(now)).unwrap()
}

#[test]
fn an_interval_is_due_with_the_first_moment_of_the_schedule_after_its_end() {
    let nightly = scheduled("0 3 * * *", |_| {});
    let recorded = loaded(["2026-01-09"]);
    for (now, due_keys) in [
        ("2026-01-11T02:59:59", vec![]),
        ("2026-01-11T03:00", vec!["2026-01-10"]),
        ("2026-01-12T02:59", vec!["2026-01-10"]),
        ("2026-01-12T03:00", vec!["2026-01-10", "2026-01-11"]),
    ] {
        let plan = planned_at(&nightly, &due(), &recorded, now);
        assert_eq!(plan.to_load().map(|p| &*p.key).collect::<Vec<_>>(), due_keys, "{now}");
    }
    let early = planned_at(&nightly, &due(), &recorded, "2026-01-11T02:00");
    assert_eq!(early.notes, ["nothing is due: the next interval, 2026-01-10, is due at 2026-01-11 03:00"]);
}

#[test]
fn min_delay_holds_beside_the_schedule() {
    let midnight = scheduled("@daily", |job| job.min_delay = Duration::from_secs(3_600));
    let recorded = loaded(["2026-01-09"]);
    assert_eq!(planned_at(&midnight, &due(), &recorded, "2026-01-11T00:59").to_load().count(), 0);
    assert_eq!(planned_at(&midnight, &due(), &recorded, "2026-01-11T01:00").to_load().count(), 1);
    let day = NEW_YORK.parse_key("2026-01-10").unwrap();
    assert_eq!(due_at(&midnight, &day), at("2026-01-11T01:00"));
}

#[test]
fn a_rare_schedule_takes_all_intervals_since_the_last_time() {
    let mondays = scheduled("0 3 * * MON", |_| {});
    let recorded = loaded(["2026-01-04"]);
    assert_eq!(planned_at(&mondays, &due(), &recorded, "2026-01-12T02:00").to_load().count(), 0);
    let plan = planned_at(&mondays, &due(), &recorded, "2026-01-12T03:00");
    assert_eq!(plan.to_load().count(), 7, "Monday to Sunday");
    assert_eq!(upcoming(&mondays, at("2026-01-12T03:00")).unwrap().1, at("2026-01-19T03:00"));
}

#[test]
fn a_schedule_may_follow_another_clock_than_the_data() {
    let berlin = job_with(|job| job.schedule = Some(Schedule::parse("0 3 * * *", Europe::Berlin).unwrap()));
    let (interval, when) = upcoming(&berlin, at("2026-01-11T12:00")).unwrap();
    assert_eq!((NEW_YORK.key(&interval), when), ("2026-01-10".to_owned(), at("2026-01-11T21:00")));
}

#[test]
fn what_is_named_has_to_be_complete_but_not_due() {
    let nightly = scheduled("0 3 * * *", |_| {});
    let plan = planned_at(&nightly, &days(["2026-01-10"]), &[], "2026-01-11T00:10");
    assert_eq!(lines(&plan), ["2026-01-10 load: never loaded"]);
    assert_eq!(plan.intervals[0].tries_left, None, "a person decides how often");
    let plan = planned_at(&nightly, &days(["2026-01-10"]), &[], "2026-01-11T00:09");
    assert_eq!(plan.waiting().count(), 1);
}

#[test]
fn catchup_start_and_end_hold_with_a_schedule() {
    let job = |catchup| {
        scheduled("0 3 * * *", |job| {
            job.catchup = catchup;
            job.start_date = Some(date("2026-01-05"));
            job.end_date = Some(date("2026-01-12"));
        })
    };
    let recorded = loaded(["2026-01-07", "2026-01-08"]);
    for (catchup, before_three, later) in [
        (Catchup::Gaps, vec!["2026-01-09"], vec!["2026-01-09", "2026-01-10", "2026-01-11", "2026-01-12"]),
        (
            Catchup::All,
            vec!["2026-01-05", "2026-01-06", "2026-01-09"],
            vec!["2026-01-05", "2026-01-06", "2026-01-09", "2026-01-10", "2026-01-11", "2026-01-12"],
        ),
        (Catchup::Last, vec!["2026-01-09"], vec!["2026-01-12"]),
        (Catchup::None, vec![], vec![]),
    ] {
        for (now, wanted) in [("2026-01-11T02:00", before_three), ("2026-02-01T02:00", later)] {
            let plan = planned_at(&job(catchup), &due(), &recorded, now);
            assert_eq!(plan.to_load().map(|p| &*p.key).collect::<Vec<_>>(), wanted, "{catchup:?} {now}");
        }
    }
    assert_eq!(upcoming(&job(Catchup::Gaps), at("2026-01-13T03:00")), None);
}

#[test]
fn the_next_moment_is_now_while_something_is_to_do() {
    let nightly = scheduled("0 3 * * *", |_| {});
    let next = |recorded: &[Recorded], now: &str| next_due(&nightly, recorded, at(now));
    let done = loaded(["2026-01-09"]);
    assert_eq!(next(&done, "2026-01-11T02:00"), Some(at("2026-01-11T03:00")));
    assert_eq!(next(&done, "2026-01-11T03:00"), Some(at("2026-01-11T03:00")));
    assert_eq!(next(&[], "2026-01-11T04:00"), Some(at("2026-01-11T04:00")), "the newest is never loaded");
    let failed = |attempts| {
        let mut all = loaded(["2026-01-09"]);
        all.push(Recorded { attempts, ..day("2026-01-10", State::Failed) });
        all
    };
    assert_eq!(next(&failed(3), "2026-01-11T04:00"), Some(at("2026-01-11T04:00")));
    assert_eq!(next(&failed(4), "2026-01-11T04:00"), Some(at("2026-01-12T03:00")), "its tries are used");
    let mut running = loaded(["2026-01-09"]);
    running.push(day("2026-01-10", State::Running));
    assert_eq!(next(&running, "2026-01-11T04:00"), Some(at("2026-01-12T03:00")), "somebody loads it");
    let by_hand = scheduled("0 3 * * *", |job| job.catchup = Catchup::None);
    assert_eq!(next_due(&by_hand, &done, now()), None);
    let ended = scheduled("0 3 * * *", |job| job.end_date = Some(date("2026-01-09")));
    assert_eq!(next_due(&ended, &done, now()), None);
}

#[test]
fn what_precedes_the_first_that_is_loaded_is_no_next_moment() {
    let weekly = scheduled("0 3 * * MON", |_| {});
    let next = |recorded: &[Recorded]| next_due(&weekly, recorded, at("2026-01-12T02:00"));
    let mut early = loaded(["2026-01-09", "2026-01-10", "2026-01-11"]);
    assert_eq!(next(&early), Some(at("2026-01-19T03:00")));
    early.push(day("2026-01-06", State::Interrupted));
    assert_eq!(next(&early), Some(at("2026-01-12T03:00")), "it is taken up then");
}

#[test]
fn tries_are_counted_over_runs_and_what_is_left_is_told() {
    let left = |record: Recorded| planned(&job(), &due(), &[record]).intervals[0].tries_left;
    let failed = |attempts| Recorded { attempts, ..day("2026-01-10", State::Failed) };
    assert_eq!(planned(&job(), &due(), &[]).intervals[0].tries_left, Some(4));
    assert_eq!(left(failed(1)), Some(3));
    assert_eq!(left(failed(3)), Some(1));
    assert_eq!(left(failed(4)), None, "nothing is loaded");
    assert_eq!(left(Recorded { attempts: 40, ..day("2026-01-10", State::Interrupted) }), Some(1));
}

#[test]
fn an_interval_is_late_once_its_deadline_has_passed_and_it_is_not_loaded() {
    let nightly = scheduled("0 3 * * *", |job| job.deadline = Some(Duration::from_secs(6 * 3_600)));
    let tenth = NEW_YORK.parse_key("2026-01-10").unwrap();
    let late = |state, now: &str| is_late(&nightly, &tenth, (state, None), at(now));
    assert!(!late(None, "2026-01-11T05:59"));
    assert!(late(None, "2026-01-11T06:00"));
    for state in [State::Failed, State::Interrupted, State::Running] {
        assert!(late(Some(state), "2026-01-11T06:00"), "{state}");
    }
    // A load that stands is in time also while it is loaded again.
    for state in [State::Loaded, State::Stale, State::Skipped] {
        assert!(!late(Some(state), "2026-01-11T06:00"), "{state}");
    }
    assert!(!is_late(&job(), &tenth, (None, None), now()), "no deadline");
}

mod lookback {
    use super::*;

    fn job() -> Job {
        scheduled("0 3 * * *", |job| job.lookback = vec![1, 2])
    }

    /// Loaded each night at five past three, until the newest.
    fn nightly(days: &[&str]) -> Vec<Recorded> {
        let next = |text: &str| date(text).succ_opt().unwrap();
        days.iter().map(|text| loaded_at(text, &format!("{}T03:05", next(text)))).collect()
    }

    #[test]
    fn earlier_intervals_are_loaded_again_when_the_schedule_advances() {
        let recorded = nightly(&["2026-01-07", "2026-01-08", "2026-01-09"]);
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T03:00");
        assert_eq!(
            lines(&plan),
            [
                "2026-01-08 reload: lookback from 2026-01-10: loaded 2026-01-08 03:00, 27,004 rows",
                "2026-01-09 reload: lookback from 2026-01-10: loaded 2026-01-08 03:00, 27,004 rows",
                "2026-01-10 load: never loaded"
            ]
        );
        assert_eq!(plan.done, 1);
        assert_eq!(plan.intervals[0].tries_left, Some(4));
        let mut reloaded = recorded;
        reloaded.iter_mut().for_each(|record| record.loaded_at = Some(at("2026-01-10T03:05")));
        let before = planned_at(&job(), &due(), &reloaded, "2026-01-11T02:00");
        assert_eq!(before.to_load().count(), 0, "the schedule has not advanced");
    }

    #[test]
    fn it_is_once_for_each_advance_and_again_only_where_it_failed() {
        let mut recorded = nightly(&["2026-01-07", "2026-01-08", "2026-01-09", "2026-01-10"]);
        recorded[1].loaded_at = Some(at("2026-01-11T03:06"));
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T05:00");
        assert_eq!(plan.to_load().map(|p| &*p.key).collect::<Vec<_>>(), ["2026-01-09"]);
        recorded[2].attempts = 4;
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T05:00");
        assert_eq!((plan.to_load().count(), plan.exhausted().count()), (0, 1));
        assert!(
            plan.intervals[0].reason.ends_with("`pgtide run users --date 2026-01-09 --reload` tries again")
        );
        recorded[2].attempts = 0;
        recorded[2].loaded_at = Some(at("2026-01-11T03:07"));
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T05:00");
        assert_eq!((plan.intervals.len(), plan.done), (0, 4));
    }

    #[test]
    fn what_is_loaded_late_looks_back_too() {
        let mut recorded =
            nightly(&["2026-01-04", "2026-01-05", "2026-01-07", "2026-01-08", "2026-01-09", "2026-01-10"]);
        for record in &mut recorded[4..] {
            record.loaded_at = Some(at("2026-01-11T03:05"));
        }
        recorded[3].loaded_at = Some(at("2026-01-11T03:05"));
        // The hole of the 6th is filled: the 4th and 5th were loaded before it was due.
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T05:00");
        assert_eq!(
            plan.to_load().map(|p| format!("{} {:?}", p.key, p.action)).collect::<Vec<_>>(),
            ["2026-01-04 Reload", "2026-01-05 Reload", "2026-01-06 Load"]
        );
    }

    #[test]
    fn a_list_counts_back_and_explicit_dates_never_look_back() {
        let week = scheduled("0 3 * * *", |job| job.lookback = vec![1, 7]);
        let recorded = nightly(&["2026-01-02", "2026-01-03", "2026-01-08", "2026-01-09", "2026-01-10"]);
        let plan = planned_at(&week, &due(), &recorded[..], "2026-01-11T03:00");
        let reloads: Vec<_> =
            plan.intervals.iter().filter(|p| p.action == Action::Reload).map(|p| &*p.key).collect();
        assert_eq!(reloads, ["2026-01-03", "2026-01-09"]);
        let named = planned_at(&week, &days(["2026-01-10"]), &[], "2026-01-11T03:00");
        assert_eq!(named.intervals.len(), 1);
    }

    #[test]
    fn stale_skipped_running_and_foreign_loads_are_left_alone() {
        let mut recorded = nightly(&["2026-01-08", "2026-01-09", "2026-01-10"]);
        recorded[0].is_live = true;
        recorded[1].state = State::Stale;
        let plan = planned_at(&job(), &due(), &recorded, "2026-01-11T03:06");
        assert_eq!(plan.to_load().count(), 0);
    }
}
