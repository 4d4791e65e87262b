//! The story: plan, intervals in parallel, views, outcome.
//!
//! An interval runs in a task of its own with the sessions of a slot; a slot that is free takes the
//! next interval at once. A task's panic is its interval's error. The engine says what happens
//! through events and knows nothing of terminals.

mod after;
mod attempt;
mod backfill;
mod budget;
mod commands;
mod complete;
mod ground;
mod halt;
mod history;
mod limits;
mod others;
mod outset;
mod pace;
mod refresh;
mod rename;
mod resolve;
mod slot;
mod transfer;
mod watch;
mod window;

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use crate::config::connection::ConnectionSpec;
use crate::config::job::{Job, LoadMode};
use crate::config::views::ViewRules;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, Halt, Summary};
use crate::interval::DataInterval;
use crate::ledger::{Backfill, Ledger, Owner};
use crate::plan::{self, Action, Plan, Planned, Request};
use crate::postgres::connect::{Session, Side};
use crate::shutdown::Shutdown;

pub use backfill::BackfillWish;
pub use budget::Budget;
pub use commands::Commands;
pub use ground::{Ground, Held, Look};
use halt::{Applicant, Halting};
use history::History;
pub use history::recorded;
use limits::Limits;
use pace::Pace;
pub use pace::Rate;
pub use resolve::Resolved;
use slot::Slot;
use window::{Window, Work};

