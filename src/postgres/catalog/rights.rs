//! Which grants a job needs, which of them the role lacks, and the SQL for whoever can give them.

use std::fmt;

use super::super::connect::Session;
use super::super::ident::{quote, quote_list, quote_table};
use super::relation::{Relation, RelationKind};
use crate::error::Result;
use crate::name::TableName;

/// A right on something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// Read rows.
    Select,
    /// Add rows.
    Insert,
    /// Change rows: `merge`; on a sequence, set it.
    Update,
    /// Remove rows.
    Delete,
    /// Empty the table.
    Truncate,
    /// Look into a schema.
    Usage,
    /// Make things in a schema, or schemas in a database.
    Create,
    /// Make temporary tables in a database: `merge`.
    Temporary,
}

/// One grant: a privilege on one thing to the session's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The right.
    pub privilege: Privilege,
    /// What it is on.
    pub object: Object,
    /// The role that needs it.
    pub role: String,
}

/// What a privilege is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A table or view; a list of columns is enough, if given.
    Table {
        /// The name, with its schema.
        name: TableName,
        /// The columns that have to do.
        columns: Option<Vec<String>>,
    },
    /// A sequence.
    Sequence(TableName),
    /// A schema.
    Schema(String),
    /// The session's database, by name.
    Database(String),
}

impl Privilege {
    /// The word for it in SQL, in lower case.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Usage => "usage",
            Self::Create => "create",
            Self::Temporary => "temporary",
        }
    }

    fn can_be_on_columns(self) -> bool {
        matches!(self, Self::Select | Self::Insert | Self::Update)
    }
}

/// The grant as SQL, without a semicolon.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (privilege, role) = (self.privilege.words(), quote(&self.role));
        match &self.object {
            Object::Table { name, columns: Some(columns) } if self.privilege.can_be_on_columns() => {
                let columns = quote_list(columns);
                write!(f, "grant {privilege} ({columns}) on table {} to {role}", quote_table(name))
            }
            Object::Table { name, .. } => {
                write!(f, "grant {privilege} on table {} to {role}", quote_table(name))
            }
            Object::Sequence(name) => {
                write!(f, "grant {privilege} on sequence {} to {role}", quote_table(name))
            }
            Object::Schema(name) => write!(f, "grant {privilege} on schema {} to {role}", quote(name)),
            Object::Database(name) => write!(f, "grant {privilege} on database {} to {role}", quote(name)),
        }
    }
}

/// What a person reads: `warehouse: etl may not insert into mart.orders` is made of this.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { name, .. } => write!(f, "table {name}"),
            Self::Sequence(name) => write!(f, "sequence {name}"),
            Self::Schema(name) => write!(f, "schema {name}"),
            Self::Database(name) => write!(f, "database {name}"),
        }
    }
}

/// The grants for using a relation: USAGE on its schema, and the privileges on it or on columns.
#[must_use]
pub fn needed_on_relation(
    session: &Session,
    relation: &Relation,
    privileges: &[Privilege],
    columns: Option<&[String]>,
) -> Vec<Grant> {
    let grant = |privilege, object| Grant { privilege, object, role: session.server().role.clone() };
    let mut grants = Vec::new();
    if let Some(schema) = &relation.name.schema {
        grants.push(grant(Privilege::Usage, Object::Schema(schema.clone())));
    }
    for privilege in privileges {
        let object = if relation.kind == RelationKind::Sequence {
            Object::Sequence(relation.name.clone())
        } else {
            let columns = columns.filter(|_| privilege.can_be_on_columns()).map(<[String]>::to_vec);
            Object::Table { name: relation.name.clone(), columns }
        };
        grants.push(grant(*privilege, object));
    }
    grants
}

const SCHEMA: &str = "
select pg_catalog.current_database()::pg_catalog.text,
    exists (select from pg_catalog.pg_namespace n where n.nspname = $1)";

/// The grants for making a table in a schema, and the schema if it is missing.
///
/// # Errors
/// Whatever the server says.
pub async fn needed_for_creation(session: &Session, schema: &str) -> Result<Vec<Grant>> {
    let row = session.query_one("looking for a schema", SCHEMA, &[&schema]).await?;
    let grant = |privilege, object| Grant { privilege, object, role: session.server().role.clone() };
    if !row.get::<_, bool>(1) {
        return Ok(vec![grant(Privilege::Create, Object::Database(row.get(0)))]);
    }
    let object = || Object::Schema(schema.to_owned());
    Ok(vec![grant(Privilege::Usage, object()), grant(Privilege::Create, object())])
}

