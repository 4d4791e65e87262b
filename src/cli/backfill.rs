//! `pgtide backfill`: a range of dates in parallel; without dates, from the job's start to now.

use super::args::{BackfillArgs, RunArgs};
use super::run::{self, tasks};
use super::{Context, loading};
use crate::plan::Dates;

pub(super) async fn run(args: BackfillArgs, context: &Context) -> anyhow::Result<u8> {
    let BackfillArgs { job, dates, load, again } = args;
    let args = RunArgs { jobs: vec![job], dates, load, again };
    let project = loading::project(context, Some(&args.load))?;
    let mut tasks = tasks(&args, &project)?;
    for task in &mut tasks {
        if task.request.dates == Dates::Due {
            task.request.dates = Dates::Range { from: None, to: None };
        }
    }
    run::start(context, &project, tasks, args.load.dry_run).await
}
