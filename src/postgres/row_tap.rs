//! The data-row tap: a stream between the socket (or TLS) and tokio-postgres that diverts rows.
//!
//! The body of a `DataRow` message is, byte for byte, a tuple of binary COPY. The tap follows the
//! framing of the server's messages; while armed it moves the bodies of `D` messages into chunks and
//! lets every other message through, so tokio-postgres sees fetches that return no rows. Rows are
//! copied once and never decoded. When the chunk queue is full the tap does not read, so the server
//! waits: that is the back-pressure.
//!
//! On a source it also tells the driver less of a statement's types; see `described`.
//!
//! Framing starts with the first byte the tap sees: any TLS negotiation must be over by then. Used by
//! `cursor`, which arms it; every session is built on one, armed or not.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xxhash_rust::xxh3::xxh3_64;

use super::described::{self, Described};
use crate::chunk::{Buffers, CHUNK_BYTES, Chunk};

const HEADER_BYTES: usize = 5;
const DATA_ROW: u8 = b'D';
const BACKEND_KEY_DATA: u8 = b'K';
/// What the socket is asked for at a time while nothing is diverted.
const IDLE_BUFFER_BYTES: usize = 8 * 1024;
/// What the socket is asked for at a time while rows flow.
const ARMED_BUFFER_BYTES: usize = 64 * 1024;
/// A row's count of columns, of which there may be none.
const SHORTEST_ROW_BYTES: usize = 2;
/// The server's own limit of one message.
const MAX_MESSAGE_BYTES: usize = 0x3fff_ffff + 4;

type Sending = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A stream that diverts rows while armed.
pub struct RowTap<S> {
    inner: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    frame: Frame,
    sending: Option<Sending>,
    hides_types: bool,
    shared: Arc<Mutex<Shared>>,
}

/// Where in a message the next byte is.
enum Frame {
    /// In the header, of which so many bytes are known.
    Header { bytes: [u8; HEADER_BYTES], known: usize },
    /// In something that goes up; so many bytes are left.
    Passing { left: usize },
    /// In a description, of which types are hidden: its header, what is known of its body, what is left.
    Describing { header: [u8; HEADER_BYTES], body: Vec<u8>, left: usize },
    /// In a description that is known; from this byte on it still has to go up.
    PassingKnown { body: Vec<u8>, from: usize },
    /// In the header of something that goes up; from this byte on it still has to go.
    PassingHeader { bytes: [u8; HEADER_BYTES], from: usize },
    /// In a row's body; so many bytes are left.
    Row { left: usize },
    /// In the backend's key: noted, and passed up.
    Key { left: usize, pid: [u8; 4], known: usize },
}

impl Frame {
    const START: Self = Self::Header { bytes: [0; HEADER_BYTES], known: 0 };
}

#[derive(Default)]
struct Shared {
    backend_pid: Option<i32>,
    described: Option<Vec<Described>>,
    armed: Option<Armed>,
}

struct Armed {
    queue: async_channel::Sender<Chunk>,
    buffers: Buffers,
    data: Vec<u8>,
    rows: u64,
    digest: u64,
    row_start: usize,
    total: Diverted,
}

/// What went through an armed tap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diverted {
    /// Rows.
    pub rows: u64,
    /// Bytes of the rows, as COPY tuples.
    pub bytes: u64,
    /// The wrapping sum of the XXH3-64 of each row.
    pub digest: u64,
}

/// Arms and disarms a tap from outside the connection's task.
#[derive(Clone)]
pub struct TapHandle(Arc<Mutex<Shared>>);

