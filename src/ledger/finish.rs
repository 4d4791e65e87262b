//! The end of an attempt that went well: the token goes first, then the batches are read and compared.
//!
//! Taking the token waits for every batch that is past its fence and shuts out every later one; only
//! a statement after that sees them all. Then they are folded into the interval's row.

use futures::join;
use tokio_postgres::{Row, Statement};

use super::evidence::file_of;
use super::record::{Param, fence_params};
use super::{Claim, Ledger, begin};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;

/// The number under which the finishing transaction fences itself.
pub(super) const FINISH_STEP: i32 = i32::MIN;

/// What an attempt knows at its end; compared with what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Rows read from the source by this attempt.
    pub rows_read: i64,
    /// Rows of the interval that are in the destination, resumed ones included.
    pub rows: i64,
    /// Bytes sent by this attempt.
    pub bytes: i64,
    /// The digest of the rows that this attempt read.
    pub digest: i64,
    /// Batches of this attempt.
    pub batches: i32,
    /// The source's snapshot.
    pub source_snapshot: String,
    /// The source's system identifier.
    pub source_system: i64,
    /// Whether all rows came in the finishing transaction itself.
    pub single_transaction: bool,
    /// Rows that it removed and that the ledger did not know of.
    pub foreign_rows: i64,
}

/// What the ledger has recorded of an interval's batches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recorded {
    batches: i64,
    first: i32,
    last: i32,
    rows: i64,
    bytes: i64,
    digest: i64,
    /// Batches of this attempt from other transactions than the finishing one.
    outside: i64,
    earlier_batches: i64,
    earlier_rows: i64,
    earlier_bytes: i64,
    earlier_digest: i64,
    resume_key: Option<Vec<u8>>,
}

/// What was compared and found right, on its way into the interval's row.
#[derive(Debug)]
pub struct Settled {
    rows: i64,
    bytes: i64,
    batches: i32,
    digest: i64,
    source_snapshot: String,
    source_system: i64,
    resume_key: Option<Vec<u8>>,
    /// Whether rows of the table changed, and so its version: the row of the version is locked until the
    /// commit, so that versions follow the commits.
    changed: bool,
    foreign_rows: i64,
    fold: Statement,
}

/// Makes the commit synchronous, and leaves a mark that goes with the transaction: outside of one it is
/// gone at once.
const PREPARE: &str = "
select pg_catalog.set_config('synchronous_commit', 'on', true),
       pg_catalog.set_config('pgtide_attempt.finishing', $1, true),
       pg_catalog.current_setting('transaction_isolation') as isolation";

/// Takes the token away; from here on no other transaction of the attempt can commit. Refuses to be
/// anywhere but in the transaction with the mark, and in another isolation, whose snapshot from before a
/// late batch would miss it.
const TAKE_TOKEN: &str = "
with taken as (
    update pgtide.interval i set token = null
    where i.id = $1 and i.token = $2 and i.table_oid = $3
      and pg_catalog.to_regclass($4)::pg_catalog.oid = i.table_oid
      and pg_catalog.current_setting('pgtide_attempt.finishing', true) = $2::pg_catalog.text
      and pg_catalog.current_setting('transaction_isolation') = 'read committed'
    returning i.id
)
insert into pgtide.batch
    (interval_id, token, number, attempt, definition_hash, rows, bytes, digest, staged)
values ((select id from taken), $2, $5, {attempt}, $7, 0, 0, 0, false)";

/// A statement of its own, after the token is gone: its snapshot has every batch that got through.
const SUM_BATCHES: &str = "
select count(*) filter (where token = $2) as batches,
       coalesce(min(number) filter (where token = $2), 0) as first,
       coalesce(max(number) filter (where token = $2), 0) as last,
       coalesce(sum(rows) filter (where token = $2), 0)::bigint as rows,
       coalesce(sum(bytes) filter (where token = $2), 0)::bigint as bytes,
       coalesce(sum(digest) filter (where token = $2), 0)::text as digest,
       count(*) filter (where token = $2 and xid <> pg_catalog.pg_current_xact_id()) as outside,
       count(*) filter (where token <> $2) as earlier_batches,
       coalesce(sum(rows) filter (where token <> $2), 0)::bigint as earlier_rows,
       coalesce(sum(bytes) filter (where token <> $2), 0)::bigint as earlier_bytes,
       coalesce(sum(digest) filter (where token <> $2), 0)::text as earlier_digest,
       (array_agg(resume_key order by attempt desc, number desc))[1] as resume_key
from pgtide.batch
where interval_id = $1 and number > 0";

