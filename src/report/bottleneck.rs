//! What bounds the speed at the moment, from what was waited for in the last seconds.
//!
//! Every moment of a writer is for rows of the source, for the destination to take them, or for a commit;
//! the largest part names the limit. Before that come a slot that others have, and this machine, when the
//! program itself is busy nearly all of the time. Nothing is said where nothing was measured.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::paint::escaped;
use crate::event::{IntervalId, Waits};

/// The span in which waits count.
const WINDOW: Duration = Duration::from_secs(10);

/// With less than this in the window nothing is said.
const LEAST: Duration = Duration::from_millis(500);

/// The part of the time from which on the program is busy.
const BUSY: f64 = 0.9;

/// What a writer waits for, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Rows(String),
    Sending(String),
    Commit(String),
    Rate,
}

/// What was waited for lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Bottleneck {
    totals: HashMap<IntervalId, Waits>,
    lately: VecDeque<(Duration, Cause, Duration)>,
    /// For each job that waits for a slot: the limit's key, its name, its slots.
    slots: BTreeMap<String, (&'static str, String, usize)>,
    /// The part of its time that the program was busy.
    pub(super) busy: Option<f64>,
}

impl Bottleneck {
    /// Takes the totals of an attempt, between two places of these names.
    pub(super) fn waited(&mut self, id: &IntervalId, waits: &Waits, names: (&str, &str), at: Duration) {
        let before = self.totals.insert(id.clone(), *waits).unwrap_or_default();
        // Another try begins anew.
        let before = if before.source > waits.source { Waits::default() } else { before };
        let paced = waits.paced.saturating_sub(before.paced);
        let rows = waits.source.saturating_sub(before.source);
        for (cause, time) in [
            (Cause::Rate, paced.min(rows)),
            (Cause::Rows(names.0.to_owned()), rows.saturating_sub(paced)),
            (Cause::Sending(names.1.to_owned()), waits.sending.saturating_sub(before.sending)),
            (Cause::Commit(names.1.to_owned()), waits.commit.saturating_sub(before.commit)),
        ] {
            self.lately.push_back((at, cause, time));
        }
        while self.lately.front().is_some_and(|(then, ..)| at.saturating_sub(*then) > WINDOW) {
            self.lately.pop_front();
        }
    }

    /// An interval is over, and waits for nothing.
    pub(super) fn ended(&mut self, id: &IntervalId) {
        self.totals.remove(id);
    }

    /// A job waits for a slot of a limit, or waits no more.
    pub(super) fn slot(&mut self, job: &str, limit: Option<&(&'static str, String, usize)>) {
        match limit {
            Some(limit) => drop(self.slots.insert(job.to_owned(), limit.clone())),
            None => drop(self.slots.remove(job)),
        }
    }

    /// `the limit now: warehouse (writers wait 71 % of the time for commit)`; empty if it is not known.
    pub(super) fn text(&self, at: Duration) -> String {
        self.limit(at).map(|limit| format!("the limit now: {limit}")).unwrap_or_default()
    }

    fn limit(&self, at: Duration) -> Option<String> {
        if let Some((kind, name, total)) = self.slots.values().next() {
            let name = escaped(name);
            return Some(match *kind {
                "pool" => format!("pool {name} (others have too many of its {total} slots)"),
                "max_connections" => format!("max_connections of {name} (others have too many of {total})"),
                kind => format!("{kind} (others have too many of {total})"),
            });
        }
        if let Some(busy) = self.busy.filter(|busy| *busy >= BUSY) {
            return Some(format!("this machine (pgtide is busy {} % of the time)", percent(busy)));
        }
        let mut sums: BTreeMap<&Cause, Duration> = BTreeMap::new();
        let fresh = |(then, ..): &&(Duration, Cause, Duration)| at.saturating_sub(*then) <= WINDOW;
        for (_, cause, time) in self.lately.iter().filter(fresh) {
            *sums.entry(cause).or_default() += *time;
        }
        let all: Duration = sums.values().sum();
        let (cause, most) = sums.into_iter().max_by_key(|(_, time)| *time)?;
        if all < LEAST {
            return None;
        }
        let part = percent(most.as_secs_f64() / all.as_secs_f64());
        Some(match cause {
            Cause::Rows(source) => {
                format!("{} (writers wait {part} % of the time for rows)", escaped(source))
            }
            Cause::Sending(destination) => {
                format!("{} (writers wait {part} % of the time to send rows)", escaped(destination))
            }
            Cause::Commit(destination) => {
                format!("{} (writers wait {part} % of the time for commit)", escaped(destination))
            }
            Cause::Rate => format!("--max-rate (rows are held back {part} % of the time)"),
        })
    }
}

fn percent(part: f64) -> u32 {
    (part * 100.0).round().clamp(0.0, 100.0) as u32
}

/// How busy the workers of a runtime are, over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Workers(VecDeque<(Duration, Duration)>);

impl Workers {
    /// Looks at the runtime that this thread belongs to; none for the first second.
    pub(super) fn busy(&mut self, at: Duration) -> Option<f64> {
        let metrics = tokio::runtime::Handle::try_current().ok()?.metrics();
        let workers = metrics.num_workers();
        let total: Duration = (0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        self.0.push_back((at, total));
        while self.0.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) >= WINDOW) {
            self.0.pop_front();
        }
        let (then, before) = *self.0.front()?;
        let time = at.saturating_sub(then).as_secs_f64() * workers as f64;
        (time >= 1.0).then(|| total.saturating_sub(before).as_secs_f64() / time)
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{self, at};
    use super::*;

