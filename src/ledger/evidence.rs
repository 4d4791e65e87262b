//! What the catalog says of a job's table, beside what the ledger has recorded of it.
//!
//! A record counts only while its table is the one that the job's `into` names, and only as long as the
//! table's file is the one that the rows were recorded in, or one in which they were found since. The file
//! changes with TRUNCATE, but also with VACUUM FULL or CLUSTER: whoever sees another one looks for rows.

use chrono::{DateTime, Utc};

use super::Ledger;
use crate::error::Result;
use crate::name::TableName;
use crate::postgres::catalog;
use crate::postgres::connect::Session;

/// The table that a name means, as [`catalog`] finds it, and the clock that claims are stamped with.
const EVIDENCE: &str = "
select pg_catalog.clock_timestamp() as now, t.oid, t.schema, t.name, t.file,
       case when s.file = t.file then s.seen_at end as seen_at
from (values (1)) one
left join lateral (
    select c.oid, n.nspname::text as schema, c.relname::text as name, {file} as file
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any ($1::pg_catalog.text[]) and c.relname = $2
      and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and ($3 or pg_catalog.has_schema_privilege(n.oid, 'usage'))
    order by pg_catalog.array_position($1::pg_catalog.text[], n.nspname::pg_catalog.text)
    limit 1) t on true
left join pgtide.table_seen s on s.table_oid = t.oid";

const NAMES: &str = "
select c.oid, n.nspname::text as schema, c.relname::text as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = any ($1) and c.relkind in ('r', 'p')";

const RECORDED: &str = "
select distinct i.table_oid, i.table_name from pgtide.interval i where i.table_oid = any ($1)";

const SEEN: &str = "
insert into pgtide.table_seen as s (table_oid, file, seen_at) values ($1, $2, $3)
on conflict (table_oid) do update set file = excluded.file, seen_at = excluded.seen_at
where (s.file, s.seen_at) is distinct from (excluded.file, excluded.seen_at)";

/// A job's table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The destination's clock.
    pub now: DateTime<Utc>,
    /// The table that `into` names, if there is one.
    pub table: Option<TableNow>,
}

/// A table as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNow {
    /// Its OID.
    pub oid: u32,
    /// Its full name.
    pub name: TableName,
    /// Its file, or the digest of its leaves' files.
    pub file: i64,
    /// Until when what was recorded was found in this file, if that had to be looked at.
    pub seen_at: Option<DateTime<Utc>>,
}

/// A table that is not the job's, and in which the ledger has recorded rows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableBefore {
    /// Its OID.
    pub oid: u32,
    /// Its name when it was loaded, as the ledger has it.
    pub recorded: String,
    /// Its name now; none if it is gone.
    pub now: Option<TableName>,
}

/// Where the rows of a record are, as far as the catalog can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the job's table.
    Here,
    /// In the job's table, if they are still there: its file is another one.
    Unverified,
    /// In another table, of this OID.
    Elsewhere(u32),
}

/// Puts the file of a table in place of `{file:...}` in a statement.
pub(super) fn file_of(oid: &str) -> String {
    catalog::file_sql(oid)
}

impl Evidence {
    /// Where the rows of a record are.
    #[must_use]
    pub fn place(&self, (table_oid, file): (u32, Option<i64>), loaded_at: Option<DateTime<Utc>>) -> Place {
        let Some(table) = self.table.as_ref().filter(|table| table.oid == table_oid) else {
            return Place::Elsewhere(table_oid);
        };
        let is_seen = table.seen_at.zip(loaded_at).is_some_and(|(seen, loaded)| loaded <= seen);
        if file == Some(table.file) || is_seen { Place::Here } else { Place::Unverified }
    }

