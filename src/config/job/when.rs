//! Intervals, zones and schedules as job files write them.
//!
//! Only their form is checked here; what a calendar does with them is in `interval`.

use chrono::TimeDelta;
use chrono_tz::Tz;

use crate::config::nearest::did_you_mean;
use crate::config::quantity::parse_duration;
use crate::interval::{Schedule, Unit};

const UNITS: [(&str, Unit); 6] = [
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("1d", Unit::Day),
    ("1w", Unit::Week),
];

/// Words of schedules, and the unit that people mean by them.
const SCHEDULE_WORDS: [(&str, &str); 5] = [
    ("@hourly", "hour"),
    ("@daily", "day"),
    ("@midnight", "day"),
    ("@weekly", "week"),
    ("@monthly", "month"),
];

/// Parses `hour`, `day`, `week`, `month`, or an elapsed time such as `6h`; `none` is no interval.
pub(super) fn parse_unit(text: &str) -> Result<Option<Unit>, String> {
    if text == "none" {
        return Ok(None);
    }
    if let Some((_, unit)) = UNITS.iter().find(|(word, _)| *word == text) {
        return Ok(Some(*unit));
    }
    let at_word = format!("@{}", text.trim_start_matches('@'));
    if let Some((_, unit)) = SCHEDULE_WORDS.iter().find(|(word, _)| *word == at_word) {
        return Err(format!("`{text}` is a schedule, did you mean `{unit}`?"));
    }
    let Ok(length) = parse_duration(text) else {
        let words = UNITS.iter().map(|(word, _)| *word).take(4);
        let suggestion = did_you_mean(text, words);
        return Err(format!(
            "`{}` is not hour, day, week, month or a time such as 6h{suggestion}",
            text.escape_debug()
        ));
    };
    if length.is_zero() {
        return Err(
            "an interval of no length holds no rows: write `day`, `hour` or a time such as `6h`".to_owned()
        );
    }
    if text.contains(['d', 'w']) {
        return Err(
            "several days are not a calendar unit: write hours, such as `48h`, for elapsed time".to_owned()
        );
    }
    let seconds = i64::try_from(length.as_secs()).ok().filter(|_| length.subsec_millis() == 0);
    let length = seconds.and_then(TimeDelta::try_seconds).ok_or("is not a whole number of seconds")?;
    Ok(Some(Unit::Elapsed(length)))
}

/// Whether a unit steps the local calendar.
pub(super) fn is_calendar(unit: Unit) -> bool {
    !matches!(unit, Unit::Elapsed(_))
}

/// Parses an IANA name.
pub(super) fn parse_timezone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let suggestion = did_you_mean(text, names);
        format!("`{}` is not an IANA time zone{suggestion}", text.escape_debug())
    })
}

/// Parses a cron expression of five or six fields, or a word such as `@daily`.
pub(super) fn parse_schedule(text: &str, timezone: Tz) -> Result<Schedule, String> {
    if text.starts_with('@') && !Schedule::words().any(|word| word == text) {
        let suggestion = did_you_mean(text, Schedule::words());
        return Err(format!("`{}` is not a schedule{suggestion}", text.escape_debug()));
    }
    Schedule::parse(text, timezone).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_written() {
        let hours = |n| Ok(Some(Unit::Elapsed(TimeDelta::hours(n))));
        assert_eq!(parse_unit("day"), Ok(Some(Unit::Day)));
        assert_eq!(parse_unit("1d"), Ok(Some(Unit::Day)));
        assert_eq!(parse_unit("6h"), hours(6));
        assert_eq!(parse_unit("24h"), hours(24));
        assert_eq!(parse_unit("15m"), Ok(Some(Unit::Elapsed(TimeDelta::minutes(15)))));
        assert_eq!(parse_unit("none"), Ok(None));
    }

    #[test]
    fn a_bad_unit_names_the_remedy() {
        for (text, part) in [
            ("0h", "of no length"),
            ("0", "of no length"),
            ("2d", "such as `48h`"),
            ("daily", "did you mean `day`?"),
            ("@hourly", "did you mean `hour`?"),
            ("dya", "did you mean `day`?"),
            ("500ms", "whole number of seconds"),
            ("year", "is not hour, day, week, month"),
            ("-1h", "is not hour, day, week, month"),
        ] {
            let message = parse_unit(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn an_unknown_zone_finds_the_nearest() {
        assert_eq!(parse_timezone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        assert_eq!(
            parse_timezone("Europe/Berln"),
            Err("`Europe/Berln` is not an IANA time zone, did you mean `Europe/Berlin`?".to_owned())
        );
        assert!(parse_timezone("new_york").unwrap_err().contains("America/New_York"));
        assert!(parse_timezone("+02:00").is_err());
    }

    #[test]
    fn a_schedule_is_cron_or_a_word() {
        for good in ["@daily", "0 3 * * *", "*/5 * * * 1-5", "0 0 3 * * *"] {
            assert_eq!(parse_schedule(good, Tz::UTC).unwrap().to_string(), good);
        }
        let refused = |text| parse_schedule(text, Tz::UTC).unwrap_err();
        assert!(refused("@dayly").contains("did you mean `@daily`?"));
        assert!(refused("daily").contains("five fields"));
        assert!(refused("0 0 30 2 *").contains("never fires"));
    }
}
