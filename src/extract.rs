//! Reading: one interval of the source, in one snapshot, into a bounded channel of chunks.
//!
//! The transaction is REPEATABLE READ READ ONLY. Its first statement locks the tables in ACCESS SHARE
//! mode, before the snapshot exists: a TRUNCATE that got in between would otherwise show an empty
//! table without any error. What cannot be locked is looked at afterwards. How far the source has come is
//! asked before the snapshot, of the server that takes it. Called by the engine, once per attempt.

use futures::join;
use tokio_postgres::{IsolationLevel, SimpleQueryMessage, Transaction};

use crate::chunk::ChunkSender;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::bound::Condition;
use crate::postgres::connect::{Server, Session};
use crate::postgres::cursor::{Cursor, CursorError};
use crate::postgres::described::Described;
use crate::postgres::hidden::HIDDEN;
use crate::postgres::horizon::{Completion, HORIZON, Horizon};
use crate::postgres::ident;
use crate::postgres::row_tap::{Diverted, TapHandle};

/// A column of the query: with another type modifier, values of the same type would be rounded or cut on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadColumn {
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// The modifier of its type, such as the scale of a `numeric`, -1 without one; none where any fits.
    pub typmod: Option<i32>,
}

/// What to read and under which settings.
#[derive(Debug, Clone)]
pub struct Extract {
    /// The query, with `$1` and `$2` for the bounds; its columns are the destination's.
    pub sql: String,
    /// The bounds; its `sql` is part of the query already.
    pub bounds: Condition,
    /// Tables to lock first, quoted.
    pub lock: Vec<String>,
    /// Whether that is all that is read.
    pub all_locked: bool,
    /// When the source has all of it; none if that is no question.
    pub completion: Option<Completion>,
    /// The session time zone: the job's.
    pub timezone: String,
    /// Whether names resolve by the role's own `search_path`, as in a job's own query.
    pub role_search_path: bool,
    /// What the query's columns must be, as compared before.
    pub columns: Vec<ReadColumn>,
    /// Named in the query's leading comment, for the DBA.
    pub comment: String,
}

/// The snapshot that the rows came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `pg_current_snapshot()`.
    pub id: String,
    /// `pg_control_system()`'s identifier; 0 if it may not be read.
    pub system_identifier: i64,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// Rows, bytes and digest.
    pub total: Diverted,
    /// In which snapshot.
    pub snapshot: Snapshot,
}

/// Reads everything and says so through the channel's end.
///
/// # Errors
/// The first error of the source. The channel then ends without its end mark.
pub async fn extract(session: &mut Session, what: &Extract, sender: ChunkSender) -> Result<Extracted> {
    let tap = session.tap().clone();
    let system_identifier = session.server().system_identifier;
    let outcome = read(session, &tap, what, sender).await;
    match outcome {
        Ok((total, id)) => Ok(Extracted { total, snapshot: Snapshot { id, system_identifier } }),
        Err(ReadError::Postgres(doing, error)) => Err(session.error(doing, error).await),
        Err(ReadError::Ours(error)) => Err(error),
    }
}

enum ReadError {
    Postgres(&'static str, tokio_postgres::Error),
    Ours(Error),
}

const SNAPSHOT: &str = "select pg_catalog.pg_current_snapshot()::pg_catalog.text";
const READING: &str = "reading the source";

async fn read(
    session: &mut Session,
    tap: &TapHandle,
    what: &Extract,
    sender: ChunkSender,
) -> Result<(Diverted, String), ReadError> {
    let opening = opening(session.local_settings(), what);
    let server = session.server().clone();
    // The first of two that follow each other: how far the source has come is asked in it.
    let transaction = session
        .client_mut()
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .read_only(true)
        .start()
        .await
        .map_err(failed("opening the source's snapshot"))?;
    let read = read_in(&transaction, tap, &Reading { what, opening, server }, sender).await?;
    transaction.commit().await.map_err(failed("closing the source's snapshot"))?;
    Ok(read)
}

/// What is read, and from where.
struct Reading<'a> {
    what: &'a Extract,
    opening: String,
    server: Server,
}

