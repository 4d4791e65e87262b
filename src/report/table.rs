//! Columns of text under headings: two spaces between, as wide as their widest cell.
//!
//! ```text
//! column    source         target
//! discount  numeric(12,4)  integer
//! ```

use console::measure_text_width;

use super::paint::{Palette, Tone, escaped};

/// Rows of cells; every row has as many cells as there are headings.
#[derive(Debug, Clone, Default)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// Makes an empty table.
    #[must_use]
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { headings: headings.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row of plain cells; missing ones are empty.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.painted_row(cells.into_iter().map(|cell| (cell.into(), Tone::Plain)));
    }

    /// Adds a row whose cells have colours.
    pub fn painted_row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = (T, Tone)>) {
        self.rows.push(cells.into_iter().map(|(cell, tone)| (escaped(&cell.into()), tone)).collect());
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it, indented; each line has a line end, and no line ends with spaces.
    #[must_use]
    pub fn text(&self, indent: usize, palette: Palette) -> String {
        let widths = self.widths();
        let line = |cells: Vec<(&str, Tone)>| {
            let mut line = " ".repeat(indent);
            for ((cell, tone), width) in cells.into_iter().zip(&widths) {
                line.push_str(&palette.paint(tone, cell));
                line.push_str(&" ".repeat(width + 2 - measure_text_width(cell)));
            }
            format!("{}\n", line.trim_end())
        };
        let heading = line(self.headings.iter().map(|heading| (heading.as_str(), Tone::Strong)).collect());
        let rows =
            self.rows.iter().map(|row| line(row.iter().map(|(cell, tone)| (cell.as_str(), *tone)).collect()));
        std::iter::once(heading).chain(rows).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.headings.iter().map(|heading| measure_text_width(heading)).collect();
        for row in &self.rows {
            for (width, (cell, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["column", "source", "target", ""]);
        table.row(["discount", "numeric(12,4)", "integer", "does not fit"]);
        table.row(["名前", "text", "te\u{1b}xt"]);
        assert_snapshot!(table.text(2, Palette::OFF), @r#"
        column    source         target
        discount  numeric(12,4)  integer     does not fit
        名前      text           te\u{1b}xt
        "#);
    }
}
