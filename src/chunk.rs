//! Encoded rows on their way: a chunk is about 64 KiB of binary COPY tuples, copied once from the
//! source's socket and never decoded.
//!
//! The channel of chunks tells its end from an abort: a fetch that failed half-way must never look
//! like the last row. `extract` sends, the writers of `load` receive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The size, in bytes, at which a chunk is handed on: small enough that the chunk being filled and the
/// ones being sent stay in a core's cache.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Room above a full chunk for the row that fills it.
const SLACK_BYTES: usize = 16 * 1024;

/// Whole rows as binary COPY tuples, without header and trailer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The tuples, one after the other.
    pub data: Bytes,
    /// How many tuples.
    pub rows: u64,
    /// The order-free digest of the tuples: the wrapping sum of the XXH3-64 of each.
    pub digest: u64,
}

/// Memory for chunks, used again once a chunk is dropped: fresh memory costs a page fault every 4 KiB.
///
/// There are never more buffers than chunks were alive at once. One that a long row has grown is freed.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer with room for a chunk.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.free().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES + SLACK_BYTES))
    }

    /// Makes a buffer's content the data of a chunk; the buffer comes back with the last clone's end.
    #[must_use]
    pub fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if (1..=CHUNK_BYTES + SLACK_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.home.free().push(buffer);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_after_the_last_clone_of_its_chunk() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"rows");
        let place = buffer.as_ptr();
        let data = buffers.lend(buffer);
        let clone = data.slice(1..);
        drop(data);
        assert!(buffers.free().is_empty());
        assert_eq!(clone, &b"ows"[..]);
        drop(clone);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn a_buffer_that_a_long_row_has_grown_is_freed() {
        let buffers = Buffers::default();
        drop(buffers.lend(vec![0; 2 * CHUNK_BYTES]));
        assert!(buffers.free().is_empty());
    }
}
