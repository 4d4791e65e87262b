//! Whether what is recorded as loaded is in the job's table: what the catalog says, and, where the table's
//! file is another one than the rows were recorded in, a look for them.
//!
//! Everybody who asks the plan or shows the state reads this first; what follows is the plan's to say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;

use crate::config::job::{Job, LoadMode};
use crate::error::Result;
use crate::interval::DataInterval;
use crate::ledger::{Evidence, Ledger, Place, TableBefore, TableNow};
use crate::plan::{Cause, Loss};
use crate::postgres::bound::{Bound, Condition, TimeKind};
use crate::postgres::catalog::{self, Relation, RelationKind};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Intervals whose rows are looked for where an index or partitions make a look cheap; of more, as many,
/// spread over all of them.
const LOOKS: usize = 1_000;

/// As many where each look may read the table.
const LOOKS_WITHOUT_INDEX: usize = 3;

/// Looks that are sent together.
const AT_ONCE: usize = 100;

/// A look that lasts longer is given up, and nothing is known then.
const BEGIN: &str = "begin isolation level read committed read only; set local statement_timeout = '10s'";

/// An interval that is recorded as loaded.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The interval.
    pub interval: DataInterval,
    /// Where its rows are, as far as the catalog can say.
    pub place: Place,
    /// How many, if pgtide counted them.
    pub rows: Option<i64>,
}

/// What is there of what a job has recorded.
#[derive(Debug, Default)]
pub struct Ground {
    elsewhere: HashMap<u32, Arc<Loss>>,
    emptied: HashSet<DataInterval>,
    empty: Option<Arc<Loss>>,
}

impl Ground {
    /// Looks; a ledger that was opened for writing is told what was found, so that the next looks at less.
    ///
    /// # Errors
    /// As the server says.
    pub async fn look(
        (ledger, session): (&Ledger, &Session),
        job: &Job,
        evidence: &Evidence,
        held: impl Iterator<Item = Held>,
    ) -> Result<Self> {
        let mut ground = Self::default();
        let mut unverified = Vec::new();
        let mut others = HashSet::new();
        for held in held {
            match held.place {
                Place::Here => {}
                Place::Unverified => unverified.push(held),
                Place::Elsewhere(oid) => {
                    others.insert(oid);
                }
            }
        }
        if !others.is_empty() {
            let others: Vec<_> = others.into_iter().collect();
            for before in ledger.tables_before(session, &others).await? {
                let loss = Arc::new(loss(job, evidence, &before));
                ground.elsewhere.entry(before.oid).or_insert(loss);
            }
        }
        let Some(table) = evidence.table.as_ref().filter(|_| !unverified.is_empty()) else {
            return Ok(ground);
        };
        match missing(session, job, table, &unverified).await? {
            Some(missing) if missing.is_empty() => ledger.found(session, table, evidence.now).await?,
            Some(missing) => {
                let name = table.name.to_string();
                let loss = Loss { recorded: name.clone(), into: name, cause: Cause::Emptied };
                (ground.emptied, ground.empty) = (missing, Some(Arc::new(loss)));
            }
            None => tracing::debug!("{} could not be looked at", table.name),
        }
        Ok(ground)
    }

    /// Why the rows of an interval are not in the job's table, if they are not.
    #[must_use]
    pub fn loss(&self, interval: &DataInterval, place: Place) -> Option<&Arc<Loss>> {
        match place {
            Place::Here => None,
            Place::Unverified => self.empty.as_ref().filter(|_| self.emptied.contains(interval)),
            Place::Elsewhere(oid) => self.elsewhere.get(&oid),
        }
    }
}

/// What became of a table that is not the job's.
fn loss(job: &Job, evidence: &Evidence, before: &TableBefore) -> Loss {
    let recorded = before.recorded.clone();
    let into = evidence.table.as_ref().map_or_else(|| job.into.to_string(), |table| table.name.to_string());
    let cause = match &before.now {
        Some(now) if now.to_string() != recorded => Cause::Renamed(now.to_string()),
        Some(_) => Cause::Redirected,
        None if evidence.table.is_none() => Cause::Dropped,
        None if into == recorded => Cause::Replaced,
        None => Cause::Redirected,
    };
    Loss { recorded, into, cause }
}

