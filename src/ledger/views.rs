//! Materialized views in the ledger: versions of tables, what each view shows, and its history.
//!
//! A load that changed rows raises the version of its table in its finishing transaction (`finish`); a
//! refresh that changed rows raises the view's own. So what reads a table or a view is fresh exactly as
//! long as the version that it has seen stands. The lock of a view says whether somebody refreshes it.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;

use super::{Ledger, Owner};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;

const SOURCES: &str = include_str!("sources.sql");

/// Refreshes of a view whose times are looked at for an estimate.
const RECENT: i64 = 9;

/// Refreshes of a view among which the latest is looked for that counted what it changed.
const COUNTED_WITHIN: i64 = 30;

/// The state of a relation that a view reads, as one moment saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// How often pgtide has changed it; none if never.
    pub version: Option<i64>,
    /// Its files, and those of its partitions: a TRUNCATE, a rewrite or a partition changes them.
    pub files: String,
    /// Rows ever inserted, updated and deleted, as far as the server has counted.
    pub counters: i64,
    /// The `xmin` of its row in the catalog.
    pub token: String,
    /// When pgtide changed it last.
    pub changed_at: Option<DateTime<Utc>>,
    /// Whether some of its rows are on another server.
    pub is_foreign: bool,
}

/// All that a view reads, as one moment saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The moment, on the server's clock: what was committed before it is what a refresh after it shows.
    pub at: DateTime<Utc>,
    /// Since when the server counts: another one means that counters started again.
    #[serde(default)]
    pub epoch: String,
    /// Tables and materialized views, by OID.
    pub relations: Vec<Source>,
    /// Views and functions between, each with a token that changes with its definition.
    pub between: Vec<(u32, String)>,
}

/// How much of a view a refresh changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedRows {
    /// Rows written or removed, whichever were more.
    pub rows: u64,
    /// Of how many, if that is known.
    pub of: Option<u64>,
}

/// What the ledger knows of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRecord {
    /// The view.
    pub oid: u32,
    /// When the refresh that stands was committed; none if none went well.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// The moment whose rows it shows.
    pub data_as_of: Option<DateTime<Utc>>,
    /// What that refresh saw.
    pub sources: Option<Sources>,
    /// The view's `xmin` afterwards.
    pub token: Option<String>,
    /// Rows afterwards.
    pub rows: Option<i64>,
    /// Rows written.
    pub rows_in: Option<i64>,
    /// Rows removed.
    pub rows_out: Option<i64>,
    /// How long it took.
    pub last: Option<Duration>,
    /// The median of the latest ones.
    pub median: Option<Duration>,
    /// What the latest concurrent refresh changed; others do not count it. None if that is long ago.
    pub changed: Option<ChangedRows>,
    /// When a refresh failed, if none went well since.
    pub failed_at: Option<DateTime<Utc>>,
    /// What went wrong then.
    pub error: Option<String>,
}

impl ViewRecord {
    /// When the refresh that stands began: it shows what was committed before, on the server's clock.
    #[must_use]
    pub fn began_at(&self) -> Option<DateTime<Utc>> {
        // An older version took the first of the two from a clock of its own.
        self.sources.as_ref().map(|sources| sources.at).min(self.refreshed_at)
    }
}

/// A refresh that ended well, to be recorded in its transaction.
#[derive(Debug, Clone)]
pub struct RefreshRecord {
    /// The view's OID afterwards.
    pub oid: u32,
    /// The OID before, if it was swapped.
    pub replaced_oid: Option<u32>,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// `plain`, `concurrent` or `swap`.
    pub mode: &'static str,
    /// The try, from 1.
    pub attempt: i32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// The moment whose rows it shows.
    pub data_as_of: DateTime<Utc>,
    /// Rows afterwards, if known.
    pub rows: Option<i64>,
    /// Rows written.
    pub rows_in: i64,
    /// Rows removed.
    pub rows_out: i64,
    /// What it saw.
    pub sources: Sources,
}

