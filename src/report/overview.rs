//! The status of a whole project: one line per job.
//!
//! A pure function of what each job's status is; jobs whose destination cannot be reached are lines too.

use chrono::DateTime;
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::calendar::{DayState, Status, counts_json, number_of};
use super::number::grouped;
use super::paint::{Palette, Tone, escaped};
use crate::interval::minute_text;

/// The states that have a column of their own; what is at work shows as the line's sign.
const STATES: [DayState; 4] = [DayState::Loaded, DayState::Failed, DayState::Missing, DayState::Stale];

/// One job.
#[derive(Debug, Clone)]
pub struct Line {
    /// What is known of it; without cells when its destination cannot be reached.
    pub status: Status,
    /// The newest interval that has its rows; for a whole table, when it was loaded.
    pub newest: Option<String>,
    /// When its next interval is complete, in the job's time zone.
    pub next: Option<DateTime<Tz>>,
    /// Why nothing is known, in one line.
    pub error: Option<String>,
}

impl Line {
    /// What most wants attention.
    fn worst(&self) -> Option<DayState> {
        self.status.cells.iter().map(|cell| cell.state).max()
    }
}

/// Draws a table: a line per job, numbers to the right; with a line end.
#[must_use]
pub fn text(lines: &[Line], palette: Palette) -> String {
    let job_width = lines.iter().map(|line| line.status.job.chars().count()).max().unwrap_or(0).max(3);
    let newest_width = lines
        .iter()
        .filter_map(|line| line.newest.as_ref())
        .map(|key| key.chars().count())
        .max()
        .unwrap_or(0)
        .max(13);
    let has_gone = lines.iter().any(|line| number_of(&line.status, DayState::Gone) > 0);
    let states: Vec<_> = STATES.into_iter().chain(has_gone.then_some(DayState::Gone)).collect();
    let mut head = format!("  {:job_width$}", "job");
    for state in &states {
        head.push_str(&format!("  {:>6}", state.word()));
    }
    let has_deadlines = lines.iter().any(|line| line.status.deadline.is_some());
    if has_deadlines {
        head.push_str(&format!("  {:>6}", "late"));
    }
    head.push_str(&format!("  {:newest_width$}  next complete", "newest loaded"));
    let mut text = format!("{}\n", palette.paint(Tone::Strong, &head));
    for line in lines {
        text.push_str(row(line, (job_width, newest_width), (&states, has_deadlines), palette).trim_end());
        text.push('\n');
    }
    text
}

fn row(
    line: &Line,
    (job_width, newest_width): (usize, usize),
    (states, has_deadlines): (&[DayState], bool),
    palette: Palette,
) -> String {
    let job = escaped(&line.status.job);
    if let Some(error) = &line.error {
        return format!("{} {job:job_width$}  {}", palette.paint(Tone::Bad, "?"), escaped(error));
    }
    let sign = line.worst().map_or_else(|| " ".to_owned(), |worst| palette.paint(worst.tone(), worst.sign()));
    let mut row = format!("{sign} {job:job_width$}");
    for state in states.iter().copied() {
        let number = number_of(&line.status, state);
        let width = state.word().len().max(6);
        let tone = if number > 0 && state != DayState::Loaded { state.tone() } else { Tone::Plain };
        row.push_str(&format!("  {}", palette.paint(tone, &format!("{:>width$}", grouped(number)))));
    }
    if has_deadlines {
        let late = line.status.late();
        let tone = if late > 0 { Tone::Bad } else { Tone::Plain };
        row.push_str(&format!("  {}", palette.paint(tone, &format!("{:>6}", grouped(late)))));
    }
    let newest = escaped(line.newest.as_deref().unwrap_or("-"));
    let next = line.next.as_ref().map_or_else(|| "-".to_owned(), minute_text);
    row.push_str(&format!("  {newest:newest_width$}  {next}"));
    row
}

/// The same for programs, an object per job: `job` `source` `destination` `into` `interval` `timezone`
/// `counts` (per state) `late` `oldest_loaded` `newest` `next_complete` `error`.
#[must_use]
pub fn json(line: &Line) -> Value {
    let Line { status, newest, next, error } = line;
    json!({ "job": status.job, "source": status.source, "destination": status.destination,
        "into": status.into, "interval": status.interval, "timezone": status.timezone,
        "counts": counts_json(status), "late": status.late(),
        "oldest_loaded": status.loaded_span().map(|(oldest, _)| &oldest.key), "newest": newest, "next_complete": next.map(|at| at.to_rfc3339()), "error": error })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::calendar::Cell;
    use super::*;

    fn line(job: &str, states: &[DayState]) -> Line {
        let date = |day: usize| chrono::NaiveDate::from_ymd_opt(2026, 1, day as u32 + 1).unwrap();
        let cell = |(day, state): (usize, &DayState)| Cell {
            key: date(day).to_string(),
            date: date(day),
            state: *state,
            rows: None,
            note: None,
            late: false,
        };
        let cells = states.iter().enumerate().map(cell).collect();
        let status = Status { job: job.into(), interval: "day".into(), cells, ..Status::default() };
        let next = "2026-01-07T00:10:00Z".parse::<DateTime<chrono::Utc>>().unwrap().with_timezone(&Tz::UTC);
        let newest = states.contains(&DayState::Loaded).then(|| "2026-01-05".to_owned());
        Line { status, newest, next: Some(next), error: None }
    }

    #[test]
    fn a_project_is_a_line_per_job() {
        use DayState::*;
        let mut whole = line("airlines", &[Loaded]);
        whole.status.interval.clear();
        whole.newest = Some("2026-01-06 03:00".into());
        whole.next = None;
        let mut lost = line("users", &[]);
        lost.error = Some("warehouse cannot be reached".into());
        let lines = [line("orders", &[Loaded, Failed, Loaded, Missing, Stale]), whole, lost];
        let text = text(&lines, Palette::OFF);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_snapshot!(text, @"
          job       loaded  failed  missing   stale  newest loaded     next complete
        X orders         2       1        1       1  2026-01-05        2026-01-07 00:10
        # airlines       1       0        0       0  2026-01-06 03:00  -
        ? users     warehouse cannot be reached
        ");
    }
}
