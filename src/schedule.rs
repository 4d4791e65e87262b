//! `run`, for ever: what is due is loaded when it is due, by one leader among several processes.
//!
//! The files are read again and again (`files`). Each destination has a desk of its own, which competes
//! for the lead there (`lead`), asks the plan what is due, starts it and sleeps (`desk`): no destination
//! waits for another, no job for another. How a job is loaded is the caller's.

mod desk;
mod files;
mod lead;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::environment::Environment;
use crate::config::job::Job;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::error::Result;
use crate::event::{Event, Events, Scheduling, Summary};
use crate::ledger::Owner;
use crate::plan::{self, Dates, Recorded, Request};
use crate::shutdown::Shutdown;
use desk::Desk;
use files::Files;

/// The time between two looks at the files.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// The pause before another look whether an interval that another process holds is free.
const HELD_ELSEWHERE: Duration = Duration::from_secs(10);

/// A job that is due, to be loaded.
pub struct Start {
    /// The project as it is now.
    pub project: Arc<Project>,
    /// The job.
    pub job: Job,
    /// What is asked of it.
    pub request: Request,
    /// Whether its last start failed, and somebody was told.
    pub again: bool,
}

/// Loads a job; an error is one that kept it from starting, and is told by the schedule.
pub type Load = Box<dyn Fn(Start) -> BoxFuture<'static, Result<Summary>> + Send + Sync>;

/// A schedule that has not started yet.
pub struct Schedule {
    /// What the command line says.
    pub overrides: Overrides,
    /// The process's environment.
    pub env: Environment,
    /// Jobs by name; all without.
    pub names: Vec<String>,
    /// Who runs.
    pub owner: Owner,
    /// Who listens.
    pub events: Events,
    /// Who may stop it.
    pub shutdown: Shutdown,
    /// How a job is loaded.
    pub load: Load,
}

impl Schedule {
    /// Loads what is due until it is asked to stop; then waits for what is at work to end cleanly.
    ///
    /// # Errors
    /// Only at the start: the project, or all of its jobs, cannot be read.
    pub async fn run(self) -> Result<()> {
        let (mut files, said) = Files::read(&self.overrides, &self.env, &self.names)?;
        let schedule = Arc::new(self);
        schedule.say_all(said);
        let (jobs, watched) = watch::channel(files.jobs());
        let mut desks = JoinSet::new();
        let mut known = HashSet::new();
        let mut shutdown = schedule.shutdown.clone();
        loop {
            for destination in files.jobs().destinations() {
                if known.insert(destination.clone()) {
                    desks.spawn(Desk::new(schedule.clone(), destination, watched.clone()).work());
                }
            }
            tokio::select! {
                () = shutdown.requested() => break,
                () = tokio::time::sleep(FILES_EVERY) => {}
            }
            if let Some(said) = files.look() {
                schedule.say_all(said);
                jobs.send_replace(files.jobs());
            }
        }
        desks.join_all().await;
        Ok(())
    }

    fn say_all(&self, said: Vec<Scheduling>) {
        said.into_iter().for_each(|said| self.say(said));
    }

    fn say(&self, said: Scheduling) {
        self.events.send(Event::Scheduling(said));
    }
}

/// What a schedule asks of a job: what is due.
fn request(job: &Job) -> Request {
    Request::of(job, Dates::Due)
}

/// When a job has something to load that nobody else is loading: now, later, or never.
fn due(job: &Job, recorded: &[Recorded], now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let plan = plan::plan(job, &request(job), recorded, now)?;
    let again = plan.to_load().next().is_some().then(|| now + HELD_ELSEWHERE);
    Ok(plan::next_due(job, recorded, now).into_iter().chain(again).min())
}
