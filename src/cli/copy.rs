//! `pgtide copy`: tables or a query, now, without a file.

use chrono::Utc;

use super::args::CopyArgs;
use super::loading::{self, Task};
use super::{Context, run};
use crate::config::job::{LoadMode, OneOff, Origin};
use crate::config::project::Project;
use crate::engine::Options;
use crate::error::Result;
use crate::name::TableName;
use crate::plan::{Dates, Request};

pub(super) async fn run(args: CopyArgs, context: &Context) -> anyhow::Result<u8> {
    args.validate()?;
    let project = loading::project(context, Some(&args.load))?;
    let tasks = tasks(&args, &project)?;
    run::start(context, &project, tasks, args.load.dry_run).await
}

fn tasks(args: &CopyArgs, project: &Project) -> Result<Vec<Task>> {
    match (&args.query, &args.into) {
        (Some(query), Some(into)) => Ok(vec![task(args, project, Origin::Query(query.clone()), into)?]),
        _ => args
            .tables
            .iter()
            .map(|table| {
                task(args, project, Origin::Table(table.clone()), args.into.as_ref().unwrap_or(table))
            })
            .collect(),
    }
}

fn task(args: &CopyArgs, project: &Project, origin: Origin, into: &TableName) -> Result<Task> {
    let mode = args.mode.map(LoadMode::from);
    let job = project.one_off(OneOff {
        origin,
        into: into.clone(),
        filter: args.filter.clone(),
        mode,
        key: args.key.clone(),
        create: !args.no_create,
    })?;
    let request =
        Request { reload: mode == Some(LoadMode::Replace), named: true, ..Request::of(&job, Dates::Due) };
    let options = Options {
        // A copy always loads: `append` again adds the rows again, as it was told to.
        force: args.load.force || mode == Some(LoadMode::Append),
        must_be_empty: mode.is_none() && job.mode == LoadMode::Replace,
        ..loading::options(&args.load, &job, Utc::now())
    };
    Ok(Task { job, request, options })
}
