//! Building a materialized view beside the live one, and putting it in its place.
//!
//! The copy gets the same names in a schema of its own, so the exchange is two `SET SCHEMA` in one short
//! transaction: readers wait for that alone. Ordinary views above are pointed at the new one, and what
//! reads those does not notice. Nothing is ever dropped with CASCADE: an object that nobody knew of
//! stops the exchange, and everything stays as it was.
//!
//! ```text
//! build      create ... with no data, owner, indexes, statistics, comments, grants     one transaction
//! fill       refresh; vacuum (analyze)                                                 nobody waits
//! exchange   old away, new home, views pointed at it, old dropped                      the caller's transaction
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

use super::properties::{Properties, repoint_statement};

/// What the comment of a schema begins with that pgtide makes and removes.
const MARK: &str = "pgtide: ";

const BUILD: &str = "pgtide_build_";
const OLD: &str = "pgtide_old_";

/// The schema in which the successor of a view is built.
#[must_use]
pub fn build_schema(live_oid: u32) -> String {
    format!("{BUILD}{live_oid}")
}

/// A successor: complete, but for its rows until [`fill`](Self::fill).
#[derive(Debug, Clone)]
pub struct Built {
    /// The live one, as it was when the successor was made.
    pub live: Properties,
    /// The schema that the successor is in.
    pub schema: String,
    /// The successor's OID.
    pub oid: u32,
}

/// Makes the successor of a view, without rows, with everything that belongs to the live one; with
/// another query if one is given. A leftover of a run that died is removed first.
///
/// # Errors
/// The server's, such as an index on a column that the new query does not have; nothing is left then.
pub async fn build(session: &Session, live: &Properties, definition: Option<&str>) -> Result<Built> {
    let doing = format!("building {} beside", live.table_name());
    let schema = build_schema(live.oid);
    remove_schema(session, &schema).await?;
    session.batch(&doing, "begin isolation level read committed").await?;
    let built = build_in(session, &doing, live, definition).await;
    end(session, &doing, built).await
}

async fn build_in(
    session: &Session,
    doing: &str,
    live: &Properties,
    definition: Option<&str>,
) -> Result<Built> {
    let schema = build_schema(live.oid);
    make_schema(session, doing, &schema, &live.table_name(), &live.owner).await?;
    session.batch(doing, &live.create_statement(&schema, definition)).await?;
    let target = ident::quote_table(&TableName::new(&schema, &live.name));
    if live.owner != session.server().role {
        let owner = ident::quote(&live.owner);
        session.batch(doing, &format!("alter materialized view {target} owner to {owner}")).await?;
    }
    for sql in [live.index_statements(&schema), live.detail_statements(&schema)].concat() {
        session.batch(doing, &sql).await?;
    }
    let sql = "select pg_catalog.to_regclass($1)::pg_catalog.oid";
    let oid: u32 = session.query_one(doing, sql, &[&target]).await?.get(0);
    let successor = Properties::read(session, oid).await?;
    for sql in live.grant_statements(&successor) {
        session.batch(doing, &sql).await?;
    }
    Ok(Built { live: live.clone(), schema, oid })
}

impl Built {
    /// The successor's name.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(&self.schema, &self.live.name)
    }

    /// Fills it; readers of the live one do not notice. Inside the caller's transaction or on its own.
    ///
    /// # Errors
    /// The server's.
    pub async fn fill(&self, session: &Session) -> Result<()> {
        let name = ident::quote_table(&self.table_name());
        let doing = format!("refreshing {} beside", self.live.table_name());
        session.batch(&doing, &format!("refresh materialized view {name}")).await
    }

    /// Gives it statistics, or a visibility map too, by `ANALYZE` or `VACUUM (ANALYZE)`, outside of any
    /// transaction.
    ///
    /// # Errors
    /// The server's.
    pub async fn tidy(&self, session: &Session, what: &str) -> Result<()> {
        let name = ident::quote_table(&self.table_name());
        let doing = format!("vacuuming the successor of {}", self.live.table_name());
        session.batch(&doing, &format!("{what} {name}")).await
    }

    /// Removes it, if it is not wanted any more.
    ///
    /// # Errors
    /// The server's.
    pub async fn discard(&self, session: &Session) -> Result<()> {
        remove_schema(session, &self.schema).await
    }
}

