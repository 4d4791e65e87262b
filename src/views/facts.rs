//! What the catalog knows of a view: its definition, and everything that a drop and a create would lose.
//!
//! Definitions are the server's own text, written with an empty `search_path`: two that are equal are
//! the same view, however their files were laid out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::files::checksum;
use super::script::moved;
use super::settable;
use super::statement::ObjectKind;
use crate::error::Result;
use crate::name::TableName;
use crate::postgres::connect::Session;

const FACTS: &str = include_str!("facts.sql");
const DEPENDENTS: &str = include_str!("dependents_of.sql");

/// One view or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its definition as the server writes it.
    pub definition: String,
    /// Argument types of a function.
    pub arguments: String,
    /// Whether a materialized view can be read.
    pub is_populated: bool,
    /// Its owner.
    pub owner: String,
    /// `heap`; empty for what has none.
    pub access_method: String,
    /// Its tablespace; none for the default one.
    pub tablespace: Option<String>,
    /// `fillfactor=70`.
    pub options: BTreeSet<String>,
    /// Columns in order, with types.
    pub columns: Vec<(String, String)>,
    /// Columns with `set statistics 500`.
    pub column_settings: BTreeSet<(String, String)>,
    /// Names and definitions of valid indexes.
    pub indexes: BTreeMap<String, String>,
    /// Indexes that a `create index concurrently` left half-made.
    pub invalid_indexes: BTreeSet<String>,
    /// The index it is clustered on.
    pub cluster: Option<String>,
    /// Tablespaces of indexes.
    pub index_tablespaces: BTreeMap<String, String>,
    /// Comments on indexes.
    pub index_comments: BTreeMap<String, String>,
    /// Names and definitions of extended statistics.
    pub statistics: BTreeMap<String, String>,
    /// Grantee (empty: the owner) and privilege (`select*`: with grant option; `select (day)`: of a column).
    pub grants: BTreeSet<(String, String)>,
    /// Comments; the key is a column, or empty for the whole.
    pub comments: BTreeMap<String, String>,
    /// What cannot be carried to a new object, triggers, rules, labels: the statement that drops it, and
    /// on the lines below it the one that makes it again.
    pub fixtures: BTreeMap<String, String>,
    /// Its size with indexes.
    pub bytes: u64,
}

