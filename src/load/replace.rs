//! `replace`: the whole table, or the whole scope of the job, is replaced.
//!
//! `TRUNCATE` knows no condition, so a job with a scope deletes. A `TRUNCATE` shows an empty table to
//! snapshots that are older than it.

use super::{Target, delete_insert};
use crate::config::job::EmptyWith;

/// Empties what the job owns.
#[must_use]
pub(super) fn empty(target: &Target, with: EmptyWith) -> String {
    match with {
        EmptyWith::Truncate if target.owned.sql.is_empty() => format!("truncate table {}", target.own_sql),
        EmptyWith::Truncate | EmptyWith::Delete => delete_insert::delete(target),
    }
}
