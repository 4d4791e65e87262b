//! Limits that hold across machines: slots are advisory locks in the destination's database.
//!
//! A limit of n is n keys; whoever holds k of them has k slots, and a session that ends gives them
//! back, however it ends. All of an interval's limits are taken at once or not at all, so nobody
//! holds a slot while it waits for another.
//!
//! Who gets a slot that several wait for, `others` decides: by class, then by weight.

mod others;

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

/// Where somebody stands among those who ask for the same slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Decides first.
    pub class: Class,
    /// Decides among those of a class that wait: the larger one goes first.
    pub weight: i32,
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

const DOING: &str = "taking slots";

impl Ledger {
    /// Tries to take the slots of one interval; the session must hold none. A backfill announces that it
    /// is at work, and whoever gets none that it waits, until [`stop_waiting`](Self::stop_waiting).
    ///
    /// # Errors
    /// As the server says.
    pub async fn ask_for_slots(&self, session: &Session, limits: &[Limit], rank: Rank) -> Result<Asked> {
        if rank.class == Class::Backfill {
            self.say_at_work(session, limits).await?;
        }
        let others = self.others(session, limits, rank).await?;
        let asked = self.take_slots(session, limits, (rank.class, &others)).await?;
        if let Asked::Short(short) = asked {
            self.say_waiting(session, limits, (rank, &others, short)).await?;
        }
        Ok(asked)
    }

    async fn take_slots(
        &self,
        session: &Session,
        limits: &[Limit],
        (class, others): (Class, &[others::Others]),
    ) -> Result<Asked> {
        let wanted: Vec<Vec<usize>> =
            limits.iter().zip(others).map(|(limit, others)| others.candidates(limit, class)).collect();
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

    /// Whether slots should go to others before they are used again: to the other class, or to who waits
    /// with a larger weight.
    ///
    /// # Errors
    /// As the server says.
    pub async fn slots_are_wanted(
        &self,
        session: &Session,
        limits: &[Limit],
        (rank, slots): (Rank, &Slots),
    ) -> Result<bool> {
        let others = self.others(session, limits, rank).await?;
        let held = limits.iter().zip(&others).zip(&slots.numbers);
        Ok(held.into_iter().any(|((limit, others), numbers)| others.want(limit, rank.class, numbers)))
    }

    fn slot_key(&self, limit: &Limit, number: usize) -> i64 {
        self.key(limit, &format!("slot {number}"))
    }

    fn key(&self, limit: &Limit, what: &str) -> i64 {
        let Limit { kind, name, .. } = limit;
        xxh3_64(format!("pgtide {} {kind} {} {name} {what}", self.interval_oid, name.len()).as_bytes())
            .cast_signed()
    }
}

type Param<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);
