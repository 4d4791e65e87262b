//! The ledger: sessions of the test play control sessions and writers, rule by rule.
//!
//! A test's world is one database with `mart.users` and a ledger; a day is an interval of the job
//! `users`. Where a rule has a failure that it prevents, the test acts the failure out.

mod claim;
mod cost;
mod fence;
mod finish;
mod mark;
mod open;
mod read;

use chrono::{DateTime, TimeDelta, Utc};
use pgtide::error::Result;
use pgtide::interval::DataInterval;
use pgtide::ledger::{
    BatchRecord, Claim, ClaimOutcome, ClaimRequest, Ledger, MarkRequest, Owner, Snapshot, TableRef, Totals,
};
use pgtide::postgres::catalog;
use pgtide::postgres::connect::{Session, Side};
use pgtide::state::State;

use crate::support::{self, Database};

/// A database with a table, and a ledger.
pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) ledger: Ledger,
    pub(crate) table: TableRef,
    fingerprint: String,
}

impl World {
    pub(crate) async fn new(hint: &str) -> Self {
        Self::on(support::databases(hint).await.destination).await
    }

    pub(crate) async fn on(db: Database) -> Self {
        db.exec("create schema mart; create table mart.users (day integer, id integer)").await;
        let session = session(&db).await;
        let ledger = Ledger::open(&session, "pgtide").await.unwrap();
        let table = table(&db, "mart.users").await;
        let fingerprint = catalog::shape(&session, table.oid).await.unwrap().fingerprint;
        Self { db, ledger, table, fingerprint }
    }

    pub(crate) async fn session(&self) -> Session {
        session(&self.db).await
    }

    /// What a run asks for to load a day for the first time.
    pub(crate) fn request(&self, number: i64) -> ClaimRequest {
        ClaimRequest {
            job: "users".to_owned(),
            table: self.table.clone(),
            scope: None,
            interval: day(number),
            key: format!("day {number}"),
            timezone: Some("America/New_York".to_owned()),
            definition_hash: "definition-1".to_owned(),
            fingerprint: self.fingerprint.clone(),
            origin: None,
            owner: owner("etl-1"),
            seen: None,
            reload: false,
            stale: false,
            force: false,
            take_over: false,
            leave_failed_after: None,
            since: None,
        }
    }

    /// What a run asks for to load a loaded day again.
    pub(crate) async fn reload(&self, number: i64) -> ClaimRequest {
        let seen = self.snapshot().await.intervals.iter().find(|i| i.interval == day(number)).unwrap().seen();
        ClaimRequest { seen: Some(seen), reload: true, ..self.request(number) }
    }

    pub(crate) fn mark(&self, number: i64, state: State) -> MarkRequest {
        MarkRequest {
            job: "users".to_owned(),
            table: self.table.clone(),
            scope: None,
            interval: day(number),
            key: format!("day {number}"),
            timezone: Some("America/New_York".to_owned()),
            definition_hash: "definition-1".to_owned(),
            state,
            reason: "because".to_owned(),
            owner: owner("laptop"),
            rebinds: false,
        }
    }

    /// Claims a day on a control session of its own.
    pub(crate) async fn claim(&self, number: i64) -> (Session, Claim) {
        self.claim_with(&self.request(number)).await
    }

    pub(crate) async fn claim_with(&self, request: &ClaimRequest) -> (Session, Claim) {
        let control = self.session().await;
        let claim = claimed(self.ledger.claim(&control, request).await);
        (control, claim)
    }

    /// Loads a day: one batch of so many rows, then the end.
    pub(crate) async fn load(&self, number: i64, rows: i64) -> Claim {
        let (control, claim) = self.claim(number).await;
        self.write(&control, &claim, (1, rows)).await.unwrap();
        self.finish(&control, &claim, &totals(&[(1, rows)])).await.unwrap();
        self.ledger.release(&control, &claim).await.unwrap();
        claim
    }

    /// Writes a batch of so many rows, with its record, and commits.
    pub(crate) async fn write(
        &self,
        writer: &Session,
        claim: &Claim,
        (number, rows): (i32, i64),
    ) -> Result<()> {
        self.write_open(writer, claim, (number, rows)).await?;
        writer.batch("committing", "commit").await
    }

    /// The same without the commit.
    pub(crate) async fn write_open(
        &self,
        writer: &Session,
        claim: &Claim,
        (number, rows): (i32, i64),
    ) -> Result<()> {
        begin(writer).await;
        let sql = format!("insert into mart.users select {number}, i from generate_series(1, {rows}) i");
        writer.batch("writing", &sql).await?;
        self.ledger.record_batch(writer, claim, &batch(number, rows)).await
    }

    /// Finishes in a transaction, and commits whatever the finish said: the commit must not matter.
    pub(crate) async fn finish(&self, session: &Session, claim: &Claim, totals: &Totals) -> Result<()> {
        begin(session).await;
        let result = self.ledger.finish(session, claim, totals).await;
        session.batch("committing", "commit").await.unwrap();
        result
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.ledger.snapshot(&self.session().await, "users", None).await.unwrap()
    }

