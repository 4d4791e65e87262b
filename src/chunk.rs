//! Encoded rows on their way: a chunk is about 256 KiB of binary COPY tuples, copied once from the
//! source's socket and never decoded.
//!
//! The channel of chunks tells its end from an abort: a fetch that failed half-way must never look
//! like the last row. `extract` sends, the writers of `load` receive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// The size, in bytes, at which a chunk is handed on.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Whole rows as binary COPY tuples, without header and trailer.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// The tuples, one after the other.
    pub data: Bytes,
    /// How many tuples.
    pub rows: u64,
    /// The order-free digest of the tuples: the wrapping sum of the XXH3-64 of each.
    pub digest: u64,
}

/// When a batch is full: at the first chunk boundary at or after either limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows in one destination transaction.
    pub rows: u64,
    /// Bytes in one destination transaction.
    pub bytes: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows: 50_000, bytes: 16 * 1024 * 1024 }
    }
}

impl BatchLimits {
    /// Whether a batch of this size is full.
    #[must_use]
    pub fn reached(&self, rows: u64, bytes: u64) -> bool {
        rows >= self.rows || bytes >= self.bytes
    }
}

/// The sending side; dropping it without [`finish`](ChunkSender::finish) aborts.
#[derive(Debug)]
pub struct ChunkSender {
    tx: async_channel::Sender<Chunk>,
    complete: Arc<AtomicBool>,
}

/// The receiving side; clones share the chunks, each chunk goes to one of them.
#[derive(Debug, Clone)]
pub struct ChunkReceiver {
    rx: async_channel::Receiver<Chunk>,
    complete: Arc<AtomicBool>,
}

/// What a receiver gets.
#[derive(Debug)]
pub enum Received {
    /// Rows.
    Chunk(Chunk),
    /// Every row was sent.
    End,
    /// The sender failed: what was received is not all.
    Aborted,
}

/// Makes a channel that holds at most `queue` chunks.
#[must_use]
pub fn channel(queue: usize) -> (ChunkSender, ChunkReceiver) {
    let (tx, rx) = async_channel::bounded(queue.max(1));
    let complete = Arc::new(AtomicBool::new(false));
    (ChunkSender { tx, complete: complete.clone() }, ChunkReceiver { rx, complete })
}

impl ChunkSender {
    /// The raw sender, for the tap that fills the channel from below.
    #[must_use]
    pub fn queue(&self) -> async_channel::Sender<Chunk> {
        self.tx.clone()
    }

    /// Sends one chunk; false if every receiver is gone.
    pub async fn send(&self, chunk: Chunk) -> bool {
        self.tx.send(chunk).await.is_ok()
    }

    /// Says that every row was sent.
    pub fn finish(self) {
        self.complete.store(true, Ordering::Release);
        self.tx.close();
    }
}

impl Drop for ChunkSender {
    fn drop(&mut self) {
        self.tx.close();
    }
}

impl ChunkReceiver {
    /// Waits for the next chunk, the end, or the abort.
    pub async fn recv(&self) -> Received {
        match self.rx.recv().await {
            Ok(chunk) => Received::Chunk(chunk),
            Err(_) if self.complete.load(Ordering::Acquire) => Received::End,
            Err(_) => Received::Aborted,
        }
    }
}
