//! What is recorded as loaded and is not in the job's table: nothing is done as if it were.
//!
//! The table was dropped, made again, renamed or emptied, or `into` names another one. What the catalog says
//! comes with each record ([`Loss`]); here stands what follows. `--reload` and `--stale` take such intervals;
//! without them a run is refused, and so is one for other dates: a table made anew for the next day would
//! hold that day alone.

use std::sync::Arc;

use super::verdict::grouped;
use super::{Plan, Recorded, Request, clock::Bounds};
use crate::config::job::{Job, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{Calendar, DataInterval};

/// Stretches of time that a hint has commands for.
const STRETCHES: usize = 3;

/// Why rows that are recorded are not where the job has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The table as it is recorded.
    pub recorded: String,
    /// The table that the job's `into` names, whether or not it is there.
    pub into: String,
    /// What became of the recorded one.
    pub cause: Cause,
}

/// What became of the table that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It is gone, and no table has its name.
    Dropped,
    /// It is gone, and another table has its name.
    Replaced,
    /// It has this name now.
    Renamed(String),
    /// It is there, and `into` names another table.
    Redirected,
    /// It is there, and the rows are not.
    Emptied,
}

/// Intervals that were lost in one way, oldest first.
#[derive(Debug, Clone)]
struct Lost {
    loss: Arc<Loss>,
    intervals: Vec<DataInterval>,
}

/// All that a job has lost, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// A line for each way in which intervals were lost.
    pub lines: Vec<String>,
    /// What mends it, a line each.
    pub hints: Vec<String>,
}

impl Findings {
    /// The same as an error.
    #[must_use]
    pub fn into_error(self) -> Error {
        let mut lines = self.lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let error = lines.fold(Error::new(ErrorKind::Preflight, first), Error::with_detail);
        error.with_hint(self.hints.join("\n"))
    }
}

impl Loss {
    /// Whether the job's table may hold rows of what is recorded.
    #[must_use]
    pub fn may_hold_rows(&self) -> bool {
        !matches!(self.cause, Cause::Dropped | Cause::Emptied)
    }

    /// What became of the table, to follow its name: `which is gone`.
    #[must_use]
    pub fn what(&self) -> String {
        match &self.cause {
            Cause::Dropped => "which is gone".to_owned(),
            Cause::Replaced => "which is gone: the table of this name is another one".to_owned(),
            Cause::Renamed(to) => format!("which is named {to} now"),
            Cause::Redirected => format!("and `into` names {} now", self.into),
            Cause::Emptied => "which has no rows of it any more".to_owned(),
        }
    }
}

/// What a job has lost; none if all that is recorded counts. Each record comes with its interval and its loss.
#[must_use]
pub fn findings<'r>(
    job: &Job,
    records: impl Iterator<Item = (DataInterval, &'r Arc<Loss>)>,
) -> Option<Findings> {
    let mut lost: Vec<Lost> = Vec::new();
    for (interval, loss) in records.filter(|(interval, loss)| matters(job, interval, loss)) {
        match lost.iter_mut().find(|lost| lost.loss == *loss) {
            Some(known) => known.intervals.push(interval),
            None => lost.push(Lost { loss: loss.clone(), intervals: vec![interval] }),
        }
    }
    lost.iter_mut().for_each(|lost| lost.intervals.sort_unstable());
    let lines: Vec<_> = lost.iter().map(|lost| lost.line(job)).collect();
    let mut hints: Vec<String> = Vec::new();
    for hint in lost.iter().flat_map(|lost| lost.hints(job)) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    (!lines.is_empty()).then_some(Findings { lines, hints })
}

/// Whether a loss is one: rows from before `start_date` may be removed, a table with all that was in it not.
#[must_use]
pub fn matters(job: &Job, interval: &DataInterval, loss: &Loss) -> bool {
    let is_emptied = loss.cause == Cause::Emptied;
    !is_emptied || job.calendar.is_none() || Bounds::of(job).contains(interval.start)
}

/// Refuses a plan that goes on as if everything recorded were in the table.
pub(super) fn refuse(job: &Job, request: &Request, plan: &Plan, recorded: &[Recorded]) -> Result<()> {
    let takes_them = request.reload || request.stale;
    // A table that is loaded whole is whole again, but for what a mode only adds to.
    let is_made_whole =
        job.calendar.is_none() && job.mode != LoadMode::Append && plan.to_load().next().is_some();
    if takes_them || is_made_whole || job.name.starts_with("copy:") {
        return Ok(());
    }
    let lost = recorded.iter().filter_map(|record| Some((record.interval, record.loss.as_ref()?)));
    match findings(job, lost) {
        Some(findings) => Err(findings.into_error()),
        None => Ok(()),
    }
}

