//! The one way to stderr: lines that stay, and below them a frame that is drawn over and over.
//!
//! The frame is one bar of indicatif whose message has several lines, cut to the terminal, never wrapped.
//! Lines that stay are written while the frame is out of the way.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use console::{Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Frames a second that a terminal gets at most; the board changes more often.
const FRAMES_PER_SECOND: u8 = 10;

/// The terminal, or whatever stderr is; clones share it.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<Inner>>);

/// Columns and rows.
pub type Size = (usize, usize);

struct Inner {
    out: Box<dyn Write + Send>,
    target: Box<dyn Fn() -> ProgressDrawTarget + Send>,
    size: Box<dyn Fn() -> Size + Send>,
    frame: Option<ProgressBar>,
}

impl Screen {
    /// The process's stderr.
    #[must_use]
    pub fn stderr() -> Self {
        let term = Term::stderr();
        let size = move || match term.size_checked() {
            Some((rows, columns)) if rows > 0 && columns > 0 => (columns.into(), rows.into()),
            _ => (80, 24),
        };
        Self::new(io::stderr(), || ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND), size)
    }

    /// Any writer, with a target for the frame and a function that tells its size.
    pub fn new(
        out: impl Write + Send + 'static,
        target: impl Fn() -> ProgressDrawTarget + Send + 'static,
        size: impl Fn() -> Size + Send + 'static,
    ) -> Self {
        let (out, target, size) = (Box::new(out), Box::new(target), Box::new(size));
        Self(Arc::new(Mutex::new(Inner { out, target, size, frame: None })))
    }

    /// Columns and rows at this moment.
    #[must_use]
    pub fn size(&self) -> Size {
        (self.lock().size)()
    }

    /// Writes lines that stay, above the frame if there is one.
    pub fn print(&self, text: &str) {
        if !text.is_empty() {
            self.lock().print(text);
        }
    }

    /// Shows this frame in place of the last; lines are cut to the terminal.
    pub fn draw(&self, frame: &[String]) {
        self.lock().draw(frame);
    }

    /// Removes the frame.
    pub fn clear(&self) {
        self.draw(&[]);
    }

    /// A writer for whole lines, such as a log's.
    #[must_use]
    pub fn writer(&self) -> ScreenWriter {
        ScreenWriter { screen: self.clone(), line: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl Inner {
    fn print(&mut self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let mut write = || {
            // Nobody can be told that stderr is gone, and the work must not end for it.
            let _ = write!(self.out, "{text}{end}").and_then(|()| self.out.flush());
        };
        match &self.frame {
            Some(frame) => frame.suspend(write),
            None => write(),
        }
    }

    fn draw(&mut self, lines: &[String]) {
        if lines.is_empty() {
            if let Some(frame) = self.frame.take() {
                frame.finish_and_clear();
            }
            return;
        }
        let (columns, rows) = (self.size)();
        // One row stays for the cursor; a line as wide as the terminal leaves it undecided where that is.
        let shown = lines.iter().take(rows.saturating_sub(1).max(1));
        let cut: Vec<_> = shown.map(|line| truncate_str(line, columns.saturating_sub(1), "")).collect();
        let frame = self.frame.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is constant");
            ProgressBar::with_draw_target(None, (self.target)()).with_style(style)
        });
        frame.set_message(cut.join("\n"));
    }
}

/// Collects what is written and prints it, above the frame, when it is dropped.
#[derive(Debug)]
pub struct ScreenWriter {
    screen: Screen,
    line: Vec<u8>,
}

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.screen.print(&String::from_utf8_lossy(&std::mem::take(&mut self.line)));
        Ok(())
    }
}

impl Drop for ScreenWriter {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The first write to stdout that failed, of this process.
static STDOUT_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Writes text for programs or pagers to stdout; false if it took no more.
pub fn to_stdout(text: &str) -> bool {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(stdout_failed).is_ok()
}

/// Keeps in mind that a write to stdout failed.
///
/// `pgtide status | head -1` closes the pipe early: that is no error.
pub fn stdout_failed(error: io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        let _ = STDOUT_ERROR.set(error);
    }
}

/// Why what was written to stdout is not there; none if it is, or if its reader wanted no more.
#[must_use]
pub fn stdout_error() -> Option<&'static io::Error> {
    STDOUT_ERROR.get()
}

/// Whether stdout and stderr are terminals.
#[must_use]
pub fn terminals() -> (bool, bool) {
    (io::stdout().is_terminal(), io::stderr().is_terminal())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, TermLike};

    /// A terminal in memory, for looking at what was drawn.
    #[derive(Clone)]
    pub(crate) struct Terminal(InMemoryTerm, Size);

    impl Terminal {
        pub(crate) fn new(columns: u16, rows: u16) -> Self {
            Self(InMemoryTerm::new(rows, columns), (columns.into(), rows.into()))
        }

        pub(crate) fn screen(&self) -> Screen {
            let (term, size) = (self.0.clone(), self.1);
            let target = move || ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
            Screen::new(self.clone(), target, move || size)
        }

        /// What is visible, without spaces at line ends.
        pub(crate) fn contents(&self) -> String {
            let contents = self.0.contents();
            let rows: Vec<_> = contents.lines().map(str::trim_end).collect();
            rows.join("\n").trim_end().to_owned()
        }
    }

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A real terminal's driver turns a line feed into a new line.
            self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn lines_that_stay_go_above_the_frame_and_clearing_leaves_only_them() {
        let terminal = Terminal::new(20, 10);
        let screen = terminal.screen();
        screen.draw(&frame(&["bar 1", "bar 2"]));
        screen.print("first");
        screen.print("second\n");
        assert_eq!(terminal.contents(), "first\nsecond\nbar 1\nbar 2");
        screen.clear();
        assert_eq!(terminal.contents(), "first\nsecond");
    }

    #[test]
    fn a_frame_is_cut_to_the_terminal() {
        let terminal = Terminal::new(8, 4);
        let screen = terminal.screen();
        screen.draw(&frame(&["123456789", "表表表表表", "c", "d", "e"]));
        assert_eq!(terminal.contents(), "1234567\n表表表\nc");
    }

    #[test]
    fn a_log_line_is_printed_in_one_piece() {
        let terminal = Terminal::new(40, 5);
        let screen = terminal.screen();
        screen.draw(&frame(&["bar"]));
        let mut log = screen.writer();
        write!(log, "half ").unwrap();
        write!(log, "and half").unwrap();
        assert_eq!(terminal.contents(), "bar", "not before it is whole");
        drop(log);
        assert_eq!(terminal.contents(), "half and half\nbar");
    }
}
