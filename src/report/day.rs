//! One interval in full: its bounds, what is stored, and everybody who tried or marked it.
//!
//! A pure function of the ledger's records. Several intervals of a date are a line each, unless all of
//! it is wanted.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::calendar::DayState;
use super::number::{bytes, counted, duration, grouped};
use super::paint::{Palette, Tone, escaped};
use super::phrase::{columns, with_sqlstate};
use crate::interval::{Calendar, DataInterval};
use crate::ledger::{Activity, AttemptRecord, IntervalRecord};

/// Intervals that are told in full; more are a line each.
const IN_FULL: usize = 3;

/// One interval.
#[derive(Debug, Clone)]
pub struct Day {
    /// The job.
    pub job: String,
    /// The interval's key.
    pub key: String,
    /// Its state; none while it is not complete and nothing was done with it.
    pub state: Option<DayState>,
    /// The interval.
    pub interval: DataInterval,
    /// The job's calendar; none for a whole table.
    pub calendar: Option<Calendar>,
    /// The zone for times.
    pub timezone: Tz,
    /// The destination: connection and table.
    pub table: String,
    /// What the ledger says.
    pub record: Option<IntervalRecord>,
    /// Whether it was loaded by another definition of the job.
    pub is_other_definition: bool,
    /// Its history, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// Whether its deadline has passed and it is not loaded.
    pub is_late: bool,
    /// What a person should know beside it: why it is not due.
    pub note: Option<String>,
    /// The command that loads it.
    pub command: Option<String>,
}

/// Tells of intervals: a few in full, many in a line each; with a line end.
#[must_use]
pub fn text(days: &[Day], verbose: bool, palette: Palette) -> String {
    if verbose || days.len() <= IN_FULL {
        return days.iter().map(|day| day.in_full(palette)).collect::<Vec<_>>().join("\n");
    }
    let lines: String = days.iter().map(|day| format!("{}\n", day.in_short(palette))).collect();
    let one = days.iter().find(|day| day.state == Some(DayState::Failed)).unwrap_or(&days[0]);
    format!("{lines}\n  pgtide status {} --date {}\n", escaped(&one.job), escaped(&one.key))
}

impl Day {
    fn state_word(&self, palette: Palette) -> String {
        let late = if self.is_late { ", late" } else { "" };
        match self.state {
            Some(state) => palette.paint(state.tone(), &format!("{} {}{late}", state.sign(), state.word())),
            None => "not complete yet".to_owned(),
        }
    }

    /// `720 rows, 98 kB in 1 batch`, if something is loaded.
    fn stored(&self) -> String {
        let Some(record) = self.record.as_ref().filter(|record| record.loaded_at.is_some()) else {
            return String::new();
        };
        let Some(rows) = record.rows else { return "rows that pgtide did not count".to_owned() };
        let mut text = counted(rows.unsigned_abs(), "row");
        if rows == 0 {
            return text;
        }
        if let (Some(size), Some(batches)) = (record.bytes, record.batches) {
            let noun = if batches == 1 { "batch" } else { "batches" };
            let batches = grouped(u64::from(batches.unsigned_abs()));
            let _ = write!(text, ", {} in {batches} {noun}", bytes(size.unsigned_abs()));
        }
        text
    }

    fn in_short(&self, palette: Palette) -> String {
        let sign = self.state.map_or_else(|| " ".into(), |state| palette.paint(state.tone(), state.sign()));
        let word = self.state.map_or("not complete yet", DayState::word);
        let error = self.record.as_ref().filter(|_| self.state == Some(DayState::Failed));
        let error = error.and_then(|record| record.error_message.as_deref()).map(first_line);
        let what = error.map_or_else(|| self.stored(), escaped);
        columns([&*format!("{sign} {}", escaped(&self.key)), word, &what])
    }

