//! Claiming an interval: a lock says who is alive, a new random token says who may commit.
//!
//! The claim is a transaction of its own, before any data. It compares the row with what the plan
//! saw, refuses intervals that another job's rows overlap, and reports what dead attempts left: `new`
//! for intervals that the ledger has no row of, `known` for the others.
//! A session whose claim was dropped half-way must be closed: it may hold the lock.
//!
//! Statements are sent together where the client decides nothing between them: the server runs them
//! one after the other, each with a snapshot of its own, and after an error refuses the rest of the
//! transaction.

mod known;
mod new;
mod overlap;

use chrono::{DateTime, Utc};
use tokio_postgres::{Row, Statement};

use super::{Claim, ClaimOutcome, ClaimRequest, Differs, Ledger, Origin, TableRef, stored};
use overlap::{LOCK_TABLE, OVERLAP, overlap_kept};

use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::{Session, pooler_error};
use crate::state::State;
pub use overlap::Neighbour;

/// How often a claim starts again because the interval's row appeared or its holder left meanwhile.
const ROUNDS: u32 = 20;

/// Not flushed: a batch is later in the log than the claim that allows it, so no crash keeps a batch and
/// forgets its claim, and the flush of the finish is the claim's too. Claims on one table wait for each
/// other, and would do so for the length of a flush.
const BEGIN: &str = "begin isolation level read committed read write;
set local synchronous_commit = off; set local lock_timeout = '10s'";

/// Whether this session can hold a claim: its process, and whether it holds one of this ledger.
const SESSION: &str = "
select pg_catalog.pg_backend_pid() as backend_pid,
       exists (select from pg_catalog.pg_locks l
               where l.locktype = 'advisory' and l.pid = pg_catalog.pg_backend_pid()
                 and l.objsubid = 2 and l.classid = $1 and l.mode = 'ExclusiveLock') as busy";

/// What is read of the interval's row under its lock.
struct Current {
    state: State,
    loaded_at: Option<DateTime<Utc>>,
    load_started_at: Option<DateTime<Utc>>,
    rows: Option<i64>,
    table: TableRef,
    /// The number of the latest attempt, if it ended with an error.
    failed_attempt: Option<i32>,
}

/// What dead attempts left.
#[derive(Default)]
struct Leftovers {
    rows: i64,
    differs: Option<Differs>,
    resume_key: Option<Vec<u8>>,
    stages: Vec<String>,
}

/// The part of a table that an interval of a job covers.
pub(super) struct Part<'a> {
    pub(super) job: &'a str,
    pub(super) interval: DataInterval,
    pub(super) table_oid: u32,
}

impl Ledger {
    /// Claims an interval for one attempt. The control session serves one claim at a time.
    ///
    /// # Errors
    /// `Config`, if a pooler stands between; `Internal`, if the session already holds a claim; `Locked`,
    /// if a terminated run does not end; otherwise as the server says.
    pub async fn claim(&self, control: &Session, request: &ClaimRequest) -> Result<ClaimOutcome> {
        self.require_writable()?;
        let doing = format!("claiming {} {}", request.job, request.key);
        for _ in 0..ROUNDS {
            if let Some(outcome) = self.claim_once(control, &doing, request).await? {
                return Ok(outcome);
            }
        }
        Err(Error::new(ErrorKind::Contention, format!("{doing}: other runs keep taking and leaving it")))
    }

    async fn claim_once(
        &self,
        control: &Session,
        doing: &str,
        request: &ClaimRequest,
    ) -> Result<Option<ClaimOutcome>> {
        // What the plan did not see is most likely not there, and then there is nothing to look at first.
        if request.seen.is_none()
            && let Some(outcome) = self.claim_new(control, doing, request).await?
        {
            return Ok(Some(outcome));
        }
        let Some(id) = self.look(control, doing, request).await? else {
            return self.claim_new(control, doing, request).await;
        };
        if !self.try_lock(control, doing, id).await? {
            let taken = request.take_over && self.take_over(control, doing, id).await?;
            if !taken {
                return Ok(self.holder(control, doing, id).await?.map(ClaimOutcome::Held));
            }
        }
        let result = self.claim_known(control, doing, (id, request)).await;
        self.keep_lock_if_claimed(control, doing, id, result).await
    }

    /// Finds the interval's row, after making sure that this session can hold a claim.
    async fn look(&self, control: &Session, doing: &str, request: &ClaimRequest) -> Result<Option<i64>> {
        let find = self.sql(
            "select id from pgtide.interval where job = $1 and interval_start = $2 and interval_end = $3",
        );
        let [session, find] = control.keep(doing, [SESSION, &find]).await?;
        let (start, end) = (stored(request.interval.start), stored(request.interval.end));
        let row = control.query_one_kept(doing, &session, &[&self.interval_oid]).await?;
        can_claim(control, doing, &row)?;
        let found = control.query_opt_kept(doing, &find, &[&request.job, &start, &end]).await?;
        Ok(found.map(|row| row.get(0)))
    }

