//! What to load and what to leave alone, and why: a pure function of job, dates, ledger and now.
//!
//! `run`, `backfill`, `schedule`, `plan` and the views of the state all ask here. Nothing is read or
//! written; the clock is an argument. `dates` turns what was asked into intervals, `due` finds them when
//! nothing was asked, `clock` knows since when, `verdict` decides about one, `lookback` and `past` look
//! at its neighbours, `snapshot` is for tables loaded whole, `overlap` refuses what the ledger cannot
//! tell apart, `lost` what is recorded and not there.

mod clock;
mod dates;
mod due;
mod late;
mod lookback;
mod lost;
mod overlap;
mod past;
mod records;
mod snapshot;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{Calendar, DataInterval};
use crate::state::State;

pub use clock::{complete_at, complete_on_source, due_at, newest_complete, newest_due, next_due, upcoming};
pub use late::{is_late, moments};
pub use lost::{Cause, Findings, Loss, findings as lost_findings, matters as loss_matters};

use clock::Bounds;
use records::Records;

/// The most intervals that one plan holds: 28 years of hours.
pub const MAX_INTERVALS: usize = 250_000;

/// Which intervals are asked for, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dates {
    /// None by name: what is missing or failed, and complete.
    Due,
    /// Each a date, a month (`2026-01`), or a key as pgtide prints it (`2026-W02`, `2026-01-05T03:00`).
    Days(Vec<String>),
    /// Dates or months, both included.
    Range {
        /// The first; without it, the job's `start_date`.
        from: Option<String>,
        /// The last; without it, the newest complete interval's.
        to: Option<String>,
    },
    /// Half-open, on the job's grid.
    Instants {
        /// The first instant.
        start: String,
        /// The first instant after.
        end: String,
    },
}

/// What is asked of a plan.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which intervals.
    pub dates: Dates,
    /// Whether to load again what is loaded.
    pub reload: bool,
    /// Whether to load again what is stale, or was loaded by another definition.
    pub stale: bool,
    /// Whether the newest comes first.
    pub backwards: bool,
    /// Whether the job was named, and not only all jobs: a snapshot job that is named always loads.
    pub named: bool,
    /// The hash of the job's definition as it is now.
    pub definition_hash: String,
}

impl Request {
    /// Asks for these dates of a job and nothing else.
    #[must_use]
    pub fn of(job: &Job, dates: Dates) -> Self {
        let definition_hash = job.definition_hash();
        Self { dates, reload: false, stale: false, backwards: false, named: false, definition_hash }
    }
}

/// What the ledger says about one interval of the job.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its bounds.
    pub interval: DataInterval,
    /// Its state.
    pub state: State,
    /// The hash of the definition that it was loaded by, if it is known.
    pub definition_hash: Option<Arc<str>>,
    /// Rows in the table, once loaded.
    pub rows: Option<i64>,
    /// When the load that stands was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
    /// When that load began; its snapshot is later.
    pub began: Option<DateTime<Utc>>,
    /// Whether a live run works on it, perhaps to load it again.
    pub is_live: bool,
    /// Attempts since it was last loaded or marked.
    pub attempts: u32,
    /// When the last attempt ended, or the state was set.
    pub finished: Option<DateTime<Utc>>,
    /// Why its rows are not in the job's table, if they are not.
    pub loss: Option<Arc<Loss>>,
    /// One line: who runs it, why it failed, why it is stale or skipped.
    pub note: Option<String>,
}

/// What is to happen to an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Load it; no finished load of it is in the table.
    Load,
    /// Load it again; what is in the table stays until the replacement commits.
    Reload,
    /// Leave it alone.
    Skip,
    /// It is asked for by name and not complete yet: the caller exits with 75.
    Wait {
        /// When it will be complete.
        ready_at: DateTime<Utc>,
    },
    /// It failed and its automatic tries are used up: not done, so the caller must not exit with 0.
    Exhausted,
    /// The interval before it has to be loaded first and will not be: not done, as above.
    Blocked,
}

impl Action {
    /// Whether rows are to be loaded.
    #[must_use]
    pub fn loads(self) -> bool {
        matches!(self, Self::Load | Self::Reload)
    }
}

/// One interval of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its bounds.
    pub interval: DataInterval,
    /// Its name.
    pub key: String,
    /// What is to happen.
    pub action: Action,
    /// Why, in one line.
    pub reason: String,
    /// How many automatic tries it has left; none where the job's own number holds: it was named.
    pub tries_left: Option<u32>,
}

/// Intervals in the order in which they are to be taken, each with an action and its reason.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The intervals: all that were named; without names, those that need something.
    pub intervals: Vec<Planned>,
    /// Without names: how many intervals need nothing and are not listed.
    pub done: usize,
    /// The intervals whose rows another definition of the job loaded, oldest first: of those that were
    /// named, or of all.
    pub other_definition: Vec<DataInterval>,
    /// What a person should know about the plan, one line each.
    pub notes: Vec<String>,
}

impl Plan {
    /// The intervals to load or reload.
    pub fn to_load(&self) -> impl Iterator<Item = &Planned> {
        self.intervals.iter().filter(|p| p.action.loads())
    }

