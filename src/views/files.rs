//! The folder of views: one object a file, under any name, with what belongs to it.
//!
//! Reading needs no server. Everything that is wrong is found at once, each finding with its file and
//! line; what is right is kept, so that one bad file does not hide the others.

mod content;
mod placeholder;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::options::ViewOptions;
use super::script::Statement;
use super::statement::{Aspect, ObjectKind};
use crate::config::finding::{Finding, Place};
use crate::name::TableName;

/// What `${name}` stands for.
pub type Placeholders<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All files of a folder.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Files that are right, by path.
    pub files: Vec<ViewFile>,
    /// What is wrong, everywhere.
    pub findings: Vec<Finding>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct ViewFile {
    /// Its path below the folder, with `/`.
    pub path: String,
    /// Checksum of the file as it is.
    pub checksum: String,
    /// Checksum of the text with its placeholders filled in.
    pub checksum_expanded: String,
    /// What it holds.
    pub content: Content,
    /// What its comment lines ask for.
    pub options: ViewOptions,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// An object that is to be there.
    Object(Box<Definition>),
    /// Drops alone: these are to be gone.
    Tombstone(Vec<(ObjectKind, TableName)>),
}

/// An object as its file says it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name, as written; the schema may be missing.
    pub name: TableName,
    /// The statement that creates it.
    pub create: Statement,
    /// The tokens of its name there: the first, and the one after the last.
    pub name_tokens: (usize, usize),
    /// Whether it is to be filled when it is new.
    pub with_data: bool,
    /// Statements about it, in order.
    pub parts: Vec<Statement>,
    /// What the file speaks of; the rest is kept as it is.
    pub aspects: Vec<Aspect>,
    /// The line of the statement that creates it.
    pub line: usize,
}

impl ViewFile {
    /// The object that is to be there.
    #[must_use]
    pub fn definition(&self) -> Option<&Definition> {
        match &self.content {
            Content::Object(definition) => Some(definition),
            Content::Tombstone(_) => None,
        }
    }
}

impl Folder {
    /// Reads every `.sql` file below a folder; one that is missing is empty.
    #[must_use]
    pub fn read(root: &Path, placeholders: Placeholders<'_>) -> Self {
        let mut folder = Self::default();
        let mut paths = Vec::new();
        if root.exists() {
            collect(root, &mut paths, &mut folder.findings);
        }
        paths.sort();
        for path in paths {
            let shown = shown(root, &path);
            if is_versioned(&path) {
                folder.notes.push(format!("{shown} is a versioned migration: left to the tool that runs it"));
                continue;
            }
            match fs::read_to_string(&path) {
                Ok(text) => folder.take(&shown, &text, placeholders),
                Err(error) => {
                    let message = format!("cannot be read: {error}");
                    folder.findings.push(Finding::at(Place { file: shown, line: 0 }, message));
                }
            }
        }
        folder.refuse_duplicates();
        folder
    }

    /// Reads one text.
    pub fn take(&mut self, path: &str, text: &str, placeholders: Placeholders<'_>) {
        let at = |line: usize| Place { file: path.to_owned(), line };
        let expanded = match placeholder::expand(text, placeholders) {
            Ok(expanded) => expanded,
            Err(found) => {
                self.findings.extend(found.into_iter().map(|(line, what)| Finding::at(at(line), what)));
                return;
            }
        };
        let mut findings = Vec::new();
        let read = content::read(&expanded, &mut findings);
        self.findings.extend(findings.into_iter().map(|(line, what)| Finding::at(at(line), what)));
        if let Some((content, options)) = read {
            self.files.push(ViewFile {
                path: path.to_owned(),
                checksum: checksum(text),
                checksum_expanded: checksum(&expanded),
                content,
                options,
            });
        }
    }

    /// Objects that are to be there, with their files.
    pub fn definitions(&self) -> impl Iterator<Item = (&ViewFile, &Definition)> {
        self.files.iter().filter_map(|file| Some((file, file.definition()?)))
    }

    /// Gives names without a schema the one in which the server would create them.
    pub fn resolve(&mut self, schema: &str) {
        for file in &mut self.files {
            match &mut file.content {
                Content::Object(definition) => resolve(&mut definition.name, schema),
                Content::Tombstone(names) => names.iter_mut().for_each(|(_, name)| resolve(name, schema)),
            }
        }
        self.refuse_duplicates();
    }

    /// Two files for one object: both are told, neither is used.
    fn refuse_duplicates(&mut self) {
        let mut paths: BTreeMap<TableName, Vec<String>> = BTreeMap::new();
        for (file, definition) in self.definitions() {
            paths.entry(definition.name.clone()).or_default().push(file.path.clone());
        }
        paths.retain(|_, paths| paths.len() > 1);
        for (name, paths) in &paths {
            let message = format!("{name} is in {} files: {}", paths.len(), paths.join(", "));
            self.findings.push(Finding::at(Place { file: paths[0].clone(), line: 0 }, message));
        }
        self.files.retain(|file| file.definition().is_none_or(|object| !paths.contains_key(&object.name)));
    }
}

