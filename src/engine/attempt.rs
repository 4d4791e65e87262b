//! One interval: claim, read and write at once, finish; and again after a failure that may pass.
//!
//! A lost connection ends the attempt: inner commits are asynchronous, so batches that the server
//! acknowledged before it restarted may be gone. The next attempt reads the ledger anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::Utc;

use super::after;
use super::halt::Applicant;
use super::slot::Slot;
use super::window::Work;
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Failure, IntervalId, Loaded, Phase};
use crate::interval::DataInterval;
use crate::ledger::{Claim, ClaimOutcome, ClaimRequest, Holder, TableRef};
use crate::load;
use crate::plan::Planned;
use crate::postgres::connect::Session;

/// The time between two looks at whether a pause is still of use.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How an interval ended well.
pub(super) enum Outcome {
    /// Its rows are there.
    Loaded(Loaded),
    /// Another run, or a person, was quicker; what they did.
    LeftAlone(&'static str),
    /// Another live run has it, and whoever asked will look again; who has it.
    Held(String),
    /// Another process loaded it while this one worked on the same backfill.
    LoadedElsewhere,
    /// Another process has it, or has just failed with it: to be looked at again.
    Elsewhere,
}

/// The last error of an interval, and which try it ended.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) attempt: u32,
}

/// Loads one interval with the sessions of a slot, trying again as the job allows.
///
/// With `insist` also one that another process of the backfill has failed with.
pub(super) async fn interval(
    work: Arc<Work>,
    mut slot: Slot,
    (planned, insist): (Planned, bool),
) -> (Slot, Result<Outcome, Failed>) {
    let mut pauses = pauses(&work.job, further_tries(&work.job, &planned));
    let id = work.id(&planned);
    let mut tries = Tries { work: &work, planned: &planned, id, insist, number: 0, unknown: None };
    loop {
        tries.number += 1;
        let error = match tries.once(&mut slot).await {
            Ok(outcome) => return (slot, Ok(outcome)),
            Err(error) => error,
        };
        let wait = if error.is_retryable() { pauses.next() } else { None };
        let Some(wait) = wait else {
            // What is not complete was not tried.
            let attempt = if error.kind() == ErrorKind::NotComplete { 0 } else { tries.number };
            return (slot, Err(Failed { error, attempt }));
        };
        let failure = Failure::of(&error, tries.number, Utc::now());
        let retries = further_tries(&work.job, &planned) + 1;
        work.engine.events.send(Event::IntervalRetrying {
            id: tries.id.clone(),
            failure,
            tries: retries,
            wait,
        });
        if let Err(stopped) = pause(&work, &mut slot, wait).await {
            let error = if work.engine.shutdown.is_requested() { error } else { stopped };
            return (slot, Err(Failed { error, attempt: tries.number }));
        }
    }
}

/// Waits before another try; fails when a signal comes, or when nothing more is to be started.
async fn pause(work: &Work, slot: &mut Slot, wait: Duration) -> Result<()> {
    let run = Applicant { has_begun: true, ..work.applicant() };
    let end = tokio::time::Instant::now() + wait;
    while tokio::time::Instant::now() < end {
        let step = end.min(tokio::time::Instant::now() + LOOK_EVERY);
        work.engine
            .unless_stopped(async {
                tokio::time::sleep_until(step).await;
                Ok(())
            })
            .await?;
        if run.backfill.is_some() && tokio::time::Instant::now() < end {
            let look = async {
                slot.open_control(&work.engine, &work.job).await?;
                run.look_at_backfill(slot.control()?).await
            };
            // What the try failed with may be that there is no answer.
            let looked = tokio::time::timeout(LOOK_EVERY, look).await;
            if !matches!(looked, Ok(Ok(()))) {
                slot.discard().await;
            }
            run.not_halted()?;
        }
    }
    Ok(())
}

/// How many tries may follow the first.
pub(super) fn further_tries(job: &Job, planned: &Planned) -> u32 {
    planned.tries_left.map_or(job.retries, |left| left.saturating_sub(1))
}

/// The pauses between tries, with jitter.
pub(super) fn pauses(job: &Job, number: u32) -> impl Iterator<Item = Duration> + use<> {
    let factor = if job.retry_exponential_backoff { 2.0 } else { 1.0 };
    ExponentialBuilder::default()
        .with_min_delay(job.retry_delay)
        .with_max_delay(job.max_retry_delay.max(job.retry_delay))
        .with_factor(factor)
        .with_max_times(number as usize)
        .with_jitter()
        .build()
}

pub(super) struct Tries<'w> {
    pub(super) work: &'w Work,
    pub(super) planned: &'w Planned,
    pub(super) id: IntervalId,
    insist: bool,
    number: u32,
    /// What a finishing transaction wrote whose COMMIT was not answered.
    pub(super) unknown: Option<Loaded>,
}

