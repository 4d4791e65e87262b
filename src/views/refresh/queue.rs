//! The ready queue: a view starts when all that it reads is settled, the longest way ahead first.
//!
//! A failure leaves out what reads the view, and nothing else. A view whose sources turn out unchanged
//! is found fresh when its turn comes, and so is all above it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::turn::{self, Turn};
use super::{Planned, Run, Step};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Failure, ViewsSummary};
use crate::postgres::connect::Session;

/// How a view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Refreshed, with other rows than before as far as anybody knows.
    Changed,
    /// As it was.
    Unchanged,
    /// Not refreshed, though it should have been.
    Failed,
}

/// Views that wait, run, and are settled.
pub(super) struct Queue<'a> {
    run: &'a Run<'a>,
    waiting: BTreeMap<u32, Planned>,
    settled: BTreeMap<u32, Settled>,
    /// The expected time of a view and the longest way above it.
    ahead: BTreeMap<u32, Duration>,
    free: Vec<Session>,
    summary: ViewsSummary,
    stop: bool,
}

impl<'a> Queue<'a> {
    pub(super) fn new(run: &'a Run<'a>, plan: Vec<Planned>) -> Self {
        let count = |step: Step| plan.iter().filter(|view| view.step == step).count();
        run.refresher.events.send(Event::ViewsStarted {
            views: count(Step::Refresh),
            fresh: count(Step::Fresh),
            jobs: run.refresher.settings.jobs,
        });
        let ahead = ahead(&plan);
        let waiting = plan.into_iter().map(|view| (view.oid, view)).collect();
        let (settled, summary) = (BTreeMap::new(), ViewsSummary::default());
        Self { run, waiting, settled, ahead, free: Vec::new(), summary, stop: false }
    }

    pub(super) async fn run(mut self) -> ViewsSummary {
        let mut running = FuturesUnordered::new();
        loop {
            self.check_stop();
            self.settle_without_work();
            while !self.stop && running.len() < self.run.refresher.settings.jobs {
                let Some(view) = self.next_ready() else { break };
                running.push(turn::take(self.run, view, self.free.pop()));
            }
            let Some((view, session, outcome)) = running.next().await else { break };
            self.free.extend(session.filter(|session| !session.is_closed()));
            self.settle(&view, outcome);
        }
        let unfinished = self.waiting.values().filter(|view| view.step == Step::Refresh).count();
        self.summary.not_started += unfinished;
        self.summary.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        for session in self.free {
            session.close().await;
        }
        self.summary
    }

    fn check_stop(&mut self) {
        let limit = self.run.refresher.settings.max_runtime;
        let is_late = limit.is_some_and(|limit| self.run.started.elapsed() >= limit);
        self.stop |= is_late || self.run.refresher.shutdown.is_requested();
    }

    /// Settles what needs no session: fresh views above which nothing changed, and what is left out.
    fn settle_without_work(&mut self) {
        while let Some((oid, settled)) = self.waiting.values().find_map(|view| self.verdict(view)) {
            let view = self.waiting.remove(&oid).expect("it was found there");
            match settled {
                Settled::Failed if view.step == Step::Refuse => self.refuse(&view),
                Settled::Failed => {
                    let reason = format!("upstream failed: {}", self.failed_below(&view));
                    self.leave(&view, reason);
                }
                _ if view.step == Step::Leave => self.leave(&view, view.reason.clone()),
                _ => self.summary.fresh += 1,
            }
            self.settled.insert(oid, settled);
        }
    }

    fn verdict(&self, view: &Planned) -> Option<(u32, Settled)> {
        let below = |settled: Settled| view.after.iter().any(|oid| self.settled.get(oid) == Some(&settled));
        let is_ready = view.after.iter().all(|oid| self.settled.contains_key(oid));
        match view.step {
            Step::Refuse => Some((view.oid, Settled::Failed)),
            Step::Leave => Some((view.oid, Settled::Unchanged)),
            _ if below(Settled::Failed) => Some((view.oid, Settled::Failed)),
            Step::Fresh if is_ready && !below(Settled::Changed) => Some((view.oid, Settled::Unchanged)),
            Step::Fresh | Step::Refresh => None,
        }
    }

    fn failed_below(&self, view: &Planned) -> String {
        let failed = view.after.iter().find(|oid| self.settled.get(oid) == Some(&Settled::Failed));
        failed.map(|oid| self.run.outlook.name(*oid)).unwrap_or_default()
    }

    fn leave(&mut self, view: &Planned, reason: String) {
        let name = view.name.to_string();
        let event = Event::ViewSkipped { view: name.clone(), reason: reason.clone() };
        self.run.refresher.events.send(event);
        self.summary.left.push((name, reason));
    }

    fn refuse(&mut self, view: &Planned) {
        let error = Error::new(ErrorKind::Preflight, format!("{} is {}", view.name, view.reason))
            .with_hint("create or replace one of the views between so that nothing reads itself");
        self.fail(view, &error, 1);
    }

    fn fail(&mut self, view: &Planned, error: &Error, attempt: u32) {
        let failure = Failure::of(error, attempt, Utc::now());
        self.summary.failed.push((view.name.to_string(), failure));
        self.stop |= self.run.refresher.settings.fail_fast;
    }

    /// The view that may start and has the longest way ahead.
    fn next_ready(&mut self) -> Option<Planned> {
        let is_ready = |view: &&Planned| view.after.iter().all(|oid| self.settled.contains_key(oid));
        let ready = self.waiting.values().filter(is_ready);
        let ahead = |view: &&Planned| (self.ahead.get(&view.oid).copied(), std::cmp::Reverse(view.oid));
        let oid = ready.max_by_key(ahead)?.oid;
        self.waiting.remove(&oid)
    }

    fn settle(&mut self, view: &Planned, outcome: Result<Turn, (Error, u32)>) {
        let settled = match outcome {
            Ok(Turn::Refreshed { is_changed }) => {
                self.summary.refreshed += 1;
                if is_changed { Settled::Changed } else { Settled::Unchanged }
            }
            Ok(Turn::Fresh) => {
                self.summary.fresh += 1;
                Settled::Unchanged
            }
            Ok(Turn::RefreshedByOther) => {
                self.summary.fresh += 1;
                Settled::Changed
            }
            Err((error, _)) if error.kind() == ErrorKind::Interrupted => {
                self.summary.not_started += 1;
                self.stop = true;
                Settled::Failed
            }
            Err((error, attempt)) => {
                self.fail(view, &error, attempt);
                Settled::Failed
            }
        };
        self.settled.insert(view.oid, settled);
    }
}

/// For each view its own expected time and that of the longest way above it.
fn ahead(plan: &[Planned]) -> BTreeMap<u32, Duration> {
    let mut ahead: BTreeMap<u32, Duration> = BTreeMap::new();
    // The plan has each view after those that it reads, so the other way round those above come first.
    for view in plan.iter().rev() {
        let above: BTreeSet<u32> =
            plan.iter().filter(|v| v.after.contains(&view.oid)).map(|v| v.oid).collect();
        let longest = above.iter().filter_map(|oid| ahead.get(oid)).max().copied().unwrap_or_default();
        ahead.insert(view.oid, view.estimate.unwrap_or(Duration::from_secs(1)) + longest);
    }
    ahead
}
