//! Building beside: in schemas of its own, without a lock on anything that is live.

use std::collections::BTreeSet;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::super::catalog::Catalog;
use super::super::diff::Step;
use super::super::facts::{self, Facts};
use super::super::files::{Definition, Folder};
use super::super::options::{AfterRefresh, ViewOptions};
use super::super::scratch::Scratch;
use super::super::statement::{Aspect, ObjectKind};
use super::super::trial;
use super::{Applier, Building, Said, Strategy, dressing, mark};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Sources;
use crate::name::TableName;
use crate::postgres::ident;

/// One that is built, and the statements that did it.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) name: TableName,
    pub(super) oid: u32,
    pub(super) sql: Vec<String>,
    /// What it saw when it was filled, and when that began.
    pub(super) filled: Option<(Sources, DateTime<Utc>)>,
}

/// What default privileges would give to a view that the role creates in the schema $1.
const DEFAULT_GRANTS: &str = "
select case when x.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) end,
       pg_catalog.lower(x.privilege_type) || case when x.is_grantable then '*' else '' end
from pg_catalog.pg_default_acl a
join pg_catalog.pg_roles r on r.oid = a.defaclrole and r.rolname = current_user
left join pg_catalog.pg_namespace n on n.oid = a.defaclnamespace
cross join lateral pg_catalog.aclexplode(a.defaclacl) x
where a.defaclobjtype = 'r' and (a.defaclnamespace = 0 or n.nspname = $1) and x.grantee <> r.oid";

