//! Stale or fresh, and why: pure, from what a refresh saw and what is there now.
//!
//! Evidence in order of trust: versions that loads and refreshes raise in their own transactions; files
//! and counters of the server, for what others write; age, where nothing can be seen. The server tells
//! its counters up to ten seconds late: those of a load just before a refresh are waited for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::quantity::show_duration;
use crate::ledger::{Source, Sources, ViewRecord};

use super::options::ViewOptions;

/// How late a server may tell what it has counted.
const COUNTERS_LATE: TimeDelta = TimeDelta::seconds(15);

/// How a view stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    /// It shows what its sources hold.
    Fresh,
    /// It does not.
    Stale,
    /// It holds no rows and cannot be read.
    Unpopulated,
    /// Nothing tells.
    Unknown,
    /// What it shows depends on the time of its refresh, and that is too long ago.
    TimeDependent,
    /// Somebody refreshes it now.
    Refreshing,
    /// Its latest refresh failed.
    Failed,
}

impl Freshness {
    /// Its word, as `status` and JSON have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unpopulated => "unpopulated",
            Self::Unknown => "unknown",
            Self::TimeDependent => "time-dependent",
            Self::Refreshing => "refreshing",
            Self::Failed => "failed",
        }
    }

    /// Whether a refresh is wanted; one that goes on is waited for, then looked at again.
    #[must_use]
    pub fn wants_refresh(self) -> bool {
        self != Self::Fresh
    }
}

/// How a view stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How.
    pub freshness: Freshness,
    /// Why; empty for a fresh one that there is nothing to say about.
    pub reason: String,
}

impl Verdict {
    fn new(freshness: Freshness, reason: impl Into<String>) -> Self {
        Self { freshness, reason: reason.into() }
    }
}

/// What is known of a view.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Whether it holds rows.
    pub is_populated: bool,
    /// Its token in the catalog now.
    pub token: &'a str,
    /// Whether another session refreshes it.
    pub is_locked: bool,
    /// Whether its query tells the time.
    pub reads_clock: bool,
    /// What cannot be seen, if something cannot.
    pub blind_spot: Option<&'a str>,
    /// What the ledger knows of it.
    pub record: Option<&'a ViewRecord>,
    /// What it reads, now.
    pub sources: &'a Sources,
    /// The tokens that pgtide's own refreshes left on materialized views below.
    pub own_tokens: &'a [(u32, String)],
    /// What is asked of it.
    pub options: &'a ViewOptions,
}

/// Judges a view at a moment, by itself: what a stale one below means is added by [`below`].
#[must_use]
pub fn judge(evidence: &Evidence<'_>, now: DateTime<Utc>) -> Verdict {
    if evidence.is_locked {
        return Verdict::new(Freshness::Refreshing, "another run refreshes it");
    }
    if !evidence.is_populated {
        return Verdict::new(Freshness::Unpopulated, "holds no rows yet");
    }
    let Some(record) = evidence.record else {
        return Verdict::new(Freshness::Unknown, "never refreshed by pgtide");
    };
    if let (Some(at), true) = (record.failed_at, record.failed_at > record.refreshed_at) {
        let error = record.error.as_deref().unwrap_or("no reason is recorded");
        return Verdict::new(Freshness::Failed, format!("{}: {error}", at.format("%Y-%m-%d %H:%M")));
    }
    let (Some(refreshed_at), Some(seen)) = (record.refreshed_at, &record.sources) else {
        return Verdict::new(Freshness::Unknown, "never refreshed by pgtide");
    };
    if let Some(change) = first_change(seen, evidence, now) {
        return Verdict::new(Freshness::Stale, change);
    }
    by_age(evidence, now - refreshed_at)
}

