//! `pgtide init`: looks at a live table and writes a first job, with `pgtide.toml` if there is none.
//!
//! Never overwrites a file and never writes a secret: URLs become variables. `guess` decides how the
//! table is best copied, `ends` what the files call its two servers, `files` writes.

mod ends;
mod files;
mod guess;

use std::path::Path;

use super::args::InitArgs;
use super::{Context, loading, stoppable};
use crate::config::connection::ConnectionSpec;
use crate::config::project::PROJECT_FILE;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::postgres::catalog::{self, Relation, RelationKind};
use crate::postgres::connect::{Session, Side};
use crate::postgres::time_column;
use crate::report::paint::escaped;
use ends::Ends;
use files::Files;
use guess::Guess;

pub(super) async fn run(args: InitArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let job = job_name(&args.table.table, args.table.schema.as_deref());
    let file = project.jobs_dir().join(format!("{job}.toml"));
    refuse_existing(&file, &job)?;
    let ends = Ends::of(&project);
    let spec = project.connection(&ends.source.place)?;
    let (relation, guess) = stoppable(context, look(&args, &spec)).await?;
    let files = Files { job: &job, relation: &relation, guess: &guess, ends: &ends };
    let mut written = Vec::new();
    if project.file().is_none() {
        let path = project.root().join(PROJECT_FILE);
        files::write_new(&path, &files.project())?;
        written.push((loading::shown(&path), "the connections".to_owned()));
    }
    files::write_new(&file, &files.job())?;
    written.push((loading::shown(&file), guess.summary(&relation)));
    let to = project.connection(&ends.destination.place).ok();
    project.warnings().iter().for_each(|warning| context.output.notice(warning));
    context.output.print(&outcome(&files, &written, (&spec, to), project.file().is_some()));
    Ok(exit::DONE)
}

/// Looks at the table, and finds out where its time begins.
async fn look(args: &InitArgs, spec: &ConnectionSpec) -> Result<(Relation, Guess)> {
    let session = Session::open(spec, Side::Source, "pgtide/init").await?;
    let relation = catalog::find_relation(&session, &args.table).await?;
    if relation.kind == RelationKind::Sequence {
        let what = format!("{} is a sequence: there are no rows to copy", relation.name);
        return Err(Error::new(ErrorKind::Preflight, what));
    }
    let mut guess = Guess::of(&relation);
    let column = guess.time_column.as_ref().and_then(|name| relation.column(name));
    if let Some(column) = column {
        // Without the right to read it, the job is written all the same; `check` tells.
        guess.start_date = time_column::first_date(&session, &relation, column).await.unwrap_or_default();
    }
    Ok((relation, guess))
}

/// A job's name made of a table's: only the letters that a job's name may have.
fn job_name(table: &str, schema: Option<&str>) -> String {
    const TAKEN: [&str; 4] = ["list", "pause", "resume", "cancel"];
    let prefix =
        if TAKEN.contains(&table) { format!("{}_", schema.unwrap_or("table")) } else { String::new() };
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let name: String = prefix.chars().chain(table.chars()).map(allowed).collect();
    if name.starts_with('-') { format!("_{name}") } else { name }
}

fn refuse_existing(file: &Path, job: &str) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let what = format!("{} is there already, and is not overwritten", loading::shown(file));
    Err(Error::new(ErrorKind::Usage, what)
        .with_hint(format!("edit it, or move it away; `pgtide check {job}` tests it")))
}

/// What was written, and what to type next.
fn outcome(
    files: &Files<'_>,
    written: &[(String, String)],
    (spec, to): (&ConnectionSpec, Option<ConnectionSpec>),
    had_project: bool,
) -> String {
    let mut text = String::new();
    let width = written.iter().map(|(file, _)| file.chars().count()).max().unwrap_or(0);
    for (file, what) in written {
        text.push_str(&format!("wrote  {file:width$}  {}\n", escaped(what)));
    }
    text.push_str("\nNext:\n");
    let password = if spec.password.is_some() { "   # and the password, here or in ~/.pgpass" } else { "" };
    let source = files.ends.source.export(&ends::without_password(spec), had_project);
    let to = to.as_ref().map_or_else(|| ends::EXAMPLE.to_owned(), ends::without_password);
    let destination = files.ends.destination.export(&to, had_project);
    let exports = [source.map(|line| format!("{line}{password}")), destination];
    for line in exports.into_iter().flatten() {
        text.push_str(&format!("  {}\n", escaped(&line)));
    }
    for (command, what) in files.commands() {
        text.push_str(&format!("  {command:<width$}  {what}\n", width = 16 + files.job.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_name_has_only_letters_that_it_may_have() {
        for (table, name) in [
            ("flights", "flights"),
            ("Odd Name/..", "Odd_Name___"),
            ("-x", "_-x"),
            ("größe", "gr__e"),
            (".hidden", "_hidden"),
            ("list", "public_list"),
        ] {
            assert_eq!(job_name(table, Some("public")), name);
        }
    }
}
