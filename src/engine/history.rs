//! What the ledger knows of a job, as the plan and the claims need it.

use crate::config::job::Job;
use crate::error::Result;
use crate::interval::DataInterval;
use crate::ledger::{Activity, Known, Ledger, Seen};
use crate::plan::Recorded;
use crate::postgres::connect::Session;
use crate::state::State;

/// The intervals of a job in the ledger, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Recorded>);

impl History {
    /// Reads it; empty when there is no ledger yet.
    pub(super) async fn read(ledger: Option<&Ledger>, session: &Session, job: &Job) -> Result<Self> {
        let Some(ledger) = ledger else { return Ok(Self::default()) };
        let known = ledger.known(session, &job.name).await?;
        let mut recorded: Vec<_> = known.into_iter().map(recorded).collect();
        recorded.sort_unstable_by_key(|record| record.interval);
        Ok(Self(recorded))
    }

    /// As the plan takes it.
    pub(super) fn recorded(&self) -> &[Recorded] {
        &self.0
    }

    /// What was seen of an interval, for the claim to compare.
    pub(super) fn seen(&self, interval: &DataInterval) -> Option<Seen> {
        self.of(interval).map(|record| Seen { state: record.state, loaded_at: record.loaded_at })
    }

    /// How many rows an interval had the last time.
    pub(super) fn rows(&self, interval: &DataInterval) -> Option<u64> {
        self.of(interval).and_then(|record| record.rows).and_then(|rows| u64::try_from(rows).ok())
    }

    fn of(&self, interval: &DataInterval) -> Option<&Recorded> {
        let place = self.0.binary_search_by_key(interval, |record| record.interval).ok()?;
        self.0.get(place)
    }
}

fn recorded(known: Known) -> Recorded {
    Recorded {
        interval: known.interval,
        state: known.state,
        definition_hash: known.definition_hash,
        rows: known.rows,
        loaded_at: known.loaded_at,
        is_live: known.activity == Activity::Live,
        attempts: known.tries.unsigned_abs(),
        finished: known.finished_at.or(known.loaded_at),
        note: known.reason.or_else(|| known.error.map(|error| failure(known.state, error))),
    }
}

/// What is loaded still is, so it was a reload that failed.
fn failure(state: State, line: String) -> String {
    if state.has_rows() { format!("the last reload failed: {line}") } else { line }
}
