//! From what belongs to a view now to what is to belong to it: statements, as a pure function.
//!
//! The same function brings a live view in line with its file and dresses a new one that was built
//! beside: only what differs is touched, and what is too much is taken away.

use super::facts::Facts;
use super::statement::{Aspect, ObjectKind};
use crate::postgres::ident;

/// What an index is called while it takes the place of one with its name.
const SUCCESSOR: &str = "_pgtide_new";

/// One difference and what removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub aspect: Aspect,
    /// In words: `grant select to analyst`.
    pub text: String,
    /// Statements, in order.
    pub sql: Vec<String>,
}

/// How indexes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Building {
    /// On a live view: `concurrently`, outside of transactions.
    Live,
    /// On one that nobody reads yet.
    Beside,
}

/// The object as `ALTER` and `COMMENT` name it.
#[must_use]
pub fn target(facts: &Facts) -> String {
    let name = ident::quote_table(&facts.name);
    match facts.kind {
        ObjectKind::Function => format!("function {name}({})", facts.arguments),
        kind => format!("{} {name}", kind.sql()),
    }
}

/// All differences; both have the same name.
#[must_use]
pub fn changes(now: &Facts, want: &Facts, building: Building) -> Vec<Change> {
    let mut found = Vec::new();
    owner(now, want, &mut found);
    options(now, want, &mut found);
    indexes(now, want, building, &mut found);
    statistics(now, want, &mut found);
    comments(now, want, &mut found);
    grants(now, want, &mut found);
    found
}

fn push(found: &mut Vec<Change>, aspect: Aspect, text: impl Into<String>, sql: Vec<String>) {
    found.push(Change { aspect, text: text.into(), sql });
}

fn owner(now: &Facts, want: &Facts, found: &mut Vec<Change>) {
    if now.owner != want.owner {
        let sql = format!("alter {} owner to {}", target(now), ident::quote(&want.owner));
        push(found, Aspect::Owner, format!("owner {} becomes {}", now.owner, want.owner), vec![sql]);
    }
}

fn options(now: &Facts, want: &Facts, found: &mut Vec<Change>) {
    let parts =
        |option: &str| option.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap_or_default();
    for option in want.options.difference(&now.options) {
        let (key, value) = parts(option);
        let sql = format!("alter {} set ({key} = {})", target(now), ident::literal(&value));
        push(found, Aspect::Settings, format!("set {option}"), vec![sql]);
    }
    let kept: Vec<_> = want.options.iter().map(|option| parts(option).0).collect();
    for option in now.options.difference(&want.options) {
        let (key, _) = parts(option);
        if !kept.contains(&key) {
            push(
                found,
                Aspect::Settings,
                format!("reset {key}"),
                vec![format!("alter {} reset ({key})", target(now))],
            );
        }
    }
    for (column, setting) in want.column_settings.difference(&now.column_settings) {
        let sql = format!("alter {} alter column {} {setting}", target(now), ident::quote(column));
        push(found, Aspect::Settings, format!("column {column}: {setting}"), vec![sql]);
    }
    for (column, setting) in now.column_settings.difference(&want.column_settings) {
        let is_replaced =
            want.column_settings.iter().any(|(other, new)| other == column && word(new) == word(setting));
        let column_sql = ident::quote(column);
        let sql = match setting.strip_prefix("set statistics") {
            _ if is_replaced => continue,
            Some(_) => format!("alter {} alter column {column_sql} set statistics -1", target(now)),
            // Storage has a default of its type, which only a new view gets.
            None => continue,
        };
        push(found, Aspect::Settings, format!("column {column}: no {setting}"), vec![sql]);
    }
}

/// `statistics` of `set statistics 500`.
fn word(setting: &str) -> &str {
    setting.split(' ').nth(1).unwrap_or_default()
}

