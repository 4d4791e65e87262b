//! One object: its file, what it would be, what it is, what was applied, and so what is to be done.
//!
//! Pure. What a change of one object means for others is for `units` to say.

use std::collections::BTreeSet;

use super::alter::{self, Building, Change};
use super::facts::Facts;
use super::files::{Definition, ViewFile};
use super::statement::{Aspect, ObjectKind};
use super::trial::Failure;
use crate::ledger::ViewObject;
use crate::name::TableName;

/// What is to be done with an object, from the cheapest to the dearest, then what is only shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing.
    Unchanged,
    /// Only the checksum is recorded.
    Touched,
    /// Recorded as it is, because `--accept` named it.
    Accept,
    /// Grants, comments, owner, settings, statistics: altered in place.
    Properties,
    /// Indexes: made concurrently, then the surplus dropped.
    Indexes,
    /// An ordinary view or function is pointed at a new version of what it reads.
    Repoint,
    /// An ordinary view or function: replaced in place.
    InPlace,
    /// Created.
    New,
    /// Built beside and swapped, because something that it reads is.
    Rebuild,
    /// Built beside and swapped.
    Replace,
    /// Dropped: a tombstone, or `--prune`.
    Drop,
    /// Applied once, and its file is gone.
    Orphan,
    /// What is live is not what was applied.
    Drift,
    /// Something stands in the way.
    Blocked,
    /// The file is wrong.
    Failed,
}

impl Class {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Touched => "touched",
            Self::Accept => "accept",
            Self::Properties => "properties",
            Self::Indexes => "indexes",
            Self::Repoint => "repoint",
            Self::InPlace => "view",
            Self::New => "new",
            Self::Rebuild => "rebuild",
            Self::Replace => "replace",
            Self::Drop => "drop",
            Self::Orphan => "orphan",
            Self::Drift => "drift",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }

    /// Whether an apply does something about it.
    #[must_use]
    pub fn is_work(self) -> bool {
        !matches!(self, Self::Unchanged) && !self.needs_a_person()
    }

    /// Whether it is left for a person to decide.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::Orphan | Self::Drift | Self::Blocked | Self::Failed)
    }

    /// Whether a new object is built beside.
    #[must_use]
    pub fn is_built(self) -> bool {
        matches!(self, Self::New | Self::Rebuild | Self::Replace)
    }

    /// Whether the live object is changed under its OID, together with what is built.
    #[must_use]
    pub fn is_in_place(self) -> bool {
        matches!(self, Self::InPlace | Self::Repoint)
    }

    /// The strongest lock on the live object, and how long readers wait for it.
    #[must_use]
    pub fn lock(self) -> &'static str {
        match self {
            Self::Rebuild | Self::Replace => "ACCESS EXCLUSIVE, for the swap alone",
            Self::InPlace | Self::Repoint => "ACCESS EXCLUSIVE, for a moment",
            Self::Indexes => "SHARE UPDATE EXCLUSIVE: readers go on",
            Self::Drop => "ACCESS EXCLUSIVE, for a moment",
            Self::Properties => "of the ALTER, for a moment",
            _ => "none",
        }
    }
}

/// An object and what is to be done with it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub name: TableName,
    /// Its kind.
    pub kind: ObjectKind,
    /// What is to be done.
    pub class: Class,
    /// Why.
    pub cause: String,
    /// Lines below: what stands in the way, where the file is wrong.
    pub details: Vec<String>,
    /// Its file.
    pub file: Option<String>,
    /// What is there now.
    pub live: Option<Facts>,
    /// What is to be there.
    pub want: Option<Facts>,
    /// Differences of what belongs to it, of a live object.
    pub changes: Vec<Change>,
    /// SQLSTATE, if the server refused the file.
    pub sqlstate: Option<String>,
    /// Indexes of other steps; filled by `units`.
    pub unit: Option<usize>,
}

