//! An open session: settings, facts, errors, cancelling, and how it ends.

use std::time::Duration;

use pgtide::config::connection::{ConnectionSpec, SslMode};
use pgtide::error::{ErrorKind, Result};
use pgtide::postgres::connect::{Session, Side, deadline};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{everything_said, guarded, host, open, setting, spec};
use crate::support::{Database, databases, lower_major, until};

fn spec_of(database: &Database) -> ConnectionSpec {
    let database_name = database.name().to_owned();
    ConnectionSpec { database: database_name, ..spec(vec![host("localhost", database.port())]) }
}

/// Settings that an older server does not know.
const SINCE_14: [&str; 2] = ["idle_session_timeout", "client_connection_check_interval"];

#[tokio::test]
async fn the_settings_are_in_force_whatever_the_role_says() {
    let database = databases("connect_settings").await.source;
    let name = database.name();
    database
        .exec(&format!(
            "alter database {name} set timezone = 'Asia/Tokyo';
             alter database {name} set datestyle = 'German';
             alter database {name} set statement_timeout = '1s';
             alter database {name} set extra_float_digits = 0"
        ))
        .await;
    for side in [Side::Source, Side::Destination] {
        let session = Session::open(&spec_of(&database), side, "pgtide/users/2026-01-05").await.unwrap();
        // On a source they last as long as a transaction, and each statement has one.
        let is_source = side == Side::Source;
        for (name, value) in [
            ("application_name", "pgtide/users/2026-01-05"),
            ("search_path", "\"\""),
            ("client_encoding", "UTF8"),
            ("statement_timeout", "0"),
            ("lock_timeout", "1min"),
            ("idle_in_transaction_session_timeout", "10min"),
            ("idle_session_timeout", "0"),
            ("client_connection_check_interval", "10s"),
            ("tcp_keepalives_idle", "60"),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, YMD"),
            ("IntervalStyle", "postgres"),
            ("extra_float_digits", "3"),
            ("standard_conforming_strings", "on"),
            ("row_security", "off"),
            ("client_min_messages", "warning"),
            ("transaction_read_only", if is_source { "on" } else { "off" }),
            ("synchronize_seqscans", if is_source { "off" } else { "on" }),
        ] {
            if lower_major() < 14 && SINCE_14.contains(&name) {
                continue;
            }
            let found = setting(&session, name).await;
            // An empty search path is shown as it was set.
            let expected = if name == "search_path" && !is_source { "" } else { value };
            assert_eq!(found, expected, "{side:?} {name}");
        }
    }
}

#[tokio::test]
async fn the_source_cannot_be_written_to() {
    let database = databases("connect_read_only").await.source;
    let session = Session::open(&spec_of(&database), Side::Source, "pgtide").await.unwrap();
    let error = session.batch("making a table", "create table public.t (a int)").await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("25006")));
    assert!(!session.server().read_only, "pgtide's own setting is not the server's");
}

#[tokio::test]
async fn a_jobs_query_has_the_roles_search_path_and_the_jobs_zone_until_the_transaction_ends() {
    let database = databases("connect_role_settings").await.source;
    database.exec(&format!("alter database {} set search_path = sales, public", database.name())).await;
    let session = Session::open(&spec_of(&database), Side::Source, "pgtide").await.unwrap();
    session.begin_reading("beginning", "").await.unwrap();
    session.use_role_settings("America/New_York").await.unwrap();
    assert_eq!(setting(&session, "search_path").await, "sales, public");
    assert_eq!(setting(&session, "TimeZone").await, "America/New_York");
    session.end_reading("ending").await.unwrap();
    assert_eq!(setting(&session, "search_path").await, "\"\"");
    assert_eq!(setting(&session, "TimeZone").await, "UTC");
}

#[tokio::test]
async fn the_server_is_known_by_its_facts() {
    let database = databases("connect_facts").await.source;
    let session = open(&spec_of(&database)).await.unwrap();
    let server = session.server();
    let facts = "select current_setting('server_version_num'), (pg_control_system()).system_identifier, oid,
                        to_char(pg_postmaster_start_time(), 'YYYY-MM-DD HH24:MI:SS.US')
                 from pg_database where datname = current_database()";
    let expected: Vec<String> = database.rows(facts).await.remove(0).into_iter().flatten().collect();
    let found = [
        server.version_num.to_string(),
        server.system_identifier.to_string(),
        server.database_oid.to_string(),
        server.postmaster_start.clone(),
    ];
    assert_eq!(found.as_slice(), expected);
    assert_eq!((&*server.name, &*server.role), ("warehouse", "postgres"));
    assert!(server.superuser && !server.in_recovery && !server.read_only);
    let pid: i32 = session.query_one("asking", "select pg_backend_pid()", &[]).await.unwrap().get(0);
    assert_eq!(server.backend_pid, pid);
}

#[tokio::test]
async fn a_role_that_may_not_read_the_clusters_identifier_connects_all_the_same() {
    let database = databases("connect_no_control").await.source;
    let name = database.name();
    database
        .exec(&format!(
            "revoke execute on function pg_control_system() from public; create role {name} login"
        ))
        .await;
    let session = open(&ConnectionSpec { user: name.to_owned(), ..spec_of(&database) }).await.unwrap();
    let server = session.server();
    assert_eq!((server.system_identifier, &*server.role, server.superuser), (0, name, false));
    assert_eq!(setting(&session, "TimeZone").await, "UTC");
}

/// Runs `pg_sleep` and cancels it as soon as the server is seen at work.
async fn sleep_and_cancel(session: &Session, observer: &Session) -> Result<()> {
    let pid = session.server().backend_pid;
    let canceller = session.canceller();
    let sql = "select 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'";
    let asleep = || async { observer.query_opt("looking", sql, &[&pid]).await.unwrap().is_some() };
    let (slept, ()) = tokio::join!(session.batch("sleeping", "select pg_sleep(600)"), async {
        until("the server sleeps", asleep).await;
        canceller.cancel().await;
    });
    slept
}

