//! Whether the source has come as far as an interval needs, before anything is claimed or cleared.
//!
//! The plan looks at this machine's clock alone, so that it needs no server. What it finds complete may not
//! be so on the source, whose clock or whose replay is behind: such an interval is not tried, and no try of
//! it is counted. A session's server does not go back, so it is asked once and again only for what is later.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Outcome, Tries};
use super::slot::Slot;
use super::window::Work;
use crate::error::{ErrorKind, Result};
use crate::plan;
use crate::postgres::horizon::{Completion, Horizon};

/// How long clocks may differ, or a standby be behind, without anybody being told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(250);

impl Tries<'_> {
    /// When the source has all that is read; none if the rows are those of whenever they are read.
    pub(super) fn completion(&self) -> Option<Completion> {
        let Work { job, now, .. } = self.work;
        let at = plan::complete_on_source(job, &self.planned.interval, *now)?;
        Some(Completion { key: self.planned.key.clone(), at: at.with_timezone(&job.timezone) })
    }

    /// Fails, or leaves the interval for a later look, if the source has not come so far.
    pub(super) async fn source_is_complete(&self, slot: &mut Slot) -> Result<Option<Outcome>> {
        let Some(completion) = self.completion() else { return Ok(None) };
        let moment = completion.at.to_utc();
        if slot.horizon.is_some_and(|horizon| horizon.is_past(moment)) {
            return Ok(None);
        }
        let patience = PATIENCE.min(self.work.job.progress_timeout / 2);
        let end = Instant::now() + patience;
        loop {
            let source = slot.source()?;
            let horizon = Horizon::ask(source).await?;
            let checked = completion.check(&horizon, source.server());
            slot.horizon = Some(horizon);
            let Err(error) = checked else { return Ok(None) };
            let is_near =
                horizon.until.is_some_and(|until| (moment - until).to_std().is_ok_and(|gap| gap <= patience));
            if is_near && Instant::now() < end {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            // Whoever looks again by itself has nothing to report yet.
            let looks_again = self.work.engine.options.leave_held && error.kind() == ErrorKind::NotComplete;
            return if looks_again { Ok(Some(Outcome::Held(error.to_string()))) } else { Err(error) };
        }
    }
}
