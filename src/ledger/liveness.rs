//! Who is alive: advisory locks that the kernel and the server release when a process dies.
//!
//! An attempt's control session holds the lock (interval table, id); each of its writers holds a
//! shared lock on (interval table, -id), so that whoever takes over can find and end a writer that
//! hangs in COPY, which nothing else ends. There is no lease and no clock.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::join;
use tokio::time::Instant;

use super::record::Param;
use super::{Claim, Ledger};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;

/// How long a terminated session may take to go.
const END_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The sessions of this database that hold a two-part advisory lock; `$1` and `$2` are its parts.
const LOCKS: &str = "
from pg_catalog.pg_locks l
where l.locktype = 'advisory' and l.granted and l.objsubid = 2
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.classid = $1 and l.objid = $2";

const WRITER_UNLOCK: &str = "select pg_catalog.pg_advisory_unlock_shared($1, $2)";

/// A live run that holds an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its host, or the address it connects from.
    pub host: String,
    /// Its process there, if it has recorded one.
    pub pid: Option<u32>,
    /// Since when, as far as this role may know.
    pub since: Option<DateTime<Utc>>,
    /// Its run, if it has recorded one.
    pub run_id: Option<String>,
    /// Its server process.
    pub backend_pid: i32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(since) = self.since {
            write!(f, " since {} UTC", since.format("%Y-%m-%d %H:%M:%S"))?;
        }
        match self.pid {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

impl Ledger {
    /// The lock of an interval's control session, as two parts.
    pub(super) fn control_key(&self, id: i64) -> Result<(i32, i32)> {
        let id = i32::try_from(id).map_err(|_| {
            Error::new(ErrorKind::Internal, format!("interval id {id} does not fit a lock key"))
        })?;
        Ok((self.interval_oid.cast_signed(), id))
    }

    /// The shared lock of an interval's writers, as two parts.
    fn writer_key(&self, id: i64) -> Result<(i32, i32)> {
        self.control_key(id).map(|(class, id)| (class, -id))
    }

    /// Tries to take the lock of an interval's control session.
    pub(super) async fn try_lock(&self, control: &Session, doing: &str, id: i64) -> Result<bool> {
        let (class, object) = self.control_key(id)?;
        let [lock] = control.keep(doing, ["select pg_catalog.pg_try_advisory_lock($1, $2)"]).await?;
        Ok(control.query_one_kept(doing, &lock, &[&class, &object]).await?.get(0))
    }

    /// Gives the claim's lock back; the attempt's token stays until it is finished, failed or taken over.
    ///
    /// # Errors
    /// `Internal`, if this session does not hold it.
    pub async fn release(&self, control: &Session, claim: &Claim) -> Result<()> {
        self.unlock(control, &format!("releasing {}", claim.label()), claim.interval_id).await
    }

    pub(super) async fn unlock(&self, control: &Session, doing: &str, id: i64) -> Result<()> {
        let (class, object) = self.control_key(id)?;
        let [unlock] = control.keep(doing, ["select pg_catalog.pg_advisory_unlock($1, $2)"]).await?;
        if control.query_one_kept(doing, &unlock, &[&class, &object]).await?.get(0) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, format!("{doing}: this session does not hold it")))
    }

    /// Finds who holds an interval; none if the lock is free by now.
    pub(super) async fn holder(&self, session: &Session, doing: &str, id: i64) -> Result<Option<Holder>> {
        let (class, object) = self.control_key(id)?;
        let sql = self.sql(&format!(
            "select locked.pid as backend_pid, i.host, i.pid, i.run_id,
                    coalesce(i.started_at, a.backend_start) as since, a.client_addr::text as client
             from (select l.pid {LOCKS} and l.mode = 'ExclusiveLock') locked
             left join pg_catalog.pg_stat_activity a on a.pid = locked.pid
             left join pgtide.interval i on i.id = $3 and i.backend_pid = locked.pid and i.token is not null"
        ));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&class.cast_unsigned(), &object.cast_unsigned(), &id];
        let row = session.query_opt(doing, &sql, &params).await?;
        Ok(row.map(|row| Holder {
            host: row
                .get::<_, Option<String>>("host")
                .or_else(|| row.get("client"))
                .unwrap_or_else(|| "an unknown host".to_owned()),
            pid: row.get::<_, Option<i64>>("pid").and_then(|pid| u32::try_from(pid).ok()),
            since: row.get("since"),
            run_id: row.get("run_id"),
            backend_pid: row.get("backend_pid"),
        }))
    }

    /// Takes the shared lock of a writer's session, until it is given back or the session ends.
    ///
    /// # Errors
    /// `Fenced`, if the attempt has lost its claim.
    pub async fn writer_lock(&self, writer: &Session, claim: &Claim) -> Result<()> {
        let doing = format!("starting a writer of {}", claim.label());
        let (class, object) = self.writer_key(claim.interval_id)?;
        let current = self.sql("select exists (select from pgtide.interval where id = $1 and token = $2)");
        let lock = "select pg_catalog.pg_try_advisory_lock_shared($1, $2)";
        let [lock, current] = writer.keep(&doing, [lock, &current]).await?;
        // After the lock, so that a takeover either sees the lock or is seen here: the server takes the
        // snapshot of the second statement when the first is done.
        let key: [Param<'_>; 2] = [&class, &object];
        let mine: [Param<'_>; 2] = [&claim.interval_id, &claim.token];
        let (locked, current) = join!(
            writer.query_one_kept(&doing, &lock, &key),
            writer.query_one_kept(&doing, &current, &mine),
        );
        let (locked, current): (bool, bool) = (locked?.get(0), current?.get(0));
        if locked && current {
            return Ok(());
        }
        self.writer_unlock(writer, claim).await?;
        Err(claim.fenced(&doing))
    }

    /// Gives the shared lock of a writer's session back, before the session serves another interval.
    ///
    /// # Errors
    /// As the server says.
    pub async fn writer_unlock(&self, writer: &Session, claim: &Claim) -> Result<()> {
        let doing = format!("ending a writer of {}", claim.label());
        let (class, object) = self.writer_key(claim.interval_id)?;
        let [unlock] = writer.keep(&doing, [WRITER_UNLOCK]).await?;
        writer.query_one_kept(&doing, &unlock, &[&class, &object]).await.map(drop)
    }

    /// Terminates the live run that holds an interval and takes its lock; false if another was quicker.
    pub(super) async fn take_over(&self, control: &Session, doing: &str, id: i64) -> Result<bool> {
        let (class, object) = self.control_key(id)?;
        self.terminate(control, doing, (class, object), "ExclusiveLock").await?;
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            if self.try_lock(control, doing, id).await? {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Terminates writers that dead attempts left behind, and waits until they are gone.
    pub(super) async fn end_writers(&self, control: &Session, doing: &str, id: i64) -> Result<()> {
        let key = self.writer_key(id)?;
        let deadline = Instant::now() + END_DEADLINE;
        while self.terminate(control, doing, key, "ShareLock").await? > 0 {
            if Instant::now() > deadline {
                return Err(Error::new(
                    ErrorKind::Locked,
                    format!("{doing}: a writer of an earlier attempt was terminated and does not end"),
                )
                .with_hint("look for it in pg_stat_activity; a server that waits for a standby keeps it"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn terminate(&self, session: &Session, doing: &str, key: (i32, i32), mode: &str) -> Result<u64> {
        let sql = format!(
            "select pg_catalog.pg_terminate_backend(l.pid) {LOCKS}
               and l.mode = $3 and l.pid <> pg_catalog.pg_backend_pid()"
        );
        let (class, object) = (key.0.cast_unsigned(), key.1.cast_unsigned());
        let [terminate] = session.keep(doing, [&*sql]).await?;
        match session.execute_kept(doing, &terminate, &[&class, &object, &mode]).await {
            Ok(count) => Ok(count),
            Err(error) if error.sqlstate() == Some("42501") => Err(error.with_hint(
                "the run that is in the way belongs to another role: connect as that role, \
                 or: grant pg_signal_backend to this one",
            )),
            Err(error) => Err(error),
        }
    }
}
