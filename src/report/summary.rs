//! The last words of a run: what is done, what is not, and the command for the rest.

use super::board::{Board, JobCount};
use super::error::block;
use super::number::{byte_rate, bytes, counted, duration, grouped, per_second, rate};
use super::paint::{Palette, Tone, escaped};
use super::phrase;
use crate::event::{Failure, Halt, IntervalId, Summary};

/// Failures shown in full; the others get a line.
const IN_FULL: usize = 3;
/// Failures that get a line.
const MOST_LINES: usize = 20;

/// Writes the summary of a job's run; the board adds what the summary does not hold.
pub(super) fn text(run: &Summary, board: &Board, palette: Palette) -> String {
    let job = board.job(&run.job);
    let all = run.loaded + run.loaded_elsewhere + run.failed.len() + run.not_started;
    if let ([(key, failure)], 1) = (&run.failed[..], all) {
        let message = message(run, (key, failure), board);
        return single_failure(run, (key, failure), &message, palette);
    }
    let whole = job.is_some_and(JobCount::is_whole);
    let (word, tone) = word(run);
    let verdict = format!("{}  {}", palette.paint(tone, word), verdict(run, job));
    let mut lines = vec![verdict];
    if run.loaded > 0 && !whole {
        lines.push(format!("{}  {}", " ".repeat(word.len()), numbers(run)));
    }
    if !run.failed.is_empty() {
        lines.push(String::new());
        lines.extend(failures(run, board, palette));
    }
    if let Some(command) =
        run.retry_command.as_ref().filter(|_| !run.failed.is_empty() || run.not_started > 0)
    {
        if !run.failed.is_empty() {
            lines.push(String::new());
        }
        let goes_on = run.interrupted || run.halted.is_some();
        let word = if goes_on { "go on with:" } else { "try again:" };
        lines.push(format!("{} {}", palette.paint(Tone::Strong, word), escaped(command)));
    }
    lines.join("\n")
}

/// The run in a word.
pub(super) fn word(run: &Summary) -> (&'static str, Tone) {
    match () {
        () if run.interrupted => ("stopped", Tone::Warn),
        () if run.halted == Some(Halt::Cancelled) => ("cancelled", Tone::Bad),
        () if run.halted == Some(Halt::Paused) => ("paused", Tone::Warn),
        () if !run.failed.is_empty() => ("failed", Tone::Bad),
        () if run.not_started > 0 => ("not done", Tone::Warn),
        () if run.loaded + run.loaded_elsewhere == 0 => ("nothing to do", Tone::Good),
        () => ("done", Tone::Good),
    }
}

