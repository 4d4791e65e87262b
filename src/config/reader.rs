//! Takes typed values out of a [`Table`], with a fallback table below; collects every finding.
//!
//! Each method returns none both for a missing key and for a bad value; a bad value leaves a
//! finding, so the caller goes on with a default and the next problem is found too.

use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{Datelike, NaiveDate};

use super::file::{Item, Table, Value};
use super::finding::{Finding, Place};
use super::nearest::{did_you_mean, listed};
use super::quantity;

/// Reads keys from the first of its tables that has them.
pub(super) struct Reader<'a> {
    file: String,
    layers: Vec<&'a Table>,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    /// Starts with tables, strongest first; what is missing is missing in `file`.
    pub(super) fn new(file: &str, layers: Vec<&'a Table>) -> Self {
        Self { file: file.to_owned(), layers, findings: Vec::new() }
    }

    /// Ends with what was found.
    pub(super) fn finish(self) -> Vec<Finding> {
        self.findings
    }

    /// The value of a key, of the strongest table that has it.
    pub(super) fn item(&self, key: &str) -> Option<&'a Item> {
        self.layers.iter().find_map(|table| table.entries.get(key)).map(|(_, item)| item)
    }

    /// Whether the strongest table itself has the key.
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.layers.first().is_some_and(|table| table.entries.contains_key(key))
    }

    /// Whether any table has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.item(key).is_some()
    }

    /// Adds a finding about a key, at its value if there is one.
    pub(super) fn fail(&mut self, key: &str, message: impl Into<String>) {
        let whole = || Place { file: self.file.clone(), line: 0 };
        let place = self.item(key).map_or_else(whole, |item| item.place.clone());
        self.fail_at(&place, key, message);
    }

    /// Whether there is a finding about one of the keys.
    pub(super) fn has_failed(&self, keys: &[&str]) -> bool {
        self.findings.iter().any(|finding| finding.key.as_deref().is_some_and(|key| keys.contains(&key)))
    }

    /// Adds a finding about a value inside a key's.
    pub(super) fn fail_at(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.findings.push(Finding::at(place.clone(), message).about(key));
    }

    /// Refuses every key of the strongest table that is not known.
    pub(super) fn refuse_unknown(&mut self, known: &[&str]) {
        let own = self.layers.first().map(|table| &table.entries);
        let unknown = own.into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()));
        self.findings.extend(unknown.map(|(key, (place, _))| unknown_key(key, place, known)));
    }

    /// A string that is not empty.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match &self.item(key)?.value {
            Value::Text(text) if text.trim().is_empty() => self.refuse(key, "is empty"),
            Value::Text(text) if text.contains('\0') => self.refuse(key, "holds a NUL"),
            Value::Text(text) => Some(text.clone()),
            other => self.refuse_kind(key, "a string", other.kind()),
        }
    }

    /// A string, parsed by `parse`, which says what is wrong with it.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(&text).map_err(|message| self.fail(key, message)).ok()
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| choose(text, words))
    }

    /// An integer within a range.
    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        match &self.item(key)?.value {
            Value::Integer(number) if range.contains(number) => Some(*number),
            Value::Integer(number) => self.refuse(
                key,
                &format!("{number} is not between {} and {}", group(*range.start()), group(*range.end())),
            ),
            other => self.refuse_kind(key, "an integer", other.kind()),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        match &self.item(key)?.value {
            Value::Flag(flag) => Some(*flag),
            other => self.refuse_kind(key, "true or false", other.kind()),
        }
    }

    /// A string, or an array of strings; none of them empty.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let Value::List(items) = &self.item(key)?.value else {
            return self.text(key).map(|one| vec![one]);
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) if !text.trim().is_empty() && !text.contains('\0') => {
                    texts.push(text.clone());
                }
                Value::Text(_) => self.fail_at(&item.place, key, "holds an empty string or a NUL"),
                other => self.fail_at(&item.place, key, format!("holds {}, not a string", other.kind())),
            }
        }
        (texts.len() == items.len()).then_some(texts)
    }

    /// A duration such as `"5m"`; a bare integer is seconds.
    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        match &self.item(key)?.value {
            Value::Integer(seconds) if *seconds >= 0 => Some(Duration::from_secs(seconds.unsigned_abs())),
            Value::Text(_) => self.parsed(key, quantity::parse_duration),
            other => self.refuse_kind(key, "a duration such as \"5m\"", other.kind()),
        }
    }

    /// A size in bytes such as `"16MiB"`, or an integer.
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = match &self.item(key)?.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(_) => Some(self.parsed(key, quantity::parse_size)?),
            other => return self.refuse_kind(key, "a size such as \"16MiB\"", other.kind()),
        };
        match bytes {
            Some(bytes) if range.contains(&bytes) => Some(bytes),
            _ => self.refuse(key, &format!("is not between {} and {} bytes", range.start(), range.end())),
        }
    }

    /// A TOML date, or the same as a string.
    pub(super) fn date(&mut self, key: &str) -> Option<NaiveDate> {
        let date = match &self.item(key)?.value {
            Value::Text(text) => parse_date(text),
            Value::Moment(moment) if moment.time.is_none() => parse_date(&moment.to_string()),
            other => return self.refuse_kind(key, "a date such as 2026-01-05", other.kind()),
        };
        date.or_else(|| self.refuse(key, "is not a date of the calendar such as 2026-01-05"))
    }

    fn refuse<T>(&mut self, key: &str, message: &str) -> Option<T> {
        self.fail(key, message);
        None
    }

    fn refuse_kind<T>(&mut self, key: &str, wanted: &str, got: &str) -> Option<T> {
        self.refuse(key, &format!("is {got}, not {wanted}"))
    }
}

/// Parses exactly `YYYY-MM-DD`, years 1 to 9999; chrono alone takes blanks and short forms.
pub(super) fn parse_date(text: &str) -> Option<NaiveDate> {
    let shape =
        |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(shape) {
        return None;
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.year() >= 1)
}

/// Finds a word's meaning, or says which words there are.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!(
            "`{}` is not {}{}",
            text.escape_debug(),
            listed(&names, "or"),
            did_you_mean(text, names.iter().copied())
        )
    })
}

/// Makes the finding for a key that nothing reads.
pub(super) fn unknown_key(key: &str, place: &Place, known: &[&str]) -> Finding {
    let suggestion = did_you_mean(key, known.iter().copied());
    Finding::at(place.clone(), format!("unknown key `{}`{suggestion}", key.escape_debug()))
}

/// Writes a number with `_` between thousands, as TOML allows.
fn group(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_iso_dates_are_dates() {
        assert_eq!(parse_date("2024-02-29"), NaiveDate::from_ymd_opt(2024, 2, 29));
        for bad in [
            "2024-02-30",
            "2024-13-01",
            "20240501",
            "2024-5-1",
            " 2024-05-01",
            "2024-05-01 ",
            "today",
            "infinity",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
        for bad in ["+262142-12-31", "-4800-01-01", "0000-01-01", "٢٠٢٤-٠٥-٠١", ""] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_shown_in_groups() {
        assert_eq!(
            [group(0), group(999), group(1_000), group(-1_234_567)],
            ["0", "999", "1_000", "-1_234_567"]
        );
    }
}
