//! `append`: rows are added, nothing is ever removed.
//!
//! Without a `resume_key` an interval is one transaction, so a broken attempt leaves nothing. With
//! one, batches commit and the next attempt goes on after the last key, which the source's order
//! makes the greatest.

use super::Target;

/// Counts the rows that the attempts of the interval added, this transaction's too: `$1`, after the
/// condition's own, is the interval. The ledger knows the transactions; `ledger` is its schema, quoted.
#[must_use]
pub(super) fn count(target: &Target, ledger: &str) -> String {
    let within = match target.within.sql.as_str() {
        "" => String::new(),
        within => format!(" and {within}"),
    };
    format!(
        "select pg_catalog.count(*) from {} where xmin operator(pg_catalog.=) any (array(
             select b.xid::pg_catalog.xid from {ledger}.batch b
             where b.interval_id = ${} and b.number > 0 and not b.staged
             union all select pg_catalog.pg_current_xact_id()::pg_catalog.xid)){within}",
        target.own_sql,
        target.within.params.len() + 1
    )
}

/// Puts the staged rows into the table.
#[must_use]
pub(super) fn publish(target: &Target, stage_sql: &str) -> String {
    super::stage::insert(target, stage_sql)
}
