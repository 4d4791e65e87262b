//! Everything about a materialized view that dropping and creating it loses: read, and made again.
//!
//! Read with [`Properties::read`] in a session whose search path is empty, as pgtide's are. The
//! statements that make it again are given for any schema: the one where a view is built beside the
//! live one has the same names in it, so that nothing has to be renamed when they change places.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

use super::settable;

const PROPERTIES: &str = include_str!("properties.sql");
const BLOCKERS: &str = include_str!("blockers.sql");

/// A materialized view or a view with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Properties {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name in the schema.
    pub name: String,
    /// Both as the server's own texts write them.
    pub sql_name: String,
    /// The schema as the server's own texts write it.
    pub sql_schema: String,
    /// `m` for a materialized view, `v` for a view.
    pub kind: String,
    /// The query, as the server prints it, with qualified names.
    pub definition: String,
    /// Whether it holds rows.
    pub is_populated: bool,
    /// The role that owns it.
    pub owner: String,
    /// The access method of its rows.
    pub access_method: Option<String>,
    /// The tablespace, if not the database's own.
    pub tablespace: Option<String>,
    /// Storage options, `name=value`; of a view its own options.
    pub options: Vec<String>,
    /// Storage options of its TOAST table.
    pub toast_options: Vec<String>,
    /// Its columns.
    pub columns: Vec<ColumnProperties>,
    /// Its indexes.
    pub indexes: Vec<IndexProperties>,
    /// Extended statistics on it.
    pub statistics: Vec<StatisticsProperties>,
    /// Who may do what with it, the owner among them.
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
    /// Security labels: provider and label.
    pub labels: Vec<(String, String)>,
    /// Extensions with which it is dropped.
    pub extensions: Vec<String>,
    /// Ordinary views that read it directly: they can be pointed at another one.
    pub views: Vec<Dependent>,
    /// What keeps it from being replaced, in sentences: what else reads it, rights that are missing.
    pub blockers: Vec<String>,
}

/// What is set for one column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ColumnProperties {
    /// The column.
    pub name: String,
    /// Its statistics target, if not the default.
    pub statistics: Option<i32>,
    /// Its options, such as `n_distinct=-1`.
    pub options: Vec<String>,
    /// Its storage, one of `p`, `e`, `x`, `m`, if not the type's.
    pub storage: Option<String>,
    /// Its compression, `p` or `l`, if one is set.
    pub compression: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct IndexProperties {
    /// Its name.
    pub name: String,
    /// Its name as the definition writes it.
    pub sql_name: String,
    /// `CREATE INDEX ...`, as the server prints it.
    pub definition: String,
    /// Whether it can be used.
    pub is_valid: bool,
    /// Whether it is the one to cluster by.
    pub is_clustered: bool,
    /// Its tablespace, if not the database's own.
    pub tablespace: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Column numbers and their statistics targets.
    pub statistics: Vec<(i32, i32)>,
}

/// An object of extended statistics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct StatisticsProperties {
    /// Its schema, which need not be the view's.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Both as the definition writes them.
    pub sql_name: String,
    /// `CREATE STATISTICS ...`, as the server prints it.
    pub definition: String,
    /// Its statistics target, if not the default.
    pub target: Option<i32>,
    /// Its comment.
    pub comment: Option<String>,
}

/// One privilege of one role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Grant {
    /// The role; none for everybody.
    pub grantee: Option<String>,
    /// `SELECT` and the like.
    pub privilege: String,
    /// Whether the role may hand it on.
    pub is_grantable: bool,
    /// The column that it is limited to.
    pub column: Option<String>,
}

/// An ordinary view that reads it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Dependent {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name in the schema.
    pub name: String,
}

impl Dependent {
    /// Its name with the schema.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }
}

/// What keeps each of these views from being built beside and replaced, as [`Properties::blockers`], in one statement; no
/// view is locked.
///
/// # Errors
/// The server's.
pub async fn blockers(session: &Session, oids: &[u32]) -> Result<BTreeMap<u32, Vec<String>>> {
    let doing = "looking for what stands on views";
    let sql = format!("select c.oid, ({BLOCKERS}) from pg_catalog.pg_class c where c.oid = any ($1)");
    let mut found = BTreeMap::new();
    for row in session.query(doing, &sql, &[&oids]).await? {
        let texts = serde_json::from_value(row.get(1))
            .map_err(|e| Error::new(ErrorKind::Internal, format!("{doing}: {e}")))?;
        found.insert(row.get(0), texts);
    }
    Ok(found)
}

impl Properties {
    /// Reads all of a materialized view or view.
    ///
    /// # Errors
    /// `Preflight`, if there is no relation of this OID; the server's.
    pub async fn read(session: &Session, oid: u32) -> Result<Self> {
        let doing = "reading what belongs to a view";
        let compression = compression(session.server().version_num);
        let sql = PROPERTIES
            .replace("{view_options}", &settable::of_relation("c.reloptions"))
            .replace("{toast_options}", &settable::of_relation("t.reloptions"))
            .replace("{column_options}", &settable::of_column("a.attoptions"))
            .replace("{index_definition}", &settable::index_definition("i.indexrelid"))
            .replace("{compression}", compression)
            .replace("{blockers}", BLOCKERS);
        let row = session.query_opt(doing, &sql, &[&oid]).await?;
        let row = row.ok_or_else(|| Error::new(ErrorKind::Preflight, "the view is gone"))?;
        let object: serde_json::Value = row.get("properties");
        serde_json::from_value(object).map_err(|e| Error::new(ErrorKind::Internal, format!("{doing}: {e}")))
    }

