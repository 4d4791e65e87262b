//! SQL that people wrote as a part of ours: conditions and hooks, looked at before the first row.
//!
//! A condition stands between our parentheses. One that is not whole by itself, such as
//! `a) or (true`, would reach around them and select, or delete, rows that are none of the job's.

use super::destination::Destination;
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::catalog::{self, Column};
use crate::postgres::connect::Session;
use crate::postgres::ident;
use crate::postgres::sqlstate::place_in;

/// The code of a syntax error.
const SYNTAX_ERROR: &str = "42601";

/// Checks the condition on the source against what it will stand behind.
pub(super) async fn check_filter(
    session: &Session,
    from: &str,
    filter: &str,
    search_path: &str,
) -> Result<()> {
    check_condition(session, "where", (from, filter), search_path).await
}

/// Checks the condition on the destination, also when the table is still to be made.
pub(super) async fn check_scope(control: &Session, destination: &Destination, scope: &str) -> Result<()> {
    let from = match &destination.relation {
        Some(relation) => ident::quote_table(&relation.name),
        None => table_to_be(&destination.name.table, destination.columns()),
    };
    check_condition(control, "scope", (&from, scope), "").await
}

/// A row of nulls that looks like the table.
fn table_to_be(name: &str, columns: &[Column]) -> String {
    let null = |c: &Column| format!("null::{} as {}", c.data_type.formatted, ident::quote(&c.name));
    let columns: Vec<_> = columns.iter().map(null).collect();
    format!("(select {}) as {}", columns.join(", "), ident::quote(name))
}

/// Bare, and between parentheses: what passes both is one condition.
async fn check_condition(
    session: &Session,
    key: &str,
    (from, condition): (&str, &str),
    search_path: &str,
) -> Result<()> {
    for sql in [
        format!("select from {from}\nwhere {condition}"),
        format!("select from {from}\nwhere ({condition}\n)"),
    ] {
        let checked = catalog::inspect_query(session, &sql, search_path).await;
        checked.map_err(|error| error.while_doing(format!("`{key}`")))?;
    }
    Ok(())
}

/// Refuses hooks that no server would parse. What else may go wrong depends on what ran before them.
pub(super) async fn check_hooks(control: &Session, job: &Job) -> Result<()> {
    for (key, statements) in [("pre_sql", &job.pre_sql), ("post_sql", &job.post_sql)] {
        for (number, sql) in statements.iter().enumerate() {
            let Err(error) = control.client().prepare(sql).await else { continue };
            let place = place_in(sql, &error);
            let doing = format!("`{key}` statement {}", number + 1);
            let error = control.error(&doing, error).await;
            match error.sqlstate() {
                Some(SYNTAX_ERROR) => return Err(hook_error(error, place)),
                Some(_) => {}
                None => return Err(error),
            }
        }
    }
    Ok(())
}

fn hook_error(error: Error, place: Vec<String>) -> Error {
    let hint = "each statement is a text of its own: post_sql = [\"analyze a\", \"analyze b\"]";
    let several = error.to_string().contains("multiple commands");
    let error = place.into_iter().fold(error, Error::with_detail);
    if several { error.with_hint(hint) } else { error }
}

/// Refuses what is no query, or more than one: it could not stand in a `from`.
pub(super) async fn check_query(session: &Session, sql: &str, search_path: &str) -> Result<()> {
    let whole = format!("select from (\n{sql}\n) as query");
    let Err(error) = catalog::inspect_query(session, &whole, search_path).await else { return Ok(()) };
    if error.sqlstate().is_none() {
        return Err(error);
    }
    Err(not_a_query(session))
}

/// What is said of a statement that gives no rows, or may write.
pub(super) fn not_a_query(session: &Session) -> Error {
    let context = format!("{}: the query is not one that only reads", session.server().name);
    Error::new(ErrorKind::Preflight, context)
        .with_hint("it must be one statement that gives columns: select, values, table, or with without insert, update and delete")
}
