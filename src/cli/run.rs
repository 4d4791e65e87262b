//! `pgtide run`: what is due and missing, or the dates given.

use chrono::Utc;

use super::args::RunArgs;
use super::loading::{self, Task};
use super::{Context, plan};
use crate::config::job::{Job, LoadMode};
use crate::config::project::Project;
use crate::error::Result;
use crate::plan::{Dates, Request};

pub(super) async fn run(args: RunArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, Some(&args.load))?;
    let (jobs, broken) = loading::jobs_apart(&project, &args.jobs)?;
    // Views may have clocks of their own, and need no job.
    let jobs = if project.view_rules().has_clocks() { jobs } else { loading::some(jobs, project.root())? };
    let tasks = requests(&args, jobs);
    if args.load.dry_run {
        broken.iter().for_each(|(_, error)| context.output.error(error));
        let code = plan::show(context, &project, tasks).await?;
        return Ok(broken.first().map_or(code, |(_, error)| error.kind().policy().exit_code));
    }
    let own_clocks = args.jobs.is_empty() && args.dates.to_dates() == Dates::Due;
    Ok(loading::run_beside(context, &project, (tasks, broken), own_clocks).await?)
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
    Ok(requests(args, loading::some(loading::jobs(project, &args.jobs)?, project.root())?))
}

fn requests(args: &RunArgs, jobs: Vec<Job>) -> Vec<Task> {
    let dates = args.dates.to_dates();
    let now = Utc::now();
    let task = |job: Job| Task {
        request: Request {
            // Without --reload the intervals that are loaded would be left alone.
            reload: args.again.reload || (args.load.force && job.mode == LoadMode::Append),
            stale: args.again.stale,
            backwards: args.load.run_backwards,
            named: !args.jobs.is_empty(),
            ..Request::of(&job, dates.clone())
        },
        options: loading::options(&args.load, &job, now),
        job,
    };
    jobs.into_iter().map(task).collect()
}
