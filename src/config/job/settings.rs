//! What a job costs and how hard it tries: sizes, writers, retries, limits.
//!
//! These do not change which rows arrive, so the command line may change them for one run.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Job;
use crate::chunk::BatchLimits;
use crate::config::overrides::Overrides;
use crate::config::reader::Reader;
use crate::error::{Error, ErrorKind, Result};

pub(super) const WRITERS: RangeInclusive<u64> = 1..=16;
const BATCH_ROWS: RangeInclusive<u64> = 1..=1_000_000_000;
const BATCH_BYTES: RangeInclusive<u64> = 1_024..=68_719_476_736;
const RETRIES: RangeInclusive<u64> = 0..=100;
const RUNS: RangeInclusive<u64> = 1..=1_000;

/// A slow query may need minutes before its first row; nothing healthy is silent for longer.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(600);

/// The part of a job that `[defaults]` and the command line may set for all.
pub(super) struct Settings {
    pub(super) limits: BatchLimits,
    pub(super) writers: usize,
    pub(super) retries: u32,
    pub(super) retry_delay: Duration,
    pub(super) retry_exponential_backoff: bool,
    pub(super) max_retry_delay: Duration,
    pub(super) max_active_runs: usize,
    pub(super) execution_timeout: Option<Duration>,
    /// The longest time in which nothing moves.
    pub(super) progress_timeout: Duration,
}

impl Settings {
    /// Reads them, with pgtide's own defaults for what is not said.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let standard = BatchLimits::default();
        let retry_delay = reader.duration("retry_delay").unwrap_or(Duration::from_secs(5));
        let max_retry_delay = reader.duration("max_retry_delay");
        if max_retry_delay.is_some_and(|longest| longest < retry_delay) {
            reader.fail("max_retry_delay", "is shorter than retry_delay");
        }
        let progress_timeout = reader.duration("progress_timeout").unwrap_or(PROGRESS_TIMEOUT);
        if progress_timeout.is_zero() {
            reader.fail("progress_timeout", "leaves no time at all; the default is 10m");
        }
        let execution_timeout = reader.duration("execution_timeout");
        if execution_timeout.is_some_and(|timeout| timeout.is_zero()) {
            reader.fail("execution_timeout", "leaves no time at all; leave it out for no limit");
        }
        Self {
            limits: BatchLimits {
                rows: number(reader, "batch_rows", BATCH_ROWS).unwrap_or(standard.rows),
                bytes: reader.size("batch_bytes", BATCH_BYTES).unwrap_or(standard.bytes),
            },
            writers: number(reader, "writers", WRITERS).unwrap_or(1),
            retries: number(reader, "retries", RETRIES).unwrap_or(3),
            retry_delay,
            retry_exponential_backoff: reader.flag("retry_exponential_backoff").unwrap_or(true),
            max_retry_delay: max_retry_delay.unwrap_or(Duration::from_secs(300).max(retry_delay)),
            max_active_runs: number(reader, "max_active_runs", RUNS).unwrap_or(4),
            execution_timeout,
            progress_timeout,
        }
    }
}

/// Reads an integer within a range as any unsigned type that holds the range.
pub(super) fn number<T: TryFrom<i64>>(
    reader: &mut Reader<'_>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Option<T> {
    let end = i64::try_from(*range.end()).unwrap_or(i64::MAX);
    let start = i64::try_from(*range.start()).unwrap_or(0);
    reader.integer(key, start..=end).and_then(|number| T::try_from(number).ok())
}

impl Overrides {
    /// Checks the numbers of the command line.
    ///
    /// # Errors
    /// `Usage`, with every option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let options = [
            ("--writers", self.writers, WRITERS),
            ("--batch-rows", self.batch_rows, BATCH_ROWS),
            ("--batch-bytes", self.batch_bytes, BATCH_BYTES),
            ("--retries", self.retries, RETRIES),
            ("--parallel", self.parallel, RUNS),
        ];
        let wrong: Vec<String> = options
            .into_iter()
            .filter_map(|(option, given, range)| Some((option, given?, range)))
            .filter(|(_, given, range)| !range.contains(given))
            .map(|(option, given, range)| {
                format!("{option} {given} is not between {} and {}", range.start(), range.end())
            })
            .collect();
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::new(ErrorKind::Usage, one)),
            many => {
                let error = Error::new(ErrorKind::Usage, format!("{} options are out of range", many.len()));
                Err(many.iter().fold(error, Error::with_detail))
            }
        }
    }
}

impl Job {
    /// Applies the command line's numbers, which must have been validated.
    pub(in crate::config) fn apply_numbers(&mut self, overrides: &Overrides) {
        let small = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
        self.writers = small(overrides.writers).unwrap_or(self.writers);
        self.limits.rows = overrides.batch_rows.unwrap_or(self.limits.rows);
        self.limits.bytes = overrides.batch_bytes.unwrap_or(self.limits.bytes);
        self.retries = overrides.retries.and_then(|n| u32::try_from(n).ok()).unwrap_or(self.retries);
        self.parallel = small(overrides.parallel);
        self.limit_writers();
    }

    /// One transaction and one ordered read have one writer, whatever was asked for all jobs.
    pub(super) fn limit_writers(&mut self) {
        if self.has_one_writer() {
            self.writers = 1;
        }
    }
}