/// A refresh that failed.
#[derive(Debug, Clone)]
pub struct FailedRefresh<'a> {
    /// The view's OID.
    pub oid: u32,
    /// Its name.
    pub name: &'a str,
    /// Why it was to be refreshed.
    pub reason: &'a str,
    /// `plain`, `concurrent` or `swap`.
    pub mode: &'static str,
    /// The try, from 1.
    pub attempt: i32,
    /// When it started.
    pub started_at: DateTime<Utc>,
}

const RECORDS: &str = "
select v.view_oid, v.refreshed_at, v.data_as_of, v.sources, v.xmin_token, v.failed_at,
       l.rows, l.rows_in, l.rows_out,
       (extract(epoch from l.finished_at - l.started_at) * 1000)::bigint as last_ms,
       f.error, m.median_ms, m.changed, m.changed_of
from pgtide.view v
left join pgtide.view_refresh l on l.id = v.refresh_id
left join pgtide.view_refresh f on f.id = v.failed_id
left join lateral (
    select pg_catalog.percentile_disc(0.5) within group (order by r.ms) filter (where r.place <= $1) as median_ms,
           (array_agg(greatest(r.rows_in, r.rows_out) order by r.place) filter (where r.mode = 'concurrent'))[1]
               as changed,
           (array_agg(r.rows order by r.place) filter (where r.mode = 'concurrent'))[1] as changed_of
    from (select (extract(epoch from h.finished_at - h.started_at) * 1000)::bigint as ms,
                 h.mode, h.rows, h.rows_in, h.rows_out,
                 pg_catalog.row_number() over (order by h.id desc) as place
          from pgtide.view_refresh h
          where h.view_name = v.view_name and h.status = 'refreshed'
          order by h.id desc limit $2) r) m on true";

const RECORD: &str = "
with entry as (
    insert into pgtide.view_refresh
        (view_oid, view_name, run_id, triggered_by, host, pid, reason, mode, status, attempt, started_at,
         data_as_of, rows, rows_in, rows_out, bytes, sources, xmin_token)
    select c.oid, $2, $3, $4, $5, $6, $7, $8, 'refreshed', $9, $10, $11, $12, $13, $14,
           pg_catalog.pg_total_relation_size(c.oid), $15, c.xmin::text
    from pg_catalog.pg_class c where c.oid = $1
    returning *
), raised as (
    insert into pgtide.table_version as t (table_oid, version, changed_at, rows)
    select e.view_oid, 1, e.finished_at, coalesce(e.rows, e.rows_in) from entry e
    where $13 > 0 or $14 > 0 or $8 <> 'concurrent'
    on conflict (table_oid) do update
        set version = t.version + 1, changed_at = excluded.changed_at, rows = excluded.rows
)
insert into pgtide.view as v
    (view_oid, view_name, refreshed_at, data_as_of, sources, xmin_token, refresh_id)
select e.view_oid, e.view_name, e.finished_at, e.data_as_of, e.sources, e.xmin_token, e.id from entry e
on conflict (view_oid) do update
    set view_name = excluded.view_name, refreshed_at = excluded.refreshed_at,
        data_as_of = excluded.data_as_of, sources = excluded.sources, xmin_token = excluded.xmin_token,
        refresh_id = excluded.refresh_id, failed_at = null, failed_id = null";

/// A day of a job is loaded when its loaded intervals cover all of it, in the job's time zone.
const DAY: &str = "
with day as (
    select i.job, i.table_name, i.state, i.key, i.interval_start, i.interval_end,
           $2::date::timestamp at time zone coalesce(i.timezone, 'UTC') as starts,
           ($2::date + 1)::timestamp at time zone coalesce(i.timezone, 'UTC') as ends
    from pgtide.interval i
    where i.table_oid = any ($1) and isfinite(i.interval_start) and isfinite(i.interval_end)
)
select job, table_name,
       coalesce(sum(least(interval_end, ends) - greatest(interval_start, starts))
                filter (where state = 'loaded' and interval_start < ends and interval_end > starts),
                '0'::interval) >= max(ends - starts) as is_loaded,
       max(key) filter (where state = 'loaded') as newest
from day
group by job, table_name
order by table_name, job";

