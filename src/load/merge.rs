//! `merge`: rows are inserted or, where the key exists and something differs, updated.
//!
//! A batch is copied into a temporary table of the writer's session and merged from there in the same
//! transaction. Rows are ordered by key, so that two writers lock rows in the same order. Rows that
//! left the source stay.

use super::Target;
use crate::postgres::ident;

/// The temporary table of a writer's session, quoted.
pub(super) const TEMPORARY_TABLE: &str = "pg_temp.\"pgtide merge\"";

/// Makes the temporary table; it is empty at each transaction's start.
#[must_use]
pub(super) fn create_temporary(target: &Target) -> String {
    format!(
        "create temporary table if not exists \"pgtide merge\" on commit delete rows as select {} from {} limit 0",
        ident::quote_list(&target.columns),
        target.sql
    )
}

/// Removes it, for the next interval may have other columns.
#[must_use]
pub(super) fn drop_temporary() -> String {
    format!("drop table if exists {TEMPORARY_TABLE}")
}

/// Merges the temporary table into the target.
#[must_use]
pub(super) fn merge(target: &Target, key: &[String]) -> String {
    let columns = ident::quote_list(&target.columns);
    let rest: Vec<_> = target.columns.iter().filter(|c| !key.contains(c)).map(|c| ident::quote(c)).collect();
    let action = if rest.is_empty() {
        "do nothing".to_owned()
    } else {
        let set: Vec<_> = rest.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        let old: Vec<_> = rest.iter().map(|c| format!("t.{c}")).collect();
        let new: Vec<_> = rest.iter().map(|c| format!("excluded.{c}")).collect();
        // The record operator compares images: it needs no equality of the columns' own types.
        format!(
            "do update set {} where row({})::record operator(pg_catalog.*<>) row({})::record",
            set.join(", "),
            old.join(", "),
            new.join(", ")
        )
    };
    let key = ident::quote_list(key);
    format!(
        "insert into {} as t ({columns}) select {columns} from {TEMPORARY_TABLE} order by {key} on conflict ({key}) {action}",
        target.sql
    )
}