/// A view that nothing below has changed may still be too old, where that is no proof.
fn by_age(evidence: &Evidence<'_>, age: TimeDelta) -> Verdict {
    let (freshness, why) = match (evidence.blind_spot, evidence.reads_clock) {
        (Some(spot), _) => (Freshness::Unknown, format!("reads {spot}")),
        (None, true) => (Freshness::TimeDependent, "its query tells the time".to_owned()),
        (None, false) => return Verdict::new(Freshness::Fresh, outside(evidence)),
    };
    let age = age.to_std().unwrap_or(Duration::ZERO);
    match evidence.options.max_age {
        None => Verdict::new(freshness, format!("{why}; no max_age is set")),
        Some(max) if age <= max => {
            Verdict::new(Freshness::Fresh, format!("{why}; max_age {}", show_duration(max)))
        }
        Some(max) => Verdict::new(freshness, format!("{why}; older than max_age {}", show_duration(max))),
    }
}

/// A fresh view that somebody else has refreshed, or altered, since.
fn outside(evidence: &Evidence<'_>) -> String {
    let own = evidence.record.and_then(|record| record.token.as_deref());
    match own {
        Some(own) if own != evidence.token => "refreshed or altered outside pgtide since".to_owned(),
        _ => String::new(),
    }
}

fn first_change(seen: &Sources, evidence: &Evidence<'_>, now: DateTime<Utc>) -> Option<String> {
    let is = &evidence.sources;
    let more = is.relations.iter().find(|s| !seen.relations.iter().any(|old| old.oid == s.oid));
    if let Some(source) = more {
        return Some(format!("reads {} since", source.name));
    }
    let less = seen.relations.iter().find(|s| !is.relations.iter().any(|new| new.oid == s.oid));
    if let Some(source) = less {
        return Some(format!("does not read {} any more", source.name));
    }
    if seen.between != is.between {
        return Some("a view or function that it reads through was replaced".to_owned());
    }
    seen.relations.iter().zip(&is.relations).find_map(|(old, new)| {
        let own = evidence.own_tokens.iter().find(|(oid, _)| *oid == new.oid);
        change(old, new, seen.at, (now, own.map(|(_, token)| token.as_str())))
    })
}

/// What has changed in a source, if anything has.
fn change(
    old: &Source,
    new: &Source,
    seen_at: DateTime<Utc>,
    (now, own): (DateTime<Utc>, Option<&str>),
) -> Option<String> {
    let name = &new.name;
    if old.version != new.version {
        let times = new.version.unwrap_or(0) - old.version.unwrap_or(0);
        let what = if own.is_some() { "refresh" } else { "load" };
        let plural = if times == 1 {
            ""
        } else if own.is_some() {
            "es"
        } else {
            "s"
        };
        return Some(format!("{name}: {times} {what}{plural} since"));
    }
    if old.files != new.files {
        return Some(format!("{name}: truncated, rewritten, or other partitions"));
    }
    // What pgtide's own refresh counted is known by its version.
    if old.counters == new.counters || own.is_some_and(|own| own == new.token) {
        return None;
    }
    let late = |changed: DateTime<Utc>| seen_at < changed + COUNTERS_LATE && now < changed + COUNTERS_LATE;
    if new.changed_at.is_some_and(late) {
        return None;
    }
    Some(format!("{name}: rows were written"))
}

