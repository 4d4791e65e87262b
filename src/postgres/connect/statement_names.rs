//! Names of prepared statements that no other client of a pooler has, nor another session of ours.
//!
//! tokio-postgres counts: its statements are s0, s1, ... in every process. Behind a pooler another client
//! may have left an s0 in the server process that we are given, and preparing ours would fail. So the
//! names are made unique on their way to the server. Only a source is read through a pooler; every other
//! message, and everything that the server sends, goes through as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

const PARSE: u8 = b'P';
const BIND: u8 = b'B';
const DESCRIBE: u8 = b'D';
const CLOSE: u8 = b'C';
/// In Describe and Close: a statement, not a portal.
const STATEMENT: u8 = b'S';
const TAG_BYTES: usize = 1;
const LENGTH_BYTES: usize = 4;

/// What the names of one session's statements begin with.
pub(super) fn prefix() -> String {
    format!("pgtide_{}_", Uuid::new_v4().simple())
}

/// A stream to a server whose prepared statements get a prefix, if there is one.
pub(super) struct StatementNames<S> {
    inner: S,
    renaming: Option<Renaming>,
}

struct Renaming {
    prefix: String,
    /// The first message of a connection has no letter.
    has_begun: bool,
    /// The start of a message that is not whole yet.
    partial: BytesMut,
    /// What the server has still to be sent.
    unsent: BytesMut,
}

impl<S> StatementNames<S> {
    /// Begins before the first byte of the connection, but for those that agreed on TLS.
    pub(super) fn new(inner: S, prefix: Option<String>) -> Self {
        let renaming =
            |prefix| Renaming { prefix, has_begun: false, partial: BytesMut::new(), unsent: BytesMut::new() };
        Self { inner, renaming: prefix.map(renaming) }
    }
}

impl Renaming {
    /// Takes bytes of the client; whole messages are ready to be sent afterwards.
    fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(length) = self.message_bytes().filter(|length| *length <= self.partial.len()) {
            let message = self.partial.split_to(length);
            match self.name_at(&message) {
                Some(at) => self.send_renamed(&message, at),
                None => self.unsent.extend_from_slice(&message),
            }
            self.has_begun = true;
        }
    }

    /// How long the next message is, once that is known.
    fn message_bytes(&self) -> Option<usize> {
        let tag = if self.has_begun { TAG_BYTES } else { 0 };
        let length = self.partial.get(tag..tag + LENGTH_BYTES)?.first_chunk()?;
        Some(tag + usize::try_from(u32::from_be_bytes(*length)).ok()?.max(LENGTH_BYTES))
    }

    /// Where a message has the name of a statement that has one.
    fn name_at(&self, message: &[u8]) -> Option<usize> {
        const BODY: usize = TAG_BYTES + LENGTH_BYTES;
        let (tag, body) = (message.first()?, message.get(BODY..)?);
        let at = match *tag {
            _ if !self.has_begun => return None,
            PARSE => BODY,
            BIND => BODY + body.iter().position(|byte| *byte == 0)? + 1,
            DESCRIBE | CLOSE if body.first() == Some(&STATEMENT) => BODY + 1,
            _ => return None,
        };
        message.get(at).is_some_and(|first| *first != 0).then_some(at)
    }

    fn send_renamed(&mut self, message: &[u8], at: usize) {
        let length = message.len() - TAG_BYTES + self.prefix.len();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.unsent.extend_from_slice(&message[..TAG_BYTES]);
        self.unsent.extend_from_slice(&length.to_be_bytes());
        self.unsent.extend_from_slice(&message[TAG_BYTES + LENGTH_BYTES..at]);
        self.unsent.extend_from_slice(self.prefix.as_bytes());
        self.unsent.extend_from_slice(&message[at..]);
    }
}

impl<S: AsyncWrite + Unpin> StatementNames<S> {
    /// Sends what is ready to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(renaming) = &mut self.renaming else { return Poll::Ready(Ok(())) };
        while !renaming.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &renaming.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            renaming.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StatementNames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StatementNames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.renaming.is_none() {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        // What was taken before goes first, so that no more than one write's worth is ever kept.
        ready!(self.poll_send(cx))?;
        if let Some(renaming) = &mut self.renaming {
            renaming.take(buf);
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest is sent by the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn message(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + LENGTH_BYTES).unwrap().to_be_bytes();
        tag.into_iter().chain(length).chain(body.iter().copied()).collect()
    }

    /// What a client says, and what the server gets of it.
    fn talk() -> (Vec<u8>, Vec<u8>) {
        let same = |tag, body: &[u8]| (message(tag, body), message(tag, body));
        let parts = [
            // Without a letter: its length begins with zeros, and what follows looks like a Parse.
            same(None, b"\0\x03\0\0Puser\0s1\0\0"),
            (message(Some(PARSE), b"s1\0select 1\0\0\0"), message(Some(PARSE), b"x_s1\0select 1\0\0\0")),
            (message(Some(DESCRIBE), b"Ss1\0"), message(Some(DESCRIBE), b"Sx_s1\0")),
            same(Some(DESCRIBE), b"Pp1\0"),
            (message(Some(BIND), b"p1\0s1\0\0\0rest"), message(Some(BIND), b"p1\0x_s1\0\0\0rest")),
            (message(Some(BIND), b"\0s1\0\0\0"), message(Some(BIND), b"\0x_s1\0\0\0")),
            same(Some(BIND), b"\0\0\0\0"),
            same(Some(PARSE), b"\0select 's1'\0\0\0"),
            same(Some(b'E'), b"p1\0\0\0\0\0"),
            same(Some(b'S'), b""),
            same(Some(b'Q'), b"s1\0"),
            (message(Some(CLOSE), b"Ss1\0"), message(Some(CLOSE), b"Sx_s1\0")),
            same(Some(CLOSE), b"Pp1\0"),
            same(Some(b'X'), b""),
        ];
        let (said, expected): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (said.concat(), expected.concat())
    }

    #[tokio::test]
    async fn statements_get_the_prefix_wherever_the_bytes_are_cut() {
        let (said, expected) = talk();
        for (size, room) in [(1, 1), (2, 3), (3, 64), (7, 5), (said.len(), 1), (said.len(), 4096)] {
            let (near, mut far) = tokio::io::duplex(room);
            let mut names = StatementNames::new(near, Some("x_".to_owned()));
            let said = said.clone();
            let writing = tokio::spawn(async move {
                for piece in said.chunks(size) {
                    names.write_all(piece).await.unwrap();
                    names.flush().await.unwrap();
                }
                names.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            writing.await.unwrap();
            assert_eq!(got, expected, "pieces of {size}, room for {room}");
        }
    }

    #[tokio::test]
    async fn without_a_prefix_nothing_changes() {
        let (said, _) = talk();
        let (near, mut far) = tokio::io::duplex(4096);
        let mut names = StatementNames::new(near, None);
        names.write_all(&said).await.unwrap();
        names.shutdown().await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, said);
    }

    #[test]
    fn two_sessions_never_have_the_same_names() {
        assert_ne!(prefix(), prefix());
        // With the driver's number behind it, a name is not cut at 63 bytes.
        assert!(prefix().len() < 48);
    }
}
