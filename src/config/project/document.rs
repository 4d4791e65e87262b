//! `pgtide.toml` itself: connections, defaults for jobs, views, ledger, jobs' folder.
//!
//! Variables are expanded here, except in connections, which wait until one is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::views;
use crate::config::environment::Environment;
use crate::config::file::{Table, Value, expand, read_toml};
use crate::config::finding::{Finding, Place};
use crate::config::job::parse::{JOB_KEYS, default_keys};
use crate::config::reader::{Reader, unknown_key};
use crate::config::views::ViewRules;
use crate::name::MAX_NAME_BYTES;

/// Slots of a pool, and intervals at once over all jobs.
const SLOTS: RangeInclusive<i64> = 1..=1_000;

/// What the file says; connections are kept as written, since a variable that is not set matters
/// only to who uses it.
#[derive(Default)]
pub(super) struct Document {
    pub(super) connections: BTreeMap<String, Table>,
    pub(super) defaults: Table,
    pub(super) ledger_schema: Option<String>,
    pub(super) views_dir: Option<String>,
    /// What `${name}` stands for in files of views.
    pub(super) placeholders: BTreeMap<String, String>,
    pub(super) view_rules: ViewRules,
    pub(super) jobs_dir: Option<String>,
    /// What the project calls itself.
    pub(super) name: Option<String>,
    /// Intervals at once over all jobs and machines.
    pub(super) parallelism: Option<usize>,
    /// Slots of each named pool.
    pub(super) pools: BTreeMap<String, usize>,
    /// The file's name in findings.
    pub(super) shown: String,
    /// Whether others than its owner can read the file.
    pub(super) is_readable_by_others: bool,
}

/// Shows no values: connections hold passwords.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("connections", &self.connections.keys().collect::<Vec<_>>())
            .field("ledger_schema", &self.ledger_schema)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Reads the file; what is wrong is given beside it.
    pub(super) fn read(path: &Path, env: &Environment) -> (Self, Vec<Finding>) {
        match read_toml(path, env) {
            Ok(table) => {
                let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
                let (mut document, findings) = Self::parse(table, &env.shown(path), env);
                document.is_readable_by_others = mode.is_ok_and(|mode| mode & 0o077 != 0);
                (document, findings)
            }
            Err(findings) => (Self::default(), findings),
        }
    }

    fn parse(mut root: Table, shown: &str, env: &Environment) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let connections = take_table(&mut root, "connections", &mut findings);
        root.change_texts("", &|text| expand(text, env), &mut findings);
        let mut document = Self { shown: shown.to_owned(), ..Self::default() };
        for (name, (_, item)) in connections.entries {
            match item.value {
                Value::Table(table) => {
                    document.connections.insert(name, table);
                }
                other => {
                    let message = format!("is {}, not a table", other.kind());
                    findings.push(Finding::at(item.place, message).about(&format!("connections.{name}")));
                }
            }
        }
        document.defaults = take_table(&mut root, "defaults", &mut findings);
        findings.extend(check_defaults(&document.defaults));
        let views = take_table(&mut root, "views", &mut findings);
        document.views_dir = views::files(&views, shown, &mut findings);
        document.placeholders = views::placeholders(&views, shown, &mut findings);
        document.view_rules = views::rules(&views, &mut findings);
        let ledger = take_table(&mut root, "ledger", &mut findings);
        document.ledger_schema = one_text(&ledger, "schema", shown, &mut findings)
            .filter(|schema| is_schema(schema, &ledger, &mut findings));
        let pools = take_table(&mut root, "pools", &mut findings);
        document.pools = read_pools(&pools, shown, &mut findings);
        let mut reader = Reader::new(shown, vec![&root]);
        document.jobs_dir = reader.text("jobs");
        document.name = reader.text("name");
        document.parallelism = reader.integer("parallelism", SLOTS).and_then(|n| usize::try_from(n).ok());
        findings.extend(reader.finish());
        let own = ["jobs", "name", "parallelism"];
        let known = [&["connections", "defaults", "pools", "views", "ledger"][..], &own].concat();
        let others = root.entries.iter().filter(|(key, _)| !own.contains(&key.as_str()));
        findings.extend(others.map(|(key, (place, _))| top_level_key(key, place, &known)));
        (document, findings)
    }
}

fn take_table(root: &mut Table, key: &str, findings: &mut Vec<Finding>) -> Table {
    match root.entries.remove(key) {
        None => Table::default(),
        Some((_, item)) => match item.value {
            Value::Table(table) => table,
            other => {
                let message = format!("is {}, not a table: write [{key}]", other.kind());
                findings.push(Finding::at(item.place, message).about(key));
                Table::default()
            }
        },
    }
}

/// Reads a section with one key that is a string.
fn one_text(table: &Table, key: &str, shown: &str, findings: &mut Vec<Finding>) -> Option<String> {
    let mut reader = Reader::new(shown, vec![table]);
    reader.refuse_unknown(&[key]);
    let text = reader.text(key);
    findings.extend(reader.finish());
    text
}

/// Reads `NAME = slots` for each pool.
fn read_pools(table: &Table, shown: &str, findings: &mut Vec<Finding>) -> BTreeMap<String, usize> {
    let mut reader = Reader::new(shown, vec![table]);
    let slots = |name: &String| Some((name.clone(), usize::try_from(reader.integer(name, SLOTS)?).ok()?));
    let pools = table.entries.keys().filter_map(slots).collect();
    findings.extend(reader.finish());
    pools
}

fn is_schema(schema: &str, ledger: &Table, findings: &mut Vec<Finding>) -> bool {
    let message = if schema.len() > MAX_NAME_BYTES {
        "is longer than 63 bytes"
    } else if schema.starts_with("pg_") || schema == "information_schema" {
        "is a schema of Postgres itself"
    } else {
        return true;
    };
    let place = ledger.entries.get("schema").map(|(_, item)| item.place.clone());
    findings.push(Finding { place, key: Some("schema".to_owned()), message: message.to_owned() });
    false
}

fn check_defaults(defaults: &Table) -> Vec<Finding> {
    let known = default_keys();
    let unknown = defaults.entries.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown
        .map(|(key, (place, _))| {
            if JOB_KEYS.contains(&key.as_str()) {
                Finding::at(place.clone(), "belongs to one job and cannot be in [defaults]").about(key)
            } else {
                unknown_key(key, place, &known)
            }
        })
        .collect()
}

fn top_level_key(key: &str, place: &Place, known: &[&str]) -> Finding {
    if default_keys().contains(&key) {
        return Finding::at(place.clone(), "belongs under [defaults]").about(key);
    }
    unknown_key(key, place, known)
}