impl fmt::Debug for TapHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = lock(&self.0);
        f.debug_struct("TapHandle")
            .field("backend_pid", &shared.backend_pid)
            .field("armed", &shared.armed.is_some())
            .finish()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TapHandle {
    /// The process id that the server announced for this connection.
    #[must_use]
    pub fn backend_pid(&self) -> Option<i32> {
        lock(&self.0).backend_pid
    }

    /// The columns that were described last, where types are hidden from the driver.
    #[must_use]
    pub fn described(&self) -> Option<Vec<Described>> {
        lock(&self.0).described.clone()
    }

    /// Diverts the rows of every message from now on into the queue.
    pub fn arm(&self, queue: async_channel::Sender<Chunk>) {
        lock(&self.0).armed = Some(Armed {
            queue,
            buffers: Buffers::default(),
            data: Vec::new(),
            rows: 0,
            digest: 0,
            row_start: 0,
            total: Diverted::default(),
        });
    }

    /// Stops diverting; returns the rows of the last chunk, not sent yet, and the totals with them.
    #[must_use]
    pub fn disarm(&self) -> (Chunk, Diverted) {
        match lock(&self.0).armed.take() {
            Some(mut armed) => (armed.take_chunk(), armed.total),
            None => Default::default(),
        }
    }

    /// The totals so far.
    #[must_use]
    pub fn diverted(&self) -> Diverted {
        lock(&self.0).armed.as_ref().map(|a| a.total).unwrap_or_default()
    }
}

impl Armed {
    /// Takes the rows that lie whole at the start of the input, until the chunk is full: nearly all.
    fn take_rows(&mut self, input: &mut &[u8]) {
        while !self.is_full()
            && let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>()
            && header[0] == DATA_ROW
            && let Some(length) = body_bytes(*header).filter(|length| *length >= SHORTEST_ROW_BYTES)
            && let Some((row, rest)) = rest.split_at_checked(length)
        {
            self.append(row);
            self.end_row();
            *input = rest;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.data.capacity() == 0 {
            self.data = self.buffers.take();
        }
        self.data.extend_from_slice(bytes);
    }

    fn end_row(&mut self) {
        let digest = xxh3_64(&self.data[self.row_start..]);
        self.total.bytes += (self.data.len() - self.row_start) as u64;
        self.row_start = self.data.len();
        self.rows += 1;
        self.total.rows += 1;
        self.digest = self.digest.wrapping_add(digest);
        self.total.digest = self.total.digest.wrapping_add(digest);
    }

    fn is_full(&self) -> bool {
        self.data.len() >= CHUNK_BYTES
    }

    fn send_if_full(&mut self) -> Option<Sending> {
        if !self.is_full() {
            return None;
        }
        Some(Box::pin(hand_on(self.queue.clone(), self.take_chunk())))
    }

    fn take_chunk(&mut self) -> Chunk {
        let chunk = Chunk {
            data: self.buffers.lend(std::mem::take(&mut self.data)),
            rows: std::mem::take(&mut self.rows),
            digest: std::mem::take(&mut self.digest),
        };
        self.row_start = 0;
        chunk
    }
}

impl<S> RowTap<S> {
    /// Wraps a stream whose next byte from the server starts a message.
    pub fn new(inner: S) -> (Self, TapHandle) {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let tap = Self {
            inner,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            frame: Frame::START,
            sending: None,
            hides_types: false,
            shared: shared.clone(),
        };
        (tap, TapHandle(shared))
    }

    /// Tells the driver that types which Postgres does not bring are unknown.
    #[must_use]
    pub fn hiding_types(mut self, hides_types: bool) -> Self {
        self.hides_types = hides_types;
        self
    }

    /// Passes up what is known already; says whether there was room for all of it.
    fn pass_known(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let put = |known: &[u8], from: &mut usize, out: &mut ReadBuf<'_>| {
            let n = out.remaining().min(known.len() - *from);
            out.put_slice(&known[*from..*from + n]);
            *from += n;
            *from == known.len()
        };
        let next = match &mut self.frame {
            Frame::PassingHeader { bytes, from } => put(bytes, from, out).then(|| Frame::body_of(*bytes)),
            Frame::PassingKnown { body, from } => put(body, from, out).then_some(Frame::START),
            _ => return true,
        };
        let Some(next) = next else { return false };
        self.frame = next;
        true
    }

