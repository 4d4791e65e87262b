//! The sliding window: intervals at once, a free slot takes the next one immediately.
//!
//! In a backfill the intervals are shared with other processes. One that another process has is put
//! aside; when nothing else is left, the ledger is asked about it until it is loaded, has failed for
//! good, or has nobody who works on it and is taken over.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::{Id, JoinError, JoinSet};

use super::attempt::{self, Failed, Outcome};
use super::halt::{Applicant, Halting};
use super::history::History;
use super::limits::Limits;
use super::others::Fate;
use super::pace::Pace;
use super::slot::Slot;
use super::{Budget, Engine, Resolved};
use crate::config::job::{Job, LoadMode};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Failure, IntervalId, Summary};
use crate::ledger::{Backfill, Ledger, Seen};
use crate::plan::{Action, Planned, Request};

/// The time between two looks at what other processes do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So many looks at the others may fail in a row.
const MOST_MISSES: u32 = 5;

/// What every interval of a run shares.
pub(crate) struct Work {
    pub(super) engine: Arc<Engine>,
    pub(super) job: Arc<Job>,
    pub(super) ledger: Ledger,
    pub(super) history: History,
    pub(super) resolved: Resolved,
    pub(super) request: Request,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
    pub(super) halting: Halting,
    pub(super) backfill: Option<Backfill>,
    pub(super) pace: Option<Pace>,
    /// When the run was planned.
    pub(super) now: DateTime<Utc>,
}

impl Work {
    pub(super) fn id(&self, planned: &Planned) -> IntervalId {
        IntervalId { job: self.job.name.clone(), key: planned.key.clone() }
    }

    /// Whether an interval is loaded again whatever stands.
    pub(super) fn reloads(&self, planned: &Planned) -> bool {
        let stands = |seen: Seen| seen.state.has_rows();
        self.request.reload
            || planned.action == Action::Reload
            || self.history.seen(&planned.interval).is_some_and(stands)
    }

    /// Since when a load of another run must have begun to be what was asked for: the first look into the
    /// ledger, or the making of the backfill. None where any load will do; and what `append` adds again is
    /// there twice.
    pub(super) fn since(&self, planned: &Planned) -> Option<DateTime<Utc>> {
        if !self.reloads(planned) || self.job.mode == LoadMode::Append {
            return None;
        }
        let made = self.backfill.as_ref().map(|backfill| backfill.created_at);
        // The look came after the making if not before; the earlier of the two is right in both cases, and
        // if the clock was set back in between.
        self.history.asked_at().into_iter().chain(made).min()
    }

    /// Whether a load that stands is another's, later than what was seen, and does for what was asked for.
    pub(super) fn will_do(&self, planned: &Planned, (loaded_at, began): Load) -> bool {
        let seen = self.history.seen(&planned.interval).and_then(|seen| seen.loaded_at);
        let is_recent = |since| began.is_some_and(|began| began >= since);
        loaded_at.is_some() && loaded_at != seen && self.since(planned).is_none_or(is_recent)
    }

    /// The run, as far as limits and halts are concerned.
    pub(super) fn applicant(&self) -> Applicant<'_> {
        Applicant {
            engine: &self.engine,
            job: &self.job,
            ledger: &self.ledger,
            halting: &self.halting,
            backfill: self.backfill.as_ref(),
            has_begun: false,
        }
    }
}

/// When a load was recorded, and when it began.
type Load = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// An interval's task: the slot comes back, with what came of it.
type Ended = (Slot, Result<Outcome, Failed>);

/// The intervals of a run: which wait, which are at work, which are with other processes.
pub(super) struct Window<'s> {
    work: Arc<Work>,
    summary: &'s mut Summary,
    /// With each whether it is taken although another process has failed with it.
    waiting: VecDeque<(Planned, bool)>,
    elsewhere: Vec<Planned>,
    free: Vec<Slot>,
    tasks: JoinSet<Ended>,
    running: HashMap<Id, Planned>,
    stop: bool,
    /// Looks at the others in a row that failed.
    misses: u32,
    /// Whether it was said that others are waited for.
    said: bool,
}

