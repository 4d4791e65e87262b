//! Jobs that load their table whole: each time a moment of the schedule has passed, or once.
//!
//! A snapshot job, with a schedule and no interval, has one row of the ledger, all of time; its key is
//! the moment that it is for. Named on the command line it loads in any case.

use chrono::{DateTime, Utc};

use super::clock::{self, Bounds};
use super::verdict::{self, Question};
use super::{Action, Dates, Plan, Planned, Recorded, Request};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{DataInterval, Schedule, Tick, minute_text};
use crate::state::State;

/// Decides about a job without a calendar.
pub(super) fn plan(job: &Job, request: &Request, recorded: &[Recorded], now: DateTime<Utc>) -> Result<Plan> {
    if request.dates != Dates::Due {
        return Err(no_dates(job));
    }
    let record = recorded.iter().find(|record| record.interval.is_whole());
    match &job.schedule {
        None => Ok(one(verdict::decide_whole(job, request, record))),
        Some(_) if request.named || request.reload => Ok(one(named(job, request, record, now))),
        Some(schedule) => Ok(scheduled(job, schedule, request, record, now)),
    }
}

fn one(planned: Planned) -> Plan {
    Plan { intervals: vec![planned], ..Plan::default() }
}

fn no_dates(job: &Job) -> Error {
    let error = Error::new(
        ErrorKind::Usage,
        format!("{} loads its table whole: it has no dates to choose from", job.name),
    );
    match job.schedule {
        Some(_) => error.with_hint(format!("leave the dates out: pgtide run {} loads it now", job.name)),
        None => error.with_hint(
            "leave the dates out, or give the job a `time_column`, an `interval` and a `timezone`",
        ),
    }
}

/// Asked for by name: it always loads.
fn named(job: &Job, request: &Request, record: Option<&Recorded>, now: DateTime<Utc>) -> Planned {
    let tick = job.schedule.as_ref().and_then(|schedule| schedule.tick(now));
    let key = tick.map_or_else(|| DataInterval::WHOLE_KEY.to_owned(), |tick| tick.key(job.timezone));
    let question = Question { request, reload: true, timezone: Some(job.timezone), tries: None };
    question.planned(DataInterval::WHOLE, key, record)
}

fn scheduled(
    job: &Job,
    schedule: &Schedule,
    request: &Request,
    record: Option<&Recorded>,
    now: DateTime<Utc>,
) -> Plan {
    let tick = schedule.tick(now).filter(|tick| Bounds::of(job).contains(tick.at));
    match tick {
        Some(tick) if !is_done(request, record, &tick) => one(due(job, request, record, &tick)),
        _ => Plan { done: 1, notes: nothing_due(job, now), ..Plan::default() },
    }
}

fn is_done(request: &Request, record: Option<&Recorded>, tick: &Tick) -> bool {
    let Some(record) = record else { return false };
    // What began before the moment may have read the source before it, too.
    let since_tick = record.began.or(record.loaded_at).is_some_and(|began| began >= tick.at);
    match record.state {
        State::Skipped => true,
        State::Loaded => {
            let is_other = record.loss.is_some() || verdict::is_other_definition(request, record);
            since_tick && !(request.stale && is_other)
        }
        State::Stale => since_tick && !request.stale,
        State::Running | State::Failed | State::Interrupted => false,
    }
}

/// Each moment has one automatic try at least, whatever became of those for the moments before.
fn due(job: &Job, request: &Request, record: Option<&Recorded>, tick: &Tick) -> Planned {
    let limit = job.retries.saturating_add(1);
    let record = record.map(|record| {
        let is_earlier = record.finished.is_some_and(|finished| finished < tick.at);
        let attempts = if is_earlier { record.attempts.min(limit - 1) } else { record.attempts };
        Recorded { attempts, ..record.clone() }
    });
    let question = Question { request, reload: true, timezone: Some(job.timezone), tries: Some(limit) };
    let mut planned = question.planned(DataInterval::WHOLE, tick.key(job.timezone), record.as_ref());
    if planned.action == Action::Exhausted {
        planned.reason = format!("{}; `pgtide run {}` tries again", planned.reason, job.name);
    }
    planned
}

fn nothing_due(job: &Job, now: DateTime<Utc>) -> Vec<String> {
    let note = match clock::upcoming(job, now) {
        Some((_, at)) => {
            let at = minute_text(&at.with_timezone(&job.timezone));
            format!("nothing is due: the next snapshot is for {at}; `pgtide run {}` loads one now", job.name)
        }
        None => "nothing is due: the job has ended".to_owned(),
    };
    vec![note]
}
