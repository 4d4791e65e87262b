//! Failures to connect, in words: where, what was said, what helps; never a password.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use super::socket::{Encryption, Failure, Place};
use crate::config::connection::{ConnectionSpec, Host};
use crate::error::{Error, ErrorKind};
use crate::postgres::sqlstate::error_from;
use crate::postgres::tls;

/// A failure and where it happened.
pub(super) struct At {
    host: String,
    place: String,
    error: Error,
}

impl At {
    /// A failure before an address was known.
    pub(super) fn host(host: &Host, error: Error) -> Self {
        let text = host_text(host);
        Self { place: text.clone(), host: text, error }
    }

    /// A failure at one address of a host.
    pub(super) fn place(host: &Host, place: &Place, error: Error) -> Self {
        Self { host: host_text(host), place: place.to_string(), error }
    }

    /// Whether no other host should be tried: the server is there and says no.
    pub(super) fn ends_the_search(&self) -> bool {
        !matches!(self.error.kind(), ErrorKind::Connection | ErrorKind::Contention | ErrorKind::Resources)
    }
}

/// Makes one error of all failures, the deciding one first.
pub(super) fn of_all(spec: &ConnectionSpec, mut failures: Vec<At>) -> Error {
    let Some(last) = failures.pop() else {
        return of_spec(spec, Error::new(ErrorKind::Config, "the connection names no host"));
    };
    let alike = |other: &At| other.host == last.host && other.error.to_string() == last.error.to_string();
    if failures.iter().all(alike) {
        return last.error.while_doing(cannot_connect(spec, &last.host));
    }
    if last.ends_the_search() {
        let error = last.error.while_doing(cannot_connect(spec, &last.host));
        return failures.iter().fold(error, |error, at| error.with_detail(at.line()));
    }
    let hosts: Vec<String> = spec.hosts.iter().map(host_text).collect();
    let mut error = Error::new(last.error.kind(), "no host can be used");
    error = failures.iter().chain([&last]).fold(error, |error, at| error.with_detail(at.line()));
    if let Some(hint) = failures.iter().chain([&last]).find_map(|at| at.error.hint()) {
        error = error.with_hint(hint);
    }
    error.while_doing(cannot_connect(spec, &hosts.join(",")))
}

impl At {
    fn line(&self) -> String {
        format!("{}: {}", self.place, self.error)
    }
}

/// An error that belongs to the connection and to no host of it.
pub(super) fn of_spec(spec: &ConnectionSpec, error: Error) -> Error {
    error.while_doing(format!("cannot connect to {}", spec.name))
}

/// The deadline of a host is over.
pub(super) fn no_answer(limit: Duration) -> Error {
    Error::new(ErrorKind::Connection, format!("no answer within {limit:.1?}"))
        .with_hint("a firewall may drop the packets; connect_timeout sets the deadline")
}

/// Both ways, with and without TLS, failed; the first is the one that the mode prefers.
pub(super) fn of_both(first: Error, again: &Error, second: Encryption) -> Error {
    if first.to_string() == again.to_string() {
        return first;
    }
    let way = if second == Encryption::Never { "without TLS" } else { "with TLS" };
    first.with_detail(format!("{way}: {again}"))
}

/// The server refused a client certificate, which TLS 1.3 tells after the handshake.
pub(super) fn of_tls(e: &tokio_postgres::Error) -> Option<Failure> {
    let io = e.source()?.downcast_ref::<io::Error>()?;
    tls::rustls_error(io)?;
    Some(Failure { error: tls::failure(io), tls: true })
}

/// What went wrong between the socket and the first `ReadyForQuery`.
pub(super) fn of_startup(spec: &ConnectionSpec, e: &tokio_postgres::Error) -> Error {
    let error = error_from("", e, false);
    let hint = hint(spec, &error);
    let error = match (error.kind(), error.to_string().as_str()) {
        (ErrorKind::Preflight, "password missing") => {
            Error::new(ErrorKind::Config, "the server asks for a password, and none is known")
        }
        // Refused before any work: a wrong parameter, not a failed statement.
        (ErrorKind::Server, text) => {
            let refused = Error::new(ErrorKind::Preflight, text);
            error.sqlstate().into_iter().fold(refused, Error::with_sqlstate)
        }
        _ => error,
    };
    hint.into_iter().fold(error, Error::with_hint)
}

fn hint(spec: &ConnectionSpec, error: &Error) -> Option<String> {
    let text = error.to_string();
    let (user, database, name) = (&spec.user, &spec.database, &spec.name);
    let hint = match error.sqlstate() {
        Some("28P01") => format!("check the password of {user}: {}", places_of_passwords(name)),
        Some("28000") if text.contains("pg_hba.conf") => {
            format!("on the server, a line of pg_hba.conf has to let {user} into {database} from here")
        }
        Some("28000") => {
            "check the connection's user, and sslcert if the server wants a certificate".to_owned()
        }
        Some("3D000") => "check the database in the connection's URL, or create it".to_owned(),
        Some(_) => return None,
        None if text == "password missing" => places_of_passwords(name),
        None if text.contains("channel binding") => {
            "channel_binding=require needs TLS and a SCRAM password on the server".to_owned()
        }
        None if text == "unsupported authentication method" => {
            "pgtide knows scram-sha-256, md5, password and certificates".to_owned()
        }
        None => return None,
    };
    Some(hint)
}

fn places_of_passwords(name: &str) -> String {
    format!("PGPASSWORD, ~/.pgpass, or password_command in [connections.{name}]")
}

fn cannot_connect(spec: &ConnectionSpec, hosts: &str) -> String {
    let (name, user, database) = (&spec.name, &spec.user, &spec.database);
    match hosts.rsplit_once(':') {
        // A folder cannot stand where a URL has its host.
        Some((dir, port)) if dir.starts_with('/') && !hosts.contains(',') => {
            format!("cannot connect to {name} (postgres://{user}@/{database}?host={dir}&port={port})")
        }
        _ => format!("cannot connect to {name} (postgres://{user}@{hosts}/{database})"),
    }
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp { name, port, .. } if name.contains(':') => format!("[{name}]:{port}"),
        Host::Tcp { name, addr: Some(addr), port } if name.is_empty() => format!("{addr}:{port}"),
        Host::Tcp { name, port, .. } => format!("{name}:{port}"),
        Host::Unix { dir, port } => format!("{}:{port}", dir.display()),
    }
}
