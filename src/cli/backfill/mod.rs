//! `pgtide backfill`: a range of dates in parallel, as an object that several processes work on.
//!
//! The command with dates makes it, or goes on with the unfinished one of the same dates and options.
//! `list` shows them; `pause`, `resume` and `cancel` say whether to work on one.

mod list;
mod settings;
mod state;

use std::fmt;
use std::str::FromStr;

use chrono::Utc;
use clap::{Args, Subcommand};

use super::args::{LoadArgs, ReloadArgs, RunArgs};
use super::dates::DatesArgs;
use super::run::{self, tasks};
use super::{Context, help, loading};
use crate::config::job::Job;
use crate::config::nearest::did_you_mean;
use crate::config::project::Project;
use crate::engine::{BackfillWish, Commands};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Backfill, Ledger};
use crate::plan::Dates;
use crate::postgres::connect::{Session, Side};

/// What a DBA sees in `pg_stat_activity`.
const APPLICATION: &str = "pgtide/backfill";

/// `backfill`.
#[derive(Debug, Args)]
#[command(after_help = help::BACKFILL, override_usage = help::BACKFILL_USAGE)]
#[command(subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct BackfillArgs {
    /// What to do with backfills that are there.
    #[command(subcommand)]
    command: Option<BackfillCommand>,
    /// The job
    #[arg(value_name = "JOB", required = true)]
    job: Option<String>,
    /// Which intervals; from the job's start_date to now without.
    #[command(flatten)]
    dates: DatesArgs,
    /// How to load.
    #[command(flatten)]
    load: LoadArgs,
    /// What to do with loaded ones.
    #[command(flatten)]
    again: ReloadArgs,
}

/// What to do with backfills that are there.
#[derive(Debug, Subcommand)]
enum BackfillCommand {
    /// Show backfills, how far they are, and who works on them
    List(list::ListArgs),
    /// Start nothing more of it; what is open goes on to its end
    Pause(state::IdArgs),
    /// Work on it again, beginning with this process
    Resume(state::ResumeArgs),
    /// End it; open transactions roll back, what is loaded stays
    Cancel(state::IdArgs),
}

/// A backfill as people write it: `orders/7`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BackfillId {
    job: String,
    number: i32,
}

impl FromStr for BackfillId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.trim().rsplit_once('/').filter(|(job, _)| !job.is_empty());
        let known = parts.and_then(|(job, number)| Some((job.to_owned(), number.parse().ok()?)));
        let known = known.filter(|(_, number)| *number > 0).map(|(job, number)| Self { job, number });
        known.ok_or_else(|| "write a backfill as JOB/NUMBER, such as orders/7".to_owned())
    }
}

impl fmt::Display for BackfillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.number)
    }
}

pub(super) async fn run(args: BackfillArgs, context: &Context) -> anyhow::Result<u8> {
    let BackfillArgs { command, job, dates, load, again } = args;
    match (command, job) {
        (None, Some(job)) => start(RunArgs { jobs: vec![job], dates, load, again }, context).await,
        (Some(BackfillCommand::List(args)), None) => list::run(args, context).await,
        (Some(BackfillCommand::Pause(args)), None) => state::pause(args, context).await,
        (Some(BackfillCommand::Resume(args)), None) => state::resume(args, context).await,
        (Some(BackfillCommand::Cancel(args)), None) => state::cancel(args, context).await,
        (_, _) => {
            let error = Error::new(ErrorKind::Usage, "a job stands before list, pause, resume or cancel");
            Err(error.with_hint("pgtide backfill list orders; pgtide backfill pause orders/7").into())
        }
    }
}

/// Makes a backfill, or goes on with it.
async fn start(args: RunArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, Some(&args.load))?;
    let mut tasks = tasks(&args, &project)?;
    for task in &mut tasks {
        if task.job.calendar.is_none() {
            let what = format!("{} loads its table whole: there is nothing to backfill", task.job.name);
            let hint = format!("pgtide run {}; or give the job an `interval`", task.job.name);
            return Err(Error::new(ErrorKind::Usage, what).with_hint(hint).into());
        }
        if task.request.dates == Dates::Due {
            task.request.dates = Dates::Range { from: None, to: None };
        }
        task.options.backfill = Some(BackfillWish {
            number: None,
            dates: Commands::dates(&task.request.dates),
            settings: settings::written(&args.load),
        });
    }
    run::start(context, &project, tasks, args.load.dry_run).await
}

/// A destination whose ledger holds backfills.
struct Open {
    session: Session,
    ledger: Ledger,
}

impl Open {
    /// Opens the destination of a job; the ledger to look, or to write where it is there.
    async fn of(project: &Project, job: &Job, to_write: bool) -> Result<Option<Self>> {
        let spec = project.connection(&job.destination)?;
        let session = Session::open(&spec, Side::Destination, APPLICATION).await?;
        let schema = project.ledger_schema();
        let ledger = match to_write {
            true => Ledger::open_existing(&session, schema).await?,
            false => Ledger::find(&session, schema).await?,
        };
        Ok(ledger.map(|ledger| Self { session, ledger }))
    }

    /// Finds a backfill.
    async fn find(&self, id: &BackfillId) -> Result<Backfill> {
        let found = self.ledger.backfill(&self.session, &id.job, id.number).await?;
        match found {
            Some(found) => Ok(found),
            None => Err(self.unknown(id).await?),
        }
    }

    async fn unknown(&self, id: &BackfillId) -> Result<Error> {
        let known = self.ledger.backfills(&self.session, Some(&id.job)).await?;
        let labels: Vec<_> = known.iter().map(|known| known.backfill.label()).collect();
        let text = id.to_string();
        let nearest = did_you_mean(&text, labels.iter().map(String::as_str));
        let error =
            Error::new(ErrorKind::Usage, format!("there is no backfill {}{nearest}", text.escape_debug()));
        Ok(match labels.as_slice() {
            [] => error.with_hint(format!("pgtide backfill {} with dates makes one", id.job)),
            labels => error.with_detail(format!("backfills: {}", labels.join(", "))),
        })
    }
}

fn none_yet(id: &BackfillId) -> Error {
    Error::new(ErrorKind::Usage, format!("there is no backfill {id}: the destination has no ledger yet"))
        .with_hint(format!("pgtide backfill {} with dates makes one", id.job))
}

/// The task that works on a backfill that is there.
fn task_of(found: &Backfill, load: &LoadArgs, job: Job) -> loading::Task {
    let options = crate::engine::Options {
        backfill: Some(BackfillWish {
            number: Some(found.number),
            dates: found.dates.clone(),
            settings: settings::written(load),
        }),
        force: found.has_option("force"),
        ..loading::options(load, &job, Utc::now())
    };
    let request = crate::plan::Request {
        reload: found.has_option("reload"),
        stale: found.has_option("stale"),
        backwards: load.run_backwards,
        ..crate::plan::Request::of(&job, Dates::Days(found.keys.clone()))
    };
    loading::Task { job, request, options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_is_named_by_its_job_and_a_number() {
        let id = |job: &str, number| Ok(BackfillId { job: job.into(), number });
        assert_eq!("orders/7".parse(), id("orders", 7));
        assert_eq!("eu/orders/12".parse(), id("eu/orders", 12));
        for bad in ["orders", "orders/", "/7", "orders/0", "orders/-1", "orders/seven", ""] {
            assert!(bad.parse::<BackfillId>().is_err(), "{bad}");
        }
    }
}