/// The grants for the ledger's schema: made if missing, and staged tables come and go in it.
///
/// `merge` also needs temporary tables.
///
/// # Errors
/// Whatever the server says.
pub async fn needed_for_ledger(session: &Session, schema: &str, temporary: bool) -> Result<Vec<Grant>> {
    let mut grants = needed_for_creation(session, schema).await?;
    if temporary {
        let row = session.query_one("looking for a schema", SCHEMA, &[&schema]).await?;
        let role = session.server().role.clone();
        grants.push(Grant { privilege: Privilege::Temporary, object: Object::Database(row.get(0)), role });
    }
    Ok(grants)
}

const HAS_ON_TABLE: &str = "
select pg_catalog.has_table_privilege(c.oid, $3)
    or ($4::pg_catalog.text[] is not null and not exists (
        select from pg_catalog.unnest($4::pg_catalog.text[]) w(name)
            left join pg_catalog.pg_attribute a
                on a.attrelid = c.oid and a.attname = w.name and not a.attisdropped
        where a.attname is not null
            and not pg_catalog.has_column_privilege(c.oid, a.attnum, $5)))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

const HAS_ON_SEQUENCE: &str = "
select pg_catalog.has_sequence_privilege(c.oid, $3)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2";

const HAS_ON_SCHEMA: &str = "
select pg_catalog.has_schema_privilege(n.oid, $2) from pg_catalog.pg_namespace n where n.nspname = $1";

const HAS_ON_DATABASE: &str = "select pg_catalog.has_database_privilege($1::pg_catalog.text, $2)";

/// The grants of these that the session's role does not have.
///
/// # Errors
/// Whatever the server says.
pub async fn missing_grants(session: &Session, needed: Vec<Grant>) -> Result<Vec<Grant>> {
    let mut missing = Vec::new();
    for grant in needed {
        if !has(session, &grant).await? {
            missing.push(grant);
        }
    }
    Ok(missing)
}

async fn has(session: &Session, grant: &Grant) -> Result<bool> {
    let doing = "checking rights";
    let privilege = grant.privilege.words();
    let row = match &grant.object {
        Object::Table { name, columns } => {
            let columns = columns.as_ref().filter(|_| grant.privilege.can_be_on_columns());
            // The server checks the word even where no columns are given.
            let on_column = if grant.privilege.can_be_on_columns() { privilege } else { "select" };
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&name.schema, &name.table, &privilege, &columns, &on_column];
            session.query_opt(doing, HAS_ON_TABLE, &params).await?
        }
        Object::Sequence(name) => {
            session.query_opt(doing, HAS_ON_SEQUENCE, &[&name.schema, &name.table, &privilege]).await?
        }
        Object::Schema(name) => session.query_opt(doing, HAS_ON_SCHEMA, &[name, &privilege]).await?,
        Object::Database(name) => session.query_opt(doing, HAS_ON_DATABASE, &[name, &privilege]).await?,
    };
    Ok(row.is_some_and(|row| row.get(0)))
}

/// The grants as statements, one a line, for a DBA to run.
#[must_use]
pub fn grants_sql(grants: &[Grant]) -> String {
    grants.iter().map(|grant| format!("{grant};\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_statements_with_quoted_names() {
        let grant = |privilege, object| Grant { privilege, object, role: "e\"tl".to_owned() };
        let table = |columns| Object::Table { name: TableName::new("mart", "Orders"), columns };
        let grants = [
            grant(Privilege::Usage, Object::Schema("mart".to_owned())),
            grant(Privilege::Select, table(Some(vec!["a".to_owned(), "b c".to_owned()]))),
            grant(Privilege::Truncate, table(None)),
        ];
        assert_eq!(
            grants_sql(&grants),
            "grant usage on schema \"mart\" to \"e\"\"tl\";\n\
             grant select (\"a\", \"b c\") on table \"mart\".\"Orders\" to \"e\"\"tl\";\n\
             grant truncate on table \"mart\".\"Orders\" to \"e\"\"tl\";\n"
        );
    }
}
