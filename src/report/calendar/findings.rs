//! What is wrong with a job's intervals, in words, each with the command that mends it.

use std::cmp::Reverse;

use chrono::NaiveDate;

use super::{Cell, DayState, Grain, Status};
use crate::report::number::grouped;
use crate::report::paint::{Palette, Tone, escaped};
use crate::report::phrase::columns;

/// Findings listed below the calendar.
const MOST_FINDINGS: usize = 12;

/// What is wrong, newest first, neighbours in one, each with the command that mends it.
pub(super) fn lines(status: &Status, width: usize, palette: Palette) -> Vec<String> {
    let mut groups = groups(status);
    groups.reverse();
    // What most wants attention first; within it the newest.
    groups.sort_by_key(|group| Reverse(group[0].state));
    let mut lines: Vec<_> =
        groups.iter().take(MOST_FINDINGS).flat_map(|group| finding(status, group, width, palette)).collect();
    if groups.len() > MOST_FINDINGS {
        let more = groups.len() - MOST_FINDINGS;
        lines.push(format!("  + {more} more: pgtide status {} --output json", escaped(&status.job)));
    }
    lines
}

/// Neighbours of one state, for one reason; without those that are as they should be.
fn groups(status: &Status) -> Vec<Vec<&Cell>> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    let mut last_index = None;
    for (index, cell) in status.cells.iter().enumerate() {
        if matches!(cell.state, DayState::Loaded | DayState::Skipped) {
            continue;
        }
        let follows = index > 0 && last_index == Some(index - 1);
        last_index = Some(index);
        match groups.last_mut() {
            Some(group) if follows && says_the_same(group[0], cell) => group.push(cell),
            _ => groups.push(vec![cell]),
        }
    }
    groups
}

/// Stretches of time in which nothing is loaded, oldest first.
pub(super) fn gaps(status: &Status) -> Vec<Vec<&Cell>> {
    let gaps = status.cells.chunk_by(|one, other| one.state == other.state);
    gaps.filter(|gap| gap[0].state == DayState::Missing).map(|gap| gap.iter().collect()).collect()
}

/// The one line of a table that is loaded whole, and what mends it.
pub(super) fn whole(status: &Status, cell: &Cell, palette: Palette) -> Vec<String> {
    let state = cell.state;
    let word = palette.paint(state.tone(), &format!("{} {}", state.sign(), state.word()));
    let late = if cell.late { palette.paint(Tone::Bad, "late") } else { String::new() };
    let moment = if status.moments.is_empty() { String::new() } else { escaped(&cell.key) };
    let mut lines =
        vec![columns([&*word, &late, &moment, &escaped(cell.note.as_deref().unwrap_or_default())])];
    let job = escaped(&status.job);
    match state {
        DayState::Failed | DayState::Missing | DayState::Interrupted => {
            lines.push(format!("              pgtide run {job}"));
        }
        DayState::Stale => lines.push(format!("              pgtide run {job} --reload")),
        DayState::Loaded | DayState::Running | DayState::Skipped | DayState::Gone => {}
    }
    lines
}

/// The last moments of a snapshot job, newest first, between empty lines.
pub(super) fn moments(status: &Status, palette: Palette) -> Vec<String> {
    if status.moments.is_empty() {
        return Vec::new();
    }
    let line = |cell: &Cell| {
        let sign = palette.paint(cell.state.tone(), cell.state.sign());
        let note = escaped(cell.note.as_deref().unwrap_or(cell.state.word()));
        columns([&*format!("{sign} {}", escaped(&cell.key)), &note])
    };
    let empty = || std::iter::once(String::new());
    empty().chain(status.moments.iter().map(line)).chain(empty()).collect()
}

fn says_the_same(one: &Cell, other: &Cell) -> bool {
    one.state == other.state && one.note == other.note && one.late == other.late
}

fn finding(status: &Status, group: &[&Cell], width: usize, palette: Palette) -> Vec<String> {
    let (first, last) = (group[0], group[group.len() - 1]);
    let state = first.state;
    let keys = match group.len() {
        1 => escaped(&first.key),
        number => {
            let number = grouped(number as u64);
            format!("{} .. {} ({number})", escaped(&first.key), escaped(&last.key))
        }
    };
    let note = first.note.as_deref().unwrap_or(match state {
        DayState::Missing => "never loaded",
        DayState::Interrupted => "the run that loaded it died; the next takes it over",
        other => other.word(),
    });
    let sign = palette.paint(state.tone(), state.sign());
    let late = if first.late { palette.paint(Tone::Bad, "late") } else { String::new() };
    let line = columns([&*format!("{sign} {keys}"), &late, &escaped(note)]);
    let command = command(&escaped(&status.job), state, &dates(status.grain, first.date, last.date));
    // The whole message is in `status --date`.
    let mut lines = vec![console::truncate_str(&line, width, "...").into_owned()];
    lines.extend(command.map(|command| format!("              {command}")));
    lines
}

/// The command that shows more of a failure, or mends the rest.
fn command(job: &str, state: DayState, dates: &str) -> Option<String> {
    match state {
        DayState::Failed if dates.starts_with("--date") => Some(format!("pgtide status {job} {dates}")),
        DayState::Failed | DayState::Missing | DayState::Interrupted => {
            Some(format!("pgtide run {job} {dates}"))
        }
        DayState::Stale => Some(format!("pgtide run {job} {dates} --reload")),
        // What mends it depends on what became of the table, and stands below.
        DayState::Running | DayState::Skipped | DayState::Loaded | DayState::Gone => None,
    }
}

/// The options that name the dates.
fn dates(grain: Grain, first: NaiveDate, last: NaiveDate) -> String {
    let shown = |date: NaiveDate| match grain {
        Grain::Month => date.format("%Y-%m").to_string(),
        _ => date.to_string(),
    };
    if first == last {
        return format!("--date {}", shown(first));
    }
    format!("--from-date {} --to-date {}", shown(first), shown(last))
}
