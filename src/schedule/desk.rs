//! The jobs of one destination: what is due is started, what is at work is left alone, and then it sleeps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::files::Jobs;
use super::lead::{ANSWER, Lead, Standing, no_answer, pause};
use super::{HELD_ELSEWHERE, Schedule, Start, due, request};
use crate::config::job::Job;
use crate::engine::recorded;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Failure, Scheduling, Summary};
use crate::ledger::Ledger;
use crate::postgres::connect::Session;

/// The longest sleep: marks, other runs and a clock that was set are seen then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The shortest sleep, so that what is due at once and cannot start does not spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);

/// Jobs at work at once in one destination.
const JOBS_AT_ONCE: usize = 16;

/// The desk of one destination.
pub(super) struct Desk {
    schedule: Arc<Schedule>,
    destination: String,
    jobs: watch::Receiver<Arc<Jobs>>,
    /// The jobs of the last round.
    known: Option<Arc<Jobs>>,
    lead: Lead,
    at_work: JoinSet<Result<Summary>>,
    working: HashMap<Id, Job>,
    troubles: HashMap<String, Trouble>,
    /// The moment that was announced last.
    announced: Option<(String, DateTime<Utc>)>,
}

/// A job whose last run failed.
#[derive(Default)]
struct Trouble {
    until: Option<Instant>,
    /// Failed runs in a row.
    failures: u32,
    /// Why it did not start, as it was said.
    said: Option<String>,
}

/// A job and the moment when it has something to load.
type Moment<'a> = (&'a Job, DateTime<Utc>);

impl Desk {
    pub(super) fn new(
        schedule: Arc<Schedule>,
        destination: String,
        jobs: watch::Receiver<Arc<Jobs>>,
    ) -> Self {
        Self {
            lead: Lead::new(destination.clone()),
            schedule,
            destination,
            jobs,
            known: None,
            at_work: JoinSet::new(),
            working: HashMap::new(),
            troubles: HashMap::new(),
            announced: None,
        }
    }

    /// Works until a stop is asked for, and until then what is at work has ended.
    pub(super) async fn work(mut self) {
        let mut shutdown = self.schedule.shutdown.clone();
        while !shutdown.is_requested() {
            let wake = tokio::select! {
                wake = self.round() => wake,
                () = shutdown.requested() => break,
            };
            tokio::select! {
                () = shutdown.requested() => break,
                () = tokio::time::sleep_until(wake) => {}
                Some(ended) = self.at_work.join_next_with_id() => self.settle(ended),
                _ = self.jobs.changed() => {}
            }
        }
        while let Some(ended) = self.at_work.join_next_with_id().await {
            self.settle(ended);
        }
        self.lead.leave().await;
    }

    /// The jobs as they are now. Whoever changed a file waits for what comes of it; after a change of the
    /// project's, connections may be others.
    async fn current_jobs(&mut self) -> Arc<Jobs> {
        let jobs = self.jobs.borrow_and_update().clone();
        if let Some(known) = self.known.take().filter(|known| !Arc::ptr_eq(known, &jobs)) {
            self.troubles.clear();
            self.announced = None;
            if !Arc::ptr_eq(&known.project, &jobs.project) {
                self.lead.leave().await;
            }
        }
        self.known = Some(jobs.clone());
        jobs
    }

    /// Starts what is due; says when to wake.
    async fn round(&mut self) -> Instant {
        let jobs = self.current_jobs().await;
        let mine: Vec<_> = jobs.jobs.iter().filter(|job| job.destination == self.destination).collect();
        if mine.is_empty() {
            self.lead.leave().await;
            return Instant::now() + LONGEST_SLEEP;
        }
        let session = match self.lead.hold(&self.schedule, &jobs.project).await {
            Standing::Leading(session) => session,
            Standing::Not(until) => return until,
        };
        let busy: HashSet<_> = self.working.values().map(|job| job.name.clone()).collect();
        let idle = mine.into_iter().filter(|job| !busy.contains(&job.name)).collect();
        let looked = timeout(ANSWER, moments(session, jobs.project.ledger_schema(), idle)).await;
        match looked.unwrap_or_else(|_| Err(no_answer(&self.destination))) {
            Ok(moments) => self.start_due(&jobs, moments),
            Err(error) => self.lead.lost(&self.schedule, &error),
        }
    }

