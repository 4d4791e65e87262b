//! One run of one job: its engine is made, its notices are said once, its program is told how it ended.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::Context;
use super::loading::Task;
use crate::config::job::Job;
use crate::config::project::Project;
use crate::engine::{Engine, Options};
use crate::error::Result;
use crate::event::{self, Event, Events, Summary};
use crate::ledger::Owner;
use crate::notify::{self, Outcome};

/// The environment variables by which a scheduler names its run; the first that is set is recorded.
const TRIGGERS: [&str; 2] = ["PGTIDE_TRIGGER", "AIRFLOW_CTX_DAG_RUN_ID"];

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
