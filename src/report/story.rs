//! Events for the tests of the views: one backfill, as it might have been.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta};

use super::board::{Board, Moment};
use crate::event::{Event, Failure, IntervalId, Loaded, Phase, RunStarted, Summary};
use crate::interval::DataInterval;

pub(super) fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// 22:09:14 in New York, plus seconds.
pub(super) fn moment(seconds: f64) -> Moment {
    let start = DateTime::parse_from_rfc3339("2026-01-06T22:09:14-05:00").unwrap();
    Moment { at: at(seconds), wall: start + TimeDelta::milliseconds((seconds * 1_000.0) as i64) }
}

pub(super) fn id(job: &str, key: &str) -> IntervalId {
    IntervalId { job: job.into(), key: key.into() }
}

pub(super) fn run(job: &str, intervals: usize, skipped: usize) -> RunStarted {
    RunStarted {
        run_id: "7b1e".into(),
        job: job.into(),
        source: "source".into(),
        destination: "warehouse".into(),
        into: format!("mart.{job}"),
        timezone: Some("America/New_York".into()),
        intervals,
        skipped,
        parallel: 10,
        source_connections: (10, Some(12)),
        destination_connections: (31, Some(40)),
        backfill: None,
        stop_at: None,
    }
}

/// The run of one table, whole.
pub(super) fn copy_run(table: &str) -> RunStarted {
    RunStarted { into: table.into(), timezone: None, ..run(&format!("copy:{table}"), 1, 0) }
}

pub(super) fn started(id: &IntervalId, attempt: u32, estimated_rows: Option<u64>) -> Event {
    Event::IntervalStarted { id: id.clone(), interval: DataInterval::WHOLE, attempt, estimated_rows }
}

pub(super) fn phase(id: &IntervalId, phase: Phase) -> Event {
    Event::PhaseChanged { id: id.clone(), phase }
}

pub(super) fn loaded(id: &IntervalId, rows: u64) -> Event {
    let elapsed = Duration::from_millis(12_300);
    let loaded = Loaded { rows, bytes: rows * 147, batches: rows / 50_000 + 1, reloaded: false, elapsed };
    Event::IntervalLoaded { id: id.clone(), loaded }
}

pub(super) fn deadlock(attempt: u32) -> Failure {
    Failure {
        exit_code: 75,
        sqlstate: Some("40P01".into()),
        message: "copying batch 3 of mart.orders: warehouse: deadlock detected".into(),
        details: vec!["done        nothing; mart.orders is unchanged".into()],
        hint: Some("look for the other session in the server's log".into()),
        attempt,
        at: moment(0.0).wall.to_utc(),
    }
}

fn day(number: u64) -> String {
    (NaiveDate::from_ymd_opt(2023, 1, 1).unwrap() + chrono::Days::new(number)).to_string()
}

/// 484 of 1,096 days are loaded, 10 run, one failed; the clock stands at 1,079 s.
pub(super) fn backfill_at_work() -> Board {
    let mut board = Board::default();
    board.apply(&Event::RunStarted(run("orders", 1_092, 4)), at(0.0));
    for number in 0..4 {
        let reason = "already loaded".into();
        board.apply(&Event::IntervalSkipped { id: id("orders", &day(number)), reason }, at(0.0));
    }
    for number in 4..489 {
        let id = id("orders", &day(number));
        let time = at(number as f64 * 2.2);
        board.apply(&started(&id, 1, Some(851_000)), time);
        if number == 308 {
            board.apply(&Event::IntervalFailed { id, failure: deadlock(4) }, time);
        } else {
            board.apply(&loaded(&id, 851_004), time);
        }
    }
    let open = (489..499).map(|number| (id("orders", &day(number)), (499 - number) * 78_300));
    for (id, _) in open.clone() {
        board.apply(&started(&id, 1, Some(851_000)), at(1_059.0));
        let waits = id.key == "2024-05-07";
        let (phase_now, time) =
            if waits { (Phase::WaitingForSource, 1_070.0) } else { (Phase::Writing, 1_059.0) };
        board.apply(&phase(&id, phase_now), at(time));
    }
    for step in 0..=20 {
        for (id, most) in open.clone().filter(|(id, _)| id.key != "2024-05-07") {
            let rows = most * step / 20;
            board.apply(&Event::Progress { id, rows, bytes: rows * 147 }, at(1_059.0 + step as f64));
        }
    }
    board
}

/// How that backfill ended.
pub(super) fn backfill_summary() -> Summary {
    Summary {
        job: "orders".into(),
        loaded: 1_091,
        skipped: 4,
        failed: vec![("2023-11-05".into(), deadlock(4))],
        not_started: 0,
        rows: 928_445_364,
        bytes: 136_481_468_508,
        elapsed: Duration::from_secs(2_443),
        retry_command: Some("pgtide run orders --date 2023-11-05".into()),
        interrupted: false,
        ..Summary::default()
    }
}
