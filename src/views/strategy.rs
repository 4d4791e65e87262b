//! Which of the three ways a view is refreshed in, and why: pure, by what was measured.
//!
//! | way | costs | readers |
//! | --- | --- | --- |
//! | plain | the least | wait for all of it |
//! | swap | a fifth more, and room for two copies | wait for a moment |
//! | concurrent | five times as much, but writes only what changed | do not wait |
//!
//! So few changes are for concurrent, which also leaves what reads the view fresh where nothing changed;
//! many changes, or dead rows left by earlier ones, for swap; plain is for what nobody can read yet, for
//! moments, and for where nothing else is possible.

use std::time::Duration;

use super::catalog::MaterializedView;
use super::options::RefreshMode;
use crate::config::quantity::show_duration;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ViewRecord;

/// Readers may wait so long without anybody noticing.
const MOMENT: Duration = Duration::from_millis(250);

/// The part of the rows, in hundredths, up to which a concurrent refresh is the cheaper one.
const FEW_CHANGES: u64 = 10;

/// Dead rows for each hundred live ones from which on the view is better written anew.
const MANY_DEAD: u64 = 20;

/// A way of refreshing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// `REFRESH`.
    Plain,
    /// `REFRESH ... CONCURRENTLY`.
    Concurrent,
    /// Built beside and exchanged.
    Swap,
}

impl Way {
    /// Its word, as the ledger has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Concurrent => "concurrent",
            Self::Swap => "swap",
        }
    }
}

/// A choice and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The way.
    pub way: Way,
    /// Why this one.
    pub why: String,
    /// What a person should know of it.
    pub warning: Option<String>,
}

impl Choice {
    fn new(way: Way, why: impl Into<String>) -> Self {
        Self { way, why: why.into(), warning: None }
    }
}

/// Chooses; `obstacle` is what makes a swap impossible, if something does.
///
/// # Errors
/// `Preflight`, if the way that was asked for is not possible.
pub fn choose(
    asked: RefreshMode,
    view: &MaterializedView,
    record: Option<&ViewRecord>,
    obstacle: Option<&str>,
) -> Result<Choice> {
    match asked {
        _ if !view.is_populated => Ok(Choice::new(Way::Plain, "it holds no rows: nobody can read it yet")),
        RefreshMode::Plain | RefreshMode::Never => Ok(Choice::new(Way::Plain, "asked for")),
        RefreshMode::Concurrent if view.unique_index.is_some() => {
            Ok(with_null_warning(Choice::new(Way::Concurrent, "asked for"), view))
        }
        RefreshMode::Concurrent => Err(not_concurrently(view)),
        RefreshMode::Swap => match obstacle {
            None => Ok(Choice::new(Way::Swap, "asked for")),
            Some(obstacle) => Err(not_by_swap(view, obstacle)),
        },
        RefreshMode::Auto => Ok(automatic(view, record, obstacle)),
    }
}

fn automatic(view: &MaterializedView, record: Option<&ViewRecord>, obstacle: Option<&str>) -> Choice {
    let can_swap = obstacle.is_none();
    let known = record.and_then(|record| record.median);
    match &view.unique_index {
        Some(index) if !view.has_null_keys => {
            if can_swap && is_bloated(view) {
                return Choice::new(Way::Swap, "more than a fifth of its rows are dead");
            }
            if known.is_some_and(|time| time <= MOMENT) {
                return Choice::new(Way::Concurrent, format!("takes a moment; unique index {index}"));
            }
            match changed_lately(view, record) {
                Some(percent) => {
                    let is_many = percent > FEW_CHANGES && can_swap;
                    let way = if is_many { Way::Swap } else { Way::Concurrent };
                    Choice::new(way, format!("{percent} % of its rows changed when they were last counted"))
                }
                None => Choice::new(Way::Concurrent, format!("unique index {index}")),
            }
        }
        _ if known.is_some_and(|time| time <= MOMENT) => {
            Choice::new(Way::Plain, "takes a moment, and no index lets it be concurrent")
        }
        Some(_) if can_swap => Choice::new(Way::Swap, "every unique index has NULLs in its key"),
        None if can_swap => Choice::new(Way::Swap, "no unique index"),
        Some(_) => {
            let why = format!("{}, so it cannot be swapped", obstacle.unwrap_or_default());
            with_null_warning(Choice::new(Way::Concurrent, why), view)
        }
        None => {
            let why = format!("no unique index, and {}", obstacle.unwrap_or_default());
            let time =
                known.map_or_else(|| "all of it".to_owned(), |t| format!("about {}", show_duration(t)));
            let warning =
                format!("{}: readers wait for {time}; a unique index would let them go on", view.name);
            Choice { warning: Some(warning), ..Choice::new(Way::Plain, why) }
        }
    }
}

fn with_null_warning(choice: Choice, view: &MaterializedView) -> Choice {
    if !view.has_null_keys {
        return choice;
    }
    let warning = format!(
        "{}: the key of its unique index has NULLs: each concurrent refresh writes those rows again",
        view.name
    );
    Choice { warning: Some(warning), ..choice }
}

