//! Every rule of the plan, with the clock at 2026-01-11 03:00 in New York unless a test says otherwise.

use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use chrono_tz::{America, Europe, Pacific};

use super::*;
use crate::config::job::{Catchup, LoadMode, OneOff, Origin};
use crate::interval::{Schedule, Unit, parse_date, parse_instant};
use crate::name::TableName;

const NEW_YORK: Calendar = Calendar { unit: Unit::Day, timezone: America::New_York };

/// A daily job of New York, as a file with the fewest keys gives it.
fn job() -> Job {
    let ask = OneOff {
        origin: Origin::Table(TableName::new("public", "users")),
        into: TableName::new("mart", "users"),
        filter: None,
        mode: None,
        key: Vec::new(),
        create: false,
    };
    Job {
        name: "users".to_owned(),
        time_column: Some("created_at".to_owned()),
        calendar: Some(NEW_YORK),
        mode: LoadMode::DeleteInsert,
        min_delay: Duration::from_secs(600),
        retries: 3,
        ..Job::one_off(ask).unwrap()
    }
}

fn job_with(change: impl FnOnce(&mut Job)) -> Job {
    let mut job = job();
    change(&mut job);
    job
}

fn whole_job() -> Job {
    job_with(|job| job.calendar = None)
}

fn asking(dates: Dates) -> Request {
    Request { definition_hash: "new".to_owned(), ..Request::of(&job(), dates) }
}

fn days<const N: usize>(texts: [&str; N]) -> Request {
    asking(Dates::Days(texts.map(str::to_owned).to_vec()))
}

fn range(from: Option<&str>, to: Option<&str>) -> Request {
    asking(Dates::Range { from: from.map(str::to_owned), to: to.map(str::to_owned) })
}

fn instants(start: &str, end: &str) -> Request {
    asking(Dates::Instants { start: start.to_owned(), end: end.to_owned() })
}

fn due() -> Request {
    asking(Dates::Due)
}

fn reloading(request: Request) -> Request {
    Request { reload: true, ..request }
}

fn with_stale(request: Request) -> Request {
    Request { stale: true, ..request }
}

fn date(text: &str) -> NaiveDate {
    parse_date(text).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text, America::New_York).unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-11T03:00")
}

/// A record as the current definition leaves it, with 27,004 rows if it is loaded.
fn record(interval: DataInterval, state: State) -> Recorded {
    Recorded {
        interval,
        state,
        definition_hash: Some("new".into()),
        rows: state.has_rows().then_some(27_004),
        loaded_at: state.has_rows().then(|| at("2026-01-08T03:00")),
        began: None,
        is_live: state == State::Running,
        attempts: u32::from(!state.has_rows()),
        finished: (state != State::Running).then(|| at("2026-01-08T03:00")),
        loss: None,
        note: None,
    }
}

fn day(text: &str, state: State) -> Recorded {
    record(NEW_YORK.parse_key(text).unwrap(), state)
}

fn loaded<const N: usize>(texts: [&str; N]) -> Vec<Recorded> {
    texts.map(|text| day(text, State::Loaded)).to_vec()
}

/// `key action: reason`, one line for each interval.
fn lines(plan: &Plan) -> Vec<String> {
    let action = |action| match action {
        Action::Load => "load",
        Action::Reload => "reload",
        Action::Skip => "skip",
        Action::Wait { .. } => "wait",
        Action::Exhausted => "exhausted",
        Action::Blocked => "blocked",
    };
    plan.intervals.iter().map(|p| format!("{} {}: {}", p.key, action(p.action), p.reason)).collect()
}

fn planned(job: &Job, request: &Request, recorded: &[Recorded]) -> Plan {
    plan(job, request, recorded, now()).unwrap()
}

fn keys(job: &Job, request: &Request, recorded: &[Recorded]) -> Vec<String> {
    planned(job, request, recorded).to_load().map(|p| p.key.clone()).collect()
}

fn refused(job: &Job, request: &Request, recorded: &[Recorded]) -> Error {
    plan(job, request, recorded, now()).unwrap_err()
}

fn text_of(error: &Error) -> String {
    let mut lines = vec![error.to_string()];
    lines.extend(error.details().iter().cloned());
    lines.extend(error.hint().map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

mod another_grid;
mod by_name;
mod due;
mod past;
mod properties;
mod ranges;
mod schedules;
mod snapshots;
mod whole_tables;
