//! The next command: what a hint or a summary tells a person to type.

use crate::config::job::{Job, LoadMode};
use crate::error::{Error, ErrorKind};
use crate::event::Summary;
use crate::interval::DataInterval;
use crate::plan::{Dates, Request};

/// How many keys a command lists before it gives a range instead.
const LISTED: usize = 8;

/// Writes commands for one job.
pub struct Commands<'j> {
    job: &'j Job,
}

impl<'j> Commands<'j> {
    /// Commands for a job.
    #[must_use]
    pub fn new(job: &'j Job) -> Self {
        Self { job }
    }

    /// Loads an interval again and replaces what is there.
    #[must_use]
    pub fn reload(&self, key: &str) -> String {
        match (self.is_copy(), self.job.calendar) {
            // Its options are not known here, and a URL among them may hold a password.
            (true, _) => "the same command with --mode replace".to_owned(),
            (false, None) => format!("pgtide run {} --reload", self.job.name),
            (false, Some(_)) => format!("pgtide run {} {} --reload", self.job.name, date_flag(key)),
        }
    }

    /// Loads an interval whatever is there, in a mode that adds rows.
    #[must_use]
    pub fn force(&self, key: &str) -> String {
        self.reload(key).replace("--reload", "--force").replace("--mode replace", "--force")
    }

    /// Records what is there as loaded.
    #[must_use]
    pub fn mark_loaded(&self, key: &str) -> String {
        match (self.is_copy(), self.job.calendar) {
            (true, _) => "the same command with --mode append".to_owned(),
            (false, None) => format!("pgtide mark {} loaded --reason '...'", self.job.name),
            (false, Some(_)) => {
                format!("pgtide mark {} loaded {} --reason '...'", self.job.name, date_flag(key))
            }
        }
    }

    /// Dates as they were typed; empty for what is due, and for all from `start_date` to now.
    #[must_use]
    pub fn dates(dates: &Dates) -> String {
        flags(dates).unwrap_or_default()
    }

    /// Tries again what is not done; none when all is.
    #[must_use]
    pub fn retry(&self, summary: &Summary, request: &Request) -> Option<String> {
        if self.is_copy() || (summary.failed.is_empty() && summary.not_started == 0) {
            return None;
        }
        let keys: Vec<_> = summary.failed.iter().map(|(key, _)| key.as_str()).collect();
        Some(self.run(&keys, summary.not_started == 0, request))
    }

    /// Says which intervals an error kept from being loaded, that nothing changed, and what comes after the
    /// remedy.
    #[must_use]
    pub fn not_loaded(&self, error: Error, keys: &[&str], request: &Request) -> Error {
        if matches!(error.kind(), ErrorKind::Connection | ErrorKind::Interrupted) {
            return error;
        }
        let name = self.job.name.strip_prefix("copy:").unwrap_or(&self.job.name);
        let what = match keys {
            [DataInterval::WHOLE_KEY] => format!("{name} was not loaded"),
            [key] => format!("{name} {key} was not loaded"),
            several => format!("none of {} intervals of {name} was loaded", several.len()),
        };
        let separate = (!error.details().is_empty()).then_some(String::new());
        let done = format!("done    nothing; no row was read, {} is unchanged", self.job.into);
        let hint = error.hint().map(str::to_owned);
        let error = separate.into_iter().chain([done]).fold(error.while_doing(what), Error::with_detail);
        match hint {
            Some(hint) if !self.is_copy() => {
                error.with_hint(format!("{hint}\nthen:\n  {}", self.run(keys, true, request)))
            }
            _ => error,
        }
    }

    /// Loads these keys, or what was asked for if they are too many or not all.
    fn run(&self, keys: &[&str], all: bool, request: &Request) -> String {
        let mut command = format!("pgtide run {}", self.job.name);
        if self.job.calendar.is_some() {
            if all && keys.len() <= LISTED {
                let flags: Vec<_> = keys.iter().map(|key| date_flag(key)).collect();
                command = format!("{command} {}", flags.join(" "));
            } else if let Some(dates) = flags(&request.dates) {
                command = format!("{command} {dates}");
            }
        }
        match self.job.mode {
            LoadMode::Append if request.reload => command.push_str(" --force"),
            _ if request.reload => command.push_str(" --reload"),
            _ => {}
        }
        command
    }

    fn is_copy(&self) -> bool {
        self.job.name.starts_with("copy:")
    }
}

/// A day or a month is named by `--date`; anything finer by its day.
fn date_flag(key: &str) -> String {
    format!("--date {}", key.split('T').next().unwrap_or(key))
}

/// The dates of a request as they were typed.
fn flags(dates: &Dates) -> Option<String> {
    match dates {
        Dates::Due => None,
        Dates::Days(days) => Some(days.iter().map(|d| format!("--date {d}")).collect::<Vec<_>>().join(" ")),
        Dates::Range { from, to } => {
            let flag = |name: &str, date: &Option<String>| date.as_ref().map(|d| format!("{name} {d}"));
            let parts: Vec<_> = flag("--from-date", from).into_iter().chain(flag("--to-date", to)).collect();
            Some(parts.join(" "))
        }
        Dates::Instants { start, end } => Some(format!("--interval-start {start} --interval-end {end}")),
    }
}
