//! Events as JSON lines on stdout: one object per line, for programs.
//!
//! Names and types are a public interface; fields may be added, none is renamed or removed. Every
//! object has `event` and `at` (UTC, RFC 3339). `interval` is the key as in `status`: `2026-01-05`.
//!
//! | event | fields |
//! | --- | --- |
//! | `run_started` | `run_id` `job` `source` `destination` `into` `timezone` `intervals` `skipped` `parallel` `backfill` (`orders/7`) `stop_at` |
//! | `interval_skipped` | `job` `interval` `reason` |
//! | `interval_started` | `job` `interval` `interval_start` `interval_end` (null for all of time) `attempt` `estimated_rows` |
//! | `phase_changed` | `job` `interval` `phase` |
//! | `progress` | `job` `interval` `rows` `bytes`: totals of the attempt, at most every 2 s |
//! | `batch_committed` | `job` `interval` `batch` `rows` `bytes` |
//! | `interval_retrying` | `job` `interval` `tries` `wait_ms` `failure` |
//! | `interval_loaded` | `job` `interval` `rows` `bytes` `batches` `reloaded` `elapsed_ms` |
//! | `interval_loaded_elsewhere` | `job` `interval`: another process of the same backfill loaded it |
//! | `interval_stopped` | `job` `interval` |
//! | `interval_failed` | `job` `interval` `failure` |
//! | `notice` | `message` |
//! | `views_started` | `views` (to refresh) `fresh` `parallel` |
//! | `view_started` | `view` `mode` (`plain` `concurrent` `swap`) `why` `attempt` `estimated_ms` |
//! | `view_retrying` | `view` `wait_ms` `failure` |
//! | `view_skipped` | `view` `reason` |
//! | `view_refreshed` | `view` `elapsed_ms` `error` `mode` `reason` `rows_in` `rows_out` |
//! | `views_finished` | `refreshed` `fresh` `left` (a list of `view` and `reason`) `failed` (a list of `view` and `failure`) `not_started` `elapsed_ms` `interrupted` |
//! | `run_finished` | `job` `outcome` (`done` `nothing_to_do` `failed` `not_done` `stopped` `paused` `cancelled`) `loaded` `skipped` `failed` (a list of `interval` and `failure`) `not_started` `rows` `bytes` `elapsed_ms` `retry_command` `interrupted` `backfill` `loaded_elsewhere` |
//! | `run_not_started` | `job`; the error is an object of its own |
//! | `schedule_leading` | `destination` `project` |
//! | `schedule_standing_by` | `destination` `host` `pid` `since` |
//! | `schedule_unreachable` | `destination` `failure` |
//! | `schedule_waiting` | `job` `due` |
//! | `job_not_started` | `job` `failure` `wait_ms` |
//! | `job_added` `job_changed` `job_removed` | `job` |
//! | `file_broken` | `job` (null for the project's file) `findings` `kept` |
//! | `file_mended` | `job` |
//!
//! A `failure` has `exit_code` `sqlstate` `message` `details` `hint` `attempt` `at`. An error that ends
//! the command is the object of [`error`](super::error).

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::View;
use super::agenda;
use super::board::{Board, Moment};
use super::screen::to_stdout;
use crate::event::{Event, Failure, IntervalId, Phase, RunStarted, Summary};
use crate::interval::DataInterval;

/// The time between two `progress` objects.
const PAUSE: Duration = Duration::from_secs(2);

/// The JSON output of a run.
#[derive(Debug, Default)]
pub(super) struct Json {
    last_progress: Duration,
    /// Whether whoever read stdout went away; the work goes on.
    closed: bool,
}

impl Json {
    fn print(&mut self, object: &Value) {
        self.closed = self.closed || !to_stdout(&format!("{object}\n"));
    }
}

impl View for Json {
    fn event(&mut self, event: &Event, _: &Board, moment: &Moment) {
        if let Some(object) = object(event, moment) {
            self.print(&object);
        }
    }

    fn tick(&mut self, board: &Board, moment: &Moment) {
        if moment.at.saturating_sub(self.last_progress) < PAUSE {
            return;
        }
        self.last_progress = moment.at;
        for running in board.running.iter().filter(|running| running.rows > 0) {
            self.print(&progress(&running.id, (running.rows, running.bytes), moment));
        }
    }

