//! What an attempt writes while it runs: fences and batches; and its failure.
//!
//! Every destination transaction of an attempt ends with a statement of this file that fails by
//! itself when the claim is lost: an insert whose `not null` value is looked up by token. It is the
//! last statement, so that a COMMIT after an error that nobody noticed commits nothing. The lookup
//! locks the interval's row in share mode: batches never wait for each other, the finish waits for
//! all of them, and none comes after it.

use futures::join;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::finish::FINISH_STEP;
use super::{Claim, Ledger, begin};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::catalog::fingerprint_sql;
use crate::postgres::connect::Session;

/// A batch that is about to commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its number in the attempt, from 1.
    pub number: i32,
    /// Its rows.
    pub rows: i64,
    /// Its bytes, as sent.
    pub bytes: i64,
    /// The digest of its rows.
    pub digest: i64,
    /// Whether the rows went into the staged table.
    pub staged: bool,
    /// The last key, for jobs with a resume key.
    pub resume_key: Option<Vec<u8>>,
}

/// The number of the attempt, or null, and so refused, where the table is no longer the one that the rows were
/// encoded for. Whoever has filled the table holds a lock that keeps others from changing it until the commit.
pub(super) const ATTEMPT_IN_SHAPE: &str = "
case when (select i.attempt_fingerprint from pgtide.interval i where i.id = $1) = {fingerprint} then $6::integer end";

/// What a transaction of pgtide's own may do to the table under running loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// A column is added that none of them loads.
    NewColumn,
    /// Triggers and rules change.
    SameColumns,
    /// The same; of the load of this interval all rows are stored already, so that columns may change too.
    AfterTheRowsOf(i64),
}

/// `$1` id, `$2` token, `$3` table OID, `$4` table name, `$5` number, `$6` attempt, `$7` definition,
/// `$13` what is read from.
const FENCE: &str = "
insert into pgtide.batch
    (interval_id, token, number, attempt, definition_hash, rows, bytes, digest, staged, resume_key, origin)
values ((select i.id from pgtide.interval i
         where i.id = $1 and i.token = $2 and i.table_oid = $3
           and pg_catalog.to_regclass($4)::pg_catalog.oid = i.table_oid
         for share),
        $2, $5, {attempt}, $7, $8, $9, $10, $11, $12, $13)";

/// The first half of a fingerprint is that of the columns.
const ACCEPT: &str = "
update pgtide.interval i set attempt_fingerprint = f.now
from (select {fingerprint} as now) f
where i.table_oid = $1 and i.token is not null and i.attempt_fingerprint = $2 and f.now <> $2
  and ($3 or i.id = $4 or pg_catalog.split_part(f.now, ' ', 1) = pg_catalog.split_part($2, ' ', 1))";

/// VACUUM FULL and CLUSTER leave a row the transaction that stored it.
const STORED: &str = "
select pg_catalog.count(*) from {table} t
where t.xmin in (select b.xid::pg_catalog.xid from pgtide.batch b
                 where b.interval_id = $1 and b.number > 0 and not b.staged)";

const FAIL: &str = "
with gone as (
    update pgtide.interval set
        token = null, state = case when state in ('loaded', 'stale') then state else 'failed' end,
        finished_at = pg_catalog.clock_timestamp(), error_code = $3, error_message = $4
    where id = $1 and token = $2
    returning *
), stored as (
    select coalesce(sum(rows), 0)::bigint as rows, coalesce(sum(bytes), 0)::bigint as bytes,
           count(*)::integer as batches
    from pgtide.batch where interval_id = $1 and token = $2 and number > 0 and not staged
)
insert into pgtide.attempt
    (interval_id, attempt, token, outcome, state, host, pid, run_id, triggered_by, definition_hash, rows,
     bytes, batches, started_at, error_code, error_message)
select g.id, g.attempt, $2, 'failed', g.state, g.host, g.pid, g.run_id, g.triggered_by,
       g.attempt_definition_hash, s.rows, s.bytes, s.batches, g.started_at, $3, $4
from stored s left join gone g on true";

