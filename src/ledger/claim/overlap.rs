//! Which other intervals share rows of a table: those of the table itself, of what it is a partition of, and
//! of its partitions.

use super::Part;
use crate::error::Result;
use crate::ledger::{Claim, Ledger, stored};
use crate::postgres::connect::Session;
use tokio_postgres::Statement;

/// Waits for other claims on the same table, or on another of its partition tree.
pub(super) const LOCK_TABLE: &str = "
select pg_catalog.pg_advisory_xact_lock($1, coalesce(
    pg_catalog.pg_partition_root($2::pg_catalog.int4::pg_catalog.oid::pg_catalog.regclass)::pg_catalog.oid,
    $2::pg_catalog.int4::pg_catalog.oid)::pg_catalog.int4)";

/// `related` are the tables that share rows with `$1`. The tables that the ledger knows are found one after the
/// other in an index, and only a partitioned table asks for them: it may have thousands of partitions.
macro_rules! with_related {
    ($query:literal) => {
        concat!(
            "
with recursive known(oid) as (
    select case (select c.relkind from pg_catalog.pg_class c where c.oid = $1)
           when 'p' then (select pg_catalog.min(i.table_oid) from pgtide.interval i) end
    union all
    select (select pg_catalog.min(i.table_oid) from pgtide.interval i where i.table_oid > known.oid)
    from known where known.oid is not null
), related(oid) as (
    select $1::pg_catalog.oid
    union select a.relid::pg_catalog.oid
          from pg_catalog.pg_partition_ancestors($1::pg_catalog.oid::pg_catalog.regclass) a
    union select k.oid from known k, pg_catalog.pg_partition_ancestors(k.oid::pg_catalog.regclass) a
          where a.relid = $1
)",
            $query
        )
    };
}

/// Written as ranges for the index `interval_overlap`: one on starts would read all that is earlier.
pub(super) const OVERLAP: &str = with_related!(
    "
select o.job, o.key
from related r join pgtide.interval o
  on pg_catalog.int8range(o.table_oid::bigint, o.table_oid::bigint, '[]')
     operator(pg_catalog.@>) r.oid::bigint
where pg_catalog.tstzrange(o.interval_start, o.interval_end)
      operator(pg_catalog.&&) pg_catalog.tstzrange($3, $4)
  and (o.job, o.interval_start, o.interval_end) <> ($2, $3, $4)
  and (o.job = $2 or $5::text is null or o.scope is null or o.scope = $5)
  and (o.loaded_at is not null or o.token is not null
       or exists (select from pgtide.batch b
                  where b.interval_id = o.id and b.number > 0 and not b.staged))
order by o.interval_start, o.job limit 1"
);

/// The other scopes in the part of the table that an interval (`$2`) covers, each with the smaller of the two
/// tables.
const NEIGHBOURS: &str = with_related!(
    "
select distinct on (o.job, o.scope) o.job, o.key, o.scope,
       case when r.oid in (select a.relid from pg_catalog.pg_partition_ancestors($1::pg_catalog.oid::pg_catalog.regclass) a)
            then $1 else r.oid end::pg_catalog.regclass::pg_catalog.text as smaller
from pgtide.interval mine, related r join pgtide.interval o
  on pg_catalog.int8range(o.table_oid::bigint, o.table_oid::bigint, '[]')
     operator(pg_catalog.@>) r.oid::bigint
where mine.id = $2
  and pg_catalog.tstzrange(o.interval_start, o.interval_end)
      operator(pg_catalog.&&) pg_catalog.tstzrange(mine.interval_start, mine.interval_end)
  and o.job <> mine.job and o.scope <> mine.scope
  and (o.loaded_at is not null or o.token is not null
       or exists (select from pgtide.batch b
                  where b.interval_id = o.id and b.number > 0 and not b.staged))
order by o.job, o.scope, o.interval_start"
);

/// Another job that has, or loads, rows of the same table and time under a scope of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The job.
    pub job: String,
    /// Its interval.
    pub key: String,
    /// Its scope, as it was when it claimed.
    pub scope: String,
    /// The table that both share, quoted: the smaller of the two.
    pub table_sql: String,
}

impl Ledger {
    /// Finds the jobs whose scopes must not match the rows of a claimed interval with a scope.
    ///
    /// # Errors
    /// As the server says.
    pub async fn neighbours(&self, session: &Session, claim: &Claim) -> Result<Vec<Neighbour>> {
        let doing = format!("looking for other jobs beside {}", claim.label());
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&claim.table_oid, &claim.interval_id];
        let rows = session.query(&doing, &self.sql(NEIGHBOURS), &params).await?;
        let neighbour = |row: &tokio_postgres::Row| Neighbour {
            job: row.get("job"),
            key: row.get("key"),
            scope: row.get("scope"),
            table_sql: row.get("smaller"),
        };
        Ok(rows.iter().map(neighbour).collect())
    }
}

pub(super) async fn overlap_kept(
    session: &Session,
    doing: &str,
    overlap: &Statement,
    (part, scope): (&Part<'_>, Option<&str>),
) -> Result<Option<(String, String)>> {
    let (start, end) = (stored(part.interval.start), stored(part.interval.end));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&part.table_oid, &part.job, &start, &end, &scope];
    let row = session.query_opt_kept(doing, overlap, &params).await?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}
