//! What a plan needs to know of every interval of a job, read quickly however many there are.
//!
//! They come by COPY, which costs the server and us a fraction of as many rows of a query: ten years of
//! hours are read in less than a tenth of a second.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use super::read::judged;
use super::{Activity, Evidence, Ledger, Place, interval_of};
use crate::config::job::Job;
use crate::error::Result;
use crate::interval::DataInterval;
use crate::postgres::connect::Session;
use crate::postgres::copy_out::{self, integer, moment};
use crate::postgres::ident;
use crate::state::State;

/// What a plan needs to know of one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
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
    /// When the attempt of that load began; none if another tool loaded it.
    pub load_started_at: Option<DateTime<Utc>>,
    /// Its rows, if pgtide counted them.
    pub rows: Option<i64>,
    /// Where its rows are.
    pub place: Place,
    /// What is known beyond the load that stands; of most intervals nothing.
    pub story: Option<Box<Story>>,
}

/// What happened to an interval after it was loaded, or while it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    id: i64,
    token: Option<Uuid>,
    /// The number of the latest attempt.
    pub attempt: i32,
    /// Attempts since it was last loaded or marked.
    pub tries: i32,
    /// When the latest attempt ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The reason of the latest mark.
    pub reason: Option<String>,
    /// The first line of the latest attempt's error.
    pub error: Option<String>,
}

/// What is loaded and has nothing more to tell, as COPY sends it: the shortest way for many rows. Of the
/// others the last column has the id, and [`OTHERS`] the rest: an error is never without a try or a mark.
/// The hash `{hash}`, which most have, is not sent; one that is not known is empty. Nor is a place, but of rows
/// that are not known to be in the job's table.
const KNOWN: &str = "
select i.interval_start, i.interval_end, i.loaded_at, i.load_started_at, i.rows,
       nullif(coalesce(i.definition_hash, ''), {hash}), {place},
       case when not (i.state = 'loaded' and i.tries = 0 and i.token is null and i.reason is null) then i.id end
from pgtide.interval i
where i.job = {job}";

const OTHERS: &str = "
select i.id, i.state, i.token, i.interval_start, i.interval_end, i.definition_hash, i.loaded_at,
       i.load_started_at, i.rows, {place} as place, i.attempt, i.tries, i.finished_at, i.reason, pg_catalog.split_part(i.error_message, e'\\n', 1) as error
from pgtide.interval i
where i.id = any ($1)";

impl Ledger {
    /// Reads what a plan needs to know of a job's intervals, in no order, with those of the name that the job
    /// had before.
    ///
    /// # Errors
    /// As the server says.
    pub async fn known(&self, session: &Session, job: &Job, evidence: &Evidence) -> Result<Vec<Known>> {
        let usual = Usual { hash: job.definition_hash().into(), place: evidence.place_sql() };
        let mut known = self.known_of(session, &job.name, &usual).await?;
        let Some(was) = &job.was else { return Ok(known) };
        let own: HashSet<_> = known.iter().map(|known| known.interval).collect();
        let before = self.known_of(session, was, &usual).await?;
        known.extend(before.into_iter().filter(|known| !own.contains(&known.interval)));
        Ok(known)
    }

    async fn known_of(&self, session: &Session, job: &str, usual: &Usual) -> Result<Vec<Known>> {
        let doing = format!("reading what is loaded of {job}");
        let mut known = self.known_now(session, &doing, (job, usual)).await?;
        if known.iter().all(|k| k.token().is_none()) {
            return Ok(known);
        }
        let live = self.live(session, &doing).await?;
        if known.iter().any(|k| k.token().is_some() && !live.contains(&k.id())) {
            // A free lock means dead only if the same token stands after the lock was looked at.
            let before: HashSet<Uuid> = known.iter().filter_map(Known::token).collect();
            known = self.known_now(session, &doing, (job, usual)).await?;
            for (k, token) in known.iter_mut().filter_map(|k| k.token().map(|token| (k, token))) {
                let dead = !live.contains(&k.id()) && before.contains(&token);
                (k.state, k.activity) = judged(k.state, true, dead);
            }
        } else {
            for k in known.iter_mut().filter(|k| k.token().is_some()) {
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

    async fn known_now(
        &self,
        session: &Session,
        doing: &str,
        (job, usual): (&str, &Usual),
    ) -> Result<Vec<Known>> {
        let query = self.sql(KNOWN).replace("{place}", &usual.place);
        let query = query.replace("{hash}", &ident::literal(&usual.hash));
        let query = query.replace("{job}", &ident::literal(job));
        let (mut known, mut others) = (Vec::new(), Vec::new());
        let mut other: Option<Arc<str>> = None;
        copy_out::each_row(session, doing, &query, |fields| {
            let [start, end, loaded_at, started_at, rows, definition, place, id] = fields;
            if let Some(id) = id {
                others.push(integer(id));
                return;
            }
            let hash = match definition {
                None => Some(usual.hash.clone()),
                Some(b"") => None,
                Some(hash) => {
                    // Neighbours share a definition, as a rule.
                    if other.as_deref().map(str::as_bytes) != Some(hash) {
                        other = std::str::from_utf8(hash).ok().map(Arc::from);
                    }
                    other.clone()
                }
            };
            let bound = |bytes: Option<&[u8]>| bytes.map_or(DateTime::<Utc>::MIN_UTC, moment);
            known.push(Known {
                interval: DataInterval { start: bound(start), end: bound(end) },
                state: State::Loaded,
                activity: Activity::Idle,
                definition_hash: hash,
                loaded_at: loaded_at.map(moment),
                load_started_at: started_at.map(moment),
                rows: rows.map(integer),
                place: Place::of(place.map(integer)),
                story: None,
            });
        })
        .await?;
        if !others.is_empty() {
            let sql = self.sql(OTHERS).replace("{place}", &usual.place);
            let rows = session.query(doing, &sql, &[&others]).await?;
            for row in &rows {
                known.push(Known::from_row(row)?);
            }
        }
        Ok(known)
    }
}

/// What most intervals of a job have, and so is not sent.
struct Usual {
    hash: Arc<str>,
    /// The expression that is null then.
    place: String,
}

impl Known {
    fn token(&self) -> Option<Uuid> {
        self.story.as_ref()?.token
    }

    /// The number of its row; 0 where there is no story.
    fn id(&self) -> i64 {
        self.story.as_ref().map_or(0, |story| story.id)
    }

    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            interval: interval_of(row),
            state: row.get::<_, &str>("state").parse()?,
            activity: Activity::Idle,
            definition_hash: row.get::<_, Option<&str>>("definition_hash").map(Arc::from),
            loaded_at: row.get("loaded_at"),
            load_started_at: row.get("load_started_at"),
            rows: row.get("rows"),
            place: Place::of(row.get("place")),
            story: Some(Box::new(Story {
                id: row.get("id"),
                token: row.get("token"),
                attempt: row.get("attempt"),
                tries: row.get("tries"),
                finished_at: row.get("finished_at"),
                reason: row.get("reason"),
                error: row.get("error"),
            })),
        })
    }
}
