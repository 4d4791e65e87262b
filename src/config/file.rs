//! Reads text files and TOML; keeps the line of every key and value.
//!
//! serde stops at the first error and forgets lines, so TOML becomes a small tree of its own here:
//! a [`Table`] of [`Item`]s, each with its [`Place`]. `reader` takes values out of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::finding::{Finding, Place};

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A value and where it is.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A TOML value whose parts know their places. Not `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Moment(toml::value::Datetime),
    List(Vec<Item>),
    Table(Table),
}

/// Keys with their places and values.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, (Place, Item)>,
}

impl Value {
    /// What it is, in TOML's words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Flag(_) => "a boolean",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Item {
    /// The same as a plain TOML value.
    pub(super) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Flag(flag) => toml::Value::Boolean(*flag),
            Value::Moment(moment) => toml::Value::Datetime(*moment),
            Value::List(items) => toml::Value::Array(items.iter().map(Self::to_toml).collect()),
            Value::Table(table) => toml::Value::Table(
                table.entries.iter().map(|(key, (_, item))| (key.clone(), item.to_toml())).collect(),
            ),
        }
    }

    /// Applies `change` to every string inside, at any depth; collects what it refuses.
    pub(super) fn change_texts(
        &mut self,
        key: &str,
        change: &dyn Fn(&str) -> Result<String, String>,
        findings: &mut Vec<Finding>,
    ) {
        match &mut self.value {
            Value::Text(text) => match change(text) {
                Ok(changed) => *text = changed,
                Err(message) => findings.push(Finding::at(self.place.clone(), message).about(key)),
            },
            Value::List(items) => items.iter_mut().for_each(|item| item.change_texts(key, change, findings)),
            Value::Table(table) => table.change_texts(key, change, findings),
            Value::Integer(_) | Value::Float(_) | Value::Flag(_) | Value::Moment(_) => {}
        }
    }
}

impl Table {
    /// Applies `change` to every string inside; `prefix` is the table's own key, or empty.
    pub(super) fn change_texts(
        &mut self,
        prefix: &str,
        change: &dyn Fn(&str) -> Result<String, String>,
        findings: &mut Vec<Finding>,
    ) {
        for (key, (_, item)) in &mut self.entries {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            item.change_texts(&path, change, findings);
        }
    }
}

/// Reads a text file: a plain one, at most 1 MiB, UTF-8; a byte order mark is dropped.
///
/// # Errors
/// What is wrong, without the file's name.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err("is a directory, not a file".to_owned());
    }
    if !metadata.is_file() {
        return Err("is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB".to_owned());
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| format!("is not UTF-8 (byte {} of the file)", e.utf8_error().valid_up_to() + 1))?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

/// Reads and parses a TOML file.
///
/// # Errors
/// Every problem of reading or syntax.
pub(super) fn read_toml(path: &Path, env: &Environment) -> Result<Table, Vec<Finding>> {
    let shown = env.shown(path);
    let text = read_text(path).map_err(|what| vec![Finding::new(format!("{shown} {what}"))])?;
    parse_toml(&text, &shown)
}

/// Parses TOML; `shown` names the file in findings.
pub(super) fn parse_toml(text: &str, shown: &str) -> Result<Table, Vec<Finding>> {
    let lines = Lines { file: shown, starts: line_starts(text) };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Finding> = errors.iter().map(|error| syntax_finding(error, text, &lines)).collect();
    let table = lines.table(table.get_ref(), &mut findings);
    if findings.is_empty() { Ok(table) } else { Err(findings) }
}

fn syntax_finding(error: &toml::de::Error, text: &str, lines: &Lines<'_>) -> Finding {
    let span = error.span().unwrap_or(0..0);
    let mut message = error.message().replace('\n', ", ");
    // Only the name of a key is shown, never any other part of the file: it could be a secret.
    if message == "duplicate key" {
        message = format!("{message} `{}`", text.get(span.clone()).unwrap_or_default().escape_debug());
    }
    Finding::at(lines.place(span.start), message)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Lines<'a> {
    file: &'a str,
    starts: Vec<usize>,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        Place { file: self.file.to_owned(), line: self.starts.partition_point(|start| *start <= offset) }
    }

    fn table(&self, table: &DeTable<'_>, findings: &mut Vec<Finding>) -> Table {
        let entries = table.iter().map(|(key, value)| {
            let place = self.place(key.span().start);
            let item = self.item(value, key.get_ref(), findings);
            (key.get_ref().clone().into_owned(), (place, item))
        });
        Table { entries: entries.collect() }
    }

    fn item(&self, value: &toml::Spanned<DeValue<'_>>, key: &str, findings: &mut Vec<Finding>) -> Item {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(parsed.unwrap_or_else(|_| {
                    findings.push(Finding::at(place.clone(), "the number is too large").about(key));
                    0
                }))
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(moment) => Value::Moment(*moment),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.item(item, key, findings)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, findings)),
        };
        Item { place, value }
    }
}

/// Replaces `${NAME}` by variables; `$${` stays as `${`.
///
/// # Errors
/// Which variable is not set, or that a brace is not closed; never the text.
pub(super) fn expand(text: &str, env: &Environment) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(escaped) = rest[..at].strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let end = tail.find('}').ok_or("`${` has no `}`; write `$${` for the two signs")?;
        let name = &tail[..end];
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("`${...}` holds no variable's name; write `$${` for the two signs".to_owned());
        }
        out.push_str(env.var(name).ok_or_else(|| format!("the environment variable {name} is not set"))?);
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// `cannot be read: permission denied`, without the number of the error.
fn unreadable(error: std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    format!("cannot be read: {}", text.split(" (os error").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        parse_toml(text, "x.toml").err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let table = parse_toml("a = 1\r\n\r\n[b]\r\nc = [\r\n  true,\r\n]\r\n", "x.toml").ok().unwrap();
        assert_eq!(table.entries["a"].0.line, 1);
        let Value::Table(b) = &table.entries["b"].1.value else { panic!("not a table") };
        assert_eq!(b.entries["c"].0.line, 4);
        let Value::List(items) = &b.entries["c"].1.value else { panic!("not an array") };
        assert_eq!(items[0].place.line, 5);
    }

    #[test]
    fn every_syntax_error_is_told_with_its_line_and_without_the_text() {
        let found = messages("a = 1\na = 2\npassword = \"canary\ntable = = 3\n");
        assert!(found.iter().any(|m| m.starts_with("x.toml:2: duplicate key `a`")), "{found:?}");
        assert!(found.iter().any(|m| m.starts_with("x.toml:3: ")), "{found:?}");
        assert!(found.iter().any(|m| m.starts_with("x.toml:4: ")), "{found:?}");
        assert!(!found.join("").contains("canary"), "{found:?}");
    }

    #[test]
    fn a_number_beyond_64_bits_is_a_finding() {
        assert_eq!(messages("a = 99999999999999999999"), ["x.toml:1: `a`: the number is too large"]);
    }

    #[test]
    fn files_that_are_not_text_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        assert_eq!(read_text(dir.path()), Err("is a directory, not a file".to_owned()));
        assert!(read_text(&file).unwrap_err().starts_with("cannot be read: "));
        assert_eq!(read_text(Path::new("/dev/zero")), Err("is not a plain file".to_owned()));
        std::fs::write(&file, b"a = \"\xff\"").unwrap();
        assert_eq!(read_text(&file), Err("is not UTF-8 (byte 6 of the file)".to_owned()));
        std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();
        assert_eq!(read_text(&file), Err("is larger than 1 MiB".to_owned()));
        std::fs::write(&file, "\u{feff}a = 1").unwrap();
        assert_eq!(read_text(&file), Ok("a = 1".to_owned()));
        std::fs::write(&file, "").unwrap();
        assert_eq!(read_text(&file), Ok(String::new()));
    }

    #[test]
    fn variables_are_expanded_and_two_dollars_escape() {
        let env = Environment::empty("/").with_var("A", "1").with_var("EMPTY", "");
        assert_eq!(expand("x${A}y${EMPTY}z $A $${A}", &env), Ok("x1yz $A ${A}".to_owned()));
        assert_eq!(expand("${B}", &env), Err("the environment variable B is not set".to_owned()));
        assert!(expand("${A", &env).is_err());
        assert!(expand("${a b}", &env).is_err());
    }
}
