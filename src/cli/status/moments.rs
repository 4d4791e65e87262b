//! The last moments of a snapshot job: what came of each, as its history tells. Pure.
//!
//! The ledger has one row for all of them. An attempt is for the moment that came last before it began; a
//! moment without one was missed, which nothing makes up: it is shown and not counted.

use chrono::{DateTime, Utc};

use super::cells;
use crate::config::job::Job;
use crate::interval::{Tick, minute_text};
use crate::ledger::{AttemptRecord, Snapshot};
use crate::plan;
use crate::report::calendar::{Cell, DayState};
use crate::report::number::counted;
use crate::state::State;

/// Moments that are shown.
const SHOWN: usize = 7;

/// Attempts that are looked at: several for each of these moments.
pub(super) const ATTEMPTS: i64 = 100;

/// The last moments, newest first; none before the first attempt that is known.
pub(super) fn moments(
    job: &Job,
    snapshot: Option<&Snapshot>,
    attempts: &[AttemptRecord],
    now: DateTime<Utc>,
) -> Vec<Cell> {
    let record = snapshot.and_then(|snapshot| snapshot.intervals.iter().find(|r| r.interval.is_whole()));
    let at_work = record.filter(|record| cells::state(Some(record)) == DayState::Running);
    let running = at_work.and_then(|record| record.started_at);
    let Some(oldest) = attempts.iter().map(began).chain(running).min() else { return Vec::new() };
    let known = plan::moments(job, now).take(SHOWN).enumerate().take_while(|(_, tick)| oldest < tick.after);
    let cell = |(number, tick): (usize, Tick)| {
        let is_of = |at: DateTime<Utc>| tick.at <= at && at < tick.after;
        let of_tick: Vec<_> = attempts.iter().filter(|attempt| is_of(began(attempt))).collect();
        let (state, rows, note) = match running.filter(|started| is_of(*started)) {
            Some(_) => (DayState::Running, None, None),
            None => outcome(job, &of_tick, number == 0),
        };
        let date = tick.at.with_timezone(&job.timezone).date_naive();
        Cell { key: tick.key(job.timezone), date, state, rows, note, late: false }
    };
    known.map(cell).collect()
}

fn began(attempt: &AttemptRecord) -> DateTime<Utc> {
    attempt.started_at.unwrap_or(attempt.finished_at)
}

/// What came of a moment: its load, or else the last that was tried.
fn outcome(
    job: &Job,
    attempts: &[&AttemptRecord],
    is_latest: bool,
) -> (DayState, Option<u64>, Option<String>) {
    let loaded = attempts.iter().rev().find(|attempt| attempt.outcome == "loaded");
    let Some(attempt) = loaded.or(attempts.last()) else {
        let what = if is_latest { "due" } else { "missed; nothing makes it up" };
        return (DayState::Missing, None, Some(what.to_owned()));
    };
    let time = minute_text(&attempt.finished_at.with_timezone(&job.timezone));
    let rows = attempt.rows.filter(|_| attempt.outcome == "loaded").map(i64::unsigned_abs);
    let state = match (&*attempt.outcome, attempt.state) {
        ("loaded", _) | (_, State::Loaded) => DayState::Loaded,
        ("failed", _) | (_, State::Failed) => DayState::Failed,
        ("interrupted", _) => DayState::Interrupted,
        (_, State::Stale) => DayState::Stale,
        (_, State::Skipped) => DayState::Skipped,
        (_, State::Running | State::Interrupted) => DayState::Interrupted,
    };
    let why = attempt.error_message.as_ref().or(attempt.reason.as_ref());
    let why = why.and_then(|text| text.lines().next().map(str::to_owned));
    let detail = rows.map(|rows| counted(rows, "row")).or(why);
    (state, rows, Some(detail.map_or_else(|| time.clone(), |detail| format!("{time}, {detail}"))))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use chrono_tz::America;

    use super::*;
    use crate::config::job::{OneOff, Origin};
    use crate::interval::{Schedule, parse_instant};
    use crate::name::TableName;

    fn job() -> Job {
        let ask = OneOff {
            origin: Origin::Table(TableName::new("public", "users")),
            into: TableName::new("mart", "users"),
            filter: None,
            mode: None,
            key: Vec::new(),
            create: false,
        };
        let zone = America::New_York;
        let schedule = Some(Schedule::parse("0 3,15 * * *", zone).unwrap());
        Job { timezone: zone, schedule, ..Job::one_off(ask).unwrap() }
    }

    fn at(text: &str) -> DateTime<Utc> {
        parse_instant(text, America::New_York).unwrap()
    }

    fn attempt(began: &str, outcome: &str, rows: Option<i64>) -> AttemptRecord {
        AttemptRecord {
            key: "all".into(),
            attempt: 1,
            outcome: outcome.into(),
            state: if outcome == "loaded" { State::Loaded } else { State::Failed },
            reason: None,
            role: "etl".into(),
            host: None,
            pid: None,
            run_id: None,
            trigger: None,
            rows,
            started_at: Some(at(began)),
            finished_at: at(began) + TimeDelta::minutes(1),
            error_code: None,
            error_message: (outcome == "failed").then(|| "out of luck\nand more".to_owned()),
        }
    }

    #[test]
    fn each_moment_shows_its_load_or_its_last_try_or_that_it_was_missed() {
        let attempts = [
            attempt("2026-01-09T03:00", "loaded", Some(20)),
            attempt("2026-01-10T03:00", "failed", None),
            attempt("2026-01-10T15:00", "failed", None),
            attempt("2026-01-10T15:10", "loaded", Some(27_004)),
        ];
        let moments = moments(&job(), None, &attempts, at("2026-01-11T03:30"));
        let lines: Vec<_> = moments
            .iter()
            .map(|cell| format!("{} {} {}", cell.state.sign(), cell.key, cell.note.as_deref().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                ". 2026-01-11T03:00 due",
                "# 2026-01-10T15:00 2026-01-10 15:11, 27,004 rows",
                "X 2026-01-10T03:00 2026-01-10 03:01, out of luck",
                ". 2026-01-09T15:00 missed; nothing makes it up",
                "# 2026-01-09T03:00 2026-01-09 03:01, 20 rows",
            ]
        );
        assert!(super::moments(&job(), None, &[], at("2026-01-11T03:30")).is_empty());
    }
}
