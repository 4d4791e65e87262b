//! Claiming an interval that the ledger knows: it was loaded, marked, or left by an attempt that ended.

use futures::join;
use tokio_postgres::Row;

use super::{BEGIN, Current, LOCK_TABLE, Leftovers, OVERLAP, claim_of, judge, overlap_kept, part_of};
use crate::error::Result;
use crate::ledger::record::Param;
use crate::ledger::{ClaimOutcome, ClaimRequest, Differs, Ledger, Origin, TableRef, end, random_token};
use crate::postgres::connect::Session;

const LOCK_ROW: &str = "
select state, loaded_at, load_started_at, rows, table_oid, table_name,
       case when token is null and error_code is not null then attempt end as failed_attempt
from pgtide.interval where id = $1 for update";

const LEFTOVERS: &str = "
select coalesce(sum(b.rows), 0)::bigint as rows,
       coalesce(bool_and(b.definition_hash = $2), false) as same_definition,
       min(b.origin) as origin, max(b.origin) as another_origin,
       (array_agg(b.resume_key order by b.attempt desc, b.number desc))[1] as resume_key,
       array(select c.relname::text from pg_catalog.pg_class c
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             join (select a.token from pgtide.attempt a where a.interval_id = $1
                   union select i.token from pgtide.interval i where i.id = $1) t
               on c.relname = 'stage_' || pg_catalog.replace(t.token::text, '-', '')
             where n.nspname = $3 and c.relkind = 'r'
               and pg_catalog.pg_has_role(c.relowner, 'member')) as stages
from pgtide.batch b
where b.interval_id = $1 and b.number > 0 and not b.staged";

/// The history of an attempt that died: its token still stands.
const RECORD_INTERRUPTED: &str = "
insert into pgtide.attempt
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
where i.id = $1 and i.token is not null";

/// Staged rows are in no destination table, and rows in another table are not this claim's to clear.
const FORGET: &str = "delete from pgtide.batch where interval_id = $1 and (staged or $2)";

const SET_TOKEN: &str = "
update pgtide.interval set
    token = $2, attempt = attempt + 1, tries = tries + 1,
    state = case when state in ('loaded', 'stale') and not $3 then state else 'running' end,
    loaded_at = case when $3 then null else loaded_at end,
    load_started_at = case when $3 then null else load_started_at end,
    table_file = case when $3 then null else table_file end,
    rows = case when $3 then null else rows end,
    bytes = case when $3 then null else bytes end,
    batches = case when $3 then null else batches end,
    digest = case when $3 then null else digest end,
    table_oid = $4, table_name = $5, scope = $6, key = $7, timezone = $8, attempt_definition_hash = $9,
    attempt_fingerprint = $14,
    host = $10, pid = $11, run_id = $12, triggered_by = $13, backend_pid = pg_catalog.pg_backend_pid(),
    started_at = pg_catalog.clock_timestamp(), finished_at = null, error_code = null, error_message = null,
    reason = case when state in ('loaded', 'stale') and not $3 then reason end
where id = $1
returning id, token, attempt, tries";

