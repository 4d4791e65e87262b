//! Throw-away servers: they start, keep databases apart, recover, and never outlive their owner.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::{self, Pid};
use pgtide::sandbox::{Options, Programs, Server, StopMode};

use crate::support::proxy::{Direction, Proxy};
use crate::support::{self, Database, rows};

#[tokio::test]
async fn two_servers_with_identities_of_their_own_start() {
    let db = support::databases("identity").await;
    let system = "select system_identifier from pg_control_system()";
    assert_ne!(db.source.scalar(system).await, db.destination.scalar(system).await);
}

#[tokio::test]
async fn databases_of_two_tests_are_separate() {
    let (one, other) = (support::databases("apart").await, support::databases("apart").await);
    one.source.exec("create table t as select 1 as a").await;
    assert_eq!(other.source.scalar("select count(*) from pg_class where relname = 't'").await, "0");
    assert_eq!(one.destination.scalar("select count(*) from pg_class where relname = 't'").await, "0");
}

#[tokio::test]
async fn the_checker_tells_equal_tables_from_different_ones() {
    let db = support::databases("checker").await;
    db.source.exec("create table t as select i, null::text as b from generate_series(1, 100) i").await;
    db.destination
        .exec("create table t as select i, null::text as b from generate_series(100, 1, -1) i")
        .await;
    rows::assert_equal(&db.source, &db.destination, "public.t", "public.t").await;
    db.destination.exec("update t set b = '' where i = 7").await;
    let (read, stored) =
        tokio::join!(rows::digest(&db.source, "public.t"), rows::digest(&db.destination, "public.t"));
    assert_eq!(read.rows, stored.rows);
    assert_ne!(read.hash, stored.hash);
}

#[tokio::test]
async fn what_was_committed_survives_an_immediate_stop() {
    let mut server = support::private_server("crash").await;
    let database = Database::create(&server, "crash").await;
    database.exec("create table t as select generate_series(1, 1000) as a").await;
    server.restart(StopMode::Immediate).unwrap();
    assert_eq!(database.scalar("select count(*) from t").await, "1000");
    assert!(server.log().contains("automatic recovery in progress"));
}

#[tokio::test]
async fn january_has_all_its_flights_on_local_dates() {
    let db = support::databases("january").await;
    support::flights::load_january(&db.source).await;
    let dates = "select min(d) || ' ' || max(d) || ' ' || count(distinct d) || ' ' || count(f) \
        from public.flights f, lateral (select (time_hour at time zone 'America/New_York')::date d) l \
        where d = make_date(year, month, day)";
    assert_eq!(db.source.scalar(dates).await, "2013-01-01 2013-01-31 31 27004");
    assert_eq!(db.source.scalar("select count(*) from public.airlines").await, "16");
}

#[tokio::test]
async fn the_year_has_all_its_flights() {
    let db = support::databases("year").await;
    support::flights::load_year(&db.source).await;
    let summary = "select count(*) || ' ' || count(distinct (time_hour at time zone 'America/New_York')::date) \
        || ' ' || count(*) filter (where dep_delay is null) || ' ' || sum(distance) from public.flights";
    assert_eq!(db.source.scalar(summary).await, "336776 365 8255 350217607");
}

#[tokio::test]
async fn the_harness_runs_the_program_to_its_end() {
    let output = support::pgtide(&["--version"]).run().await.expect(0);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn a_server_with_a_password_refuses_a_wrong_one() {
    let options = Options { password: Some("right".to_owned()), ..Options::default() };
    let server = support::servers::private_server_with("password", options).await;
    assert!(tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.is_ok());
    let error =
        Database::existing(&server, "postgres").try_client().await.expect_err("the password is wrong");
    assert_eq!(error.code().map(|c| c.code().to_owned()), Some("28P01".to_owned()));
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let server = support::private_server("dropped").await;
    let (port, folder) = (server.port(), server.folder().to_owned());
    drop(server);
    assert!(!folder.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_kept_server_goes_on_until_it_is_told_to_end() {
    let server = support::private_server("kept").await;
    let database = Database::existing(&server, "postgres");
    let kept = server.keep().unwrap();
    let alive = database.try_client().await.is_ok();
    signal::kill(Pid::from_raw(i32::try_from(kept.pid).unwrap()), Signal::SIGTERM).unwrap();
    assert!(alive);
    support::until("the folder of the kept server is gone", || async { !kept.folder.exists() }).await;
    assert!(database.try_client().await.is_err());
}

#[tokio::test]
async fn an_interrupt_from_the_terminal_does_not_reach_a_server() {
    let server = support::private_server("group").await;
    let group = |process| unistd::getpgid(process).unwrap();
    assert_ne!(group(Some(Pid::from_raw(server.postmaster_pid()))), group(None));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let settings = vec![("shared_buffers".to_owned(), "nonsense".to_owned())];
    let options = Options { settings, ..Options::default() };
    let error =
        Server::start(&Programs::find().unwrap(), "broken", &options).expect_err("the setting is wrong");
    assert!(error.details().concat().contains("shared_buffers"), "{error:?} {:?}", error.details());
}

#[tokio::test]
async fn a_killed_owner_takes_its_server_with_it() {
    let mut owner = spawn_owner(&std::env::temp_dir());
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("server of its own")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (port, folder) = (words[words.len() - 2].parse::<u16>().unwrap(), Path::new(words[words.len() - 1]));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    owner.kill().unwrap();
    owner.wait().unwrap();
    support::until("the folder of the server is gone", || async { !folder.exists() }).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn an_owner_killed_while_its_server_is_made_or_started_leaves_nothing() {
    for sign_of_life in ["data", "data/postmaster.pid"] {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let folders =
            || fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let mut owner = spawn_owner(base.path());
        let there = || folders().iter().any(|folder| folder.join(sign_of_life).exists());
        support::until("the server is on its way", || async { there() }).await;
        owner.kill().unwrap();
        owner.wait().unwrap();
        support::until("the folder of the server is gone", || async { folders().is_empty() }).await;
    }
}

/// Starts an owner, to be killed: this program again, running the ignored test below.
fn spawn_owner(temporary: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::own_a_server_until_killed", "--ignored", "--nocapture"])
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "run by the tests above, which kill it"]
fn own_a_server_until_killed() {
    let server = Server::start(&Programs::find().unwrap(), "owned", &Options::default()).unwrap();
    println!("server of its own: {} {}", server.port(), server.folder().display());
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn the_proxy_cuts_a_connection_at_the_byte_it_is_told() {
    let db = support::databases("proxy").await;
    let proxy = Proxy::start(&db.source).await;
    let (client, connection) =
        tokio_postgres::connect(&proxy.url(&db.source), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let before = proxy.passed(Direction::ToClient);
    proxy.cut_after(1000, Direction::ToClient);
    let result = client.simple_query("select repeat('x', 100) from generate_series(1, 1000)").await;
    assert!(result.is_err());
    assert_eq!(proxy.passed(Direction::ToClient) - before, 1000);
    proxy.heal();
    assert!(tokio_postgres::connect(&proxy.url(&db.source), tokio_postgres::NoTls).await.is_ok());
}