    /// Its name with the schema.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }

    /// Itself without what changes with its place, and without what is moved along as it is at the end:
    /// grants, and the views that read it.
    #[must_use]
    pub fn own(&self) -> Self {
        let mut own = Self { grants: Vec::new(), views: Vec::new(), blockers: Vec::new(), ..self.clone() };
        // The texts of others name it by where it is; its own query cannot be altered.
        for index in &mut own.indexes {
            index.definition = index.definition.replacen(&self.sql_name, "", 1);
        }
        for statistics in &mut own.statistics {
            let name = std::mem::take(&mut statistics.sql_name);
            let text = statistics.definition.replacen(&name, "", 1);
            statistics.definition = text.trim_end_matches(&*self.sql_name).to_owned();
            statistics.schema.clear();
        }
        for text in [&mut own.schema, &mut own.sql_name, &mut own.sql_schema, &mut own.definition] {
            text.clear();
        }
        own
    }

    /// `CREATE MATERIALIZED VIEW ... WITH NO DATA` in a schema, with another query if one is given.
    #[must_use]
    pub fn create_statement(&self, schema: &str, definition: Option<&str>) -> String {
        let mut sql = format!("create materialized view {}", self.target(schema));
        if let Some(method) = &self.access_method {
            sql.push_str(&format!(" using {}", ident::quote(method)));
        }
        let toast = self.toast_options.iter().map(|option| format!("toast.{}", set(option)));
        let options: Vec<_> = self.options.iter().map(|option| set(option)).chain(toast).collect();
        if !options.is_empty() {
            sql.push_str(&format!(" with ({})", options.join(", ")));
        }
        if let Some(tablespace) = &self.tablespace {
            sql.push_str(&format!(" tablespace {}", ident::quote(tablespace)));
        }
        let query = definition.unwrap_or(&self.definition).trim().trim_end_matches(';');
        // A newline ends a comment that the query may close with.
        format!("{sql} as\n{query}\nwith no data")
    }

    /// The indexes, their settings and comments, for the view in a schema; invalid ones are left out.
    #[must_use]
    pub fn index_statements(&self, schema: &str) -> Vec<String> {
        let valid = self.indexes.iter().filter(|index| index.is_valid);
        valid.flat_map(|index| self.one_index(schema, index)).collect()
    }

    fn one_index(&self, schema: &str, index: &IndexProperties) -> Vec<String> {
        let place = TableName::new(schema, &index.name);
        let name = ident::quote_table(&place);
        let from = format!(" INDEX {} ON {} ", index.sql_name, self.sql_name);
        let to = format!(" INDEX {} ON {} ", index.sql_name, self.target(schema));
        let mut statements = Vec::new();
        if let Some(tablespace) = &index.tablespace {
            statements.push(format!("set local default_tablespace to {}", ident::literal(tablespace)));
        }
        statements.push(index.definition.replacen(&from, &to, 1));
        if index.tablespace.is_some() {
            statements.push("set local default_tablespace to ''".to_owned());
        }
        statements.extend(index.statistics.iter().map(|(column, target)| {
            format!("alter index {name} alter column {column} set statistics {target}")
        }));
        statements.extend(comment("index", &name, index.comment.as_deref()));
        if index.is_clustered {
            let view = self.target(schema);
            statements
                .push(format!("alter materialized view {view} cluster on {}", ident::quote(&index.name)));
        }
        statements
    }

    /// Column settings, extended statistics, comments, labels: all but indexes, owner and grants. The
    /// statistics are made in the same schema; [`statistics_home`](Self::statistics_home) moves them.
    #[must_use]
    pub fn detail_statements(&self, schema: &str) -> Vec<String> {
        let view = self.target(schema);
        let mut statements: Vec<String> =
            self.columns.iter().flat_map(|column| column.statements(&view)).collect();
        for statistics in &self.statistics {
            statements.extend(statistics.statements(schema, &self.sql_name, &view));
        }
        statements.extend(comment("materialized view", &view, self.comment.as_deref()));
        statements.extend(self.labels.iter().map(|(provider, label)| {
            let (provider, label) = (ident::quote(provider), ident::literal(label));
            format!("security label for {provider} on materialized view {view} is {label}")
        }));
        statements.extend(self.extensions.iter().map(|extension| {
            format!("alter materialized view {view} depends on extension {}", ident::quote(extension))
        }));
        statements
    }

