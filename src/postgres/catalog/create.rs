//! The statements that make a missing table, or add a column, in the destination.
//!
//! Types, NOT NULL and the primary key; no foreign keys, defaults or identities. Types that the
//! destination does not have are named all at once, each with the statement that makes it.

use super::super::connect::Session;
use super::super::ident::{literal, quote, quote_list, quote_table};
use super::column::Column;
use super::data_type::{DataType, Provider, TypeKind, Types};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

const SCHEMA_EXISTS: &str = "select exists (select from pg_catalog.pg_namespace n where n.nspname = $1)";

const MISSING_TYPES: &str = "
select w.formatted
from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality w(formatted, n)
where pg_catalog.to_regtype(w.formatted) is null
order by w.n";

const TYPES_THERE: &str = "
select pg_catalog.to_regtype(w.formatted)::pg_catalog.oid
from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality w(formatted, n)
order by w.n";

/// The columns of a table made from these: plain, computed and generated ones too.
#[must_use]
pub fn created_columns(source: &[Column]) -> Vec<Column> {
    let plain = |c: &Column| Column { not_null: c.not_null, ..Column::plain(&c.name, c.data_type.clone()) };
    source.iter().map(plain).collect()
}

/// The statement that makes a schema. It needs CREATE on the database even if the schema exists.
#[must_use]
pub fn create_schema_sql(schema: &str) -> String {
    format!("create schema if not exists {}", quote(schema))
}

/// The statement that makes a table; types keep their schema, NOT NULL and the key are kept.
#[must_use]
pub fn create_table_sql(target: &TableName, columns: &[Column], primary_key: &[String]) -> String {
    let mut parts: Vec<String> = columns.iter().map(definition).collect();
    if !primary_key.is_empty() {
        parts.push(format!("primary key ({})", quote_list(primary_key)));
    }
    format!("create table {} (\n    {}\n)", quote_table(target), parts.join(",\n    "))
}

/// The statement that adds columns to a table, nullable since old rows have no value for them.
#[must_use]
pub fn add_columns_sql(target: &TableName, columns: &[Column]) -> Option<String> {
    if columns.is_empty() {
        return None;
    }
    let add = |c: &Column| format!("add column {} {}", quote(&c.name), c.data_type.formatted);
    let parts: Vec<String> = columns.iter().map(add).collect();
    Some(format!("alter table {} {}", quote_table(target), parts.join(", ")))
}

/// The statements that make a missing table, and its schema if that is missing too.
///
/// # Errors
/// `Preflight`, naming every type that the destination does not have; whatever the server says.
pub async fn create_statements(
    session: &Session,
    target: &TableName,
    columns: &[Column],
    primary_key: &[String],
) -> Result<Vec<String>> {
    let missing = missing_types(session, columns).await?;
    if !missing.is_empty() {
        return Err(types_error(session, target, &missing));
    }
    let mut statements = Vec::new();
    if let Some(schema) = &target.schema {
        let row = session.query_one("looking for a schema", SCHEMA_EXISTS, &[schema]).await?;
        if !row.get::<_, bool>(0) {
            statements.push(create_schema_sql(schema));
        }
    }
    statements.push(create_table_sql(target, columns, primary_key));
    Ok(statements)
}

/// The columns whose types the session's database does not have.
///
/// # Errors
/// Whatever the server says.
pub async fn missing_types<'a>(session: &Session, columns: &'a [Column]) -> Result<Vec<&'a Column>> {
    let formatted: Vec<&str> = columns.iter().map(|c| c.data_type.formatted.as_str()).collect();
    let rows = session.query("looking for types", MISSING_TYPES, &[&formatted]).await?;
    let missing: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    Ok(columns.iter().filter(|c| missing.contains(&c.data_type.formatted.as_str())).collect())
}

/// The columns with the types that the session's database has under these names: a type that people
/// made has another OID there, and may have other labels or fields.
///
/// # Errors
/// Whatever the server says.
pub async fn types_there(session: &Session, columns: Vec<Column>) -> Result<Vec<Column>> {
    let formatted: Vec<&str> = columns.iter().map(|c| c.data_type.formatted.as_str()).collect();
    let rows = session.query("looking at types", TYPES_THERE, &[&formatted]).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let types = Types::read(session, &oids).await?;
    let there = |(column, oid): (Column, u32)| {
        let DataType { typmod, formatted, .. } = &column.data_type;
        let data_type = types.build(oid, *typmod, formatted)?;
        Ok(Column { data_type, ..column })
    };
    columns.into_iter().zip(oids).map(there).collect()
}

fn definition(column: &Column) -> String {
    let not_null = if column.not_null { " not null" } else { "" };
    format!("{} {}{not_null}", quote(&column.name), column.data_type.formatted)
}

fn types_error(session: &Session, target: &TableName, columns: &[&Column]) -> Error {
    let server = &session.server().name;
    let mut error = Error::new(
        ErrorKind::Preflight,
        format!("{server}: {target} cannot be made: it needs types that are not there"),
    );
    let mut remedies: Vec<String> = Vec::new();
    for column in columns {
        error = error.with_detail(format!("{}  {}", column.name, column.data_type.formatted));
        let remedy = create_type_sql(&column.data_type);
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    error.with_hint(format!("on {server}:\n  {}", remedies.join("\n  ")))
}

/// The statement that makes a type like this one, for a person to run.
fn create_type_sql(data_type: &DataType) -> String {
    let name = format!("{}.{}", quote(&data_type.schema), quote(&data_type.name));
    if let Provider::Extension { name: extension, .. } = &data_type.provider {
        return format!("create extension {} schema {};", quote(extension), quote(&data_type.schema));
    }
    match &data_type.kind {
        TypeKind::Array(element) => create_type_sql(element),
        TypeKind::Enum(labels) => {
            let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
            format!("create type {name} as enum ({});", labels.join(", "))
        }
        TypeKind::Domain(base) => format!("create domain {name} as {};", base.formatted),
        TypeKind::Composite(fields) => {
            let field = |f: &super::Field| format!("{} {}", quote(&f.name), f.data_type.formatted);
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("create type {name} as ({});", fields.join(", "))
        }
        TypeKind::Range(subtype) => {
            format!("create type {name} as range (subtype = {});", subtype.formatted)
        }
        _ => format!("-- make the type {} as it is on the source", data_type.formatted),
    }
}
