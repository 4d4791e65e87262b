//! Plain lines for logs and pipes: one per loaded interval, and the totals every few seconds.
//!
//! Each line starts with the time. Totals come every 5 s in the first minute and every 30 s after it,
//! so that a night's log can still be read.

use std::time::Duration;

use super::board::{Board, Moment, label};
use super::paint::Palette;
use super::screen::Screen;
use super::{View, agenda, phrase, refresh, summary};
use crate::event::Event;

/// The plain output of a run.
pub(super) struct Lines {
    pub(super) screen: Screen,
    pub(super) palette: Palette,
    pub(super) last_totals: Duration,
    pub(super) verbose: bool,
}

impl View for Lines {
    fn event(&mut self, event: &Event, board: &Board, moment: &Moment) {
        if board.is_idle(event) && !self.verbose {
            return;
        }
        if let Event::RunFinished(run) = event {
            let clock = format!("{}  ", moment.wall.format("%H:%M:%S"));
            let clock = if board.is_endless() { &*clock } else { "" };
            self.screen.print(&format!("{clock}{}", summary::text(run, board, self.palette)));
            return;
        }
        if let Event::ViewsFinished(run) = event {
            self.screen.print(&refresh::summary(run, self.palette));
            return;
        }
        if let Event::RunStarted(_) = event {
            self.last_totals = moment.at;
        }
        let line = match event {
            Event::Scheduling(said) => agenda::text(said, moment, self.palette),
            event => line(event, board, self.palette, self.verbose),
        };
        if !line.is_empty() {
            self.screen.print(&format!("{}  {line}", moment.wall.format("%H:%M:%S")));
        }
    }

    fn tick(&mut self, board: &Board, moment: &Moment) {
        if board.running.is_empty() || moment.at.saturating_sub(self.last_totals) < pause(moment.at) {
            return;
        }
        self.last_totals = moment.at;
        let totals = board.totals();
        let numbers = phrase::totals(&totals, board.rates(moment.at));
        let left = match &board.running[..] {
            [single] if totals.intervals <= 1 => single.left(moment.at),
            _ => board.left(moment.at),
        };
        let counts = if totals.intervals > 1 { phrase::counts(&totals, self.palette) } else { String::new() };
        let text = phrase::columns([
            &*numbers,
            &counts,
            &phrase::eta(left, moment),
            &board.bottleneck.text(moment.at),
        ]);
        self.screen.print(&format!("{}  {text}", moment.wall.format("%H:%M:%S")));
    }

    fn end(&mut self) {}
}

/// The time between two lines of totals.
fn pause(at: Duration) -> Duration {
    Duration::from_secs(if at < Duration::from_secs(60) { 5 } else { 30 })
}

fn line(event: &Event, board: &Board, palette: Palette, verbose: bool) -> String {
    let name = |id| label(id, board.is_mixed());
    match event {
        Event::RunStarted(run) => board.job(&run.job).map_or_else(String::new, |job| {
            let heading = phrase::heading(job, palette);
            if job.is_whole() { heading } else { phrase::columns([&*heading, &phrase::connections(run)]) }
        }),
        Event::IntervalSkipped { id, reason } if verbose => phrase::skipped(&name(id), reason, palette),
        Event::IntervalRetrying { id, failure, tries, wait } => {
            phrase::retrying(&name(id), failure, *tries, *wait, palette)
        }
        Event::IntervalLoaded { id, loaded } => phrase::loaded(&name(id), loaded, palette),
        Event::IntervalFailed { id, failure } => {
            phrase::failed(&name(id), failure, board.tries(id), "", palette)
        }
        Event::Notice { message } => phrase::notice(message, palette),
        of_views => refresh::line(of_views, palette, verbose),
    }
}

/// Warnings, failures and the summary, and nothing while the work goes on.
pub(super) struct Quiet {
    pub(super) screen: Screen,
    pub(super) palette: Palette,
    /// Whether to be silent about runs that went well, too.
    pub(super) only_failures: bool,
}

