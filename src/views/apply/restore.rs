//! Bringing back what was dropped: as it was, from the history, in one transaction.

use std::time::Instant;

use super::super::facts;
use super::super::statement::ObjectKind;
use super::{Applier, Said};
use crate::config::nearest::did_you_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{DroppedView, ViewEvent};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Of what was dropped, what is not there now: the newest first.
///
/// # Errors
/// The server's.
pub async fn restorable(session: &Session, dropped: Vec<DroppedView>) -> Result<Vec<DroppedView>> {
    let names: Vec<TableName> = dropped.iter().filter_map(|one| one.name.parse().ok()).collect();
    let there = facts::named(session, &names).await?;
    let is_there = |one: &DroppedView| {
        let is_function = one.kind == ObjectKind::Function.sql();
        there.iter().any(|now| {
            now.name.to_string() == one.name && (now.kind == ObjectKind::Function.sql()) == is_function
        })
    };
    let mut left: Vec<DroppedView> = dropped.into_iter().filter(|one| !is_there(one)).collect();
    left.sort_by_key(|one| std::cmp::Reverse(one.id));
    Ok(left)
}

/// Of what was dropped the ones that are named, what others stand on first.
///
/// # Errors
/// `Usage` for a name that was never dropped; `Preflight` if something of that name is there.
pub async fn chosen(
    session: &Session,
    dropped: Vec<DroppedView>,
    names: &[TableName],
) -> Result<Vec<DroppedView>> {
    let known: Vec<String> = dropped.iter().map(|one| one.name.clone()).collect();
    for name in names.iter().map(ToString::to_string) {
        if !known.contains(&name) {
            let similar = did_you_mean(&name, known.iter().map(String::as_str));
            return Err(Error::new(ErrorKind::Usage, format!("pgtide never dropped {name}{similar}"))
                .with_hint("pgtide views restore, without a name, lists what it can bring back"));
        }
    }
    let is_named = |one: &DroppedView| names.iter().any(|name| name.to_string() == one.name);
    let wanted: Vec<DroppedView> = dropped.into_iter().filter(is_named).collect();
    let all: Vec<String> = wanted.iter().map(|one| one.name.clone()).collect();
    let left = restorable(session, wanted).await?;
    match all.into_iter().find(|name| !left.iter().any(|one| one.name == *name)) {
        None => Ok(left),
        Some(name) => Err(Error::new(ErrorKind::Preflight, format!("there is {name} again, so nothing was restored"))
            .with_hint(format!(
                "rename or drop what is there; what it was: select before from pgtide.view_history where name = '{name}' and action = 'drop'"
            ))),
    }
}

impl Applier<'_> {
    /// Makes all of them again, filled, with what belonged to them, or none.
    ///
    /// # Errors
    /// The server's; nothing is changed then.
    pub async fn restore(&self, dropped: &[DroppedView]) -> Result<()> {
        self.begin("restoring views").await?;
        let work = async {
            for one in dropped {
                self.restore_one(one).await?;
            }
            Ok(())
        };
        let result = work.await;
        self.end(result).await?;
        for one in dropped.iter().filter(|one| one.kind == ObjectKind::Matview.sql()) {
            if let Ok(name) = one.name.parse::<TableName>() {
                let sql = format!("vacuum (analyze) {}", ident::quote_table(&name));
                self.session.batch(&format!("after restoring {name}"), &sql).await?;
            }
        }
        Ok(())
    }

    async fn restore_one(&self, one: &DroppedView) -> Result<()> {
        let (started, doing) = (Instant::now(), format!("restoring {}", one.name));
        if let Ok(name) = one.name.parse() {
            (self.listener)(Said::Started { name, what: "making it again" });
        }
        // Names in it have their schemas; functions of text may look others up as the role does.
        self.session
            .batch(&doing, "set local search_path to default; set local check_function_bodies to off")
            .await?;
        let sql = statements(one);
        self.session.batch(&doing, &sql).await.map_err(|error| match error.sqlstate() {
            Some("42P01" | "42883" | "42703") => error.with_hint(
                "what it reads is gone too: name it as well, and what stands on what is found by itself",
            ),
            _ => error,
        })?;
        self.session.batch(&doing, "set local search_path to ''").await?;
        let event = ViewEvent {
            action: "restore".to_owned(),
            name: one.name.clone(),
            kind: one.kind.clone(),
            oid: None,
            file: None,
            cause: "asked for".to_owned(),
            sql,
            before: None,
            error: None,
            elapsed_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
        };
        self.ledger.record_view_event(self.session, self.owner, &event).await
    }
}

/// The statements that make it; never over something that came meanwhile.
fn statements(one: &DroppedView) -> String {
    let replaces =
        [("create or replace view", "create view"), ("CREATE OR REPLACE FUNCTION", "create function")];
    let found = replaces
        .iter()
        .find_map(|(replace, make)| Some(format!("{make}{}", one.before.strip_prefix(replace)?)));
    found.unwrap_or_else(|| one.before.clone())
}
