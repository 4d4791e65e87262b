//! `pgtide plan`, and `--dry-run`: what would happen, and why; nothing changes.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::args::RunArgs;
use super::loading::{self, Task};
use super::workshop::Workshop;
use super::{Context, run};
use crate::columns::Expression;
use crate::config::job::Job;
use crate::config::project::Project;
use crate::engine::Outlook;
use crate::event::Events;
use crate::exit;
use crate::interval::DataInterval;
use crate::plan::{Action, Planned};
use crate::report::Format;
use crate::report::number::grouped;

/// Intervals listed before the middle is left out.
const LISTED: usize = 40;

pub(super) async fn run(args: RunArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, Some(&args.load))?;
    let tasks = run::tasks(&args, &project)?;
    show(context, &project, tasks).await
}

/// Prints the outlook of each task.
pub(super) async fn show(context: &Context, project: &Project, tasks: Vec<Task>) -> anyhow::Result<u8> {
    let mut objects = Vec::new();
    for Task { job, request, options } in tasks {
        let now = Utc::now();
        crate::plan::check(&job, &request, now)?;
        let job = job.at(now);
        let workshop = Workshop::new(context, project, "plan");
        let engine = workshop.engine(&job, Events::silent(), options)?;
        let outlook = engine.look(&job, &request, now).await?;
        match context.output.format {
            Format::Text => context.output.print(&text(&job, &outlook, context.output.verbose)?),
            Format::Json => objects.push(object(&job, &outlook)?),
        }
    }
    if context.output.format == Format::Json {
        context.output.print(&format!("{:#}\n", Value::Array(objects)));
    }
    Ok(exit::DONE)
}

fn text(job: &Job, outlook: &Outlook, verbose: bool) -> anyhow::Result<String> {
    let mut out = format!("{}  {} -> {}\n", job.name, job.source, job.destination);
    let load = outlook.plan.to_load().count();
    out.push_str(&format!(
        "{} to load, {} left alone\n\n",
        grouped(load as u64),
        grouped((outlook.plan.intervals.len() - load + outlook.plan.done) as u64)
    ));
    push_intervals(&mut out, job, &outlook.plan.intervals, verbose);
    for note in &outlook.plan.notes {
        out.push_str(&format!("  {note}\n"));
    }
    if verbose && !outlook.plan.other_definition.is_empty() {
        let keys: Vec<_> = outlook.plan.other_definition.iter().map(|i| key(job, i)).collect();
        out.push_str(&format!("  of another definition: {}\n", keys.join(" ")));
    }
    if let Some((interval, resolved)) = &outlook.resolved {
        push_columns(&mut out, resolved, verbose);
        for statement in resolved.create_statements() {
            out.push_str(&format!("\nwould be made on {}:\n{}\n", job.destination, indented(statement)));
        }
        out.push_str(&format!(
            "\nquery of the first interval:\n{}\n",
            indented(&resolved.sql(job, interval)?)
        ));
        for notice in resolved.notices() {
            out.push_str(&format!("\nnotice: {notice}"));
        }
        for table in &outlook.scans {
            out.push_str(&format!(
                "\nnotice: each interval reads all of {table}; an index on the condition's column helps"
            ));
        }
    }
    let budget = &outlook.budget;
    out.push_str(&format!(
        "\nconnections: {} on {}, {} on {} ({} at once, {} writers each)\n",
        budget.source, job.source, budget.destination, job.destination, budget.parallel, budget.writers
    ));
    Ok(out)
}

fn push_intervals(out: &mut String, job: &Job, intervals: &[Planned], verbose: bool) {
    let all = verbose || intervals.len() <= LISTED;
    for (index, planned) in intervals.iter().enumerate() {
        if !all && index == LISTED / 2 {
            out.push_str(&format!("  ... {} more, with -v\n", intervals.len() - LISTED));
        }
        if all || index < LISTED / 2 || index >= intervals.len() - LISTED / 2 {
            out.push_str(&format!("  {}  {:6}  {}\n", planned.key, word(planned.action), planned.reason));
            if let (Some(calendar), true) = (job.calendar, verbose) {
                out.push_str(&format!("      {}\n", calendar.bounds_text(&planned.interval)));
            }
        }
    }
}

