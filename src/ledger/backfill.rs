//! Backfills as objects: which intervals of a job were asked for, and whether to work on them.
//!
//! The row says what was asked; what is loaded stands in the table of intervals alone. Any number of
//! processes work on a running backfill; each looks at its state now and then, and at an interval
//! right before it claims it, since another may have been quicker.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use xxhash_rust::xxh3::xxh3_64;

use super::{Ledger, Owner, begin, end, interval_of, stored};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::postgres::connect::Session;

/// Whether processes are to work on a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackfillState {
    /// They are, whether or not one does at the moment.
    Running,
    /// Not until somebody resumes it.
    Paused,
    /// Never again.
    Cancelled,
    /// All of it is loaded or skipped.
    Done,
}

impl BackfillState {
    /// The word in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// The states from which a backfill may come into this one.
    fn before(self) -> &'static [&'static str] {
        match self {
            Self::Running | Self::Cancelled => &["running", "paused"],
            Self::Paused => &["running", "paused"],
            Self::Done => &["running"],
        }
    }
}

impl FromStr for BackfillState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Running, Self::Paused, Self::Cancelled, Self::Done];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let what = format!("the ledger has a backfill in the unknown state `{}`", text.escape_debug());
            Error::new(ErrorKind::Internal, what)
        })
    }
}

impl fmt::Display for BackfillState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A backfill that is to be made, and what tells it from another one of the same job.
#[derive(Debug, Clone)]
pub struct BackfillRequest {
    /// The job.
    pub job: String,
    /// The dates as they were typed.
    pub dates: String,
    /// What else decides which intervals are loaded.
    pub options: Value,
    /// How processes that resume it go about it.
    pub settings: Value,
    /// From the first instant of its first interval to the end of its last.
    pub bounds: DataInterval,
    /// The job's time zone.
    pub timezone: Option<String>,
    /// The names of its intervals, oldest first.
    pub keys: Vec<String>,
    /// Who makes it.
    pub owner: Owner,
}

/// A backfill in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// Its row.
    pub id: i64,
    /// The job.
    pub job: String,
    /// Its number among those of the job.
    pub number: i32,
    /// The dates as they were typed.
    pub dates: String,
    /// What else decides which intervals are loaded.
    pub options: Value,
    /// How processes that resume it go about it.
    pub settings: Value,
    /// From the first instant of its first interval to the end of its last.
    pub bounds: DataInterval,
    /// The time zone of the job when it was made.
    pub timezone: Option<String>,
    /// The names of its intervals, oldest first.
    pub keys: Vec<String>,
    /// Whether to work on it.
    pub state: BackfillState,
    /// Who made it: the role and its host.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who set its state last.
    pub changed_by: String,
    /// When its state was set last.
    pub changed_at: DateTime<Utc>,
}

impl Backfill {
    /// What people call it: `orders/7`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.job, self.number)
    }

    /// Whether an option of it is set.
    #[must_use]
    pub fn has_option(&self, name: &str) -> bool {
        self.options.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id"),
            job: row.get("job"),
            number: row.get("number"),
            dates: row.get("dates"),
            options: row.get("options"),
            settings: row.get("settings"),
            bounds: interval_of(row),
            timezone: row.get("timezone"),
            keys: row.get("keys"),
            state: row.get::<_, &str>("state").parse()?,
            created_by: row.get("created_by"),
            created_at: row.get("created_at"),
            changed_by: row.get("changed_by"),
            changed_at: row.get("changed_at"),
        })
    }
}

/// A backfill and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillProgress {
    /// The backfill.
    pub backfill: Backfill,
    /// Intervals that are loaded (since it was made, where it reloads) or skipped.
    pub done: usize,
    /// Intervals that have failed and are not at work.
    pub failed: usize,
    /// Who works on its intervals now: host and process, and how many each.
    pub workers: Vec<Worker>,
}

/// A process that works on intervals now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: i64,
    /// Intervals that it holds.
    pub intervals: usize,
}

/// What an interval's row says right before a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// When the load that stands was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
    /// When the attempt of that load began.
    pub load_started_at: Option<DateTime<Utc>>,
    /// The number of the latest attempt.
    pub attempt: i32,
    /// Whether the latest attempt ended with an error.
    pub failed: bool,
}