/// `orders: 1,091 loaded, 1 failed, 4 skipped (already loaded)`.
fn verdict(run: &Summary, job: Option<&JobCount>) -> String {
    let name = run.backfill.as_deref().unwrap_or(run.job.strip_prefix("copy:").unwrap_or(&run.job));
    let name = escaped(name);
    let all = run.loaded + run.loaded_elsewhere + run.failed.len() + run.not_started;
    if job.is_some_and(JobCount::is_whole) && run.loaded == 1 {
        return format!("{name}: {}", numbers(run));
    }
    let part = |number: usize, word: &str| (number > 0).then(|| format!("{} {word}", grouped(number as u64)));
    let loaded = match run.loaded {
        0 if all == 0 => None,
        loaded if loaded < all => {
            Some(format!("{} of {} loaded", grouped(loaded as u64), grouped(all as u64)))
        }
        loaded => Some(format!("{} loaded", grouped(loaded as u64))),
    };
    let skipped = part(run.skipped, "skipped").map(|text| format!("{text}{}", reasons(job)));
    let parts = [
        loaded,
        part(run.loaded_elsewhere, "by other processes"),
        part(run.failed.len(), "failed"),
        part(run.not_started, "not done"),
        skipped,
    ];
    format!("{name}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// ` (already loaded)`, ` (3 already loaded, 1 held by another run)`.
fn reasons(job: Option<&JobCount>) -> String {
    let mut reasons: Vec<_> = job.map(|job| job.skip_reasons.iter().collect()).unwrap_or_default();
    reasons.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    match &reasons[..] {
        [] => String::new(),
        [(reason, _)] => format!(" ({})", escaped(reason)),
        several => {
            let shown: Vec<_> =
                several.iter().take(3).map(|(why, n)| format!("{n} {}", escaped(why))).collect();
            let more = if several.len() > 3 { ", ..." } else { "" };
            format!(" ({}{more})", shown.join(", "))
        }
    }
}

/// `27,004 rows  2.1 MB  in 4.2 s  6,430/s  504 kB/s`.
fn numbers(run: &Summary) -> String {
    let rows = counted(run.rows, "row");
    let time = format!("in {}", duration(run.elapsed));
    let rates = run.rows > 0;
    let rate = |amount, show: fn(f64) -> String| {
        per_second(amount, run.elapsed).filter(|_| rates).map(show).unwrap_or_default()
    };
    phrase::columns([
        &*rows,
        &bytes(run.bytes),
        &time,
        &rate(run.rows, self::rate),
        &rate(run.bytes, byte_rate),
    ])
}

fn failures(run: &Summary, board: &Board, palette: Palette) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, (key, failure)) in run.failed.iter().take(MOST_LINES).enumerate() {
        let message = message(run, (key, failure), board);
        lines.push(format!("{} {}  {message}", palette.paint(Tone::Bad, "x"), escaped(key)));
        if number < IN_FULL {
            let block = block(&failure.details, failure.hint.as_deref(), palette);
            lines.extend(
                block
                    .lines()
                    .filter(|line| !line.is_empty())
                    .map(|line| format!("  {}", line.trim_start_matches("  "))),
            );
        }
    }
    if run.failed.len() > MOST_LINES {
        lines.push(format!("  + {} more failed", run.failed.len() - MOST_LINES));
    }
    lines
}

/// The failure's line with the number of its try.
fn message(run: &Summary, (key, failure): (&str, &Failure), board: &Board) -> String {
    let id = IntervalId { job: run.job.clone(), key: key.to_owned() };
    format!("{}{}", phrase::message(failure), phrase::tries_text(failure.attempt, board.tries(&id)))
}

