//! Start-up on a socket: tokio-postgres over the row tap, and the task that drives the connection.

use std::cell::Cell;
use std::future::{Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::Side;
use super::socket::Socket;
use super::statement_names::{self, StatementNames};
use crate::postgres::row_tap::{RowTap, TapHandle};
use crate::postgres::sqlstate::printable;

/// How long a connection whose session is gone may wait for the server before its socket is closed.
const GRACE: Duration = Duration::from_secs(1);

/// How a connection ended; nothing while it lives.
pub(super) type End = Option<Arc<Result<(), tokio_postgres::Error>>>;

/// A started connection: its client, and what its task needs and tells.
pub(super) struct Started {
    pub(super) client: Client,
    pub(super) tap: TapHandle,
    pub(super) life: Life,
}

/// The connection's task, seen from its session. Dropping this ends the task.
#[derive(Debug)]
pub(super) struct Life {
    end: watch::Receiver<End>,
    task: JoinHandle<()>,
    session: oneshot::Sender<()>,
}

/// Authenticates on a socket and spawns the connection's task.
pub(super) async fn start(
    mut config: Config,
    socket: Socket,
    side: Side,
) -> Result<Started, tokio_postgres::Error> {
    match socket.is_encrypted() {
        // TLS is there already: `Direct` means that tokio-postgres negotiates nothing.
        true => config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct),
        false => config.ssl_mode(SslMode::Disable),
    };
    let tls = AlreadyTls(socket.channel_binding());
    let names = (side == Side::Source).then(statement_names::prefix);
    let (socket, tap) = RowTap::new(StatementNames::new(socket, names));
    let socket = socket.hiding_types(side == Side::Source);
    let (client, connection) = config.connect_raw(socket, tls).await?;
    Ok(Started { client, tap, life: Life::of(connection) })
}

impl Life {
    fn of<S, T>(connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (session, session_is_gone) = oneshot::channel::<()>();
        let (tell, end) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut driven = std::pin::pin!(drive(connection));
            let result = tokio::select! {
                biased;
                result = &mut driven => result,
                // An idle connection says goodbye at once; one that waits for the server loses its socket.
                _ = session_is_gone => tokio::time::timeout(GRACE, driven).await.unwrap_or(Ok(())),
            };
            tell.send_replace(Some(Arc::new(result)));
        });
        Self { end, task, session }
    }

    /// How the connection ended, if it does within the time.
    pub(super) async fn end_within(&self, limit: Duration) -> End {
        let mut end = self.end.clone();
        let ended = tokio::time::timeout(limit, end.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    /// Waits until the task ended; the client must be gone.
    pub(super) async fn join(self) {
        drop(self.session);
        // A panic of the task leaves nothing to wait for either.
        let _ = self.task.await;
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notice(notice) = message? {
            let text = printable(notice.message());
            tracing::debug!(code = notice.code().code(), "{}: {text}", printable(notice.severity()));
        }
    }
    Ok(())
}

/// Gives tokio-postgres a stream that is inside TLS already, with what SCRAM binds to.
pub(super) struct AlreadyTls(pub(super) ChannelBinding);

/// A stream inside TLS; the binding is taken by the one who asks first.
pub(super) struct Bound<S> {
    stream: S,
    binding: Cell<Option<ChannelBinding>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for AlreadyTls {
    type Stream = Bound<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<Bound<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(Bound { stream, binding: Cell::new(Some(self.0)) }))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Bound<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.binding.take().unwrap_or_else(ChannelBinding::none)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
