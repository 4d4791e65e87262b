//! What is due when nothing is asked for by name: its time has come, it is within the job's bounds, not done.
//!
//! How far back is looked depends on `catchup`. What failed or was interrupted is taken whatever its
//! age, unless `catchup` is `last` or `none`; those it leaves behind are counted in a note.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::clock::{self, Bounds};
use super::verdict::grouped;
use super::{Context, Loss, MAX_INTERVALS, Plan, Recorded, lookback, lost};
use crate::config::job::{Catchup, Job};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{DataInterval, minute_text};
use crate::state::State;

pub(super) fn plan(context: &Context<'_>) -> Result<Plan> {
    check(context)?;
    let mut plan = Plan::default();
    let newest = clock::newest_due(context.job, context.now);
    let window = newest.and_then(|newest| window(context.job, context.recorded, newest));
    plan.notes.extend(newest.filter(|_| window.is_some()).and_then(|newest| rest_command(context, newest)));
    take_up(context, window, &mut plan);
    if let (Some(window), Some(newest)) = (window, newest) {
        fill(context, window, &mut plan);
        let listed = plan.intervals.len();
        lookback::add(context, newest, &mut plan);
        // What is loaded again was counted as done.
        plan.done -= plan.intervals[listed..].iter().filter(|p| window.contains(p.interval.start)).count();
    }
    plan.intervals.sort_unstable_by_key(|planned| planned.interval);
    plan.other_definition = context.other_definition();
    if let Some(found) = number_and_span(context, &plan.other_definition).filter(|_| !context.request.stale) {
        plan.notes.push(format!("loaded by another definition: {found}; --stale reloads them"));
    }
    if plan.intervals.is_empty() {
        plan.notes.extend(nothing_due(context));
    }
    Ok(plan)
}

/// What can be said against a request without names before the ledger is known.
pub(super) fn check(context: &Context<'_>) -> Result<()> {
    if context.request.reload {
        return Err(Error::new(ErrorKind::Usage, "--reload needs dates: which intervals to load again?")
            .with_hint("add --date, or --from-date and --to-date"));
    }
    let job = context.job;
    if job.catchup == Catchup::All && job.start_date.is_none() {
        let what = format!("{} has `catchup = \"all\"` and no `start_date`", job.name);
        return Err(Error::new(ErrorKind::Config, what).with_hint("add `start_date` to the job"));
    }
    Ok(())
}

/// Takes up what earlier attempts left unfinished outside the window, or says that it is left.
fn take_up(context: &Context<'_>, window: Option<DataInterval>, plan: &mut Plan) {
    let lost = context.recorded.iter().filter(|r| is_lost(context, r, window)).map(|record| record.interval);
    plan.intervals.extend(lost.filter_map(|interval| context.decide_due(interval)));
    let unfinished = context.recorded.iter().filter(|r| is_unfinished(context, r, window));
    let (unfinished, foreign): (Vec<_>, Vec<_>) =
        unfinished.map(|record| record.interval).partition(|interval| context.calendar.is_on_grid(interval));
    if let Some(found) = number_and_span(context, &foreign) {
        plan.notes.push(format!("unfinished, of another unit or time zone: {found}; left alone"));
    }
    if matches!(context.job.catchup, Catchup::Gaps | Catchup::All) {
        plan.intervals.extend(unfinished.iter().filter_map(|interval| context.decide_due(*interval)));
    } else if let Some(found) = number_and_span(context, &unfinished) {
        plan.notes.push(format!("unfinished, but left out by `catchup`: {found}; name them to load them"));
    }
}

/// Decides about every interval of the window, up to the most that a plan holds.
fn fill(context: &Context<'_>, window: DataInterval, plan: &mut Plan) {
    for interval in context.calendar.intervals_between(window.start, window.end) {
        if plan.intervals.len() >= MAX_INTERVALS {
            let rest = grouped(context.calendar.estimate(interval.start, window.end));
            plan.notes.push(format!(
                "up to {rest} more from {} on are for the next run",
                context.calendar.key(&interval)
            ));
            return;
        }
        match context.decide_due(interval) {
            Some(planned) => plan.intervals.push(planned),
            None => plan.done += 1,
        }
    }
}

