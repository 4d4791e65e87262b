//! A session: a client, the task that drives its connection, and the server's facts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::io::AsyncReadExt as _;
use tokio_postgres::tls::ChannelBinding;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Row, Statement};

use super::settings::{Server, role_settings_sql};
use super::socket::{Encryption, Place};
use super::startup::{AlreadyTls, Life, Started};
use super::statements::{Statements, is_outdated};
use super::{Side, open};
use crate::config::connection::{ConnectionSpec, SslMode};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::bound::Condition;
use crate::postgres::row_tap::TapHandle;
use crate::postgres::sqlstate::{error_from, io_text};
use crate::postgres::tls::Tls;

/// How long an error waits for the connection's task to tell why the connection ended.
const CAUSE_LIMIT: Duration = Duration::from_secs(1);

const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection with pgtide's settings in force. Dropping it ends the connection: at once when
/// it is idle, within a second when the server is at work.
pub struct Session {
    client: Client,
    tap: TapHandle,
    life: Life,
    server: Server,
    canceller: Canceller,
    statements: Statements,
    show_values: bool,
}

impl Session {
    /// Connects to the first host of a connection that can be used, and makes the session's settings.
    ///
    /// `application_name` (`pgtide/users/2026-01-05`) is what the server shows, unless the connection
    /// brings its own.
    ///
    /// # Errors
    ///
    /// `Connection` if no host can be reached; `Preflight` or `Config` if a server refuses or cannot
    /// be trusted. Details list every host's failure.
    pub async fn open(spec: &ConnectionSpec, side: Side, application_name: &str) -> Result<Self> {
        Box::pin(open::open(spec, side, application_name)).await
    }

    pub(super) fn new(started: Started, server: Server, canceller: Canceller) -> Self {
        let Started { client, tap, life } = started;
        Self { client, tap, life, server, canceller, statements: Statements::default(), show_values: false }
    }

    /// Lets errors show what may hold values of rows (`--show-values`).
    #[must_use]
    pub fn with_values_shown(mut self, show_values: bool) -> Self {
        self.show_values = show_values;
        self
    }

    /// The client, for what the methods here do not cover.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client, for transactions.
    #[must_use]
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The row tap below the client.
    #[must_use]
    pub fn tap(&self) -> &TapHandle {
        &self.tap
    }

