//! What can be said about files without a server: risks that are no errors.

use super::files::{Definition, Folder, ViewFile};
use super::options::RefreshMode;
use super::order;
use super::statement::{Aspect, ObjectKind};
use super::trial;

/// Something worth knowing about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub path: String,
    /// What it is.
    pub message: String,
    /// Whether an apply would fail on it.
    pub is_wrong: bool,
}

/// Looks at every file.
#[must_use]
pub fn remarks(folder: &Folder) -> Vec<Remark> {
    let mut found: Vec<Remark> =
        folder.definitions().flat_map(|(file, object)| of_file(file, object)).collect();
    let names = folder.definitions().map(|(_, object)| object.name.clone()).collect();
    if let Some(path) = order::cycle(&names, &trial::guess(folder)) {
        let shown: Vec<_> = path.iter().map(ToString::to_string).collect();
        let file = folder.definitions().find(|(_, object)| path.first() == Some(&object.name));
        let path = file.map(|(file, _)| file.path.clone()).unwrap_or_default();
        found.push(Remark {
            path,
            message: format!("it seems to read itself: {}", shown.join(" -> ")),
            is_wrong: false,
        });
    }
    found
}

fn of_file(file: &ViewFile, object: &Definition) -> Vec<Remark> {
    let remark = |message: &str, is_wrong: bool| Remark {
        path: file.path.clone(),
        message: message.to_owned(),
        is_wrong,
    };
    let mut found = Vec::new();
    if object.name.schema.is_none() {
        found.push(remark(
            "the view's name has no schema: the role's search_path decides where it is made",
            false,
        ));
    }
    let create = &object.create;
    let has_star = (1..create.tokens.len())
        .any(|at| create.word(at) == "*" && (create.is(at - 1, "select") || create.word(at - 1) == "."));
    if has_star && object.kind != ObjectKind::Function {
        found.push(remark(
            "`*` is frozen when the view is made: columns that come later are not in it",
            false,
        ));
    }
    let has_unique = object.parts.iter().any(|part| part.is(1, "unique"));
    if file.options.refresh == Some(RefreshMode::Concurrent)
        && !has_unique
        && object.aspects.contains(&Aspect::Indexes)
    {
        found.push(remark(
            "`refresh: concurrent` needs a unique index on plain columns, and the file makes none",
            true,
        ));
    }
    found
}
