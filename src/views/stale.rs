//! Stale or fresh, and why: pure, from what a refresh saw and what is there now.
//!
//! Evidence in order of trust: versions that loads and refreshes raise in their own transactions; files
//! and counters of the server, for what others write; age, where nothing can be seen. Counters that have
//! not moved are no proof while a session may hold some back (`activity`): that is a [`Doubt`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::quantity::show_duration;
use crate::ledger::{Source, Sources, ViewRecord};

use super::activity::Uncounted;
use super::options::ViewOptions;

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

/// What keeps a view that counts as fresh from being proved so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Nothing.
    None,
    /// It is fresh by what was said of it, `max_age`, or was refreshed by others.
    Accepted,
    /// Rows may have been written that are not counted yet.
    Uncounted,
}

/// What a view has to be to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Fresh by what is counted.
    Counted,
    /// ... and nobody can have written what is not counted.
    Settled,
    /// Proved fresh: it was asked for by its name.
    Proven,
}

/// How a view stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How.
    pub freshness: Freshness,
    /// Why; empty for a fresh one that there is nothing to say about.
    pub reason: String,
    /// How sure that is, of a fresh one.
    pub doubt: Doubt,
}

impl Verdict {
    fn new(freshness: Freshness, reason: impl Into<String>) -> Self {
        Self { freshness, reason: reason.into(), doubt: Doubt::None }
    }

    fn doubted(self, doubt: Doubt) -> Self {
        Self { doubt, ..self }
    }

