//! Reads `src/` and fails where the house is out of order: an import that goes upward or sideways, a
//! file that is too long, has no purpose or a name that says nothing, text printed below `report`.
//!
//! The table below is the agreement; a new module is added to it first.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom up, and whether those of one layer may use each other.
const LAYERS: [(&[&str], Sideways); 8] = [
    (&["error", "interval", "event", "shutdown", "chunk", "name", "state", "exit"], Sideways::Allowed),
    (&["config"], Sideways::Refused),
    (&["postgres"], Sideways::Refused),
    (&["ledger"], Sideways::Refused),
    (&["plan", "columns", "extract", "load", "views"], Sideways::Refused),
    (&["engine"], Sideways::Refused),
    (&["report", "schedule", "notify", "verify", "sandbox"], Sideways::Refused),
    (&["cli"], Sideways::Refused),
];

/// Parts of a lower module that are all an upper one may use of it: (upper, lower, part).
const ONLY: [(&str, &str, &str); 1] = [("postgres", "config", "connection")];

/// Where text for people is made.
const PRINTERS: [&str; 3] = ["report", "cli", "main"];

const NAMES_THAT_SAY_NOTHING: [&str; 10] =
    ["utils", "util", "types", "common", "helpers", "helper", "manager", "misc", "shared", "base"];

const LONGEST_FILE_LINES: usize = 450;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sideways {
    Allowed,
    Refused,
}

#[test]
fn imports_go_downward_only() {
    let findings = |file: &Source| match file.module() {
        None => Vec::new(),
        Some(module) => references(&file.code, file.depth())
            .iter()
            .filter_map(|reference| {
                Some(format!("line {}: {}", reference.line, refusal(&module, reference)?))
            })
            .collect(),
    };
    assert_nothing_found(findings);
}

#[test]
fn every_module_has_a_layer() {
    assert_nothing_found(|file| match file.module() {
        Some(module) if layer(&module).is_none() => {
            vec![format!("module `{module}` has no layer: add it to LAYERS in tests/layering.rs")]
        }
        _ => Vec::new(),
    });
}

#[test]
fn files_are_short() {
    assert_nothing_found(|file| {
        let lines = without_tests(&file.text).lines().count();
        let finding =
            format!("{lines} lines without tests, more than {LONGEST_FILE_LINES}: split it by noun");
        if lines > LONGEST_FILE_LINES && !file.is_tests() { vec![finding] } else { Vec::new() }
    });
}

#[test]
fn every_file_opens_with_its_purpose() {
    assert_nothing_found(|file| {
        if file.text.starts_with("//! ") { Vec::new() } else { vec!["does not open with `//! `".to_owned()] }
    });
}

#[test]
fn files_are_nouns_of_the_field() {
    assert_nothing_found(|file| {
        let names = file.path.with_extension("");
        let words = names.iter().filter_map(|name| name.to_str());
        words
            .filter(|name| NAMES_THAT_SAY_NOTHING.contains(name))
            .map(|name| format!("`{name}` says nothing about what is in it"))
            .collect()
    });
}

#[test]
fn only_report_and_cli_print() {
    assert_nothing_found(|file| {
        if file.is_tests() || file.first_name().is_some_and(|name| PRINTERS.contains(&name)) {
            return Vec::new();
        }
        let code = without_tests(&file.code);
        let prints = |line: &&str| ["print!(", "println!("].iter().any(|call| line.contains(call));
        code.lines().filter(prints).map(|line| format!("prints: {}", line.trim())).collect()
    });
}

