//! `pgtide status`: a line per job, the calendar of one, or all about one day. Reads the destination's
//! ledger, and whether its tables are there; never writes.
//!
//! `cells` turns a job, the ledger and the clock into states; `report` draws them.

mod cells;
mod day;
mod moments;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;

use super::args::StatusArgs;
use super::{Context, loading, stoppable};
use crate::config::job::Job;
use crate::config::project::Project;
use crate::engine::{Ground, Held};
use crate::error::{Error, Result};
use crate::exit;
use crate::interval::{DataInterval, parse_span};
use crate::ledger::{Activity, Evidence, IntervalRecord, Ledger, Place, Snapshot};
use crate::plan::{self, Loss};
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

    /// What the ledger says of a job, and whether it is there; none without a ledger.
    async fn find(&self, job: &Job, range: Option<DataInterval>) -> Result<Option<Found>> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let evidence = ledger.evidence(&self.session, &job.into).await?;
        let snapshot = ledger.history(&self.session, &job.name, job.was.as_deref(), range).await?;
        let held = snapshot.intervals.iter().filter(|record| record.state.has_rows());
        let held = held.map(|record| Held {
            interval: record.interval,
            place: place(&evidence, record),
            rows: record.rows,
        });
        let ground = Ground::look((ledger, &self.session), job, &evidence, held).await?;
        let lost = snapshot.intervals.iter().filter(|r| r.state.has_rows() && r.activity != Activity::Live);
        let lost = lost.filter_map(|record| {
            let loss = ground.loss(&record.interval, place(&evidence, record))?;
            plan::loss_matters(job, &record.interval, loss).then(|| (record.interval, loss.clone()))
        });
        let lost = lost.collect();
        Ok(Some(Found { snapshot, lost }))
    }
}

/// What the ledger says of a job, and whether it is there.
struct Found {
    snapshot: Snapshot,
    /// Of the intervals that are recorded as loaded, those whose rows are not there.
    lost: HashMap<DataInterval, Arc<Loss>>,
}

fn place(evidence: &Evidence, record: &IntervalRecord) -> Place {
    evidence.place((record.table.oid, record.table_file), record.loaded_at)
}

impl Found {
    /// Why the rows of a record are not in the job's table, if they are not.
    fn loss(&self, record: &IntervalRecord) -> Option<&Loss> {
        self.lost.get(&record.interval).map(|loss| &**loss)
    }

    /// What is lost and what mends it, a line each.
    fn findings(&self, job: &Job) -> Vec<String> {
        let lost = self.lost.iter().map(|(interval, loss)| (*interval, loss));
        let Some(findings) = plan::lost_findings(job, lost) else { return Vec::new() };
        let hints = findings.hints.into_iter().map(|hint| format!("  {hint}"));
        findings.lines.into_iter().chain(hints).collect()
    }
}

/// The calendar of one job.
async fn one(context: &Context, project: &Project, name: &str, from: Option<&str>) -> Result<Shown> {
    let job = project.job(name)?;
    let from = from.map(parse_span).transpose()?.map(|span| span.first);
    let open = Open::at(project, &job.destination).await?;
    let found = open.find(&job, None).await?;
    let now = Utc::now();
    let mut status = cells::status(&job, found.as_ref(), now);
    let snapshot = found.map(|found| found.snapshot);
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
    let found = open.find(job, None).await?;
    let now = Utc::now();
    let status: Status = cells::status(job, found.as_ref(), now);
    let newest = cells::newest(job, &status, found.as_ref().map(|found| &found.snapshot));
    Ok(overview::Line { status, newest, next: cells::next(job, now), error: None })
}
