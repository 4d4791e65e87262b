//! The lines that bars and plain output share: a run's heading, an interval's end, a notice.
//!
//! Every text from outside (names, messages) is escaped here.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};

use super::board::{JobCount, Moment, Running, Totals};
use super::number::{byte_rate, bytes, count, counted, duration, grouped, per_second, rate};
use super::paint::{Palette, Tone, escaped};
use crate::event::{Failure, Loaded, Phase, RunStarted};

/// Two spaces between columns, as everywhere.
pub(super) fn columns<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// `orders  1,096 intervals  source -> warehouse mart.orders  America/New_York`.
pub(super) fn heading(job: &JobCount, palette: Palette) -> String {
    let run = &job.run;
    let way = escaped(&format!("{} -> {} {}", run.source, run.destination, run.into));
    if job.is_whole() {
        return columns([&*palette.paint(Tone::Strong, &way)]);
    }
    let name = palette.paint(Tone::Strong, &escaped(&run.job));
    let intervals = counted((run.intervals + run.skipped) as u64, "interval");
    columns([&*name, &intervals, &way, run.timezone.as_deref().unwrap_or_default()])
}

/// `connections: 10 of 12 on source, 31 of 40 on warehouse`.
pub(super) fn connections(run: &RunStarted) -> String {
    let side = |(open, cap): (usize, Option<usize>), name: &str| match cap {
        Some(cap) => format!("{open} of {cap} on {}", escaped(name)),
        None => format!("{open} on {}", escaped(name)),
    };
    let source = side(run.source_connections, &run.source);
    let destination = side(run.destination_connections, &run.destination);
    format!("connections: {source}, {destination}; {} at once", counted(run.parallel as u64, "interval"))
}

/// `# 2024-05-04  851,004 rows  125 MB  in 12 s  69 k/s`.
pub(super) fn loaded(label: &str, loaded: &Loaded, palette: Palette) -> String {
    let verb = if loaded.reloaded { "reloaded" } else { "" };
    let rows = counted(loaded.rows, "row");
    let size = bytes(loaded.bytes);
    let time = format!("in {}", duration(loaded.elapsed));
    let speed =
        per_second(loaded.rows, loaded.elapsed).filter(|_| loaded.rows > 0).map(rate).unwrap_or_default();
    let label = escaped(label);
    columns([&*format!("{} {label}", palette.paint(Tone::Good, "#")), verb, &rows, &size, &time, &speed])
}

/// `x 2023-11-05  failed 22:09  warehouse: deadlock detected (40P01), try 4 of 4`.
pub(super) fn failed(
    label: &str,
    failure: &Failure,
    tries: Option<u32>,
    clock: &str,
    palette: Palette,
) -> String {
    let sign = palette.paint(Tone::Bad, "x");
    let try_text = tries_text(failure.attempt, tries);
    let what = format!("{}{try_text}", message(failure));
    columns([&*format!("{sign} {}", escaped(label)), format!("failed {clock}").trim_end(), &what])
}

/// `~ 2023-11-05  next try in 5.0 s  warehouse: deadlock detected (40P01), try 1 of 4`.
pub(super) fn retrying(
    label: &str,
    failure: &Failure,
    tries: u32,
    wait: Duration,
    palette: Palette,
) -> String {
    let sign = palette.paint(Tone::Warn, "~");
    let what = format!("{}{}", message(failure), tries_text(failure.attempt, Some(tries)));
    columns([&*format!("{sign} {}", escaped(label)), &format!("next try in {}", duration(wait)), &what])
}

/// `- 2023-11-05  skipped: already loaded`.
pub(super) fn skipped(label: &str, reason: &str, palette: Palette) -> String {
    let sign = palette.paint(Tone::Faint, "-");
    format!("{sign} {}  skipped: {}", escaped(label), escaped(reason))
}

/// `note: ...`.
pub(super) fn notice(message: &str, palette: Palette) -> String {
    format!("{} {}", palette.paint(Tone::Warn, "note:"), escaped(message))
}

/// The failure's message with the server's code, if the message does not hold it already.
pub(super) fn message(failure: &Failure) -> String {
    with_sqlstate(&failure.message, failure.sqlstate.as_deref())
}

