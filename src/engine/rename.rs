//! A job that has another name than before: its ledger goes on under the new one.

use super::Engine;
use super::slot::Slot;
use crate::config::job::Job;
use crate::error::Result;
use crate::event::Event;
use crate::ledger::Ledger;

impl Engine {
    /// Carries over what the ledger has under the job's old name, and says so.
    pub(super) async fn rename(&self, ledger: Option<&Ledger>, slot: &Slot, job: &Job) -> Result<()> {
        let (Some(ledger), Some(was)) = (ledger, &job.was) else { return Ok(()) };
        let renamed = ledger.rename(slot.control()?, was, &job.name, &self.owner).await?;
        if renamed > 0 {
            let message =
                format!("{}: goes on with what the ledger has as {was}, intervals: {renamed}", job.name);
            self.events.send(Event::Notice { message });
        }
        Ok(())
    }
}
