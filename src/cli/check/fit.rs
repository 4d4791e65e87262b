//! One job against its two servers: tables, rights, columns, mode, and rows that no day can hold.
//!
//! The catalog is asked on each side apart, so that one bad side does not hide the other; the engine,
//! which stops at what it meets first, has the last word on a job that is well so far.

use std::path::Path;

use chrono::Utc;

use super::places::{Place, Places};
use super::{Checklist, Level, Line};
use crate::cli::Context;
use crate::cli::workshop::Workshop;
use crate::columns::{self, Expression};
use crate::config::job::{CommitPolicy, EmptyWith, Job, LoadMode, Origin};
use crate::config::project::Project;
use crate::engine::{Options, Outlook, Resolved};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::name::TableName;
use crate::plan::{self, Dates, Request};
use crate::postgres::catalog::{self, Grant, Object, Privilege, Relation, RelationKind};
use crate::postgres::connect::{Session, Side};
use crate::postgres::time_column;
use crate::report::number::counted;

/// Tells of a job everything that its servers let one see.
pub(super) async fn check(
    checklist: &mut Checklist,
    (context, project): (&Context, &Project),
    job: &Job,
    places: &Places,
) {
    let source = places.get(&job.source, Side::Source);
    let destination = places.get(&job.destination, Side::Destination);
    let mut visit = Visit { checklist, job, is_broken: false, lacks_rights: false };
    let from = match source {
        Some(place) => visit.source(place).await,
        None => None,
    };
    let into = match destination {
        Some(place) => visit.destination(place, project.ledger_schema()).await,
        None => None,
    };
    let is_table = |into: &&Relation| matches!(into.kind, RelationKind::Table | RelationKind::Partitioned);
    if let (Some(from), Some(into), Some(place)) = (&from, into.as_ref().filter(is_table), destination) {
        visit.columns(from, into, &place.session, project.root());
    }
    visit.not_compared(source.is_none(), destination.is_none());
    let is_readable = destination.is_some_and(|place| place.ledger_is_readable);
    if source.is_some() && is_readable && !visit.is_broken {
        visit.engine(context, project).await;
    }
}

/// A job that is being looked at.
struct Visit<'a> {
    checklist: &'a mut Checklist,
    job: &'a Job,
    /// Whether the engine could only say the same again.
    is_broken: bool,
    lacks_rights: bool,
}

