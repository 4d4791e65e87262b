//! `pre_sql` and `post_sql`: the user's statements inside our transactions.
//!
//! They run one at a time through the extended protocol, and the transaction must be the same one
//! after each: a COMMIT inside a hook would survive our rollback. So must the encoding be: the rows that
//! follow are bytes in it.

use super::Load;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Accepted;
use crate::postgres::connect::Session;
use crate::postgres::sqlstate::place_in;

impl Load<'_> {
    /// Runs the statements in the open transaction of the session. They may switch triggers off and on, which
    /// running loads of the table then live with; under their rows the columns stay as they are.
    pub(super) async fn run_hooks(
        &self,
        session: &Session,
        which: &str,
        statements: &[String],
    ) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        let table = self.claim.table_oid;
        let before = self.ledger.shape_before(session, table).await?;
        run(session, which, statements).await?;
        let accepted = match which {
            "post_sql" => Accepted::AfterTheRowsOf(self.claim.interval_id),
            _ => Accepted::SameColumns,
        };
        self.ledger.accept_shape(session, table, &before, accepted).await
    }
}

/// Runs the statements in the open transaction of the session.
async fn run(session: &Session, which: &str, statements: &[String]) -> Result<()> {
    let before = standing(session).await?;
    for (number, sql) in statements.iter().enumerate() {
        let doing = format!("running {which} statement {}", number + 1);
        if let Err(error) = session.client().execute(sql, &[]).await {
            let place = place_in(sql, &error);
            return Err(place.into_iter().fold(session.error(&doing, error).await, Error::with_detail));
        }
        // It may have deallocated what the session keeps prepared.
        session.forget_kept();
        let (transaction, encoding) = standing(session).await?;
        if encoding != before.1 {
            return Err(Error::new(ErrorKind::Config, format!("{doing}: it changed client_encoding"))
                .with_hint(
                    "remove it: rows are sent as UTF8 bytes, and would be stored as other characters",
                ));
        }
        if transaction != before.0 {
            return Err(Error::new(ErrorKind::Config, format!("{doing}: it ended pgtide's transaction"))
                .with_hint(
                    "remove COMMIT, ROLLBACK and the like: hooks are part of the load's transaction",
                ));
        }
    }
    Ok(())
}

/// The transaction that is open, and the encoding that rows are sent in.
async fn standing(session: &Session) -> Result<(String, String)> {
    let sql = "select pg_catalog.pg_current_xact_id()::pg_catalog.text,
                      pg_catalog.current_setting('client_encoding')";
    let row = session.query_one("asking for the transaction's id", sql, &[]).await?;
    Ok((row.get(0), row.get(1)))
}
