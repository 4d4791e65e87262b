//! What people write: dates, months and instants, read strictly.
//!
//! A date is `YYYY-MM-DD` and nothing else; what is almost a date is refused with what is wrong. A time
//! without an offset is local to the job's zone, and must exist there exactly once.

use chrono::{
    DateTime, Datelike, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc,
};
use chrono_tz::Tz;

use super::calendar::{after_gap, first_instant};
use super::key::{offset_text, parse_offset};
use crate::error::{Error, ErrorKind, Result};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Local dates from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateSpan {
    /// The first date.
    pub first: NaiveDate,
    /// The last date.
    pub last: NaiveDate,
}

/// Reads `YYYY-MM-DD`, years 0001 to 9999.
///
/// # Errors
/// `Usage`, with what is wrong.
pub fn parse_date(text: &str) -> Result<NaiveDate> {
    let [year, month, day] = numbers(text, &[4, 2, 2])
        .and_then(|parts| <[u32; 3]>::try_from(parts).ok())
        .ok_or_else(|| not_a(text, "date", "dates are written YYYY-MM-DD"))?;
    let span = month_span(text, "date", year, month)?;
    span.first.with_day0(day.wrapping_sub(1)).ok_or_else(|| {
        let days = format!("{} {year} has {} days", MONTHS[month as usize - 1], span.last.day());
        not_a(text, "date", &days)
    })
}

/// Reads a date, or `YYYY-MM`, a whole month.
///
/// # Errors
/// `Usage`, with what is wrong.
pub fn parse_span(text: &str) -> Result<DateSpan> {
    match numbers(text, &[4, 2]).as_deref() {
        Some(&[year, month]) => month_span(text, "month", year, month),
        _ => parse_date(text).map(|date| DateSpan { first: date, last: date }),
    }
}

/// Reads an instant: RFC 3339 with `Z` or an offset, or a local time, or a date (its first instant).
///
/// Seconds may be left out, and a space may stand for the `T`.
///
/// # Errors
/// `Usage`, when the text is no time, or names a local time that does not exist or exists twice.
pub fn parse_instant(text: &str, timezone: Tz) -> Result<DateTime<Utc>> {
    let Some((date, rest)) = text.split_once(['T', ' ']) else {
        return parse_date(text).map(|date| first_instant(timezone, date.and_time(NaiveTime::MIN)));
    };
    let date = parse_date(date).map_err(|error| error.while_doing(format!("`{}`", text.escape_debug())))?;
    let (time, offset) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let time = parse_time(time)
        .ok_or_else(|| not_a(text, "time", "write it as 2026-01-05T03:00, or 2026-01-05T03:00:00+01:00"))?;
    let local = date.and_time(time);
    if offset.is_empty() {
        return local_instant(text, local, timezone);
    }
    let offset = parse_offset(offset)
        .and_then(FixedOffset::east_opt)
        .ok_or_else(|| not_a(text, "time", "an offset is Z, +01:00 or -03:30"))?;
    Ok(Utc.from_utc_datetime(&(local - offset)))
}

fn local_instant(text: &str, local: NaiveDateTime, timezone: Tz) -> Result<DateTime<Utc>> {
    let usage = |what: String| Error::new(ErrorKind::Usage, format!("`{text}` {what}"));
    match timezone.from_local_datetime(&local) {
        MappedLocalTime::Single(instant) => Ok(instant.to_utc()),
        MappedLocalTime::Ambiguous(one, other) => {
            let (first, second) = (one.min(other), one.max(other));
            Err(usage(format!("comes twice in {timezone}")).with_hint(format!(
                "add {} for the first, {} for the second",
                offset_text(&first),
                offset_text(&second)
            )))
        }
        MappedLocalTime::None => {
            let (instant, begin) = after_gap(timezone, local);
            let end = instant.with_timezone(&timezone).naive_local();
            Err(usage(format!("does not exist in {timezone}: the clock goes from {begin} to {end}")))
        }
    }
}

/// The dates of a month; `text` and `what` are for the error.
fn month_span(text: &str, what: &str, year: u32, month: u32) -> Result<DateSpan> {
    if year == 0 {
        return Err(not_a(text, what, "years go from 0001 to 9999"));
    }
    let year = year.cast_signed();
    let first = NaiveDate::from_ymd_opt(year, month, 1)
        .ok_or_else(|| not_a(text, what, &format!("there is no month {month:02}")))?;
    let days = u32::from(first.num_days_in_month());
    let last = first.with_day(days).expect("a month has its last day");
    Ok(DateSpan { first, last })
}

