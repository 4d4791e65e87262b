//! What an apply that was killed left beside: removed by the next one, which holds the lock.

use super::{Applier, Said, mark, prefix};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Schemas with our mark, and what is in them, what was made last first.
const LEFT: &str = "
select n.nspname::text as schema, c.relname::text as name, c.relkind = 'm' as is_matview
from pg_catalog.pg_namespace n
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('m', 'v')
where pg_catalog.starts_with(pg_catalog.obj_description(n.oid, 'pg_namespace'), $1)
order by c.oid desc";

/// Names what an apply left that was killed.
///
/// # Errors
/// The server's.
pub async fn leftovers(session: &Session, ledger: &Ledger) -> Result<Vec<String>> {
    let rows = session.query("looking for what an apply left", LEFT, &[&mark(ledger)]).await?;
    let mut found: Vec<String> = rows.iter().map(|row| row.get("schema")).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

impl Applier<'_> {
    /// Removes what an apply left that was killed. To be called with the lock held.
    ///
    /// # Errors
    /// The server's; something that stands on a leftover keeps it, and is named.
    pub async fn clean(&self) -> Result<()> {
        self.remove(|_| true).await
    }

    /// Removes what a unit left that failed.
    pub(super) async fn abandon(&self, unit: usize) -> Result<()> {
        let prefix = prefix(self.ledger, unit);
        self.session.batch("after a failure", "set search_path to ''; reset check_function_bodies; set statement_timeout = 0; reset work_mem").await?;
        self.remove(|schema| schema.starts_with(&prefix)).await
    }

    async fn remove(&self, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
        let doing = "removing what an apply left";
        let rows = self.session.query(doing, LEFT, &[&mark(self.ledger)]).await?;
        let mut schemas: Vec<String> = Vec::new();
        for row in &rows {
            let schema: String = row.get("schema");
            if !is_wanted(&schema) {
                continue;
            }
            if let Some(name) = row.get::<_, Option<String>>("name") {
                let kind = if row.get("is_matview") { "materialized view" } else { "view" };
                let sql = format!("drop {kind} {}.{}", ident::quote(&schema), ident::quote(&name));
                self.session.batch(doing, &sql).await?;
            }
            if !schemas.contains(&schema) {
                schemas.push(schema);
            }
        }
        for schema in schemas {
            self.session.batch(doing, &format!("drop schema {}", ident::quote(&schema))).await?;
            (self.listener)(Said::Cleaned { what: schema });
        }
        Ok(())
    }
}
