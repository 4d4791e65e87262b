//! `macros`, as far as Airflow's are needed in queries: `ds_add` and `ds_format`.
//!
//! The others are refused with what to use in their place.

use std::sync::Arc;

use chrono::{Days, NaiveDate, NaiveDateTime};
use minijinja::value::{Object, ObjectRepr, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{moment, pattern};

/// The object behind the name.
#[derive(Debug)]
pub(super) struct Macros;

impl Object for Macros {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "ds_add" => ds_add(args),
            "ds_format" => ds_format(args),
            "timedelta" | "dateutil" => Err(refused(format!(
                "macros.{method} is not here: use `.add(days=1)` or `.subtract(days=1)`"
            ))),
            _ => Err(refused(format!("macros.{method} is not here: there are ds_add and ds_format"))),
        }
    }
}

fn ds_add(args: &[Value]) -> Result<Value, Error> {
    let (ds, days): (&str, i64) = from_args(args)?;
    let date = NaiveDate::parse_from_str(ds, "%Y-%m-%d")
        .map_err(|_| refused("ds_add needs a date such as 2026-01-05".to_owned()))?;
    let count = Days::new(days.unsigned_abs());
    let moved = if days < 0 { date.checked_sub_days(count) } else { date.checked_add_days(count) };
    let moved = moved.ok_or_else(|| refused("ds_add leaves the calendar".to_owned()))?;
    Ok(Value::from(moment::iso_date(moved)))
}

fn ds_format(args: &[Value]) -> Result<Value, Error> {
    let (text, input, output): (&str, &str, &str) = from_args(args)?;
    let parsed = NaiveDateTime::parse_from_str(text, input)
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, input).ok().map(NaiveDateTime::from));
    let parsed = parsed.ok_or_else(|| refused("ds_format: the date does not fit its format".to_owned()))?;
    pattern::strftime(&parsed.and_utc(), output).map(Value::from)
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
