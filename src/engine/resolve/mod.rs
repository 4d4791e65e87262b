//! A job meets its two databases: tables found, columns compared, SQL made, before the first row.
//!
//! Everything that would make a load wrong or impossible is found here, as one error that lists it
//! all. The result is shared by all intervals of a run; each interval then asks for its own query and
//! its own condition.

mod destination;
mod explain;
mod fragment;
mod merge_key;
mod resume;
mod rights;
mod source;
mod time;

use std::path::Path;
use std::sync::Arc;

use crate::columns::{self, ColumnPlan, Finding};
use crate::config::job::{EmptyWith, Job, LoadMode, Refresh};
use crate::config::views::ViewRules;
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Extract, ReadColumn};
use crate::interval::DataInterval;
use crate::ledger::{Claim, Ledger};
use crate::load::Target;
use crate::plan::Planned;
use crate::postgres::bound::{Bound, Condition};
use crate::postgres::catalog::{self, Column, Relation, RelationKind, Rule, RuleEvent};
use crate::postgres::connect::Session;
use crate::postgres::horizon::Completion;
use crate::postgres::ident;
use crate::views::catalog::{Catalog, family};
use crate::views::refresh;

use super::after::Growth;
use super::slot::Slot;
use destination::Destination;
use source::Source;
use time::TimeColumn;

/// A job against its two databases.
#[derive(Debug, Clone)]
pub struct Resolved {
    source: Source,
    destination: Destination,
    columns: ColumnPlan,
    select_list: String,
    time: Option<TimeColumn>,
    described: Vec<ReadColumn>,
    notices: Vec<String>,
    growth: Arc<Growth>,
}

/// Resolves a job without changing anything; `ledger` is the schema of the ledger.
///
/// # Errors
/// `Preflight` and `Config`, with every finding.
pub(super) async fn resolve(slot: &Slot, job: &Job, sample: &DataInterval, ledger: &str) -> Result<Resolved> {
    let resolved = look(slot, job, sample, ledger, None).await?;
    if let Refresh::Named(names) = &job.refresh {
        let catalog = Catalog::read(slot.control()?, &ViewRules::default(), None).await?;
        let readers = family(slot.control()?, resolved.table_oid()).await?;
        let readers = catalog.graph.dependents(&readers.into_iter().collect());
        refresh::only(&catalog.graph, &readers, names)?;
    }
    resolved.explain(slot.source()?, job, sample).await?;
    Ok(resolved)
}

async fn look(
    slot: &Slot,
    job: &Job,
    sample: &DataInterval,
    ledger: &str,
    making: Option<&Ledger>,
) -> Result<Resolved> {
    let may_create = making.is_some();
    let (source_session, control) = (slot.source()?, slot.control()?);
    let source = source::find(source_session, job, sample).await?;
    let destination = destination::find(control, job, &source, may_create).await?;
    destination.refuse_system(control, ledger)?;
    destination::refuse_same_table(source_session, control, &source, &destination)?;
    let options = columns::Options {
        cast: &job.cast,
        columns: job.columns.as_deref(),
        on_schema_change: job.on_schema_change,
        timezone: job.calendar.as_ref().map(|c| c.timezone.name()),
        target_version: control.server().version_num,
    };
    let job_file = job.file.as_deref().map(short_path);
    let (source_name, target_name) = (source.name.clone(), destination.name.clone());
    let names = columns::Names {
        source: &source_name,
        target: &target_name,
        destination: &control.server().name,
        job_file: job_file.as_deref(),
    };
    let refused = |mut findings: Vec<Finding>| {
        if destination.relation.is_none() {
            findings.iter_mut().for_each(Finding::forget_table);
        }
        columns::into_error(&findings, &names)
    };
    let plan = columns::decide(&source.columns, destination.columns(), &options).map_err(refused)?;
    let known = destination.relation.as_ref().and_then(|r| r.estimated_rows).unwrap_or(0);
    let mut resolved = Resolved {
        select_list: columns::select_list(&plan),
        time: time::find(job, &plan, destination.columns())?,
        described: Vec::new(),
        notices: Vec::new(),
        growth: Arc::new(Growth::of(known)),
        source,
        destination,
        columns: plan,
    };
    // What deletes rows is looked at before what reads them.
    resolved.destination.check(control, job, &resolved.columns)?;
    resolved.source.check_resume_key(job, &resolved.columns)?;
    if !may_create {
        rights::check((source_session, control), ledger, job, &resolved).await?;
    }
    resolved.check_fragments(source_session, control, job, sample).await?;
    let sql = resolved.query(job, sample, &resolved.bounds(job, sample, None))?;
    let search_path = resolved.source.search_path.clone();
    let shape = catalog::inspect_query(source_session, &sql, &search_path).await?;
    resolved
        .columns
        .verify(&shape.columns, resolved.destination.columns(), &options)
        .map_err(|findings| columns::into_error(&findings, &names))?;
    resolved.described =
        shape.columns.iter().map(|c| read_column(c, resolved.destination.columns())).collect();
    if let Some(ledger) = making
        && !resolved.columns.added.is_empty()
    {
        resolved.destination =
            destination::add_columns(control, ledger, &resolved.destination, &resolved.columns).await?;
    }
    resolved.collect_notices(job);
    Ok(resolved)
}

