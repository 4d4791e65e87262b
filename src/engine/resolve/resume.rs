//! What an append that goes on after its last key must find again: the same source, and a key that is one.
//!
//! An index proves a table's key, and nothing a query's: where the key of the last row is there twice, or null
//! somewhere, the rows after it are not all that is missing.

use xxhash_rust::xxh3::xxh3_128;

use super::{Resolved, source};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::{Claim, Origin};
use crate::plan::Planned;
use crate::postgres::bound::{Bound, Condition};
use crate::postgres::catalog::Order;
use crate::postgres::connect::{Session, role_settings_sql};
use crate::postgres::ident;

impl Resolved {
    /// What the rows are read from, for a job that goes on where it ended: everything on which they depend.
    ///
    /// # Errors
    /// `Config`, when the template cannot be rendered.
    pub(in crate::engine) fn origin(
        &self,
        session: &Session,
        job: &Job,
        interval: &DataInterval,
    ) -> Result<Option<Origin>> {
        let Some(key) = &job.resume_key else { return Ok(None) };
        let query = job.render_query(interval, &job.name)?.unwrap_or_default();
        let timezone = source::timezone(job);
        let parts = [key, &query, &self.select_list, &timezone, &self.source.search_path];
        let text: String = parts.iter().map(|part| format!("{}:{part}\n", part.len())).collect();
        let server = session.server();
        Ok(Some(Origin {
            server: match server.system_identifier {
                0 => server.host.clone(),
                identifier => identifier.to_string(),
            },
            database: server.database_oid,
            query: format!("{:032x}", xxh3_128(text.as_bytes())),
        }))
    }

    /// Refuses to go on after a key that no index proves and the rows do not bear out.
    pub(super) async fn check_last_key(
        &self,
        session: &Session,
        job: &Job,
        (planned, claim): (&Planned, &Claim),
    ) -> Result<()> {
        let (Some(key), Some(last), None) = (&job.resume_key, &claim.resume_key, &self.source.relation)
        else {
            return Ok(());
        };
        let Some(order) = &self.source.order else { return Ok(()) };
        let from = self.source.relation_sql(job, &planned.interval)?;
        let bounds = self.bounds(job, &planned.interval, None);
        check(session, (&from, &bounds), (key, last, order), &source::timezone(job)).await
    }
}

/// Refuses to go on after a key that the query gives twice, or if it gives null.
async fn check(
    session: &Session,
    (from, bounds): (&str, &Condition),
    (key, last, order): (&str, &[u8], &Order),
    timezone: &str,
) -> Result<()> {
    let doing = &*format!("{}: looking for the last {key} that was loaded", session.server().name);
    let (name, number) = (ident::quote(key), bounds.params.len() + 1);
    let same = bounds.clone().and(Some(&order.same(&name, &format!("${number}"))));
    let nulls = bounds.clone().and(Some(&format!("{name} is null")));
    let sql = format!(
        "select (select pg_catalog.count(*) from (select from {from}{} limit 2) same),
                exists (select from {from}{})",
        same.where_clause(),
        nulls.where_clause()
    );
    let mut params = bounds.params.clone();
    params.push(Bound::Raw(last.to_vec()));
    let params = Condition { params, ..Condition::default() };
    session.batch(doing, "begin read only").await?;
    session.batch(doing, &role_settings_sql(timezone)).await?;
    let answer = session.query_one_typed(doing, &sql, &params).await;
    session.batch(doing, "rollback").await?;
    let row = answer?;
    let what = match (row.get::<_, i64>(0), row.get(1)) {
        (2.., _) => format!("the last {key} that was loaded is there twice"),
        (_, true) => format!("{key} is null in some row"),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Preflight, format!("an interrupted copy cannot go on after {key}: {what}"))
        .with_hint(
            "make it unique and never null in the query; without resume_key, an interval is one transaction",
        ))
}
