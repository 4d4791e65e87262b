//! `--stop-at`: a time of day becomes a moment.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The next moment after `now` at which clocks of the zone show a time; one that a change of the clocks
/// leaves out comes when they go on.
pub(super) fn next_time_of_day(now: DateTime<Utc>, zone: Tz, time: NaiveTime) -> DateTime<Utc> {
    let today = now.with_timezone(&zone).date_naive();
    let at = |date: NaiveDate| {
        // No gap of a zone is longer than a day.
        let steps = (0..=24 * 4).map(|quarter| date.and_time(time) + TimeDelta::minutes(15 * quarter));
        let mut moments = steps.filter_map(|local| zone.from_local_datetime(&local).earliest());
        moments.next().map(|moment| moment.with_timezone(&Utc))
    };
    let moments = today.iter_days().take(3).filter_map(at);
    moments.into_iter().find(|moment| *moment > now).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_next_one_in_the_zone() {
        let next = |now: &str, zone: Tz, (hour, minute)| {
            let time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
            next_time_of_day(now.parse().unwrap(), zone, time).to_rfc3339()
        };
        let (york, berlin) = (Tz::America__New_York, Tz::Europe__Berlin);
        assert_eq!(next("2026-01-05T03:00:00Z", york, (7, 0)), "2026-01-05T12:00:00+00:00");
        assert_eq!(next("2026-01-05T12:00:00Z", york, (7, 0)), "2026-01-06T12:00:00+00:00", "not now");
        assert_eq!(next("2026-03-29T00:00:00Z", berlin, (2, 30)), "2026-03-29T01:00:00+00:00", "left out");
        assert_eq!(next("2026-10-25T00:00:00Z", berlin, (2, 30)), "2026-10-25T00:30:00+00:00", "the first");
    }
}
