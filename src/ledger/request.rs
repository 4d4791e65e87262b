//! The words of a claim: what is asked for, what comes back, and what an attempt carries with it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::liveness::Holder;
use super::{Owner, TableRef};
use crate::error::{Error, ErrorKind};
use crate::interval::DataInterval;
use crate::state::State;

/// What to claim, for whom, and what the plan saw.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The job.
    pub job: String,
    /// The destination table.
    pub table: TableRef,
    /// What limits the rows that the job owns.
    pub scope: Option<String>,
    /// The interval.
    pub interval: DataInterval,
    /// The interval's name in the job's time zone.
    pub key: String,
    /// The job's time zone.
    pub timezone: Option<String>,
    /// The hash of the job's definition.
    pub definition_hash: String,
    /// The fingerprint of the table that the columns were compared with: nothing is committed into another.
    pub fingerprint: String,
    /// What the rows are read from; none for jobs that start over after a failure.
    pub origin: Option<Origin>,
    /// Who claims.
    pub owner: Owner,
    /// What the plan saw; none if the ledger had no row.
    pub seen: Option<Seen>,
    /// Whether a loaded interval is loaded again.
    pub reload: bool,
    /// Whether a stale interval is loaded again.
    pub stale: bool,
    /// Whether a loaded interval is loaded again in a mode that adds rows.
    pub force: bool,
    /// Whether a live run that holds the interval is terminated.
    pub take_over: bool,
    /// The latest attempt that was seen of an interval which others load too: if a later one failed, it is
    /// theirs to try again.
    pub leave_failed_after: Option<i32>,
    /// Since when a load of another run must have begun to be what is asked for; none where any will do.
    pub since: Option<DateTime<Utc>>,
}

/// What the rows of a job with a `resume_key` are read from: whoever goes on must read from the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The server: its system identifier, or its address where that may not be read.
    pub server: String,
    /// The database's OID.
    pub database: u32,
    /// A digest of the query as it is sent, and of all that it depends on.
    pub query: String,
}

impl Origin {
    /// As the ledger has it.
    pub(super) fn stored(&self) -> String {
        let Self { server, database, query } = self;
        format!("{server}/{database}/{query}")
    }

    /// Reads what the ledger has.
    pub(super) fn parse(stored: &str) -> Option<Self> {
        let (rest, query) = stored.rsplit_once('/')?;
        let (server, database) = rest.rsplit_once('/')?;
        Some(Self { server: server.to_owned(), database: database.parse().ok()?, query: query.to_owned() })
    }
}

/// Why what dead attempts left cannot be gone on after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// The job's definition is another.
    Definition,
    /// The source connection leads to another server.
    Server,
    /// It leads to another database of the server.
    Database,
    /// The query is rendered or run differently.
    Query,
}

/// What the plan saw of an interval: enough to notice that it was loaded or marked meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub state: State,
    /// When the load that stood was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
}

/// How a claim ended.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The interval is ours.
    Claimed(Box<Claim>),
    /// A live run has it.
    Held(Holder),
    /// It is loaded, perhaps since the plan was made.
    AlreadyLoaded,
    /// It was loaded after the plan was made, but into this other table.
    InAnotherTable(TableRef),
    /// Somebody marked it skipped after the plan was made.
    MarkedSkipped,
    /// Another run has failed with it after what was seen.
    FailedElsewhere,
    /// Rows of another job, or of this one with another interval, are in its part of the table.
    Overlaps {
        /// The other job.
        job: String,
        /// The other interval.
        key: String,
    },
}

/// A claimed interval: what every transaction of the attempt needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The interval's row.
    pub interval_id: i64,
    /// What allows this attempt, and no other, to commit.
    pub token: Uuid,
    /// The number of the attempt, from 1.
    pub attempt: i32,
    /// Attempts since it was last loaded or marked, this one included.
    pub tries: i32,
    /// The job.
    pub job: String,
    /// The interval's name.
    pub key: String,
    /// The destination table's OID.
    pub table_oid: u32,
    /// The destination table's name.
    pub table_name: String,
    /// The hash of the job's definition.
    pub definition_hash: String,
    /// Whether a load stands, which this attempt replaces.
    pub was_loaded: bool,
    /// The rows of the load that stands, if pgtide counted them.
    pub previous_rows: Option<i64>,
    /// Rows that dead attempts committed into the destination table and that are still recorded.
    pub left_rows: i64,
    /// What is not as it was when those rows were read; none if nothing is left, or nothing differs.
    pub left_differs: Option<Differs>,
    /// Staged tables that dead attempts left in the ledger's schema.
    pub left_stages: Vec<String>,
    /// What the rows are read from, as the ledger keeps it with each batch.
    pub origin: Option<String>,
    /// The last key that dead attempts committed; none if anything differs from when they read their rows.
    pub resume_key: Option<Vec<u8>>,
    /// The rows up to that key; 0 without one.
    pub resume_rows: i64,
    /// Where the interval was loaded before, if that was another table; what is recorded of it is gone.
    pub moved_from: Option<TableRef>,
}

impl Claim {
    /// The name of the attempt's staged table in the ledger's schema.
    #[must_use]
    pub fn stage_name(&self) -> String {
        format!("stage_{}", self.token.simple())
    }

    /// The interval in messages: `users 2026-01-05`.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.job, self.key)
    }

    /// What is said when the table is not what rows were encoded for.
    pub(super) fn reshaped(&self, doing: &str) -> Error {
        let context = format!("{doing}: {} changed since its columns were compared", self.table_name);
        Error::new(ErrorKind::Preflight, context)
            .with_detail("its columns, triggers or rules are others now; nothing of this batch was stored")
            .with_hint(
                "run it again: the columns are compared anew, and what this attempt stored is cleared first",
            )
    }

    /// What is said when a fence refuses a transaction of this attempt.
    pub(super) fn fenced(&self, doing: &str) -> Error {
        Error::new(
            ErrorKind::Fenced,
            format!(
                "{doing}: attempt {} of {} has lost its claim, nothing more of it can be committed",
                self.attempt,
                self.label()
            ),
        )
        .with_detail(format!(
            "another run or a mark took the interval over, or {} is no longer the table that was claimed",
            self.table_name
        ))
        .with_hint(format!("pgtide status {} shows who has it now", self.job))
    }
}
