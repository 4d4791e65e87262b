//! One interval: claim, read and write at once, finish; and again after a failure that may pass.
//!
//! A lost connection ends the attempt: inner commits are asynchronous, so batches that the server
//! acknowledged before it restarted may be gone. The next attempt reads the ledger anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::Utc;
use futures::future::try_join_all;

use super::after;
use super::slot::Slot;
use super::watch::{Pulse, Stage, any_works, stalled};
use super::{Commands, Work, stopped};
use crate::chunk;
use crate::config::job::{CommitPolicy, EmptyWith, Job, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Failure, IntervalId, Loaded, Phase};
use crate::extract::{Extracted, extract};
use crate::interval::DataInterval;
use crate::ledger::{Claim, ClaimOutcome, ClaimRequest, Holder, TableRef};
use crate::load::{self, Finished, Load, Read, Rules, Shared, Target, Written};
use crate::plan::{Action, Planned};
use crate::postgres::connect::{Session, Side};
use crate::postgres::row_tap::TapHandle;

/// Chunks that wait per writer: enough to bridge a commit, small enough to bound memory.
const QUEUED_CHUNKS_PER_WRITER: usize = 8;

/// How an interval ended well.
pub(super) enum Outcome {
    /// Its rows are there.
    Loaded(Loaded),
    /// Another run, or a person, was quicker; what they did.
    LeftAlone(&'static str),
}

/// The last error of an interval, and which try it ended.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) attempt: u32,
}

/// Loads one interval with the sessions of a slot, trying again as the job allows.
pub(super) async fn interval(
    work: Arc<Work>,
    mut slot: Slot,
    planned: Planned,
) -> (Slot, Result<Outcome, Failed>) {
    let mut pauses = pauses(&work.job);
    let mut tries = Tries { work: &work, planned: &planned, id: work.id(&planned), number: 0, unknown: None };
    loop {
        tries.number += 1;
        let error = match tries.once(&mut slot).await {
            Ok(outcome) => return (slot, Ok(outcome)),
            Err(error) => error,
        };
        let wait = if error.is_retryable() { pauses.next() } else { None };
        let Some(wait) = wait else {
            return (slot, Err(Failed { error, attempt: tries.number }));
        };
        let failure = Failure::of(&error, tries.number, Utc::now());
        let retries = work.job.retries + 1;
        work.engine.events.send(Event::IntervalRetrying {
            id: tries.id.clone(),
            failure,
            tries: retries,
            wait,
        });
        let mut shutdown = work.engine.shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.requested() => return (slot, Err(Failed { error, attempt: tries.number })),
        }
    }
}

/// The pauses between tries, with jitter.
fn pauses(job: &Job) -> impl Iterator<Item = Duration> + use<> {
    let factor = if job.retry_exponential_backoff { 2.0 } else { 1.0 };
    ExponentialBuilder::default()
        .with_min_delay(job.retry_delay)
        .with_max_delay(job.max_retry_delay.max(job.retry_delay))
        .with_factor(factor)
        .with_max_times(job.retries as usize)
        .with_jitter()
        .build()
}

/// What the watch looks at while an attempt goes on.
#[derive(Debug, Default)]
struct Moving {
    shared: Shared,
    steps: AtomicU64,
    stage: Mutex<Stage>,
}