    /// The state of one day.
    pub(crate) async fn state(&self, number: i64) -> State {
        let snapshot = self.ledger.snapshot(&self.session().await, "users", Some(day(number))).await.unwrap();
        snapshot.intervals.first().expect("the day has a row").state
    }

    /// Rows in the destination table.
    pub(crate) async fn stored(&self) -> i64 {
        self.number("select count(*) from mart.users").await
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.db.scalar(sql).await.parse().unwrap()
    }

    /// Waits until a session waits for a lock.
    pub(crate) async fn until_blocked(&self, session: &Session) {
        let pid = session.server().backend_pid;
        let sql =
            format!("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and pid = {pid}");
        support::until("the session waits for a lock", || async { self.number(&sql).await == 1 }).await;
    }

    /// Waits until a session's server process is gone.
    pub(crate) async fn until_gone(&self, pid: i32) {
        let sql = format!("select count(*) from pg_stat_activity where pid = {pid}");
        support::until("the session is gone", || async { self.number(&sql).await == 0 }).await;
    }

    /// The process that holds the control session dies.
    pub(crate) async fn kill(&self, control: Session) {
        let pid = control.server().backend_pid;
        drop(control);
        self.until_gone(pid).await;
    }
}

pub(crate) async fn session(db: &Database) -> Session {
    session_as(db, "postgres").await
}

pub(crate) async fn session_as(db: &Database, role: &str) -> Session {
    session_at(db, role, db.port()).await
}

/// A session through another port, such as a proxy's.
pub(crate) async fn session_at(db: &Database, role: &str, port: u16) -> Session {
    let spec = connection::spec(db.name(), role, port);
    Session::open(&spec, Side::Destination, "pgtide test").await.unwrap()
}

pub(crate) async fn table(db: &Database, name: &str) -> TableRef {
    let oid = db.scalar(&format!("select '{name}'::regclass::oid")).await.parse().unwrap();
    TableRef { oid, name: name.to_owned() }
}

pub(crate) async fn begin(session: &Session) {
    session.batch("beginning", "begin isolation level read committed").await.unwrap();
}

/// A day, counted from the first of 2026 in UTC.
pub(crate) fn day(number: i64) -> DataInterval {
    let start: DateTime<Utc> = "2026-01-01T05:00:00Z".parse().unwrap();
    let start = start + TimeDelta::days(number);
    DataInterval { start, end: start + TimeDelta::days(1) }
}

pub(crate) fn owner(host: &str) -> Owner {
    Owner { host: host.to_owned(), pid: 4711, run_id: format!("run on {host}"), trigger: None }
}

pub(crate) fn claimed(outcome: Result<ClaimOutcome>) -> Claim {
    match outcome.unwrap() {
        ClaimOutcome::Claimed(claim) => *claim,
        other => panic!("not claimed: {other:?}"),
    }
}

/// A batch whose digest makes sums overflow.
pub(crate) fn batch(number: i32, rows: i64) -> BatchRecord {
    BatchRecord { number, rows, bytes: rows * 10, digest: i64::MAX, staged: false, resume_key: None }
}

/// What an attempt of these batches, as number and rows, knows at its end.
pub(crate) fn totals(batches: &[(i32, i64)]) -> Totals {
    let rows = batches.iter().map(|(_, rows)| rows).sum();
    Totals {
        rows_read: rows,
        rows,
        bytes: rows * 10,
        digest: batches.iter().fold(0i64, |sum, _| sum.wrapping_add(i64::MAX)),
        batches: i32::try_from(batches.len()).unwrap(),
        source_snapshot: "100:100:".to_owned(),
        source_system: 7,
        single_transaction: false,
        foreign_rows: 0,
    }
}

/// How a test reaches a server.
mod connection {
    use std::time::Duration;

    use pgtide::config::connection::{
        ChannelBinding, ConnectionSpec, Host, RootCert, SslMode, TargetSessionAttrs,
    };

    pub(super) fn spec(database: &str, role: &str, port: u16) -> ConnectionSpec {
        ConnectionSpec {
            name: "warehouse".to_owned(),
            hosts: vec![Host::Tcp { name: "127.0.0.1".to_owned(), addr: None, port }],
            user: role.to_owned(),
            database: database.to_owned(),
            password: None,
            password_command: None,
            sslmode: SslMode::Disable,
            sslrootcert: RootCert::Default,
            sslcert: None,
            sslkey: None,
            channel_binding: ChannelBinding::Prefer,
            target_session_attrs: TargetSessionAttrs::Any,
            connect_timeout: Duration::from_secs(30),
            keepalives: true,
            keepalives_idle: Duration::from_secs(30),
            keepalives_interval: Duration::from_secs(10),
            keepalives_count: 3,
            tcp_user_timeout: None,
            options: None,
            application_name: None,
            max_connections: None,
        }
    }
}
