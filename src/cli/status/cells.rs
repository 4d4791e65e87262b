//! From a job, the ledger and the clock to the state of every interval. Pure.
//!
//! An interval that the ledger does not know is missing when it is complete and the job wants it: from
//! `start_date`, or else from the first that was loaded. A job that catches up on nothing misses nothing
//! but, with `catchup = "last"`, its newest.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::Found;
use crate::config::job::{Catchup, Job};
use crate::interval::{Calendar, DataInterval, Unit, minute_text};
use crate::ledger::{Activity, IntervalRecord, Snapshot};
use crate::plan::{self, Loss};
use crate::report::calendar::{Cell, DayState, Grain, Status};
use crate::report::number::{counted, grouped};
use crate::state::State;

/// The most intervals that are looked at, newest first: a quarter of a century of hours.
const MOST: i32 = 220_000;

/// The status without cells: who and where.
pub(super) fn header(job: &Job, now: DateTime<Utc>) -> Status {
    let calendar = job.calendar;
    Status {
        job: job.name.clone(),
        source: job.source.clone(),
        destination: job.destination.clone(),
        into: job.into.to_string(),
        interval: calendar.map(|c| c.unit.to_string()).unwrap_or_default(),
        timezone: calendar.map(|c| c.timezone.name().to_owned()).unwrap_or_default(),
        schedule: job.schedule.as_ref().map(ToString::to_string),
        deadline: job.deadline,
        grain: match calendar.map(|c| c.unit) {
            Some(Unit::Week) => Grain::Week,
            Some(Unit::Month) => Grain::Month,
            _ => Grain::Day,
        },
        today: now.with_timezone(&job.timezone).date_naive(),
        ..Status::default()
    }
}

/// The status of a job; without a ledger nothing was ever loaded.
pub(super) fn status(job: &Job, found: Option<&Found>, now: DateTime<Utc>) -> Status {
    let mut status = header(job, now);
    let snapshot = found.map(|found| &found.snapshot);
    let loss = |record: Option<&IntervalRecord>| record.zip(found).and_then(|(r, found)| found.loss(r));
    let records = snapshot.map(|snapshot| &*snapshot.intervals).unwrap_or_default();
    let Some(calendar) = job.calendar else {
        let record = records.iter().find(|record| record.interval.is_whole());
        status.cells.push(gone(whole(job, record, now), loss(record)));
        status.footer.extend(found.into_iter().flat_map(|found| found.findings(job)));
        status.footer.extend(next(job, now).map(|at| format!("next {}", minute_text(&at))));
        return status;
    };
    let records: Vec<_> = records.iter().filter(|record| !record.interval.is_whole()).collect();
    let intervals = merged(expected(job, calendar, &records, now), &records);
    let cell = |(interval, record): &(DataInterval, Option<&IntervalRecord>)| Cell {
        key: record.map_or_else(|| calendar.key(interval), |record| record.key.clone()),
        date: calendar.execution_date(interval),
        late: is_late(job, interval, *record, now),
        ..gone(cell(*record, job.timezone), loss(*record))
    };
    status.cells = intervals.iter().map(cell).collect();
    let notes: Vec<_> = [
        foreign(&records, calendar),
        other_definitions(job, &records),
        failed_reloads(job, &records),
        upcoming(job, calendar, now),
    ]
    .into_iter()
    .flatten()
    .collect();
    let findings = found.map(|found| found.findings(job)).unwrap_or_default();
    if !findings.is_empty() {
        status.footer.push(String::new());
        status.footer.extend(findings);
    }
    if !notes.is_empty() {
        status.footer.push(String::new());
        status.footer.extend(notes);
    }
    status
}

/// A cell of what is recorded as loaded, if its rows are not there.
fn gone(cell: Cell, loss: Option<&Loss>) -> Cell {
    match loss {
        Some(loss) => {
            let note = Some(format!("recorded as loaded into {}, {}", loss.recorded, loss.what()));
            Cell { state: DayState::Gone, note, ..cell }
        }
        None => cell,
    }
}

