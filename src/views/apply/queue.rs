//! The ready queue of an apply: builds of independent views at once, then the swap of each unit.
//!
//! A build starts when all that it reads is built, a unit when the units that it stands on are settled;
//! the longest way ahead first. What fails takes along what cannot do without it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::super::diff::Step;
use super::super::files::Folder;
use super::super::order::Reads;
use super::super::scratch::Scratch;
use super::super::statement::ObjectKind;
use super::super::survey::Plan;
use super::super::trial;
use super::build::Built;
use super::crew::{Crew, Hand, Hands};
use super::unit::{Phase, Tied, UnitWork};
use super::{Applier, Outcome, Strategy, prefix};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::shutdown::Shutdown;

/// The pause after which a build that is to stop is cancelled again: it may have been between statements.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// What a materialized view takes to build, for all that is known.
const USUAL_BUILD_MS: i64 = 1_000;

/// Units at work.
pub(super) struct Queue<'a> {
    applier: &'a Applier<'a>,
    folder: &'a Folder,
    crew: Crew<'a>,
    units: Vec<UnitWork<'a>>,
    /// What each reads of the others, by the catalog or by its text.
    below: Reads,
    live: &'a Reads,
    /// The expected time of a build and of the longest way above it, in milliseconds.
    ahead: BTreeMap<TableName, i64>,
    stopped: BTreeSet<TableName>,
}

