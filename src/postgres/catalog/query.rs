//! The shape of a query without running it: its columns, and the tables it reads.
//!
//! Parsing a query takes a snapshot, so what it reads has to be known, and locked, in an earlier
//! transaction: a TRUNCATE between the snapshot and the lock would otherwise show an empty table.

use super::super::connect::Session;
use super::super::described::Described;
use super::super::ident::{literal, quote_table};
use super::super::sqlstate::place_in;
use super::column::Column;
use super::data_type::Types;
use super::relation::RelationKind;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// What a query gives and what it reads.
#[derive(Debug, Clone)]
pub struct QueryShape {
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The relations that parsing it locked, also through views; not those inside functions.
    pub relations: Vec<RelationRef>,
}

/// A relation that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRef {
    /// The OID.
    pub oid: u32,
    /// The name.
    pub name: TableName,
    /// The kind.
    pub kind: RelationKind,
    /// Whether the role may `LOCK ... IN ACCESS SHARE MODE`: a table, with SELECT on the whole of it.
    pub lockable: bool,
}

const LOCKED: &str = "
select c.oid, n.nspname, c.relname, c.relkind::pg_catalog.text,
    c.relkind in ('r', 'p') and pg_catalog.has_table_privilege(c.oid, 'select')
        and pg_catalog.has_schema_privilege(n.oid, 'usage')
from pg_catalog.pg_locks l
    join pg_catalog.pg_class c on c.oid = l.relation
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
order by n.nspname, c.relname";

const FORMATTED: &str = "
select pg_catalog.format_type(w.oid, w.typmod)
from rows from (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[]))
    with ordinality w(oid, typmod, n)
order by w.n";

/// Describes a query's columns in the session as it stands: its transaction, its `search_path`.
///
/// # Errors
/// Whatever the server says of the query: unknown names, syntax, rights.
pub async fn describe_query(session: &Session, sql: &str) -> Result<Vec<Column>> {
    let described = parse(session, sql).await?;
    columns(session, &described).await
}

/// Parses a query in a throw-away transaction, with the `search_path` given, and rolls back.
///
/// # Errors
/// Whatever the server says of the query: unknown names, syntax, rights.
pub async fn inspect_query(session: &Session, sql: &str, search_path: &str) -> Result<QueryShape> {
    let path = literal(search_path);
    let set = format!("select pg_catalog.set_config('search_path', {path}, true)");
    session.begin_reading("starting a transaction", &set).await?;
    let inspected = inspect(session, sql).await;
    let ended = session.end_reading("ending a transaction").await;
    let shape = inspected?;
    ended.map(|()| shape)
}

/// The statement that locks what can be locked, if there is anything.
#[must_use]
pub fn lock_sql(relations: &[RelationRef]) -> Option<String> {
    let tables: Vec<String> = relations.iter().filter(|r| r.lockable).map(|r| quote_table(&r.name)).collect();
    if tables.is_empty() {
        return None;
    }
    Some(format!("lock table {} in access share mode", tables.join(", ")))
}

async fn parse(session: &Session, sql: &str) -> Result<Vec<Described>> {
    let e = match session.describe(sql).await {
        Ok(described) => return Ok(described),
        Err(e) => e,
    };
    let place = place_in(sql, &e);
    let error = session.error(&format!("{}: parsing the query", session.server().name), e).await;
    let several = error.to_string().contains("multiple commands");
    let error = place.into_iter().fold(error, Error::with_detail);
    Err(if several { error.with_hint("it must be a single statement, without `;` inside") } else { error })
}

async fn inspect(session: &Session, sql: &str) -> Result<QueryShape> {
    let described = parse(session, sql).await?;
    // What follows is pgtide's own, and types are named with their schemas.
    session.batch("emptying the search_path", "set local search_path = ''").await?;
    let rows = session.query("finding the tables of the query", LOCKED, &[]).await?;
    let relation = |row: &tokio_postgres::Row| {
        let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        let kind = RelationKind::of(row.get(3))
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("{name} is of an unknown kind")))?;
        Ok(RelationRef { oid: row.get(0), name, kind, lockable: row.get(4) })
    };
    let relations = rows.iter().map(relation).collect::<Result<_>>()?;
    Ok(QueryShape { columns: columns(session, &described).await?, relations })
}

async fn columns(session: &Session, described: &[Described]) -> Result<Vec<Column>> {
    let oids: Vec<u32> = described.iter().map(|d| d.oid).collect();
    let typmods: Vec<i32> = described.iter().map(|d| d.typmod).collect();
    let types = Types::read(session, &oids).await?;
    let rows = session.query("naming the query's types", FORMATTED, &[&oids, &typmods]).await?;
    let column = |(d, row): (&Described, &tokio_postgres::Row)| {
        Ok(Column::plain(&d.name, types.build(d.oid, d.typmod, row.get(0))?))
    };
    described.iter().zip(&rows).map(column).collect()
}
