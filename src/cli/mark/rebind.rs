//! `mark JOB loaded --rebind`: what is recorded in a table that is not the job's any more is compared with the
//! one that is, interval by interval. What agrees counts again; what does not is loaded by the next runs.

use std::collections::HashSet;

use super::{Mark, owner};
use crate::config::job::{Job, LoadMode};
use crate::config::project::Project;
use crate::engine::{Ground, Held, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::{Evidence, IntervalRecord, Ledger, MarkRequest, TableNow, TableRef};
use crate::plan::{Action, Planned};
use crate::postgres::connect::{Session, Side};
use crate::state::State;

/// Rebinds what is lost: all of it, or of these intervals.
pub(super) async fn rebind(
    project: &Project,
    job: &Job,
    reason: &str,
    named: Option<HashSet<DataInterval>>,
) -> Result<Vec<Mark>> {
    let spec = project.connection(&job.destination)?;
    let session = Session::open(&spec, Side::Destination, "pgtide/mark").await?;
    let ledger = Ledger::open(&session, project.ledger_schema()).await?;
    if let Some(was) = &job.was {
        ledger.rename(&session, was, &job.name, &owner()).await?;
    }
    let evidence = ledger.evidence(&session, &job.into).await?;
    let Some(table) = &evidence.table else {
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("there is no table {} to compare with", job.into),
        )
        .with_hint(format!(
            "pgtide run {} --stale makes it, with `create = true`, and loads all",
            job.name
        )));
    };
    let lost = lost((&ledger, &session), job, &evidence).await?;
    let lost: Vec<_> =
        lost.into_iter().filter(|r| named.as_ref().is_none_or(|named| named.contains(&r.interval))).collect();
    let Some(look) = Look::at(&session, job, table).await? else {
        return Err(Error::new(ErrorKind::Preflight, format!("{} is no table", table.name)));
    };
    let mut marks = Vec::new();
    let whole = if look.tells_intervals() { None } else { Some(of_all(job, &look, &lost).await?) };
    for record in lost {
        let (state, what) = match &whole {
            Some(all) => all.clone(),
            None => compared(look.count(Some(&record.interval)).await?, record.rows),
        };
        let reason = format!("{reason}; rebind: {what}");
        let request = request(job, table, &record, (state, reason));
        let result = ledger.mark(&session, &request).await;
        let planned = Planned {
            interval: record.interval,
            key: record.key,
            action: Action::Skip,
            reason: what,
            tries_left: None,
        };
        marks.push(Mark { planned, before: Some(record.state), state, result });
        if session.is_closed() {
            break;
        }
    }
    Ok(marks)
}

/// The records whose rows are not in the job's table.
async fn lost(
    (ledger, session): (&Ledger, &Session),
    job: &Job,
    evidence: &Evidence,
) -> Result<Vec<IntervalRecord>> {
    let records = ledger.snapshot(session, &job.name, None).await?.intervals;
    let place = |r: &IntervalRecord| evidence.place((r.table.oid, r.table_file), r.loaded_at);
    let records: Vec<_> = records.into_iter().filter(|record| record.state.has_rows()).collect();
    let held = records.iter().map(|r| Held { interval: r.interval, place: place(r), rows: r.rows });
    let ground = Ground::look((ledger, session), job, evidence, held).await?;
    Ok(records.into_iter().filter(|r| ground.loss(&r.interval, place(r)).is_some()).collect())
}

/// One verdict for all, where the rows of one interval cannot be told from those of another.
async fn of_all(job: &Job, look: &Look<'_>, lost: &[IntervalRecord]) -> Result<(State, String)> {
    let stored = look.count(None).await?;
    let recorded = lost.iter().map(|record| record.rows).sum::<Option<i64>>();
    let (state, what) = compared(stored, recorded);
    // A row that was merged twice is recorded twice.
    let is_proof = job.mode != LoadMode::Merge || state == State::Failed;
    Ok(if is_proof { (state, what) } else { (State::Stale, what) })
}

/// What counts prove, and how to say it. Rows that were never counted are taken for what is there.
fn compared(stored: i64, recorded: Option<i64>) -> (State, String) {
    match recorded {
        Some(recorded) if stored == recorded => (State::Loaded, format!("{stored} rows, as recorded")),
        None if stored > 0 => (State::Loaded, format!("{stored} rows, of an unknown number")),
        recorded => {
            let of = recorded.map_or_else(|| "an unknown number".to_owned(), |rows| rows.to_string());
            let state = if stored == 0 { State::Failed } else { State::Stale };
            (state, format!("{stored} rows of {of}"))
        }
    }
}

fn request(
    job: &Job,
    table: &TableNow,
    record: &IntervalRecord,
    (state, reason): (State, String),
) -> MarkRequest {
    MarkRequest {
        job: job.name.clone(),
        table: TableRef { oid: table.oid, name: table.name.to_string() },
        scope: job.scope.clone(),
        interval: record.interval,
        key: record.key.clone(),
        timezone: record.timezone.clone(),
        definition_hash: definition_hash(job, record),
        state,
        reason,
        owner: owner(),
        rebinds: true,
    }
}

/// The job's hash, where nothing but `into` is another than when the interval was loaded.
fn definition_hash(job: &Job, record: &IntervalRecord) -> String {
    let now = job.definition_hash();
    let Some(loaded) = &record.definition_hash else { return now };
    let before = record.table.name.parse().map(|into| Job { into, ..job.clone() }.definition_hash());
    if before.is_ok_and(|before| before == *loaded) { now } else { loaded.clone() }
}
