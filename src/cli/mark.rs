//! `pgtide mark`: a person says what state intervals have, and why; the ledger keeps both.

mod rebind;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::args::{MarkArg, MarkArgs};
use super::{Context, loading, stoppable};
use crate::cli::workshop;
use crate::config::job::Job;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::interval::{DataInterval, minute_text};
use crate::ledger::{Ledger, MarkRequest, Owner, Snapshot, TableRef};
use crate::plan::{self, Action, Dates, Planned};
use crate::postgres::catalog;
use crate::postgres::connect::{Session, Side};
use crate::report::number::counted;
use crate::report::paint::escaped;
use crate::report::{Format, error};
use crate::state::State;

/// Intervals listed before the middle is left out.
const LISTED: usize = 40;

pub(super) async fn run(args: MarkArgs, context: &Context) -> anyhow::Result<u8> {
    if args.reason.trim().is_empty() {
        let error = Error::new(ErrorKind::Usage, "a mark needs a reason, and this one is empty");
        return Err(error.with_hint("--reason \"why\"; the ledger keeps it").into());
    }
    let project = loading::project(context, None)?;
    let job = project.job(&args.job)?;
    let state = State::from(args.state);
    let dates = args.dates.to_dates();
    let marks = if args.rebind {
        let named = rebound(&job, state, dates)?;
        let rebind = Box::pin(rebind::rebind(&project, &job, &args.reason, named));
        stoppable(context, rebind).await?
    } else {
        let planned = intervals(&job, state, dates, Utc::now())?;
        stoppable(context, mark_all(&project, &job, (state, &args.reason), planned)).await?
    };
    match context.output.format {
        Format::Text => context.output.print(&text(&job, state, &marks, context.output.verbose)),
        Format::Json => context.output.print(&format!("{}\n", object(&job, state, &args.reason, &marks))),
    }
    Ok(match failure(&job, &marks) {
        Some(error) => {
            if context.output.format == Format::Text {
                context.output.error(&error);
            }
            error.kind().policy().exit_code
        }
        None if args.rebind && marks.iter().any(|mark| mark.state != State::Loaded) => exit::FAILED,
        None => exit::DONE,
    })
}

/// The intervals that are to be rebound; none for all that are lost.
fn rebound(job: &Job, state: State, dates: Dates) -> Result<Option<HashSet<DataInterval>>> {
    if state != State::Loaded {
        let what = format!("--rebind compares what is recorded as loaded, and {state} needs no table");
        return Err(Error::new(ErrorKind::Usage, what).with_hint("leave --rebind out, or write loaded"));
    }
    if dates == Dates::Due {
        return Ok(None);
    }
    let planned = intervals(job, state, dates, Utc::now())?;
    Ok(Some(planned.into_iter().map(|planned| planned.interval).collect()))
}

impl From<MarkArg> for State {
    fn from(state: MarkArg) -> Self {
        match state {
            MarkArg::Loaded => Self::Loaded,
            MarkArg::Failed => Self::Failed,
            MarkArg::Skipped => Self::Skipped,
            MarkArg::Stale => Self::Stale,
        }
    }
}

/// One interval and what came of it.
struct Mark {
    planned: Planned,
    /// Its state before; none if the ledger did not know it.
    before: Option<State>,
    /// Its state afterwards.
    state: State,
    result: Result<()>,
}

/// The intervals that are named; what makes no sense is found before any network.
fn intervals(job: &Job, state: State, dates: Dates, now: DateTime<Utc>) -> Result<Vec<Planned>> {
    let usage = |what: String| Error::new(ErrorKind::Usage, format!("marking {} {state}: {what}", job.name));
    if let (Some(calendar), Dates::Due) = (job.calendar, &dates) {
        let unit = calendar.unit;
        return Err(usage(format!("which of its intervals? The job has one for each {unit}"))
            .with_hint("add --date DATE, or --from-date DATE --to-date DATE"));
    }
    let plan = plan::look_up(job, dates, now)?;
    let (planned, empty): (Vec<_>, Vec<_>) =
        plan.intervals.into_iter().partition(|planned| !planned.interval.is_empty());
    if planned.is_empty() {
        let reasons = empty.into_iter().map(|planned| planned.reason).chain(plan.notes);
        return Err(usage(reasons.collect::<Vec<_>>().join("; ")));
    }
    if state == State::Loaded {
        refuse_incomplete(job, &planned)?;
    }
    Ok(planned)
}

/// What is marked loaded is left alone from then on, so its rows must all be there.
fn refuse_incomplete(job: &Job, planned: &[Planned]) -> Result<()> {
    let waiting: Vec<_> =
        planned.iter().filter(|planned| matches!(planned.action, Action::Wait { .. })).collect();
    let Some(first) = waiting.first() else { return Ok(()) };
    let error = Error::new(
        ErrorKind::NotComplete,
        format!("marking {} loaded: {} is {}", job.name, first.key, first.reason),
    );
    let rest = waiting.iter().skip(1).map(|planned| format!("{} is {}", planned.key, planned.reason));
    Err(rest.take(LISTED).fold(error, Error::with_detail).with_hint("nothing was marked; mark it when it is"))
}

