//! A run that works on a backfill: finds it or makes it, plans its intervals, and says when it is done.
//!
//! Which intervals belong to it was decided when it was made; the clock is not asked again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Engine;
use super::history::History;
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Summary};
use crate::interval::DataInterval;
use crate::ledger::{Backfill, BackfillRequest, BackfillState, Ledger};
use crate::plan::{Action, Dates, Plan, Request};
use crate::postgres::connect::Session;

/// Which backfill a run is to work on.
#[derive(Debug, Clone)]
pub struct BackfillWish {
    /// Its number, when it is there already; else the unfinished one of the same dates and options, or
    /// a new one.
    pub number: Option<i32>,
    /// The dates as they were typed.
    pub dates: String,
    /// How processes that resume it go about it.
    pub settings: Value,
}

/// What decides, beside the dates, which intervals a backfill loads.
fn deciding(request: &Request, force: bool) -> Value {
    json!({ "reload": request.reload, "stale": request.stale, "force": force })
}

impl Engine {
    /// Finds the backfill that the run is to work on, if it is there.
    ///
    /// # Errors
    /// `Locked`, if it is paused; `Usage`, if it was cancelled.
    pub(super) async fn find_backfill(
        &self,
        ledger: Option<&Ledger>,
        session: &Session,
        job: &Job,
        request: &Request,
    ) -> Result<Option<Backfill>> {
        let (Some(wish), Some(ledger)) = (&self.options.backfill, ledger) else { return Ok(None) };
        let found = match wish.number {
            Some(number) => ledger.backfill(session, &job.name, number).await?,
            None => {
                let options = deciding(request, self.options.force);
                ledger.unfinished_backfill(session, &job.name, &wish.dates, &options).await?
            }
        };
        if let Some(found) = &found {
            refuse_idle(found)?;
            if let (None, "", Some(last)) = (wish.number, wish.dates.as_str(), found.keys.last()) {
                let message = format!("{} goes to {last}, as it did when it was made", found.label());
                self.events.send(Event::Notice { message });
            }
        }
        Ok(found)
    }

    /// Makes the backfill of the plan, or joins the one that another process has just made.
    pub(super) async fn make_backfill(
        &self,
        ledger: &Ledger,
        session: &Session,
        (job, request, plan): (&Job, &Request, &Plan),
    ) -> Result<Option<Backfill>> {
        let Some(wish) = &self.options.backfill else { return Ok(None) };
        let mut intervals: Vec<_> = plan.intervals.iter().map(|p| (p.interval, p.key.clone())).collect();
        intervals.sort_unstable_by_key(|(interval, _)| *interval);
        let (Some((first, _)), Some((last, _))) = (intervals.first(), intervals.last()) else {
            return Ok(None);
        };
        let request = BackfillRequest {
            job: job.name.clone(),
            dates: wish.dates.clone(),
            options: deciding(request, self.options.force),
            settings: wish.settings.clone(),
            bounds: DataInterval { start: first.start, end: last.end },
            timezone: job.calendar.map(|c| c.timezone.name().to_owned()),
            keys: intervals.into_iter().map(|(_, key)| key).collect(),
            owner: self.owner.clone(),
        };
        let made = ledger.start_backfill(session, &request).await?;
        refuse_idle(&made)?;
        Ok(Some(made))
    }

    /// Records that all of a backfill is loaded.
    pub(super) async fn end_backfill(
        self: &Arc<Self>,
        ledger: &Ledger,
        session: &Session,
        (backfill, summary): (&Backfill, &mut Summary),
    ) -> Result<()> {
        if !summary.failed.is_empty() || summary.not_started > 0 {
            return Ok(());
        }
        if !ledger.set_backfill_state(session, backfill, BackfillState::Done, &self.owner).await?
            && let Some(state) = ledger.backfill_state(session, backfill.id).await?
        {
            let message = format!("{} is {state}, though all of it is loaded", backfill.label());
            self.events.send(Event::Notice { message });
        }
        Ok(())
    }
}

/// The command that goes on with a backfill, as long as that is possible.
pub(super) fn resume_command(backfill: &Backfill) -> String {
    format!("pgtide backfill resume {}", backfill.label())
}

fn refuse_idle(backfill: &Backfill) -> Result<()> {
    let label = backfill.label();
    let by = format!("{} at {} UTC", backfill.changed_by, backfill.changed_at.format("%Y-%m-%d %H:%M"));
    match backfill.state {
        BackfillState::Running | BackfillState::Done => Ok(()),
        BackfillState::Paused => Err(Error::new(ErrorKind::Locked, format!("{label} was paused by {by}"))
            .with_hint(format!("pgtide backfill resume {label}"))),
        BackfillState::Cancelled => {
            Err(Error::new(ErrorKind::Usage, format!("{label} was cancelled by {by}"))
                .with_hint(format!("pgtide backfill {} with the dates makes a new one", backfill.job)))
        }
    }
}

/// The request for the intervals of a backfill.
pub(super) fn request_of(backfill: &Backfill, request: &Request) -> Request {
    Request {
        dates: Dates::Days(backfill.keys.clone()),
        reload: backfill.has_option("reload"),
        stale: backfill.has_option("stale"),
        ..request.clone()
    }
}

/// Takes out of a plan what the backfill has reloaded already.
///
/// # Errors
/// `Config`, if the job's unit or time zone changed since the backfill was made.
pub(super) fn narrow(backfill: &Backfill, plan: &mut Plan, history: &History) -> Result<()> {
    let start = plan.intervals.iter().map(|p| p.interval.start).min();
    let end = plan.intervals.iter().map(|p| p.interval.end).max();
    if (start, end) != (Some(backfill.bounds.start), Some(backfill.bounds.end))
        || plan.intervals.len() != backfill.keys.len()
    {
        let label = backfill.label();
        let what =
            format!("the `interval` or the `timezone` of {} changed since {label} was made", backfill.job);
        return Err(Error::new(ErrorKind::Config, what)
            .with_hint(format!("pgtide backfill cancel {label}, then make a new one")));
    }
    for planned in plan.intervals.iter_mut().filter(|p| p.action == Action::Reload) {
        if history.began(&planned.interval).is_some_and(|began| began >= backfill.created_at) {
            planned.action = Action::Skip;
            planned.reason = format!("reloaded by {}", backfill.label());
        }
    }
    Ok(())
}
