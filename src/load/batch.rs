//! A writer: takes chunks, fills batches, commits each with its row in the ledger.
//!
//! The ledger's row is the last statement of the transaction: in a transaction that the server has
//! given up it fails, which is what makes a COMMIT that the server answers with ROLLBACK harmless.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use futures::join;
use tokio_postgres::Statement;

use super::waits::{Stopwatch, Waits};
use super::{EXCLUSIVE_LOCK_TIMEOUT, Load, merge};
use crate::chunk::{Chunk, ChunkReceiver, Received};
use crate::config::job::{CommitPolicy, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::interval::DataInterval;
use crate::ledger::BatchRecord;
use crate::postgres::connect::Session;
use crate::postgres::copy::{CopyIn, copy_statement};

/// Inner commits need no flush: data and ledger are lost together or not at all.
const BEGIN_BATCH: &str = "begin isolation level read committed; set local synchronous_commit = off";
const BEGIN_INTERVAL: &str = "begin isolation level read committed; set local synchronous_commit = on";

/// What several writers of one interval share.
#[derive(Debug, Default)]
pub struct Shared {
    number: AtomicI32,
    rows: AtomicU64,
    bytes: AtomicU64,
    waits: Waits,
}

impl Shared {
    /// What the writers wait for.
    #[must_use]
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Bytes sent by all writers of the attempt.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a writer stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: i64,
    /// Bytes of the rows as sent.
    pub bytes: i64,
    /// The wrapping sum of the rows' digests.
    pub digest: u64,
    /// Transactions.
    pub batches: i32,
    /// Rows that were there and went, where the whole interval is one transaction.
    pub replaced: i64,
    /// Of these, rows that the ledger does not know of.
    pub foreign: i64,
    /// Whether the transaction with the rows is still open: the finishing one, on this writer's session.
    pub is_open: bool,
}

impl Written {
    /// Adds what another writer stored.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.digest = self.digest.wrapping_add(other.digest);
        self.batches += other.batches;
        self.replaced += other.replaced;
        self.foreign += other.foreign;
        self.is_open |= other.is_open;
    }
}

/// Why a batch took no more chunks.
enum Ended {
    Full,
    NoMoreRows,
}

struct OpenBatch {
    copy: CopyIn,
    rows: u64,
    bytes: u64,
    digest: u64,
    last: Chunk,
}

