//! Text for people, and JSON for programs: the only place, with `cli`, that writes either.
//!
//! A verb makes an event channel, starts a [`Reporter`] on its receiving end, gives the sending end to
//! the engine and, when the engine is done and has dropped it, waits for [`Reporter::finish`].
//!
//! The reporter has two halves, so that a terminal that is held (Ctrl-S) or a slow pipe never slows the
//! work and memory stays bounded: a task counts every event on the board; a thread of
//! its own does all the writing, gets the few events that have words, and reads the board on each tick.

mod agenda;
mod bars;
mod board;
mod bottleneck;
pub mod calendar;
pub mod checklist;
pub mod day;
pub mod error;
pub mod graph;
mod json;
mod lines;
pub mod number;
pub mod overview;
pub mod paint;
mod phrase;
mod recap;
mod refresh;
pub mod screen;
#[cfg(test)]
mod story;
mod summary;
pub mod table;
pub mod view_plan;
pub mod views;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

pub use board::{Moment, Span};
pub use paint::{Palette, Tone};
pub use screen::Screen;

use crate::event::{Event, EventReceiver};
use crate::shutdown::Shutdown;
use bars::Bars;
use board::Board;
use bottleneck::Workers;
use json::Json;
use lines::{Lines, Quiet};

/// The time between two frames.
const TICK: Duration = Duration::from_millis(125);

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs, one object per line.
    Json,
}

/// What goes to stderr while the work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bars that move.
    Bars,
    /// A line now and then.
    Plain,
    /// Notices and the summary only.
    Quiet,
    /// What failed, only.
    Failures,
    /// Nothing: stdout has it all.
    None,
}

/// How this process speaks.
#[derive(Debug, Clone)]
pub struct Output {
    /// What goes to stdout.
    pub format: Format,
    /// What goes to stderr while the work goes on.
    pub progress: Progress,
    /// Whether skipped and loaded intervals are named one by one.
    pub verbose: bool,
    /// Colours for stdout.
    pub out: Palette,
    /// Colours for stderr.
    pub err: Palette,
    /// stderr.
    pub screen: Screen,
}

impl Output {
    /// Writes text for people, or JSON, to stdout.
    pub fn print(&self, text: &str) {
        screen::to_stdout(text);
    }

    /// Writes a notice for people to stderr, unless only failures are wanted.
    pub fn notice(&self, message: &str) {
        if !matches!(self.progress, Progress::Failures | Progress::None) {
            self.screen.print(&phrase::notice(message, self.err));
        }
    }

    /// Writes what came of several jobs, a line for each; only of those that failed, if nothing else is
    /// wanted.
    pub fn recap(&self, runs: &[crate::event::Summary], elapsed: Duration) {
        let only_failures = self.progress == Progress::Failures;
        // A log has room for a whole line, and the terminal has shown it above.
        let width = if self.progress == Progress::Bars { self.width() } else { usize::MAX };
        if self.progress != Progress::None {
            let text = recap::text(runs, elapsed, only_failures, self.err);
            let lines = text.lines().map(|line| format!("{}\n", console::truncate_str(line, width, "...")));
            self.screen.print(&lines.collect::<String>());
        }
    }

    /// Columns of the terminal.
    #[must_use]
    pub fn width(&self) -> usize {
        self.screen.size().0
    }

    /// Writes an error, once: as text to stderr, or as an object to stdout.
    pub fn error(&self, error: &crate::error::Error) {
        match self.format {
            Format::Text => self.screen.print(&error::text(error, self.err)),
            Format::Json => {
                screen::to_stdout(&error::json(error));
            }
        }
    }
}

/// One way to show a run.
trait View: Send {
    /// Shows an event; the board has counted it, and maybe later ones.
    fn event(&mut self, event: &Event, board: &Board, moment: &Moment);
    /// Shows the board, several times a second.
    fn tick(&mut self, board: &Board, moment: &Moment);
    /// Leaves the screen clean.
    fn end(&mut self);
}

/// Shows events until there are no more.
#[derive(Debug)]
pub struct Reporter {
    counting: JoinHandle<()>,
    writing: JoinHandle<()>,
}

impl Reporter {
    /// Starts to show what comes out of `events`, on the current runtime.
    ///
    /// With `shutdown` the bars say that a stop was asked for.
    #[must_use]
    pub fn start(output: &Output, events: EventReceiver, shutdown: Option<Shutdown>) -> Self {
        Self::start_for(output, events, shutdown, Span::One)
    }