impl<'s> Window<'s> {
    /// A window over intervals in their order; the first slot is open already.
    pub(super) fn new(work: Arc<Work>, load: Vec<Planned>, first: Slot, summary: &'s mut Summary) -> Self {
        let more = work.budget.parallel.saturating_sub(1);
        let mut free: Vec<Slot> = std::iter::repeat_with(Slot::new).take(more).collect();
        free.push(first);
        let waiting = load.into_iter().map(|planned| (planned, false)).collect();
        let (tasks, running) = (JoinSet::new(), HashMap::new());
        Self {
            work,
            summary,
            waiting,
            elsewhere: Vec::new(),
            free,
            tasks,
            running,
            stop: false,
            misses: 0,
            said: false,
        }
    }

    /// Runs all of them; returns a slot whose sessions are still good.
    pub(super) async fn run(mut self) -> Slot {
        loop {
            self.fill();
            if self.step().await.is_break() {
                break;
            }
        }
        self.summary.not_started += self.waiting.len() + self.elsewhere.len();
        self.summary.halted = self.work.halting.reason().filter(|_| self.summary.not_started > 0);
        self.free.into_iter().find(Slot::is_open).unwrap_or_else(Slot::new)
    }

    /// Gives every free slot an interval.
    fn fill(&mut self) {
        self.stop |= self.work.engine.shutdown.is_requested() || self.work.halting.reason().is_some();
        while !self.stop && !self.waiting.is_empty() {
            let Some(slot) = self.free.pop() else { break };
            let Some((planned, insist)) = self.waiting.pop_front() else { break };
            let running = planned.clone();
            let task = self.tasks.spawn(attempt::interval(self.work.clone(), slot, (planned, insist)));
            self.running.insert(task.id(), running);
        }
    }

