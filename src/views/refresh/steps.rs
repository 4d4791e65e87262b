//! The statements of a refresh in each of the three ways, with its record in the same transaction.
//!
//! `lock_timeout` is always set: a refresh that waits for one long reader makes every reader behind it
//! wait too. Each view has a transaction of its own, so that two never wait for each other in a ring.

use chrono::{DateTime, Utc};

use super::Run;
use super::turn::Now;
use crate::error::{Error, Result};
use crate::ledger::RefreshRecord;
use crate::postgres::connect::Session;
use crate::postgres::ident;
use crate::views::options::AfterRefresh;
use crate::views::strategy::Way;
use crate::views::swap::{self, Built};

/// How long readers may be made to wait before a refresh gives way and tries again.
const LOCK_TIMEOUT: &str = "2s";

/// Rows that a refresh wrote and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
}

/// Refreshes in the way that was chosen, then vacuums and analyzes as asked.
pub(super) async fn refresh(run: &Run<'_>, session: &Session, now: &Now) -> Result<Done> {
    match now.choice.way {
        Way::Swap => swapped(run, session, now).await,
        Way::Plain | Way::Concurrent => in_place(run, session, now).await,
    }
}

async fn in_place(run: &Run<'_>, session: &Session, now: &Now) -> Result<Done> {
    let doing = format!("refreshing {}", now.view.name);
    begin(run, session, &doing, now).await?;
    let done = counted(session, &doing, now.view.oid, async {
        let how = if now.choice.way == Way::Concurrent { "concurrently " } else { "" };
        let sql = format!("refresh materialized view {how}{}", ident::quote_table(&now.view.name));
        session.batch(&doing, &sql).await
    })
    .await?;
    if run.snapshot.is_some() {
        // Under the one snapshot the ledger's rows cannot be changed: a crash in between means once more.
        session.batch(&doing, "commit").await?;
        session.batch(&doing, "begin isolation level read committed").await?;
    }
    record(run, session, now, (now.view.oid, done)).await?;
    session.batch(&doing, "commit").await?;
    tidy(session, now, done).await?;
    Ok(done)
}

async fn swapped(run: &Run<'_>, session: &Session, now: &Now) -> Result<Done> {
    let doing = format!("refreshing {} beside", now.view.name);
    let live = now.properties.as_ref().expect("read where a swap was chosen");
    let built = swap::build(session, live, None).await?;
    let filled = fill(run, session, now, &built).await;
    let done = match filled {
        Ok(done) => done,
        Err(error) => return Err(discarded(session, &built, error).await),
    };
    let after = match now.options.after.unwrap_or_default() {
        AfterRefresh::None => None,
        AfterRefresh::Analyze => Some("analyze"),
        AfterRefresh::VacuumAnalyze => Some("vacuum (analyze)"),
    };
    if let Some(what) = after
        && let Err(error) = built.tidy(session, what).await
    {
        return Err(discarded(session, &built, error).await);
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let Err(error) = exchange(run, session, now, (&built, done)).await else { return Ok(done) };
        let _ = session.batch(&doing, "rollback").await;
        // What was built is kept while readers give way.
        if error.sqlstate() != Some("55P03") || tries >= run.refresher.settings.tries {
            return Err(discarded(session, &built, error).await);
        }
    }
}

async fn fill(run: &Run<'_>, session: &Session, now: &Now, built: &Built) -> Result<Done> {
    let doing = format!("refreshing {} beside", now.view.name);
    begin(run, session, &doing, now).await?;
    let done = counted(session, &doing, built.oid, built.fill(session)).await?;
    session.batch(&doing, "commit").await?;
    Ok(done)
}

async fn exchange(run: &Run<'_>, session: &Session, now: &Now, (built, done): (&Built, Done)) -> Result<()> {
    let doing = format!("putting the new {} in its place", now.view.name);
    let begin = format!("begin isolation level read committed; set local lock_timeout = '{LOCK_TIMEOUT}'");
    session.batch(&doing, &begin).await?;
    swap::exchange(session, &[built]).await?;
    record(run, session, now, (built.oid, done)).await?;
    session.batch(&doing, "commit").await
}

/// Removes what was built; what went wrong first is what matters.
async fn discarded(session: &Session, built: &Built, error: Error) -> Error {
    let _ = session.batch("giving up", "rollback").await;
    if let Err(left) = built.discard(session).await {
        tracing::debug!("{} is left for the next run: {}", built.schema, left.chain());
    }
    error
}

/// Opens the transaction of a refresh, with its limits.
async fn begin(run: &Run<'_>, session: &Session, doing: &str, now: &Now) -> Result<()> {
    let isolation = if run.snapshot.is_some() { "repeatable read" } else { "read committed" };
    session.batch(doing, &format!("begin isolation level {isolation} read write")).await?;
    if let Some(snapshot) = &run.snapshot {
        session.batch(doing, &format!("set transaction snapshot {}", ident::literal(&snapshot.id))).await?;
    }
    let mut settings = format!("set local lock_timeout = '{LOCK_TIMEOUT}'");
    if let Some(limit) = now.options.statement_timeout {
        settings.push_str(&format!("; set local statement_timeout = {}", limit.as_millis()));
    }
    if let Some(bytes) = now.options.work_mem_bytes {
        settings.push_str(&format!("; set local work_mem = '{}kB'", bytes / 1024));
    }
    session.batch(doing, &settings).await
}

