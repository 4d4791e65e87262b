//! Refuses to load an interval that shares time with another one in the ledger.
//!
//! The intervals of one calendar never overlap, so such a record was made with another unit or time zone,
//! and its rows would be loaded twice.

use super::{Plan, Recorded};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{Calendar, DataInterval};
use crate::state::State;

/// How many findings are told; one is enough to know what happened.
const SHOWN: usize = 5;

pub(super) fn refuse(job: &Job, plan: &Plan, recorded: &[Recorded]) -> Result<()> {
    // Without anything to load there is nothing to sort a long history for.
    let sorted = plan.to_load().next().map(|_| Sorted::of(recorded));
    let another = |interval| sorted.as_ref().and_then(|sorted| sorted.another_in(interval));
    let overlaps = plan.to_load().filter_map(|p| another(&p.interval).map(|other| (p, other)));
    let findings: Vec<String> = overlaps
        .take(SHOWN)
        .map(|(planned, other)| format!("{} shares time with {}", planned.key, bounds(job.calendar, other)))
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Config,
        format!("{}: the ledger has intervals of another unit or time zone where it is to load", job.name),
    )
    .with_hint(
        "set the job's `interval` and `timezone` back to what they were;\n\
         or load with the new ones under another job name into another table",
    );
    Err(findings.into_iter().fold(error, Error::with_detail))
}

fn bounds(calendar: Option<Calendar>, interval: DataInterval) -> String {
    match calendar {
        Some(calendar) => calendar.bounds_text(&interval),
        None => format!("{} to {}", interval.start.to_rfc3339(), interval.end.to_rfc3339()),
    }
}

/// Intervals by start, each with the latest end up to and with it.
struct Sorted(Vec<(DataInterval, chrono::DateTime<chrono::Utc>)>);

impl Sorted {
    /// Skipped intervals hold no rows of the job and are left out.
    fn of(recorded: &[Recorded]) -> Self {
        let held = recorded.iter().filter(|record| record.state != State::Skipped);
        let mut intervals: Vec<_> = held.map(|record| (record.interval, record.interval.end)).collect();
        intervals.sort_unstable();
        let mut latest = chrono::DateTime::<chrono::Utc>::MIN_UTC;
        for (interval, until) in &mut intervals {
            latest = latest.max(interval.end);
            *until = latest;
        }
        Self(intervals)
    }

    /// A recorded interval other than this one that shares an instant with it.
    fn another_in(&self, interval: &DataInterval) -> Option<DataInterval> {
        let starts_before_end = self.0.partition_point(|(other, _)| other.start < interval.end);
        let may_reach =
            self.0[..starts_before_end].iter().rev().take_while(|(_, until)| *until > interval.start);
        may_reach.map(|(other, _)| *other).find(|other| other != interval && other.overlaps(interval))
    }
}
