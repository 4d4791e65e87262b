//! `pgtide views check`: files and views, every finding at once. Writes nothing that stays.

use clap::Args;

use super::place::{self, Place};
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::Result;
use crate::exit;
use crate::report::Format;
use crate::report::checklist::{self, Level, Line};
use crate::report::number::counted;
use crate::views::diff::Class;
use crate::views::files::Folder;
use crate::views::survey::{self, Asked};
use crate::views::{apply, lint};

/// `views check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Look at the files alone, without a server
    #[arg(long)]
    offline: bool,
}

/// Functions below a materialized view that look names up when they run, by a path that is not theirs.
const PATH_FUNCTIONS: &str = "
select distinct n.nspname::text || '.' || c.relname::text, p.oid::pg_catalog.regprocedure::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_rewrite w on w.ev_class = c.oid and w.ev_type = '1'
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid
                           and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
join pg_catalog.pg_proc p on p.oid = d.refobjid
join pg_catalog.pg_language l on l.oid = p.prolang
where c.relkind = 'm' and l.lanname not in ('internal', 'c')
  and p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
  and (pg_catalog.to_jsonb(p) ->> 'prosqlbody') is null
  and not exists (select from pg_catalog.unnest(p.proconfig) s where s like 'search_path=%')
order by 1, 2";

/// Tables that the owner of a materialized view, as whom it is refreshed, may not read.
const UNREADABLE: &str = "
select distinct n.nspname::text || '.' || c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text,
       d.refobjid::pg_catalog.regclass::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_rewrite w on w.ev_class = c.oid and w.ev_type = '1'
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid
                           and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> c.oid
where c.relkind = 'm' and not pg_catalog.has_any_column_privilege(c.relowner, d.refobjid, 'select')
order by 1, 3";

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let (mut folder, root) = place::folder(&project);
    let mut lines = offline(&folder, &root);
    if !args.offline {
        let look = Box::pin(online(&project, &mut folder, &mut lines));
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

fn offline(folder: &Folder, root: &str) -> Vec<Line> {
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

async fn online(project: &Project, folder: &mut Folder, lines: &mut Vec<Line>) -> Result<()> {
    let Place { session, ledger, .. } = Place::look(project, "pgtide/views check").await?;
    let plan = survey::plan(&session, ledger.as_ref(), folder, &Asked::default()).await?;
    for step in &plan.steps {
        let name = step.name.to_string();
        let line = match step.class {
            Class::Unchanged => continue,
            Class::Failed | Class::Blocked => Line::new(Level::Finding, name, step.cause.clone()),
            class => Line::new(Level::Note, name, format!("{}: {}", class.word(), step.cause)),
        };
        lines.push(Line { details: step.details.clone(), ..line });
    }
    if let Some(ledger) = &ledger {
        for schema in apply::leftovers(&session, ledger).await? {
            let message = format!("schema {schema} was left by an apply that was interrupted");
            lines.push(
                Line::new(Level::Note, "database", message).with_hint("the next views apply removes it"),
            );
        }
    }
    for row in session.query("looking for functions that need a path", PATH_FUNCTIONS, &[]).await? {
        let (view, function): (String, String) = (row.get(0), row.get(1));
        let message = format!(
            "reads through {function}, which has no search_path of its own: from PostgreSQL 17 on a refresh may not find what it names"
        );
        let hint = format!("alter function {function} set search_path = ...");
        lines.push(Line::new(Level::Note, view, message).with_hint(hint));
    }
    for row in session.query("looking for rights of owners", UNREADABLE, &[]).await? {
        let (view, owner, table): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let line = Line::new(
            Level::Finding,
            view,
            format!("its owner {owner}, as whom it is refreshed, may not read {table}"),
        );
        lines.push(line.with_hint(format!("grant select on {table} to {owner};")));
    }
    Ok(())
}