    /// Moves what is buffered to where it belongs, until the buffer is empty, `out` is full, or a
    /// chunk has to be sent first.
    fn distribute(&mut self, out: &mut ReadBuf<'_>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut shared = lock(&shared);
        while self.sending.is_none() {
            if !self.pass_known(out) || self.start == self.end {
                return Ok(());
            }
            let mut input = &self.buffer[self.start..self.end];
            if let (Frame::Header { known: 0, .. }, Some(armed)) = (&self.frame, &mut shared.armed) {
                armed.take_rows(&mut input);
                self.start = self.end - input.len();
                self.sending = armed.send_if_full();
                if self.sending.is_some() {
                    return Ok(());
                }
            }
            let (used, next) = match &mut self.frame {
                Frame::Header { bytes, known } => {
                    let n = input.len().min(HEADER_BYTES - *known);
                    bytes[*known..*known + n].copy_from_slice(&input[..n]);
                    *known += n;
                    let done = *known == HEADER_BYTES;
                    let next = |bytes| Frame::after_header(bytes, shared.armed.is_some(), self.hides_types);
                    (n, if done { Some(next(*bytes)?) } else { None })
                }
                Frame::Row { left } => {
                    let n = input.len().min(*left);
                    *left -= n;
                    let done = *left == 0;
                    if let Some(armed) = &mut shared.armed {
                        armed.append(&input[..n]);
                        if done {
                            armed.end_row();
                            self.sending = armed.send_if_full();
                        }
                    }
                    (n, done.then_some(Frame::START))
                }
                Frame::Passing { left } => {
                    let n = input.len().min(*left).min(out.remaining());
                    out.put_slice(&input[..n]);
                    *left -= n;
                    if n == 0 && *left > 0 {
                        return Ok(());
                    }
                    (n, (*left == 0).then_some(Frame::START))
                }
                Frame::Key { left, pid, known } => {
                    let n = input.len().min(*left).min(out.remaining());
                    out.put_slice(&input[..n]);
                    for (place, byte) in pid[*known..].iter_mut().zip(&input[..n]) {
                        *place = *byte;
                        *known += 1;
                    }
                    *left -= n;
                    if *left == 0 {
                        shared.backend_pid = Some(i32::from_be_bytes(*pid));
                    } else if n == 0 {
                        return Ok(());
                    }
                    (n, (*left == 0).then_some(Frame::START))
                }
                Frame::Describing { header, body, left } => {
                    describe((header, body, left), input, &mut shared)
                }
                Frame::PassingHeader { .. } | Frame::PassingKnown { .. } => (0, None),
            };
            self.start += used;
            if let Some(next) = next {
                self.frame = next;
            }
        }
        Ok(())
    }

    fn buffer_bytes(&self) -> usize {
        if lock(&self.shared).armed.is_some() { ARMED_BUFFER_BYTES } else { IDLE_BUFFER_BYTES }
    }
}

/// Takes a part of a description; gives what goes up once it is whole.
fn describe(
    (header, body, left): (&[u8; HEADER_BYTES], &mut Vec<u8>, &mut usize),
    input: &[u8],
    shared: &mut Shared,
) -> (usize, Option<Frame>) {
    let n = input.len().min(*left);
    body.extend_from_slice(&input[..n]);
    *left -= n;
    if *left > 0 {
        return (n, None);
    }
    shared.described = described::hide_types(header[0], body).or(shared.described.take());
    let body = [header.as_slice(), body.as_slice()].concat();
    (n, Some(Frame::PassingKnown { body, from: 0 }))
}

async fn hand_on(queue: async_channel::Sender<Chunk>, chunk: Chunk) -> bool {
    queue.send(chunk).await.is_ok()
}

