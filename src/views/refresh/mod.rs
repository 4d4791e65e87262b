//! Refreshing: what is stale, each view after those that it reads, several at once.
//!
//! [`plan()`] says which views; a [`Refresher`] runs the plan. Every view is locked, looked at again and
//! refreshed by one session in one transaction that also records it (`turn`), so that two runs at once
//! refresh it once, and a run that is killed leaves nothing behind but what the next one removes.

mod plan;
mod queue;
mod steps;
mod turn;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

pub use plan::{Planned, Request, Scope, Step, only, plan};

use super::options::{RefreshMode, ViewRules};
use super::outlook::Outlook;
use super::strategy::{self, Choice};
use super::{properties, swap};
use crate::config::connection::ConnectionSpec;
use crate::error::Result;
use crate::event::{Events, ViewsSummary};
use crate::ledger::{Ledger, Owner, Source};
use crate::postgres::connect::{Session, Side};
use crate::shutdown::Shutdown;

/// How a refresh goes about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Views at once.
    pub jobs: usize,
    /// The way that the command line asks for, over what each view's options say.
    pub strategy: Option<RefreshMode>,
    /// Whether fresh views are refreshed too.
    pub force: bool,
    /// A refresh of another run is as good as one of this run if it began less than this ago.
    pub if_older_than: Option<Duration>,
    /// Whether all views show one snapshot.
    pub consistent: bool,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
    /// The time after which nothing new is started.
    pub max_runtime: Option<Duration>,
    /// Tries of one view, the first among them, where a failure may pass.
    pub tries: u32,
    /// Whether error messages may hold values of rows.
    pub show_values: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jobs: 2,
            strategy: None,
            force: false,
            if_older_than: None,
            consistent: false,
            fail_fast: false,
            max_runtime: None,
            tries: 5,
            show_values: false,
        }
    }
}

/// One run that refreshes views of one database.
#[derive(Debug)]
pub struct Refresher {
    /// The database.
    pub spec: ConnectionSpec,
    /// Its ledger.
    pub ledger: Ledger,
    /// Who runs.
    pub owner: Owner,
    /// Who listens.
    pub events: Events,
    /// Who may stop it.
    pub shutdown: Shutdown,
    /// What is asked of the views.
    pub rules: ViewRules,
    /// How.
    pub settings: Settings,
}

/// Makes sure of the views that a request would leave alone as fresh: waits until everybody has reported
/// what was written before the look, at most a quarter of a minute.
///
/// # Errors
/// As [`plan()`]; the server's.
pub async fn settle(
    session: &Session,
    ledger: Option<&Ledger>,
    outlook: &mut Outlook,
    (rules, request): (&ViewRules, &Request),
) -> Result<()> {
    let views = plan::to_settle(outlook, rules, request)?;
    outlook.settle(session, ledger, (rules, &views)).await
}

/// The way in which each of these views would be refreshed, and why, or why the way that was asked for is
/// not possible; one statement whatever their number.
///
/// # Errors
/// The server's.
pub async fn previews(
    session: &Session,
    outlook: &Outlook,
    rules: &ViewRules,
    (oids, strategy): (&[u32], Option<RefreshMode>),
) -> Result<BTreeMap<u32, Result<Choice>>> {
    let blockers = properties::blockers(session, oids).await?;
    let choose = |oid: &u32| {
        let view = &outlook.catalog.views[oid];
        let asked = strategy.or(rules.of(&view.name).refresh).unwrap_or_default();
        let obstacle = blockers.get(oid).and_then(|all| all.first()).map(String::as_str);
        (*oid, strategy::choose(asked, view, outlook.records.get(oid), obstacle))
    };
    Ok(oids.iter().map(choose).collect())
}

/// What all views of one run share.
#[derive(Debug)]
struct Run<'a> {
    refresher: &'a Refresher,
    outlook: &'a Outlook,
    started: Instant,
    /// The one snapshot, if all views show it.
    snapshot: Option<Snapshot>,
}

/// A snapshot that a session holds for the others.
#[derive(Debug)]
struct Snapshot {
    keeper: Session,
    id: String,
    /// What the views read, as it was just before: what comes later is not in the snapshot.
    sources: BTreeMap<u32, Source>,
    at: DateTime<Utc>,
}

impl Refresher {
    /// Refreshes what the plan says; what goes wrong with a view is in the summary.
    ///
    /// # Errors
    /// What goes wrong before the first view.
    pub async fn run(&self, outlook: &Outlook, plan: Vec<Planned>) -> Result<ViewsSummary> {
        let started = Instant::now();
        let wanted = plan.iter().filter(|view| view.step == Step::Refresh).count();
        let snapshot = match self.settings.consistent && wanted > 0 {
            true => Some(self.keep_snapshot(outlook).await?),
            false => None,
        };
        let run = Run { refresher: self, outlook, started, snapshot };
        let mut summary = queue::Queue::new(&run, plan).run().await;
        summary.elapsed = started.elapsed();
        summary.interrupted = self.shutdown.is_requested();
        if let Some(snapshot) = run.snapshot {
            snapshot.keeper.close().await;
        }
        Ok(summary)
    }

    /// Removes what runs that died have left: only of views that nobody works on.
    ///
    /// # Errors
    /// The server's.
    pub async fn clear_leftovers(&self, session: &Session) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for (schema, oid) in swap::leftovers(session).await? {
            if self.ledger.lock_view(session, oid).await? {
                let result = swap::remove_schema(session, &schema).await;
                self.ledger.unlock_view(session, oid).await?;
                result?;
                removed.push(schema);
            }
        }
        Ok(removed)
    }

    async fn open(&self, view: &str) -> Result<Session> {
        let name = format!("pgtide/refresh/{view}");
        let session = Session::open(&self.spec, Side::Destination, &name).await?;
        Ok(session.with_values_shown(self.settings.show_values))
    }

    async fn keep_snapshot(&self, outlook: &Outlook) -> Result<Snapshot> {
        let doing = "taking the snapshot that all views will show";
        let keeper = self.open("snapshot").await?;
        keeper.batch(doing, "set idle_in_transaction_session_timeout = 0").await?;
        let views: Vec<u32> = outlook.catalog.views.keys().copied().collect();
        let sources = outlook.catalog.sources(Some(&self.ledger), &keeper, &views).await?;
        // Without a view there is nothing that the moment would be recorded of.
        let at = sources.values().next().map_or(outlook.at, |sources| sources.at);
        let sources = sources.into_values().flat_map(|sources| sources.relations);
        let sources = sources.map(|source| (source.oid, source)).collect();
        keeper.batch(doing, "begin isolation level repeatable read read only").await?;
        let row = keeper.query_one(doing, "select pg_catalog.pg_export_snapshot()", &[]).await?;
        Ok(Snapshot { id: row.get(0), keeper, sources, at })
    }
}