    /// The server's facts, as of the opening.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the connection is inside TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.canceller.tls.is_some()
    }

    /// A line for a person when others could read along and nobody said that this is fine.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let weak = matches!(self.canceller.spec.sslmode, SslMode::Allow | SslMode::Prefer);
        let exposed = weak && !self.is_encrypted() && !self.canceller.place.is_local();
        exposed.then(|| {
            let Server { name, host, .. } = &self.server;
            format!(
                "the connection to {name} at {host} is not encrypted: set sslmode=verify-full (or disable)"
            )
        })
    }

    /// Makes an error of what the driver said. If the connection is gone, waits up to 1 s for its task
    /// to tell why, and joins both.
    pub async fn error(&self, doing: &str, e: tokio_postgres::Error) -> Error {
        let error = error_from(doing, &e, self.show_values);
        if is_outdated(&e) {
            self.forget_kept();
            return Error::new(ErrorKind::Contention, error.to_string())
                .with_sqlstate(error.sqlstate().unwrap_or_default());
        }
        if error.kind() != ErrorKind::Connection {
            return error;
        }
        let end = if e.as_db_error().is_some() { None } else { self.life.end_within(CAUSE_LIMIT).await };
        let error = match end.as_deref() {
            Some(Err(cause)) if !cause.is_closed() => error_from(doing, cause, self.show_values),
            _ => error,
        };
        error.with_detail(format!("the connection to {} at {} is lost", self.server.name, self.server.host))
    }

    /// Runs statements without results, all in one transaction unless they say otherwise.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn batch(&self, doing: &str, sql: &str) -> Result<()> {
        let result = self.client.batch_execute(sql).await;
        self.told(doing, result).await
    }

    /// Runs a statement and counts the rows that it changed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn execute(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<u64> {
        let result = self.client.execute(sql, params).await;
        self.told(doing, result).await
    }

    /// Runs a query and keeps all its rows.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn query(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let result = self.client.query(sql, params).await;
        self.told(doing, result).await
    }

    /// Runs a query that has exactly one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for any other number of rows.
    pub async fn query_one(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Row> {
        let result = self.client.query_one(sql, params).await;
        self.told(doing, result).await
    }

    /// Runs a query that has at most one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for more rows.
    pub async fn query_opt(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        let result = self.client.query_opt(sql, params).await;
        self.told(doing, result).await
    }

    /// Prepares statements, or finds them prepared: for pgtide's own that each interval runs again.
    ///
    /// The server may plan a kept statement without looking at its parameters, so none is kept that
    /// reads a user's table. They are all ready when this returns: several can then be sent at once.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn keep<const N: usize>(&self, doing: &str, texts: [&str; N]) -> Result<[Statement; N]> {
        let found = texts.map(|sql| self.statements.find(sql));
        let all = texts.into_iter().zip(found).map(async |(sql, found)| match found {
            Some(statement) => Ok(statement),
            None => self.client.prepare(sql).await.inspect(|s| self.statements.add(sql, s.clone())),
        });
        let all = self.told(doing, try_join_all(all).await).await?;
        all.try_into().map_err(|_| Error::new(ErrorKind::Internal, "statements were lost"))
    }

    /// Forgets what is prepared: something may have deallocated it.
    pub fn forget_kept(&self) {
        self.statements.forget();
    }

    /// Runs a kept statement and counts the rows that it changed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn execute_kept(&self, doing: &str, kept: &Statement, params: Params<'_>) -> Result<u64> {
        let result = self.client.execute(kept, params).await;
        self.told(doing, result).await
    }

    /// Runs a kept query that has exactly one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for any other number of rows.
    pub async fn query_one_kept(&self, doing: &str, kept: &Statement, params: Params<'_>) -> Result<Row> {
        let result = self.client.query_one(kept, params).await;
        self.told(doing, result).await
    }

    /// Runs a kept query that has at most one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for more rows.
    pub async fn query_opt_kept(
        &self,
        doing: &str,
        kept: &Statement,
        params: Params<'_>,
    ) -> Result<Option<Row>> {
        let result = self.client.query_opt(kept, params).await;
        self.told(doing, result).await
    }

    /// Runs a query that has exactly one row in one round trip: planned for its parameters, and not kept.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for any other number of rows.
    pub async fn query_one_typed(&self, doing: &str, sql: &str, params: &Condition) -> Result<Row> {
        let result = self.client.query_typed_one(sql, &params.to_typed_params()).await;
        self.told(doing, result).await
    }

    /// Runs a statement in one round trip, as [`query_one_typed`](Self::query_one_typed) does, and counts
    /// the rows that it changed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn execute_typed(&self, doing: &str, sql: &str, params: &Condition) -> Result<u64> {
        let result = self.client.execute_typed(sql, &params.to_typed_params()).await;
        self.told(doing, result).await
    }

    /// Gives the rest of the open transaction the role's own search path and a time zone, for a job's query.
    ///
    /// # Errors
    ///
    /// The server's: an unknown time zone.
    pub async fn use_role_settings(&self, timezone: &str) -> Result<()> {
        self.batch("setting the role's search path and the job's time zone", &role_settings_sql(timezone))
            .await
    }

    /// A handle that can cancel what the session runs, from another task.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Ends the connection and waits until its socket is closed: a second at most.
    pub async fn close(self) {
        let Self { client, life, .. } = self;
        drop(client);
        life.join().await;
    }

    async fn told<T>(&self, doing: &str, result: Result<T, tokio_postgres::Error>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(e) => Err(self.error(doing, e).await),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

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
