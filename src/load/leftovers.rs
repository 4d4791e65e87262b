//! What dead attempts left in the table: whose rows are there, and whether they may go or be gone on after.
//!
//! The transaction that wrote a row tells whose it is. What dead attempts stored is removed; a row of
//! anybody else's never is, unless a reload was asked for, and then it is counted first.

use super::prepare::CLEAR_STEP;
use super::{EXCLUSIVE_LOCK_TIMEOUT, Load};
use crate::config::job::{EmptyWith, LoadMode};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Differs;
use crate::postgres::bound::{Bound, Condition};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Rows of the table by who wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    /// Dead attempts of the interval.
    ours: i64,
    /// Anybody else, in the part of the table that the interval owns.
    others: i64,
}

impl Load<'_> {
    /// Removes what dead attempts stored, in the open transaction.
    pub(super) async fn clear_rows(&self, session: &Session) -> Result<()> {
        let name = &self.target.name;
        let timeout = EXCLUSIVE_LOCK_TIMEOUT.as_millis();
        session.batch("clearing", &format!("set local lock_timeout = {timeout}")).await?;
        let truncates = self.rules.mode == LoadMode::Replace
            && self.rules.empty_with == EmptyWith::Truncate
            && self.target.owned.sql.is_empty();
        if truncates {
            // Nobody adds a row between the count and the TRUNCATE; readers go on until that.
            let sql = format!("lock table {} in share row exclusive mode", self.target.own_sql);
            session.batch(&format!("locking {name}"), &sql).await?;
        }
        let stored = self.stored(session).await?;
        let replaces = self.rules.reload && !self.rules.must_be_empty;
        if !replaces && stored.others > 0 {
            return Err(self.unaccounted_rows(stored));
        }
        if stored.ours != self.claim.left_rows {
            let (gone, left) = (self.claim.left_rows - stored.ours, self.claim.left_rows);
            self.notice(format!(
                "{gone} of the {left} rows that the interrupted attempts stored in {name} are gone: it starts over"
            ));
        }
        // What a reload replaces beyond that is counted, and removed, by the transaction that has the new rows.
        let doing = format!("clearing what a broken attempt left in {name}");
        if truncates && stored.others == 0 {
            return session.batch(&doing, &self.empty_statement()).await;
        }
        let rows = self.left_rows();
        let sql = format!("delete from {}{}", self.target.own_sql, rows.where_clause());
        let deleted = session.execute_typed(&doing, &sql, &rows).await?;
        if deleted == stored.ours.unsigned_abs() {
            return Ok(());
        }
        let what = format!("{doing}: {} rows were counted and {deleted} deleted", stored.ours);
        Err(Error::new(ErrorKind::Contention, what).with_hint("somebody else changes them: run it again"))
    }

    /// The rows that dead attempts stored. Those of this definition are where the interval's are; another
    /// one may have owned another part of the table.
    fn left_rows(&self) -> Condition {
        let owned = &self.target.owned;
        if self.claim.left_differs.is_some() || owned.sql.is_empty() {
            return self.ledger.left_behind(self.claim, 0);
        }
        let left = self.ledger.left_behind(self.claim, owned.params.len());
        Condition {
            sql: format!("{} and {}", owned.sql, left.sql),
            params: [&owned.params[..], &left.params[..]].concat(),
        }
    }

    async fn stored(&self, session: &Session) -> Result<Stored> {
        let owned = &self.target.owned;
        let left = self.ledger.left_behind(self.claim, owned.params.len());
        let others = match owned.sql.as_str() {
            "" => format!("not ({})", left.sql),
            owned => format!("not ({}) and {owned}", left.sql),
        };
        let everywhere = self.claim.left_differs.is_some();
        let part = if everywhere { String::new() } else { owned.where_clause() };
        let sql = format!(
            "select pg_catalog.count(*) filter (where {}), pg_catalog.count(*) filter (where {others}) from {}{part}",
            left.sql, self.target.own_sql
        );
        let params = [&owned.params[..], &left.params[..]].concat();
        let rows = Condition { sql: String::new(), params };
        let row = session.query_one_typed("counting rows of the interval", &sql, &rows).await?;
        Ok(Stored { ours: row.get(0), others: row.get(1) })
    }

    fn unaccounted_rows(&self, stored: Stored) -> Error {
        let Stored { ours, others } = stored;
        let (left, name, what) = (self.claim.left_rows, &self.target.name, self.what());
        let mut parts = Vec::new();
        if others > 0 {
            parts.push(format!(
                "{name} holds {others} {what} that pgtide did not load or somebody changed since"
            ));
        }
        if ours != left {
            parts
                .push(format!("{name} holds {ours} of the {left} rows that the interrupted attempts stored"));
        }
        let context = format!("{}: something else wrote there, nothing is removed", parts.join("; "));
        Error::new(ErrorKind::Preflight, context)
            .with_hint(format!("{}\n  replaces them", self.rules.reload_command))
    }

    /// `append` removes nothing: what dead attempts left must be whole and something to go on after, or be
    /// gone.
    pub(super) async fn refuse_leftovers(&self, session: &Session) -> Result<()> {
        if self.rules.mode != LoadMode::Append || self.claim.left_rows == 0 {
            return Ok(());
        }
        if self.resumes() && self.rules.reload {
            return Ok(());
        }
        let left = self.ledger.left_behind(self.claim, 0);
        let sql = format!("select pg_catalog.count(*) from {}{}", self.target.own_sql, left.where_clause());
        let row = session.query_one_typed("counting the rows of broken attempts", &sql, &left).await?;
        let (stored, left): (i64, _) = (row.get(0), self.claim.left_rows);
        match (self.resumes(), stored) {
            (true, stored) if stored == left => Ok(()),
            (true, 0) => Err(self.forget_removed(session).await?),
            (true, _) => Err(self.changed_leftovers(stored)),
            // Somebody has removed them: there is nothing in the way of a new start.
            (false, 0) => Ok(()),
            (false, _) => Err(self.stuck_leftovers(stored)),
        }
    }

    /// Somebody has removed all that the broken attempts stored: the next try starts over.
    async fn forget_removed(&self, session: &Session) -> Result<Error> {
        session.batch("opening the first transaction", "begin isolation level read committed").await?;
        self.ledger.forget_batches(session, self.claim).await?;
        self.ledger.fence(session, self.claim, CLEAR_STEP).await?;
        session.batch("committing the first transaction", "commit").await?;
        let (name, left) = (&self.target.name, self.claim.left_rows);
        let context =
            format!("the {left} rows that the broken attempts added to {name} were removed by somebody else");
        Ok(Error::new(ErrorKind::Contention, context).with_hint("run it again: it starts over"))
    }

    fn changed_leftovers(&self, stored: i64) -> Error {
        let (name, left) = (&self.target.name, self.claim.left_rows);
        let gone = left - stored;
        let context = format!(
            "{gone} of the {left} rows that the broken attempts added to {name} were removed, changed or written anew by somebody else"
        );
        Error::new(ErrorKind::Preflight, context).with_hint(format!(
            "{}\n  goes on after the last of them nevertheless;\n{}",
            self.rules.force_command,
            self.start_over()
        ))
    }

    fn stuck_leftovers(&self, stored: i64) -> Error {
        let (made, undo) = match self.claim.left_differs {
            Some(Differs::Definition) => {
                ("another definition of the job made", "take the change of the job back")
            }
            Some(Differs::Server) => {
                ("were read from another server", "point the connection at that server again")
            }
            Some(Differs::Database) => {
                ("were read from another database", "point the connection at that database again")
            }
            Some(Differs::Query) => (
                "were read by another query: its dates, its time zone or the role's search_path differ",
                "take that back",
            ),
            None => {
                ("cannot be gone on after without `resume_key`", "give the job the `resume_key` that it had")
            }
        };
        let context = format!("{} holds {stored} rows of a broken attempt that {made}", self.target.name);
        Error::new(ErrorKind::Preflight, context)
            .with_hint(format!("append removes nothing: {undo} and run it again; or\n{}", self.start_over()))
    }

    /// How a person makes room for a new start.
    fn start_over(&self) -> String {
        let (table, which) = (&self.target.own_sql, self.ledger.left_behind_by_hand(self.claim));
        format!(
            "delete from {table} where {which};\n  on the destination removes them, and the next run starts over"
        )
    }

    /// `append` adds rows, and may not find them there: the ledger that knew of them may be gone.
    pub(super) async fn refuse_known_rows(&self, session: &Session) -> Result<()> {
        if !self.rules.looks_for_rows || self.target.within.params.is_empty() {
            return Ok(());
        }
        let within = &self.target.within;
        let sql = format!("select exists (select from {}{})", self.target.own_sql, within.where_clause());
        let row = session.query_one_typed("looking for rows of the interval", &sql, within).await?;
        if row.get(0) { Err(self.known_rows(&format!("rows of {}", self.id.key))) } else { Ok(()) }
    }

    /// The same where the key tells: rows that are there already begin where the source's begin.
    pub(super) async fn refuse_known_key(&self, session: &Session, first: Option<Vec<u8>>) -> Result<()> {
        let (Some(column), Some(first)) = (self.rules.resume_column, first) else { return Ok(()) };
        if !self.rules.looks_for_rows || !self.target.within.params.is_empty() {
            return Ok(());
        }
        let key = &self.target.columns[column];
        // Later intervals have greater keys.
        let operator = if self.is_whole() { ">=" } else { "=" };
        let sql = format!("{} operator(pg_catalog.{operator}) $1", ident::quote(key));
        let there = Condition { sql, params: vec![Bound::Raw(first)] };
        let there = Condition { sql: scoped(&there.sql, &self.target.owned.sql), ..there };
        let sql = format!("select exists (select from {}{})", self.target.own_sql, there.where_clause());
        let row = session.query_one_typed("looking for rows with such keys", &sql, &there).await?;
        let what = format!("rows whose {key} is not below the first of the source");
        if row.get(0) { Err(self.known_rows(&what)) } else { Ok(()) }
    }

    fn known_rows(&self, what: &str) -> Error {
        let context = format!(
            "{} already has {what}, and the ledger does not know of their load: append would add them again",
            self.target.name
        );
        Error::new(ErrorKind::Preflight, context).with_hint(format!(
            "{}\n  keeps them and adds nothing;\n{}\n  adds the source's rows to them",
            self.rules.mark_command, self.rules.force_command
        ))
    }

    /// Two rows with one key in two batches, or none: a run that goes on after the key would miss a row.
    pub(super) fn key_twice(&self) -> Error {
        self.unfit_key("has a value twice")
    }

    pub(super) fn key_is_null(&self) -> Error {
        self.unfit_key("is null in some row")
    }

    fn unfit_key(&self, how: &str) -> Error {
        let key = self.rules.resume_column.map_or("", |column| &self.target.columns[column]);
        Error::new(ErrorKind::Mismatch, self.doing(&format!("resume_key {key} {how} in the source's rows: copying")))
            .with_hint("make it unique and never null in the query, or leave `resume_key` out: an interval is then one transaction")
    }
}

fn scoped(sql: &str, scope: &str) -> String {
    if scope.is_empty() { sql.to_owned() } else { format!("{sql} and {scope}") }
}