/// Reads the ordinary views that read these directly: to be pointed at the successors. Before the
/// exchange, while their names still mean the live ones.
///
/// # Errors
/// The server's.
pub async fn views_above(session: &Session, live: &[&Properties]) -> Result<Vec<Properties>> {
    let mut oids: Vec<u32> = live.iter().flat_map(|one| &one.views).map(|view| view.oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let mut views = Vec::new();
    for oid in oids {
        views.push(Properties::read(session, oid).await?);
    }
    Ok(views)
}

/// Puts successors in the place of the live ones, in the caller's open transaction, which has a
/// `lock_timeout`; `built` has each after those that it reads. Views above are pointed at the new ones.
///
/// # Errors
/// `Contention`, if a lock is not to be had or a live one was changed since; `Preflight`, if something
/// depends on a live one that is neither in `built` nor an ordinary view. The caller rolls back.
pub async fn exchange(session: &Session, built: &[&Built]) -> Result<()> {
    let mut now = Vec::new();
    for one in built.iter().rev() {
        move_away(session, one).await?;
        now.push(Properties::read(session, one.live.oid).await?);
    }
    now.reverse();
    let mut views = Vec::new();
    for (one, now) in built.iter().zip(&now) {
        require_unchanged(one, now)?;
        views.extend(now.views.iter().map(|view| view.oid));
    }
    views.sort_unstable();
    views.dedup();
    let statements = repointing(session, built, &views).await?;
    for (one, now) in built.iter().zip(&now) {
        move_home(session, one, now).await?;
    }
    for (doing, sql) in statements {
        session.batch(&doing, &sql).await?;
    }
    for (one, now) in built.iter().zip(&now).rev() {
        drop_old(session, one, now).await?;
    }
    Ok(())
}

/// The lock that readers wait for is taken here, first of all.
async fn move_away(session: &Session, one: &Built) -> Result<()> {
    let live = &one.live;
    let doing = format!("putting the new {} in its place", live.table_name());
    let away = old_schema(live.oid);
    let name = ident::quote_table(&live.table_name());
    make_schema(session, &doing, &away, &live.table_name(), &live.owner).await?;
    session
        .batch(&doing, &format!("alter materialized view {name} set schema {}", ident::quote(&away)))
        .await?;
    for sql in live.statistics_away(&away) {
        session.batch(&doing, &sql).await?;
    }
    Ok(())
}

/// `CREATE OR REPLACE VIEW` of each view, in the words in which its query names what is live.
async fn repointing(session: &Session, built: &[&Built], views: &[u32]) -> Result<Vec<(String, String)>> {
    let mut statements = Vec::new();
    for oid in views {
        let mut view = Properties::read(session, *oid).await?;
        for one in built {
            // The live ones have moved, and the server names them by where they are now.
            view.definition = renamed(&view.definition, &one.live, &old_schema(one.live.oid));
        }
        let doing = format!("pointing view {} at what is new", view.table_name());
        statements.push((doing, repoint_statement(&view)));
    }
    Ok(statements)
}

/// Names a view by its home again in a text of the server, which writes `schema.name`; the schema's name
/// is like no other, so it is found by itself.
fn renamed(definition: &str, live: &Properties, away: &str) -> String {
    definition.replace(&format!("{away}."), &format!("{}.", live.sql_schema))
}

async fn move_home(session: &Session, one: &Built, now: &Properties) -> Result<()> {
    let live = &one.live;
    let doing = format!("putting the new {} in its place", live.table_name());
    let (from, home) = (ident::quote_table(&one.table_name()), ident::quote(&live.schema));
    session.batch(&doing, &format!("alter materialized view {from} set schema {home}")).await?;
    for sql in live.statistics_home(&one.schema) {
        session.batch(&doing, &sql).await?;
    }
    // What was granted since the successor was made counts too.
    let successor = Properties::read(session, one.oid).await?;
    for sql in now.grant_statements(&successor) {
        session.batch(&doing, &sql).await?;
    }
    session.batch(&doing, &format!("drop schema {}", ident::quote(&one.schema))).await
}

async fn drop_old(session: &Session, one: &Built, now: &Properties) -> Result<()> {
    let live = &one.live;
    let away = old_schema(live.oid);
    let name = ident::quote_table(&TableName::new(&away, &live.name));
    let doing = format!("dropping what {} was", live.table_name());
    let dropped = session.batch(&doing, &format!("drop materialized view {name}")).await;
    dropped.map_err(|error| unknown_dependents(error, live, &now.blockers))?;
    session.batch(&doing, &format!("drop schema {}", ident::quote(&away))).await
}

fn unknown_dependents(error: Error, live: &Properties, blockers: &[String]) -> Error {
    if error.sqlstate() != Some("2BP01") {
        return error;
    }
    let context = format!("something depends on {} that cannot be moved to the new one", live.table_name());
    let error = Error::new(ErrorKind::Preflight, context)
        .with_hint("nothing was changed; run it again: it looks at what is there now");
    blockers.iter().cloned().fold(error, Error::with_detail)
}

/// Whoever altered the view or its indexes in the meantime must not find that undone.
fn require_unchanged(one: &Built, now: &Properties) -> Result<()> {
    if now.own() == one.live.own() {
        return Ok(());
    }
    let context = format!("{} was altered while its successor was built", one.live.table_name());
    Err(Error::new(ErrorKind::Contention, context).with_hint("nothing was changed; run it again"))
}

/// Removes what runs that died have left: schemas of ours whose view nobody works on. `is_free` takes the
/// lock of a view's OID and says whether it got it; `release` gives it back.
///
/// # Errors
/// The server's.
pub async fn leftovers(session: &Session) -> Result<Vec<(String, u32)>> {
    let sql = "select n.nspname from pg_catalog.pg_namespace n
        where n.nspname ~ '^pgtide_(build|old)_[0-9]+$'
          and pg_catalog.starts_with(pg_catalog.obj_description(n.oid, 'pg_namespace'), $1)
        order by n.nspname";
    let rows = session.query("looking for what a run left", sql, &[&MARK]).await?;
    let names = rows.iter().map(|row| row.get::<_, String>(0));
    let number = |name: &str| name.rsplit('_').next().and_then(|oid| oid.parse().ok());
    Ok(names.filter_map(|name| number(&name).map(|oid| (name, oid))).collect())
}

/// Removes one schema of ours with what is in it, if it is there; never with CASCADE.
///
/// # Errors
/// `Preflight`, if something else depends on what is in it; the server's.
pub async fn remove_schema(session: &Session, schema: &str) -> Result<()> {
    let doing = format!("removing what a run left in schema {schema}");
    let sql = "select pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind::text
        from pg_catalog.pg_namespace n
        left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('m', 'v')
        where n.nspname = $1
          and pg_catalog.starts_with(pg_catalog.obj_description(n.oid, 'pg_namespace'), $2)
        order by c.oid desc";
    let rows = session.query(&doing, sql, &[&schema, &MARK]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    for row in &rows {
        let Some(kind) = row.get::<_, Option<String>>(1) else { continue };
        let what = if kind == "m" { "materialized view" } else { "view" };
        session.batch(&doing, &format!("drop {what} {}", row.get::<_, String>(0))).await?;
    }
    session.batch(&doing, &format!("drop schema {}", ident::quote(schema))).await
}

fn old_schema(live_oid: u32) -> String {
    format!("{OLD}{live_oid}")
}

async fn make_schema(
    session: &Session,
    doing: &str,
    schema: &str,
    view: &TableName,
    owner: &str,
) -> Result<()> {
    let quoted = ident::quote(schema);
    let comment = ident::literal(&format!("{MARK}{view} changes here; safe to drop while no pgtide runs"));
    let mut sql = format!("create schema {quoted}; comment on schema {quoted} is {comment}");
    if owner != session.server().role {
        sql.push_str(&format!("; grant usage, create on schema {quoted} to {}", ident::quote(owner)));
    }
    session.batch(doing, &sql).await.map_err(|error| match error.sqlstate() {
        Some("42501") => error
            .with_hint("building beside needs CREATE on the database: grant create on database ... to ...;"),
        _ => error,
    })
}

async fn end<T>(session: &Session, doing: &str, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => session.batch(doing, "commit").await.map(|()| value),
        Err(error) => {
            // What went wrong first is what matters; a lost connection rolls back by itself.
            let _ = session.batch(doing, "rollback").await;
            Err(error)
        }
    }
}
