//! Data intervals and the calendar that cuts time into them.
//!
//! An interval is half-open, `[start, end)`, in instants. A calendar's unit steps the local calendar
//! of its time zone (a day may have 23, 24, 25 or 24.5 hours, or none); an elapsed unit is a fixed
//! number of seconds counted from the Unix epoch. The intervals of a calendar tile time: each instant
//! is in exactly one.
//!
//! `calendar` steps, `key` names intervals and reads their names back, `date` reads what people write,
//! `schedule` says when a job is due.

mod calendar;
mod date;
mod key;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

pub use date::{DateSpan, parse_date, parse_instant, parse_span};
pub use key::minute_text;
pub use schedule::{Schedule, Tick};

/// A half-open range of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataInterval {
    /// The first instant inside.
    pub start: DateTime<Utc>,
    /// The first instant after.
    pub end: DateTime<Utc>,
}

impl DataInterval {
    /// All of time: the interval of a one-off copy, `(-infinity, infinity)` in the ledger.
    pub const WHOLE: Self = Self { start: DateTime::<Utc>::MIN_UTC, end: DateTime::<Utc>::MAX_UTC };

    /// The key of [`WHOLE`](Self::WHOLE).
    pub const WHOLE_KEY: &'static str = "all";

    /// Whether this is all of time.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Whether no instant is inside: a date that the local calendar left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether the instant is inside.
    #[must_use]
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.start <= instant && instant < self.end
    }

    /// Whether the two share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }
}

/// The length of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A local hour: it ends where the local clock reads a full hour or jumps, so never after more than
    /// 60 minutes. In zones that jump by half an hour two shorter hours stand beside the jump.
    Hour,
    /// A local day.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// A fixed time of whole seconds, counted from the Unix epoch: `6h`, `24h`, `15m`.
    Elapsed(TimeDelta),
}

/// As in a job: `day`, `6h`.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self {
            Self::Hour => return f.write_str("hour"),
            Self::Day => return f.write_str("day"),
            Self::Week => return f.write_str("week"),
            Self::Month => return f.write_str("month"),
            Self::Elapsed(step) => step.num_seconds(),
        };
        match seconds {
            s if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// A unit in a time zone: what cuts a job's time into intervals.
///
/// Dates go from 0001-01-01 to 9999-12-31. Instants beyond count as the nearest inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The unit.
    pub unit: Unit,
    /// The zone of dates, boundaries and keys.
    pub timezone: Tz,
}

/// The local date that names a daily interval (`ds` in Airflow).
pub type ExecutionDate = NaiveDate;