fn indexes(now: &Facts, want: &Facts, building: Building, found: &mut Vec<Change>) {
    let in_schema = |name: &str| match &now.name.schema {
        Some(schema) => format!("{}.{}", ident::quote(schema), ident::quote(name)),
        None => ident::quote(name),
    };
    let drop = |name: &str| match building {
        Building::Live => format!("drop index concurrently if exists {}", in_schema(name)),
        Building::Beside => format!("drop index {}", in_schema(name)),
    };
    let ours = |name: &&String| want.indexes.contains_key(*name) || name.ends_with(SUCCESSOR);
    for name in now.invalid_indexes.iter().filter(ours) {
        push(
            found,
            Aspect::Indexes,
            format!("drop index {name}, which was left half-made"),
            vec![drop(name)],
        );
    }
    for (name, definition) in &want.indexes {
        let place = |definition: &str| match building {
            Building::Live => definition.replacen(" INDEX ", " INDEX CONCURRENTLY ", 1),
            Building::Beside => definition.to_owned(),
        };
        match now.indexes.get(name) {
            Some(same) if same == definition => continue,
            Some(_) => {
                let successor = format!("{}{SUCCESSOR}", name.chars().take(50).collect::<String>());
                let renamed = renamed(definition, name, &successor);
                let exchange = format!(
                    "drop index {}; alter index {} rename to {}",
                    in_schema(name),
                    in_schema(&successor),
                    ident::quote(name)
                );
                push(
                    found,
                    Aspect::Indexes,
                    format!("index {name} is made anew"),
                    vec![place(&renamed), exchange],
                );
            }
            None => push(found, Aspect::Indexes, format!("create index {name}"), vec![place(definition)]),
        }
    }
    for (name, tablespace) in &want.index_tablespaces {
        if now.index_tablespaces.get(name) != Some(tablespace) && want.indexes.contains_key(name) {
            let sql = format!("alter index {} set tablespace {}", in_schema(name), ident::quote(tablespace));
            push(found, Aspect::Indexes, format!("index {name} into tablespace {tablespace}"), vec![sql]);
        }
    }
    if let Some(index) = &want.cluster
        && now.cluster != want.cluster
    {
        let sql = format!(
            "alter materialized view {} cluster on {}",
            ident::quote_table(&now.name),
            ident::quote(index)
        );
        push(found, Aspect::Settings, format!("cluster on {index}"), vec![sql]);
    }
    for (name, comment) in &want.index_comments {
        let is_new = now.indexes.get(name) != want.indexes.get(name);
        if (is_new || now.index_comments.get(name) != Some(comment)) && want.indexes.contains_key(name) {
            let sql = format!("comment on index {} is {}", in_schema(name), ident::literal(comment));
            push(found, Aspect::Comments, format!("comment on index {name}"), vec![sql]);
        }
    }
    for name in now.indexes.keys().filter(|name| !want.indexes.contains_key(*name)) {
        push(found, Aspect::Indexes, format!("drop index {name}"), vec![drop(name)]);
    }
}

/// The definition of an index, as the server writes it, under another name.
fn renamed(definition: &str, name: &str, new: &str) -> String {
    let (quoted, plain) = (ident::quote(name), format!(" INDEX {name} ON "));
    if definition.contains(&plain) {
        definition.replacen(&plain, &format!(" INDEX {} ON ", ident::quote(new)), 1)
    } else {
        definition.replacen(&format!(" INDEX {quoted} ON "), &format!(" INDEX {} ON ", ident::quote(new)), 1)
    }
}

fn statistics(now: &Facts, want: &Facts, found: &mut Vec<Change>) {
    let schema = now.name.schema.as_deref().unwrap_or_default();
    for (name, definition) in
        now.statistics.iter().filter(|(name, old)| want.statistics.get(*name) != Some(*old))
    {
        let _ = definition;
        let sql = format!("drop statistics {}.{}", ident::quote(schema), ident::quote(name));
        push(found, Aspect::Statistics, format!("drop statistics {name}"), vec![sql]);
    }
    for (name, definition) in
        want.statistics.iter().filter(|(name, new)| now.statistics.get(*name) != Some(*new))
    {
        push(found, Aspect::Statistics, format!("create statistics {name}"), vec![definition.clone()]);
    }
}

