//! After a run's intervals: the views that read the table.

use super::slot::Slot;
use super::{Engine, stopped};
use crate::config::job::{Job, Refresh};
use crate::error::Result;
use crate::event::{Event, Summary};
use crate::views;

impl Engine {
    /// Refreshes what reads the table, once per run, also when only some intervals arrived.
    pub(super) async fn refresh_views(
        &self,
        job: &Job,
        table_oid: u32,
        slot: &mut Slot,
        summary: &Summary,
    ) -> Result<()> {
        if summary.loaded == 0 || self.shutdown.is_requested() {
            return Ok(());
        }
        if job.refresh == Refresh::None {
            if let Err(error) = self.answered(job, self.name_stale_views(job, table_oid, slot)).await {
                tracing::debug!("the views that are stale now are not known: {}", error.chain());
            }
            return Ok(());
        }
        slot.open(self, job, 0).await?;
        let session = slot.control()?;
        let views = views::refresh::dependents(session, table_oid).await?;
        let wanted = match &job.refresh {
            Refresh::Named(names) => views::refresh::named(views, names)?,
            Refresh::Dependents | Refresh::None => views,
        };
        let mut shutdown = self.shutdown.clone();
        let canceller = session.canceller();
        tokio::select! {
            refreshed = views::refresh::refresh_all(session, &wanted, &self.events) => refreshed,
            () = shutdown.requested() => {
                canceller.cancel().await;
                Err(stopped())
            }
        }
    }

    /// Tells which views nobody asked to refresh: a courtesy, which no load fails for.
    async fn name_stale_views(&self, job: &Job, table_oid: u32, slot: &mut Slot) -> Result<()> {
        slot.open(self, job, 0).await?;
        let views = views::refresh::dependents(slot.control()?, table_oid).await?;
        if !views.is_empty() {
            let names: Vec<_> = views.iter().map(|v| v.name.to_string()).collect();
            let message = format!("stale now, not refreshed: {}", names.join(", "));
            self.events.send(Event::Notice { message });
        }
        Ok(())
    }
}
