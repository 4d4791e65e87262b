//! What became of an interval that another process of the backfill has, as the ledger tells it.
//!
//! A process that pauses before its next try holds nothing, so a failure is final only if it cannot
//! be tried again, or if the run that failed has no tries left. If its pause is long over, the run
//! is dead, and the interval is free.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::attempt::{further_tries, pauses};
use super::slot::Slot;
use super::window::Work;
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::{Activity, AttemptRecord, IntervalRecord};
use crate::plan::Planned;
use crate::postgres::connect::Session;
use crate::postgres::sqlstate;
use crate::state::State;

/// Added to a pause before the run that makes it is given up: connecting takes time, clocks differ.
const GRACE: Duration = Duration::from_secs(10);

/// What became of an interval.
#[derive(Debug)]
pub(super) enum Fate {
    /// A live process has it, or pauses before its next try.
    AtWork,
    /// It is loaded.
    Loaded,
    /// Somebody marked it.
    Skipped,
    /// Nobody works on it.
    Free,
    /// It failed for good, with this try.
    Failed(Error, u32),
}

impl Work {
    /// Asks the ledger about intervals, in their order.
    pub(super) async fn fates(&self, slot: &mut Slot, elsewhere: &[Planned]) -> Result<Vec<Fate>> {
        slot.open_control(&self.engine, &self.job).await?;
        let control = slot.control()?;
        self.applicant().look_at_backfill(control).await?;
        let starts = elsewhere.iter().map(|planned| planned.interval.start);
        let ends = elsewhere.iter().map(|planned| planned.interval.end);
        let range = starts.min().zip(ends.max()).map(|(start, end)| DataInterval { start, end });
        let snapshot = self.ledger.snapshot(control, &self.job.name, range).await?;
        let mut fates = Vec::with_capacity(elsewhere.len());
        for planned in elsewhere {
            let record = snapshot.intervals.iter().find(|record| record.interval == planned.interval);
            fates.push(self.fate(control, planned, record).await?);
        }
        Ok(fates)
    }

    async fn fate(
        &self,
        control: &Session,
        planned: &Planned,
        record: Option<&IntervalRecord>,
    ) -> Result<Fate> {
        let Some(record) = record else { return Ok(Fate::Free) };
        Ok(match record.state {
            _ if record.activity == Activity::Live => Fate::AtWork,
            State::Loaded | State::Stale
                if self.will_do(planned, (record.loaded_at, record.load_started_at)) =>
            {
                Fate::Loaded
            }
            State::Skipped => Fate::Skipped,
            _ if record.activity == Activity::Dead || record.error_code.is_none() => Fate::Free,
            _ if record.attempt <= self.history.attempt(&planned.interval) => Fate::Free,
            _ => {
                let attempts = self.ledger.attempts(control, &self.job.name, planned.interval).await?;
                self.judge(planned, record, &attempts)
            }
        })
    }

    /// Decides about an interval whose latest attempt, another process's, failed.
    fn judge(&self, planned: &Planned, record: &IntervalRecord, attempts: &[AttemptRecord]) -> Fate {
        let failed = |a: &&AttemptRecord| a.outcome == "failed" && a.run_id == record.run_id;
        let tries = u32::try_from(attempts.iter().filter(failed).count()).unwrap_or(u32::MAX);
        let kind = kind_of(record.error_code.as_deref().unwrap_or_default());
        let further = further_tries(&self.job, planned);
        if !kind.policy().retry || tries > further {
            return Fate::Failed(error(kind, record), tries);
        }
        let since = record.finished_at.unwrap_or_else(Utc::now);
        if is_over(&self.job, (further, tries), since) { Fate::Free } else { Fate::AtWork }
    }
}

/// Whether the pause after so many tries is over, with its jitter, and nobody made the next.
fn is_over(job: &Job, (further, tries): (u32, u32), since: DateTime<Utc>) -> bool {
    let pause = pauses(job, further).nth(tries.saturating_sub(1) as usize).unwrap_or_default();
    let longest = TimeDelta::from_std(pause * 2 + GRACE).unwrap_or(TimeDelta::MAX);
    Utc::now().signed_duration_since(since) > longest
}

/// The kind of error that the ledger's code stands for: a SQLSTATE, or a kind in lower case.
fn kind_of(code: &str) -> ErrorKind {
    match code {
        "connection" => ErrorKind::Connection,
        "contention" => ErrorKind::Contention,
        "preflight" => ErrorKind::Preflight,
        "config" => ErrorKind::Config,
        "resources" => ErrorKind::Resources,
        "locked" => ErrorKind::Locked,
        code if code.len() == 5 => sqlstate::classify(code, ""),
        _ => ErrorKind::Server,
    }
}

fn error(kind: ErrorKind, record: &IntervalRecord) -> Error {
    let message = record.error_message.as_deref().unwrap_or("it failed");
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    let host = record.host.as_deref().unwrap_or("another process");
    let process = record.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let error = Error::new(kind, format!("on {host}{process}: {first}"));
    lines.fold(error, Error::with_detail)
}