async fn read_in(
    transaction: &Transaction<'_>,
    tap: &TapHandle,
    reading: &Reading<'_>,
    sender: ChunkSender,
) -> Result<(Diverted, String), ReadError> {
    let Reading { what, opening, server } = reading;
    let sql = format!("/* {} */ {}", what.comment.replace("*/", "* /").replace("/*", "/ *"), what.sql);
    // Sent together, in this order: the server takes the snapshot when the locks are there, and parses the
    // query in it. After an error it refuses the rest, so that the first error is the one to tell.
    let (locked, snapshot, statement) =
        join!(transaction.simple_query(opening), snapshot_id(transaction), transaction.prepare(&sql),);
    let locked = locked.map_err(failed("locking the source's tables"))?;
    if let Some(completion) = &what.completion {
        let horizon = Horizon::of(&locked).map_err(ReadError::Ours)?;
        completion.check(&horizon, server).map_err(ReadError::Ours)?;
    }
    let snapshot = snapshot.map_err(failed("opening the source's snapshot"))?;
    let statement = statement.map_err(failed(READING))?;
    compare_columns(&tap.described().unwrap_or_default(), &what.columns).map_err(ReadError::Ours)?;
    let cursor = Cursor::open(transaction, tap, &statement, &what.bounds.to_params())
        .await
        .map_err(failed(READING))?;
    let total = cursor.drain(sender).await.map_err(|error| match error {
        CursorError::Postgres(error) => ReadError::Postgres(READING, error),
        CursorError::Miscounted { diverted, passed } => ReadError::Ours(Error::new(
            ErrorKind::Internal,
            format!("reading the source: {passed} rows came past the tap, {diverted} through it"),
        )),
    })?;
    if !what.all_locked {
        let hidden = transaction.simple_query(HIDDEN).await.map_err(failed(READING))?;
        refuse_hidden(&hidden).map_err(ReadError::Ours)?;
    }
    Ok((total, snapshot))
}

/// Refuses what was read while a table of it changed its file.
fn refuse_hidden(answer: &[SimpleQueryMessage]) -> Result<()> {
    let hidden = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let Some(tables) = hidden else { return Ok(()) };
    let context = format!("reading the source: a table was emptied or rewritten meanwhile ({tables})");
    Err(Error::new(ErrorKind::Contention, context)
        .with_detail("the snapshot does not see its rows, so that some may be missing")
        .with_hint("run it again: it is read in a new snapshot"))
}

fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> ReadError {
    move |error| ReadError::Postgres(doing, error)
}

/// How far the source has come; then, in the transaction that reads, settings and locks. Nothing in there
/// takes the snapshot.
fn opening(settings: String, what: &Extract) -> String {
    let mut sql = what.completion.as_ref().map_or_else(String::new, |_| format!("{HORIZON}; "));
    sql.push_str("commit; start transaction isolation level repeatable read read only; ");
    sql.push_str(&settings);
    // Parallel workers would be planned for a cursor and never launched, and a cursor is planned for
    // its first rows unless told that all of them are wanted.
    sql.push_str("; set local cursor_tuple_fraction = 1.0; set local max_parallel_workers_per_gather = 0; ");
    sql.push_str(&format!("set local timezone = {}; ", ident::literal(&what.timezone)));
    if what.role_search_path {
        sql.push_str("set local search_path to default; ");
    }
    if !what.lock.is_empty() {
        sql.push_str(&format!("lock table {} in access share mode", what.lock.join(", ")));
    }
    sql
}

async fn snapshot_id(transaction: &Transaction<'_>) -> Result<String, tokio_postgres::Error> {
    transaction.query_typed_one(SNAPSHOT, &[]).await?.try_get(0)
}

/// A column that changed since the types were compared must not slip through: binary COPY checks
/// lengths, not meaning.
fn compare_columns(described: &[Described], expected: &[ReadColumn]) -> Result<()> {
    let read = |c: &Described| ReadColumn { name: c.name.clone(), type_oid: c.oid, typmod: Some(c.typmod) };
    let found: Vec<_> = described.iter().map(read).collect();
    let fits = |(found, expected): (&ReadColumn, &ReadColumn)| {
        let modifier = expected.typmod.is_none() || found.typmod == expected.typmod;
        (&found.name, found.type_oid) == (&expected.name, expected.type_oid) && modifier
    };
    if found.len() == expected.len() && found.iter().zip(expected).all(fits) {
        return Ok(());
    }
    let changed =
        found.iter().zip(expected).find(|pair| !fits(*pair)).map_or("their number", |(a, _)| &a.name);
    Err(Error::new(ErrorKind::Preflight, "the source's columns changed since they were compared")
        .with_detail(format!("first difference: {changed}"))
        .with_hint("run it again: the columns are compared anew"))
}
