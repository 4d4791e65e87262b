//! What the ledger knows of a job, as the plan and the claims need it.

use crate::config::job::Job;
use crate::error::Result;
use crate::interval::DataInterval;
use chrono::{DateTime, Utc};

use super::ground::{Ground, Held};
use crate::ledger::{Activity, Known, Ledger, Seen};
use crate::plan::{Loss, Recorded};
use crate::postgres::connect::Session;
use crate::state::State;

/// The intervals of a job in the ledger, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    recorded: Vec<Recorded>,
    /// The number of the latest attempt at each that did not load what stands.
    attempts: Vec<i32>,
    /// The destination's clock before it was read; none if there was no ledger.
    asked_at: Option<DateTime<Utc>>,
}

impl History {
    /// Reads it; empty when there is no ledger yet.
    pub(super) async fn read(ledger: Option<&Ledger>, session: &Session, job: &Job) -> Result<Self> {
        let Some(ledger) = ledger else { return Ok(Self::default()) };
        let (asked_at, mut known, ground) = known(ledger, session, job).await?;
        // They come nearly in order, which the stable sort makes use of.
        known.sort_by_key(|known| known.interval);
        let attempts =
            known.iter().map(|known| known.story.as_ref().map_or(0, |story| story.attempt)).collect();
        Ok(Self { recorded: recorded_of(known, &ground), attempts, asked_at: Some(asked_at) })
    }

    /// The destination's clock at the first look: what begins later is newer than what was asked for.
    pub(super) fn asked_at(&self) -> Option<DateTime<Utc>> {
        self.asked_at
    }

    /// When the load that stood began.
    pub(super) fn began(&self, interval: &DataInterval) -> Option<DateTime<Utc>> {
        self.of(interval).and_then(|record| record.began)
    }

    /// As the plan takes it.
    pub(super) fn recorded(&self) -> &[Recorded] {
        &self.recorded
    }

    /// What was seen of an interval, for the claim to compare.
    pub(super) fn seen(&self, interval: &DataInterval) -> Option<Seen> {
        self.of(interval).map(|record| Seen { state: record.state, loaded_at: record.loaded_at })
    }

    /// The number of the latest attempt that was seen of an interval; 0 if there was none, or nothing failed.
    pub(super) fn attempt(&self, interval: &DataInterval) -> i32 {
        self.place(interval).and_then(|place| self.attempts.get(place)).copied().unwrap_or(0)
    }

    /// Why the rows of an interval are not in the job's table, if they are not.
    pub(super) fn loss(&self, interval: &DataInterval) -> Option<&Loss> {
        self.of(interval).and_then(|record| record.loss.as_deref())
    }

    /// How many rows an interval had the last time.
    pub(super) fn rows(&self, interval: &DataInterval) -> Option<u64> {
        self.of(interval).and_then(|record| record.rows).and_then(|rows| u64::try_from(rows).ok())
    }

    fn of(&self, interval: &DataInterval) -> Option<&Recorded> {
        self.recorded.get(self.place(interval)?)
    }

    fn place(&self, interval: &DataInterval) -> Option<usize> {
        self.recorded.binary_search_by_key(interval, |record| record.interval).ok()
    }
}

/// What the ledger says of a job, and whether it is there, as the plan takes it.
///
/// # Errors
/// As the server says.
pub async fn recorded(ledger: &Ledger, session: &Session, job: &Job) -> Result<Vec<Recorded>> {
    let (_, known, ground) = known(ledger, session, job).await?;
    Ok(recorded_of(known, &ground))
}

/// The destination's clock before the first look, what the ledger says, and whether it is there.
async fn known(ledger: &Ledger, session: &Session, job: &Job) -> Result<(DateTime<Utc>, Vec<Known>, Ground)> {
    let evidence = ledger.evidence(session, &job.into).await?;
    let known = ledger.known(session, job, &evidence).await?;
    let held = known.iter().filter(|known| known.state.has_rows());
    let held = held.map(|known| Held { interval: known.interval, place: known.place, rows: known.rows });
    let ground = Ground::look((ledger, session), job, &evidence, held).await?;
    Ok((evidence.now, known, ground))
}

fn recorded_of(known: Vec<Known>, ground: &Ground) -> Vec<Recorded> {
    known.into_iter().map(|known| recorded_one(known, ground)).collect()
}

fn recorded_one(known: Known, ground: &Ground) -> Recorded {
    let loss = ground.loss(&known.interval, known.place).filter(|_| known.state.has_rows()).cloned();
    let state = known.state;
    let recorded = Recorded {
        interval: known.interval,
        state,
        definition_hash: known.definition_hash,
        rows: known.rows,
        loaded_at: known.loaded_at,
        began: known.load_started_at,
        is_live: known.activity == Activity::Live,
        attempts: 0,
        finished: known.loaded_at,
        loss,
        note: None,
    };
    let Some(story) = known.story.map(|story| *story) else { return recorded };
    Recorded {
        attempts: story.tries.unsigned_abs(),
        finished: story.finished_at.or(known.loaded_at),
        note: story.reason.or_else(|| story.error.map(|error| failure(state, error))),
        ..recorded
    }
}

/// What is loaded still is, so it was a reload that failed.
fn failure(state: State, line: String) -> String {
    if state.has_rows() { format!("the last reload failed: {line}") } else { line }
}
