//! What those who share slots tell each other, by shared advisory locks of their sessions.
//!
//! A backfill announces itself on as many slots as it needs for one interval: the others leave those
//! to it. A run that waits announces that: backfills then start nothing on the other slots. Where both
//! cannot have a slot at once, the backfill waits. Whoever waits also announces its weight, on the
//! limit that is short alone: those of its class with a smaller one take and keep nothing there.

use std::collections::HashSet;

use super::{Class, DOING, Limit, Rank};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::postgres::connect::Session;

/// What others say about a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Slots that are left to a backfill.
    reserved: HashSet<usize>,
    /// Whether a run waits for a slot.
    run_waits: bool,
    /// Whether a run waits that cannot do with what a backfill leaves.
    run_needs_all: bool,
    /// Whether somebody of the same class waits with a larger weight.
    is_outranked: bool,
}

/// Shared locks of this database's sessions, other than this one: those on a key of 64 bits in `$1`, and
/// those on two of 32, of which the first is in `$2`.
const SHARED_BY_OTHERS: &str = "
select distinct l.objsubid::integer as parts, l.classid::bigint as high, l.objid::bigint as low
from pg_catalog.pg_locks l
where l.locktype = 'advisory' and l.granted and l.mode = 'ShareLock'
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.pid <> pg_catalog.pg_backend_pid()
  and (l.objsubid = 1 and (l.classid::bigint << 32) | l.objid::bigint = any ($1)
       or l.objsubid = 2 and l.classid = any ($2))";

/// Those of a session that are not taken twice, for they would have to be given back twice.
const ANNOUNCE: &str = "
select count(pg_catalog.pg_try_advisory_lock_shared(k))
from pg_catalog.unnest($1::bigint[]) k
where not exists (
    select from pg_catalog.pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 1 and l.mode = 'ShareLock'
      and l.pid = pg_catalog.pg_backend_pid()
      and (l.classid::bigint << 32) | l.objid::bigint = k)";

/// Every weight that the session has announced is of one limit, `$2` and `$3`, afterwards.
const ANNOUNCE_WEIGHT: &str = "
with mine as materialized (
    select l.classid::integer as queue, l.objid::integer as weight
    from pg_catalog.pg_locks l
    where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.mode = 'ShareLock'
      and l.pid = pg_catalog.pg_backend_pid() and l.classid = any ($1)
)
select (select count(pg_catalog.pg_advisory_unlock_shared(queue, weight))
        from mine where (queue, weight) <> ($2, $3)),
       case when not exists (select from mine where (queue, weight) = ($2, $3))
            then pg_catalog.pg_try_advisory_lock_shared($2, $3) end";

const WITHDRAW: &str = "
select count(case when l.objsubid = 1
             then pg_catalog.pg_advisory_unlock_shared((l.classid::bigint << 32) | l.objid::bigint)
             else pg_catalog.pg_advisory_unlock_shared(l.classid::integer, l.objid::integer) end)
from pg_catalog.pg_locks l
where l.locktype = 'advisory' and l.granted and l.mode = 'ShareLock'
  and l.pid = pg_catalog.pg_backend_pid()
  and (l.objsubid = 1 and $1 or l.objsubid = 2 and l.classid = any ($2))";

impl Ledger {
    /// A backfill announces that it is at work.
    pub(super) async fn say_at_work(&self, session: &Session, limits: &[Limit]) -> Result<()> {
        let keys = limits.iter().flat_map(|l| (0..l.take).map(|number| self.reserve_key(l, number)));
        self.announce(session, &keys.collect::<Vec<_>>()).await
    }

