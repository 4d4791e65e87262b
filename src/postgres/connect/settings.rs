//! The settings under which pgtide's statements run.
//!
//! A load must not depend on how a role or a database happens to be set up, and statements of pgtide
//! must not find other people's functions: the search path is empty. A job's own query is the
//! exception; it runs as the role would run it. On a destination the settings are the session's. On a
//! source, which may be behind a pooler, they are a transaction's, and end with it.

use std::fmt::Write as _;

use tokio_postgres::Client;

use super::server::Server;
use crate::error::Result;
use crate::postgres::ident;
use crate::postgres::sqlstate::error_from;

/// One setting: name, value, and the server version that brought it.
type Setting = (&'static str, &'static str, i32);

const BOTH: &[Setting] = &[
    ("statement_timeout", "0", 0),
    ("lock_timeout", "60s", 0),
    ("idle_in_transaction_session_timeout", "10min", 0),
    ("idle_session_timeout", "0", 140_000),
    ("transaction_timeout", "0", 170_000),
    ("client_connection_check_interval", "10s", 140_000),
    // The server's side of the keepalives: an orphan's locks go within two minutes.
    ("tcp_keepalives_idle", "60", 0),
    ("tcp_keepalives_interval", "10", 0),
    ("tcp_keepalives_count", "6", 0),
    ("TimeZone", "UTC", 0),
    ("DateStyle", "ISO, YMD", 0),
    ("IntervalStyle", "postgres", 0),
    ("extra_float_digits", "3", 0),
    ("standard_conforming_strings", "on", 0),
    ("xmloption", "content", 0),
    ("row_security", "off", 0),
    ("client_min_messages", "warning", 0),
];

const SOURCE: &[Setting] = &[
    // Scans that join another's start in the middle: rows would come in another order each time.
    ("synchronize_seqscans", "off", 0),
];

/// Makes the settings for the whole session, which nobody else must get.
pub(super) async fn apply(client: &Client, server: &Server) -> Result<()> {
    let mut sql = "select pg_catalog.set_config('search_path', '', false)".to_owned();
    for (name, value) in in_force(BOTH, server) {
        // A String takes everything that is written to it.
        let _ = write!(sql, ", pg_catalog.set_config('{name}', '{value}', false)");
    }
    client.batch_execute(&sql).await.map_err(|e| error_from("making the session's settings", &e, false))
}

/// Makes the settings for the rest of a transaction that reads: they end with it. None of these
/// statements takes a snapshot.
pub(super) fn local_sql(server: &Server) -> String {
    let mut sql = "set local search_path = ''".to_owned();
    for (name, value) in in_force(BOTH, server).chain(in_force(SOURCE, server)) {
        let _ = write!(sql, "; set local {name} = '{value}'");
    }
    sql
}

/// The settings that a server knows.
fn in_force<'s>(
    settings: &'s [Setting],
    server: &Server,
) -> impl Iterator<Item = (&'s str, &'s str)> + use<'s> {
    let (version, is_windows) = (server.version_num, server.is_windows);
    settings.iter().filter_map(move |(name, value, since)| {
        // Windows has this one and accepts nothing but 0.
        let is_known = version >= *since && !(is_windows && *name == "client_connection_check_interval");
        is_known.then_some((*name, *value))
    })
}

/// Statements that give the rest of a transaction the role's own search path and a job's time zone,
/// in which a job's query means what it means in psql.
#[must_use]
pub fn role_settings_sql(timezone: &str) -> String {
    format!("set local search_path to default; set local timezone to {}", ident::literal(timezone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version_num: i32, is_windows: bool) -> Server {
        Server {
            name: "source".into(),
            host: "db:5432".into(),
            version_num,
            system_identifier: 0,
            database_oid: 1,
            in_recovery: false,
            read_only: false,
            postmaster_start: String::new(),
            backend_pid: 1,
            is_windows,
            role: "etl".into(),
            superuser: false,
        }
    }

    #[test]
    fn what_a_source_is_given_ends_with_the_transaction_and_takes_no_snapshot() {
        let sql = local_sql(&server(170_000, false));
        assert!(sql.split("; ").all(|statement| statement.starts_with("set local ")), "{sql}");
        assert!(sql.contains("set local transaction_timeout = '0'"), "{sql}");
    }

    #[test]
    fn a_server_is_not_given_a_setting_that_it_does_not_know() {
        let sql = local_sql(&server(130_000, false));
        assert!(!sql.contains("transaction_timeout") && !sql.contains("idle_session_timeout"), "{sql}");
        assert!(!local_sql(&server(170_000, true)).contains("client_connection_check_interval"));
    }

    #[test]
    fn a_time_zone_cannot_end_its_literal() {
        assert_eq!(
            role_settings_sql("a'; drop"),
            "set local search_path to default; set local timezone to 'a''; drop'"
        );
    }
}
