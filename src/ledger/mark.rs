//! Marks: a person, or another program, says what state an interval has. Each is kept with its reason.

use chrono::{DateTime, Utc};
use tokio_postgres::types::ToSql;

use super::claim::Part;
use super::evidence::file_of;
use super::{Ledger, Owner, TableRef, begin, end, stored};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;
use crate::state::State;

/// Which interval gets which state, why, and who says so.
#[derive(Debug, Clone)]
pub struct MarkRequest {
    /// The job.
    pub job: String,
    /// The destination table.
    pub table: TableRef,
    /// What limits the rows that the job owns.
    pub scope: Option<String>,
    /// The interval.
    pub interval: DataInterval,
    /// The interval's name in the job's time zone.
    pub key: String,
    /// The job's time zone.
    pub timezone: Option<String>,
    /// The hash of the job's definition; what is marked loaded counts as loaded by it.
    pub definition_hash: String,
    /// `Loaded`, `Failed`, `Skipped` or `Stale`.
    pub state: State,
    /// Why.
    pub reason: String,
    /// Who.
    pub owner: Owner,
    /// Whether what is recorded stands, in this table from now on.
    pub rebinds: bool,
}

impl MarkRequest {
    fn doing(&self) -> String {
        format!("marking {} {} {}", self.job, self.key, self.state)
    }
}

const ENSURE_ROW: &str = "
insert into pgtide.interval (job, interval_start, interval_end, key, state, table_oid, table_name)
values ($1, $2, $3, $4, 'failed', $5, $6)
on conflict (job, interval_start, interval_end) do update set key = excluded.key
returning id";

/// Rows that pgtide counted stay counted only if nothing of a dead attempt came on top of them, and the
/// table's file is one in which they were.
const SET_LOADED: &str = "
with left_over as (
    delete from pgtide.batch where interval_id = $1 returning number, staged
), uncounted as (
    select i.loaded_at is null or i.table_oid <> $4
           or exists (select from left_over where number > 0 and not staged)
           or i.table_file is distinct from now.file
              and not exists (select from pgtide.table_seen s
                              where s.table_oid = $4 and s.file = now.file and s.seen_at >= i.loaded_at) as yes,
           now.file
    from pgtide.interval i, (select {file} as file) now where i.id = $1
)
update pgtide.interval set
    state = 'loaded', reason = $2, token = null, tries = 0, error_code = null, error_message = null,
    loaded_at = case when yes then pg_catalog.clock_timestamp() else loaded_at end,
    definition_hash = $3,
    rows = case when not yes then rows end, bytes = case when not yes then bytes end,
    batches = case when not yes then batches end, digest = case when not yes then digest end,
    source_snapshot = case when not yes then source_snapshot end,
    source_system = case when not yes then source_system end,
    resume_key = case when not yes then resume_key end,
    load_started_at = case when not yes then load_started_at end,
    table_oid = $4, table_file = uncounted.file, table_name = $5, scope = $6, timezone = $7
from uncounted
where id = $1";

const SET_OTHER: &str = "
update pgtide.interval set
    state = $2, reason = $3, token = null, tries = 0, timezone = $4
where id = $1";

/// What stands goes on in another table; what failed is recorded as never loaded there.
const REBIND: &str = "
with left_over as (delete from pgtide.batch where interval_id = $1)
update pgtide.interval set
    state = case $2 when 'loaded' then state else $2 end, reason = $3, token = null, tries = 0,
    error_code = null, error_message = null, table_oid = $4, table_name = $5, table_file = {file}, scope = $6,
    definition_hash = $7,
    loaded_at = case when $2 <> 'failed' then loaded_at end,
    load_started_at = case when $2 <> 'failed' then load_started_at end,
    rows = case when $2 <> 'failed' then rows end, bytes = case when $2 <> 'failed' then bytes end,
    batches = case when $2 <> 'failed' then batches end, digest = case when $2 <> 'failed' then digest end
where id = $1";

const AUDIT: &str = "
insert into pgtide.attempt
    (interval_id, attempt, outcome, state, reason, host, pid, run_id, triggered_by, definition_hash)
select i.id, i.attempt, 'marked', $2, $3, $4, $5, $6, $7, $8 from pgtide.interval i where i.id = $1";

impl Ledger {
    /// Sets the state of an interval by hand; an interval the ledger does not know gets a row.
    ///
    /// # Errors
    /// `Usage` for a state that cannot be set or an empty reason; `Locked`, if a live run holds the
    /// interval; `Preflight`, if another job's rows are there, or nothing is loaded that could be stale.
    pub async fn mark(&self, session: &Session, request: &MarkRequest) -> Result<()> {
        self.require_writable()?;
        let doing = request.doing();
        if matches!(request.state, State::Running | State::Interrupted) {
            return Err(Error::new(ErrorKind::Usage, format!("{doing}: only a run can say that"))
                .with_hint("states: loaded, failed, skipped, stale"));
        }
        if request.reason.trim().is_empty() {
            return Err(Error::new(ErrorKind::Usage, format!("{doing}: a reason is needed"))
                .with_hint("add --reason TEXT; it is kept in the ledger"));
        }
        begin(session, &doing).await?;
        let result = self.mark_in_transaction(session, &doing, request).await;
        end(session, &doing, result).await
    }