    /// Announces who waits: a run on all of its limits, for backfills; its weight on the one that is short.
    pub(super) async fn say_waiting(
        &self,
        session: &Session,
        limits: &[Limit],
        (rank, others, short): (Rank, &[Others], usize),
    ) -> Result<()> {
        if rank.class == Class::Run {
            let keys = limits.iter().zip(others);
            let keys = keys.map(|(l, others)| self.waits_key(l, needs_all(l, &others.reserved)));
            self.announce(session, &keys.collect::<Vec<_>>()).await?;
        }
        let queue = self.queue(&limits[short], rank.class).cast_signed();
        let queues = self.queues(limits, rank.class);
        session.query_one(DOING, ANNOUNCE_WEIGHT, &[&queues, &queue, &rank.weight]).await.map(drop)
    }

    /// Takes back what waiting announced; a backfill stays announced as one that is at work.
    ///
    /// # Errors
    /// As the server says.
    pub async fn stop_waiting(&self, session: &Session, limits: &[Limit], rank: Rank) -> Result<()> {
        let queues = self.queues(limits, rank.class);
        let all = rank.class == Class::Run;
        session.query_one(DOING, WITHDRAW, &[&all, &queues]).await.map(drop)
    }

    /// Takes back all that was announced: a backfill is not at work any more.
    ///
    /// # Errors
    /// As the server says.
    pub async fn withdraw(&self, session: &Session, limits: &[Limit], rank: Rank) -> Result<()> {
        let queues = self.queues(limits, rank.class);
        session.query_one(DOING, WITHDRAW, &[&true, &queues]).await.map(drop)
    }

    async fn announce(&self, session: &Session, keys: &[i64]) -> Result<()> {
        session.query_one(DOING, ANNOUNCE, &[&keys]).await.map(drop)
    }

    pub(super) async fn others(
        &self,
        session: &Session,
        limits: &[Limit],
        rank: Rank,
    ) -> Result<Vec<Others>> {
        let keys: Vec<i64> = limits.iter().flat_map(|limit| self.shared_keys(limit)).collect();
        let queues = self.queues(limits, rank.class);
        let (mut held, mut outranked) = (HashSet::new(), HashSet::new());
        for row in session.query(DOING, SHARED_BY_OTHERS, &[&keys, &queues]).await? {
            let (parts, high, low): (i32, i64, i64) = (row.get("parts"), row.get("high"), row.get("low"));
            match parts {
                1 => drop(held.insert(high << 32 | low)),
                // A key of 32 bits is an OID to the server, whatever its sign.
                _ if (low as u32).cast_signed() > rank.weight => drop(outranked.insert(high)),
                _ => {}
            }
        }
        let of = |limit: &Limit| Others {
            reserved: (0..limit.total).filter(|n| held.contains(&self.reserve_key(limit, *n))).collect(),
            run_waits: [false, true].iter().any(|all| held.contains(&self.waits_key(limit, *all))),
            run_needs_all: held.contains(&self.waits_key(limit, true)),
            is_outranked: outranked.contains(&i64::from(self.queue(limit, rank.class))),
        };
        Ok(limits.iter().map(of).collect())
    }

    fn shared_keys(&self, limit: &Limit) -> Vec<i64> {
        let reserved = (0..limit.total).map(|number| self.reserve_key(limit, number));
        reserved.chain([false, true].map(|all| self.waits_key(limit, all))).collect()
    }

    fn reserve_key(&self, limit: &Limit, number: usize) -> i64 {
        self.key(limit, &format!("backfill {number}"))
    }

    fn waits_key(&self, limit: &Limit, needs_all: bool) -> i64 {
        self.key(limit, if needs_all { "waits for all" } else { "waits" })
    }

    fn queues(&self, limits: &[Limit], class: Class) -> Vec<u32> {
        limits.iter().map(|limit| self.queue(limit, class)).collect()
    }

    /// The first part of the locks by which a class announces weights; the second is the weight.
    fn queue(&self, limit: &Limit, class: Class) -> u32 {
        let what = match class {
            Class::Run => "weight of a run",
            Class::Backfill => "weight of a backfill",
        };
        self.key(limit, what) as u32
    }
}

