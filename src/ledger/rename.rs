//! A job that was renamed goes on with the rows of its old name.
//!
//! The engine calls [`Ledger::rename`] before it looks at what is loaded: one transaction, so that a
//! ledger never holds half of either. Whoever only looks asks [`Ledger::history`], which sees both names.
//! Each interval's own history says when its job was renamed, by whom, and what it was called.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;

use super::{Ledger, Owner, Snapshot, begin, end};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;

/// Conflicts that a message names.
const NAMED: i64 = 5;

/// Claims on these tables wait until the rename is over; `%` folds an OID into the key's signed half.
const LOCK_TABLES: &str = "
select pg_catalog.pg_advisory_xact_lock($2, t.oid)
from (select distinct ((i.table_oid::bigint + 2147483648) % 4294967296 - 2147483648)::integer as oid
      from pgtide.interval i where i.job = $1 order by 1) t";

/// The old name's intervals that a live run holds.
const HELD: &str = "
select i.id, i.key
from pg_catalog.pg_locks l
join pgtide.interval i on i.id = l.objid::bigint
where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.mode = 'ExclusiveLock'
  and l.classid = $2 and i.job = $1
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
order by i.interval_start limit 1";

const CONFLICTS: &str = "
select o.key, count(*) over () as number
from pgtide.interval o
join pgtide.interval n on n.interval_start = o.interval_start and n.interval_end = o.interval_end
where o.job = $1 and n.job = $2
order by o.interval_start limit $3";

const AUDIT: &str = "
insert into pgtide.attempt
    (interval_id, attempt, outcome, state, reason, host, pid, run_id, triggered_by, definition_hash)
select i.id, i.attempt, 'marked', i.state, $2, $3, $4, $5, $6, i.definition_hash
from pgtide.interval i where i.job = $1";

const RENAME: &str = "update pgtide.interval set job = $2 where job = $1";

/// Numbers go on after those that the new name has.
const RENAME_BACKFILLS: &str = "
update pgtide.backfill set
    job = $2,
    number = number + coalesce((select max(b.number) from pgtide.backfill b where b.job = $2), 0)
where job = $1";

impl Ledger {
    /// Carries all that the ledger has of a job over to its new name; gives the number of intervals.
    ///
    /// # Errors
    /// `Config`, if both names have the same interval; `Locked`, if the old name is being loaded.
    pub async fn rename(&self, session: &Session, from: &str, to: &str, owner: &Owner) -> Result<u64> {
        let doing = format!("carrying the ledger of {from} over to {to}");
        let sql = self.sql("select exists (select from pgtide.interval where job = $1)");
        if !session.query_one(&doing, &sql, &[&from]).await?.get::<_, bool>(0) {
            return Ok(0);
        }
        self.require_writable()?;
        begin(session, &doing).await?;
        let result = self.rename_in_transaction(session, &doing, (from, to), owner).await;
        end(session, &doing, result).await
    }

    async fn rename_in_transaction(
        &self,
        session: &Session,
        doing: &str,
        (from, to): (&str, &str),
        owner: &Owner,
    ) -> Result<u64> {
        session.query(doing, &self.sql(LOCK_TABLES), &[&from, &self.meta_oid.cast_signed()]).await?;
        self.refuse_held_name(session, doing, from).await?;
        self.refuse_conflicts(session, doing, (from, to)).await?;
        let reason = format!("renamed: was {from}");
        let audit: [&(dyn ToSql + Sync); 6] =
            [&from, &reason, &owner.host, &i64::from(owner.pid), &owner.run_id, &owner.trigger];
        session.execute(doing, &self.sql(AUDIT), &audit).await?;
        let renamed = session.execute(doing, &self.sql(RENAME), &[&from, &to]).await?;
        if self.has_backfills(session, doing).await? {
            session.execute(doing, &self.sql(RENAME_BACKFILLS), &[&from, &to]).await?;
        }
        Ok(renamed)
    }

    async fn refuse_held_name(&self, session: &Session, doing: &str, from: &str) -> Result<()> {
        let held = session.query_opt(doing, &self.sql(HELD), &[&from, &self.interval_oid]).await?;
        let Some(held) = held else { return Ok(()) };
        let holder = self.holder(session, doing, held.get("id")).await?;
        let who = holder.map_or_else(|| "another run".to_owned(), |holder| holder.to_string());
        let key: String = held.get("key");
        Err(Error::new(ErrorKind::Locked, format!("{doing}: {from} {key} is being loaded, on {who}"))
            .with_hint("wait until that run ends, or stop it: it knows the job by its old name"))
    }

    /// Which of two records of one interval is true cannot be told from here.
    async fn refuse_conflicts(&self, session: &Session, doing: &str, (from, to): (&str, &str)) -> Result<()> {
        let rows = session.query(doing, &self.sql(CONFLICTS), &[&from, &to, &NAMED]).await?;
        let Some(first) = rows.first() else { return Ok(()) };
        let number: i64 = first.get("number");
        let keys: Vec<String> = rows.iter().map(|row| row.get("key")).collect();
        let more = if number > NAMED { format!(" and {} more", number - NAMED) } else { String::new() };
        let what = format!("{doing}: both have {}{more}; nothing was changed", keys.join(", "));
        Err(Error::new(ErrorKind::Config, what).with_hint(format!(
            "leave out `was`: then {to} goes on with its own intervals, and {from}'s stay as they are;\n\
             or give the job its name {from} back"
        )))
    }

    async fn has_backfills(&self, session: &Session, doing: &str) -> Result<bool> {
        let sql = "select pg_catalog.to_regclass($1) is not null";
        let table = self.sql("pgtide.backfill");
        Ok(session.query_one(doing, sql, &[&table]).await?.get(0))
    }

    /// Reads a job's intervals as [`snapshot`](Self::snapshot) does, with those of the name it had before.
    ///
    /// # Errors
    /// As the server says.
    pub async fn history(
        &self,
        session: &Session,
        job: &str,
        was: Option<&str>,
        range: Option<DataInterval>,
    ) -> Result<Snapshot> {
        let mut snapshot = self.snapshot(session, job, range).await?;
        let Some(was) = was else { return Ok(snapshot) };
        let known: HashSet<_> = snapshot.intervals.iter().map(|record| record.interval).collect();
        let before = self.snapshot(session, was, range).await?.intervals;
        snapshot.intervals.extend(before.into_iter().filter(|record| !known.contains(&record.interval)));
        snapshot.intervals.sort_by_key(|record| record.interval);
        Ok(snapshot)
    }
}