impl Moving {
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn pulse(&self, tap: &TapHandle) -> Pulse {
        Pulse {
            read: tap.diverted().bytes,
            sent: self.shared.bytes_sent(),
            steps: self.steps.load(Ordering::Relaxed),
            stage: *self.stage.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

struct Tries<'w> {
    work: &'w Work,
    planned: &'w Planned,
    id: IntervalId,
    number: u32,
    /// What a finishing transaction wrote whose COMMIT was not answered.
    unknown: Option<Loaded>,
}

impl Tries<'_> {
    async fn once(&mut self, slot: &mut Slot) -> Result<Outcome> {
        let started = Instant::now();
        let Work { engine, job, budget, .. } = self.work;
        engine.answered(job, slot.open(engine, job, budget.writers)).await?;
        self.phase(Phase::Claiming);
        let claimed = engine.answered(job, Box::pin(self.claim(slot.control()?))).await;
        let claim = match claimed {
            Ok(ClaimOutcome::Claimed(claim)) => claim,
            Ok(ClaimOutcome::MarkedSkipped) => return Ok(Outcome::LeftAlone("marked skipped meanwhile")),
            Ok(ClaimOutcome::AlreadyLoaded) => {
                let meanwhile = Outcome::LeftAlone("loaded meanwhile by another run");
                return Ok(self.unknown.take().map_or(meanwhile, Outcome::Loaded));
            }
            Ok(ClaimOutcome::Held(holder)) if self.is_ours(&holder) => return Err(self.not_gone_yet()),
            Ok(ClaimOutcome::Held(holder)) => return Err(self.held(&holder)),
            Ok(ClaimOutcome::Overlaps { job, key }) => return Err(self.overlaps(&job, &key)),
            Err(error) => {
                slot.discard().await;
                return Err(error);
            }
        };
        if let Some(before) = &claim.moved_from {
            let message = format!(
                "{} of {} was loaded into {} before; its rows there are left alone",
                claim.key, claim.job, before.name
            );
            self.work.engine.events.send(Event::Notice { message });
        }
        self.work.engine.events.send(Event::IntervalStarted {
            id: self.id.clone(),
            interval: self.planned.interval,
            attempt: self.number,
            estimated_rows: self.estimated_rows(),
        });
        match self.guarded(slot, &claim, started).await {
            Ok(loaded) => {
                after::tidy(self.work, slot.control()?, &loaded).await;
                // The rows are there and recorded: what cannot be let go of goes with its session.
                let release = engine.answered(job, self.work.ledger.release(slot.control()?, &claim));
                if release.await.is_err() {
                    slot.discard().await;
                }
                Ok(Outcome::Loaded(loaded))
            }
            Err(error) => {
                self.give_up(slot, &claim, &error).await;
                Err(error)
            }
        }
    }

    /// What the interval had the last time, else what the planner thinks of a whole table.
    fn estimated_rows(&self) -> Option<u64> {
        let Work { history, resolved, job, .. } = self.work;
        history.rows(&self.planned.interval).or_else(|| resolved.estimated_rows(job, &self.planned.interval))
    }

    fn phase(&self, phase: Phase) {
        self.work.engine.events.send(Event::PhaseChanged { id: self.id.clone(), phase });
    }

    async fn claim(&self, control: &Session) -> Result<ClaimOutcome> {
        let Work { job, engine, ledger, resolved, request, .. } = self.work;
        let claim = ClaimRequest {
            job: job.name.clone(),
            table: TableRef { oid: resolved.table_oid(), name: resolved.table_name() },
            scope: job.scope.clone(),
            interval: self.planned.interval,
            key: self.planned.key.clone(),
            timezone: job.calendar.map(|c| c.timezone.name().to_owned()),
            definition_hash: request.definition_hash.clone(),
            owner: engine.owner.clone(),
            seen: self.work.history.seen(&self.planned.interval),
            reload: request.reload || matches!(self.planned.action, Action::Reload),
            stale: request.stale,
            force: engine.options.force,
            take_over: engine.options.take_over,
        };
        ledger.claim(control, &claim).await
    }

    /// The attempt under its deadlines: the stop handle, the job's time limit, no progress.
    async fn guarded(&mut self, slot: &mut Slot, claim: &Claim, started: Instant) -> Result<Loaded> {
        let Work { engine, job, .. } = self.work;
        let moving = Moving::default();
        let tap = slot.source()?.tap().clone();
        let pulse = || moving.pulse(&tap);
        let (source, destination) = slot.backends();
        let is_working = || async {
            any_works(engine, Side::Source, job, &source).await
                || any_works(engine, Side::Destination, job, &destination).await
        };
        let mut shutdown = engine.shutdown.clone();
        let limit = job.execution_timeout;
        let work = self.load(slot, claim, &moving, started);
        tokio::select! {
            biased;
            result = work => result,
            () = shutdown.requested() => Err(stopped()),
            error = stalled(job.progress_timeout, pulse, is_working) => Err(error),
            () = async { tokio::time::sleep(limit.unwrap_or_default()).await }, if limit.is_some() => {
                let context = format!("not done within execution_timeout of {} s", limit.unwrap_or_default().as_secs());
                Err(Error::new(ErrorKind::Contention, context))
            }
        }
    }

    async fn load(
        &mut self,
        slot: &mut Slot,
        claim: &Claim,
        moving: &Moving,
        started: Instant,
    ) -> Result<Loaded> {
        let work = self.work;
        self.phase(Phase::Checking);
        let source = slot.source.as_mut().ok_or_else(closed)?;
        let control = slot.control.as_ref().ok_or_else(closed)?;
        work.resolved.unchanged(control).await?;
        let extraction = work.resolved.extract(source, &work.job, self.planned, claim).await?;
        let target = work.resolved.target(&work.job, &self.planned.interval);
        let rules = self.rules(claim, &target);
        let load = Load {
            ledger: &work.ledger,
            claim,
            target: &target,
            rules: &rules,
            id: self.id.clone(),
            events: &work.engine.events,
        };
        moving.step();
        self.phase(if claim.left_rows > 0 { Phase::Clearing } else { Phase::WaitingForSource });
        load.prepare(control).await?;
        moving.step();
        self.phase(Phase::WaitingForSource);
        let writers = if rules.commit == CommitPolicy::Interval { 1 } else { work.budget.writers };
        let writers = &slot.writers[..writers.min(slot.writers.len())];
        let (sender, chunks) = chunk::channel(QUEUED_CHUNKS_PER_WRITER * writers.len());
        let writing = async {
            let all = writers.iter().map(|session| load.write(session, chunks.clone(), &moving.shared));
            let parts = try_join_all(all).await?;
            let written = parts.iter().fold(Written::default(), |mut sum, part| {
                sum.add(part);
                sum
            });
            Ok::<_, Error>((written, parts.iter().position(|part| part.is_open)))
        };
        let reading = async {
            let extracted = extract(source, &extraction, sender).await?;
            moving.enter(Stage::Finishing);
            Ok(extracted)
        };
        moving.enter(Stage::Copying);
        let (extracted, (written, open)) = futures::try_join!(reading, writing)?;
        self.phase(Phase::Finishing);
        let last = open.map_or(control, |writer| &writers[writer]);
        let read = read_of(&extracted);
        self.unknown = Some(loaded_of(&written, claim, started));
        let finished = load.finish(last, &read, &written).await.inspect_err(|error| {
            // Only a lost connection leaves open what became of the COMMIT.
            if error.kind() != ErrorKind::Connection {
                self.unknown = None;
            }
        })?;
        self.unknown = None;
        Ok(loaded(&finished, claim, started))
    }

    fn rules(&self, claim: &Claim, target: &Target) -> Rules {
        let Work { job, engine, .. } = self.work;
        let commands = Commands::new(job);
        let reload =
            self.work.request.reload || matches!(self.planned.action, Action::Reload) || engine.options.force;
        Rules {
            mode: job.mode,
            commit: commit_policy(job, claim.was_loaded || reload || !target.triggers.is_empty()),
            key: job.key.clone(),
            resume_column: job.resume_key.as_ref().and_then(|k| target.columns.iter().position(|c| c == k)),
            limits: job.limits,
            pre_sql: job.pre_sql.clone(),
            post_sql: job.post_sql.clone(),
            on_empty: job.on_empty,
            max_shrink: job.max_shrink,
            empty_with: if self.work.resolved.is_referenced() { EmptyWith::Delete } else { job.empty_with },
            reload,
            must_be_empty: engine.options.must_be_empty,
            reload_command: commands.reload(&self.planned.key),
            mark_command: commands.mark_loaded(&self.planned.key),
        }
    }

    /// Records the failure where that is still possible, and lets go of everything.
    async fn give_up(&self, slot: &mut Slot, claim: &Claim, error: &Error) {
        slot.discard().await;
        let stopped = error.kind() == ErrorKind::Interrupted;
        let lost = error.kind() == ErrorKind::Fenced;
        if stopped || lost {
            return;
        }
        let Work { engine, job, .. } = self.work;
        if let Err(error) = engine.answered(job, self.record(slot, claim, error)).await {
            tracing::debug!("the failure could not be recorded: {}", error.chain());
            slot.discard().await;
        }
    }

    async fn record(&self, slot: &mut Slot, claim: &Claim, error: &Error) -> Result<()> {
        slot.open(&self.work.engine, &self.work.job, 0).await?;
        let control = slot.control()?;
        self.work.ledger.fail(control, claim, error).await?;
        load::discard_stage(control, &self.work.ledger, claim).await
    }

    /// Whether the holder is an earlier try of this run, whose session the server has not ended yet.
    fn is_ours(&self, holder: &Holder) -> bool {
        holder.run_id.as_ref() == Some(&self.work.engine.owner.run_id)
    }

    fn not_gone_yet(&self) -> Error {
        Error::new(ErrorKind::Contention, "the session of the try before still ends on the server")
    }

    fn held(&self, holder: &Holder) -> Error {
        Error::new(ErrorKind::Locked, format!("already running on {holder}"))
            .with_hint("wait for it, or end it and go on from there with --take-over")
    }

    fn overlaps(&self, job: &str, key: &str) -> Error {
        let table = self.work.resolved.table_name();
        let context = if self.planned.interval == DataInterval::WHOLE {
            format!("job `{job}` has loaded {key} into {table}, which this would replace or add to")
        } else {
            format!("{} overlaps {key} of job `{job}`, which loads {table} too", self.planned.key)
        };
        Error::new(ErrorKind::Preflight, context)
            .with_hint("give each of the two jobs a `scope`, a condition on the rows that it owns")
    }
}

/// A first load commits batches. What must be seen whole before a row of it shows is staged, unless the
/// job wants one transaction: a reload, and what triggers may move out of the interval or drop.
fn commit_policy(job: &Job, is_staged: bool) -> CommitPolicy {
    match (job.mode, job.commit) {
        (_, Some(CommitPolicy::Interval)) => CommitPolicy::Interval,
        (LoadMode::Merge, _) => CommitPolicy::Batch,
        (LoadMode::Append, Some(policy)) => policy,
        (LoadMode::Append, None) if job.resume_key.is_some() => CommitPolicy::Batch,
        (LoadMode::Append, None) => CommitPolicy::Interval,
        (LoadMode::DeleteInsert | LoadMode::Replace, _) if is_staged => CommitPolicy::Staged,
        (LoadMode::DeleteInsert | LoadMode::Replace, policy) => policy.unwrap_or(CommitPolicy::Batch),
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Connection, "the session is not open")
}

fn read_of(extracted: &Extracted) -> Read {
    Read {
        rows: extracted.total.rows as i64,
        digest: extracted.total.digest,
        snapshot: extracted.snapshot.id.clone(),
        system_identifier: extracted.snapshot.system_identifier,
    }
}

fn loaded_of(written: &Written, claim: &Claim, started: Instant) -> Loaded {
    let rows = written.rows + claim.resume_rows;
    loaded(&Finished { rows, bytes: written.bytes, batches: written.batches }, claim, started)
}

fn loaded(finished: &Finished, claim: &Claim, started: Instant) -> Loaded {
    Loaded {
        rows: finished.rows.unsigned_abs(),
        bytes: finished.bytes.unsigned_abs(),
        batches: u64::from(finished.batches.unsigned_abs()),
        reloaded: claim.was_loaded,
        elapsed: started.elapsed(),
    }
}
