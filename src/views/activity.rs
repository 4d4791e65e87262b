//! Sessions of others that may have written rows which the server has not counted yet.
//!
//! A session hands over what it has counted when it ends, and when a transaction of its ends a second or
//! more after it did so last; from Postgres 15 on also after it was idle for ten. So counters that stand
//! still prove nothing about a session that was at work since they were looked at: it is waited for, and
//! where that does not help its rows are taken for written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Result;
use crate::postgres::connect::Session;

const ACTIVITY: &str = include_str!("activity.sql");

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The least time between two reports of a session, and some more.
const REPORTS_AFTER: TimeDelta = TimeDelta::milliseconds(1_200);

/// The time after which an idle session reports, from Postgres 15 on, and some more.
const IDLE_REPORTS_AFTER: TimeDelta = TimeDelta::seconds(11);

/// The longest wait, from Postgres 15 on. Before, idle sessions report nothing.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(13);
const LONGEST_WAIT_BEFORE_15: TimeDelta = TimeDelta::seconds(3);

/// Before Postgres 15 a process of its own counts; this is how late it tells.
pub const COLLECTOR_LATE: Duration = Duration::from_millis(1_100);

/// Another session.
#[derive(Debug, Clone)]
struct Peer {
    /// Whether this role may see what it does.
    is_visible: bool,
    /// Whether it is in no transaction and waits for its client.
    is_idle: bool,
    /// The latest moment at which it may have committed something that it has not reported.
    since: Option<DateTime<Utc>>,
    /// The transaction that it is in.
    transaction: Option<String>,
}

/// The sessions of others at one moment, and which of them have reported since what they did before it.
#[derive(Debug, Clone)]
pub struct Activity {
    at: DateTime<Utc>,
    tells_by_itself: bool,
    counts: bool,
    peers: BTreeMap<i32, Peer>,
    reported: BTreeSet<i32>,
    /// Transactions that went on late enough for their end to bring a report.
    late: BTreeMap<i32, String>,
}

/// Rows may have been written that are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncounted {
    /// Until when: what was refreshed later shows them.
    pub since: DateTime<Utc>,
    /// By whom, and what would tell more.
    pub why: String,
}

