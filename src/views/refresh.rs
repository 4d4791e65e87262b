//! Refreshing after a load: each view that reads the table, once, after what it reads.
//!
//! A view that has a unique index and holds rows is refreshed concurrently, so that readers go on.
//! `lock_timeout` is always set: a waiting REFRESH would block every reader behind it.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, ViewRefreshed};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

const DEPENDENTS: &str = include_str!("dependents.sql");

/// A materialized view to refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name, with the schema.
    pub name: TableName,
    /// Whether `REFRESH ... CONCURRENTLY` is possible.
    pub concurrently: bool,
}

/// Finds every materialized view that reads a table, in refresh order.
///
/// # Errors
/// The server's.
pub async fn dependents(session: &Session, table_oid: u32) -> Result<Vec<View>> {
    let rows = session.query("looking for dependent views", DEPENDENTS, &[&table_oid]).await?;
    Ok(rows
        .iter()
        .map(|row| View {
            name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            concurrently: row.get(2),
        })
        .collect())
}

/// Keeps the views that are named, in refresh order.
///
/// # Errors
/// `Config`, when a name is not among them.
pub fn named(views: Vec<View>, names: &[TableName]) -> Result<Vec<View>> {
    let is = |view: &View, name: &TableName| {
        view.name.table == name.table && (name.schema.is_none() || view.name.schema == name.schema)
    };
    let missing: Vec<_> =
        names.iter().filter(|name| !views.iter().any(|v| is(v, name))).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let context =
            format!("`refresh`: no materialized view of this name reads the table: {}", missing.join(", "));
        let error = Error::new(ErrorKind::Config, context);
        let known: Vec<_> = views.iter().map(|view| view.name.to_string()).collect();
        return Err(if known.is_empty() {
            error
        } else {
            error.with_hint(format!("these read it: {}", known.join(", ")))
        });
    }
    Ok(views.into_iter().filter(|view| names.iter().any(|name| is(view, name))).collect())
}

/// Refreshes the views in order; one that fails does not stop the others.
///
/// # Errors
/// `Server`, when a view could not be refreshed; the load stays.
pub async fn refresh_all(session: &Session, views: &[View], events: &Events) -> Result<()> {
    let (mut failed, mut by_hand) = (Vec::new(), Vec::new());
    for view in views {
        let started = Instant::now();
        let error = refresh(session, view).await.err();
        let text = error.as_ref().map(Error::chain);
        events.send(Event::ViewRefreshed(ViewRefreshed {
            view: view.name.to_string(),
            elapsed: started.elapsed(),
            error: text.clone(),
        }));
        if let Some(text) = text {
            failed.push(text);
            by_hand.push(format!("  refresh materialized view {};", view.name));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Server,
        format!("{} of {} views were not refreshed", failed.len(), views.len()),
    );
    Err(failed.into_iter().fold(error, Error::with_detail).with_hint(format!(
        "the load is done and stays; then, on {}:\n{}",
        session.server().name,
        by_hand.join("\n")
    )))
}

async fn refresh(session: &Session, view: &View) -> Result<()> {
    let doing = format!("refreshing {}", view.name);
    session.batch(&doing, "set lock_timeout = '5s'").await?;
    let how = if view.concurrently { "concurrently " } else { "" };
    session.batch(&doing, &format!("refresh materialized view {how}{}", ident::quote_table(&view.name))).await
}
