//! What a statement is about: its verb and the names it gives, read from its first tokens.
//!
//! A view's file may create one object and say what belongs to it: indexes, comments, grants, settings.
//! Everything else is [`Meaning::Other`], which a file may not hold.

use super::script::Statement;
use crate::name::{self, TableName};

/// What kind of object a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A materialized view.
    Matview,
    /// An ordinary view.
    View,
    /// A function.
    Function,
}

impl ObjectKind {
    /// The words of SQL.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Matview => "materialized view",
            Self::View => "view",
            Self::Function => "function",
        }
    }

    /// The kind of these words.
    #[must_use]
    pub fn of_sql(words: &str) -> Option<Self> {
        [Self::Matview, Self::View, Self::Function].into_iter().find(|kind| kind.sql() == words)
    }
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Creates a view or function; its name is the tokens from the first to before the second.
    Create {
        /// What is created.
        kind: ObjectKind,
        /// Its name.
        name: TableName,
        /// The tokens of the name: the first, and the one after the last.
        tokens: (usize, usize),
    },
    /// Drops; pgtide drops by itself, so it is not run.
    Drop {
        /// What kind, if it is one that a file may hold.
        kind: Option<ObjectKind>,
        /// The names.
        names: Vec<TableName>,
    },
    /// Says something about an object.
    About {
        /// What about it.
        aspect: Aspect,
        /// The object; none when it has to be found another way (an index).
        target: Option<TableName>,
    },
    /// Needs not be run: pgtide refreshes, analyzes and opens transactions by itself.
    Needless,
    /// Anything else.
    Other,
}

/// What belongs to an object beside its definition. What a file does not speak of is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Indexes.
    Indexes,
    /// Comments.
    Comments,
    /// Grants.
    Grants,
    /// Owner.
    Owner,
    /// Storage options, of the object and its columns.
    Settings,
    /// Extended statistics.
    Statistics,
}

impl Aspect {
    /// All of them with their names in the ledger.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Indexes, "indexes"),
        (Self::Comments, "comments"),
        (Self::Grants, "grants"),
        (Self::Owner, "owner"),
        (Self::Settings, "settings"),
        (Self::Statistics, "statistics"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(aspect, _)| *aspect == self).map_or("", |(_, name)| name)
    }
}

/// Folds an identifier as the server does; none if it is no name (a number, `U&"..."`).
#[must_use]
pub(super) fn fold(word: &str) -> Option<String> {
    let mut parts = name::parse_identifiers(word).ok()?;
    let starts_well = word.starts_with('"') || word.starts_with(|c: char| c == '_' || c.is_alphabetic());
    if parts.len() == 1 && starts_well { parts.pop() } else { None }
}

/// Reads a statement.
#[must_use]
pub fn meaning(statement: &Statement) -> Meaning {
    let mut cursor = Cursor { statement, at: 0 };
    match statement.word(0).to_ascii_lowercase().as_str() {
        "create" => create(&mut cursor),
        "drop" => drop_of(&mut cursor),
        "comment" => comment(&mut cursor),
        "grant" | "revoke" => grant(&cursor),
        "alter" => alter(&mut cursor),
        "refresh" | "analyze" | "vacuum" | "begin" | "commit" | "end" | "start" => Meaning::Needless,
        _ => Meaning::Other,
    }
}

struct Cursor<'a> {
    statement: &'a Statement,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, word)| self.statement.is(self.at + n, word));
        if found {
            self.at += words.len();
        }
        found
    }

    /// A name with an optional schema, and where it stands.
    fn name(&mut self) -> Option<(TableName, (usize, usize))> {
        let start = self.at;
        let first = self.statement.name(start)?;
        let (name, end) = match self.statement.name(start + 2) {
            Some(second) if self.statement.word(start + 1) == "." => {
                (TableName::new(first, second), start + 3)
            }
            _ => (TableName { schema: None, table: first }, start + 1),
        };
        self.at = end;
        Some((name, (start, end)))
    }

    fn kind(&mut self) -> Option<ObjectKind> {
        [ObjectKind::Matview, ObjectKind::View, ObjectKind::Function]
            .into_iter()
            .find(|kind| self.take(&kind.sql().split(' ').collect::<Vec<_>>()))
    }
}

