//! The decision about one interval, from its state and what was asked, with its reason in words.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Action, Context, Planned, Recorded, Request};
use crate::config::job::Job;
use crate::interval::{DataInterval, minute_text};
use crate::state::State;

impl Context<'_> {
    /// Decides about an interval that was asked for by name.
    pub(super) fn decide_named(&self, interval: DataInterval) -> Planned {
        let key = self.calendar.key(&interval);
        let record = self.ledger.get(&interval).copied();
        let (mut action, mut reason) = self.question(None).verdict(record);
        let ready_at = self.ready_at(&interval);
        if interval.is_empty() {
            let zone = self.calendar.timezone;
            (action, reason) = (Action::Skip, format!("{zone} left this date out: it has no instant"));
        } else if matches!(action, Action::Load | Action::Reload) && self.now < ready_at {
            let at = minute_text(&self.calendar.local(ready_at));
            (action, reason) = (Action::Wait { ready_at }, format!("not complete until {at}"));
        }
        if let Some(outside) = self.outside_bounds(&interval) {
            reason = format!("{reason}; {outside}");
        }
        Planned { interval, key, action, reason }
    }

    /// Decides about a complete interval that was not named; none when nothing needs to be done or said.
    pub(super) fn decide_due(&self, interval: DataInterval) -> Option<Planned> {
        let record = self.ledger.get(&interval).copied();
        let is_quiet = |record: &Recorded| match record.state {
            State::Loaded => !(self.request.stale && self.is_other_definition(record)),
            State::Skipped => true,
            _ => false,
        };
        if interval.is_empty() || record.is_some_and(is_quiet) {
            return None;
        }
        let key = self.calendar.key(&interval);
        let (action, mut reason) = self.question(Some(self.job.retries.saturating_add(1))).verdict(record);
        if action == Action::Exhausted {
            reason = format!("{reason}; `pgtide run {} --date {key}` tries again", self.job.name);
        }
        Some(Planned { interval, key, action, reason })
    }

    pub(super) fn is_other_definition(&self, record: &Recorded) -> bool {
        is_other_definition(self.request, record)
    }

    fn question(&self, tries: Option<u32>) -> Question<'_> {
        let timezone = Some(self.calendar.timezone);
        Question { request: self.request, reload: self.request.reload, timezone, tries }
    }

    fn outside_bounds(&self, interval: &DataInterval) -> Option<String> {
        let date = self.calendar.execution_date(interval);
        let before =
            self.job.start_date.filter(|start| date < *start).map(|d| format!("before start_date {d}"));
        before.or_else(|| self.job.end_date.filter(|end| date > *end).map(|d| format!("after end_date {d}")))
    }
}

/// Decides about the one interval of a job without a calendar.
///
/// Snapshot jobs and one-off copies load each time; another job stays as it is once loaded.
pub(super) fn decide_whole(job: &Job, request: &Request, record: Option<&Recorded>) -> Planned {
    let loads_each_time = job.schedule.is_some() || job.name.starts_with("copy:");
    let reload = request.reload || loads_each_time;
    let question = Question { request, reload, timezone: None, tries: None };
    let (action, reason) = question.verdict(record);
    let key = DataInterval::WHOLE_KEY.to_owned();
    Planned { interval: DataInterval::WHOLE, key, action, reason }
}

/// What is asked about a record, and how to speak of it.
struct Question<'a> {
    request: &'a Request,
    reload: bool,
    /// The zone for times in reasons; UTC if there is none.
    timezone: Option<Tz>,
    /// The limit of tries, where one holds.
    tries: Option<u32>,
}

impl Question<'_> {
    fn verdict(&self, record: Option<&Recorded>) -> (Action, String) {
        let Some(record) = record else { return (Action::Load, "never loaded".to_owned()) };
        let other = is_other_definition(self.request, record);
        let past = self.past(record);
        let next_try = record.attempts.saturating_add(1);
        match record.state {
            State::Loaded | State::Stale if self.reload => (Action::Reload, past),
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
            if is_other_definition(self.request, record) {
                text.push_str(", by another definition");
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

fn is_other_definition(request: &Request, record: &Recorded) -> bool {
    record.definition_hash.as_ref().is_some_and(|hash| *hash != request.definition_hash)
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