/// What is expected and what there is, both in the order of time, as one.
fn merged<'r>(
    expected: impl Iterator<Item = DataInterval>,
    records: &[&'r IntervalRecord],
) -> Vec<(DataInterval, Option<&'r IntervalRecord>)> {
    let mut all = Vec::with_capacity(records.len());
    let mut records = records.iter().map(|record| (record.interval, Some(*record))).peekable();
    for interval in expected {
        while let Some(earlier) = records.next_if(|(known, _)| *known < interval) {
            all.push(earlier);
        }
        if records.peek().is_none_or(|(known, _)| *known != interval) {
            all.push((interval, None));
        }
    }
    all.extend(records);
    all
}

/// The intervals that ought to be loaded by now.
fn expected(
    job: &Job,
    calendar: Calendar,
    records: &[&IntervalRecord],
    now: DateTime<Utc>,
) -> impl Iterator<Item = DataInterval> {
    let newest = plan::newest_due(job, now);
    let range = newest.and_then(|newest| {
        let wanted = match job.catchup {
            Catchup::None => return None,
            Catchup::Last => newest.start,
            Catchup::Gaps | Catchup::All => {
                let first = records.iter().filter(|record| record.state.has_rows());
                let first = first.map(|record| record.interval.start).min();
                let start = job.start_date.map(|date| calendar.start_of_date(date));
                start.or(first).unwrap_or(newest.start)
            }
        };
        let longest = (newest.end - newest.start) * MOST;
        let oldest = newest.end.checked_sub_signed(longest).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Some((wanted.max(oldest), newest.end))
    });
    let intervals = range.map(|(from, to)| calendar.intervals_between(from, to));
    intervals.into_iter().flatten().filter(|interval| !interval.is_empty())
}

/// The state of an interval as shown.
pub(super) fn state(record: Option<&IntervalRecord>) -> DayState {
    let Some(record) = record else { return DayState::Missing };
    match (record.state, record.activity) {
        (_, Activity::Live) | (State::Running, _) => DayState::Running,
        (State::Loaded, _) => DayState::Loaded,
        (State::Stale, _) => DayState::Stale,
        (State::Interrupted, _) => DayState::Interrupted,
        (State::Failed, _) => DayState::Failed,
        (State::Skipped, _) => DayState::Skipped,
    }
}

fn cell(record: Option<&IntervalRecord>, timezone: Tz) -> Cell {
    let state = state(record);
    let rows = record.filter(|record| record.loaded_at.is_some()).and_then(|record| record.rows);
    Cell {
        key: String::new(),
        date: chrono::NaiveDate::default(),
        state,
        rows: rows.map(i64::unsigned_abs),
        note: record.and_then(|record| note(record, state, timezone)),
        late: false,
    }
}

/// Whether an interval that is due is not loaded though its deadline has passed.
pub(super) fn is_late(
    job: &Job,
    interval: &DataInterval,
    record: Option<&IntervalRecord>,
    now: DateTime<Utc>,
) -> bool {
    let found = (
        record.map(|record| record.state),
        record.and_then(|record| record.load_started_at.or(record.loaded_at)),
    );
    plan::is_late(job, interval, found, now)
}

/// What is wrong, in one line.
fn note(record: &IntervalRecord, state: DayState, timezone: Tz) -> Option<String> {
    let first_line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
    match state {
        DayState::Failed => record.reason.clone().or_else(|| record.error_message.as_ref().map(first_line)),
        DayState::Stale | DayState::Skipped => record.reason.clone(),
        DayState::Running => {
            let host = record.host.as_deref().unwrap_or("an unknown host");
            let since = record.started_at.map(|at| minute_text(&at.with_timezone(&timezone)));
            Some(format!("on {host} since {}", since.unwrap_or_default()))
        }
        // Of what is gone it is said by what it was loaded into.
        DayState::Loaded | DayState::Missing | DayState::Interrupted | DayState::Gone => None,
    }
}