/// Whether an interval of a run cannot do with the slots that a backfill leaves.
fn needs_all(limit: &Limit, reserved: &HashSet<usize>) -> bool {
    limit.total - reserved.len().min(limit.total) < limit.take
}

impl Others {
    /// The slots that may be tried, in order: runs and backfills begin at opposite ends.
    pub(super) fn candidates(&self, limit: &Limit, class: Class) -> Vec<usize> {
        let all = 0..limit.total;
        match class {
            _ if self.is_outranked => Vec::new(),
            Class::Run if needs_all(limit, &self.reserved) => all.rev().collect(),
            Class::Run => all.rev().filter(|number| !self.reserved.contains(number)).collect(),
            Class::Backfill if self.run_needs_all => Vec::new(),
            Class::Backfill if self.run_waits => (0..limit.take).collect(),
            Class::Backfill => all.collect(),
        }
    }

    /// Whether slots that are held should go to others.
    pub(super) fn want(&self, limit: &Limit, class: Class, numbers: &[usize]) -> bool {
        let by_class = match class {
            Class::Run => {
                !needs_all(limit, &self.reserved) && numbers.iter().any(|n| self.reserved.contains(n))
            }
            Class::Backfill => {
                self.run_needs_all || (self.run_waits && numbers.iter().any(|number| *number >= limit.take))
            }
        };
        by_class || self.is_outranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(total: usize, take: usize) -> Limit {
        Limit { kind: "pool", name: "heavy".into(), total, take }
    }

    fn reserved(numbers: &[usize]) -> Others {
        Others { reserved: numbers.iter().copied().collect(), ..Others::default() }
    }

    #[test]
    fn a_run_leaves_a_backfill_the_slots_of_one_interval() {
        assert_eq!(reserved(&[]).candidates(&limit(4, 1), Class::Run), [3, 2, 1, 0]);
        assert_eq!(reserved(&[0]).candidates(&limit(4, 1), Class::Run), [3, 2, 1]);
        assert_eq!(reserved(&[0, 1]).candidates(&limit(4, 2), Class::Run), [3, 2]);
        assert!(reserved(&[0]).want(&limit(4, 1), Class::Run, &[0]));
        assert!(!reserved(&[0]).want(&limit(4, 1), Class::Run, &[1]));
    }

    #[test]
    fn a_backfill_leaves_a_waiting_run_all_but_its_own() {
        let waits = Others { run_waits: true, ..Others::default() };
        assert_eq!(Others::default().candidates(&limit(4, 1), Class::Backfill), [0, 1, 2, 3]);
        assert_eq!(waits.candidates(&limit(4, 1), Class::Backfill), [0]);
        assert!(waits.want(&limit(4, 1), Class::Backfill, &[2]));
        assert!(!waits.want(&limit(4, 1), Class::Backfill, &[0]));
    }

    #[test]
    fn where_both_cannot_have_a_slot_the_run_goes_first() {
        assert_eq!(reserved(&[0]).candidates(&limit(1, 1), Class::Run), [0]);
        assert!(!reserved(&[0]).want(&limit(1, 1), Class::Run, &[0]));
        assert_eq!(reserved(&[0, 1]).candidates(&limit(4, 3), Class::Run), [3, 2, 1, 0]);
        let waits = Others { run_waits: true, run_needs_all: true, ..Others::default() };
        assert_eq!(waits.candidates(&limit(1, 1), Class::Backfill), [0; 0]);
        assert!(waits.want(&limit(1, 1), Class::Backfill, &[0]));
    }

    #[test]
    fn who_waits_with_a_larger_weight_gets_what_others_of_its_class_hold() {
        let outranked = Others { is_outranked: true, ..Others::default() };
        for class in [Class::Run, Class::Backfill] {
            assert_eq!(outranked.candidates(&limit(4, 1), class), [0; 0]);
            assert!(outranked.want(&limit(4, 1), class, &[2]));
        }
    }
}
