//! Lateness: what ought to be loaded and is not, though its `deadline` has passed. And the moments of a
//! snapshot job, of which the latest alone can be late: what an earlier one missed is not made up.

use chrono::{DateTime, TimeDelta, Utc};

use super::clock::Bounds;
use crate::config::job::Job;
use crate::interval::{DataInterval, Tick};
use crate::state::State;

/// Whether an interval is not loaded, whose state is known and when it was loaded, though its deadline has
/// passed. A snapshot job is late when the latest moment whose deadline has passed is not loaded.
#[must_use]
pub fn is_late(
    job: &Job,
    interval: &DataInterval,
    (state, loaded_at): (Option<State>, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> bool {
    let deadline = job.deadline.and_then(|deadline| TimeDelta::from_std(deadline).ok());
    let Some(until) = deadline.and_then(|deadline| now.checked_sub_signed(deadline)) else { return false };
    if state == Some(State::Skipped) {
        return false;
    }
    if job.calendar.is_some() {
        return interval.end <= until && !state.is_some_and(State::has_rows);
    }
    let moment = job.schedule.as_ref().and_then(|schedule| schedule.latest_until(until));
    let moment = moment.filter(|at| Bounds::of(job).contains(*at));
    moment.is_some_and(|at| loaded_at.is_none_or(|loaded| loaded < at))
}

/// The moments of a snapshot job that have come, newest first; none for other jobs.
pub fn moments(job: &Job, now: DateTime<Utc>) -> impl Iterator<Item = Tick> {
    let schedule = job.schedule.as_ref().filter(|_| job.calendar.is_none());
    let first = schedule.and_then(|schedule| schedule.tick(now));
    let earlier = move |tick: &Tick| schedule.and_then(|schedule| schedule.tick(tick.before));
    let bounds = Bounds::of(job);
    std::iter::successors(first, earlier)
        .skip_while({
            let to = bounds.to;
            move |tick| to.is_some_and(|to| to <= tick.at)
        })
        .take_while(move |tick| bounds.contains(tick.at))
}
