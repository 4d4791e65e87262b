//! Limits that hold across machines: slots are advisory locks in the destination's database.
//!
//! A limit of n is n keys; whoever holds k of them has k slots, and a session that ends gives them
//! back, however it ends. All of an interval's limits are taken at once or not at all, so nobody
//! holds a slot while it waits for another.
//!
//! Two classes share them. A backfill announces itself by shared locks on as many slots as it needs
//! for one interval: the others leave those to it. Whoever else waits announces that too: backfills
//! then start nothing on the other slots. Where both cannot have a slot at once, the backfill waits.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::Ledger;
use crate::error::Result;
use crate::postgres::connect::Session;

/// A number of slots that all processes share, and how many an interval takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What limits: its key in a job or project file.
    pub kind: &'static str,
    /// Of what: the job, the pool, the connection; empty for all.
    pub name: String,
    /// All slots.
    pub total: usize,
    /// Slots that an interval takes; at most all.
    pub take: usize,
}

/// Who asks for slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A run: it goes first.
    Run,
    /// A backfill: it always keeps the slots of one interval, where there are enough for both.
    Backfill,
}

/// The slots of one interval, held by a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// For each limit the numbers of its slots.
    numbers: Vec<Vec<usize>>,
}

/// What came of asking for slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All limits gave theirs.
    Given(Slots),
    /// This limit has too few; nothing is held.
    Short(usize),
}

/// What others say about a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Others {
    /// Slots that are left to a backfill.
    reserved: HashSet<usize>,
    /// Whether a run waits for a slot.
    run_waits: bool,
    /// Whether a run waits that cannot do with what a backfill leaves.
    run_needs_all: bool,
}

/// Sessions of this database, other than this one, that hold shared locks on the keys.
const SHARED_BY_OTHERS: &str = "
select distinct (l.classid::bigint << 32) | l.objid::bigint as key
from pg_catalog.pg_locks l
where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.mode = 'ShareLock'
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.pid <> pg_catalog.pg_backend_pid() and (l.classid::bigint << 32) | l.objid::bigint = any ($1)";

const DOING: &str = "taking slots";

impl Ledger {
    /// Tries to take the slots of one interval; the session must hold none. A backfill announces that it
    /// is at work, a run that gets none that it waits, until [`withdraw`](Self::withdraw).
    ///
    /// # Errors
    /// As the server says.
    pub async fn ask_for_slots(&self, session: &Session, limits: &[Limit], class: Class) -> Result<Asked> {
        if class == Class::Backfill {
            let keys = limits.iter().flat_map(|l| (0..l.take).map(|number| self.reserve_key(l, number)));
            self.announce(session, &keys.collect::<Vec<_>>()).await?;
        }
        let others = self.others(session, limits).await?;
        let asked = self.take_slots(session, limits, (class, &others)).await?;
        if let (Asked::Short(_), Class::Run) = (&asked, class) {
            let keys = limits.iter().zip(&others);
            let keys = keys.map(|(l, others)| self.waits_key(l, needs_all(l, &others.reserved)));
            self.announce(session, &keys.collect::<Vec<_>>()).await?;
        }
        Ok(asked)
    }

    async fn take_slots(
        &self,
        session: &Session,
        limits: &[Limit],
        (class, others): (Class, &[Others]),
    ) -> Result<Asked> {
        let wanted: Vec<Vec<usize>> =
            limits.iter().zip(others).map(|(limit, others)| candidates(limit, class, others)).collect();
        let short = |numbers: &[Vec<usize>]| {
            limits.iter().zip(numbers).position(|(limit, numbers)| numbers.len() < limit.take)
        };
        if let Some(short) = short(&wanted) {
            return Ok(Asked::Short(short));
        }
        let slots = Slots { numbers: self.lock(session, limits, &wanted).await? };
        match short(&slots.numbers) {
            None => Ok(Asked::Given(slots)),
            Some(short) => {
                self.give_back_slots(session, limits, &slots).await?;
                Ok(Asked::Short(short))
            }
        }
    }