    /// Waits for other claims on the same table, so that overlaps are seen by one of two.
    pub(super) async fn lock_table(&self, session: &Session, doing: &str, table_oid: u32) -> Result<()> {
        let [lock] = session.keep(doing, [LOCK_TABLE]).await?;
        self.lock_table_kept(session, doing, &lock, table_oid).await
    }

    async fn lock_table_kept(
        &self,
        session: &Session,
        doing: &str,
        lock: &Statement,
        table_oid: u32,
    ) -> Result<()> {
        let (class, object) = (self.meta_oid.cast_signed(), table_oid.cast_signed());
        session.execute_kept(doing, lock, &[&class, &object]).await.map(drop)
    }

    /// Finds another interval whose rows are, or are about to be, in this part of the table.
    pub(super) async fn overlap(
        &self,
        session: &Session,
        doing: &str,
        part: &Part<'_>,
        scope: Option<&str>,
    ) -> Result<Option<(String, String)>> {
        let [overlap] = session.keep(doing, [&*self.sql(OVERLAP)]).await?;
        overlap_kept(session, doing, &overlap, (part, scope)).await
    }

    async fn keep_lock_if_claimed(
        &self,
        control: &Session,
        doing: &str,
        id: i64,
        result: Result<Option<ClaimOutcome>>,
    ) -> Result<Option<ClaimOutcome>> {
        match result {
            Ok(Some(ClaimOutcome::Claimed(_))) => result,
            Err(error) => {
                // A session that is lost has lost its lock too.
                let _ = self.unlock(control, doing, id).await;
                Err(error)
            }
            Ok(_) => self.unlock(control, doing, id).await.and(result),
        }
    }
}

fn part_of(request: &ClaimRequest) -> Part<'_> {
    Part { job: &request.job, interval: request.interval, table_oid: request.table.oid }
}

fn claim_of(row: &Row, request: &ClaimRequest, current: Current, left: Leftovers) -> Claim {
    let moved = current.table.oid != request.table.oid;
    let resume_key = left.resume_key.filter(|_| !moved);
    Claim {
        interval_id: row.get("id"),
        token: row.get("token"),
        attempt: row.get("attempt"),
        tries: row.get("tries"),
        job: request.job.clone(),
        key: request.key.clone(),
        table_oid: request.table.oid,
        table_name: request.table.name.clone(),
        definition_hash: request.definition_hash.clone(),
        was_loaded: current.loaded_at.is_some() && !moved,
        previous_rows: current.rows.filter(|_| !moved),
        left_rows: if moved { 0 } else { left.rows },
        left_differs: left.differs.filter(|_| !moved),
        origin: request.origin.as_ref().map(Origin::stored),
        left_stages: left.stages,
        resume_rows: if resume_key.is_some() { left.rows } else { 0 },
        resume_key,
        moved_from: moved.then_some(current.table),
    }
}

/// Decides whether the row is still what the plan wanted to load; none means: take it.
fn judge(current: &Current, request: &ClaimRequest) -> Option<ClaimOutcome> {
    let seen_load = request.seen.and_then(|seen| seen.loaded_at);
    if current.loaded_at.is_some() && current.loaded_at != seen_load {
        let is_fresh = |since| current.load_started_at.is_some_and(|started| started >= since);
        match request.since {
            // What was asked for is a newer snapshot than that load's.
            Some(since) if !is_fresh(since) => {}
            _ if current.table.oid != request.table.oid => {
                return Some(ClaimOutcome::InAnotherTable(current.table.clone()));
            }
            _ => return Some(ClaimOutcome::AlreadyLoaded),
        }
    }
    if current.failed_attempt.zip(request.leave_failed_after).is_some_and(|(failed, seen)| failed > seen) {
        return Some(ClaimOutcome::FailedElsewhere);
    }
    let explicit = request.reload || request.force;
    match current.state {
        State::Loaded if !explicit => Some(ClaimOutcome::AlreadyLoaded),
        State::Stale if !explicit && !request.stale => Some(ClaimOutcome::AlreadyLoaded),
        State::Skipped if request.seen.is_none_or(|seen| seen.state != State::Skipped) => {
            Some(ClaimOutcome::MarkedSkipped)
        }
        _ => None,
    }
}

/// Refuses a session that another client may use too, or that holds a claim.
fn can_claim(control: &Session, doing: &str, session: &Row) -> Result<()> {
    refuse_pooler(control, doing, session.get("backend_pid"))?;
    if !session.get::<_, bool>("busy") {
        return Ok(());
    }
    let what = format!("{doing}: this session already holds a claim, and its locks are re-entrant");
    Err(Error::new(ErrorKind::Internal, what))
}