impl Lost {
    /// `orders: 2 intervals, 2026-01-05 to 2026-01-06, are recorded as loaded into mart.orders, which is gone`.
    fn line(&self, job: &Job) -> String {
        let (name, table, what) = (&job.name, &self.loss.recorded, self.loss.what());
        let (Some(calendar), [first, ..]) = (job.calendar, self.intervals.as_slice()) else {
            return format!("{name} is recorded as loaded into {table}, {what}");
        };
        let last = self.intervals.last().unwrap_or(first);
        let [first, last] = [first, last].map(|interval| calendar.key(interval));
        match self.intervals.len() {
            1 => format!("{name}: {first} is recorded as loaded into {table}, {what}"),
            number => {
                let (number, what) = (grouped(number as i64), what.replace("of it any", "of them any"));
                format!(
                    "{name}: {number} intervals, {first} to {last}, are recorded as loaded into {table}, {what}"
                )
            }
        }
    }

    fn hints(&self, job: &Job) -> Vec<String> {
        let name = &job.name;
        let stale = match job.calendar {
            Some(_) => format!("pgtide run {name} --stale"),
            None => format!("pgtide run {name} --reload"),
        };
        let rebind = format!("pgtide mark {name} loaded --rebind --reason '...'");
        let keeps = "keeps what the table holds as it is recorded, and says what is not";
        match &self.loss.cause {
            Cause::Dropped if job.create => vec![format!("{stale} makes the table and loads them again")],
            Cause::Dropped => vec![format!("make the table; then {stale} loads them again")],
            Cause::Replaced if job.mode == LoadMode::Merge => vec![format!("{stale} merges them again")],
            Cause::Replaced => {
                let mut hints = vec![format!("{rebind} {keeps}")];
                hints.extend(self.reloads(job, "replaces what is there by what the source has"));
                hints
            }
            Cause::Renamed(to) => {
                let file = file(job);
                vec![
                    format!("set `into = \"{to}\"`{file}, or give the table its name back"),
                    format!("{stale} loads them into {} instead", self.loss.into),
                ]
            }
            Cause::Redirected => vec![
                format!("set `into` back to {}{}", self.loss.recorded, file(job)),
                format!("{stale} loads them into {} too; what is in the other table stays", self.loss.into),
                "if another project has a job of this name: give this one another name".to_owned(),
            ],
            Cause::Emptied => {
                let mut hints = vec![format!("{stale} loads them again")];
                hints.extend(self.flags(job).into_iter().map(|dates| {
                    format!(
                        "pgtide mark {name} skipped{dates} --reason '...', if they were removed on purpose"
                    )
                }));
                hints
            }
        }
    }

    fn reloads(&self, job: &Job, what: &str) -> Vec<String> {
        // What `append` adds is there twice, if the table holds any of it.
        let flag = if job.mode == LoadMode::Append { "--force" } else { "--reload" };
        let what = if job.mode == LoadMode::Append { "adds them to what is there" } else { what };
        let command = |dates: String| format!("pgtide run {}{dates} {flag} {what}", job.name);
        self.flags(job).into_iter().map(command).collect()
    }

    /// The options that name these intervals, one text for each stretch of them; whole dates.
    fn flags(&self, job: &Job) -> Vec<String> {
        let Some(calendar) = job.calendar else { return vec![String::new()] };
        let stretches: Vec<_> = self.intervals.chunk_by(|one, next| one.end >= next.start).collect();
        stretches.iter().take(STRETCHES).map(|stretch| dates(calendar, stretch)).collect()
    }
}

fn dates(calendar: Calendar, stretch: &[DataInterval]) -> String {
    let [first, last] = [stretch.first(), stretch.last()].map(|interval| {
        interval.map(|interval| calendar.execution_date(interval).to_string()).unwrap_or_default()
    });
    if first == last { format!(" --date {first}") } else { format!(" --from-date {first} --to-date {last}") }
}

fn file(job: &Job) -> String {
    let file = job.file.as_ref().and_then(|file| file.file_name()?.to_str());
    file.map_or_else(String::new, |file| format!(" in jobs/{file}"))
}