impl Applier<'_> {
    /// Makes the schemas in which a unit is built; gives the `search_path` of its files' statements.
    pub(super) async fn open(&self, steps: &[&Step], scratch: &Scratch) -> Result<String> {
        let path = self.file_path(scratch).await?;
        scratch.make(self.session, &mark(self.ledger)).await?;
        self.admit_owners(steps, scratch).await?;
        Ok(path)
    }

    /// An owner that is not this role has to be able to own something in the schema, and to refresh it.
    async fn admit_owners(&self, steps: &[&Step], scratch: &Scratch) -> Result<()> {
        let me = &self.session.server().role;
        let built = steps.iter().filter(|step| step.class.is_built());
        let owners: BTreeSet<_> = built.filter_map(|step| Some(&step.want.as_ref()?.owner)).collect();
        for owner in owners.into_iter().filter(|owner| *owner != me) {
            for (schema, _) in scratch.schemas() {
                let sql = format!(
                    "grant usage, create on schema {} to {}",
                    ident::quote(schema),
                    ident::quote(owner)
                );
                self.session.batch("letting the owner build", &sql).await?;
            }
        }
        Ok(())
    }

    /// Builds one; what it reads of the unit is built by now.
    pub(super) async fn build(
        &self,
        step: &Step,
        folder: &Folder,
        scratch: &Scratch,
        path: &str,
    ) -> Result<Built> {
        let started = Instant::now();
        (self.listener)(Said::Started { name: step.name.clone(), what: "building beside" });
        let (file, object) = definition(step, folder)?;
        let doing = format!("building {} beside", step.name);
        let create = scratch.create(object);
        self.run_file(&doing, &create, path).await?;
        let now = self.there(step, scratch).await?;
        let mut want = step.want.clone().unwrap_or_else(|| now.clone());
        if step.live.is_none() && !object.aspects.contains(&Aspect::Grants) {
            self.default_grants(&step.name, &mut want).await?;
        }
        let mut sql = vec![create];
        for statement in dressing(&now, &at(&want, step, scratch), Building::Beside) {
            self.session.batch(&doing, &statement).await?;
            sql.push(statement);
        }
        let is_filled = object.with_data
            || step.live.as_ref().is_some_and(|live| live.is_populated && live.kind == ObjectKind::Matview);
        let mut filled = None;
        if object.kind == ObjectKind::Matview && is_filled {
            filled = self.sources(now.oid).await?.map(|sources| (sources.clone(), sources.at));
            self.fill(&doing, &now.name, &file.options, path).await?;
        }
        (self.listener)(Said::Built { name: step.name.clone(), elapsed: started.elapsed() });
        Ok(Built { name: step.name.clone(), oid: now.oid, sql, filled })
    }

    /// Runs a statement of a file with the names that it may leave without a schema.
    pub(super) async fn run_file(&self, doing: &str, sql: &str, path: &str) -> Result<()> {
        let set = format!("set search_path to {path}; set check_function_bodies to off");
        self.session.batch(doing, &set).await?;
        let result = self.session.batch(doing, sql).await;
        let is_open = result.is_ok() || self.strategy == Strategy::Beside;
        if is_open && !self.session.is_closed() {
            // In a transaction that failed, the rollback brings it back.
            let _ = self.session.batch(doing, "set search_path to ''; reset check_function_bodies").await;
        }
        result
    }

    /// The state of all that a view reads, before it reads it.
    pub(super) async fn sources(&self, oid: u32) -> Result<Option<Sources>> {
        let catalog = Catalog::read_edges(self.session).await?;
        Ok(catalog.sources(Some(self.ledger), self.session, &[oid]).await?.remove(&oid))
    }

    async fn there(&self, step: &Step, scratch: &Scratch) -> Result<Facts> {
        let name = scratch.name(&step.name);
        let found = facts::named(self.session, std::slice::from_ref(&name)).await?;
        let oid = found.iter().find(|found| found.kind == step.kind.sql()).map(|found| found.oid);
        let facts = facts::read(self.session, &oid.into_iter().collect::<Vec<_>>()).await?;
        let missing = || Error::new(ErrorKind::Internal, format!("{name} was created and is not there"));
        facts.into_values().next().ok_or_else(missing)
    }

    async fn default_grants(&self, name: &TableName, want: &mut Facts) -> Result<()> {
        let schema = name.schema.clone().unwrap_or_default();
        let rows = self.session.query("reading default privileges", DEFAULT_GRANTS, &[&schema]).await?;
        want.grants.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        Ok(())
    }

    async fn fill(&self, doing: &str, name: &TableName, options: &ViewOptions, path: &str) -> Result<()> {
        let (quoted, is_inside) = (ident::quote_table(name), self.strategy == Strategy::InTransaction);
        let timeout = options.statement_timeout.map_or(0, |limit| limit.as_millis());
        // Functions of text may look names up as the role does; from Postgres 17 on the server forbids it.
        let mut settings = format!("set statement_timeout = {timeout}; set search_path to {path}");
        if let Some(bytes) = options.work_mem_bytes {
            settings.push_str(&format!("; set work_mem = '{}kB'", bytes / 1024));
        }
        self.session.batch(doing, &settings).await?;
        let filled = self.session.batch(doing, &format!("refresh materialized view {quoted}")).await;
        if filled.is_ok() || !is_inside {
            self.session
                .batch(doing, "set statement_timeout = 0; set search_path to ''; reset work_mem")
                .await?;
        }
        filled?;
        // Without it a new view has neither statistics nor a visibility map.
        let after = match options.after.unwrap_or_default() {
            AfterRefresh::None => return Ok(()),
            AfterRefresh::VacuumAnalyze if !is_inside => "vacuum (analyze)",
            AfterRefresh::VacuumAnalyze | AfterRefresh::Analyze => "analyze",
        };
        self.session.batch(doing, &format!("{after} {quoted}")).await
    }

    /// `search_path` of the files' statements while a unit is built.
    pub(super) async fn file_path(&self, scratch: &Scratch) -> Result<String> {
        let doing = "reading the role's search path";
        let before =
            if self.strategy == Strategy::InTransaction { "savepoint path" } else { "begin read only" };
        self.session.batch(doing, &format!("{before}; set local search_path to default")).await?;
        let own = trial::role_path(self.session).await;
        let after =
            if self.strategy == Strategy::InTransaction { "rollback to savepoint path" } else { "rollback" };
        self.session.batch(doing, after).await?;
        Ok(scratch.search_path(&own?))
    }
}

/// What is wanted, with its names where it is built.
fn at(want: &Facts, step: &Step, scratch: &Scratch) -> Facts {
    let home = &step.name;
    want.clone().moved(scratch.name(home), &|schema, name| {
        let is_own = home.schema.as_deref() == Some(schema) && home.table == name;
        let there = scratch.stand_in(schema).filter(|_| is_own || want.statistics.contains_key(name));
        there.map(|schema| ident::quote(&schema))
    })
}

pub(super) fn definition<'f>(
    step: &Step,
    folder: &'f Folder,
) -> Result<(&'f super::ViewFile, &'f Definition)> {
    let missing = || Error::new(ErrorKind::Internal, format!("{} has no file", step.name));
    folder.definitions().find(|(_, object)| object.name == step.name).ok_or_else(missing)
}