const FOLD: &str = "
with done as (
    update pgtide.interval set
        state = 'loaded', reason = null, tries = 0,
        loaded_at = pg_catalog.clock_timestamp(), finished_at = pg_catalog.clock_timestamp(),
        definition_hash = attempt_definition_hash,
        rows = $3, bytes = $4, batches = $5, digest = $6, source_snapshot = $7, source_system = $8,
        resume_key = $9, load_started_at = started_at, table_file = {file}
    where id = $1 and token is null
    returning *
), folded as (
    delete from pgtide.batch where interval_id = $1
), changed as (
    insert into pgtide.table_version as v (table_oid, version, changed_at, rows)
    select d.table_oid, 1, pg_catalog.clock_timestamp(), $3 from done d where $10
    on conflict (table_oid) do update
        set version = v.version + 1, changed_at = excluded.changed_at, rows = excluded.rows
)
insert into pgtide.attempt
    (interval_id, attempt, token, outcome, state, host, pid, run_id, triggered_by, definition_hash, rows,
     bytes, batches, digest, source_snapshot, source_system, foreign_rows, started_at)
select d.id, d.attempt, $2, 'loaded', d.state, d.host, d.pid, d.run_id, d.triggered_by, d.definition_hash,
       d.rows, d.bytes, d.batches, d.digest, d.source_snapshot, d.source_system, $11, d.started_at
from (values (1)) one left join done d on true";

impl Ledger {
    /// Finds out whether a finishing transaction whose COMMIT was not answered is committed.
    ///
    /// # Errors
    /// `Contention`, if the transaction does not end.
    pub async fn finish_committed(&self, session: &Session, claim: &Claim) -> Result<bool> {
        let doing = format!("looking for the end of {}", claim.label());
        begin(session, &doing).await?;
        let lock = self.sql("select from pgtide.interval where id = $1 for update");
        let find = self.sql(
            "select exists (select from pgtide.attempt
                            where interval_id = $1 and token = $2 and outcome = 'loaded')",
        );
        let waited = session.query(&doing, &lock, &[&claim.interval_id]).await;
        let found = match waited {
            Ok(_) => session.query_one(&doing, &find, &[&claim.interval_id, &claim.token]).await,
            Err(error) => Err(error),
        };
        session.batch(&doing, "rollback").await?;
        found.map(|row| row.get(0))
    }

    /// Ends an attempt well, inside the caller's READ COMMITTED transaction, as its last statements:
    /// [`settle`](Self::settle), then [`fold`](Self::fold).
    ///
    /// # Errors
    /// Theirs. The caller rolls back.
    pub async fn finish(&self, session: &Session, claim: &Claim, totals: &Totals) -> Result<()> {
        let settled = self.settle(session, claim, totals).await?;
        self.fold(session, claim, &settled).await
    }

    /// Takes the token away in the caller's transaction, then reads the batches and compares; makes the
    /// commit synchronous. Nothing is said to be loaded yet.
    ///
    /// The three statements are sent together. Each of them needs the one before: without the mark of the
    /// first the second fails, and after that the transaction takes no third.
    ///
    /// # Errors
    /// `Fenced`, if the attempt has lost its claim; `Mismatch`, with every finding, if batches are
    /// missing or rows do not add up; `Internal` outside of a READ COMMITTED transaction. The caller
    /// rolls back.
    pub async fn settle(&self, session: &Session, claim: &Claim, totals: &Totals) -> Result<Settled> {
        let doing = format!("finishing {}", claim.label());
        let (take, sums, fold) = (self.fence_sql(TAKE_TOKEN), self.sql(SUM_BATCHES), self.fold_sql());
        let [prepare, take, sums, fold] = session.keep(&doing, [PREPARE, &take, &sums, &fold]).await?;
        let (fence, mark) = (fence_params(claim), claim.token.to_string());
        let fence = [&fence[..4], &[&FINISH_STEP], &fence[4..]].concat();
        let of_mark: [Param<'_>; 1] = [&mark];
        let (prepared, taken, summed) = join!(
            session.query_one_kept(&doing, &prepare, &of_mark),
            session.client().execute(&take, &fence),
            session.query_one_kept(&doing, &sums, &fence[..2]),
        );
        let isolation: String = prepared?.get("isolation");
        if isolation != "read committed" {
            let what = format!("{doing}: the transaction is {isolation}, not read committed");
            return Err(Error::new(ErrorKind::Internal, what));
        }
        match (taken, &summed) {
            // What goes on after an error was not in a transaction.
            (Err(_), Ok(_)) => {
                return Err(Error::new(ErrorKind::Internal, format!("{doing}: there is no transaction")));
            }
            (Err(error), Err(_)) => return Err(self.refused(session, &doing, claim, error).await),
            (Ok(_), _) => {}
        }
        let recorded = Recorded::from_row(&summed?)?;
        if let Err(error) = reconcile(&recorded, claim, totals) {
            // Whoever commits after this error must not commit anything.
            let _ = session.batch(&doing, "rollback").await;
            return Err(error.while_doing(doing));
        }
        Ok(Settled::new(recorded, claim, totals, fold))
    }

    /// Folds the batches into the interval's row, says `loaded` and writes the history: the transaction's
    /// last statement before its COMMIT, which may be sent at once with it. What fails here, or failed
    /// before, makes that COMMIT a rollback.
    ///
    /// # Errors
    /// `Fenced`, if the transaction is not the one that settled.
    pub async fn fold(&self, session: &Session, claim: &Claim, settled: &Settled) -> Result<()> {
        let params: [Param<'_>; 11] = [
            &claim.interval_id,
            &claim.token,
            &settled.rows,
            &settled.bytes,
            &settled.batches,
            &settled.digest,
            &settled.source_snapshot,
            &settled.source_system,
            &settled.resume_key,
            &settled.changed,
            &settled.foreign_rows,
        ];
        match session.client().execute(&settled.fold, &params).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let doing = format!("finishing {}", claim.label());
                Err(self.refused(session, &doing, claim, error).await)
            }
        }
    }
}

