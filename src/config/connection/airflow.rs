//! `AIRFLOW_CONN_NAME`: a URI, or JSON, as Airflow writes them.
//!
//! Airflow's URI is not libpq's: `schema` is the database, a query parameter `__extra__` holds JSON,
//! and extras may belong to its hook. What pgtide does not know is left out with a warning.

use serde_json::Value;

use super::url;
use super::words::{self, Words};

/// Extras of Airflow's Postgres hook that say nothing about the connection itself.
const HOOK_EXTRAS: [&str; 4] = ["cursor", "sqlalchemy_scheme", "sqlalchemy_query", "client_log_level"];

/// Extras that make the hook fetch a token.
const TOKEN_EXTRAS: [&str; 4] = ["iam", "redshift", "redshift-serverless", "azure_conn_id"];

/// Parses Airflow's text; also gives warnings.
///
/// # Errors
/// What is wrong, without any value.
pub(in crate::config) fn parse(text: &str) -> Result<(Words, Vec<String>), String> {
    let text = text.trim();
    if text.contains('\0') {
        return Err("it holds a NUL".to_owned());
    }
    if text.starts_with('{') { parse_json(text) } else { parse_uri(text) }
}

fn parse_uri(text: &str) -> Result<(Words, Vec<String>), String> {
    let (scheme, _) = text.split_once("://").ok_or("it is neither a URI nor JSON")?;
    check_type(scheme)?;
    let parts = url::split(text, true)?;
    let mut words = Words::default();
    let named = [
        ("user", parts.user),
        ("password", parts.password),
        ("host", parts.hosts),
        ("port", parts.ports),
        ("dbname", parts.database),
    ];
    for (name, value) in named.iter().filter(|(_, value)| !value.is_empty()) {
        words.set(name, value)?;
    }
    let mut warnings = Vec::new();
    match parts.query.iter().find(|(name, _)| name == "__extra__") {
        Some((_, json)) => set_extras(&mut words, &parse_object(json, "`__extra__`")?, &mut warnings)?,
        None => {
            for (name, value) in &parts.query {
                set_extra(&mut words, name, &Value::String(value.clone()), &mut warnings)?;
            }
        }
    }
    Ok((words, warnings))
}

fn parse_json(text: &str) -> Result<(Words, Vec<String>), String> {
    let mut words = Words::default();
    let mut warnings = Vec::new();
    for (key, value) in &parse_object(text, "the JSON")? {
        let word = match key.as_str() {
            "conn_type" => {
                check_type(value.as_str().unwrap_or_default())?;
                continue;
            }
            "conn_id" | "description" => continue,
            "extra" => {
                set_extra_field(&mut words, value, &mut warnings)?;
                continue;
            }
            "host" => "host",
            "login" => "user",
            "password" => "password",
            "schema" => "dbname",
            "port" => "port",
            other => return Err(format!("unknown key `{}` in the JSON", other.escape_debug())),
        };
        if let Some(text) = scalar(value).map_err(|()| format!("`{key}` is not a text or a number"))? {
            words.set(word, &text)?;
        }
    }
    Ok((words, warnings))
}

/// Reads `extra`, an object or a string that holds one.
fn set_extra_field(words: &mut Words, value: &Value, warnings: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) if text.trim().is_empty() => Ok(()),
        Value::String(text) => set_extras(words, &parse_object(text, "`extra`")?, warnings),
        Value::Object(extras) => set_extras(words, extras, warnings),
        _ => Err("`extra` is not an object".to_owned()),
    }
}

fn set_extras(
    words: &mut Words,
    extras: &serde_json::Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    extras.iter().try_for_each(|(name, value)| set_extra(words, name, value, warnings))
}

fn set_extra(words: &mut Words, name: &str, value: &Value, warnings: &mut Vec<String>) -> Result<(), String> {
    let shown = name.escape_debug();
    if TOKEN_EXTRAS.contains(&name) && !matches!(value, Value::Bool(false) | Value::Null) {
        return Err(format!("extra `{shown}` is not supported; use password_command in pgtide.toml"));
    }
    if HOOK_EXTRAS.contains(&name) {
        return Ok(());
    }
    if words::word(name).is_none() {
        warnings.push(format!("extra `{shown}` is not a word of libpq and is left out"));
        return Ok(());
    }
    match scalar(value) {
        Ok(Some(text)) => words.set(name, &text),
        Ok(None) => Ok(()),
        Err(()) => Err(format!("extra `{shown}` is not a text or a number")),
    }
}

fn check_type(conn_type: &str) -> Result<(), String> {
    match conn_type {
        "postgres" | "postgresql" => Ok(()),
        // A text without a type may be anything, also a secret.
        _ => Err("its type is not postgres".to_owned()),
    }
}

/// serde_json's own messages give line and column, never content, for text that is not JSON.
fn parse_object(text: &str, what: &str) -> Result<serde_json::Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format!("{what} is not an object")),
        Err(e) => Err(format!("{what} is not valid JSON (line {}, column {})", e.line(), e.column())),
    }
}

fn scalar(value: &Value) -> Result<Option<String>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(flag) => Ok(Some(u8::from(*flag).to_string())),
        Value::Array(_) | Value::Object(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(&'static str, String)> {
        let (words, _) = parse(text).unwrap_or_else(|message| panic!("{message}"));
        words.iter().map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn a_uri_is_read_with_its_extras() {
        let expected: Vec<(&str, String)> = [
            ("connect_timeout", "5"),
            ("dbname", "dw"),
            ("host", "db"),
            ("password", "p@ss"),
            ("port", "5433"),
            ("sslmode", "require"),
            ("user", "etl"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        let plain = "postgresql://etl:p%40ss@db:5433/dw?sslmode=require&connect_timeout=5";
        let extra = "postgres://etl:p%40ss@db:5433/dw?__extra__=%7B%22sslmode%22%3A+%22require%22%2C+\
                     %22connect_timeout%22%3A+5%2C+%22cursor%22%3A+%22dictcursor%22%7D";
        let object = r#"{"conn_type": "postgres", "login": "etl", "password": "p@ss", "host": "db",
            "port": 5433, "schema": "dw", "extra": {"sslmode": "require", "connect_timeout": 5}}"#;
        let text = r#"{"conn_type": "postgres", "login": "etl", "password": "p@ss", "host": "db",
            "port": "5433", "schema": "dw", "extra": "{\"sslmode\": \"require\", \"connect_timeout\": 5}"}"#;
        for place in [plain, extra, object, text] {
            assert_eq!(words(place), expected);
        }
    }

    #[test]
    fn what_pgtide_does_not_know_is_left_out_with_a_warning() {
        let (_, warnings) =
            parse(r#"{"conn_type":"postgres","host":"h","extra":{"zzz":{"a":1}}}"#).ok().unwrap();
        assert_eq!(warnings, ["extra `zzz` is not a word of libpq and is left out"]);
    }

    #[test]
    fn a_bad_text_is_refused_without_a_trace_of_it() {
        for text in [
            "canary",
            "mysql://u:canary@h/d",
            r#"{"conn_type": "canary"}"#,
            r#"{"password": "canary""#,
            r#"{"password": ["canary"]}"#,
            r#"{"conn_type": "postgres", "extra": "canary"}"#,
            r#"{"conn_type": "postgres", "extra": {"iam": true, "x": "canary"}}"#,
            r#"{"conn_type": "postgres", "extra": {"gssencmode": "require", "x": "canary"}}"#,
            "postgres://u:canary@h/d?__extra__=canary",
        ] {
            let message = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
