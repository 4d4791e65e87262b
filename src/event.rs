//! Everything the engine says while it works: the only interface between engine and output.
//!
//! Events are facts without wording. `report` turns them into bars, lines or JSON; a library user
//! may read them as they are. Sending never blocks and never fails the work: if nobody listens, the
//! event is dropped.

mod scheduling;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

pub use scheduling::Scheduling;

use crate::interval::DataInterval;

/// The engine's end.
#[derive(Debug, Clone)]
pub struct Events(Option<mpsc::UnboundedSender<Event>>);

/// The output's end.
pub type EventReceiver = mpsc::UnboundedReceiver<Event>;

/// Makes a connected pair.
#[must_use]
pub fn channel() -> (Events, EventReceiver) {
    let (tx, rx) = mpsc::unbounded_channel();
    (Events(Some(tx)), rx)
}

impl Events {
    /// Events that nobody hears.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    /// Says something.
    pub fn send(&self, event: Event) {
        if let Some(tx) = &self.0 {
            // A closed receiver means that the output ended first; the work goes on.
            let _ = tx.send(event);
        }
    }
}

/// One interval of one job, as printed: the job's name and the interval's key (`2026-01-05`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntervalId {
    /// The job.
    pub job: String,
    /// The local date, hour, week or month; `all` for a one-off copy.
    pub key: String,
}

/// What a running interval is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Taking the claim in the ledger.
    Claiming,
    /// Comparing columns, rights and types.
    Checking,
    /// Removing what a broken attempt left.
    Clearing,
    /// Waiting for the first row of the source.
    WaitingForSource,
    /// Rows flow.
    Writing,
    /// Putting staged rows in place and recording the end.
    Finishing,
}

/// What a run is about to do to one job.
#[derive(Debug, Clone)]
pub struct RunStarted {
    /// The run's id, as in the ledger.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// The source connection's name.
    pub source: String,
    /// The destination connection's name.
    pub destination: String,
    /// The destination table.
    pub into: String,
    /// The job's time zone, if it has intervals.
    pub timezone: Option<String>,
    /// Intervals that will be loaded.
    pub intervals: usize,
    /// Intervals left alone.
    pub skipped: usize,
    /// Intervals at once.
    pub parallel: usize,
    /// Connections that will be opened on the source, and the cap if there is one.
    pub source_connections: (usize, Option<usize>),
    /// Connections that will be opened on the destination, and the cap if there is one.
    pub destination_connections: (usize, Option<usize>),
    /// The backfill that the run works on: `orders/7`.
    pub backfill: Option<String>,
    /// When the run starts nothing more, as a clock in the job's zone shows it.
    pub stop_at: Option<String>,
}

/// Why a run starts nothing more, though nothing failed and no signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Halt {
    /// The time of `--stop-at` has come.
    StopAt,
    /// Somebody paused the backfill.
    Paused,
    /// Somebody cancelled the backfill.
    Cancelled,
}

/// What the writers of an attempt waited for so far, added up over them: all of their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// For rows of the source.
    pub source: Duration,
    /// For the destination to take rows.
    pub sending: Duration,
    /// For batches to be stored and committed.
    pub commit: Duration,
    /// Of the time for rows, what `--max-rate` held them back.
    pub paced: Duration,
}

/// How one interval ended well.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Rows in the destination.
    pub rows: u64,
    /// Bytes of the rows as sent.
    pub bytes: u64,
    /// Destination transactions that held rows.
    pub batches: u64,
    /// Whether it replaced an earlier load.
    pub reloaded: bool,
    /// From claim to finish.
    pub elapsed: Duration,
}

/// How one interval ended badly.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The kind's exit code.
    pub exit_code: u8,
    /// The server's code, if one spoke.
    pub sqlstate: Option<String>,
    /// One line.
    pub message: String,
    /// Lines below it.
    pub details: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The try that failed, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: DateTime<Utc>,
}

impl Failure {
    /// Describes an error at a moment.
    #[must_use]
    pub fn of(error: &crate::error::Error, attempt: u32, at: DateTime<Utc>) -> Self {
        Self {
            exit_code: error.kind().policy().exit_code,
            sqlstate: error.sqlstate().map(str::to_owned),
            message: error.chain(),
            details: error.details().to_vec(),
            hint: error.hint().map(str::to_owned),
            attempt,
            at,
        }
    }
}

