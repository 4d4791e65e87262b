//! `pgtide check`: configuration, connections, rights, tables and types: every finding at once.
//!
//! Nothing stops it: what cannot be looked at is a finding, and the rest is looked at all the same.
//! `places` opens the servers, `fit` holds each job against its two, `views` says of views what needs no
//! trial; nothing is written anywhere.

mod fit;
mod places;
mod views;

use serde_json::{Value, json};

use super::args::CheckArgs;
use super::{Context, loading, stoppable};
use crate::config::finding::Finding;
use crate::config::job::Job;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::postgres::catalog::{Grant, grants_sql};
use crate::report::checklist::{self, Level, Line};
use crate::report::number::counted;
use crate::report::{Format, Palette};
use places::Places;

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::lenient_project(context)?;
    let mut checklist = Checklist::default();
    let jobs = configuration(&mut checklist, &project, &args.jobs)?;
    let look = async {
        let is_whole = args.jobs.is_empty();
        let views = if is_whole { views::destination(&mut checklist, &project) } else { None };
        let places = Places::open(&mut checklist, &project, (&jobs, views.as_deref()), !is_whole).await;
        for job in &jobs {
            // A job's look at its servers is a large future.
            Box::pin(fit::check(&mut checklist, (context, &project), job, &places)).await;
        }
        if is_whole && project.has_views() {
            Box::pin(views::check(&mut checklist, &project, views.as_deref(), &places)).await;
        }
        Ok(())
    };
    stoppable(context, look).await?;
    for warning in project.warnings() {
        checklist.push(Line::new(Level::Note, "connections", warning));
    }
    checklist.show(context, args.print_grants);
    Ok(checklist.exit_code())
}

/// What was found so far.
#[derive(Debug, Default)]
struct Checklist {
    lines: Vec<Line>,
    /// What each server's role lacks, by the place of the server.
    grants: Vec<(String, Vec<Grant>)>,
}

impl Checklist {
    fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    fn error(&mut self, subject: &str, error: &Error) {
        self.push(Line::of_error(subject, error));
    }

    fn findings(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.level == Level::Finding)
    }

    /// Tells which rights a server's role lacks, and keeps them, each once, for `--print-grants`.
    fn lacks(&mut self, place: &str, (subject, before): (&str, &str), grants: &[Grant]) {
        let Some(first) = grants.first() else { return };
        let role = &first.role;
        let what = format!("{before} {role} lacks rights; as an administrator:");
        let mut line = Line::new(Level::Finding, subject, what);
        line.details = grants.iter().map(|grant| format!("{grant};")).collect();
        self.push(line);
        let known = match self.grants.iter_mut().position(|(other, _)| other == place) {
            Some(found) => &mut self.grants[found].1,
            None => {
                self.grants.push((place.to_owned(), Vec::new()));
                &mut self.grants.last_mut().expect("it was just added").1
            }
        };
        for grant in grants {
            if !known.contains(grant) {
                known.push(grant.clone());
            }
        }
    }

    /// 75 if all that is wrong may pass, 78 if anything will not.
    fn exit_code(&self) -> u8 {
        let codes: Vec<u8> = self.findings().filter_map(|line| Some(line.kind?.policy().exit_code)).collect();
        match codes.as_slice() {
            [] => exit::DONE,
            codes if codes.iter().all(|code| *code == exit::TEMPORARY) => exit::TEMPORARY,
            _ => exit::CONFIGURATION,
        }
    }

    fn summary(&self, print_grants: bool) -> String {
        match self.findings().count() {
            0 => "all is well\n".to_owned(),
            number => {
                let grants = if self.grants.is_empty() || print_grants {
                    ""
                } else {
                    "; --print-grants prints the missing rights as SQL"
                };
                format!("{}{grants}\n", counted(number as u64, "finding"))
            }
        }
    }

    fn show(&self, context: &Context, print_grants: bool) {
        let output = &context.output;
        let text = |palette: Palette| {
            format!(
                "{}\n{}",
                checklist::text(&self.lines, output.width(), palette),
                self.summary(print_grants)
            )
        };
        match output.format {
            Format::Json => output.print(&format!("{}\n", self.object())),
            // stdout is for psql then.
            Format::Text if print_grants => {
                output.screen.print(&text(output.err));
                output.print(&self.grants_text());
            }
            Format::Text => output.print(&text(output.out)),
        }
    }

    fn grants_text(&self) -> String {
        if self.grants.is_empty() {
            return "-- no right is missing\n".to_owned();
        }
        let part = |(place, grants): &(String, Vec<Grant>)| {
            format!("-- as an administrator of {place}:\n{}", grants_sql(grants))
        };
        self.grants.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    fn object(&self) -> Value {
        let lines: Vec<_> = self.lines.iter().map(checklist::json).collect();
        let grants: Vec<_> = self
            .grants
            .iter()
            .map(|(place, grants)| json!({ "server": place, "sql": grants_sql(grants) }))
            .collect();
        json!({ "exit_code": self.exit_code(), "lines": lines, "grants": grants })
    }
}

/// Tells what is wrong in files and variables, and gives the jobs that can be read.
///
/// # Errors
/// `Usage`, when a job is named that there is not.
fn configuration(checklist: &mut Checklist, project: &Project, names: &[String]) -> Result<Vec<Job>> {
    let all = names.is_empty();
    if all {
        for finding in project.findings() {
            checklist.push(of_finding(&finding));
        }
    }
    let known = project.job_names();
    let mut jobs = Vec::new();
    for name in if all { &known } else { names } {
        match project.job(name) {
            Ok(job) => jobs.push(job),
            Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
            Err(_) if all => {}
            Err(error) => checklist.error(name, &error),
        }
    }
    let is_well = checklist.findings().next().is_none();
    let overrides = project.overrides();
    match project.file() {
        _ if jobs.is_empty()
            && is_well
            && overrides.source.is_none()
            && overrides.destination.is_none()
            && !project.has_views() =>
        {
            let what = format!("there are no jobs in {}", loading::shown(&project.jobs_dir()));
            let line = Line::new(Level::Finding, "project", what);
            checklist.push(line.with_hint("pgtide init TABLE -s URL writes a first one"));
        }
        Some(file) if is_well => {
            let what = format!("{}, {}", loading::shown(file), counted(jobs.len() as u64, "job"));
            checklist.push(Line::new(Level::Ok, "project", what));
        }
        _ => {}
    }
    Ok(jobs)
}

fn of_finding(finding: &Finding) -> Line {
    let key = finding.key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default();
    let (subject, line) = match &finding.place {
        Some(place) if place.line > 0 => (place.file.clone(), format!("line {}: ", place.line)),
        Some(place) => (place.file.clone(), String::new()),
        None => ("project".to_owned(), String::new()),
    };
    let mut line = Line::new(Level::Finding, subject, format!("{line}{key}{}", finding.message));
    line.kind = Some(ErrorKind::Config);
    line
}
