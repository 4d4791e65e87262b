//! Loads earlier intervals again when the schedule has advanced: what `lookback` counts back from.
//!
//! An interval is loaded again for a newer one if its load began before the moment at which the newer
//! one became due. So it is once for each advance, and a reload that failed is tried by the next run.

use std::collections::{HashMap, HashSet};

use super::{Action, Context, Plan, Planned, Recorded, clock};
use crate::interval::DataInterval;
use crate::state::State;

/// Adds the reloads that the newest due interval, and each that the plan loads late, ask for.
pub(super) fn add(context: &Context<'_>, newest: DataInterval, plan: &mut Plan) {
    let Some(longest) = context.job.lookback.iter().max() else { return };
    let mut newer: Vec<_> =
        plan.intervals.iter().filter(|p| p.action == Action::Load).map(|p| p.interval).collect();
    newer.push(newest);
    newer.sort_unstable();
    newer.dedup();
    let grid = Grid::around(context, &newer, *longest);
    let mut planned: HashSet<_> = plan.intervals.iter().map(|p| p.interval).collect();
    for newer in newer.iter().rev() {
        for count in &context.job.lookback {
            let Some(earlier) = grid.before(newer, *count).filter(|i| !planned.contains(i)) else { continue };
            if let Some(reload) = reload(context, earlier, newer) {
                planned.insert(earlier);
                plan.intervals.push(reload);
            }
        }
    }
}

/// The reload of an interval for a newer one, if its load is older than that was due.
fn reload(context: &Context<'_>, earlier: DataInterval, newer: &DataInterval) -> Option<Planned> {
    let is_outdated = |record: &&Recorded| {
        record.state == State::Loaded
            && record.loss.is_none()
            && !record.is_live
            && record
                .began
                .or(record.loaded_at)
                .is_some_and(|began| began < clock::due_at(context.job, newer))
    };
    let record = context.ledger.get(&earlier).filter(is_outdated)?;
    context.bounds.contains(earlier.start).then(|| {
        let mut planned = context.reload_unasked(earlier, record);
        planned.reason = format!("lookback from {}: {}", context.calendar.key(newer), planned.reason);
        planned
    })
}

/// The intervals with an instant, in their order, and the place of each.
struct Grid {
    intervals: Vec<DataInterval>,
    places: HashMap<DataInterval, usize>,
}

impl Grid {
    /// From so many intervals before the first of `newer` to the last of them.
    fn around(context: &Context<'_>, newer: &[DataInterval], longest: u32) -> Self {
        let [first, .., last] = newer else {
            return newer
                .first()
                .map_or(Self::of(Vec::new()), |only| Self::around(context, &[*only, *only], longest));
        };
        let calendar = context.calendar;
        let back = std::iter::successors(Some(*first), |interval| Some(calendar.previous(interval)));
        let mut intervals: Vec<_> = back.skip(1).filter(|i| !i.is_empty()).take(longest as usize).collect();
        intervals.reverse();
        intervals.extend(calendar.intervals_between(first.start, last.end).filter(|i| !i.is_empty()));
        Self::of(intervals)
    }

    fn of(intervals: Vec<DataInterval>) -> Self {
        let places = intervals.iter().enumerate().map(|(place, interval)| (*interval, place)).collect();
        Self { intervals, places }
    }

    /// The interval so many before another.
    fn before(&self, interval: &DataInterval, count: u32) -> Option<DataInterval> {
        let place = self.places.get(interval)?.checked_sub(count as usize)?;
        self.intervals.get(place).copied()
    }
}
