//! The files that `init` writes: commented, complete, and without a secret.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::ends::{End, Ends};
use super::guess::Guess;
use crate::cli::loading::shown;
use crate::config::job::LoadMode;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::catalog::Relation;
use crate::report::number::counted;
use crate::report::paint::escaped;

/// The column at which comments begin.
const COMMENT_COLUMN: usize = 36;

/// What goes into the files.
pub(super) struct Files<'a> {
    pub(super) job: &'a str,
    pub(super) relation: &'a Relation,
    pub(super) guess: &'a Guess,
    pub(super) ends: &'a Ends,
}

impl Files<'_> {
    /// `pgtide.toml`.
    pub(super) fn project(&self) -> String {
        let mut text = String::from(
            "# What the jobs in jobs/ share. Paths are relative to this file, which pgtide finds from any folder below.\n\
             # Secrets stay outside: ${NAME} is a variable of the environment, and ~/.pgpass is read as psql does.\n",
        );
        for end in [&self.ends.source, &self.ends.destination] {
            text.push_str(&connection(end));
        }
        text.push_str(
            "\n[defaults]                          # keys of every job that does not say otherwise\n",
        );
        for end in [&self.ends.source, &self.ends.destination] {
            push(&mut text, end.key, &quoted(&end.name), "");
        }
        push(&mut text, "# retries", "3", "further tries after a failure that may pass");
        text
    }

    /// `jobs/NAME.toml`.
    pub(super) fn job(&self) -> String {
        let mut text = self.head();
        let (relation, guess) = (self.relation, self.guess);
        let table = quoted(&relation.name.to_string());
        let rows =
            relation.estimated_rows.map(|rows| format!("about {}", counted(rows.unsigned_abs(), "row")));
        push(&mut text, "table", &table, &rows.unwrap_or_default());
        push(&mut text, "into", &table, "its name in the destination");
        for end in [&self.ends.source, &self.ends.destination] {
            // A new project file says it for every job.
            let said = self.ends.defaults.get(end.key).and_then(toml::Value::as_str);
            if said.unwrap_or(end.key) != end.name {
                push(&mut text, end.key, &quoted(&end.name), "");
            }
        }
        text.push('\n');
        match &guess.time_column {
            Some(column) => self.push_time(&mut text, column),
            None => self.push_whole(&mut text),
        }
        text.push('\n');
        if !self.ends.is_default("create") {
            push(
                &mut text,
                "create",
                "true",
                "makes the table when it is missing: types, NOT NULL, primary key",
            );
        }
        push(&mut text, "# refresh", "\"dependents\"", "the materialized views that read it, once per run");
        text
    }

    fn head(&self) -> String {
        let name = escaped(&self.relation.name.to_string());
        let how = match self.guess.mode {
            LoadMode::DeleteInsert => "day by day: each day's rows are replaced by the source's",
            LoadMode::Merge => "day by day: rows are inserted or, where the key exists, updated",
            LoadMode::Append | LoadMode::Replace => "whole, each time",
        };
        let mut text = format!("# {name}, {how}.\n#\n");
        for (command, what) in self.commands() {
            let width = 16 + self.job.len();
            text.push_str(&format!("#   {command:width$}  {what}\n"));
        }
        text.push('\n');
        text
    }

    fn push_time(&self, text: &mut String, column: &str) {
        let guess = self.guess;
        let facts = self.relation.column(column).map(|c| {
            let null = if c.not_null { "NOT NULL" } else { "rows where it is NULL are never loaded" };
            let index =
                if self.relation.index_on(column) { "indexed" } else { "not indexed: each day is a scan" };
            format!("{}, {null}, {index}", c.data_type.formatted)
        });
        push(text, "time_column", &quoted(column), &facts.unwrap_or_default());
        for other in &guess.others {
            push(text, "# time_column", &quoted(other), "");
        }
        push(text, "interval", "\"day\"", "hour, day, week, month; or elapsed: 6h, 24h");
        if !self.ends.is_default("timezone") {
            push(text, "timezone", "\"UTC\"", "whose days: an IANA name, such as \"Europe/Berlin\"");
        }
        match (guess.start_date, self.ends.is_default("start_date")) {
            (_, true) => {}
            (Some(date), false) => push(text, "start_date", &date.to_string(), "of the first row"),
            (None, false) => push(text, "# start_date", "2024-01-01", "where `pgtide backfill` begins"),
        }
        if guess.mode == LoadMode::Merge {
            push(text, "mode", "\"merge\"", "a row that changed comes again; one that was deleted stays");
            push(text, "key", &list(&guess.key), "the primary key");
        } else {
            push(text, "mode", &quoted(guess.mode.word()), "or append: never removes; or merge, with `key`");
        }
    }

    fn push_whole(&self, text: &mut String) {
        push(text, "mode", "\"replace\"", "readers see the old rows until the new ones are all there");
        let Some(first) = self.guess.others.first() else { return };
        text.push_str("\n# To load it day by day, by a column that tells a row's time and never changes:\n");
        push(text, "# time_column", &quoted(first), "");
        for other in self.guess.others.iter().skip(1) {
            push(text, "# time_column", &quoted(other), "");
        }
        push(text, "# interval", "\"day\"", "");
        push(text, "# timezone", "\"UTC\"", "");
        push(text, "# mode", "\"delete-insert\"", "in place of replace");
    }

    /// What to type next.
    pub(super) fn commands(&self) -> Vec<(String, &'static str)> {
        let job = self.job;
        let mut commands = vec![
            (format!("pgtide check {job}"), "connections, rights, types"),
            (format!("pgtide plan {job}"), "what would be loaded, and why"),
        ];
        if self.guess.time_column.is_some() {
            commands.push((format!("pgtide run {job}"), "the newest day; later, what is missing"));
            if self.guess.start_date.is_some() {
                commands.push((format!("pgtide backfill {job}"), "everything since start_date"));
            }
        } else {
            commands.push((format!("pgtide run {job}"), "loads it; again with --reload"));
        }
        commands
    }
}

fn connection(end: &End) -> String {
    if end.is_known {
        return format!("\n# `{}` is known from the environment.\n", escaped(&end.name));
    }
    let mut text = format!("\n[connections.{}]\n", quoted_key(&end.name));
    let url = format!("\"${{{}}}\"", end.variable());
    push(&mut text, "url", &url, "postgres://user@host:5432/database?sslmode=verify-full");
    push(&mut text, "# max_connections", "40", "pgtide never opens more than this on the server");
    text
}

/// A key, its value, and a comment beside it.
fn push(text: &mut String, key: &str, value: &str, comment: &str) {
    let line = format!("{key} = {value}");
    let gap = COMMENT_COLUMN.saturating_sub(line.chars().count()).max(2);
    text.push_str(&line);
    if !comment.is_empty() {
        text.push_str(&format!("{}# {}", " ".repeat(gap), escaped(comment)));
    }
    text.push('\n');
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

/// Writes a file that must not exist, with its folder.
pub(super) fn write_new(file: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Config, format!("writing {}", shown(file))).with_source(error)
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut open = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    open.write_all(text.as_bytes()).map_err(failed)
}
