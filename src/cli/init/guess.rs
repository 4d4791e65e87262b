//! How a table is best copied, as far as the catalog tells: by which column, in which mode.
//!
//! Rows that are only added go by the time they were made, and each day is replaced. Rows that change
//! go by the time they were changed, into their key: a row that changed moves to another day, and
//! replacing days would leave its old self behind.

use chrono::NaiveDate;

use crate::config::job::LoadMode;
use crate::postgres::catalog::{Column, Relation};
use crate::postgres::time_column::tells_time;

/// Words of a column's name that say when a row was made.
const MADE: [&str; 24] = [
    "created",
    "create",
    "inserted",
    "added",
    "occurred",
    "happened",
    "recorded",
    "logged",
    "received",
    "ordered",
    "placed",
    "registered",
    "sent",
    "event",
    "start",
    "started",
    "time",
    "timestamp",
    "ts",
    "date",
    "day",
    "datetime",
    "at",
    "on",
];
/// Words that say when it was last changed.
const CHANGED: [&str; 8] =
    ["updated", "update", "modified", "changed", "change", "refreshed", "synced", "mtime"];
/// Words that say something else about time.
const OTHER: [&str; 22] = [
    "birth",
    "birthday",
    "born",
    "dob",
    "deleted",
    "archived",
    "expires",
    "expired",
    "expiry",
    "expiration",
    "due",
    "until",
    "end",
    "ended",
    "finished",
    "closed",
    "cancelled",
    "canceled",
    "valid",
    "deadline",
    "to",
    "next",
];

/// How to copy a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    /// The column that cuts the rows into days; none to copy the table whole.
    pub(super) time_column: Option<String>,
    /// Other columns that could.
    pub(super) others: Vec<String>,
    /// How rows get in.
    pub(super) mode: LoadMode,
    /// The key of `merge`.
    pub(super) key: Vec<String>,
    /// The date of the first row, if it was looked for.
    pub(super) start_date: Option<NaiveDate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Made,
    Changed,
    Unclear,
    Other,
}

impl Guess {
    /// Guesses from names, types and indexes.
    pub(super) fn of(relation: &Relation) -> Self {
        let times: Vec<&Column> = relation.columns.iter().filter(|column| tells_time(column)).collect();
        let scored = times.iter().filter_map(|column| Some((score(relation, column)?, *column)));
        // Of equals, the first column of the table.
        let best = scored.rev().max_by_key(|(score, _)| *score).map(|(_, column)| column);
        let mode = match best {
            None => LoadMode::Replace,
            Some(column) if meaning(&column.name) == Meaning::Changed => LoadMode::Merge,
            Some(_) => LoadMode::DeleteInsert,
        };
        let others = times.iter().filter(|column| Some(**column) != best).map(|column| column.name.clone());
        Self {
            time_column: best.map(|column| column.name.clone()),
            others: others.collect(),
            mode,
            key: if mode == LoadMode::Merge { relation.primary_key.clone() } else { Vec::new() },
            start_date: None,
        }
    }

    /// `public.flights by day of time_hour, delete-insert`.
    pub(super) fn summary(&self, relation: &Relation) -> String {
        match &self.time_column {
            Some(column) => format!("{} by day of {column}, {}", relation.name, self.mode.word()),
            None => format!("{} whole, {}", relation.name, self.mode.word()),
        }
    }
}

/// How well a column cuts the table into days; none if it does not.
fn score(relation: &Relation, column: &Column) -> Option<u32> {
    let is_indexed = relation.index_on(&column.name);
    let by_name = match meaning(&column.name) {
        Meaning::Made => 6,
        // Without a key, a changed row could not find its old self.
        Meaning::Changed if relation.primary_key.is_empty() => return None,
        Meaning::Changed => 5,
        Meaning::Unclear if is_indexed => 1,
        Meaning::Unclear | Meaning::Other => return None,
    };
    Some(by_name + 3 * u32::from(column.not_null) + 3 * u32::from(is_indexed))
}

fn meaning(name: &str) -> Meaning {
    let words = words(name);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    if has(&CHANGED) {
        Meaning::Changed
    } else if has(&OTHER) {
        Meaning::Other
    } else if has(&MADE) {
        Meaning::Made
    } else {
        Meaning::Unclear
    }
}

/// The words of `created_at`, `createdAt` and `Created At`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let is_new = !c.is_alphanumeric() || (was_lower && c.is_uppercase());
        if is_new {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is always a word").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_time_means() {
        for name in ["created_at", "createdAt", "time_hour", "ts", "order_date", "inserted_on", "event_time"]
        {
            assert_eq!(meaning(name), Meaning::Made, "{name}");
        }
        for name in ["updated_at", "updatedAt", "last_modified", "LastChange_date"] {
            assert_eq!(meaning(name), Meaning::Changed, "{name}");
        }
        for name in ["birth_date", "deleted_at", "expires_on", "valid_to", "due_date", "expiresAt"] {
            assert_eq!(meaning(name), Meaning::Other, "{name}");
        }
        assert_eq!(meaning("whenever"), Meaning::Unclear);
    }
}