#[tokio::test]
async fn a_cancelled_statement_ends_and_the_session_goes_on() {
    let guarded = guarded().await;
    let observer = guarded.admin().await;
    for sslmode in [SslMode::Disable, SslMode::Require] {
        let session = open(&ConnectionSpec { sslmode, ..guarded.spec() }).await.unwrap();
        let error = sleep_and_cancel(&session, &observer).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Server, Some("57014")), "{sslmode:?}");
        session.batch("going on", "select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_terminated_connection_tells_why_it_ended() {
    let database = databases("connect_terminated").await.source;
    let session = open(&spec_of(&database)).await.unwrap();
    let pid = session.server().backend_pid;
    database.scalar(&format!("select pg_terminate_backend({pid})")).await;
    until("the session is closed", || async { session.is_closed() }).await;
    let error = session.batch("copying batch 17 of users", "select 1").await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Connection, Some("57P01")));
    assert!(error.is_retryable());
    assert!(error.to_string().starts_with("copying batch 17 of users: terminating connection"), "{error}");
    assert!(error.details()[0].contains("warehouse at localhost:"), "{error:?}");
}

#[tokio::test]
async fn a_closed_session_leaves_no_backend() {
    let database = databases("connect_closed").await.source;
    let backends = format!(
        "select count(*) from pg_stat_activity where application_name = 'pgtide/test'
                            and datname = '{}'",
        database.name()
    );
    let session = open(&spec_of(&database)).await.unwrap();
    assert_eq!(database.scalar(&backends).await, "1");
    session.close().await;
    until("the backend is gone", || async { database.scalar(&backends).await == "0" }).await;

    drop(open(&spec_of(&database)).await.unwrap());
    until("the backend is gone", || async { database.scalar(&backends).await == "0" }).await;
}

/// Passes one connection on to a server, and tells when the client has closed its socket.
async fn relay(to: u16) -> (u16, oneshot::Receiver<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (closed, is_closed) = oneshot::channel();
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = listener.accept().await.unwrap().0.into_split();
        let (mut from_server, mut to_server) =
            TcpStream::connect(("127.0.0.1", to)).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = closed.send(());
    });
    (port, is_closed)
}

#[tokio::test]
async fn a_session_that_is_dropped_while_the_server_works_closes_its_socket() {
    let database = databases("connect_dropped").await.source;
    let (port, closed) = relay(database.port()).await;
    let spec = ConnectionSpec { hosts: vec![host("localhost", port)], ..spec_of(&database) };
    let session = open(&spec).await.unwrap();
    let pid = session.server().backend_pid;
    let sleeping =
        format!("select count(*) from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'");
    tokio::select! {
        result = session.batch("sleeping", "select pg_sleep(600)") => panic!("{result:?}"),
        () = until("the server sleeps", || async { database.scalar(&sleeping).await == "1" }) => {}
    }
    drop(session);
    closed.await.unwrap();
    database.scalar(&format!("select pg_terminate_backend({pid})")).await;
}

#[tokio::test]
async fn an_error_names_the_constraint_and_the_table_and_no_value() {
    let database = databases("connect_values").await.source;
    database
        .exec(
            "create table t (id int constraint t_pkey primary key, word text not null check (word <> 'x9'))",
        )
        .await;
    let session = open(&spec_of(&database)).await.unwrap();
    let insert = "insert into public.t values (4711, 'secret9')";
    session.batch("filling t", insert).await.unwrap();
    for (sql, code, said) in [
        (insert, "23505", "doing it: duplicate key violates constraint t_pkey of public.t (23505)"),
        ("insert into public.t values (4712)", "23502", "doing it: null in column word of public.t (23502)"),
        (
            "insert into public.t values (4713, 'x9')",
            "23514",
            "row violates constraint t_word_check of public.t",
        ),
        ("select 'secret4711'::int", "22P02", "a value's text is not valid for its type"),
        ("select 99999999999999999999::int8", "22003", "a number is out of range"),
    ] {
        let error = session.batch("doing it", sql).await.unwrap_err();
        let everything = everything_said(&error);
        assert_eq!(error.sqlstate(), Some(code));
        assert!(everything.contains(said), "{everything}");
        assert!(
            !["471", "secret", "999", "x9"].iter().any(|value| everything.contains(value)),
            "{everything}"
        );
    }
    let session = session.with_values_shown(true);
    let error = session.batch("doing it", insert).await.unwrap_err();
    assert!(everything_said(&error).contains("Key (id)=(4711) already exists."), "{error:?}");
}

#[tokio::test]
async fn a_failed_copy_names_line_and_column() {
    use futures::SinkExt as _;
    let database = databases("connect_copy").await.source;
    database.exec("create table t (id int)").await;
    let session = open(&spec_of(&database)).await.unwrap();
    let sink = session.client().copy_in("copy public.t from stdin").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(b"1\nsecret4711\n")).await.unwrap();
    let error = sink.finish().await.unwrap_err();
    let error = session.error("copying batch 1 of t", error).await;
    assert_eq!(error.details(), ["COPY t, line 2, column id"]);
    assert!(!everything_said(&error).contains("secret"), "{error:?}");
}

#[tokio::test]
async fn work_that_does_not_end_meets_its_deadline() {
    let never = std::future::pending::<Result<()>>();
    let error = deadline("committing batch 3", Duration::from_millis(10), never).await.unwrap_err();
    assert_eq!(error.to_string(), "committing batch 3: no answer within 10ms");
    assert_eq!(error.kind(), ErrorKind::Connection);
}