/// What a session does.
pub(super) enum Doing<'a> {
    /// Makes the schemas of a unit.
    Open,
    /// Builds one.
    Build(&'a Step, Shutdown),
    /// Puts what is built in its place.
    Swap(Vec<Built>),
    /// All of it in one transaction.
    AtOnce,
    /// Removes and records what failed.
    Clear(Vec<(&'a Step, Arc<Error>)>),
}

/// Work for one session.
struct Task<'a> {
    unit: usize,
    doing: Doing<'a>,
    /// What is left of the unit.
    steps: Vec<&'a Step>,
    scratch: Arc<Scratch>,
    path: Arc<str>,
    has_schemas: bool,
    started: Instant,
}

/// What came of it.
enum Done {
    Opened(String),
    Built(Box<Built>),
    Swapped,
    Cleared,
}

impl<'a> Queue<'a> {
    pub(super) fn new(
        applier: &'a Applier<'a>,
        plan: &'a Plan,
        folder: &'a Folder,
        hands: Hands<'a>,
    ) -> Self {
        let mut below = trial::guess(folder);
        for (name, reads) in &plan.edges.reads {
            below.entry(name.clone()).or_default().extend(reads.iter().cloned());
        }
        let live = &plan.edges.live;
        let after = after(&plan.units, &below, live);
        let unit = |(number, (names, after)): (usize, (&Vec<TableName>, BTreeSet<usize>))| {
            let steps = names.iter().filter_map(|name| plan.step(name)).collect();
            UnitWork::new(steps, &prefix(applier.ledger, number), after)
        };
        let units: Vec<UnitWork<'a>> = plan.units.iter().zip(after).enumerate().map(unit).collect();
        let ahead = ahead(plan, &below);
        let jobs = if applier.strategy == Strategy::InTransaction { 1 } else { hands.jobs };
        let crew = Crew::new(applier.session, applier.ledger, Hands { jobs, ..hands });
        Self { applier, folder, crew, units, below, live, ahead, stopped: BTreeSet::new() }
    }

    pub(super) async fn run(mut self, outcome: &mut Outcome) -> Result<()> {
        let mut running = FuturesUnordered::new();
        loop {
            self.admit(outcome);
            while self.has_work() {
                let Some(hand) = self.crew.take().await else { break };
                match self.next() {
                    Some(task) => running.push(work(self.applier, self.folder, task, hand)),
                    None => self.crew.give_back(hand, true).await,
                }
            }
            let Some((task, hand, result)) = running.next().await else { break };
            self.crew.give_back(hand, result.is_ok()).await;
            self.settle(task, result, outcome)?;
        }
        self.crew.dismiss().await;
        Ok(())
    }

    /// Lets units begin whose turn it is, without what stands on something that failed.
    fn admit(&mut self, outcome: &mut Outcome) {
        for at in 0..self.units.len() {
            let is_settled = |unit: &usize| self.units[*unit].phase == Phase::Settled;
            let unit = &self.units[at];
            if unit.phase == Phase::Waiting && unit.after.iter().all(is_settled) {
                self.units[at].phase = Phase::Admitted;
                let stopped = self.stopped.clone();
                self.fall(at, &stopped, None, outcome);
                if self.units[at].steps.is_empty() {
                    self.units[at].phase = Phase::Open;
                }
            }
            let unit = &mut self.units[at];
            if unit.is_built() && unit.steps.is_empty() && unit.fallen.is_empty() {
                unit.phase = Phase::Settled;
            }
        }
    }

    fn has_work(&self) -> bool {
        self.whole_unit().is_some() || self.next_build().is_some()
    }

    /// The first unit that may begin, or that is built.
    fn whole_unit(&self) -> Option<usize> {
        let has_rest = |unit: &UnitWork<'_>| !unit.steps.is_empty() || !unit.fallen.is_empty();
        self.units.iter().position(|unit| unit.phase == Phase::Admitted || unit.is_built() && has_rest(unit))
    }

    fn next_build(&self) -> Option<(usize, &'a Step)> {
        let ready = self.units.iter().enumerate();
        let ready = ready.flat_map(|(at, unit)| unit.ready(&self.below).map(move |step| (at, step)));
        let ahead = |(at, step): &(usize, &Step)| {
            (
                self.ahead.get(&step.name).copied(),
                std::cmp::Reverse(*at),
                std::cmp::Reverse(step.name.clone()),
            )
        };
        ready.max_by_key(ahead)
    }

    fn next(&mut self) -> Option<Task<'a>> {
        let (at, doing) = match self.whole_unit() {
            Some(at) => (at, self.of_unit(at)),
            None => {
                let (at, step) = self.next_build()?;
                (at, self.units[at].begin(step))
            }
        };
        let unit = &self.units[at];
        let (scratch, path) = (unit.scratch.clone(), unit.path.clone());
        let (steps, has_schemas, started) = (unit.steps.clone(), unit.has_schemas, unit.started);
        Some(Task { unit: at, doing, steps, scratch, path, has_schemas, started })
    }

    /// What is to be done with a unit as a whole.
    fn of_unit(&mut self, at: usize) -> Doing<'a> {
        let unit = &mut self.units[at];
        let is_admitted = std::mem::replace(&mut unit.phase, Phase::Busy) == Phase::Admitted;
        if !is_admitted && !unit.fallen.is_empty() {
            return Doing::Clear(std::mem::take(&mut unit.fallen));
        }
        if !is_admitted {
            return Doing::Swap(std::mem::take(&mut unit.built));
        }
        unit.started = Instant::now();
        if self.applier.strategy == Strategy::InTransaction {
            unit.todo.clear();
            return Doing::AtOnce;
        }
        unit.has_schemas = true;
        Doing::Open
    }

    fn settle(&mut self, task: Task<'a>, result: Result<Done>, outcome: &mut Outcome) -> Result<()> {
        let Task { unit: at, doing, steps, started, .. } = task;
        if let Doing::Build(step, _) = &doing {
            self.units[at].building.remove(&step.name);
            // One that was stopped has failed with another, whose error is told.
            if self.units[at].step(&step.name).is_none() {
                return Ok(());
            }
        } else {
            self.units[at].phase = Phase::Open;
        }
        let error = match result {
            Ok(Done::Opened(path)) => {
                self.units[at].path = path.into();
                return Ok(());
            }
            Ok(Done::Built(built)) => {
                self.units[at].built.push(*built);
                return Ok(());
            }
            Ok(Done::Swapped) => {
                steps.iter().for_each(|step| self.applier.say_done(step, started, outcome));
                self.units[at].steps.clear();
                return Ok(());
            }
            Ok(Done::Cleared) => return Ok(()),
            Err(error) => error,
        };
        let is_lost = self.applier.session.is_closed() || error.kind() == ErrorKind::Interrupted;
        let failed: BTreeSet<TableName> = match doing {
            Doing::Clear(_) => return Err(error),
            _ if is_lost => return Err(error),
            Doing::Build(step, _) => [step.name.clone()].into(),
            Doing::Open | Doing::Swap(_) | Doing::AtOnce => {
                steps.iter().map(|step| step.name.clone()).collect()
            }
        };
        self.units[at].todo.retain(|name| !failed.contains(name));
        self.fall(at, &failed, Some(&Arc::new(error)), outcome);
        Ok(())
    }

    /// Takes what failed out of a unit, and tells it.
    fn fall(
        &mut self,
        at: usize,
        failed: &BTreeSet<TableName>,
        error: Option<&Arc<Error>>,
        outcome: &mut Outcome,
    ) {
        let told = self.units[at].fallen.len();
        let tied = Tied { below: &self.below, live: self.live };
        self.units[at].fall(failed, error, &tied);
        for (step, error) in &self.units[at].fallen[told..] {
            self.stopped.insert(step.name.clone());
            self.applier.say_failed(step, error, outcome);
        }
    }
}

