//! The session's settings, and what is asked of the server while they are made: one round trip.
//!
//! A load must not depend on how a role or a database happens to be set up, and statements of pgtide
//! must not find other people's functions: the search path is empty. A job's own query is the
//! exception; it runs as the role would run it.

use std::fmt::Write as _;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Side;
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
    ("default_transaction_read_only", "on", 0),
    // Scans that join another's start in the middle: rows would come in another order each time.
    ("synchronize_seqscans", "off", 0),
];

/// Every function is found in pg_catalog by now: the statement before emptied the search path.
const SERVER: &str = "
select pg_catalog.current_setting('server_version_num') as version_num,
       {system_identifier} as system_identifier,
       (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as database_oid,
       pg_catalog.pg_is_in_recovery() as in_recovery,
       pg_catalog.pg_is_in_recovery()
         or pg_catalog.current_setting('default_transaction_read_only') = 'on' as read_only,
       pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() at time zone 'UTC',
                          'YYYY-MM-DD HH24:MI:SS.US') as postmaster_start,
       pg_catalog.pg_backend_pid() as backend_pid,
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
    /// Whether transactions were read-only before pgtide's own settings.
    pub read_only: bool,
    /// When the server started, in UTC, to the microsecond.
    pub postmaster_start: String,
    /// The backend's process id, as the backend says.
    pub backend_pid: i32,
    /// The role in force.
    pub role: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
}

/// Makes the settings and reads the server's facts; `name` and `host` are the connection's and the place's.
pub(super) async fn apply(client: &Client, side: Side, name: &str, host: String) -> Result<Server> {
    let full = "(select c.system_identifier from pg_catalog.pg_control_system() c)";
    let answer = match client.simple_query(&opening_sql(side, full)).await {
        // Not everybody may call it, and not every server has it.
        Err(e) if matches!(e.code().map(SqlState::code), Some("42501" | "42883")) => {
            client.simple_query(&opening_sql(side, "0")).await
        }
        answer => answer,
    };
    let answer = answer.map_err(|e| error_from("making the session's settings", &e, false))?;
    let facts = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.columns().iter().any(|c| c.name() == "version_num") => Some(row),
        _ => None,
    });
    facts.and_then(|row| read(row, name, host)).ok_or_else(|| {
        Error::new(ErrorKind::Server, "the server does not answer questions about itself as Postgres does")
    })
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
        role: text("role")?.to_owned(),
        superuser: is("superuser").unwrap_or_default(),
    })
}

fn opening_sql(side: Side, system_identifier: &str) -> String {
    let mut sql = "select pg_catalog.set_config('search_path', '', false);".to_owned();
    // Facts before settings: the source's read-only default must not look like the server's.
    sql.push_str(&SERVER.replace("{system_identifier}", system_identifier));
    let of_side = if side == Side::Source { SOURCE } else { &[] };
    sql.push_str("select ");
    for (index, setting) in BOTH.iter().chain(of_side).enumerate() {
        sql.push_str(if index == 0 { "" } else { ", " });
        push_setting(&mut sql, setting);
    }
    sql
}

fn push_setting(sql: &mut String, (name, value, since): &Setting) {
    let set = format!("pg_catalog.set_config('{name}', '{value}', false)");
    let mut conditions = Vec::new();
    if *since > 0 {
        conditions
            .push(format!("pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= {since}"));
    }
    if *name == "client_connection_check_interval" {
        // Windows has the setting and accepts nothing but 0.
        conditions.push("pg_catalog.version() !~* 'windows|mingw|msvc|visual c'".to_owned());
    }
    // A String takes everything that is written to it.
    let _ = if conditions.is_empty() {
        write!(sql, "{set}")
    } else {
        write!(sql, "case when {} then {set} end", conditions.join(" and "))
    };
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

    #[test]
    fn only_the_source_is_read_only() {
        let only = "set_config('default_transaction_read_only', 'on', false)";
        assert!(opening_sql(Side::Source, "0").contains(only));
        assert!(!opening_sql(Side::Destination, "0").contains(only));
    }

    #[test]
    fn a_setting_that_is_newer_than_some_servers_asks_for_the_version_first() {
        let sql = opening_sql(Side::Destination, "0");
        assert!(
            sql.contains("::pg_catalog.int4 >= 170000 then pg_catalog.set_config('transaction_timeout', '0'")
        );
    }

    #[test]
    fn a_time_zone_cannot_end_its_literal() {
        assert_eq!(
            role_settings_sql("a'; drop"),
            "set local search_path to default; set local timezone to 'a''; drop'"
        );
    }
}
