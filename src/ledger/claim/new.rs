//! Claiming an interval that the ledger has no row of: one flight of statements, and the commit.

use futures::join;
use tokio_postgres::Row;

use super::{
    BEGIN, Current, LOCK_TABLE, Leftovers, OVERLAP, SESSION, can_claim, claim_of, overlap_kept, part_of,
};
use crate::error::Result;
use crate::ledger::record::Param;
use crate::ledger::{ClaimOutcome, ClaimRequest, Ledger, end, random_token, stored};
use crate::postgres::connect::Session;
use crate::state::State;

/// Makes the row, claimed already, and takes its lock: nobody else can know the id yet. With the OID of
/// the interval table, the id is the lock's key.
const INSERT: &str = "
insert into pgtide.interval
    (job, interval_start, interval_end, key, timezone, state, table_oid, table_name, scope, token, attempt,
     tries, attempt_definition_hash, host, pid, run_id, triggered_by, attempt_fingerprint, backend_pid,
     started_at)
values ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9, 1, 1, $10, $11, $12, $13, $14, $16,
        pg_catalog.pg_backend_pid(), pg_catalog.clock_timestamp())
on conflict (job, interval_start, interval_end) do nothing
returning id, token, attempt, tries,
          pg_catalog.pg_try_advisory_lock($15, id::pg_catalog.int4) as locked";

impl Ledger {
    /// Claims an interval that the ledger has no row of; the row becomes visible with the claim. None if
    /// there is a row by now.
    pub(super) async fn claim_new(
        &self,
        control: &Session,
        doing: &str,
        request: &ClaimRequest,
    ) -> Result<Option<ClaimOutcome>> {
        let (inserted, found) = self.insert(control, doing, request).await?;
        let id = inserted.as_ref().filter(|row| row.get("locked")).map(|row| row.get::<_, i64>("id"));
        let mine = inserted.filter(|_| id.is_some());
        let outcome = found.map(|overlap| {
            mine.map(|row| match overlap {
                Some((job, key)) => ClaimOutcome::Overlaps { job, key },
                None => claimed(&row, request),
            })
        });
        let outcome = match outcome {
            Ok(Some(ClaimOutcome::Claimed(_))) | Err(_) => end(control, doing, outcome).await,
            // The row that this transaction made must not outlive a claim that was refused.
            Ok(_) => control.batch(doing, "rollback").await.and(outcome),
        };
        match id {
            Some(id) => self.keep_lock_if_claimed(control, doing, id, outcome).await,
            None => outcome,
        }
    }

    /// Everything up to the decision in one flight. The lock of the table comes before the look for
    /// overlaps, which has a snapshot of its own. Should BEGIN alone fail, as only a broken session's
    /// does, the session is thrown away, and the next claim finds the row of a dead run.
    async fn insert(
        &self,
        control: &Session,
        doing: &str,
        request: &ClaimRequest,
    ) -> Result<(Option<Row>, Result<Option<(String, String)>>)> {
        let (insert, overlap) = (self.sql(INSERT), self.sql(OVERLAP));
        let [session, lock, insert, overlap] =
            control.keep(doing, [SESSION, LOCK_TABLE, &insert, &overlap]).await?;
        let (start, end) = (stored(request.interval.start), stored(request.interval.end));
        let (owner, token) = (&request.owner, random_token());
        let pid = i64::from(owner.pid);
        let class = self.interval_oid.cast_signed();
        let params: [Param<'_>; 16] = [
            &request.job,
            &start,
            &end,
            &request.key,
            &request.timezone,
            &request.table.oid,
            &request.table.name,
            &request.scope,
            &token,
            &request.definition_hash,
            &owner.host,
            &pid,
            &owner.run_id,
            &owner.trigger,
            &class,
            &request.fingerprint,
        ];
        let (part, ledger): (_, [Param<'_>; 1]) = (part_of(request), [&self.interval_oid]);
        let (session, begun, locked, inserted, overlap) = join!(
            control.query_one_kept(doing, &session, &ledger),
            control.batch(doing, BEGIN),
            self.lock_table_kept(control, doing, &lock, request.table.oid),
            control.query_opt_kept(doing, &insert, &params),
            overlap_kept(control, doing, &overlap, (&part, request.scope.as_deref())),
        );
        let before = session.and_then(|row| can_claim(control, doing, &row)).and(begun).and(locked);
        match inserted {
            Ok(row) => Ok((row, before.and(overlap))),
            Err(error) => Ok((None, before.and(Err(error)))),
        }
    }
}

fn claimed(row: &Row, request: &ClaimRequest) -> ClaimOutcome {
    let current = Current {
        state: State::Running,
        loaded_at: None,
        load_started_at: None,
        rows: None,
        table: request.table.clone(),
        failed_attempt: None,
    };
    ClaimOutcome::Claimed(Box::new(claim_of(row, request, current, Leftovers::default())))
}
