//! A plan that was shown, and whether what would be done now is still that: for `views apply --plan`.
//!
//! `views plan -o json` writes a line for each object with a digest of its file, of what is wanted and of
//! what is live. Sizes and times are not in it: they change by themselves.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::diff::{Class, Step};
use super::files::checksum;
use super::survey::Plan;
use crate::error::{Error, ErrorKind, Result};

/// One object of a plan that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shown {
    /// Its name.
    pub view: String,
    /// Its kind.
    pub kind: String,
    /// What was to be done.
    pub class: String,
    /// The digest of all that decides it.
    pub digest: String,
}

/// Digest of all that decides what is done with an object, and with which outcome.
#[must_use]
pub fn digest(step: &Step) -> String {
    // What stays is as the ledger knows it; how that was found out does not matter.
    if step.class == Class::Unchanged {
        return checksum("unchanged");
    }
    let facts = [&step.want, &step.live].map(|facts| {
        let hashes = facts.as_ref().map(|facts| (facts.definition_hash(), facts.properties_hash()));
        hashes.unwrap_or_default()
    });
    let live = step.live.as_ref().map(|live| live.oid);
    let Step { name, kind, class, cause, details, changes, .. } = step;
    checksum(&format!("{name} {kind:?} {class:?} {cause} {details:?} {changes:?} {live:?} {facts:?}"))
}

/// Reads what `views plan -o json` wrote.
///
/// # Errors
/// `Usage`, where it is something else.
pub fn read(text: &str) -> Result<Vec<Shown>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("line {} is no line of a plan: {error}", at + 1))
                .with_hint("pgtide views plan -o json > plan.json writes one")
        })
    };
    lines.map(read).collect()
}

/// Refuses to go on if what would be done now is not what was shown.
///
/// # Errors
/// `Preflight`, with every difference.
pub fn require(shown: &[Shown], plan: &Plan) -> Result<()> {
    let differences = differences(shown, plan);
    if differences.is_empty() {
        return Ok(());
    }
    let what = "what apply would do now is not what the plan shows; nothing was changed";
    let error = Error::new(ErrorKind::Preflight, what)
        .with_hint("make and read the plan again, with the same --accept, --revert and --prune: pgtide views plan -o json");
    Err(differences.into_iter().fold(error, Error::with_detail))
}

fn differences(shown: &[Shown], plan: &Plan) -> Vec<String> {
    let key = |step: &Step| (step.name.to_string(), step.kind.sql().to_owned());
    let now: BTreeMap<_, &Step> = plan.steps.iter().map(|step| (key(step), step)).collect();
    let then: BTreeMap<_, &Shown> =
        shown.iter().map(|one| ((one.view.clone(), one.kind.clone()), one)).collect();
    let mut found = Vec::new();
    for ((name, kind), step) in &now {
        let word = step.class.word();
        match then.get(&(name.clone(), kind.clone())) {
            None if step.class == Class::Unchanged => {}
            None => found.push(format!("{name}: {word} now, and not in the plan")),
            Some(one) if one.class != word => {
                found.push(format!("{name}: {word} now, {} in the plan", one.class))
            }
            Some(one) if one.digest != digest(step) => {
                found.push(format!("{name}: {word} still, but its file or what is live has changed since"));
            }
            Some(_) => {}
        }
    }
    let gone = then.iter().filter(|(key, one)| !now.contains_key(*key) && one.class != "unchanged");
    found.extend(gone.map(|((name, _), one)| format!("{name}: {} in the plan, and nothing now", one.class)));
    found
}
