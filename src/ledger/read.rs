//! Looking at the ledger, for plans and for people: this file holds nothing but `select`.
//!
//! `running` is what a row says; whether the run lives is what its lock says. The two are read one
//! after the other, so a run that ends in between is looked at a second time.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

use super::{Ledger, TableRef, instant, stored};
use crate::error::Result;
use crate::interval::DataInterval;
use crate::ledger::Seen;
use crate::postgres::connect::Session;
use crate::state::State;

/// What the ledger says about a job at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its intervals, oldest first.
    pub intervals: Vec<IntervalRecord>,
}

/// Whether something works on an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// A live run loads it, or loads it again.
    Live,
    /// A run died while it loaded it, or loaded it again.
    Dead,
}

/// One interval in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalRecord {
    /// The interval's row.
    pub id: i64,
    /// Its bounds.
    pub interval: DataInterval,
    /// Its name in the job's time zone.
    pub key: String,
    /// The time zone it was last claimed or marked with.
    pub timezone: Option<String>,
    /// Its state; `Interrupted` for a first load whose run died.
    pub state: State,
    /// Whether something works on it; a loaded interval may be loaded again.
    pub activity: Activity,
    /// The reason of the latest mark.
    pub reason: Option<String>,
    /// The destination table.
    pub table: TableRef,
    /// What limits the rows that the job owns.
    pub scope: Option<String>,
    /// When the load that stands was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
    /// When the attempt of that load began; none if another tool loaded it.
    pub load_started_at: Option<DateTime<Utc>>,
    /// The file of the table when it was recorded.
    pub table_file: Option<i64>,
    /// The hash of the definition it was loaded with.
    pub definition_hash: Option<String>,
    /// Its rows, if pgtide counted them.
    pub rows: Option<i64>,
    /// Its bytes, as sent.
    pub bytes: Option<i64>,
    /// Its batches.
    pub batches: Option<i32>,
    /// The digest of its rows.
    pub digest: Option<i64>,
    /// The latest attempt's number; 0 if there was none.
    pub attempt: i32,
    /// Attempts since it was last loaded or marked.
    pub tries: i32,
    /// The host of the latest attempt.
    pub host: Option<String>,
    /// The process of the latest attempt.
    pub pid: Option<i64>,
    /// The run of the latest attempt.
    pub run_id: Option<String>,
    /// What started that run.
    pub trigger: Option<String>,
    /// When the latest attempt was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When the latest attempt ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The SQLSTATE or kind of the latest attempt's error.
    pub error_code: Option<String>,
    /// The latest attempt's error.
    pub error_message: Option<String>,
    token: Option<Uuid>,
}

impl IntervalRecord {
    /// What a claim compares the row with.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { state: self.state, loaded_at: self.loaded_at }
    }
}

/// One line of an interval's history: an attempt that ended, or a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The interval's name.
    pub key: String,
    /// The number of the attempt; for a mark, of the latest attempt before it.
    pub attempt: i32,
    /// `loaded`, `failed`, `interrupted` or `marked`.
    pub outcome: String,
    /// The interval's state afterwards.
    pub state: State,
    /// The reason of a mark.
    pub reason: Option<String>,
    /// The database role that recorded it.
    pub role: String,
    /// The host.
    pub host: Option<String>,
    /// The process.
    pub pid: Option<i64>,
    /// The run.
    pub run_id: Option<String>,
    /// What started the run.
    pub trigger: Option<String>,
    /// Rows that it brought into the destination table.
    pub rows: Option<i64>,
    /// When it was claimed; none for a mark.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was recorded.
    pub finished_at: DateTime<Utc>,
    /// The SQLSTATE or kind of error.
    pub error_code: Option<String>,
    /// What went wrong.
    pub error_message: Option<String>,
}

/// The rows that are loaded for one local date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRows {
    /// The local date on which the intervals start.
    pub date: NaiveDate,
    /// Their rows.
    pub rows: i64,
}

const INTERVALS: &str = "
select i.id, i.interval_start, i.interval_end, i.key, i.timezone, i.state, i.reason, i.table_oid, i.table_name,
       i.scope, i.loaded_at, i.load_started_at, i.table_file, i.definition_hash, i.rows, i.bytes, i.batches, i.digest, i.token, i.attempt,
       i.tries, i.host, i.pid, i.run_id, i.triggered_by, i.started_at, i.finished_at, i.error_code,
       i.error_message
