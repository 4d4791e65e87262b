//! The story: plan, intervals in parallel, views, outcome.
//!
//! An interval runs in a task of its own with the sessions of a slot; a slot that is free takes the
//! next interval at once. A task's panic is its interval's error. The engine says what happens
//! through events and knows nothing of terminals.

mod after;
mod attempt;
mod budget;
mod commands;
mod history;
mod refresh;
mod resolve;
mod slot;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::task::{Id, JoinSet};

use crate::config::connection::ConnectionSpec;
use crate::config::job::{Job, LoadMode};
use crate::config::views::ViewRules;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, Failure, IntervalId, RunStarted, Summary};
use crate::interval::DataInterval;
use crate::ledger::{Ledger, Owner};
use crate::name::TableName;
use crate::plan::{self, Action, Plan, Planned, Request};
use crate::postgres::connect::{Session, Side};
use crate::shutdown::Shutdown;

use attempt::{Failed, Outcome};
pub use budget::Budget;
pub use commands::Commands;
use history::History;
pub use resolve::Resolved;
use slot::Slot;

/// How a run goes about it, beyond what the job says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Intervals at once in this process, if not the job's `max_active_runs`.
    pub parallel: Option<usize>,
    /// Whether to end a live run that holds an interval.
    pub take_over: bool,
    /// Whether to load an `append` interval again.
    pub force: bool,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
    /// Whether the table must be empty, whoever loaded what is in it.
    pub must_be_empty: bool,
    /// Whether error messages may hold values of rows.
    pub show_values: bool,
    /// Tables of jobs that the same command runs after this one and that refresh what reads theirs: a
    /// view over both is left to the last.
    pub later: Vec<TableName>,
}

/// Two databases, a ledger, and somebody who listens.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The source.
    pub source: ConnectionSpec,
    /// The destination.
    pub destination: ConnectionSpec,
    /// The schema of the ledger.
    pub ledger_schema: String,
    /// Who runs.
    pub owner: Owner,
    /// Who listens.
    pub events: Events,
    /// Who may stop it.
    pub shutdown: Shutdown,
    /// How.
    pub options: Options,
    /// What is asked of materialized views.
    pub view_rules: ViewRules,
}

/// A job that was looked at: what would run, in which way, over which connections.
#[derive(Debug)]
pub struct Outlook {
    /// The intervals and why.
    pub plan: Plan,
    /// Tables, columns and SQL, for the interval beside it; none if there is no interval.
    pub resolved: Option<(DataInterval, Resolved)>,
    /// Tables that each interval reads whole.
    pub scans: Vec<String>,
    /// The connections.
    pub budget: Budget,
}

impl Engine {
    /// Looks at a job without changing anything.
    ///
    /// # Errors
    /// Whatever would stop the run before its first row.
    pub async fn look(&self, job: &Job, request: &Request, now: DateTime<Utc>) -> Result<Outlook> {
        let mut slot = Slot::new();
        let looked = self.answered(job, Box::pin(self.look_in(&mut slot, job, request, now))).await;
        if looked.is_err() {
            slot.discard().await;
        }
        looked
    }

