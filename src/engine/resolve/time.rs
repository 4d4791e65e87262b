//! The time column on both sides: what cuts the source must select exactly what the destination owns.

use crate::columns::{ColumnPlan, Expression};
use crate::config::job::{Job, LoadMode, Origin};
use crate::config::nearest::did_you_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{DataInterval, Unit};
use crate::postgres::bound::{Condition, TimeKind};
use crate::postgres::catalog::Column;
use crate::postgres::ident;
use chrono_tz::Tz;

/// The column that cuts rows into intervals.
#[derive(Debug, Clone)]
pub(super) struct TimeColumn {
    /// Its name in the destination.
    pub(super) column: String,
    /// How it tells time there; the source's expression gives the same.
    kind: TimeKind,
    /// The value on the source, as it will be stored.
    source_sql: String,
    /// Whether that is a cast of the source's column.
    pub(super) is_cast: bool,
}

/// Finds the time column of a job that has intervals and names one.
pub(super) fn find(job: &Job, plan: &ColumnPlan, target: &[Column]) -> Result<Option<TimeColumn>> {
    let Some(calendar) = job.calendar else { return Ok(None) };
    let Some(name) = &job.time_column else {
        return if job.mode == LoadMode::DeleteInsert { Err(no_time_column(job)) } else { Ok(None) };
    };
    let decision = plan.columns.iter().find(|d| &d.column == name);
    let column = target.iter().find(|c| &c.name == name);
    let (Some(decision), Some(column)) = (decision, column) else {
        let known: Vec<_> = plan.target_columns().collect();
        let nearest = did_you_mean(name, known.iter().copied());
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("`time_column`: no column `{name}` is loaded{nearest}"),
        )
        .with_detail(format!("columns: {}", known.join(", "))));
    };
    let data_type = column.data_type.unwrapped();
    let Some(kind) = TimeKind::of_type(&data_type.schema, &data_type.name) else {
        let context = format!("`time_column`: {name} is {}, which does not tell time", data_type.formatted);
        return Err(Error::new(ErrorKind::Preflight, context)
            .with_hint("it must be timestamptz, timestamp or date in the destination"));
    };
    refuse_finer_than(kind, calendar.unit, calendar.timezone, name)?;
    let (source_sql, is_cast) = match &decision.expression {
        Expression::PassThrough => (ident::quote(name), false),
        Expression::CastOnSource { sql } | Expression::Custom { sql } => (format!("({sql}\n)"), true),
    };
    Ok(Some(TimeColumn { column: name.clone(), kind, source_sql, is_cast }))
}

fn no_time_column(job: &Job) -> Error {
    let what = match job.origin {
        Origin::Query(_) => {
            "the job's query needs a `time_column`: the column of its result that tells a row's time"
        }
        Origin::Table(_) => "the job needs a `time_column`",
    };
    Error::new(ErrorKind::Config, format!("delete-insert of intervals: {what}"))
        .with_hint("name it, or choose mode \"append\" or \"merge\"")
}

/// Local times repeat when the clock goes back, and dates have no hours.
fn refuse_finer_than(kind: TimeKind, unit: Unit, timezone: Tz, name: &str) -> Result<()> {
    let fine = match unit {
        Unit::Hour => true,
        Unit::Elapsed(length) => length.num_seconds() % 86_400 != 0 || kind != TimeKind::Instant,
        Unit::Day | Unit::Week | Unit::Month => false,
    };
    let allowed = match kind {
        TimeKind::Instant => true,
        TimeKind::Local => timezone == Tz::UTC,
        TimeKind::Date => false,
    };
    if !fine || allowed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Preflight,
        format!("`time_column`: {name} cannot be cut into intervals shorter than a day, or of elapsed time"),
    )
    .with_hint("make it timestamptz in the destination, or use interval = \"day\""))
}

impl TimeColumn {
    /// The interval's rows on the source.
    pub(super) fn source(&self, interval: &DataInterval, timezone: Tz) -> Condition {
        Condition::within(&self.source_sql, self.kind, interval, timezone)
    }

    /// The interval's rows in the destination.
    pub(super) fn destination(&self, interval: &DataInterval, timezone: Tz) -> Condition {
        Condition::within(&ident::quote(&self.column), self.kind, interval, timezone)
    }
}