impl Ledger {
    /// Ends a transaction that is no batch (clear, DDL, publish): fails it if the claim is lost.
    ///
    /// The caller's transaction is open and READ COMMITTED; `step` is unique in the attempt and at most 0.
    ///
    /// # Errors
    /// `Fenced`, if the attempt has lost its claim; the transaction is then aborted.
    pub async fn fence(&self, session: &Session, claim: &Claim, step: i32) -> Result<()> {
        if step > 0 || step == FINISH_STEP {
            return Err(Error::new(ErrorKind::Internal, format!("{step} is not the number of a step")));
        }
        let record = BatchRecord { number: step, ..BatchRecord::default() };
        let doing = format!("fencing {}", claim.label());
        let [fence] = session.keep(&doing, [&*self.fence_sql(FENCE)]).await?;
        self.insert_fenced(session, &doing, &fence, (claim, &record)).await
    }

    /// Records a batch as the last statement of its transaction, and fails it if the claim is lost.
    ///
    /// # Errors
    /// `Fenced`, if the attempt has lost its claim; `Mismatch`, if the batch has been committed
    /// before. The transaction is then aborted.
    pub async fn record_batch(&self, session: &Session, claim: &Claim, batch: &BatchRecord) -> Result<()> {
        self.record_batch_then(session, claim, batch, async { Ok(()) }).await
    }

    /// The same, with what is sent right behind it and does not wait for its answer: the COMMIT, which the
    /// server answers with a rollback when the record was refused.
    ///
    /// # Errors
    /// Those of [`record_batch`](Self::record_batch) first, then those of what was sent behind it.
    pub async fn record_batch_then(
        &self,
        session: &Session,
        claim: &Claim,
        batch: &BatchRecord,
        then: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        if batch.number < 1 {
            let what = format!("{} is not the number of a batch", batch.number);
            return Err(Error::new(ErrorKind::Internal, what));
        }
        let doing = format!("recording batch {} of {}", batch.number, claim.label());
        // Prepared before anything is sent, so that nothing gets in front of it.
        let [fence] = session.keep(&doing, [&*self.fence_sql(FENCE)]).await?;
        let (recorded, then) = join!(self.insert_fenced(session, &doing, &fence, (claim, batch)), then);
        recorded.and(then)
    }

