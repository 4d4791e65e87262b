//! `pgtide run`: what is due and missing, or the dates given.

use chrono::Utc;

use super::args::RunArgs;
use super::loading::{self, Task};
use super::{Context, plan};
use crate::config::job::{Job, LoadMode};
use crate::config::project::Project;
use crate::error::Result;
use crate::plan::Request;

pub(super) async fn run(args: RunArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, Some(&args.load))?;
    let tasks = tasks(&args, &project)?;
    start(context, &project, tasks, args.load.dry_run).await
}

/// Loads, or only shows what would be loaded.
pub(super) async fn start(
    context: &Context,
    project: &Project,
    tasks: Vec<Task>,
    dry_run: bool,
) -> anyhow::Result<u8> {
    if dry_run {
        return plan::show(context, project, tasks).await;
    }
    Ok(loading::run(context, project, tasks).await?)
}

/// The jobs that are named, or all, and what is asked of each.
pub(super) fn tasks(args: &RunArgs, project: &Project) -> Result<Vec<Task>> {
    let jobs = loading::some(loading::jobs(project, &args.jobs)?, project.root())?;
    let dates = args.dates.to_dates();
    let now = Utc::now();
    let task = |job: Job| Task {
        request: Request {
            dates: dates.clone(),
            // Without --reload the intervals that are loaded would be left alone.
            reload: args.again.reload || (args.load.force && job.mode == LoadMode::Append),
            stale: args.again.stale,
            backwards: false,
            definition_hash: job.definition_hash(),
        },
        options: loading::options(&args.load, &job, now),
        job,
    };
    Ok(jobs.into_iter().map(task).collect())
}