    fn end(&mut self) {}
}

/// The object of an event; `Progress` has none, it is said on the tick.
pub(super) fn object(event: &Event, moment: &Moment) -> Option<Value> {
    let (name, fields) = match event {
        Event::RunStarted(run) => ("run_started", run_started(run)),
        Event::IntervalSkipped { id, reason } => ("interval_skipped", of(id, json!({ "reason": reason }))),
        Event::IntervalStarted { id, interval, attempt, estimated_rows } => {
            let (start, end) = bounds(interval);
            let fields = json!({ "interval_start": start, "interval_end": end, "attempt": attempt,
                "estimated_rows": estimated_rows });
            ("interval_started", of(id, fields))
        }
        Event::PhaseChanged { id, phase } => {
            ("phase_changed", of(id, json!({ "phase": phase_name(*phase) })))
        }
        Event::Progress { .. } | Event::Waited { .. } | Event::WaitsForSlot { .. } => return None,
        Event::BatchCommitted { id, number, rows, bytes } => {
            ("batch_committed", of(id, json!({ "batch": number, "rows": rows, "bytes": bytes })))
        }
        Event::IntervalRetrying { id, failure: cause, tries, wait } => {
            let fields = json!({ "tries": tries, "wait_ms": millis(*wait), "failure": failure(cause) });
            ("interval_retrying", of(id, fields))
        }
        Event::IntervalLoaded { id, loaded } => {
            let fields = json!({ "rows": loaded.rows, "bytes": loaded.bytes, "batches": loaded.batches,
                "reloaded": loaded.reloaded, "elapsed_ms": millis(loaded.elapsed) });
            ("interval_loaded", of(id, fields))
        }
        Event::IntervalLoadedElsewhere { id } => ("interval_loaded_elsewhere", of(id, json!({}))),
        Event::IntervalStopped { id } => ("interval_stopped", of(id, json!({}))),
        Event::IntervalFailed { id, failure: cause } => {
            ("interval_failed", of(id, json!({ "failure": failure(cause) })))
        }
        Event::Notice { message } => ("notice", json!({ "message": message })),
        Event::RunFinished(run) => ("run_finished", run_finished(run)),
        Event::RunNotStarted { job } => ("run_not_started", json!({ "job": job })),
        Event::Scheduling(said) => agenda::object(said),
        of_views => super::refresh::object(of_views, failure)?,
    };
    Some(stamped(name, moment, fields))
}

fn progress(id: &IntervalId, (rows, bytes): (u64, u64), moment: &Moment) -> Value {
    stamped("progress", moment, of(id, json!({ "rows": rows, "bytes": bytes })))
}

