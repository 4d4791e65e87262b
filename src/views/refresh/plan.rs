//! Which views a refresh takes, in which order, and why others are left alone: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::nearest::did_you_mean;
use crate::config::quantity::show_duration;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ViewRecord;
use crate::name::TableName;
use crate::views::graph::{Graph, Kind, Node};
use crate::views::options::{RefreshMode, ViewRules};
use crate::views::outlook::Outlook;
use crate::views::stale::{Doubt, Freshness, Trust};

/// Which views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the database.
    All,
    /// These, and if so asked what they read and what reads them.
    Named {
        /// Their names.
        names: Vec<TableName>,
        /// Those that they read, too.
        upstream: bool,
        /// Those that read them, too.
        downstream: bool,
    },
    /// What reads these relations, at any distance, by OID with their partitions; of that only these
    /// names if there are any.
    Loaded(Vec<u32>, Option<Vec<TableName>>),
}

/// What a refresh is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which views.
    pub scope: Scope,
    /// Whether fresh ones are refreshed too.
    pub force: bool,
    /// Only those that show rows of longer ago.
    pub if_older_than: Option<Duration>,
    /// What a view has to be to be left alone. Proven is meant of those that are named: of what they read,
    /// and of what reads them, it is enough if nobody can have written what is not counted.
    pub trust: Trust,
}

impl Request {
    /// What is stale of these, by what is counted.
    #[must_use]
    pub fn of(scope: Scope) -> Self {
        Self { scope, force: false, if_older_than: None, trust: Trust::Counted }
    }
}

/// What becomes of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is refreshed, if it is still stale when its turn comes.
    Refresh,
    /// It is fresh, unless something below it changes in this run.
    Fresh,
    /// It is left alone, whatever happens.
    Leave,
    /// It cannot be refreshed.
    Refuse,
}

/// A view in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// What becomes of it.
    pub step: Step,
    /// Why.
    pub reason: String,
    /// What it has to be to be left alone.
    pub trust: Trust,
    /// The views of the plan that it reads.
    pub after: BTreeSet<u32>,
    /// How long it may take, by its history.
    pub estimate: Option<Duration>,
}

/// Plans a refresh; each view comes after those that it reads.
///
/// # Errors
/// `Usage`, for a name that is no materialized view, with the nearest.
pub fn plan(
    outlook: &Outlook,
    rules: &ViewRules,
    request: &Request,
    now: DateTime<Utc>,
) -> Result<Vec<Planned>> {
    let scope = members(outlook, &request.scope)?;
    let named = named(outlook, &request.scope, &scope);
    let cycles = cycle_of_each(outlook);
    let order = outlook.in_order().into_iter().filter(|oid| scope.contains(oid));
    Ok(order
        .map(|oid| {
            let trust = match request.trust {
                Trust::Proven if !named.contains(&oid) => Trust::Settled,
                trust => trust,
            };
            let (step, reason) = match cycles.get(&oid) {
                Some(path) => (Step::Refuse, format!("part of a cycle: {path}")),
                None => step(outlook, rules, &Request { trust, ..request.clone() }, (oid, now)),
            };
            let after = outlook.upstream.get(&oid).into_iter().flatten();
            Planned {
                oid,
                name: outlook.catalog.views[&oid].name.clone(),
                step,
                reason,
                trust,
                after: after.filter(|below| scope.contains(below) && **below != oid).copied().collect(),
                estimate: outlook.records.get(&oid).and_then(|record| record.median),
            }
        })
        .collect())
}

fn step(
    outlook: &Outlook,
    rules: &ViewRules,
    request: &Request,
    (oid, now): (u32, DateTime<Utc>),
) -> (Step, String) {
    let verdict = &outlook.verdicts[&oid];
    let options = outlook.options(oid, rules);
    if options.refresh == Some(RefreshMode::Never) {
        return (Step::Leave, "refresh: never".to_owned());
    }
    let record = outlook.records.get(&oid);
    let is_young = |at: Option<DateTime<Utc>>, least: Duration| {
        at.and_then(|at| (now - at).to_std().ok()).is_some_and(|age| age < least)
    };
    let refreshed_at = record.and_then(|record| record.refreshed_at);
    if let Some(least) = options.min_interval.filter(|least| is_young(refreshed_at, *least) && !request.force)
    {
        return (Step::Leave, format!("min_interval {}", show_duration(least)));
    }
    // What ended just now may have taken hours: its rows are those of its start.
    let began_at = record.and_then(ViewRecord::began_at);
    if let Some(least) = request.if_older_than.filter(|least| is_young(began_at, *least)) {
        return (Step::Leave, format!("refreshed less than {} ago", show_duration(least)));
    }
    match verdict.wants_refresh(request.trust) {
        Some(reason) => (Step::Refresh, reason),
        None if request.force => (Step::Refresh, "asked for, though it is fresh".to_owned()),
        None => (Step::Fresh, "fresh".to_owned()),
    }
}