fn resolve(name: &mut TableName, schema: &str) {
    name.schema.get_or_insert_with(|| schema.to_owned());
}

/// The checksum of a text, as the ledger keeps it.
#[must_use]
pub fn checksum(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>, findings: &mut Vec<Finding>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let place = Place { file: folder.display().to_string(), line: 0 };
            findings.push(Finding::at(place, format!("cannot be read: {error}")));
            return;
        }
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths, findings);
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) {
            paths.push(path);
        }
    }
}

fn shown(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Flyway's `V1.2__what.sql`, `U1.2__what.sql` and `B1__what.sql`: they run once, and hold tables.
fn is_versioned(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Some((version, _)) = name.split_once("__") else { return false };
    let mut chars = version.chars();
    matches!(chars.next(), Some('V' | 'U' | 'B')) && chars.next().is_some_and(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let mut folder = Folder::default();
        for (path, text) in files {
            folder.take(path, text, &|name| (name == "tz").then(|| "UTC".to_owned()));
        }
        folder.refuse_duplicates();
        folder
    }

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        folder(files).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_repeatable_file_with_its_leading_drop_is_one_object() {
        let text = "-- refresh: swap\nDROP MATERIALIZED VIEW IF EXISTS mart.sales CASCADE;\n\
            CREATE MATERIALIZED VIEW mart.sales AS\nSELECT 1 AS id, now() AT TIME ZONE '${tz}' AS at\nWITH NO DATA;\n\
            CREATE UNIQUE INDEX sales_key ON mart.sales (id);\nGRANT SELECT ON mart.sales TO analyst;\n\
            REFRESH MATERIALIZED VIEW mart.sales;";
        let folder = folder(&[("10_mart/R__20_sales.sql", text)]);
        assert_eq!(folder.findings, []);
        let definition = folder.files[0].definition().unwrap();
        assert_eq!(definition.name, TableName::new("mart", "sales"));
        assert_eq!(definition.aspects, [Aspect::Indexes, Aspect::Grants]);
        assert!(!definition.with_data && !definition.create.text.contains("NO DATA"));
        assert!(definition.create.text.contains("'UTC'"));
        assert_eq!(folder.files[0].options.refresh, Some(super::super::options::RefreshMode::Swap));
        assert_ne!(folder.files[0].checksum, folder.files[0].checksum_expanded);
    }

    #[test]
    fn a_file_of_drops_alone_is_a_tombstone() {
        let folder = folder(&[("gone.sql", "drop materialized view if exists mart.gone cascade;")]);
        let Content::Tombstone(names) = &folder.files[0].content else { panic!("{folder:?}") };
        assert_eq!(names, &[(ObjectKind::Matview, TableName::new("mart", "gone"))]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_line() {
        let found = messages(&[
            ("a.sql", "create view mart.a as select 1;\ncreate view mart.b as select 2;"),
            (
                "b.sql",
                "create view mart.c as select 1;\ninsert into t values (1);\ncomment on view mart.x is '';",
            ),
            (
                "c.sql",
                "-- note: all of it\n-- refersh: swap\n-- refresh: fast\ncreate view mart.d as select 1;",
            ),
            ("c2.sql", "create view mart.d2 as select '${zone}';"),
            ("d.sql", "select 1"),
            ("e.sql", ""),
            ("f.sql", "create view mart.e as select 'x"),
            ("g.sql", "create view mart.g as select 1"),
            ("h.sql", "create view mart.g as select 1"),
            ("i.sql", "create table mart.i ()"),
        ]);
        insta::assert_snapshot!(found.join("\n"), @"
        a.sql:2: creates mart.b, and line 1 creates mart.a: one object a file
        b.sql:2: `insert into t values (1)` has no place here: a file holds one view or function, its indexes, comments, grants, settings and statistics
        b.sql:3: is about mart.x, and the file is mart.c's: one object a file
        c.sql:2: unknown option `refersh`, did you mean `refresh`?
        c.sql:3: `refresh`: `fast` is not auto, plain, concurrent, swap or never
        c2.sql:1: `${zone}` stands for nothing: set it under [views.placeholders] of pgtide.toml, or as a variable
        d.sql:1: `select 1` is a query: write `create view NAME as` or `create materialized view NAME as` before it
        e.sql:1: creates nothing: a file holds one `create materialized view`, `create view` or `create function`
        f.sql:1: a string is not closed
        i.sql:1: `create table mart.i ()` has no place here: a file holds one view or function, its indexes, comments, grants, settings and statistics
        g.sql: mart.g is in 2 files: g.sql, h.sql
        ");
    }

    #[test]
    fn versioned_migrations_are_left_alone() {
        for (name, versioned) in [
            ("V1__a.sql", true),
            ("U2.1__a.sql", true),
            ("R__a.sql", false),
            ("Views__a.sql", false),
            ("sales.sql", false),
        ] {
            assert_eq!(is_versioned(Path::new(name)), versioned, "{name}");
        }
    }
}
