//! What the ledger knows of a job, as the plan and the claims need it.

use std::collections::HashMap;

use crate::config::job::Job;
use crate::error::Result;
use crate::interval::DataInterval;
use crate::ledger::{Activity, Known, Ledger, Seen};
use crate::plan::Recorded;
use crate::postgres::connect::Session;
use crate::state::State;

/// The intervals of a job in the ledger.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<DataInterval, Known>);

impl History {
    /// Reads it; empty when there is no ledger yet.
    pub(super) async fn read(ledger: Option<&Ledger>, session: &Session, job: &Job) -> Result<Self> {
        let Some(ledger) = ledger else { return Ok(Self::default()) };
        let known = ledger.known(session, &job.name, job.was.as_deref()).await?;
        Ok(Self(known.into_iter().map(|known| (known.interval, known)).collect()))
    }

    /// As the plan takes it.
    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.0.values().map(recorded).collect()
    }

    /// What was seen of an interval, for the claim to compare.
    pub(super) fn seen(&self, interval: &DataInterval) -> Option<Seen> {
        self.0.get(interval).map(Known::seen)
    }

    /// The number of the latest attempt that was seen of an interval; 0 if there was none.
    pub(super) fn attempt(&self, interval: &DataInterval) -> i32 {
        self.0.get(interval).map_or(0, |record| record.attempt)
    }

    /// How many rows an interval had the last time.
    pub(super) fn rows(&self, interval: &DataInterval) -> Option<u64> {
        self.0.get(interval).and_then(|known| known.rows).and_then(|rows| u64::try_from(rows).ok())
    }
}

/// What the ledger says of a job, as the plan takes it.
#[must_use]
pub fn recorded_of(known: &[Known]) -> Vec<Recorded> {
    known.iter().map(recorded).collect()
}

fn recorded(known: &Known) -> Recorded {
    Recorded {
        interval: known.interval,
        state: known.state,
        definition_hash: known.definition_hash.clone(),
        rows: known.rows,
        loaded_at: known.loaded_at,
        is_live: known.activity == Activity::Live,
        attempts: known.tries.unsigned_abs(),
        finished: known.finished_at.or(known.loaded_at),
        note: known.reason.clone().or_else(|| failure(known)),
    }
}

/// The first line of the last error; what is loaded still is, so it was a reload that failed.
fn failure(known: &Known) -> Option<String> {
    let line = known.error.as_ref()?;
    let kept = matches!(known.state, State::Loaded | State::Stale);
    Some(if kept { format!("the last reload failed: {line}") } else { line.clone() })
}
