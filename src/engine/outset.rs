//! What a run says before it starts: what it will load over which connections, and what it leaves alone.

use chrono::Utc;

use super::{Budget, Engine};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Failure, IntervalId, RunStarted, Summary};
use crate::ledger::Backfill;
use crate::plan::{Action, Plan, Planned};

impl Engine {
    /// Says what will happen, then what will not.
    pub(super) fn announce(
        &self,
        job: &Job,
        plan: &Plan,
        budget: &Budget,
        (backfill, summary): (Option<&Backfill>, &mut Summary),
    ) {
        summary.backfill = backfill.map(Backfill::label);
        let intervals = plan.intervals.iter().filter(|p| p.action.loads()).count();
        let stop_at = self.options.stop_at.map(|at| at.with_timezone(&job.timezone));
        self.events.send(Event::RunStarted(RunStarted {
            run_id: self.owner.run_id.clone(),
            job: job.name.clone(),
            source: self.source.name.clone(),
            destination: self.destination.name.clone(),
            into: job.into.to_string(),
            timezone: job.calendar.map(|c| c.timezone.name().to_owned()),
            intervals,
            skipped: plan.intervals.len() - intervals,
            parallel: budget.parallel,
            source_connections: (budget.source, self.source.max_connections),
            destination_connections: (budget.destination, self.destination.max_connections),
            backfill: summary.backfill.clone(),
            stop_at: stop_at.map(|at| at.format("%H:%M").to_string()),
        }));
        for message in &plan.notes {
            self.events.send(Event::Notice { message: message.clone() });
        }
        for planned in plan.intervals.iter().filter(|p| !p.action.loads()) {
            self.leave_alone(job, planned, summary);
        }
    }

    /// An interval that is not complete, or failed too often, is not loaded: no success.
    fn leave_alone(&self, job: &Job, planned: &Planned, summary: &mut Summary) {
        let id = IntervalId { job: job.name.clone(), key: planned.key.clone() };
        let kind = match planned.action {
            Action::Wait { .. } | Action::Blocked => Some(ErrorKind::NotComplete),
            Action::Exhausted => Some(ErrorKind::Server),
            Action::Load | Action::Reload | Action::Skip => None,
        };
        if let Some(kind) = kind {
            let error = Error::new(kind, planned.reason.clone());
            let failure = Failure::of(&error, 0, Utc::now());
            summary.failed.push((planned.key.clone(), failure.clone()));
            self.events.send(Event::IntervalFailed { id, failure });
            return;
        }
        summary.skipped += 1;
        self.events.send(Event::IntervalSkipped { id, reason: planned.reason.clone() });
    }
}
