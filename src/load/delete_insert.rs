//! `delete-insert`: an interval's rows are replaced by the source's.
//!
//! The first load commits batches straight into the table, after the interval was found empty. A
//! reload is staged and published by one transaction, so that a reader never sees a hole. Rows of tables
//! that inherit from the target are nobody's here: COPY and INSERT put none there.

use super::Target;

/// Removes the rows that the interval owns; the parameters are those of `target.owned`.
#[must_use]
pub(super) fn delete(target: &Target) -> String {
    format!("delete from {}{}", target.own_sql, target.owned.where_clause())
}

/// Counts the rows that the interval owns.
#[must_use]
pub(super) fn count(target: &Target) -> String {
    format!("select pg_catalog.count(*) from {}{}", target.own_sql, target.owned.where_clause())
}

/// Says whether the interval owns any row.
#[must_use]
pub(super) fn any(target: &Target) -> String {
    format!("select exists (select from {}{})", target.own_sql, target.owned.where_clause())
}
