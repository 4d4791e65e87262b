//! `pgtide views`: materialized views as files, refreshed in dependency order when they are stale.
//!
//! One file for each verb, with its arguments.

mod adopt;
mod apply;
mod check;
pub(super) mod clock;
mod drop;
mod graph;
mod place;
mod plan;
mod refresh;
mod restore;
mod status;

use clap::{Args, Subcommand};

use super::Context;
pub(super) use check::{offline, rules};
pub(super) use place::folder;

/// `views`.
#[derive(Debug, Args)]
pub struct ViewsArgs {
    /// The verb.
    #[command(subcommand)]
    command: ViewsCommand,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum ViewsCommand {
    /// What is fresh or stale, and why
    Status(status::StatusArgs),
    /// Refresh what is stale, in dependency order
    Refresh(refresh::RefreshArgs),
    /// Draw what reads what
    Graph(graph::GraphArgs),
    /// What apply would do to the views of the files, and why
    Plan(plan::PlanArgs),
    /// Make the views as the files say
    Apply(apply::ApplyArgs),
    /// Drop a view, its definition kept
    Drop(drop::DropArgs),
    /// Bring back what was dropped, as it was
    Restore(restore::RestoreArgs),
    /// Test files and views: every finding
    Check(check::CheckArgs),
    /// Write files from views that exist
    Adopt(adopt::AdoptArgs),
}

pub(super) async fn run(args: ViewsArgs, context: &Context) -> anyhow::Result<u8> {
    match args.command {
        ViewsCommand::Status(args) => status::run(args, context).await,
        ViewsCommand::Refresh(args) => refresh::run(args, context).await,
        ViewsCommand::Graph(args) => graph::run(args, context).await,
        ViewsCommand::Plan(args) => plan::run(args, context).await,
        ViewsCommand::Apply(args) => apply::run(args, context).await,
        ViewsCommand::Drop(args) => drop::run(args, context).await,
        ViewsCommand::Restore(args) => restore::run(args, context).await,
        ViewsCommand::Check(args) => check::run(args, context).await,
        ViewsCommand::Adopt(args) => adopt::run(args, context).await,
    }
}
