//! The tiling of time, on the named days where zones are odd and on random ones everywhere.

use chrono_tz::Tz;
use chrono_tz::{Africa, America, Australia, Europe, Pacific};
use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

fn calendar(unit: Unit, timezone: Tz) -> Calendar {
    Calendar { unit, timezone }
}

fn date(text: &str) -> NaiveDate {
    parse_date(text).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    parse_instant(text, Tz::UTC).unwrap()
}

fn day(timezone: Tz, text: &str) -> DataInterval {
    let days = calendar(Unit::Day, timezone).of_date(date(text));
    assert_eq!(days.len(), 1);
    days[0]
}

fn keys_of(calendar: Calendar, text: &str) -> Vec<String> {
    calendar.of_date(date(text)).iter().map(|interval| calendar.key(interval)).collect()
}

#[test]
fn a_day_is_as_long_as_the_zone_makes_it() {
    for (zone, text, bounds) in [
        (
            Europe::Berlin,
            "2026-03-29",
            "2026-03-29 00:00+01:00 to 2026-03-30 00:00+02:00, 23 h (2026-03-28 23:00Z to 2026-03-29 22:00Z)",
        ),
        (
            Europe::Berlin,
            "2026-10-25",
            "2026-10-25 00:00+02:00 to 2026-10-26 00:00+01:00, 25 h (2026-10-24 22:00Z to 2026-10-25 23:00Z)",
        ),
        (
            America::New_York,
            "2013-03-10",
            "2013-03-10 00:00-05:00 to 2013-03-11 00:00-04:00, 23 h (2013-03-10 05:00Z to 2013-03-11 04:00Z)",
        ),
        (
            America::New_York,
            "2013-11-03",
            "2013-11-03 00:00-04:00 to 2013-11-04 00:00-05:00, 25 h (2013-11-03 04:00Z to 2013-11-04 05:00Z)",
        ),
        (
            Australia::Lord_Howe,
            "2026-04-05",
            "2026-04-05 00:00+11:00 to 2026-04-06 00:00+10:30, 24 h 30 m (2026-04-04 13:00Z to 2026-04-05 13:30Z)",
        ),
        (
            Australia::Lord_Howe,
            "2026-10-04",
            "2026-10-04 00:00+10:30 to 2026-10-05 00:00+11:00, 23 h 30 m (2026-10-03 13:30Z to 2026-10-04 13:00Z)",
        ),
        (
            Africa::Cairo,
            "2026-04-24",
            "2026-04-24 01:00+03:00 to 2026-04-25 00:00+03:00, 23 h (2026-04-23 22:00Z to 2026-04-24 21:00Z)",
        ),
        (
            America::Sao_Paulo,
            "2018-11-04",
            "2018-11-04 01:00-02:00 to 2018-11-05 00:00-02:00, 23 h (2018-11-04 03:00Z to 2018-11-05 02:00Z)",
        ),
        (
            America::Havana,
            "2026-11-01",
            "2026-11-01 00:00-04:00 to 2026-11-02 00:00-05:00, 25 h (2026-11-01 04:00Z to 2026-11-02 05:00Z)",
        ),
    ] {
        let calendar = calendar(Unit::Day, zone);
        let interval = day(zone, text);
        assert_eq!(calendar.bounds_text(&interval), bounds);
        assert_eq!(calendar.key(&interval), text);
        assert_eq!(calendar.next(&calendar.previous(&interval)), interval);
    }
}

#[test]
fn a_date_that_the_zone_left_out_is_an_interval_without_an_instant() {
    let zone = Pacific::Apia;
    let calendar = calendar(Unit::Day, zone);
    let [before, gone, after] = ["2011-12-29", "2011-12-30", "2011-12-31"].map(|text| day(zone, text));
    assert!(gone.is_empty() && !before.is_empty() && !after.is_empty());
    assert_eq!((before.end, gone.end), (gone.start, after.start));
    assert_eq!((calendar.next(&before), calendar.next(&gone)), (gone, after));
    assert_eq!((calendar.previous(&after), calendar.previous(&gone)), (gone, before));
    assert_eq!(calendar.containing(gone.start), after);
    assert_eq!(calendar.key(&gone), "2011-12-30");
    assert!(calendar.is_on_grid(&gone));
    let days: Vec<_> = calendar.intervals_between(gone.start, after.end).collect();
    assert_eq!(days, [gone, after]);
    assert!(!gone.overlaps(&after) && !gone.overlaps(&gone));
    assert!(self::calendar(Unit::Hour, zone).of_date(date("2011-12-30")).is_empty());
}

