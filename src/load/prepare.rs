//! Transaction 0: removes what a broken attempt left, runs `pre_sql`, makes the staged table.
//!
//! It commits before any writer starts. Only what the ledger accounts for is removed: where the table
//! holds other rows than broken attempts stored, the load is refused.

use futures::join;

use super::{Load, delete_insert, stage};
use crate::config::job::{CommitPolicy, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The step number of transaction 0 in the fence.
pub(super) const CLEAR_STEP: i32 = 0;

impl Load<'_> {
    /// Makes the destination ready for the first writer; `session` is the control session. Returns whether that
    /// took a transaction.
    ///
    /// # Errors
    /// `Preflight`, when the interval holds rows that pgtide did not load; `Fenced`; the server's.
    pub async fn prepare(&self, session: &Session) -> Result<bool> {
        self.refuse_leftovers(session).await?;
        self.refuse_shared_rows(session).await?;
        self.refuse_known_rows(session).await?;
        // With a single transaction that check belongs into it. What dead attempts left is looked at where it
        // is cleared.
        if !self.is_single() && self.claim.left_rows == 0 {
            self.refuse_foreign_rows(session).await?;
        }
        if !self.has_first_transaction() {
            return Ok(false);
        }
        session.batch("opening the first transaction", "begin isolation level read committed").await?;
        self.clear(session).await?;
        if !self.is_single() {
            self.run_hooks(session, "pre_sql", &self.rules.pre_sql).await?;
        }
        if self.is_staged() {
            let sql = stage::create(self.target, &self.stage_sql());
            session.batch("making the staged table", &sql).await?;
        }
        if self.keeps_keys() {
            let sql = stage::create_keys(self.target, &self.rules.key, &self.stage_sql());
            session.batch("making the table of the keys", &sql).await?;
        }
        if !self.resumes() {
            self.ledger.forget_batches(session, self.claim).await?;
        }
        let (deferred, fenced) =
            join!(self.run_deferred(session), self.ledger.fence(session, self.claim, CLEAR_STEP));
        deferred.and(fenced)?;
        session.batch("committing the first transaction", "commit").await?;
        Ok(true)
    }

    fn has_first_transaction(&self) -> bool {
        (self.claim.left_rows > 0 && !self.resumes())
            || !self.claim.left_stages.is_empty()
            || self.is_staged()
            || self.keeps_keys()
            || (!self.rules.pre_sql.is_empty() && !self.is_single())
    }

    fn is_single(&self) -> bool {
        self.rules.commit == CommitPolicy::Interval
    }

    /// Whether the attempt goes on where a broken one ended.
    pub(super) fn resumes(&self) -> bool {
        self.claim.resume_key.is_some() && self.rules.resume_column.is_some()
    }

    fn owns_its_rows(&self) -> bool {
        matches!(self.rules.mode, LoadMode::DeleteInsert | LoadMode::Replace)
    }

    /// Checks that what is stored is what the ledger knows of, where the mode would remove it.
    pub(super) async fn refuse_foreign_rows(&self, session: &Session) -> Result<()> {
        let replaces = self.claim.was_loaded || self.rules.reload;
        if !self.owns_its_rows() || (replaces && !self.rules.must_be_empty) {
            return Ok(());
        }
        let sql = delete_insert::any(self.target);
        let doing = "looking for rows of the interval";
        let row = session.query_one_typed(doing, &sql, &self.target.owned).await?;
        if row.get(0) { Err(self.foreign_rows()) } else { Ok(()) }
    }

    /// Removes the rows and the staged tables that broken attempts left.
    async fn clear(&self, session: &Session) -> Result<()> {
        for name in &self.claim.left_stages {
            let table = format!("{}.{}", ident::quote(self.ledger.schema()), ident::quote(name));
            session.batch("dropping a staged table", &stage::drop(&table)).await?;
        }
        if self.owns_its_rows() && !self.claim.was_loaded && self.claim.left_rows > 0 {
            self.clear_rows(session).await?;
        }
        Ok(())
    }

    /// Says, before they go, how many rows that the ledger does not know of a reload removes; returns that number.
    pub(super) fn tell_of_others(&self, stored: i64) -> i64 {
        let known = if self.claim.was_loaded { self.claim.previous_rows } else { Some(0) };
        let Some(known) = known.filter(|known| stored > *known) else { return 0 };
        let others = stored - known;
        let (rows, name) = (if others == 1 { "1 row" } else { &format!("{others} rows") }, &self.target.name);
        let of = if self.target.owned.sql.is_empty() { "" } else { &format!(" of {}", self.id.key) };
        self.notice(format!(
            "{rows}{of} in {name} did not come from this job and go with the reload: the ledger has {known}, the table {stored}"
        ));
        others
    }

    /// Counts the rows that the interval owns.
    pub(super) async fn count_owned(&self, session: &Session) -> Result<i64> {
        let sql = delete_insert::count(self.target);
        let row = session.query_one_typed("counting rows of the interval", &sql, &self.target.owned).await?;
        Ok(row.get(0))
    }

    pub(super) fn what(&self) -> String {
        if self.target.owned.sql.is_empty() {
            String::from("rows")
        } else {
            format!("rows of {}", self.id.key)
        }
    }

    fn foreign_rows(&self) -> Error {
        let whose = if self.rules.must_be_empty { "" } else { " that pgtide did not load" };
        let context = format!("{} already has {}{whose}", self.target.name, self.what());
        Error::new(ErrorKind::Preflight, context).with_hint(format!(
            "{}\n  replaces them;\n{}\n  keeps them",
            self.rules.reload_command, self.rules.mark_command
        ))
    }
}
