//! Connections to a Postgres: hosts in turn, TLS, authentication, session settings, one deadline each.
//!
//! A [`Session`] is a client and its connection's task. Every failure of the way there is collected
//! and told with the place it happened at; a password is in none of them. Everything above opens its
//! sessions here and makes its errors with [`Session::error`], so that the cause of a lost connection,
//! which only the task knows, is not lost too.

mod canceller;
mod failure;
mod open;
mod parameters;
mod password;
mod server;
mod session;
mod settings;
mod socket;
mod startup;
mod statement_names;
mod statements;

use std::time::Duration;

pub use self::canceller::Canceller;
pub use self::server::{Server, pooler_error};
pub use self::session::Session;
pub use self::settings::role_settings_sql;
use crate::error::{Error, ErrorKind, Result};

/// Which end of a copy a session serves; a source session cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Rows come from here.
    Source,
    /// Rows go here.
    Destination,
}

/// Waits for work at most so long; `doing` is what the error says was being done.
///
/// # Errors
///
/// The work's own, or `Connection` when the time is over. The server does not know that: cancel, then
/// drop the session.
pub async fn deadline<T>(doing: &str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(ErrorKind::Connection, format!("{doing}: no answer within {limit:?}"))),
    }
}
