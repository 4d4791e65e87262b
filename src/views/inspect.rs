//! What is wrong, or worth knowing, with materialized views as they stand: rights, keys, functions.
//!
//! Everything is found at once, through ordinary views and functions with a known body, however many are
//! between. Only the keys are counted in the rows, under a deadline; the rest comes from the catalog.

use std::time::{Duration, Instant};

use tokio_postgres::Row;

use crate::error::{Error, Result};
use crate::postgres::connect::Session;

const EDGES: &str = include_str!("inspect/edges.sql");
const RIGHTS: &str = include_str!("inspect/rights.sql");
const PATHS: &str = include_str!("inspect/paths.sql");
const RESTLESS: &str = include_str!("inspect/restless.sql");
const KEYS: &str = include_str!("inspect/keys.sql");

/// From this version on a refresh may be granted: before, it is its owner's alone.
const HAS_MAINTAIN: i32 = 170_000;

/// The longest that the rows of one view are counted, and those of all.
const COUNT_LIMIT: Duration = Duration::from_secs(10);
const ALL_COUNTS_LIMIT: Duration = Duration::from_secs(60);

/// Something that a view reads and may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The materialized view.
    pub view: u32,
    /// As whom it is read.
    pub role: String,
    /// The role as SQL writes it.
    pub sql_role: String,
    /// Whether that is the view's own owner.
    pub is_owner: bool,
    /// Whether it is a function, which may not be called.
    pub is_function: bool,
    /// What may not be read or called.
    pub target: String,
    /// The view or function between that reads it; none if the view does itself.
    pub via: Option<String>,
}

/// Objects that are tried out, with the names of what they stand for: whose owner is theirs.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// Their OIDs.
    pub oids: Vec<u32>,
    /// Names as SQL writes them; none for one that says its owner itself.
    pub names: Vec<Option<String>>,
}

/// What in a view's query gives something else each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrest {
    /// A volatile function: other rows with each refresh.
    Volatile,
    /// The time.
    Clock,
    /// The role, which is the owner in a refresh.
    Role,
}

/// One such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restless {
    /// The materialized view.
    pub view: u32,
    /// Of which kind.
    pub kind: Unrest,
    /// The function, or the words.
    pub what: String,
    /// Whether the server brings it.
    pub is_system: bool,
    /// The ordinary view between that names it.
    pub via: Option<String>,
}

/// A unique index that a concurrent refresh goes by, and the rows whose key has a NULL.
#[derive(Debug)]
pub struct NullKey {
    /// The materialized view.
    pub view: u32,
    /// The index.
    pub index: String,
    /// The columns of its key.
    pub columns: Vec<String>,
    /// How many rows, or why they are not counted; none if the time for all counts was over.
    pub rows: Option<Result<u64, Error>>,
}

/// What these materialized views read and may not.
///
/// # Errors
/// The server's.
pub async fn unreadable(session: &Session, views: &[u32], tried: &Tried) -> Result<Vec<Unreadable>> {
    let sql = RIGHTS.replace("{edges}", EDGES);
    let rows =
        session.query("looking for rights of owners", &sql, &[&views, &tried.oids, &tried.names]).await?;
    let unreadable = |row: &Row| Unreadable {
        view: row.get("view"),
        role: row.get("role"),
        sql_role: row.get("sql_role"),
        is_owner: row.get("is_owner"),
        is_function: row.get("is_function"),
        target: row.get("target"),
        via: row.get("via"),
    };
    Ok(rows.iter().map(unreadable).collect())
}

/// Functions below materialized views that have no `search_path` of their own: view and function.
///
/// # Errors
/// The server's.
pub async fn without_path(session: &Session) -> Result<Vec<(u32, String)>> {
    let sql = PATHS.replace("{edges}", EDGES);
    let rows = session.query("looking for functions that need a path", &sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get("view"), row.get("function"))).collect())
}

/// What in the views' queries gives something else each time.
///
/// # Errors
/// The server's.
pub async fn restless(session: &Session) -> Result<Vec<Restless>> {
    let sql = RESTLESS.replace("{edges}", EDGES);
    let rows = session.query("looking for volatile functions", &sql, &[]).await?;
    let restless = |row: &Row| Restless {
        view: row.get("view"),
        kind: match row.get("kind") {
            "clock" => Unrest::Clock,
            "role" => Unrest::Role,
            _ => Unrest::Volatile,
        },
        what: row.get("what"),
        is_system: row.get("is_system"),
        via: row.get("via"),
    };
    Ok(rows.iter().map(restless).collect())
}

/// Materialized views that the session's role may not refresh: OID and owner, as SQL writes it.
///
/// # Errors
/// The server's.
pub async fn not_refreshable(session: &Session) -> Result<Vec<(u32, String)>> {
    let granted = match session.server().version_num {
        HAS_MAINTAIN.. => "pg_catalog.has_table_privilege(c.oid, 'maintain')",
        _ => "false",
    };
    let sql = format!(
        "select c.oid, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) from pg_catalog.pg_class c
         where c.relkind = 'm' and not pg_catalog.pg_has_role(c.relowner, 'usage') and not {granted}"
    );
    let rows = session.query("looking for views of others", &sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Counts the rows with a NULL in the key of each unique index that a concurrent refresh goes by.
///
/// # Errors
/// The server's, where the session is gone.
pub async fn null_keys(session: &Session) -> Result<Vec<NullKey>> {
    let started = Instant::now();
    let mut found = Vec::new();
    for row in session.query("looking for unique indexes", KEYS, &[]).await? {
        let (view, columns): (String, Vec<String>) = (row.get("sql_view"), row.get("columns"));
        let rows = match started.elapsed() < ALL_COUNTS_LIMIT {
            true => Some(count(session, &view, &columns).await),
            false => None,
        };
        match rows {
            Some(Ok(0)) => {}
            Some(Err(error)) if session.is_closed() => return Err(error),
            rows => found.push(NullKey { view: row.get("view"), index: row.get("index"), columns, rows }),
        }
    }
    Ok(found)
}

async fn count(session: &Session, view: &str, columns: &[String]) -> Result<u64> {
    let doing = "counting rows with a NULL in the key";
    let limit = COUNT_LIMIT.as_millis();
    let begin =
        format!("begin read only; set local statement_timeout = {limit}; set local lock_timeout = '2s'");
    session.batch(doing, &begin).await?;
    let is_null: Vec<String> = columns.iter().map(|column| format!("{column} is null")).collect();
    let sql = format!("select count(*) from {view} where {}", is_null.join(" or "));
    let counted = session.query_one(doing, &sql, &[]).await;
    session.batch(doing, "rollback").await?;
    Ok(counted?.get::<_, i64>(0).unsigned_abs())
}
