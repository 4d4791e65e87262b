//! What `run`, `backfill` and `copy` share: a project, an engine, a reporter, and one exit code.

use std::cmp::Reverse;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::StreamExt;

use super::Context;
use super::args::LoadArgs;
use super::stop_at::next_time_of_day;
use super::views::clock;
use super::workshop::{Workshop, run_one};
use crate::config::environment::Environment;
use crate::config::job::Job;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::engine::Options;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Events, Failure, Summary, ViewsSummary};
use crate::exit;
use crate::plan::{self, Dates, Request};
use crate::report::{Reporter, Span};
use crate::views::files::Folder;

/// Jobs at once in one process; what they may do together is limited by `parallelism` and the pools.
const JOBS_AT_ONCE: usize = 8;

/// A job and what is asked of it.
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) request: Request,
    pub(super) options: Options,
}

/// Reads the project with the command line's say on top.
pub(super) fn project(context: &Context, load: Option<&LoadArgs>) -> Result<Project> {
    let project = Project::load(&overrides(context, load), &Environment::from_process())?;
    let folder = Folder::read(&project.views_dir(), &|name| project.placeholder(name).map(str::to_owned));
    // What is wrong with a file is for `views check` to tell.
    let options = folder.definitions().map(|(file, object)| (object.name.clone(), file.options.clone()));
    Ok(project.with_view_files(options.collect::<Vec<_>>()))
}

/// Reads the project and keeps what is wrong with it, for `check` to tell.
pub(super) fn lenient_project(context: &Context) -> Result<Project> {
    Project::read(&overrides(context, None), &Environment::from_process())
}

/// A path as a person in the current folder would write it.
pub(super) fn shown(path: &Path) -> String {
    Environment::from_process().shown(path)
}

/// Reads the project as it is without the places of the command line.
pub(super) fn without_places(project: &Project) -> Result<Project> {
    let config = project.overrides().config.clone();
    Project::load(&Overrides { config, ..Overrides::default() }, &Environment::from_process())
}

pub(super) fn overrides(context: &Context, load: Option<&LoadArgs>) -> Overrides {
    let global = &context.global;
    let place =
        |secret: &Option<crate::config::connection::Secret>| secret.as_ref().map(|s| s.reveal().to_owned());
    let wide = |n: Option<usize>| n.map(|n| n as u64);
    Overrides {
        config: global.config.clone(),
        source: place(&global.source),
        destination: place(&global.destination),
        writers: load.and_then(|l| wide(l.writers)),
        batch_rows: load.and_then(|l| l.batch_rows),
        batch_bytes: load.and_then(|l| l.batch_bytes),
        retries: load.and_then(|l| l.retries.map(u64::from)),
        parallel: load.and_then(|l| wide(l.parallel)),
    }
}

/// The jobs that are named, or all.
pub(super) fn jobs(project: &Project, names: &[String]) -> Result<Vec<Job>> {
    if names.is_empty() {
        return project.jobs();
    }
    names.iter().map(|name| project.job(name)).collect()
}

/// The engine's options, as typed.
pub(super) fn options(load: &LoadArgs, job: &Job, now: DateTime<Utc>) -> Options {
    Options {
        stop_at: load.stop_at.map(|time| next_time_of_day(now, job.timezone, time)),
        max_rate: load.max_rate,
        parallel: load.parallel,
        take_over: load.take_over,
        force: load.force,
        fail_fast: load.fail_fast,
        ..Options::default()
    }
}

/// A job that cannot be run, and why.
pub(super) type Broken = (String, Error);

/// The jobs that are named, or all; one that cannot be read does not stop the others.
///
/// # Errors
/// `Usage` for a name that no job has; `Config`, when no job can be read, with the findings of all.
pub(super) fn jobs_apart(project: &Project, names: &[String]) -> Result<(Vec<Job>, Vec<Broken>)> {
    let each = match names {
        [] => project.each_job(),
        names => names.iter().map(|name| (name.clone(), project.job(name))).collect(),
    };
    let (mut good, mut broken) = (Vec::new(), Vec::new());
    for (name, result) in each {
        match result {
            Ok(job) => good.push(job),
            Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
            Err(error) => broken.push((name, error)),
        }
    }
    match broken.is_empty() || !good.is_empty() {
        true => Ok((good, broken)),
        // All findings at once, as `check` tells them.
        false => jobs(project, names).map(|jobs| (jobs, Vec::new())),
    }
}

/// Loads every task, several jobs at once, and answers with the exit code of the worst.
///
/// # Errors
/// What is wrong with all of them, before the first row.
pub(super) async fn run(context: &Context, project: &Project, tasks: Vec<Task>) -> Result<u8> {
    run_beside(context, project, (tasks, Vec::new()), false).await
}

/// Loads as [`run`] does; jobs that are broken count as failed. With `own_clocks` views that are due by
/// their own clock are refreshed afterwards.
///
/// # Errors
/// Those of [`run`].
pub(super) async fn run_beside(
    context: &Context,
    project: &Project,
    (tasks, broken): (Vec<Task>, Vec<Broken>),
    own_clocks: bool,
) -> Result<u8> {
    for task in tasks.iter().filter(|task| tasks.len() == 1 || task.request.dates != Dates::Due) {
        // Dates that make no sense are found without a network.
        plan::check(&task.job, &task.request, Utc::now())?;
    }
    let has_several = tasks.len() + broken.len() > 1;
    let is_copy = tasks.iter().all(|task| task.job.file.is_none());
    let (events, receiver) = event::channel();
    let span = if has_several && !is_copy { Span::Several } else { Span::One };
    let started = Instant::now();
    let reporter = Reporter::start_for(&context.output, receiver, Some(context.shutdown.clone()), span);
    let result = run_all(context, project, (tasks, broken), &events).await;
    let views = match own_clocks && !context.shutdown.is_requested() {
        true => Box::pin(clock::refresh_due(context, project, &events)).await,
        false => Ok(None),
    };
    drop(events);
    reporter.finish().await;
    let mut summaries = result?;
    if has_several && !is_copy {
        context.output.recap(&summaries, started.elapsed());
    }
    summaries.extend(of_views(context, views));
    Ok(exit::of_runs(&summaries))
}