    fn start_due(&mut self, jobs: &Jobs, moments: Vec<Result<Moment<'_>, (&Job, Error)>>) -> Instant {
        let (clock, now) = (Instant::now(), Utc::now());
        let mut wake = clock + LONGEST_SLEEP;
        let mut next: Option<Moment<'_>> = None;
        for moment in moments {
            let (job, at) = match moment {
                Ok(moment) => moment,
                Err((job, error)) => {
                    self.not_started(job, &error);
                    continue;
                }
            };
            let paused = self.troubles.get(&job.name).and_then(|trouble| trouble.until);
            let paused = paused.filter(|until| *until > clock);
            match paused {
                _ if at > now => {
                    wake = wake.min(clock + (at - now).to_std().unwrap_or_default());
                    next = next.filter(|(_, first)| *first <= at).or(Some((job, at)));
                }
                Some(until) => wake = wake.min(until),
                None if self.working.len() < JOBS_AT_ONCE => self.start(jobs, job),
                None => {}
            }
        }
        self.announce(next);
        wake.max(clock + SHORTEST_SLEEP)
    }

    fn start(&mut self, jobs: &Jobs, job: &Job) {
        let again = self.troubles.get(&job.name).is_some_and(|trouble| trouble.said.is_some());
        let (project, request) = (jobs.project.clone(), request(job));
        let load = (self.schedule.load)(Start { project, job: job.clone(), request, again });
        let task = self.at_work.spawn(load);
        self.working.insert(task.id(), job.clone());
    }

    /// Says what is next, once, when nothing is at work.
    fn announce(&mut self, next: Option<Moment<'_>>) {
        let Some((job, at)) = next.filter(|_| self.working.is_empty()) else { return };
        let moment = (job.name.clone(), at);
        if self.announced.as_ref() != Some(&moment) {
            let at = at.with_timezone(&job.timezone);
            self.schedule.say(Scheduling::Waiting { job: job.name.clone(), at });
            self.announced = Some(moment);
        }
    }

    fn settle(&mut self, ended: Result<(Id, Result<Summary>), JoinError>) {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(panic) => (panic.id(), Err(panicked(&panic))),
        };
        let Some(job) = self.working.remove(&id) else { return };
        if result.is_ok() {
            self.announced = None;
        }
        match result {
            Ok(run) if run.failed.is_empty() && run.not_started == 0 => {
                self.troubles.remove(&job.name);
                if run.held > 0 && run.loaded == 0 {
                    let until = Some(Instant::now() + HELD_ELSEWHERE);
                    self.troubles.insert(job.name, Trouble { until, ..Trouble::default() });
                }
            }
            Ok(_) => {
                let trouble = self.troubles.entry(job.name.clone()).or_default();
                trouble.until = Some(Instant::now() + after_failure(&job, trouble.failures));
                trouble.failures = trouble.failures.saturating_add(1);
                trouble.said = None;
            }
            Err(error) => self.not_started(&job, &error),
        }
    }

    /// Says once why a job did not start, and lets it wait.
    fn not_started(&mut self, job: &Job, error: &Error) {
        let trouble = self.troubles.entry(job.name.clone()).or_default();
        let passes = error.is_retryable() || error.kind() == ErrorKind::Locked;
        let wait = if passes { pause(trouble.failures) } else { LONGEST_SLEEP };
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.until = Some(Instant::now() + wait);
        let what = error.chain();
        if error.kind() != ErrorKind::Interrupted && trouble.said.as_ref() != Some(&what) {
            let failure = Failure::of(error, 0, Utc::now());
            self.schedule.say(Scheduling::NotStarted { job: job.name.clone(), failure, wait });
        }
        trouble.said = Some(what);
    }
}

/// Asks the plan about each job.
async fn moments<'a>(
    session: &Session,
    schema: &str,
    jobs: Vec<&'a Job>,
) -> Result<Vec<Result<Moment<'a>, (&'a Job, Error)>>> {
    let ledger = Ledger::open_existing(session, schema).await?;
    let mut moments = Vec::new();
    for job in jobs {
        let recorded = match &ledger {
            Some(ledger) => recorded(ledger, session, job).await?,
            None => Vec::new(),
        };
        match due(job, &recorded, Utc::now()) {
            Ok(Some(at)) => moments.push(Ok((job, at))),
            Ok(None) => {}
            Err(error) => moments.push(Err((job, error))),
        }
    }
    Ok(moments)
}

/// The pause after a run in which something failed, as the job's keys say.
fn after_failure(job: &Job, failures: u32) -> Duration {
    let longer = if job.retry_exponential_backoff { 1_u32 << failures.min(16) } else { 1 };
    job.retry_delay.saturating_mul(longer).min(job.max_retry_delay)
}

fn panicked(error: &JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the run ended by itself: {error}"))
        .with_hint("this is a defect of pgtide; its transactions were rolled back")
}
