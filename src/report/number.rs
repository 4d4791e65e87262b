//! Numbers as people read them: `27,004`, `783 k`, `56 MB/s`, `1 m 05 s`.
//!
//! Counts that a person may compare with another tool are exact ([`grouped`]); counts that move are
//! short ([`count`]), so that columns keep their width. Bytes are decimal, as disks and networks count.

use std::time::Duration;

/// Writes every digit, in groups of three: `27,004`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count in at most five characters: `0`, `9,999`, `783 k`, `1.2 M`, `412 M`.
#[must_use]
pub fn count(number: u64) -> String {
    if number < 10_000 {
        return grouped(number);
    }
    scaled(number, &["k", "M", "G", "T", "P", "E"])
}

/// Writes bytes: `512 B`, `2.1 MB`, `56 MB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    scaled(bytes, &["kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Writes a count per second: `38 k/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{}/s", count(per_second.max(0.0).round() as u64))
}

/// Writes bytes per second: `56 MB/s`.
#[must_use]
pub fn byte_rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second.max(0.0).round() as u64))
}

/// Divides by 1,000 until at most three digits are left; one decimal below 10.
fn scaled(number: u64, units: &[&str]) -> String {
    let mut value = number as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", units[unit])
}

/// Writes a time: `35 ms`, `0.4 s`, `42 s`, `1 m 05 s`, `2 h 03 m`, `3 d 04 h`.
#[must_use]
pub fn duration(time: Duration) -> String {
    if time.as_millis() < 95 {
        return format!("{} ms", time.as_millis());
    }
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (time.as_millis() + 500) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Writes a count with its noun: `1 interval`, `1,096 intervals`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Rows and bytes per second over a whole; none for a time too short to divide by.
#[must_use]
pub fn per_second(amount: u64, time: Duration) -> Option<f64> {
    (time >= Duration::from_millis(10)).then(|| amount as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let shown = [0, 999, 1_000, 27_004, 6_001_215, u64::MAX].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "27,004", "6,001,215", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn counts_keep_five_characters_at_every_edge() {
        let edges = [
            0,
            9_999,
            10_000,
            99_499,
            783_000,
            999_499,
            999_500,
            1_249_999,
            9_949_999,
            9_950_000,
            412_000_000,
            1_500_000_000,
        ];
        let shown = edges.map(count);
        assert_eq!(
            shown,
            [
                "0", "9,999", "10 k", "99 k", "783 k", "999 k", "1.0 M", "1.2 M", "9.9 M", "10 M", "412 M",
                "1.5 G"
            ]
        );
        assert!((0..64).all(|bits| count(1 << bits).len() <= 5));
    }

    #[test]
    fn bytes_are_decimal() {
        assert_eq!(
            [0, 999, 1_000, 56_000_000, 2_100_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "56 MB", "2.1 GB"]
        );
        assert_eq!(byte_rate(55_600_000.0), "56 MB/s");
        assert_eq!(rate(38_400.0), "38 k/s");
    }

    #[test]
    fn times_show_two_units_at_most() {
        let shown = [
            0,
            94,
            95,
            440,
            9_940,
            9_950,
            59_499,
            59_500,
            65_000,
            3_599_499,
            3_600_000,
            7_380_000,
            273_600_000,
        ]
        .map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(
            shown,
            [
                "0 ms",
                "94 ms",
                "0.1 s",
                "0.4 s",
                "9.9 s",
                "10 s",
                "59 s",
                "1 m 00 s",
                "1 m 05 s",
                "59 m 59 s",
                "1 h 00 m",
                "2 h 03 m",
                "3 d 04 h"
            ]
        );
    }

    #[test]
    fn a_time_too_short_has_no_rate() {
        assert_eq!(per_second(100, Duration::from_millis(1)), None);
        assert_eq!(per_second(100, Duration::from_secs(2)), Some(50.0));
    }
}
