//! `pgtide backfill list`: backfills, how far they are, and who works on them now. Never writes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::Open;
use crate::cli::{Context, loading, stoppable};
use crate::config::job::Job;
use crate::error::Result;
use crate::exit;
use crate::interval::minute_text;
use crate::ledger::{BackfillProgress, BackfillState};
use crate::report::number::grouped;
use crate::report::table::Table;
use crate::report::{Format, Tone};

/// `backfill list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this job; of all without
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

pub(super) async fn run(args: ListArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    let jobs = match &args.job {
        Some(job) => vec![project.job(job)?],
        None => loading::some(project.jobs()?, project.root())?,
    };
    let all = stoppable(context, read(&project, &jobs, args.job.as_deref())).await?;
    match context.output.format {
        Format::Json => {
            all.iter().for_each(|one| context.output.print(&format!("{}\n", object(one))));
        }
        Format::Text if all.is_empty() => context.output.print("there are no backfills\n"),
        Format::Text => context.output.print(&text(&all, &jobs, context)),
    }
    Ok(exit::DONE)
}

/// Asks each destination once.
async fn read(
    project: &crate::config::project::Project,
    jobs: &[Job],
    only: Option<&str>,
) -> Result<Vec<BackfillProgress>> {
    let destinations: BTreeMap<&str, &Job> = jobs.iter().map(|job| (job.destination.as_str(), job)).collect();
    let mut all = Vec::new();
    for job in destinations.into_values() {
        if let Some(open) = Open::of(project, job, false).await? {
            all.extend(open.ledger.backfills(&open.session, only).await?);
        }
    }
    Ok(all)
}

fn text(all: &[BackfillProgress], jobs: &[Job], context: &Context) -> String {
    let mut table = Table::new(["backfill", "dates", "done", "failed", "state", "since", "works on it now"]);
    for one in all {
        let backfill = &one.backfill;
        let zone = jobs.iter().find(|job| job.name == backfill.job).map(|job| job.timezone);
        let since = |at: DateTime<Utc>| minute_text(&at.with_timezone(&zone.unwrap_or(chrono_tz::Tz::UTC)));
        let failed = if one.failed > 0 { Tone::Bad } else { Tone::Plain };
        table.painted_row([
            (backfill.label(), Tone::Strong),
            (dates(&backfill.keys), Tone::Plain),
            (format!("{}/{}", grouped(one.done as u64), grouped(backfill.keys.len() as u64)), Tone::Plain),
            (grouped(one.failed as u64), failed),
            (backfill.state.to_string(), tone(backfill.state)),
            (since(backfill.changed_at), Tone::Faint),
            (workers(one), Tone::Plain),
        ]);
    }
    table.text(0, context.output.out)
}

/// `2013-01-01 .. 2013-12-31`.
fn dates(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{first} .. {last}"),
    }
}

fn tone(state: BackfillState) -> Tone {
    match state {
        BackfillState::Running => Tone::Busy,
        BackfillState::Paused => Tone::Warn,
        BackfillState::Cancelled => Tone::Bad,
        BackfillState::Done => Tone::Good,
    }
}

/// `etl-1 (4021) 4, etl-2 (77) 2`; `nobody` if it ought to be worked on.
fn workers(one: &BackfillProgress) -> String {
    if one.workers.is_empty() && one.backfill.state == BackfillState::Running {
        return "nobody".to_owned();
    }
    let each = one.workers.iter().map(|w| format!("{} ({}) {}", w.host, w.pid, w.intervals));
    each.collect::<Vec<_>>().join(", ")
}

fn object(one: &BackfillProgress) -> Value {
    let backfill = &one.backfill;
    let workers: Vec<_> = one
        .workers
        .iter()
        .map(|w| json!({ "host": w.host, "pid": w.pid, "intervals": w.intervals }))
        .collect();
    json!({ "backfill": backfill.label(), "job": backfill.job, "number": backfill.number,
        "dates": backfill.dates, "interval_start": backfill.bounds.start.to_rfc3339(),
        "interval_end": backfill.bounds.end.to_rfc3339(), "intervals": backfill.keys.len(),
        "done": one.done, "failed": one.failed, "state": backfill.state.as_str(),
        "options": backfill.options, "settings": backfill.settings,
        "created_by": backfill.created_by, "created_at": backfill.created_at.to_rfc3339(),
        "changed_by": backfill.changed_by, "changed_at": backfill.changed_at.to_rfc3339(),
        "workers": workers })
}
