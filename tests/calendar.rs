//! Postgres as the oracle of the calendar: its own zones, `at time zone` and `generate_series` say where
//! days, weeks, months and hours begin, and the intervals of pgtide must be the same.
//!
//! The oracle asks each minute around a date for its local time; it knows no rule about gaps or folds.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use pgtide::interval::{Calendar, DataInterval, Unit, parse_date};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio_postgres::Client;

use crate::support::{databases, lower_major};

/// The first minute, on the minute, at which the local clock has come to a date.
const START_OF_DATE: &str = "
select z.zone, d.date,
       (select min(t) from generate_series((d.date - 1)::timestamp at time zone 'UTC' - interval '2 h',
                                           (d.date + 1)::timestamp at time zone 'UTC' + interval '14 h',
                                           interval '1 minute') t
        where (t at time zone z.zone)::date >= d.date)
from unnest($1::text[], $2::date[]) with ordinality as z (zone, date, n), lateral (select z.date) d
order by z.n";

/// The last minute up to an instant at which the local clock showed a full hour or jumped.
const START_OF_HOUR: &str = "
select (select max(t)
        from (select t, t at time zone z.zone as local,
                     lag(t at time zone z.zone) over (order by t) as before
              from generate_series(date_trunc('minute', z.at) - interval '2 h', z.at, interval '1 minute') t) minutes
        where extract(minute from local) = 0 or local - before <> interval '1 minute')
from unnest($1::text[], $2::timestamptz[]) with ordinality as z (zone, at, n)
order by z.n";

/// Zones that both know, without old names such as WET: they became links, one release after the other.
async fn zones(client: &Client) -> Vec<Tz> {
    let rows = client.query("select name from pg_timezone_names", &[]).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let is_shared = |zone: &Tz| zone.name().contains('/') && names.iter().any(|name| name == zone.name());
    chrono_tz::TZ_VARIANTS.into_iter().filter(is_shared).collect()
}

/// Random samples, the same in each run.
fn samples<S: Strategy>(number: usize, strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..number).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// A date from 1975 to 2036, when no zone counted seconds any more; a half of them beside a jump of the clock.
fn any_date(zone: Tz, days: i64, near_jump: bool) -> NaiveDate {
    let date = NaiveDate::from_ymd_opt(1975, 1, 1).unwrap() + TimeDelta::days(days);
    if !near_jump {
        return date;
    }
    let offset = |date: NaiveDate| {
        let noon = date.and_hms_opt(12, 0, 0).unwrap().and_utc();
        noon.with_timezone(&zone).naive_local() - noon.naive_utc()
    };
    let dates = (0..400).map(|n| date + TimeDelta::days(n));
    dates.clone().find(|day| offset(*day) != offset(*day + TimeDelta::days(1))).unwrap_or(date)
}

fn day(zone: Tz, date: NaiveDate) -> DataInterval {
    Calendar { unit: Unit::Day, timezone: zone }.of_date(date)[0]
}

async fn starts_of_dates(client: &Client, dates: &[(Tz, NaiveDate)]) -> Vec<DateTime<Utc>> {
    let zones: Vec<_> = dates.iter().map(|(zone, _)| zone.name()).collect();
    let days: Vec<_> = dates.iter().map(|(_, date)| *date).collect();
    let rows = client.query(START_OF_DATE, &[&zones, &days]).await.unwrap();
    rows.iter().map(|row| row.get(2)).collect()
}

#[tokio::test]
async fn a_day_begins_where_postgres_first_sees_its_date() {
    let pair = databases("calendar_days").await;
    let client = pair.source.client().await;
    let zones = zones(&client).await;
    assert!(zones.len() > 400, "only {} zones are known to both", zones.len());
    let picks = samples(400, (proptest::sample::select(zones), 0..22_000_i64, proptest::bool::ANY));
    let mut dates: Vec<_> =
        picks.into_iter().map(|(zone, days, near)| (zone, any_date(zone, days, near))).collect();
    dates.extend(NAMED.map(|(zone, date, _)| (zone, parse_date(date).unwrap())));
    let starts = starts_of_dates(&client, &dates).await;
    for ((zone, date), start) in dates.iter().zip(starts) {
        assert_eq!(day(*zone, *date).start, start, "{zone} {date}");
    }
}