fn stamped(name: &str, moment: &Moment, fields: Value) -> Value {
    let mut object = Map::new();
    object.insert("event".into(), name.into());
    object.insert("at".into(), moment.wall.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true).into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

fn of(id: &IntervalId, fields: Value) -> Value {
    let mut object = Map::new();
    object.insert("job".into(), id.job.clone().into());
    object.insert("interval".into(), id.key.clone().into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

fn run_started(run: &RunStarted) -> Value {
    json!({ "run_id": run.run_id, "job": run.job, "source": run.source, "destination": run.destination,
        "into": run.into, "timezone": run.timezone, "intervals": run.intervals, "skipped": run.skipped,
        "parallel": run.parallel, "backfill": run.backfill, "stop_at": run.stop_at })
}

fn run_finished(run: &Summary) -> Value {
    let failed: Vec<_> =
        run.failed.iter().map(|(key, cause)| json!({ "interval": key, "failure": failure(cause) })).collect();
    json!({ "job": run.job, "outcome": super::summary::word(run).0.replace(' ', "_"), "loaded": run.loaded, "skipped": run.skipped,
        "failed": failed, "not_started": run.not_started, "rows": run.rows, "bytes": run.bytes,
        "elapsed_ms": millis(run.elapsed), "retry_command": run.retry_command, "interrupted": run.interrupted,
        "backfill": run.backfill, "loaded_elsewhere": run.loaded_elsewhere })
}

pub(super) fn failure(failure: &Failure) -> Value {
    json!({ "exit_code": failure.exit_code, "sqlstate": failure.sqlstate, "message": failure.message,
        "details": failure.details, "hint": failure.hint, "attempt": failure.attempt,
        "at": timestamp(failure.at) })
}

fn bounds(interval: &DataInterval) -> (Option<String>, Option<String>) {
    if interval.is_whole() {
        return (None, None);
    }
    (Some(timestamp(interval.start)), Some(timestamp(interval.end)))
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Claiming => "claiming",
        Phase::Checking => "checking",
        Phase::Clearing => "clearing",
        Phase::WaitingForSource => "waiting_for_source",
        Phase::Writing => "writing",
        Phase::Finishing => "finishing",
    }
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::story::{self, moment};
    use super::*;

    #[test]
    fn every_event_but_progress_is_one_object_with_its_name_and_time() {
        let id = story::id("orders", "2026-01-05");
        let wait = Duration::from_secs(5);
        let events = [
            Event::RunStarted(story::run("orders", 31, 4)),
            Event::IntervalSkipped { id: id.clone(), reason: "already loaded".into() },
            story::started(&id, 1, Some(851_000)),
            story::phase(&id, Phase::WaitingForSource),
            Event::Progress { id: id.clone(), rows: 1, bytes: 2 },
            Event::BatchCommitted { id: id.clone(), number: 1, rows: 50_000, bytes: 7_350_000 },
            Event::IntervalRetrying { id: id.clone(), failure: story::deadlock(1), tries: 4, wait },
            story::loaded(&id, 851_004),
            Event::IntervalFailed { id: id.clone(), failure: story::deadlock(4) },
            Event::Notice { message: "mart.sales is stale".into() },
            Event::RunFinished(story::backfill_summary()),
        ];
        let lines: Vec<_> = events
            .iter()
            .filter_map(|event| object(event, &moment(0.0)))
            .map(|value| value.to_string())
            .collect();
        assert_snapshot!(lines.join("\n"), @r#"
        {"event":"run_started","at":"2026-01-07T03:09:14.000Z","run_id":"7b1e","job":"orders","source":"source","destination":"warehouse","into":"mart.orders","timezone":"America/New_York","intervals":31,"skipped":4,"parallel":10,"backfill":null,"stop_at":null}
        {"event":"interval_skipped","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","reason":"already loaded"}
        {"event":"interval_started","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","interval_start":null,"interval_end":null,"attempt":1,"estimated_rows":851000}
        {"event":"phase_changed","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","phase":"waiting_for_source"}
        {"event":"batch_committed","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","batch":1,"rows":50000,"bytes":7350000}
        {"event":"interval_retrying","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","tries":4,"wait_ms":5000,"failure":{"exit_code":75,"sqlstate":"40P01","message":"copying batch 3 of mart.orders: warehouse: deadlock detected","details":["done        nothing; mart.orders is unchanged"],"hint":"look for the other session in the server's log","attempt":1,"at":"2026-01-07T03:09:14Z"}}
        {"event":"interval_loaded","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","rows":851004,"bytes":125097588,"batches":18,"reloaded":false,"elapsed_ms":12300}
        {"event":"interval_failed","at":"2026-01-07T03:09:14.000Z","job":"orders","interval":"2026-01-05","failure":{"exit_code":75,"sqlstate":"40P01","message":"copying batch 3 of mart.orders: warehouse: deadlock detected","details":["done        nothing; mart.orders is unchanged"],"hint":"look for the other session in the server's log","attempt":4,"at":"2026-01-07T03:09:14Z"}}
        {"event":"notice","at":"2026-01-07T03:09:14.000Z","message":"mart.sales is stale"}
        {"event":"run_finished","at":"2026-01-07T03:09:14.000Z","job":"orders","outcome":"failed","loaded":1091,"skipped":4,"failed":[{"interval":"2023-11-05","failure":{"exit_code":75,"sqlstate":"40P01","message":"copying batch 3 of mart.orders: warehouse: deadlock detected","details":["done        nothing; mart.orders is unchanged"],"hint":"look for the other session in the server's log","attempt":4,"at":"2026-01-07T03:09:14Z"}}],"not_started":0,"rows":928445364,"bytes":136481468508,"elapsed_ms":2443000,"retry_command":"pgtide run orders --date 2023-11-05","interrupted":false,"backfill":null,"loaded_elsewhere":0}
        "#);
    }
}
