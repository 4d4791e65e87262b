//! Names of tables as people write them, parsed by SQL's rules for identifiers.
//!
//! Unquoted names fold to lower case, quoted ones stay; `""` in a quoted name is one quote. A name
//! becomes SQL only in `postgres::ident`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The longest name that Postgres keeps, in bytes; longer ones are cut silently by the server.
pub const MAX_NAME_BYTES: usize = 63;

/// A table's name, with its schema if one was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema, folded.
    pub schema: Option<String>,
    /// The table, folded.
    pub table: String,
}

impl TableName {
    /// Makes a name of its parts, taken as they are.
    #[must_use]
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: Some(schema.into()), table: table.into() }
    }
}

/// Splits dotted SQL identifiers, folding the unquoted ones.
///
/// # Errors
/// `Usage`, when the text is empty, has an empty part, a NUL, a stray quote, or a part over 63 bytes.
pub fn parse_identifiers(text: &str) -> Result<Vec<String>> {
    let bad = |what: &str| {
        Error::new(ErrorKind::Usage, format!("`{}` is not a table name: {what}", text.escape_debug()))
    };
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            parse_quoted(quoted).ok_or_else(|| bad("a quote is not closed"))?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (rest[..end].to_lowercase(), &rest[end..])
        };
        let unquoted = !rest.starts_with('"');
        if part.is_empty() {
            return Err(bad("a part is empty"));
        }
        if part.contains('\0') {
            return Err(bad("it contains a NUL"));
        }
        if unquoted && !part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            return Err(bad("put double quotes around names with other signs than letters, digits and _"));
        }
        if part.len() > MAX_NAME_BYTES {
            return Err(bad(&format!("a part has {} bytes, Postgres keeps {MAX_NAME_BYTES}", part.len())));
        }
        parts.push(part);
        match tail.strip_prefix('.') {
            Some(next) => rest = next,
            None if tail.is_empty() => return Ok(parts),
            None => return Err(bad("text follows a closing quote")),
        }
    }
}

fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                name.push('"');
                rest = next;
            }
            None => return Some((name, rest)),
        }
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = parse_identifiers(text)?;
        match (parts.pop(), parts.pop(), parts.is_empty()) {
            (Some(table), schema, true) => Ok(Self { schema, table }),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("`{}` is not a table name: it has more than two parts", text.escape_debug()),
            )),
        }
    }
}

/// As a person would write it: quoted only where needed.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", Shown(schema))?;
        }
        write!(f, "{}", Shown(&self.table))
    }
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            self.0.chars().enumerate().all(|(i, c)| {
                c == '_' || c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || c == '$'))
            });
        if plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0.replace('"', "\"\"")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_names_fold_and_quoted_names_stay() {
        let name: TableName = "Public.\"Ünïcode \"\"quoted\"\" name\"".parse().unwrap();
        assert_eq!(name, TableName::new("public", "Ünïcode \"quoted\" name"));
        assert_eq!(name.to_string(), "public.\"Ünïcode \"\"quoted\"\" name\"");
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", ".", "a.b.c", "a..b", "\"a", "\"a\"b", "a b", &"x".repeat(64), "a\0"] {
            assert_eq!(bad.parse::<TableName>().unwrap_err().kind(), ErrorKind::Usage, "{bad:?}");
        }
    }
}