fn is_bloated(view: &MaterializedView) -> bool {
    view.dead_rows > 1_000 && view.dead_rows * 100 > view.live_rows.max(1) * MANY_DEAD
}

/// The part of the rows, in hundredths, that the latest concurrent refresh wrote or removed. Swaps do not count
/// it, so what it found holds for those that follow, until it is long ago.
fn changed_lately(view: &MaterializedView, record: Option<&ViewRecord>) -> Option<u64> {
    let changed = record?.changed?;
    let rows = changed.of.or(view.rows)?.max(1);
    Some(changed.rows.saturating_mul(100).div_ceil(rows))
}

fn not_concurrently(view: &MaterializedView) -> Error {
    Error::new(
        ErrorKind::Preflight,
        format!("{} cannot be refreshed concurrently: no unique index", view.name),
    )
    .with_hint(format!(
        "create unique index on {} (...); on plain columns, without a condition; or --strategy swap",
        view.name
    ))
}

fn not_by_swap(view: &MaterializedView, obstacle: &str) -> Error {
    Error::new(ErrorKind::Preflight, format!("{} cannot be swapped: {obstacle}", view.name))
        .with_hint("--strategy auto takes another way")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ChangedRows;
    use crate::name::TableName;

    fn view(index: Option<&str>) -> MaterializedView {
        MaterializedView {
            oid: 1,
            name: TableName::new("mart", "sales"),
            is_populated: true,
            token: String::new(),
            owner: "etl".to_owned(),
            is_mine: true,
            bytes: 0,
            table_bytes: 0,
            rows: Some(1_000),
            live_rows: 10_000,
            dead_rows: 0,
            unique_index: index.map(str::to_owned),
            has_null_keys: false,
            is_locked: false,
        }
    }

    fn concurrent(rows_in: i64, median_ms: u64) -> ViewRecord {
        ViewRecord {
            oid: 1,
            refreshed_at: None,
            data_as_of: None,
            sources: None,
            token: None,
            rows: Some(1_000),
            rows_in: Some(rows_in),
            rows_out: Some(0),
            last: None,
            median: Some(Duration::from_millis(median_ms)),
            changed: Some(ChangedRows { rows: rows_in.unsigned_abs(), of: Some(1_000) }),
            failed_at: None,
            error: None,
        }
    }

    fn way(view: &MaterializedView, record: Option<&ViewRecord>, obstacle: Option<&str>) -> Way {
        choose(RefreshMode::Auto, view, record, obstacle).unwrap().way
    }

    #[test]
    fn few_changes_are_concurrent_and_many_are_swapped() {
        let keyed = view(Some("sales_key"));
        assert_eq!(way(&keyed, None, None), Way::Concurrent);
        assert_eq!(way(&keyed, Some(&concurrent(10, 9_000)), None), Way::Concurrent);
        assert_eq!(way(&keyed, Some(&concurrent(300, 9_000)), None), Way::Swap);
        assert_eq!(way(&keyed, Some(&concurrent(300, 9_000)), Some("x")), Way::Concurrent);
        assert_eq!(way(&keyed, Some(&concurrent(300, 100)), None), Way::Concurrent, "nobody notices");
        let bloated = MaterializedView { dead_rows: 3_000, ..keyed };
        assert_eq!(way(&bloated, None, None), Way::Swap);
    }

    #[test]
    fn without_a_key_it_is_swapped_or_plain_for_a_moment_or_plain_with_a_warning() {
        let bare = view(None);
        assert_eq!(way(&bare, None, None), Way::Swap);
        assert_eq!(way(&bare, Some(&concurrent(0, 100)), None), Way::Plain);
        let plain =
            choose(RefreshMode::Auto, &bare, Some(&concurrent(0, 9_000)), Some("mart.x reads it")).unwrap();
        assert_eq!((plain.way, plain.warning.unwrap().contains("about 9s")), (Way::Plain, true));
    }

    #[test]
    fn a_key_with_nulls_is_no_key_and_no_rows_are_plain() {
        let nulls = MaterializedView { has_null_keys: true, ..view(Some("k")) };
        assert_eq!(way(&nulls, None, None), Way::Swap);
        let forced = choose(RefreshMode::Concurrent, &nulls, None, None).unwrap();
        assert!(forced.warning.unwrap().contains("NULLs"));
        let empty = MaterializedView { is_populated: false, ..view(Some("k")) };
        assert_eq!(choose(RefreshMode::Swap, &empty, None, None).unwrap().way, Way::Plain);
    }

    #[test]
    fn what_was_asked_for_and_is_not_possible_is_refused_with_what_would_help() {
        let bare = view(None);
        let error = choose(RefreshMode::Concurrent, &bare, None, None).unwrap_err();
        assert!(error.hint().unwrap().contains("create unique index"));
        let error = choose(RefreshMode::Swap, &bare, None, Some("mart.x reads it")).unwrap_err();
        assert!(error.to_string().contains("mart.x reads it"));
    }
}
