//! SQLSTATEs: which errors are worth another try, and what of a server's error a person may see.
//!
//! One match decides the kind; its default is the safe answer, no retry. A server's DETAIL, CONTEXT
//! and the messages of class 22 can hold values of rows, so they stay out unless the user asked for
//! them; constraint, table and column names always stay in. What a server says is data: control
//! characters are escaped before anything is kept.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, ErrorPosition};

use crate::error::{Error, ErrorKind};

/// Characters of a statement that a message shows.
const EXCERPT_CHARS: usize = 60;

/// Chooses the kind of an error by its five-character code; the message decides where the code alone cannot.
#[must_use]
pub fn classify(code: &str, message: &str) -> ErrorKind {
    match code {
        // The connection or the server went away, and may come back.
        "08000" | "08001" | "08003" | "08004" | "08006" => ErrorKind::Connection,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => ErrorKind::Connection,
        // Serialization or recovery conflict, deadlock, lock timeout, too many connections: these pass.
        "40001" | "40P01" | "55P03" | "53300" => ErrorKind::Contention,
        "22023" if message.contains("snapshot") => ErrorKind::Contention,
        "53100" | "53200" | "58030" => ErrorKind::Resources,
        "XX000" if message.contains("could not extend file") || message.contains("No space left") => {
            ErrorKind::Resources
        }
        // Names, rights, syntax, what the server cannot do, a read-only database: a person has to act.
        "3D000" | "3F000" | "25006" | "0A000" => ErrorKind::Preflight,
        _ if matches!(class(code), "28" | "42") => ErrorKind::Preflight,
        _ => ErrorKind::Server,
    }
}

/// Makes an error out of tokio-postgres' own: what was being done, what the server said, its code and a hint.
///
/// `show_values` lets through what may hold values of rows: DETAIL, CONTEXT and messages of class 22.
#[must_use]
pub fn error_from(doing: &str, e: &tokio_postgres::Error, show_values: bool) -> Error {
    match e.as_db_error() {
        Some(db) => server_error(doing, db, show_values),
        None => driver_error(doing, e),
    }
}