from pgtide.interval i
where i.job = $1 and i.interval_start < $3 and i.interval_end > $2
order by i.interval_start, i.interval_end";

const LIVE: &str = "
select l.objid::bigint as id
from pg_catalog.pg_locks l
where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.mode = 'ExclusiveLock'
  and l.classid = $1
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())";

const ATTEMPTS: &str = "
select i.key, a.attempt, a.outcome, a.state, a.reason, a.role, a.host, a.pid, a.run_id, a.triggered_by,
       a.rows, a.started_at, a.finished_at, a.error_code, a.error_message
from pgtide.attempt a join pgtide.interval i on i.id = a.interval_id
where i.job = $1 ";

impl Ledger {
    /// Reads a job's intervals that share an instant with the range, oldest first.
    ///
    /// # Errors
    /// As the server says.
    pub async fn snapshot(
        &self,
        session: &Session,
        job: &str,
        range: Option<DataInterval>,
    ) -> Result<Snapshot> {
        let range = range.unwrap_or(DataInterval::WHOLE);
        let doing = format!("reading what is loaded of {job}");
        let mut intervals = self.intervals(session, &doing, job, range).await?;
        if intervals.iter().all(|i| i.token.is_none()) {
            return Ok(Snapshot { intervals });
        }
        let live = self.live(session, &doing).await?;
        let is_live = |i: &IntervalRecord| live.contains(&i.id);
        if intervals.iter().any(|i| i.token.is_some() && !is_live(i)) {
            // A free lock means dead only if the same token stands after the lock was looked at.
            let before: Vec<Option<Uuid>> = intervals.iter().map(|i| i.token).collect();
            intervals = self.intervals(session, &doing, job, range).await?;
            for interval in &mut intervals {
                let dead = !live.contains(&interval.id) && before.contains(&interval.token);
                interval.judge(dead);
            }
        } else {
            intervals.iter_mut().for_each(|i| i.judge(false));
        }
        Ok(Snapshot { intervals })
    }

    /// The rows whose lock a live session holds.
    pub(super) async fn live(&self, session: &Session, doing: &str) -> Result<Vec<i64>> {
        let rows = session.query(doing, LIVE, &[&self.interval_oid]).await?;
        Ok(rows.iter().map(|row| row.get("id")).collect())
    }

    async fn intervals(
        &self,
        session: &Session,
        doing: &str,
        job: &str,
        range: DataInterval,
    ) -> Result<Vec<IntervalRecord>> {
        let (start, end) = (stored(range.start), stored(range.end));
        let rows = session.query(doing, &self.sql(INTERVALS), &[&job, &start, &end]).await?;
        rows.iter().map(IntervalRecord::from_row).collect()
    }

    /// Reads the history of one interval, oldest first.
    ///
    /// # Errors
    /// As the server says.
    pub async fn attempts(
        &self,
        session: &Session,
        job: &str,
        interval: DataInterval,
    ) -> Result<Vec<AttemptRecord>> {
        let doing = format!("reading the history of {job}");
        let sql = format!("{ATTEMPTS} and i.interval_start = $2 and i.interval_end = $3 order by a.id");
        let (start, end) = (stored(interval.start), stored(interval.end));
        let params: [&(dyn ToSql + Sync); 3] = [&job, &start, &end];
        let rows = session.query(&doing, &self.sql(&sql), &params).await?;
        rows.iter().map(AttemptRecord::from_row).collect()
    }

    /// Reads the latest lines of the history of one interval, oldest first.
    ///
    /// # Errors
    /// As the server says.
    pub async fn latest_attempts(
        &self,
        session: &Session,
        job: &str,
        (interval, most): (DataInterval, i64),
    ) -> Result<Vec<AttemptRecord>> {
        let doing = format!("reading the history of {job}");
        let sql = format!(
            "{ATTEMPTS} and i.interval_start = $2 and i.interval_end = $3 order by a.id desc limit $4"
        );
        let (start, end) = (stored(interval.start), stored(interval.end));
        let params: [&(dyn ToSql + Sync); 4] = [&job, &start, &end, &most];
        let rows = session.query(&doing, &self.sql(&sql), &params).await?;
        rows.iter().rev().map(AttemptRecord::from_row).collect()
    }