    async fn mark_in_transaction(&self, session: &Session, doing: &str, request: &MarkRequest) -> Result<()> {
        self.lock_table(session, doing, request.table.oid).await?;
        let (start, end) = (stored(request.interval.start), stored(request.interval.end));
        let (oid, name) = (&request.table.oid, &request.table.name);
        let params: [&(dyn ToSql + Sync); 6] = [&request.job, &start, &end, &request.key, oid, name];
        let id: i64 = session.query_one(doing, &self.sql(ENSURE_ROW), &params).await?.get(0);
        self.refuse_held(session, doing, id).await?;
        self.end_writers(session, doing, id).await?;
        self.record_interrupted(session, doing, id).await?;
        self.set_state(session, doing, (id, request)).await?;
        let owner = &request.owner;
        let audit: [&(dyn ToSql + Sync); 8] = [
            &id,
            &request.state.as_str(),
            &request.reason,
            &owner.host,
            &i64::from(owner.pid),
            &owner.run_id,
            &owner.trigger,
            &request.definition_hash,
        ];
        session.execute(doing, &self.sql(AUDIT), &audit).await.map(drop)
    }

    /// Takes the run's own lock for the length of the transaction.
    async fn refuse_held(&self, session: &Session, doing: &str, id: i64) -> Result<()> {
        let (class, object) = self.control_key(id)?;
        let sql = "select pg_catalog.pg_try_advisory_xact_lock($1, $2)";
        if session.query_one(doing, sql, &[&class, &object]).await?.get(0) {
            return Ok(());
        }
        let holder = self.holder(session, doing, id).await?;
        let who =
            holder.map_or_else(|| "another run".to_owned(), |holder| format!("a run on {}", holder.host));
        Err(Error::new(ErrorKind::Locked, format!("{doing}: {who} is loading it"))
            .with_hint("wait until it ends, or stop it"))
    }

    async fn set_state(
        &self,
        session: &Session,
        doing: &str,
        (id, request): (i64, &MarkRequest),
    ) -> Result<()> {
        if request.rebinds {
            return self.rebind(session, doing, (id, request)).await;
        }
        if request.state == State::Loaded {
            return self.set_loaded(session, doing, (id, request)).await;
        }
        if request.state == State::Stale {
            self.require_loaded(session, doing, id).await?;
        }
        let params: [&(dyn ToSql + Sync); 4] =
            [&id, &request.state.as_str(), &request.reason, &request.timezone];
        session.execute(doing, &self.sql(SET_OTHER), &params).await.map(drop)
    }

    async fn set_loaded(
        &self,
        session: &Session,
        doing: &str,
        (id, request): (i64, &MarkRequest),
    ) -> Result<()> {
        self.refuse_overlap(session, doing, request).await?;
        let params: [&(dyn ToSql + Sync); 7] = [
            &id,
            &request.reason,
            &request.definition_hash,
            &request.table.oid,
            &request.table.name,
            &request.scope,
            &request.timezone,
        ];
        let sql = self.sql(&SET_LOADED.replace("{file}", &file_of("$4")));
        session.execute(doing, &sql, &params).await.map(drop)
    }

    async fn rebind(&self, session: &Session, doing: &str, (id, request): (i64, &MarkRequest)) -> Result<()> {
        self.refuse_overlap(session, doing, request).await?;
        let params: [&(dyn ToSql + Sync); 7] = [
            &id,
            &request.state.as_str(),
            &request.reason,
            &request.table.oid,
            &request.table.name,
            &request.scope,
            &request.definition_hash,
        ];
        let sql = self.sql(&REBIND.replace("{file}", &file_of("$4")));
        session.execute(doing, &sql, &params).await.map(drop)
    }

    async fn refuse_overlap(&self, session: &Session, doing: &str, request: &MarkRequest) -> Result<()> {
        let part = Part { job: &request.job, interval: request.interval, table_oid: request.table.oid };
        if let Some((job, key)) = self.overlap(session, doing, &part, request.scope.as_deref()).await? {
            let what = format!("{doing}: {job} {key} covers the same rows of {}", request.table.name);
            return Err(Error::new(ErrorKind::Preflight, what)
                .with_hint("give each of two jobs into one table its own scope"));
        }
        Ok(())
    }

    async fn require_loaded(&self, session: &Session, doing: &str, id: i64) -> Result<()> {
        let sql = self.sql("select loaded_at from pgtide.interval where id = $1");
        let loaded_at: Option<DateTime<Utc>> = session.query_one(doing, &sql, &[&id]).await?.get(0);
        if loaded_at.is_some() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Preflight, format!("{doing}: nothing is loaded that could be stale")))
    }
}
