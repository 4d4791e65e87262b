//! Bars on a terminal: one line per running interval, one for the whole, one of counts.
//!
//! [`frame`] is a pure function of the board, the moment and the terminal's size; `Screen` draws it.
//! Lines that stay (headings, failures, notices, the summary) go above it.

use std::time::Duration;

use console::{measure_text_width, pad_str, truncate_str};

use super::board::{Board, JobCount, Moment, Running, label};
use super::number::{byte_rate, bytes, count, rate};
use super::paint::{Palette, Tone, escaped};
use super::{View, agenda, phrase, refresh, summary};
use crate::event::Event;
use crate::report::screen::{Screen, Size};
use crate::shutdown::Shutdown;

/// The most running intervals that get a line each.
const MOST_LINES: usize = 10;
/// From this width on there is room for bytes per second and the time left of each interval.
const WIDE: usize = 110;
/// A bar longer than this tells nothing more.
const WIDEST_BAR: usize = 60;
/// Below this width there is no room for a bar.
const NARROW: usize = 64;

/// The bars of a run.
pub(super) struct Bars {
    pub(super) screen: Screen,
    pub(super) palette: Palette,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) verbose: bool,
}

impl View for Bars {
    fn event(&mut self, event: &Event, board: &Board, moment: &Moment) {
        if let Event::RunFinished(_) = event {
            // The summary is not to stand above bars of what is over.
            self.tick(board, moment);
        }
        self.screen.print(&stays(event, board, self.palette, moment, self.verbose));
    }

    fn tick(&mut self, board: &Board, moment: &Moment) {
        let stopping = self.shutdown.as_ref().is_some_and(Shutdown::is_requested);
        let look = Look { palette: self.palette, stopping };
        let (columns, rows) = self.screen.size();
        // The last column stays free: see `Screen`.
        self.screen.draw(&frame(board, moment, (columns.saturating_sub(1), rows), look));
    }

    fn end(&mut self) {
        self.screen.clear();
    }
}

/// What an event leaves in the scrollback; empty for most.
fn stays(event: &Event, board: &Board, palette: Palette, moment: &Moment, verbose: bool) -> String {
    let is_single = |job: &str| board.job(job).is_some_and(|job| job.run.intervals <= 1);
    let name = |id| label(id, board.is_mixed());
    match event {
        event if board.is_idle(event) && !verbose => String::new(),
        Event::RunStarted(run) => board.job(&run.job).map_or_else(String::new, |job| {
            let heading = phrase::heading(job, palette);
            if job.is_whole() { heading } else { format!("{heading}\n{}\n", phrase::connections(run)) }
        }),
        Event::IntervalLoaded { id, loaded } if verbose => phrase::loaded(&name(id), loaded, palette),
        Event::IntervalSkipped { id, reason } if verbose => phrase::skipped(&name(id), reason, palette),
        Event::IntervalRetrying { id, failure, tries, wait } => {
            phrase::retrying(&name(id), failure, *tries, *wait, palette)
        }
        // The summary of a single interval says it in full.
        Event::IntervalFailed { id, failure } if !is_single(&id.job) => {
            phrase::failed(&name(id), failure, board.tries(id), &phrase::clock(moment.wall), palette)
        }
        Event::Notice { message } => phrase::notice(message, palette),
        Event::Scheduling(said) => agenda::line(said, moment, palette),
        Event::RunFinished(run) => {
            let is_whole = board.job(&run.job).is_some_and(JobCount::is_whole);
            let gap = match () {
                () if board.is_endless() => format!("{}  ", moment.wall.format("%H:%M:%S")),
                () if is_whole => String::new(),
                () => "\n".to_owned(),
            };
            format!("{gap}{}", summary::text(run, board, palette))
        }
        Event::ViewsFinished(run) => refresh::summary(run, palette),
        of_views => refresh::line(of_views, palette, verbose),
    }
}

/// How a frame looks, apart from its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) palette: Palette,
    /// Whether a stop was asked for.
    pub(super) stopping: bool,
}

