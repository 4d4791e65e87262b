//! `append`: rows are added, nothing is ever removed.
//!
//! Without a `resume_key` an interval is one transaction, so a broken attempt leaves nothing. With
//! one, batches commit and the next attempt goes on after the last key, which the source's order
//! makes the greatest.

use super::Target;

/// Puts the staged rows into the table.
#[must_use]
pub(super) fn publish(target: &Target, stage_sql: &str) -> String {
    super::stage::insert(target, stage_sql)
}