impl Ledger {
    fn fold_sql(&self) -> String {
        self.sql(&FOLD.replace("{file}", &file_of("table_oid")))
    }
}

impl Settled {
    fn new(recorded: Recorded, claim: &Claim, totals: &Totals, fold: Statement) -> Self {
        let earlier = i32::try_from(recorded.earlier_batches).unwrap_or(i32::MAX);
        Self {
            rows: totals.rows,
            bytes: totals.bytes + recorded.earlier_bytes,
            batches: earlier.saturating_add(totals.batches),
            digest: totals.digest.wrapping_add(recorded.earlier_digest),
            source_snapshot: totals.source_snapshot.clone(),
            source_system: totals.source_system,
            resume_key: recorded.resume_key,
            changed: totals.rows > 0 || claim.left_rows > 0 || claim.previous_rows.unwrap_or(0) > 0,
            foreign_rows: totals.foreign_rows,
            fold,
        }
    }
}

impl Recorded {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            batches: row.get("batches"),
            first: row.get("first"),
            last: row.get("last"),
            rows: row.get("rows"),
            bytes: row.get("bytes"),
            digest: wrapped(row.get("digest"))?,
            outside: row.get("outside"),
            earlier_batches: row.get("earlier_batches"),
            earlier_rows: row.get("earlier_rows"),
            earlier_bytes: row.get("earlier_bytes"),
            earlier_digest: wrapped(row.get("earlier_digest"))?,
            resume_key: row.get("resume_key"),
        })
    }
}

/// Reduces a sum of digests, which the server does not wrap, to 64 bits.
fn wrapped(sum: &str) -> Result<i64> {
    let sum: i128 = sum.parse().map_err(|e| {
        Error::new(ErrorKind::Internal, "the sum of the digests is no integer").with_source(e)
    })?;
    #[expect(clippy::cast_possible_truncation, reason = "wrapping is what a digest's sum means")]
    Ok(sum as i64)
}

/// Compares what was recorded with what was read; lists every difference.
fn reconcile(recorded: &Recorded, claim: &Claim, totals: &Totals) -> Result<()> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, recorded: i64, known: i64| {
        if recorded != known {
            lines.push(format!("{what}: {recorded} recorded, {known} known to this run"));
        }
    };
    let folded_here = totals.single_transaction && recorded.batches == 0;
    if !folded_here {
        differ("batches", recorded.batches, i64::from(totals.batches));
        differ("rows", recorded.rows, totals.rows_read);
        differ("bytes", recorded.bytes, totals.bytes);
        differ("digest", recorded.digest, totals.digest);
    }
    if totals.single_transaction {
        differ("batches from other transactions", recorded.outside, 0);
    }
    if recorded.earlier_rows != 0 && claim.resume_key.is_none() {
        lines.push(format!("{} rows of earlier attempts are not cleared", recorded.earlier_rows));
    } else {
        differ("rows of earlier attempts", recorded.earlier_rows, claim.resume_rows);
    }
    if recorded.batches > 0 && (recorded.first, i64::from(recorded.last)) != (1, recorded.batches) {
        let Recorded { batches, first, last, .. } = recorded;
        lines.push(format!("{batches} batches have numbers from {first} to {last}"));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Mismatch, "what is recorded is not what was read").with_hint(
        "the next run of the interval starts over; if it happens again, look for a server that \
             restarted, or for somebody else who writes to the ledger",
    );
    Err(lines.into_iter().fold(error, Error::with_detail))
}
