//! The status of a job: days as a calendar, what is wrong with the command that mends it, rows a day.
//!
//! A pure function of [`Status`], the terminal's width and the palette. Days stand in columns of weeks,
//! in as many blocks as needed; weekly and monthly intervals in one row per year. Several intervals of
//! one day show the one that most wants attention. Colour adds: each state has its sign.

mod findings;
mod picture;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate};
use serde_json::{Value, json};

use super::number::grouped;
use super::paint::{Palette, Tone, escaped};
use super::phrase::columns;

/// The state of an interval, as shown; in rising order of the attention it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayState {
    /// Not wanted.
    Skipped,
    /// Done.
    Loaded,
    /// Done, but the source or the definition changed.
    Stale,
    /// Due and not done.
    Missing,
    /// At work.
    Running,
    /// A run died on it.
    Interrupted,
    /// The last try failed.
    Failed,
    /// Recorded as done, and its rows are not in the job's table.
    Gone,
}

impl DayState {
    /// Every state of a table that is as it was left, in the order of the legend.
    pub const ALL: [Self; 7] = [
        Self::Loaded,
        Self::Failed,
        Self::Missing,
        Self::Stale,
        Self::Running,
        Self::Interrupted,
        Self::Skipped,
    ];

    /// The sign on the calendar.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Loaded => "#",
            Self::Failed => "X",
            Self::Missing => ".",
            Self::Stale => "~",
            Self::Running => ">",
            Self::Interrupted => "!",
            Self::Skipped => "-",
            Self::Gone => "?",
        }
    }

    /// The word in legends, counts and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::Gone => "gone",
        }
    }

    /// Whether a monitor should ring; what has a deadline may be missing until then.
    #[must_use]
    pub fn wants_attention(self, is_late: bool, has_deadline: bool) -> bool {
        match self {
            Self::Failed | Self::Stale | Self::Interrupted | Self::Gone => true,
            Self::Missing => is_late || !has_deadline,
            Self::Loaded | Self::Running | Self::Skipped => is_late,
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Self::Loaded => Tone::Good,
            Self::Failed | Self::Interrupted | Self::Gone => Tone::Bad,
            Self::Missing | Self::Stale => Tone::Warn,
            Self::Running => Tone::Busy,
            Self::Skipped => Tone::Faint,
        }
    }
}

/// How a job cuts its time, as far as the picture depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grain {
    /// Days, or parts of a day.
    #[default]
    Day,
    /// ISO weeks.
    Week,
    /// Months.
    Month,
}

/// One interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The interval's key: `2026-01-05`, `2026-01-05T06`, `2026-W02`, `2026-01`.
    pub key: String,
    /// The local date its start falls on.
    pub date: NaiveDate,
    /// Its state.
    pub state: DayState,
    /// Rows, if it is or was loaded.
    pub rows: Option<u64>,
    /// One line on what is wrong, without a value of any row.
    pub note: Option<String>,
    /// Whether its deadline has passed and it is not loaded.
    pub late: bool,
}

impl Cell {
    /// Whether a monitor should ring; what has a deadline may be missing until then.
    #[must_use]
    pub fn wants_attention(&self, has_deadline: bool) -> bool {
        self.state.wants_attention(self.late, has_deadline)
    }
}

/// All that the status of a job shows.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The job's name.
    pub job: String,
    /// The source connection's name.
    pub source: String,
    /// The destination connection's name.
    pub destination: String,
    /// The destination table.
    pub into: String,
    /// The interval's unit, as in the job file; empty for a table that is loaded whole.
    pub interval: String,
    /// The time zone.
    pub timezone: String,
    /// The cron expression.
    pub schedule: Option<String>,
    /// How long after its end an interval must be loaded, if the job says.
    pub deadline: Option<Duration>,
    /// How the picture is drawn.
    pub grain: Grain,
    /// The intervals in order of time; those before the first or not yet due are left out.
    pub cells: Vec<Cell>,
    /// The last moments of a snapshot job, newest first; they count nowhere.
    pub moments: Vec<Cell>,
    /// The first date that is drawn day by day; what is older is drawn month by month.
    pub draw_from: Option<NaiveDate>,
    /// The first date that is drawn at all; what is older is counted and listed.
    pub months_from: Option<NaiveDate>,
    /// The last date the calendar draws; what is newer is counted and listed.
    pub draw_to: Option<NaiveDate>,
    /// Today in the job's zone.
    pub today: NaiveDate,
    /// Lines at the end: what is next, what reads the table.
    pub footer: Vec<String>,
}