/// The views that are named one by one.
fn named(outlook: &Outlook, scope: &Scope, members: &BTreeSet<u32>) -> BTreeSet<u32> {
    match scope {
        Scope::Named { names, .. } => names.iter().filter_map(|name| one_view(outlook, name).ok()).collect(),
        Scope::Loaded(_, Some(_)) => members.clone(),
        Scope::All | Scope::Loaded(_, None) => BTreeSet::new(),
    }
}

/// The views that count as fresh and are left alone only if that is sure: those to be waited for.
///
/// # Errors
/// As [`plan()`].
pub(super) fn to_settle(outlook: &Outlook, rules: &ViewRules, request: &Request) -> Result<Vec<u32>> {
    if request.force {
        return Ok(Vec::new());
    }
    let is_waited_for = |view: &Planned| {
        let verdict = &outlook.verdicts[&view.oid];
        let waits = match view.trust {
            Trust::Counted => false,
            Trust::Settled => true,
            // What is in doubt is refreshed at once; only a collector's delay is worth the wait.
            Trust::Proven => verdict.doubt == Doubt::None,
        };
        let is_open = matches!(view.step, Step::Refresh | Step::Fresh);
        is_open && waits && verdict.freshness == Freshness::Fresh
    };
    let planned = plan(outlook, rules, request, outlook.at)?;
    Ok(planned.into_iter().filter(is_waited_for).map(|view| view.oid).collect())
}

fn members(outlook: &Outlook, scope: &Scope) -> Result<BTreeSet<u32>> {
    let graph = &outlook.catalog.graph;
    Ok(match scope {
        Scope::All => outlook.catalog.views.keys().copied().collect(),
        Scope::Named { names, upstream, downstream } => {
            let mut named = BTreeSet::new();
            for name in names {
                named.insert(one_view(outlook, name)?);
            }
            let mut found = named.clone();
            if *upstream {
                found.extend(graph.ancestors(&named));
            }
            if *downstream {
                let below = found.clone();
                found.extend(graph.dependents(&below));
            }
            found
        }
        Scope::Loaded(oids, names) => {
            let found = graph.dependents(&oids.iter().copied().collect());
            match names {
                None => found,
                Some(names) => only(graph, &found, names)?,
            }
        }
    })
}

/// Keeps the views that a job names; a name that reads nothing of it is a mistake.
///
/// # Errors
/// `Config`, with the names that would be right.
pub fn only(graph: &Graph, found: &BTreeSet<u32>, names: &[TableName]) -> Result<BTreeSet<u32>> {
    let one =
        |name: &TableName| graph.find(name).iter().map(|node| node.oid()).find(|oid| found.contains(oid));
    let missing: Vec<_> = names.iter().filter(|name| one(name).is_none()).map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(names.iter().filter_map(one).collect());
    }
    let context =
        format!("`refresh`: no materialized view of this name reads the table: {}", missing.join(", "));
    let error = Error::new(ErrorKind::Config, context);
    let known: Vec<_> = found.iter().map(|oid| graph.name(Node::Relation(*oid))).collect();
    Err(match known.is_empty() {
        true => error,
        false => error.with_hint(format!("these read it: {}", known.join(", "))),
    })
}

fn one_view(outlook: &Outlook, name: &TableName) -> Result<u32> {
    let views = outlook.catalog.graph.find(name).into_iter().map(|node| node.oid());
    let views: Vec<u32> = views.filter(|oid| outlook.catalog.views.contains_key(oid)).collect();
    match views.as_slice() {
        [one] => Ok(*one),
        [] => Err(no_view(outlook, name)),
        several => {
            let names: Vec<_> = several.iter().map(|oid| outlook.name(*oid)).collect();
            let context = format!("`{name}` is in several schemas: {}", names.join(", "));
            Err(Error::new(ErrorKind::Usage, context).with_hint("name it with its schema"))
        }
    }
}

fn no_view(outlook: &Outlook, name: &TableName) -> Error {
    let nodes = outlook.catalog.graph.find(name);
    let other = nodes.into_iter().find_map(|node| outlook.catalog.graph.object(node));
    let context = match other {
        Some(object) => format!("`{name}` is a {}, not a materialized view", object.kind.word()),
        None => {
            let known: Vec<String> = outlook.catalog.views.keys().map(|oid| outlook.name(*oid)).collect();
            let nearest = did_you_mean(&name.to_string(), known.iter().map(String::as_str));
            format!("there is no materialized view `{name}`{nearest}")
        }
    };
    let error = Error::new(ErrorKind::Usage, context);
    match other.map(|object| object.kind) {
        Some(Kind::Table | Kind::Foreign | Kind::View) => {
            error.with_hint(format!("--after-load {name} refreshes what reads it"))
        }
        _ => error.with_hint("pgtide views status lists them"),
    }
}

fn cycle_of_each(outlook: &Outlook) -> BTreeMap<u32, String> {
    let mut paths = BTreeMap::new();
    for cycle in outlook.catalog.graph.cycles() {
        let names: Vec<_> = cycle.iter().map(|oid| outlook.name(*oid)).collect();
        let path = names.join(" -> ");
        paths.extend(cycle.into_iter().map(|oid| (oid, path.clone())));
    }
    paths
}
