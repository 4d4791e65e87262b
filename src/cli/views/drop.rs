//! `pgtide views drop`: drops a view, its definition kept in the history; or forgets that it came from a file.

use std::collections::BTreeSet;

use clap::Args;

use super::apply as verb;
use super::place::{self, Place};
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::ledger::{Ledger, ViewEvent};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::views::apply::{self, Applier};
use crate::views::diff::{Class, Step};
use crate::views::removal;

const EXAMPLES: &str = "\
Examples:
  pgtide views drop mart.sales                      refused while anything stands on it
  pgtide views drop mart.sales --with-dependents    with the views on it that came from files
  pgtide views drop --forget mart.sales             the view stays, pgtide looks after it no more

What it was is kept: pgtide views restore brings it back.";

/// `views drop`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DropArgs {
    /// Views to drop
    #[arg(value_name = "NAME", required_unless_present = "forget")]
    names: Vec<TableName>,
    /// Drop also the views on it that came from files, and name them
    #[arg(long)]
    with_dependents: bool,
    /// Forget that a view came from a file, and leave it as it is
    #[arg(long, value_name = "NAME", conflicts_with = "with_dependents")]
    forget: Vec<TableName>,
}

pub(super) async fn run(args: DropArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    stoppable(context, work(context, &project, &args)).await?;
    Ok(exit::DONE)
}

async fn work(context: &Context, project: &Project, args: &DropArgs) -> Result<()> {
    let (Place { session, .. }, ledger) = Place::work(project, "pgtide/views drop").await?;
    apply::lock(&session, &ledger).await?;
    for name in &args.forget {
        forget(&session, &ledger, name).await?;
        context.output.print(&format!("{name}  forgotten; the view stays as it is\n"));
    }
    if args.names.is_empty() {
        return Ok(());
    }
    let steps = removal::steps(&session, &ledger, &args.names, args.with_dependents).await?;
    warn_of_files(context, project, &steps);
    let (owner, listener) = (verb::owner(), verb::listener(context));
    let applier = Applier::beside(&session, &ledger, &owner, &listener);
    applier.drop_all(&steps).await?;
    for step in &steps {
        context.output.print(&format!("{}  dropped; what it was is in pgtide.view_history\n", step.name));
    }
    let names: Vec<String> = steps.iter().map(|step| step.name.to_string()).collect();
    context.output.notice(&format!("pgtide views restore {} brings back what was there", names.join(" ")));
    Ok(())
}

async fn forget(session: &Session, ledger: &Ledger, name: &TableName) -> Result<()> {
    let found =
        ledger.view_objects(session).await?.into_iter().find(|object| object.name == name.to_string());
    let Some(object) = found else {
        return Err(Error::new(ErrorKind::Usage, format!("{name} did not come from a file"))
            .with_hint("pgtide views plan lists what did; names are written with their schema"));
    };
    let event = ViewEvent {
        action: "forget".to_owned(),
        name: object.name.clone(),
        kind: object.kind,
        oid: Some(object.oid),
        file: Some((object.file, object.checksum)),
        cause: "asked for".to_owned(),
        sql: String::new(),
        before: None,
        error: None,
        elapsed_ms: 0,
    };
    let doing = "forgetting a view";
    session.batch(doing, "begin").await?;
    ledger.forget_view_object(session, &object.name).await?;
    ledger.record_view_event(session, &verb::owner(), &event).await?;
    session.batch(doing, "commit").await
}

/// A view whose file is still there comes back with the next apply.
fn warn_of_files(context: &Context, project: &Project, steps: &[Step]) {
    let (folder, root) = place::folder(project);
    let dropped: BTreeSet<_> =
        steps.iter().filter(|step| step.class == Class::Drop).map(|step| &step.name).collect();
    for (file, object) in folder.definitions().filter(|(_, object)| dropped.contains(&object.name)) {
        let (path, name) = (&file.path, &object.name);
        context.output.notice(&format!(
            "{root}{path} still creates {name}: remove it, or the next apply brings it back"
        ));
    }
}
