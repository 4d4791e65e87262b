//! Cron as people write it, and the two nights of the year when clocks are odd.

use chrono_tz::{Africa, America, Australia, Europe};
use proptest::prelude::*;

use super::*;
use crate::interval::parse_instant;

fn schedule(text: &str, timezone: Tz) -> Schedule {
    Schedule::parse(text, timezone).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The moments between two local times, in local time with the offset.
fn ticks(text: &str, timezone: Tz, from: &str, to: &str) -> Vec<String> {
    let schedule = schedule(text, timezone);
    let [from, to] = [from, to].map(|text| parse_instant(text, timezone).unwrap());
    let ticks = std::iter::successors(schedule.next_from(from), |at| schedule.next_after(*at));
    let local = ticks.take_while(|at| *at < to).map(|at| at.with_timezone(&timezone));
    local.map(|at| format!("{}{}", at.format("%m-%d %H:%M:%S"), offset_text(&at))).collect()
}

fn refused(text: &str) -> String {
    let error = Schedule::parse(text, Tz::UTC).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn expressions_mean_what_cron_means_by_them() {
    for (text, first) in [
        ("@hourly", vec!["01-05 00:00:00Z", "01-05 01:00:00Z"]),
        ("@daily", vec!["01-05 00:00:00Z", "01-06 00:00:00Z"]),
        ("@midnight", vec!["01-05 00:00:00Z", "01-06 00:00:00Z"]),
        ("@weekly", vec!["01-11 00:00:00Z", "01-18 00:00:00Z"]),
        ("@monthly", vec!["02-01 00:00:00Z", "03-01 00:00:00Z"]),
        ("@quarterly", vec!["04-01 00:00:00Z", "07-01 00:00:00Z"]),
        ("0 3 * * *", vec!["01-05 03:00:00Z", "01-06 03:00:00Z"]),
        ("*/90 * * * *", vec!["01-05 00:00:00Z", "01-05 01:00:00Z"]),
        ("30 0 3 * * *", vec!["01-05 03:00:30Z", "01-06 03:00:30Z"]),
        ("0 3 * * MON-FRI", vec!["01-05 03:00:00Z", "01-06 03:00:00Z"]),
        ("0 3 * * 7", vec!["01-11 03:00:00Z", "01-18 03:00:00Z"]),
        ("0 3 L * *", vec!["01-31 03:00:00Z", "02-28 03:00:00Z"]),
        ("0 3 15W * *", vec!["01-15 03:00:00Z", "02-16 03:00:00Z"]),
        ("0 3 * * FRI#2", vec!["01-09 03:00:00Z", "02-13 03:00:00Z"]),
        ("0 3 * * 5L", vec!["01-30 03:00:00Z", "02-27 03:00:00Z"]),
        ("0 0 13 * 5", vec!["01-09 00:00:00Z", "01-13 00:00:00Z"]),
        ("0 3 1 JAN,jul *", vec!["07-01 03:00:00Z", "01-01 03:00:00Z"]),
    ] {
        let found = ticks(text, Tz::UTC, "2026-01-05", "2028-01-05");
        assert_eq!(found[..2], first, "{text}");
        assert_eq!(schedule(text, Tz::UTC).to_string(), text);
    }
}

#[test]
fn a_wrong_field_is_named() {
    for (text, what) in [
        ("61 3 * * *", "`61` is no minute of cron: 0 to 59, with `*`, `,`, `-` and `/`"),
        ("0 24 * * *", "`24` is no hour of cron"),
        ("0 3 32 * *", "`32` is no day of the month of cron"),
        ("0 3 * 13 *", "`13` is no month of cron"),
        ("0 3 * * FUN", "`FUN` is no day of the week of cron"),
        ("99 0 3 * * *", "`99` is no second of cron"),
        ("0 3 * *", "a cron expression has five fields, this has 4; or write `@daily`"),
        ("0 0 3 * * * 2026", "has five fields, this has 7"),
        ("daily", "has five fields, this has 1"),
        ("", "has five fields, this has 0"),
    ] {
        assert!(refused(text).contains(what), "{text}: {}", refused(text));
    }
}

#[test]
fn an_expression_that_never_fires_is_refused() {
    for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"] {
        assert_eq!(refused(text), format!("`{text}` never fires: no date is like that"));
    }
    assert_eq!(ticks("0 0 29 2 *", Tz::UTC, "2026-01-01", "2033-01-01").len(), 2);
    assert_eq!(ticks("0 0 29 2 +MON", Tz::UTC, "2026-01-01", "2080-01-01").len(), 2);
}

#[test]
fn a_time_that_the_clock_jumps_over_fires_once_after_the_jump() {
    let berlin = |text| ticks(text, Europe::Berlin, "2026-03-28T12:00", "2026-03-30T12:00");
    assert_eq!(berlin("30 2 * * *"), ["03-29 03:00:00+02:00", "03-30 02:30:00+02:00"]);
    assert_eq!(berlin("0 3 * * *"), ["03-29 03:00:00+02:00", "03-30 03:00:00+02:00"]);
    let cairo = ticks("@daily", Africa::Cairo, "2026-04-23T12:00", "2026-04-25T12:00");
    assert_eq!(cairo, ["04-24 01:00:00+03:00", "04-25 00:00:00+03:00"]);
}

#[test]
fn a_time_that_comes_twice_fires_once_and_what_follows_real_time_goes_on() {
    let berlin = |text, from, to| ticks(text, Europe::Berlin, from, to);
    assert_eq!(
        berlin("30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00"),
        ["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]
    );
    assert_eq!(
        berlin("@hourly", "2026-10-25T01:00", "2026-10-25T04:00"),
        ["10-25 01:00:00+02:00", "10-25 02:00:00+02:00", "10-25 02:00:00+01:00", "10-25 03:00:00+01:00"]
    );
    let lord_howe = ticks("45 1 * * *", Australia::Lord_Howe, "2026-04-04T12:00", "2026-04-06T12:00");
    assert_eq!(lord_howe, ["04-05 01:45:00+11:00", "04-06 01:45:00+10:30"]);
}

#[test]
fn looking_back_from_within_a_doubled_hour_finds_the_first_of_the_two() {
    let nightly = schedule("30 2 * * *", Europe::Berlin);
    let at = |text| parse_instant(text, Europe::Berlin).unwrap();
    let first = at("2026-10-25T02:30+02:00");
    for now in
        ["2026-10-25T02:30+02:00", "2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00", "2026-10-25T12:00"]
    {
        assert_eq!(nightly.latest_until(at(now)), Some(first), "{now}");
    }
}

#[test]
fn a_tick_is_named_by_the_local_time_of_the_job() {
    let nightly = schedule("30 6 * * *", Tz::UTC);
    let now = parse_instant("2026-11-01T12:00Z", Tz::UTC).unwrap();
    let tick = nightly.tick(now).unwrap();
    assert_eq!(tick.key(Tz::UTC), "2026-11-01T06:30");
    assert_eq!(tick.key(America::New_York), "2026-11-01T01:30-05:00");
    assert_eq!((tick.at - tick.before, tick.after - tick.at), (TimeDelta::days(1), TimeDelta::days(1)));
}

#[test]
fn instants_beyond_the_calendar_are_no_trouble() {
    let daily = schedule("@daily", America::Juneau);
    for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let _ = (
            daily.next_after(instant),
            daily.next_from(instant),
            daily.latest_until(instant),
            daily.tick(instant),
        );
    }
}

#[test]
fn a_jump_of_hours_or_a_day_is_looked_across() {
    // Its clock went from 00:00 to 03:00, and Samoa's over a whole day.
    for (text, timezone, before, end) in [
        ("@daily", chrono_tz::America::Danmarkshavn, "1995-12-31T12:00:00Z", "1996-01-01T03:00:00Z"),
        ("30 1 * * *", chrono_tz::America::Danmarkshavn, "1995-12-31T12:00:00Z", "1996-01-01T03:00:00Z"),
        ("@daily", chrono_tz::Antarctica::Vostok, "1994-10-31T12:00:00Z", "1994-11-01T00:00:00Z"),
        ("@daily", chrono_tz::Pacific::Apia, "2011-12-29T12:00:00Z", "2011-12-30T10:00:00Z"),
        ("0 12 30 12 *", chrono_tz::Pacific::Apia, "2011-02-01T00:00:00Z", "2011-12-30T10:00:00Z"),
    ] {
        let schedule = schedule(text, timezone);
        let [before, end] = [before, end].map(|at| at.parse::<DateTime<Utc>>().unwrap());
        assert_eq!(schedule.next_after(before), Some(end), "{text} {timezone}");
        assert_eq!(schedule.latest_until(end), Some(end), "{text} {timezone}");
        assert_eq!(schedule.latest_until(end + TimeDelta::minutes(5)), Some(end), "{text} {timezone}");
        let next = schedule.next_after(end).unwrap();
        assert!(next > end && schedule.latest_until(next - TimeDelta::seconds(1)) == Some(end), "{next}");
    }
    // What the jump did not take along is where it was.
    let noon = schedule("0 12 * * *", chrono_tz::America::Danmarkshavn);
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    assert_eq!(noon.next_after(at("1995-12-31T16:00:00Z")), Some(at("1996-01-01T12:00:00Z")));
}

fn any_expression() -> impl Strategy<Value = String> {
    let minute =
        prop_oneof![Just("*".to_owned()), Just("*/15".to_owned()), (0..60_u8).prop_map(|m| m.to_string())];
    let hour =
        prop_oneof![Just("*".to_owned()), Just("*/6".to_owned()), (0..24_u8).prop_map(|h| h.to_string())];
    let day = prop_oneof![4 => Just("*".to_owned()), 1 => Just("L".to_owned()), 1 => (1..29_u8).prop_map(|d| d.to_string())];
    let weekday = prop_oneof![4 => Just("*".to_owned()), 1 => (0..8_u8).prop_map(|d| d.to_string())];
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn looking_forward_and_back_agree(
        text in any_expression(),
        timezone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
        // From 1970 to 2100.
        seconds in 0_i64..4_102_444_800,
        nanos in 0_u32..1_000_000_000,
    ) {
        let schedule = schedule(&text, timezone);
        let now = DateTime::from_timestamp(seconds, nanos).unwrap();
        let [latest, next] = [schedule.latest_until(now).unwrap(), schedule.next_after(now).unwrap()];
        prop_assert!(latest <= now && now < next, "{latest} {now} {next}");
        prop_assert_eq!(schedule.next_after(latest), Some(next));
        prop_assert_eq!(schedule.latest_until(next - TimeDelta::nanoseconds(1)), Some(latest));
        prop_assert_eq!(schedule.next_from(next), Some(next));
        prop_assert_eq!(schedule.latest_until(next), Some(next));
    }
}
