//! What a drop takes with it: shown and refused, or followed through what came from files. Never CASCADE.

use std::collections::BTreeMap;

use super::diff::{Class, Step};
use super::facts::{self, Facts};
use super::statement::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::name::TableName;
use crate::postgres::connect::Session;

/// The steps of a drop, what stands on others first.
///
/// # Errors
/// `Usage` for a name that is no view; `Preflight` when something stands on one that is not to go.
pub async fn steps(
    session: &Session,
    ledger: &Ledger,
    names: &[TableName],
    with_dependents: bool,
) -> Result<Vec<Step>> {
    let managed: BTreeMap<u32, String> =
        ledger.view_objects(session).await?.into_iter().map(|object| (object.oid, object.name)).collect();
    let mut order: Vec<u32> = Vec::new();
    for found in find(session, names).await? {
        order.push(found.oid);
    }
    let mut refused = Vec::new();
    let mut at = 0;
    while at < order.len() {
        for dependent in facts::dependents(session, &order[at..=at]).await? {
            if order.contains(&dependent.oid) {
                // It has to go before what it stands on: last in, first out.
                if let Some(place) =
                    order.iter().position(|oid| *oid == dependent.oid).filter(|place| *place < at)
                {
                    let moved = order.remove(place);
                    order.push(moved);
                    at -= 1;
                }
            } else if with_dependents && managed.contains_key(&dependent.oid) {
                order.push(dependent.oid);
            } else {
                let known = if managed.contains_key(&dependent.oid) { "from a file" } else { "in no file" };
                refused.push(format!("{} ({known})", dependent.described));
            }
        }
        at += 1;
    }
    if !refused.is_empty() {
        return Err(refusal(names, refused));
    }
    order.reverse();
    let found = facts::read(session, &order).await?;
    Ok(order.iter().filter_map(|oid| found.get(oid)).map(step).collect())
}

async fn find(session: &Session, names: &[TableName]) -> Result<Vec<facts::Named>> {
    let found = facts::named(session, names).await?;
    let mut chosen = Vec::new();
    for name in names {
        let of_name: Vec<_> = found.iter().filter(|one| one.name == *name).collect();
        match of_name.as_slice() {
            [one] if ObjectKind::of_sql(&one.kind).is_some() => chosen.push((*one).clone()),
            [one, ..] if of_name.len() > 1 || ObjectKind::of_sql(&one.kind).is_none() => {
                let what = format!(
                    "{name} is {}",
                    of_name.iter().map(|one| format!("a {}", one.kind)).collect::<Vec<_>>().join(" and ")
                );
                return Err(Error::new(ErrorKind::Usage, what)
                    .with_hint("views drop drops one view or function of a name"));
            }
            _ => {
                return Err(Error::new(ErrorKind::Usage, format!("there is no view {name}"))
                    .with_hint("names are written with their schema; views drop --forget NAME for one that is gone already"));
            }
        }
    }
    Ok(chosen)
}

fn refusal(names: &[TableName], mut refused: Vec<String>) -> Error {
    refused.sort();
    refused.dedup();
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let what = format!(
        "{names} was not dropped: {} on it",
        if refused.len() == 1 { "this stands" } else { "these stand" }
    );
    let error = Error::new(ErrorKind::Preflight, what);
    refused.into_iter().fold(error, Error::with_detail).with_hint(
        "--with-dependents drops also those that came from files; what is in no file is dropped by its owner first",
    )
}

fn step(live: &Facts) -> Step {
    Step {
        name: live.name.clone(),
        kind: live.kind,
        class: Class::Drop,
        cause: "asked for".to_owned(),
        details: Vec::new(),
        file: None,
        live: Some(live.clone()),
        want: None,
        changes: Vec::new(),
        sqlstate: None,
        unit: None,
    }
}
