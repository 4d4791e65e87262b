//! `pgtide views restore`: brings back what was dropped, as it was; without a name says what it can.

use clap::Args;

use super::apply as verb;
use super::place::{self, Place};
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::ledger::DroppedView;
use crate::name::TableName;
use crate::report::Format;
use crate::views::apply::{self, Applier};

const EXAMPLES: &str = "\
Examples:
  pgtide views restore                              what was dropped and is not there
  pgtide views restore mart.sales                   makes it again, filled, with indexes, grants and owner
  pgtide views restore mart.sales mart.top          both or none, what stands on what last
  pgtide views restore mart.sales --write-file      and writes its file again
  pgtide views restore mart.sales --dry-run         prints the SQL alone

Only what pgtide dropped, or saw before it dropped it, is known; refused while something of the name is there.";

/// `views restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RestoreArgs {
    /// What to bring back; without, what can be
    #[arg(value_name = "NAME")]
    names: Vec<TableName>,
    /// Write a file for each, so that the next apply looks after it
    #[arg(long, requires = "names")]
    write_file: bool,
    /// Print the SQL and change nothing
    #[arg(long, requires = "names")]
    dry_run: bool,
}

pub(super) async fn run(args: RestoreArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    if args.names.is_empty() || args.dry_run {
        return Ok(stoppable(context, look(&args, context, &project)).await?);
    }
    Box::pin(stoppable(context, work(&args, context, &project))).await?;
    Ok(exit::DONE)
}

/// Lists what can be restored, or prints how it would be.
async fn look(args: &RestoreArgs, context: &Context, project: &Project) -> Result<u8> {
    let Place { session, ledger, .. } = Place::look(project, "pgtide/views restore").await?;
    let dropped = match &ledger {
        Some(ledger) => ledger.dropped_views(&session).await?,
        None => Vec::new(),
    };
    let output = &context.output;
    if args.dry_run {
        for one in apply::chosen(&session, dropped, &args.names).await? {
            output.print(&format!("-- {}\n{}\n", one.name, one.before));
        }
        return Ok(exit::DONE);
    }
    let found = apply::restorable(&session, dropped).await?;
    for one in &found {
        output.print(&match output.format {
            Format::Json => format!("{}\n", object(one)),
            Format::Text => {
                let at = one.at.format("%Y-%m-%d %H:%M:%S UTC");
                format!("{}  {}, dropped {at} by {}\n", one.name, one.kind, one.role)
            }
        });
    }
    if found.is_empty() && output.format == Format::Text {
        output.print("nothing that pgtide dropped is missing\n");
    }
    Ok(if found.is_empty() { exit::NOTHING_TO_DO } else { exit::DONE })
}

fn object(one: &DroppedView) -> serde_json::Value {
    serde_json::json!({
        "view": one.name, "kind": one.kind, "dropped_at": one.at, "role": one.role, "file": one.file, "sql": one.before,
    })
}

async fn work(args: &RestoreArgs, context: &Context, project: &Project) -> Result<()> {
    let (Place { session, .. }, ledger) = Place::work(project, "pgtide/views restore").await?;
    apply::lock(&session, &ledger).await?;
    let chosen = apply::chosen(&session, ledger.dropped_views(&session).await?, &args.names).await?;
    let (owner, listener) = (verb::owner(), verb::listener(context));
    let applier = Applier::beside(&session, &ledger, &owner, &listener);
    applier.restore(&chosen).await?;
    let (folder, _) = place::folder(project);
    for one in &chosen {
        context.output.print(&format!("{}  restored\n", one.name));
        let has_file = folder.definitions().any(|(_, object)| object.name.to_string() == one.name);
        match (has_file, args.write_file) {
            (true, _) => {
                context.output.notice(&format!("{}: its file is there; views apply records it", one.name))
            }
            (false, true) => write(context, project, one)?,
            (false, false) => context.output.notice(&format!(
                "{0}: no file creates it; pgtide views adopt {0} writes one, so that apply looks after it",
                one.name
            )),
        }
    }
    Ok(())
}

/// Writes the file again, never over one that is there.
fn write(context: &Context, project: &Project, one: &DroppedView) -> Result<()> {
    let path = one.file.clone().unwrap_or_else(|| format!("{}.sql", one.name.replace(['"', '/'], "_")));
    let full = project.views_dir().join(path);
    let shown = loading::shown(&full);
    let written = full.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        use std::io::Write as _;
        std::fs::File::create_new(&full)?.write_all(one.before.as_bytes())
    });
    written.map_err(|error| {
        Error::new(ErrorKind::Config, format!("{} is restored; writing {shown}: {error}", one.name))
            .with_hint(format!("pgtide views adopt {} writes another file", one.name))
    })?;
    context.output.notice(&format!("{shown}: written; views apply records it"));
    Ok(())
}