fn create(cursor: &mut Cursor<'_>) -> Meaning {
    cursor.at = 1;
    cursor.take(&["or", "replace"]);
    if let Some(kind) = cursor.kind() {
        cursor.take(&["if", "not", "exists"]);
        return match cursor.name() {
            Some((name, tokens)) => Meaning::Create { kind, name, tokens },
            None => Meaning::Other,
        };
    }
    let aspect = if cursor.take(&["statistics"]) {
        Aspect::Statistics
    } else {
        cursor.take(&["unique"]);
        if !cursor.take(&["index"]) {
            return Meaning::Other;
        }
        Aspect::Indexes
    };
    let after = if aspect == Aspect::Indexes { "on" } else { "from" };
    let found = (cursor.at..cursor.statement.tokens.len()).find(|at| cursor.statement.is(*at, after));
    cursor.at = found.map_or(usize::MAX - 8, |at| at + 1);
    cursor.take(&["only"]);
    Meaning::About { aspect, target: cursor.name().map(|(name, _)| name) }
}

fn drop_of(cursor: &mut Cursor<'_>) -> Meaning {
    cursor.at = 1;
    let kind = cursor.kind();
    if kind.is_none() {
        cursor.at = 2;
    }
    cursor.take(&["concurrently"]);
    cursor.take(&["if", "exists"]);
    let mut names = Vec::new();
    while let Some((name, _)) = cursor.name() {
        names.push(name);
        if !cursor.take(&[","]) {
            break;
        }
    }
    Meaning::Drop { kind, names }
}

fn comment(cursor: &mut Cursor<'_>) -> Meaning {
    cursor.at = 1;
    if !cursor.take(&["on"]) {
        return Meaning::Other;
    }
    if cursor.kind().is_some() || cursor.take(&["table"]) {
        return Meaning::About { aspect: Aspect::Comments, target: cursor.name().map(|(name, _)| name) };
    }
    if cursor.take(&["column"]) {
        return Meaning::About { aspect: Aspect::Comments, target: column_owner(cursor) };
    }
    let of_part = cursor.take(&["index"]) || cursor.take(&["statistics"]);
    if of_part { Meaning::About { aspect: Aspect::Comments, target: None } } else { Meaning::Other }
}

/// `schema.view.column` or `view.column`.
fn column_owner(cursor: &mut Cursor<'_>) -> Option<TableName> {
    let statement = cursor.statement;
    let first = statement.name(cursor.at)?;
    let second = statement.name(cursor.at + 2)?;
    let is_qualified = statement.word(cursor.at + 3) == ".";
    Some(if is_qualified { TableName::new(first, second) } else { TableName { schema: None, table: first } })
}

/// `grant select, update (a) on [table] name, name to ...`; on a schema or all tables it is another matter.
fn grant(cursor: &Cursor<'_>) -> Meaning {
    let statement = cursor.statement;
    let Some(on) = (0..statement.tokens.len()).find(|at| statement.is(*at, "on")) else {
        return Meaning::Other;
    };
    let mut cursor = Cursor { statement, at: on + 1 };
    if ["all", "schema", "database", "sequence", "type", "language"]
        .iter()
        .any(|word| statement.is(on + 1, word))
    {
        return Meaning::Other;
    }
    let is_function = cursor.take(&["function"]);
    if !is_function {
        cursor.take(&["table"]);
    }
    let target = cursor.name().map(|(name, _)| name);
    let is_single = is_function || !cursor.take(&[","]);
    match target {
        Some(target) if is_single => Meaning::About { aspect: Aspect::Grants, target: Some(target) },
        _ => Meaning::Other,
    }
}

