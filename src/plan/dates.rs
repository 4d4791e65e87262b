//! From what was written on the command line to intervals of the job's calendar.
//!
//! Dates are local to the job's zone and ranges of them include both ends; instants are half-open and
//! must be on the grid. All bad dates are reported at once.

use chrono::{DateTime, NaiveDate, Utc};

use super::{Context, Dates, MAX_INTERVALS, clock, too_many};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{Calendar, DataInterval, DateSpan, parse_instant, parse_span};

/// The intervals that are asked for by name, oldest first, each once.
pub(super) fn asked(context: &Context<'_>) -> Result<Vec<DataInterval>> {
    let calendar = context.calendar;
    let mut intervals = match &context.request.dates {
        Dates::Due => Vec::new(),
        Dates::Days(texts) => days(calendar, texts)?,
        Dates::Range { from, to } => range(context, from.as_deref(), to.as_deref())?,
        Dates::Instants { start, end } => instants(calendar, start, end)?,
    };
    intervals.sort_unstable();
    intervals.dedup();
    refuse_before_start(context, &intervals)?;
    match intervals.len() {
        0..=MAX_INTERVALS => Ok(intervals),
        many => Err(too_many(many as i64, "the dates are")),
    }
}

fn days(calendar: Calendar, texts: &[String]) -> Result<Vec<DataInterval>> {
    let mut intervals = Vec::new();
    let mut errors = Vec::new();
    for text in texts {
        match day(calendar, text) {
            Ok(found) => intervals.extend(found),
            Err(error) => errors.push(error),
        }
    }
    all_or_findings(errors, "dates").map(|()| intervals)
}

/// A date, a month, or a key of the calendar.
fn day(calendar: Calendar, text: &str) -> Result<Vec<DataInterval>> {
    match parse_span(text) {
        Ok(span) => of_span(calendar, span),
        Err(not_a_date) => match calendar.parse_key(text) {
            Ok(interval) => Ok(vec![interval]),
            // What looks like a key gets the calendar's answer, the rest the one about dates.
            Err(not_a_key) if text.contains(['T', 'W']) => Err(not_a_key),
            Err(_) => Err(not_a_date),
        },
    }
}

fn range(context: &Context<'_>, from: Option<&str>, to: Option<&str>) -> Result<Vec<DataInterval>> {
    let calendar = context.calendar;
    let [from, to] = [from, to].map(|text| text.map(parse_span).transpose());
    let (from, to) = match (from, to) {
        (Ok(from), Ok(to)) => (from, to),
        (from, to) => {
            let errors = [from.err(), to.err()].into_iter().flatten().collect();
            return all_or_findings(errors, "dates").map(|()| Vec::new());
        }
    };
    let is_open = from.is_none();
    let first = from.map_or_else(|| start_date(context), |span| Ok(span.first))?;
    let found = match to {
        Some(to) if to.last < first => Err(Error::new(
            ErrorKind::Usage,
            format!("the range ends on {} before it starts on {first}", to.last),
        )),
        Some(to) => of_span(calendar, DateSpan { first, last: to.last }),
        None => up_to_newest(context, first),
    };
    let from = context.bounds.from.filter(|_| is_open);
    // The week or month that the job starts in has begun before it.
    found.map(|found| found.into_iter().filter(|i| from.is_none_or(|from| from <= i.start)).collect())
}

/// Refuses what lies before the job's first date: nobody expects its rows.
fn refuse_before_start(context: &Context<'_>, intervals: &[DataInterval]) -> Result<()> {
    let (Some(from), Some(date), true) = (context.bounds.from, context.job.start_date, context.is_bounded)
    else {
        return Ok(());
    };
    let before: Vec<_> = intervals.iter().filter(|interval| interval.start < from).collect();
    let [first, ..] = before[..] else { return Ok(()) };
    let key = context.calendar.key(first);
    let which = match before.len() {
        1 => format!("{key} is before it"),
        number => format!("{number} of the intervals are before it, from {key} on"),
    };
    let what = format!("{} starts with `start_date`, {date}: {which}", context.job.name);
    let file = context.job.file.as_ref().and_then(|file| file.file_name()?.to_str());
    let file = file.map_or_else(String::new, |file| format!(" in jobs/{file}"));
    Err(Error::new(ErrorKind::Usage, what)
        .with_hint(format!("ask for {date} and later, or set `start_date`{file} to an earlier date")))
}