    /// Waits until something happens: an interval ends, or it is time to look at the others.
    async fn step(&mut self) -> ControlFlow<()> {
        let looks = !self.stop && self.waiting.is_empty() && !self.elsewhere.is_empty();
        if self.tasks.is_empty() && !looks {
            return ControlFlow::Break(());
        }
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => self.take_back(ended).await,
            () = tokio::time::sleep(LOOK_EVERY), if looks => self.look_elsewhere().await,
        }
        ControlFlow::Continue(())
    }

    async fn take_back(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (task, slot, outcome) = match ended {
            Ok((task, (slot, outcome))) => (task, slot, outcome),
            Err(panic) => {
                let failed = Failed { error: worker_panicked(&panic), attempt: 1 };
                (panic.id(), Slot::new(), Err(failed))
            }
        };
        let Some(planned) = self.running.remove(&task) else { return };
        self.stop |= self.settle(planned, outcome);
        if self.stop {
            self.work.halting.close();
        }
        self.keep(slot).await;
    }

    /// Keeps a slot for the next interval; when none waits, one is enough, and it must not count
    /// against limits while the others of a backfill are waited for.
    async fn keep(&mut self, mut slot: Slot) {
        let is_needed = !self.waiting.is_empty() || (self.tasks.is_empty() && self.elsewhere.is_empty());
        if !is_needed {
            let (limits, run) = (&self.work.limits, self.work.applicant());
            if self.free.iter().any(Slot::is_open) || self.stop {
                return slot.close().await;
            }
            if self.work.engine.answered(&self.work.job, limits.dismiss(run, &mut slot)).await.is_err() {
                slot.discard().await;
            }
        }
        self.free.push(slot);
    }

    /// Records how an interval ended; returns whether the run should stop.
    fn settle(&mut self, planned: Planned, outcome: Result<Outcome, Failed>) -> bool {
        let id = self.work.id(&planned);
        let (summary, events) = (&mut *self.summary, &self.work.engine.events);
        match outcome {
            Ok(Outcome::Loaded(loaded)) => {
                summary.loaded += 1;
                summary.rows += loaded.rows;
                summary.bytes += loaded.bytes;
                events.send(Event::IntervalLoaded { id, loaded });
                false
            }
            Ok(Outcome::LeftAlone(reason)) => {
                self.leave(id, reason.to_owned());
                false
            }
            Ok(Outcome::Held(reason)) => {
                summary.held += 1;
                self.leave(id, reason);
                if self.work.job.depends_on_past {
                    self.leave_waiting(&planned.key);
                }
                false
            }
            Ok(Outcome::LoadedElsewhere) => {
                self.count_elsewhere(id);
                false
            }
            Ok(Outcome::Elsewhere) => {
                self.elsewhere.push(planned);
                false
            }
            Err(Failed { error, .. }) if error.kind() == ErrorKind::Interrupted => {
                summary.not_started += 1;
                events.send(Event::IntervalStopped { id });
                true
            }
            Err(Failed { error, attempt }) => {
                let stop = self.work.engine.options.fail_fast
                    || self.work.job.depends_on_past
                    || matches!(error.kind(), ErrorKind::Resources | ErrorKind::Connection);
                self.fail(id, Failure::of(&error, attempt, Utc::now()));
                stop
            }
        }
    }

    fn leave(&mut self, id: IntervalId, reason: String) {
        self.summary.skipped += 1;
        self.work.engine.events.send(Event::IntervalSkipped { id, reason });
    }

    /// Leaves what waits for its past, which another run has.
    fn leave_waiting(&mut self, past: &str) {
        for (planned, _) in std::mem::take(&mut self.waiting) {
            self.leave(self.work.id(&planned), format!("waits for what another run has, {past}"));
        }
    }

    fn count_elsewhere(&mut self, id: IntervalId) {
        self.summary.loaded_elsewhere += 1;
        self.work.engine.events.send(Event::IntervalLoadedElsewhere { id });
    }

    fn fail(&mut self, id: IntervalId, failure: Failure) {
        self.summary.failed.push((id.key.clone(), failure.clone()));
        self.work.engine.events.send(Event::IntervalFailed { id, failure });
    }

    /// Asks the ledger what became of the intervals that other processes have.
    async fn look_elsewhere(&mut self) {
        let Some(mut slot) = self.free.pop() else { return };
        self.say_waiting();
        let work = self.work.clone();
        let asked = work.engine.answered(&work.job, work.fates(&mut slot, &self.elsewhere)).await;
        match asked {
            Ok(fates) => {
                self.misses = 0;
                self.free.push(slot);
                for (planned, fate) in std::mem::take(&mut self.elsewhere).into_iter().zip(fates) {
                    self.meet(planned, fate);
                }
            }
            Err(error) => {
                slot.discard().await;
                self.free.push(slot);
                self.miss(&error);
            }
        }
    }

    /// Says once that only others are at work.
    fn say_waiting(&mut self) {
        let Some(backfill) = self.work.backfill.as_ref().filter(|_| self.tasks.is_empty()) else { return };
        if !std::mem::replace(&mut self.said, true) {
            let number = self.elsewhere.len();
            let message = format!("{} waits: other processes have the last {number} of it", backfill.label());
            self.work.engine.events.send(Event::Notice { message });
        }
    }

    /// The ledger could not be asked; a lost session is opened anew, a few times in a row.
    fn miss(&mut self, error: &Error) {
        tracing::debug!("the others could not be looked at: {}", error.chain());
        self.misses += 1;
        if error.kind() == ErrorKind::Interrupted || (error.is_retryable() && self.misses < MOST_MISSES) {
            return;
        }
        for planned in std::mem::take(&mut self.elsewhere) {
            let id = self.work.id(&planned);
            self.fail(id, Failure::of(error, 1, Utc::now()));
        }
    }

    fn meet(&mut self, planned: Planned, fate: Fate) {
        let id = self.work.id(&planned);
        match fate {
            Fate::AtWork => self.elsewhere.push(planned),
            Fate::Loaded => self.count_elsewhere(id),
            Fate::Skipped => {
                self.leave(id, "marked skipped meanwhile".to_owned());
            }
            Fate::Free => self.waiting.push_back((planned, true)),
            Fate::Failed(error, attempt) => {
                self.fail(id, Failure::of(&error, attempt, Utc::now()));
                self.stop |= self.work.engine.options.fail_fast;
            }
        }
    }
}

fn worker_panicked(error: &JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the interval's task ended by itself: {error}"))
        .with_hint("this is a defect of pgtide; its transactions were rolled back, run it again")
}