    /// Reads the latest failure of a job, of whichever interval.
    ///
    /// # Errors
    /// As the server says.
    pub async fn latest_error(&self, session: &Session, job: &str) -> Result<Option<AttemptRecord>> {
        let doing = format!("reading the latest error of {job}");
        let sql = format!("{ATTEMPTS} and a.outcome = 'failed' order by a.id desc limit 1");
        let row = session.query_opt(&doing, &self.sql(&sql), &[&job]).await?;
        row.as_ref().map(AttemptRecord::from_row).transpose()
    }

    /// Reads the rows loaded per local date of the latest `days` dates that have any, oldest first.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rows_per_day(&self, session: &Session, job: &str, days: i64) -> Result<Vec<DayRows>> {
        let doing = format!("reading rows per day of {job}");
        let sql = self.sql(
            "select date, rows from (
                 select (interval_start at time zone coalesce(timezone, 'UTC'))::date as date,
                        sum(rows)::bigint as rows
                 from pgtide.interval
                 where job = $1 and loaded_at is not null and rows is not null and isfinite(interval_start)
                 group by 1 order by 1 desc limit $2) latest
             order by date",
        );
        let rows = session.query(&doing, &sql, &[&job, &days]).await?;
        Ok(rows.iter().map(|row| DayRows { date: row.get("date"), rows: row.get("rows") }).collect())
    }
}

/// The columns of a row, one after the other: of many rows, looking names up is most of the cost.
struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    fn take<T: FromSql<'r>>(&mut self) -> T {
        self.next += 1;
        self.row.get(self.next - 1)
    }
}

impl IntervalRecord {
    /// Takes the columns in the order of [`INTERVALS`].
    fn from_row(row: &Row) -> Result<Self> {
        let mut columns = Columns { row, next: 0 };
        Ok(Self {
            id: columns.take(),
            interval: DataInterval { start: instant(columns.take()), end: instant(columns.take()) },
            key: columns.take(),
            timezone: columns.take(),
            state: columns.take::<&str>().parse()?,
            activity: Activity::Idle,
            reason: columns.take(),
            table: TableRef { oid: columns.take(), name: columns.take() },
            scope: columns.take(),
            loaded_at: columns.take(),
            load_started_at: columns.take(),
            table_file: columns.take(),
            definition_hash: columns.take(),
            rows: columns.take(),
            bytes: columns.take(),
            batches: columns.take(),
            digest: columns.take(),
            token: columns.take(),
            attempt: columns.take(),
            tries: columns.take(),
            host: columns.take(),
            pid: columns.take(),
            run_id: columns.take(),
            trigger: columns.take(),
            started_at: columns.take(),
            finished_at: columns.take(),
            error_code: columns.take(),
            error_message: columns.take(),
        })
    }

    fn judge(&mut self, dead: bool) {
        (self.state, self.activity) = judged(self.state, self.token.is_some(), dead);
    }
}

/// State and activity of a row, from its state, whether it has a token, and whether its run is dead.
pub(super) fn judged(state: State, has_token: bool, dead: bool) -> (State, Activity) {
    let activity = match (has_token, dead) {
        (false, _) => Activity::Idle,
        (true, true) => Activity::Dead,
        (true, false) => Activity::Live,
    };
    let died = state == State::Running && activity == Activity::Dead;
    (if died { State::Interrupted } else { state }, activity)
}

impl AttemptRecord {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            key: row.get("key"),
            attempt: row.get("attempt"),
            outcome: row.get("outcome"),
            state: row.get::<_, &str>("state").parse()?,
            reason: row.get("reason"),
            role: row.get("role"),
            host: row.get("host"),
            pid: row.get("pid"),
            run_id: row.get("run_id"),
            trigger: row.get("triggered_by"),
            rows: row.get("rows"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            error_code: row.get("error_code"),
            error_message: row.get("error_message"),
        })
    }
}