#[test]
fn a_date_the_zone_left_out_at_the_end_of_a_month_stays_in_that_month() {
    let calendar = calendar(Unit::Month, Pacific::Kiritimati);
    assert_eq!(keys_of(calendar, "1994-12-31"), ["1994-12"]);
}

#[test]
fn a_date_that_came_twice_is_one_day() {
    // Alaska went from Asia's side of the date line to America's: the 18th came again.
    let zone = America::Juneau;
    let calendar = calendar(Unit::Day, zone);
    let mut interval = calendar.containing(utc("1867-10-16"));
    for _ in 0..5 {
        let next = calendar.next(&interval);
        assert_eq!(interval.end, next.start);
        assert_eq!(calendar.containing(next.end - TimeDelta::seconds(1)), next);
        assert_eq!(calendar.parse_key(&calendar.key(&next)).unwrap(), next);
        interval = next;
    }
}

#[test]
fn hours_that_the_clock_repeats_are_told_apart_by_their_offset() {
    let keys = keys_of(calendar(Unit::Hour, America::New_York), "2026-11-01");
    assert_eq!(keys.len(), 25);
    assert_eq!(keys[..3], ["2026-11-01T00:00", "2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00"]);
    let keys = keys_of(calendar(Unit::Hour, Europe::Berlin), "2026-03-29");
    assert_eq!(keys.len(), 23);
    assert_eq!(keys[1..3], ["2026-03-29T01:00", "2026-03-29T03:00"]);
}

#[test]
fn a_jump_of_half_an_hour_cuts_an_hour_in_two() {
    let calendar = calendar(Unit::Hour, Australia::Lord_Howe);
    let minutes = |text: &str| -> Vec<(String, i64)> {
        let hours = calendar.of_date(date(text));
        hours.iter().skip(1).take(3).map(|h| (calendar.key(h), (h.end - h.start).num_minutes())).collect()
    };
    assert_eq!(
        minutes("2026-04-05"),
        [
            ("2026-04-05T01:00+11:00".into(), 60),
            ("2026-04-05T01:00+10:30".into(), 30),
            ("2026-04-05T02:00".into(), 60)
        ]
    );
    assert_eq!(
        minutes("2026-10-04"),
        [("2026-10-04T01:00".into(), 60), ("2026-10-04T02:00".into(), 30), ("2026-10-04T03:00".into(), 60)]
    );
}

#[test]
fn an_hour_after_the_new_day_began_belongs_to_it_even_if_the_clock_went_back() {
    // One minute after midnight the clock went back to 23:01.
    let calendar = calendar(Unit::Hour, America::St_Johns);
    let keys = keys_of(calendar, "2010-11-07");
    assert_eq!(keys[..3], ["2010-11-07T00:00-02:30", "2010-11-06T23:00-03:30", "2010-11-07T00:00-03:30"]);
    for hour in calendar.of_date(date("2010-11-07")) {
        assert_eq!(calendar.execution_date(&hour), date("2010-11-07"));
    }
}

#[test]
fn each_unit_has_its_keys() {
    let zone = America::New_York;
    let six_hours = Unit::Elapsed(TimeDelta::hours(6));
    for (unit, text, keys) in [
        (Unit::Week, "2026-01-05", vec!["2026-W02"]),
        (Unit::Week, "2027-01-01", vec!["2026-W53"]),
        (Unit::Month, "2026-01-31", vec!["2026-01"]),
        (Unit::Elapsed(TimeDelta::hours(24)), "2026-01-05", vec!["2026-01-05T19:00-05:00"]),
        (
            six_hours,
            "2026-01-05",
            vec![
                "2026-01-05T01:00-05:00",
                "2026-01-05T07:00-05:00",
                "2026-01-05T13:00-05:00",
                "2026-01-05T19:00-05:00",
            ],
        ),
    ] {
        assert_eq!(keys_of(calendar(unit, zone), text), keys);
    }
    assert_eq!(
        keys_of(calendar(Unit::Elapsed(TimeDelta::hours(24)), Tz::UTC), "2026-01-05"),
        ["2026-01-05T00:00Z"]
    );
    assert_eq!(calendar(Unit::Day, zone).key(&DataInterval::WHOLE), "all");
}

