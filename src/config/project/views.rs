//! `[views]` of `pgtide.toml`: the folder of the files, and a table of options for each pattern.
//!
//! ```toml
//! [views]
//! files = "views/"
//!
//! [views."mart.*"]
//! refresh = "swap"
//! max_age = "26h"
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Project;
use crate::config::file::{Item, Table, Value};
use crate::config::finding::Finding;
use crate::config::nearest::did_you_mean;
use crate::config::overrides::Overrides;
use crate::config::reader::Reader;
use crate::config::views::{VIEW_KEYS, ViewOptions, ViewRules};
use crate::error::{Error, ErrorKind, Result};

/// Keys of `[views]` itself; every other key is a pattern and holds a table.
const OWN_KEYS: [&str; 2] = ["files", "placeholders"];

/// Reads the folder.
pub(super) fn files(views: &Table, shown: &str, findings: &mut Vec<Finding>) -> Option<String> {
    let mut reader = Reader::new(shown, vec![views]);
    let files = reader.text("files");
    findings.extend(reader.finish());
    files
}

/// Reads `[views.placeholders]`: what `${name}` stands for in files.
pub(super) fn placeholders(
    views: &Table,
    shown: &str,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, String> {
    let Some((place, item)) = views.entries.get("placeholders") else { return BTreeMap::new() };
    let Value::Table(table) = &item.value else {
        let message = format!("is {}, not a table: write [views.placeholders]", item.value.kind());
        findings.push(Finding::at(place.clone(), message).about("views.placeholders"));
        return BTreeMap::new();
    };
    let mut reader = Reader::new(shown, vec![table]);
    let found = table.entries.keys().filter_map(|key| Some((key.clone(), reader.text(key)?))).collect();
    findings.extend(reader.finish());
    found
}

/// Reads the patterns with their options.
pub(super) fn rules(views: &Table, findings: &mut Vec<Finding>) -> ViewRules {
    let mut rules = ViewRules::default();
    for (key, (place, item)) in &views.entries {
        match &item.value {
            _ if OWN_KEYS.contains(&key.as_str()) => {}
            Value::Table(table) => rules.add_pattern(key, options(key, table, findings)),
            _ if VIEW_KEYS.contains(&key.as_str()) => {
                let message = format!("belongs under a pattern: [views.\"*\"] and {key} below it");
                findings.push(Finding::at(place.clone(), message).about(key));
            }
            other => {
                let suggestion = did_you_mean(key, OWN_KEYS);
                let message = format!("is {}, not a table of options{suggestion}", other.kind());
                findings.push(Finding::at(place.clone(), message).about(key));
            }
        }
    }
    rules
}

fn options(pattern: &str, table: &Table, findings: &mut Vec<Finding>) -> ViewOptions {
    let mut options = ViewOptions::default();
    for (key, (place, item)) in &table.entries {
        let set = text(item).and_then(|value| options.set(key, &value));
        if let Err(message) = set {
            let about = format!("views.{pattern}.{key}");
            findings.push(Finding::at(place.clone(), message).about(&about));
        }
    }
    options
}

/// A value as a comment line would write it.
fn text(item: &Item) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::List(items) => Ok(items.iter().map(text).collect::<Result<Vec<_>, String>>()?.join(", ")),
        other => Err(format!("is {}, not a string", other.kind())),
    }
}

impl Project {
    /// The connection whose views the `views` commands are about: `--destination`, else the one that all
    /// jobs load into, else that of `[defaults]`, else `destination`.
    ///
    /// # Errors
    /// `Usage`, when jobs load into several; what is wrong with the jobs.
    pub fn views_destination(&self) -> Result<String> {
        if let Some(given) = &self.overrides.destination {
            return Ok(if Overrides::is_place(given) { "destination".to_owned() } else { given.clone() });
        }
        let names: BTreeSet<String> = self.jobs()?.into_iter().map(|job| job.destination).collect();
        let mut names = names.into_iter();
        match (names.next(), names.next()) {
            (Some(one), None) => Ok(one),
            (Some(one), Some(other)) => {
                let all: Vec<String> = [one, other].into_iter().chain(names).collect();
                Err(Error::new(ErrorKind::Usage, format!("the jobs load into several: {}", all.join(", ")))
                    .with_hint("say which with --destination NAME"))
            }
            (None, _) => {
                let mut reader = Reader::new("", vec![&self.document.defaults]);
                Ok(reader.text("destination").unwrap_or_else(|| "destination".to_owned()))
            }
        }
    }
}