/// Where the destination has no modifier, the source's may change: nothing is rounded or cut.
fn read_column(column: &Column, targets: &[Column]) -> ReadColumn {
    let (type_oid, typmod) = (column.data_type.oid, column.data_type.typmod);
    let is_free = targets.iter().any(|t| t.name == column.name && t.data_type.typmod < 0);
    ReadColumn { name: column.name.clone(), type_oid, typmod: (!is_free).then_some(typmod) }
}

/// `jobs/orders.toml`, as the file is known in its project.
fn short_path(path: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let parts = path.parent().and_then(name).into_iter().chain(name(path));
    parts.collect::<Vec<_>>().join("/")
}

impl Resolved {
    /// Makes the table or the columns that are missing, and looks again.
    ///
    /// # Errors
    /// The server's; whatever changed since the first look.
    pub(super) async fn completed(
        self,
        slot: &Slot,
        job: &Job,
        sample: &DataInterval,
        ledger: &Ledger,
    ) -> Result<Self> {
        if self.destination.relation.is_some() && self.columns.added.is_empty() {
            return Ok(self);
        }
        look(slot, job, sample, ledger.schema(), Some(ledger)).await
    }

    /// Whether another table's foreign key points at the destination, which `TRUNCATE` refuses then.
    #[must_use]
    pub fn is_referenced(&self) -> bool {
        self.destination.relation.as_ref().is_some_and(Relation::is_referenced)
    }

    /// Whether inserting rows by a statement other than COPY would fire rules.
    pub(super) fn has_insert_rules(&self) -> bool {
        let fires = |rule: &Rule| rule.event == RuleEvent::Insert;
        self.destination.relation.as_ref().is_some_and(|r| r.rules.iter().any(fires))
    }

    async fn check_fragments(
        &self,
        source: &Session,
        control: &Session,
        job: &Job,
        sample: &DataInterval,
    ) -> Result<()> {
        if let Some(filter) = &job.filter {
            let from = self.source.relation_sql(job, sample)?;
            fragment::check_filter(source, &from, filter, &self.source.search_path).await?;
        }
        if let Some(scope) = &job.scope {
            fragment::check_scope(control, &self.destination, scope).await?;
        }
        fragment::check_hooks(control, job).await
    }

    /// Lets the server plan what people wrote: it checks their rights on all that is read.
    async fn explain(&self, session: &Session, job: &Job, sample: &DataInterval) -> Result<()> {
        if !self.source.uses_role_settings {
            return Ok(());
        }
        let bounds = self.bounds(job, sample, None);
        let sql = self.query(job, sample, &bounds)?;
        explain::scans(session, &sql, &bounds, &source::timezone(job)).await.map(|_| ())
    }

    /// The destination table's OID; 0 while it is still to be made.
    #[must_use]
    pub fn table_oid(&self) -> u32 {
        self.destination.relation.as_ref().map_or(0, |r| r.oid)
    }

    /// The destination table's full name.
    #[must_use]
    pub fn table_name(&self) -> String {
        self.destination.name.to_string()
    }

