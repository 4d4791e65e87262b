//! A load that lasts: 12 days of rows of a kilobyte, of which 240 or so make a batch.
//!
//! `public.events` is the source, `mart.events` the destination, `events` the job. Tests that break
//! something in the middle wait until a run has sent enough.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Database, Pair, Project, server_major, until};

/// Rows unless a test asks for another number: 1,000 each day.
pub(crate) const ROWS: u64 = 12_000;

/// Bytes of these rows as they are sent.
pub(crate) const BYTES: u64 = ROWS * ROW_BYTES;
pub(crate) const ROW_BYTES: u64 = 1_050;

pub(crate) const FROM: &str = "public.events";
pub(crate) const INTO: &str = "mart.events";

/// Runs all days.
pub(crate) const RUN: &str = "run events --from-date 2026-01-01 --to-date 2026-01-12";

/// For a run in whose middle something happens: it lasts two seconds on any machine.
pub(crate) const SLOWLY: &str = "--max-rate=6000";

/// Keys of a job that loads day by day.
pub(crate) const DAILY: &str = "time_column = \"at\"\ninterval = \"day\"\n";

/// Keys of a job that tries again soon and often.
pub(crate) const PATIENT: &str = "retries = 60\nretry_delay = \"100ms\"\nretry_exponential_backoff = false\n";

const SOURCE: &str = "
create table public.events as
select id, timestamptz '2026-01-01 00:00 America/New_York' + id % 12 * interval '1 day'
           + id % 86400 * interval '1 second' as at,
       repeat(md5(id::text), 32) as body
from generate_series(1::bigint, {rows}) id;
alter table public.events add primary key (id), alter at set not null;
create index on public.events (at)";

const DESTINATION: &str = "
create schema mart;
create table mart.events (id bigint primary key, at timestamptz not null, body text not null);
create index on mart.events (at)";

/// Makes both tables.
pub(crate) async fn make(pair: &Pair) {
    make_rows(pair, ROWS).await;
}

/// The same with so many rows on the source.
pub(crate) async fn make_rows(pair: &Pair, rows: u64) {
    let source = SOURCE.replace("{rows}", &rows.to_string());
    tokio::join!(pair.source.exec(&source), pair.destination.exec(DESTINATION));
}

/// The job, with these keys added.
pub(crate) fn job(keys: &str) -> String {
    format!("table = \"{FROM}\"\ninto = \"{INTO}\"\nbatch_rows = 200\nmax_active_runs = 2\n{keys}")
}

/// Tables and project of a job that loads day by day.
pub(crate) async fn daily(pair: &Pair, keys: &str) -> Project {
    make(pair).await;
    Project::new(pair).job("events", &job(&format!("{DAILY}{keys}")))
}

/// Fails unless all rows are there, once, and nothing is left over.
pub(crate) async fn assert_loaded(project: &Project) {
    project.assert_loaded(FROM, INTO).await;
}

/// Waits until a process has sent so many bytes, over all its intervals.
pub(crate) async fn until_sent(destination: &Database, pid: i32, bytes: u64) {
    let client = destination.client().await;
    until("enough bytes were sent", || async { sent(&client, pid).await >= bytes }).await;
}

/// Bytes that a process has recorded: of batches that are committed, and of intervals that are done.
const RECORDED: &str = "
coalesce((select sum(b.bytes) from pgtide.batch b join pgtide.interval i using (token)
          where i.pid = $1 and b.number > 0), 0)
+ coalesce((select sum(i.bytes) from pgtide.interval i
            where i.pid = $1 and i.token is null and i.finished_at is not null), 0)";

const UNDER_WAY: &str = "(select coalesce(sum(p.bytes_processed), 0) from pg_catalog.pg_stat_progress_copy p
    where p.datname = current_database())";

/// Bytes that a process has sent so far: committed, recorded, or in a COPY under way.
pub(crate) async fn sent(client: &Client, pid: i32) -> u64 {
    if server_major() >= 14 {
        return recorded(client, pid, UNDER_WAY).await.unwrap_or(0);
    }
    match recorded(client, pid, "0").await {
        Some(recorded) => recorded.max(written(client, pid).await),
        None => 0,
    }
}

/// Bytes by which the database's files have grown since a process was first asked for: Postgres 13 tells
/// nothing of a COPY under way, and this shows rows that are not committed too.
async fn written(client: &Client, pid: i32) -> u64 {
    static FIRST: Mutex<BTreeMap<i32, i64>> = Mutex::new(BTreeMap::new());
    let size = "select pg_database_size(current_database())";
    let size: i64 = client.query_one(size, &[]).await.unwrap().get(0);
    let first = *FIRST.lock().unwrap().entry(pid).or_insert(size);
    // Pages and indexes make a fifth more of the rows.
    u64::try_from(size - first).unwrap_or(0) * 5 / 6
}

/// None before the first run has made the ledger.
async fn recorded(client: &Client, pid: i32, more: &str) -> Option<u64> {
    let sql = format!("select ({RECORDED} + {more})::bigint");
    match client.query_one(&sql, &[&i64::from(pid)]).await {
        Ok(row) => Some(row.get::<_, i64>(0).unsigned_abs()),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => None,
        Err(error) => panic!("{error:?}"),
    }
}
