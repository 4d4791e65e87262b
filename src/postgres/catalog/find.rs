//! From a name as people write it to a relation; says the nearest name when there is none.
//!
//! The session's own `search_path` is empty. A name without a schema is looked up where the role's
//! default path would find it, which the server keeps as the setting's reset value.

use super::super::connect::Session;
use super::relation::{self, Relation};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

const SEARCH_PATH: &str = "
select s.reset_val, current_user::pg_catalog.text
from pg_catalog.pg_settings s where s.name = 'search_path'";

const LOOK_UP: &str = "
select c.oid
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = any ($1::pg_catalog.text[]) and c.relname = $2
    and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and ($3 or pg_catalog.has_schema_privilege(n.oid, 'usage'))
order by pg_catalog.array_position($1::pg_catalog.text[], n.nspname::pg_catalog.text)
limit 1";

const VISIBLE: &str = "
select n.nspname, c.relname
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
limit 20000";

const FIRST_SCHEMA: &str = "
select n.nspname
from pg_catalog.pg_namespace n
where n.nspname = any ($1::pg_catalog.text[])
order by pg_catalog.array_position($1::pg_catalog.text[], n.nspname::pg_catalog.text)
limit 1";

/// Finds a table, view or the like.
///
/// # Errors
/// `Preflight`, with the nearest name, when there is none; whatever the server says.
pub async fn find_relation(session: &Session, name: &TableName) -> Result<Relation> {
    match relation_if_exists(session, name).await? {
        Some(relation) => Ok(relation),
        None => Err(not_found(session, name).await?),
    }
}

/// Finds a table, view or the like, or none.
///
/// # Errors
/// Whatever the server says.
pub async fn relation_if_exists(session: &Session, name: &TableName) -> Result<Option<Relation>> {
    let doing = format!("looking for {name}");
    let schemas = schemas_of(session, name).await?;
    let row = session.query_opt(&doing, LOOK_UP, &[&schemas, &name.table, &name.schema.is_some()]).await?;
    match row {
        Some(row) => relation::read(session, row.get(0)).await,
        None => Ok(None),
    }
}

/// The role's own `search_path`, as it is set: for queries that people wrote.
///
/// # Errors
/// Whatever the server says.
pub async fn role_search_path(session: &Session) -> Result<String> {
    let row = session.query_one("reading the role's search_path", SEARCH_PATH, &[]).await?;
    Ok(row.get(0))
}

/// The full name of a table to be made: without a schema, the first that exists in the role's path.
///
/// # Errors
/// `Preflight` when no schema of the path exists; whatever the server says.
pub async fn creation_name(session: &Session, name: &TableName) -> Result<TableName> {
    if name.schema.is_some() {
        return Ok(name.clone());
    }
    let schemas = search_schemas(session).await?;
    let row = session.query_opt("looking for a schema", FIRST_SCHEMA, &[&schemas]).await?;
    let server = &session.server().name;
    let row = row.ok_or_else(|| {
        let context = format!("{server}: no schema of the role's search_path exists to make {name} in");
        Error::new(ErrorKind::Preflight, context).with_hint(format!("give one: into = \"public.{name}\""))
    })?;
    Ok(TableName::new(row.get::<_, String>(0), &name.table))
}

/// The schemas in which a name is looked up, in order: its own, or those of the role's `search_path`.
///
/// # Errors
/// Whatever the server says.
pub async fn schemas_of(session: &Session, name: &TableName) -> Result<Vec<String>> {
    match &name.schema {
        Some(schema) => Ok(vec![schema.clone()]),
        None => search_schemas(session).await,
    }
}

async fn search_schemas(session: &Session) -> Result<Vec<String>> {
    let row = session.query_one("reading the role's search_path", SEARCH_PATH, &[]).await?;
    Ok(split_search_path(row.get(0), row.get(1)))
}

/// Splits a `search_path` by the server's rules: commas, quotes, folding, `$user`.
fn split_search_path(path: &str, user: &str) -> Vec<String> {
    let mut schemas = Vec::new();
    let mut chars = path.chars().peekable();
    let mut schema = String::new();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => schema.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => schemas.push(std::mem::take(&mut schema)),
            c if quoted => schema.push(c),
            c if c.is_whitespace() => {}
            c => schema.extend(c.to_lowercase()),
        }
    }
    schemas.push(schema);
    schemas.retain(|schema| !schema.is_empty());
    for schema in &mut schemas {
        if schema == "$user" {
            user.clone_into(schema);
        }
    }
    schemas
}

async fn not_found(session: &Session, name: &TableName) -> Result<Error> {
    let rows = session.query("looking for similar names", VISIBLE, &[]).await?;
    let names: Vec<TableName> =
        rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect();
    let mut text = format!("{}: there is no table {name}", session.server().name);
    if name.schema.is_none() {
        let path = search_schemas(session).await?.join(", ");
        text.push_str(&format!(" in the role's search_path ({path})"));
    }
    if let Some(nearest) = nearest(name, &names) {
        text.push_str(&format!("; did you mean {nearest}?"));
    }
    Ok(Error::new(ErrorKind::Preflight, text))
}

/// The name that was probably meant: other case, other schema, or a few letters away.
fn nearest<'a>(wanted: &TableName, names: &'a [TableName]) -> Option<&'a TableName> {
    let folded = |name: &TableName| match (&wanted.schema, &name.schema) {
        (Some(_), Some(schema)) => format!("{schema}.{}", name.table).to_lowercase(),
        _ => name.table.to_lowercase(),
    };
    let text = folded(wanted);
    let same_table = |name: &&TableName| name.table.to_lowercase() == wanted.table.to_lowercase();
    names.iter().find(|name| folded(name) == text).or_else(|| names.iter().find(same_table)).or_else(|| {
        let distance = |name: &TableName| strsim::damerau_levenshtein(&folded(name), &text);
        let near = names.iter().map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance);
        near.filter(|(distance, _)| *distance <= 1 + text.chars().count() / 5).map(|(_, name)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_path_is_split_as_the_server_does() {
        let path = r#""$user", Public,"Odd, ""name""" , ''"#;
        assert_eq!(split_search_path(path, "etl"), ["etl", "public", "Odd, \"name\"", "''"]);
        assert!(split_search_path("", "etl").is_empty());
        assert!(split_search_path("\"\"", "etl").is_empty());
    }

    #[test]
    fn nearest_name_is_other_case_then_other_schema_then_a_few_letters_away() {
        let names = ["public.flights", "mart.orders", "public.\"Airports\""].map(|n| n.parse().unwrap());
        let nearest = |name: &str| nearest(&name.parse().unwrap(), &names).map(ToString::to_string);
        assert_eq!(nearest("public.flight").as_deref(), Some("public.flights"));
        assert_eq!(nearest("public.airports").as_deref(), Some("public.\"Airports\""));
        assert_eq!(nearest("public.orders").as_deref(), Some("mart.orders"));
        assert_eq!(nearest("flihgts").as_deref(), Some("public.flights"));
        assert_eq!(nearest("public.customers"), None);
    }
}