const BACKFILL: &str = "
select b.id, b.job, b.number, b.dates, b.options, b.settings, b.interval_start, b.interval_end, b.timezone,
       b.keys, b.state, b.role || ' on ' || b.host as created_by, b.created_at, b.changed_by, b.changed_at
from pgtide.backfill b ";

const START: &str = "
insert into pgtide.backfill
    (job, number, dates, options, settings, interval_start, interval_end, timezone, keys, state, host, pid,
     run_id, triggered_by, changed_by)
select $1, coalesce(max(b.number), 0) + 1, $2, $3, $4, $5, $6, $7, $8, 'running', $9, $10, $11, $12,
       session_user || ' on ' || $9
from pgtide.backfill b where b.job = $1";

/// The intervals of a backfill by their bounds and names: names alone may be another zone's.
const PROGRESS: &str = "
select count(*) filter (where not live and done) as done,
       count(*) filter (where not live and not done and failed) as failed
from (
    select i.token is not null as live,
           i.state = 'skipped' or i.state = 'loaded' and (not $5 or i.load_started_at >= $6) as done,
           i.error_code is not null or i.state = 'failed' as failed
    from pgtide.interval i
    where i.job = $1 and i.interval_start >= $2 and i.interval_end <= $3 and i.key = any ($4)
) intervals";

const WORKERS: &str = "
select i.host, i.pid, count(*) as intervals
from pgtide.interval i
join pg_catalog.pg_locks l on l.objid::bigint = i.id
where i.job = $1 and i.interval_start >= $2 and i.interval_end <= $3 and i.key = any ($4)
  and i.token is not null and i.host is not null and i.pid is not null
  and l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.mode = 'ExclusiveLock' and l.classid = $5
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
group by i.host, i.pid
order by i.host, i.pid";

impl Ledger {
    /// Finds the unfinished backfill of a job with these dates and options, the latest if there are two.
    ///
    /// # Errors
    /// As the server says.
    pub async fn unfinished_backfill(
        &self,
        session: &Session,
        job: &str,
        dates: &str,
        options: &Value,
    ) -> Result<Option<Backfill>> {
        let sql = format!(
            "{BACKFILL} where b.job = $1 and b.dates = $2 and b.options = $3
             and b.state in ('running', 'paused') order by b.number desc limit 1"
        );
        self.backfill_row(session, job, &sql, &[&job, &dates, options]).await
    }

    /// Finds a backfill by its row.
    ///
    /// # Errors
    /// As the server says.
    pub async fn backfill(&self, session: &Session, job: &str, number: i32) -> Result<Option<Backfill>> {
        let sql = format!("{BACKFILL} where b.job = $1 and b.number = $2");
        self.backfill_row(session, job, &sql, &[&job, &number]).await
    }

    async fn backfill_row(
        &self,
        session: &Session,
        job: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Backfill>> {
        let doing = format!("looking for a backfill of {job}");
        let row = session.query_opt(&doing, &self.sql(sql), params).await?;
        row.as_ref().map(Backfill::from_row).transpose()
    }

    /// Makes a backfill, or finds the one that another process made with the same dates and options.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start_backfill(&self, session: &Session, request: &BackfillRequest) -> Result<Backfill> {
        self.require_writable()?;
        let doing = format!("making a backfill of {}", request.job);
        begin(session, &doing).await?;
        let result = self.start_locked(session, &doing, request).await;
        end(session, &doing, result).await
    }

    async fn start_locked(
        &self,
        session: &Session,
        doing: &str,
        request: &BackfillRequest,
    ) -> Result<Backfill> {
        let BackfillRequest { job, dates, options, settings, bounds, timezone, keys, owner } = request;
        let key = xxh3_64(format!("{} backfills of {job}", self.interval_oid).as_bytes()).cast_signed();
        session.execute(doing, "select pg_catalog.pg_advisory_xact_lock($1)", &[&key]).await?;
        if let Some(found) = self.unfinished_backfill(session, job, dates, options).await? {
            return Ok(found);
        }
        let (start, end) = (stored(bounds.start), stored(bounds.end));
        let pid = i64::from(owner.pid);
        let params: [&(dyn ToSql + Sync); 12] = [
            job,
            dates,
            options,
            settings,
            &start,
            &end,
            timezone,
            keys,
            &owner.host,
            &pid,
            &owner.run_id,
            &owner.trigger,
        ];
        session.execute(doing, &self.sql(START), &params).await?;
        let made = self.unfinished_backfill(session, job, dates, options).await?;
        made.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{doing}: it is not there")))
    }

