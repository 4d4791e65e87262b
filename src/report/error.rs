//! An error as a person reads it: `error:` with one line, the findings below it, then `hint:`.
//!
//! ```text
//! error: orders 2026-01-05 was not loaded: types differ in 1 column
//!
//!   column      source public.orders   target mart.orders
//!   discount    numeric(12,4)          integer               does not fit
//!
//! hint: on warehouse:
//!         alter table mart.orders alter column discount type numeric(12,4);
//! ```
//!
//! Texts from outside are escaped. The JSON form is one object: `{"error": {"kind": "preflight",
//! "exit_code": 78, "message": "...", "sqlstate": null, "details": [...], "hint": "..."}}`.

use serde_json::json;

use super::paint::{Palette, Tone, escaped};
use super::phrase::with_sqlstate;
use crate::error::{Error, ErrorKind};

/// Writes the error for a person, with a line end.
#[must_use]
pub fn text(error: &Error, palette: Palette) -> String {
    let first = with_sqlstate(&error.chain(), error.sqlstate());
    let word = palette.paint(Tone::Bad, "error:");
    format!("{word} {first}\n{}", block(error.details(), error.hint(), palette))
}

/// Writes the error for a program, in one line with a line end.
#[must_use]
pub fn json(error: &Error) -> String {
    let object = json!({ "error": {
        "kind": kind_name(error.kind()),
        "exit_code": error.kind().policy().exit_code,
        "message": error.chain(),
        "sqlstate": error.sqlstate(),
        "details": error.details(),
        "hint": error.hint(),
    }});
    format!("{object}\n")
}

/// The stable name of a kind in JSON.
#[must_use]
pub fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "usage",
        ErrorKind::Config => "config",
        ErrorKind::Preflight => "preflight",
        ErrorKind::Locked => "locked",
        ErrorKind::NotComplete => "not_complete",
        ErrorKind::Connection => "connection",
        ErrorKind::Contention => "contention",
        ErrorKind::Resources => "resources",
        ErrorKind::Fenced => "fenced",
        ErrorKind::Mismatch => "mismatch",
        ErrorKind::Server => "server",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Internal => "internal",
    }
}

/// The lines below the first: details indented by two, then the hint; each part set off by an empty line.
pub(super) fn block(details: &[String], hint: Option<&str>, palette: Palette) -> String {
    let mut text = String::new();
    if !details.is_empty() {
        text.push('\n');
        for line in details.iter().flat_map(|detail| detail.split('\n')) {
            let line = format!("  {}", escaped(line));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    if let Some(hint) = hint {
        text.push('\n');
        for (number, line) in hint.split('\n').enumerate() {
            let start = if number == 0 { palette.paint(Tone::Good, "hint:") } else { "     ".to_owned() };
            let line = format!("{start} {}", escaped(line));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn types_differ() -> Error {
        Error::new(ErrorKind::Preflight, "orders 2026-01-05 was not loaded: types differ in 1 column")
            .with_detail("column      source public.orders   target mart.orders")
            .with_detail("discount    numeric(12,4)          integer               does not fit")
            .with_detail("")
            .with_detail("done        nothing; no row was read, mart.orders is unchanged")
            .with_hint(
                "on warehouse:\n  alter table mart.orders alter column discount type numeric(12,4);\n\
                 then:\n  pgtide run orders --date 2026-01-05",
            )
    }

    #[test]
    fn an_error_has_findings_and_a_hint_below_it() {
        assert_snapshot!(text(&types_differ(), Palette::new(false)), @"
        error: orders 2026-01-05 was not loaded: types differ in 1 column

          column      source public.orders   target mart.orders
          discount    numeric(12,4)          integer               does not fit

          done        nothing; no row was read, mart.orders is unchanged

        hint: on warehouse:
                alter table mart.orders alter column discount type numeric(12,4);
              then:
                pgtide run orders --date 2026-01-05
        ");
    }

    #[test]
    fn an_error_without_more_is_one_line_with_the_servers_code_and_no_control_character() {
        let cause = std::io::Error::other("ERROR: \x1b[31mdeadlock\x1b[0m\ndetected");
        let error = Error::new(ErrorKind::Contention, "copying batch 17 of users for 2026-01-05")
            .with_sqlstate("40P01")
            .with_source(cause);
        assert_snapshot!(text(&error, Palette::new(false)), @r#"error: copying batch 17 of users for 2026-01-05: ERROR: \u{1b}[31mdeadlock\u{1b}[0m\ndetected (40P01)"#);
    }

    #[test]
    fn the_json_form_keeps_every_part() {
        assert_snapshot!(json(&types_differ()), @r#"{"error":{"kind":"preflight","exit_code":78,"message":"orders 2026-01-05 was not loaded: types differ in 1 column","sqlstate":null,"details":["column      source public.orders   target mart.orders","discount    numeric(12,4)          integer               does not fit","","done        nothing; no row was read, mart.orders is unchanged"],"hint":"on warehouse:\n  alter table mart.orders alter column discount type numeric(12,4);\nthen:\n  pgtide run orders --date 2026-01-05"}}"#);
    }
}