impl Status {
    /// Whether the job loads its table whole: no days, one cell.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.interval.is_empty()
    }

    /// The oldest and the newest interval whose rows are there.
    #[must_use]
    pub fn loaded_span(&self) -> Option<(&Cell, &Cell)> {
        let mut loaded = self.cells.iter().filter(|cell| is_loaded(cell.state));
        let first = loaded.next()?;
        Some((first, loaded.next_back().unwrap_or(first)))
    }

    /// Whether a monitor should ring.
    #[must_use]
    pub fn wants_attention(&self) -> bool {
        self.cells.iter().any(|cell| cell.wants_attention(self.deadline.is_some()))
    }

    /// The states that there are to tell of: what is gone only where something is.
    pub(super) fn states(&self) -> Vec<DayState> {
        let is_gone = self.cells.iter().any(|cell| cell.state == DayState::Gone);
        DayState::ALL.into_iter().chain(is_gone.then_some(DayState::Gone)).collect()
    }

    pub(super) fn late(&self) -> u64 {
        self.cells.iter().filter(|cell| cell.late).count() as u64
    }
}

fn is_loaded(state: DayState) -> bool {
    matches!(state, DayState::Loaded | DayState::Stale)
}

/// The most weeks that are drawn day by day.
const MOST_WEEKS: u64 = 106;

/// The columns of the names of the days, the legend and the space between.
const BESIDE_WEEKS: usize = 5 + 6 + 30;

/// How many weeks a terminal of this width shows in one block.
#[must_use]
pub fn weeks_in_block(width: usize) -> usize {
    (width.saturating_sub(BESIDE_WEEKS) / 3).clamp(4, 53)
}

/// The date from which to draw by default: two blocks of weeks.
#[must_use]
pub fn default_from(today: NaiveDate, width: usize) -> NaiveDate {
    monday(today) - Days::new(7 * (2 * weeks_in_block(width) as u64 - 1))
}

impl Status {
    /// Chooses what to draw: from a date, or else two blocks of weeks up to the newest interval. Where
    /// nothing but what is missing would be seen, up to the newest that is known.
    pub fn draw(&mut self, from: Option<NaiveDate>, width: usize) {
        let Some(newest) = self.cells.last().map(|cell| cell.date.min(self.today)) else { return };
        let is_short = |from: &NaiveDate| *from + Days::new(7 * MOST_WEEKS) >= newest;
        let start = from.filter(is_short).unwrap_or_else(|| default_from(newest, width));
        self.draw_from = Some(start);
        self.months_from = from;
        // Not what is marked ahead of its time, which would be a picture of the future.
        self.draw_to = Some(newest);
        let known = self.cells.iter().rev().find(|c| c.state != DayState::Missing && c.date <= newest);
        if let (Some(known), None) = (known, from)
            && known.date < start
        {
            // The week after shows that it ends there.
            let end = known.date.checked_add_days(Days::new(7)).unwrap_or(newest);
            self.draw_from = Some(default_from(end, width));
            self.draw_to = Some(end);
        }
    }

    /// Says what is not drawn because it is all the same.
    fn not_drawn(&self) -> Option<String> {
        let to = self.draw_to.filter(|_| self.grain == Grain::Day)?;
        let mut newer = self.cells.iter().filter(|cell| to < cell.date && cell.date <= self.today).peekable();
        newer.peek()?;
        Some(format!("  after {to} all are missing"))
    }
}

