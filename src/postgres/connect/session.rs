//! A session: a client, the task that drives its connection, and the server's facts.
//!
//! A source may be behind a pooler, which gives the server process to others between transactions. So
//! whatever is asked there is asked in a transaction that only reads, with the settings made for it alone,
//! and nothing stays prepared.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use futures::join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::canceller::Canceller;
use super::server::{Server, refuse_statement_pooling};
use super::settings::{local_sql, role_settings_sql};
use super::startup::{Life, Started};
use super::statements::{Statements, is_outdated};
use super::{Side, open, parameters};
use crate::config::connection::{ConnectionSpec, SslMode};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::bound::Condition;
use crate::postgres::described::Described;
use crate::postgres::row_tap::TapHandle;
use crate::postgres::sqlstate::error_from;

/// How long an error waits for the connection's task to tell why the connection ended.
const CAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection with pgtide's settings in force. Dropping it ends the connection: at once when
/// it is idle, within a second when the server is at work.
pub struct Session {
    client: Client,
    side: Side,
    /// Begins a transaction that reads.
    begin: String,
    /// Whether one is open that several statements share.
    is_reading: AtomicBool,
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

    pub(super) fn new(started: Started, side: Side, server: Server, canceller: Canceller) -> Self {
        let Started { client, tap, life } = started;
        let local = if side == Side::Source { local_sql(&server) } else { String::new() };
        Self {
            client,
            side,
            begin: format!("begin isolation level read committed read only; {local}"),
            is_reading: AtomicBool::new(false),
            tap,
            life,
            server,
            canceller,
            statements: Statements::default(),
            show_values: false,
        }
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
        let error = refuse_statement_pooling(error_from(doing, &e, self.show_values));
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

    /// Statements that make pgtide's settings for the rest of a source's transaction; none of them takes
    /// a snapshot.
    #[must_use]
    pub fn local_settings(&self) -> String {
        local_sql(&self.server)
    }

    /// Begins a transaction that reads, for several statements, and makes settings in it.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn begin_reading(&self, doing: &str, settings: &str) -> Result<()> {
        self.is_reading.store(true, Ordering::Relaxed);
        let result = self.client.batch_execute(&format!("{}; {settings}", self.begin)).await;
        self.told(doing, result).await
    }

    /// Ends a transaction that reads, also one in which a statement failed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn end_reading(&self, doing: &str) -> Result<()> {
        let result = self.client.batch_execute("rollback").await;
        self.is_reading.store(false, Ordering::Relaxed);
        self.told(doing, result).await
    }

    /// Whether the next statement needs a transaction of its own.
    fn is_alone(&self) -> bool {
        self.side == Side::Source && !self.is_reading.load(Ordering::Relaxed)
    }

    /// Runs a statement, on a source in a transaction that only reads.
    async fn run<T>(
        &self,
        doing: &str,
        // In a box, since many of these are in one another.
        statement: Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + '_>>,
    ) -> Result<T> {
        if !self.is_alone() {
            let result = statement.await;
            return self.told(doing, result).await;
        }
        // Sent together. After an error in the first the second fails for want of it.
        let (begun, result) = join!(self.client.batch_execute(&self.begin), statement);
        let ended = self.client.batch_execute("rollback").await;
        self.told(doing, begun).await?;
        let value = self.told(doing, result).await?;
        self.told(doing, ended).await?;
        Ok(value)
    }

    /// Parses a statement, in the transaction as it stands, and says what its columns are.
    ///
    /// # Errors
    ///
    /// The server's, as it is: it may tell a place in the text.
    pub async fn describe(&self, sql: &str) -> Result<Vec<Described>, tokio_postgres::Error> {
        let statement = self.client.prepare(sql).await?;
        let described = |column: &tokio_postgres::Column| Described {
            name: column.name().to_owned(),
            oid: column.type_().oid(),
            typmod: column.type_modifier(),
        };
        let columns: Vec<_> = statement.columns().iter().map(described).collect();
        // From a source the driver does not learn the types. No columns, no description.
        let hidden = self.tap.described().filter(|_| !columns.is_empty() && self.side == Side::Source);
        Ok(hidden.unwrap_or(columns))
    }

    /// Runs statements without results, all in one transaction unless they say otherwise.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn batch(&self, doing: &str, sql: &str) -> Result<()> {
        self.run(doing, Box::pin(self.client.batch_execute(sql))).await
    }

    /// Runs a statement and counts the rows that it changed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn execute(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<u64> {
        match self.side {
            Side::Source => {
                self.run(doing, Box::pin(self.client.execute_typed(sql, &parameters::typed(params)?))).await
            }
            Side::Destination => self.run(doing, Box::pin(self.client.execute(sql, params))).await,
        }
    }

    /// Runs a query and keeps all its rows.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn query(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        match self.side {
            Side::Source => {
                self.run(doing, Box::pin(self.client.query_typed(sql, &parameters::typed(params)?))).await
            }
            Side::Destination => self.run(doing, Box::pin(self.client.query(sql, params))).await,
        }
    }

    /// Runs a query that has exactly one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for any other number of rows.
    pub async fn query_one(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Row> {
        match self.side {
            Side::Source => {
                self.run(doing, Box::pin(self.client.query_typed_one(sql, &parameters::typed(params)?))).await
            }
            Side::Destination => self.run(doing, Box::pin(self.client.query_one(sql, params))).await,
        }
    }

    /// Runs a query that has at most one row.
    ///
    /// # Errors
    ///
    /// The server's, classified; `Internal` for more rows.
    pub async fn query_opt(&self, doing: &str, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        match self.side {
            Side::Source => {
                self.run(doing, Box::pin(self.client.query_typed_opt(sql, &parameters::typed(params)?))).await
            }
            Side::Destination => self.run(doing, Box::pin(self.client.query_opt(sql, params))).await,
        }
    }

    /// Prepares statements, or finds them prepared: for pgtide's own that each interval runs again.
    ///
    /// Only on a destination: a source may be behind a pooler. The server may plan a kept statement without
    /// looking at its parameters, so none is kept that reads a user's table. They are all ready when this returns: several can then be sent at once.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn keep<const N: usize>(&self, doing: &str, texts: [&str; N]) -> Result<[Statement; N]> {
        debug_assert!(self.side == Side::Destination, "nothing stays prepared on a source");
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
        self.run(doing, Box::pin(self.client.query_typed_one(sql, &params.to_typed_params()))).await
    }

    /// Runs a statement in one round trip, as [`query_one_typed`](Self::query_one_typed) does, and counts
    /// the rows that it changed.
    ///
    /// # Errors
    ///
    /// The server's, classified.
    pub async fn execute_typed(&self, doing: &str, sql: &str, params: &Condition) -> Result<u64> {
        self.run(doing, Box::pin(self.client.execute_typed(sql, &params.to_typed_params()))).await
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
