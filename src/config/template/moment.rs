//! What `data_interval_start` is: a moment in the job's zone, or a date, with pendulum's methods.
//!
//! Years to days step the local calendar, hours to seconds elapsed time, as pendulum does; a local
//! time that a clock change leaves out moves forward by the change.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use chrono::{
    DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone,
    Timelike,
};
use chrono_tz::Tz;
use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::pattern;
use crate::config::nearest::did_you_mean;

/// A moment with its zone, or a date.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    Instant(DateTime<Tz>),
    Day(NaiveDate),
}

const METHODS: [&str; 19] = [
    "strftime",
    "isoformat",
    "format",
    "date",
    "to_date_string",
    "to_datetime_string",
    "to_iso8601_string",
    "add",
    "subtract",
    "in_timezone",
    "in_tz",
    "astimezone",
    "start_of",
    "timestamp",
    "weekday",
    "isoweekday",
    "replace",
    "diff",
    "end_of",
];

impl Moment {
    /// The moment as chrono has it; a date is its midnight in UTC.
    fn at(&self) -> DateTime<Tz> {
        match self {
            Self::Instant(at) => *at,
            Self::Day(date) => Tz::UTC.from_utc_datetime(&date.and_time(NaiveTime::MIN)),
        }
    }

    fn date(&self) -> NaiveDate {
        self.at().date_naive()
    }

    fn answer(&self, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "strftime" => pattern::strftime(&self.at(), from_args::<(&str,)>(args)?.0).map(Value::from),
            "format" => pattern::tokens(&self.at(), from_args::<(&str,)>(args)?.0).map(Value::from),
            "isoformat" | "to_iso8601_string" => no_args(args).map(|()| Value::from(self.to_string())),
            "date" => no_args(args).map(|()| Value::from_object(Self::Day(self.date()))),
            "to_date_string" => no_args(args).map(|()| Value::from(iso_date(self.date()))),
            "to_datetime_string" => {
                no_args(args).map(|()| Value::from(self.at().format("%Y-%m-%d %H:%M:%S").to_string()))
            }
            "timestamp" => no_args(args).map(|()| Value::from(self.at().timestamp())),
            "weekday" => no_args(args).map(|()| Value::from(self.at().weekday().num_days_from_monday())),
            "isoweekday" => no_args(args).map(|()| Value::from(self.at().weekday().number_from_monday())),
            "add" => self.shifted(args, 1).map(Value::from_object),
            "subtract" => self.shifted(args, -1).map(Value::from_object),
            "in_timezone" | "in_tz" | "astimezone" => self.in_timezone(args).map(Value::from_object),
            "start_of" => self.start_of(from_args::<(&str,)>(args)?.0).map(Value::from_object),
            other => Err(Error::new(
                ErrorKind::UnknownMethod,
                format!(
                    "a date has no method `{other}` here{}",
                    did_you_mean(other, METHODS[..16].iter().copied())
                ),
            )),
        }
    }

    fn in_timezone(&self, args: &[Value]) -> Result<Self, Error> {
        let (name,): (&str,) = from_args(args)?;
        let zone: Tz = name.parse().map_err(|_| invalid(format!("`{name}` is not a time zone")))?;
        Ok(Self::Instant(self.at().with_timezone(&zone)))
    }

    /// Adds the keyword arguments `years` to `seconds`, times `sign`.
    fn shifted(&self, args: &[Value], sign: i64) -> Result<Self, Error> {
        let (arguments,): (Kwargs,) = from_args(args)?;
        let mut parts = [0_i64; 7];
        for (part, name) in
            parts.iter_mut().zip(["years", "months", "weeks", "days", "hours", "minutes", "seconds"])
        {
            *part = arguments.get::<Option<i64>>(name)?.unwrap_or(0);
        }
        arguments.assert_all_used()?;
        let out_of_range = || invalid("the date leaves the calendar".to_owned());
        let [years, months, weeks, days, hours, minutes, seconds] =
            parts.map(|part| part.checked_mul(sign).filter(|p| p.abs() < 1_000_000_000_000));
        let total = |large: Option<i64>, factor: i64, small: Option<i64>| {
            large?.checked_mul(factor)?.checked_add(small?)
        };
        let months = total(years, 12, months).ok_or_else(out_of_range)?;
        let days = total(weeks, 7, days).ok_or_else(out_of_range)?;
        let seconds = total(total(hours, 60, minutes), 60, seconds).ok_or_else(out_of_range)?;
        self.step_calendar(months, days)
            .and_then(|moment| moment.step_seconds(seconds))
            .ok_or_else(out_of_range)
    }

    fn step_calendar(&self, months: i64, days: i64) -> Option<Self> {
        if months == 0 && days == 0 {
            return Some(*self);
        }
        let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        let date = self.date();
        let date = if months < 0 { date.checked_sub_months(count)? } else { date.checked_add_months(count)? };
        let count = Days::new(days.unsigned_abs());
        let date = if days < 0 { date.checked_sub_days(count)? } else { date.checked_add_days(count)? };
        Some(match self {
            Self::Instant(at) => Self::Instant(resolve_local(date.and_time(at.time()), at.timezone())),
            Self::Day(_) => Self::Day(date),
        })
    }

    fn step_seconds(&self, seconds: i64) -> Option<Self> {
        let length = TimeDelta::try_seconds(seconds)?;
        match self {
            Self::Instant(at) => at.checked_add_signed(length).map(Self::Instant),
            Self::Day(date) if seconds == 0 => Some(Self::Day(*date)),
            Self::Day(_) => self.at().checked_add_signed(length).map(|at| Self::Day(at.date_naive())),
        }
    }

    fn start_of(&self, unit: &str) -> Result<Self, Error> {
        let at = self.at();
        let date = self.date();
        let first = |date: Option<NaiveDate>| date.unwrap_or(self.date());
        let date = match unit {
            "hour" => {
                let local = date.and_time(at.time()).with_minute(0).and_then(|t| t.with_second(0));
                let local = local.and_then(|t| t.with_nanosecond(0)).unwrap_or(at.naive_local());
                return Ok(self.with_local(local));
            }
            "day" => date,
            "week" => first(date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into()))),
            "month" => first(date.with_day(1)),
            "year" => first(date.with_ordinal(1)),
            _ => return Err(invalid("start_of knows hour, day, week, month and year".to_owned())),
        };
        Ok(self.with_local(date.and_time(NaiveTime::MIN)))
    }

    fn with_local(&self, local: NaiveDateTime) -> Self {
        match self {
            Self::Instant(at) => Self::Instant(resolve_local(local, at.timezone())),
            Self::Day(_) => Self::Day(local.date()),
        }
    }
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let at = self.at();
        Some(match key {
            "year" => Value::from(at.year()),
            "month" => Value::from(at.month()),
            "day" => Value::from(at.day()),
            "hour" => Value::from(at.hour()),
            "minute" => Value::from(at.minute()),
            "second" => Value::from(at.second()),
            "microsecond" => Value::from(at.nanosecond() / 1_000 % 1_000_000),
            "quarter" => Value::from(at.month0() / 3 + 1),
            "day_of_year" => Value::from(at.ordinal()),
            "week_of_year" => Value::from(at.iso_week().week()),
            "int_timestamp" => Value::from(at.timestamp()),
            "timezone_name" => Value::from(at.timezone().name()),
            _ => return None,
        })
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        self.answer(method, args)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.at().cmp(&other.at()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// ISO 8601, a moment with its offset.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => f.write_str(&iso(at)),
            Self::Day(date) => f.write_str(&iso_date(*date)),
        }
    }
}

