//! The picture of a job's intervals: blocks of weeks, or a row per year, with signs, legend and rows a day.

use std::collections::BTreeMap;

use chrono::{Datelike, Days, NaiveDate};

use super::{Cell, DayState, Grain, Status, monday, weeks_in_block};
use crate::report::number::count;
use crate::report::paint::Palette;
use crate::report::phrase::columns;

/// Days in the picture of rows a day.
const SPARK_DAYS: u64 = 14;

/// What each date shows: the state that most wants attention, and all rows.
pub(super) fn by_date(cells: &[Cell]) -> BTreeMap<NaiveDate, (DayState, Option<u64>)> {
    let mut dates = BTreeMap::new();
    for cell in cells {
        let entry = dates.entry(cell.date).or_insert((cell.state, None));
        entry.0 = entry.0.max(cell.state);
        entry.1 = match (entry.1, cell.rows) {
            (None, rows) => rows,
            (Some(sum), rows) => Some(sum + rows.unwrap_or(0)),
        };
    }
    dates
}

/// Blocks of weeks, the newest last, the legend beside the last.
pub(super) fn days(status: &Status, width: usize, palette: Palette) -> Vec<String> {
    let dates = by_date(&status.cells);
    let (Some((first, _)), Some((last, _))) = (dates.first_key_value(), dates.last_key_value()) else {
        return Vec::new();
    };
    let last = &status.draw_to.map_or(*last, |to| to.clamp(*first, *last));
    let dates: BTreeMap<_, _> = dates.range(..=last).map(|(date, shown)| (*date, *shown)).collect();
    let from = monday(status.draw_from.unwrap_or(*first).max(*first).min(*last));
    let weeks: Vec<_> = from.iter_weeks().take_while(|week| week <= last).collect();
    let in_block = weeks_in_block(width);
    // The oldest block is the one that may be short.
    let (short, full) = weeks.split_at(weeks.len() % in_block);
    let blocks: Vec<_> =
        std::iter::once(short).filter(|b| !b.is_empty()).chain(full.chunks(in_block)).collect();
    let with_years = weeks.len() > 53 || last.year() != status.today.year();
    let mut lines = Vec::new();
    for (number, weeks) in blocks.iter().enumerate() {
        if number > 0 {
            lines.push(String::new());
        }
        let mut block = block(weeks, &dates, with_years, palette);
        if number + 1 == blocks.len() {
            beside(&mut block, &legend(status, &dates, palette), 6 + 3 * weeks.len());
        }
        lines.extend(block);
    }
    lines
}

/// Two heading lines and seven of days.
fn block(
    weeks: &[NaiveDate],
    dates: &BTreeMap<NaiveDate, (DayState, Option<u64>)>,
    with_years: bool,
    palette: Palette,
) -> Vec<String> {
    let numbers: String = weeks.iter().map(|week| format!("{:>3}", week.day())).collect();
    let mut lines = vec![months(weeks, with_years), format!("     {numbers}")];
    for (row, name) in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].iter().enumerate() {
        let signs: String = weeks
            .iter()
            .map(|week| match dates.get(&(*week + Days::new(row as u64))) {
                Some((state, _)) => format!("  {}", palette.paint(state.tone(), state.sign())),
                None => "   ".into(),
            })
            .collect();
        lines.push(format!("  {name}{signs}"));
    }
    lines
}

/// The names of the months, each above its first Monday.
fn months(weeks: &[NaiveDate], with_years: bool) -> String {
    let mut line = String::new();
    for (column, week) in weeks.iter().enumerate() {
        let is_new = column == 0 || week.month() != weeks[column - 1].month();
        // A month whose last Monday is the first column has no room if the next starts beside it.
        let is_short = column == 0 && weeks.get(1).is_some_and(|next| next.month() != week.month());
        if !is_new || is_short {
            continue;
        }
        let is_first = line.is_empty();
        line.push_str(&" ".repeat((6 + 3 * column).saturating_sub(line.len())));
        line.push_str(&week.format("%b").to_string());
        if with_years && (is_first || week.month() == 1) {
            line.push_str(&week.format(" %Y").to_string());
        }
    }
    line
}

/// Signs with their words, and the rows of the last days; one line for each of the block's.
fn legend(
    status: &Status,
    dates: &BTreeMap<NaiveDate, (DayState, Option<u64>)>,
    palette: Palette,
) -> Vec<String> {
    let entry = |state: DayState| format!("{} {}", palette.paint(state.tone(), state.sign()), state.word());
    let pair = |pair: &[DayState]| match pair {
        [left, right] => {
            let gap = " ".repeat(10_usize.saturating_sub(left.word().len()));
            format!("{}{gap}{}", entry(*left), entry(*right))
        }
        rest => rest.iter().map(|state| entry(*state)).collect(),
    };
    let mut lines = vec![String::new(), String::new()];
    lines.extend(status.states().chunks(2).map(pair));
    lines.push(String::new());
    lines.extend(spark(status, dates));
    lines
}