/// Draws the whole: heading, counts, calendar, findings, footer; with a line end.
#[must_use]
pub fn text(status: &Status, width: usize, palette: Palette) -> String {
    let mut lines = vec![heading(status, palette)];
    if status.is_whole() {
        lines.extend(status.cells.iter().flat_map(|cell| findings::whole(status, cell, palette)));
        lines.extend(findings::moments(status, palette));
        lines.extend(status.footer.iter().map(|line| escaped(line)));
        return lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
    }
    lines.extend(counts(status, width, palette));
    lines.extend(loaded(status));
    if !status.cells.is_empty() {
        lines.push(String::new());
        let picture = match status.grain {
            Grain::Day => {
                lines.extend(picture::months_before(status, palette));
                picture::days(status, width, palette)
            }
            Grain::Week | Grain::Month => picture::years(status, palette),
        };
        lines.extend(picture);
        lines.extend(status.not_drawn());
    }
    let findings = findings::lines(status, width, palette);
    if !findings.is_empty() {
        lines.push(String::new());
        lines.extend(findings);
    }
    lines.extend(status.footer.iter().map(|line| escaped(line)));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The same for programs, as one object: `job` `source` `destination` `into` `interval` `timezone`
/// `schedule` `deadline_s` `counts` (per state) `late` (their number) `oldest_loaded` `newest_loaded` `gaps`
/// (a list of `first` `last` `intervals`) `intervals` (a list of `interval` `date` `state` `rows` `late`
/// `note`) `moments` (of a snapshot job the last ones, newest first: `moment` `state` `rows` `note`).
#[must_use]
pub fn json(status: &Status) -> Value {
    let intervals: Vec<_> = status
        .cells
        .iter()
        .map(|cell| {
            let date = (!status.is_whole()).then(|| cell.date.to_string());
            json!({ "interval": cell.key, "date": date, "state": cell.state.word(),
                "rows": cell.rows, "late": cell.late, "note": cell.note })
        })
        .collect();
    let moments: Vec<_> = status
        .moments
        .iter()
        .map(|cell| json!({ "moment": cell.key, "state": cell.state.word(), "rows": cell.rows, "note": cell.note }))
        .collect();
    let counts = counts_json(status);
    let (oldest, newest) = status.loaded_span().unzip();
    let gaps: Vec<_> = findings::gaps(status)
        .iter()
        .map(|gap| json!({ "first": gap[0].key, "last": gap[gap.len() - 1].key, "intervals": gap.len() }))
        .collect();
    json!({ "job": status.job, "source": status.source, "destination": status.destination,
        "into": status.into, "interval": status.interval, "timezone": status.timezone,
        "schedule": status.schedule, "deadline_s": status.deadline.map(|deadline| deadline.as_secs()),
        "counts": counts, "late": status.late(), "oldest_loaded": oldest.map(|cell| &cell.key),
        "newest_loaded": newest.map(|cell| &cell.key), "gaps": gaps, "intervals": intervals,
        "moments": moments })
}

/// How many intervals are in each state, as an object.
pub(super) fn counts_json(status: &Status) -> Value {
    let counts: BTreeMap<_, _> =
        status.states().iter().map(|state| (state.word(), number_of(status, *state))).collect();
    json!(counts)
}

fn heading(status: &Status, palette: Palette) -> String {
    let name = palette.paint(Tone::Strong, &escaped(&status.job));
    let way = escaped(&format!("{} -> {} {}", status.source, status.destination, status.into));
    let schedule = escaped(status.schedule.as_deref().unwrap_or_default());
    let interval = if status.is_whole() { "whole table" } else { &*status.interval };
    columns([&*name, &way, &escaped(interval), &escaped(&status.timezone), &schedule])
}

/// How many are in each state, and from when to when; in two lines where one is too short.
fn counts(status: &Status, width: usize, palette: Palette) -> Vec<String> {
    let (Some(first), Some(last)) = (status.cells.first(), status.cells.last()) else {
        return vec!["nothing is loaded or due yet".into()];
    };
    let counts: Vec<_> = status
        .states()
        .iter()
        .map(|state| (*state, number_of(status, *state)))
        .filter(|(state, number)| *number > 0 || *state == DayState::Loaded)
        .map(|(state, number)| palette.paint(state.tone(), &format!("{} {}", grouped(number), state.word())))
        .collect();
    let late = match status.late() {
        0 => None,
        late => Some(palette.paint(Tone::Bad, &format!("{} late", grouped(late)))),
    };
    let counts = columns(counts.iter().chain(&late).map(String::as_str));
    let range = format!("{} .. {}", escaped(&first.key), escaped(&last.key));
    let line = format!("{counts}     {range}");
    if console::measure_text_width(&line) <= width { vec![line] } else { vec![counts, range] }
}

/// `loaded from 2023-01-01 to 2026-01-04`, unless that is what the line above says.
fn loaded(status: &Status) -> Option<String> {
    let (oldest, newest) = status.loaded_span()?;
    let (first, last) = (status.cells.first()?, status.cells.last()?);
    let is_all = first.key == oldest.key && last.key == newest.key;
    (!is_all).then(|| format!("loaded from {} to {}", escaped(&oldest.key), escaped(&newest.key)))
}

pub(super) fn number_of(status: &Status, state: DayState) -> u64 {
    status.cells.iter().filter(|cell| cell.state == state).count() as u64
}

fn monday(date: NaiveDate) -> NaiveDate {
    date - Days::new(u64::from(date.weekday().num_days_from_monday()))
}

#[cfg(test)]
mod tests;