    /// Locks as many of the wanted slots of each limit as it takes, in one round trip.
    async fn lock(
        &self,
        session: &Session,
        limits: &[Limit],
        wanted: &[Vec<usize>],
    ) -> Result<Vec<Vec<usize>>> {
        let keys: Vec<Vec<i64>> = limits
            .iter()
            .zip(wanted)
            .map(|(limit, numbers)| numbers.iter().map(|number| self.slot_key(limit, *number)).collect())
            .collect();
        let takes: Vec<i64> = limits.iter().map(|limit| limit.take as i64).collect();
        let part = |number: usize| {
            let (keys, take) = (2 * number + 1, 2 * number + 2);
            format!(
                "(select {number}, k from pg_catalog.unnest(${keys}::bigint[]) k
                  where pg_catalog.pg_try_advisory_lock(k) limit ${take})"
            )
        };
        let sql = (0..limits.len()).map(part).collect::<Vec<_>>().join(" union all ");
        let params: Vec<_> =
            keys.iter().zip(&takes).flat_map(|(keys, take)| [keys as Param<'_>, take as Param<'_>]).collect();
        let mut locked = vec![Vec::new(); limits.len()];
        for row in session.query(DOING, &sql, &params).await? {
            let (limit, key): (i32, i64) = (row.get(0), row.get(1));
            let limit = usize::try_from(limit).unwrap_or(0);
            let place = keys[limit].iter().position(|known| *known == key);
            locked[limit].extend(place.map(|place| wanted[limit][place]));
        }
        Ok(locked)
    }

    /// Gives slots back.
    ///
    /// # Errors
    /// As the server says.
    pub async fn give_back_slots(&self, session: &Session, limits: &[Limit], slots: &Slots) -> Result<()> {
        let keys: Vec<i64> = limits
            .iter()
            .zip(&slots.numbers)
            .flat_map(|(limit, numbers)| numbers.iter().map(|number| self.slot_key(limit, *number)))
            .collect();
        let sql = "select count(pg_catalog.pg_advisory_unlock(k)) from pg_catalog.unnest($1::bigint[]) k";
        session.query_one("giving slots back", sql, &[&keys]).await.map(drop)
    }

    /// Whether slots should go to the other class before they are used again.
    ///
    /// # Errors
    /// As the server says.
    pub async fn slots_are_wanted(
        &self,
        session: &Session,
        limits: &[Limit],
        (class, slots): (Class, &Slots),
    ) -> Result<bool> {
        let others = self.others(session, limits).await?;
        let held = limits.iter().zip(&others).zip(&slots.numbers);
        Ok(held.into_iter().any(|((limit, others), numbers)| are_wanted(limit, class, others, numbers)))
    }

    /// Takes shared locks that last as long as the session; those that it has are not taken twice, for
    /// they would have to be given back twice.
    async fn announce(&self, session: &Session, keys: &[i64]) -> Result<()> {
        let sql = "
            select count(pg_catalog.pg_try_advisory_lock_shared(k))
            from pg_catalog.unnest($1::bigint[]) k
            where not exists (
                select from pg_catalog.pg_locks l
                where l.locktype = 'advisory' and l.objsubid = 1 and l.mode = 'ShareLock'
                  and l.pid = pg_catalog.pg_backend_pid()
                  and (l.classid::bigint << 32) | l.objid::bigint = k)";
        session.query_one(DOING, sql, &[&keys]).await.map(drop)
    }

    /// Takes back what asking announced: that a run waits, that a backfill is at work.
    ///
    /// # Errors
    /// As the server says.
    pub async fn withdraw(&self, session: &Session) -> Result<()> {
        let sql = "
            select count(pg_catalog.pg_advisory_unlock_shared((l.classid::bigint << 32) | l.objid::bigint))
            from pg_catalog.pg_locks l
            where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.mode = 'ShareLock'
              and l.pid = pg_catalog.pg_backend_pid()";
        session.query_one(DOING, sql, &[]).await.map(drop)
    }

    async fn others(&self, session: &Session, limits: &[Limit]) -> Result<Vec<Others>> {
        let keys: Vec<i64> = limits.iter().flat_map(|limit| self.shared_keys(limit)).collect();
        let rows = session.query(DOING, SHARED_BY_OTHERS, &[&keys]).await?;
        let held: HashSet<i64> = rows.iter().map(|row| row.get("key")).collect();
        let of = |limit: &Limit| Others {
            reserved: (0..limit.total).filter(|n| held.contains(&self.reserve_key(limit, *n))).collect(),
            run_waits: [false, true].iter().any(|all| held.contains(&self.waits_key(limit, *all))),
            run_needs_all: held.contains(&self.waits_key(limit, true)),
        };
        Ok(limits.iter().map(of).collect())
    }

    fn shared_keys(&self, limit: &Limit) -> Vec<i64> {
        let reserved = (0..limit.total).map(|number| self.reserve_key(limit, number));
        reserved.chain([false, true].map(|all| self.waits_key(limit, all))).collect()
    }

    fn slot_key(&self, limit: &Limit, number: usize) -> i64 {
        self.key(limit, &format!("slot {number}"))
    }

    fn reserve_key(&self, limit: &Limit, number: usize) -> i64 {
        self.key(limit, &format!("backfill {number}"))
    }

    fn waits_key(&self, limit: &Limit, needs_all: bool) -> i64 {
        self.key(limit, if needs_all { "waits for all" } else { "waits" })
    }

    fn key(&self, limit: &Limit, what: &str) -> i64 {
        let Limit { kind, name, .. } = limit;
        xxh3_64(format!("pgtide {} {kind} {} {name} {what}", self.interval_oid, name.len()).as_bytes())
            .cast_signed()
    }
}