/// The intervals of which there is no row; none if that cannot be known.
async fn missing(
    session: &Session,
    job: &Job,
    table: &TableNow,
    held: &[Held],
) -> Result<Option<HashSet<DataInterval>>> {
    let Some(look) = Look::at(session, job, table).await? else { return Ok(None) };
    session.batch("looking for rows", BEGIN).await?;
    let found = look.missing(held).await;
    session.batch("looking for rows", "rollback").await?;
    match found {
        Ok(missing) => Ok(Some(missing)),
        // No right to read, row-level security, or too long.
        Err(error) if matches!(error.sqlstate(), Some("42501" | "57014")) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A destination table in which intervals are looked for.
pub struct Look<'a> {
    session: &'a Session,
    job: &'a Job,
    /// The table in SQL; without those that inherit from it.
    table: String,
    time: Option<TimeKind>,
    is_cheap: bool,
}

impl<'a> Look<'a> {
    /// Prepares to look; none if it is no table.
    ///
    /// # Errors
    /// As the server says.
    pub async fn at(session: &'a Session, job: &'a Job, table: &TableNow) -> Result<Option<Self>> {
        let relation = catalog::relation_if_exists(session, &table.name).await?;
        let is_table = |r: &Relation| matches!(r.kind, RelationKind::Table | RelationKind::Partitioned);
        let Some(relation) = relation.filter(|r| r.oid == table.oid && is_table(r)) else { return Ok(None) };
        let is_partitioned = relation.kind == RelationKind::Partitioned;
        let only = if is_partitioned { "" } else { "only " };
        // What is merged later may move a row to another interval.
        let column =
            job.time_column.as_ref().filter(|_| job.calendar.is_some() && job.mode != LoadMode::Merge);
        let column = column.and_then(|name| relation.column(name));
        let time = column.and_then(|column| {
            let data_type = column.data_type.unwrapped();
            TimeKind::of_type(&data_type.schema, &data_type.name)
        });
        let is_cheap = is_partitioned || column.is_some_and(|column| relation.index_on(&column.name));
        let table = format!("{only}{}", ident::quote_table(&table.name));
        Ok(Some(Self { session, job, table, time, is_cheap }))
    }

    /// Whether rows of one interval can be told from those of others.
    #[must_use]
    pub fn tells_intervals(&self) -> bool {
        self.time.is_some()
    }

    /// The rows of an interval; of all without.
    fn condition(&self, interval: Option<&DataInterval>) -> Condition {
        let within = match (interval, &self.job.time_column, self.time, self.job.calendar) {
            (Some(interval), Some(column), Some(kind), Some(calendar)) => {
                Condition::within(&ident::quote(column), kind, interval, calendar.timezone)
            }
            _ => Condition::default(),
        };
        within.and(self.job.scope.as_deref())
    }

    async fn has_rows(&self, interval: Option<&DataInterval>) -> Result<bool> {
        let condition = self.condition(interval);
        let sql = format!("select exists (select from {}{})", self.table, condition.where_clause());
        Ok(self.session.query_one_typed("looking for rows", &sql, &condition).await?.get(0))
    }

    /// Counts the rows of an interval, or all that are the job's.
    ///
    /// # Errors
    /// As the server says.
    pub async fn count(&self, interval: Option<&DataInterval>) -> Result<i64> {
        let condition = self.condition(interval);
        let sql = format!("select count(*) from {}{}", self.table, condition.where_clause());
        Ok(self.session.query_one_typed("counting rows", &sql, &condition).await?.get(0))
    }

    async fn missing(&self, held: &[Held]) -> Result<HashSet<DataInterval>> {
        if !self.has_rows(None).await? {
            // What pgtide did not count may have been nothing, but not in a table that was emptied since.
            return Ok(held.iter().filter(|held| held.rows != Some(0)).map(|held| held.interval).collect());
        }
        let counted: Vec<_> = held.iter().filter(|held| held.rows.is_some_and(|rows| rows > 0)).collect();
        let most = if self.is_cheap { LOOKS } else { LOOKS_WITHOUT_INDEX };
        let mut missing = HashSet::new();
        if !self.tells_intervals() {
            return Ok(missing);
        }
        for some in spread(&counted, most).chunks(AT_ONCE) {
            let looks = some.iter().map(|held| self.has_rows(Some(&held.interval)));
            let found = try_join_all(looks).await?;
            let gone = some.iter().zip(found).filter(|(_, found)| !found);
            missing.extend(gone.map(|(held, _)| held.interval));
        }
        if missing.is_empty() || counted.len() <= most {
            return Ok(missing);
        }
        // Something is missing: one reading of the table tells what else.
        match self.all_missing(&counted).await {
            Err(error) if error.sqlstate() == Some("57014") => Ok(missing),
            all => all,
        }
    }

    /// Finds every interval without a row by reading all times once.
    async fn all_missing(&self, counted: &[&Held]) -> Result<HashSet<DataInterval>> {
        let (Some(column), Some(kind), Some(calendar)) =
            (&self.job.time_column, self.time, self.job.calendar)
        else {
            return Ok(HashSet::new());
        };
        let mut sorted: Vec<_> = counted.iter().map(|held| held.interval).collect();
        sorted.sort_unstable();
        let bound = |at| Bound::at(at, kind, calendar.timezone).literal();
        let bounds: Vec<_> = sorted.iter().flat_map(|i| [bound(i.start), bound(i.end)]).collect();
        let (ty, column) = (kind.sql_type(), ident::quote(column));
        let sql = format!(
            "select distinct pg_catalog.width_bucket({column}::{ty}, array[{}]::{ty}[])::bigint as place from {}{}",
            bounds.join(", "),
            self.table,
            self.condition(None).where_clause()
        );
        let rows = self.session.query("looking for rows", &sql, &[]).await?;
        // Of the bounds that are not later, an odd number is a start and no end.
        let places = rows.iter().filter_map(|row| row.get::<_, Option<i64>>("place"));
        let present: HashSet<_> = places.filter(|place| place % 2 == 1).map(|place| place / 2).collect();
        let gone = (0..).zip(sorted).filter(|(place, _)| !present.contains(place));
        Ok(gone.map(|(_, interval)| interval).collect())
    }
}

/// So many of all, spread evenly, the first and the last among them.
fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|place| all[place * (all.len() - 1) / (most - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_intervals_some_are_looked_at_the_first_and_the_last_among_them() {
        let all: Vec<_> = (0..100).collect();
        assert_eq!(spread(&all, 3), [0, 49, 99]);
        assert_eq!(spread(&all[..3], 3), [0, 1, 2]);
        assert_eq!(spread(&all, 1_000).len(), 100);
    }
}