    /// The same in SQL, of the row `i` of the intervals: null, 0 or the other table's OID, which is how
    /// [`Place::of`] takes it.
    pub(super) fn place_sql(&self) -> String {
        let Some(TableNow { oid, file, seen_at, .. }) = &self.table else {
            return "i.table_oid::bigint".to_owned();
        };
        let later =
            seen_at.map_or_else(String::new, |at| format!(" and i.loaded_at > '{}'", at.to_rfc3339()));
        format!(
            "case when i.table_oid <> {oid} then i.table_oid::bigint
                  when i.table_file is distinct from {file}{later} then 0::bigint end"
        )
    }
}

impl Place {
    pub(super) fn of(column: Option<i64>) -> Self {
        match column.map(u32::try_from) {
            None => Self::Here,
            Some(Ok(oid)) if oid > 0 => Self::Elsewhere(oid),
            Some(_) => Self::Unverified,
        }
    }
}

impl Ledger {
    /// Reads what the catalog says of the table that a job's `into` names.
    ///
    /// # Errors
    /// As the server says.
    pub async fn evidence(&self, session: &Session, into: &TableName) -> Result<Evidence> {
        let schemas = catalog::schemas_of(session, into).await?;
        let sql = self.sql(&EVIDENCE.replace("{file}", &file_of("c.oid")));
        let doing = format!("looking at {into}");
        let row = session.query_one(&doing, &sql, &[&schemas, &into.table, &into.schema.is_some()]).await?;
        let table = row.get::<_, Option<u32>>("oid").map(|oid| TableNow {
            oid,
            name: TableName::new(row.get::<_, String>("schema"), row.get::<_, String>("name")),
            file: row.get("file"),
            seen_at: row.get("seen_at"),
        });
        Ok(Evidence { now: row.get("now"), table })
    }

    /// Reads what became of tables that rows were recorded in.
    ///
    /// # Errors
    /// As the server says.
    pub async fn tables_before(&self, session: &Session, oids: &[u32]) -> Result<Vec<TableBefore>> {
        let doing = "looking for tables that were loaded";
        let recorded = session.query(doing, &self.sql(RECORDED), &[&oids]).await?;
        let names = session.query(doing, NAMES, &[&oids]).await?;
        let name_of = |oid: u32| {
            let row = names.iter().find(|row| row.get::<_, u32>("oid") == oid)?;
            Some(TableName::new(row.get::<_, String>("schema"), row.get::<_, String>("name")))
        };
        let before = recorded.iter().map(|row| {
            let oid = row.get("table_oid");
            TableBefore { oid, recorded: row.get("table_name"), now: name_of(oid) }
        });
        Ok(before.collect())
    }

    /// Records that what was loaded into a table until a moment was found in its file; a ledger that was
    /// opened for looking records nothing.
    ///
    /// # Errors
    /// As the server says.
    pub async fn found(&self, session: &Session, table: &TableNow, at: DateTime<Utc>) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        let doing = format!("recording that the rows of {} were found", table.name);
        session.execute(&doing, &self.sql(SEEN), &[&table.oid, &table.file, &at]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_in_its_table_and_in_a_file_in_which_it_was_found() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        let table = |seen_at| TableNow { oid: 7, name: TableName::new("mart", "orders"), file: 70, seen_at };
        let with = |table| Evidence { now: DateTime::<Utc>::MIN_UTC, table };
        let (plain, seen) = (with(Some(table(None))), with(Some(table(at(100)))));
        assert_eq!(plain.place((7, Some(70)), at(50)), Place::Here);
        assert_eq!(plain.place((7, Some(60)), at(50)), Place::Unverified);
        assert_eq!(plain.place((7, None), at(50)), Place::Unverified, "of an earlier version");
        assert_eq!(seen.place((7, Some(60)), at(50)), Place::Here);
        assert_eq!(seen.place((7, Some(60)), at(101)), Place::Unverified, "recorded after the look");
        assert_eq!(plain.place((8, Some(70)), at(50)), Place::Elsewhere(8));
        assert_eq!(with(None).place((7, Some(70)), at(50)), Place::Elsewhere(7));
        assert_eq!(
            [None, Some(0), Some(8)].map(Place::of),
            [Place::Here, Place::Unverified, Place::Elsewhere(8)]
        );
    }
}
