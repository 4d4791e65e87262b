//! Schemas beside the live ones: one for each schema that views are in, so that a view keeps its own
//! name there and only the schema of a name has to be changed.
//!
//! Names with a schema are moved token by token; names without one are found through `search_path`,
//! in which each scratch schema stands just before the one it stands for.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Definition;
use super::script::{Statement, replaced};
use super::statement::ObjectKind;
use crate::error::Result;
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Which names live in a scratch schema, and which one that is.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// Scratch schemas by the schema they stand for.
    schemas: BTreeMap<String, String>,
    /// Names that are, or will be, there.
    members: BTreeSet<TableName>,
}

impl Scratch {
    /// Plans scratch schemas `PREFIX1`, `PREFIX2`, ... for these names.
    #[must_use]
    pub fn new(prefix: &str, members: BTreeSet<TableName>) -> Self {
        let homes: BTreeSet<_> = members.iter().filter_map(|name| name.schema.clone()).collect();
        let schemas = homes.into_iter().zip(1..).map(|(home, n)| (home, format!("{prefix}{n}"))).collect();
        Self { schemas, members }
    }

    /// The scratch schemas with the ones they stand for.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &str)> {
        self.schemas.iter().map(|(home, scratch)| (scratch.as_str(), home.as_str()))
    }

    /// A member's name in its scratch schema.
    #[must_use]
    pub fn name(&self, home: &TableName) -> TableName {
        match home.schema.as_ref().and_then(|schema| self.schemas.get(schema)) {
            Some(scratch) if self.members.contains(home) => TableName::new(scratch, &home.table),
            _ => home.clone(),
        }
    }

    /// Where a name is to be looked for instead, if it is a member.
    #[must_use]
    pub fn there(&self, schema: &str, name: &str) -> Option<String> {
        let is_member = self.members.contains(&TableName::new(schema, name));
        self.schemas.get(schema).filter(|_| is_member).cloned()
    }

    /// The schema that a scratch schema stands for.
    #[must_use]
    pub fn home(&self, schema: &str) -> Option<String> {
        self.schemas.iter().find(|(_, scratch)| *scratch == schema).map(|(home, _)| home.clone())
    }

    /// The scratch schema that stands for a schema.
    #[must_use]
    pub fn stand_in(&self, schema: &str) -> Option<String> {
        self.schemas.get(schema).cloned()
    }

    /// `search_path` for statements of files: the role's own, each scratch schema before its home.
    #[must_use]
    pub fn search_path(&self, own: &[String]) -> String {
        let with = |schema: &String| {
            self.schemas.get(schema).into_iter().chain([schema]).map(|s| ident::quote(s)).collect::<Vec<_>>()
        };
        let path: Vec<String> = own.iter().flat_map(with).collect();
        if path.is_empty() { "''".to_owned() } else { path.join(", ") }
    }

    /// The statement that creates an object, at its place: a member in its scratch schema, any other in
    /// place of the live one.
    #[must_use]
    pub fn create(&self, object: &Definition) -> String {
        let (start, end) = object.name_tokens;
        let name = self.name(&object.name);
        let tokens = &object.create.tokens;
        let mut changes = vec![(tokens[start].start, tokens[end - 1].end, ident::quote_table(&name))];
        if object.kind != ObjectKind::Matview && name == object.name && !object.create.is(1, "or") {
            changes.push((tokens[0].start, tokens[0].end, "create or replace".to_owned()));
        }
        let inside = object.create.qualified().filter(|(at, ..)| !(start..end).contains(at));
        changes.extend(inside.filter_map(|(at, schema, table)| {
            Some((tokens[at].start, tokens[at].end, ident::quote(&self.there(&schema, &table)?)))
        }));
        changes.sort_unstable();
        let text = replaced(&object.create.text, changes);
        if object.kind == ObjectKind::Matview { format!("{text}\nwith no data") } else { text }
    }

    /// A statement about an object of the scratch schemas.
    #[must_use]
    pub fn part(&self, statement: &Statement) -> String {
        let word = |at: usize| statement.word(at).to_ascii_lowercase();
        // An index or statistics object goes where its view goes, and is no member by name.
        let names_part = match (word(0).as_str(), word(1).as_str()) {
            ("alter", "index" | "statistics") | ("create", "statistics") => true,
            ("comment", "on") => matches!(word(2).as_str(), "index" | "statistics"),
            _ => false,
        };
        let first = statement.qualified().next().filter(|_| names_part).map(|(at, ..)| at);
        let place = |at: usize, schema: &str, name: &str| match first {
            Some(first) if first == at => self.stand_in(schema),
            _ => self.there(schema, name),
        };
        let mut changes: Vec<_> = statement
            .qualified()
            .filter_map(|(at, schema, name)| {
                let token = statement.tokens[at];
                Some((token.start, token.end, ident::quote(&place(at, &schema, &name)?)))
            })
            .collect();
        let in_transaction = (1..4).find(|at| word(0) == "create" && statement.is(*at, "concurrently"));
        changes.extend(
            in_transaction.map(|at| (statement.tokens[at].start, statement.tokens[at].end, String::new())),
        );
        changes.sort_unstable();
        replaced(&statement.text, changes)
    }

    /// Makes the schemas, in the caller's transaction or each by itself.
    ///
    /// # Errors
    /// The server's.
    pub async fn make(&self, session: &Session, comment: &str) -> Result<()> {
        for (schema, home) in self.schemas() {
            let (quoted, text) = (ident::quote(schema), ident::literal(&format!("{comment} {home}")));
            let sql = format!("create schema {quoted}; comment on schema {quoted} is {text}");
            let made = session.batch(&format!("creating schema {schema}"), &sql).await;
            made.map_err(|error| match error.sqlstate() {
                Some("42501") => {
                    let role = ident::quote(&session.server().role);
                    error.with_hint(format!(
                        "views are built in schemas beside; as an administrator: grant create on database ... to {role};"
                    ))
                }
                _ => error,
            })?;
        }
        Ok(())
    }
}
