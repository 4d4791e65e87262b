//! The options that name intervals: `--date`, `--from-date --to-date`, `--interval-start --interval-end`.
//!
//! What is typed stays text here: only the plan knows the job's time zone and unit, and it reads dates,
//! months and keys alike. It does so before any network.

use clap::Args;

use crate::plan::Dates;

/// The heading of these options in `--help`.
const HEADING: &str = "Dates";

/// What was typed.
#[derive(Debug, Clone, Default, Args)]
pub struct DatesArgs {
    /// A day, a month or a key as status prints it: 2026-01-05, 2026-01, 2026-W02; may be given again
    #[arg(long, value_name = "DATE", help_heading = HEADING, conflicts_with_all = ["from_date", "interval_start"])]
    pub date: Vec<String>,
    /// The first day (or month) of a range
    #[arg(long, value_name = "DATE", help_heading = HEADING, requires = "to_date", conflicts_with = "interval_start")]
    pub from_date: Option<String>,
    /// The last day (or month) of the range, inside it
    #[arg(long, value_name = "DATE", help_heading = HEADING, requires = "from_date")]
    pub to_date: Option<String>,
    /// The first instant, on the job's grid: 2026-01-05T06:00 (local) or with an offset
    #[arg(long, value_name = "TIME", help_heading = HEADING, requires = "interval_end")]
    pub interval_start: Option<String>,
    /// The first instant after
    #[arg(long, value_name = "TIME", help_heading = HEADING, requires = "interval_start")]
    pub interval_end: Option<String>,
}

impl DatesArgs {
    /// What the options mean together.
    #[must_use]
    pub fn to_dates(&self) -> Dates {
        // Taken apart in full, so that a new option cannot be forgotten here.
        let Self { date, from_date, to_date, interval_start, interval_end } = self;
        if from_date.is_some() || to_date.is_some() {
            return Dates::Range { from: from_date.clone(), to: to_date.clone() };
        }
        if let (Some(start), Some(end)) = (interval_start, interval_end) {
            return Dates::Instants { start: start.clone(), end: end.clone() };
        }
        if date.is_empty() { Dates::Due } else { Dates::Days(date.clone()) }
    }
}
