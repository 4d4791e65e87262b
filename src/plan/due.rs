//! What is due when nothing is asked for by name: complete, within the job's bounds, and not done.
//!
//! How far back is looked depends on `catchup`. What failed or was interrupted is taken whatever its
//! age, unless `catchup` is `last` or `none`; those it leaves behind are counted in a note.

use chrono::{DateTime, NaiveDate, Utc};

use super::verdict::grouped;
use super::{Context, MAX_INTERVALS, Plan, Recorded, min_delay, too_many};
use crate::config::job::{Catchup, Job};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{Calendar, DataInterval, minute_text};
use crate::state::State;

/// The first interval within the job's bounds that is not complete yet, and when it will be.
///
/// None for a job without intervals, and after its `end_date`.
#[must_use]
pub fn upcoming(job: &Job, now: DateTime<Utc>) -> Option<(DataInterval, DateTime<Utc>)> {
    let calendar = job.calendar?;
    let delay = min_delay(job);
    let complete_until = now.checked_sub_signed(delay).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let bounds = Bounds::of(job, calendar);
    let from = bounds.from.unwrap_or(complete_until).max(complete_until);
    let mut interval = calendar.containing(from);
    if bounds.from.is_some_and(|first| interval.start < first) {
        interval = calendar.next(&interval);
    }
    bounds
        .contains(&interval)
        .then(|| (interval, interval.end.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC)))
}

/// The newest complete interval within the job's bounds that has an instant.
///
/// None for a job without intervals, and before its first is complete.
#[must_use]
pub fn newest_complete(job: &Job, now: DateTime<Utc>) -> Option<DataInterval> {
    let calendar = job.calendar?;
    let bounds = Bounds::of(job, calendar);
    let complete_until = now.checked_sub_signed(min_delay(job))?;
    let after = bounds.to.map_or(complete_until, |to| to.min(complete_until));
    // One step back, or two over a date without an instant.
    let back =
        std::iter::successors(Some(calendar.containing(after)), |i| Some(calendar.previous(i))).take(4);
    let mut complete = back.filter(|i| !i.is_empty() && i.end <= complete_until);
    complete.find(|i| bounds.to.is_none_or(|to| i.start < to)).filter(|newest| bounds.contains(newest))
}

pub(super) fn newest(context: &Context<'_>) -> Option<DataInterval> {
    newest_complete(context.job, context.now)
}

pub(super) fn plan(context: &Context<'_>) -> Result<Plan> {
    if context.request.reload {
        return Err(Error::new(ErrorKind::Usage, "--reload needs dates: which intervals to load again?")
            .with_hint("add --date, or --from-date and --to-date"));
    }
    let mut plan = Plan::default();
    let newest = newest(context);
    let window = match newest {
        Some(newest) => window(context, newest, &mut plan.notes)?,
        None => None,
    };
    take_up(context, window, &mut plan);
    if let Some(window) = window {
        fill(context, window, &mut plan)?;
    }
    plan.notes.extend(other_definitions(context));
    if plan.intervals.is_empty() {
        plan.notes.extend(nothing_due(context));
    }
    Ok(plan)
}

/// Takes up what earlier attempts left unfinished outside the window, or says that it is left.
fn take_up(context: &Context<'_>, window: Option<DataInterval>, plan: &mut Plan) {
    let mut unfinished: Vec<_> =
        context.recorded.iter().filter(|r| is_unfinished(context, r, window)).collect();
    unfinished.sort_unstable_by_key(|record| record.interval);
    let (unfinished, foreign): (Vec<_>, Vec<_>) =
        unfinished.into_iter().partition(|record| context.calendar.is_on_grid(&record.interval));
    if let Some(found) = number_and_span(context, &foreign) {
        plan.notes.push(format!("unfinished, of another unit or time zone: {found}; left alone"));
    }
    if matches!(context.job.catchup, Catchup::Gaps | Catchup::All) {
        plan.intervals.extend(unfinished.iter().filter_map(|record| context.decide_due(record.interval)));
    } else if let Some(found) = number_and_span(context, &unfinished) {
        plan.notes.push(format!("unfinished, but left out by `catchup`: {found}; name them to load them"));
    }
}