/// The rows of a view that was swapped go on under its new OID.
const RENUMBER: &str = "
with version as (
    update pgtide.table_version set table_oid = $2 where table_oid = $1
), object as (
    update pgtide.view_object set oid = $2 where oid = $1
)
update pgtide.view set view_oid = $2 where view_oid = $1";

const RECORD_FAILURE: &str = "
with entry as (
    insert into pgtide.view_refresh
        (view_oid, view_name, run_id, triggered_by, host, pid, reason, mode, status, attempt, started_at,
         sqlstate, error)
    values ($1, $2, $3, $4, $5, $6, $7, $8, 'failed', $9, $10, $11, $12)
    returning *
)
insert into pgtide.view as v (view_oid, view_name, failed_at, failed_id)
select e.view_oid, e.view_name, e.finished_at, e.id from entry e
on conflict (view_oid) do update
    set view_name = excluded.view_name, failed_at = excluded.failed_at, failed_id = excluded.failed_id";

impl Ledger {
    /// The OID of the table of views: with a view's OID the key of its lock.
    #[must_use]
    pub fn view_lock_class(&self) -> u32 {
        self.view_oid
    }

    /// Takes the lock of a view for the session, if it is free.
    ///
    /// # Errors
    /// The server's.
    pub async fn lock_view(&self, session: &Session, view_oid: u32) -> Result<bool> {
        let sql = "select pg_catalog.pg_try_advisory_lock($1, $2)";
        let key = self.view_key(view_oid);
        Ok(session.query_one("taking the lock of a view", sql, &[&key.0, &key.1]).await?.get(0))
    }

    /// Waits for the lock of a view as long as the session's `lock_timeout`, and takes it.
    ///
    /// # Errors
    /// `Contention`, if somebody holds it for longer.
    pub async fn wait_for_view(&self, session: &Session, view_oid: u32) -> Result<()> {
        let sql = "select pg_catalog.pg_advisory_lock($1, $2)";
        let key = self.view_key(view_oid);
        session.query_one("waiting for another run's refresh", sql, &[&key.0, &key.1]).await.map(|_| ())
    }

    /// Gives the lock of a view back.
    ///
    /// # Errors
    /// The server's.
    pub async fn unlock_view(&self, session: &Session, view_oid: u32) -> Result<()> {
        let sql = "select pg_catalog.pg_advisory_unlock($1, $2)";
        let key = self.view_key(view_oid);
        session.query_one("giving back the lock of a view", sql, &[&key.0, &key.1]).await.map(|_| ())
    }

    fn view_key(&self, view_oid: u32) -> (i32, i32) {
        (self.view_oid.cast_signed(), view_oid.cast_signed())
    }

    /// Reads what is known of every view.
    ///
    /// # Errors
    /// As the server says.
    pub async fn view_records(&self, session: &Session) -> Result<Vec<ViewRecord>> {
        let rows = session
            .query("reading what the views show", &self.sql(RECORDS), &[&RECENT, &COUNTED_WITHIN])
            .await?;
        Ok(rows.iter().map(view_record).collect())
    }

    /// Of these tables those that are loaded by days and lack one: table, job, and the newest day loaded.
    /// None at all are loaded by days where the first number is 0.
    ///
    /// # Errors
    /// As the server says.
    pub async fn tables_without_day(
        &self,
        session: &Session,
        tables: &[u32],
        date: NaiveDate,
    ) -> Result<(usize, Vec<(String, String, Option<String>)>)> {
        let doing = format!("looking whether {date} is loaded");
        let rows = session.query(&doing, &self.sql(DAY), &[&tables, &date]).await?;
        let lacking = rows.iter().filter(|row| !row.get::<_, bool>("is_loaded"));
        let lacking = lacking.map(|row| (row.get("table_name"), row.get("job"), row.get("newest")));
        Ok((rows.len(), lacking.collect()))
    }

