//! Hosts in turn: dead, silent, of the wrong kind; and what is said of each.

use std::time::Duration;

use pgtide::config::connection::{ConnectionSpec, Host, SslMode, TargetSessionAttrs};
use pgtide::error::ErrorKind;
use tokio::net::TcpListener;

use super::{guarded, host, open, refused, spec};
use crate::support::{Database, databases};

/// A port that was free a moment ago and refuses.
async fn dead_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

/// A listener that accepts and never answers; it lives as long as the test.
async fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn spec_of(database: &Database) -> ConnectionSpec {
    let database_name = database.name().to_owned();
    ConnectionSpec { database: database_name, ..spec(vec![host("localhost", database.port())]) }
}

#[tokio::test]
async fn a_refused_port_is_named_and_worth_another_try() {
    let port = dead_port().await;
    let error = refused(&spec(vec![host("localhost", port)])).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to warehouse (postgres://postgres@localhost:{port}/postgres): connection refused"
        )
    );
    assert!(error.hint().unwrap().contains(&port.to_string()), "{error:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_to_be_the_cause() {
    let hosts = vec![Host::Tcp { name: "no-such-host.invalid".to_owned(), addr: None, port: 5432 }];
    let error = refused(&spec(hosts)).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("cannot be looked up"), "{error}");
}

#[tokio::test]
async fn a_listener_that_never_answers_meets_the_deadline() {
    let (_listener, port) = silent().await;
    for sslmode in [SslMode::Disable, SslMode::Require] {
        let connect_timeout = Duration::from_secs(1);
        let spec = ConnectionSpec { connect_timeout, sslmode, ..spec(vec![host("localhost", port)]) };
        let error = refused(&spec).await;
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert!(error.to_string().contains("no answer within 1"), "{error}");
    }
}

#[tokio::test]
async fn the_next_host_is_tried_after_a_dead_one_and_a_silent_one() {
    let database = databases("connect_next_host").await.source;
    let (_listener, silent) = silent().await;
    let hosts = vec![host("a", dead_port().await), host("b", silent), host("c", database.port())];
    let connect_timeout = Duration::from_secs(1);
    let session = open(&ConnectionSpec { connect_timeout, hosts, ..spec_of(&database) }).await.unwrap();
    assert!(session.server().host.starts_with("c:"), "{:?}", session.server());
}

#[tokio::test]
async fn when_every_host_fails_each_failure_is_listed() {
    let (one, two) = (dead_port().await, dead_port().await);
    let error = refused(&spec(vec![host("a", one), host("b", two)])).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains(&format!("postgres@a:{one},b:{two}/postgres")), "{error}");
    let expected =
        [(one, "a"), (two, "b")].map(|(port, name)| format!("{name}:{port} (127.0.0.1): connection refused"));
    assert_eq!(error.details(), expected);
}

#[tokio::test]
async fn a_host_that_refuses_the_password_ends_the_search() {
    let guarded = guarded().await;
    let hosts = vec![
        host("a", dead_port().await),
        host("b", guarded.server.port()),
        host("c", databases("connect_search").await.source.port()),
    ];
    let password = Some(pgtide::config::connection::Secret::new("not it"));
    let error = refused(&ConnectionSpec { hosts, password, ..guarded.spec() }).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("28P01")));
    assert!(error.to_string().contains("postgres@b:"), "{error}");
    assert!(error.details().iter().any(|line| line.starts_with("a:")), "{error:?}");
}

#[tokio::test]
async fn a_unix_socket_is_a_host() {
    let guarded = guarded().await;
    let session = guarded.admin().await;
    let port = guarded.server.port();
    assert!(session.server().host.ends_with(&format!("/.s.PGSQL.{port}")), "{:?}", session.server());
    assert!(!session.is_encrypted());
    assert_eq!(session.warning(), None);

    let missing = spec(vec![Host::Unix { dir: "/nowhere".into(), port }]);
    let error = refused(&missing).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(
        error.to_string().contains(&format!("(postgres://postgres@/postgres?host=/nowhere&port={port})")),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_database_and_a_missing_role_are_for_a_person_to_fix() {
    let database = databases("connect_missing").await.source;
    let missing = ConnectionSpec { database: "no_such_database".to_owned(), ..spec_of(&database) };
    let error = refused(&missing).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("3D000")));
    let error = refused(&ConnectionSpec { user: "nobody_here".to_owned(), ..spec_of(&database) }).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("28000")));
}

#[tokio::test]
async fn a_parameter_that_the_server_does_not_know_is_for_a_person_to_fix() {
    let database = databases("connect_options").await.source;
    let error =
        refused(&ConnectionSpec { options: Some("-c no_such=1".to_owned()), ..spec_of(&database) }).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("42704")));
}

#[tokio::test]
async fn a_server_of_the_wrong_kind_is_passed_over() {
    use TargetSessionAttrs as Attrs;
    let pair = databases("connect_attrs").await;
    let (writable, read_only) = (&pair.source, &pair.destination);
    let name = read_only.name();
    read_only.exec(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let hosts = vec![host("writable", writable.port()), host("read_only", read_only.port())];
    let both = ConnectionSpec { hosts, ..spec_of(writable) };
    let cases = [
        (Attrs::Any, Some("writable")),
        (Attrs::ReadWrite, Some("writable")),
        (Attrs::ReadOnly, Some("read_only")),
        (Attrs::Primary, Some("writable")),
        (Attrs::Standby, None),
        (Attrs::PreferStandby, Some("writable")),
    ];
    for (target_session_attrs, expected) in cases {
        let spec = ConnectionSpec { target_session_attrs, ..both.clone() };
        match expected {
            Some(name) => {
                let session = open(&spec).await.unwrap();
                assert!(session.server().host.starts_with(name), "{target_session_attrs:?} {session:?}");
            }
            None => {
                let error = refused(&spec).await;
                assert_eq!(error.kind(), ErrorKind::Connection, "{target_session_attrs:?}");
                assert_eq!(error.details().len(), 2, "{error:?}");
            }
        }
    }
}