impl Frame {
    fn after_header(bytes: [u8; HEADER_BYTES], armed: bool, hides_types: bool) -> io::Result<Self> {
        let body = body_bytes(bytes);
        match body {
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server sent a message of impossible length",
            )),
            Some(left) if armed && bytes[0] == DATA_ROW && left >= SHORTEST_ROW_BYTES => {
                Ok(Self::Row { left })
            }
            Some(left) if hides_types && left > 0 && described::is_description(bytes[0]) => {
                Ok(Self::Describing { header: bytes, body: Vec::new(), left })
            }
            Some(_) => Ok(Self::PassingHeader { bytes, from: 0 }),
        }
    }

    fn body_of(bytes: [u8; HEADER_BYTES]) -> Self {
        match body_bytes(bytes) {
            None | Some(0) => Self::START,
            Some(left) if bytes[0] == BACKEND_KEY_DATA => Self::Key { left, pid: [0; 4], known: 0 },
            Some(left) => Self::Passing { left },
        }
    }
}

/// The length of the body, from a header whose length counts itself but not the type byte.
fn body_bytes(header: [u8; HEADER_BYTES]) -> Option<usize> {
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    (4..=MAX_MESSAGE_BYTES).contains(&length).then(|| length - 4)
}

impl<S: AsyncRead + Unpin> AsyncRead for RowTap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        loop {
            if let Some(sending) = &mut this.sending {
                // Bytes for tokio-postgres must not wait for room in the queue.
                let Poll::Ready(_) = sending.as_mut().poll(cx) else {
                    return if out.filled().len() > before { Poll::Ready(Ok(())) } else { Poll::Pending };
                };
                // If every receiver is gone the rows are dropped: the load has failed already, and
                // the messages after the rows are still wanted.
                this.sending = None;
            }
            this.distribute(out)?;
            if this.sending.is_some() {
                continue;
            }
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let wanted = this.buffer_bytes();
            if this.buffer.len() != wanted {
                this.buffer.resize(wanted, 0);
                this.buffer.shrink_to(wanted);
            }
            let mut fresh = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut fresh))?;
            this.start = 0;
            this.end = fresh.filled().len();
            if this.end == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RowTap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    /// A reader that gives its bytes in pieces of the given sizes, in turn.
    struct Pieces {
        data: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
        turn: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let size = self.sizes[self.turn % self.sizes.len()];
            self.turn += 1;
            let n = size.min(self.data.len() - self.at).min(out.remaining());
            out.put_slice(&self.data[self.at..self.at + n]);
            self.at += n;
            Poll::Ready(Ok(()))
        }
    }

    async fn run(data: Vec<u8>, sizes: Vec<usize>, out_size: usize) -> (Vec<u8>, Vec<Chunk>, Diverted) {
        let (mut tap, handle) = RowTap::new(Pieces { data, at: 0, sizes, turn: 0 });
        let (tx, rx) = async_channel::unbounded();
        handle.arm(tx);
        let mut up = Vec::new();
        let mut buf = vec![0; out_size];
        loop {
            let n = tap.read(&mut buf).await.unwrap();
            if n == 0 {
                break;
            }
            up.extend_from_slice(&buf[..n]);
        }
        let (last, total) = handle.disarm();
        let mut chunks = Vec::new();
        while let Ok(chunk) = rx.try_recv() {
            chunks.push(chunk);
        }
        chunks.push(last);
        (up, chunks, total)
    }

    proptest! {
        #[test]
        fn rows_are_diverted_and_everything_else_passes(
            messages in prop::collection::vec(
                (prop::sample::select(vec![b'D', b'C', b's', b'Z', b'K', b'E', b'N']), prop::collection::vec(any::<u8>(), 2..600)),
                0..60,
            ),
            sizes in prop::collection::vec(1usize..700, 1..8),
            out_size in 1usize..300,
        ) {
            let data: Vec<u8> = messages.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
            let rows: Vec<u8> = messages.iter().filter(|m| m.0 == b'D').flat_map(|m| m.1.clone()).collect();
            let rest: Vec<u8> =
                messages.iter().filter(|m| m.0 != b'D').flat_map(|(kind, body)| message(*kind, body)).collect();
            let count = messages.iter().filter(|m| m.0 == b'D').count() as u64;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (up, chunks, total) = runtime.block_on(run(data, sizes, out_size));
            prop_assert_eq!(up, rest);
            prop_assert_eq!(chunks.iter().flat_map(|c| c.data.to_vec()).collect::<Vec<_>>(), rows);
            prop_assert_eq!(chunks.iter().map(|c| c.rows).sum::<u64>(), count);
            prop_assert_eq!(total.rows, count);
            prop_assert_eq!(chunks.iter().fold(0u64, |sum, c| sum.wrapping_add(c.digest)), total.digest);
        }

        #[test]
        fn bytes_of_no_sense_never_panic(data in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (mut tap, handle) = RowTap::new(&data[..]);
            let (tx, _rx) = async_channel::unbounded();
            handle.arm(tx);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let result = runtime.block_on(tap.read_to_end(&mut Vec::new()));
            prop_assert!(result.is_ok() || result.is_err_and(|e| e.kind() == io::ErrorKind::InvalidData));
        }
    }

    #[tokio::test]
    async fn a_full_queue_stops_the_reading() {
        let row = message(b'D', &vec![7; CHUNK_BYTES]);
        let data: Vec<u8> = row.iter().cycle().take(row.len() * 4).copied().collect();
        let (mut tap, handle) = RowTap::new(Pieces { data, at: 0, sizes: vec![100_000], turn: 0 });
        let (tx, rx) = async_channel::bounded(1);
        handle.arm(tx);
        let mut buf = [0; 16];
        let mut read = Box::pin(tap.read(&mut buf));
        assert!(futures::poll!(&mut read).is_pending());
        assert_eq!(handle.diverted().rows, 2, "one chunk in the queue, one in hand, no more read");
        for _ in 0..4 {
            assert!(futures::poll!(&mut read).is_pending() || rx.len() <= 1);
            assert_eq!(rx.recv().await.unwrap().rows, 1);
            let _ = futures::poll!(&mut read);
        }
        assert_eq!(handle.diverted().rows, 4);
    }

    #[tokio::test]
    async fn descriptions_pass_with_their_types_hidden_wherever_the_bytes_are_cut() {
        let types = |oid: u32| {
            [b"\0\x01c\0\0\0\0\0\0\0", oid.to_be_bytes().as_slice(), b"\0\x04\xff\xff\xff\xff\0\0"].concat()
        };
        let data = |oid| [message(b'T', &types(oid)), message(b't', b"\0\0"), message(b'Z', b"I")].concat();
        for (size, out_size) in [(1, 1), (2, 3), (5, 64), (64, 2), (200, 200)] {
            let (tap, handle) = RowTap::new(Pieces { data: data(50_001), at: 0, sizes: vec![size], turn: 0 });
            let mut tap = tap.hiding_types(true);
            let (mut up, mut buf) = (Vec::new(), vec![0; out_size]);
            loop {
                let n = tap.read(&mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                up.extend_from_slice(&buf[..n]);
            }
            assert_eq!(up, data(705), "pieces of {size}, {out_size} at a time");
            let described = handle.described().unwrap();
            assert_eq!((described[0].name.as_str(), described[0].oid), ("c", 50_001));
        }
    }

    #[tokio::test]
    async fn an_unarmed_tap_passes_rows_and_notes_the_backend() {
        let mut data = message(b'K', &[0, 0, 1, 2, 9, 9, 9, 9]);
        data.extend(message(b'D', &[0, 0]));
        let (mut tap, handle) = RowTap::new(&data[..]);
        let mut up = Vec::new();
        tap.read_to_end(&mut up).await.unwrap();
        assert_eq!(up, data);
        assert_eq!(handle.backend_pid(), Some(258));
        assert_eq!(handle.disarm(), (Chunk::default(), Diverted::default()));
    }
}