    fn in_full(&self, palette: Palette) -> String {
        let name = palette.paint(Tone::Strong, &escaped(&format!("{} {}", self.job, self.key)));
        let mut lines = vec![columns([&*name, &self.state_word(palette), &self.stored()])];
        let mut field = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
        if let Some(calendar) = self.calendar {
            let (local, utc) = (bounds(calendar, &self.interval), bounds_in_utc(calendar, &self.interval));
            field("interval", local.clone());
            if local != utc {
                field("in UTC", utc);
            }
        }
        field("table", escaped(&self.table));
        for (name, text) in self.facts() {
            field(name, text);
        }
        let history: Vec<_> = self.attempts.iter().flat_map(|attempt| self.attempt(attempt)).collect();
        for part in
            [history, self.at_work(), self.command.clone().into_iter().map(|c| format!("  {c}")).collect()]
        {
            if !part.is_empty() {
                lines.push(String::new());
                lines.extend(part);
            }
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let Some(record) = &self.record {
            if let Some(at) = record.loaded_at {
                let definition =
                    if self.is_other_definition { ", by another definition of the job" } else { "" };
                facts.push(("loaded", format!("{}{definition}", self.at(at))));
            }
            facts.extend(record.reason.iter().map(|reason| ("marked", escaped(reason))));
        }
        facts.extend(self.note.iter().map(|note| ("note", escaped(note))));
        facts
    }

    fn at(&self, instant: DateTime<Utc>) -> String {
        instant.with_timezone(&self.timezone).format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// An attempt that ended, or a mark: what came of it, by whom, and what went wrong.
    fn attempt(&self, attempt: &AttemptRecord) -> Vec<String> {
        let who = who(Some(&attempt.role), attempt.host.as_deref(), attempt.pid);
        let Some(started) = attempt.started_at else {
            let reason = attempt.reason.as_deref().map(|reason| format!(": {}", escaped(reason)));
            let word = escaped(attempt.state.as_str());
            let first = columns([&*self.at(attempt.finished_at), &format!("marked {word}")]);
            return vec![
                format!("  mark      {first}"),
                format!("            {who}{}", reason.unwrap_or_default()),
            ];
        };
        let elapsed = (attempt.finished_at - started).to_std().unwrap_or(Duration::ZERO);
        let rows = attempt.rows.filter(|_| attempt.outcome == "loaded");
        let rows = rows.map_or_else(String::new, |rows| format!(" {}", counted(rows.unsigned_abs(), "row")));
        let what = match attempt.outcome.as_str() {
            // When it died is not known: the record was made by whoever found out.
            "interrupted" => "interrupted".to_owned(),
            outcome => format!("{}{rows} after {}", escaped(outcome), duration(elapsed)),
        };
        let mut lines = vec![
            format!("  {:<9} {}", format!("try {}", attempt.attempt), columns([&*self.at(started), &what])),
            format!("            {who}{}", run(attempt.run_id.as_deref(), attempt.trigger.as_deref())),
        ];
        let message = attempt.error_message.as_deref().unwrap_or_default();
        for (number, line) in message.split('\n').filter(|line| !line.is_empty()).enumerate() {
            let code = attempt.error_code.as_deref().filter(|code| number == 0 && code.len() == 5);
            lines.push(format!("            {}", with_sqlstate(line, code)));
        }
        lines
    }

    /// The attempt that has not ended.
    fn at_work(&self) -> Vec<String> {
        let Some(record) = self.record.as_ref().filter(|record| record.activity != Activity::Idle) else {
            return Vec::new();
        };
        let since = record.started_at.map(|at| self.at(at)).unwrap_or_default();
        let what =
            if record.activity == Activity::Live { "at work" } else { "died; the next run takes it over" };
        vec![
            format!("  {:<9} {}", format!("try {}", record.attempt), columns([&*since, what])),
            format!(
                "            {}{}",
                who(None, record.host.as_deref(), record.pid),
                run(record.run_id.as_deref(), record.trigger.as_deref())
            ),
        ]
    }
}

fn bounds(calendar: Calendar, interval: &DataInterval) -> String {
    let [start, end] =
        [interval.start, interval.end].map(|at| calendar.instant_text(at).replacen('T', " ", 1));
    format!("{start} to {end}")
}

fn bounds_in_utc(calendar: Calendar, interval: &DataInterval) -> String {
    bounds(Calendar { timezone: Tz::UTC, ..calendar }, interval)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// `etl on host-1, process 4711`.
fn who(role: Option<&str>, host: Option<&str>, pid: Option<i64>) -> String {
    let role = role.map(|role| format!("by {} ", escaped(role))).unwrap_or_default();
    let host = format!("{role}on {}", escaped(host.unwrap_or("an unknown host")));
    pid.map_or_else(|| host.clone(), |pid| format!("{host}, process {pid}"))
}

fn run(run_id: Option<&str>, trigger: Option<&str>) -> String {
    let run = run_id.map(|id| format!(", run {}", escaped(id))).unwrap_or_default();
    trigger.map_or_else(|| run.clone(), |trigger| format!("{run}, for {}", escaped(trigger)))
}

/// The same for programs: `job` `interval` `state` `interval_start` `interval_end` `table` `rows`
/// `bytes` `batches` `loaded_at` `activity` `reason` `other_definition` `late` `note` `attempts`; times in RFC 3339.
#[must_use]
pub fn json(day: &Day) -> Value {
    let record = day.record.as_ref();
    let time = |at: DateTime<Utc>| at.to_rfc3339();
    let attempts: Vec<_> = day
        .attempts
        .iter()
        .map(|a| {
            json!({ "attempt": a.attempt, "outcome": a.outcome, "state": a.state.as_str(),
                "reason": a.reason, "role": a.role, "host": a.host, "pid": a.pid, "run_id": a.run_id,
                "trigger": a.trigger, "rows": a.rows, "started_at": a.started_at.map(time),
                "finished_at": time(a.finished_at), "error_code": a.error_code,
                "error_message": a.error_message })
        })
        .collect();
    let activity = record.map(|r| match r.activity {
        Activity::Idle => "idle",
        Activity::Live => "live",
        Activity::Dead => "dead",
    });
    json!({ "job": day.job, "interval": day.key, "state": day.state.map(DayState::word),
        "interval_start": day.calendar.map(|_| time(day.interval.start)),
        "interval_end": day.calendar.map(|_| time(day.interval.end)), "table": day.table, "rows": record.and_then(|r| r.rows),
        "bytes": record.and_then(|r| r.bytes), "batches": record.and_then(|r| r.batches),
        "loaded_at": record.and_then(|r| r.loaded_at).map(time), "activity": activity,
        "reason": record.and_then(|r| r.reason.clone()), "other_definition": day.is_other_definition,
        "late": day.is_late,
        "note": day.note, "attempts": attempts })
}
