//! `depends_on_past`: an interval is loaded only after the one before it.
//!
//! What is before `start_date`, or before all that the ledger knows, is no past. The engine runs such a
//! plan one interval after the other and stops at the first that fails.

use std::collections::HashSet;

use super::{Action, Context, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::state::State;

/// A chain cannot be loaded from its newer end.
pub(super) fn refuse_backwards(context: &Context<'_>) -> Result<()> {
    if !(context.job.depends_on_past && context.request.backwards) {
        return Ok(());
    }
    let what = format!("{} has `depends_on_past`: it cannot be loaded newest first", context.job.name);
    Err(Error::new(ErrorKind::Usage, what).with_hint("leave --run-backwards out"))
}

/// Holds back what follows an interval that is not loaded and will not be by this plan, which is sorted.
pub(super) fn hold_back(context: &Context<'_>, plan: &mut Plan) {
    if !context.job.depends_on_past {
        return;
    }
    let first = context.recorded.iter().filter(|r| !r.interval.is_whole()).map(|r| r.interval.start).min();
    let mut loaded_here = HashSet::new();
    for planned in &mut plan.intervals {
        if !planned.action.loads() {
            continue;
        }
        let before = previous(context, &planned.interval);
        let is_past = first.is_some_and(|first| first <= before.start)
            && context.bounds.from.is_none_or(|from| from <= before.start);
        if is_past && !loaded_here.contains(&before) && !is_done(context, &before) {
            planned.action = Action::Blocked;
            planned.reason =
                format!("waits for {}, {}", context.calendar.key(&before), state(context, &before));
            planned.tries_left = None;
        } else {
            loaded_here.insert(planned.interval);
        }
    }
}

/// The interval before, over dates without an instant.
fn previous(context: &Context<'_>, interval: &DataInterval) -> DataInterval {
    let mut before = context.calendar.previous(interval);
    while before.is_empty() && before.start > chrono::DateTime::<chrono::Utc>::MIN_UTC {
        let earlier = context.calendar.previous(&before);
        if earlier == before {
            break;
        }
        before = earlier;
    }
    before
}

fn is_done(context: &Context<'_>, interval: &DataInterval) -> bool {
    context.ledger.get(interval).is_some_and(|record| {
        (record.state.has_rows() && record.loss.is_none()) || record.state == State::Skipped
    })
}

fn state(context: &Context<'_>, interval: &DataInterval) -> &'static str {
    match context.ledger.get(interval).map(|record| record.state) {
        None => "which was never loaded",
        Some(State::Failed) => "which failed",
        Some(State::Interrupted) => "which was interrupted",
        Some(State::Running) => "which is running",
        Some(State::Loaded | State::Stale | State::Skipped) => "which is not loaded",
    }
}