    async fn look_in(
        &self,
        slot: &mut Slot,
        job: &Job,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<Outlook> {
        slot.open(self, job, 0).await?;
        let ledger = Ledger::find(slot.control()?, &self.ledger_schema).await?;
        let history = History::read(ledger.as_ref(), slot.control()?, job).await?;
        let plan = plan::plan(job, request, &history.recorded(), now)?;
        let first = plan.intervals.iter().find(|p| p.action.loads()).or(plan.intervals.last());
        let mut scans = Vec::new();
        let resolved = match first {
            Some(first) => {
                let resolving = resolve::resolve(slot, job, &first.interval, &self.ledger_schema);
                let resolved = Box::pin(resolving).await?;
                scans = resolved.scans(slot.source()?, job, &first.interval).await?;
                Some((first.interval, resolved))
            }
            None => None,
        };
        let budget = self.budget(job, &plan);
        Ok(Outlook { plan, resolved, scans, budget })
    }

    /// Loads what the request asks for.
    ///
    /// # Errors
    /// Whatever stops the run before its first interval; what goes wrong in an interval is in the
    /// summary.
    pub async fn run(
        self: &Arc<Self>,
        job: &Arc<Job>,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<Summary> {
        let mut slot = Slot::new();
        let result = Box::pin(self.run_in(&mut slot, job, request, now)).await;
        if let Err(error) = &result
            && matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Connection)
        {
            slot.discard().await;
        }
        result
    }

    /// Runs with a slot that is left as it is, whatever its sessions are doing, when something fails.
    async fn run_in(
        self: &Arc<Self>,
        slot: &mut Slot,
        job: &Arc<Job>,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<Summary> {
        let started = Instant::now();
        self.answered(job, slot.open(self, job, 0)).await?;
        for message in slot.warnings() {
            self.events.send(Event::Notice { message });
        }
        let ledger = Ledger::open_existing(slot.control()?, &self.ledger_schema);
        let ledger = self.answered(job, ledger).await?;
        let history = self.answered(job, History::read(ledger.as_ref(), slot.control()?, job)).await?;
        let plan = plan::plan(job, request, &history.recorded(), now)?;
        self.refuse_adding_twice(job, request, &plan)?;
        let budget = self.budget(job, &plan);
        self.announce(job, &plan, &budget);
        let mut summary = Summary { job: job.name.clone(), ..Summary::default() };
        let mut refreshed = Ok(());
        let (load, rest): (Vec<_>, Vec<_>) = plan.intervals.into_iter().partition(|p| p.action.loads());
        for planned in rest {
            self.leave_alone(job, &planned, &mut summary);
        }
        if let Some(first) = load.first() {
            // Nothing is made, not even the ledger, before everything was found to fit.
            let prepared =
                Box::pin(self.answered(job, self.prepare(slot, job, ledger.clone(), &first.interval))).await;
            let keys: Vec<_> = load.iter().map(|p| p.key.as_str()).collect();
            let (ledger, resolved) =
                prepared.map_err(|error| Commands::new(job).not_loaded(error, &keys, request))?;
            for notice in resolved.notices() {
                self.events.send(Event::Notice { message: notice });
            }
            let work = Work {
                engine: self.clone(),
                job: job.clone(),
                ledger,
                history,
                resolved,
                request: request.clone(),
                budget,
            };
            let table_oid = work.resolved.table_oid();
            let first = std::mem::replace(slot, Slot::new());
            *slot = self.load(Arc::new(work), load, first, &mut summary).await;
            refreshed =
                Box::pin(self.unless_stopped(self.refresh_views(job, table_oid, slot, &summary))).await;
        } else if let (Some(ledger), Some(table_oid)) = (&ledger, history.table_oid()) {
            // A refresh that failed after an earlier load is made up for.
            let refresh = self.refresh_left(job, ledger, table_oid, slot);
            refreshed = Box::pin(self.unless_stopped(refresh)).await;
        }
        // As they are read, not as they happened to end.
        summary.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        summary.elapsed = started.elapsed();
        summary.interrupted = self.shutdown.is_requested();
        summary.retry_command = Commands::new(job).retry(&summary, request);
        // What is loaded is said also when a refresh failed after it.
        self.events.send(Event::RunFinished(summary.clone()));
        refreshed.map(|()| summary)
    }

    /// Looks at both databases, then makes what is missing: the ledger first, then the table.
    async fn prepare(
        &self,
        slot: &Slot,
        job: &Job,
        ledger: Option<Ledger>,
        sample: &DataInterval,
    ) -> Result<(Ledger, Resolved)> {
        let schema = &self.ledger_schema;
        let resolved = resolve::resolve(slot, job, sample, schema).await?;
        let ledger = match ledger {
            Some(ledger) => ledger,
            None => Ledger::open(slot.control()?, schema).await?,
        };
        Ok((ledger, resolved.completed(slot, job, sample, schema).await?))
    }

    /// `append` removes nothing, so what it loads again is there twice.
    fn refuse_adding_twice(&self, job: &Job, request: &Request, plan: &Plan) -> Result<()> {
        let asked = request.reload || request.stale;
        let again = plan.intervals.iter().find(|p| p.action == Action::Reload);
        match again {
            Some(again) if job.mode == LoadMode::Append && asked && !self.options.force => {
                let context =
                    format!("{} {} is loaded, and append would add its rows again", job.name, again.key);
                Err(Error::new(ErrorKind::Preflight, context)
                    .with_hint("mode delete-insert or merge can reload; --force adds the rows all the same"))
            }
            _ => Ok(()),
        }
    }

    /// Waits for servers, not longer than the job allows, and not when the run is to stop. The sessions
    /// that were waiting are of no use afterwards.
    async fn answered<T>(&self, job: &Job, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            result = self.unless_stopped(work) => result,
            () = tokio::time::sleep(job.progress_timeout) => Err(watch::no_answer(job.progress_timeout)),
        }
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            result = work => result,
            () = shutdown.requested() => Err(stopped()),
        }
    }

    fn budget(&self, job: &Job, plan: &Plan) -> Budget {
        let intervals = plan.intervals.iter().filter(|p| p.action.loads()).count();
        let wanted = self.options.parallel.unwrap_or(job.max_active_runs);
        Budget::new(job, intervals, wanted, self.source.max_connections, self.destination.max_connections)
    }

    fn announce(&self, job: &Job, plan: &Plan, budget: &Budget) {
        let intervals = plan.intervals.iter().filter(|p| p.action.loads()).count();
        self.events.send(Event::RunStarted(RunStarted {
            run_id: self.owner.run_id.clone(),
            job: job.name.clone(),
            source: self.source.name.clone(),
            destination: self.destination.name.clone(),
            into: job.into.to_string(),
            timezone: job.calendar.map(|c| c.timezone.name().to_owned()),
            intervals,
            skipped: plan.intervals.len() - intervals,
            parallel: budget.parallel,
            source_connections: (budget.source, self.source.max_connections),
            destination_connections: (budget.destination, self.destination.max_connections),
        }));
    }

