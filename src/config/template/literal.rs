//! How values print: text as it is, params as SQL literals, lists as literals between commas.
//!
//! minijinja can mark a text as safe for HTML; here that mark says "comes from params, print it as
//! a SQL literal". A marked text still compares and filters like any other. Texts joined to others
//! lose the mark and print as they are; the filters `literal` and `safe` say which is meant.

use std::collections::BTreeMap;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Output, State, Value};

use super::moment::Moment;
use crate::name::parse_identifiers;

/// Makes the value of `params`.
pub(super) fn params(params: &BTreeMap<String, toml::Value>) -> Value {
    Value::from_pairs(params.iter().map(|(key, value)| (key.clone(), marked(value))))
}

fn marked(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from_safe_string(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(moment) => Value::from_safe_string(moment.to_string()),
        toml::Value::Array(items) => items.iter().map(marked).collect(),
        toml::Value::Table(table) => {
            Value::from_pairs(table.iter().map(|(key, value)| (key.clone(), marked(value))))
        }
    }
}

/// Prints a value into the query.
pub(super) fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::String if !value.is_safe() => value.to_string(),
        ValueKind::Plain if value.downcast_object_ref::<Moment>().is_some() => value.to_string(),
        _ => sql(value)?,
    };
    out.write_str(&text).map_err(Error::from)
}

/// Writes a value as SQL: a literal, or literals between commas.
fn sql(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::Number => Ok(number(value)),
        ValueKind::String => Ok(quoted(&value.to_string())),
        ValueKind::Plain if value.downcast_object_ref::<Moment>().is_some() => Ok(quoted(&value.to_string())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> = value.try_iter()?.map(|item| sql(&item)).collect::<Result<_, _>>()?;
            if items.is_empty() {
                return Err(refused("an empty list has no form in SQL"));
            }
            Ok(items.join(", "))
        }
        other => Err(refused(&format!("a {other} has no form in SQL"))),
    }
}

fn number(value: &Value) -> String {
    let text = value.to_string();
    // Only `inf`, `-inf` and `NaN` hold no digit; SQL knows them as strings.
    if text.bytes().any(|b| b.is_ascii_digit()) { text } else { format!("'{text}'::pg_catalog.float8") }
}

/// Quotes a text as a SQL string, safe with any setting of `standard_conforming_strings`.
fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The filter `ident`: a table's or column's name, or a list of them, quoted.
pub(super) fn ident(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        let parts = parse_identifiers(text).map_err(|error| refused(&error.to_string()))?;
        let quoted: Vec<String> =
            parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
        return Ok(quoted.join("."));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let names: Vec<String> = value.try_iter()?.map(|item| ident(&item)).collect::<Result<_, _>>()?;
            Ok(names.join(", "))
        }
        other => Err(refused(&format!("a {other} is not a name"))),
    }
}

/// The filter `literal`: any text as a SQL literal.
pub(super) fn literal_filter(value: &Value) -> Result<String, Error> {
    sql(value)
}

/// The filter `safe`: a text as it is, also one from params.
pub(super) fn plain(value: &Value) -> Value {
    Value::from(value.to_string())
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}
