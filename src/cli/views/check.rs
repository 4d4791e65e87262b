//! `pgtide views check`: files and views, every finding at once. Writes nothing that stays.
//!
//! What can be said without a server is said by `pgtide check` too; `online` asks the server.

mod online;

pub(in crate::cli) use online::rules;

use clap::Args;

use super::place;
use crate::cli::{Context, loading, stoppable};
use crate::exit;
use crate::report::Format;
use crate::report::checklist::{self, Level, Line};
use crate::report::number::counted;
use crate::views::files::Folder;
use crate::views::lint;

const EXAMPLES: &str = "\
Examples:
  pgtide views check                     files, and the views of the database
  pgtide views check --offline           files alone: for a pre-commit hook

Findings (x) are wrong: exit 78. Notes are worth knowing. Each comes with what to do.";

/// `views check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Look at the files alone, without a server
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let (mut folder, root) = place::folder(&project);
    let mut lines = offline(&folder, &root);
    if !args.offline {
        let look = Box::pin(online::check(&project, &mut folder, &mut lines));
        if let Err(error) = stoppable(context, look).await {
            lines.push(Line::of_error("database", &error));
        }
    }
    let wrong = lines.iter().filter(|line| line.level == Level::Finding).count();
    match context.output.format {
        Format::Text => {
            context.output.print(&checklist::text(&lines, context.output.width(), context.output.out));
            let verdict =
                if wrong == 0 { "nothing is wrong".to_owned() } else { counted(wrong as u64, "finding") };
            context.output.print(&format!("\n{verdict}\n"));
        }
        Format::Json => {
            lines.iter().for_each(|line| context.output.print(&format!("{}\n", checklist::json(line))))
        }
    }
    Ok(if wrong == 0 { exit::DONE } else { exit::CONFIGURATION })
}

/// What the files say by themselves.
pub(in crate::cli) fn offline(folder: &Folder, root: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for finding in &folder.findings {
        lines.push(Line::new(Level::Finding, "files", finding.to_string()));
    }
    for note in &folder.notes {
        lines.push(Line::new(Level::Note, "files", note.clone()));
    }
    for remark in lint::remarks(folder) {
        let level = if remark.is_wrong { Level::Finding } else { Level::Note };
        lines.push(Line::new(level, remark.path, remark.message));
    }
    if folder.findings.is_empty() {
        lines.insert(
            0,
            Line::new(
                Level::Ok,
                "files",
                format!("{} in {root}", counted(folder.files.len() as u64, "file")),
            ),
        );
    }
    lines
}
