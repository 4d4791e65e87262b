//! Where the rows come from: a table or a job's own query, and what it reads.

use super::fragment;
use crate::columns::{ColumnPlan, Decision, Expression};
use crate::config::job::{Job, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::name::TableName;
use crate::postgres::catalog::{self, Column, Order, Relation};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The source of a job.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `public.flights`, or `query`.
    pub(super) name: String,
    /// The columns it offers.
    pub(super) columns: Vec<Column>,
    /// The table, if it is one.
    pub(super) relation: Option<Relation>,
    /// Whether SQL of the job's own is part of what is sent.
    pub(super) uses_role_settings: bool,
    /// The path that names in that SQL resolve by.
    pub(super) search_path: String,
    /// How the values of the job's `resume_key` are ordered.
    pub(super) order: Option<Order>,
}

/// Looks the source up; a query is rendered for a sample interval and described.
pub(super) async fn find(session: &Session, job: &Job, sample: &DataInterval) -> Result<Source> {
    let mut source = match &job.origin {
        Origin::Table(name) => of_table(session, job, name).await?,
        Origin::Query(_) => of_query(session, job, sample).await?,
    };
    if let Some(key) = source.columns.iter().find(|c| Some(&c.name) == job.resume_key.as_ref()) {
        source.order = catalog::default_order(session, key.data_type.unwrapped()).await?;
    }
    Ok(source)
}

async fn of_table(session: &Session, job: &Job, name: &TableName) -> Result<Source> {
    let relation = catalog::find_relation(session, name).await?;
    if let Some((first, rest)) = relation.refused_as_source().split_first() {
        let error = Error::new(ErrorKind::Preflight, format!("{}: {first}", session.server().name));
        return Err(rest.iter().fold(error, |error, line| error.with_detail(line.clone())));
    }
    let uses_role_settings = job.filter.is_some() || !job.cast.is_empty();
    let search_path =
        if uses_role_settings { catalog::role_search_path(session).await? } else { String::new() };
    Ok(Source {
        name: relation.name.to_string(),
        columns: relation.columns.clone(),
        relation: Some(relation),
        uses_role_settings,
        search_path,
        order: None,
    })
}

async fn of_query(session: &Session, job: &Job, sample: &DataInterval) -> Result<Source> {
    let search_path = catalog::role_search_path(session).await?;
    let sql = rendered(job, sample)?;
    let shape = catalog::inspect_query(session, &sql, &search_path).await?;
    if shape.columns.is_empty() {
        return Err(fragment::not_a_query(session));
    }
    fragment::check_query(session, &sql, &search_path).await?;
    Ok(Source {
        name: "query".to_owned(),
        columns: shape.columns,
        relation: None,
        uses_role_settings: true,
        search_path,
        order: None,
    })
}

/// The job's time zone, in which its SQL runs.
pub(super) fn timezone(job: &Job) -> String {
    job.timezone.name().to_owned()
}

/// The query of an interval, without a closing semicolon.
fn rendered(job: &Job, interval: &DataInterval) -> Result<String> {
    let sql = job.render_query(interval, &job.name)?.unwrap_or_default();
    Ok(sql.trim_end().trim_end_matches(';').trim_end().to_owned())
}

impl Source {
    /// Going on after a key needs one that is unique, never null, and the same bytes on both sides.
    pub(super) fn check_resume_key(&self, job: &Job, plan: &ColumnPlan) -> Result<()> {
        let Some(key) = &job.resume_key else { return Ok(()) };
        let mut reasons = Vec::new();
        if let Some(relation) = &self.relation {
            if !relation.is_unique_key(std::slice::from_ref(key)) {
                reasons.push(format!("{} has no unique index on exactly ({key})", self.name));
            }
            if relation.column(key).is_some_and(|c| !c.not_null) {
                reasons.push(format!("{key} may be null"));
            }
        }
        if let Some(column) = self.columns.iter().find(|c| &c.name == key).filter(|_| self.order.is_none()) {
            reasons.push(format!("values of {} have no order", column.data_type.formatted));
        }
        let is_cast = |d: &Decision| &d.column == key && d.expression != Expression::PassThrough;
        if plan.columns.iter().any(is_cast) {
            reasons.push(format!("{key} is cast on its way"));
        }
        let Some((first, rest)) = reasons.split_first() else { return Ok(()) };
        let context = format!("an interrupted copy cannot go on after {key}: {first}");
        let error = Error::new(ErrorKind::Preflight, context)
            .with_hint("without resume_key, an interval is one transaction");
        Err(rest.iter().fold(error, |error, line| error.with_detail(line.clone())))
    }

    /// What follows `from`.
    pub(super) fn relation_sql(&self, job: &Job, interval: &DataInterval) -> Result<String> {
        match (&self.relation, &job.origin) {
            (Some(relation), _) => Ok(ident::quote_table(&relation.name)),
            // On lines of its own: it may end in a comment.
            (None, Origin::Query(_)) => Ok(format!("(\n{}\n) as query", rendered(job, interval)?)),
            (None, Origin::Table(name)) => Ok(ident::quote_table(name)),
        }
    }

    /// What must be locked before the snapshot exists, quoted, and whether that is all that is read:
    /// functions and views of others may read more.
    pub(super) async fn tables_to_lock(&self, session: &Session, sql: &str) -> Result<(Vec<String>, bool)> {
        if let Some(relation) = &self.relation
            && !self.uses_role_settings
            && relation.lockable
        {
            return Ok((vec![ident::quote_table(&relation.name)], true));
        }
        let shape = catalog::inspect_query(session, sql, &self.search_path).await?;
        let lock = shape.relations.iter().filter(|r| r.lockable).map(|r| ident::quote_table(&r.name));
        Ok((lock.collect(), false))
    }
}