/// The filters `ds`, `ts` and their like, as in `{{ data_interval_end | ds }}`.
pub(super) const FILTERS: [(&str, &str); 5] = [
    ("ds", "%Y-%m-%d"),
    ("ds_nodash", "%Y%m%d"),
    ("ts", "%Y-%m-%dT%H:%M:%S%:z"),
    ("ts_nodash", "%Y%m%dT%H%M%S"),
    ("ts_nodash_with_tz", "%Y%m%dT%H%M%S%z"),
];

/// Applies one of [`FILTERS`].
pub(super) fn filtered(value: &Value, format: &str) -> Result<String, Error> {
    let moment = value.downcast_object_ref::<Moment>();
    let moment =
        moment.ok_or_else(|| invalid("the filter is for dates such as data_interval_end".to_owned()))?;
    pattern::strftime(&moment.at(), format)
}

/// `2026-01-05T00:00:00-05:00`, with six digits of a second where they are not zero.
pub(super) fn iso(at: &DateTime<Tz>) -> String {
    let fraction = if at.nanosecond() == 0 { "" } else { "%.6f" };
    at.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z")).to_string()
}

/// `2026-01-05`.
pub(super) fn iso_date(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

/// Finds the instant of a local time: the first of two, or moved forward out of a gap.
pub(super) fn resolve_local(local: NaiveDateTime, zone: Tz) -> DateTime<Tz> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at,
        LocalResult::None => {
            let day_before = local.checked_sub_days(Days::new(1)).unwrap_or(local);
            let before = zone.from_local_datetime(&day_before).latest();
            let utc = before.map_or(local, |before| local - (before.naive_local() - before.naive_utc()));
            zone.from_utc_datetime(&utc)
        }
    }
}

fn no_args(args: &[Value]) -> Result<(), Error> {
    from_args::<()>(args)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
