//! What came of several jobs, a line for each: the last words of a run.
//!
//! Each job's own summary stands above, among those of the others, where it ended.

use std::time::Duration;

use super::number::{bytes, counted, duration, grouped};
use super::paint::{Palette, Tone, escaped};
use super::phrase::columns;
use super::summary::word;
use crate::event::Summary;

/// Draws the lines; nothing, if only failures are wanted and there are none.
pub(super) fn text(runs: &[Summary], elapsed: Duration, only_failures: bool, palette: Palette) -> String {
    let shown: Vec<_> = runs.iter().filter(|run| !only_failures || is_bad(run)).collect();
    if shown.is_empty() {
        return String::new();
    }
    let width = shown.iter().map(|run| escaped(&run.job).chars().count()).max().unwrap_or(0);
    let mut lines = vec![String::new(), heading(runs, elapsed, palette)];
    for run in shown {
        let (_, tone) = word(run);
        let sign = palette.paint(tone, sign(run));
        let name = format!("{:width$}", escaped(&run.job));
        lines.push(columns([&*format!("{sign} {name}"), &what(run)]));
        let command = run.retry_command.as_ref().filter(|_| is_bad(run));
        lines.extend(command.map(|command| format!("  {:width$}  {}", "", escaped(command))));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `3 jobs in 12 s: 1 done, 1 failed, 1 nothing to do`.
fn heading(runs: &[Summary], elapsed: Duration, palette: Palette) -> String {
    let words = ["done", "failed", "not done", "stopped", "nothing to do"];
    let number = |wanted: &str| runs.iter().filter(|run| word(run).0 == wanted).count();
    let parts = words.iter().map(|word| (number(word), word)).filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts.map(|(number, word)| format!("{} {word}", grouped(number as u64))).collect();
    let jobs = palette.paint(Tone::Strong, &counted(runs.len() as u64, "job"));
    format!("{jobs} in {}: {}", duration(elapsed), parts.join(", "))
}

fn is_bad(run: &Summary) -> bool {
    !run.failed.is_empty() || run.not_started > 0
}

fn sign(run: &Summary) -> &'static str {
    match word(run).0 {
        "done" => "#",
        "failed" => "x",
        "nothing to do" => "-",
        _ => "!",
    }
}

fn what(run: &Summary) -> String {
    if let [(key, failure)] = &run.failed[..]
        && *key == run.job
    {
        return format!("could not start: {}", escaped(&failure.message));
    }
    let part = |number: usize, word: &str| match number {
        0 => String::new(),
        _ => format!("{} {word}", grouped(number as u64)),
    };
    let (failed, left) = (part(run.failed.len(), "failed"), part(run.not_started, "not done"));
    let (rows, size) = match run.loaded {
        0 => (String::new(), String::new()),
        _ => (counted(run.rows, "row"), bytes(run.bytes)),
    };
    let nothing = if run.loaded == 0 && !is_bad(run) { "nothing to do" } else { "" };
    columns([&*part(run.loaded, "loaded"), &failed, &left, nothing, &rows, &size])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::story;
    use super::*;

    fn runs() -> Vec<Summary> {
        let named = |job: &str, run: Summary| Summary { job: job.into(), ..run };
        let done = Summary { loaded: 3, rows: 4_512, bytes: 820_000, ..Summary::default() };
        let lost = vec![("users".to_owned(), story::deadlock(1))];
        let lost =
            Summary { failed: lost, retry_command: Some("pgtide run users".into()), ..Summary::default() };
        vec![
            named("airlines", Summary::default()),
            named("flights", done),
            story::backfill_summary(),
            named("users", lost),
        ]
    }

    #[test]
    fn the_last_words_of_a_run_name_each_job() {
        assert_snapshot!(text(&runs(), Duration::from_secs(12), false, Palette::OFF), @"

        4 jobs in 12 s: 1 done, 2 failed, 1 nothing to do
        - airlines  nothing to do
        # flights   3 loaded  4,512 rows  820 kB
        x orders    1,091 loaded  1 failed  928,445,364 rows  136 GB
                    pgtide run orders --date 2023-11-05
        x users     could not start: copying batch 3 of mart.orders: warehouse: deadlock detected
                    pgtide run users
        ");
    }

    #[test]
    fn a_quiet_run_names_what_failed_only() {
        let quiet = text(&runs(), Duration::from_secs(12), true, Palette::OFF);
        assert!(!quiet.contains("airlines") && !quiet.contains("flights"), "{quiet}");
        assert_eq!(text(&runs()[..2], Duration::from_secs(12), true, Palette::OFF), "");
    }
}