fn alter(cursor: &mut Cursor<'_>) -> Meaning {
    cursor.at = 1;
    if cursor.take(&["index"]) {
        return Meaning::About { aspect: Aspect::Settings, target: None };
    }
    let is_function = cursor.statement.is(1, "function");
    if cursor.kind().is_none() && !cursor.take(&["table"]) {
        return Meaning::Other;
    }
    cursor.take(&["if", "exists"]);
    let target = cursor.name().map(|(name, _)| name);
    let statement = cursor.statement;
    let has = |words: &[&str]| {
        (0..statement.tokens.len())
            .any(|at| words.iter().enumerate().all(|(n, word)| statement.is(at + n, word)))
    };
    if has(&["rename"]) || has(&["set", "schema"]) {
        return Meaning::Other;
    }
    let aspect = if has(&["owner", "to"]) { Aspect::Owner } else { Aspect::Settings };
    if is_function && aspect == Aspect::Settings {
        return Meaning::Other;
    }
    Meaning::About { aspect, target }
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    fn of(text: &str) -> Meaning {
        meaning(&Script::parse(text).unwrap().statements[0])
    }

    fn about(aspect: Aspect, target: &str) -> Meaning {
        Meaning::About { aspect, target: Some(target.parse().unwrap()) }
    }

    #[test]
    fn what_is_created_is_read_with_its_name() {
        let kind = |text: &str| match of(text) {
            Meaning::Create { kind, name, .. } => format!("{} {name}", kind.sql()),
            other => format!("{other:?}"),
        };
        assert_eq!(
            kind("create materialized view if not exists Mart.Sales as select 1"),
            "materialized view mart.sales"
        );
        assert_eq!(kind("CREATE OR REPLACE VIEW \"Mart\".v (a) AS select 1"), "view \"Mart\".v");
        assert_eq!(kind("create function f(int) returns int"), "function f");
        assert_eq!(of("create table t ()"), Meaning::Other);
    }

    #[test]
    fn what_belongs_to_an_object_is_known_by_its_aspect() {
        assert_eq!(
            of("create unique index concurrently if not exists k on mart.sales (id)"),
            about(Aspect::Indexes, "mart.sales")
        );
        assert_eq!(of("comment on column mart.sales.day is 'x'"), about(Aspect::Comments, "mart.sales"));
        assert_eq!(of("comment on materialized view sales is 'x'"), about(Aspect::Comments, "sales"));
        assert_eq!(of("grant select (a, b), insert on mart.sales to x"), about(Aspect::Grants, "mart.sales"));
        assert_eq!(of("revoke all on table mart.sales from public"), about(Aspect::Grants, "mart.sales"));
        assert_eq!(of("alter materialized view mart.sales owner to x"), about(Aspect::Owner, "mart.sales"));
        assert_eq!(
            of("alter materialized view mart.sales set (fillfactor = 70)"),
            about(Aspect::Settings, "mart.sales")
        );
        assert_eq!(
            of("create statistics mart.s (ndistinct) on a, b from mart.sales"),
            about(Aspect::Statistics, "mart.sales")
        );
    }

    #[test]
    fn what_a_file_may_not_hold_is_other() {
        for text in [
            "insert into t values (1)",
            "grant usage on schema mart to x",
            "grant select on a, b to x",
            "alter view v rename to w",
            "do $$ begin end $$",
            "grant select on all tables in schema m to x",
            "set search_path = x",
        ] {
            assert_eq!(of(text), Meaning::Other, "{text}");
        }
    }

    #[test]
    fn drops_are_read_and_refreshes_are_needless() {
        let drop = of("drop materialized view if exists mart.a, b cascade");
        let names = vec!["mart.a".parse().unwrap(), "b".parse().unwrap()];
        assert_eq!(drop, Meaning::Drop { kind: Some(ObjectKind::Matview), names });
        assert_eq!(of("refresh materialized view x"), Meaning::Needless);
        assert_eq!(of("begin"), Meaning::Needless);
    }
}