    async fn insert_fenced(
        &self,
        session: &Session,
        doing: &str,
        fence: &Statement,
        (claim, batch): (&Claim, &BatchRecord),
    ) -> Result<()> {
        let of_claim = fence_params(claim);
        let params =
            [&of_claim[..4], &[&batch.number], &of_claim[4..], &batch_params(batch), &[&claim.origin]]
                .concat();
        match session.client().execute(fence, &params).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(session, doing, claim, error).await),
        }
    }

    /// Tells a fence that did its work from other errors.
    pub(super) async fn refused(
        &self,
        session: &Session,
        doing: &str,
        claim: &Claim,
        error: tokio_postgres::Error,
    ) -> Error {
        let of_ledger = error.as_db_error().filter(|e| e.schema() == Some(self.schema()));
        match of_ledger {
            Some(e) if *e.code() == SqlState::NOT_NULL_VIOLATION && e.column() == Some("interval_id") => {
                claim.fenced(doing).with_sqlstate(e.code().code())
            }
            Some(e) if *e.code() == SqlState::NOT_NULL_VIOLATION && e.column() == Some("attempt") => {
                claim.reshaped(doing)
            }
            Some(e) if *e.code() == SqlState::UNIQUE_VIOLATION && e.table() == Some("batch") => {
                Error::new(ErrorKind::Mismatch, format!("{doing}: it is already committed"))
                    .with_sqlstate(e.code().code())
            }
            _ => session.error(doing, error).await,
        }
    }

    /// Puts the comparison with the claimed table into a fence.
    pub(super) fn fence_sql(&self, text: &str) -> String {
        let attempt = ATTEMPT_IN_SHAPE.replace("{fingerprint}", &fingerprint_sql("$3"));
        self.sql(&text.replace("{attempt}", &attempt))
    }

    /// What running attempts may commit into, read before the caller's transaction changes it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn shape_before(&self, session: &Session, table_oid: u32) -> Result<String> {
        let sql = format!("select {}", fingerprint_sql("$1"));
        let doing = "looking at the table before it is changed";
        Ok(session.query_one(doing, &sql, &[&table_oid]).await?.get(0))
    }

    /// Lets running attempts go on after what the caller's transaction did to the table: those that could commit
    /// into it before, and whose columns are still there as they were, with the exceptions of `accepted`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn accept_shape(
        &self,
        session: &Session,
        table_oid: u32,
        before: &str,
        accepted: Accepted,
    ) -> Result<()> {
        let (any_columns, mine) = match accepted {
            Accepted::NewColumn => (true, None),
            Accepted::SameColumns => (false, None),
            Accepted::AfterTheRowsOf(interval_id) => (false, Some(interval_id)),
        };
        let sql = ACCEPT.replace("{fingerprint}", &fingerprint_sql("$1"));
        let doing = "letting running loads go on";
        session.execute(doing, &self.sql(&sql), &[&table_oid, &before, &any_columns, &mine]).await.map(drop)
    }

    /// Counts the rows of a table that this interval's recorded batches stored.
    ///
    /// # Errors
    /// As the server says.
    pub async fn count_stored(&self, session: &Session, claim: &Claim, table_sql: &str) -> Result<i64> {
        let doing = format!("counting what is stored of {}", claim.label());
        let sql = self.sql(STORED).replace("{table}", table_sql);
        Ok(session.query_one(&doing, &sql, &[&claim.interval_id]).await?.get(0))
    }

    /// Removes the records of dead attempts, in the transaction that removes their rows.
    ///
    /// # Errors
    /// As the server says.
    pub async fn forget_batches(&self, session: &Session, claim: &Claim) -> Result<()> {
        let doing = format!("clearing {}", claim.label());
        let sql = self.sql("delete from pgtide.batch where interval_id = $1 and token <> $2");
        session.execute(&doing, &sql, &[&claim.interval_id, &claim.token]).await.map(drop)
    }

    /// Finds out whether a batch, or a step, whose COMMIT was not answered is committed.
    ///
    /// Records it once more and rolls back: the server makes that wait for a transaction that still
    /// runs, and lets it through only if there is none and was none. Needs a connection that is not
    /// in a transaction.
    ///
    /// # Errors
    /// `Fenced`, if the attempt has lost its claim meanwhile; `Contention`, if the transaction does
    /// not end.
    pub async fn batch_committed(&self, session: &Session, claim: &Claim, number: i32) -> Result<bool> {
        let doing = format!("looking for batch {number} of {}", claim.label());
        let [fence] = session.keep(&doing, [&*self.fence_sql(FENCE)]).await?;
        begin(session, &doing).await?;
        let probe = BatchRecord { number, ..BatchRecord::default() };
        let answer = self.insert_fenced(session, &doing, &fence, (claim, &probe)).await;
        session.batch(&doing, "rollback").await?;
        match answer {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Mismatch => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Ends an attempt badly, in a transaction of its own: the token goes, what went wrong is kept.
    /// An interval whose earlier load stands stays loaded.
    ///
    /// # Errors
    /// `Fenced`, if the attempt had lost its claim before; then there is nothing to record.
    pub async fn fail(&self, control: &Session, claim: &Claim, error: &Error) -> Result<()> {
        let doing = format!("recording the failure of {}", claim.label());
        let code = error_code(error);
        let message = error_message(error);
        let params: [&(dyn ToSql + Sync); 4] = [&claim.interval_id, &claim.token, &code, &message];
        match control.client().execute(&self.sql(FAIL), &params).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(control, &doing, claim, error).await),
        }
    }
}

pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// The parameters that every fence needs: `$1` to `$4`, and `$6` and `$7`.
pub(super) fn fence_params(claim: &Claim) -> [Param<'_>; 6] {
    [
        &claim.interval_id,
        &claim.token,
        &claim.table_oid,
        &claim.table_name,
        &claim.attempt,
        &claim.definition_hash,
    ]
}

fn batch_params(batch: &BatchRecord) -> [Param<'_>; 5] {
    [&batch.rows, &batch.bytes, &batch.digest, &batch.staged, &batch.resume_key]
}

/// The SQLSTATE, or the kind of error in lower case.
fn error_code(error: &Error) -> String {
    error.sqlstate().map_or_else(|| format!("{:?}", error.kind()).to_lowercase(), str::to_owned)
}

fn error_message(error: &Error) -> String {
    std::iter::once(error.chain()).chain(error.details().iter().cloned()).collect::<Vec<_>>().join("\n")
}