impl Ledger {
    /// Claims an interval that the ledger knows; its lock is held.
    pub(super) async fn claim_known(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
    ) -> Result<Option<ClaimOutcome>> {
        self.end_writers(control, doing, id).await?;
        let result = match self.look_at(control, doing, (id, request)).await {
            Ok(Some(Examined::Free(current, left))) => {
                self.set_token(control, doing, (id, request), (current, left)).await.map(Some)
            }
            Ok(Some(Examined::Refused(outcome))) => Ok(Some(outcome)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let outcome = end(control, doing, result).await?;
        // A writer that started between the first look and the new token.
        self.end_writers(control, doing, id).await?;
        Ok(outcome)
    }

    /// Begins, locks table and row, and reads all that the decision needs, in one flight: each look has a
    /// snapshot of its own, from after the locks. With the row locked, no fence of a dead attempt passes.
    async fn look_at(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
    ) -> Result<Option<Examined>> {
        let (row, overlap, left) = (self.sql(LOCK_ROW), self.sql(OVERLAP), self.sql(LEFTOVERS));
        let [lock, row, overlap, left] = control.keep(doing, [LOCK_TABLE, &row, &overlap, &left]).await?;
        let part = part_of(request);
        let of_row: [Param<'_>; 1] = [&id];
        let of_left: [Param<'_>; 3] = [&id, &request.definition_hash, &self.schema];
        let (begun, locked, row, overlap, left) = join!(
            control.batch(doing, BEGIN),
            self.lock_table_kept(control, doing, &lock, request.table.oid),
            control.query_opt_kept(doing, &row, &of_row),
            overlap_kept(control, doing, &overlap, (&part, request.scope.as_deref())),
            control.query_one_kept(doing, &left, &of_left),
        );
        begun.and(locked)?;
        let Some(row) = row? else { return Ok(None) };
        let current = Current {
            state: row.get::<_, &str>("state").parse()?,
            loaded_at: row.get("loaded_at"),
            load_started_at: row.get("load_started_at"),
            rows: row.get("rows"),
            table: TableRef { oid: row.get("table_oid"), name: row.get("table_name") },
            failed_attempt: row.get("failed_attempt"),
        };
        if let Some(refused) = judge(&current, request) {
            return Ok(Some(Examined::Refused(refused)));
        }
        if let Some((job, key)) = overlap? {
            return Ok(Some(Examined::Refused(ClaimOutcome::Overlaps { job, key })));
        }
        let left = left?;
        let differs = differs(&left, request.origin.as_ref());
        let left = Leftovers {
            rows: left.get("rows"),
            differs: differs.filter(|_| left.get::<_, i64>("rows") > 0),
            resume_key: left.get::<_, Option<Vec<u8>>>("resume_key").filter(|_| differs.is_none()),
            stages: left.get("stages"),
        };
        Ok(Some(Examined::Free(current, left)))
    }

    /// Gives the row a new token and writes the history of the attempt that died with the old one.
    async fn set_token(
        &self,
        control: &Session,
        doing: &str,
        (id, request): (i64, &ClaimRequest),
        (current, left): (Current, Leftovers),
    ) -> Result<ClaimOutcome> {
        let (interrupted, forget) = (self.sql(RECORD_INTERRUPTED), self.sql(FORGET));
        let [interrupted, forget, set] =
            control.keep(doing, [&interrupted, &forget, &self.sql(SET_TOKEN)]).await?;
        let (owner, token) = (&request.owner, random_token());
        let (moved, pid) = (current.table.oid != request.table.oid, i64::from(owner.pid));
        let params: [Param<'_>; 14] = [
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
            &pid,
            &owner.run_id,
            &owner.trigger,
            &request.fingerprint,
        ];
        let old: [Param<'_>; 2] = [&id, &moved];
        let (interrupted, forgotten, row) = join!(
            control.execute_kept(doing, &interrupted, &old[..1]),
            control.execute_kept(doing, &forget, &old),
            control.query_one_kept(doing, &set, &params),
        );
        let row = interrupted.and(forgotten).and(row)?;
        Ok(ClaimOutcome::Claimed(Box::new(claim_of(&row, request, current, left))))
    }

    /// Writes the history of an attempt that died: its token still stands, and its lock is ours.
    pub(in crate::ledger) async fn record_interrupted(
        &self,
        session: &Session,
        doing: &str,
        id: i64,
    ) -> Result<()> {
        session.execute(doing, &self.sql(RECORD_INTERRUPTED), &[&id]).await.map(drop)
    }
}

/// What is not as it was when dead attempts read their rows. What an older program left has no origin.
fn differs(left: &Row, origin: Option<&Origin>) -> Option<Differs> {
    if !left.get::<_, bool>("same_definition") {
        return Some(Differs::Definition);
    }
    let before = [left.get::<_, Option<&str>>("origin"), left.get("another_origin")];
    let before = before.into_iter().flatten().map(Origin::parse);
    let now = origin?;
    before.map(|before| differing(before.as_ref(), now)).find(Option::is_some).flatten()
}

fn differing(before: Option<&Origin>, now: &Origin) -> Option<Differs> {
    match before {
        Some(before) if before.server != now.server => Some(Differs::Server),
        Some(before) if before.database != now.database => Some(Differs::Database),
        Some(before) if before.query == now.query => None,
        _ => Some(Differs::Query),
    }
}

/// What the row's lock showed.
enum Examined {
    Refused(ClaimOutcome),
    Free(Current, Leftovers),
}
