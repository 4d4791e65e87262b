//! One text: the object that it creates, what it says about it, and the options in its comment lines.

use super::{Content, Definition};
use crate::config::nearest::did_you_mean;
use crate::name::TableName;
use crate::views::options::{VIEW_KEYS, ViewOptions};
use crate::views::script::{Script, Statement};
use crate::views::statement::{Aspect, Meaning, ObjectKind, meaning};

/// Characters of a statement that a finding shows.
const SHOWN_CHARS: usize = 40;

/// Findings with their lines.
type Findings = Vec<(usize, String)>;

/// Reads a text whose placeholders are filled in; none if it holds nothing that can be used.
pub(super) fn read(text: &str, findings: &mut Findings) -> Option<(Content, ViewOptions)> {
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(unclosed) => {
            findings.push((unclosed.line, format!("{} is not closed", unclosed.what)));
            return None;
        }
    };
    let before = findings.len();
    let options = options(&script, findings);
    let content = Collected::of(&script, findings).content(&script, findings)?;
    (findings.len() == before).then_some((content, options))
}

/// What the statements of a file say.
#[derive(Default)]
struct Collected {
    object: Option<Definition>,
    dropped: Vec<(ObjectKind, TableName)>,
    parts: Vec<(Aspect, Option<TableName>, Statement)>,
}

impl Collected {
    fn of(script: &Script, findings: &mut Findings) -> Self {
        let mut found = Self::default();
        for statement in &script.statements {
            match meaning(statement) {
                Meaning::Create { kind, name, tokens } => {
                    found.create((kind, name, tokens), statement, findings)
                }
                Meaning::Drop { kind, names } if found.object.is_none() => {
                    found.dropped.extend(
                        kind.into_iter().flat_map(|kind| names.iter().map(move |name| (kind, name.clone()))),
                    );
                }
                Meaning::About { aspect, target } => found.parts.push((aspect, target, statement.clone())),
                Meaning::Needless => {}
                Meaning::Drop { .. } | Meaning::Other => findings.push((statement.line, refusal(statement))),
            }
        }
        found
    }

    fn create(
        &mut self,
        (kind, name, name_tokens): (ObjectKind, TableName, (usize, usize)),
        statement: &Statement,
        findings: &mut Findings,
    ) {
        if let Some(first) = &self.object {
            let message =
                format!("creates {name}, and line {} creates {}: one object a file", first.line, first.name);
            findings.push((statement.line, message));
            return;
        }
        let (create, with_data) = without_data(statement);
        let is_plain = |at: &usize| !create.is(*at, "with");
        let end =
            (name_tokens.1..create.tokens.len()).find(|at| create.is(*at, "as")).unwrap_or(name_tokens.1);
        let has_settings = kind != ObjectKind::Function
            && (!(name_tokens.1..end).all(|at| is_plain(&at))
                || create.text.to_lowercase().ends_with("check option"));
        let aspects = if has_settings { vec![Aspect::Settings] } else { Vec::new() };
        let line = statement.line;
        self.object =
            Some(Definition { kind, name, create, name_tokens, with_data, parts: Vec::new(), aspects, line });
    }

    fn content(mut self, script: &Script, findings: &mut Findings) -> Option<Content> {
        let Some(mut object) = self.object.take() else {
            if !self.dropped.is_empty() && self.parts.is_empty() {
                return Some(Content::Tombstone(self.dropped));
            }
            if findings.is_empty() || script.statements.is_empty() {
                findings.push((1, "creates nothing: a file holds one `create materialized view`, `create view` or `create function`".to_owned()));
            }
            return None;
        };
        for (aspect, target, statement) in self.parts {
            if target.as_ref().is_some_and(|target| !is_same(target, &object.name)) {
                let other = target.map(|name| name.to_string()).unwrap_or_default();
                findings.push((
                    statement.line,
                    format!("is about {other}, and the file is {}'s: one object a file", object.name),
                ));
            }
            if !object.aspects.contains(&aspect) {
                object.aspects.push(aspect);
            }
            object.parts.push(statement);
        }
        object.aspects.sort_unstable();
        Some(Content::Object(Box::new(object)))
    }
}

/// Whether two names can be the same: one without a schema fits any.
fn is_same(one: &TableName, other: &TableName) -> bool {
    one.table == other.table && (one.schema.is_none() || other.schema.is_none() || one.schema == other.schema)
}

fn refusal(statement: &Statement) -> String {
    let start: String =
        statement.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_CHARS).collect();
    let what = match statement.word(0).to_ascii_lowercase().as_str() {
        "select" | "with" | "table" | "values" => {
            "is a query: write `create view NAME as` or `create materialized view NAME as` before it"
        }
        "set" => "has no place here: write names with their schema",
        "drop" => "comes after what it would drop: `pgtide views drop` drops",
        _ => {
            "has no place here: a file holds one view or function, its indexes, comments, grants, settings and statistics"
        }
    };
    format!("`{start}` {what}")
}

/// Takes `with data` or `with no data` off the end.
fn without_data(statement: &Statement) -> (Statement, bool) {
    let count = statement.tokens.len();
    let ends_with = |words: &[&str]| {
        count > words.len()
            && words.iter().enumerate().all(|(n, word)| statement.is(count - words.len() + n, word))
    };
    let (cut, with_data) = match () {
        () if ends_with(&["with", "no", "data"]) => (3, false),
        () if ends_with(&["with", "data"]) => (2, true),
        () => return (statement.clone(), true),
    };
    let mut create = statement.clone();
    create.tokens.truncate(count - cut);
    create.text.truncate(create.tokens.last().map_or(0, |token| token.end));
    (create, with_data)
}

/// Comment lines of the form `-- key: value`; other comments are comments.
fn options(script: &Script, findings: &mut Findings) -> ViewOptions {
    let mut options = ViewOptions::default();
    for (line, comment) in &script.comments {
        let Some((key, value)) = comment.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        let is_word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if !is_word || value.is_empty() {
            continue;
        }
        let set = if VIEW_KEYS.contains(&key) {
            options.set(key, value).map_err(|wrong| format!("`{key}`: {wrong}"))
        } else {
            match did_you_mean(key, VIEW_KEYS) {
                // Prose, as far as anybody can tell.
                suggestion if suggestion.is_empty() => Ok(()),
                suggestion => Err(format!("unknown option `{key}`{suggestion}")),
            }
        };
        findings.extend(set.err().map(|wrong| (*line, wrong)));
    }
    options
}