type Param<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

/// Whether an interval of a run cannot do with the slots that a backfill leaves.
fn needs_all(limit: &Limit, reserved: &HashSet<usize>) -> bool {
    limit.total - reserved.len().min(limit.total) < limit.take
}

/// The slots that may be tried, in order: runs and backfills begin at opposite ends.
fn candidates(limit: &Limit, class: Class, others: &Others) -> Vec<usize> {
    let all = 0..limit.total;
    match class {
        Class::Run if needs_all(limit, &others.reserved) => all.rev().collect(),
        Class::Run => all.rev().filter(|number| !others.reserved.contains(number)).collect(),
        Class::Backfill if others.run_needs_all => Vec::new(),
        Class::Backfill if others.run_waits => (0..limit.take).collect(),
        Class::Backfill => all.collect(),
    }
}

/// Whether slots that are held should go to the other class.
fn are_wanted(limit: &Limit, class: Class, others: &Others, numbers: &[usize]) -> bool {
    match class {
        Class::Run => {
            !needs_all(limit, &others.reserved) && numbers.iter().any(|n| others.reserved.contains(n))
        }
        Class::Backfill => {
            others.run_needs_all || (others.run_waits && numbers.iter().any(|number| *number >= limit.take))
        }
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
        assert_eq!(candidates(&limit(4, 1), Class::Run, &reserved(&[])), [3, 2, 1, 0]);
        assert_eq!(candidates(&limit(4, 1), Class::Run, &reserved(&[0])), [3, 2, 1]);
        assert_eq!(candidates(&limit(4, 2), Class::Run, &reserved(&[0, 1])), [3, 2]);
        assert!(are_wanted(&limit(4, 1), Class::Run, &reserved(&[0]), &[0]));
        assert!(!are_wanted(&limit(4, 1), Class::Run, &reserved(&[0]), &[1]));
    }

    #[test]
    fn a_backfill_leaves_a_waiting_run_all_but_its_own() {
        let waits = Others { run_waits: true, ..Others::default() };
        assert_eq!(candidates(&limit(4, 1), Class::Backfill, &Others::default()), [0, 1, 2, 3]);
        assert_eq!(candidates(&limit(4, 1), Class::Backfill, &waits), [0]);
        assert!(are_wanted(&limit(4, 1), Class::Backfill, &waits, &[2]));
        assert!(!are_wanted(&limit(4, 1), Class::Backfill, &waits, &[0]));
    }

    #[test]
    fn where_both_cannot_have_a_slot_the_run_goes_first() {
        assert_eq!(candidates(&limit(1, 1), Class::Run, &reserved(&[0])), [0]);
        assert!(!are_wanted(&limit(1, 1), Class::Run, &reserved(&[0]), &[0]));
        assert_eq!(candidates(&limit(4, 3), Class::Run, &reserved(&[0, 1])), [3, 2, 1, 0]);
        let waits = Others { run_waits: true, run_needs_all: true, ..Others::default() };
        assert_eq!(candidates(&limit(1, 1), Class::Backfill, &waits), [0; 0]);
        assert!(are_wanted(&limit(1, 1), Class::Backfill, &waits, &[0]));
    }
}
