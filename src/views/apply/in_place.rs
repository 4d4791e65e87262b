//! What needs nothing built: records, alterations in place, indexes.

use std::time::Instant;

use super::super::diff::{Class, Step};
use super::super::files::Folder;
use super::super::survey::Plan;
use super::{Applier, Outcome, Said, TRIES};
use crate::error::{ErrorKind, Result};

impl Applier<'_> {
    /// What needs nothing built: records, alterations in place, indexes.
    pub(super) async fn cheap(&self, plan: &Plan, folder: &Folder, outcome: &mut Outcome) -> Result<()> {
        for step in &plan.steps {
            let started = Instant::now();
            let result = match step.class {
                Class::Touched | Class::Accept => self.record_alone(step, folder, started).await,
                Class::Properties => self.properties(step, folder, started).await,
                Class::Indexes => self.indexes(step, folder, started).await,
                Class::Failed => {
                    let event = self.event(step, None, &step.cause, started);
                    self.record_failure(step, &event, (step.sqlstate.as_deref(), &step.cause)).await?;
                    continue;
                }
                _ => continue,
            };
            Box::pin(self.settle(step, result, started, outcome)).await?;
        }
        Ok(())
    }

    /// Records a view as it is, with the file as it is.
    async fn record_alone(&self, step: &Step, folder: &Folder, started: Instant) -> Result<()> {
        let Some(live) = &step.live else { return Ok(()) };
        self.begin(&format!("recording {}", step.name)).await?;
        let result = self.record(step, folder, (live.oid, ""), started).await;
        self.end(result).await
    }

    async fn properties(&self, step: &Step, folder: &Folder, started: Instant) -> Result<()> {
        let Some(live) = &step.live else { return Ok(()) };
        let sql: Vec<String> = step.changes.iter().flat_map(|change| change.sql.clone()).collect();
        let doing = format!("altering {}", step.name);
        for next_try in 2.. {
            self.begin(&doing).await?;
            let work = async {
                for statement in &sql {
                    self.session.batch(&doing, statement).await?;
                }
                self.record(step, folder, (live.oid, &sql.join(";\n")), started).await
            };
            let result = work.await;
            match self.end(result).await {
                Err(error) if error.kind() == ErrorKind::Contention && next_try <= TRIES => {
                    self.wait(step, next_try).await
                }
                result => return result,
            }
        }
        Ok(())
    }

    /// Indexes one by one, outside of transactions: new ones first, then the surplus.
    async fn indexes(&self, step: &Step, folder: &Folder, started: Instant) -> Result<()> {
        let Some(live) = &step.live else { return Ok(()) };
        (self.listener)(Said::Started { name: step.name.clone(), what: "making indexes" });
        let doing = format!("making indexes of {}", step.name);
        // A wait for old snapshots is no wait for a lock that blocks anybody.
        self.session.batch(&doing, "set lock_timeout = 0").await?;
        let mut sql = Vec::new();
        for statement in step.changes.iter().flat_map(|change| &change.sql) {
            self.session.batch(&doing, statement).await?;
            sql.push(statement.clone());
        }
        self.begin(&doing).await?;
        let result = self.record(step, folder, (live.oid, &sql.join(";\n")), started).await;
        self.end(result).await
    }
}