/// Counts the rows that a refresh writes and removes: the transaction's own counters, before and after.
async fn counted(
    session: &Session,
    doing: &str,
    oid: u32,
    work: impl Future<Output = Result<()>>,
) -> Result<Done> {
    let before = counters(session, doing, oid).await?;
    work.await?;
    let after = counters(session, doing, oid).await?;
    Ok(Done {
        rows_in: u64::try_from(after.0 - before.0).unwrap_or(0),
        rows_out: u64::try_from(after.1 - before.1).unwrap_or(0),
    })
}

async fn counters(session: &Session, doing: &str, oid: u32) -> Result<(i64, i64)> {
    let sql = "select pg_catalog.pg_stat_get_xact_tuples_inserted($1), pg_catalog.pg_stat_get_xact_tuples_deleted($1)";
    let row = session.query_one(doing, sql, &[&oid]).await?;
    Ok((row.get(0), row.get(1)))
}

async fn record(run: &Run<'_>, session: &Session, now: &Now, (oid, done): (u32, Done)) -> Result<()> {
    let is_concurrent = now.choice.way == Way::Concurrent;
    let (rows_in, rows_out) = (done.rows_in.cast_signed(), done.rows_out.cast_signed());
    let known = now.record.as_ref().and_then(|record| record.rows);
    let rows = if is_concurrent { known.map(|rows| rows + rows_in - rows_out) } else { Some(rows_in) };
    let record = RefreshRecord {
        oid,
        replaced_oid: (oid != now.view.oid).then_some(now.view.oid),
        name: now.view.name.to_string(),
        reason: now.reason.clone(),
        mode: now.choice.way.word(),
        attempt: i32::try_from(now.attempt).unwrap_or(i32::MAX),
        started_at: now.started_at,
        data_as_of: data_as_of(run, session, now).await?,
        rows,
        rows_in,
        rows_out,
        sources: now.sources.clone(),
    };
    run.refresher.ledger.record_refresh(session, &run.refresher.owner, &record).await
}

/// The moment whose rows it shows: now, or that of an older view below.
async fn data_as_of(run: &Run<'_>, session: &Session, now: &Now) -> Result<DateTime<Utc>> {
    let own = run.snapshot.as_ref().map_or(now.sources.at, |snapshot| snapshot.at);
    let records = run.refresher.ledger.view_records(session).await?;
    let oldest = records.iter().filter(|r| now.sources.relations.iter().any(|s| s.oid == r.oid));
    Ok(oldest.filter_map(|record| record.data_as_of).min().map_or(own, |oldest| oldest.min(own)))
}

/// Statistics and the visibility map: a plain refresh leaves neither.
async fn tidy(session: &Session, now: &Now, done: Done) -> Result<()> {
    let live = now.view.live_rows.max(1);
    let changed = done.rows_in.max(done.rows_out);
    let dead = now.view.dead_rows + done.rows_out;
    let is_concurrent = now.choice.way == Way::Concurrent;
    let what = match now.options.after.unwrap_or_default() {
        AfterRefresh::None => return Ok(()),
        AfterRefresh::Analyze => "analyze",
        AfterRefresh::VacuumAnalyze if !is_concurrent => "vacuum (analyze)",
        AfterRefresh::VacuumAnalyze if dead * 5 > live => "vacuum (analyze)",
        AfterRefresh::VacuumAnalyze if changed * 10 > live => "analyze",
        AfterRefresh::VacuumAnalyze => return Ok(()),
    };
    let sql = format!("{what} {}", ident::quote_table(&now.view.name));
    // The rows are there and committed: what goes wrong here is not the refresh's failure.
    if let Err(error) = session.batch(&format!("vacuuming {}", now.view.name), &sql).await {
        tracing::warn!("{}", error.chain());
    }
    Ok(())
}

/// Adds what to do about the errors that refreshes have of their own.
pub(super) fn explained(error: Error, now: &Now) -> Error {
    let name = &now.view.name;
    match error.sqlstate() {
        Some("55000") if error.chain().contains("has not been populated") => error.with_hint(format!(
            "a view that it reads holds no rows: pgtide views refresh {name} --upstream"
        )),
        Some("21000" | "23505") => error.with_hint(format!(
            "its query gives a key twice: make the key of the unique index on {name} hold for all rows; --show-values shows it"
        )),
        Some("42501") => error.with_hint(format!(
            "a refresh runs as the owner, {}: only the owner, a member of it, or from Postgres 17 on a role with MAINTAIN may start it, and the owner needs SELECT on what it reads",
            now.view.owner
        )),
        Some("57014") if now.options.statement_timeout.is_some() => {
            error.with_hint("statement_timeout of this view ended it")
        }
        _ => error,
    }
}
