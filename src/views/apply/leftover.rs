//! What an apply that was killed left beside: removed by the next one, which holds the lock.

use super::super::diff::Step;
use super::super::scratch::Scratch;
use super::super::statement::ObjectKind;
use super::{Applier, Said, mark, prefix};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Schemas with our mark, and what is in them, what was made last first.
const LEFT: &str = "
with left_over as (
    select n.oid, n.nspname::text as schema from pg_catalog.pg_namespace n
    where pg_catalog.starts_with(pg_catalog.obj_description(n.oid, 'pg_namespace'), $1)
)
select s.schema, o.what
from left_over s
left join lateral (
    select c.oid, pg_catalog.format('%s %I.%I', case c.relkind when 'm' then 'materialized view' else 'view' end,
                                    s.schema, c.relname) as what
    from pg_catalog.pg_class c where c.relnamespace = s.oid and c.relkind in ('m', 'v')
    union all
    select p.oid, pg_catalog.format('function %I.%I(%s)', s.schema, p.proname,
                                    pg_catalog.pg_get_function_identity_arguments(p.oid))
    from pg_catalog.pg_proc p where p.pronamespace = s.oid) o on true
order by o.oid desc";

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

    /// Removes what a unit left that failed as a whole.
    pub(super) async fn abandon(&self, unit: usize) -> Result<()> {
        let prefix = prefix(self.ledger, unit);
        self.remove(|schema| schema.starts_with(&prefix)).await
    }

    /// Removes what was built of steps that failed, readers first, where the rest of the unit goes on.
    pub(super) async fn discard(&self, steps: &[&Step], scratch: &Scratch) -> Result<()> {
        for step in steps.iter().rev().filter(|step| step.class.is_built()) {
            let name = ident::quote_table(&scratch.name(&step.name));
            let arguments = match (step.kind, &step.want) {
                (ObjectKind::Function, Some(want)) => format!("({})", want.arguments),
                _ => String::new(),
            };
            let sql = format!("drop {} if exists {name}{arguments}", step.kind.sql());
            self.session.batch("removing what cannot be swapped", &sql).await?;
        }
        Ok(())
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
            if let Some(what) = row.get::<_, Option<String>>("what") {
                self.session.batch(doing, &format!("drop {what}")).await?;
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
