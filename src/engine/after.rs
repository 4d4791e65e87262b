//! After an interval is loaded: sequences that continue after the copied values, statistics.
//!
//! The rows are committed by now; what goes wrong here is said and does not undo them. Statistics are
//! renewed when the table has doubled, and at the end of the run: after each of many small intervals
//! they would cost more than the intervals.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slot::Slot;
use super::window::Work;
use crate::config::job::LoadMode;
use crate::error::Result;
use crate::event::{Event, Loaded};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The rows of a table that the planner knows of, and those that came since.
#[derive(Debug, Default)]
pub(super) struct Growth {
    known: AtomicU64,
    new: AtomicU64,
}

impl Growth {
    pub(super) fn of(known: i64) -> Self {
        Self { known: u64::try_from(known).unwrap_or(0).into(), new: AtomicU64::new(0) }
    }

    fn add(&self, rows: u64) {
        self.new.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether so many times the new rows are more than the known ones; the new ones then count as known.
    fn takes_in(&self, times: u64) -> bool {
        let new = self.new.load(Ordering::Relaxed);
        if new.saturating_mul(times) <= self.known.load(Ordering::Relaxed) {
            return false;
        }
        // Of two intervals that end at once, one renews the statistics.
        let taken = self.new.swap(0, Ordering::Relaxed);
        self.known.fetch_add(taken, Ordering::Relaxed);
        taken > 0
    }
}

/// Does what is left to do for an interval, and says what could not be done.
pub(super) async fn tidy(work: &Work, control: &Session, loaded: &Loaded) {
    say(work, "sequences were not set", set_sequences(work, control).await);
    work.resolved.growth().add(loaded.rows);
    if work.resolved.growth().takes_in(1) {
        say(work, "statistics were not renewed", analyze(work, control).await);
    }
}

/// Tells the planner at the end of a run when more than a tenth of the table is new.
pub(super) async fn tidy_run(work: &Work, slot: &Slot) {
    if slot.is_open()
        && let Ok(control) = slot.control()
        && work.resolved.growth().takes_in(10)
    {
        say(work, "statistics were not renewed", analyze(work, control).await);
    }
}

fn say(work: &Work, what: &str, result: Result<()>) {
    if let Err(error) = result {
        let message = format!("{}: {what}: {}", work.resolved.table_name(), error.chain());
        work.engine.events.send(Event::Notice { message });
    }
}

/// Identity values were kept, so the next value must come after them.
async fn set_sequences(work: &Work, control: &Session) -> Result<()> {
    if work.job.mode != LoadMode::Replace {
        return Ok(());
    }
    let Some(table) = work.resolved.destination() else { return Ok(()) };
    let loaded: Vec<_> = work.resolved.columns().target_columns().collect();
    for column in table.columns.iter().filter(|c| loaded.contains(&c.name.as_str())) {
        let Some(sequence) = &column.sequence else { continue };
        let sql = format!(
            "select pg_catalog.setval({}::pg_catalog.regclass, max({column})) from {table} having max({column}) is not null",
            ident::literal(&ident::quote_table(sequence)),
            column = ident::quote(&column.name),
            table = ident::quote_table(&table.name),
        );
        control.query_opt(&format!("setting {sequence}"), &sql, &[]).await?;
    }
    Ok(())
}

async fn analyze(work: &Work, control: &Session) -> Result<()> {
    let Some(table) = work.resolved.destination().filter(|_| work.job.analyze) else { return Ok(()) };
    let sql = format!("analyze {}", ident::quote_table(&table.name));
    control.batch(&format!("analyzing {}", table.name), &sql).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_follow_a_table_that_doubles_and_not_each_interval() {
        let growth = Growth::of(-1);
        let mut renewed = Vec::new();
        for interval in 1..=365 {
            growth.add(1000);
            if growth.takes_in(1) {
                renewed.push(interval);
            }
        }
        assert_eq!(renewed, [1, 3, 7, 15, 31, 63, 127, 255]);
        assert!(growth.takes_in(10), "110 of 365 are left for the end of the run");
        assert!(!growth.takes_in(10), "once");
    }
}
