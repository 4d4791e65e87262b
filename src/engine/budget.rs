//! How many connections a run opens, and what gives way when a server's cap is lower.

use crate::config::job::{CommitPolicy, Job, LoadMode};

/// Connections and what they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Intervals at once.
    pub parallel: usize,
    /// Destination connections per interval that COPY.
    pub writers: usize,
    /// Connections on the source.
    pub source: usize,
    /// Connections on the destination: a control session and the writers of each interval.
    pub destination: usize,
}

impl Budget {
    /// Fits what is wanted under the caps: first fewer intervals at once, then fewer writers.
    #[must_use]
    pub fn new(
        job: &Job,
        intervals: usize,
        parallel: usize,
        source_cap: Option<usize>,
        destination_cap: Option<usize>,
    ) -> Self {
        let source_cap = source_cap.unwrap_or(usize::MAX).max(1);
        let destination_cap = destination_cap.unwrap_or(usize::MAX).max(2);
        let writers = usable_writers(job).min(destination_cap - 1);
        let parallel = parallel.min(intervals).min(source_cap).min(destination_cap / (writers + 1)).max(1);
        // With nothing to load there is only a look at both sides.
        let writing = if intervals == 0 { 0 } else { writers };
        Self { parallel, writers, source: parallel, destination: parallel * (writing + 1) }
    }
}

/// A transaction for the whole interval, and an order to keep, need a single writer.
fn usable_writers(job: &Job) -> usize {
    let single = job.resume_key.is_some()
        || job.commit == Some(CommitPolicy::Interval)
        || (job.mode == LoadMode::Append && job.commit.is_none());
    if single { 1 } else { job.writers.max(1) }
}