impl View for Quiet {
    fn event(&mut self, event: &Event, board: &Board, moment: &Moment) {
        let text = match event {
            Event::Scheduling(said) if !self.only_failures || agenda::is_bad(said) => {
                agenda::line(said, moment, self.palette)
            }
            Event::RunFinished(run)
                if self.only_failures && run.failed.is_empty() && run.not_started == 0 =>
            {
                return;
            }
            event if board.is_idle(event) => return,
            Event::RunFinished(run) => summary::text(run, board, self.palette),
            Event::ViewsFinished(run) if !self.only_failures || !run.failed.is_empty() => {
                refresh::summary(run, self.palette)
            }
            Event::Notice { message } if !self.only_failures => phrase::notice(message, self.palette),
            _ => return,
        };
        self.screen.print(&text);
    }

    fn tick(&mut self, _: &Board, _: &Moment) {}

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::screen::tests::Terminal;
    use super::super::story::{self, moment};
    use super::*;

    /// Plays events at their seconds; a tick follows each.
    fn played(view: &mut dyn View, events: &[(f64, Event)]) {
        let mut board = Board::default();
        for (second, event) in events {
            let moment = moment(*second);
            board.apply(event, moment.at);
            view.event(event, &board, &moment);
            view.tick(&board, &moment);
        }
        view.end();
    }

    fn a_short_run() -> Vec<(f64, Event)> {
        let id = |day: u32| story::id("orders", &format!("2026-01-{day:02}"));
        let progress = |rows| Event::Progress { id: id(6), rows, bytes: rows * 147 };
        let wait = Duration::from_secs(3);
        vec![
            (0.0, Event::RunStarted(story::run("orders", 2, 1))),
            (0.0, Event::IntervalSkipped { id: id(4), reason: "already loaded".into() }),
            (0.1, story::started(&id(5), 1, Some(1_000))),
            (0.2, story::started(&id(6), 1, Some(400_000))),
            (1.0, Event::IntervalRetrying { id: id(5), failure: story::deadlock(1), tries: 2, wait }),
            (2.0, progress(100_000)),
            (4.0, progress(200_000)),
            (6.0, progress(300_000)),
            (7.0, story::started(&id(5), 2, Some(1_000))),
            (8.0, Event::IntervalFailed { id: id(5), failure: story::deadlock(2) }),
            (12.5, story::loaded(&id(6), 400_000)),
        ]
    }

    #[test]
    fn a_log_has_a_line_per_interval_and_totals_now_and_then() {
        let terminal = Terminal::new(160, 24);
        let screen = terminal.screen();
        let mut lines = Lines { screen, palette: Palette::OFF, last_totals: Duration::ZERO, verbose: false };
        played(&mut lines, &a_short_run());
        assert_snapshot!(terminal.contents(), @"
        22:09:14  orders  3 intervals  source -> warehouse mart.orders  America/New_York  connections: 10 of 12 on source, 31 of 40 on warehouse; 10 intervals at once
        22:09:15  ~ 2026-01-05  next try in 3.0 s  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), try 1 of 2
        22:09:20  1/3  300 k rows  50 k/s  7.3 MB/s  0 loaded  1 skipped  2 running  10 s left
        22:09:22  x 2026-01-05  failed  copying batch 3 of mart.orders: warehouse: deadlock detected (40P01), try 2 of 2
        22:09:26  # 2026-01-06  400,000 rows  59 MB  in 12 s  33 k/s
        ");
    }

    #[test]
    fn quiet_says_only_what_failed() {
        let terminal = Terminal::new(100, 24);
        let mut quiet = Quiet { screen: terminal.screen(), palette: Palette::OFF, only_failures: true };
        let mut events = a_short_run();
        let well = crate::event::Summary { job: "users".into(), loaded: 1, ..Default::default() };
        events.push((13.0, Event::RunFinished(well)));
        events.push((13.0, Event::Notice { message: "mart.sales is stale".into() }));
        played(&mut quiet, &events);
        assert_eq!(terminal.contents(), "");
        played(&mut quiet, &[(14.0, Event::RunFinished(story::backfill_summary()))]);
        assert!(terminal.contents().starts_with("failed  orders: 1,091 of 1,092 loaded"));
    }
}