fn comments(now: &Facts, want: &Facts, found: &mut Vec<Change>) {
    let on = |key: &str| match key {
        "" => target(now),
        column => format!("column {}.{}", ident::quote_table(&now.name), ident::quote(column)),
    };
    let what = |key: &str| if key.is_empty() { String::new() } else { format!(" on column {key}") };
    for (key, comment) in &want.comments {
        if now.comments.get(key) != Some(comment) {
            let sql = format!("comment on {} is {}", on(key), ident::literal(comment));
            push(found, Aspect::Comments, format!("comment{}", what(key)), vec![sql]);
        }
    }
    for key in now.comments.keys().filter(|key| !want.comments.contains_key(*key)) {
        let sql = format!("comment on {} is null", on(key));
        push(found, Aspect::Comments, format!("no comment{}", what(key)), vec![sql]);
    }
}

fn grants(now: &Facts, want: &Facts, found: &mut Vec<Change>) {
    let on = match now.kind {
        ObjectKind::Function => target(now),
        _ => format!("table {}", ident::quote_table(&now.name)),
    };
    let grantee = |name: &str| if name.is_empty() { ident::quote(&want.owner) } else { name.to_owned() };
    for (who, privilege) in want.grants.difference(&now.grants) {
        let plain = privilege.trim_end_matches('*');
        if plain == privilege && now.grants.contains(&(who.clone(), format!("{plain}*"))) {
            continue;
        }
        let option = if plain == privilege { "" } else { " with grant option" };
        let sql = format!("grant {plain} on {on} to {}{option}", grantee(who));
        push(found, Aspect::Grants, format!("grant {plain} to {}", grantee(who)), vec![sql]);
    }
    for (who, privilege) in now.grants.difference(&want.grants) {
        let plain = privilege.trim_end_matches('*');
        let option = match want.grants.contains(&(who.clone(), plain.to_owned())) {
            true => "grant option for ",
            false => "",
        };
        if plain == privilege && want.grants.contains(&(who.clone(), format!("{plain}*"))) {
            continue;
        }
        let sql = format!("revoke {option}{plain} on {on} from {}", grantee(who));
        push(found, Aspect::Grants, format!("revoke {option}{plain} from {}", grantee(who)), vec![sql]);
    }
}

/// Statements that make an object as it is: for the history, and for a file of its own.
#[must_use]
pub fn script(facts: &Facts) -> String {
    let name = ident::quote_table(&facts.name);
    let mut lines = vec![match facts.kind {
        ObjectKind::Function => facts.definition.trim_end().to_owned(),
        kind => {
            let words =
                if kind == ObjectKind::View { "create or replace view" } else { "create materialized view" };
            format!("{words} {name}{} as\n{}", storage(facts), facts.definition.trim().trim_end_matches(';'))
        }
    }];
    let mut bare = facts.clone();
    bare.indexes.clear();
    bare.index_tablespaces.clear();
    bare.index_comments.clear();
    bare.cluster = None;
    bare.statistics.clear();
    bare.comments.clear();
    bare.column_settings.clear();
    bare.grants = facts.grants.iter().filter(|(who, _)| who.is_empty()).cloned().collect();
    let all: Vec<String> =
        changes(&bare, facts, Building::Beside).into_iter().flat_map(|change| change.sql).collect();
    lines.extend(all);
    lines.iter().map(|line| format!("{line};\n")).collect::<Vec<_>>().join("\n")
}

/// What stands between a view's name and its query.
fn storage(facts: &Facts) -> String {
    let mut text = String::new();
    if !facts.access_method.is_empty() && facts.access_method != "heap" {
        text.push_str(&format!(" using {}", ident::quote(&facts.access_method)));
    }
    if !facts.options.is_empty() {
        let option = |option: &String| {
            let (key, value) = option.split_once('=').unwrap_or((option, "true"));
            format!("{key} = {}", ident::literal(value))
        };
        text.push_str(&format!(
            " with ({})",
            facts.options.iter().map(option).collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(tablespace) = &facts.tablespace {
        text.push_str(&format!(" tablespace {}", ident::quote(tablespace)));
    }
    text
}
