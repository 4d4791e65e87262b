//! A job as it is after validation: what to copy, from where to where, how and when.
//!
//! `parse` reads a job file, `check` refuses what does not fit together, [`one_off`](Job::one_off)
//! makes the job of a `copy`. What decides the rows is in [`definition_hash`](Job::definition_hash).

mod check;
mod definition;
mod one_off;
pub(super) mod parse;
mod settings;
mod when;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::chunk::BatchLimits;
use crate::interval::{Calendar, Schedule, Tick};
use crate::name::TableName;

pub use one_off::OneOff;

/// How rows get into the destination table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadMode {
    /// Rows are added; nothing is ever removed.
    Append,
    /// An interval's rows are replaced by the source's.
    DeleteInsert,
    /// Rows are inserted or, where the key exists, updated.
    Merge,
    /// The whole table is replaced.
    Replace,
}

/// What one destination transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitPolicy {
    /// A batch, straight into the table.
    Batch,
    /// The whole interval.
    Interval,
    /// A batch, into a staged table that is published in one transaction.
    Staged,
}

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A table, view or materialized view of the source.
    Table(TableName),
    /// A query template, rendered for each interval by [`Job::render_query`].
    Query(String),
}

/// What to do when an interval has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnEmpty {
    /// Nothing; it is loaded. A reload that would replace rows by nothing still fails.
    #[default]
    Auto,
    /// It is loaded, also when it replaces rows by nothing.
    Ok,
    /// It is loaded, with a notice.
    Warn,
    /// It fails.
    Fail,
}

/// How `replace` empties a table whose replacement is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EmptyWith {
    /// `TRUNCATE`: quick, blocks readers until the commit.
    #[default]
    Truncate,
    /// `DELETE`: readers go on.
    Delete,
}

/// What is refreshed after a load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Refresh {
    /// Nothing; a notice names what is stale.
    #[default]
    None,
    /// Every materialized view that reads the table.
    Dependents,
    /// These materialized views.
    Named(Vec<TableName>),
}

/// Which intervals a run without dates takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Catchup {
    /// Holes after the first loaded interval.
    #[default]
    Gaps,
    /// Everything since `start_date`.
    All,
    /// The newest complete interval.
    Last,
    /// None.
    None,
}

/// What happens when source and destination columns differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnSchemaChange {
    /// A new source column is left out, with a notice.
    #[default]
    Warn,
    /// A new source column is added to the destination.
    Add,
    /// Any difference fails.
    Fail,
}

/// Which rows, into what, how: everything that loading one interval needs to know.
#[derive(Debug, Clone)]
pub struct Job {
    /// The file's name without `.toml`; for a one-off copy, `copy:` and the destination table.
    pub name: String,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The source connection's name.
    pub source: String,
    /// The destination connection's name.
    pub destination: String,
    /// Where the rows come from.
    pub origin: Origin,
    /// The file that the query is in, if it has its own.
    pub query_file: Option<PathBuf>,
    /// The destination table.
    pub into: TableName,
    /// Only these columns, in this order.
    pub columns: Option<Vec<String>>,
    /// SQL on the source for a column, in place of the column.
    pub cast: BTreeMap<String, String>,
    /// A SQL condition on the source.
    pub filter: Option<String>,
    /// The destination column that holds a row's time; with an interval, the source's too.
    pub time_column: Option<String>,
    /// The unit and zone of its intervals; none for a table copied whole.
    pub calendar: Option<Calendar>,
    /// The zone of the session and of the schedule: the calendar's, or UTC if none was given.
    pub timezone: Tz,
    /// How rows get in.
    pub mode: LoadMode,
    /// The key columns of `merge`.
    pub key: Vec<String>,
    /// The column an interrupted `append` goes on after.
    pub resume_key: Option<String>,
    /// What a transaction holds, if not what the mode would choose.
    pub commit: Option<CommitPolicy>,
    /// A SQL condition on the destination that limits what the job owns.
    pub scope: Option<String>,
    /// How a staged `replace` empties the table.
    pub empty_with: EmptyWith,
    /// What to do with no rows.
    pub on_empty: OnEmpty,
    /// The largest part, 0 to 1, by which a reload may shrink an interval.
    pub max_shrink: Option<f64>,
    /// Statements on the destination, in the first transaction.
    pub pre_sql: Vec<String>,
    /// Statements on the destination, in the finishing transaction.
    pub post_sql: Vec<String>,
    /// Whether to ANALYZE after a load that changed more than a tenth.
    pub analyze: bool,
    /// Whether to make the table when it is missing.
    pub create: bool,
    /// Whether to make the partition of an interval when it is missing.
    pub create_partitions: bool,
    /// What to do with new columns.
    pub on_schema_change: OnSchemaChange,
    /// What to refresh after a run.
    pub refresh: Refresh,
    /// The size of a batch.
    pub limits: BatchLimits,
    /// Destination connections per interval.
    pub writers: usize,
    /// When it is due; with a schedule and no calendar it is a snapshot job.
    pub schedule: Option<Schedule>,
    /// The moment of the schedule that a snapshot is for, once [`at`](Job::at) has found it.
    pub tick: Option<Tick>,
    /// The first local date.
    pub start_date: Option<NaiveDate>,
    /// The last local date.
    pub end_date: Option<NaiveDate>,
    /// How long after its end an interval is complete.
    pub min_delay: Duration,
    /// How long after its end an interval must be loaded; later, `status` says that it is late.
    pub deadline: Option<Duration>,
    /// Which intervals a run without dates takes.
    pub catchup: Catchup,
    /// Earlier intervals, counted back from the newest, that are loaded again with it.
    pub lookback: Vec<u32>,
    /// Whether an interval waits until the one before is loaded.
    pub depends_on_past: bool,
    /// Further tries after a failure.
    pub retries: u32,
    /// The pause before another try.
    pub retry_delay: Duration,
    /// Whether the pause doubles.
    pub retry_exponential_backoff: bool,
    /// The longest pause.
    pub max_retry_delay: Duration,
    /// Intervals at once in one process.
    pub max_active_runs: usize,
    /// Intervals at once in this process, if the command line says so.
    pub parallel: Option<usize>,
    /// The pool whose slots an interval takes.
    pub pool: Option<String>,
    /// How many slots an interval takes.
    pub pool_slots: usize,
    /// Which waiting intervals go first: the higher number.
    pub priority_weight: i32,
    /// The longest time in which nothing moves.
    pub progress_timeout: Duration,
    /// The longest time for one attempt.
    pub execution_timeout: Option<Duration>,
    /// The program, and its arguments, that is told of a run in which something failed.
    pub notify_on_failure: Vec<String>,
    /// The program, and its arguments, that is told of a run in which all went well.
    pub notify_on_success: Vec<String>,
    /// Values for `{{ params.x }}`.
    pub params: BTreeMap<String, toml::Value>,
    /// The name this job had before, whose ledger it goes on with.
    pub was: Option<String>,
}