    /// What a person should know before the load, a line each.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }

    /// What happens with each column.
    #[must_use]
    pub fn columns(&self) -> &ColumnPlan {
        &self.columns
    }

    /// The source: `public.flights`, or `query`.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source.name
    }

    /// Statements that make what is missing on the destination; none if nothing is.
    #[must_use]
    pub fn create_statements(&self) -> &[String] {
        &self.destination.create
    }

    /// The destination table, if it is there.
    #[must_use]
    pub fn destination(&self) -> Option<&Relation> {
        self.destination.relation.as_ref()
    }

    /// How the destination table grows in this run.
    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    /// The query of one interval, as it is sent.
    ///
    /// # Errors
    /// `Config`, when the job's template cannot be rendered.
    pub fn sql(&self, job: &Job, interval: &DataInterval) -> Result<String> {
        self.query(job, interval, &self.bounds(job, interval, None))
    }

    /// The tables that the query of one interval reads whole, as the planner sees it.
    ///
    /// # Errors
    /// The server's.
    pub async fn scans(&self, session: &Session, job: &Job, interval: &DataInterval) -> Result<Vec<String>> {
        if job.calendar.is_none() {
            return Ok(Vec::new());
        }
        let bounds = self.bounds(job, interval, None);
        let sql = self.query(job, interval, &bounds)?;
        explain::scans(session, &sql, &bounds, &source::timezone(job)).await
    }

    /// How many rows a whole table has, as the planner knows it.
    pub(super) fn estimated_rows(&self, job: &Job, interval: &DataInterval) -> Option<u64> {
        let table = self.source.relation.as_ref().filter(|_| interval.is_whole() && job.filter.is_none())?;
        table.estimated_rows.and_then(|rows| u64::try_from(rows).ok())
    }

    /// The bounds on the source, and the key to go on after.
    fn bounds(&self, job: &Job, interval: &DataInterval, after: Option<&[u8]>) -> Condition {
        let mut bounds = match (&self.time, job.calendar) {
            (Some(time), Some(calendar)) => time.source(interval, calendar.timezone),
            _ => Condition::default(),
        };
        bounds = bounds.and(job.filter.as_deref());
        if let (Some(key), Some(after)) = (&job.resume_key, after) {
            bounds.params.push(Bound::Raw(after.to_vec()));
            let place = format!("${}", bounds.params.len());
            let later = self.source.order.as_ref().map(|order| order.later(&ident::quote(key), &place));
            bounds = bounds.and(later.as_deref());
        }
        bounds
    }

    fn query(&self, job: &Job, interval: &DataInterval, bounds: &Condition) -> Result<String> {
        let from = self.source.relation_sql(job, interval)?;
        let order = match (&job.resume_key, &self.source.order) {
            (Some(key), Some(order)) => format!(" order by {}", order.by(&ident::quote(key))),
            _ => String::new(),
        };
        Ok(format!("select {} from {from}{}{order}", self.select_list, bounds.where_clause()))
    }

    /// What to read for one interval.
    ///
    /// # Errors
    /// `Config`, when the template cannot be rendered; the server's, when its tables cannot be found.
    pub(super) async fn extract(
        &self,
        session: &Session,
        job: &Job,
        (planned, completion): (&Planned, Option<Completion>),
        claim: &Claim,
    ) -> Result<Extract> {
        self.check_last_key(session, job, (planned, claim)).await?;
        let bounds = self.bounds(job, &planned.interval, claim.resume_key.as_deref());
        let sql = self.query(job, &planned.interval, &bounds)?;
        let (lock, all_locked) = self.source.tables_to_lock(session, &sql).await?;
        Ok(Extract {
            sql,
            bounds,
            lock,
            all_locked,
            completion,
            timezone: source::timezone(job),
            role_search_path: self.source.uses_role_settings,
            columns: self.described.clone(),
            comment: format!("pgtide job={} interval={}", job.name, planned.key),
        })
    }

    /// Where the rows of one interval go, and which rows of the table are its own.
    pub(super) fn target(&self, job: &Job, interval: &DataInterval) -> Target {
        let in_time = match (&self.time, job.calendar) {
            (Some(time), Some(calendar)) => time.destination(interval, calendar.timezone),
            _ => Condition::default(),
        };
        let within = in_time.and(job.scope.as_deref());
        let owned = match job.mode {
            LoadMode::DeleteInsert => within.clone(),
            _ => Condition::default().and(job.scope.as_deref()),
        };
        let relation = self.destination.relation.as_ref();
        let is_partitioned = relation.is_some_and(|r| r.kind == RelationKind::Partitioned);
        let sql = ident::quote_table(&self.destination.name);
        let rules = relation.map_or(&[][..], |r| &r.rules);
        Target {
            name: self.table_name(),
            // Also where nothing inherits yet: what does when the rows are removed keeps its own.
            own_sql: if is_partitioned { sql.clone() } else { format!("only {sql}") },
            sql,
            columns: self.columns.target_columns().map(str::to_owned).collect(),
            owned,
            within,
            triggers: relation.map(|r| r.triggers.clone()).unwrap_or_default(),
            rules: rules.iter().map(|rule| format!("{} (ON {})", rule.name, rule.event.word())).collect(),
            merge_key: merge_key::look(job, &self.source, &self.destination, &self.columns),
            has_scope: job.scope.is_some(),
            time_is_cast: self.time.as_ref().is_some_and(|t| t.is_cast),
        }
    }

    /// What a load into the destination depends on, as its columns were compared.
    pub(super) fn fingerprint(&self) -> &str {
        &self.destination.fingerprint
    }

    /// Compares the destination with the one whose columns were compared; returns the file that it is in.
    ///
    /// # Errors
    /// `Preflight`, when the table changed since.
    pub(super) async fn unchanged(&self, control: &Session) -> Result<i64> {
        let now = catalog::shape(control, self.table_oid()).await?;
        if now.fingerprint == self.destination.fingerprint {
            return Ok(now.file);
        }
        let context = format!("{} changed since its columns were compared", self.table_name());
        Err(Error::new(ErrorKind::Preflight, context)
            .with_hint("run it again: the columns are compared anew"))
    }

    fn collect_notices(&mut self, job: &Job) {
        let mut notices = self.columns.notices.clone();
        let notes =
            self.columns.columns.iter().filter_map(|d| d.note.as_ref().map(|n| format!("{}: {n}", d.column)));
        notices.extend(notes);
        if let Some(table) = &self.destination.relation {
            if !table.triggers.is_empty() {
                notices.push(format!(
                    "{} has triggers, which run: {}",
                    table.name,
                    table.triggers.join(", ")
                ));
            }
            notices.extend(notice_of_rules(table));
            if table.has_inheritors {
                notices.push(format!(
                    "{} has tables that inherit from it: their rows are left alone, only its own are counted and removed",
                    table.name
                ));
            }
            if !table.foreign_keys.is_empty() {
                let keys = table.foreign_keys.join(", ");
                notices
                    .push(format!("{} has foreign keys, which are checked row by row: {keys}", table.name));
            }
            if job.mode == LoadMode::Replace && self.is_referenced() && job.empty_with == EmptyWith::Truncate
            {
                notices.push(format!(
                    "{} is referenced by foreign keys: it is emptied with delete, not truncate",
                    table.name
                ));
            }
            if let (LoadMode::DeleteInsert, Some(time)) = (job.mode, &self.time)
                && !table.index_on(&time.column)
            {
                let hint = format!("create index on {} ({});", table.name, ident::quote(&time.column));
                notices.push(format!(
                    "{} has no index on {}: each look for an interval's rows is a scan. {hint}",
                    table.name, time.column
                ));
            }
        }
        self.notices = notices;
    }
}

/// COPY, which takes no notice of rules, is what loads a table with some ON INSERT.
fn notice_of_rules(table: &Relation) -> Option<String> {
    if table.rules.is_empty() {
        return None;
    }
    let of = |rule: &Rule| format!("{} (ON {})", rule.name, rule.event.word());
    let names: Vec<_> = table.rules.iter().map(of).collect();
    Some(format!(
        "{} has rules, which COPY ignores and other statements do not: {}",
        table.name,
        names.join(", ")
    ))
}
