//! When a job is due: a cron expression in a zone of its own.
//!
//! Five fields, or six with seconds first; `L`, `#`, `W`, names of months and weekdays, and words such
//! as `@daily`. A time that the local clock jumps over fires once, as the jump ends; a time that comes
//! twice fires once, the first time. Expressions with `*` or a step in the hour follow real time.

use std::fmt;

use chrono::{DateTime, MappedLocalTime, Offset, SubsecRound, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::key::offset_text;
use crate::error::{Error, ErrorKind, Result};

/// Words for whole expressions.
const WORDS: [(&str, &str); 8] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 1,4,7,10 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The fields, and what may stand in them.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L, 15W"),
    ("month", "1 to 12, JAN to DEC"),
    ("day of the week", "0 to 7, SUN to SAT, FRI#2, FRIL"),
];

/// No tick is looked for before 1000-01-01.
const FIRST: DateTime<Utc> = DateTime::from_timestamp(-30_610_224_000, 0).expect("within chrono's range");
/// No tick is looked for after 4000-01-01.
const LAST: DateTime<Utc> = DateTime::from_timestamp(64_060_588_800, 0).expect("within chrono's range");

/// The longest jump of the local clock that `croner` looks across; beyond, it finds nothing.
const LONGEST_KNOWN_JUMP: TimeDelta = TimeDelta::hours(2);
/// The time between two looks at the zone's offset.
const LOOK: TimeDelta = TimeDelta::hours(12);
/// Four centuries hold every weekday on every date.
const CYCLE_DAYS: i64 = 146_097;

/// A cron expression in a time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    timezone: Tz,
    cron: Cron,
}

/// A moment of a schedule, and its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The moment before.
    pub before: DateTime<Utc>,
    /// The moment.
    pub at: DateTime<Utc>,
    /// The moment after.
    pub after: DateTime<Utc>,
}

impl Schedule {
    /// The words that stand for an expression.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().map(|(word, _)| word)
    }

    /// Reads an expression.
    ///
    /// # Errors
    /// `Config`, with the field that is wrong, and for an expression that never fires.
    pub fn parse(text: &str, timezone: Tz) -> Result<Self> {
        let refuse = |what: String| Error::new(ErrorKind::Config, what);
        let word = WORDS.iter().find(|(word, _)| *word == text);
        let expression = word.map_or(text, |(_, expression)| expression);
        let fields: Vec<_> = expression.split_whitespace().collect();
        if !matches!(fields.len(), 5 | 6) {
            let number = fields.len();
            return Err(refuse(format!(
                "a cron expression has five fields, this has {number}; or write `@daily`"
            )));
        }
        let cron = parser().parse(expression).map_err(|_| refuse(wrong_field(&fields)))?;
        let schedule = Self { text: text.to_owned(), timezone, cron };
        let found = schedule.next_after(DateTime::UNIX_EPOCH);
        if found.is_none_or(|at| at - DateTime::UNIX_EPOCH > TimeDelta::days(CYCLE_DAYS)) {
            return Err(refuse(format!("`{}` never fires: no date is like that", text.escape_debug())));
        }
        Ok(schedule)
    }

    /// The zone whose clock it follows.
    #[must_use]
    pub fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The first moment after an instant.
    #[must_use]
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let from = instant.clamp(FIRST, LAST).trunc_subsecs(0).with_timezone(&self.timezone);
        let found = self.cron.find_next_occurrence(&from, false).ok().map(|at| at.to_utc());
        found.or_else(|| self.after_long_jump(from.to_utc(), LOOK))
    }

    /// The first moment at or after an instant.
    #[must_use]
    pub fn next_from(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_after(instant.clamp(FIRST, LAST) - TimeDelta::nanoseconds(1))
    }

    /// The last moment at or before an instant.
    #[must_use]
    pub fn latest_until(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let until = instant.clamp(FIRST, LAST).trunc_subsecs(0).with_timezone(&self.timezone);
        let found = self.cron.find_previous_occurrence(&until, true).ok().map(|at| at.to_utc());
        found.or_else(|| self.after_long_jump(until.to_utc(), -LOOK))
    }

    /// The end of the nearest jump of the local clock that took a time of the expression along and is too long for
    /// `croner`, such as the day that Samoa left out; looked for from an instant on, or back with a negative step.
    fn after_long_jump(&self, from: DateTime<Utc>, step: TimeDelta) -> Option<DateTime<Utc>> {
        let offset = |at: DateTime<Utc>| {
            let offset = self.timezone.offset_from_utc_datetime(&at.naive_utc());
            TimeDelta::seconds(offset.fix().local_minus_utc().into())
        };
        let mut near = from;
        for _ in 0..TimeDelta::days(CYCLE_DAYS).num_hours() / LOOK.num_hours() {
            let far = near + step;
            let (mut before, mut after) = (near.min(far), near.max(far));
            near = far;
            let (earlier, jump) = (offset(before), offset(after) - offset(before));
            if jump <= LONGEST_KNOWN_JUMP {
                continue;
            }
            while after - before > TimeDelta::seconds(1) {
                let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
                *(if offset(middle) == earlier { &mut before } else { &mut after }) = middle;
            }
            // What the local clock would have shown, as if it were UTC.
            let left_out = after + earlier;
            let first = self.cron.find_next_occurrence(&left_out, true);
            if first.is_ok_and(|first| first < left_out + jump) {
                return Some(after);
            }
        }
        None
    }

    /// The last moment at or before an instant, with its neighbours.
    #[must_use]
    pub fn tick(&self, now: DateTime<Utc>) -> Option<Tick> {
        let at = self.latest_until(now)?;
        let before = self.latest_until(at - TimeDelta::nanoseconds(1))?;
        Some(Tick { before, at, after: self.next_after(at)? })
    }
}

/// As it was written.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text and zone: the parsed form is long.
impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.text, self.timezone)
    }
}

impl Tick {
    /// The name of what is loaded for it: `2026-01-05T03:00`, with an offset where the clock repeats it.
    #[must_use]
    pub fn key(&self, timezone: Tz) -> String {
        let local = self.at.with_timezone(&timezone);
        let form = if local.second() == 0 { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
        let mut key = local.format(form).to_string();
        if let MappedLocalTime::Ambiguous(..) = timezone.from_local_datetime(&local.naive_local()) {
            key.push_str(&offset_text(&local));
        }
        key
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

/// Finds the field that is wrong by reading each alone.
fn wrong_field(fields: &[&str]) -> String {
    let names = &FIELDS[FIELDS.len() - fields.len()..];
    for (index, (field, (name, range))) in fields.iter().zip(names).enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[index] = field;
        if parser().parse(&alone.join(" ")).is_err() {
            return format!(
                "`{}` is no {name} of cron: {range}, with `*`, `,`, `-` and `/`",
                field.escape_debug()
            );
        }
    }
    "is not a cron expression".to_owned()
}

#[cfg(test)]
mod tests;
