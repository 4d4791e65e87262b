//! `pgtide views status`: what is fresh or stale, and why. Reads and never writes.

use clap::Args;

use super::place::Place;
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::Result;
use crate::exit;
use crate::name::TableName;
use crate::report::{Format, views as shown};
use crate::views::options::ViewRules;
use crate::views::outlook::Outlook;
use crate::views::refresh::{self, Request, Scope};
use crate::views::stale::Freshness;

const EXAMPLES: &str = "\
Examples:
  pgtide views status                    a line for each view
  pgtide views status mart.sales         and what it reads
  pgtide views status --tree
  pgtide views status --exit-code        for a monitor";

/// `views status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Views by name, with what they read; all without
    #[arg(value_name = "NAME")]
    names: Vec<TableName>,
    /// What each reads below it, ordinary views too
    #[arg(long)]
    tree: bool,
    /// Exit 1 if one has failed, holds no rows, or is stale for longer than its max_age: for monitors
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(args: StatusArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    Ok(Box::pin(stoppable(context, show(&args, context, &project))).await?)
}

async fn show(args: &StatusArgs, context: &Context, project: &Project) -> Result<u8> {
    let place = Place::look(project, "pgtide/status").await?;
    let rules = &place.rules(project).await?;
    let outlook = Outlook::read(&place.session, place.ledger.as_ref(), rules).await?;
    let scope = match &args.names[..] {
        [] => Scope::All,
        names => Scope::Named { names: names.to_vec(), upstream: true, downstream: false },
    };
    let request = Request::of(scope);
    let members = refresh::plan(&outlook, rules, &request, outlook.at)?;
    let output = &context.output;
    let oids: Vec<u32> = members.iter().map(|member| member.oid).collect();
    let mut next = refresh::previews(&place.session, &outlook, rules, (&oids, None)).await?;
    let line = |oid: &u32| shown::Line::of(&outlook, rules, *oid, next.remove(oid).and_then(Result::ok));
    let lines: Vec<shown::Line> = oids.iter().map(line).collect();
    match output.format {
        Format::Json => {
            lines.iter().for_each(|line| output.print(&format!("{}\n", shown::json(line))));
        }
        Format::Text if args.tree => {
            output.print(&shown::tree(&outlook, &oids, output.out));
        }
        Format::Text => output.print(&shown::text(&lines, output.width(), output.out)),
    }
    for cycle in outlook.catalog.graph.cycles() {
        let path: Vec<String> = cycle.iter().map(|oid| outlook.name(*oid)).collect();
        output.notice(&format!("these read each other: {}", path.join(" -> ")));
    }
    let rings = members.iter().any(|member| wants_attention(&outlook, rules, member.oid));
    Ok(if args.exit_code && rings { exit::FAILED } else { exit::DONE })
}

/// Whether a monitor should ring.
fn wants_attention(outlook: &Outlook, rules: &ViewRules, oid: u32) -> bool {
    let max_age = outlook.options(oid, rules).max_age;
    let refreshed_at = outlook.records.get(&oid).and_then(|record| record.refreshed_at);
    let age = refreshed_at.and_then(|at| (outlook.at - at).to_std().ok());
    match outlook.verdicts[&oid].freshness {
        Freshness::Failed | Freshness::Unpopulated => true,
        Freshness::Fresh | Freshness::Refreshing => false,
        Freshness::Stale | Freshness::Unknown | Freshness::TimeDependent => match (max_age, age) {
            (Some(max), Some(age)) => age > max,
            _ => true,
        },
    }
}
