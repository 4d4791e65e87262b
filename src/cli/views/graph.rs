//! `pgtide views graph`: draw what reads what, for a terminal, a browser or another program.

use clap::{Args, ValueEnum};

use super::place::Place;
use crate::cli::{Context, loading, stoppable};
use crate::error::Result;
use crate::exit;
use crate::name::TableName;
use crate::report::{Format, graph as drawn};
use crate::views::outlook::Outlook;
use crate::views::refresh::{self, Request, Scope};

const EXAMPLES: &str = "\
Examples:
  pgtide views graph                               layers, and what each reads
  pgtide views graph mart.sales                    what it reads and what reads it
  pgtide views graph --format svg > views.svg      for a browser
  pgtide views graph --format mermaid";

/// `views graph`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GraphArgs {
    /// Views by name, with all below and above them; all without
    #[arg(value_name = "NAME")]
    names: Vec<TableName>,
    /// text, mermaid, dot or svg
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    format: FormatArg,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// For a terminal
    Text,
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// For a browser
    Svg,
}

pub(super) async fn run(args: GraphArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let looked = async {
        let place = Place::look(&project, "pgtide/graph").await?;
        let rules = &place.rules(&project).await?;
        let outlook = Outlook::read(&place.session, place.ledger.as_ref(), rules).await?;
        let scope = match &args.names[..] {
            [] => Scope::All,
            names => Scope::Named { names: names.to_vec(), upstream: true, downstream: true },
        };
        let request = Request::of(scope);
        let members = refresh::plan(&outlook, rules, &request, outlook.at)?;
        Result::Ok((members.into_iter().map(|m| m.oid).collect::<Vec<u32>>(), outlook))
    };
    let (members, outlook) = Box::pin(stoppable(context, looked)).await?;
    let picture = drawn::Picture::of(&outlook, &members);
    let output = &context.output;
    output.print(&match (output.format, args.format) {
        (Format::Json, _) => format!("{}\n", picture.json()),
        (_, FormatArg::Text) => picture.text(output.out),
        (_, FormatArg::Mermaid) => picture.mermaid(),
        (_, FormatArg::Dot) => picture.dot(),
        (_, FormatArg::Svg) => picture.svg(),
    });
    Ok(exit::DONE)
}
