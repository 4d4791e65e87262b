//! Every rule of the plan, with the clock at 2026-01-11 03:00 in New York unless a test says otherwise.

use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use chrono_tz::{America, Europe, Pacific};

use super::*;
use crate::config::job::{Catchup, LoadMode, OneOff, Origin};
use crate::interval::{Schedule, Unit, parse_date, parse_instant};
use crate::name::TableName;

const NEW_YORK: Calendar = Calendar { unit: Unit::Day, timezone: America::New_York };

/// A daily job of New York, as a file with the fewest keys gives it.
fn job() -> Job {
    let ask = OneOff {
        origin: Origin::Table(TableName::new("public", "users")),
        into: TableName::new("mart", "users"),
        filter: None,
        mode: None,
        key: Vec::new(),
        create: false,
    };
    Job {
        name: "users".to_owned(),
        time_column: Some("created_at".to_owned()),
        calendar: Some(NEW_YORK),
        mode: LoadMode::DeleteInsert,
        min_delay: Duration::from_secs(600),
        retries: 3,
        ..Job::one_off(ask).unwrap()
    }
}

fn job_with(change: impl FnOnce(&mut Job)) -> Job {
    let mut job = job();
    change(&mut job);
    job
}

fn whole_job() -> Job {
    job_with(|job| job.calendar = None)
}

fn asking(dates: Dates) -> Request {
    Request { definition_hash: "new".to_owned(), ..Request::of(&job(), dates) }
}

fn days<const N: usize>(texts: [&str; N]) -> Request {
    asking(Dates::Days(texts.map(str::to_owned).to_vec()))
}

fn range(from: Option<&str>, to: Option<&str>) -> Request {
    asking(Dates::Range { from: from.map(str::to_owned), to: to.map(str::to_owned) })
}

fn instants(start: &str, end: &str) -> Request {
    asking(Dates::Instants { start: start.to_owned(), end: end.to_owned() })
}

fn due() -> Request {
    asking(Dates::Due)
}

fn reloading(request: Request) -> Request {
    Request { reload: true, ..request }
}

fn with_stale(request: Request) -> Request {
    Request { stale: true, ..request }
}

fn date(text: &str) -> NaiveDate {
    parse_date(text).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text, America::New_York).unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-11T03:00")
}

/// A record as the current definition leaves it, with 27,004 rows if it is loaded.
fn record(interval: DataInterval, state: State) -> Recorded {
    Recorded {
        interval,
        state,
        definition_hash: Some("new".into()),
        rows: state.has_rows().then_some(27_004),
        loaded_at: state.has_rows().then(|| at("2026-01-08T03:00")),
        is_live: state == State::Running,
        attempts: u32::from(!state.has_rows()),
        finished: (state != State::Running).then(|| at("2026-01-08T03:00")),
        note: None,
    }
}

fn day(text: &str, state: State) -> Recorded {
    record(NEW_YORK.parse_key(text).unwrap(), state)
}

fn loaded<const N: usize>(texts: [&str; N]) -> Vec<Recorded> {
    texts.map(|text| day(text, State::Loaded)).to_vec()
}

/// `key action: reason`, one line for each interval.
fn lines(plan: &Plan) -> Vec<String> {
    let action = |action| match action {
        Action::Load => "load",
        Action::Reload => "reload",
        Action::Skip => "skip",
        Action::Wait { .. } => "wait",
        Action::Exhausted => "exhausted",
        Action::Blocked => "blocked",
    };
    plan.intervals.iter().map(|p| format!("{} {}: {}", p.key, action(p.action), p.reason)).collect()
}

fn planned(job: &Job, request: &Request, recorded: &[Recorded]) -> Plan {
    plan(job, request, recorded, now()).unwrap()
}

fn keys(job: &Job, request: &Request, recorded: &[Recorded]) -> Vec<String> {
    planned(job, request, recorded).to_load().map(|p| p.key.clone()).collect()
}

fn refused(job: &Job, request: &Request, recorded: &[Recorded]) -> Error {
    plan(job, request, recorded, now()).unwrap_err()
}

fn text_of(error: &Error) -> String {
    let mut lines = vec![error.to_string()];
    lines.extend(error.details().iter().cloned());
    lines.extend(error.hint().map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

mod by_name {
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
            (
                other(State::Loaded),
                &stale,
                "reload: loaded 2026-01-08 03:00, 27,004 rows, by another definition",
            ),
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
            (
                day("2026-01-05", State::Interrupted),
                &plain,
                "load: interrupted 2026-01-08 03:00; this is try 2",
            ),
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
}

mod when_nothing_is_named {
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
        assert_eq!(
            early.notes,
            ["nothing is due: the next interval, 2026-01-10, is due at 2026-01-11 00:10"]
        );
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
        assert_eq!(
            lines(&plan),
            ["2026-01-10 skip: stale 2026-01-08 03:00, 27,004 rows; --stale reloads it"]
        );
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
}

mod another_grid {
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
}

mod whole_tables {
    use super::*;

    #[test]
    fn a_whole_table_has_no_dates() {
        let error = refused(&whole_job(), &days(["2026-01-05"]), &[]);
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().starts_with("users loads its table whole"));
    }

    #[test]
    fn a_whole_table_is_loaded_once_unless_a_reload_is_asked() {
        let done = record(DataInterval::WHOLE, State::Loaded);
        let failed = Recorded { attempts: 9, ..record(DataInterval::WHOLE, State::Failed) };
        for (request, recorded, line) in [
            (due(), vec![], "all load: never loaded"),
            (due(), vec![done.clone()], "all skip: loaded 2026-01-08 08:00 UTC, 27,004 rows"),
            (reloading(due()), vec![done], "all reload: loaded 2026-01-08 08:00 UTC, 27,004 rows"),
            (due(), vec![failed], "all load: failed 2026-01-08 08:00 UTC; this is try 10"),
        ] {
            assert_eq!(lines(&planned(&whole_job(), &request, &recorded)), [line]);
        }
    }

    #[test]
    fn copies_load_each_time() {
        let done = [record(DataInterval::WHOLE, State::Loaded)];
        let copy = job_with(|job| {
            job.calendar = None;
            job.name = "copy:mart.users".to_owned();
        });
        assert_eq!(planned(&copy, &due(), &done).intervals[0].action, Action::Reload);
        assert_eq!(planned(&copy, &due(), &[]).intervals[0].action, Action::Load);
    }
}

mod past;
mod properties;
mod schedules;
mod snapshots;