    /// Sets a backfill's state; false if it is in a state from which that one cannot come.
    ///
    /// # Errors
    /// As the server says.
    pub async fn set_backfill_state(
        &self,
        session: &Session,
        backfill: &Backfill,
        state: BackfillState,
        owner: &Owner,
    ) -> Result<bool> {
        self.require_writable()?;
        let doing = format!("setting {} {state}", backfill.label());
        let sql = self.sql(
            "update pgtide.backfill set state = $2, changed_at = pg_catalog.clock_timestamp(),
                    changed_by = session_user || ' on ' || $3
             where id = $1 and state = any ($4) and state <> $2",
        );
        let word = state.as_str();
        let params: [&(dyn ToSql + Sync); 4] = [&backfill.id, &word, &owner.host, &state.before()];
        let changed = session.execute(&doing, &sql, &params).await?;
        if changed > 0 {
            return Ok(true);
        }
        Ok(self.backfill_state(session, backfill.id).await? == Some(state))
    }

    /// Reads a backfill's state; none if its row is gone.
    ///
    /// # Errors
    /// As the server says.
    pub async fn backfill_state(&self, session: &Session, id: i64) -> Result<Option<BackfillState>> {
        let sql = self.sql("select state from pgtide.backfill where id = $1");
        let row = session.query_opt("looking at the backfill", &sql, &[&id]).await?;
        row.map(|row| row.get::<_, &str>(0).parse()).transpose()
    }

    /// Reads the backfills of a job, or of all, the latest first, and how far they are.
    ///
    /// # Errors
    /// As the server says.
    pub async fn backfills(&self, session: &Session, job: Option<&str>) -> Result<Vec<BackfillProgress>> {
        let sql = format!(
            "{BACKFILL} where $1::text is null or b.job = $1 order by b.created_at desc, b.id desc limit 200"
        );
        let rows = session.query("reading backfills", &self.sql(&sql), &[&job]).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.push(self.progress(session, Backfill::from_row(row)?).await?);
        }
        Ok(all)
    }

    async fn progress(&self, session: &Session, backfill: Backfill) -> Result<BackfillProgress> {
        let doing = format!("reading how far {} is", backfill.label());
        let (start, end) = (stored(backfill.bounds.start), stored(backfill.bounds.end));
        let again = backfill.has_option("reload") || backfill.has_option("force");
        let of: [&(dyn ToSql + Sync); 4] = [&backfill.job, &start, &end, &backfill.keys];
        let params = [&of[..], &[&again, &backfill.created_at]].concat();
        let counts = session.query_one(&doing, &self.sql(PROGRESS), &params).await?;
        let rows = match backfill.state {
            BackfillState::Done => Vec::new(),
            _ => {
                let params = [&of[..], &[&self.interval_oid]].concat();
                session.query(&doing, &self.sql(WORKERS), &params).await?
            }
        };
        let number = |count: i64| usize::try_from(count).unwrap_or(0);
        let workers = rows.iter().map(|row| Worker {
            host: row.get("host"),
            pid: row.get("pid"),
            intervals: number(row.get("intervals")),
        });
        let workers = workers.collect();
        let (done, failed) = (number(counts.get("done")), number(counts.get("failed")));
        Ok(BackfillProgress { backfill, done, failed, workers })
    }

    /// Looks at an interval right before a claim; none if the ledger has no row of it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn glance(
        &self,
        session: &Session,
        job: &str,
        interval: DataInterval,
    ) -> Result<Option<Glance>> {
        let sql = self.sql(
            "select i.loaded_at, i.load_started_at, i.attempt, i.token is null and i.error_code is not null as failed
             from pgtide.interval i
             where i.job = $1 and i.interval_start = $2 and i.interval_end = $3",
        );
        let (start, end) = (stored(interval.start), stored(interval.end));
        let row = session.query_opt("looking at the interval", &sql, &[&job, &start, &end]).await?;
        Ok(row.map(|row| Glance {
            loaded_at: row.get("loaded_at"),
            load_started_at: row.get("load_started_at"),
            attempt: row.get("attempt"),
            failed: row.get("failed"),
        }))
    }
}
