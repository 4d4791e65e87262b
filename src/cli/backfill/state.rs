//! `pgtide backfill pause | resume | cancel`: whether processes are to work on a backfill.
//!
//! Running processes look about once a second. A paused one lets what is open go on to its end, a
//! cancelled one rolls it back; what is loaded stays, and the intervals are anybody's again.

use clap::Args;
use serde_json::json;

use super::{BackfillId, Open, none_yet, settings, task_of};
use crate::cli::args::LoadArgs;
use crate::cli::workshop;
use crate::cli::{Context, loading, run, stoppable};
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::ledger::{Backfill, BackfillState};
use crate::report::Format;

/// `backfill pause`, `backfill cancel`.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The backfill: orders/7
    #[arg(value_name = "ID")]
    id: BackfillId,
}

/// `backfill resume`.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The backfill: orders/7
    #[arg(value_name = "ID")]
    id: BackfillId,
    /// How to load; what is not given is as it was when the backfill was made.
    #[command(flatten)]
    load: LoadArgs,
}

pub(super) async fn pause(args: IdArgs, context: &Context) -> anyhow::Result<u8> {
    let found = stoppable(context, set(context, &args.id, BackfillState::Paused)).await?;
    let label = found.label();
    let text =
        format!("{label} is paused; open intervals go on to their end\npgtide backfill resume {label}\n");
    Ok(told(context, &found, BackfillState::Paused, &text))
}

pub(super) async fn cancel(args: IdArgs, context: &Context) -> anyhow::Result<u8> {
    let found = stoppable(context, set(context, &args.id, BackfillState::Cancelled)).await?;
    let label = found.label();
    let text = format!("{label} is cancelled; open transactions roll back, what is loaded stays\n");
    Ok(told(context, &found, BackfillState::Cancelled, &text))
}

fn told(context: &Context, found: &Backfill, state: BackfillState, text: &str) -> u8 {
    match context.output.format {
        Format::Text => context.output.print(text),
        Format::Json => {
            let object = json!({ "backfill": found.label(), "job": found.job, "number": found.number,
                "before": found.state.as_str(), "state": state.as_str() });
            context.output.print(&format!("{object}\n"));
        }
    }
    exit::DONE
}

/// Sets the state; gives the backfill as it was before.
async fn set(context: &Context, id: &BackfillId, state: BackfillState) -> Result<Backfill> {
    let project = loading::project(context, None)?;
    let job = project.job(&id.job)?;
    let Some(open) = Open::of(&project, &job, true).await? else { return Err(none_yet(id)) };
    let found = open.find(id).await?;
    let owner = workshop::owner(&uuid::Uuid::new_v4().to_string());
    if open.ledger.set_backfill_state(&open.session, &found, state, &owner).await? {
        return Ok(found);
    }
    let now = open.ledger.backfill_state(&open.session, found.id).await?.unwrap_or(found.state);
    // Whoever comes last finds nothing left to do, which is no mistake.
    if (state, now) == (BackfillState::Running, BackfillState::Done) {
        return Ok(found);
    }
    let word = match state {
        BackfillState::Running => "resumed",
        BackfillState::Paused => "paused",
        BackfillState::Cancelled => "cancelled",
        BackfillState::Done => "ended",
    };
    Err(Error::new(ErrorKind::Usage, format!("{id} is {now}: it cannot be {word}"))
        .with_hint(format!("pgtide backfill {} with its dates makes a new one", found.job)))
}

pub(super) async fn resume(args: ResumeArgs, context: &Context) -> anyhow::Result<u8> {
    if args.load.force {
        let error = Error::new(ErrorKind::Usage, "--force is part of what a backfill is asked to do");
        return Err(error.with_hint("make a new one with it: pgtide backfill JOB ... --force").into());
    }
    let found = match args.load.dry_run {
        true => stoppable(context, look(context, &args.id)).await?,
        false => stoppable(context, set(context, &args.id, BackfillState::Running)).await?,
    };
    let load = settings::merged(args.load, &found.settings);
    let project = loading::project(context, Some(&load))?;
    let job = project.job(&found.job)?;
    let task = task_of(&found, &load, job);
    run::start(context, &project, vec![task], load.dry_run).await
}

async fn look(context: &Context, id: &BackfillId) -> Result<Backfill> {
    let project = loading::project(context, None)?;
    let job = project.job(&id.job)?;
    let Some(open) = Open::of(&project, &job, false).await? else { return Err(none_yet(id)) };
    open.find(id).await
}
