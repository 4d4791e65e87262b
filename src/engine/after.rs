//! After an interval is loaded: sequences that continue after the copied values, statistics.
//!
//! The rows are committed by now; what goes wrong here is said and does not undo them.

use super::window::Work;
use crate::config::job::LoadMode;
use crate::error::Result;
use crate::event::{Event, Loaded};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Does what is left to do, and says what could not be done.
pub(super) async fn tidy(work: &Work, control: &Session, loaded: &Loaded) {
    for (what, result) in [
        ("sequences were not set", set_sequences(work, control).await),
        ("statistics were not renewed", analyze(work, control, loaded).await),
    ] {
        if let Err(error) = result {
            let message = format!("{}: {what}: {}", work.resolved.table_name(), error.chain());
            work.engine.events.send(Event::Notice { message });
        }
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

/// The planner is told when more than a tenth of the table is new.
async fn analyze(work: &Work, control: &Session, loaded: &Loaded) -> Result<()> {
    let Some(table) = work.resolved.destination().filter(|_| work.job.analyze) else { return Ok(()) };
    let known = table.estimated_rows.unwrap_or(0).unsigned_abs();
    if loaded.rows * 10 <= known {
        return Ok(());
    }
    let sql = format!("analyze {}", ident::quote_table(&table.name));
    control.batch(&format!("analyzing {}", table.name), &sql).await
}
