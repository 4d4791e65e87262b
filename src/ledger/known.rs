//! What a plan needs to know of every interval of a job, read quickly however many there are.
//!
//! They come by COPY, which costs the server and us a fraction of as many rows of a query: ten years of
//! hours are read in less than a tenth of a second.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio_postgres::Row;
use uuid::Uuid;

use super::read::judged;
use super::{Activity, Ledger, interval_of};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;
use crate::postgres::ident;
use crate::state::State;

/// What a plan needs to know of one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    id: i64,
    token: Option<Uuid>,
    /// Its bounds.
    pub interval: DataInterval,
    /// Its state; `Interrupted` for a first load whose run died.
    pub state: State,
    /// Whether something works on it; a loaded interval may be loaded again.
    pub activity: Activity,
    /// The hash of the definition it was loaded with.
    pub definition_hash: Option<Arc<str>>,
    /// When the load that stands was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
    /// Its rows, if pgtide counted them.
    pub rows: Option<i64>,
    /// The latest attempt's number, if it was not the one that loaded what stands; else 0.
    pub attempt: i32,
    /// Attempts since it was last loaded or marked.
    pub tries: i32,
    /// When the latest attempt ended, if that was not when what stands was loaded.
    pub finished_at: Option<DateTime<Utc>>,
    /// The reason of the latest mark.
    pub reason: Option<String>,
    /// The first line of the latest attempt's error.
    pub error: Option<String>,
}

/// What is loaded and has nothing more to tell, as COPY sends it: the shortest way for many rows. Of the
/// others the last column has the id, and [`OTHERS`] the rest.
const KNOWN: &str = "
select i.interval_start, i.interval_end, i.loaded_at, i.rows, i.definition_hash,
       case when not (i.state = 'loaded' and i.tries = 0 and i.token is null and i.reason is null
                      and i.error_message is null) then i.id end
from pgtide.interval i
where i.job = ";

const OTHERS: &str = "
select i.id, i.state, i.token, i.interval_start, i.interval_end, i.definition_hash, i.loaded_at, i.rows,
       i.attempt, i.tries, i.finished_at, i.reason, pg_catalog.split_part(i.error_message, e'\\n', 1) as error
from pgtide.interval i
where i.id = any ($1)";

impl Ledger {
    /// Reads what a plan needs to know of a job's intervals, in no order, with those of the name that the job
    /// had before.
    ///
    /// # Errors
    /// As the server says.
    pub async fn known(&self, session: &Session, job: &str, was: Option<&str>) -> Result<Vec<Known>> {
        let mut known = self.known_of(session, job).await?;
        let Some(was) = was else { return Ok(known) };
        let own: HashSet<_> = known.iter().map(|known| known.interval).collect();
        let before = self.known_of(session, was).await?;
        known.extend(before.into_iter().filter(|known| !own.contains(&known.interval)));
        Ok(known)
    }

    async fn known_of(&self, session: &Session, job: &str) -> Result<Vec<Known>> {
        let doing = format!("reading what is loaded of {job}");
        let mut known = self.known_now(session, &doing, job).await?;
        if known.iter().all(|k| k.token.is_none()) {
            return Ok(known);
        }
        let live = self.live(session, &doing).await?;
        if known.iter().any(|k| k.token.is_some() && !live.contains(&k.id)) {
            // A free lock means dead only if the same token stands after the lock was looked at.
            let before: Vec<Option<Uuid>> = known.iter().map(|k| k.token).collect();
            known = self.known_now(session, &doing, job).await?;
            for k in known.iter_mut().filter(|k| k.token.is_some()) {
                let dead = !live.contains(&k.id) && before.contains(&k.token);
                (k.state, k.activity) = judged(k.state, true, dead);
            }
        } else {
            for k in known.iter_mut().filter(|k| k.token.is_some()) {
                (k.state, k.activity) = judged(k.state, true, false);
            }
        }
        Ok(known)
    }