/// What is known of one object of a file.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its file.
    pub file: &'a ViewFile,
    /// The object in it.
    pub object: &'a Definition,
    /// What it would be, or why it cannot.
    pub tried: Result<&'a Facts, &'a Failure>,
    /// What is there now.
    pub live: Option<&'a Facts>,
    /// What has its name and is no view: `table`.
    pub obstacle: Option<&'a str>,
    /// What was applied.
    pub stored: Option<&'a ViewObject>,
    /// The name that the applied object has now, if another.
    pub renamed: Option<&'a TableName>,
    /// The server.
    pub server_version: i32,
}

/// What a person said about single objects.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Record these as they are.
    pub accept: Vec<TableName>,
    /// Apply these files over what was changed outside.
    pub revert: Vec<TableName>,
}

/// Decides.
#[must_use]
pub fn step(known: &Known<'_>, wishes: &Wishes) -> Step {
    let Known { object, live, .. } = *known;
    let mut step = Step {
        name: object.name.clone(),
        kind: object.kind,
        class: Class::Unchanged,
        cause: String::new(),
        details: Vec::new(),
        file: Some(known.file.path.clone()),
        live: live.cloned(),
        want: None,
        changes: Vec::new(),
        sqlstate: None,
        unit: None,
    };
    if wishes.accept.contains(&object.name) && live.is_some() {
        return set(step, Class::Accept, "recorded as it is: --accept");
    }
    if let Some(obstacle) = known.obstacle {
        return set(step, Class::Blocked, format!("{} is a {obstacle}", object.name));
    }
    let tried = match known.tried {
        Ok(tried) => tried,
        Err(failure) => {
            step.details.clone_from(&failure.details);
            step.sqlstate.clone_from(&failure.sqlstate);
            return set(step, Class::Failed, failure.message.clone());
        }
    };
    let Some(live) = live else {
        step.want = Some(tried.clone());
        return match known.renamed {
            Some(other) => set(step, Class::Drift, format!("it was renamed to {other}, not by pgtide")),
            None if known.stored.is_some_and(|stored| stored.oid != 0) => {
                set(step, Class::New, "it is gone, and its file is here")
            }
            None => set(step, Class::New, "there is none yet"),
        };
    };
    let want = merged(tried, live, &spoken(known));
    let changes = alter::changes(live, &want, Building::Live);
    let same_definition = want.definition_hash() == live.definition_hash();
    let (class, cause) = decide(known, wishes, &want, live, (same_definition, &changes));
    step.want = Some(want);
    step.changes = changes;
    set(step, class, cause)
}

fn set(mut step: Step, class: Class, cause: impl Into<String>) -> Step {
    (step.class, step.cause) = (class, cause.into());
    step
}

/// What the file speaks of, or spoke of when it was last applied.
fn spoken(known: &Known<'_>) -> BTreeSet<Aspect> {
    let stored = known.stored.map(|stored| stored.aspects.as_slice()).unwrap_or_default();
    let before = Aspect::ALL.into_iter().filter(|(_, name)| stored.iter().any(|word| word == name));
    known.object.aspects.iter().copied().chain(before.map(|(aspect, _)| aspect)).collect()
}

fn decide(
    known: &Known<'_>,
    wishes: &Wishes,
    want: &Facts,
    live: &Facts,
    (same_definition, changes): (bool, &[Change]),
) -> (Class, String) {
    let Some(stored) = known.stored.filter(|stored| stored.oid != 0) else {
        let (class, cause) = by_difference(want, live, (same_definition, changes));
        let cause = match class {
            Class::Touched => "it is there already, as the file says".to_owned(),
            _ => format!("{cause}; it was not made from a file, and its definition is kept in the history"),
        };
        return (class, cause);
    };
    let same_file = stored.checksum_expanded == known.file.checksum_expanded;
    let is_as_applied = stored.oid == live.oid
        && stored.definition_hash == live.definition_hash()
        && stored.properties_hash == live.properties_hash();
    if same_file && is_as_applied {
        let moved = stored.file != known.file.path
            || stored.checksum != known.file.checksum
            || stored.error.is_some();
        let class = if moved { Class::Touched } else { Class::Unchanged };
        let cause = if stored.file == known.file.path {
            "only what placeholders stand for".to_owned()
        } else {
            format!("the file was {}", stored.file)
        };
        return (class, if moved { cause } else { String::new() });
    }
    let (class, cause) = by_difference(want, live, (same_definition, changes));
    if class == Class::Touched {
        let cause = if same_file { "it is as the file says again" } else { "only comments or blanks differ" };
        return (class, cause.to_owned());
    }
    if same_file
        && stored.server_version == known.server_version
        && !wishes.revert.contains(&known.object.name)
    {
        return (Class::Drift, format!("what is live was changed, not by pgtide: {cause}"));
    }
    let outside = if is_as_applied || same_file { "" } else { "; it was changed outside too, which ends" };
    (class, format!("{cause}{outside}"))
}

