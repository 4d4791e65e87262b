//! Which views are due by their own clock: `schedule = "@daily"`, `every = "5m after success"`.
//!
//! Pure. What a cron expression means is the caller's: [`due`] asks for the last moment at or before
//! another at which a schedule fires. Days that were missed are one refresh, never several.

use chrono::{DateTime, TimeDelta, Utc};

use super::options::ViewRules;
use super::outlook::Outlook;

/// A view that has a clock of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The view.
    pub oid: u32,
    /// Since when it is due; in the future if it is not yet.
    pub since: DateTime<Utc>,
    /// The words of its clock.
    pub clock: String,
}

/// The latest moment at or before another at which a schedule fires; none if it never did.
pub type Fired<'a> = &'a dyn Fn(&str, DateTime<Utc>) -> Option<DateTime<Utc>>;

/// The views that are due, the longest due first. One that was never refreshed is due now.
#[must_use]
pub fn due(outlook: &Outlook, rules: &ViewRules, fired: Fired<'_>, now: DateTime<Utc>) -> Vec<Due> {
    let clocks = outlook.in_order().into_iter().filter_map(|oid| clock(outlook, rules, fired, (oid, now)));
    let mut due: Vec<Due> = clocks.filter(|due| due.since <= now).collect();
    due.sort_by_key(|due| due.since);
    due
}

/// The next moment at which an `every` makes a view due; schedules know their own.
#[must_use]
pub fn next_pause_end(outlook: &Outlook, rules: &ViewRules) -> Option<DateTime<Utc>> {
    let never = |_: &str, _: DateTime<Utc>| None;
    let all = outlook.in_order().into_iter();
    all.filter_map(|oid| clock(outlook, rules, &never, (oid, outlook.at))).map(|due| due.since).min()
}

fn clock(
    outlook: &Outlook,
    rules: &ViewRules,
    fired: Fired<'_>,
    (oid, now): (u32, DateTime<Utc>),
) -> Option<Due> {
    let options = outlook.options(oid, rules);
    let record = outlook.records.get(&oid);
    let refreshed_at = record.and_then(|record| record.refreshed_at);
    if let Some(every) = options.every {
        let pause = TimeDelta::from_std(every.pause).ok()?;
        // After a failure the pause counts from there: what fails is not tried without an end.
        let last = refreshed_at.max(record.and_then(|record| record.failed_at));
        let since = last.map_or(now, |last| last + pause);
        return Some(Due { oid, since, clock: format!("every {:?} after success", every.pause) });
    }
    let schedule = options.schedule?;
    let since = fired(&schedule, now)?;
    let is_done = refreshed_at.is_some_and(|at| at >= since);
    (!is_done).then_some(Due { oid, since, clock: schedule })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ledger::ViewRecord;
    use crate::name::TableName;
    use crate::views::catalog::{Catalog, MaterializedView};
    use crate::views::options::ViewOptions;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// One view, last refreshed and failed at these seconds.
    fn outlook(refreshed: Option<i64>, failed: Option<i64>) -> Outlook {
        let mut catalog = Catalog::default();
        let view = MaterializedView {
            oid: 1,
            name: TableName::new("mart", "a"),
            is_populated: true,
            token: String::new(),
            owner: String::new(),
            is_mine: true,
            bytes: 0,
            table_bytes: 0,
            rows: None,
            live_rows: 0,
            dead_rows: 0,
            unique_index: None,
            has_null_keys: false,
            is_locked: false,
        };
        catalog.views.insert(1, view);
        let record = ViewRecord {
            oid: 1,
            refreshed_at: refreshed.map(at),
            data_as_of: None,
            sources: None,
            token: None,
            rows: None,
            rows_in: None,
            rows_out: None,
            last: None,
            median: None,
            changed: None,
            failed_at: failed.map(at),
            error: None,
        };
        Outlook {
            at: at(0),
            activity: crate::views::activity::Activity::none(at(0)),
            catalog,
            records: BTreeMap::from([(1, record)]),
            sources: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            layers: BTreeMap::new(),
            upstream: BTreeMap::new(),
        }
    }

    fn is_due(key: &str, value: &str, outlook: &Outlook, now: i64) -> bool {
        let mut options = ViewOptions::default();
        options.set(key, value).unwrap();
        let mut rules = ViewRules::default();
        rules.add_file(TableName::new("mart", "a"), options);
        // Fires at every full thousand.
        let fired = |_: &str, now: DateTime<Utc>| Some(at(now.timestamp() / 1_000 * 1_000));
        !due(outlook, &rules, &fired, at(now)).is_empty()
    }

    #[test]
    fn a_pause_counts_from_the_end_of_the_last_refresh_or_failure() {
        assert!(is_due("every", "5m after success", &outlook(None, None), 10));
        assert!(!is_due("every", "5m after success", &outlook(Some(100), None), 399));
        assert!(is_due("every", "5m after success", &outlook(Some(100), None), 400));
        assert!(!is_due("every", "5m after success", &outlook(Some(100), Some(300)), 400));
    }

    #[test]
    fn days_that_were_missed_are_one_refresh() {
        assert!(is_due("schedule", "@daily", &outlook(Some(500), None), 9_999));
        assert!(!is_due("schedule", "@daily", &outlook(Some(9_000), None), 9_999));
        assert!(is_due("schedule", "@daily", &outlook(None, None), 1_001));
    }
}