/// Does a task with a session, and gives both back.
async fn work<'a>(
    applier: &'a Applier<'a>,
    folder: &'a Folder,
    task: Task<'a>,
    hand: Hand<'a>,
) -> (Task<'a>, Hand<'a>, Result<Done>) {
    let result = {
        let applier = Applier { session: hand.session(), ..*applier };
        Box::pin(applier.perform(&task, folder)).await
    };
    (task, hand, result)
}

impl Applier<'_> {
    async fn perform(&self, task: &Task<'_>, folder: &Folder) -> Result<Done> {
        let Task { steps, scratch, path, started, .. } = task;
        match &task.doing {
            Doing::Open => self.open(steps, scratch).await.map(Done::Opened),
            Doing::Build(step, stop) => {
                let build = self.build(step, folder, scratch, path);
                self.unless(stop.clone(), build).await.map(|built| Done::Built(Box::new(built)))
            }
            Doing::Swap(built) => {
                let what = (&**scratch, &**path, built.as_slice());
                self.exchange(steps, folder, what, *started).await.map(|()| Done::Swapped)
            }
            Doing::AtOnce => {
                self.unit_at_once(steps, folder, scratch, *started).await.map(|()| Done::Swapped)
            }
            Doing::Clear(fallen) => self.clear(task, fallen).await.map(|()| Done::Cleared),
        }
    }

    /// Builds, and is cancelled on the server once it is to stop.
    async fn unless<T>(&self, mut stop: Shutdown, build: impl Future<Output = Result<T>>) -> Result<T> {
        let canceller = self.session.canceller();
        let mut build = std::pin::pin!(build);
        tokio::select! {
            result = &mut build => return result,
            () = stop.requested() => {}
        }
        loop {
            canceller.cancel().await;
            tokio::select! {
                result = &mut build => return result,
                () = tokio::time::sleep(CANCEL_AGAIN) => {}
            }
        }
    }

    async fn clear(&self, task: &Task<'_>, fallen: &[(&Step, Arc<Error>)]) -> Result<()> {
        let failed: Vec<&Step> = fallen.iter().map(|(step, _)| *step).collect();
        match (task.has_schemas, task.steps.is_empty()) {
            (true, true) => self.abandon(task.unit).await?,
            (true, false) => self.discard(&failed, &task.scratch).await?,
            (false, _) => {}
        }
        for (step, error) in fallen {
            self.keep_failure(step, error, task.started).await?;
        }
        Ok(())
    }
}

/// For each unit those before it that it has anything to do with.
fn after(units: &[Vec<TableName>], below: &Reads, live: &Reads) -> Vec<BTreeSet<usize>> {
    let tied = |one: &TableName, other: &TableName| {
        let reads = |graph: &Reads, one, other| graph.get(one).is_some_and(|reads| reads.contains(other));
        [below, live].iter().any(|graph| reads(graph, one, other) || reads(graph, other, one))
    };
    let is_after = |later: &[TableName], sooner: &[TableName]| {
        later.iter().any(|one| sooner.iter().any(|other| tied(one, other)))
    };
    let of = |(at, unit): (usize, &Vec<TableName>)| {
        (0..at).filter(|before| is_after(unit, &units[*before])).collect()
    };
    units.iter().enumerate().map(of).collect()
}

/// For each object its own expected time and that of the longest way above it.
fn ahead(plan: &Plan, below: &Reads) -> BTreeMap<TableName, i64> {
    let mut ahead: BTreeMap<TableName, i64> = BTreeMap::new();
    // Units, and members of each, stand after what they read: from the end what is above comes first.
    for name in plan.units.iter().flatten().rev() {
        let above =
            ahead.iter().filter(|(other, _)| below.get(*other).is_some_and(|reads| reads.contains(name)));
        let longest = above.map(|(_, ms)| *ms).max().unwrap_or(0);
        let is_filled = plan.step(name).is_some_and(|step| step.kind == ObjectKind::Matview);
        let known = plan.build_ms.get(&name.to_string()).copied();
        let own = if is_filled { known.unwrap_or(USUAL_BUILD_MS) } else { 0 };
        ahead.insert(name.clone(), own + longest);
    }
    ahead
}