/// The one interval of a table that is loaded whole; its note is the whole line. A snapshot's key is the
/// moment that it is for; before the first, the one that is due.
fn whole(job: &Job, record: Option<&IntervalRecord>, now: DateTime<Utc>) -> Cell {
    let mut cell = cell(record, job.timezone);
    let moment = plan::moments(job, now).next().map(|tick| tick.key(job.timezone));
    cell.key = match (record, moment) {
        (Some(record), Some(_)) => record.key.clone(),
        (None, Some(moment)) => moment,
        (_, None) => DataInterval::WHOLE_KEY.to_owned(),
    };
    cell.late = is_late(job, &DataInterval::WHOLE, record, now);
    let loaded = record.and_then(|record| record.loaded_at).map(|at| {
        let zone = if job.timezone == Tz::UTC { " UTC" } else { "" };
        let rows = cell.rows.map(|rows| format!(", {}", counted(rows, "row"))).unwrap_or_default();
        format!("{}{zone}{rows}", minute_text(&at.with_timezone(&job.timezone)))
    });
    cell.note = match cell.state {
        DayState::Loaded => loaded,
        DayState::Missing => Some("never loaded".to_owned()),
        _ => match (cell.note, loaded) {
            (Some(note), Some(loaded)) => Some(format!("{note}; loaded {loaded}")),
            (note, loaded) => note.or(loaded.map(|loaded| format!("loaded {loaded}"))),
        },
    };
    cell
}

/// The newest interval that has its rows; for a whole table, when it was loaded, in the job's time zone.
pub(super) fn newest(job: &Job, status: &Status, snapshot: Option<&Snapshot>) -> Option<String> {
    let has_rows = |state| matches!(state, DayState::Loaded | DayState::Stale);
    if job.calendar.is_some() {
        return status.cells.iter().rev().find(|cell| has_rows(cell.state)).map(|cell| cell.key.clone());
    }
    let record = snapshot?.intervals.iter().find(|record| record.interval.is_whole())?;
    record.loaded_at.map(|at| minute_text(&at.with_timezone(&job.timezone)))
}

/// When the next interval is complete, in the job's time zone.
pub(super) fn next(job: &Job, now: DateTime<Utc>) -> Option<DateTime<Tz>> {
    let (_, ready_at) = plan::upcoming(job, now)?;
    Some(ready_at.with_timezone(&job.timezone))
}

fn upcoming(job: &Job, calendar: Calendar, now: DateTime<Utc>) -> Option<String> {
    let Some((interval, _)) = plan::upcoming(job, now) else {
        return job.end_date.map(|end| format!("nothing is next: the job ends with {end}"));
    };
    Some(format!("next {}, complete {}", calendar.key(&interval), minute_text(&next(job, now)?)))
}

/// `3, 2026-01-05 to 2026-01-09`, or none for none.
fn number_and_span(records: &[&&IntervalRecord]) -> Option<String> {
    let (first, last) = (records.first()?, records.last()?);
    let number = grouped(records.len() as u64);
    Some(if first.key == last.key {
        format!("{number}, {}", first.key)
    } else {
        format!("{number}, {} to {}", first.key, last.key)
    })
}

fn foreign(records: &[&IntervalRecord], calendar: Calendar) -> Option<String> {
    let others: Vec<_> = records.iter().filter(|record| !calendar.is_on_grid(&record.interval)).collect();
    Some(format!("of another unit or time zone: {}", number_and_span(&others)?))
}

/// Whether what is loaded was loaded by another definition than the one of this hash.
pub(super) fn is_other_definition(hash: &str, record: &IntervalRecord) -> bool {
    record.state.has_rows() && record.definition_hash.as_ref().is_some_and(|loaded| loaded != hash)
}

fn other_definitions(job: &Job, records: &[&IntervalRecord]) -> Option<String> {
    let hash = job.definition_hash();
    let others: Vec<_> = records.iter().filter(|record| is_other_definition(&hash, record)).collect();
    let found = number_and_span(&others)?;
    Some(format!("loaded by another definition: {found}; --stale reloads them"))
}

/// A failed reload leaves the interval loaded, and must not go unseen.
fn failed_reloads(job: &Job, records: &[&IntervalRecord]) -> Option<String> {
    let failed = |record: &&&IntervalRecord| record.state.has_rows() && record.error_code.is_some();
    let failed: Vec<_> = records.iter().filter(failed).collect();
    let (found, last) = (number_and_span(&failed)?, failed.last()?);
    Some(format!(
        "reload failed, what was loaded before stays: {found}; pgtide status {} --date {}",
        job.name, last.key
    ))
}