/// The stretch of time in which every interval ought to be loaded, up to the newest.
pub(super) fn window(job: &Job, recorded: &[Recorded], newest: DataInterval) -> Option<DataInterval> {
    let first = Bounds::of(job).from;
    let from = match job.catchup {
        Catchup::None => return None,
        Catchup::Last => newest.start,
        Catchup::All => first?,
        Catchup::Gaps => first_loaded(recorded).unwrap_or(newest.start),
    };
    let from = first.map_or(from, |first| first.max(from));
    Some(DataInterval { start: from, end: newest.end })
}

/// Where what a job with `catchup = "gaps"` looks at begins.
pub(super) fn first_loaded(recorded: &[Recorded]) -> Option<DateTime<Utc>> {
    let loaded = recorded.iter().filter(|r| r.state.has_rows() && !r.interval.is_whole());
    loaded.map(|record| record.interval.start).min()
}

/// The command that loads what came before the newest interval.
fn rest_command(context: &Context<'_>, newest: DataInterval) -> Option<String> {
    let (job, calendar) = (context.job, context.calendar);
    if job.catchup != Catchup::Gaps || first_loaded(context.recorded).is_some() {
        return None;
    }
    let key = calendar.key(&newest);
    let range = match job.start_date {
        Some(start) if calendar.start_of_date(start) >= newest.start => return None,
        Some(_) => String::new(),
        None => {
            let last = calendar.execution_date(&calendar.previous(&newest));
            format!(" --from-date DATE --to-date {last}")
        }
    };
    Some(format!(
        "nothing is loaded yet, so only the newest interval, {key}, is due; \
         for what came before: pgtide backfill {}{range}",
        job.name
    ))
}

/// Whether an attempt of an interval outside the window was left without an end.
fn is_unfinished(context: &Context<'_>, record: &Recorded, window: Option<DataInterval>) -> bool {
    matches!(record.state, State::Failed | State::Interrupted)
        && !window.is_some_and(|window| window.contains(record.interval.start))
        && context.bounds.contains(record.interval.start)
        && context.due_until.is_some_and(|until| record.interval.end <= until)
}

/// Whether an interval outside the window is to be loaded again because its rows are not there.
fn is_lost(context: &Context<'_>, record: &Recorded, window: Option<DataInterval>) -> bool {
    let matters = |loss: &Arc<Loss>| lost::matters(context.job, &record.interval, loss);
    context.request.stale
        && record.state.has_rows()
        && record.loss.as_ref().is_some_and(matters)
        && !window.is_some_and(|window| window.contains(record.interval.start))
        && context.calendar.is_on_grid(&record.interval)
}

/// `3, 2026-01-05 to 2026-01-09`, or none for none.
fn number_and_span(context: &Context<'_>, intervals: &[DataInterval]) -> Option<String> {
    let [first, last] = [intervals.iter().min()?, intervals.iter().max()?].map(|i| context.calendar.key(i));
    let number = grouped(intervals.len() as i64);
    Some(if first == last { format!("{number}, {first}") } else { format!("{number}, {first} to {last}") })
}

fn nothing_due(context: &Context<'_>) -> Option<String> {
    if context.job.catchup == Catchup::None {
        return Some("nothing is due: the job has `catchup = \"none\"`, so name the dates".to_owned());
    }
    let Some((interval, at)) = clock::upcoming(context.job, context.now) else {
        return context.job.end_date.map(|end| format!("nothing is due: the job ended with {end}"));
    };
    let (key, at) = (context.calendar.key(&interval), minute_text(&context.calendar.local(at)));
    Some(format!("nothing is due: the next interval, {key}, is due at {at}"))
}
