//! All views of a database as they stand: what they read, what they show, stale or fresh and why.
//!
//! The first step of `views status` and of every refresh; it only reads.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::activity::{self, Activity};
use super::catalog::Catalog;
use super::graph::Node;
use super::options::{ViewOptions, ViewRules};
use super::stale::{self, Doubt, Evidence, Freshness, Verdict};
use crate::error::Result;
use crate::ledger::{Ledger, Sources, ViewRecord};
use crate::postgres::connect::Session;

/// Everything known about the views of one database at one moment.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The moment, on the server's clock.
    pub at: DateTime<Utc>,
    /// Who was at work in the database then.
    pub activity: Activity,
    /// The graph and the views.
    pub catalog: Catalog,
    /// What the ledger knows, by OID.
    pub records: BTreeMap<u32, ViewRecord>,
    /// What each view reads, as it is now.
    pub sources: BTreeMap<u32, Sources>,
    /// How each view stands.
    pub verdicts: BTreeMap<u32, Verdict>,
    /// Layers, for display; members of cycles have none.
    pub layers: BTreeMap<u32, usize>,
    /// The materialized views that each reads.
    pub upstream: BTreeMap<u32, BTreeSet<u32>>,
}

impl Outlook {
    /// Looks at everything.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(session: &Session, ledger: Option<&Ledger>, rules: &ViewRules) -> Result<Self> {
        // The first look: what others begin from here on was begun after the request.
        let activity = Activity::read(session).await?;
        let catalog = Catalog::read(session, rules, ledger.map(Ledger::view_lock_class)).await?;
        let records = match ledger {
            Some(ledger) => ledger.view_records(session).await?,
            None => Vec::new(),
        };
        let oids: Vec<u32> = catalog.views.keys().copied().collect();
        let sources = catalog.sources(ledger, session, &oids).await?;
        let mut outlook = Self {
            at: activity.at(),
            activity,
            layers: catalog.graph.layers(),
            upstream: catalog.graph.upstream(),
            records: records.into_iter().map(|record| (record.oid, record)).collect(),
            sources,
            verdicts: BTreeMap::new(),
            catalog,
        };
        outlook.judge(rules);
        Ok(outlook)
    }

    /// Makes sure of the views among these that count as fresh: waits until everybody has reported what was
    /// written before the look, then judges them again.
    ///
    /// # Errors
    /// The server's.
    pub async fn settle(
        &mut self,
        session: &Session,
        ledger: Option<&Ledger>,
        (rules, views): (&ViewRules, &[u32]),
    ) -> Result<()> {
        let fresh = views.iter().filter(|oid| self.verdicts[oid].freshness == Freshness::Fresh);
        let is_doubted = |oid: &&u32| self.verdicts[*oid].doubt == Doubt::Uncounted;
        let seen: Vec<_> = fresh.clone().filter(is_doubted).filter_map(|oid| self.seen_at(*oid)).collect();
        if seen.is_empty() && !(self.activity.has_collector() && fresh.count() > 0) {
            return Ok(());
        }
        self.activity.settle(session, &seen).await?;
        if self.activity.has_collector() {
            tokio::time::sleep(activity::COLLECTOR_LATE).await;
        }
        let oids: Vec<u32> = self.catalog.views.keys().copied().collect();
        self.sources = self.catalog.sources(ledger, session, &oids).await?;
        self.judge(rules);
        Ok(())
    }

    /// The moment up to which a view shows what was committed, whatever it reads.
    fn seen_at(&self, oid: u32) -> Option<DateTime<Utc>> {
        self.records.get(&oid)?.sources.as_ref().map(|sources| sources.at)
    }

    fn judge(&mut self, rules: &ViewRules) {
        for view in self.in_order() {
            let verdict = self.own_verdict(view, rules);
            let stale = |oid: &&u32| self.verdicts.get(oid).is_some_and(|v| v.freshness.wants_refresh());
            let upstream = self.upstream.get(&view).into_iter().flatten().find(stale);
            let name = upstream.map(|oid| self.name(*oid));
            self.verdicts.insert(view, stale::below(verdict, name.as_deref()));
        }
    }

    fn own_verdict(&self, oid: u32, rules: &ViewRules) -> Verdict {
        let view = &self.catalog.views[&oid];
        let options = rules.of(&view.name);
        let uncounted = self.activity.uncounted();
        let blind_spot = self.catalog.blind_spot(oid, rules);
        let evidence = Evidence {
            is_populated: view.is_populated,
            token: &view.token,
            is_locked: view.is_locked,
            reads_clock: self.catalog.reads_clock(oid),
            blind_spot: blind_spot.as_deref(),
            record: self.records.get(&oid),
            sources: &self.sources[&oid],
            own_tokens: &own_tokens(&self.records),
            options: &options,
            uncounted: uncounted.as_ref(),
        };
        stale::judge(&evidence, self.at)
    }

    /// The views so that each comes after those that it reads; members of cycles last.
    #[must_use]
    pub fn in_order(&self) -> Vec<u32> {
        let mut views: Vec<u32> = self.catalog.views.keys().copied().collect();
        views.sort_by_key(|oid| (self.layers.get(oid).copied().unwrap_or(usize::MAX), self.name(*oid)));
        views
    }

    /// The name of a relation.
    #[must_use]
    pub fn name(&self, oid: u32) -> String {
        self.catalog.graph.name(Node::Relation(oid))
    }

    /// What is asked of a view.
    #[must_use]
    pub fn options(&self, oid: u32, rules: &ViewRules) -> ViewOptions {
        self.catalog.views.get(&oid).map(|view| rules.of(&view.name)).unwrap_or_default()
    }

    /// The moment whose rows a view shows: that of its refresh, or of an older view below.
    #[must_use]
    pub fn data_as_of(&self, oid: u32) -> Option<DateTime<Utc>> {
        self.records.get(&oid).and_then(|record| record.data_as_of)
    }
}

/// The tokens that pgtide's own refreshes left.
#[must_use]
pub fn own_tokens(records: &BTreeMap<u32, ViewRecord>) -> Vec<(u32, String)> {
    records.values().filter_map(|record| Some((record.oid, record.token.clone()?))).collect()
}