    /// The intervals left alone.
    pub fn skipped(&self) -> impl Iterator<Item = &Planned> {
        self.intervals.iter().filter(|p| p.action == Action::Skip)
    }

    /// The intervals that were asked for and are not complete yet.
    pub fn waiting(&self) -> impl Iterator<Item = &Planned> {
        self.intervals.iter().filter(|p| matches!(p.action, Action::Wait { .. }))
    }

    /// The intervals that failed too often to be tried again unasked.
    pub fn exhausted(&self) -> impl Iterator<Item = &Planned> {
        self.intervals.iter().filter(|p| p.action == Action::Exhausted)
    }

    /// The intervals that wait for the one before them.
    pub fn blocked(&self) -> impl Iterator<Item = &Planned> {
        self.intervals.iter().filter(|p| p.action == Action::Blocked)
    }
}

/// Decides what happens to each interval that is asked for, or due.
///
/// `recorded` is all that the ledger has of the job, in any order, each interval once.
///
/// # Errors
/// `Preflight`, when what is recorded as loaded is not in the job's table, and nothing asks to load it again;
/// `Usage`, when the dates make no sense for the job or are too many; `Config`, when an interval to load
/// shares time with one in the ledger that another unit or time zone made, or the job lacks a
/// `start_date` it needs.
pub fn plan(job: &Job, request: &Request, recorded: &[Recorded], now: DateTime<Utc>) -> Result<Plan> {
    let Some(context) = Context::of(job, request, recorded, now) else {
        let plan = snapshot::plan(job, request, recorded, now)?;
        lost::refuse(job, request, &plan, recorded)?;
        overlap::refuse(job, &plan, recorded)?;
        return Ok(plan);
    };
    past::refuse_backwards(&context)?;
    let mut plan = match &request.dates {
        Dates::Due => due::plan(&context)?,
        _ => named(&context)?,
    };
    lost::refuse(job, request, &plan, recorded)?;
    past::hold_back(&context, &mut plan);
    overlap::refuse(job, &plan, recorded)?;
    if request.backwards {
        plan.intervals.reverse();
    }
    Ok(plan)
}

/// Finds what is wrong with a request before the ledger is known.
///
/// # Errors
/// As [`plan`].
pub fn check(job: &Job, request: &Request, now: DateTime<Utc>) -> Result<()> {
    match Context::of(job, request, &[], now) {
        Some(context) if request.dates == Dates::Due => {
            past::refuse_backwards(&context)?;
            due::check(&context)
        }
        _ => plan(job, request, &[], now).map(drop),
    }
}

/// The intervals of these dates, also before the job's `start_date`: to look at, and to mark.
///
/// # Errors
/// `Usage`, when the dates make no sense for the job or are too many.
pub fn look_up(job: &Job, dates: Dates, now: DateTime<Utc>) -> Result<Plan> {
    let request = Request::of(job, dates);
    match Context::of(job, &request, &[], now) {
        Some(context) if request.dates != Dates::Due => named(&Context { is_bounded: false, ..context }),
        _ => plan(job, &request, &[], now),
    }
}

/// Everything a decision looks at.
struct Context<'a> {
    job: &'a Job,
    calendar: Calendar,
    request: &'a Request,
    recorded: &'a [Recorded],
    ledger: Records<'a>,
    now: DateTime<Utc>,
    bounds: Bounds,
    /// The last instant at which an interval may end to be due.
    due_until: Option<DateTime<Utc>>,
    /// Whether dates before the job's first are refused.
    is_bounded: bool,
}

impl<'a> Context<'a> {
    /// None for a job without a calendar.
    fn of(job: &'a Job, request: &'a Request, recorded: &'a [Recorded], now: DateTime<Utc>) -> Option<Self> {
        Some(Self {
            job,
            calendar: job.calendar?,
            request,
            recorded,
            ledger: Records::of(recorded),
            now,
            bounds: Bounds::of(job),
            due_until: clock::due_until(job, now),
            is_bounded: true,
        })
    }

    /// The intervals whose rows another definition loaded, oldest first.
    fn other_definition(&self) -> Vec<DataInterval> {
        let others = self.recorded.iter().filter(|r| r.state.has_rows() && self.is_other_definition(r));
        let mut others: Vec<_> = others.map(|record| record.interval).collect();
        others.sort_unstable();
        others
    }
}

/// Exactly the intervals that are named.
fn named(context: &Context<'_>) -> Result<Plan> {
    let asked = dates::asked(context)?;
    let notes = if asked.is_empty() {
        vec![format!("no {} of the job starts on these dates", context.calendar.unit)]
    } else {
        Vec::new()
    };
    let intervals: Vec<_> = asked.into_iter().map(|interval| context.decide_named(interval)).collect();
    let mut other_definition = context.other_definition();
    let asked: HashSet<_> = intervals.iter().map(|planned| planned.interval).collect();
    other_definition.retain(|interval| asked.contains(interval));
    Ok(Plan { intervals, done: 0, other_definition, notes })
}

fn too_many(number: i64, what: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!(
            "{what} {} intervals; a plan holds at most {}",
            verdict::grouped(number),
            verdict::grouped(MAX_INTERVALS as i64)
        ),
    )
    .with_hint("take them in parts, with --from-date and --to-date")
}
