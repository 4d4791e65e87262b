//! What `run`, `backfill` and `copy` share: a project, an engine, a reporter, and one exit code.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use futures::StreamExt;

use super::Context;
use super::args::LoadArgs;
use crate::config::environment::Environment;
use crate::config::job::{Job, Refresh};
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::engine::{Engine, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, Events, Failure, Summary};
use crate::exit;
use crate::ledger::Owner;
use crate::plan::{self, Request};
use crate::report::Reporter;
use crate::views::files::Folder;

/// The environment variables by which a scheduler names its run; the first that is set is recorded.
const TRIGGERS: [&str; 2] = ["PGTIDE_TRIGGER", "AIRFLOW_CTX_DAG_RUN_ID"];

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

fn overrides(context: &Context, load: Option<&LoadArgs>) -> Overrides {
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
pub(super) fn options(load: &LoadArgs) -> Options {
    Options {
        parallel: load.parallel,
        take_over: load.take_over,
        force: load.force,
        fail_fast: load.fail_fast,
        ..Options::default()
    }
}

/// Loads every task, one job after the other, and answers with the exit code of the worst.
///
/// # Errors
/// What is wrong with all of them, before the first row.
pub(super) async fn run(context: &Context, project: &Project, tasks: Vec<Task>) -> Result<u8> {
    for task in &tasks {
        // Dates that make no sense are found without a network.
        plan::plan(&task.job, &task.request, &[], Utc::now())?;
    }
    let (events, receiver) = event::channel();
    let reporter = Reporter::start(&context.output, receiver, Some(context.shutdown.clone()));
    let result = run_all(context, project, tasks, &events).await;
    drop(events);
    reporter.finish().await;
    result
}

async fn run_all(context: &Context, project: &Project, tasks: Vec<Task>, events: &Events) -> Result<u8> {
    let run_id = uuid::Uuid::new_v4().to_string();
    let workshop = Workshop::new(context, project, &run_id);
    let single = tasks.len() == 1;
    let at_once = tables_at_once(&tasks);
    let tasks = with_later(tasks);
    let results: Vec<_> = futures::stream::iter(tasks)
        .map(|task| run_one(&workshop, task, events))
        .buffered(at_once)
        .collect()
        .await;
    let mut summaries = Vec::new();
    for (job, result) in results {
        match result {
            Ok(summary) => summaries.push(summary),
            Err(error) if single => return Err(error),
            Err(error) => {
                let named = error.to_string().contains(&job);
                let error = if named { error } else { error.while_doing(format!("job `{job}`")) };
                context.output.error(&error);
                let failed = vec![(job.clone(), Failure::of(&error, 1, Utc::now()))];
                summaries.push(Summary { job, failed, ..Summary::default() });
            }
        }
    }
    Ok(exit::of_runs(&summaries))
}

/// Tells each job of those that come after it, so that a view over several tables is refreshed once.
fn with_later(mut tasks: Vec<Task>) -> Vec<Task> {
    for i in 0..tasks.len() {
        let (this, after) = tasks[i..].split_first().expect("i is one of them");
        let refreshes = |task: &&Task| {
            task.job.refresh == Refresh::Dependents && task.job.destination == this.job.destination
        };
        let later = after.iter().filter(refreshes).map(|task| task.job.into.clone()).collect();
        tasks[i].options.later = later;
    }
    tasks
}

/// Jobs run one after the other, each with its intervals at once; tables of a `copy` have one each.
fn tables_at_once(tasks: &[Task]) -> usize {
    let is_copy = tasks.iter().all(|task| task.job.file.is_none());
    let asked = tasks.first().and_then(|task| task.options.parallel);
    if is_copy { asked.unwrap_or(1) } else { 1 }
}

async fn run_one(workshop: &Workshop<'_>, task: Task, events: &Events) -> (String, Result<Summary>) {
    let Task { job, request, options } = task;
    let name = job.name.clone();
    if workshop.context.shutdown.is_requested() {
        let summary = Summary { job: name.clone(), interrupted: true, not_started: 1, ..Summary::default() };
        return (name, Ok(summary));
    }
    let engine = match workshop.engine(&job, events.clone(), options) {
        Ok(engine) => Arc::new(engine),
        Err(error) => return (name, Err(error)),
    };
    workshop.warn(events);
    let result = Box::pin(engine.run(&Arc::new(job), &request, Utc::now())).await;
    (name, result)
}

/// What engines are made from.
pub(super) struct Workshop<'a> {
    context: &'a Context,
    project: &'a Project,
    run_id: &'a str,
    told: Mutex<HashSet<String>>,
}

impl<'a> Workshop<'a> {
    /// A workshop for one run.
    pub(super) fn new(context: &'a Context, project: &'a Project, run_id: &'a str) -> Self {
        Self { context, project, run_id, told: Mutex::default() }
    }

    /// Says each warning of the configuration once.
    fn warn(&self, events: &Events) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for message in self.project.warnings() {
            if told.insert(message.clone()) {
                events.send(Event::Notice { message });
            }
        }
    }

    /// Makes the engine of one job.
    ///
    /// # Errors
    /// `Config`, when a connection cannot be resolved.
    pub(super) fn engine(&self, job: &Job, events: Events, options: Options) -> Result<Engine> {
        Ok(Engine {
            source: self.project.connection(&job.source)?,
            destination: self.project.connection(&job.destination)?,
            ledger_schema: self.project.ledger_schema().to_owned(),
            owner: owner(self.run_id),
            events,
            shutdown: self.context.shutdown.clone(),
            options: Options { show_values: self.context.global.show_values, ..options },
            view_rules: self.project.view_rules().clone(),
        })
    }
}

/// Who runs: as the ledger records it.
pub(super) fn owner(run_id: &str) -> Owner {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Owner {
        host: host.unwrap_or_else(|| "localhost".to_owned()),
        pid: std::process::id(),
        run_id: run_id.to_owned(),
        trigger: TRIGGERS.iter().find_map(|name| std::env::var(name).ok()),
    }
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