/// Refuses a connection whose server process is not the one that was announced at its start.
pub(super) fn refuse_pooler(control: &Session, doing: &str, backend_pid: i32) -> Result<()> {
    let announced = control.tap().backend_pid().unwrap_or(control.server().backend_pid);
    if announced == backend_pid {
        return Ok(());
    }
    Err(pooler_error(&control.server().name).while_doing(doing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Owner, Seen};

    fn request(seen: Option<Seen>) -> ClaimRequest {
        ClaimRequest {
            job: "users".into(),
            table: TableRef { oid: 1, name: "mart.users".into() },
            scope: None,
            interval: DataInterval::WHOLE,
            key: "all".into(),
            timezone: None,
            definition_hash: "hash".into(),
            fingerprint: "shape".into(),
            origin: None,
            owner: Owner { host: "etl-1".into(), pid: 7, run_id: "run".into(), trigger: None },
            seen,
            reload: false,
            stale: false,
            force: false,
            take_over: false,
            leave_failed_after: None,
            since: None,
        }
    }

    fn current(state: State, loaded_at: Option<i64>) -> Current {
        let table = TableRef { oid: 1, name: "mart.users".into() };
        let loaded_at = loaded_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Current { state, loaded_at, load_started_at: loaded_at, rows: None, table, failed_attempt: None }
    }

    fn seen(state: State, loaded_at: Option<i64>) -> Option<Seen> {
        Some(Seen { state, loaded_at: loaded_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) })
    }

    #[test]
    fn what_was_loaded_or_marked_after_the_plan_is_left_alone() {
        let loaded = |state, at| {
            matches!(judge(&current(state, at), &request(None)), Some(ClaimOutcome::AlreadyLoaded))
        };
        assert!(loaded(State::Loaded, Some(1)));
        assert!(loaded(State::Stale, Some(1)));
        assert!(loaded(State::Failed, Some(1)), "loaded and then marked failed");
        let reload = ClaimRequest { reload: true, ..request(seen(State::Loaded, Some(1))) };
        assert!(judge(&current(State::Loaded, Some(2)), &reload).is_some(), "reloaded meanwhile");
        assert!(matches!(
            judge(&current(State::Skipped, None), &request(seen(State::Failed, None))),
            Some(ClaimOutcome::MarkedSkipped)
        ));
    }

    #[test]
    fn a_load_that_began_before_a_reload_was_asked_for_is_not_what_was_asked_for() {
        let since = DateTime::from_timestamp(10, 0);
        let reload = ClaimRequest { reload: true, since, ..request(seen(State::Loaded, Some(1))) };
        let load = |started, loaded| Current {
            load_started_at: DateTime::from_timestamp(started, 0),
            ..current(State::Loaded, Some(loaded))
        };
        assert!(judge(&load(9, 12), &reload).is_none());
        assert!(matches!(judge(&load(10, 12), &reload), Some(ClaimOutcome::AlreadyLoaded)));
        let marked = Current { load_started_at: None, ..load(0, 12) };
        assert!(judge(&marked, &reload).is_none(), "a mark is no load");
        let never_seen = ClaimRequest { since, reload: true, ..request(None) };
        assert!(judge(&load(9, 12), &never_seen).is_none());
    }

    #[test]
    fn what_was_loaded_into_another_table_meanwhile_is_not_loaded() {
        let other = TableRef { oid: 2, name: "mart.people".into() };
        let elsewhere = Current { table: other, ..current(State::Loaded, Some(1)) };
        assert!(matches!(judge(&elsewhere, &request(None)), Some(ClaimOutcome::InAnotherTable(_))));
    }

    #[test]
    fn what_others_have_failed_with_since_is_theirs() {
        let failed = Current { failed_attempt: Some(3), ..current(State::Failed, None) };
        let leave = |seen| ClaimRequest { leave_failed_after: seen, ..request(None) };
        assert!(matches!(judge(&failed, &leave(Some(2))), Some(ClaimOutcome::FailedElsewhere)));
        assert!(judge(&failed, &leave(Some(3))).is_none(), "it was seen");
        assert!(judge(&failed, &leave(None)).is_none(), "nobody else is asked");
        assert!(judge(&current(State::Interrupted, None), &leave(Some(2))).is_none(), "it died");
    }

    #[test]
    fn what_the_plan_saw_and_wanted_is_taken() {
        assert!(judge(&current(State::Failed, None), &request(None)).is_none());
        assert!(judge(&current(State::Running, None), &request(seen(State::Interrupted, None))).is_none());
        let reload = ClaimRequest { reload: true, ..request(seen(State::Loaded, Some(1))) };
        assert!(judge(&current(State::Loaded, Some(1)), &reload).is_none());
        let stale = ClaimRequest { stale: true, ..request(seen(State::Stale, Some(1))) };
        assert!(judge(&current(State::Stale, Some(1)), &stale).is_none());
        assert!(judge(&current(State::Skipped, None), &request(seen(State::Skipped, None))).is_none());
    }
}