    /// Why a view is to be refreshed, if it is.
    #[must_use]
    pub fn wants_refresh(&self, trust: Trust) -> Option<String> {
        let is_left = match trust {
            Trust::Counted => true,
            Trust::Settled => self.doubt < Doubt::Uncounted,
            Trust::Proven => self.doubt == Doubt::None,
        };
        match self.freshness.wants_refresh() {
            true => Some(format!("{}: {}", self.freshness.word(), self.reason)),
            false => (!is_left).then(|| format!("not proved fresh: {}", self.reason)),
        }
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
    /// What others may have written without its being counted.
    pub uncounted: Option<&'a Uncounted>,
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
    if let Some(change) = first_change(seen, evidence) {
        return Verdict::new(Freshness::Stale, change);
    }
    let verdict = by_age(evidence, now - refreshed_at);
    let others = seen.relations.iter().any(|source| is_counted(source, evidence));
    match evidence.uncounted.filter(|uncounted| others && seen.at < uncounted.since) {
        Some(uncounted) if verdict.freshness == Freshness::Fresh => {
            Verdict::new(Freshness::Fresh, &uncounted.why).doubted(Doubt::Uncounted)
        }
        _ => verdict,
    }
}

/// Whether only counters tell what others write to a source: a materialized view that stands as pgtide has
/// refreshed it is known without.
fn is_counted(source: &Source, evidence: &Evidence<'_>) -> bool {
    let is = evidence.sources.relations.iter().find(|is| is.oid == source.oid);
    let own = evidence.own_tokens.iter().find(|(oid, _)| *oid == source.oid);
    is.zip(own).is_none_or(|(is, (_, own))| is.token != *own)
}

/// A view that nothing below has changed may still be too old, where that is no proof.
fn by_age(evidence: &Evidence<'_>, age: TimeDelta) -> Verdict {
    let (freshness, why) = match (evidence.blind_spot, evidence.reads_clock) {
        (Some(spot), _) => (Freshness::Unknown, format!("reads {spot}")),
        (None, true) => (Freshness::TimeDependent, "its query tells the time".to_owned()),
        (None, false) => {
            let outside = outside(evidence);
            let doubt = if outside.is_empty() { Doubt::None } else { Doubt::Accepted };
            return Verdict::new(Freshness::Fresh, outside).doubted(doubt);
        }
    };
    let age = age.to_std().unwrap_or(Duration::ZERO);
    match evidence.options.max_age {
        None => Verdict::new(freshness, format!("{why}; no max_age is set")),
        Some(max) if age <= max => {
            let reason = format!("{why}; max_age {}", show_duration(max));
            Verdict::new(Freshness::Fresh, reason).doubted(Doubt::Accepted)
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

fn first_change(seen: &Sources, evidence: &Evidence<'_>) -> Option<String> {
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
    let changed = seen.relations.iter().zip(&is.relations).find_map(|(old, new)| {
        let own = evidence.own_tokens.iter().find(|(oid, _)| *oid == new.oid);
        change(old, new, own.map(|(_, token)| token.as_str()))
    });
    let is_counted_anew = seen.epoch != is.epoch;
    let counted = || seen.relations.iter().find(|source| is_counted(source, evidence));
    changed.or_else(|| {
        let source = counted().filter(|_| is_counted_anew)?;
        Some(match seen.epoch.is_empty() {
            true => "refreshed by an older version of pgtide, which remembered less".to_owned(),
            false => format!("{}: the server's counters started again", source.name),
        })
    })
}

/// What has changed in a source, if anything has.
fn change(old: &Source, new: &Source, own: Option<&str>) -> Option<String> {
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
        let between = vec![(5, "1".to_owned())];
        Sources { at: at(0), epoch: "1".to_owned(), relations: vec![source], between }
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
            uncounted: None,
        };
        change(&mut evidence);
        let verdict = judge(&evidence, at(later));
        (verdict.freshness, verdict.reason)
    }

    /// The same, with how sure it is and whether that is enough.
    fn doubt(change: impl FnOnce(&mut Evidence<'_>)) -> (Doubt, [bool; 3]) {
        let (record, sources, options) =
            (record(sources(source(None, 5))), sources(source(None, 5)), ViewOptions::default());
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
            uncounted: None,
        };
        change(&mut evidence);
        let verdict = judge(&evidence, at(9));
        let all = [Trust::Counted, Trust::Settled, Trust::Proven];
        (verdict.doubt, all.map(|trust| verdict.wants_refresh(trust).is_some()))
    }

    fn uncounted(since: i64) -> &'static Uncounted {
        Box::leak(Box::new(Uncounted { since: at(since), why: "session 7".to_owned() }))
    }

    #[test]
    fn who_was_at_work_since_is_a_doubt_and_who_was_before_is_none() {
        assert_eq!(doubt(|_| ()), (Doubt::None, [false; 3]));
        assert_eq!(doubt(|e| e.uncounted = Some(uncounted(-1))), (Doubt::None, [false; 3]));
        let since = doubt(|e| e.uncounted = Some(uncounted(1)));
        assert_eq!(since, (Doubt::Uncounted, [false, true, true]));
        // A materialized view below that stands as pgtide left it has no need of counters.
        let tokens: &'static [(u32, String)] = vec![(1, "9".to_owned())].leak();
        let own = doubt(|e| (e.uncounted, e.own_tokens) = (Some(uncounted(1)), tokens));
        assert_eq!(own, (Doubt::None, [false; 3]));
    }

    #[test]
    fn a_named_view_is_left_only_if_it_is_proved_fresh() {
        assert_eq!(doubt(|e| e.token = "101"), (Doubt::Accepted, [false, false, true]));
        let options = ViewOptions { max_age: Some(Duration::from_secs(3_600)), ..ViewOptions::default() };
        let options: &'static ViewOptions = Box::leak(Box::new(options));
        let aged = doubt(|e| (e.reads_clock, e.options) = (true, options));
        assert_eq!(aged, (Doubt::Accepted, [false, false, true]));
    }

    #[test]
    fn counters_that_started_again_prove_nothing() {
        let other = |epoch: &str| {
            let mut sources = sources(source(None, 5));
            sources.epoch = epoch.to_owned();
            let sources: &'static Sources = Box::leak(Box::new(sources));
            verdict(source(None, 5), source(None, 5), 9, |e| e.sources = sources)
        };
        assert_eq!(other("1").0, Freshness::Fresh);
        let again = other("2");
        assert_eq!(again, (Freshness::Stale, "src.orders: the server's counters started again".to_owned()));
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
    fn counters_that_moved_just_after_a_load_are_believed_too() {
        for later in [5, 60] {
            assert_eq!(verdict(source(Some(3), 5), source(Some(3), 9), later, |_| ()).0, Freshness::Stale);
            assert_eq!(verdict(source(None, 5), source(None, 9), later, |_| ()).0, Freshness::Stale);
        }
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