impl Visit<'_> {
    fn fail(&mut self, error: &Error) {
        self.checklist.error(&self.job.name, error);
        self.is_broken = true;
    }

    fn refuse(&mut self, server: &str, reasons: Vec<String>) {
        for reason in reasons {
            self.checklist.push(Line::new(Level::Finding, &self.job.name, format!("{server}: {reason}")));
            self.is_broken = true;
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.checklist.push(Line::new(Level::Note, &self.job.name, text));
    }

    fn not_compared(&mut self, no_source: bool, no_destination: bool) {
        let ends = match (no_source, no_destination) {
            (false, false) => return,
            (true, false) => self.job.source.clone(),
            (false, true) => self.job.destination.clone(),
            (true, true) => format!("{} and {}", self.job.source, self.job.destination),
        };
        self.note(format!("its columns were not compared, for want of {ends}"));
    }

    /// The source's table, its rights and its time; none for a query, which the engine looks at.
    async fn source(&mut self, place: &Place) -> Option<Relation> {
        let Origin::Table(name) = &self.job.origin else { return None };
        let session = &place.session;
        let relation = match catalog::find_relation(session, name).await {
            Ok(relation) => relation,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        self.refuse(&session.server().name, relation.refused_as_source());
        match missing_on_source(session, &relation, self.job).await {
            Ok(missing) if missing.is_empty() => self.unplaced(session, &relation).await,
            Ok(missing) => self.lacks(place, "reading", &missing),
            Err(error) => self.fail(&error),
        }
        Some(relation)
    }

    /// Counts the rows that belong to no interval and so never arrive.
    async fn unplaced(&mut self, session: &Session, relation: &Relation) {
        let column = self.job.time_column.as_ref().filter(|name| !self.job.cast.contains_key(*name));
        let column = column.and_then(|name| relation.column(name));
        let Some(column) = column.filter(|c| self.job.calendar.is_some() && time_column::tells_time(c))
        else {
            return;
        };
        let (table, name) = (&relation.name, &column.name);
        match time_column::unplaced(session, relation, column).await {
            Ok(Some(found)) if found.nulls + found.infinite > 0 => {
                let part = |number: i64, how: &str| {
                    (number > 0).then(|| format!("{how} in {}", counted(number.unsigned_abs(), "row")))
                };
                let parts = [part(found.nulls, "NULL"), part(found.infinite, "infinite")];
                let parts = parts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
                self.note(format!("{table}: {name} is {parts}; what has no date is never loaded"));
            }
            Ok(Some(_)) => {}
            Ok(None) if column.not_null => {}
            Ok(None) => self.note(format!(
                "{table}: {name} may be NULL, and such rows are never loaded; counting them took too long"
            )),
            Err(error) => self.fail(&error),
        }
    }

    /// The destination's table, or the right to make it.
    async fn destination(&mut self, place: &Place, ledger_schema: &str) -> Option<Relation> {
        let session = &place.session;
        let (relation, needed) = match self.destination_needs(session).await {
            Ok(found) => found,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if let Some(relation) = &relation {
            self.refuse(&session.server().name, relation.refused_as_destination());
        }
        let missing = async {
            let mut missing = catalog::missing_grants(session, needed).await?;
            if self.job.mode == LoadMode::Merge {
                let mut temporary = catalog::needed_for_ledger(session, ledger_schema, true).await?;
                temporary.retain(|grant| grant.privilege == Privilege::Temporary);
                missing.extend(catalog::missing_grants(session, temporary).await?);
            }
            Ok::<_, Error>(missing)
        };
        match missing.await {
            Ok(missing) => self.lacks(place, "loading", &missing),
            Err(error) => self.fail(&error),
        }
        relation
    }

    async fn destination_needs(&self, session: &Session) -> Result<(Option<Relation>, Vec<Grant>)> {
        let job = self.job;
        if let Some(relation) = catalog::relation_if_exists(session, &job.into).await? {
            let needed = catalog::needed_on_relation(session, &relation, &privileges(job), None);
            return Ok((Some(relation), needed));
        }
        if !job.create {
            let hint = "make the table, or let pgtide make it: `create = true` in the job";
            return match catalog::find_relation(session, &job.into).await {
                Ok(relation) => Ok((Some(relation), Vec::new())),
                Err(error) => Err(error.with_hint(hint)),
            };
        }
        let name: TableName = catalog::creation_name(session, &job.into).await?;
        let schema = name.schema.unwrap_or_default();
        Ok((None, catalog::needed_for_creation(session, &schema).await?))
    }

    fn lacks(&mut self, place: &Place, doing: &str, missing: &[Grant]) {
        self.lacks_rights |= !missing.is_empty();
        let table = match (doing, &self.job.origin) {
            ("reading", Origin::Table(name)) => name,
            _ => &self.job.into,
        };
        let what = format!("{doing} {table} on {}:", place.session.server().name);
        self.checklist.lacks(&place.label, (&self.job.name, &what), missing);
    }

    /// Compares the columns even where something else is wrong already.
    fn columns(&mut self, from: &Relation, into: &Relation, control: &Session, root: &Path) {
        let job = self.job;
        let options = columns::Options {
            cast: &job.cast,
            columns: job.columns.as_deref(),
            on_schema_change: job.on_schema_change,
            timezone: job.calendar.as_ref().map(|calendar| calendar.timezone.name()),
            target_version: control.server().version_num,
        };
        let file = job.file.as_deref().map(|file| file.strip_prefix(root).unwrap_or(file));
        let file = file.map(|file| file.display().to_string());
        let names = columns::Names {
            source: &from.name.to_string(),
            target: &into.name,
            destination: &control.server().name,
            job_file: file.as_deref(),
        };
        if let Err(findings) = columns::decide(&from.columns, &into.columns, &options) {
            self.fail(&columns::into_error(&findings, &names));
        }
    }

    /// Lets the engine look: the query, the time column, the mode, what the planner says.
    async fn engine(&mut self, context: &Context, project: &Project) {
        let job = self.job;
        let workshop = Workshop::new(context, project, "check");
        let outlook = async {
            let now = Utc::now();
            plan::plan(job, &request(job, Dates::Due), &[], now)?;
            let engine = workshop.engine(job, Events::silent(), Options::default())?;
            engine.look(job, &request(job, sample(job)), now).await
        };
        match outlook.await {
            Ok(outlook) => self.well(&outlook),
            // It could not look because of a right whose absence is told already.
            Err(error) if self.lacks_rights && error.sqlstate() == Some("42501") => {}
            Err(error) => self.fail(&error),
        }
    }

    fn well(&mut self, outlook: &Outlook) {
        let Some((_, resolved)) = &outlook.resolved else { return };
        if !self.lacks_rights {
            self.checklist.push(Line::new(Level::Ok, &self.job.name, way(self.job, resolved)));
        }
        resolved.notices().into_iter().for_each(|notice| self.note(notice));
        for table in &outlook.scans {
            self.note(format!(
                "each interval reads all of {table}; an index on the condition's column helps"
            ));
        }
    }
}

/// `public.flights -> mart.flights, delete-insert by day: 19 columns, 1 cast on the source`.
fn way(job: &Job, resolved: &Resolved) -> String {
    let columns = &resolved.columns().columns;
    let cast = columns.iter().filter(|column| column.expression != Expression::PassThrough).count();
    let cast = if cast > 0 { format!(", {cast} cast on the source") } else { String::new() };
    let unit = job.calendar.map_or_else(String::new, |calendar| format!(" by {}", calendar.unit));
    let made = if resolved.destination().is_some() { "" } else { "; the first run makes the table" };
    format!(
        "{} -> {}, {}{unit}: {}{cast}{made}",
        resolved.source_name(),
        resolved.table_name(),
        job.mode.word(),
        counted(columns.len() as u64, "column")
    )
}

/// As if the job were named, so that there is something to look at.
fn request(job: &Job, dates: Dates) -> Request {
    Request { named: true, ..Request::of(job, dates) }
}

/// An interval to look at the job with, also when nothing is due.
fn sample(job: &Job) -> Dates {
    let now = Utc::now();
    let interval = plan::newest_complete(job, now).or_else(|| Some(plan::upcoming(job, now)?.0));
    match (job.calendar, interval) {
        (Some(calendar), Some(interval)) => Dates::Days(vec![calendar.key(&interval)]),
        _ => Dates::Due,
    }
}

/// What the role may not do on the source; rights on every column are as good as one on the table.
async fn missing_on_source(session: &Session, relation: &Relation, job: &Job) -> Result<Vec<Grant>> {
    let all: Vec<String> = relation.columns.iter().map(|column| column.name.clone()).collect();
    let columns = job.columns.as_ref().unwrap_or(&all);
    let needed = catalog::needed_on_relation(session, relation, &[Privilege::Select], Some(columns));
    let mut missing = catalog::missing_grants(session, needed).await?;
    for grant in &mut missing {
        if let (Object::Table { columns, .. }, None) = (&mut grant.object, &job.columns) {
            *columns = None;
        }
    }
    Ok(missing)
}

/// What a mode does to the destination's table.
fn privileges(job: &Job) -> Vec<Privilege> {
    use Privilege::{Delete, Insert, Select, Truncate, Update};
    match (job.mode, job.empty_with) {
        (LoadMode::Append, _) if job.commit == Some(CommitPolicy::Staged) => vec![Select, Insert],
        (LoadMode::Append, _) => vec![Insert],
        (LoadMode::Merge, _) => vec![Select, Insert, Update],
        (LoadMode::DeleteInsert, _) | (LoadMode::Replace, EmptyWith::Delete) => vec![Select, Insert, Delete],
        (LoadMode::Replace, EmptyWith::Truncate) => vec![Select, Insert, Truncate],
    }
}