    fn waits(source: u64, sending: u64, commit: u64, paced: u64) -> Waits {
        let [source, sending, commit, paced] = [source, sending, commit, paced].map(Duration::from_millis);
        Waits { source, sending, commit, paced }
    }

    fn text(waits: Waits) -> String {
        let mut bottleneck = Bottleneck::default();
        bottleneck.waited(&story::id("orders", "2026-01-05"), &waits, ("source", "warehouse"), at(1.0));
        bottleneck.text(at(1.0))
    }

    #[test]
    fn the_largest_wait_names_the_limit() {
        assert_eq!(
            text(waits(150, 140, 710, 0)),
            "the limit now: warehouse (writers wait 71 % of the time for commit)"
        );
        assert_eq!(
            text(waits(900, 50, 50, 0)),
            "the limit now: source (writers wait 90 % of the time for rows)"
        );
        assert_eq!(
            text(waits(100, 800, 100, 0)),
            "the limit now: warehouse (writers wait 80 % of the time to send rows)"
        );
        assert_eq!(
            text(waits(900, 50, 50, 880)),
            "the limit now: --max-rate (rows are held back 88 % of the time)"
        );
        assert_eq!(text(waits(10, 10, 10, 0)), "", "too little was measured");
    }

    #[test]
    fn only_the_last_seconds_count_and_each_interval_by_what_is_new() {
        let mut bottleneck = Bottleneck::default();
        let names = ("source", "warehouse");
        let id = story::id("orders", "2026-01-05");
        bottleneck.waited(&id, &waits(9_000, 0, 0, 0), names, at(1.0));
        bottleneck.waited(&id, &waits(9_100, 0, 900, 0), names, at(12.0));
        assert!(bottleneck.text(at(12.0)).contains("warehouse (writers wait 90 %"), "{bottleneck:?}");
        assert_eq!(bottleneck.text(at(60.0)), "", "nothing was measured since");
        bottleneck.waited(&id, &waits(600, 0, 100, 0), names, at(61.0));
        assert!(bottleneck.text(at(61.0)).contains("source (writers wait 86 %"), "another try");
    }

    #[test]
    fn a_slot_that_others_have_and_a_busy_machine_come_before_waits() {
        let mut bottleneck = Bottleneck { busy: Some(0.95), ..Bottleneck::default() };
        assert_eq!(bottleneck.text(at(1.0)), "the limit now: this machine (pgtide is busy 95 % of the time)");
        bottleneck.slot("orders", Some(&("pool", "heavy".to_owned(), 3)));
        assert_eq!(
            bottleneck.text(at(1.0)),
            "the limit now: pool heavy (others have too many of its 3 slots)"
        );
        bottleneck.slot("orders", None);
        bottleneck.busy = None;
        assert_eq!(bottleneck.text(at(1.0)), "");
    }
}