    /// Records a refresh, as the last statement of its transaction.
    ///
    /// # Errors
    /// As the server says.
    pub async fn record_refresh(&self, session: &Session, owner: &Owner, done: &RefreshRecord) -> Result<()> {
        self.require_writable()?;
        let doing = format!("recording the refresh of {}", done.name);
        if let Some(old) = done.replaced_oid {
            session.execute(&doing, &self.sql(RENUMBER), &[&old, &done.oid]).await?;
        }
        let sources = serde_json::to_value(&done.sources)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("{doing}: {e}")))?;
        let pid = i64::from(owner.pid);
        let params: [&(dyn ToSql + Sync); 15] = [
            &done.oid,
            &done.name,
            &owner.run_id,
            &owner.trigger,
            &owner.host,
            &pid,
            &done.reason,
            &done.mode,
            &done.attempt,
            &done.started_at,
            &done.data_as_of,
            &done.rows,
            &done.rows_in,
            &done.rows_out,
            &sources,
        ];
        session.execute(&doing, &self.sql(RECORD), &params).await.map(|_| ())
    }

    /// Records a refresh that failed.
    ///
    /// # Errors
    /// As the server says.
    pub async fn record_failed_refresh(
        &self,
        session: &Session,
        owner: &Owner,
        failed: &FailedRefresh<'_>,
        error: &Error,
    ) -> Result<()> {
        self.require_writable()?;
        let doing = format!("recording the failure of {}", failed.name);
        let code = error.sqlstate().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
        let pid = i64::from(owner.pid);
        let params: [&(dyn ToSql + Sync); 12] = [
            &failed.oid,
            &failed.name,
            &owner.run_id,
            &owner.trigger,
            &owner.host,
            &pid,
            &failed.reason,
            &failed.mode,
            &failed.attempt,
            &failed.started_at,
            &code,
            &error.chain(),
        ];
        session.execute(&doing, &self.sql(RECORD_FAILURE), &params).await.map(|_| ())
    }
}

/// Reads the state of relations; without a ledger nothing has a version. Nothing lies between them yet.
///
/// # Errors
/// As the server says.
pub async fn sources(ledger: Option<&Ledger>, session: &Session, oids: &[u32]) -> Result<Sources> {
    let sql = match ledger {
        Some(ledger) => ledger.sql(SOURCES),
        None => SOURCES.replace(
            "pgtide.table_version t",
            "(select null::pg_catalog.oid as table_oid, null::bigint as version, null::timestamptz as changed_at) t",
        ),
    };
    let rows = session.query("reading the state of what the views read", &sql, &[&oids]).await?;
    let first = rows.first().expect("there is a row, with a relation or without");
    Ok(Sources {
        at: first.get("at"),
        epoch: first.get::<_, Option<String>>("epoch").unwrap_or_default(),
        relations: rows.iter().filter_map(source).collect(),
        between: Vec::new(),
    })
}

fn source(row: &tokio_postgres::Row) -> Option<Source> {
    Some(Source {
        oid: row.get::<_, Option<u32>>("oid")?,
        name: String::new(),
        version: row.get("version"),
        files: row.get::<_, Option<String>>("files").unwrap_or_default(),
        counters: row.get("counters"),
        token: row.get::<_, Option<String>>("token").unwrap_or_default(),
        changed_at: row.get("changed_at"),
        is_foreign: row.get("is_foreign"),
    })
}

fn view_record(row: &tokio_postgres::Row) -> ViewRecord {
    let time =
        |name: &str| row.get::<_, Option<i64>>(name).map(|ms| Duration::from_millis(ms.unsigned_abs()));
    // What an older program wrote and this one cannot read is as good as nothing: the view is refreshed.
    let sources = row.get::<_, Option<serde_json::Value>>("sources");
    ViewRecord {
        oid: row.get("view_oid"),
        refreshed_at: row.get("refreshed_at"),
        data_as_of: row.get("data_as_of"),
        sources: sources.and_then(|value| serde_json::from_value(value).ok()),
        token: row.get("xmin_token"),
        rows: row.get("rows"),
        rows_in: row.get("rows_in"),
        rows_out: row.get("rows_out"),
        last: time("last_ms"),
        median: time("median_ms"),
        changed: row.get::<_, Option<i64>>("changed").map(|rows| ChangedRows {
            rows: rows.unsigned_abs(),
            of: row.get::<_, Option<i64>>("changed_of").map(i64::unsigned_abs),
        }),
        failed_at: row.get("failed_at"),
        error: row.get("error"),
    }
}
