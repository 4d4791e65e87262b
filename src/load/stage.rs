//! Staged tables: UNLOGGED, in the ledger's schema, named by the attempt's token.
//!
//! A crash of the server empties an UNLOGGED table, so what is staged is counted before it is
//! published. An attempt's staged table goes with the publishing transaction or with the next claim.

use super::Target;
use crate::error::Result;
use crate::ledger::{Claim, Ledger};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Makes a staged table with the target's columns.
#[must_use]
pub(super) fn create(target: &Target, stage_sql: &str) -> String {
    format!(
        "create unlogged table {stage_sql} as select {} from {} limit 0",
        ident::quote_list(&target.columns),
        target.sql
    )
}

/// Makes a table for the keys that are merged; a second row with the same key is refused, as the target's own
/// indexes would tell.
#[must_use]
pub(super) fn create_keys(target: &Target, key: &[String], stage_sql: &str) -> String {
    let columns = ident::quote_list(key);
    let table = format!("create unlogged table {stage_sql} as select {columns} from {} limit 0", target.sql);
    let indexes = target.merge_key.indexes.iter();
    let indexes = indexes.map(|index| format!("; create unique index on {stage_sql} ({index})"));
    std::iter::once(table).chain(indexes).collect()
}

/// Removes a staged table, if it is there.
#[must_use]
pub(super) fn drop(stage_sql: &str) -> String {
    format!("drop table if exists {stage_sql}")
}

/// Counts the staged rows.
#[must_use]
pub(super) fn count(stage_sql: &str) -> String {
    format!("select pg_catalog.count(*) from {stage_sql}")
}

/// Removes what a failed attempt staged; where that does not work at once, the next attempt does it.
///
/// # Errors
/// The server's.
pub async fn discard(session: &Session, ledger: &Ledger, claim: &Claim) -> Result<()> {
    let table = format!("{}.{}", ident::quote(ledger.schema()), ident::quote(&claim.stage_name()));
    let sql = format!("begin; set local lock_timeout = '1s'; {}; commit", drop(&table));
    session.batch("dropping the staged table", &sql).await
}

/// Puts the staged rows into the table.
#[must_use]
pub(super) fn insert(target: &Target, stage_sql: &str) -> String {
    if target.columns.is_empty() {
        return format!("insert into {} select from {stage_sql}", target.sql);
    }
    let columns = ident::quote_list(&target.columns);
    format!(
        "insert into {} ({columns}) overriding system value select {columns} from {stage_sql}",
        target.sql
    )
}
