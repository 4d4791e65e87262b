//! Amounts as people type them: `50_000`, `50k`, `16MiB`; rates and times of the day.

use chrono::NaiveTime;

use crate::engine::Rate;

/// Reads a count above 0 with an optional `k` or `M` (thousands, millions).
///
/// # Errors
/// What is wrong, for clap to show.
pub fn count(text: &str) -> Result<u64, String> {
    parse(text, &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)], "50000, 50_000 or 50k")
}

/// Reads bytes above 0 with an optional unit: `k M G` and `kB MB GB` are decimal, `KiB MiB GiB` binary.
///
/// # Errors
/// What is wrong, for clap to show.
pub fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("", 1),
        ("b", 1),
        ("k", 1_000),
        ("kb", 1_000),
        ("m", 1_000_000),
        ("mb", 1_000_000),
        ("g", 1_000_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
    ];
    parse(text, &units, "16MiB, 16M or 500k")
}

/// Reads rows (`50k`) or bytes (`20MiB`) per second; `/s` may follow.
///
/// # Errors
/// What is wrong, for clap to show.
pub fn rate(text: &str) -> Result<Rate, String> {
    const SHAPE: &str = "write rows a second as 50000 or 50k, bytes a second as 20MiB or 500kB";
    let amount = text.trim().trim_end_matches("/s");
    let is_bytes = amount.trim_end().ends_with(['b', 'B']);
    let known = if is_bytes { bytes(amount).map(Rate::Bytes) } else { count(amount).map(Rate::Rows) };
    known.map_err(|what| if what.starts_with("write") { SHAPE.to_owned() } else { what })
}

/// Reads a time of the day: `07:00`.
///
/// # Errors
/// What is wrong, for clap to show.
pub fn time_of_day(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text.trim(), "%H:%M")
        .map_err(|_| "write the time of day with hours and minutes, such as 07:00 or 23:30".to_owned())
}

fn parse(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim().to_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number = digits.replace('_', "").parse::<u64>().ok();
    match (number, factor) {
        (Some(0), Some(_)) => Err("it must be above 0".into()),
        (Some(number), Some(factor)) => number.checked_mul(factor).ok_or_else(|| "it is too large".into()),
        _ => Err(format!("write it as {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_unless_they_say_binary() {
        assert_eq!(count("50_000"), Ok(50_000));
        assert_eq!(count("50k"), Ok(50_000));
        assert_eq!(
            ["1024", "16MiB", "16M", "16 MB", "500k", "1GiB"].map(bytes),
            [Ok(1_024), Ok(16_777_216), Ok(16_000_000), Ok(16_000_000), Ok(500_000), Ok(1_073_741_824)]
        );
    }

    #[test]
    fn a_rate_is_of_rows_unless_it_says_bytes() {
        assert_eq!(rate("50k"), Ok(Rate::Rows(50_000)));
        assert_eq!(rate("50_000/s"), Ok(Rate::Rows(50_000)));
        assert_eq!(rate("20MiB"), Ok(Rate::Bytes(20 << 20)));
        assert_eq!(rate("500kB/s"), Ok(Rate::Bytes(500_000)));
        for known in [Rate::Rows(7), Rate::Bytes(7)] {
            assert_eq!(rate(&known.to_string()), Ok(known), "it is kept as text");
        }
        for bad in ["", "fast", "0", "-5", "10 apples", "1.5k", "MiB"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_of_day_has_hours_and_minutes() {
        assert_eq!(time_of_day("07:05"), Ok(NaiveTime::from_hms_opt(7, 5, 0).unwrap()));
        for bad in ["", "7", "25:00", "07:60", "07:00:00", "7pm", "24:00"] {
            assert!(time_of_day(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_unclear_is_guessed() {
        for bad in
            ["", "0", "0k", "-1", "1.5M", "16 Mi", "k", "_", "99999999999999999999", "18446744073709551615k"]
        {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