/// A run of one interval that failed reads as the error it is.
fn single_failure(
    run: &Summary,
    (key, failure): (&str, &Failure),
    message: &str,
    palette: Palette,
) -> String {
    let job = run.job.strip_prefix("copy:").unwrap_or(&run.job);
    let what = if key == "all" { job.to_owned() } else { format!("{job} {key}") };
    let error = palette.paint(Tone::Bad, "error:");
    let first = format!("{error} {} was not loaded: {message}", escaped(&what));
    let mut text = format!("{first}\n{}", block(&failure.details, failure.hint.as_deref(), palette));
    let hinted = |command: &String| failure.hint.as_ref().is_some_and(|hint| hint.contains(command.as_str()));
    if let Some(command) = run.retry_command.as_ref().filter(|command| !hinted(command)) {
        text.push_str(&format!("{} {}\n", palette.paint(Tone::Strong, "try again:"), escaped(command)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::super::board::Board;
    use super::super::story::{self, at};
    use super::*;
    use crate::event::Event;

    fn shown(run: &Summary, events: &[Event]) -> String {
        let mut board = Board::default();
        events.iter().for_each(|event| board.apply(event, at(0.0)));
        text(run, &board, Palette::OFF)
    }

    fn skip(day: u32, reason: &str) -> Event {
        let id = story::id("orders", &format!("2026-01-{day:02}"));
        Event::IntervalSkipped { id, reason: reason.into() }
    }

    #[test]
    fn a_run_that_went_well_is_two_lines() {
        let run = Summary { failed: Vec::new(), retry_command: None, ..story::backfill_summary() };
        let started = Event::RunStarted(story::run("orders", 1_091, 4));
        let skips =
            [1, 2, 3, 4].map(|day| skip(day, if day < 4 { "already loaded" } else { "held by etl-2" }));
        assert_snapshot!(shown(&run, &[&[started][..], &skips].concat()), @"
        done  orders: 1,091 loaded, 4 skipped (3 already loaded, 1 held by etl-2)
              928,445,364 rows  136 GB  in 40 m 43 s  380 k/s  56 MB/s
        ");
    }

    #[test]
    fn a_run_that_failed_in_part_says_what_why_and_the_command() {
        assert_snapshot!(shown(&story::backfill_summary(), &[]), @"
        failed  orders: 1,091 of 1,092 loaded, 1 failed, 4 skipped
                928,445,364 rows  136 GB  in 40 m 43 s  380 k/s  56 MB/s

        x 2023-11-05  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), try 4
          done        nothing; mart.orders is unchanged
          hint: look for the other session in the server's log

        try again: pgtide run orders --date 2023-11-05
        ");
    }

    #[test]
    fn a_single_interval_that_failed_reads_as_an_error() {
        let run = Summary { loaded: 0, skipped: 0, rows: 0, bytes: 0, ..story::backfill_summary() };
        assert_snapshot!(shown(&run, &[]), @"
        error: orders 2023-11-05 was not loaded: copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), try 4

          done        nothing; mart.orders is unchanged

        hint: look for the other session in the server's log
        try again: pgtide run orders --date 2023-11-05
        ");
    }

    #[test]
    fn a_table_that_was_copied_is_one_line() {
        let run = Summary {
            job: "copy:mart.users".into(),
            loaded: 1,
            rows: 27_004,
            bytes: 2_100_000,
            elapsed: Duration::from_millis(4_200),
            ..Summary::default()
        };
        let started = Event::RunStarted(story::copy_run("mart.users"));
        assert_snapshot!(shown(&run, &[started]), @"done  mart.users: 27,004 rows  2.1 MB  in 4.2 s  6,430/s  500 kB/s");
    }

    #[test]
    fn nothing_to_do_says_why() {
        let run = Summary { job: "orders".into(), skipped: 2, ..Summary::default() };
        let started = Event::RunStarted(story::run("orders", 0, 2));
        let events = [started, skip(1, "already loaded"), skip(2, "already loaded")];
        assert_snapshot!(shown(&run, &events), @"nothing to do  orders: 2 skipped (already loaded)");
    }

    #[test]
    fn a_backfill_says_what_other_processes_loaded_and_why_it_ended() {
        let run = Summary {
            loaded: 90,
            failed: Vec::new(),
            not_started: 75,
            backfill: Some("orders/7".into()),
            loaded_elsewhere: 200,
            halted: Some(Halt::Paused),
            retry_command: Some("pgtide backfill resume orders/7".into()),
            ..story::backfill_summary()
        };
        assert_snapshot!(shown(&run, &[]), @"
        paused  orders/7: 90 of 365 loaded, 200 by other processes, 75 not done, 4 skipped
                928,445,364 rows  136 GB  in 40 m 43 s  380 k/s  56 MB/s
        go on with: pgtide backfill resume orders/7
        ");
        let run = Summary { halted: Some(Halt::Cancelled), retry_command: None, ..run };
        assert!(shown(&run, &[]).starts_with("cancelled  orders/7: 90 of 365 loaded"));
    }

    #[test]
    fn a_stopped_run_says_how_to_go_on() {
        let run = Summary {
            loaded: 12,
            failed: Vec::new(),
            not_started: 1_079,
            interrupted: true,
            retry_command: Some("pgtide backfill orders".into()),
            ..story::backfill_summary()
        };
        assert_snapshot!(shown(&run, &[]), @"
        stopped  orders: 12 of 1,091 loaded, 1,079 not done, 4 skipped
                 928,445,364 rows  136 GB  in 40 m 43 s  380 k/s  56 MB/s
        go on with: pgtide backfill orders
        ");
    }
}
