//! Claiming an interval: a lock says who is alive, a new random token says who may commit.
//!
//! The claim is a transaction of its own, before any data. It compares the row with what the plan
//! saw, refuses intervals that another job's rows overlap, and reports what dead attempts left.
//! A session whose claim was dropped half-way must be closed: it may hold the lock.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::{Claim, ClaimOutcome, ClaimRequest, Ledger, TableRef, begin, end, random_token, stored};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;
use crate::state::State;

/// How often a claim starts again because the interval's row appeared or its holder left meanwhile.
const ROUNDS: u32 = 20;

/// What is read of the interval's row under its lock.
struct Current {
    state: State,
    loaded_at: Option<DateTime<Utc>>,
    rows: Option<i64>,
    table: TableRef,
}

/// What dead attempts left.
struct Leftovers {
    rows: i64,
    resume_key: Option<Vec<u8>>,
    stages: Vec<String>,
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
        let sql = self.sql(
            "select pg_catalog.pg_backend_pid() as backend_pid,
                    exists (select from pg_catalog.pg_locks l
                            where l.locktype = 'advisory' and l.pid = pg_catalog.pg_backend_pid()
                              and l.objsubid = 2 and l.classid = $4 and l.mode = 'ExclusiveLock') as busy,
                    (select i.id from pgtide.interval i
                     where i.job = $1 and i.interval_start = $2 and i.interval_end = $3) as id",
        );
        let (start, end) = (stored(request.interval.start), stored(request.interval.end));
        let row = control.query_one(doing, &sql, &[&request.job, &start, &end, &self.interval_oid]).await?;
        refuse_pooler(control, doing, row.get("backend_pid"))?;
        if row.get("busy") {
            let what = format!("{doing}: this session already holds a claim, and its locks are re-entrant");
            return Err(Error::new(ErrorKind::Internal, what));
        }
        Ok(row.get("id"))
    }

    /// Claims an interval that the ledger knows; its lock is held.
    async fn claim_known(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
    ) -> Result<Option<ClaimOutcome>> {
        self.end_writers(control, doing, id).await?;
        begin(control, doing).await?;
        let result = match self.lock_table(control, doing, request.table.oid).await {
            Ok(()) => self.claim_row(control, doing, (id, request)).await,
            Err(error) => Err(error),
        };
        let outcome = end(control, doing, result).await?;
        // A writer that started between the first look and the new token.
        self.end_writers(control, doing, id).await?;
        Ok(outcome)
    }

    /// Claims an interval that the ledger has no row of; the row becomes visible with the claim.
    async fn claim_new(
        &self,
        control: &Session,
        doing: &str,
        request: &ClaimRequest,
    ) -> Result<Option<ClaimOutcome>> {
        begin(control, doing).await?;
        let id = match self.insert_row(control, doing, request).await {
            Ok(Some(id)) => id,
            Ok(None) => return control.batch(doing, "rollback").await.map(|()| None),
            Err(error) => return end(control, doing, Err(error)).await,
        };
        let result = self.claim_row(control, doing, (id, request)).await;
        let result = match result {
            // The row that this transaction made must not outlive a claim that was refused.
            Ok(Some(ClaimOutcome::Claimed(_))) | Err(_) => end(control, doing, result).await,
            Ok(_) => control.batch(doing, "rollback").await.and(result),
        };
        self.keep_lock_if_claimed(control, doing, id, result).await
    }

    async fn insert_row(
        &self,
        control: &Session,
        doing: &str,
        request: &ClaimRequest,
    ) -> Result<Option<i64>> {
        self.lock_table(control, doing, request.table.oid).await?;
        let sql = self.sql(
            "insert into pgtide.interval (job, interval_start, interval_end, key, state, table_oid, table_name)
             values ($1, $2, $3, $4, 'failed', $5, $6)
             on conflict (job, interval_start, interval_end) do nothing
             returning id",
        );
        let (start, end) = (stored(request.interval.start), stored(request.interval.end));
        let (oid, name) = (&request.table.oid, &request.table.name);
        let row =
            control.query_opt(doing, &sql, &[&request.job, &start, &end, &request.key, oid, name]).await?;
        let Some(row) = row else { return Ok(None) };
        let id = row.get(0);
        // Nobody can know the id yet; a lock that is taken all the same belongs to a stranger.
        Ok(self.try_lock(control, doing, id).await?.then_some(id))
    }

    /// Waits for other claims on the same table, so that overlaps are seen by one of two.
    pub(super) async fn lock_table(&self, session: &Session, doing: &str, table_oid: u32) -> Result<()> {
        let sql = "select pg_catalog.pg_advisory_xact_lock($1, $2)";
        let (class, object) = (self.meta_oid.cast_signed(), table_oid.cast_signed());
        session.execute(doing, sql, &[&class, &object]).await.map(drop)
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

    /// The claim itself: the transaction is open, the interval's and the table's locks are held.
    async fn claim_row(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
    ) -> Result<Option<ClaimOutcome>> {
        let Some(current) = self.lock_row(control, doing, id).await? else { return Ok(None) };
        if let Some(refused) = judge(&current, request) {
            return Ok(Some(refused));
        }
        let part = Part { job: &request.job, interval: request.interval, table_oid: request.table.oid };
        if let Some((job, key)) = self.overlap(control, doing, &part, request.scope.as_deref()).await? {
            return Ok(Some(ClaimOutcome::Overlaps { job, key }));
        }
        let left = self.leftovers(control, doing, (id, request)).await?;
        self.set_token(control, doing, (id, request), (current, left)).await.map(Some)
    }

    async fn lock_row(&self, control: &Session, doing: &str, id: i64) -> Result<Option<Current>> {
        let sql = self.sql(
            "select state, loaded_at, rows, table_oid, table_name from pgtide.interval where id = $1 for update",
        );
        let Some(row) = control.query_opt(doing, &sql, &[&id]).await? else { return Ok(None) };
        Ok(Some(Current {
            state: row.get::<_, &str>("state").parse()?,
            loaded_at: row.get("loaded_at"),
            rows: row.get("rows"),
            table: TableRef { oid: row.get("table_oid"), name: row.get("table_name") },
        }))
    }

    /// Finds another interval whose rows are, or are about to be, in this part of the table.
    pub(super) async fn overlap(
        &self,
        session: &Session,
        doing: &str,
        part: &Part<'_>,
        scope: Option<&str>,
    ) -> Result<Option<(String, String)>> {
        let sql = self.sql(
            "select o.job, o.key from pgtide.interval o
             where o.table_oid = $1 and o.interval_start < $4 and o.interval_end > $3
               and (o.job, o.interval_start, o.interval_end) <> ($2, $3, $4)
               and (o.job = $2 or $5::text is null or o.scope is null or o.scope = $5)
               and (o.loaded_at is not null or o.token is not null
                    or exists (select from pgtide.batch b
                               where b.interval_id = o.id and b.number > 0 and not b.staged))
             order by o.interval_start, o.job limit 1",
        );
        let (start, end) = (stored(part.interval.start), stored(part.interval.end));
        let row = session.query_opt(doing, &sql, &[&part.table_oid, &part.job, &start, &end, &scope]).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// Reads what dead attempts left; none of them can commit any more: the row is locked against their fences.
    async fn leftovers(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
    ) -> Result<Leftovers> {
        let sql = self.sql(
            "select coalesce(sum(b.rows), 0)::bigint as rows,
                    coalesce(bool_and(b.definition_hash = $2), false) as same_definition,
                    (array_agg(b.resume_key order by b.attempt desc, b.number desc))[1] as resume_key,
                    array(select c.relname::text from pg_catalog.pg_class c
                          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                          join (select a.token from pgtide.attempt a where a.interval_id = $1
                                union select i.token from pgtide.interval i where i.id = $1) t
                            on c.relname = 'stage_' || pg_catalog.replace(t.token::text, '-', '')
                          where n.nspname = $3 and c.relkind = 'r'
                            and pg_catalog.pg_has_role(c.relowner, 'member')) as stages
             from pgtide.batch b
             where b.interval_id = $1 and b.number > 0 and not b.staged",
        );
        let row = control.query_one(doing, &sql, &[&id, &request.definition_hash, &self.schema]).await?;
        let same_definition: bool = row.get("same_definition");
        Ok(Leftovers {
            rows: row.get("rows"),
            resume_key: row.get::<_, Option<Vec<u8>>>("resume_key").filter(|_| same_definition),
            stages: row.get("stages"),
        })
    }

    /// Gives the row a new token and writes the history of the attempt that died with the old one.
    async fn set_token(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
        (current, left): (Current, Leftovers),
    ) -> Result<ClaimOutcome> {
        let token = random_token();
        let moved = current.table.oid != request.table.oid;
        self.record_interrupted(control, doing, id).await?;
        // Staged rows are in no destination table, and rows in another table are not this claim's to clear.
        let sql = self.sql("delete from pgtide.batch where interval_id = $1 and (staged or $2)");
        control.execute(doing, &sql, &[&id, &moved]).await?;
        let (sql, owner) = (self.sql(SET_TOKEN), &request.owner);
        let row = control
            .query_one(
                doing,
                &sql,
                &[
                    &id,
                    &token,
                    &moved,
                    &request.table.oid,
                    &request.table.name,
                    &request.scope,
                    &request.key,
                    &request.timezone,
                    &request.definition_hash,
                    &owner.host,
                    &i64::from(owner.pid),
                    &owner.run_id,
                    &owner.trigger,
                ],
            )
            .await?;
        Ok(ClaimOutcome::Claimed(Box::new(claim_of(&row, request, current, left))))
    }

    /// Writes the history of an attempt that died: its token still stands, and its lock is ours.
    pub(super) async fn record_interrupted(&self, session: &Session, doing: &str, id: i64) -> Result<()> {
        let sql = self.sql(
            "insert into pgtide.attempt
                (interval_id, attempt, token, outcome, state, host, pid, run_id, triggered_by, definition_hash,
                 rows, bytes, batches, started_at)
             select i.id, i.attempt, i.token, 'interrupted', i.state, i.host, i.pid, i.run_id, i.triggered_by,
                    i.attempt_definition_hash, b.rows, b.bytes, b.batches, i.started_at
             from pgtide.interval i,
                  lateral (select coalesce(sum(b.rows), 0)::bigint as rows,
                                  coalesce(sum(b.bytes), 0)::bigint as bytes, count(*)::integer as batches
                           from pgtide.batch b
                           where b.interval_id = i.id and b.token = i.token
                             and b.number > 0 and not b.staged) b
             where i.id = $1 and i.token is not null",
        );
        session.execute(doing, &sql, &[&id]).await.map(drop)
    }
}

const SET_TOKEN: &str = "
update pgtide.interval set
    token = $2, attempt = attempt + 1, tries = tries + 1,
    state = case when state in ('loaded', 'stale') and not $3 then state else 'running' end,
    loaded_at = case when $3 then null else loaded_at end,
    rows = case when $3 then null else rows end,
    bytes = case when $3 then null else bytes end,
    batches = case when $3 then null else batches end,
    digest = case when $3 then null else digest end,
    table_oid = $4, table_name = $5, scope = $6, key = $7, timezone = $8, attempt_definition_hash = $9,
    host = $10, pid = $11, run_id = $12, triggered_by = $13, backend_pid = pg_catalog.pg_backend_pid(),
    started_at = pg_catalog.clock_timestamp(), finished_at = null, error_code = null, error_message = null,
    reason = case when state in ('loaded', 'stale') and not $3 then reason end
where id = $1
returning id, token, attempt, tries";

/// The part of a table that an interval of a job covers.
pub(super) struct Part<'a> {
    pub(super) job: &'a str,
    pub(super) interval: DataInterval,
    pub(super) table_oid: u32,
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
        return Some(ClaimOutcome::AlreadyLoaded);
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

/// Refuses a connection whose server process is not the one that was announced at its start.
pub(super) fn refuse_pooler(control: &Session, doing: &str, backend_pid: i32) -> Result<()> {
    let announced = control.tap().backend_pid().unwrap_or(control.server().backend_pid);
    if announced == backend_pid {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!(
            "{doing}: connection {} goes through a pooler, which may give two clients one server process",
            control.server().name
        ),
    )
    .with_hint("connect to the server itself: a claim is a lock that belongs to one server process"))
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
            owner: Owner { host: "etl-1".into(), pid: 7, run_id: "run".into(), trigger: None },
            seen,
            reload: false,
            stale: false,
            force: false,
            take_over: false,
        }
    }

    fn current(state: State, loaded_at: Option<i64>) -> Current {
        let table = TableRef { oid: 1, name: "mart.users".into() };
        let loaded_at = loaded_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Current { state, loaded_at, rows: None, table }
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