/// Makes a text safe for a terminal and a log: one line, control and text-direction characters escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' | '\t' => safe.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// An input or output error as a phrase: `connection refused`.
#[must_use]
pub fn io_text(e: &io::Error) -> String {
    let text = printable(&e.to_string());
    let text = text.split(" (os error").next().unwrap_or_default();
    // "Connection refused" becomes part of a sentence; "SSL ..." stays as it is.
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// Where in a statement of the user's own an error is: its line, and a caret below; nothing if the server
/// does not say.
#[must_use]
pub fn place_in(sql: &str, e: &tokio_postgres::Error) -> Vec<String> {
    // Of a lock timeout or the like the place says nothing.
    let wrong_sql = e.as_db_error().filter(|db| matches!(class(db.code().code()), "42" | "0A" | "22"));
    match wrong_sql.and_then(DbError::position) {
        Some(ErrorPosition::Original(position)) => excerpt(sql, usize::try_from(*position).unwrap_or(0)),
        Some(ErrorPosition::Internal { .. }) | None => Vec::new(),
    }
}

/// The line that a position is in, cut to what a screen shows, and a caret below it.
fn excerpt(sql: &str, position: usize) -> Vec<String> {
    let mut before = position.saturating_sub(1);
    for (number, line) in sql.split('\n').enumerate() {
        let length = line.chars().count();
        if before > length {
            before -= length + 1;
            continue;
        }
        let start = before.saturating_sub(EXCERPT_CHARS / 2);
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = line.chars().skip(start).take(EXCERPT_CHARS).map(visible).collect();
        let label = format!("line {}: ", number + 1);
        let caret = format!("{}^", " ".repeat(label.len() + before - start));
        return vec![format!("{label}{shown}"), caret];
    }
    Vec::new()
}

fn server_error(doing: &str, db: &DbError, show_values: bool) -> Error {
    let code = &*printable(db.code().code());
    let kind = classify(code, db.message());
    let text = if show_values { printable(db.message()) } else { text_without_values(db) };
    let mut error = Error::new(kind, sentence(doing, &format!("{text} ({code})"))).with_sqlstate(code);
    for line in details(db, show_values) {
        error = error.with_detail(line);
    }
    match hint(db, show_values) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn driver_error(doing: &str, e: &tokio_postgres::Error) -> Error {
    // The driver keeps its kinds to itself; their texts are fixed.
    let own = e.to_string();
    let cause = e.source().map(|cause| match cause.downcast_ref::<io::Error>() {
        Some(io) => io_text(io),
        None => printable(&cause.to_string()),
    });
    let (kind, text) = match (own.as_str(), cause) {
        ("connection closed", _) => (ErrorKind::Connection, "the server closed the connection".to_owned()),
        ("error communicating with the server", Some(cause)) => {
            (ErrorKind::Connection, format!("the connection broke: {cause}"))
        }
        ("authentication error" | "invalid configuration", Some(cause)) => (ErrorKind::Preflight, cause),
        ("unexpected message from server" | "error parsing response from server", cause) => {
            (ErrorKind::Server, join(&own, cause))
        }
        (_, cause) => (ErrorKind::Internal, join(&own, cause)),
    };
    Error::new(kind, sentence(doing, &text))
}

fn join(text: &str, cause: Option<String>) -> String {
    cause.map_or_else(|| text.to_owned(), |cause| format!("{text}: {cause}"))
}

fn sentence(doing: &str, text: &str) -> String {
    if doing.is_empty() { text.to_owned() } else { format!("{doing}: {text}") }
}

/// What happened, in words that cannot hold a row's value.
fn text_without_values(db: &DbError) -> String {
    let code = db.code().code();
    match class(code) {
        _ if is_raised(code, db.routine()) => match raised_in(db.where_().unwrap_or_default()) {
            Some(place) => format!("{} raised an error", printable(place)),
            None => "a function raised an error".to_owned(),
        },
        "22" => data_exception(code, db.message()),
        "23" => violation(db),
        _ => printable(db.message()),
    }
}

/// Whether the message is a function's own text, which may hold anything: `raise`, `assert` and their like
/// choose any code, so the server's routine tells more than the code does.
fn is_raised(code: &str, routine: Option<&str>) -> bool {
    let own = ["exec_stmt_raise", "exec_stmt_assert", "PLy_", "plperl_", "plv8_", "pltcl_"];
    matches!(class(code), "P0" | "38" | "39" | "45")
        || routine.is_some_and(|routine| own.iter().any(|start| routine.starts_with(start)))
}

/// `PL/pgSQL function mart.check_row()` of the context of an error that a function raised.
fn raised_in(context: &str) -> Option<&str> {
    let line = context.lines().find(|line| line.starts_with("PL/pgSQL function "))?;
    line.split(" line ").next()
}

/// The conditions of class 22 that a load meets, by their names in the Postgres manual.
fn data_exception(code: &str, message: &str) -> String {
    let text = match code {
        // These messages name types and limits only.
        "22001" | "22004" | "22012" | "22P04" => return printable(message),
        "22023" if message.contains("snapshot") => return printable(message),
        "22003" => "a number is out of range",
        "22007" => "a date or time is not valid",
        "22008" => "a date or time is out of range",
        "22021" => "a text is not valid in its encoding",
        "22023" => "a parameter's value is not valid",
        "22P02" => "a value's text is not valid for its type",
        "22P03" => "a value's binary form is not valid for its type",
        "22P05" => "a character has no equivalent in the database's encoding",
        "22030" | "22032" | "22033" => "a JSON value is not valid",
        "2200L" | "2200M" | "2200N" | "2200S" | "2200T" => "an XML value is not valid",
        _ => "a value is not valid",
    };
    text.to_owned()
}

fn violation(db: &DbError) -> String {
    let constraint = db.constraint().map(printable);
    let column = db.column().map(printable);
    let text = match (db.code().code(), constraint, column) {
        ("23502", _, Some(column)) => format!("null in column {column}"),
        ("23502", Some(constraint), None) => format!("null violates constraint {constraint}"),
        ("23503", Some(constraint), _) => format!("row violates foreign key {constraint}"),
        ("23505", Some(constraint), _) => format!("duplicate key violates constraint {constraint}"),
        (_, Some(constraint), _) => format!("row violates constraint {constraint}"),
        _ => return printable(db.message()),
    };
    match table_of(db) {
        Some(table) => format!("{text} of {table}"),
        None => text,
    }
}

fn table_of(db: &DbError) -> Option<String> {
    let table = db.table()?;
    Some(match db.schema() {
        Some(schema) => printable(&format!("{schema}.{table}")),
        None => printable(table),
    })
}

fn details(db: &DbError, show_values: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let code = db.code().code();
    if show_values || (detail_is_free_of_values(code) && !is_raised(code, db.routine())) {
        lines.extend(db.detail().map(printable));
    }
    match db.where_() {
        Some(context) if show_values => lines.push(printable(context)),
        Some(context) => lines.extend(copy_position(context)),
        None => {}
    }
    lines
}

/// The first two characters; a server may send anything, so a shorter code has none.
fn class(code: &str) -> &str {
    code.get(..2).unwrap_or_default()
}

/// Classes whose DETAIL tells of processes, objects and limits, never of rows.
fn detail_is_free_of_values(code: &str) -> bool {
    matches!(class(code), "08" | "28" | "2B" | "3D" | "40" | "53" | "55" | "57")
}

/// `COPY users, line 3, column born` of a COPY's context; what follows may be the value.
fn copy_position(context: &str) -> Option<String> {
    let line = context.lines().next()?;
    let place = line.split(": ").next().filter(|p| p.starts_with("COPY ") && p.contains(", line "))?;
    (!place.contains('"')).then(|| printable(place))
}

fn hint(db: &DbError, show_values: bool) -> Option<String> {
    let own = match db.code().code() {
        "53300" => "lower --parallel or --writers, or set max_connections for the connection",
        "57014" => "a statement_timeout or a cancel request ended the statement",
        "55P03" => "another session holds the lock: pg_blocking_pids() names it",
        code if !show_values && (class(code) == "22" || is_raised(code, db.routine())) => {
            "the message may hold a row's value; --show-values prints it"
        }
        code if !show_values && class(code) == "23" && db.detail().is_some() => {
            "--show-values prints the server's detail, which may hold a row's values"
        }
        code if is_name(code) && matches!(db.position(), Some(ErrorPosition::Internal { .. })) => {
            return Some(name_in(called_in(db.where_().unwrap_or_default())));
        }
        _ => return db.hint().map(printable),
    };
    Some(own.to_owned())
}

/// Whether something that has a name was not found: a table, a function, a type, a schema.
fn is_name(code: &str) -> bool {
    matches!(code, "42P01" | "42883" | "42704" | "3F000")
}

/// `SQL function "f"` or `PL/pgSQL function mart.f()`: where a context says that an error arose.
fn called_in(context: &str) -> Option<&str> {
    let line = context.lines().next()?;
    match line.strip_prefix("SQL function \"") {
        Some(rest) => line.get(.."SQL function \"\"".len() + rest.find('"')?),
        None => raised_in(line).filter(|place| !place.ends_with("inline_code_block")),
    }
}

/// What helps where a function's own text names something without its schema.
fn name_in(function: Option<&str>) -> String {
    let place = function.map_or_else(|| "a function".to_owned(), printable);
    format!(
        "{place} names it without a schema: pgtide's sessions, and every refresh from Postgres 17 on, have no \
         search_path of a role\nwrite the schema in the function, or: alter function ... set search_path = SCHEMAS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_went_away_is_tried_again() {
        for code in ["08000", "08001", "08003", "08004", "08006", "57P01", "57P02", "57P03", "57P05", "25P03"]
        {
            assert_eq!(classify(code, ""), ErrorKind::Connection, "{code}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_contention() {
        for code in ["40001", "40P01", "55P03", "53300"] {
            assert_eq!(classify(code, ""), ErrorKind::Contention, "{code}");
        }
        assert_eq!(classify("22023", "invalid snapshot identifier"), ErrorKind::Contention);
    }

    #[test]
    fn the_function_whose_text_lacks_a_schema_is_found_in_the_context() {
        let called = |context| called_in(context).unwrap_or("none");
        assert_eq!(
            called("SQL function \"rate\" during startup\nSQL statement ..."),
            "SQL function \"rate\""
        );
        let line = "PL/pgSQL function mart.rate() line 1 at RETURN";
        assert_eq!(called(line), "PL/pgSQL function mart.rate()");
        assert_eq!(called("PL/pgSQL function inline_code_block line 1 at SQL statement"), "none");
        assert_eq!(called(""), "none");
    }

    #[test]
    fn a_full_disk_stops_the_run() {
        for code in ["53100", "53200", "58030"] {
            assert_eq!(classify(code, ""), ErrorKind::Resources, "{code}");
        }
        let full = "could not extend file \"base/5/16384\": No space left on device";
        assert_eq!(classify("XX000", full), ErrorKind::Resources);
    }

    #[test]
    fn wrong_passwords_and_missing_databases_are_for_a_person() {
        for code in ["28000", "28P01", "3D000"] {
            assert_eq!(classify(code, ""), ErrorKind::Preflight, "{code}");
        }
    }

    #[test]
    fn missing_names_and_rights_and_wrong_sql_are_for_a_person() {
        for code in ["42P01", "42703", "42501", "42601", "0A000", "25006", "3F000"] {
            assert_eq!(classify(code, ""), ErrorKind::Preflight, "{code}");
            assert!(!classify(code, "").policy().retry);
        }
    }

    #[test]
    fn what_a_function_raises_is_its_own_text_whatever_its_code() {
        assert!(is_raised("P0001", None));
        assert!(is_raised("23514", Some("exec_stmt_raise")));
        assert!(is_raised("XX000", Some("PLy_elog_impl")));
        assert!(!is_raised("23514", Some("ExecConstraints")));
        let context = "PL/pgSQL function mart.f() line 1 at RAISE\nCOPY users, line 3: \"secret\"";
        assert_eq!(raised_in(context), Some("PL/pgSQL function mart.f()"));
        assert_eq!(raised_in("COPY users, line 3: \"secret\""), None);
    }

    #[test]
    fn everything_else_is_not_tried_again() {
        let codes = ["08P01", "22P02", "22023", "23505", "25P02", "57014", "57P04"];
        for code in codes.into_iter().chain(["XX000", "XX001", "P0001", "99999", ""]) {
            let kind = classify(code, "cache lookup failed");
            assert_eq!(kind, ErrorKind::Server, "{code}");
            assert!(!kind.policy().retry);
        }
    }

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{202e}d\r\n"), "a\\u{1b}[31mb c\\u{202e}d");
    }

    #[test]
    fn a_copy_context_loses_the_value() {
        let context = "COPY users, line 3, column born: \"31.12.1999\"";
        assert_eq!(copy_position(context).as_deref(), Some("COPY users, line 3, column born"));
        assert_eq!(copy_position("COPY t, line 1 \"secret"), None);
        assert_eq!(copy_position("SQL statement \"insert into t values (1)\""), None);
    }

    #[test]
    fn an_io_error_becomes_a_phrase() {
        let refused = io::Error::from_raw_os_error(nix::libc::ECONNREFUSED);
        assert_eq!(io_text(&refused), "connection refused");
        assert_eq!(io_text(&io::Error::other("TLS is off")), "TLS is off");
    }

    #[test]
    fn a_position_is_shown_in_its_line_with_a_caret() {
        let sql = "select id,\n\tnme\nfrom users";
        assert_eq!(excerpt(sql, 13), ["line 2:  nme", "         ^"]);
        assert_eq!(excerpt(sql, 1), ["line 1: select id,", "        ^"]);
        assert_eq!(excerpt("select", 7), ["line 1: select", "              ^"]);
        assert!(excerpt(sql, 99).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_around_the_position() {
        let sql = format!("select {}x", "a, ".repeat(100));
        let lines = excerpt(&sql, sql.len());
        assert_eq!(lines[0].chars().nth(lines[1].len() - 1), Some('x'));
        assert!(lines[0].len() < 80);
    }
}
