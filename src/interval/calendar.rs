//! Stepping: from an instant or a date to its interval, and from there to the next.
//!
//! A day starts at the first instant of its date or, where the clock jumps over midnight, at the first
//! instant after the jump; of a doubled midnight the first counts. A day ends where the next starts,
//! so a date that the zone left out (Pacific/Apia 2011-12-30) is an interval without an instant.

use chrono::{DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime};
use chrono::{Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use super::{Calendar, DataInterval, ExecutionDate, Unit};

/// Two days before 0001-01-01 UTC: no zone is further away.
const FIRST: DateTime<Utc> = DateTime::from_timestamp(-62_135_769_600, 0).expect("within chrono's range");
/// Two days after the end of 9999-12-31 UTC.
const LAST: DateTime<Utc> = DateTime::from_timestamp(253_402_473_600, 0).expect("within chrono's range");
/// A century: the longest elapsed step that is looked at.
const LONGEST_STEP_SECONDS: i64 = 3_155_760_000;

impl Calendar {
    /// The instant in the calendar's zone.
    #[must_use]
    pub fn local(&self, instant: DateTime<Utc>) -> DateTime<Tz> {
        instant.clamp(FIRST, LAST).with_timezone(&self.timezone)
    }

    /// The first instant of a local date, or the first after it where the zone left the date out.
    #[must_use]
    pub fn start_of_date(&self, date: NaiveDate) -> DateTime<Utc> {
        first_instant(self.timezone, date.and_time(NaiveTime::MIN))
    }

    /// The interval that the instant is in.
    #[must_use]
    pub fn containing(&self, instant: DateTime<Utc>) -> DataInterval {
        let instant = instant.clamp(FIRST, LAST);
        match self.unit {
            Unit::Hour => self.hour_containing(instant),
            Unit::Elapsed(step) => elapsed_containing(step, instant),
            Unit::Day | Unit::Week | Unit::Month => self.starting_on(self.first_date(self.day_of(instant))),
        }
    }

    /// The interval after one of this calendar's.
    #[must_use]
    pub fn next(&self, interval: &DataInterval) -> DataInterval {
        match self.unit {
            Unit::Hour | Unit::Elapsed(_) => self.containing(interval.end),
            Unit::Day | Unit::Week | Unit::Month => {
                let next = self.next_date(self.first_date(self.execution_date(interval)));
                self.starting_on(next)
            }
        }
    }

    /// The interval before one of this calendar's.
    #[must_use]
    pub fn previous(&self, interval: &DataInterval) -> DataInterval {
        match self.unit {
            Unit::Hour | Unit::Elapsed(_) => {
                self.containing(interval.start.clamp(FIRST, LAST) - TimeDelta::nanoseconds(1))
            }
            Unit::Day | Unit::Week | Unit::Month => {
                let date = self.first_date(self.execution_date(interval));
                self.starting_on(self.first_date(saturating_pred(date)))
            }
        }
    }

    /// The intervals whose start is in `[from, to)`, oldest first.
    pub fn intervals_between(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DataInterval> + use<> {
        let calendar = *self;
        let (from, to) = (from.clamp(FIRST, LAST), to.clamp(FIRST, LAST));
        // One step back: an interval without an instant starts where its neighbour does.
        let first = calendar.previous(&calendar.containing(from));
        std::iter::successors(Some(first), move |interval| Some(calendar.next(interval)))
            .skip_while(move |interval| interval.start < from)
            .take_while(move |interval| interval.start < to)
    }

    /// The intervals of a local date: those that start on it, or, if none does, the one it is part of.
    ///
    /// Empty for an hourly job on a date that the zone left out.
    #[must_use]
    pub fn of_date(&self, date: NaiveDate) -> Vec<DataInterval> {
        self.of_dates(date, date).collect()
    }

    /// The intervals of the local dates from `first` to `last`, both included, oldest first.
    pub fn of_dates(
        &self,
        first: NaiveDate,
        last: NaiveDate,
    ) -> Box<dyn Iterator<Item = DataInterval> + 'static> {
        let calendar = *self;
        let start = self.start_of_date(first);
        let end = self.start_of_date(saturating_succ(last));
        match self.unit {
            Unit::Hour => Box::new(self.intervals_between(start, end)),
            Unit::Elapsed(_) => {
                let starts_on_first = self.intervals_between(start, end).next();
                let day_end = self.start_of_date(saturating_succ(first));
                let from = match starts_on_first {
                    Some(interval) if interval.start < day_end => start,
                    _ => self.containing(start).start,
                };
                Box::new(self.intervals_between(from, end))
            }
            Unit::Day | Unit::Week | Unit::Month => {
                let dates = std::iter::successors(Some(self.first_date(first)), move |date| {
                    Some(calendar.next_date(*date))
                });
                Box::new(
                    dates.take_while(move |date| *date <= last).map(move |date| calendar.starting_on(date)),
                )
            }
        }
    }

    /// The local date that names the interval: the date of the day that its start is in.
    #[must_use]
    pub fn execution_date(&self, interval: &DataInterval) -> ExecutionDate {
        let date = self.day_of(interval.start.clamp(FIRST, LAST));
        // Where no instant is inside, the clock already shows the day after.
        if interval.is_empty() { saturating_pred(date) } else { date }
    }

    /// Whether the interval is one of this calendar's.
    #[must_use]
    pub fn is_on_grid(&self, interval: &DataInterval) -> bool {
        if interval.start < FIRST || interval.end > LAST {
            return false;
        }
        match self.unit {
            Unit::Hour | Unit::Elapsed(_) => self.containing(interval.start) == *interval,
            Unit::Day | Unit::Week | Unit::Month => {
                let date = self.execution_date(interval);
                self.first_date(date) == date && self.starting_on(date) == *interval
            }
        }
    }

    /// About how many intervals fit between the instants.
    #[must_use]
    pub fn estimate(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
        let seconds = match self.unit {
            Unit::Hour => 3600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 2_629_746,
            Unit::Elapsed(step) => step_seconds(step),
        };
        let span = (to.clamp(FIRST, LAST) - from.clamp(FIRST, LAST)).num_seconds();
        (span + seconds / 2).div_euclid(seconds).max(0)
    }

    /// The hours that the local clock shows as `label`, a full hour: none in a gap, two where it repeats.
    pub(super) fn hours_labelled(&self, label: NaiveDateTime) -> Vec<DataInterval> {
        let mut hours = Vec::new();
        // A jump is the only thing that cuts an hour, so each part holds its first or its last second.
        for local in [label, label + TimeDelta::seconds(3599)] {
            let mapped = self.timezone.from_local_datetime(&local);
            for instant in [mapped.earliest(), mapped.latest()].into_iter().flatten() {
                hours.push(self.hour_containing(instant.to_utc()));
            }
        }
        hours.sort_unstable();
        hours.dedup();
        hours
    }

    /// The date of the day that the instant is in.
    ///
    /// Not always what the clock shows: where it goes back over midnight, the new day has begun.
    fn day_of(&self, instant: DateTime<Utc>) -> NaiveDate {
        let mut date = self.local(instant).date_naive();
        while self.start_of_date(saturating_succ(date)) <= instant {
            date = saturating_succ(date);
        }
        date
    }

    /// The interval of a calendar unit that starts with this date.
    fn starting_on(&self, date: NaiveDate) -> DataInterval {
        DataInterval { start: self.start_of_date(date), end: self.start_of_date(self.next_date(date)) }
    }

    /// The first date of the calendar unit that the date is in.
    fn first_date(&self, date: NaiveDate) -> NaiveDate {
        match self.unit {
            Unit::Week => {
                let days = date.weekday().num_days_from_monday();
                date.checked_sub_days(Days::new(days.into())).unwrap_or(date)
            }
            Unit::Month => date.with_day(1).expect("every month has a first day"),
            _ => date,
        }
    }

    /// The first date of the next calendar unit.
    fn next_date(&self, date: NaiveDate) -> NaiveDate {
        match self.unit {
            Unit::Week => date.checked_add_days(Days::new(7)),
            Unit::Month => date.checked_add_months(Months::new(1)),
            _ => date.succ_opt(),
        }
        .unwrap_or(date)
    }

    fn hour_containing(&self, instant: DateTime<Utc>) -> DataInterval {
        let offset = self.offset_seconds(instant);
        let local = instant.timestamp() + offset;
        let full = at_second(local - local.rem_euclid(3600) - offset);
        let next = full + TimeDelta::hours(1);
        let is_plain = full == instant || self.offset_seconds(full) == offset;
        let start = if is_plain { full } else { self.jump(full, instant) };
        let last_second = next - TimeDelta::seconds(1);
        let end =
            if self.offset_seconds(last_second) == offset { next } else { self.jump(instant, last_second) };
        DataInterval { start, end }
    }

    /// The first instant in `(from, to]` with the offset of `to`; there is one jump between them.
    fn jump(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> DateTime<Utc> {
        let offset = self.offset_seconds(to);
        let (mut before, mut after) = (from.timestamp(), to.timestamp());
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.offset_seconds(at_second(middle)) == offset { after = middle } else { before = middle }
        }
        at_second(after)
    }

    fn offset_seconds(&self, instant: DateTime<Utc>) -> i64 {
        self.timezone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc().into()
    }
}

/// The first instant at which the zone's clock reads the time, or, in a gap, the first after the gap.
pub(super) fn first_instant(timezone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    match timezone.from_local_datetime(&local) {
        MappedLocalTime::Single(instant) => instant.to_utc(),
        MappedLocalTime::Ambiguous(one, other) => one.min(other).to_utc(),
        MappedLocalTime::None => after_gap(timezone, local).0,
    }
}

/// The first instant after the gap that the local time is in, and what the clock read as it began.
pub(super) fn after_gap(timezone: Tz, local: NaiveDateTime) -> (DateTime<Utc>, NaiveDateTime) {
    let gap = GapInfo::new(&local, &timezone).and_then(|gap| gap.begin);
    let (begin, offset) =
        gap.expect("a local time that does not exist is in a gap, with an offset before it");
    (Utc.from_utc_datetime(&(begin - offset.fix())), begin)
}

fn elapsed_containing(step: TimeDelta, instant: DateTime<Utc>) -> DataInterval {
    let step = step_seconds(step);
    let start = instant.timestamp().div_euclid(step) * step;
    DataInterval { start: at_second(start), end: at_second(start + step) }
}

fn step_seconds(step: TimeDelta) -> i64 {
    step.num_seconds().clamp(1, LONGEST_STEP_SECONDS)
}

fn at_second(timestamp: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(timestamp, 0).expect("instants were clamped to the years 0 to 10000")
}

fn saturating_succ(date: NaiveDate) -> NaiveDate {
    date.succ_opt().unwrap_or(date)
}

fn saturating_pred(date: NaiveDate) -> NaiveDate {
    date.pred_opt().unwrap_or(date)
}
