//! Data intervals and the calendar that cuts time into them.
//!
//! An interval is half-open, `[start, end)`, in instants. A calendar's unit steps the local calendar
//! of its time zone (a day may have 23, 24, 25 or 24.5 hours); an elapsed unit is a fixed number of
//! seconds counted from the Unix epoch.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

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

    /// Whether this is all of time.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Whether the two share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The length of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A local hour.
    Hour,
    /// A local day.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// A fixed time, counted from the Unix epoch: `6h`, `24h`, `15m`.
    Elapsed(TimeDelta),
}

/// A unit in a time zone: what cuts a job's time into intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The unit.
    pub unit: Unit,
    /// The zone of dates, boundaries and keys.
    pub timezone: Tz,
}

/// The local date that names a daily interval (`ds` in Airflow).
pub type ExecutionDate = NaiveDate;
