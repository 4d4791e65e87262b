//! `pgtide views apply`: makes the views as the files say.

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::place::{self, Place};
use super::plan::{self, AskedArgs};
use crate::cli::workshop;
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::ledger::Owner;
use crate::report::number::duration;
use crate::report::{Format, Output, view_plan};
use crate::views::apply::{self, Applier, Hands, Outcome, Said, Strategy};
use crate::views::shown::{self, Shown};
use crate::views::survey::{self, Asked, Plan};

const EXAMPLES: &str = "\
Examples:
  pgtide views apply                     what plan shows
  pgtide views apply --dry-run           the plan alone
  pgtide views apply --prune             drop also what has no file any more
  pgtide views apply --revert mart.sales apply the file over a change made outside
  pgtide views plan -o json > plan.json; pgtide views apply --plan plan.json
                                         what was shown, or nothing: exit 78 if it is another plan by now

New versions are built beside and change places in one short transaction: readers wait for that alone.
Views above are pointed at the new ones; nothing is ever dropped with CASCADE. What fails leaves what was
there, and the same command again is all it needs.";

/// `views apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ApplyArgs {
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// beside: build, then swap; in-transaction: all of a change in one transaction
    #[arg(long, value_name = "HOW", default_value = "beside", hide_possible_values = true)]
    strategy: StrategyArg,
    /// Go on only if the plan is still the one in this file, written by views plan -o json
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    plan: Option<PathBuf>,
    /// Views built at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    jobs: usize,
    /// Which changes are asked for.
    #[command(flatten)]
    asked: AskedArgs,
}

/// `--strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyArg {
    /// In steps
    Beside,
    /// In one transaction
    InTransaction,
}

pub(super) async fn run(args: ApplyArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let ApplyArgs { dry_run, strategy, plan, jobs, asked } = args;
    let asked = Asked::from(asked);
    if dry_run {
        stoppable(context, plan::look(context, &project, &asked)).await?;
        return Ok(exit::DONE);
    }
    let strategy = match strategy {
        StrategyArg::Beside => Strategy::Beside,
        StrategyArg::InTransaction => Strategy::InTransaction,
    };
    let shown = plan.as_deref().map(read_plan).transpose()?;
    let work = work(context, &project, (&asked, shown.as_deref()), (strategy, jobs));
    let (plan, outcome) = Box::pin(stoppable(context, work)).await?;
    finish(&context.output, &plan, &outcome);
    let waits = plan.of(|class| class.needs_a_person()).next().is_some();
    Ok(match (outcome.failed.is_empty() && !waits, outcome.done.is_empty()) {
        (false, _) => exit::FAILED,
        (true, true) => exit::NOTHING_TO_DO,
        (true, false) => exit::DONE,
    })
}

async fn work(
    context: &Context,
    project: &Project,
    (asked, shown): (&Asked, Option<&[Shown]>),
    (strategy, jobs): (Strategy, usize),
) -> Result<(Plan, Outcome)> {
    let (mut folder, files) = place::folder(project);
    place::refuse_findings(&folder)?;
    let (Place { spec, session, .. }, ledger) = Place::work(project, "pgtide/views apply").await?;
    let (owner, listener) = (owner(), listener(context));
    apply::lock(&session, &ledger).await?;
    let applier = Applier { strategy, ..Applier::beside(&session, &ledger, &owner, &listener) };
    applier.clean().await?;
    let plan = survey::plan(&session, Some(&ledger), &mut folder, asked).await?;
    plan::show(context, &plan, (&session.server().name, &files));
    if let Some(shown) = shown {
        shown::require(shown, &plan)?;
    }
    let jobs = jobs.min(spec.max_connections.unwrap_or(usize::MAX)).max(1);
    let hands = Hands { spec: &spec, jobs, show_values: context.global.show_values };
    let outcome = Box::pin(applier.apply(&plan, &folder, hands)).await?;
    Ok((plan, outcome))
}

/// Reads a plan that was shown.
fn read_plan(path: &Path) -> Result<Vec<Shown>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(ErrorKind::Usage, format!("reading {}: {error}", path.display())))?;
    shown::read(&text)
}

pub(super) fn owner() -> Owner {
    workshop::owner(&uuid::Uuid::new_v4().to_string())
}

/// Says what happens, as it happens.
pub(super) fn listener(context: &Context) -> impl Fn(Said) + Sync + use<> {
    let output = context.output.clone();
    move |said| say(&output, &said)
}

/// To stderr for people, to stdout for programs.
fn say(output: &Output, said: &Said) {
    if output.format == Format::Json {
        output.print(&format!("{}\n", object(said)));
        return;
    }
    output.notice(&match said {
        Said::Started { name, what } => format!("{name}: {what}"),
        Said::Built { name, elapsed } => format!("{name}: built, {}", duration(*elapsed)),
        Said::Waiting { name, next_try } => format!("{name}: readers hold it; try {next_try} comes"),
        Said::Done { name, class, elapsed } => {
            format!("{name}: {} done, {}", class.word(), duration(*elapsed))
        }
        Said::Failed { name, error } => format!("{name}: failed: {error}"),
        Said::Cleaned { what } => format!("{what}: left by an apply that was interrupted, removed"),
    });
}

fn object(said: &Said) -> serde_json::Value {
    match said {
        Said::Started { name, what } => {
            json!({ "event": "view_started", "view": name.to_string(), "what": what })
        }
        Said::Built { name, elapsed } => {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            json!({ "event": "view_built", "view": name.to_string(), "elapsed_ms": elapsed_ms })
        }
        Said::Waiting { name, next_try } => {
            json!({ "event": "view_waiting", "view": name.to_string(), "next_try": next_try })
        }
        Said::Done { name, class, elapsed } => {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            json!({ "event": "view_applied", "view": name.to_string(), "class": class.word(), "elapsed_ms": elapsed_ms })
        }
        Said::Failed { name, error } => {
            json!({ "event": "view_failed", "view": name.to_string(), "error": error })
        }
        Said::Cleaned { what } => json!({ "event": "view_cleaned", "schema": what }),
    }
}

fn finish(output: &Output, plan: &Plan, outcome: &Outcome) {
    if output.format == Format::Json {
        let failed: Vec<_> = outcome
            .failed
            .iter()
            .map(|(name, error)| json!({ "view": name.to_string(), "error": error }))
            .collect();
        let waiting = plan.of(|class| class.needs_a_person()).count();
        output.print(&format!("{}\n", json!({ "event": "views_applied", "applied": outcome.done.len(), "failed": failed, "waiting": waiting })));
        return;
    }
    let mut text = format!("{}\n", view_plan::outcome(outcome.done.len(), outcome.failed.len()));
    for (name, error) in &outcome.failed {
        text.push_str(&format!("x {name}  {}\n", crate::report::paint::escaped(error)));
    }
    output.print(&text);
}
