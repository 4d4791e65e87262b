//! What writers wait for: every moment of a writer's time is for rows, for sending, or for a commit.
//!
//! A writer takes laps on a stopwatch; the sums of all writers of an attempt are said a few times a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event;

/// The time between two events.
const SAY_EVERY: Duration = Duration::from_millis(250);

/// Sums over the writers of an attempt, in microseconds.
#[derive(Debug)]
pub struct Waits {
    begun: Instant,
    source: AtomicU64,
    sending: AtomicU64,
    commit: AtomicU64,
    paced: AtomicU64,
    /// When they were said last, since the beginning.
    said: AtomicU64,
}

impl Default for Waits {
    fn default() -> Self {
        let zero = AtomicU64::default;
        let begun = Instant::now();
        Self { begun, source: zero(), sending: zero(), commit: zero(), paced: zero(), said: zero() }
    }
}

impl Waits {
    /// Adds time for which rows were held back on purpose.
    pub fn add_paced(&self, time: Duration) {
        self.paced.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// The sums, when it is time to say them.
    pub(super) fn due(&self) -> Option<event::Waits> {
        let (now, said) = (micros(self.begun.elapsed()), self.said.load(Ordering::Relaxed));
        if now < said + micros(SAY_EVERY) {
            return None;
        }
        self.said.store(now, Ordering::Relaxed);
        let of = |sum: &AtomicU64| Duration::from_micros(sum.load(Ordering::Relaxed));
        Some(event::Waits {
            source: of(&self.source),
            sending: of(&self.sending),
            commit: of(&self.commit),
            paced: of(&self.paced),
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A writer's stopwatch: each lap says what the time since the one before was for.
#[derive(Debug)]
pub(super) struct Stopwatch<'w> {
    waits: &'w Waits,
    since: Instant,
}

impl<'w> Stopwatch<'w> {
    pub(super) fn start(waits: &'w Waits) -> Self {
        Self { waits, since: Instant::now() }
    }

    pub(super) fn for_rows(&mut self) {
        self.lap(&self.waits.source);
    }

    pub(super) fn for_sending(&mut self) {
        self.lap(&self.waits.sending);
    }

    pub(super) fn for_commit(&mut self) {
        self.lap(&self.waits.commit);
    }

    fn lap(&mut self, sum: &AtomicU64) {
        let now = Instant::now();
        sum.fetch_add(micros(now - self.since), Ordering::Relaxed);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_of_a_writer_is_counted_once_and_said_now_and_then() {
        let waits = Waits::default();
        assert_eq!(waits.due(), None, "it has only begun");
        let early = Instant::now();
        let mut watch = Stopwatch { waits: &waits, since: early - Duration::from_millis(700) };
        watch.for_rows();
        watch.since -= Duration::from_millis(200);
        watch.for_sending();
        watch.since -= Duration::from_millis(100);
        watch.for_commit();
        waits.add_paced(Duration::from_millis(300));
        let waits = Waits { begun: early - Duration::from_secs(1), ..waits };
        let sums = waits.due().unwrap();
        assert!(sums.source >= Duration::from_millis(700) && sums.sending >= Duration::from_millis(200));
        assert!(sums.commit >= Duration::from_millis(100) && sums.paced == Duration::from_millis(300));
        assert_eq!(waits.due(), None, "it was just said");
    }
}
