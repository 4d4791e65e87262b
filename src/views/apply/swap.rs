//! The short transaction in which what was built takes its place.
//!
//! Views that stay are pointed at the new ones while those are still beside: what a view reads is kept
//! by OID, so it follows them home. Then the old ones go, readers of others first, never with CASCADE.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::alter;
use super::super::diff::{Class, Step};
use super::super::facts;
use super::super::files::Folder;
use super::super::order::{self, Reads};
use super::super::scratch::Scratch;
use super::build::{Built, definition};
use super::{Applier, Building, Said, Strategy, TRIES, dressing};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::RefreshRecord;
use crate::name::TableName;
use crate::postgres::ident;

impl Applier<'_> {
    /// Builds and swaps a unit in one transaction.
    pub(super) async fn unit_at_once(
        &self,
        steps: &[&Step],
        folder: &Folder,
        scratch: &Scratch,
        started: Instant,
    ) -> Result<()> {
        self.begin("applying views in one transaction").await?;
        let work = async {
            let path = self.open(steps, scratch).await?;
            let mut built = Vec::new();
            for step in steps.iter().filter(|step| step.class.is_built()) {
                built.push(self.build(step, folder, scratch, &path).await?);
            }
            self.exchange(steps, folder, (scratch, &path, &built), started).await
        };
        let result = Box::pin(work).await;
        self.end(result).await
    }

    /// Swaps, and tries again while readers hold a lock; what was built is kept.
    pub(super) async fn exchange(
        &self,
        steps: &[&Step],
        folder: &Folder,
        (scratch, path, built): (&Scratch, &str, &[Built]),
        started: Instant,
    ) -> Result<()> {
        let is_inside = self.strategy == Strategy::InTransaction;
        for next_try in 2.. {
            if is_inside {
                self.session.batch("swapping views", "savepoint swap").await?;
            } else {
                self.begin("swapping views").await?;
            }
            let result = self.swap(steps, folder, (scratch, path, built), started).await;
            let result = match (is_inside, result) {
                (false, result) => self.end(result).await,
                (true, Err(error)) if error.kind() == ErrorKind::Contention => {
                    self.session.batch("swapping views", "rollback to savepoint swap").await?;
                    Err(error)
                }
                (true, result) => result,
            };
            match (result, steps.first()) {
                (Err(error), Some(step)) if error.kind() == ErrorKind::Contention && next_try <= TRIES => {
                    self.wait(step, next_try).await;
                }
                (result, _) => return result,
            }
        }
        Ok(())
    }

    async fn swap(
        &self,
        steps: &[&Step],
        folder: &Folder,
        (scratch, path, built): (&Scratch, &str, &[Built]),
        started: Instant,
    ) -> Result<()> {
        self.require_as_planned(steps).await?;
        let mut sql: Vec<(TableName, Vec<String>)> = Vec::new();
        for step in steps.iter().filter(|step| step.class.is_in_place()) {
            sql.push((step.name.clone(), self.in_place(step, folder, scratch, path).await?));
        }
        self.drop_old(steps).await?;
        for one in built {
            let statements = home(one, steps, scratch);
            for statement in &statements {
                self.session.batch(&format!("putting {} in its place", one.name), statement).await?;
            }
            sql.push((one.name.clone(), [one.sql.clone(), statements].concat()));
        }
        for step in steps {
            let text = sql
                .iter()
                .find(|(name, _)| *name == step.name)
                .map(|(_, sql)| sql.join(";\n"))
                .unwrap_or_default();
            let new = built.iter().find(|one| one.name == step.name).map(|one| one.oid);
            let Some(oid) = new.or(step.live.as_ref().map(|live| live.oid)) else { continue };
            self.record(step, folder, (oid, &text), started).await?;
        }
        for one in built {
            let step = steps.iter().find(|step| step.name == one.name);
            self.record_fill(one, step.copied(), built).await?;
        }
        for (schema, _) in scratch.schemas() {
            self.session
                .batch("removing the schema beside", &format!("drop schema {}", ident::quote(schema)))
                .await?;
        }
        Ok(())
    }

    /// Tells staleness that a new view is fresh, and as of when.
    async fn record_fill(&self, one: &Built, step: Option<&Step>, built: &[Built]) -> Result<()> {
        let (Some((sources, started_at)), Some(step)) = (one.filled.clone(), step) else { return Ok(()) };
        let mut sources = sources;
        // What was built with it has got its version by now; everything else is as it was when it was read.
        if let Some(now) = self.sources(one.oid).await? {
            let is_built = |oid: u32| built.iter().any(|other| other.oid == oid);
            sources.relations.retain(|source| !is_built(source.oid));
            sources.relations.extend(now.relations.into_iter().filter(|source| is_built(source.oid)));
            sources.relations.sort_by_key(|source| source.oid);
            sources.between = now.between;
        }
        let records = self.ledger.view_records(self.session).await?;
        let below =
            records.iter().filter(|record| sources.relations.iter().any(|source| source.oid == record.oid));
        let data_as_of =
            below.filter_map(|record| record.data_as_of).min().map_or(sources.at, |at| at.min(sources.at));
        let sql = "select case when c.reltuples >= 0 then c.reltuples::pg_catalog.int8 end from pg_catalog.pg_class c where c.oid = $1";
        let rows: Option<i64> = self.session.query_one("counting a new view", sql, &[&one.oid]).await?.get(0);
        let live = step.live.as_ref().map(|live| live.oid);
        let record = RefreshRecord {
            oid: one.oid,
            replaced_oid: live,
            name: one.name.to_string(),
            reason: format!("views apply: {}", step.cause),
            mode: "swap",
            attempt: 1,
            started_at,
            data_as_of,
            rows,
            rows_in: rows.unwrap_or(0),
            rows_out: step.live.as_ref().map_or(0, |_| rows.unwrap_or(0)),
            sources,
        };
        self.ledger.record_refresh(self.session, self.owner, &record).await
    }

    /// Nobody has made, dropped or renamed one of them since the plan.
    async fn require_as_planned(&self, steps: &[&Step]) -> Result<()> {
        let names: Vec<_> = steps.iter().map(|step| step.name.clone()).collect();
        let found = facts::named(self.session, &names).await?;
        for step in steps {
            let oid = step.live.as_ref().map(|live| live.oid);
            let is_there = |oid: &u32| found.iter().any(|one| one.oid == *oid && one.name == step.name);
            let same_kind = |one: &&facts::Named| one.name == step.name && one.kind == step.kind.sql();
            let is_same = match oid {
                Some(oid) => is_there(&oid),
                None => {
                    step.class == Class::New
                        && (step.kind == super::super::statement::ObjectKind::Function
                            || !found.iter().any(|one| same_kind(&one)))
                }
            };
            if !is_same {
                let what = format!("{} was changed by somebody else since the plan", step.name);
                return Err(
                    Error::new(ErrorKind::Server, what).with_hint("the same command again plans anew")
                );
            }
        }
        Ok(())
    }

    /// Replaces a live view or function, which keeps its OID and what stands on it.
    async fn in_place(
        &self,
        step: &Step,
        folder: &Folder,
        scratch: &Scratch,
        path: &str,
    ) -> Result<Vec<String>> {
        let (_, object) = definition(step, folder)?;
        let Some(live) = &step.live else { return Ok(Vec::new()) };
        (self.listener)(Said::Started { name: step.name.clone(), what: "replacing in place" });
        let doing = format!("replacing {} in place", step.name);
        let mut sql = vec![scratch.create(object)];
        self.session
            .batch(
                &doing,
                &format!("set local search_path to {path}; set local check_function_bodies to off"),
            )
            .await?;
        self.session.batch(&doing, &sql[0]).await?;
        self.session.batch(&doing, "set local search_path to ''").await?;
        let facts = facts::read(self.session, &[live.oid]).await?;
        if let (Some(now), Some(want)) = (facts.get(&live.oid), &step.want) {
            for statement in dressing(now, want, Building::Live) {
                self.session.batch(&doing, &statement).await?;
                sql.push(statement);
            }
        }
        Ok(sql)
    }

    async fn drop_old(&self, steps: &[&Step]) -> Result<()> {
        let old: Vec<&&Step> =
            steps.iter().filter(|step| step.class.is_built() && step.live.is_some()).collect();
        let names: BTreeSet<_> = old.iter().map(|step| step.name.clone()).collect();
        let mut reads = Reads::new();
        let oid = |step: &Step| step.live.as_ref().map_or(0, |live| live.oid);
        let oids: Vec<u32> = old.iter().map(|step| oid(step)).collect();
        for dependent in facts::dependents(self.session, &oids).await? {
            let name = |of: u32| old.iter().find(|step| oid(step) == of).map(|step| step.name.clone());
            if let (Some(reader), Some(read)) = (name(dependent.oid), name(dependent.target)) {
                reads.entry(reader).or_default().insert(read);
            }
        }
        for name in order::sorted(&names, &reads).iter().rev() {
            let Some(live) = old.iter().find(|step| step.name == *name).and_then(|step| step.live.as_ref())
            else {
                continue;
            };
            let sql = format!("drop {}", alter::target(live));
            self.session.batch(&format!("dropping the old {name}"), &sql).await?;
        }
        Ok(())
    }
}

/// Statements that bring one home, with its statistics.
fn home(one: &Built, steps: &[&Step], scratch: &Scratch) -> Vec<String> {
    let Some(step) = steps.iter().find(|step| step.name == one.name) else { return Vec::new() };
    let there = scratch.name(&one.name);
    let schema = ident::quote(one.name.schema.as_deref().unwrap_or_default());
    let Some(want) = &step.want else { return Vec::new() };
    let arguments = match step.kind {
        super::super::statement::ObjectKind::Function => format!("({})", want.arguments),
        _ => String::new(),
    };
    let mut sql = vec![format!(
        "alter {} {}{arguments} set schema {schema}",
        step.kind.sql(),
        ident::quote_table(&there)
    )];
    let beside = ident::quote(there.schema.as_deref().unwrap_or_default());
    sql.extend(
        want.statistics
            .keys()
            .map(|name| format!("alter statistics {beside}.{} set schema {schema}", ident::quote(name))),
    );
    sql
}