/// How a run goes about it, beyond what the job says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Intervals at once in this process; the job's `max_active_runs` holds all the same.
    pub parallel: Option<usize>,
    /// Intervals at once over all jobs and machines.
    pub parallelism: Option<usize>,
    /// The slots of the job's pool.
    pub pool_slots: Option<usize>,
    /// When to start nothing more.
    pub stop_at: Option<DateTime<Utc>>,
    /// The most that is read in a second.
    pub max_rate: Option<Rate>,
    /// The backfill to work on.
    pub backfill: Option<BackfillWish>,
    /// Whether to end a live run that holds an interval.
    pub take_over: bool,
    /// Whether an interval that a live run holds is left alone, to be looked at again by who comes back.
    pub leave_held: bool,
    /// Whether to load an `append` interval again.
    pub force: bool,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
    /// Whether the table must be empty, whoever loaded what is in it.
    pub must_be_empty: bool,
    /// Whether error messages may hold values of rows.
    pub show_values: bool,
    /// Whether views are refreshed by [`refresh_after`](Engine::refresh_after), when all jobs of a command
    /// have ended.
    pub views_later: bool,
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
        let job = &job.at(now);
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
        let plan = plan::plan(job, request, history.recorded(), now)?;
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
        let job = &Arc::new(job.at(now));
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
        self.answered(job, self.open_first(slot, job)).await?;
        for message in slot.warnings() {
            self.events.send(Event::Notice { message });
        }
        let ledger = Ledger::open_existing(slot.control()?, &self.ledger_schema);
        let ledger = self.answered(job, ledger).await?;
        self.answered(job, self.rename(ledger.as_ref(), slot, job)).await?;
        let found = self.find_backfill(ledger.as_ref(), slot.control()?, job, request);
        let backfill = self.answered(job, found).await?;
        let request = backfill.as_ref().map_or_else(|| request.clone(), |b| backfill::request_of(b, request));
        let history = self.answered(job, History::read(ledger.as_ref(), slot.control()?, job)).await?;
        let mut plan = plan::plan(job, &request, history.recorded(), now)?;
        if let Some(backfill) = &backfill {
            backfill::narrow(backfill, &mut plan, &history)?;
        }
        self.refuse_adding_twice(job, &request, (&plan, &history))?;
        let found = Found { job: job.clone(), request, ledger, history, backfill, plan, now };
        let mut summary = Summary { job: job.name.clone(), ..Summary::default() };
        let refreshed = Box::pin(self.load(slot, found, &mut summary)).await?;
        // As they are read, not as they happened to end.
        summary.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        summary.elapsed = started.elapsed();
        summary.interrupted = self.shutdown.is_requested();
        // What is loaded is said also when a refresh failed after it.
        self.events.send(Event::RunFinished(summary.clone()));
        refreshed.map(|()| summary)
    }

    /// Loads what the plan says; an error is one from before the first interval, but for the inner one,
    /// of the views that were to be refreshed after the last.
    async fn load(
        self: &Arc<Self>,
        slot: &mut Slot,
        found: Found,
        summary: &mut Summary,
    ) -> Result<Result<()>> {
        let Found { job, request, ledger, history, mut backfill, plan, now } = found;
        let budget = self.budget(&job, &plan);
        let load: Vec<_> = plan.to_load().cloned().collect();
        // A new backfill has no name yet.
        let is_new = self.options.backfill.is_some() && backfill.is_none() && !load.is_empty();
        if !is_new {
            self.announce(&job, &plan, &budget, (backfill.as_ref(), summary));
        }
        let Some(first) = load.first() else {
            if let (Some(ledger), Some(backfill)) = (&ledger, &backfill) {
                let end = self.end_backfill(ledger, slot.control()?, (backfill, summary));
                self.answered(&job, end).await?;
            }
            summary.retry_command = Commands::new(&job).retry(summary, &request);
            return Ok(Box::pin(self.make_up(&job, ledger.as_ref(), slot)).await);
        };
        let limits = Limits::of(self, &job, &budget);
        let halting = Halting::at(self.options.stop_at);
        if let Some(ledger) = ledger.as_ref().filter(|_| slot.source.is_none()) {
            let (engine, backfill) = (self.as_ref(), backfill.as_ref());
            let run = Applicant { engine, job: &job, ledger, halting: &halting, backfill, has_begun: false };
            if let Some(halt) = admit_first(&limits, run, slot).await? {
                summary.not_started = load.len();
                summary.halted = Some(halt);
                summary.retry_command = match backfill {
                    Some(_) if halt == Halt::Cancelled => None,
                    Some(backfill) => Some(backfill::resume_command(backfill)),
                    None => Commands::new(&job).retry(summary, &request),
                };
                return Ok(Ok(()));
            }
        }
        // Nothing is made, not even the ledger, before everything was found to fit.
        let prepared = Box::pin(self.answered(&job, self.prepare(slot, &job, ledger, &first.interval))).await;
        let keys: Vec<_> = load.iter().map(|p| p.key.as_str()).collect();
        let (ledger, resolved) =
            prepared.map_err(|error| Commands::new(&job).not_loaded(error, &keys, &request))?;
        if is_new {
            let made = self.make_backfill(&ledger, slot.control()?, (&job, &request, &plan));
            backfill = self.answered(&job, made).await?;
            self.announce(&job, &plan, &budget, (backfill.as_ref(), summary));
        }
        for notice in resolved.notices() {
            self.events.send(Event::Notice { message: notice });
        }
        let pace = self.options.max_rate.map(Pace::new);
        let table_oid = resolved.table_oid();
        let engine = self.clone();
        let work = Arc::new(Work {
            engine,
            job,
            ledger,
            history,
            resolved,
            request,
            budget,
            limits,
            halting,
            backfill,
            pace,
            now,
        });
        let first = std::mem::replace(slot, Slot::new());
        *slot = Window::new(work.clone(), load, first, summary).run().await;
        after::tidy_run(&work, slot).await;
        self.conclude(&work, slot, summary).await;
        let refresh = Box::pin(self.refresh_views(&work.job, table_oid, slot, summary));
        Ok(self.unless_stopped(refresh).await)
    }

    /// Writes the command for the rest; says in the ledger that a backfill is done.
    async fn conclude(self: &Arc<Self>, work: &Work, slot: &mut Slot, summary: &mut Summary) {
        let Work { job, ledger, request, backfill, .. } = work;
        // As they are read, not as they happened to end.
        summary.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let Some(backfill) = backfill else {
            summary.retry_command = Commands::new(job).retry(summary, request);
            return;
        };
        let is_open = !summary.failed.is_empty() || summary.not_started > 0;
        let can_go_on = is_open && summary.halted != Some(Halt::Cancelled);
        summary.retry_command = can_go_on.then(|| backfill::resume_command(backfill));
        let end = async {
            slot.open_control(self, job).await?;
            self.end_backfill(ledger, slot.control()?, (backfill, summary)).await
        };
        // All of it is loaded: the next process that looks records it.
        if let Err(error) = self.answered(job, end).await {
            tracing::debug!("the end of {} was not recorded: {}", backfill.label(), error.chain());
            slot.discard().await;
        }
    }

    /// Opens both ends at once, or the destination alone where connections to the source are counted. A
    /// source that cannot be opened is of no concern if nothing is due; else it is found again.
    async fn open_first(&self, slot: &mut Slot, job: &Job) -> Result<()> {
        match self.source.max_connections {
            Some(_) => slot.open_control(self, job).await,
            None => match slot.open(self, job, 0).await {
                Err(error) if slot.is_open() && error.is_retryable() => Ok(()),
                opened => opened,
            },
        }
    }

    /// Looks at both databases, then makes what is missing: the ledger first, then the table.
    async fn prepare(
        &self,
        slot: &mut Slot,
        job: &Job,
        ledger: Option<Ledger>,
        sample: &DataInterval,
    ) -> Result<(Ledger, Resolved)> {
        let schema = &self.ledger_schema;
        slot.open(self, job, 0).await?;
        let resolved = resolve::resolve(slot, job, sample, schema).await?;
        let ledger = match ledger {
            Some(ledger) => ledger,
            None => Ledger::open(slot.control()?, schema).await?,
        };
        let resolved = resolved.completed(slot, job, sample, &ledger).await?;
        Ok((ledger, resolved))
    }

    /// `append` removes nothing, so what it loads again is there twice.
    fn refuse_adding_twice(
        &self,
        job: &Job,
        request: &Request,
        (plan, history): (&Plan, &History),
    ) -> Result<()> {
        let asked = request.reload || request.stale;
        // What is not in the job's table may be in the one that took its place.
        let is_elsewhere = |p: &Planned| history.loss(&p.interval).is_some_and(|loss| loss.may_hold_rows());
        let again = plan.to_load().find(|p| p.action == Action::Reload || is_elsewhere(p));
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
        let pool = self.options.pool_slots.map(|slots| (slots / job.pool_slots.max(1)).max(1));
        let limits = [
            self.options.parallel,
            pool,
            self.options.parallelism,
            job.calendar.map(|_| job.max_active_runs),
        ];
        let wanted = limits.into_iter().flatten().min().unwrap_or(job.max_active_runs);
        // Each interval waits for the one before.
        let wanted = if job.depends_on_past { 1 } else { wanted };
        Budget::new(job, intervals, wanted, self.source.max_connections, self.destination.max_connections)
    }
}

/// Waits for the connections of the first interval, which the look at the source needs already; gives
/// the reason if nothing is to be started any more.
async fn admit_first(limits: &Limits, run: Applicant<'_>, slot: &mut Slot) -> Result<Option<Halt>> {
    match Box::pin(limits.admit(run, slot)).await {
        Ok(()) => Ok(None),
        Err(error) => match run.halting.reason() {
            Some(halt) if error.kind() == ErrorKind::Interrupted => Ok(Some(halt)),
            _ => Err(error),
        },
    }
}

/// What a run found before it starts.
struct Found {
    job: Arc<Job>,
    request: Request,
    ledger: Option<Ledger>,
    history: History,
    backfill: Option<Backfill>,
    plan: Plan,
    now: DateTime<Utc>,
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped by a signal")
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
