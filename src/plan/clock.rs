//! When an interval is complete, and when it is due.
//!
//! Complete: its end and `min_delay` have passed. Due: with a schedule, a moment of it has come too since
//! its end. What is named on the command line has to be complete; what nobody names has to be due.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::due::first_loaded;
use super::{Dates, Recorded, Request, plan};
use crate::config::job::{Catchup, Job};
use crate::interval::{Calendar, DataInterval, Unit};
use crate::state::State;

/// The first interval within the job's bounds that is not due yet, and when it will be.
///
/// For a snapshot job all of time, and the next moment of its schedule. None for another job without
/// intervals, and after its `end_date`.
#[must_use]
pub fn upcoming(job: &Job, now: DateTime<Utc>) -> Option<(DataInterval, DateTime<Utc>)> {
    let Some(calendar) = job.calendar else { return upcoming_snapshot(job, now) };
    let until = due_until(job, now).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let bounds = Bounds::of(job);
    let from = bounds.from.unwrap_or(until).max(until);
    let mut interval = calendar.containing(from);
    if bounds.from.is_some_and(|first| interval.start < first) {
        interval = calendar.next(&interval);
    }
    bounds.contains(interval.start).then(|| (interval, due_at(job, &interval)))
}

fn upcoming_snapshot(job: &Job, now: DateTime<Utc>) -> Option<(DataInterval, DateTime<Utc>)> {
    let schedule = job.schedule.as_ref()?;
    let bounds = Bounds::of(job);
    let next = match bounds.from.filter(|from| *from > now) {
        Some(from) => schedule.next_from(from),
        None => schedule.next_after(now),
    };
    next.filter(|next| bounds.contains(*next)).map(|next| (DataInterval::WHOLE, next))
}

/// The newest complete interval within the job's bounds that has an instant.
///
/// None for a job without intervals, and before its first is complete.
#[must_use]
pub fn newest_complete(job: &Job, now: DateTime<Utc>) -> Option<DataInterval> {
    newest_ending_by(job, complete_until(job, now)?)
}

/// The newest interval that is due, as [`newest_complete`].
#[must_use]
pub fn newest_due(job: &Job, now: DateTime<Utc>) -> Option<DataInterval> {
    newest_ending_by(job, due_until(job, now)?)
}

fn newest_ending_by(job: &Job, until: DateTime<Utc>) -> Option<DataInterval> {
    let calendar = job.calendar?;
    let bounds = Bounds::of(job);
    let after = bounds.to.map_or(until, |to| to.min(until));
    // One step back, or two over a date without an instant.
    let back =
        std::iter::successors(Some(calendar.containing(after)), |i| Some(calendar.previous(i))).take(4);
    let mut ended = back.filter(|i| !i.is_empty() && i.end <= until);
    ended.find(|i| bounds.to.is_none_or(|to| i.start < to)).filter(|newest| bounds.contains(newest.start))
}

/// When an interval is complete; never, in effect, when `min_delay` leaves all of time behind.
#[must_use]
pub fn complete_at(job: &Job, interval: &DataInterval) -> DateTime<Utc> {
    interval.end.checked_add_signed(min_delay(job)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What the source's own clock, or what a standby has replayed, must have passed before an interval is read:
/// what makes it complete, or the moment that a snapshot is for. None for a copy of the rows as they are.
#[must_use]
pub fn complete_on_source(job: &Job, interval: &DataInterval, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if interval.is_whole() {
        return job.schedule.as_ref()?.latest_until(now);
    }
    Some(complete_at(job, interval))
}

/// When an interval is due.
#[must_use]
pub fn due_at(job: &Job, interval: &DataInterval) -> DateTime<Utc> {
    let complete = complete_at(job, interval);
    match &job.schedule {
        Some(schedule) => {
            schedule.next_from(interval.end).map_or(DateTime::<Utc>::MAX_UTC, |t| t.max(complete))
        }
        None => complete,
    }
}

/// The next moment at which a run without dates would find something new for the job: now, if it would
/// already. None if there is no such moment: after the job's `end_date`, or when only names load it.
///
/// What another run is loading, has failed too often or waits for the past is nothing new.
#[must_use]
pub fn next_due(job: &Job, recorded: &[Recorded], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let request = Request::of(job, Dates::Due);
    // What cannot be planned now is said by the run, and may be mended by the next moment.
    if let Ok(plan) = plan(job, &request, recorded, now) {
        let running: HashSet<_> = recorded.iter().filter(|r| r.is_live).map(|r| r.interval).collect();
        if plan.to_load().any(|planned| !running.contains(&planned.interval)) {
            return Some(now);
        }
    }
    let Some(calendar) = job.calendar else { return upcoming(job, now).map(|(_, at)| at) };
    if job.catchup == Catchup::None {
        return None;
    }
    let is_settled = |r: &&Recorded| {
        r.state.has_rows()
            || r.state == State::Skipped
            || (r.state == State::Failed && r.attempts > job.retries)
    };
    let settled: HashSet<_> = recorded.iter().filter(is_settled).map(|r| r.interval).collect();
    // What precedes the first that is loaded is left to backfills, if nobody has begun with it.
    let first = first_loaded(recorded).filter(|_| job.catchup == Catchup::Gaps);
    let known: HashSet<_> = recorded.iter().map(|r| r.interval).collect();
    let is_left = |interval: &DataInterval| {
        first.is_some_and(|first| interval.start < first) && !known.contains(interval)
    };
    let (mut interval, _) = upcoming(job, now)?;
    // What was loaded early leaves nothing to do but looking back.
    while job.lookback.is_empty()
        && (settled.contains(&interval) || interval.is_empty() || is_left(&interval))
    {
        interval = calendar.next(&interval);
    }
    Bounds::of(job).contains(interval.start).then(|| due_at(job, &interval))
}

/// The last instant at which an interval may end to be complete.
fn complete_until(job: &Job, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(min_delay(job))
}

/// The last instant at which an interval may end to be due.
pub(super) fn due_until(job: &Job, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let complete = complete_until(job, now)?;
    match &job.schedule {
        Some(schedule) => schedule.latest_until(now).map(|tick| tick.min(complete)),
        None => Some(complete),
    }
}

fn min_delay(job: &Job) -> TimeDelta {
    TimeDelta::from_std(job.min_delay).unwrap_or(TimeDelta::MAX)
}

/// The job's `start_date` and `end_date` as instants, `[from, to)`; an interval's start decides.
pub(super) struct Bounds {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
}

impl Bounds {
    pub(super) fn of(job: &Job) -> Self {
        let calendar = job.calendar.unwrap_or(Calendar { unit: Unit::Day, timezone: job.timezone });
        let day_after = |date: NaiveDate| calendar.start_of_date(date.succ_opt().unwrap_or(date));
        Self {
            from: job.start_date.map(|date| calendar.start_of_date(date)),
            to: job.end_date.map(day_after),
        }
    }

    pub(super) fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= instant) && self.to.is_none_or(|to| instant < to)
    }
}
