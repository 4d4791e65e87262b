//! The socket: look-up, TCP and Unix, keepalives, and the agreement on TLS before Postgres speaks.
//!
//! The agreement is made here and not in tokio-postgres, so that the row tap sits above TLS and sees
//! the server's own messages from the first byte.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsStream as _};

use crate::config::connection::{ConnectionSpec, Host};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sqlstate::io_text;
use crate::postgres::tls::{Tls, TlsSocket};

/// The message that asks for TLS: its length, then the number 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A connected socket, plain or inside TLS.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsSocket>),
}

/// Whether a connection has TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Never,
    IfOffered,
    Always,
}

/// One address of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { name: String, addr: SocketAddr },
    Unix(PathBuf),
}

/// A failure on the way to a server; `tls` tells that the TLS handshake failed, which a plain connection may cure.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) tls: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, tls: false }
    }
}

impl Place {
    /// Finds every address of a host.
    pub(super) async fn all_of(host: &Host) -> Result<Vec<Self>> {
        match host {
            Host::Unix { dir, port } => Ok(vec![Self::Unix(dir.join(format!(".s.PGSQL.{port}")))]),
            Host::Tcp { name, addr: Some(ip), port } => {
                let name = if name.is_empty() { ip.to_string() } else { name.clone() };
                Ok(vec![Self::Tcp { name, addr: SocketAddr::new(*ip, *port) }])
            }
            Host::Tcp { name, addr: None, port } => look_up(name, *port).await,
        }
    }

    /// Whether nobody else can listen on the way: a Unix socket or this machine's loopback.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { addr, .. } => addr.ip().is_loopback(),
        }
    }

    /// Connects, and agrees on TLS.
    pub(super) async fn connect(
        &self,
        spec: &ConnectionSpec,
        tls: Option<&Tls>,
        encryption: Encryption,
    ) -> Result<Socket, Failure> {
        let (name, addr) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| unreachable(&e, self))?;
                return Ok(Socket::Unix(stream));
            }
            Self::Tcp { name, addr } => (name, addr),
        };
        let mut stream = TcpStream::connect(addr).await.map_err(|e| unreachable(&e, self))?;
        prepare(&stream, spec).map_err(|e| broken("setting the socket's options", &e))?;
        match tls {
            Some(tls) if encryption != Encryption::Never => {
                if asks_for_tls(&mut stream).await? {
                    let stream = tls.handshake(stream, name).await;
                    return Ok(Socket::Tls(Box::new(stream.map_err(|error| Failure { error, tls: true })?)));
                }
                if encryption == Encryption::Always { Err(no_tls()) } else { Ok(Socket::Tcp(stream)) }
            }
            _ => Ok(Socket::Tcp(stream)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { name, addr } if name.parse() == Ok::<IpAddr, _>(addr.ip()) => addr.fmt(f),
            Self::Tcp { name, addr } => write!(f, "{name}:{} ({})", addr.port(), addr.ip()),
        }
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<Place>> {
    let failed = |cause: String| {
        Error::new(ErrorKind::Connection, format!("the host {name:?} cannot be looked up: {cause}"))
            .with_hint("check the host in the connection's URL, and the name server")
    };
    let found = tokio::net::lookup_host((name, port)).await.map_err(|e| failed(io_text(&e)))?;
    let mut places = Vec::new();
    for addr in found {
        let place = Place::Tcp { name: name.to_owned(), addr };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(places) }
}

/// libpq's options; as there, zero leaves a value to the system.
fn prepare(stream: &TcpStream, spec: &ConnectionSpec) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_keepalive(spec.keepalives)?;
    if spec.keepalives {
        let mut keepalive = TcpKeepalive::new();
        if !spec.keepalives_idle.is_zero() {
            keepalive = keepalive.with_time(spec.keepalives_idle);
        }
        if !spec.keepalives_interval.is_zero() {
            keepalive = keepalive.with_interval(spec.keepalives_interval);
        }
        if spec.keepalives_count > 0 {
            keepalive = keepalive.with_retries(spec.keepalives_count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = spec.tcp_user_timeout.filter(|t| !t.is_zero()) {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Asks the server for TLS. Exactly one byte is read: whatever a third party put behind the `S` in
/// plain text goes into the handshake, which then fails (CVE-2021-23222 was a buffer that kept it).
async fn asks_for_tls(stream: &mut TcpStream) -> Result<bool, Failure> {
    let doing = "asking for TLS";
    stream.write_all(&SSL_REQUEST).await.map_err(|e| broken(doing, &e))?;
    match stream.read_u8().await.map_err(|e| broken(doing, &e))? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // What follows is not authenticated, so it is not shown.
        _ => {
            let text = "the server did not answer the request for TLS as Postgres does";
            Err(Failure { error: Error::new(ErrorKind::Connection, text), tls: true })
        }
    }
}

fn no_tls() -> Failure {
    Error::new(ErrorKind::Preflight, "the server has no TLS, and sslmode demands it")
        .with_hint("turn on ssl in the server's postgresql.conf, or choose a weaker sslmode")
        .into()
}

fn unreachable(e: &io::Error, place: &Place) -> Failure {
    let hint = match place {
        Place::Tcp { addr, .. } => {
            format!("is the server running, and listening on port {} of that address?", addr.port())
        }
        Place::Unix(path) => {
            format!("is the server running, and listening on the socket {}?", path.display())
        }
    };
    Error::new(ErrorKind::Connection, io_text(e)).with_hint(hint).into()
}

fn broken(doing: &str, e: &io::Error) -> Failure {
    let text = match e.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => io_text(e),
    };
    Error::new(ErrorKind::Connection, format!("{doing}: {text}")).into()
}

impl Socket {
    /// Whether the bytes are inside TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What SCRAM binds to, if there is TLS.
    pub(super) fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Tls(stream) => stream.channel_binding(),
            Self::Tcp(_) | Self::Unix(_) => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