    /// The table that the newest load of a job went into, if there is one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn latest_table(&self, session: &Session, job: &str) -> Result<Option<u32>> {
        let sql = self.sql(
            "select table_oid from pgtide.interval
             where job = $1 and loaded_at is not null order by loaded_at desc limit 1",
        );
        let row = session.query_opt(&format!("reading the table of {job}"), &sql, &[&job]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn known_now(&self, session: &Session, doing: &str, job: &str) -> Result<Vec<Known>> {
        let query = format!("{}{}", self.sql(KNOWN), ident::literal(job));
        let sql = format!("copy ({query}) to stdout (format binary)");
        let (mut known, mut others) = (Vec::new(), Vec::new());
        let mut tuples = Tuples::default();
        let mut hash: Option<Arc<str>> = None;
        let stream = match session.client().copy_out(&sql).await {
            Ok(stream) => stream,
            Err(error) => return Err(session.error(doing, error).await),
        };
        let mut stream = pin!(stream);
        while let Some(message) = stream.next().await {
            match message {
                Ok(bytes) => tuples.add(&bytes),
                Err(error) => return Err(session.error(doing, error).await),
            }
            while let Some([start, end, loaded_at, rows, definition, id]) = tuples.next() {
                if let Some(id) = id {
                    others.push(integer(&id));
                    continue;
                }
                let definition = definition.as_deref().and_then(|hash| std::str::from_utf8(hash).ok());
                if definition != hash.as_deref() {
                    hash = definition.map(Arc::from);
                }
                let bound =
                    |bytes: Option<Bytes>| bytes.map_or(DateTime::<Utc>::MIN_UTC, |b| moment(integer(&b)));
                known.push(Known {
                    interval: DataInterval { start: bound(start), end: bound(end) },
                    definition_hash: hash.clone(),
                    loaded_at: loaded_at.map(|bytes| moment(integer(&bytes))),
                    rows: rows.map(|bytes| integer(&bytes)),
                    ..Known::loaded()
                });
            }
        }
        if !tuples.is_over() {
            return Err(Error::new(ErrorKind::Internal, format!("{doing}: what was sent is not whole")));
        }
        if !others.is_empty() {
            let rows = session.query(doing, &self.sql(OTHERS), &[&others]).await?;
            for row in &rows {
                known.push(Known::from_row(row)?);
            }
        }
        Ok(known)
    }
}

impl Known {
    /// Loaded, with nothing more to tell.
    fn loaded() -> Self {
        Self {
            id: 0,
            token: None,
            interval: DataInterval::WHOLE,
            state: State::Loaded,
            activity: Activity::Idle,
            definition_hash: None,
            loaded_at: None,
            rows: None,
            attempt: 0,
            tries: 0,
            finished_at: None,
            reason: None,
            error: None,
        }
    }

    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id"),
            token: row.get("token"),
            interval: interval_of(row),
            state: row.get::<_, &str>("state").parse()?,
            activity: Activity::Idle,
            definition_hash: row.get::<_, Option<&str>>("definition_hash").map(Arc::from),
            loaded_at: row.get("loaded_at"),
            rows: row.get("rows"),
            attempt: row.get("attempt"),
            tries: row.get("tries"),
            finished_at: row.get("finished_at"),
            reason: row.get("reason"),
            error: row.get("error"),
        })
    }
}

/// Binary COPY, cut into tuples of six fields.
#[derive(Default)]
struct Tuples {
    buffer: BytesMut,
    has_begun: bool,
}

/// Signature, flags, and the length of an extension of which there is none.
const COPY_HEADER_BYTES: usize = 19;

impl Tuples {
    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if !self.has_begun && self.buffer.len() >= COPY_HEADER_BYTES {
            self.buffer.advance(COPY_HEADER_BYTES);
            self.has_begun = true;
        }
    }

    /// Whether all tuples were taken and the trailer, a count of -1, is what is left.
    fn is_over(&self) -> bool {
        self.buffer[..] == (-1_i16).to_be_bytes()
    }

    /// The next tuple, if it is there whole.
    fn next(&mut self) -> Option<[Option<Bytes>; 6]> {
        let mut rest = &self.buffer[..];
        if !self.has_begun || rest.len() < 2 || rest.get_i16() != 6 {
            return None;
        }
        let mut lengths = [0_i32; 6];
        for length in &mut lengths {
            *length = rest.try_get_i32().ok()?;
            rest = rest.get(usize::try_from(*length).unwrap_or(0)..)?;
        }
        self.buffer.advance(2);
        Some(lengths.map(|length| {
            self.buffer.advance(4);
            usize::try_from(length).ok().map(|length| self.buffer.split_to(length).freeze())
        }))
    }
}

/// An `int8`, or what has its form.
fn integer(bytes: &[u8]) -> i64 {
    bytes.try_into().map(i64::from_be_bytes).unwrap_or_default()
}

/// A `timestamptz`: microseconds since 2000-01-01.
fn moment(micros: i64) -> DateTime<Utc> {
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    match micros {
        i64::MIN => DateTime::<Utc>::MIN_UTC,
        i64::MAX => DateTime::<Utc>::MAX_UTC,
        micros => micros
            .checked_add(EPOCH_MICROS)
            .and_then(DateTime::from_timestamp_micros)
            .unwrap_or(DateTime::<Utc>::MAX_UTC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_found_however_the_bytes_arrive() {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for number in [7_i64, -1] {
            bytes.extend(6_i16.to_be_bytes());
            for field in 0..6_i64 {
                if field == 3 {
                    bytes.extend((-1_i32).to_be_bytes());
                } else {
                    bytes.extend(8_i32.to_be_bytes());
                    bytes.extend((number * 10 + field).to_be_bytes());
                }
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        for size in [1, 3, 19, 50, bytes.len()] {
            let (mut tuples, mut found) = (Tuples::default(), Vec::new());
            for part in bytes.chunks(size) {
                tuples.add(part);
                while let Some(tuple) = tuples.next() {
                    found.push(tuple.map(|field| field.map(|field| integer(&field))));
                }
            }
            let expected = |n: i64| [0, 1, 2, 3, 4, 5].map(|i| (i != 3).then_some(n * 10 + i));
            assert_eq!(found, [expected(7), expected(-1)], "in parts of {size}");
            assert!(tuples.is_over());
            tuples.add(&[0]);
            assert!(!tuples.is_over(), "something is left");
        }
    }

    #[test]
    fn moments_are_those_of_the_server() {
        assert_eq!(moment(0).to_rfc3339(), "2000-01-01T00:00:00+00:00");
        assert_eq!(moment(-1).to_rfc3339(), "1999-12-31T23:59:59.999999+00:00");
        assert_eq!(
            (moment(i64::MIN), moment(i64::MAX)),
            (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC)
        );
    }
}