/// `deadlock detected (40P01)`.
pub(super) fn with_sqlstate(message: &str, code: Option<&str>) -> String {
    match code {
        Some(code) if !message.contains(code) => format!("{} ({})", escaped(message), escaped(code)),
        _ => escaped(message),
    }
}

/// `, try 4 of 4`; nothing for the first of an unknown number.
pub(super) fn tries_text(attempt: u32, tries: Option<u32>) -> String {
    match tries {
        Some(tries) if tries > 1 => format!(", try {attempt} of {}", tries.max(attempt)),
        _ if attempt > 1 => format!(", try {attempt}"),
        _ => String::new(),
    }
}

/// What a running interval is doing, with how long where it waits.
pub(super) fn doing(running: &Running, tries: Option<u32>, at: Duration) -> String {
    if let Some(retry_at) = running.retry_at {
        let tries = tries.map(|tries| format!(" of {tries}")).unwrap_or_default();
        let wait = retry_at.saturating_sub(at).as_secs();
        return format!("try {}{tries} in {wait} s", running.attempt + 1);
    }
    let phase = match running.phase {
        Phase::Claiming => "claiming",
        Phase::Checking => "checking",
        Phase::Clearing => "clearing",
        Phase::WaitingForSource => "waiting for source",
        Phase::Writing => return "writing".into(),
        Phase::Finishing => "finishing",
    };
    let waited = at.saturating_sub(running.since);
    if waited < Duration::from_secs(2) { phase.into() } else { format!("{phase} {}", whole(waited)) }
}

/// `484 loaded  4 skipped  1 failed  10 running  597 waiting`.
pub(super) fn counts(totals: &Totals, palette: Palette) -> String {
    let some = |number: usize, word: &str, tone: Tone| match number {
        0 => String::new(),
        _ => palette.paint(tone, &format!("{} {word}", grouped(number as u64))),
    };
    columns([
        &*format!("{} loaded", grouped(totals.loaded as u64)),
        &some(totals.skipped, "skipped", Tone::Faint),
        &some(totals.failed, "failed", Tone::Bad),
        &some(totals.running, "running", Tone::Busy),
        &some(totals.waiting, "waiting", Tone::Plain),
    ])
}

/// `488/1,096  412 M rows  381 k/s  56 MB/s`, without the first part for a single interval.
pub(super) fn totals(totals: &Totals, rates: Option<(f64, f64)>) -> String {
    let done = match totals.intervals {
        0 | 1 => String::new(),
        all => format!("{}/{}", grouped((totals.loaded + totals.skipped) as u64), grouped(all as u64)),
    };
    let rows = format!("{} {}", count(totals.rows), if totals.rows == 1 { "row" } else { "rows" });
    let (row_rate, size_rate) = rates.map(|(rows, size)| (rate(rows), byte_rate(size))).unwrap_or_default();
    columns([&*done, &rows, &row_rate, &size_rate])
}

/// When it will be done: `1 m 05 s left`, or the time on the clock if that is over an hour away.
pub(super) fn eta(left: Option<Duration>, moment: &Moment) -> String {
    let Some(left) = left else { return String::new() };
    if left < Duration::from_secs(3_600) {
        return format!("{} left", whole(left));
    }
    let end = chrono::TimeDelta::from_std(left).ok().and_then(|left| moment.wall.checked_add_signed(left));
    match end {
        Some(end) if end.date_naive() == moment.wall.date_naive() => format!("ETA {}", end.format("%H:%M")),
        Some(end) if left < Duration::from_secs(6 * 86_400) => format!("ETA {}", end.format("%a %H:%M")),
        Some(end) if left < Duration::from_secs(90 * 86_400) => format!("ETA {}", end.format("%Y-%m-%d")),
        _ => String::new(),
    }
}

/// A duration without parts of a second: numbers that move should not flicker.
pub(super) fn whole(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => duration(Duration::from_secs(seconds)),
    }
}

/// `22:09`, for what happened today.
pub(super) fn clock(time: DateTime<FixedOffset>) -> String {
    time.format("%H:%M").to_string()
}