/// Marks each interval in a transaction of its own; one that is refused does not stop the others.
async fn mark_all(
    project: &Project,
    job: &Job,
    (state, reason): (State, &str),
    planned: Vec<Planned>,
) -> Result<Vec<Mark>> {
    let spec = project.connection(&job.destination)?;
    let session = Session::open(&spec, Side::Destination, "pgtide/mark").await?;
    let relation = catalog::find_relation(&session, &job.into).await.map_err(|error| {
        if job.create {
            error.with_hint("the first `pgtide run` makes the table; mark after it")
        } else {
            error
        }
    })?;
    let ledger = Ledger::open(&session, project.ledger_schema()).await?;
    if let Some(was) = &job.was {
        ledger.rename(&session, was, &job.name, &owner()).await?;
    }
    let before = ledger.snapshot(&session, &job.name, None).await?;
    let request = MarkRequest {
        job: job.name.clone(),
        table: TableRef { oid: relation.oid, name: relation.name.to_string() },
        scope: job.scope.clone(),
        interval: DataInterval::WHOLE,
        key: String::new(),
        timezone: job.calendar.map(|calendar| calendar.timezone.name().to_owned()),
        definition_hash: job.definition_hash(),
        state,
        reason: reason.to_owned(),
        owner: owner(),
        rebinds: false,
    };
    let mut marks = Vec::new();
    for planned in planned {
        let request = MarkRequest { interval: planned.interval, key: planned.key.clone(), ..request.clone() };
        let result = ledger.mark(&session, &request).await;
        let is_lost = session.is_closed();
        marks.push(Mark { before: state_before(&before, &planned), planned, state, result });
        if is_lost {
            // What is left was not marked, and the next would only say the same.
            break;
        }
    }
    Ok(marks)
}

fn owner() -> Owner {
    workshop::owner(&uuid::Uuid::new_v4().to_string())
}

fn state_before(before: &Snapshot, planned: &Planned) -> Option<State> {
    before.intervals.iter().find(|record| record.interval == planned.interval).map(|record| record.state)
}

/// One error of all that was refused.
fn failure(job: &Job, marks: &[Mark]) -> Option<Error> {
    let refused: Vec<_> = marks.iter().filter_map(|mark| mark.result.as_ref().err()).collect();
    let first = refused.first()?;
    let same = refused.iter().all(|error| error.kind() == first.kind());
    let kind = if same { first.kind() } else { ErrorKind::Server };
    let what = match refused.as_slice() {
        [only] => only.chain(),
        many => format!("{} of {} were not marked", counted(many.len() as u64, "interval"), job.name),
    };
    let error = Error::new(kind, what);
    let lines = refused.iter().filter(|_| refused.len() > 1).take(LISTED).map(|error| error.chain());
    let error = lines.fold(error, Error::with_detail);
    Some(match first.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

fn text(job: &Job, state: State, marks: &[Mark], verbose: bool) -> String {
    let done: Vec<_> = marks.iter().filter(|mark| mark.result.is_ok()).collect();
    let mut text = String::new();
    for (index, mark) in done.iter().enumerate() {
        let all = verbose || done.len() <= LISTED;
        if !all && index == LISTED / 2 {
            text.push_str(&format!("  ... {} more, with -v\n", done.len() - LISTED));
        }
        if all || index < LISTED / 2 || index >= done.len() - LISTED / 2 {
            text.push_str(&line(job, mark));
        }
    }
    for state in [State::Loaded, State::Failed, State::Skipped, State::Stale] {
        let number = done.iter().filter(|mark| mark.state == state).count();
        if number > 0 {
            text.push_str(&consequence(job, state, number));
        }
    }
    if marks.is_empty() && state == State::Loaded {
        text.push_str(&format!("all that is recorded of {} is in {}\n", escaped(&job.name), job.into));
    }
    text
}

/// `orders 2026-01-05  failed -> skipped`.
fn line(job: &Job, mark: &Mark) -> String {
    let name =
        if job.calendar.is_some() { format!("{} {}", job.name, mark.planned.key) } else { job.name.clone() };
    let before = mark.before.map_or("never loaded", State::as_str);
    let wait = match mark.planned.action {
        Action::Wait { ready_at } => {
            format!("  (complete {})", minute_text(&ready_at.with_timezone(&job.timezone)))
        }
        Action::Skip if mark.planned.reason.contains("rows") => format!("  ({})", mark.planned.reason),
        _ => String::new(),
    };
    let state = mark.state;
    format!("{}  {before} -> {state}{wait}\n", escaped(&name))
}

/// What follows from the mark, so that nobody is surprised by the next run.
fn consequence(job: &Job, state: State, number: usize) -> String {
    let it = if number == 1 { "it" } else { "them" };
    let name = escaped(&job.name);
    match state {
        State::Loaded => format!("runs leave {it} alone from now on\n"),
        State::Failed => format!("the next `pgtide run {name}` loads {it}\n"),
        State::Skipped => format!("no run takes {it}, unless --reload is given\n"),
        State::Stale => format!("`pgtide run {name} --stale` loads {it} again\n"),
        State::Running | State::Interrupted => String::new(),
    }
}

fn object(job: &Job, state: State, reason: &str, marks: &[Mark]) -> Value {
    let intervals: Vec<_> = marks
        .iter()
        .map(|mark| {
            let error = mark.result.as_ref().err();
            json!({ "interval": mark.planned.key, "before": mark.before.map(State::as_str),
                "state": mark.state.as_str(),
                "marked": error.is_none(), "error": error.map(Error::chain),
                "error_kind": error.map(|e| error::kind_name(e.kind())) })
        })
        .collect();
    json!({ "job": job.name, "state": state.as_str(), "reason": reason, "intervals": intervals })
}