/// Everything that is drawn over and over; empty when nothing is at work.
pub(super) fn frame(board: &Board, moment: &Moment, (columns, rows): Size, look: Look) -> Vec<String> {
    let totals = board.totals();
    if totals.running + totals.waiting == 0 {
        let mut lines = refresh::frame(&board.views, moment, columns, look.palette);
        if !lines.is_empty() {
            lines.insert(0, String::new());
            lines.truncate(rows.saturating_sub(2).max(1));
        }
        return lines;
    }
    let mut lines = vec![String::new()];
    // Besides the running ones: two empty lines, two of totals, the limit, one of advice, one to spare.
    let limit = usize::from(!board.bottleneck.text(moment.at).is_empty());
    let room = rows.saturating_sub(6 + limit).clamp(1, MOST_LINES);
    // A line that says "+ 1 more" may as well be that one.
    let shown = if board.running.len() <= room { room } else { room.saturating_sub(1).max(1) };
    let layout = Layout::of(board, shown, columns);
    lines.extend(
        board.running.iter().take(shown).map(|running| layout.line(running, board, moment, look.palette)),
    );
    if board.running.len() > shown {
        lines.push(format!("  + {} more running", board.running.len() - shown));
    }
    if totals.intervals > 1 {
        lines.push(String::new());
        lines.push(whole_line(board, moment, columns, look.palette));
        let counts = phrase::counts(&totals, look.palette);
        lines.push(format!(
            "      {}",
            phrase::columns([&*counts, &phrase::eta(board.left(moment.at), moment)])
        ));
    }
    lines.extend(
        Some(board.bottleneck.text(moment.at)).filter(|t| !t.is_empty()).map(|t| format!("      {t}")),
    );
    lines.push(advice(look));
    for line in &mut lines {
        *line = truncate_str(line, columns, "").trim_end().to_owned();
    }
    lines
}

fn advice(Look { palette, stopping }: Look) -> String {
    if stopping {
        let text = "Stopping: committed batches stay, open ones roll back. Ctrl-C again: at once.";
        return palette.paint(Tone::Warn, text);
    }
    palette.paint(Tone::Faint, "Ctrl-C stops safely. The same command goes on where this one stopped.")
}

fn whole_line(board: &Board, moment: &Moment, columns: usize, palette: Palette) -> String {
    let totals = board.totals();
    let numbers = phrase::totals(&totals, board.rates(moment.at));
    let parts: f64 = board.running.iter().filter_map(Running::part).sum();
    let done = (totals.loaded + totals.skipped + totals.failed) as f64 + parts;
    let room = columns.saturating_sub(6 + 1 + measure_text_width(&numbers));
    if room < 8 {
        return format!("All   {numbers}");
    }
    let bar = bar(room.min(WIDEST_BAR), Some(done / totals.intervals.max(1) as f64), palette);
    format!("All   {bar} {numbers}")
}

/// `###########-------------`; all dashes where the part is not known.
fn bar(width: usize, part: Option<f64>, palette: Palette) -> String {
    let filled = (part.unwrap_or(0.0).clamp(0.0, 1.0) * width as f64) as usize;
    let rest = palette.paint(Tone::Faint, &"-".repeat(width - filled));
    format!("{}{rest}", palette.paint(Tone::Busy, &"#".repeat(filled)))
}

/// The widths of the columns of running intervals, the same for all lines of a frame.
struct Layout {
    label: usize,
    bar: usize,
    wide: bool,
}

impl Layout {
    fn of(board: &Board, shown: usize, columns: usize) -> Self {
        let labels = board
            .running
            .iter()
            .take(shown)
            .map(|running| measure_text_width(&escaped(&board.label(&running.id))));
        let label = labels.max().unwrap_or(0).min(columns / 3);
        let wide = columns >= WIDE;
        let known = board.running.iter().take(shown).any(|running| running.part().is_some());
        // Two spaces, the label, and with two spaces before each: percent, rows, the tail.
        let taken = 2 + label + 2 + 7 + 12 + if wide { 11 + 2 + 42 } else { 2 + 22 };
        let bar = if known && columns >= NARROW { columns.saturating_sub(taken).min(WIDEST_BAR) } else { 0 };
        Self { label, bar: if bar < 5 { 0 } else { bar }, wide }
    }

