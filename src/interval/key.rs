//! Keys: the short names of intervals in the ledger, on the screen and on the command line.
//!
//! A key is made from the interval's start in the calendar's zone and reads back to the same interval.
//! It has an offset only where the local clock alone would not tell two intervals apart.

use std::fmt::Write as _;

use chrono::Weekday;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::date::{not_a, parse_date, parse_instant, parse_span};
use super::{Calendar, DataInterval, Unit};
use crate::error::Result;

impl Calendar {
    /// The interval's name: `2026-01-05`, `2026-01-05T03:00`, `2026-W02`, `2026-01`, or `all`.
    ///
    /// An hour that the clock repeats has its offset too (`2026-11-01T01:00-04:00`), an elapsed step
    /// always (`2026-01-05T00:00Z`). An interval that is not on the grid is shown by both its bounds.
    #[must_use]
    pub fn key(&self, interval: &DataInterval) -> String {
        if interval.is_whole() {
            return DataInterval::WHOLE_KEY.to_owned();
        }
        if !self.is_on_grid(interval) {
            let [start, end] = [interval.start, interval.end].map(|t| self.instant_text(t));
            return format!("{start}/{end}");
        }
        let date = self.execution_date(interval);
        match self.unit {
            Unit::Day => date.to_string(),
            Unit::Week => date.format("%G-W%V").to_string(),
            Unit::Month => date.format("%Y-%m").to_string(),
            Unit::Elapsed(_) => self.instant_text(interval.start),
            Unit::Hour => self.hour_key(interval),
        }
    }

    /// Reads a key back.
    ///
    /// # Errors
    /// `Usage`, when the text is no key of this calendar, or names an hour that does not exist.
    pub fn parse_key(&self, text: &str) -> Result<DataInterval> {
        match self.unit {
            Unit::Day => parse_date(text).map(|date| self.of_first(date)),
            Unit::Month => {
                let month = parse_span(text)?;
                if month.first == month.last {
                    return Err(not_a(text, "month", "months are written YYYY-MM"));
                }
                Ok(self.of_first(month.first))
            }
            Unit::Week => parse_week(text)
                .map(|monday| self.of_first(monday))
                .ok_or_else(|| not_a(text, "week", "ISO weeks are written as 2026-W02")),
            Unit::Elapsed(_) => {
                let interval = self.containing(parse_instant(text, self.timezone)?);
                let key = self.key(&interval);
                if key == text {
                    Ok(interval)
                } else {
                    Err(not_a(text, "key", &format!("the nearest is {key}")))
                }
            }
            Unit::Hour => self.parse_hour(text),
        }
    }

    /// The instant as the command line reads it: `2026-01-05T00:00-05:00`, in the calendar's zone.
    #[must_use]
    pub fn instant_text(&self, instant: DateTime<Utc>) -> String {
        instant_text(&self.local(instant), 'T')
    }

    /// The bounds in local time and in UTC, and the length, for people.
    #[must_use]
    pub fn bounds_text(&self, interval: &DataInterval) -> String {
        if interval.is_whole() {
            return "all of time".to_owned();
        }
        let bounds = [interval.start, interval.end];
        let [start, end] = bounds.map(|t| instant_text(&self.local(t), ' '));
        let [utc_start, utc_end] = bounds.map(|t| instant_text(&t, ' '));
        let length = length_text(interval.end - interval.start);
        format!("{start} to {end}, {length} ({utc_start} to {utc_end})")
    }

    fn of_first(&self, date: NaiveDate) -> DataInterval {
        self.of_dates(date, date).next().expect("a date has an interval of every calendar unit")
    }

    fn hour_key(&self, interval: &DataInterval) -> String {
        let start = self.local(interval.start);
        let label = full_hour(start.naive_local());
        let mut key = label.format("%Y-%m-%dT%H:%M").to_string();
        if self.hours_labelled(label).len() > 1 {
            key.push_str(&offset_text(&start));
        }
        key
    }

    fn parse_hour(&self, text: &str) -> Result<DataInterval> {
        let bad = || not_a(text, "hour", "hours are written as 2026-01-05T03:00");
        let (label, offset) = text.split_at_checked(16).ok_or_else(bad)?;
        let local = NaiveDateTime::parse_from_str(label, "%Y-%m-%dT%H:%M").map_err(|_| bad())?;
        if local != full_hour(local) || local.format("%Y-%m-%dT%H:%M").to_string() != label {
            return Err(bad());
        }
        let hours = self.hours_labelled(local);
        if let [only] = hours[..]
            && offset.is_empty()
        {
            return Ok(only);
        }
        let found = hours.iter().find(|hour| !offset.is_empty() && self.key(hour) == text);
        found.copied().ok_or_else(|| {
            let keys: Vec<String> = hours.iter().map(|hour| self.key(hour)).collect();
            let why = match &keys[..] {
                [] => format!("{} left it out", self.timezone),
                _ => format!("in {} it is {}", self.timezone, keys.join(" or ")),
            };
            not_a(text, "key", &why)
        })
    }
}

/// The local date and time to the minute, for people: `2026-01-06 03:00`.
#[must_use]
pub fn minute_text(local: &DateTime<Tz>) -> String {
    local.format("%Y-%m-%d %H:%M").to_string()
}

/// The offset as `Z`, `+01:00` or, from the days of local mean time, `+00:19:32`.
pub(super) fn offset_text<Z: chrono::TimeZone>(instant: &DateTime<Z>) -> String {
    let seconds = instant.offset().fix().local_minus_utc();
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, seconds) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    let mut text = format!("{sign}{hours:02}:{minutes:02}");
    if seconds != 0 {
        let _ = write!(text, ":{seconds:02}");
    }
    text
}

/// Reads `Z`, `+01`, `+01:00`, `+0100` or `+00:19:32`, in seconds east of UTC.
pub(super) fn parse_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits =
        if digits.len() == 4 { format!("{}:{}", digits.get(..2)?, digits.get(2..)?) } else { digits.into() };
    let mut seconds = 0;
    for (part, (unit, limit)) in digits.split(':').zip([(3600, 24), (60, 60), (1, 60)]) {
        let number: i32 = part.parse().ok()?;
        if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_digit()) || number >= limit {
            return None;
        }
        seconds += number * unit;
    }
    (digits.split(':').count() <= 3).then_some(sign * seconds)
}

fn instant_text<Z: chrono::TimeZone>(instant: &DateTime<Z>, separator: char) -> String {
    let local = instant.naive_local();
    let time = if local.second() == 0 && local.nanosecond() == 0 { "%H:%M" } else { "%H:%M:%S%.f" };
    format!("{}{separator}{}{}", local.format("%Y-%m-%d"), local.format(time), offset_text(instant))
}

/// `24 h`, `23 h 30 m`, `45 s`, or `0 h`.
fn length_text(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let text: Vec<String> =
        parts.iter().filter(|(n, _)| *n != 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if text.is_empty() { "0 h".to_owned() } else { text.join(" ") }
}

fn full_hour(local: NaiveDateTime) -> NaiveDateTime {
    local.date().and_time(NaiveTime::from_hms_opt(local.hour(), 0, 0).expect("an hour of a time is valid"))
}

fn parse_week(text: &str) -> Option<NaiveDate> {
    let (year, week) = text.split_once("-W")?;
    let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(week, 2) {
        return None;
    }
    NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, Weekday::Mon).filter(|d| d.year() >= 0)
}