impl Activity {
    /// Looks at who is there.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(session: &Session) -> Result<Self> {
        let rows = session.query("looking who is at work", ACTIVITY, &[]).await?;
        let first = rows.first().expect("there is a row, with a session or without");
        let peer = |row: &tokio_postgres::Row| {
            let pid = row.get::<_, Option<i32>>("pid")?;
            let peer = Peer {
                is_visible: row.get("is_visible"),
                is_idle: row.get("is_idle"),
                since: row.get("since"),
                transaction: row.get("transaction"),
            };
            Some((pid, peer))
        };
        let mut activity = Self {
            at: first.get("at"),
            tells_by_itself: first.get("tells_by_itself"),
            counts: first.get("counts"),
            peers: rows.iter().filter_map(peer).collect(),
            reported: BTreeSet::new(),
            late: BTreeMap::new(),
        };
        let now = activity.clone();
        activity.compare(&now);
        Ok(activity)
    }

    /// Of nobody, on a server that counts.
    #[must_use]
    pub fn none(at: DateTime<Utc>) -> Self {
        let (peers, reported, late) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { at, tells_by_itself: true, counts: true, peers, reported, late }
    }

    /// The moment, on the server's clock.
    #[must_use]
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Whether a process of its own counts, which may tell late what all sessions have reported.
    #[must_use]
    pub fn has_collector(&self) -> bool {
        !self.tells_by_itself
    }

    /// Looks again who has reported since.
    ///
    /// # Errors
    /// The server's.
    pub async fn look_again(&mut self, session: &Session) -> Result<()> {
        let now = Self::read(session).await?;
        self.compare(&now);
        Ok(())
    }

    /// Waits until all have reported what they did before the first look, as long as one of these moments
    /// is not late enough to be sure without.
    ///
    /// # Errors
    /// The server's.
    pub async fn settle(&mut self, session: &Session, seen: &[DateTime<Utc>]) -> Result<()> {
        let longest = if self.tells_by_itself { LONGEST_WAIT } else { LONGEST_WAIT_BEFORE_15 };
        loop {
            let Some(uncounted) = self.uncounted() else { return Ok(()) };
            if !self.counts || !seen.iter().any(|at| *at < uncounted.since) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
            let now = Self::read(session).await?;
            self.compare(&now);
            if now.at - self.at > longest {
                return Ok(());
            }
        }
    }

    fn compare(&mut self, now: &Self) {
        let after = now.at - self.at;
        for pid in self.peers.keys() {
            let Some(peer) = now.peers.get(pid) else {
                self.reported.insert(*pid);
                continue;
            };
            let has_ended = self.late.get(pid).is_some_and(|late| peer.transaction.as_ref() != Some(late));
            if has_ended || self.idle_has_reported(peer, now.at) {
                self.reported.insert(*pid);
            }
            if let Some(transaction) = peer.transaction.clone().filter(|_| after >= REPORTS_AFTER) {
                self.late.insert(*pid, transaction);
            }
        }
    }

    /// Whether a session that is idle now has reported what it did before the first look.
    fn idle_has_reported(&self, peer: &Peer, now: DateTime<Utc>) -> bool {
        match peer.since.filter(|_| peer.is_visible) {
            Some(since) if peer.is_idle => {
                // A transaction ended late enough, or it has been idle for long enough.
                since - self.at >= REPORTS_AFTER || self.tells_by_itself && now - since >= IDLE_REPORTS_AFTER
            }
            Some(_) => false,
            None => peer.transaction.is_none() && self.tells_by_itself && now - self.at >= IDLE_REPORTS_AFTER,
        }
    }

    /// What may not be counted yet of what was written before the first look.
    #[must_use]
    pub fn uncounted(&self) -> Option<Uncounted> {
        let ever = DateTime::<Utc>::MAX_UTC;
        if !self.counts {
            return Some(Uncounted {
                since: ever,
                why: "the server counts no rows: track_counts is off".to_owned(),
            });
        }
        let open = self.peers.iter().filter(|(pid, _)| !self.reported.contains(pid));
        let (since, pid) = open.map(|(pid, peer)| (peer.since.unwrap_or(ever), *pid)).max()?;
        let why = match since == ever {
            true => format!("what session {pid} does is hidden: grant pg_read_all_stats to this role"),
            false => format!("session {pid} was at work since, and its rows may not be counted yet"),
        };
        Some(Uncounted { since, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(100_000 + ms)
    }

    fn idle(since: i64) -> Peer {
        Peer { is_visible: true, is_idle: true, since: Some(at(since)), transaction: None }
    }

    fn within(since: i64, transaction: &str) -> Peer {
        Peer {
            is_visible: true,
            is_idle: false,
            since: Some(at(since)),
            transaction: Some(transaction.to_owned()),
        }
    }

    fn hidden(transaction: Option<&str>) -> Peer {
        Peer { is_visible: false, is_idle: false, since: None, transaction: transaction.map(str::to_owned) }
    }

    fn seen(ms: i64, peer: Option<Peer>) -> Activity {
        let mut activity = Activity::none(at(ms));
        activity.peers.extend(peer.map(|peer| (7, peer)));
        activity
    }

    /// Whether a session may hold something back, first seen at 0 and then at these moments.
    fn holds_back(version: u32, first: Peer, later: &[(i64, Option<Peer>)]) -> bool {
        let mut activity = seen(0, Some(first));
        activity.tells_by_itself = version >= 15;
        activity.compare(&activity.clone());
        for (ms, peer) in later {
            activity.compare(&seen(*ms, peer.clone()));
        }
        activity.uncounted().is_some()
    }

    #[test]
    fn an_idle_session_reports_after_ten_seconds_from_15_on_and_never_before() {
        assert!(holds_back(15, idle(-2_000), &[]));
        assert!(!holds_back(15, idle(-11_500), &[]));
        assert!(!holds_back(15, idle(-2_000), &[(9_500, Some(idle(-2_000)))]));
        assert!(holds_back(14, idle(-60_000), &[(60_000, Some(idle(-60_000)))]));
        assert!(!holds_back(14, idle(-60_000), &[(10, None)]), "it has ended");
    }

    #[test]
    fn a_transaction_that_ends_a_second_later_brings_a_report() {
        for version in [14, 15] {
            assert!(holds_back(version, idle(-100), &[(900, Some(idle(800)))]));
            assert!(!holds_back(version, idle(-100), &[(1_500, Some(idle(1_300)))]));
        }
    }

    #[test]
    fn a_transaction_that_goes_on_may_follow_one_that_was_not_reported() {
        let long = || Some(within(-100, "3/8"));
        assert!(holds_back(15, within(-100, "3/8"), &[(5_000, long()), (60_000, long())]));
        assert!(!holds_back(
            15,
            within(-100, "3/8"),
            &[(5_000, long()), (6_000, Some(within(5_500, "3/9")))]
        ));
        assert!(holds_back(15, within(-100, "3/8"), &[(600, Some(within(500, "3/9")))]), "too soon");
    }

    #[test]
    fn what_is_hidden_is_known_by_its_transactions_alone() {
        assert!(holds_back(15, hidden(None), &[(5_000, Some(hidden(None)))]));
        assert!(!holds_back(15, hidden(None), &[(11_100, Some(hidden(None)))]));
        assert!(holds_back(15, hidden(Some("3/8")), &[(11_100, Some(hidden(Some("3/8"))))]));
        assert!(!holds_back(
            15,
            hidden(Some("3/8")),
            &[(2_000, Some(hidden(Some("3/8")))), (2_500, Some(hidden(None)))]
        ));
    }

    #[test]
    fn a_server_that_counts_nothing_proves_nothing() {
        let mut activity = Activity::none(at(0));
        assert_eq!(activity.uncounted(), None);
        activity.counts = false;
        assert_eq!(activity.uncounted().map(|u| u.since), Some(DateTime::<Utc>::MAX_UTC));
    }
}