    fn line(&self, running: &Running, board: &Board, moment: &Moment, palette: Palette) -> String {
        let name = escaped(&board.label(&running.id));
        let name = pad(&truncate_str(&name, self.label, "~"), self.label);
        let part = running.part();
        let bar = if self.bar > 0 { bar(self.bar, part, palette) } else { String::new() };
        let percent = match part {
            Some(part) => format!("{:>3} %", (part * 100.0) as u32),
            None if self.bar > 0 => "     ".to_owned(),
            None => String::new(),
        };
        let rows = format!("{:>5} rows", count(running.rows));
        let tail = self.tail(running, board.tries(&running.id), moment.at, palette);
        format!("  {}", phrase::columns([&*name, &bar, &percent, &rows, &tail]))
    }

    /// Rates and phase while rows flow; else what it waits for.
    fn tail(&self, running: &Running, tries: Option<u32>, at: Duration, palette: Palette) -> String {
        let doing = phrase::doing(running, tries, at);
        let tone = if running.retry_at.is_some() { Tone::Warn } else { Tone::Plain };
        let Some((rows, size)) = running.rates(at).filter(|_| doing == "writing" && running.rows > 0) else {
            return palette.paint(tone, &doing);
        };
        // Without a bar there is room for the size in its place.
        let has_room = self.bar == 0 || self.wide;
        let size_so_far = if has_room { format!("{:>7}", bytes(running.bytes)) } else { String::new() };
        let (size_rate, left) = match (self.wide, running.left(at)) {
            (true, left) => (format!("{:>9}", byte_rate(size)), left),
            (false, _) => (String::new(), None),
        };
        let left = left.map(|left| format!("{} left", phrase::whole(left))).unwrap_or_default();
        let phase = match running.attempt {
            0 | 1 => doing,
            attempt if !self.wide => format!("try {attempt}"),
            attempt => format!("{doing}{}", phrase::tries_text(attempt, tries)),
        };
        phrase::columns([&*size_so_far, &format!("{:>7}", rate(rows)), &size_rate, &phase, &left])
    }
}

