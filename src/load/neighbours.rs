//! Scopes of two jobs on one table: as conditions they are only compared by text, so rows tell.
//!
//! A row that matches the scopes of both would be removed by the one and missed by the other. The other's
//! scope is what the ledger has of it, somebody's SQL: it is read as one condition or refused, and it is
//! looked at in a transaction that cannot write.

use super::Load;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::DataInterval;
use crate::ledger::Neighbour;
use crate::postgres::connect::Session;

/// Around a look from inside of a transaction that writes.
const ASIDE: (&str, &str) = (
    "savepoint pgtide_aside; set local transaction_read_only = on",
    "rollback to savepoint pgtide_aside; release savepoint pgtide_aside",
);

/// Around a look from outside of one.
const ALONE: (&str, &str) = ("begin isolation level read committed read only", "rollback");

impl Load<'_> {
    /// Refuses to go on where rows that the interval covers are another job's too; outside of a transaction.
    pub(super) async fn refuse_shared_rows(&self, session: &Session) -> Result<()> {
        self.look_for_shared_rows(session, ALONE).await
    }

    /// The same, inside of the transaction that removes or publishes rows.
    pub(super) async fn refuse_shared_rows_here(&self, session: &Session) -> Result<()> {
        self.look_for_shared_rows(session, ASIDE).await
    }

    /// Without a scope the claim has refused already.
    async fn look_for_shared_rows(&self, session: &Session, (begin, end): (&str, &str)) -> Result<()> {
        if !self.target.has_scope {
            return Ok(());
        }
        for other in self.ledger.neighbours(session, self.claim).await? {
            let doing = self.doing("comparing scopes");
            session.batch(&doing, begin).await?;
            let shared = self.count_shared(session, &other).await;
            session.batch(&doing, end).await?;
            match shared {
                Ok(0) => {}
                Ok(rows) => return Err(self.shared_rows(&other, rows)),
                Err(error) if error.sqlstate().is_some() => return Err(self.unreadable(&other, &error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bare, and between parentheses: what passes both is one condition.
    async fn count_shared(&self, session: &Session, other: &Neighbour) -> Result<i64> {
        let doing = self.doing("comparing scopes");
        let Neighbour { scope, table_sql, .. } = other;
        for sql in [
            format!("select from {table_sql}\nwhere {scope}"),
            format!("select from {table_sql}\nwhere ({scope}\n)"),
        ] {
            if let Err(error) = session.client().prepare(&sql).await {
                return Err(session.error(&doing, error).await);
            }
        }
        let within = self.target.within.clone().and(Some(scope));
        let sql = format!("select pg_catalog.count(*) from {table_sql}{}", within.where_clause());
        Ok(session.query_one_typed(&doing, &sql, &within).await?.get(0))
    }

    fn shared_rows(&self, other: &Neighbour, rows: i64) -> Error {
        let Neighbour { job, key, scope, .. } = other;
        let of = if self.id.key == DataInterval::WHOLE_KEY { "" } else { &format!(" of {}", self.id.key) };
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        let context =
            format!("{rows}{of} in {} would be those of job `{job}` too, which has {key}", self.target.name);
        Error::new(ErrorKind::Preflight, context)
            .with_detail(format!("the scope of `{job}` is {scope}"))
            .with_hint(
                "change the `scope` of one of the two jobs so that no row matches both, and run it again",
            )
    }

    fn unreadable(&self, other: &Neighbour, error: &Error) -> Error {
        let Neighbour { job, key, scope, .. } = other;
        let context = format!(
            "the scope of job `{job}`, which has {key}, cannot be compared on {}: {}",
            self.target.name,
            error.chain()
        );
        let date = if key == DataInterval::WHOLE_KEY { String::new() } else { format!(" --date {key}") };
        Error::new(ErrorKind::Preflight, context)
            .with_detail(format!("the ledger has it as {scope}"))
            .with_hint(format!("mend that `scope`, and have it recorded:\n  pgtide run {job}{date} --reload"))
    }
}