    /// Moves the extended statistics from the schema where they were made to where they belong.
    #[must_use]
    pub fn statistics_home(&self, from: &str) -> Vec<String> {
        let each = self.statistics.iter();
        each.map(|statistics| {
            let name = ident::quote_table(&TableName::new(from, &statistics.name));
            format!("alter statistics {name} set schema {}", ident::quote(&statistics.schema))
        })
        .collect()
    }

    /// Moves the extended statistics of the live view out of the way.
    #[must_use]
    pub fn statistics_away(&self, to: &str) -> Vec<String> {
        let each = self.statistics.iter();
        each.map(|statistics| {
            let name = ident::quote_table(&TableName::new(&statistics.schema, &statistics.name));
            format!("alter statistics {name} set schema {}", ident::quote(to))
        })
        .collect()
    }

    /// Makes the grants of another object, as it stands, exactly these: surplus ones are revoked, such as
    /// those of `ALTER DEFAULT PRIVILEGES`, and owner's rights that were taken away stay away.
    #[must_use]
    pub fn grant_statements(&self, other: &Self) -> Vec<String> {
        let sorted = |grants: &[Grant]| {
            let mut grants = grants.to_vec();
            grants.sort();
            grants
        };
        if sorted(&self.grants) == sorted(&other.grants) {
            return Vec::new();
        }
        let view = other.target(&other.schema);
        let mut roles: Vec<&Option<String>> = other.grants.iter().map(|grant| &grant.grantee).collect();
        roles.sort();
        roles.dedup();
        let revokes = roles.into_iter().map(|role| format!("revoke all on {view} from {}", grantee(role)));
        let grants = self.grants.iter().map(|grant| grant.statement(&view));
        revokes.chain(grants).collect()
    }

    fn target(&self, schema: &str) -> String {
        ident::quote_table(&TableName::new(schema, &self.name))
    }
}

impl ColumnProperties {
    fn statements(&self, view: &str) -> Vec<String> {
        let column = ident::quote(&self.name);
        let alter = format!("alter materialized view {view} alter column {column}");
        let mut statements = Vec::new();
        statements.extend(self.statistics.map(|target| format!("{alter} set statistics {target}")));
        if !self.options.is_empty() {
            let options: Vec<_> = self.options.iter().map(|option| set(option)).collect();
            statements.push(format!("{alter} set ({})", options.join(", ")));
        }
        let storage = self.storage.as_deref().map(|storage| match storage {
            "p" => "plain",
            "e" => "external",
            "m" => "main",
            _ => "extended",
        });
        statements.extend(storage.map(|storage| format!("{alter} set storage {storage}")));
        let method = self.compression.as_deref().map(|c| if c == "l" { "lz4" } else { "pglz" });
        statements.extend(method.map(|method| format!("{alter} set compression {method}")));
        statements.extend(comment("column", &format!("{view}.{column}"), self.comment.as_deref()));
        statements
    }
}

impl StatisticsProperties {
    fn statements(&self, schema: &str, old_view: &str, view: &str) -> Vec<String> {
        let name = ident::quote_table(&TableName::new(schema, &self.name));
        let body = self.definition.strip_prefix(&format!("CREATE STATISTICS {}", self.sql_name));
        let body = body.and_then(|body| body.strip_suffix(&format!(" FROM {old_view}")));
        let Some(body) = body else { return vec![self.definition.clone()] };
        let mut statements = vec![format!("create statistics {name}{body} from {view}")];
        statements
            .extend(self.target.map(|target| format!("alter statistics {name} set statistics {target}")));
        statements.extend(comment("statistics", &name, self.comment.as_deref()));
        statements
    }
}

impl Grant {
    fn statement(&self, view: &str) -> String {
        let column = self.column.as_ref().map(|column| format!(" ({})", ident::quote(column)));
        let option = if self.is_grantable { " with grant option" } else { "" };
        let (what, column) = (&self.privilege, column.unwrap_or_default());
        format!("grant {what}{column} on {view} to {}{option}", grantee(&self.grantee))
    }
}

fn grantee(role: &Option<String>) -> String {
    role.as_deref().map_or_else(|| "public".to_owned(), ident::quote)
}

/// `name=value` as an option list takes it, whatever the value is.
fn set(option: &str) -> String {
    let (name, value) = option.split_once('=').unwrap_or((option, "true"));
    format!("{} = {}", ident::quote(name), ident::literal(value))
}

fn comment(what: &str, name: &str, text: Option<&str>) -> Option<String> {
    text.map(|text| format!("comment on {what} {name} is {}", ident::literal(text)))
}

/// The column's compression: before 14 there was none.
fn compression(version_num: i32) -> &'static str {
    if version_num < 140_000 { "null" } else { "nullif(a.attcompression::text, '')" }
}

/// `CREATE OR REPLACE VIEW` with the same query and options, which points it at what its names mean now.
#[must_use]
pub fn repoint_statement(view: &Properties) -> String {
    let options: Vec<_> = view.options.iter().map(|option| set(option)).collect();
    let options = if options.is_empty() { String::new() } else { format!(" with ({})", options.join(", ")) };
    format!(
        "create or replace view {}{options} as\n{}",
        ident::quote_table(&view.table_name()),
        view.definition.trim().trim_end_matches(';')
    )
}