impl Load<'_> {
    /// Writes batches until the chunks end; one of these runs per writer.
    ///
    /// With `commit = "interval"`, and where all rows fit into one batch, the transaction is left open for
    /// [`finish`](Load::finish), on the same session.
    ///
    /// # Errors
    /// `Mismatch`; `Fenced`; the server's. The session is of no use afterwards. When the reading side
    /// fails, this waits for the caller to drop it.
    pub async fn write(&self, session: &Session, chunks: ChunkReceiver, shared: &Shared) -> Result<Written> {
        if self.rules.commit == CommitPolicy::Interval {
            self.ready(session).await?;
            return self.write_interval(session, &chunks, shared).await;
        }
        let mut watch = Stopwatch::start(&shared.waits);
        // Most writers of a small interval get nothing, and then cost nothing.
        let Some(first) = first_of_batch(&chunks, shared).await else { return Ok(Written::default()) };
        watch.for_rows();
        self.ready(session).await?;
        let statement = self.copy_statement(session).await?;
        let written = self.write_batches(session, &statement, (first, &chunks), (shared, watch)).await?;
        if self.rules.mode == LoadMode::Merge {
            session.batch("dropping the table to merge from", &merge::drop_temporary()).await?;
        }
        if !written.is_open {
            self.ledger.writer_unlock(session, self.claim).await?;
        }
        Ok(written)
    }

    /// Takes the writer's lock, and makes the table to merge from.
    async fn ready(&self, session: &Session) -> Result<()> {
        self.ledger.writer_lock(session, self.claim).await?;
        if self.rules.mode == LoadMode::Merge {
            session.batch("making the table to merge from", &merge::create_temporary(self.target)).await?;
        }
        Ok(())
    }

    async fn copy_statement(&self, session: &Session) -> Result<Statement> {
        let sql = copy_statement(&self.copy_into(), &self.target.columns);
        let doing = self.doing("preparing the COPY");
        if self.is_staged() {
            // A name of this attempt alone is not worth keeping.
            let prepared = session.client().prepare(&sql).await;
            return match prepared {
                Ok(statement) => Ok(statement),
                Err(error) => Err(session.error(&doing, error).await),
            };
        }
        // COPY has no plan: the table and its columns are looked up at each start.
        let [statement] = session.keep(&doing, [&*sql]).await?;
        Ok(statement)
    }

    async fn write_batches(
        &self,
        session: &Session,
        statement: &Statement,
        (first, chunks): ((Chunk, i32), &ChunkReceiver),
        (shared, mut watch): (&Shared, Stopwatch<'_>),
    ) -> Result<Written> {
        let mut written = Written::default();
        let mut last_key = self.claim.resume_key.clone();
        if self.claim.resume_key.is_none() {
            self.refuse_known_key(session, self.first_key(&first.0)).await?;
        }
        let mut next = Some(first);
        while let Some((first, number)) = next.take() {
            if last_key.is_some() && last_key == self.first_key(&first) {
                return Err(self.key_twice());
            }
            let doing = self.doing(&format!("copying batch {number}"));
            let mut batch = self.begin(session, statement, &doing).await?;
            watch.for_commit();
            self.send(session, &mut batch, first, (shared, &mut watch)).await?;
            let ended = self.fill(session, &mut batch, chunks, (shared, &mut watch)).await?;
            let record = self.end_batch(session, batch, number).await?;
            if self.rules.resume_column.is_some() && record.resume_key.is_none() {
                return Err(self.key_is_null());
            }
            last_key.clone_from(&record.resume_key);
            written.add(&written_of(&record));
            // All chunks are taken, and no other batch has any: this transaction can be the finishing one.
            let is_all = matches!(ended, Ended::NoMoreRows) && shared.number.load(Ordering::Relaxed) == 1;
            if is_all && self.may_stay_open() {
                return Ok(Written { is_open: true, ..written });
            }
            self.commit_batch(session, &record, &doing).await?;
            watch.for_commit();
            if matches!(ended, Ended::NoMoreRows) {
                return Ok(written);
            }
            next = first_of_batch(chunks, shared).await;
            watch.for_rows();
        }
        Ok(written)
    }

    /// The resume key of a chunk's first row.
    fn first_key(&self, chunk: &Chunk) -> Option<Vec<u8>> {
        self.rules.resume_column.and_then(|column| last_field(&chunk.data, 1, column))
    }

    /// Records the batch and commits, in one flight: a COMMIT after a record that was refused is a rollback.
    async fn commit_batch(&self, session: &Session, record: &BatchRecord, doing: &str) -> Result<()> {
        let recording = async {
            let commit = session.batch(doing, "commit");
            self.ledger.record_batch_then(session, self.claim, record, commit).await
        };
        // Sent in front of the record, which then fails with it. Staged rows have nothing that waits.
        let deferred = async { if self.is_staged() { Ok(()) } else { self.run_deferred(session).await } };
        let (deferred, recorded) = join!(deferred, recording);
        deferred.and(recorded)?;
        self.say_committed(record.number, (record.rows, record.bytes));
        Ok(())
    }

    pub(super) fn say_committed(&self, number: i32, (rows, bytes): (i64, i64)) {
        self.events.send(Event::BatchCommitted {
            id: self.id.clone(),
            number: number as u64,
            rows: rows as u64,
            bytes: bytes as u64,
        });
    }

    /// Whether a batch that holds all rows can be part of the finishing transaction. A staged one is
    /// published by another session, what is merged or resumed is recorded by batch, and `post_sql` may do
    /// what a transaction that has filled the table cannot.
    fn may_stay_open(&self) -> bool {
        let hooked = !self.rules.post_sql.is_empty();
        let by_batch = self.rules.mode == LoadMode::Merge || self.rules.resume_column.is_some();
        !self.is_staged() && !by_batch && !hooked
    }

    /// The whole interval in one transaction, which stays open.
    async fn write_interval(
        &self,
        session: &Session,
        chunks: &ChunkReceiver,
        shared: &Shared,
    ) -> Result<Written> {
        session.batch(&self.doing("opening the transaction"), BEGIN_INTERVAL).await?;
        self.refuse_foreign_rows(session).await?;
        self.run_hooks(session, "pre_sql", &self.rules.pre_sql).await?;
        let (replaced, foreign) = self.empty_in_place(session).await?;
        let doing = self.doing("copying rows");
        // After the hooks, which may deallocate it.
        let statement = self.copy_statement(session).await?;
        let copy = CopyIn::start(session.client(), &statement).await;
        let mut batch = self.started(session, copy, &doing).await?;
        let mut watch = Stopwatch::start(&shared.waits);
        loop {
            let received = chunks.recv().await;
            watch.for_rows();
            match received {
                Received::Chunk(chunk) => self.send(session, &mut batch, chunk, (shared, &mut watch)).await?,
                Received::End => break,
                Received::Aborted => return aborted().await,
            }
        }
        let record = self.end_batch(session, batch, 1).await?;
        Ok(Written { replaced, foreign, is_open: true, ..written_of(&record) })
    }

    /// Removes what the transaction will replace; returns how many rows that were, and how many of them the
    /// ledger does not know of.
    async fn empty_in_place(&self, session: &Session) -> Result<(i64, i64)> {
        if !matches!(self.rules.mode, LoadMode::DeleteInsert | LoadMode::Replace) {
            return Ok((0, 0));
        }
        let replaces = self.claim.was_loaded || self.rules.reload;
        self.refuse_shared_rows_here(session).await?;
        let replaced = if replaces { self.count_owned(session).await? } else { 0 };
        let foreign = if replaces { self.tell_of_others(replaced) } else { 0 };
        let doing = self.doing("emptying the interval");
        let timeout = EXCLUSIVE_LOCK_TIMEOUT.as_millis();
        session.batch(&doing, &format!("set local lock_timeout = {timeout}")).await?;
        session.execute_typed(&doing, &self.empty_statement(), &self.target.owned).await?;
        Ok((replaced, foreign))
    }

    /// Begins a transaction and a COPY in it, in one flight. No row is sent before both are there: a COPY
    /// outside of a transaction would commit by itself.
    async fn begin(&self, session: &Session, statement: &Statement, doing: &str) -> Result<OpenBatch> {
        let copy = CopyIn::start(session.client(), statement);
        let (begun, copy) = join!(session.batch(doing, BEGIN_BATCH), copy);
        begun?;
        self.started(session, copy, doing).await
    }

    async fn started(
        &self,
        session: &Session,
        copy: Result<CopyIn, tokio_postgres::Error>,
        doing: &str,
    ) -> Result<OpenBatch> {
        match copy {
            Ok(copy) => Ok(OpenBatch { copy, rows: 0, bytes: 0, digest: 0, last: Chunk::default() }),
            Err(error) => Err(session.error(doing, error).await),
        }
    }

    async fn fill(
        &self,
        session: &Session,
        batch: &mut OpenBatch,
        chunks: &ChunkReceiver,
        (shared, watch): (&Shared, &mut Stopwatch<'_>),
    ) -> Result<Ended> {
        while !self.rules.limits.reached(batch.rows, batch.bytes) {
            let received = chunks.recv().await;
            watch.for_rows();
            match received {
                Received::Chunk(chunk) => self.send(session, batch, chunk, (shared, watch)).await?,
                Received::End => return Ok(Ended::NoMoreRows),
                Received::Aborted => return aborted().await,
            }
        }
        Ok(Ended::Full)
    }

    async fn send(
        &self,
        session: &Session,
        batch: &mut OpenBatch,
        chunk: Chunk,
        (shared, watch): (&Shared, &mut Stopwatch<'_>),
    ) -> Result<()> {
        let bytes = chunk.data.len() as u64;
        if let Err(error) = batch.copy.send(chunk.data.clone()).await {
            return Err(session.error(&self.doing("copying rows"), error).await);
        }
        watch.for_sending();
        batch.rows += chunk.rows;
        batch.bytes += bytes;
        batch.digest = batch.digest.wrapping_add(chunk.digest);
        let rows = shared.rows.fetch_add(chunk.rows, Ordering::Relaxed) + chunk.rows;
        let bytes = shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.events.send(Event::Progress { id: self.id.clone(), rows, bytes });
        if let Some(waits) = shared.waits.due() {
            self.events.send(Event::Waited { id: self.id.clone(), waits });
        }
        if self.rules.resume_column.is_some() {
            batch.last = chunk;
        }
        Ok(())
    }

    /// Ends the COPY, applies the mode's SQL, and says what the ledger has to record.
    async fn end_batch(&self, session: &Session, batch: OpenBatch, number: i32) -> Result<BatchRecord> {
        let OpenBatch { copy, rows, bytes, digest, last } = batch;
        let doing = self.doing(&format!("copying batch {number}"));
        let stored = match copy.finish().await {
            Ok(stored) => stored,
            Err(error) => return Err(session.error(&doing, error).await),
        };
        if stored != rows {
            return Err(self.dropped_rows(&doing, rows, stored));
        }
        if self.rules.mode == LoadMode::Merge {
            self.merge(session, number, rows).await?;
        }
        Ok(BatchRecord {
            number,
            rows: rows as i64,
            bytes: bytes as i64,
            digest: digest as i64,
            staged: self.is_staged(),
            resume_key: self.rules.resume_column.and_then(|column| last_field(&last.data, last.rows, column)),
        })
    }

    /// "copying batch 17 of users for 2026-01-05"
    pub(super) fn doing(&self, what: &str) -> String {
        if self.id.key == DataInterval::WHOLE_KEY {
            format!("{what} of {}", self.target.name)
        } else {
            format!("{what} of {} for {}", self.target.name, self.id.key)
        }
    }

    pub(super) fn dropped_rows(&self, doing: &str, sent: u64, stored: u64) -> Error {
        let error =
            Error::new(ErrorKind::Mismatch, format!("{doing}: sent {sent} rows, {stored} were stored"));
        if self.target.triggers.is_empty() && self.target.rules.is_empty() {
            return error;
        }
        let hint = "a BEFORE trigger that returns null, or a rule, drops rows: disable it for the load";
        self.suspect(error, hint)
    }
}

/// Takes a chunk and at once the number of the batch that it begins: the writers of an interval are one
/// task, so whoever looks at the count sees a batch for every chunk that was taken.
async fn first_of_batch(chunks: &ChunkReceiver, shared: &Shared) -> Option<(Chunk, i32)> {
    match chunks.recv().await {
        Received::Chunk(chunk) => Some((chunk, shared.number.fetch_add(1, Ordering::Relaxed) + 1)),
        Received::End => None,
        Received::Aborted => aborted().await,
    }
}

fn written_of(record: &BatchRecord) -> Written {
    Written {
        rows: record.rows,
        bytes: record.bytes,
        digest: record.digest as u64,
        batches: 1,
        ..Written::default()
    }
}

/// The reading side failed first and its error is the one to report: it ends this future from outside.
async fn aborted<T>() -> T {
    std::future::pending().await
}

/// The binary value of a column in the last tuple of a chunk; none for null.
fn last_field(data: &[u8], rows: u64, column: usize) -> Option<Vec<u8>> {
    let mut rest = data;
    let mut value = None;
    for _ in 0..rows {
        let (count, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        for index in 0..i16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            // A null has the length -1.
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (field, tail) = tail.split_at_checked(length.unwrap_or(0))?;
            if usize::try_from(index) == Ok(column) {
                value = length.map(|_| field);
            }
            rest = tail;
        }
    }
    value.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tuple_s_field_is_found() {
        let tuple = |a: &[u8]| [&[0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, a.len() as u8], a].concat();
        let data = [tuple(b"one"), tuple(b"three")].concat();
        assert_eq!(last_field(&data, 2, 1).as_deref(), Some(&b"three"[..]));
        assert_eq!(last_field(&data, 2, 0), None, "a null");
        assert_eq!(last_field(&data[..data.len() - 1], 2, 1), None);
    }
}
