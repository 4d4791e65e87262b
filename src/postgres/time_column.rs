//! A look at a live table's time column: rows that no interval can hold, and where time begins.
//!
//! Only for `check` and `init`, on tables of others: every look is read-only and ends after a few
//! seconds, whatever the table's size.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;

use super::catalog::{Column, Relation};
use super::connect::Session;
use super::ident::{quote, quote_table};
use crate::error::Result;

/// The longest that a look may take, in seconds.
pub const LIMIT_SECONDS: u32 = 5;

/// The planner's row count up to which a table is read without an index.
const SMALL_ROWS: i64 = 1_000_000;

/// Rows that belong to no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unplaced {
    /// Rows whose time is NULL.
    pub nulls: i64,
    /// Rows whose time is `infinity` or `-infinity`.
    pub infinite: i64,
}

/// Whether a column tells time: timestamptz, timestamp or date, or a domain over one.
#[must_use]
pub fn tells_time(column: &Column) -> bool {
    let data_type = column.data_type.unwrapped();
    data_type.schema == "pg_catalog" && matches!(&*data_type.name, "timestamptz" | "timestamp" | "date")
}

/// Counts the rows that belong to no interval; none if that would take too long.
///
/// # Errors
/// The server's.
pub async fn unplaced(session: &Session, relation: &Relation, column: &Column) -> Result<Option<Unplaced>> {
    if column.not_null && !is_cheap(relation, column) {
        return Ok(None);
    }
    let (table, name) = (quote_table(&relation.name), quote(&column.name));
    let count = |condition: &str| format!("(select count(*) from {table} where {condition})");
    let nulls = if column.not_null { "0::bigint".to_owned() } else { count(&format!("{name} is null")) };
    let infinite = count(&format!("{name} in ('infinity', '-infinity')"));
    let sql = format!("select {nulls}, {infinite}");
    let row = bounded(session, &format!("counting rows of {} without a time", relation.name), &sql).await?;
    Ok(row.map(|row| Unplaced { nulls: row.get(0), infinite: row.get(1) }))
}

/// The local date, in UTC, of the first row; none if there is none, or finding it would take too long.
///
/// # Errors
/// The server's.
pub async fn first_date(
    session: &Session,
    relation: &Relation,
    column: &Column,
) -> Result<Option<NaiveDate>> {
    if !is_cheap(relation, column) {
        return Ok(None);
    }
    let (table, name) = (quote_table(&relation.name), quote(&column.name));
    // The condition keeps the index usable, which `isfinite` would not; of the dates that Postgres
    // knows, those that the calendar does not are no start.
    let sql = format!(
        "select t from (select min({name})::timestamptz from {table} where {name} > '-infinity') as first(t)
         where t between '0001-01-02 UTC' and '9999-12-30 UTC'"
    );
    let row = bounded(session, &format!("looking for the first row of {}", relation.name), &sql).await?;
    Ok(row.map(|row| row.get::<_, DateTime<Utc>>(0).date_naive()))
}

fn is_cheap(relation: &Relation, column: &Column) -> bool {
    relation.index_on(&column.name) || relation.estimated_rows.is_none_or(|rows| rows < SMALL_ROWS)
}

/// Runs a query that reads, for a few seconds at most; none if it has no row or took too long.
async fn bounded(session: &Session, doing: &str, sql: &str) -> Result<Option<Row>> {
    session.begin_reading(doing, &format!("set local statement_timeout = '{LIMIT_SECONDS}s'")).await?;
    let answer = session.query_opt(doing, sql, &[]).await;
    session.end_reading(doing).await?;
    match answer {
        Err(error) if error.sqlstate() == Some("57014") => Ok(None),
        answer => answer,
    }
}
