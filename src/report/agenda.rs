//! What a schedule says between runs, as a line with its time and as an object.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::board::Moment;
use super::json::failure;
use super::paint::{Palette, Tone, escaped};
use super::phrase::with_sqlstate;
use crate::event::{Failure, Scheduling};
use crate::interval::minute_text;

/// The line with the time on the clock, for views that have none of their own.
pub(super) fn line(said: &Scheduling, moment: &Moment, palette: Palette) -> String {
    format!("{}  {}", moment.wall.format("%H:%M:%S"), text(said, moment, palette))
}

/// The words; findings follow in lines of their own.
pub(super) fn text(said: &Scheduling, moment: &Moment, palette: Palette) -> String {
    let warn = |text: &str| palette.paint(Tone::Warn, text);
    match said {
        Scheduling::Leading { destination, project } => {
            format!("{}: this process leads the schedule of {}", escaped(destination), escaped(project))
        }
        Scheduling::StandingBy { destination, host, pid, since } => {
            let pid = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            let since = since.map(|at| format!(" since {} UTC", at.format("%Y-%m-%d %H:%M:%S")));
            let since = since.unwrap_or_default();
            format!("{}: standing by; the leader is {}{since}{pid}", escaped(destination), escaped(host))
        }
        Scheduling::Unreachable { destination, failure } => {
            let sign = palette.paint(Tone::Bad, "x");
            let what = reason(failure);
            format!("{sign} {}: cannot be asked, trying again: {what}", escaped(destination))
        }
        Scheduling::Waiting { job, at } => {
            let left = *at - moment.wall.with_timezone(&at.timezone());
            format!("next: {} {}, in {}", escaped(job), minute_text(at), coarse(left))
        }
        Scheduling::NotStarted { job, failure, wait } => {
            let sign = palette.paint(Tone::Bad, "x");
            let wait = coarse(TimeDelta::from_std(*wait).unwrap_or(TimeDelta::MAX));
            let hint = failure.hint.as_deref().map(|hint| format!("\n  hint: {}", indented(hint)));
            let hint = hint.unwrap_or_default();
            format!("{sign} {}: not started, again in {wait}: {}{hint}", escaped(job), reason(failure))
        }
        Scheduling::JobAdded { job } => format!("{}: new job", escaped(job)),
        Scheduling::JobChanged { job } => format!("{}: its file changed", escaped(job)),
        Scheduling::JobRemoved { job } => {
            format!("{}: its file is gone; it is not run any more", escaped(job))
        }
        Scheduling::Broken { job, findings, kept } => {
            let then = if *kept { "the last good version goes on" } else { "it is not run" };
            let findings: String = findings.iter().map(|line| format!("\n  {}", escaped(line))).collect();
            format!("{} {}: is not valid; {then}{findings}", warn("!"), part(job.as_deref()))
        }
        Scheduling::Mended { job } => format!("{}: is good again", part(job.as_deref())),
    }
}

/// Whether it is to be said also by who says only what failed.
pub(super) fn is_bad(said: &Scheduling) -> bool {
    matches!(said, Scheduling::Unreachable { .. } | Scheduling::NotStarted { .. } | Scheduling::Broken { .. })
}

/// The name of the event, and its fields.
pub(super) fn object(said: &Scheduling) -> (&'static str, Value) {
    match said {
        Scheduling::Leading { destination, project } => {
            ("schedule_leading", json!({ "destination": destination, "project": project }))
        }
        Scheduling::StandingBy { destination, host, pid, since } => {
            let since = since.map(|at| at.to_rfc3339());
            let fields = json!({ "destination": destination, "host": host, "pid": pid, "since": since });
            ("schedule_standing_by", fields)
        }
        Scheduling::Unreachable { destination, failure: cause } => {
            ("schedule_unreachable", json!({ "destination": destination, "failure": failure(cause) }))
        }
        Scheduling::Waiting { job, at } => ("schedule_waiting", json!({ "job": job, "due": utc(at) })),
        Scheduling::NotStarted { job, failure: cause, wait } => {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            ("job_not_started", json!({ "job": job, "failure": failure(cause), "wait_ms": wait }))
        }
        Scheduling::JobAdded { job } => ("job_added", json!({ "job": job })),
        Scheduling::JobChanged { job } => ("job_changed", json!({ "job": job })),
        Scheduling::JobRemoved { job } => ("job_removed", json!({ "job": job })),
        Scheduling::Broken { job, findings, kept } => {
            ("file_broken", json!({ "job": job, "findings": findings, "kept": kept }))
        }
        Scheduling::Mended { job } => ("file_mended", json!({ "job": job })),
    }
}

fn utc(at: &DateTime<chrono_tz::Tz>) -> String {
    at.with_timezone(&Utc).to_rfc3339()
}

fn part(job: Option<&str>) -> String {
    job.map_or_else(|| "pgtide.toml".to_owned(), escaped)
}

fn reason(failure: &Failure) -> String {
    with_sqlstate(&failure.message, failure.sqlstate.as_deref())
}

fn indented(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n        ")
}

/// `12 s`, `35 min`, `4 h`, `3 days`: how long to wait, for who has time.
fn coarse(time: TimeDelta) -> String {
    match time.num_seconds().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", (seconds + 30) / 60),
        seconds @ 7_200..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::super::story;
    use super::*;

    #[test]
    fn what_a_schedule_says_is_a_line_each() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let job = || "flights".to_owned();
        let zone = chrono_tz::America::New_York;
        let all = [
            Scheduling::StandingBy {
                destination: "warehouse".into(),
                host: "etl-1".into(),
                pid: Some(4711),
                since: Some(at("2026-01-06T22:10:04Z")),
            },
            Scheduling::Leading { destination: "warehouse".into(), project: "dw".into() },
            Scheduling::Waiting { job: job(), at: at("2026-01-07T08:00:00Z").with_timezone(&zone) },
            Scheduling::NotStarted { job: job(), failure: story::deadlock(1), wait: Duration::from_secs(60) },
            Scheduling::Unreachable { destination: "warehouse".into(), failure: story::deadlock(1) },
            Scheduling::Broken {
                job: Some(job()),
                findings: vec!["jobs/flights.toml:3: `mode`: is not a mode".into()],
                kept: true,
            },
            Scheduling::Mended { job: Some(job()) },
            Scheduling::JobAdded { job: job() },
            Scheduling::JobChanged { job: job() },
            Scheduling::JobRemoved { job: job() },
        ];
        let lines: Vec<_> = all.iter().map(|said| line(said, &story::moment(0.0), Palette::OFF)).collect();
        assert_snapshot!(lines.join("\n"), @"
        22:09:14  warehouse: standing by; the leader is etl-1 since 2026-01-06 22:10:04 UTC (process 4711)
        22:09:14  warehouse: this process leads the schedule of dw
        22:09:14  next: flights 2026-01-07 03:00, in 5 h
        22:09:14  x flights: not started, again in 60 s: copying batch 3 of mart.orders: warehouse: deadlock detected (40P01)
          hint: look for the other session in the server's log
        22:09:14  x warehouse: cannot be asked, trying again: copying batch 3 of mart.orders: warehouse: deadlock detected (40P01)
        22:09:14  ! flights: is not valid; the last good version goes on
          jobs/flights.toml:3: `mode`: is not a mode
        22:09:14  flights: is good again
        22:09:14  flights: new job
        22:09:14  flights: its file changed
        22:09:14  flights: its file is gone; it is not run any more
        ");
        assert!(all.iter().all(|said| object(said).1.is_object()));
    }
}
