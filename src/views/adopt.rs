//! Files from views that exist: each with everything that belongs to it, ready to be recorded as applied.
//!
//! Other tools' own records tell which file a view came from: a `flyway_schema_history` with its
//! repeatable scripts, the versions of Scenic's files, Alembic's version table. They are read, never written.

use std::collections::BTreeMap;

use super::alter;
use super::facts::{self, Facts};
use super::statement::ObjectKind;
use crate::error::Result;
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// A view to be adopted, and the file that says it.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The view.
    pub facts: Facts,
    /// The path below the folder.
    pub path: String,
    /// The file's text.
    pub text: String,
}

/// Another tool that looks after views here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// `Flyway`, `Scenic` (its Rails), `Alembic`.
    pub name: &'static str,
    /// Its table.
    pub table: TableName,
    /// What it says, in a line.
    pub says: String,
    /// Repeatable scripts it has run: the file and when.
    pub scripts: Vec<String>,
}

const CANDIDATES: &str = "
select c.oid
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = any ($2::pg_catalog.text[]::pg_catalog.\"char\"[])
  and n.nspname not in ('pg_catalog', 'information_schema', $1)
  and n.nspname not like 'pg\\_%'
  and pg_catalog.coalesce_dummy is null";

/// All views of a database that no extension and no ledger owns.
///
/// # Errors
/// The server's.
pub async fn candidates(session: &Session, ledger_schema: &str) -> Result<Vec<Facts>> {
    let sql = CANDIDATES.lines().filter(|line| !line.contains("dummy")).collect::<Vec<_>>().join("\n");
    let sql = format!(
        "{sql} and not exists (select from pg_catalog.pg_depend d
           where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e')"
    );
    let rows = session.query("looking for views", &sql, &[&ledger_schema, &vec!["m", "v"]]).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut found: Vec<Facts> = facts::read(session, &oids).await?.into_values().collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
