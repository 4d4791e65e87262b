//! What the two roles may do, before the first row: every missing grant at once, as SQL for whoever gives it.

use super::Resolved;
use super::destination::Destination;
use crate::columns::Expression;
use crate::config::job::{EmptyWith, Job, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::postgres::catalog::{self, Grant, Privilege};
use crate::postgres::connect::Session;

/// Checks both sides; `ledger` is the schema of the ledger.
///
/// # Errors
/// `Preflight`, with every grant that is missing; the server's.
pub(super) async fn check(
    (source, control): (&Session, &Session),
    ledger: &str,
    job: &Job,
    resolved: &Resolved,
) -> Result<()> {
    let on_source = catalog::missing_grants(source, on_source(source, resolved)).await?;
    let needed = on_destination(control, ledger, job, resolved).await?;
    let on_destination = catalog::missing_grants(control, needed).await?;
    let missing = [(source, on_source), (control, on_destination)];
    let missing: Vec<_> = missing.into_iter().filter(|(_, grants)| !grants.is_empty()).collect();
    if missing.is_empty() { Ok(()) } else { Err(lacking(&missing)) }
}

/// SELECT on the columns that are read. What a query reads, the server itself checks when it explains it.
fn on_source(session: &Session, resolved: &Resolved) -> Vec<Grant> {
    let Some(relation) = &resolved.source.relation else { return Vec::new() };
    let own = |expression: &Expression| !matches!(expression, Expression::Custom { .. });
    let columns = resolved.columns.columns.iter().filter(|c| own(&c.expression));
    let columns: Vec<String> = columns.map(|c| c.column.clone()).collect();
    catalog::needed_on_relation(session, relation, &[Privilege::Select], Some(&columns))
}

async fn on_destination(
    session: &Session,
    ledger: &str,
    job: &Job,
    resolved: &Resolved,
) -> Result<Vec<Grant>> {
    let Destination { name, relation, .. } = &resolved.destination;
    let mut grants = match (relation, &name.schema) {
        (Some(relation), _) => {
            let columns: Vec<String> = resolved.columns.target_columns().map(str::to_owned).collect();
            let privileges = privileges(job, resolved);
            catalog::needed_on_relation(session, relation, &privileges, Some(&columns))
        }
        (None, Some(schema)) => catalog::needed_for_creation(session, schema).await?,
        (None, None) => Vec::new(),
    };
    let merges = job.mode == LoadMode::Merge;
    if merges || Ledger::find(session, ledger).await?.is_none() {
        grants.extend(catalog::needed_for_ledger(session, ledger, merges).await?);
    }
    Ok(grants)
}

/// What a mode does to its table; looking at columns is part of all but `append`.
fn privileges(job: &Job, resolved: &Resolved) -> Vec<Privilege> {
    let deletes = job.empty_with == EmptyWith::Delete || job.scope.is_some() || resolved.is_referenced();
    match job.mode {
        LoadMode::Append => vec![Privilege::Insert],
        LoadMode::DeleteInsert => vec![Privilege::Select, Privilege::Insert, Privilege::Delete],
        LoadMode::Merge => vec![Privilege::Select, Privilege::Insert, Privilege::Update],
        LoadMode::Replace if deletes => vec![Privilege::Select, Privilege::Insert, Privilege::Delete],
        LoadMode::Replace => vec![Privilege::Select, Privilege::Insert, Privilege::Truncate],
    }
}

fn lacking(missing: &[(&Session, Vec<Grant>)]) -> Error {
    let of = |(session, _): &(&Session, Vec<Grant>)| {
        let server = session.server();
        format!("{} on {}", server.role, server.name)
    };
    let who = missing.iter().map(of).collect::<Vec<_>>().join(" and ");
    let mut error = Error::new(ErrorKind::Preflight, format!("{who} may not do what the load needs"));
    let mut hint = Vec::new();
    for (session, grants) in missing {
        let name = &session.server().name;
        for grant in grants {
            error = error.with_detail(format!("{name}: no {} on {}", grant.privilege.words(), grant.object));
        }
        hint.push(format!("on {name}:"));
        hint.extend(catalog::grants_sql(grants).lines().map(|line| format!("  {line}")));
    }
    error.with_hint(hint.join("\n"))
}
