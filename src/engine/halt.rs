//! Why a run starts nothing more, though nothing failed: `--stop-at`, a paused or cancelled backfill.
//!
//! What is open goes on to its end, but for a cancelled backfill, whose open transactions roll back.
//! The state of the backfill is looked at on sessions that are open anyway, about once a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::Engine;
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Halt;
use crate::ledger::{Backfill, BackfillState, Ledger};
use crate::postgres::connect::Session;

/// The time between two looks at the backfill, of one process.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What stops a run, and when that was looked at.
#[derive(Debug, Default)]
pub(super) struct Halting {
    stop_at: Option<DateTime<Utc>>,
    halt: Mutex<Option<Halt>>,
    /// Whether what waits for its first try is not to be started: something failed.
    closed: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Halting {
    /// A run that starts nothing from this moment on.
    pub(super) fn at(stop_at: Option<DateTime<Utc>>) -> Self {
        Self { stop_at, ..Self::default() }
    }

    /// Why nothing more is to be started, once that is so.
    pub(super) fn reason(&self) -> Option<Halt> {
        let halt = *self.halt.lock().unwrap_or_else(PoisonError::into_inner);
        halt.or_else(|| self.stop_at.filter(|stop_at| *stop_at <= Utc::now()).map(|_| Halt::StopAt))
    }

    /// Lets nothing more begin, also of what waits for a slot.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn set(&self, halt: Halt) {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner) = Some(halt);
    }

    /// Whether it is this caller's turn to look.
    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }
}

/// A run, as far as its limits and its halts are concerned.
#[derive(Clone, Copy)]
pub(super) struct Applicant<'a> {
    pub(super) engine: &'a Engine,
    pub(super) job: &'a Job,
    pub(super) ledger: &'a Ledger,
    pub(super) halting: &'a Halting,
    pub(super) backfill: Option<&'a Backfill>,
    /// Whether it has begun: a try that follows another goes on also when nothing new is to begin.
    pub(super) has_begun: bool,
}

impl Applicant<'_> {
    /// Fails when nothing more is to be started.
    pub(super) async fn may_start(&self, control: &Session) -> Result<()> {
        self.look_at_backfill(control).await?;
        self.not_halted()
    }

    /// Fails when nothing more is to be started, as far as is known.
    pub(super) fn not_halted(&self) -> Result<()> {
        match self.halting.reason() {
            Some(halt) => Err(self.halted(halt)),
            None if !self.has_begun && self.halting.closed.load(Ordering::Relaxed) => {
                Err(Error::new(ErrorKind::Interrupted, "nothing new is started after a failure"))
            }
            None => Ok(()),
        }
    }

    /// Returns when the backfill is cancelled; what a paused one has open goes on.
    pub(super) async fn cancelled(&self, control: &Session) -> Error {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Inside a transaction that failed there is no answer; the attempt is about to end then.
            if let Err(error) = self.look_at_backfill(control).await {
                tracing::debug!("the backfill could not be looked at: {}", error.chain());
            }
            if self.halting.reason() == Some(Halt::Cancelled) {
                return self.halted(Halt::Cancelled);
            }
        }
    }

    /// Reads the backfill's state, if there is one and it was not read just now.
    pub(super) async fn look_at_backfill(&self, control: &Session) -> Result<()> {
        let Some(backfill) = self.backfill.filter(|_| self.halting.is_due()) else { return Ok(()) };
        match self.ledger.backfill_state(control, backfill.id).await? {
            Some(BackfillState::Running | BackfillState::Done) => {}
            Some(BackfillState::Paused) => self.halting.set(Halt::Paused),
            Some(BackfillState::Cancelled) | None => self.halting.set(Halt::Cancelled),
        }
        Ok(())
    }

    pub(super) fn halted(&self, halt: Halt) -> Error {
        let label = self.backfill.map_or_else(|| self.job.name.clone(), Backfill::label);
        let what = match halt {
            Halt::StopAt => "the time of --stop-at has come".to_owned(),
            Halt::Paused => format!("{label} is paused"),
            Halt::Cancelled => format!("{label} is cancelled"),
        };
        Error::new(ErrorKind::Interrupted, what)
    }
}
