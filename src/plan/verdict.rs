//! The decision about one interval, from its state and what was asked, with its reason in words.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Action, Context, Planned, Recorded, Request, clock};
use crate::config::job::Job;
use crate::interval::{DataInterval, minute_text};
use crate::state::State;

impl Context<'_> {
    /// Decides about an interval that was asked for by name.
    pub(super) fn decide_named(&self, interval: DataInterval) -> Planned {
        let record = self.ledger.get(&interval);
        let question = self.question(self.request.reload, None);
        let mut planned = question.planned(interval, self.calendar.key(&interval), record);
        let ready_at = clock::complete_at(self.job, &interval);
        if interval.is_empty() {
            planned.action = Action::Skip;
            planned.reason = format!("{} left this date out: it has no instant", self.calendar.timezone);
        } else if planned.action.loads() && self.now < ready_at {
            let at = minute_text(&self.calendar.local(ready_at));
            planned.action = Action::Wait { ready_at };
            planned.reason = format!("not complete until {at}");
        }
        if let Some(end) = self.job.end_date.filter(|end| self.calendar.execution_date(&interval) > *end) {
            planned.reason = format!("{}; after end_date {end}", planned.reason);
        }
        planned
    }

    /// Decides about a due interval that was not named; none when nothing needs to be done or said.
    pub(super) fn decide_due(&self, interval: DataInterval) -> Option<Planned> {
        let record = self.ledger.get(&interval);
        let is_quiet = |record: &Recorded| match record.state {
            State::Loaded => {
                !(self.request.stale && (record.loss.is_some() || self.is_other_definition(record)))
            }
            State::Skipped => true,
            _ => false,
        };
        if interval.is_empty() || record.is_some_and(is_quiet) {
            return None;
        }
        Some(self.unasked(interval, record, false))
    }

    /// Reloads what nobody named.
    pub(super) fn reload_unasked(&self, interval: DataInterval, record: &Recorded) -> Planned {
        self.unasked(interval, Some(record), true)
    }

    fn unasked(&self, interval: DataInterval, record: Option<&Recorded>, reload: bool) -> Planned {
        let key = self.calendar.key(&interval);
        let question = self.question(reload, Some(self.job.retries.saturating_add(1)));
        let mut planned = question.planned(interval, key, record);
        if planned.action == Action::Exhausted {
            let again = if reload { " --reload" } else { "" };
            planned.reason = format!(
                "{}; `pgtide run {} --date {}{again}` tries again",
                planned.reason, self.job.name, planned.key
            );
        }
        planned
    }

    pub(super) fn is_other_definition(&self, record: &Recorded) -> bool {
        is_other_definition(self.request, record)
    }

    fn question(&self, reload: bool, tries: Option<u32>) -> Question<'_> {
        Question { request: self.request, reload, timezone: Some(self.calendar.timezone), tries }
    }
}

/// Decides about the one interval of a job without a calendar and without a schedule.
///
/// One-off copies load each time; another job stays as it is once loaded.
pub(super) fn decide_whole(job: &Job, request: &Request, record: Option<&Recorded>) -> Planned {
    let reload = request.reload || job.name.starts_with("copy:");
    let question = Question { request, reload, timezone: None, tries: None };
    question.planned(DataInterval::WHOLE, DataInterval::WHOLE_KEY.to_owned(), record)
}

/// What is asked about a record, and how to speak of it.
pub(super) struct Question<'a> {
    pub(super) request: &'a Request,
    /// Whether what is loaded is loaded again.
    pub(super) reload: bool,
    /// The zone for times in reasons; UTC if there is none.
    pub(super) timezone: Option<Tz>,
    /// The limit of tries, where one holds.
    pub(super) tries: Option<u32>,
}

impl Question<'_> {
    /// The decision about an interval.
    pub(super) fn planned(&self, interval: DataInterval, key: String, record: Option<&Recorded>) -> Planned {
        let (action, reason) = self.verdict(record);
        let used = record.map_or(0, |record| record.attempts);
        let left = self.tries.map(|tries| tries.saturating_sub(used).max(1));
        Planned { interval, key, action, reason, tries_left: left.filter(|_| action.loads()) }
    }

    fn verdict(&self, record: Option<&Recorded>) -> (Action, String) {
        let Some(record) = record else { return (Action::Load, "never loaded".to_owned()) };
        let other = is_other_definition(self.request, record);
        let past = self.past(record);
        let next_try = record.attempts.saturating_add(1);
        match record.state {
            // What stands is not there: there is nothing to load again.
            State::Loaded | State::Stale if record.loss.is_some() && (self.reload || self.request.stale) => {
                (Action::Load, past)
            }
            State::Loaded | State::Stale if self.reload => match self.tries {
                Some(tries) if record.attempts >= tries => {
                    (Action::Exhausted, format!("{past}; all of its {tries} tries are used"))
                }
                _ => (Action::Reload, past),
            },
            State::Stale if self.request.stale => (Action::Reload, past),
            State::Stale => (Action::Skip, format!("{past}; --stale reloads it")),
            State::Loaded if self.request.stale && other => (Action::Reload, past),
            State::Loaded if other => (Action::Skip, format!("{past}; --stale reloads it")),
            State::Loaded => (Action::Skip, past),
            State::Skipped if self.reload => (Action::Load, past),
            State::Skipped => (Action::Skip, format!("{past}; --reload loads it")),
            State::Running => (Action::Load, format!("{past}; the claim decides")),
            // A run that died is no failure of the interval: it is always taken up again.
            State::Interrupted => (Action::Load, format!("{past}; this is try {next_try}")),
            State::Failed => match self.tries {
                Some(tries) if record.attempts >= tries => {
                    (Action::Exhausted, format!("{past}; all of its {tries} tries are used"))
                }
                Some(tries) => (Action::Load, format!("{past}; this is try {next_try} of {tries}")),
                None => (Action::Load, format!("{past}; this is try {next_try}")),
            },
        }
    }

    /// `loaded 2026-01-06 03:00, 27,004 rows, by another definition`.
    fn past(&self, record: &Recorded) -> String {
        let mut text = record.state.as_str().to_owned();
        if let Some(finished) = record.finished {
            text = format!("{text} {}", self.moment(finished));
        }
        if record.state.has_rows() {
            if let Some(rows) = record.rows {
                text = format!("{text}, {} {}", grouped(rows), if rows == 1 { "row" } else { "rows" });
            }
            match &record.loss {
                Some(loss) => text.push_str(&format!(", into {}, {}", loss.recorded, loss.what())),
                None if is_other_definition(self.request, record) => text.push_str(", by another definition"),
                None => {}
            }
        }
        match &record.note {
            Some(note) => format!("{text}: {note}"),
            None => text,
        }
    }

    fn moment(&self, instant: DateTime<Utc>) -> String {
        match self.timezone {
            Some(timezone) => minute_text(&instant.with_timezone(&timezone)),
            None => minute_text(&instant.with_timezone(&Tz::UTC)) + " UTC",
        }
    }
}

pub(super) fn is_other_definition(request: &Request, record: &Recorded) -> bool {
    record.definition_hash.as_deref().is_some_and(|hash| hash != request.definition_hash)
}

/// `27,004`.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