/// The days that zones made odd, and their minutes.
const NAMED: [(Tz, &str, i64); 12] = [
    (Tz::Europe__Berlin, "2026-03-29", 23 * 60),
    (Tz::Europe__Berlin, "2026-10-25", 25 * 60),
    (Tz::America__New_York, "2013-03-10", 23 * 60),
    (Tz::America__New_York, "2013-11-03", 25 * 60),
    (Tz::Australia__Lord_Howe, "2026-04-05", 24 * 60 + 30),
    (Tz::Australia__Lord_Howe, "2026-10-04", 23 * 60 + 30),
    (Tz::Africa__Cairo, "2026-04-24", 23 * 60),
    (Tz::Pacific__Apia, "2011-12-29", 24 * 60),
    (Tz::Pacific__Apia, "2011-12-30", 0),
    (Tz::Pacific__Apia, "2011-12-31", 24 * 60),
    (Tz::America__Sao_Paulo, "2018-11-04", 23 * 60),
    (Tz::America__Havana, "2026-11-01", 25 * 60),
];

#[tokio::test]
async fn the_named_days_are_as_long_as_postgres_counts_their_minutes() {
    let pair = databases("calendar_named").await;
    let client = pair.source.client().await;
    let sql = "select count(*) from generate_series($2::date::timestamp at time zone 'UTC' - interval '30 h',
                    $2::date::timestamp at time zone 'UTC' + interval '60 h', interval '1 minute') t
               where (t at time zone $1)::date = $2";
    for (zone, date, minutes) in NAMED {
        let date = parse_date(date).unwrap();
        let counted: i64 = client.query_one(sql, &[&zone.name(), &date]).await.unwrap().get(0);
        let day = day(zone, date);
        assert_eq!(((day.end - day.start).num_minutes(), counted), (minutes, minutes), "{zone} {date}");
    }
}

#[tokio::test]
async fn weeks_and_months_begin_with_their_first_day_and_an_instant_is_in_the_one_of_its_date() {
    let pair = databases("calendar_months").await;
    let client = pair.source.client().await;
    let zones = zones(&client).await;
    let picks = samples(200, (proptest::sample::select(zones), 0..22_000_i64, 0..1_440_i64));
    let sql = "select date_trunc('week', $1::date::timestamp)::date, date_trunc('month', $1::date::timestamp)::date,
                      (date_trunc('month', $1::date::timestamp) + interval '1 month')::date, to_char($1::date, 'IYYY\"-W\"IW')";
    for (zone, days, minutes) in picks {
        let date = any_date(zone, days, false);
        let row = client.query_one(sql, &[&date]).await.unwrap();
        let [monday, first, next]: [NaiveDate; 3] = [row.get(0), row.get(1), row.get(2)];
        let instant = day(zone, date).start + TimeDelta::minutes(minutes % 720);
        let week = Calendar { unit: Unit::Week, timezone: zone };
        let interval = week.containing(instant);
        assert_eq!(interval.start, day(zone, monday).start, "{zone} {date}");
        assert_eq!(interval.end, day(zone, monday + TimeDelta::days(7)).start, "{zone} {date}");
        assert_eq!(week.key(&interval), row.get::<_, String>(3), "{zone} {date}");
        let month = Calendar { unit: Unit::Month, timezone: zone }.containing(instant);
        assert_eq!(month.start, day(zone, first).start, "{zone} {date}");
        assert_eq!(month.end, day(zone, next).start, "{zone} {date}");
        assert_eq!(first.day(), 1);
    }
}