impl Tries<'_> {
    async fn once(&mut self, slot: &mut Slot) -> Result<Outcome> {
        let started = Instant::now();
        let Work { engine, job, .. } = self.work;
        match self.enter(slot).await {
            Ok(None) => {}
            Ok(Some(outcome)) => return Ok(outcome),
            Err(error) => {
                slot.discard().await;
                return Err(error);
            }
        }
        let run = self.work.applicant();
        self.phase(Phase::Claiming);
        let claimed = engine.answered(job, Box::pin(self.claim(slot))).await;
        let claim = match claimed {
            Ok(ClaimOutcome::Claimed(claim)) => claim,
            Ok(ClaimOutcome::MarkedSkipped) => return Ok(Outcome::LeftAlone("marked skipped meanwhile")),
            Ok(ClaimOutcome::AlreadyLoaded) => {
                let meanwhile = match run.backfill {
                    Some(_) => Outcome::LoadedElsewhere,
                    None => Outcome::LeftAlone("loaded meanwhile by another run"),
                };
                return Ok(self.unknown.take().map_or(meanwhile, Outcome::Loaded));
            }
            Ok(ClaimOutcome::Held(holder)) if self.is_ours(&holder) => return Err(self.not_gone_yet()),
            Ok(ClaimOutcome::FailedElsewhere) => return Ok(Outcome::Elsewhere),
            Ok(ClaimOutcome::Held(_)) if run.backfill.is_some() => return Ok(Outcome::Elsewhere),
            Ok(ClaimOutcome::Held(holder)) if engine.options.leave_held => {
                return Ok(Outcome::Held(format!("already running ({holder})")));
            }
            Ok(ClaimOutcome::Held(holder)) => return Err(held(&holder)),
            Ok(ClaimOutcome::InAnotherTable(table)) => return Err(self.in_another(&table)),
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

    /// Waits for the limits and opens sessions; gives an outcome if there is nothing left to claim.
    async fn enter(&self, slot: &mut Slot) -> Result<Option<Outcome>> {
        let Work { engine, job, budget, limits, .. } = self.work;
        let run = Applicant { has_begun: self.number > 1, ..self.work.applicant() };
        limits.admit(run, slot).await?;
        engine.answered(job, slot.open(engine, job, budget.writers)).await?;
        let left = engine.answered(job, self.source_is_complete(slot)).await?;
        if left.is_some() {
            return Ok(left);
        }
        let control = slot.control()?;
        engine.answered(job, run.may_start(control)).await?;
        engine.answered(job, self.glance(control)).await
    }

    /// Looks whether another process of the backfill was quicker, which costs less than a claim.
    async fn glance(&self, control: &Session) -> Result<Option<Outcome>> {
        let Work { backfill, ledger, job, .. } = self.work;
        if backfill.is_none() || self.unknown.is_some() {
            return Ok(None);
        }
        let interval = self.planned.interval;
        let Some(glance) = ledger.glance(control, &job.name, interval).await? else { return Ok(None) };
        if self.work.will_do(self.planned, (glance.loaded_at, glance.load_started_at)) {
            return Ok(Some(Outcome::LoadedElsewhere));
        }
        let is_theirs = self.leave_failed_after().is_some_and(|seen| glance.failed && glance.attempt > seen);
        Ok(is_theirs.then_some(Outcome::Elsewhere))
    }

    /// The latest attempt that was seen, if what another process of the backfill has failed with since is left
    /// to it: it may pause before its next try, and whether it does is found out once nothing else is left.
    fn leave_failed_after(&self) -> Option<i32> {
        let is_first = self.number == 1 && !self.insist;
        (is_first && self.work.backfill.is_some()).then(|| self.work.history.attempt(&self.planned.interval))
    }

    /// What the interval had the last time, else what the planner thinks of a whole table.
    fn estimated_rows(&self) -> Option<u64> {
        let Work { history, resolved, job, .. } = self.work;
        history.rows(&self.planned.interval).or_else(|| resolved.estimated_rows(job, &self.planned.interval))
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.work.engine.events.send(Event::PhaseChanged { id: self.id.clone(), phase });
    }

    async fn claim(&self, slot: &Slot) -> Result<ClaimOutcome> {
        let Work { job, engine, ledger, resolved, request, .. } = self.work;
        let claim = ClaimRequest {
            job: job.name.clone(),
            table: TableRef { oid: resolved.table_oid(), name: resolved.table_name() },
            scope: job.scope.clone(),
            interval: self.planned.interval,
            key: self.planned.key.clone(),
            timezone: job.calendar.map(|c| c.timezone.name().to_owned()),
            definition_hash: request.definition_hash.clone(),
            fingerprint: resolved.fingerprint().to_owned(),
            origin: resolved.origin(slot.source()?, job, &self.planned.interval)?,
            owner: engine.owner.clone(),
            seen: self.work.history.seen(&self.planned.interval),
            reload: self.work.reloads(self.planned),
            stale: request.stale,
            force: engine.options.force,
            take_over: engine.options.take_over,
            leave_failed_after: self.leave_failed_after(),
            since: self.work.since(self.planned),
        };
        ledger.claim(slot.control()?, &claim).await
    }

    /// Records the failure where that is still possible, and lets go of everything.
    async fn give_up(&self, slot: &mut Slot, claim: &Claim, error: &Error) {
        slot.discard().await;
        let stopped = error.kind() == ErrorKind::Interrupted;
        let lost = error.kind() == ErrorKind::Fenced;
        // Another server of the same connection had come further: taken up again, and not counted.
        let stopped = stopped || error.kind() == ErrorKind::NotComplete;
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

    fn in_another(&self, table: &TableRef) -> Error {
        let (job, key) = (&self.work.job.name, &self.planned.key);
        let what = format!("another run has just loaded {key} of a job named {job} into {}", table.name);
        Error::new(ErrorKind::Preflight, what)
            .with_hint("two projects have a job of this name: give one of the jobs another name")
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

fn held(holder: &Holder) -> Error {
    Error::new(ErrorKind::Locked, format!("already running on {holder}"))
        .with_hint("wait for it, or end it and go on from there with --take-over")
}