/// The class by what differs alone.
fn by_difference(
    want: &Facts,
    live: &Facts,
    (same_definition, changes): (bool, &[Change]),
) -> (Class, String) {
    if !same_definition {
        if want.kind != live.kind {
            return (Class::Replace, format!("it was a {}", live.kind.sql()));
        }
        let columns = columns(want, live);
        return match want.kind {
            ObjectKind::Matview => (Class::Replace, columns),
            ObjectKind::View if !want.keeps_columns_of(live) => (Class::Replace, columns),
            ObjectKind::View | ObjectKind::Function => (Class::InPlace, columns),
        };
    }
    let texts: Vec<_> = changes.iter().map(|change| change.text.as_str()).collect();
    let has_indexes = changes.iter().any(|change| change.aspect == Aspect::Indexes);
    match texts.as_slice() {
        [] => (Class::Touched, String::new()),
        _ if has_indexes => (Class::Indexes, texts.join(", ")),
        _ => (Class::Properties, texts.join(", ")),
    }
}

/// What became of the columns, else that the definition differs.
fn columns(want: &Facts, live: &Facts) -> String {
    let names = |facts: &Facts| facts.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (new, old) = (names(want), names(live));
    let mut said: Vec<String> =
        new.iter().filter(|name| !old.contains(name)).map(|name| format!("column {name} is new")).collect();
    said.extend(old.iter().filter(|name| !new.contains(name)).map(|name| format!("column {name} goes")));
    for (name, data_type) in &want.columns {
        if let Some((_, before)) =
            live.columns.iter().find(|(old, before)| old == name && before != data_type)
        {
            said.push(format!("column {name} is {data_type}, was {before}"));
        }
    }
    if said.is_empty() { "its definition differs".to_owned() } else { said.join(", ") }
}

/// What the file says, and of what it does not speak, what is there.
fn merged(tried: &Facts, live: &Facts, spoken: &BTreeSet<Aspect>) -> Facts {
    let mut want = tried.clone();
    let is_kept = |aspect: Aspect| !spoken.contains(&aspect);
    if is_kept(Aspect::Indexes) {
        want.indexes.clone_from(&live.indexes);
    }
    want.index_tablespaces.clone_from(&live.index_tablespaces);
    want.index_tablespaces.retain(|name, _| want.indexes.contains_key(name));
    if is_kept(Aspect::Statistics) {
        want.statistics.clone_from(&live.statistics);
    }
    if is_kept(Aspect::Comments) {
        want.comments.clone_from(&live.comments);
        want.comments
            .retain(|column, _| column.is_empty() || want.columns.iter().any(|(name, _)| name == column));
        want.index_comments.clone_from(&live.index_comments);
        want.index_comments.retain(|name, _| want.indexes.contains_key(name));
    }
    if is_kept(Aspect::Grants) {
        want.grants.clone_from(&live.grants);
    }
    if is_kept(Aspect::Owner) {
        want.owner.clone_from(&live.owner);
    }
    if is_kept(Aspect::Settings) {
        want.options.clone_from(&live.options);
        want.cluster.clone_from(&live.cluster);
        want.column_settings.clone_from(&live.column_settings);
        want.column_settings.retain(|(column, _)| want.columns.iter().any(|(name, _)| name == column));
    }
    if want.cluster.as_ref().is_some_and(|name| !want.indexes.contains_key(name)) {
        want.cluster = None;
    }
    if want.tablespace.is_none() && want.kind == live.kind {
        want.tablespace.clone_from(&live.tablespace);
    }
    want.oid = live.oid;
    want
}