#[test]
fn a_date_inside_a_longer_step_belongs_to_that_step() {
    let calendar = calendar(Unit::Elapsed(TimeDelta::hours(72)), Tz::UTC);
    let three_days = calendar.containing(utc("2026-01-05"));
    for n in 0..3 {
        let date = three_days.start.date_naive() + chrono::Days::new(n);
        assert_eq!(calendar.of_date(date), [three_days]);
    }
}

#[test]
fn an_interval_off_the_grid_is_known_and_shown_by_its_bounds() {
    let day_in_new_york = day(America::New_York, "2026-01-05");
    let berlin = calendar(Unit::Day, Europe::Berlin);
    assert!(!berlin.is_on_grid(&day_in_new_york));
    assert_eq!(berlin.key(&day_in_new_york), "2026-01-05T06:00+01:00/2026-01-06T06:00+01:00");
    for unit in [Unit::Hour, Unit::Week, Unit::Month, Unit::Elapsed(TimeDelta::hours(24))] {
        assert!(!calendar(unit, America::New_York).is_on_grid(&day_in_new_york), "{unit}");
    }
    assert!(!berlin.is_on_grid(&DataInterval::WHOLE));
}

#[test]
fn keys_of_another_form_are_refused() {
    let zone = America::New_York;
    for (unit, text, why) in [
        (Unit::Day, "2026-01", "dates are written YYYY-MM-DD"),
        (Unit::Week, "2026-01-05", "ISO weeks are written as 2026-W02"),
        (Unit::Week, "2025-W53", "ISO weeks are written as 2026-W02"),
        (Unit::Month, "2026-01-05", "months are written YYYY-MM"),
        (Unit::Hour, "2026-01-05T03:30", "hours are written as 2026-01-05T03:00"),
        (Unit::Hour, "2026-01-05", "hours are written as 2026-01-05T03:00"),
        (Unit::Hour, "2026-01-05T03:00-05:00", "in America/New_York it is 2026-01-05T03:00"),
        (Unit::Hour, "2026-03-08T02:00", "America/New_York left it out"),
        (
            Unit::Hour,
            "2026-11-01T01:00",
            "in America/New_York it is 2026-11-01T01:00-04:00 or 2026-11-01T01:00-05:00",
        ),
        (
            Unit::Elapsed(TimeDelta::hours(6)),
            "2026-01-05T02:00-05:00",
            "the nearest is 2026-01-05T01:00-05:00",
        ),
    ] {
        let error = calendar(unit, zone).parse_key(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().ends_with(why), "{error}");
    }
}

#[test]
fn instants_beyond_the_calendar_are_no_trouble() {
    for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Elapsed(TimeDelta::MAX)] {
        for zone in [Pacific::Kiritimati, America::Juneau, Tz::UTC] {
            let calendar = calendar(unit, zone);
            for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                let interval = calendar.containing(instant);
                let around = [calendar.previous(&interval), calendar.next(&interval)];
                assert!(around[0].start < around[1].end, "{unit} {zone}");
                assert!(!calendar.is_on_grid(&DataInterval { start: instant, end: instant }));
            }
            assert!(calendar.estimate(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC) > 0);
        }
    }
}

#[test]
fn units_are_shown_as_a_job_writes_them() {
    let elapsed = [21_600, 900, 90].map(|s| Unit::Elapsed(TimeDelta::seconds(s)).to_string());
    assert_eq!(elapsed, ["6h", "15m", "90s"]);
    assert_eq!(Unit::Month.to_string(), "month");
}

fn any_unit() -> impl Strategy<Value = Unit> {
    prop_oneof![
        Just(Unit::Hour),
        Just(Unit::Day),
        Just(Unit::Week),
        Just(Unit::Month),
        (1_i64..400_000).prop_map(|s| Unit::Elapsed(TimeDelta::seconds(s))),
        prop::sample::select(vec![15, 60, 360, 1440]).prop_map(|m| Unit::Elapsed(TimeDelta::minutes(m))),
    ]
}

