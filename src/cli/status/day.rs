//! All about the intervals of one date: what is stored, who tried, what went wrong.

use chrono::{DateTime, Utc};

use super::{Open, Shown, cells};
use crate::cli::Context;
use crate::config::job::Job;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::{AttemptRecord, IntervalRecord, Ledger};
use crate::plan::{self, Action, Dates, Planned};
use crate::report::Format;
use crate::report::calendar::DayState;
use crate::report::day::{self, Day};

pub(super) async fn show(context: &Context, project: &Project, name: &str, date: &str) -> Result<Shown> {
    let job = project.job(name)?;
    let now = Utc::now();
    let planned = intervals(&job, date, now)?;
    let open = Open::at(project, &job.destination).await?;
    let mut days = Vec::new();
    for planned in &planned {
        days.push(look(&job, &open, planned).await?);
    }
    let output = &context.output;
    let text = match output.format {
        Format::Text => day::text(&days, output.verbose, output.out),
        Format::Json => days.iter().map(|day| format!("{}\n", day::json(day))).collect(),
    };
    let wants_attention = days.iter().any(|day| wants_attention(day, &job));
    Ok(Shown { text, wants_attention, ..Shown::default() })
}

/// The intervals that are named, whatever the ledger says.
fn intervals(job: &Job, date: &str, now: DateTime<Utc>) -> Result<Vec<Planned>> {
    let planned = plan::look_up(job, Dates::Days(vec![date.to_owned()]), now)?;
    if planned.intervals.is_empty() {
        let what = planned.notes.join("; ");
        return Err(Error::new(ErrorKind::Usage, format!("{} {date}: {what}", job.name)));
    }
    Ok(planned.intervals)
}

async fn look(job: &Job, open: &Open, planned: &Planned) -> Result<Day> {
    let interval = planned.interval;
    let found = open.find(job, Some(interval)).await?;
    let record = found.as_ref().and_then(|found| {
        found.snapshot.intervals.iter().find(|record| record.interval == interval).cloned()
    });
    let attempts = match &open.ledger {
        Some(ledger) => attempts(job, open, ledger, interval).await?,
        None => Vec::new(),
    };
    let is_gone = record.as_ref().zip(found.as_ref()).is_some_and(|(r, found)| found.loss(r).is_some());
    let gone = found.filter(|_| is_gone).map(|found| found.findings(job)).unwrap_or_default();
    let hash = job.definition_hash();
    let state = match (&record, planned.action) {
        (None, Action::Wait { .. } | Action::Skip) => None,
        _ if is_gone => Some(DayState::Gone),
        (record, _) => Some(cells::state(record.as_ref())),
    };
    Ok(Day {
        job: job.name.clone(),
        key: planned.key.clone(),
        interval,
        calendar: job.calendar,
        timezone: job.timezone,
        table: format!("{} {}", job.destination, job.into),
        is_other_definition: record.as_ref().is_some_and(|r| cells::is_other_definition(&hash, r)),
        is_late: state.is_some() && cells::is_late(job, &interval, record.as_ref(), Utc::now()),
        note: if is_gone { gone.first().cloned() } else { note(planned, record.as_ref()) },
        command: match gone.get(1..) {
            Some(hints) => Some(hints.iter().map(|hint| hint.trim()).collect::<Vec<_>>().join("\n  ")),
            None => command(job, planned, state),
        },
        state,
        record,
        attempts,
    })
}

/// The tries of an interval; of its job's old name, as long as nothing was carried over.
async fn attempts(
    job: &Job,
    open: &Open,
    ledger: &Ledger,
    interval: DataInterval,
) -> Result<Vec<AttemptRecord>> {
    let found = ledger.attempts(&open.session, &job.name, interval).await?;
    match job.was.as_ref().filter(|_| found.is_empty()) {
        Some(was) => ledger.attempts(&open.session, was, interval).await,
        None => Ok(found),
    }
}

fn wants_attention(day: &Day, job: &Job) -> bool {
    day.state.is_some_and(|state| state.wants_attention(day.is_late, job.deadline.is_some()))
}

/// Why it is not due; what the plan says of an unknown interval that is due is what its state says.
fn note(planned: &Planned, record: Option<&IntervalRecord>) -> Option<String> {
    let is_due = planned.action.loads() && planned.reason == "never loaded";
    (!is_due && (record.is_none() || !planned.action.loads())).then(|| planned.reason.clone())
}

fn command(job: &Job, planned: &Planned, state: Option<DayState>) -> Option<String> {
    let reload = match state? {
        DayState::Failed | DayState::Missing | DayState::Interrupted => "",
        DayState::Stale => " --reload",
        DayState::Loaded | DayState::Running | DayState::Skipped | DayState::Gone => return None,
    };
    Some(format!("pgtide run {} --date {}{reload}", job.name, planned.key))
}
