//! What is left to do for one unit, and what falls out of it when something fails: no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::super::diff::{Class, Step};
use super::super::order::Reads;
use super::super::scratch::Scratch;
use super::build::Built;
use super::queue::Doing;
use crate::error::{Error, ErrorKind};
use crate::name::TableName;
use crate::shutdown::{self, ShutdownTrigger};

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Units that it stands on are not settled.
    Waiting,
    /// It may begin.
    Admitted,
    /// A session works on the whole of it.
    Busy,
    /// Its schemas are there: it is built, then swapped.
    Open,
    /// Nothing is left to do.
    Settled,
}

/// A unit at work.
pub(super) struct UnitWork<'a> {
    pub(super) phase: Phase,
    /// What is to change places; what fails falls out.
    pub(super) steps: Vec<&'a Step>,
    /// Units that come first.
    pub(super) after: BTreeSet<usize>,
    pub(super) scratch: Arc<Scratch>,
    pub(super) path: Arc<str>,
    pub(super) todo: BTreeSet<TableName>,
    /// What is being built, each with a handle that stops it.
    pub(super) building: BTreeMap<TableName, ShutdownTrigger>,
    pub(super) built: Vec<Built>,
    /// What fell out and is still to be removed and recorded.
    pub(super) fallen: Vec<(&'a Step, Arc<Error>)>,
    pub(super) has_schemas: bool,
    pub(super) started: Instant,
}

impl<'a> UnitWork<'a> {
    pub(super) fn new(steps: Vec<&'a Step>, prefix: &str, after: BTreeSet<usize>) -> Self {
        let built = steps.iter().filter(|step| step.class.is_built());
        let todo: BTreeSet<TableName> = built.map(|step| step.name.clone()).collect();
        Self {
            phase: Phase::Waiting,
            steps,
            after,
            scratch: Arc::new(Scratch::new(prefix, todo.clone())),
            path: "''".into(),
            todo,
            building: BTreeMap::new(),
            built: Vec::new(),
            fallen: Vec::new(),
            has_schemas: false,
            started: Instant::now(),
        }
    }

    pub(super) fn step(&self, name: &TableName) -> Option<&'a Step> {
        self.steps.iter().copied().find(|step| step.name == *name)
    }

    /// Whether everything that is to be built is, or has fallen out.
    pub(super) fn is_built(&self) -> bool {
        self.phase == Phase::Open && self.todo.is_empty() && self.building.is_empty()
    }

    /// What may be built now: all that it reads of the unit is built.
    pub(super) fn ready(&self, below: &Reads) -> impl Iterator<Item = &'a Step> {
        let is_open = self.phase == Phase::Open;
        let waits = |name: &TableName| {
            let mut reads = below.get(name).into_iter().flatten();
            reads.any(|read| self.todo.contains(read) || self.building.contains_key(read))
        };
        let is_ready = |step: &&&Step| is_open && self.todo.contains(&step.name) && !waits(&step.name);
        self.steps.iter().filter(is_ready).copied().collect::<Vec<_>>().into_iter()
    }

    /// Begins the build of one, with a handle that stops it.
    pub(super) fn begin(&mut self, step: &'a Step) -> Doing<'a> {
        let (trigger, stop) = shutdown::channel();
        self.todo.remove(&step.name);
        self.building.insert(step.name.clone(), trigger);
        Doing::Build(step, stop)
    }

    /// Takes out what failed, with what cannot do without it. Gives what fell.
    pub(super) fn fall(
        &mut self,
        failed: &BTreeSet<TableName>,
        error: Option<&Arc<Error>>,
        edges: &Tied<'_>,
    ) {
        let all = edges.with(&self.steps, failed);
        let (fell, left): (Vec<&Step>, Vec<&Step>) =
            self.steps.iter().partition(|step| all.contains(&step.name));
        self.steps = left;
        self.built.retain(|one| !all.contains(&one.name));
        for step in fell {
            self.todo.remove(&step.name);
            if let Some(stop) = self.building.get(&step.name) {
                stop.stop();
            }
            let own = error.filter(|_| failed.contains(&step.name)).cloned();
            self.fallen.push((step, own.unwrap_or_else(|| Arc::new(edges.waits_for(step, &all, failed)))));
        }
    }
}

/// Who reads whom: as the files say, and as it is now.
pub(super) struct Tied<'a> {
    pub(super) below: &'a Reads,
    pub(super) live: &'a Reads,
}

impl Tied<'_> {
    /// The names that fall among steps when these fail: what reads one, and what cannot go away because
    /// one that stays as it is reads it.
    fn with(&self, steps: &[&Step], failed: &BTreeSet<TableName>) -> BTreeSet<TableName> {
        let mut all = failed.clone();
        loop {
            let before = all.len();
            for step in steps {
                if self.falls(step, &all) {
                    all.insert(step.name.clone());
                }
            }
            if all.len() == before {
                return all;
            }
        }
    }

    fn falls(&self, step: &Step, failed: &BTreeSet<TableName>) -> bool {
        self.reason(step, failed).is_some()
    }

    /// The one without which a step cannot be done.
    fn reason<'f>(&self, step: &Step, failed: &'f BTreeSet<TableName>) -> Option<&'f TableName> {
        let is_swapped = matches!(step.class, Class::Replace | Class::Rebuild);
        let reads = |one: &TableName, graph: &Reads, other: &TableName| {
            graph.get(one).is_some_and(|reads| reads.contains(other))
        };
        failed.iter().filter(|name| **name != step.name).find(|name| {
            reads(&step.name, self.below, name) || is_swapped && reads(name, self.live, &step.name)
        })
    }

    fn waits_for(&self, step: &Step, all: &BTreeSet<TableName>, failed: &BTreeSet<TableName>) -> Error {
        let name = self.reason(step, failed).or_else(|| self.reason(step, all));
        let name = name.map(ToString::to_string).unwrap_or_default();
        Error::new(ErrorKind::Server, format!("it waits for {name}, which failed"))
    }
}
