//! Durations (`90s`, `1h30m`) and sizes (`16MiB`) as people write them.
//!
//! For job files and for the command line alike; messages say what to write and never the text.

use std::time::Duration;

const TIME_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 7 * 86_400_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Parses a duration such as `90s`, `5m`, `1h30m` or `2d`.
///
/// # Errors
/// What is wrong, without the text itself.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "is not a duration: write `90s`, `5m`, `1h30m` or `2d`";
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or(SHAPE)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (_, unit_ms) = TIME_UNITS.into_iter().find(|(unit, _)| *unit == &tail[..end]).ok_or(SHAPE)?;
        let part = number.checked_mul(unit_ms).and_then(|part| total_ms.checked_add(part));
        total_ms = part.ok_or("is too long a duration")?;
        rest = &tail[end..];
    }
    if text.trim().is_empty() { Err(SHAPE.to_owned()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Parses a size in bytes such as `16MiB`, `500kB` or `1048576`; letters' case does not matter.
///
/// # Errors
/// What is wrong, without the text itself.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "is not a size: write `16MiB`, `500kB` or a number of bytes";
    let (number, tail) = split_number(text.trim()).ok_or(SHAPE)?;
    let unit = tail.trim().to_ascii_lowercase();
    let (_, bytes) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(SHAPE)?;
    number.checked_mul(bytes).ok_or_else(|| "is too large a size".to_owned())
}

/// Writes a duration the way [`parse_duration`] reads it: `1h30m`, `90ms`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, unit_ms) in TIME_UNITS.into_iter().rev().filter(|(unit, _)| *unit != "w") {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Splits leading ASCII digits, `_` between them allowed, from the rest.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in
            [("90s", 90), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", " ", "5", "m", "-5m", "5 m", "5x", "1h30", "1.5h", "٣m", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("999999999999999999w").is_err());
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("16MiB", 16 << 20),
            ("16 mib", 16 << 20),
            ("500kB", 500_000),
            ("1_024", 1_024),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "16 apples", "1.5MiB", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shown_duration_is_read_back() {
        for seconds in [0, 1, 59, 60, 3_661, 86_400, 90_061, 1_000_000] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
    }
}
