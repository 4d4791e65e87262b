//! The ledger: a few small tables in the destination that say what is loaded.
//!
//! Data and its record commit together, so the ledger is true whatever breaks. An attempt at an
//! interval is alive as long as the control session holds an advisory lock (`claim`), and may commit
//! as long as its random token stands in the interval's row (`record`). Readers (`read`) only look.
//! What several processes are to load together is in `backfill`, how many at once in `slots`.
//!
//! In all SQL of this module the schema is written `pgtide`; `Ledger::sql` puts the configured one
//! in its place. `engine` and `load` call this module, the commands that only look use [`Ledger::find`].

mod backfill;
mod claim;
mod evidence;
mod finish;
mod known;
mod leader;
mod leftovers;
mod liveness;
mod mark;
mod open;
mod read;
mod record;
mod rename;
mod request;
mod slots;
mod trust;
mod view_file;
mod views;

use chrono::{DateTime, Utc};
use tokio_postgres::types::Timestamp;
use uuid::Uuid;

pub use backfill::{Backfill, BackfillProgress, BackfillRequest, BackfillState, Glance, Worker};
pub use claim::Neighbour;
pub use evidence::{Evidence, Place, TableBefore, TableNow};
pub use finish::{Settled, Totals};
pub use known::{Known, Story};
pub use leader::LeaderLock;
pub use liveness::Holder;
pub use mark::MarkRequest;
pub use open::VERSION;
pub use read::{Activity, AttemptRecord, DayRows, IntervalRecord, Snapshot};
pub use record::{Accepted, BatchRecord};
pub use request::{Claim, ClaimOutcome, ClaimRequest, Differs, Origin, Seen};
pub use slots::{Asked, Class, Limit, Rank, Slots};
pub use view_file::{DroppedView, ViewEvent, ViewObject};
pub use views::{ChangedRows, FailedRefresh, RefreshRecord, Source, Sources, ViewRecord, sources};

use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;

/// The ledger's tables in one destination, known by OID and found worthy of trust.
#[derive(Debug, Clone)]
pub struct Ledger {
    schema: String,
    /// The schema as SQL, quoted.
    quoted: String,
    /// With an interval's id, the key of its advisory lock: the same for every spelling of the schema.
    interval_oid: u32,
    /// With a destination table's OID, the key of the lock under which claims on that table are compared.
    meta_oid: u32,
    /// With a view's OID, the key of the lock of its refresh.
    view_oid: u32,
    /// Since when it is there, in this version.
    since: DateTime<Utc>,
    writable: bool,
}

/// A destination table: its OID, which decides, and its name, for people and for finding the OID again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// The OID.
    pub oid: u32,
    /// The name with its schema, as [`TableName`](crate::name::TableName) shows it.
    pub name: String,
}

/// The process that makes an attempt or a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The run.
    pub run_id: String,
    /// What started the run, such as an Airflow run id.
    pub trigger: Option<String>,
}

impl Ledger {
    /// The schema that holds the ledger.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Since when it is there, in this version: it cannot know what was loaded before another was dropped.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.since
    }

    /// Puts the configured schema in place of `pgtide`.
    fn sql(&self, text: &str) -> String {
        with_schema(text, &self.quoted)
    }

    fn require_writable(&self) -> Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Internal,
            "the ledger was opened for reading, and something wants to write",
        ))
    }
}

fn with_schema(text: &str, quoted: &str) -> String {
    text.replace("pgtide.", &format!("{quoted}."))
}

/// An instant as the ledger stores it: the ends of all time are infinite.
fn stored(instant: DateTime<Utc>) -> Timestamp<DateTime<Utc>> {
    if instant == DateTime::<Utc>::MIN_UTC {
        Timestamp::NegInfinity
    } else if instant == DateTime::<Utc>::MAX_UTC {
        Timestamp::PosInfinity
    } else {
        Timestamp::Value(instant)
    }
}

fn instant(stored: Timestamp<DateTime<Utc>>) -> DateTime<Utc> {
    match stored {
        Timestamp::NegInfinity => DateTime::<Utc>::MIN_UTC,
        Timestamp::PosInfinity => DateTime::<Utc>::MAX_UTC,
        Timestamp::Value(instant) => instant,
    }
}

fn interval_of(row: &tokio_postgres::Row) -> DataInterval {
    DataInterval { start: instant(row.get("interval_start")), end: instant(row.get("interval_end")) }
}

/// A fencing token: a version-4 UUID has 122 random bits, two of them cover each other's fixed ones.
fn random_token() -> Uuid {
    Uuid::from_u128(Uuid::new_v4().as_u128() ^ Uuid::new_v4().as_u128().rotate_left(64))
}

const BEGIN: &str = "begin isolation level read committed read write;
set local synchronous_commit = on; set local lock_timeout = '10s'";

/// Begins a transaction of the ledger's own: synchronous, and never waiting long for a row.
async fn begin(session: &Session, doing: &str) -> Result<()> {
    session.batch(doing, BEGIN).await
}

/// Commits if all went well, else rolls back and hands on what went wrong.
async fn end<T>(session: &Session, doing: &str, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => session.batch(doing, "commit").await.map(|()| value),
        Err(error) => {
            // What went wrong first is what matters; a lost connection rolls back by itself.
            let _ = session.batch(doing, "rollback").await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_token_is_random() {
        let (mut ever_set, mut ever_clear) = (0, 0);
        for _ in 0..200 {
            let token = random_token().as_u128();
            ever_set |= token;
            ever_clear |= !token;
        }
        assert_eq!((ever_set, ever_clear), (u128::MAX, u128::MAX));
    }

    #[test]
    fn all_of_time_is_stored_as_infinity() {
        let whole = DataInterval::WHOLE;
        assert_eq!(stored(whole.start), Timestamp::NegInfinity);
        assert_eq!(stored(whole.end), Timestamp::PosInfinity);
        assert_eq!((instant(stored(whole.start)), instant(stored(whole.end))), (whole.start, whole.end));
    }

    #[test]
    fn the_configured_schema_takes_the_place_of_pgtide() {
        assert_eq!(
            with_schema("select 1 from pgtide.interval", "\"my.x\""),
            "select 1 from \"my.x\".interval"
        );
    }
}