    /// Starts in the same way for the jobs that are to come.
    #[must_use]
    pub fn start_for(output: &Output, events: EventReceiver, shutdown: Option<Shutdown>, span: Span) -> Self {
        let board = Arc::new(Mutex::new(Board::new(span)));
        let (tx, rx) = std::sync::mpsc::channel();
        let start = Instant::now();
        let views = views(output, shutdown);
        let counting = tokio::spawn(count(events, board.clone(), tx, start));
        let writing = tokio::task::spawn_blocking(move || write(&rx, &board, views, start));
        Self { counting, writing }
    }

    /// Waits until all that was said is shown. Drop every `Events` first.
    pub async fn finish(self) {
        // A defect of the output is not one of the work: the exit code must tell of the work.
        let _ = self.counting.await;
        let _ = self.writing.await;
    }
}

fn views(output: &Output, shutdown: Option<Shutdown>) -> Vec<Box<dyn View>> {
    let (screen, palette, verbose) = (output.screen.clone(), output.err, output.verbose);
    let mut views: Vec<Box<dyn View>> = Vec::new();
    match output.progress {
        Progress::Bars => views.push(Box::new(Bars { screen, palette, shutdown, verbose })),
        Progress::Plain => {
            views.push(Box::new(Lines { screen, palette, last_totals: Duration::ZERO, verbose }));
        }
        Progress::Quiet => views.push(Box::new(Quiet { screen, palette, only_failures: false })),
        Progress::Failures => views.push(Box::new(Quiet { screen, palette, only_failures: true })),
        Progress::None => {}
    }
    if output.format == Format::Json {
        views.push(Box::new(Json::default()));
    }
    views
}

/// Counts every event at once, and hands on those that have words.
async fn count(mut events: EventReceiver, board: Arc<Mutex<Board>>, words: Sender<Event>, start: Instant) {
    while let Some(event) = events.recv().await {
        board.lock().unwrap_or_else(PoisonError::into_inner).apply(&event, start.elapsed());
        if !matches!(event, Event::Progress { .. } | Event::Waited { .. } | Event::WaitsForSlot { .. }) {
            // The writer ends after this task, unless it panicked: then there is nobody to tell.
            let _ = words.send(event);
        }
    }
}

/// Writes what has words, and the board on each tick, until every event came.
fn write(words: &Receiver<Event>, board: &Mutex<Board>, mut views: Vec<Box<dyn View>>, start: Instant) {
    let mut drawn = Instant::now();
    let mut workers = Workers::default();
    loop {
        let event = match words.recv_timeout(TICK.saturating_sub(drawn.elapsed())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // A copy: the task that counts must not wait for a terminal.
        let mut seen = board.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let moment = Moment::since(start);
        if let Some(event) = event {
            views.iter_mut().for_each(|view| view.event(&event, &seen, &moment));
        }
        if drawn.elapsed() >= TICK {
            seen.bottleneck.busy = workers.busy(moment.at);
            views.iter_mut().for_each(|view| view.tick(&seen, &moment));
            drawn = Instant::now();
        }
    }
    views.iter_mut().for_each(|view| view.end());
}

#[cfg(test)]
mod tests {
    use super::screen::tests::Terminal;
    use super::story;
    use super::*;

    #[tokio::test]
    async fn all_that_was_said_is_shown_when_the_reporter_ends() {
        let terminal = Terminal::new(120, 30);
        let output = Output {
            format: Format::Text,
            progress: Progress::Plain,
            verbose: false,
            out: Palette::OFF,
            err: Palette::OFF,
            screen: terminal.screen(),
        };
        let (events, receiver) = crate::event::channel();
        let reporter = Reporter::start(&output, receiver, None);
        events.send(Event::RunStarted(story::run("orders", 20, 0)));
        for day in 1..=20 {
            let id = story::id("orders", &format!("2026-01-{day:02}"));
            events.send(story::started(&id, 1, None));
            events.send(story::loaded(&id, 10));
        }
        events.send(Event::RunFinished(story::backfill_summary()));
        drop(events);
        reporter.finish().await;
        let contents = terminal.contents();
        let loaded = contents.lines().filter(|line| line.contains("# 2026-01-")).count();
        assert_eq!(loaded, 20, "{contents}");
        assert!(contents.ends_with("try again: pgtide run orders --date 2023-11-05"), "{contents}");
    }
}
