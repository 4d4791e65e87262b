//! The sessions of an apply: the first holds the lock, others are opened when there is work for them.
//!
//! Every other session holds the lock of helping hands, shared: an apply that died is over when nobody
//! holds that one any more, and only then the next one begins.

use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use crate::config::connection::ConnectionSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::postgres::connect::{Session, Side};

/// What a DBA sees of the sessions beside the first.
const APPLICATION: &str = "pgtide/views apply";

const DOING: &str = "taking the lock of views apply";

/// How long a session that is over may take to end on the server.
const ENDING: Duration = Duration::from_secs(2);

/// The time between two looks at a lock.
const POLL: Duration = Duration::from_millis(50);

/// Undoes what a build sets for itself.
const AS_OPENED: &str =
    "set search_path to ''; reset check_function_bodies; set statement_timeout = 0; reset work_mem";

/// How many sessions an apply may have, and where.
#[derive(Debug, Clone, Copy)]
pub struct Hands<'a> {
    /// The database.
    pub spec: &'a ConnectionSpec,
    /// Sessions at once, the first among them.
    pub jobs: usize,
    /// Whether error messages may hold values of rows.
    pub show_values: bool,
}

/// A session that is free for work.
pub(super) enum Hand<'a> {
    /// The one that holds the lock: it is never thrown away.
    First(&'a Session),
    /// Any other.
    Other(Box<Session>),
}

impl Hand<'_> {
    pub(super) fn session(&self) -> &Session {
        match self {
            Self::First(session) => session,
            Self::Other(session) => session.as_ref(),
        }
    }
}

/// Free sessions, and how many there may be.
pub(super) struct Crew<'a> {
    hands: Hands<'a>,
    ledger: &'a Ledger,
    free: Vec<Hand<'a>>,
    open: usize,
}

impl<'a> Crew<'a> {
    pub(super) fn new(first: &'a Session, ledger: &'a Ledger, hands: Hands<'a>) -> Self {
        Self { hands, ledger, free: vec![Hand::First(first)], open: 1 }
    }

    /// A session that is free, or a new one if there may be one more; with fewer the work goes on.
    pub(super) async fn take(&mut self) -> Option<Hand<'a>> {
        if let Some(hand) = self.free.pop() {
            return Some(hand);
        }
        if self.open >= self.hands.jobs {
            return None;
        }
        match self.hire().await {
            Ok(session) => {
                self.open += 1;
                Some(Hand::Other(Box::new(session)))
            }
            Err(error) => {
                tracing::warn!("{} at once, no more: {}", self.open, error.chain());
                self.hands.jobs = self.open;
                None
            }
        }
    }

    async fn hire(&self) -> Result<Session> {
        let session = Session::open(self.hands.spec, Side::Destination, APPLICATION).await?;
        let sql = "select pg_catalog.pg_try_advisory_lock_shared($1)";
        let row = session.query_one("joining the apply", sql, &[&keys(self.ledger).1]).await?;
        if row.get(0) {
            return Ok(session.with_values_shown(self.hands.show_values));
        }
        Err(Error::new(ErrorKind::Locked, "another apply has begun meanwhile"))
    }

    /// Gives a session back; one on which something failed is thrown away, if it is not the first.
    pub(super) async fn give_back(&mut self, hand: Hand<'a>, is_well: bool) {
        if let (Hand::First(session), false) = (&hand, is_well) {
            // If it is gone its next statement tells.
            let _ = session.batch("after a failure", AS_OPENED).await;
        }
        match hand {
            Hand::Other(session) if !is_well || session.is_closed() => {
                self.open -= 1;
                session.close().await;
            }
            hand => self.free.push(hand),
        }
    }

    pub(super) async fn dismiss(self) {
        for hand in self.free {
            if let Hand::Other(session) = hand {
                session.close().await;
            }
        }
    }
}

/// Takes the lock that one apply holds at a time, for as long as the session lives. The server ends the
/// session of a command that is over a moment later, so that is waited for.
///
/// # Errors
/// `Locked`, when another one runs, or one that died has sessions that are still at work.
pub async fn lock(session: &Session, ledger: &Ledger) -> Result<()> {
    let (own, helpers) = keys(ledger);
    if !lock_soon(session, own).await? {
        return Err(Error::new(ErrorKind::Locked, "another pgtide applies views to this database now")
            .with_hint("wait until it is done; then the same command"));
    }
    if !lock_soon(session, helpers).await? {
        return Err(Error::new(ErrorKind::Locked, "sessions of an apply that died are still at work")
            .with_hint("the server ends them within seconds; then the same command"));
    }
    let sql = "select pg_catalog.pg_advisory_unlock($1)";
    session.query_one(DOING, sql, &[&helpers]).await.map(drop)
}

async fn lock_soon(session: &Session, key: i64) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let sql = "select pg_catalog.pg_try_advisory_lock($1)";
        let has_it = session.query_one(DOING, sql, &[&key]).await?.get(0);
        if has_it || begun.elapsed() > ENDING {
            return Ok(has_it);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The key of the lock itself and that of its helping hands.
fn keys(ledger: &Ledger) -> (i64, i64) {
    let key = |what: &str| xxh3_64(format!("{what} {}", ledger.schema()).as_bytes()).cast_signed();
    (key("pgtide views"), key("pgtide views hands"))
}
