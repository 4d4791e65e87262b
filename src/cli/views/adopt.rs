//! `pgtide views adopt`: writes files from views that exist, and records what is as its file says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::apply as verb;
use super::place::{self, Place};
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::name::TableName;
use crate::report::number::counted;
use crate::views::adopt;
use crate::views::apply::{self, Applier, Hands};
use crate::views::diff::Class;
use crate::views::facts::Facts;
use crate::views::files::Folder;
use crate::views::survey::{self, Asked};

const EXAMPLES: &str = "\
Examples:
  pgtide views adopt                     a file for every view that has none yet
  pgtide views adopt mart.sales          for one
  pgtide views adopt --scenic db/views   with the SQL of Scenic's newest versions

Nothing is rebuilt. What Flyway, Scenic or Alembic know of the database is read and told.";

/// `views adopt`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AdoptArgs {
    /// Views with their schemas; all without
    #[arg(value_name = "NAME")]
    names: Vec<TableName>,
    /// A folder of Scenic's files: sales_v02.sql
    #[arg(long, value_name = "FOLDER")]
    scenic: Option<PathBuf>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: AdoptArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let all_is_adopted = stoppable(context, Box::pin(work(context, &project, &args))).await?;
    Ok(if all_is_adopted { exit::DONE } else { exit::FAILED })
}

async fn work(context: &Context, project: &Project, args: &AdoptArgs) -> Result<bool> {
    let (folder, root) = place::folder(project);
    place::refuse_findings(&folder)?;
    let (Place { spec, session, .. }, ledger) = Place::work(project, "pgtide/views adopt").await?;
    apply::lock(&session, &ledger).await?;
    for line in adopt::tools(&session, &project.views_dir(), &folder).await? {
        context.output.notice(&line);
    }
    let missing = without_file(adopt::candidates(&session, ledger.schema()).await?, &folder, &args.names)?;
    write(context, project, &missing, args)?;
    if args.dry_run {
        return Ok(true);
    }
    let (mut folder, _) = place::folder(project);
    place::refuse_findings(&folder)?;
    let mut plan = survey::plan(&session, Some(&ledger), &mut folder, &Asked::default()).await?;
    plan.steps.iter_mut().filter(|step| step.class == Class::Touched).for_each(|step| {
        step.class = Class::Accept;
        "adopted as it is".clone_into(&mut step.cause);
    });
    let adopted = plan.of(|class| class == Class::Accept).count();
    let rest: Vec<String> = plan
        .of(|class| !matches!(class, Class::Accept | Class::Unchanged))
        .map(|step| format!("  {:<10}  {}  {}\n", step.class.word(), step.name, step.cause))
        .collect();
    plan.units.clear();
    plan.steps.retain(|step| step.class == Class::Accept);
    let (owner, listener) = (verb::owner(), verb::listener(context));
    let applier = Applier::beside(&session, &ledger, &owner, &listener);
    // Records alone: nothing is built.
    let hands = Hands { spec: &spec, jobs: 1, show_values: false };
    let outcome = Box::pin(applier.apply(&plan, &folder, hands)).await?;
    context.output.print(&format!(
        "{} adopted, none rebuilt; the files are in {root}\n",
        counted(adopted as u64, "object")
    ));
    if !rest.is_empty() {
        context.output.print(&format!("not as its file says, and left for views plan:\n{}", rest.concat()));
    }
    Ok(outcome.failed.is_empty() && rest.is_empty())
}

/// The views that no file creates; those that are named, if any are.
fn without_file(found: Vec<Facts>, folder: &Folder, names: &[TableName]) -> Result<Vec<Facts>> {
    if let Some(name) = names.iter().find(|name| !found.iter().any(|facts| facts.name == **name)) {
        return Err(Error::new(ErrorKind::Usage, format!("there is no view {name}"))
            .with_hint("names are written with their schema"));
    }
    let has_file: BTreeSet<_> = folder.definitions().map(|(_, object)| object.name.clone()).collect();
    // A file without a schema may be any of them; the plan says which.
    let is_held = |facts: &Facts| {
        has_file.contains(&facts.name)
            || has_file.contains(&TableName { schema: None, table: facts.name.table.clone() })
    };
    let is_named = |facts: &Facts| names.is_empty() || names.contains(&facts.name);
    Ok(found.into_iter().filter(|facts| !is_held(facts) && is_named(facts)).collect())
}

fn write(context: &Context, project: &Project, views: &[Facts], args: &AdoptArgs) -> Result<()> {
    let scenic = match &args.scenic {
        Some(folder) if !folder.is_dir() => {
            return Err(Error::new(ErrorKind::Usage, format!("there is no folder {}", folder.display())));
        }
        Some(folder) => adopt::scenic_texts(folder),
        None => Default::default(),
    };
    for facts in views {
        let (path, text) = adopt::file_of(facts, adopt::own_text(&scenic, facts));
        let full = project.views_dir().join(&path);
        let shown = loading::shown(&full);
        if args.dry_run {
            context.output.print(&format!("-- {shown}\n{text}\n"));
            continue;
        }
        let written = full.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            use std::io::Write as _;
            std::fs::File::create_new(&full)?.write_all(text.as_bytes())
        });
        written.map_err(|error| Error::new(ErrorKind::Config, format!("writing {shown}: {error}")))?;
        context.output.notice(&format!("{shown}: written"));
    }
    Ok(())
}
