//! Cancelling what a session runs, over a connection of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio_postgres::CancelToken;
use tokio_postgres::tls::ChannelBinding;

use super::socket::{Encryption, Place};
use super::startup::AlreadyTls;
use crate::config::connection::ConnectionSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sqlstate::{error_from, io_text};
use crate::postgres::tls::Tls;

/// How long a server may take to take a request.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Cancels what one session runs. It does not end a COPY that waits for data: only closing the socket,
/// or `pg_terminate_backend`, does.
#[derive(Clone)]
pub struct Canceller {
    pub(super) token: CancelToken,
    pub(super) place: Place,
    pub(super) spec: Arc<ConnectionSpec>,
    pub(super) tls: Option<Tls>,
}

impl Canceller {
    /// Sends a cancel request over a connection of its own and waits until the server took it, 5 s at
    /// most. Errors are not told: the caller has a deadline for the statement itself.
    pub async fn cancel(&self) {
        match tokio::time::timeout(CANCEL_LIMIT, Box::pin(self.send())).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::debug!("a cancel request failed: {}", e.chain()),
            Err(_) => tracing::debug!("a cancel request was not taken within {CANCEL_LIMIT:?}"),
        }
    }

    async fn send(&self) -> Result<()> {
        let encryption = if self.tls.is_some() { Encryption::Always } else { Encryption::Never };
        let connected = self.place.connect(&self.spec, self.tls.as_ref(), encryption).await;
        let mut socket = connected.map_err(|failure| failure.error)?;
        let sent = self.token.cancel_query_raw(&mut socket, AlreadyTls(ChannelBinding::none())).await;
        sent.map_err(|e| error_from("sending a cancel request", &e, false))?;
        // The server closes the socket when it has passed the request on: only then can it not hit a later statement.
        match socket.read(&mut [0]).await {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::new(ErrorKind::Connection, io_text(&e))),
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("place", &self.place).finish_non_exhaustive()
    }
}