    /// An interval that is not complete, or failed too often, is not loaded: no success.
    fn leave_alone(&self, job: &Job, planned: &Planned, summary: &mut Summary) {
        let id = IntervalId { job: job.name.clone(), key: planned.key.clone() };
        let kind = match planned.action {
            Action::Wait { .. } => Some(ErrorKind::NotComplete),
            Action::Exhausted => Some(ErrorKind::Server),
            Action::Load | Action::Reload | Action::Skip => None,
        };
        if let Some(kind) = kind {
            let error = Error::new(kind, planned.reason.clone());
            let failure = Failure::of(&error, 0, Utc::now());
            summary.failed.push((planned.key.clone(), failure.clone()));
            self.events.send(Event::IntervalFailed { id, failure });
            return;
        }
        summary.skipped += 1;
        self.events.send(Event::IntervalSkipped { id, reason: planned.reason.clone() });
    }

    /// Runs the intervals, so many at once; returns a slot whose sessions are still good.
    async fn load(&self, work: Arc<Work>, load: Vec<Planned>, first: Slot, summary: &mut Summary) -> Slot {
        let mut waiting = VecDeque::from(load);
        let mut free: Vec<Slot> =
            std::iter::repeat_with(Slot::new).take(work.budget.parallel.saturating_sub(1)).collect();
        free.push(first);
        let mut tasks = JoinSet::new();
        let mut running: HashMap<Id, IntervalId> = HashMap::new();
        let mut stop = false;
        loop {
            stop |= self.shutdown.is_requested();
            while !stop && !waiting.is_empty() {
                let Some(slot) = free.pop() else { break };
                let Some(planned) = waiting.pop_front() else { break };
                let id = work.id(&planned);
                let task = tasks.spawn(attempt::interval(work.clone(), slot, planned));
                running.insert(task.id(), id);
            }
            let (id, slot, outcome) = match tasks.join_next_with_id().await {
                None => break,
                Some(Ok((task, (slot, outcome)))) => (running.remove(&task), slot, outcome),
                Some(Err(panic)) => {
                    let failed = Failed { error: worker_panicked(&panic), attempt: 1 };
                    (running.remove(&panic.id()), Slot::new(), Err(failed))
                }
            };
            free.push(slot);
            let Some(id) = id else { continue };
            stop |= self.settle(&id, outcome, summary);
        }
        summary.not_started += waiting.len();
        free.into_iter().find(Slot::is_open).unwrap_or_else(Slot::new)
    }

    /// Records how an interval ended; returns whether the run should stop.
    fn settle(&self, id: &IntervalId, outcome: Result<Outcome, Failed>, summary: &mut Summary) -> bool {
        let id = id.clone();
        match outcome {
            Ok(Outcome::Loaded(loaded)) => {
                summary.loaded += 1;
                summary.rows += loaded.rows;
                summary.bytes += loaded.bytes;
                self.events.send(Event::IntervalLoaded { id, loaded });
                false
            }
            Ok(Outcome::LeftAlone(reason)) => {
                summary.skipped += 1;
                self.events.send(Event::IntervalSkipped { id, reason: reason.to_owned() });
                false
            }
            Err(Failed { error, .. }) if error.kind() == ErrorKind::Interrupted => {
                summary.not_started += 1;
                self.events.send(Event::IntervalStopped { id });
                true
            }
            Err(Failed { error, attempt }) => {
                let failure = Failure::of(&error, attempt, Utc::now());
                summary.failed.push((id.key.clone(), failure.clone()));
                self.events.send(Event::IntervalFailed { id, failure });
                self.options.fail_fast || matches!(error.kind(), ErrorKind::Resources | ErrorKind::Connection)
            }
        }
    }
}

/// What every interval of a run shares.
pub(crate) struct Work {
    engine: Arc<Engine>,
    job: Arc<Job>,
    ledger: Ledger,
    history: History,
    resolved: Resolved,
    request: Request,
    budget: Budget,
}

impl Work {
    fn id(&self, planned: &Planned) -> IntervalId {
        IntervalId { job: self.job.name.clone(), key: planned.key.clone() }
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped by a signal")
}

fn worker_panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the interval's task ended by itself: {error}"))
        .with_hint("this is a defect of pgtide; its transactions were rolled back, run it again")
}

/// Opens a session of a side with the name that a DBA sees in `pg_stat_activity`.
async fn open_session(engine: &Engine, side: Side, job: &Job) -> Result<Session> {
    let spec = match side {
        Side::Source => &engine.source,
        Side::Destination => &engine.destination,
    };
    let name: String = format!("pgtide/{}", job.name).chars().take(60).collect();
    Ok(Session::open(spec, side, &name).await?.with_values_shown(engine.options.show_values))
}
