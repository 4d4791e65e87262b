//! The rows of one claimed interval on their way: read, written and finished, under deadlines.
//!
//! Reading and writing go on at once, over a bounded channel. What ends them early is the stop handle, a
//! cancelled backfill, the job's time limit, or that nothing moves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::TimeDelta;
use futures::future::try_join_all;

use super::attempt::Tries;
use super::pace::Pace;
use super::slot::Slot;
use super::watch::{Pulse, Stage, any_works, stalled};
use super::window::Work;
use super::{Commands, stopped};
use crate::chunk::{self, ChunkReceiver, ChunkSender};
use crate::config::job::{CommitPolicy, EmptyWith, Job, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Loaded, Phase};
use crate::extract::{Extracted, extract};
use crate::ledger::Claim;
use crate::load::{Finished, Load, Read, Rules, Shared, Target, Written};
use crate::plan::Action;
use crate::postgres::catalog;
use crate::postgres::connect::{Session, Side};
use crate::postgres::row_tap::TapHandle;

/// Chunks that wait per writer: enough to bridge a commit, small enough to bound memory.
const QUEUED_CHUNKS_PER_WRITER: usize = 8;

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

/// The sessions of a slot, each for itself.
struct Sessions<'s> {
    source: &'s mut Session,
    control: &'s Session,
    writers: &'s mut Vec<Session>,
}

impl Tries<'_> {
    /// The attempt under its deadlines: the stop handle, the job's time limit, no progress.
    pub(super) async fn guarded(
        &mut self,
        slot: &mut Slot,
        claim: &Claim,
        started: Instant,
    ) -> Result<Loaded> {
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
        let Slot { source, control, writers, .. } = slot;
        let source = source.as_mut().ok_or_else(closed)?;
        let control = control.as_ref().ok_or_else(closed)?;
        let run = self.work.applicant();
        let work = self.load(Sessions { source, control, writers }, claim, &moving, started);
        tokio::select! {
            biased;
            result = work => result,
            () = shutdown.requested() => Err(stopped()),
            error = run.cancelled(control), if run.backfill.is_some() => Err(error),
            error = stalled(job.progress_timeout, pulse, is_working) => Err(error),
            () = async { tokio::time::sleep(limit.unwrap_or_default()).await }, if limit.is_some() => {
                let context = format!("not done within execution_timeout of {} s", limit.unwrap_or_default().as_secs());
                Err(Error::new(ErrorKind::Contention, context))
            }
        }
    }

    async fn load(
        &mut self,
        sessions: Sessions<'_>,
        claim: &Claim,
        moving: &Moving,
        started: Instant,
    ) -> Result<Loaded> {
        let work = self.work;
        let Sessions { source, control, writers: open_writers } = sessions;
        self.phase(Phase::Checking);
        let file = work.resolved.unchanged(control).await?;
        let what = (self.planned, self.completion());
        let extraction = work.resolved.extract(source, &work.job, what, claim).await?;
        let target = work.resolved.target(&work.job, &self.planned.interval);
        let rules = self.rules(claim, &target);
        let mut load = Load {
            ledger: &work.ledger,
            claim,
            target: &target,
            rules: &rules,
            id: self.id.clone(),
            events: &work.engine.events,
            file,
        };
        moving.step();
        self.phase(if claim.left_rows > 0 { Phase::Clearing } else { Phase::WaitingForSource });
        if load.prepare(control).await? {
            load.file = catalog::shape(control, claim.table_oid).await?.file;
        }
        moving.step();
        self.phase(Phase::WaitingForSource);
        let writers = if rules.commit == CommitPolicy::Interval { 1 } else { work.budget.writers };
        let writers = &open_writers[..writers.min(open_writers.len())];
        let (sender, read) = chunk::channel(QUEUED_CHUNKS_PER_WRITER * writers.len());
        let (chunks, paced) = work.paced(read);
        let pacing = async {
            if let Some((pace, from, to)) = paced {
                let held = |time| {
                    moving.step();
                    moving.shared.waits().add_paced(time);
                };
                pace.pass(from, to, held).await;
            }
            Ok::<_, Error>(())
        };
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
        let (extracted, (written, open), ()) = futures::try_join!(reading, writing, pacing)?;
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

    /// Whether rows of the interval may be there that this ledger does not know, because it is younger than
    /// their load, or that table is. What was complete only after the ledger was made has no other load.
    fn looks_for_rows(&self, claim: &Claim, reload: bool) -> bool {
        let Work { job, ledger, .. } = self.work;
        let is_first = !claim.was_loaded && claim.left_rows == 0 && !reload;
        let is_older = self.planned.interval.is_whole()
            || self.planned.interval.end < ledger.since() + CLOCKS_DIFFER_BY
            || claim.moved_from.is_some();
        // A copy adds to whatever is there, since somebody has just asked for it.
        job.mode == LoadMode::Append && is_first && is_older && job.file.is_some()
    }

    fn rules(&self, claim: &Claim, target: &Target) -> Rules {
        let Work { job, engine, .. } = self.work;
        let commands = Commands::new(job);
        let reload =
            self.work.request.reload || matches!(self.planned.action, Action::Reload) || engine.options.force;
        let reacts = !(target.triggers.is_empty() && target.rules.is_empty());
        Rules {
            mode: job.mode,
            commit: match commit_policy(job, claim.was_loaded || reload || reacts) {
                // What publishes staged rows would fire them.
                CommitPolicy::Staged if self.work.resolved.has_insert_rules() => CommitPolicy::Interval,
                policy => policy,
            },
            key: job.key.clone(),
            resume_column: job.resume_key.as_ref().and_then(|k| target.columns.iter().position(|c| c == k)),
            limits: job.limits,
            pre_sql: job.pre_sql.clone(),
            post_sql: job.post_sql.clone(),
            on_empty: job.on_empty,
            max_shrink: job.max_shrink,
            empty_with: if self.work.resolved.is_referenced() { EmptyWith::Delete } else { job.empty_with },
            reload,
            looks_for_rows: self.looks_for_rows(claim, reload),
            must_be_empty: engine.options.must_be_empty,
            reload_command: commands.reload(&self.planned.key),
            force_command: commands.force(&self.planned.key),
            mark_command: commands.mark_loaded(&self.planned.key),
        }
    }
}

/// The clocks of source and destination, which tell an interval's end and the ledger's beginning, are
/// hardly ever so far apart.
const CLOCKS_DIFFER_BY: TimeDelta = TimeDelta::days(1);

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

type Paced<'w> = (&'w Pace, ChunkReceiver, ChunkSender);

impl Work {
    /// Puts the pace of `--max-rate` between the reader and the writers, if there is one.
    fn paced(&self, read: ChunkReceiver) -> (ChunkReceiver, Option<Paced<'_>>) {
        let Some(pace) = &self.pace else { return (read, None) };
        let (to, chunks) = chunk::channel(1);
        (chunks, Some((pace, read, to)))
    }
}