fn any_calendar() -> impl Strategy<Value = Calendar> {
    (any_unit(), prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()))
        .prop_map(|(unit, timezone)| Calendar { unit, timezone })
}

/// From 1840 to 2100: local mean times, date lines and all the changes since.
fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
    (-4_102_444_800_i64..4_102_444_800, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

/// A calendar and an instant, half of them within hours of a jump of the zone's clock.
fn any_moment() -> impl Strategy<Value = (Calendar, DateTime<Utc>)> {
    (any_calendar(), any_instant(), any::<bool>(), -100_000_i64..100_000).prop_map(
        |(calendar, instant, near_jump, seconds)| {
            let jump =
                near_jump.then(|| jump_within(calendar.timezone, instant, TimeDelta::days(220))).flatten();
            (calendar, jump.map_or(instant, |jump| jump + TimeDelta::seconds(seconds / 10)))
        },
    )
}

fn jump_within(timezone: Tz, from: DateTime<Utc>, length: TimeDelta) -> Option<DateTime<Utc>> {
    let offset = |t: DateTime<Utc>| t.with_timezone(&timezone).naive_local() - t.naive_utc();
    let (mut before, mut after) = (from, from + length);
    if offset(before) == offset(after) {
        return None;
    }
    while after - before > TimeDelta::milliseconds(1) {
        let middle = before + (after - before) / 2;
        if offset(middle) == offset(before) { before = middle } else { after = middle }
    }
    Some(after)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_instant_is_in_exactly_one_interval((calendar, instant) in any_moment()) {
        let interval = calendar.containing(instant);
        prop_assert!(interval.contains(instant));
        prop_assert!(calendar.is_on_grid(&interval));
        let [before, after] = [calendar.previous(&interval), calendar.next(&interval)];
        prop_assert_eq!((before.end, interval.end), (interval.start, after.start));
        prop_assert!(!before.contains(instant) && !after.contains(instant));
        prop_assert_eq!(calendar.next(&before), interval);
        prop_assert_eq!(calendar.previous(&after), interval);
        for inside in [interval.start, interval.end - TimeDelta::nanoseconds(1)] {
            prop_assert_eq!(calendar.containing(inside), interval);
        }
    }

    #[test]
    fn intervals_tile_a_range((calendar, from) in any_moment(), days in 0_i64..40) {
        let to = from + TimeDelta::days(days);
        let tiles: Vec<_> = calendar.intervals_between(from, to).take(2_000).collect();
        prop_assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start));
        prop_assert!(tiles.iter().all(|tile| from <= tile.start && tile.start < to));
        let [first, end] = [calendar.containing(from), calendar.containing(to)];
        let first = if first.start < from { first.end } else { first.start };
        let end = if end.start < to { end.end } else { end.start };
        prop_assert_eq!(tiles.first().map_or(end, |tile| tile.start), first);
        prop_assert!(tiles.len() == 2_000 || tiles.last().map_or(first, |tile| tile.end) == end);
    }

    #[test]
    fn a_key_reads_back_to_its_interval_alone((calendar, instant) in any_moment()) {
        let interval = calendar.containing(instant);
        let key = calendar.key(&interval);
        prop_assert_eq!(calendar.parse_key(&key).unwrap(), interval);
        prop_assert_ne!(calendar.key(&calendar.next(&interval)), key);
    }

    #[test]
    fn an_interval_is_among_those_of_its_date((calendar, instant) in any_moment()) {
        prop_assume!(!matches!(calendar.unit, Unit::Elapsed(step) if step < TimeDelta::minutes(1)));
        let interval = calendar.containing(instant);
        prop_assert!(calendar.of_date(calendar.execution_date(&interval)).contains(&interval));
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC*", calendar in any_calendar()) {
        prop_assert!(parse_date(&text).is_err());
        prop_assert!(parse_span(&text).is_err());
        let _ = parse_instant(&text, calendar.timezone);
        let _ = calendar.parse_key(&text);
    }

    #[test]
    fn almost_times_make_no_reader_panic(text in "[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ][0-9:.]{0,9}[Z+-]?[0-9:é]{0,8})?)?", calendar in any_calendar()) {
        let _ = parse_span(&text);
        let _ = parse_instant(&text, calendar.timezone);
        let _ = calendar.parse_key(&text);
    }
}
