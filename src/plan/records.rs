//! What the ledger has of a job, by interval: found at once when asked for one after the other.

use std::cell::Cell;

use super::Recorded;
use crate::interval::DataInterval;

/// The records of a job, oldest first.
pub(super) struct Records<'a> {
    sorted: Vec<&'a Recorded>,
    /// Where the next one asked for is expected.
    next: Cell<usize>,
}

impl<'a> Records<'a> {
    /// Takes them in any order, each interval once.
    pub(super) fn of(recorded: &'a [Recorded]) -> Self {
        let mut sorted: Vec<_> = recorded.iter().collect();
        if !recorded.is_sorted_by_key(|record| record.interval) {
            sorted.sort_unstable_by_key(|record| record.interval);
        }
        Self { sorted, next: Cell::new(0) }
    }

    /// What there is of an interval.
    pub(super) fn get(&self, interval: &DataInterval) -> Option<&'a Recorded> {
        let guess = self.next.get();
        let place = match self.sorted.get(guess) {
            Some(record) if record.interval == *interval => guess,
            _ => self.sorted.binary_search_by_key(interval, |record| record.interval).ok()?,
        };
        self.next.set(place + 1);
        self.sorted.get(place).copied()
    }
}