/// `▆▆▃▂▅▆▇▆▆▃▂▆▆_   851 k median` below its title; `_` for a day that has none.
fn spark(status: &Status, dates: &BTreeMap<NaiveDate, (DayState, Option<u64>)>) -> Vec<String> {
    let Some((last, _)) = dates.last_key_value() else { return Vec::new() };
    let days = last.iter_days().rev().take(SPARK_DAYS as usize);
    let rows: Vec<_> = days.map(|day| dates.get(&day).and_then(|(_, rows)| *rows)).collect();
    let mut known: Vec<_> = rows.iter().flatten().copied().collect();
    known.sort_unstable();
    let Some(most) = known.last().filter(|_| status.grain == Grain::Day) else { return Vec::new() };
    let levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let level = |rows: u64| levels[(rows.saturating_mul(7).checked_div(*most).unwrap_or(0)).min(7) as usize];
    let bars: String = rows.iter().rev().map(|rows| rows.map_or('_', level)).collect();
    let median = count(known[known.len() / 2]);
    vec![format!("rows a day, last {SPARK_DAYS}"), format!("{bars}   {median} median")]
}

/// Puts lines to the right of others.
fn beside(lines: &mut [String], right: &[String], width: usize) {
    for (line, right) in lines.iter_mut().zip(right) {
        if !right.is_empty() {
            let gap = (width + 5).saturating_sub(console::measure_text_width(line));
            line.push_str(&format!("{}{right}", " ".repeat(gap)));
        }
    }
}

/// One row per year: twelve months, or up to 53 weeks.
pub(super) fn years(status: &Status, palette: Palette) -> Vec<String> {
    let place = |cell: &Cell| match status.grain {
        Grain::Month => (cell.date.year(), cell.date.month0()),
        _ => (cell.date.iso_week().year(), cell.date.iso_week().week0()),
    };
    let mut rows: BTreeMap<i32, BTreeMap<u32, DayState>> = BTreeMap::new();
    for cell in &status.cells {
        let (year, column) = place(cell);
        let state = rows.entry(year).or_default().entry(column).or_insert(cell.state);
        *state = cell.state.max(*state);
    }
    let mut lines = grid(&rows, status.grain == Grain::Week, palette);
    let legend: Vec<_> = status
        .states()
        .iter()
        .map(|state| format!("{} {}", palette.paint(state.tone(), state.sign()), state.word()))
        .collect();
    lines.push(String::new());
    lines.push(format!("  {}", columns(legend.iter().map(String::as_str))));
    lines
}

/// What is older than the days that are drawn, a sign for each month: what most wants attention in it.
pub(super) fn months_before(status: &Status, palette: Palette) -> Vec<String> {
    let Some(until) = status.draw_from.map(monday) else { return Vec::new() };
    let from = status.months_from.unwrap_or(NaiveDate::MIN);
    let mut rows: BTreeMap<i32, BTreeMap<u32, DayState>> = BTreeMap::new();
    for cell in status.cells.iter().filter(|cell| from <= cell.date && cell.date < until) {
        let state = rows.entry(cell.date.year()).or_default().entry(cell.date.month0()).or_insert(cell.state);
        *state = cell.state.max(*state);
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = grid(&rows, false, palette);
    lines.push(String::new());
    lines
}

/// One row per year, the newest first.
fn grid(rows: &BTreeMap<i32, BTreeMap<u32, DayState>>, by_week: bool, palette: Palette) -> Vec<String> {
    let (head, step): (Vec<_>, _) = match by_week {
        false => ("JFMAMJJASOND".chars().map(|c| format!("  {c}")).collect(), 3),
        true => (vec!["1        10        20        30        40        50".into()], 1),
    };
    let start = if step == 1 { "        " } else { "      " };
    let mut lines = vec![format!("{start}{}", head.concat())];
    for (year, states) in rows.iter().rev() {
        let signs: String = (0..=states.keys().max().copied().unwrap_or(0))
            .map(|column| match states.get(&column) {
                Some(state) => format!("{:>1$}", "", step - 1) + &palette.paint(state.tone(), state.sign()),
                None => " ".repeat(step),
            })
            .collect();
        lines.push(format!("  {year}{}{signs}", if step == 1 { "  " } else { "" }));
    }
    lines
}
