//! Who leads in one destination: this process, another, or nobody that can be asked.
//!
//! The lead is a lock of a session. Before anything starts the lock is looked at, over the same session:
//! a process whose connection broke learns it there, starts nothing more, and competes again.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Schedule;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Failure, Scheduling};
use crate::ledger::LeaderLock;
use crate::postgres::connect::{Session, Side};

/// How long a destination may take to answer a question of the schedule.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// The time between two tries of a process that stands by.
const STAND_BY: Duration = Duration::from_secs(2);

/// The longest pause after a destination could not be asked.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a DBA sees of a process that does not lead.
const APPLICATION: &str = "pgtide/standby";

/// Where this process stands in a destination.
pub(super) struct Lead {
    destination: String,
    state: State,
    /// Times in a row that the destination could not be asked.
    failures: u32,
    /// What was said last, so that it is said once.
    said: Option<String>,
}

enum State {
    Out { until: Instant },
    StandingBy(Session),
    Leading(Session),
}

/// What a look at the lead found.
pub(super) enum Standing<'a> {
    /// This process leads, over this session.
    Leading(&'a Session),
    /// It does not; when to look again.
    Not(Instant),
}

impl Lead {
    pub(super) fn new(destination: String) -> Self {
        Self { destination, state: State::Out { until: Instant::now() }, failures: 0, said: None }
    }

    /// Gives the lead back, if this process has it: other files, other places, or nothing to do there.
    pub(super) async fn leave(&mut self) {
        let out = State::Out { until: Instant::now() };
        if let State::StandingBy(session) | State::Leading(session) = std::mem::replace(&mut self.state, out)
        {
            session.close().await;
        }
    }

    /// Keeps the lead, or competes for it.
    pub(super) async fn hold(&mut self, schedule: &Schedule, project: &Project) -> Standing<'_> {
        if let State::Out { until } = self.state
            && until > Instant::now()
        {
            return Standing::Not(until);
        }
        let lock = LeaderLock::new(project.ledger_schema(), &project.name(), &self.destination);
        let out = State::Out { until: Instant::now() };
        let state = std::mem::replace(&mut self.state, out);
        let looked = timeout(ANSWER, self.next(state, &lock, (schedule, project))).await;
        match looked.unwrap_or_else(|_| Err(no_answer(&self.destination))) {
            Ok(state) => self.state = state,
            Err(error) => return Standing::Not(self.lost(schedule, &error)),
        }
        match &self.state {
            State::Leading(session) => Standing::Leading(session),
            _ => Standing::Not(Instant::now() + STAND_BY),
        }
    }

    async fn next(
        &mut self,
        state: State,
        lock: &LeaderLock,
        (schedule, project): (&Schedule, &Project),
    ) -> Result<State> {
        let session = match state {
            State::Leading(session) => {
                if !lock.is_held(&session).await? {
                    return Err(Error::new(ErrorKind::Connection, "the lead was lost with its session"));
                }
                return Ok(State::Leading(session));
            }
            State::StandingBy(session) => session,
            State::Out { .. } => {
                let spec = project.connection(&self.destination)?;
                Session::open(&spec, Side::Destination, APPLICATION).await?
            }
        };
        if lock.try_take(&session, &schedule.owner).await? {
            self.failures = 0;
            self.said = None;
            let (destination, project) = (self.destination.clone(), project.name());
            schedule.say(Scheduling::Leading { destination, project });
            return Ok(State::Leading(session));
        }
        if let Some(holder) = lock.holder(&session).await? {
            self.failures = 0;
            self.say_once(schedule, holder.to_string(), |destination| Scheduling::StandingBy {
                destination,
                host: holder.host.clone(),
                pid: holder.pid,
                since: holder.since,
            });
        }
        Ok(State::StandingBy(session))
    }

    /// Leaves the lead after an error; says when to try again.
    pub(super) fn lost(&mut self, schedule: &Schedule, error: &Error) -> Instant {
        let pause = pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.say_once(schedule, error.chain(), |destination| Scheduling::Unreachable {
            destination,
            failure: Failure::of(error, 0, chrono::Utc::now()),
        });
        let until = Instant::now() + pause;
        // Dropped, not closed: whoever does not answer would not answer to that either.
        self.state = State::Out { until };
        until
    }

    fn say_once(&mut self, schedule: &Schedule, what: String, said: impl FnOnce(String) -> Scheduling) {
        if self.said.as_ref() != Some(&what) {
            schedule.say(said(self.destination.clone()));
            self.said = Some(what);
        }
    }
}

/// 1 s after the first failure, then twice as long each time, up to a minute.
pub(super) fn pause(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.min(6)).min(LONGEST_PAUSE)
}

pub(super) fn no_answer(destination: &str) -> Error {
    let what = format!("{destination} did not answer for {} s", ANSWER.as_secs());
    Error::new(ErrorKind::Connection, what)
}
