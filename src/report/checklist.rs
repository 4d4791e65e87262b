//! What `check` found, a line each: what is well, what to know, what is wrong and what mends it.

use serde_json::{Value, json};

use super::paint::{Palette, Tone, escaped};
use super::phrase::with_sqlstate;
use crate::error::{Error, ErrorKind};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Well.
    Ok,
    /// Worth knowing; loads go on.
    Note,
    /// Wrong.
    Finding,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Finding => "x",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Note => Tone::Warn,
            Self::Finding => Tone::Bad,
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What was looked at: a file, a connection, a job.
    pub subject: String,
    /// What was found, in one line.
    pub message: String,
    /// Lines below it, as they are.
    pub details: Vec<String>,
    /// What mends it.
    pub hint: Option<String>,
    /// The kind of a finding.
    pub kind: Option<ErrorKind>,
}

impl Line {
    /// A line of one text.
    #[must_use]
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let kind = (level == Level::Finding).then_some(ErrorKind::Preflight);
        let (subject, message) = (subject.into(), message.into());
        Self { level, subject, message, details: Vec::new(), hint: None, kind }
    }

    /// A finding made of an error.
    #[must_use]
    pub fn of_error(subject: impl Into<String>, error: &Error) -> Self {
        Self {
            level: Level::Finding,
            subject: subject.into(),
            message: with_sqlstate(&error.chain(), error.sqlstate()),
            details: error.details().to_vec(),
            hint: error.hint().map(str::to_owned),
            kind: Some(error.kind()),
        }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Draws the lines in two columns, texts wrapped to the width; with a line end.
#[must_use]
pub fn text(lines: &[Line], width: usize, palette: Palette) -> String {
    let subjects = lines.iter().map(|line| line.subject.chars().count());
    let subject_width = subjects.max().unwrap_or(0).clamp(6, 24);
    let indent = 6 + subject_width + 2;
    let room = width.saturating_sub(indent).max(24);
    let margin = " ".repeat(indent);
    let mut text = String::new();
    for line in lines {
        let level = palette.paint(line.level.tone(), &format!("{:<4}", line.level.word()));
        let subject = format!("{:<subject_width$}", escaped(&line.subject));
        text.push_str(&format!("{level}  {subject}  "));
        text.push_str(&wrapped(&line.message, room).join(&format!("\n{margin}")));
        text.push('\n');
        for detail in line.details.iter().flat_map(|detail| detail.split('\n')) {
            text.push_str(format!("        {}", escaped(detail)).trim_end());
            text.push('\n');
        }
        for (number, hint) in line.hint.iter().flat_map(|hint| hint.split('\n')).enumerate() {
            let start = if number == 0 { palette.paint(Tone::Good, "hint:") } else { "     ".to_owned() };
            text.push_str(format!("      {start} {}", escaped(hint)).trim_end());
            text.push('\n');
        }
    }
    text
}

/// Breaks a text at spaces; a word that is too long stays whole.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in escaped(text).split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let width = console::measure_text_width(line);
        if width > 0 && width + 1 + console::measure_text_width(word) > room {
            lines.push(word.to_owned());
        } else {
            line.push_str(if width > 0 { " " } else { "" });
            line.push_str(word);
        }
    }
    lines
}

/// The same for programs: `level` (`ok`, `note`, `finding`) `subject` `message` `details` `hint` `kind`.
#[must_use]
pub fn json(line: &Line) -> Value {
    let level = match line.level {
        Level::Finding => "finding",
        other => other.word(),
    };
    json!({ "level": level, "subject": line.subject, "message": line.message, "details": line.details,
        "hint": line.hint, "kind": line.kind.map(super::error::kind_name) })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn findings_stand_below_each_other_with_what_mends_them() {
        let error = Error::new(ErrorKind::Preflight, "types differ in 1 column")
            .with_detail("column      source public.orders   target mart.orders")
            .with_detail("discount    numeric(12,4)          integer")
            .with_hint("on warehouse:\n  alter table mart.orders alter column discount type numeric(12,4);");
        let lines = [
            Line::new(Level::Ok, "source", "PostgreSQL 15.18 at 127.0.0.1:5432"),
            Line::new(
                Level::Note,
                "orders",
                "mart.orders has no index on ordered_at: each look for an interval's rows is a scan",
            ),
            Line::of_error("orders", &error),
        ];
        assert_snapshot!(text(&lines, 80, Palette::OFF), @"
        ok    source  PostgreSQL 15.18 at 127.0.0.1:5432
        note  orders  mart.orders has no index on ordered_at: each look for an
                      interval's rows is a scan
        x     orders  types differ in 1 column
                column      source public.orders   target mart.orders
                discount    numeric(12,4)          integer
              hint: on warehouse:
                      alter table mart.orders alter column discount type numeric(12,4);
        ");
    }
}