#[tokio::test]
async fn an_hour_begins_where_the_clock_of_postgres_shows_a_full_hour_or_jumps() {
    let pair = databases("calendar_hours").await;
    let client = pair.source.client().await;
    let zones = zones(&client).await;
    let picks =
        samples(400, (proptest::sample::select(zones), 0..22_000_i64, 0..2_880_i64, proptest::bool::ANY));
    let mut instants: Vec<_> = picks
        .into_iter()
        .map(|(zone, days, minutes, near)| {
            (zone, day(zone, any_date(zone, days, near)).start + TimeDelta::minutes(minutes))
        })
        .collect();
    for (zone, date, minutes) in NAMED {
        let start = day(zone, parse_date(date).unwrap()).start;
        instants.extend((0..minutes).step_by(20).map(|minute| (zone, start + TimeDelta::minutes(minute))));
    }
    let names: Vec<_> = instants.iter().map(|(zone, _)| zone.name()).collect();
    let times: Vec<_> = instants.iter().map(|(_, at)| *at).collect();
    let rows = client.query(START_OF_HOUR, &[&names, &times]).await.unwrap();
    for ((zone, at), row) in instants.iter().zip(rows) {
        let hour = Calendar { unit: Unit::Hour, timezone: *zone }.containing(*at);
        assert_eq!(hour.start, row.get::<_, DateTime<Utc>>(0), "{zone} {at}");
    }
}

#[tokio::test]
async fn elapsed_steps_are_the_bins_of_postgres() {
    let pair = databases("calendar_bins").await;
    let client = pair.source.client().await;
    // Postgres 13 has no date_bin: its arithmetic of seconds says the same.
    let sql = if lower_major() >= 14 {
        "select date_bin(make_interval(secs => $1), $2, timestamptz 'epoch')"
    } else {
        "select to_timestamp(floor(extract(epoch from $2::timestamptz) / $1::float8) * $1::float8)"
    };
    for (seconds, at) in samples(200, (1..400_000_i64, 0..2_000_000_000_i64)) {
        let at = DateTime::from_timestamp(at, 0).unwrap();
        let calendar = Calendar { unit: Unit::Elapsed(TimeDelta::seconds(seconds)), timezone: Tz::UTC };
        let start: DateTime<Utc> = client.query_one(sql, &[&(seconds as f64), &at]).await.unwrap().get(0);
        let step = calendar.containing(at);
        assert_eq!((step.start, (step.end - step.start).num_seconds()), (start, seconds), "{seconds} {at}");
    }
}

#[tokio::test]
async fn the_days_of_a_range_hold_each_minute_of_postgres_exactly_once() {
    let pair = databases("calendar_tiles").await;
    let client = pair.source.client().await;
    let sql = "with tile as (select * from unnest($1::timestamptz[], $2::timestamptz[]) as t (a, b))
               select count(*), count(*) filter (where tiles <> 1)
               from (select m, (select count(*) from tile where a <= m and m < b) as tiles
                     from generate_series((select min(a) from tile), (select max(b) from tile) - interval '1 minute',
                                          interval '17 minutes') m) minutes";
    for (zone, date, _) in NAMED {
        let date = parse_date(date).unwrap();
        for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Elapsed(TimeDelta::hours(6))] {
            let calendar = Calendar { unit, timezone: zone };
            let tiles: Vec<_> =
                calendar.of_dates(date - TimeDelta::days(3), date + TimeDelta::days(3)).collect();
            let starts: Vec<_> = tiles.iter().map(|tile| tile.start).collect();
            let ends: Vec<_> = tiles.iter().map(|tile| tile.end).collect();
            let row = client.query_one(sql, &[&starts, &ends]).await.unwrap();
            assert_eq!(row.get::<_, i64>(1), 0, "{zone} {date} {unit}");
            assert!(row.get::<_, i64>(0) > 400, "{zone} {date} {unit}");
        }
    }
}
