//! What a plan needs to know of every interval of a job, read quickly however many there are.
//!
//! Loaded intervals of one definition come as one row of arrays: ten years of hours are a single row.

use std::sync::Arc;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::Timestamp;
use uuid::Uuid;

use super::read::judged;
use super::{Activity, Ledger, instant};
use crate::error::Result;
use crate::interval::DataInterval;
use crate::postgres::connect::Session;
use crate::state::State;

/// What a plan needs to know of one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    id: i64,
    token: Option<Uuid>,
    /// Its bounds.
    pub interval: DataInterval,
    /// Its state; `Interrupted` for a first load whose run died.
    pub state: State,
    /// Whether something works on it; a loaded interval may be loaded again.
    pub activity: Activity,
    /// The hash of the definition it was loaded with.
    pub definition_hash: Option<Arc<str>>,
    /// When the load that stands was recorded.
    pub loaded_at: Option<DateTime<Utc>>,
    /// Its rows, if pgtide counted them.
    pub rows: Option<i64>,
    /// The latest attempt's number, if it was not the one that loaded what stands; else 0.
    pub attempt: i32,
    /// Attempts since it was last loaded or marked.
    pub tries: i32,
    /// When the latest attempt ended, if that was not when what stands was loaded.
    pub finished_at: Option<DateTime<Utc>>,
    /// The reason of the latest mark.
    pub reason: Option<String>,
    /// The first line of the latest attempt's error.
    pub error: Option<String>,
}

/// Loaded intervals of which there is nothing more to say are together, with what sets them apart and no
/// more; grouped by one column only, since a server that expects many groups would sort all rows first. The
/// others are a row each.
const KNOWN: &str = "
select 'loaded' as state, null::uuid as token, i.definition_hash, 0 as tries, null as reason, null as error,
       0::bigint as id, null::timestamptz as finished_at, 0 as attempt,
       pg_catalog.array_agg(i.interval_start), pg_catalog.array_agg(i.interval_end),
       pg_catalog.array_agg(i.loaded_at), pg_catalog.array_agg(i.rows)
from pgtide.interval i
where i.job = $1 and i.state = 'loaded' and i.tries = 0 and i.token is null and i.reason is null
  and i.error_message is null
group by i.definition_hash
union all
select i.state, i.token, i.definition_hash, i.tries, i.reason,
       pg_catalog.split_part(i.error_message, e'\\n', 1),
       i.id, i.finished_at, i.attempt,
       array[i.interval_start], array[i.interval_end], array[i.loaded_at], array[i.rows]
from pgtide.interval i
where i.job = $1 and not (i.state = 'loaded' and i.tries = 0 and i.token is null and i.reason is null
  and i.error_message is null)";

impl Ledger {
    /// Reads what a plan needs to know of a job's intervals, in no order, with those of the name that the job
    /// had before.
    ///
    /// # Errors
    /// As the server says.
    pub async fn known(&self, session: &Session, job: &str, was: Option<&str>) -> Result<Vec<Known>> {
        let mut known = self.known_of(session, job).await?;
        let Some(was) = was else { return Ok(known) };
        let own: HashSet<_> = known.iter().map(|known| known.interval).collect();
        let before = self.known_of(session, was).await?;
        known.extend(before.into_iter().filter(|known| !own.contains(&known.interval)));
        Ok(known)
    }

    async fn known_of(&self, session: &Session, job: &str) -> Result<Vec<Known>> {
        let doing = format!("reading what is loaded of {job}");
        let mut known = self.known_now(session, &doing, job).await?;
        if known.iter().all(|k| k.token.is_none()) {
            return Ok(known);
        }
        let live = self.live(session, &doing).await?;
        if known.iter().any(|k| k.token.is_some() && !live.contains(&k.id)) {
            // A free lock means dead only if the same token stands after the lock was looked at.
            let before: Vec<Option<Uuid>> = known.iter().map(|k| k.token).collect();
            known = self.known_now(session, &doing, job).await?;
            for k in known.iter_mut().filter(|k| k.token.is_some()) {
                let dead = !live.contains(&k.id) && before.contains(&k.token);
                (k.state, k.activity) = judged(k.state, true, dead);
            }
        } else {
            for k in known.iter_mut().filter(|k| k.token.is_some()) {
                (k.state, k.activity) = judged(k.state, true, false);
            }
        }
        Ok(known)
    }

    /// The table that the newest load of a job went into, if there is one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn latest_table(&self, session: &Session, job: &str) -> Result<Option<u32>> {
        let sql = self.sql(
            "select table_oid from pgtide.interval
             where job = $1 and loaded_at is not null order by loaded_at desc limit 1",
        );
        let row = session.query_opt(&format!("reading the table of {job}"), &sql, &[&job]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn known_now(&self, session: &Session, doing: &str, job: &str) -> Result<Vec<Known>> {
        let rows = session.query(doing, &self.sql(KNOWN), &[&job]).await?;
        let mut known = Vec::new();
        for row in &rows {
            add(&mut known, row)?;
        }
        Ok(known)
    }
}

/// Adds every interval of a row.
fn add(known: &mut Vec<Known>, row: &Row) -> Result<()> {
    let common = Known {
        id: row.get("id"),
        token: row.get("token"),
        interval: DataInterval::WHOLE,
        state: row.get::<_, &str>("state").parse()?,
        activity: Activity::Idle,
        definition_hash: row.get::<_, Option<&str>>("definition_hash").map(Arc::from),
        loaded_at: None,
        rows: None,
        attempt: row.get("attempt"),
        tries: row.get("tries"),
        finished_at: row.get("finished_at"),
        reason: row.get("reason"),
        error: row.get("error"),
    };
    let [starts, ends]: [Vec<Timestamp<DateTime<Utc>>>; 2] = [row.get(9), row.get(10)];
    let loaded_at: Vec<Option<DateTime<Utc>>> = row.get(11);
    let rows: Vec<Option<i64>> = row.get(12);
    let all = starts.into_iter().zip(ends).zip(loaded_at.into_iter().zip(rows));
    known.extend(all.map(|((start, end), (loaded_at, rows))| Known {
        interval: DataInterval { start: instant(start), end: instant(end) },
        loaded_at,
        rows,
        ..common.clone()
    }));
    Ok(())
}