#[test]
fn a_reference_is_found_however_it_is_written() {
    let code = "use crate::ledger::Claim;\nuse crate::{\n    config::{self, job},\n    plan,\n};\n\
        fn f() -> super::extract::Chunk { crate::views::graph() }\nmod tests {\n    use super::super::load;\n}\n";
    let found: Vec<(usize, String)> =
        references(code, 1).into_iter().map(|r| (r.line, r.path.join("::"))).collect();
    let expected = [
        (1, "ledger::Claim"),
        (2, "config::self"),
        (2, "config::job"),
        (2, "plan"),
        (6, "extract::Chunk"),
        (6, "views::graph"),
        (8, "load"),
    ];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn super_within_a_folder_is_no_reference() {
    assert!(
        references("use super::Programs;\nmod tests {\n    use super::super::Server;\n}\n", 2).is_empty()
    );
    assert_eq!(references("use super::super::engine;\n", 2)[0].path, ["engine"]);
}

#[test]
fn upward_and_sideways_are_refused_and_downward_is_not() {
    let allowed = |module: &str, path: &str| {
        let path = path.split("::").map(str::to_owned).collect();
        refusal(module, &Reference { line: 1, path }).is_none()
    };
    assert!(allowed("ledger", "postgres::ident"));
    assert!(allowed("event", "error::Error"));
    assert!(allowed("load", "load::merge"));
    assert!(allowed("postgres", "config::connection::Host"));
    assert!(!allowed("postgres", "config::job::Job"));
    assert!(!allowed("postgres", "ledger"));
    assert!(!allowed("plan", "columns"));
    assert!(!allowed("report", "cli"));
    assert!(!allowed("error", "reexported"));
}

#[test]
fn comments_and_texts_are_not_code() {
    let text = "a // crate::x\n/* crate::y /* in */ */ b \"crate::z \\\" \" r#\"crate::\"w\"# '\"' c 'life";
    let code = code_of(text);
    assert!(!code.contains("crate"));
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "'life"]);
}

/// A reference to a module of this crate: the path after `crate::`.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    line: usize,
    path: Vec<String>,
}

/// One file below `src/`.
struct Source {
    /// Relative to `src/`.
    path: PathBuf,
    text: String,
    /// The text without comments and literals, line by line the same.
    code: String,
}

impl Source {
    fn first_name(&self) -> Option<&str> {
        Path::new(self.path.iter().next()?).file_stem()?.to_str()
    }

    /// The top module that the file belongs to; none for `main.rs` and `lib.rs`.
    fn module(&self) -> Option<String> {
        self.first_name().filter(|name| !["main", "lib"].contains(name)).map(str::to_owned)
    }

    /// Whether the file holds the tests of its neighbour: `tests.rs`, `calendar_tests.rs`.
    fn is_tests(&self) -> bool {
        self.path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with("tests"))
    }

    /// How many modules deep the file is: 1 for `plan.rs` and `load/mod.rs`, 2 for `load/merge.rs`.
    fn depth(&self) -> usize {
        self.path.iter().count() - usize::from(self.path.ends_with("mod.rs"))
    }
}

/// Runs a check on every file and fails with all findings at once.
fn assert_nothing_found(check: impl Fn(&Source) -> Vec<String>) {
    let mut findings: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let files = sources();
    assert!(files.len() > 5, "src/ was not found");
    for file in files {
        let found = check(&file);
        if !found.is_empty() {
            findings.insert(file.path, found);
        }
    }
    let text: String = findings
        .iter()
        .flat_map(|(path, found)| found.iter().map(move |f| format!("\nsrc/{}: {f}", path.display())))
        .collect();
    assert!(text.is_empty(), "{text}");
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_owned();
                found.push(Source { path, code: code_of(&text), text });
            }
        }
    }
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(modules, _)| modules.contains(&module))
}

/// Why a module may not make a reference, if it may not.
fn refusal(module: &str, reference: &Reference) -> Option<String> {
    let target = reference.path[0].as_str();
    // A module without a layer is reported once, by the test above.
    let own = layer(module)?;
    let Some(other) = layer(target) else {
        return Some(format!("crate::{target} is no module of LAYERS: name the module, not a re-export"));
    };
    let part = reference.path.get(1).map(String::as_str);
    let narrow =
        ONLY.iter().find(|(upper, lower, only)| *upper == module && *lower == target && part != Some(*only));
    if other > own {
        Some(format!("{module} (L{own}) uses {target} (L{other}): upward"))
    } else if other == own && module != target && LAYERS[own].1 == Sideways::Refused {
        Some(format!("{module} uses {target}, both L{own}: sideways"))
    } else {
        narrow.map(|(_, _, only)| format!("{module} may use {target}::{only} only"))
    }
}

