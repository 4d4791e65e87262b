//! `pgtide status`: a line per job, the calendar of one, or all about one day. Reads the destination's
//! ledger and nothing else; never writes.
//!
//! `cells` turns a job, the ledger and the clock into states; `report` draws them.

mod cells;
mod day;
mod moments;
mod watch;

use std::collections::HashMap;

use chrono::Utc;

use super::args::StatusArgs;
use super::{Context, loading, stoppable};
use crate::config::job::Job;
use crate::config::project::Project;
use crate::error::{Error, Result};
use crate::exit;
use crate::interval::{DataInterval, parse_span};
use crate::ledger::{Ledger, Snapshot};
use crate::postgres::connect::{Session, Side};
use crate::report::calendar::{self, Status};
use crate::report::{Format, overview};

/// What a DBA sees in `pg_stat_activity`.
const APPLICATION: &str = "pgtide/status";

pub(super) async fn run(args: StatusArgs, context: &Context) -> anyhow::Result<u8> {
    if args.watch {
        return Ok(watch::run(&args, context).await?);
    }
    let project = loading::project(context, None)?;
    let shown = stoppable(context, look(context, &project, &args)).await?;
    context.output.print(&shown.text);
    shown.errors.iter().for_each(|error| context.output.error(error));
    if shown.code == exit::DONE && args.exit_code && shown.wants_attention {
        return Ok(exit::FAILED);
    }
    Ok(shown.code)
}

/// Looks once.
async fn look(context: &Context, project: &Project, args: &StatusArgs) -> Result<Shown> {
    match (&args.job, &args.date) {
        (Some(job), Some(date)) => day::show(context, project, job, date).await,
        (Some(job), None) => one(context, project, job, args.from_date.as_deref()).await,
        (None, _) => all(context, project).await,
    }
}

/// What is to be shown, and what it means for the exit code.
#[derive(Debug, Default)]
struct Shown {
    /// Text, or objects.
    text: String,
    /// What could not be looked at.
    errors: Vec<Error>,
    /// 0, unless something could not be looked at.
    code: u8,
    /// Whether anything has failed, is missing, stale or late.
    wants_attention: bool,
}

/// A destination that is open, and its ledger if there is one.
struct Open {
    session: Session,
    ledger: Option<Ledger>,
}

impl Open {
    async fn at(project: &Project, connection: &str) -> Result<Self> {
        let spec = project.connection(connection)?;
        let session = Session::open(&spec, Side::Destination, APPLICATION).await?;
        let ledger = Ledger::find(&session, project.ledger_schema()).await?;
        Ok(Self { session, ledger })
    }

    async fn snapshot(&self, job: &Job) -> Result<Option<Snapshot>> {
        match &self.ledger {
            Some(ledger) => {
                ledger.history(&self.session, &job.name, job.was.as_deref(), None).await.map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The calendar of one job.
async fn one(context: &Context, project: &Project, name: &str, from: Option<&str>) -> Result<Shown> {
    let job = project.job(name)?;
    let from = from.map(parse_span).transpose()?.map(|span| span.first);
    let open = Open::at(project, &job.destination).await?;
    let snapshot = open.snapshot(&job).await?;
    let now = Utc::now();
    let mut status = cells::status(&job, snapshot.as_ref(), now);
    if let (None, Some(ledger)) = (job.calendar, &open.ledger) {
        let whole = (DataInterval::WHOLE, moments::ATTEMPTS);
        let attempts = ledger.latest_attempts(&open.session, &job.name, whole).await?;
        status.moments = moments::moments(&job, snapshot.as_ref(), &attempts, now);
    }
    if snapshot.is_none() {
        let schema = project.ledger_schema();
        let note =
            format!("no ledger yet in schema {schema} of {}: nothing was ever loaded", job.destination);
        status.footer.push(note);
    }
    let output = &context.output;
    status.draw(from, output.width());
    let text = match output.format {
        Format::Text => calendar::text(&status, output.width(), output.out),
        Format::Json => {
            let mut object = calendar::json(&status);
            object["ledger"] = snapshot.is_some().into();
            object["next_complete"] = cells::next(&job, now).map(|at| at.to_rfc3339()).into();
            object["notes"] = status.footer.iter().filter(|line| !line.is_empty()).cloned().collect();
            format!("{object}\n")
        }
    };
    Ok(Shown { text, wants_attention: status.wants_attention(), ..Shown::default() })
}

/// A line for each job; those whose destination cannot be looked at too, and the error below.
async fn all(context: &Context, project: &Project) -> Result<Shown> {
    let jobs = loading::some(project.jobs()?, project.root())?;
    let mut open: HashMap<&str, Result<Open, Error>> = HashMap::new();
    let mut lines = Vec::new();
    for job in &jobs {
        let name = job.destination.as_str();
        if !open.contains_key(name) {
            open.insert(name, Open::at(project, name).await);
        }
        lines.push(match &open[name] {
            Ok(destination) => line(job, destination).await?,
            Err(_) => overview::Line {
                status: cells::header(job, Utc::now()),
                newest: None,
                next: None,
                error: Some(format!("{name} could not be looked at")),
            },
        });
    }
    let mut errors: Vec<_> = open.into_iter().filter_map(|(name, open)| Some((name, open.err()?))).collect();
    errors.sort_by_key(|(name, _)| *name);
    if let (1, true) = (errors.len(), lines.iter().all(|line| line.error.is_some())) {
        let (_, error) = errors.remove(0);
        return Err(error);
    }
    let text = match context.output.format {
        Format::Text => overview::text(&lines, context.output.out),
        Format::Json => lines.iter().map(|line| format!("{}\n", overview::json(line))).collect(),
    };
    let errors: Vec<_> = errors.into_iter().map(|(_, error)| error).collect();
    let codes = errors.iter().map(|error| error.kind().policy().exit_code);
    Ok(Shown {
        text,
        code: codes.reduce(|one, other| if one == other { one } else { exit::FAILED }).unwrap_or(exit::DONE),
        errors,
        wants_attention: lines.iter().any(|line| line.status.wants_attention()),
    })
}

async fn line(job: &Job, open: &Open) -> Result<overview::Line> {
    let snapshot = open.snapshot(job).await?;
    let now = Utc::now();
    let status: Status = cells::status(job, snapshot.as_ref(), now);
    let newest = cells::newest(job, &status, snapshot.as_ref());
    Ok(overview::Line { status, newest, next: cells::next(job, now), error: None })
}
