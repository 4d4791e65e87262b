//! What `run`, `backfill` and `copy` share: a project, an engine, a reporter, and one exit code.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio::task::JoinHandle;

use super::Context;
use super::args::LoadArgs;
use super::stop_at::next_time_of_day;
use crate::config::environment::Environment;
use crate::config::job::Job;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::engine::{Engine, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, Events, Failure, Summary};
use crate::exit;
use crate::ledger::Owner;
use crate::notify::{self, Outcome};
use crate::plan::{self, Dates, Request};
use crate::report::{Reporter, Span};
use crate::views::files::Folder;

/// Jobs at once in one process; what they may do together is limited by `parallelism` and the pools.
const JOBS_AT_ONCE: usize = 8;

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
    run_beside(context, project, tasks, Vec::new()).await
}

/// Loads as [`run`] does; jobs that are broken count as failed.
///
/// # Errors
/// Those of [`run`].
pub(super) async fn run_beside(
    context: &Context,
    project: &Project,
    tasks: Vec<Task>,
    broken: Vec<Broken>,
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
    drop(events);
    reporter.finish().await;
    let summaries = result?;
    if has_several && !is_copy {
        context.output.recap(&summaries, started.elapsed());
    }
    Ok(exit::of_runs(&summaries))
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
        refresh_after(&workshop, jobs, &mut summaries, events).await;
    }
    summaries.sort_by(|one, other| one.job.cmp(&other.job));
    Ok(summaries)
}

/// Refreshes the views above the jobs that were run; what cannot be refreshed counts as a failure of the job.
async fn refresh_after(workshop: &Workshop<'_>, jobs: Vec<Job>, summaries: &mut [Summary], events: &Events) {
    for job in jobs {
        let Some(summary) = summaries.iter_mut().find(|summary| summary.job == job.name) else { continue };
        let engine = workshop.engine(&job, events.clone(), Options::default());
        let refreshed = match engine {
            Ok(engine) => Box::pin(engine.refresh_after(&job)).await,
            // It has been told by the job's own run.
            Err(_) => continue,
        };
        if let Err(error) = refreshed {
            let error = named(error, &job.name);
            workshop.context.output.error(&error);
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

/// Runs one job, and tells the program that wants to know how it ended.
pub(super) async fn run_one(
    workshop: &Workshop<'_>,
    task: Task,
    events: &Events,
) -> (String, Result<Summary>) {
    let Task { job, request, options } = task;
    let name = job.name.clone();
    if workshop.context.shutdown.is_requested() {
        let summary = Summary { job: name.clone(), interrupted: true, not_started: 1, ..Summary::default() };
        return (name, Ok(summary));
    }
    let started = Utc::now();
    let (job, tally) = (Arc::new(job), Tally::start(events, &workshop.told));
    let result = match workshop.engine(&job, tally.events(), options) {
        Ok(engine) => {
            workshop.warn(events);
            Box::pin(Arc::new(engine).run(&job, &request, started)).await
        }
        Err(error) => Err(error),
    };
    let loaded = tally.finish().await;
    if result.is_err() {
        events.send(Event::RunNotStarted { job: name.clone() });
    }
    workshop.tell(&job, &result, (loaded, started), events).await;
    (name, result)
}

/// Hands events on, each notice once, and keeps in mind what was loaded.
struct Tally {
    events: Events,
    counting: JoinHandle<(Vec<String>, u64)>,
}

impl Tally {
    fn start(listener: &Events, told: &Told) -> Self {
        let (events, mut receiver) = event::channel();
        let (listener, told) = (listener.clone(), told.clone());
        let counting = tokio::spawn(async move {
            let (mut keys, mut rows) = (Vec::new(), 0);
            while let Some(event) = receiver.recv().await {
                if let Event::IntervalLoaded { id, loaded } = &event {
                    keys.push(id.key.clone());
                    rows += loaded.rows;
                }
                match &event {
                    Event::Notice { message } if !is_new(&told, message) => {}
                    _ => listener.send(event),
                }
            }
            (keys, rows)
        });
        Self { events, counting }
    }

    fn events(&self) -> Events {
        self.events.clone()
    }

    /// Waits until the engine, which is over, has dropped its events.
    async fn finish(self) -> (Vec<String>, u64) {
        drop(self.events);
        let (mut keys, rows) = self.counting.await.unwrap_or_default();
        keys.sort();
        (keys, rows)
    }
}

/// What engines are made from.
pub(super) struct Workshop<'a> {
    context: &'a Context,
    project: &'a Project,
    run_id: &'a str,
    told: Told,
    /// Whether the last start of the job failed, and somebody was told.
    has_failed: bool,
}

/// Notices that were said.
pub(super) type Told = Arc<Mutex<HashSet<String>>>;

/// Notices that are kept in mind, in a process without an end.
const MOST_TOLD: usize = 1_000;

/// Whether a notice was not said yet; it counts as said then.
fn is_new(told: &Told, message: &str) -> bool {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= MOST_TOLD {
        told.clear();
    }
    told.insert(message.to_owned())
}

impl<'a> Workshop<'a> {
    /// A workshop for one run.
    pub(super) fn new(context: &'a Context, project: &'a Project, run_id: &'a str) -> Self {
        Self { context, project, run_id, told: Told::default(), has_failed: false }
    }

    /// The same workshop after others: it says no warning again, nor, if the last start failed, that one did.
    pub(super) fn after(mut self, told: &Told, has_failed: bool) -> Self {
        (self.told, self.has_failed) = (told.clone(), has_failed);
        self
    }

    /// Tells the job's program how the run ended, and a person when that fails.
    async fn tell(
        &self,
        job: &Job,
        result: &Result<Summary>,
        ((loaded, rows), started): ((Vec<String>, u64), DateTime<Utc>),
        events: &Events,
    ) {
        if result.is_err() && self.has_failed {
            return;
        }
        let owner = owner(self.run_id);
        let (result, finished) = (result.as_ref(), Utc::now());
        let outcome = Outcome { job, owner: &owner, result, loaded: &loaded, rows, started, finished };
        let told = notify::tell(&outcome, self.project.root(), &self.context.shutdown).await;
        if let Some(message) = told {
            events.send(Event::Notice { message });
        }
    }

    /// Says each warning of the configuration once.
    fn warn(&self, events: &Events) {
        for message in self.project.warnings() {
            if is_new(&self.told, &message) {
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
            options: Options {
                show_values: self.context.global.show_values,
                parallelism: self.project.parallelism(),
                pool_slots: job.pool.as_deref().and_then(|pool| self.project.pool_slots(pool)),
                ..options
            },
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
