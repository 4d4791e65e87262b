//! `--max-rate`: rows or bytes that this process reads in a second, over all of its intervals.
//!
//! Chunks are held up on their way from the reader to the writers. The queue before it fills, so the
//! source's socket is not read and the source waits. There is no credit for time that was not used.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::chunk::{ChunkReceiver, ChunkSender, Received};

/// The longest wait without a sign of life.
const STEP: Duration = Duration::from_secs(1);

/// The most that is read in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Rows.
    Rows(u64),
    /// Bytes.
    Bytes(u64),
}

/// As `--max-rate` takes it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

/// Hands chunks on, no faster than the rate; shared by the intervals of a run.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// When the next chunk may go on.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, next: Mutex::default() }
    }

    /// Hands on until the end; an abort stays one. `alive` is called after each part of a wait, with its length.
    pub(super) async fn pass(&self, from: ChunkReceiver, to: ChunkSender, alive: impl Fn(Duration)) {
        loop {
            match from.recv().await {
                Received::Chunk(chunk) => {
                    let turn = self.turn(chunk.rows, chunk.data.len() as u64, Instant::now());
                    while Instant::now() < turn {
                        let begun = Instant::now();
                        sleep_until(turn.min(begun + STEP)).await;
                        alive(begun.elapsed());
                    }
                    if !to.send(chunk).await {
                        return;
                    }
                }
                Received::End => return to.finish(),
                Received::Aborted => return,
            }
        }
    }

    /// When a chunk of this size may go on; the next one waits for it.
    fn turn(&self, rows: u64, bytes: u64, now: Instant) -> Instant {
        let cost = match self.rate {
            Rate::Rows(most) => rows as f64 / most.max(1) as f64,
            Rate::Bytes(most) => bytes as f64 / most.max(1) as f64,
        };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + Duration::try_from_secs_f64(cost).unwrap_or(Duration::from_secs(86_400)));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_waits_as_long_as_the_one_before_it_lasts() {
        let pace = Pace::new(Rate::Rows(1_000));
        let now = Instant::now();
        let waits: Vec<_> =
            [500, 250, 250, 1_000].map(|rows| (pace.turn(rows, 1, now) - now).as_millis()).into();
        assert_eq!(waits, [0, 500, 750, 1_000]);
        let late = now + Duration::from_secs(60);
        assert_eq!(pace.turn(10, 1, late), late, "there is no credit, and no debt is left");
        let pace = Pace::new(Rate::Bytes(1 << 20));
        assert_eq!(pace.turn(1, 1 << 19, now), now);
        assert_eq!(pace.turn(1, 1, now), now + Duration::from_millis(500));
    }

    #[tokio::test]
    async fn an_abort_stays_an_abort_and_an_end_an_end() {
        for is_end in [true, false] {
            let (sender, read) = crate::chunk::channel(2);
            let (paced, chunks) = crate::chunk::channel(1);
            let chunk = crate::chunk::Chunk { rows: 3, ..Default::default() };
            assert!(sender.send(chunk.clone()).await);
            if is_end {
                sender.finish()
            } else {
                drop(sender)
            }
            let pace = Pace::new(Rate::Rows(1_000_000));
            tokio::join!(pace.pass(read, paced, |_| ()), async {
                assert!(matches!(chunks.recv().await, Received::Chunk(found) if found == chunk));
                let last = chunks.recv().await;
                assert_eq!(matches!(last, Received::End), is_end);
            });
        }
    }
}