/// What a stale view below makes of one that is fresh by itself.
#[must_use]
pub fn below(verdict: Verdict, stale_upstream: Option<&str>) -> Verdict {
    match stale_upstream {
        Some(name) if verdict.freshness == Freshness::Fresh => {
            Verdict::new(Freshness::Stale, format!("upstream {name}"))
        }
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(100_000 + seconds)
    }

    fn source(version: Option<i64>, counters: i64) -> Source {
        Source {
            oid: 1,
            name: "src.orders".to_owned(),
            version,
            files: "f".to_owned(),
            counters,
            token: "9".to_owned(),
            changed_at: version.map(|_| at(-1)),
            is_foreign: false,
        }
    }

    fn sources(source: Source) -> Sources {
        Sources { at: at(0), relations: vec![source], between: vec![(5, "1".to_owned())] }
    }

    fn record(sources: Sources) -> ViewRecord {
        ViewRecord {
            oid: 7,
            refreshed_at: Some(at(1)),
            data_as_of: Some(at(0)),
            sources: Some(sources),
            token: Some("100".to_owned()),
            rows: None,
            rows_in: None,
            rows_out: None,
            last: None,
            median: None,
            changed: None,
            failed_at: None,
            error: None,
        }
    }

    /// Judges a view that saw one thing and finds another, so many seconds later.
    fn verdict(
        seen: Source,
        is: Source,
        later: i64,
        change: impl FnOnce(&mut Evidence<'_>),
    ) -> (Freshness, String) {
        let (record, sources, options) = (record(sources(seen)), sources(is), ViewOptions::default());
        let mut evidence = Evidence {
            is_populated: true,
            token: "100",
            is_locked: false,
            reads_clock: false,
            blind_spot: None,
            record: Some(&record),
            sources: &sources,
            own_tokens: &[],
            options: &options,
        };
        change(&mut evidence);
        let verdict = judge(&evidence, at(later));
        (verdict.freshness, verdict.reason)
    }

    #[test]
    fn the_same_state_is_fresh_and_another_version_counts_loads() {
        assert_eq!(verdict(source(Some(3), 5), source(Some(3), 5), 9, |_| ()).0, Freshness::Fresh);
        let found = verdict(source(Some(3), 5), source(Some(6), 9), 9, |_| ());
        assert_eq!(found, (Freshness::Stale, "src.orders: 3 loads since".to_owned()));
        let first = verdict(source(None, 5), source(Some(1), 9), 9, |_| ());
        assert_eq!(first.1, "src.orders: 1 load since");
    }

    #[test]
    fn counters_of_a_load_just_before_are_waited_for_and_others_are_believed() {
        assert_eq!(verdict(source(Some(3), 5), source(Some(3), 9), 5, |_| ()).0, Freshness::Fresh);
        assert_eq!(verdict(source(Some(3), 5), source(Some(3), 9), 60, |_| ()).0, Freshness::Stale);
        assert_eq!(verdict(source(None, 5), source(None, 9), 5, |_| ()).0, Freshness::Stale);
    }

    #[test]
    fn a_truncate_shows_in_the_files_alone() {
        let is = Source { files: "g".to_owned(), ..source(None, 5) };
        assert!(verdict(source(None, 5), is, 5, |_| ()).1.contains("truncated"));
    }

    #[test]
    fn a_materialized_view_that_pgtide_refreshed_is_known_by_its_version_alone() {
        let judged = |token: &str| {
            let tokens: &'static [(u32, String)] = vec![(1, token.to_owned())].leak();
            verdict(source(Some(2), 5), source(Some(2), 50), 600, |e| e.own_tokens = tokens)
        };
        assert_eq!(judged("9").0, Freshness::Fresh);
        let stale = judged("8");
        assert_eq!(stale.0, Freshness::Stale, "somebody else refreshed it");
    }

    #[test]
    fn what_tells_the_time_is_fresh_for_max_age() {
        let options = ViewOptions { max_age: Some(Duration::from_secs(3_600)), ..ViewOptions::default() };
        let judged = |later, options: &ViewOptions| {
            verdict(source(None, 5), source(None, 5), later, |e| {
                e.reads_clock = true;
                e.options = &*Box::leak(Box::new(options.clone()));
            })
            .0
        };
        assert_eq!(judged(60, &options), Freshness::Fresh);
        assert_eq!(judged(4_000, &options), Freshness::TimeDependent);
        assert_eq!(judged(60, &ViewOptions::default()), Freshness::TimeDependent);
    }

    #[test]
    fn what_cannot_be_seen_is_unknown_and_an_outside_refresh_is_told() {
        let spot = verdict(source(None, 5), source(None, 5), 5, |e| e.blind_spot = Some("foreign table x.y"));
        assert_eq!(spot, (Freshness::Unknown, "reads foreign table x.y; no max_age is set".to_owned()));
        let outside = verdict(source(None, 5), source(None, 5), 5, |e| e.token = "101");
        assert_eq!(outside, (Freshness::Fresh, "refreshed or altered outside pgtide since".to_owned()));
    }

    #[test]
    fn a_view_below_that_is_stale_makes_it_stale() {
        let fresh = Verdict::new(Freshness::Fresh, "");
        assert_eq!(below(fresh.clone(), Some("mart.a")).reason, "upstream mart.a");
        assert_eq!(below(fresh, None).freshness, Freshness::Fresh);
    }
}
