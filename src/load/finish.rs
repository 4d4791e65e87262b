//! The finishing transaction: publishes what was staged, runs `post_sql`, checks the guards, and
//! records the end, all in one synchronous commit.

use futures::join;

use super::{EXCLUSIVE_LOCK_TIMEOUT, Load, Written, append, stage};
use crate::config::job::{LoadMode, OnEmpty};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::Totals;
use crate::postgres::catalog;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The step number of a count that differs, in the fence.
const COUNT_STEP: i32 = -1;

/// What the source said of the rows.
#[derive(Debug, Clone)]
pub struct Read {
    /// Rows.
    pub rows: i64,
    /// The wrapping sum of the rows' digests.
    pub digest: u64,
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// The source's system identifier.
    pub system_identifier: i64,
}

/// How the interval stands after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Rows of the interval.
    pub rows: i64,
    /// Bytes that were sent.
    pub bytes: i64,
    /// Transactions that held rows.
    pub batches: i32,
}

impl Load<'_> {
    /// Publishes and records; `session` is the control session, or the writer's whose transaction is open.
    ///
    /// # Errors
    /// `Mismatch`, when rows read, sent, stored or recorded differ; the guards'; `Fenced`; the
    /// server's. Nothing is published then.
    pub async fn finish(&self, session: &Session, read: &Read, written: &Written) -> Result<Finished> {
        self.compare(read, written)?;
        if !written.is_open {
            let sql = "begin isolation level read committed; set local synchronous_commit = on";
            session.batch(&self.doing("opening the last transaction"), sql).await?;
        }
        let before = self.rows_before(session, written).await?;
        self.guard_empty(read.rows, before)?;
        self.guard_shrink(written.rows, before)?;
        let foreign =
            if self.is_staged() { self.publish(session, (written, before)).await? } else { written.foreign };
        self.find_batches(session, written).await?;
        self.run_hooks(session, "post_sql", &self.rules.post_sql).await?;
        self.count_again(session, written).await?;
        self.refuse_shared_rows_here(session).await?;
        if self.rules.mode == LoadMode::Merge {
            self.end_merge(session, written.is_open).await?;
        }
        self.commit(session, read, (written, foreign)).await?;
        let rows = written.rows + self.claim.resume_rows;
        Ok(Finished { rows, bytes: written.bytes, batches: written.batches })
    }

    fn compare(&self, read: &Read, written: &Written) -> Result<()> {
        if read.rows == written.rows && read.digest == written.digest {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Mismatch,
            self.doing(&format!("{} rows were read and {} written", read.rows, written.rows)),
        ))
    }

    /// Records the end and commits, in one flight: a COMMIT after a record that was refused is a rollback.
    async fn commit(
        &self,
        session: &Session,
        read: &Read,
        (written, foreign): (&Written, i64),
    ) -> Result<()> {
        let totals = Totals {
            rows_read: read.rows,
            rows: written.rows + self.claim.resume_rows,
            bytes: written.bytes,
            digest: written.digest as i64,
            batches: written.batches,
            source_snapshot: read.snapshot.clone(),
            source_system: read.system_identifier,
            single_transaction: written.is_open,
            foreign_rows: foreign,
        };
        // Nothing writes to a user's table from here on; what had waited for this fails what is sent behind it.
        let settling = self.ledger.settle(session, self.claim, &totals);
        let (deferred, settled) = join!(self.run_deferred(session), settling);
        let settled = deferred.and(settled)?;
        let doing = self.doing("committing the last transaction");
        let folded = self.ledger.fold(session, self.claim, &settled);
        let (folded, committed) = join!(folded, session.batch(&doing, "commit"));
        folded.and(committed)?;
        if written.is_open {
            self.say_committed(1, (written.rows, written.bytes));
            // The rows are there and recorded: what cannot be given back goes with its session.
            let _ = self.ledger.writer_unlock(session, self.claim).await;
        }
        Ok(())
    }

    /// How many rows the load replaces; counted only where a guard asks.
    async fn rows_before(&self, session: &Session, written: &Written) -> Result<i64> {
        let asked = self.rules.max_shrink.is_some() || written.rows == 0 || !self.delete_counts();
        match self.rules.mode {
            LoadMode::Append | LoadMode::Merge => Ok(0),
            _ if written.is_open => Ok(written.replaced),
            _ if self.is_staged() && asked => self.count_owned(session).await,
            _ => Ok(0),
        }
    }

    fn guard_empty(&self, rows: i64, before: i64) -> Result<()> {
        if rows > 0 {
            return Ok(());
        }
        let message = match self.id.key.as_str() {
            DataInterval::WHOLE_KEY => format!("the source of {} has no rows", self.id.job),
            key => format!("the source of {} has no rows for {key}", self.id.job),
        };
        match self.rules.on_empty {
            OnEmpty::Auto if before > 0 => Err(Error::new(ErrorKind::Server, message).with_hint(
                "nothing was replaced; `on_empty = \"ok\"` in the job allows a reload to empty an interval",
            )),
            OnEmpty::Fail => Err(Error::new(ErrorKind::Server, message)
                .with_hint("`on_empty = \"fail\"` in the job refuses this; nothing was changed")),
            OnEmpty::Warn => {
                self.notice(message);
                Ok(())
            }
            OnEmpty::Auto | OnEmpty::Ok => Ok(()),
        }
    }

    /// Whether what removes the rows says how many those were.
    fn delete_counts(&self) -> bool {
        let truncates = self.empty_statement().starts_with("truncate");
        !truncates && self.target.triggers.is_empty() && self.target.rules.is_empty()
    }

    /// Replaces the interval by what is staged; readers see the old rows until the commit. Returns how many of
    /// the old ones the ledger does not know of.
    async fn publish(&self, session: &Session, (written, before): (&Written, i64)) -> Result<i64> {
        let doing = self.doing("publishing the rows");
        let mut foreign = 0;
        if matches!(self.rules.mode, LoadMode::DeleteInsert | LoadMode::Replace) {
            let timeout = EXCLUSIVE_LOCK_TIMEOUT.as_millis();
            session.batch(&doing, &format!("set local lock_timeout = {timeout}")).await?;
            self.refuse_shared_rows_here(session).await?;
            let removed = session
                .execute_typed(&doing, &self.empty_statement(), &self.target.owned)
                .await?
                .cast_signed();
            foreign = self.tell_of_others(if self.delete_counts() { removed } else { before });
        }
        let stage_sql = self.stage_sql();
        let stored = session.execute(&doing, &append::publish(self.target, &stage_sql), &[]).await?;
        if stored != written.rows as u64 {
            let staged = stage::count(&stage_sql);
            let staged: i64 = session.query_one("counting the staged rows", &staged, &[]).await?.get(0);
            return Err(if staged == written.rows {
                self.dropped_rows(&doing, written.rows as u64, stored)
            } else {
                let context = format!("{doing}: {} rows were staged, {staged} are left", written.rows);
                Error::new(ErrorKind::Mismatch, context)
                    .with_hint("a server that restarted empties staged tables: run it again")
            });
        }
        session.batch(&doing, &stage::drop(&stage_sql)).await?;
        Ok(foreign)
    }

    fn guard_shrink(&self, rows: i64, before: i64) -> Result<()> {
        let Some(max_shrink) = self.rules.max_shrink else { return Ok(()) };
        if (rows as f64) >= before as f64 * (1.0 - max_shrink) {
            return Ok(());
        }
        let context = self.doing(&format!("{rows} rows would replace {before}"));
        Err(Error::new(ErrorKind::Server, context)
            .with_hint(format!("`max_shrink = {max_shrink}` in the job refuses this; nothing was replaced")))
    }

    /// Where the table is in another file than before the first batch, the rows are looked for: VACUUM FULL and
    /// CLUSTER take them along, TRUNCATE does not. The lock keeps the answer true until the commit.
    async fn find_batches(&self, session: &Session, written: &Written) -> Result<()> {
        if written.is_open || self.is_staged() || written.rows == 0 {
            return Ok(());
        }
        let doing = self.doing("looking for the rows");
        let lock = format!("lock table {} in row exclusive mode", self.target.sql);
        let (locked, now) =
            join!(session.batch(&doing, &lock), catalog::shape(session, self.claim.table_oid));
        locked?;
        if now?.file == self.file {
            return Ok(());
        }
        let due = written.rows + self.claim.resume_rows;
        let stored = match self.rules.mode {
            LoadMode::DeleteInsert | LoadMode::Replace => self.count_owned(session).await?,
            LoadMode::Append => self.ledger.count_stored(session, self.claim, &self.target.sql).await?,
            // What was merged is not told from what was there.
            LoadMode::Merge => return Err(self.lost_rows("it was emptied or rewritten")),
        };
        if stored == due { Ok(()) } else { Err(self.lost_rows(&format!("it has {stored} of {due} rows"))) }
    }

    /// Another try clears what is left and starts over.
    fn lost_rows(&self, what: &str) -> Error {
        let context = format!("{} was emptied or rewritten by others while it was loaded", self.target.name);
        Error::new(ErrorKind::Contention, format!("{context}: {what}"))
    }

    /// Where triggers, rules, hooks, a cast of the time column or a scope that the source does not keep to could
    /// put rows elsewhere, the table itself is counted.
    async fn count_again(&self, session: &Session, written: &Written) -> Result<()> {
        let has_foreign_code = self.has_foreign_code();
        let owns = matches!(self.rules.mode, LoadMode::DeleteInsert | LoadMode::Replace);
        let may_differ = owns && (self.target.time_is_cast || self.target.has_scope);
        if !has_foreign_code && !may_differ {
            return Ok(());
        }
        self.run_deferred(session).await?;
        let (stored, known) = match self.rules.mode {
            LoadMode::DeleteInsert | LoadMode::Replace => (self.count_owned(session).await?, written.rows),
            LoadMode::Append => (self.count_added(session).await?, written.rows + self.claim.resume_rows),
            LoadMode::Merge => return self.count_merged(session, written.rows).await,
        };
        if stored == known {
            return Ok(());
        }
        // A hook may have put another table in its place: then that is what there is to say.
        self.ledger.fence(session, self.claim, COUNT_STEP).await?;
        let doing = self.doing("counting the rows");
        let context = format!("{doing}: {known} were written, the table has {stored}");
        let error = Error::new(ErrorKind::Mismatch, context);
        if has_foreign_code {
            let hint = "what adds or removes rows, or changes the time column, must not run with the load";
            return Err(self.suspect(error, hint));
        }
        Err(error.with_hint(if self.target.time_is_cast {
            "the cast of the time column moves rows to other intervals"
        } else {
            "the source gives rows that the job's `scope` does not match: give `where` the same condition"
        }))
    }

    /// Counts the rows that the attempts of the interval added.
    async fn count_added(&self, session: &Session) -> Result<i64> {
        let sql = append::count(self.target, &ident::quote(self.ledger.schema()));
        let within = &self.target.within;
        let params = within.to_params().into_iter().chain([&self.claim.interval_id as _]);
        let row =
            session.query_one(&self.doing("counting the rows"), &sql, &params.collect::<Vec<_>>()).await?;
        Ok(row.get(0))
    }
}
