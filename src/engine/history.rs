//! What the ledger knows of a job, as the plan and the claims need it.

use std::collections::HashMap;

use crate::config::job::Job;
use crate::error::Result;
use crate::interval::DataInterval;
use crate::ledger::{IntervalRecord, Ledger, Seen};
use crate::plan::Recorded;
use crate::postgres::connect::Session;
use crate::state::State;

/// The intervals of a job in the ledger.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<DataInterval, IntervalRecord>);

impl History {
    /// Reads it; empty when there is no ledger yet.
    pub(super) async fn read(ledger: Option<&Ledger>, session: &Session, job: &Job) -> Result<Self> {
        let Some(ledger) = ledger else { return Ok(Self::default()) };
        let snapshot = ledger.snapshot(session, &job.name, None).await?;
        Ok(Self(snapshot.intervals.into_iter().map(|record| (record.interval, record)).collect()))
    }

    /// As the plan takes it.
    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.0.values().map(recorded).collect()
    }

    /// What was seen of an interval, for the claim to compare.
    pub(super) fn seen(&self, interval: &DataInterval) -> Option<Seen> {
        self.0.get(interval).map(IntervalRecord::seen)
    }

    /// The table that the newest load went into.
    pub(super) fn table_oid(&self) -> Option<u32> {
        let loaded = self.0.values().filter(|record| record.loaded_at.is_some());
        loaded.max_by_key(|record| record.loaded_at).map(|record| record.table.oid)
    }

    /// How many rows an interval had the last time.
    pub(super) fn rows(&self, interval: &DataInterval) -> Option<u64> {
        self.0.get(interval).and_then(|r| r.rows).and_then(|rows| u64::try_from(rows).ok())
    }
}

fn recorded(record: &IntervalRecord) -> Recorded {
    Recorded {
        interval: record.interval,
        state: record.state,
        definition_hash: record.definition_hash.clone(),
        rows: record.rows,
        attempts: record.tries.unsigned_abs(),
        finished: record.finished_at.or(record.loaded_at),
        note: record.reason.clone().or_else(|| failure(record)),
    }
}

/// The first line of the last error; what is loaded still is, so it was a reload that failed.
fn failure(record: &IntervalRecord) -> Option<String> {
    let line = record.error_message.as_ref()?.lines().next()?;
    let kept = matches!(record.state, State::Loaded | State::Stale);
    Some(if kept { format!("the last reload failed: {line}") } else { line.to_owned() })
}