/// All references of a file to modules of the crate, by `crate::` or by enough `super::`.
fn references(code: &str, depth: usize) -> Vec<Reference> {
    let mut found = Vec::new();
    for (start, root) in roots(code, depth) {
        let line = code[..start].matches('\n').count() + 1;
        let mut paths = Vec::new();
        expand(&code[start + root..], &[], &mut paths);
        found.extend(paths.into_iter().map(|path| Reference { line, path }));
    }
    found
}

/// Where a path from the crate's root starts, and how long the words are that lead to the root.
fn roots(code: &str, depth: usize) -> Vec<(usize, usize)> {
    let mut roots: Vec<_> = word_starts(code, "crate::").map(|start| (start, "crate::".len())).collect();
    for start in word_starts(code, "super::") {
        let is_super = |n: &usize| code[start + n * "super::".len()..].starts_with("super::");
        let chain = (0..).take_while(is_super).count();
        let follows = code[..start].ends_with("super::");
        if !follows && chain == depth + inline_depth(&code[..start]) {
            roots.push((start, chain * "super::".len()));
        }
    }
    roots.sort_unstable();
    roots
}

fn word_starts<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    code.match_indices(word).map(|(start, _)| start).filter(move |start| !code[..*start].ends_with(inside))
}

/// How many inline modules are open here; rustfmt ends those of the first level with a `}` at the margin.
fn inline_depth(before: &str) -> usize {
    let opens = |line: &&str| {
        let words = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        words.starts_with("mod ") && line.ends_with('{')
    };
    let lines: Vec<&str> = before.lines().collect();
    let last_open = lines.iter().rposition(opens);
    usize::from(last_open.is_some_and(|open| !lines[open..].contains(&"}")))
}

/// Follows a path; a `{` group makes a path of each of its members.
fn expand(rest: &str, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        for member in members(group) {
            expand(member, prefix, paths);
        }
        return;
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*').collect();
    if name.is_empty() {
        return;
    }
    let path = [prefix, std::slice::from_ref(&name)].concat();
    match rest[name.len()..].strip_prefix("::") {
        Some(next)
            if next.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '{') && path.len() < 2 =>
        {
            expand(next, &path, paths);
        }
        _ => paths.push(path),
    }
}

/// The members of a group, split at its own commas; the text starts after the `{`.
fn members(group: &str) -> Vec<&str> {
    let (mut level, mut start, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// The text up to its inline tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Blanks comments, texts and characters; keeps every line break.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let skipped = comment(rest).or_else(|| literal(rest, code.chars().next_back()));
        let (taken, keep) = match skipped {
            Some(length) => (length, false),
            None => (rest.chars().next().map_or(1, char::len_utf8), true),
        };
        let (head, tail) = rest.split_at(taken);
        if keep {
            code.push_str(head);
        } else {
            code.push(' ');
            code.extend(head.matches('\n'));
        }
        rest = tail;
    }
    code
}

/// The length of the comment that starts here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut level, mut at) = (0_usize, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        match tail {
            [b'/', b'*', ..] => (level, at) = (level + 1, at + 2),
            [b'*', b'/', ..] => (level, at) = (level - 1, at + 2),
            _ => at += 1,
        }
        if level == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the text or character that starts here; `before` tells `r"` from a name that ends in r.
fn literal(rest: &str, before: Option<char>) -> Option<usize> {
    if rest.starts_with('"') || rest.starts_with("'\\") {
        return Some(quoted(rest));
    }
    if let Some(character) = rest.strip_prefix('\'').and_then(|rest| rest.chars().next()) {
        let length = 2 + character.len_utf8();
        return rest[length - 1..].starts_with('\'').then_some(length);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word)?;
    let hashes = raw.chars().take_while(|c| *c == '#').count();
    if raw[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = &raw[hashes + 1..];
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(rest.len() - body.len() + length);
    }
    None
}

/// The length of a text or character with escapes, from its opening quote to its closing one.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && rest.starts_with(c) {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}
