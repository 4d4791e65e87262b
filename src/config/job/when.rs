//! Intervals, zones and schedules as job files write them.
//!
//! Only their form is checked here; what a calendar does with them is in `interval`.

use chrono::TimeDelta;
use chrono_tz::Tz;

use crate::config::nearest::did_you_mean;
use crate::config::quantity::parse_duration;
use crate::interval::Unit;

const UNITS: [(&str, Unit); 6] = [
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("1d", Unit::Day),
    ("1w", Unit::Week),
];

/// Words of schedules, and the unit that people mean by them.
const SCHEDULE_WORDS: [(&str, &str); 8] = [
    ("@hourly", "hour"),
    ("@daily", "day"),
    ("@midnight", "day"),
    ("@weekly", "week"),
    ("@monthly", "month"),
    ("@quarterly", ""),
    ("@yearly", ""),
    ("@annually", ""),
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
    if let Some((_, unit)) = SCHEDULE_WORDS.iter().find(|(word, unit)| *word == at_word && !unit.is_empty()) {
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

/// Checks the outer form of a schedule: five or six fields, or a word.
pub(super) fn check_schedule(text: &str) -> Result<String, String> {
    let words = || SCHEDULE_WORDS.iter().map(|(word, _)| *word);
    let fields = text.split_whitespace().count();
    if text.starts_with('@') {
        return match words().any(|word| word == text) {
            true => Ok(text.to_owned()),
            false => {
                Err(format!("`{}` is not a schedule{}", text.escape_debug(), did_you_mean(text, words())))
            }
        };
    }
    match fields {
        5 | 6 => Ok(text.to_owned()),
        _ => Err(format!("a cron expression has five fields, this has {fields}; or write `@daily`")),
    }
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
    fn a_schedule_has_the_form_of_cron() {
        for good in ["@daily", "0 3 * * *", "*/5 * * * 1-5", "0 0 3 * * *"] {
            assert_eq!(check_schedule(good), Ok(good.to_owned()));
        }
        assert!(check_schedule("@dayly").unwrap_err().contains("did you mean `@daily`?"));
        assert!(check_schedule("daily").unwrap_err().contains("five fields"));
    }
}