/// Numbers of exactly these many ASCII digits, joined by hyphens.
fn numbers(text: &str, digits: &[usize]) -> Option<Vec<u32>> {
    let parts: Vec<&str> = text.split('-').collect();
    let plain = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() != digits.len() || !parts.iter().zip(digits).all(|(part, len)| plain(part, *len)) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok()).collect()
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`.
fn parse_time(text: &str) -> Option<NaiveTime> {
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, f)| (clock, Some(f)));
    let parts: Vec<&str> = clock.split(':').collect();
    let seconds_given = parts.len() == 3;
    if !(seconds_given || (parts.len() == 2 && fraction.is_none())) || !parts.iter().all(|p| two_digits(p)) {
        return None;
    }
    let nanos = match fraction {
        None => 0,
        Some(f) if (1..=9).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{f:0<9}").parse().ok()?
        }
        Some(_) => return None,
    };
    let second = parts.get(2).map_or(Some(0), |s| s.parse().ok())?;
    NaiveTime::from_hms_nano_opt(parts[0].parse().ok()?, parts[1].parse().ok()?, second, nanos)
}

pub(super) fn not_a(text: &str, what: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("`{}` is not a {what}: {why}", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<impl std::fmt::Debug>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn a_date_is_read_strictly() {
        assert_eq!(parse_date("2024-02-29").unwrap(), NaiveDate::from_ymd_opt(2024, 2, 29).unwrap());
        assert_eq!(parse_date("0001-01-01").unwrap().to_string(), "0001-01-01");
        assert_eq!(parse_date("9999-12-31").unwrap().to_string(), "9999-12-31");
        for bad in ["", "2026-1-5", "20260105", "2026/01/05", " 2026-01-05", "2026-01-05 ", "+2026-01-05"] {
            let bad_date = refused(parse_date(bad));
            assert_eq!(bad_date, format!("`{bad}` is not a date: dates are written YYYY-MM-DD"));
        }
        for bad in
            ["-001-01-01", "12026-01-05", "2026-01-05-", "２０２６-01-05", "today", "2026-W02", "2026-01"]
        {
            assert!(refused(parse_date(bad)).contains("dates are written"), "{bad}");
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_refused_with_the_reason() {
        for (text, why) in [
            ("2024-02-30", "February 2024 has 29 days"),
            ("2023-02-29", "February 2023 has 28 days"),
            ("2026-01-00", "January 2026 has 31 days"),
            ("2026-13-01", "there is no month 13"),
            ("2026-00-01", "there is no month 00"),
            ("0000-01-01", "years go from 0001 to 9999"),
        ] {
            assert_eq!(refused(parse_date(text)), format!("`{text}` is not a date: {why}"));
        }
    }

    #[test]
    fn a_month_is_all_its_dates() {
        let span = parse_span("2024-02").unwrap();
        assert_eq!(
            (span.first.to_string(), span.last.to_string()),
            ("2024-02-01".into(), "2024-02-29".into())
        );
        let span = parse_span("2024-02-07").unwrap();
        assert_eq!(span.first, span.last);
        assert_eq!(refused(parse_span("2024-13")), "`2024-13` is not a month: there is no month 13");
        assert!(refused(parse_span("2024")).contains("YYYY-MM-DD"));
    }

    #[test]
    fn an_instant_is_local_unless_it_has_an_offset() {
        let zone = chrono_tz::America::New_York;
        for (text, utc) in [
            ("2026-01-05", "2026-01-05 05:00:00 UTC"),
            ("2026-01-05T00:00", "2026-01-05 05:00:00 UTC"),
            ("2026-01-05 03:04:05", "2026-01-05 08:04:05 UTC"),
            ("2026-01-05T00:00:00Z", "2026-01-05 00:00:00 UTC"),
            ("2026-01-05T00:00:00.25Z", "2026-01-05 00:00:00.250 UTC"),
            ("2026-01-05T00:00:00+00:00", "2026-01-05 00:00:00 UTC"),
            ("2026-01-05T00:00+0530", "2026-01-04 18:30:00 UTC"),
            ("2026-11-01T01:00-04:00", "2026-11-01 05:00:00 UTC"),
        ] {
            assert_eq!(parse_instant(text, zone).unwrap().to_string(), utc, "{text}");
        }
        for bad in
            ["2026-01-05T", "2026-01-05T3:00", "2026-01-05T03", "2026-01-05T03:00:60", "2026-01-05T24:00"]
        {
            assert!(refused(parse_instant(bad, zone)).contains("is not a time: write it as"), "{bad}");
        }
        for bad in ["2026-01-05T03:00+1", "2026-01-05T03:00+25:00", "2026-01-05T03:00Zulu"] {
            assert!(refused(parse_instant(bad, zone)).contains("an offset is"), "{bad}");
        }
    }

    #[test]
    fn a_local_time_must_exist_exactly_once() {
        let zone = chrono_tz::Europe::Berlin;
        assert_eq!(
            refused(parse_instant("2026-03-29T02:30", zone)),
            "`2026-03-29T02:30` does not exist in Europe/Berlin: \
             the clock goes from 2026-03-29 02:00:00 to 2026-03-29 03:00:00"
        );
        assert_eq!(
            refused(parse_instant("2026-10-25T02:30", zone)),
            "`2026-10-25T02:30` comes twice in Europe/Berlin; add +02:00 for the first, +01:00 for the second"
        );
    }
}