/// Views that were due by themselves, as far as the exit code is concerned; an error is told.
fn of_views(context: &Context, views: Result<Option<ViewsSummary>>) -> Option<Summary> {
    let job = "views".to_owned();
    match views {
        Ok(done) => done.map(|done| Summary {
            job,
            loaded: done.refreshed,
            failed: done.failed,
            not_started: done.not_started,
            interrupted: done.interrupted,
            ..Summary::default()
        }),
        Err(error) => {
            context.output.error(&error);
            let failed = vec![(job.clone(), Failure::of(&error, 1, Utc::now()))];
            Some(Summary { job, failed, ..Summary::default() })
        }
    }
}

async fn run_all(
    context: &Context,
    project: &Project,
    (tasks, broken): (Vec<Task>, Vec<Broken>),
    events: &Events,
) -> Result<Vec<Summary>> {
    let run_id = uuid::Uuid::new_v4().to_string();
    let workshop = Workshop::new(context, project, &run_id);
    let single = tasks.len() + broken.len() == 1;
    let (mut tasks, at_once) = spread(tasks);
    let jobs: Vec<Job> = tasks.iter().map(|task| task.job.clone()).collect();
    // A view over the tables of several jobs is refreshed once, when all of them are loaded.
    tasks.iter_mut().for_each(|task| task.options.views_later = jobs.len() > 1);
    let started = futures::stream::iter(tasks).map(|task| run_one(&workshop, task, events));
    let ended: Vec<_> = started.buffer_unordered(at_once).collect().await;
    let broken = broken.into_iter().map(|(job, error)| (job, Err(error)));
    let mut summaries = Vec::new();
    for (job, result) in broken.chain(ended) {
        match result {
            Ok(summary) => summaries.push(summary),
            Err(error) if single => return Err(error),
            Err(error) => {
                let error = named(error, &job);
                context.output.error(&error);
                summaries.push(not_started(job, &error));
            }
        }
    }
    if jobs.len() > 1 {
        refresh_after(context, &workshop, (jobs, &mut summaries), events).await;
    }
    summaries.sort_by(|one, other| one.job.cmp(&other.job));
    Ok(summaries)
}

/// Refreshes the views above the jobs that were run; what cannot be refreshed counts as a failure of the job.
async fn refresh_after(
    context: &Context,
    workshop: &Workshop<'_>,
    (jobs, summaries): (Vec<Job>, &mut [Summary]),
    events: &Events,
) {
    for job in jobs {
        let Some(summary) = summaries.iter_mut().find(|summary| summary.job == job.name) else { continue };
        let engine = workshop.engine(&job, events.clone(), Options::default());
        let refreshed = match engine {
            Ok(engine) => Box::pin(engine.refresh_after(&job, summary.loaded > 0)).await,
            // It has been told by the job's own run.
            Err(_) => continue,
        };
        if let Err(error) = refreshed {
            let error = named(error, &job.name);
            context.output.error(&error);
            summary.failed.push(("views".to_owned(), Failure::of(&error, 1, Utc::now())));
        }
    }
}

/// An error that says which job it is about.
pub(super) fn named(error: Error, job: &str) -> Error {
    let is_named = error.to_string().contains(job);
    if is_named { error } else { error.while_doing(format!("job `{job}`")) }
}

fn not_started(job: String, error: &Error) -> Summary {
    let failed = vec![(job.clone(), Failure::of(error, 1, Utc::now()))];
    let retry_command = Some(format!("pgtide run {job}"));
    Summary { job, failed, retry_command, ..Summary::default() }
}

/// The order of jobs, and how many go at once; `--parallel` is shared out among them.
///
/// Tables of a `copy` go one after the other, unless it says otherwise.
fn spread(mut tasks: Vec<Task>) -> (Vec<Task>, usize) {
    let is_copy = tasks.iter().all(|task| task.job.file.is_none());
    let asked = tasks.first().and_then(|task| task.options.parallel);
    if is_copy {
        return (tasks, asked.unwrap_or(1));
    }
    tasks.sort_by_key(|task| Reverse(task.job.priority_weight));
    let at_once = asked.unwrap_or(JOBS_AT_ONCE).min(JOBS_AT_ONCE).min(tasks.len()).max(1);
    for task in &mut tasks {
        task.options.parallel = asked.map(|asked| (asked / at_once).max(1));
    }
    (tasks, at_once)
}

/// Refuses an empty project, which would do nothing and say that all is well.
///
/// # Errors
/// `Config`, when there is no job.
pub(super) fn some(jobs: Vec<Job>, folder: &Path) -> Result<Vec<Job>> {
    if !jobs.is_empty() {
        return Ok(jobs);
    }
    Err(Error::new(ErrorKind::Config, format!("there are no jobs in {}", folder.display()))
        .with_hint("pgtide init TABLE writes a first one"))
}
