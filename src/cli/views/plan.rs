//! `pgtide views plan`: what apply would do to the views of the files, and why. Changes nothing.

use clap::Args;

use super::place::{self, Place};
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::Result;
use crate::exit;
use crate::name::TableName;
use crate::report::{Format, view_plan};
use crate::views::diff::{Class, Wishes};
use crate::views::survey::{self, Asked, Plan};

const EXAMPLES: &str = "\
Examples:
  pgtide views plan                      every object, what would be done, and why
  pgtide views plan --exit-code          1 if there is anything to apply: for CI

A comment or a blank in a file never rebuilds a view: the server says whether a definition differs.";

/// `views plan`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanArgs {
    /// Exit 1 if there is anything to apply or to decide
    #[arg(long)]
    exit_code: bool,
    /// Which changes are asked for.
    #[command(flatten)]
    asked: AskedArgs,
}

/// What `plan` and `apply` are asked beside the files.
#[derive(Debug, Args)]
pub(super) struct AskedArgs {
    /// Record a view as it is, and apply nothing to it
    #[arg(long, value_name = "NAME")]
    accept: Vec<TableName>,
    /// Apply a file over a view that was changed outside
    #[arg(long, value_name = "NAME")]
    revert: Vec<TableName>,
    /// Drop views whose files are gone
    #[arg(long)]
    prune: bool,
}

impl From<AskedArgs> for Asked {
    fn from(args: AskedArgs) -> Self {
        let AskedArgs { accept, revert, prune } = args;
        Self { wishes: Wishes { accept, revert }, prune }
    }
}

pub(super) async fn run(args: PlanArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let asked = Asked::from(args.asked);
    let plan = stoppable(context, look(context, &project, &asked)).await?;
    let is_due = plan.steps.iter().any(|step| step.class != Class::Unchanged);
    let has_failed = plan.of(|class| class == Class::Failed).next().is_some();
    Ok(match (has_failed, args.exit_code && is_due) {
        (true, _) => exit::CONFIGURATION,
        (false, true) => exit::FAILED,
        (false, false) => exit::DONE,
    })
}

/// Makes the plan and shows it.
pub(super) async fn look(context: &Context, project: &Project, asked: &Asked) -> Result<Plan> {
    let (mut folder, files) = place::folder(project);
    place::refuse_findings(&folder)?;
    let Place { session, ledger, .. } = Place::look(project, "pgtide/views plan").await?;
    let plan = survey::plan(&session, ledger.as_ref(), &mut folder, asked).await?;
    for note in &folder.notes {
        context.output.notice(note);
    }
    show(context, &plan, (&session.server().name, &files));
    Ok(plan)
}

/// Shows a plan.
pub(super) fn show(context: &Context, plan: &Plan, places: (&str, &str)) {
    let output = &context.output;
    match output.format {
        Format::Text => output.print(&view_plan::text(plan, places, output.verbose, output.out)),
        Format::Json => view_plan::json(plan).iter().for_each(|line| output.print(&format!("{line}\n"))),
    }
}
