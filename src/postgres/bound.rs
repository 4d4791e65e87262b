//! Bounds of an interval as typed parameters, and the conditions built on them.
//!
//! A `timestamptz` column is compared with instants, a `timestamp` with local times, a `date` with
//! dates: always half-open, always bound parameters, never text.

use bytes::BytesMut;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::ident;
use crate::interval::DataInterval;

/// How a column tells time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeKind {
    /// `timestamptz`: instants.
    Instant,
    /// `timestamp`: local times of the job's zone.
    Local,
    /// `date`: local dates of the job's zone.
    Date,
}

impl TimeKind {
    /// The kind of a built-in type, by name; none for types that do not tell time.
    #[must_use]
    pub fn of_type(schema: &str, name: &str) -> Option<Self> {
        match (schema, name) {
            ("pg_catalog", "timestamptz") => Some(Self::Instant),
            ("pg_catalog", "timestamp") => Some(Self::Local),
            ("pg_catalog", "date") => Some(Self::Date),
            _ => None,
        }
    }

    /// The type's name in SQL.
    #[must_use]
    pub fn sql_type(self) -> &'static str {
        match self {
            Self::Instant => "pg_catalog.timestamptz",
            Self::Local => "pg_catalog.timestamp",
            Self::Date => "pg_catalog.date",
        }
    }
}

/// One value to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// An instant.
    Instant(DateTime<Utc>),
    /// A local time.
    Local(NaiveDateTime),
    /// A local date.
    Date(NaiveDate),
    /// A value in the type's own binary form, as it came from a server.
    Raw(Vec<u8>),
}

impl Bound {
    /// An instant as the kind of column tells it in a zone.
    #[must_use]
    pub fn at(instant: DateTime<Utc>, kind: TimeKind, timezone: Tz) -> Self {
        let local = instant.with_timezone(&timezone).naive_local();
        match kind {
            TimeKind::Instant => Self::Instant(instant),
            TimeKind::Local => Self::Local(local),
            TimeKind::Date => Self::Date(local.date()),
        }
    }
}

impl Bound {
    fn sql_type(&self) -> Type {
        match self {
            Self::Instant(_) => Type::TIMESTAMPTZ,
            Self::Local(_) => Type::TIMESTAMP,
            Self::Date(_) => Type::DATE,
            // The server infers it, as it does for a prepared statement.
            Self::Raw(_) => Type::new("any".to_owned(), 0, Kind::Simple, String::new()),
        }
    }
}

impl Bound {
    /// The value in SQL, of a type that tells time.
    #[must_use]
    pub fn literal(&self) -> String {
        match self {
            Self::Instant(at) => ident::literal(&at.to_rfc3339()),
            Self::Local(at) => ident::literal(&at.to_string()),
            Self::Date(date) => ident::literal(&date.to_string()),
            Self::Raw(_) => "null".to_owned(),
        }
    }
}

impl ToSql for Bound {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Instant(v) => v.to_sql_checked(ty, out),
            Self::Local(v) => v.to_sql_checked(ty, out),
            Self::Date(v) => v.to_sql_checked(ty, out),
            Self::Raw(v) => {
                out.extend_from_slice(v);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A SQL condition with its parameters; `$1` is the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The condition, without `where`; empty for none.
    pub sql: String,
    /// The values of `$1` and on.
    pub params: Vec<Bound>,
}

impl Condition {
    /// The rows of an interval: `column >= $1 and column < $2`, typed by the column.
    #[must_use]
    pub fn within(column_sql: &str, kind: TimeKind, interval: &DataInterval, timezone: Tz) -> Self {
        let ty = kind.sql_type();
        Self {
            sql: format!(
                "{column_sql} operator(pg_catalog.>=) $1::{ty} and {column_sql} operator(pg_catalog.<) $2::{ty}"
            ),
            params: vec![Bound::at(interval.start, kind, timezone), Bound::at(interval.end, kind, timezone)],
        }
    }

    /// Both conditions; the other must have no parameters.
    #[must_use]
    pub fn and(mut self, other: Option<&str>) -> Self {
        if let Some(other) = other {
            // A newline ends a comment that the text may close with.
            self.sql = match self.sql.as_str() {
                "" => format!("({other}\n)"),
                mine => format!("{mine} and ({other}\n)"),
            };
        }
        self
    }

    /// ` where ...`, or nothing.
    #[must_use]
    pub fn where_clause(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!(" where {}", self.sql) }
    }

    /// The parameters with their types, for a statement that is parsed, bound and run in one round trip.
    #[must_use]
    pub fn to_typed_params(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.params.iter().map(|p| (p as _, p.sql_type())).collect()
    }

    /// The parameters as tokio-postgres takes them.
    #[must_use]
    pub fn to_params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|p| p as _).collect()
    }
}
