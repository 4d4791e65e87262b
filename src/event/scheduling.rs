//! What `schedule` says between runs: who leads, what it waits for, which files changed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::Failure;

/// One fact about a schedule.
#[derive(Debug, Clone)]
pub enum Scheduling {
    /// This process leads in a destination from now on: it loads what is due there.
    Leading {
        /// The destination connection's name.
        destination: String,
        /// The project, as schedules know each other by it.
        project: String,
    },
    /// Another process leads; this one takes over when it dies.
    StandingBy {
        /// The destination connection's name.
        destination: String,
        /// The leader's host.
        host: String,
        /// Its process there.
        pid: Option<u32>,
        /// Since when it leads.
        since: Option<DateTime<Utc>>,
    },
    /// A destination cannot be asked, so nothing starts there.
    Unreachable {
        /// The destination connection's name.
        destination: String,
        /// Why.
        failure: Failure,
    },
    /// Nothing is due in a destination; this is next.
    Waiting {
        /// The job.
        job: String,
        /// When it is due, in its time zone.
        at: DateTime<Tz>,
    },
    /// A job that is due could not start; it is tried again.
    NotStarted {
        /// The job.
        job: String,
        /// Why.
        failure: Failure,
        /// The pause before the next try.
        wait: Duration,
    },
    /// A job's file is new.
    JobAdded {
        /// The job.
        job: String,
    },
    /// A job's file, or what it shares with others, says something else.
    JobChanged {
        /// The job.
        job: String,
    },
    /// A job's file is gone.
    JobRemoved {
        /// The job.
        job: String,
    },
    /// A file cannot be used as it is.
    Broken {
        /// The job; none for the project's file.
        job: Option<String>,
        /// What is wrong: file, line, finding.
        findings: Vec<String>,
        /// Whether its last good version is used meanwhile.
        kept: bool,
    },
    /// A broken file is good again.
    Mended {
        /// The job; none for the project's file.
        job: Option<String>,
    },
}
