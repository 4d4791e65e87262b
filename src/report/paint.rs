//! Colour and safe text: colour adds and never carries, and no text from outside reaches a terminal raw.

use console::Style;

/// Paints text, or leaves it as it is where colour is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Palette {
    enabled: bool,
}

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Done and well.
    Good,
    /// Failed.
    Bad,
    /// Wants attention.
    Warn,
    /// At work.
    Busy,
    /// A name or a heading.
    Strong,
    /// Beside the point.
    Faint,
    /// Without colour.
    Plain,
}

impl Palette {
    /// Paints nothing.
    pub const OFF: Self = Self { enabled: false };

    /// Paints if `enabled`.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Whether it paints.
    #[must_use]
    pub fn is_enabled(self) -> bool {
        self.enabled
    }

    /// Paints a text.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let style = Style::new().force_styling(true);
        let style = match tone {
            _ if !self.enabled || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => style.green(),
            Tone::Bad => style.red().bold(),
            Tone::Warn => style.yellow(),
            Tone::Busy => style.cyan(),
            Tone::Strong => style.bold(),
            Tone::Faint => style.dim(),
        };
        style.apply_to(text).to_string()
    }
}

/// Escapes what could move a cursor, change a colour or reverse the reading: `\n`, `\u{1b}`, `\u{202e}`.
///
/// Messages of servers and names of tables come from outside.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let reverses =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reverses || matches!(c, '\u{2028}' | '\u{2029}') {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_escaped_and_the_rest_is_not() {
        assert_eq!(escaped("a\x1b[2Jb\r\n\u{202e}c\u{9b}"), "a\\u{1b}[2Jb\\r\\n\\u{202e}c\\u{9b}");
        assert_eq!(escaped("Ünïcode 表 \"quoted\""), "Ünïcode 表 \"quoted\"");
    }

    #[test]
    fn a_palette_that_is_off_adds_nothing() {
        assert_eq!(Palette::new(false).paint(Tone::Bad, "x"), "x");
        assert_eq!(Palette::new(true).paint(Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
