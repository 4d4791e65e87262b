//! The server's facts, asked in one round trip that leaves nothing behind, and a pooler in between.
//!
//! A pooler may give the server process to another client after any transaction. So the question is a
//! transaction of its own, and what must hold for a whole session is only made where nobody else gets it.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sqlstate::error_from;

const FACTS: &str = "
select pg_catalog.current_setting('server_version_num') as version_num,
       {system_identifier} as system_identifier,
       (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as database_oid,
       pg_catalog.pg_is_in_recovery() as in_recovery,
       pg_catalog.pg_is_in_recovery()
         or pg_catalog.current_setting('default_transaction_read_only') = 'on' as read_only,
       pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() at time zone 'UTC',
                          'YYYY-MM-DD HH24:MI:SS.US') as postmaster_start,
       pg_catalog.pg_backend_pid() as backend_pid,
       pg_catalog.version() ~* 'windows|mingw|msvc|visual c' as is_windows,
       current_user as role,
       (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) as superuser;
";

/// One Postgres, as seen by one session when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The connection's name: `source`, `warehouse`.
    pub name: String,
    /// Where it is: `db:5432 (10.0.0.1)`, or the path of a Unix socket.
    pub host: String,
    /// `server_version_num`: 150014 is 15.14.
    pub version_num: i32,
    /// The cluster's identifier; 0 if the role may not read it.
    pub system_identifier: i64,
    /// The database's OID.
    pub database_oid: u32,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether transactions are read-only unless they say otherwise.
    pub read_only: bool,
    /// When the server started, in UTC, to the microsecond.
    pub postmaster_start: String,
    /// The backend's process id, as the backend says.
    pub backend_pid: i32,
    /// Whether it runs on Windows.
    pub is_windows: bool,
    /// The role in force.
    pub role: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
}

/// Reads the server's facts; `name` and `host` are the connection's and the place's.
pub(super) async fn look(client: &Client, name: &str, host: String) -> Result<Server> {
    let full = "(select c.system_identifier from pg_catalog.pg_control_system() c)";
    let answer = match client.simple_query(&facts_sql(full)).await {
        // Not everybody may call it, and not every server has it.
        Err(e) if matches!(e.code().map(SqlState::code), Some("42501" | "42883")) => {
            client.simple_query(&format!("rollback; {}", facts_sql("0"))).await
        }
        answer => answer,
    };
    let answer = answer.map_err(|e| error_from("asking the server about itself", &e, false))?;
    let facts = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.columns().iter().any(|c| c.name() == "version_num") => Some(row),
        _ => None,
    });
    facts.and_then(|row| read(row, name, host)).ok_or_else(|| {
        Error::new(ErrorKind::Server, "the server does not answer questions about itself as Postgres does")
    })
}

/// The search path is emptied first: every function and operator is then found in pg_catalog.
fn facts_sql(system_identifier: &str) -> String {
    let facts = FACTS.replace("{system_identifier}", system_identifier);
    format!("begin isolation level read committed read only; set local search_path = '';{facts}commit")
}

fn read(row: &SimpleQueryRow, name: &str, host: String) -> Option<Server> {
    let text = |column: &str| row.try_get(column).ok().flatten();
    let is = |column: &str| Some(text(column)? == "t");
    Some(Server {
        name: name.to_owned(),
        host,
        version_num: text("version_num")?.parse().ok()?,
        system_identifier: text("system_identifier")?.parse().ok()?,
        database_oid: text("database_oid")?.parse().ok()?,
        in_recovery: is("in_recovery")?,
        read_only: is("read_only")?,
        postmaster_start: text("postmaster_start")?.to_owned(),
        backend_pid: text("backend_pid")?.parse().ok()?,
        is_windows: is("is_windows")?,
        role: text("role")?.to_owned(),
        superuser: is("superuser").unwrap_or_default(),
    })
}

/// A pooler that gives every statement to another server process cannot be read through; it says so at the
/// first transaction.
pub(super) fn refuse_statement_pooling(error: Error) -> Error {
    if !error.to_string().contains("statement pooling") {
        return error;
    }
    Error::new(ErrorKind::Config, error.to_string()).with_hint(
        "set the pooler's pool_mode to transaction or session, or give the server's own address and port",
    )
}

/// Refuses a destination whose server process is not the one that was announced at the connection's
/// start: a pooler invents one.
///
/// # Errors
///
/// `Config`.
pub(super) fn refuse_pooler(announced: Option<i32>, server: &Server) -> Result<()> {
    match announced {
        Some(pid) if pid != server.backend_pid => Err(pooler_error(&server.name)),
        _ => Ok(()),
    }
}

/// What is said of a pooler in front of a destination, a connection of this name, whatever its mode.
#[must_use]
pub fn pooler_error(name: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{name} goes through a pooler, which may give one client's settings and locks to another"),
    )
    .with_hint(
        "give the server's own address and port: a destination needs a server process of its own \
         (a source may be behind a pooler)",
    )
}
