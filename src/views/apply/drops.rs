//! Drops: what stands on others first, never with CASCADE, and what it was is kept.

use std::time::{Duration, Instant};

use super::super::alter;
use super::super::diff::{Class, Step};
use super::super::survey::Plan;
use super::{Applier, Outcome, Said, TRIES};
use crate::error::{ErrorKind, Result};

impl Applier<'_> {
    /// Drops, what stands on others first.
    pub(super) async fn drops(&self, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
        let mut left: Vec<&Step> = plan.of(|class| class == Class::Drop).collect();
        loop {
            let before = left.len();
            let mut stuck = Vec::new();
            for step in left {
                match self.drop_all(std::slice::from_ref(step)).await {
                    Ok(()) => {
                        outcome.done.push((step.name.clone(), Class::Drop));
                        (self.listener)(Said::Done {
                            name: step.name.clone(),
                            class: Class::Drop,
                            elapsed: Duration::ZERO,
                        });
                    }
                    Err(error) if self.session.is_closed() => return Err(error),
                    Err(error) => stuck.push((step, error)),
                }
            }
            if stuck.len() == before || stuck.is_empty() {
                for (step, error) in stuck {
                    outcome.failed.push((step.name.clone(), error.chain()));
                    (self.listener)(Said::Failed { name: step.name.clone(), error: error.chain() });
                }
                return Ok(());
            }
            left = stuck.into_iter().map(|(step, _)| step).collect();
        }
    }

    /// Drops objects in this order in one transaction, never with CASCADE, and keeps what they were.
    ///
    /// # Errors
    /// The server's: something stands on one of them; then all are still there.
    pub async fn drop_all(&self, steps: &[Step]) -> Result<()> {
        for next_try in 2.. {
            self.begin("dropping views").await?;
            let work = async {
                for step in steps {
                    self.drop_inside(step).await?;
                }
                Ok(())
            };
            let result = work.await;
            match (self.end(result).await, steps.first()) {
                (Err(error), Some(step)) if error.kind() == ErrorKind::Contention && next_try <= TRIES => {
                    self.wait(step, next_try).await;
                }
                (result, _) => return result,
            }
        }
        Ok(())
    }

    async fn drop_inside(&self, step: &Step) -> Result<()> {
        let started = Instant::now();
        let mut sql = String::new();
        if let Some(live) = &step.live {
            sql = format!("drop {}", alter::target(live));
            self.session.batch(&format!("dropping {}", step.name), &sql).await?;
        }
        self.ledger.forget_view_object(self.session, &step.name.to_string()).await?;
        let event = self.event(step, None, &sql, started);
        self.ledger.record_view_event(self.session, self.owner, &event).await
    }
}
