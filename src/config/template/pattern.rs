//! Date formats: Python's `strftime` and the tokens of pendulum's `format`.
//!
//! Both come down to chrono's formats; what would print something else there is refused.

use std::fmt::Write;

use chrono::format::{DelayedFormat, StrftimeItems};
use chrono::{DateTime, Datelike, Offset, TimeZone, Timelike};
use chrono_tz::{OffsetName, Tz};
use minijinja::{Error, ErrorKind};

/// pendulum's tokens, longest first; those without a meaning here are refused.
const TOKENS: [(&str, Option<&str>); 31] = [
    ("YYYY", Some("%Y")),
    ("MMMM", Some("%B")),
    ("DDDD", Some("%j")),
    ("dddd", Some("%A")),
    ("MMM", Some("%b")),
    ("DDD", Some("%-j")),
    ("ddd", Some("%a")),
    ("YY", Some("%y")),
    ("MM", Some("%m")),
    ("DD", Some("%d")),
    ("HH", Some("%H")),
    ("hh", Some("%I")),
    ("mm", Some("%M")),
    ("ss", Some("%S")),
    ("ZZ", Some("%z")),
    ("zz", None),
    ("Y", Some("%Y")),
    ("M", Some("%-m")),
    ("D", Some("%-d")),
    ("E", Some("%u")),
    ("H", Some("%-H")),
    ("h", Some("%-I")),
    ("m", Some("%-M")),
    ("s", Some("%-S")),
    ("A", Some("%p")),
    ("X", Some("%s")),
    ("Z", Some("%:z")),
    ("Q", None),
    ("S", None),
    ("x", None),
    ("z", None),
];

/// Letters that begin other tokens of pendulum.
const UNSUPPORTED: &str = "adegGkLwW";

/// Formats as Python's `strftime` does: `%f` has six digits.
pub(super) fn strftime<Z: TimeZone>(at: &DateTime<Z>, format: &str) -> Result<String, Error>
where
    Z::Offset: std::fmt::Display,
{
    let mut adapted = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        adapted.push(c);
        if c == '%' {
            match chars.next() {
                Some('f') => adapted.push_str("6f"),
                Some(other) => adapted.push(other),
                None => return Err(bad_format()),
            }
        }
    }
    written(at.format(&adapted))
}

/// Formats by pendulum's tokens, such as `YYYY-MM-DD[T]HH:mm`.
pub(super) fn tokens(at: &DateTime<Tz>, format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some((quoted, tail)) = rest.strip_prefix('[').and_then(|tail| tail.split_once(']')) {
            out.push_str(quoted);
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('\\') {
            out.extend(tail.chars().next());
            rest = tail.get(tail.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
        } else if let Some((token, meaning)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
            let length =
                if *token == "S" { rest.len() - rest.trim_start_matches('S').len() } else { token.len() };
            out.push_str(&match meaning {
                Some(strftime) => written(at.format(strftime))?,
                None => own_token(at, token, length),
            });
            rest = &rest[length..];
        } else if UNSUPPORTED.contains(first) {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("format: the token `{first}` is not supported; use strftime"),
            ));
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

fn own_token(at: &DateTime<Tz>, token: &str, length: usize) -> String {
    match token {
        "Q" => (at.month0() / 3 + 1).to_string(),
        "x" => at.timestamp_millis().to_string(),
        "z" => at.timezone().name().to_owned(),
        "zz" => at.offset().abbreviation().map_or_else(|| at.offset().fix().to_string(), str::to_owned),
        _ => format!("{:09}", at.nanosecond() % 1_000_000_000).chars().take(length).collect(),
    }
}

/// chrono says that a format is bad only while writing.
fn written(format: DelayedFormat<StrftimeItems<'_>>) -> Result<String, Error> {
    let mut out = String::new();
    write!(out, "{format}").map_err(|_| bad_format())?;
    Ok(out)
}

fn bad_format() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the date format is not valid")
}
