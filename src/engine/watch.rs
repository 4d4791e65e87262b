//! No hang: an attempt that moves nothing for too long is ended, and says which side it waited for.
//!
//! The deadline is on progress, never on the whole: a slow copy may take days. Keepalives find a dead
//! peer; this finds a living one that does not answer.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::{Engine, open_session};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind};
use crate::postgres::connect::Side;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a server may take to say whether it works.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const REMEDY: &str =
    "look for a lock or a stalled connection; `progress_timeout` in the job allows longer waits";

/// What is moving; any change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pulse {
    /// Bytes read from the source.
    pub(super) read: u64,
    /// Bytes sent to the destination.
    pub(super) sent: u64,
    /// Steps taken.
    pub(super) steps: u64,
    /// What the attempt is at.
    pub(super) stage: Stage,
}

/// What an attempt is at, and so which server it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// Both servers are asked things.
    #[default]
    Preparing,
    /// Rows are read and written.
    Copying,
    /// Every row is read.
    Finishing,
}

/// Returns when nothing moved for as long as `limit` and no server works for us.
///
/// A sort before the first row, or a large DELETE, moves no byte: `is_working` then looks at the
/// servers themselves.
pub(super) async fn stalled<W, F>(limit: Duration, pulse: impl Fn() -> Pulse, is_working: W) -> Error
where
    W: Fn() -> F,
    F: Future<Output = bool>,
{
    let mut ticks = interval(LOOK_EVERY.min(limit));
    let mut last = (pulse(), Instant::now());
    loop {
        ticks.tick().await;
        let now = pulse();
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() >= limit {
            if is_working().await {
                last.1 = Instant::now();
                continue;
            }
            let side = match now.stage {
                Stage::Preparing => "a server does not answer",
                Stage::Copying if now.read <= now.sent => "the source sends nothing",
                Stage::Copying | Stage::Finishing => "the destination takes nothing",
            };
            let context = format!("no progress for {} s: {side}", limit.as_secs());
            return Error::new(ErrorKind::Connection, context).with_hint(REMEDY);
        }
    }
}

const WORKING: &str = "
select exists (
    select from pg_catalog.pg_stat_activity a
    where a.pid = any ($1) and a.state = 'active' and a.wait_event_type is distinct from 'Client')";

/// Whether any of these backends works, asked on a session of its own; false if nobody answers.
pub(super) async fn any_works(engine: &Engine, side: Side, job: &Job, pids: &[i32]) -> bool {
    let Ok(session) = open_session(engine, side, job).await else { return false };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&pids];
    let asked = session.query_one("looking at the servers", WORKING, &params);
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.is_ok_and(|row| row.is_ok_and(|row| row.get(0)))
}

/// A server was asked something, and this long nothing came back.
pub(super) fn no_answer(limit: Duration) -> Error {
    Error::new(ErrorKind::Connection, format!("no answer for {} s", limit.as_secs())).with_hint(REMEDY)
}