fn pad(text: &str, width: usize) -> String {
    pad_str(text, width, console::Alignment::Left, None).into_owned()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::screen::tests::Terminal;
    use super::super::story::{self, at, moment};
    use super::*;
    use crate::event::{Phase, Waits};

    const LOOK: Look = Look { palette: PLAIN, stopping: false };
    const PLAIN: Palette = Palette::OFF;

    fn drawn(board: &Board, columns: usize, rows: usize) -> String {
        frame(board, &moment(1_079.0), (columns, rows), LOOK).join("\n")
    }

    #[test]
    fn a_backfill_at_80_columns() {
        assert_snapshot!(drawn(&story::backfill_at_work(), 80, 24), @"

          2024-05-04  #####################--   92 %  783 k rows   39 k/s  writing
          2024-05-05  ###################----   82 %  705 k rows   35 k/s  writing
          2024-05-06  ################-------   73 %  626 k rows   31 k/s  writing
          2024-05-07  -----------------------    0 %      0 rows  waiting for source 9 s
          2024-05-08  ############-----------   55 %  470 k rows   23 k/s  writing
          2024-05-09  ##########-------------   46 %  392 k rows   20 k/s  writing
          2024-05-10  ########---------------   36 %  313 k rows   16 k/s  writing
          2024-05-11  ######-----------------   27 %  235 k rows   12 k/s  writing
          2024-05-12  ####-------------------   18 %  157 k rows  7,830/s  writing
          2024-05-13  ##---------------------    9 %   78 k rows  3,915/s  writing

        All   ###############------------------- 488/1,096  416 M rows  188 k/s  28 MB/s
              484 loaded  4 skipped  1 failed  10 running  597 waiting  22 m 08 s left
        Ctrl-C stops safely. The same command goes on where this one stopped.
        ");
    }

    #[test]
    fn a_backfill_at_160_columns_shows_bytes_and_the_time_left_of_each_interval() {
        assert_snapshot!(drawn(&story::backfill_at_work(), 160, 24), @"

          2024-05-04  #######################################################-----   92 %  783 k rows   115 MB   39 k/s   5.8 MB/s  writing  1 s left
          2024-05-05  #################################################-----------   82 %  705 k rows   104 MB   35 k/s   5.2 MB/s  writing  4 s left
          2024-05-06  ############################################----------------   73 %  626 k rows    92 MB   31 k/s   4.6 MB/s  writing  7 s left
          2024-05-07  ------------------------------------------------------------    0 %      0 rows  waiting for source 9 s
          2024-05-08  #################################---------------------------   55 %  470 k rows    69 MB   23 k/s   3.5 MB/s  writing  16 s left
          2024-05-09  ###########################---------------------------------   46 %  392 k rows    58 MB   20 k/s   2.9 MB/s  writing  23 s left
          2024-05-10  ######################--------------------------------------   36 %  313 k rows    46 MB   16 k/s   2.3 MB/s  writing  34 s left
          2024-05-11  ################--------------------------------------------   27 %  235 k rows    35 MB   12 k/s   1.7 MB/s  writing  52 s left
          2024-05-12  ###########-------------------------------------------------   18 %  157 k rows    23 MB  7,830/s   1.2 MB/s  writing  1 m 28 s left
          2024-05-13  #####-------------------------------------------------------    9 %   78 k rows    12 MB  3,915/s   576 kB/s  writing  3 m 17 s left

        All   ###########################--------------------------------- 488/1,096  416 M rows  188 k/s  28 MB/s
              484 loaded  4 skipped  1 failed  10 running  597 waiting  22 m 08 s left
        Ctrl-C stops safely. The same command goes on where this one stopped.
        ");
    }

    #[test]
    fn what_bounds_the_speed_is_said_below_the_totals() {
        let mut board = story::backfill_at_work();
        let id = story::id("orders", "2024-05-04");
        let of = |millis| Duration::from_millis(millis);
        let waits = Waits { source: of(1_500), sending: of(1_400), commit: of(7_100), paced: of(0) };
        board.apply(&Event::Waited { id, waits }, at(1_078.0));
        let frame = drawn(&board, 80, 24);
        let last: Vec<_> = frame.lines().rev().take(3).map(str::trim).collect();
        assert_eq!(last[1], "the limit now: warehouse (writers wait 71 % of the time for commit)");
        let limit = Some(("pool", "heavy".to_owned(), 3));
        board.apply(&Event::WaitsForSlot { job: "orders".into(), limit }, at(1_078.0));
        let frame = drawn(&board, 80, 24);
        assert!(frame.contains("the limit now: pool heavy (others have too many of its 3 slots)"), "{frame}");
        assert!(frame.lines().count() < 24, "{frame}");
    }

    #[test]
    fn a_low_or_narrow_terminal_shows_fewer_lines_and_no_bar() {
        assert_snapshot!(drawn(&story::backfill_at_work(), 50, 10), @"

          2024-05-04   92 %  783 k rows   115 MB   39 k/s
          2024-05-05   82 %  705 k rows   104 MB   35 k/s
          2024-05-06   73 %  626 k rows    92 MB   31 k/s
          + 7 more running

        All   488/1,096  416 M rows  188 k/s  28 MB/s
              484 loaded  4 skipped  1 failed  10 running
        Ctrl-C stops safely. The same command goes on wher
        ");
    }

    #[test]
    fn no_line_is_wider_and_no_frame_higher_than_the_terminal() {
        let board = story::backfill_at_work();
        for (columns, rows) in [(1, 2), (20, 3), (40, 8), (80, 24), (109, 24), (110, 50), (300, 50)] {
            let lines = frame(&board, &moment(1_079.0), (columns, rows), LOOK);
            assert!(lines.iter().all(|line| measure_text_width(line) <= columns), "{columns}: {lines:#?}");
            assert!(lines.len() <= rows.max(8), "{rows}: {lines:#?}");
        }
    }

    #[test]
    fn a_single_table_without_an_estimate_has_no_bar_and_no_totals() {
        let mut board = Board::default();
        let id = story::id("copy:mart.\u{1b}users", "all");
        board.apply(&Event::RunStarted(story::copy_run("mart.\u{1b}users")), at(0.0));
        board.apply(&story::started(&id, 1, None), at(0.0));
        board.apply(&story::phase(&id, Phase::Writing), at(0.1));
        board.apply(&Event::Progress { id: id.clone(), rows: 0, bytes: 0 }, at(0.1));
        board.apply(&Event::Progress { id, rows: 1_234_567, bytes: 181_000_000 }, at(4.1));
        let lines = frame(&board, &moment(4.1), (80, 24), LOOK);
        assert_snapshot!(lines.join("\n"), @r#"

          mart.\u{1b}users  1.2 M rows   181 MB  309 k/s  writing
        Ctrl-C stops safely. The same command goes on where this one stopped.
        "#);
    }

    #[test]
    fn a_pause_before_another_try_and_a_stop_are_said() {
        let mut board = Board::default();
        let id = story::id("orders", "2026-01-05");
        board.apply(&Event::RunStarted(story::run("orders", 2, 0)), at(0.0));
        board.apply(&story::started(&id, 1, Some(1_000)), at(0.0));
        let wait = Duration::from_secs(15);
        board.apply(&Event::IntervalRetrying { id, failure: story::deadlock(1), tries: 4, wait }, at(1.0));
        let other = story::id("orders", "2026-01-06");
        board.apply(&story::started(&other, 2, Some(1_000)), at(1.0));
        board.apply(&story::phase(&other, Phase::Writing), at(1.0));
        for (second, rows) in [(1.0, 0), (3.0, 700)] {
            board.apply(&Event::Progress { id: other.clone(), rows, bytes: rows * 147 }, at(second));
        }
        let lines = frame(&board, &moment(4.0), (80, 24), Look { palette: PLAIN, stopping: true });
        assert_snapshot!(lines.join("\n"), @"

          2026-01-05  -----------------------    0 %      0 rows  try 2 of 4 in 12 s
          2026-01-06  ################-------   70 %    700 rows    233/s  try 2

        All   ###############----------------------------- 0/2  700 rows  233/s  34 kB/s
              0 loaded  2 running  7 s left
        Stopping: committed batches stay, open ones roll back. Ctrl-C again: at once.
        ");
    }

    #[test]
    fn the_scrollback_keeps_headings_failures_and_the_summary_and_no_bar() {
        let terminal = Terminal::new(100, 30);
        let mut bars = Bars { screen: terminal.screen(), palette: PLAIN, shutdown: None, verbose: false };
        let mut board = Board::default();
        let id = |key: &str| story::id("orders", key);
        let failure = story::deadlock(4);
        let wait = Duration::from_secs(15);
        let events = [
            Event::RunStarted(story::run("orders", 1_092, 4)),
            story::started(&id("2023-11-05"), 1, Some(1_000)),
            Event::IntervalRetrying { id: id("2023-11-05"), failure: story::deadlock(1), tries: 4, wait },
            story::started(&id("2023-11-05"), 4, Some(1_000)),
            Event::IntervalFailed { id: id("2023-11-05"), failure },
            Event::Notice { message: "mart.sales is stale:\n pgtide views refresh".into() },
            story::started(&id("2023-11-06"), 1, None),
            story::loaded(&id("2023-11-06"), 10),
            Event::RunFinished(story::backfill_summary()),
        ];
        for (second, event) in events.iter().enumerate() {
            let moment = moment(second as f64);
            board.apply(event, moment.at);
            bars.event(event, &board, &moment);
            bars.tick(&board, &moment);
        }
        bars.end();
        assert_snapshot!(terminal.contents(), @r#"
        orders  1,096 intervals  source -> warehouse mart.orders  America/New_York
        connections: 10 of 12 on source, 31 of 40 on warehouse; 10 intervals at once
        ~ 2023-11-05  next try in 15 s  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01)
        , try 1 of 4
        x 2023-11-05  failed 22:09  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), tr
        y 4 of 4
        note: mart.sales is stale:\n pgtide views refresh

        failed  orders: 1,091 of 1,092 loaded, 1 failed, 4 skipped
                928,445,364 rows  136 GB  in 40 m 43 s  380 k/s  56 MB/s

        x 2023-11-05  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), try 4 of 4
          done        nothing; mart.orders is unchanged
          hint: look for the other session in the server's log

        try again: pgtide run orders --date 2023-11-05
        "#);
    }
}