fn key(job: &Job, interval: &DataInterval) -> String {
    job.calendar.map_or_else(|| DataInterval::WHOLE_KEY.to_owned(), |calendar| calendar.key(interval))
}

fn push_columns(out: &mut String, resolved: &crate::engine::Resolved, verbose: bool) {
    let columns = &resolved.columns().columns;
    let cast = columns.iter().filter(|c| c.expression != Expression::PassThrough).count();
    out.push_str(&format!(
        "\n{} -> {}: {} columns, {} as they are, {cast} cast on the source\n",
        resolved.source_name(),
        resolved.table_name(),
        columns.len(),
        columns.len() - cast
    ));
    for column in columns.iter().filter(|c| verbose || c.expression != Expression::PassThrough) {
        let from = column.source_type.as_deref().unwrap_or("sql");
        out.push_str(&format!(
            "  {}  {from} -> {}  {}\n",
            column.column,
            column.target_type,
            how(&column.expression)
        ));
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Load => "load",
        Action::Reload => "reload",
        Action::Skip => "skip",
        Action::Wait { .. } => "wait",
        Action::Exhausted => "failed",
        Action::Blocked => "blocked",
    }
}

fn how(expression: &Expression) -> String {
    match expression {
        Expression::PassThrough => "as it is".to_owned(),
        Expression::CastOnSource { sql } | Expression::Custom { sql } => sql.clone(),
    }
}

fn object(job: &Job, outlook: &Outlook) -> anyhow::Result<Value> {
    let intervals: Vec<_> = outlook.plan.intervals.iter().map(|p| interval_object(job, p)).collect();
    let others: Vec<_> = outlook.plan.other_definition.iter().map(|i| key(job, i)).collect();
    let mut object = json!({
        "job": job.name,
        "source": job.source,
        "destination": job.destination,
        "into": job.into.to_string(),
        "intervals": intervals,
        "done": outlook.plan.done,
        "other_definition": others,
        "notes": outlook.plan.notes,
        "scans": outlook.scans,
        "connections": {
            "source": outlook.budget.source,
            "destination": outlook.budget.destination,
            "parallel": outlook.budget.parallel,
            "writers": outlook.budget.writers,
        },
    });
    if let Some((interval, resolved)) = &outlook.resolved {
        let columns: Vec<_> = resolved
            .columns()
            .columns
            .iter()
            .map(|column| {
                json!({
                    "column": column.column,
                    "source_type": column.source_type,
                    "target_type": column.target_type,
                    "expression": how(&column.expression),
                    "note": column.note,
                })
            })
            .collect();
        object["columns"] = columns.into();
        object["sql"] = resolved.sql(job, interval)?.into();
        object["create"] = json!(resolved.create_statements());
        object["notices"] = json!(resolved.notices());
    }
    Ok(object)
}

/// Instants are in UTC; the local ones, in the job's zone, have its offset.
fn interval_object(job: &Job, planned: &Planned) -> Value {
    let DataInterval { start, end } = planned.interval;
    let calendar = job.calendar;
    let utc = |at: DateTime<Utc>| calendar.map(|_| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let local = |at: DateTime<Utc>| calendar.map(|calendar| calendar.local(at).to_rfc3339());
    json!({
        "interval": planned.key,
        "action": word(planned.action),
        "reason": planned.reason,
        "start": utc(start),
        "end": utc(end),
        "local_start": local(start),
        "local_end": local(end),
        "hours": calendar.map(|_| (end - start).num_seconds() as f64 / 3600.0),
        "tries_left": planned.tries_left,
    })
}