/// Decides about every interval of the window.
fn fill(context: &Context<'_>, window: DataInterval, plan: &mut Plan) -> Result<()> {
    for interval in context.calendar.intervals_between(window.start, window.end) {
        match context.decide_due(interval) {
            Some(planned) => plan.intervals.push(planned),
            None => plan.done += 1,
        }
        if plan.intervals.len() > MAX_INTERVALS {
            let number = context.calendar.estimate(window.start, window.end) - plan.done as i64;
            return Err(too_many(number, "missing or failed are about"));
        }
    }
    Ok(())
}

/// The stretch of time in which every interval ought to be loaded.
fn window(
    context: &Context<'_>,
    newest: DataInterval,
    notes: &mut Vec<String>,
) -> Result<Option<DataInterval>> {
    let bounds = Bounds::of(context.job, context.calendar);
    let from = match context.job.catchup {
        Catchup::None => return Ok(None),
        Catchup::Last => newest.start,
        Catchup::All => bounds.from.ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("{} has `catchup = \"all\"` and no `start_date`", context.job.name),
            )
            .with_hint("add `start_date` to the job")
        })?,
        Catchup::Gaps => first_loaded(context).unwrap_or_else(|| {
            notes.extend(rest_command(context, newest));
            newest.start
        }),
    };
    let from = bounds.from.map_or(from, |first| first.max(from));
    Ok(Some(DataInterval { start: from, end: newest.end }))
}

fn first_loaded(context: &Context<'_>) -> Option<DateTime<Utc>> {
    let loaded = context.recorded.iter().filter(|r| r.state.has_rows() && !r.interval.is_whole());
    loaded.map(|record| record.interval.start).min()
}

/// The command that loads what came before the newest interval.
fn rest_command(context: &Context<'_>, newest: DataInterval) -> Option<String> {
    let (job, calendar) = (context.job, context.calendar);
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
        && Bounds::of(context.job, context.calendar).contains(&record.interval)
        && context.is_complete(&record.interval)
}

/// How many loaded intervals another definition of the job made, unless they are reloaded now.
fn other_definitions(context: &Context<'_>) -> Option<String> {
    if context.request.stale {
        return None;
    }
    let others =
        context.recorded.iter().filter(|r| r.state == State::Loaded && context.is_other_definition(r));
    let others: Vec<_> = others.collect();
    let found = number_and_span(context, &others)?;
    Some(format!("loaded by another definition: {found}; --stale reloads them"))
}

/// `3, 2026-01-05 to 2026-01-09`, or none for none.
fn number_and_span(context: &Context<'_>, records: &[&Recorded]) -> Option<String> {
    let intervals = records.iter().map(|record| record.interval);
    let [first, last] = [intervals.clone().min()?, intervals.max()?].map(|i| context.calendar.key(&i));
    let number = grouped(records.len() as i64);
    Some(if first == last { format!("{number}, {first}") } else { format!("{number}, {first} to {last}") })
}

fn nothing_due(context: &Context<'_>) -> Option<String> {
    if context.job.catchup == Catchup::None {
        return Some("nothing is due: the job has `catchup = \"none\"`, so name the dates".to_owned());
    }
    let Some((interval, ready_at)) = upcoming(context.job, context.now) else {
        return context.job.end_date.map(|end| format!("nothing is due: the job ended with {end}"));
    };
    let (key, at) = (context.calendar.key(&interval), minute_text(&context.calendar.local(ready_at)));
    Some(format!("nothing is due: the next interval, {key}, is complete at {at}"))
}

/// The job's `start_date` and `end_date` as instants, `[from, to)`; an interval's start decides.
struct Bounds {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Bounds {
    fn of(job: &Job, calendar: Calendar) -> Self {
        let day_after = |date: NaiveDate| calendar.start_of_date(date.succ_opt().unwrap_or(date));
        Self {
            from: job.start_date.map(|date| calendar.start_of_date(date)),
            to: job.end_date.map(day_after),
        }
    }

    fn contains(&self, interval: &DataInterval) -> bool {
        self.from.is_none_or(|from| from <= interval.start) && self.to.is_none_or(|to| interval.start < to)
    }
}