/// How one view's refresh went.
#[derive(Debug, Clone, Default)]
pub struct ViewRefreshed {
    /// `schema.view`.
    pub view: String,
    /// How long it took.
    pub elapsed: Duration,
    /// `plain`, `concurrent` or `swap`; none if it did not come so far.
    pub mode: Option<&'static str>,
    /// Why it was refreshed.
    pub reason: String,
    /// Rows written, and rows removed.
    pub changed: Option<(u64, u64)>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// The end of a refresh of several views.
#[derive(Debug, Clone, Default)]
pub struct ViewsSummary {
    /// Views refreshed.
    pub refreshed: usize,
    /// Views found fresh.
    pub fresh: usize,
    /// Views left alone, with the reason: asked so, or a view below them failed.
    pub left: Vec<(String, String)>,
    /// Views that failed, with the reason.
    pub failed: Vec<(String, Failure)>,
    /// Views that were not started because the run stopped.
    pub not_started: usize,
    /// The whole time.
    pub elapsed: Duration,
    /// Whether a signal ended it early.
    pub interrupted: bool,
}

/// The end of a run of one job.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The job's name.
    pub job: String,
    /// Intervals loaded.
    pub loaded: usize,
    /// Intervals left alone.
    pub skipped: usize,
    /// Of these, intervals that another live run has.
    pub held: usize,
    /// Intervals that failed, with the reason.
    pub failed: Vec<(String, Failure)>,
    /// Intervals that were not started, or stopped on the way, because the run stopped.
    pub not_started: usize,
    /// Rows loaded.
    pub rows: u64,
    /// Bytes loaded.
    pub bytes: u64,
    /// The whole time.
    pub elapsed: Duration,
    /// The command that tries again what is not done.
    pub retry_command: Option<String>,
    /// Whether a signal ended the run early.
    pub interrupted: bool,
    /// The backfill that the run worked on: `orders/7`.
    pub backfill: Option<String>,
    /// Intervals that other processes loaded while this one worked on the same backfill.
    pub loaded_elsewhere: usize,
    /// Why it started nothing more.
    pub halted: Option<Halt>,
}

/// One fact about the work.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job's intervals are planned and about to start.
    RunStarted(RunStarted),
    /// An interval is left alone.
    IntervalSkipped {
        /// Which.
        id: IntervalId,
        /// Why.
        reason: String,
    },
    /// An interval's attempt starts.
    IntervalStarted {
        /// Which.
        id: IntervalId,
        /// Its bounds.
        interval: DataInterval,
        /// The try, from 1.
        attempt: u32,
        /// How many rows it may have, from history or the planner.
        estimated_rows: Option<u64>,
    },
    /// An interval goes on to its next step.
    PhaseChanged {
        /// Which.
        id: IntervalId,
        /// To what.
        phase: Phase,
    },
    /// Rows were sent to the destination; totals of the attempt so far.
    Progress {
        /// Which.
        id: IntervalId,
        /// Rows sent.
        rows: u64,
        /// Bytes sent.
        bytes: u64,
    },
    /// What the writers waited for; totals of the attempt so far, a few times a second.
    Waited {
        /// Which.
        id: IntervalId,
        /// What for.
        waits: Waits,
    },
    /// A job's next interval waits for a slot of a limit that others have, or waits no more.
    WaitsForSlot {
        /// The job.
        job: String,
        /// The limit: its key (`pool`), its name, and how many slots it has; none once it was given.
        limit: Option<(&'static str, String, usize)>,
    },
    /// A batch is committed.
    BatchCommitted {
        /// Which interval.
        id: IntervalId,
        /// The batch's number, from 1.
        number: u64,
        /// Its rows.
        rows: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// An attempt failed and another will follow.
    IntervalRetrying {
        /// Which.
        id: IntervalId,
        /// What went wrong.
        failure: Failure,
        /// How many tries there may be.
        tries: u32,
        /// The pause before the next.
        wait: Duration,
    },
    /// An interval is loaded.
    IntervalLoaded {
        /// Which.
        id: IntervalId,
        /// What came of it.
        loaded: Loaded,
    },
    /// Another process loaded an interval of the backfill that this one works on, too.
    IntervalLoadedElsewhere {
        /// Which.
        id: IntervalId,
    },
    /// An interval's attempt was stopped; it is not done and not at fault.
    IntervalStopped {
        /// Which.
        id: IntervalId,
    },
    /// An interval failed for good.
    IntervalFailed {
        /// Which.
        id: IntervalId,
        /// Why.
        failure: Failure,
    },
    /// Something a person should know that is no error.
    Notice {
        /// One line, without a value of any row.
        message: String,
    },
    /// Views are planned and about to be refreshed.
    ViewsStarted {
        /// Views that want a refresh.
        views: usize,
        /// Views that are fresh.
        fresh: usize,
        /// Views at once.
        jobs: usize,
    },
    /// A view's refresh starts.
    ViewStarted {
        /// `schema.view`.
        view: String,
        /// `plain`, `concurrent` or `swap`.
        mode: &'static str,
        /// Why this way.
        why: String,
        /// The try, from 1.
        attempt: u32,
        /// How long it may take, by its history.
        estimate: Option<Duration>,
    },
    /// A refresh failed and another try will follow.
    ViewRetrying {
        /// `schema.view`.
        view: String,
        /// What went wrong.
        failure: Failure,
        /// The pause before the next try.
        wait: Duration,
    },
    /// A view is left alone.
    ViewSkipped {
        /// `schema.view`.
        view: String,
        /// Why.
        reason: String,
    },
    /// A view was refreshed, or not.
    ViewRefreshed(ViewRefreshed),
    /// The refresh of views ended.
    ViewsFinished(ViewsSummary),
    /// The run of a job ended.
    RunFinished(Summary),
    /// The run of a job ended before its first interval; whoever asked for it tells why.
    RunNotStarted {
        /// The job.
        job: String,
    },
    /// What a schedule does between runs.
    Scheduling(Scheduling),
}