impl Facts {
    fn new(oid: u32) -> Self {
        Self {
            oid,
            name: TableName { schema: None, table: String::new() },
            kind: ObjectKind::View,
            definition: String::new(),
            arguments: String::new(),
            is_populated: true,
            owner: String::new(),
            access_method: String::new(),
            tablespace: None,
            options: BTreeSet::new(),
            columns: Vec::new(),
            column_settings: BTreeSet::new(),
            indexes: BTreeMap::new(),
            invalid_indexes: BTreeSet::new(),
            cluster: None,
            index_tablespaces: BTreeMap::new(),
            index_comments: BTreeMap::new(),
            statistics: BTreeMap::new(),
            grants: BTreeSet::new(),
            comments: BTreeMap::new(),
            fixtures: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn take(&mut self, what: &str, key: Option<String>, value: Option<String>) {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        match what {
            "name" => self.name = TableName::new(key, value),
            "kind" => self.kind = ObjectKind::of_sql(&value).unwrap_or(ObjectKind::View),
            "definition" => self.definition = value,
            "arguments" => self.arguments = value,
            "populated" => self.is_populated = value == "true",
            "owner" => self.owner = value,
            "access method" => self.access_method = value,
            "tablespace" => self.tablespace = Some(value),
            "option" => drop(self.options.insert(value)),
            // The key starts with the column's number, so that rows come in any order.
            "column" => self.columns.push((key, value)),
            "column setting" => drop(self.column_settings.insert((key, value))),
            "index" => drop(self.indexes.insert(key, value)),
            "invalid index" => drop(self.invalid_indexes.insert(key)),
            "cluster" => self.cluster = Some(value),
            "index tablespace" => drop(self.index_tablespaces.insert(key, value)),
            "index comment" => drop(self.index_comments.insert(key, value)),
            "statistics" => drop(self.statistics.insert(key, value)),
            "grant" => drop(self.grants.insert((key, value))),
            "comment" => drop(self.comments.insert(key, value)),
            "fixture" => drop(self.fixtures.insert(key, value)),
            "bytes" => self.bytes = value.parse().unwrap_or(0),
            _ => {}
        }
    }

    fn settle(&mut self) {
        // As a statement that was cut out of a script: `moved` gives no more.
        self.definition = self.definition.trim().trim_end_matches(';').to_owned();
        self.columns.sort();
        for (name, _) in &mut self.columns {
            *name = name.split_off(4);
        }
    }

    /// The same under another name, with other schemas, given as SQL, in every text of the server's.
    #[must_use]
    pub fn moved(mut self, name: TableName, place: &dyn Fn(&str, &str) -> Option<String>) -> Self {
        self.name = name;
        self.definition = moved(&self.definition, place);
        for text in self.indexes.values_mut().chain(self.statistics.values_mut()) {
            *text = moved(text, place);
        }
        for (_, data_type) in &mut self.columns {
            *data_type = moved(data_type, place);
        }
        self
    }

    /// Whether every column is where it was, with its type, and new ones come last: then an ordinary
    /// view can be replaced in place.
    #[must_use]
    pub fn keeps_columns_of(&self, before: &Self) -> bool {
        self.columns.len() >= before.columns.len() && self.columns.starts_with(&before.columns)
    }

    /// Hash of what makes it: its definition, kind and storage.
    #[must_use]
    pub fn definition_hash(&self) -> String {
        let Self { kind, definition, columns, access_method, tablespace, .. } = self;
        checksum(&format!("{kind:?} {definition} {columns:?} {access_method} {tablespace:?}"))
    }

    /// Hash of what belongs to it.
    #[must_use]
    pub fn properties_hash(&self) -> String {
        let one = (&self.owner, &self.options, &self.column_settings, &self.indexes, &self.cluster);
        let two =
            (&self.index_tablespaces, &self.index_comments, &self.statistics, &self.grants, &self.comments);
        checksum(&format!("{one:?} {two:?}"))
    }
}

/// Reads objects by their OIDs, in one query; those that are gone are missing. The session's
/// `search_path` must be empty.
///
/// # Errors
/// The server's.
pub async fn read(session: &Session, oids: &[u32]) -> Result<HashMap<u32, Facts>> {
    let mut found: HashMap<u32, Facts> = HashMap::new();
    if oids.is_empty() {
        return Ok(found);
    }
    let sql = FACTS
        .replace("{view_options}", &settable::of_relation("reloptions"))
        .replace("{toast_options}", &settable::of_relation("t.reloptions"))
        .replace("{column_options}", &settable::of_column("attoptions"))
        .replace("{index_definition}", &settable::index_definition("indexrelid"));
    for row in session.query("reading what views are", &sql, &[&oids]).await? {
        let oid: u32 = row.get(0);
        let facts = found.entry(oid).or_insert_with(|| Facts::new(oid));
        facts.take(row.get(1), row.get(2), row.get(3));
    }
    found.values_mut().for_each(Facts::settle);
    Ok(found)
}

/// Something that stands directly on a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// What it stands on.
    pub target: u32,
    /// The view or function; 0 for anything else.
    pub oid: u32,
    /// `view mart.x`, as the server describes it.
    pub described: String,
}

/// Reads what stands directly on these objects.
///
/// # Errors
/// The server's.
pub async fn dependents(session: &Session, oids: &[u32]) -> Result<Vec<Dependent>> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.query("looking for what stands on views", DEPENDENTS, &[&oids]).await?;
    Ok(rows
        .iter()
        .map(|row| Dependent { target: row.get(0), oid: row.get(1), described: row.get(2) })
        .collect())
}

/// What has the name of a managed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: TableName,
    /// Its OID.
    pub oid: u32,
    /// `materialized view`, `view`, `function`, or what it is instead.
    pub kind: String,
    /// Argument types of a function.
    pub arguments: String,
}

const NAMED: &str = "
select n.nspname::text, c.relname::text, c.oid,
       case c.relkind when 'm' then 'materialized view' when 'v' then 'view' when 'r' then 'table'
            when 'p' then 'partitioned table' when 'f' then 'foreign table' when 'S' then 'sequence'
            else 'relation' end, '' as arguments
from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name and c.relkind in ('m', 'v', 'r', 'p', 'f', 'S')
union all
select n.nspname::text, p.proname::text, p.oid, 'function', pg_catalog.pg_get_function_identity_arguments(p.oid)
from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname = w.name and p.prokind = 'f'";

/// Finds what has these names now; a function and a view may have the same.
///
/// # Errors
/// The server's.
pub async fn named(session: &Session, names: &[TableName]) -> Result<Vec<Named>> {
    let schemas: Vec<_> = names.iter().map(|name| name.schema.clone().unwrap_or_default()).collect();
    let tables: Vec<_> = names.iter().map(|name| name.table.clone()).collect();
    let rows = session.query("looking for views by name", NAMED, &[&schemas, &tables]).await?;
    let named = |row: &tokio_postgres::Row| Named {
        name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        oid: row.get(2),
        kind: row.get(3),
        arguments: row.get(4),
    };
    Ok(rows.iter().map(named).collect())
}