fn start_date(context: &Context<'_>) -> Result<NaiveDate> {
    context.job.start_date.ok_or_else(|| {
        let name = &context.job.name;
        Error::new(ErrorKind::Usage, format!("{name} has no `start_date`: where does the range start?"))
            .with_hint("add --from-date, or `start_date` to the job")
    })
}

/// From a date to the newest complete interval; if none is, the first, for which the caller waits.
fn up_to_newest(context: &Context<'_>, first: NaiveDate) -> Result<Vec<DataInterval>> {
    let calendar = context.calendar;
    let newest = clock::newest_complete(context.job, context.now)
        .filter(|newest| calendar.execution_date(newest) >= first);
    let Some(newest) = newest else {
        let mut intervals = of_span(calendar, DateSpan { first, last: first })?;
        intervals.truncate(1);
        return Ok(intervals);
    };
    let mut intervals = of_span(calendar, DateSpan { first, last: calendar.execution_date(&newest) })?;
    intervals.retain(|interval| interval.start <= newest.start);
    Ok(intervals)
}

fn of_span(calendar: Calendar, span: DateSpan) -> Result<Vec<DataInterval>> {
    let end = calendar.start_of_date(span.last.succ_opt().unwrap_or(span.last));
    let about = calendar.estimate(calendar.start_of_date(span.first), end);
    limited(calendar.of_dates(span.first, span.last), about, format!("{} to {} are", span.first, span.last))
}

fn limited(
    intervals: impl Iterator<Item = DataInterval>,
    about: i64,
    what: String,
) -> Result<Vec<DataInterval>> {
    let intervals: Vec<_> = intervals.take(MAX_INTERVALS + 1).collect();
    if intervals.len() > MAX_INTERVALS { Err(too_many(about, &what)) } else { Ok(intervals) }
}

fn instants(calendar: Calendar, start: &str, end: &str) -> Result<Vec<DataInterval>> {
    let (from, to) = match (parse_instant(start, calendar.timezone), parse_instant(end, calendar.timezone)) {
        (Ok(from), Ok(to)) => (from, to),
        (from, to) => {
            let errors = [from.err(), to.err()].into_iter().flatten().collect();
            return all_or_findings(errors, "times").map(|()| Vec::new());
        }
    };
    if from == to {
        return Err(zero_width(start, end));
    }
    if to < from {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("the interval ends at {end} before it starts at {start}"),
        ));
    }
    let errors = [(start, from), (end, to)].into_iter().filter_map(|(text, at)| off_grid(calendar, text, at));
    all_or_findings(errors.collect(), "bounds")?;
    let about = calendar.estimate(from, to);
    limited(calendar.intervals_between(from, to), about, format!("{start} to {end} are"))
}

/// Airflow 3 gives such an interval to a DAG with a plain cron schedule.
fn zero_width(start: &str, end: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("the interval {start} to {end} has no width: it holds no rows"))
        .with_hint(
            "in Airflow 3, schedule the DAG with `CronDataIntervalTimetable`, or set \
         `[scheduler] create_cron_data_intervals = True`;\nelsewhere, give an end after the start, or --date",
        )
}

/// Says so, and names the neighbours, when no interval of the calendar starts at the instant.
fn off_grid(calendar: Calendar, text: &str, instant: DateTime<Utc>) -> Option<Error> {
    let around = calendar.containing(instant);
    if around.start == instant {
        return None;
    }
    let [before, after] = [around.start, around.end].map(|bound| calendar.instant_text(bound));
    let (unit, zone) = (calendar.unit, calendar.timezone);
    Some(Error::new(
        ErrorKind::Usage,
        format!(
            "no interval of one `{unit}` in {zone} starts at {text}: the nearest start at {before} and {after}"
        ),
    ))
}

/// One error for all findings: the only one as it is, several as lines below a count.
fn all_or_findings(mut errors: Vec<Error>, what: &str) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        count => {
            let error = Error::new(ErrorKind::Usage, format!("{count} of the {what} are not valid"));
            Err(errors.iter().fold(error, |error, finding| error.with_detail(finding.to_string())))
        }
    }
}
