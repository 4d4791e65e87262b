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
