//! `merge`: rows are inserted or, where the key exists and something differs, updated.
//!
//! A batch is copied into a temporary table of the writer's session and merged from there in the same
//! transaction. Rows are ordered by key, so that two writers lock rows in the same order. Rows that
//! left the source stay.
//!
//! Which of two rows with the same key stays must not hang on the batches that they come in. Unless the
//! source cannot give a key twice, the keys are kept in a staged table, where the second is refused.

use super::{Load, Target, stage};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The temporary table of a writer's session, quoted.
pub(super) const TEMPORARY_TABLE: &str = "pg_temp.\"pgtide merge\"";

/// The code of a key that the kept ones have already.
const UNIQUE_VIOLATION: &str = "23505";

/// The code of a row that `ON CONFLICT` would change twice in one statement.
const SECOND_CHANGE: &str = "21000";

/// Makes the temporary table; it is empty at each transaction's start.
#[must_use]
pub(super) fn create_temporary(target: &Target) -> String {
    format!(
        "create temporary table if not exists \"pgtide merge\" on commit delete rows as select {} from {} limit 0",
        ident::quote_list(&target.columns),
        target.sql
    )
}

/// Removes it, for the next interval may have other columns.
#[must_use]
pub(super) fn drop_temporary() -> String {
    format!("drop table if exists {TEMPORARY_TABLE}")
}

/// Merges the temporary table into the target. A key that equals the stored one and is not the same is
/// stored as the source has it.
#[must_use]
pub(super) fn merge(target: &Target, key: &[String]) -> String {
    let columns = ident::quote_list(&target.columns);
    let loose = &target.merge_key.loose;
    let changes = target.columns.iter().filter(|c| !key.contains(c) || loose.contains(c));
    let changes: Vec<_> = changes.map(|c| ident::quote(c)).collect();
    let action = if changes.is_empty() {
        "do nothing".to_owned()
    } else {
        let set: Vec<_> = changes.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        let old: Vec<_> = changes.iter().map(|c| format!("t.{c}")).collect();
        let new: Vec<_> = changes.iter().map(|c| format!("excluded.{c}")).collect();
        // The record operator compares images: it needs no equality of the columns' own types.
        format!(
            "do update set {} where row({})::record operator(pg_catalog.*<>) row({})::record",
            set.join(", "),
            old.join(", "),
            new.join(", ")
        )
    };
    let key = ident::quote_list(key);
    format!(
        "insert into {} as t ({columns}) overriding system value select {columns} from {TEMPORARY_TABLE} order by {key} on conflict ({key}) {action}",
        target.sql
    )
}

/// Keeps the keys of the temporary table until the end of the attempt.
#[must_use]
fn keep_keys(key: &[String], stage_sql: &str) -> String {
    let key = ident::quote_list(key);
    format!("insert into {stage_sql} select {key} from {TEMPORARY_TABLE} order by {key}")
}

/// Counts the rows of the temporary table that are not in the target after the merge: no row has the key, or
/// one that this transaction did not write and that has other values.
#[must_use]
fn count_lost(target: &Target) -> String {
    let row = |of: &str| {
        let columns: Vec<_> = target.columns.iter().map(|c| format!("{of}.{}", ident::quote(c))).collect();
        format!("row({})::record", columns.join(", "))
    };
    format!(
        "select pg_catalog.count(*) from {TEMPORARY_TABLE} s where not exists (
             select from {} t where {}
               and (pg_catalog.age(t.xmin) operator(pg_catalog.<=)
                        pg_catalog.age(pg_catalog.pg_current_xact_id()::pg_catalog.xid)
                    or {} operator(pg_catalog.*=) {}))",
        target.own_sql,
        same_key(target, "s"),
        row("t"),
        row("s")
    )
}

/// Counts the kept keys that the target has.
#[must_use]
fn count_found(target: &Target, stage_sql: &str) -> String {
    format!(
        "select pg_catalog.count(*) from {stage_sql} k where exists (select from {} t where {})",
        target.own_sql,
        same_key(target, "k")
    )
}

fn same_key(target: &Target, other: &str) -> String {
    let equals = target.merge_key.equals.iter();
    let equals = equals.map(|(column, equals)| format!("t.{column}{equals} {other}.{column}"));
    equals.collect::<Vec<_>>().join(" and ")
}

impl Load<'_> {
    /// Merges what was copied into the temporary table, in the open transaction.
    pub(super) async fn merge(&self, session: &Session, number: i32, rows: u64) -> Result<()> {
        let doing = self.doing(&format!("merging batch {number}"));
        if self.keeps_keys() {
            let sql = keep_keys(&self.rules.key, &self.stage_sql());
            let kept = session.execute(&doing, &sql, &[]).await;
            kept.map_err(|error| self.same_key_twice(error, (UNIQUE_VIOLATION, &doing)))?;
        }
        let merged = session.execute(&doing, &merge(self.target, &self.rules.key), &[]).await;
        merged.map_err(|error| self.same_key_twice(error, (SECOND_CHANGE, &doing)))?;
        if self.target.triggers.is_empty() {
            return Ok(());
        }
        self.run_deferred(session).await?;
        let lost: i64 = session.query_one(&doing, &count_lost(self.target), &[]).await?.get(0);
        if lost == 0 { Ok(()) } else { Err(self.dropped_rows(&doing, rows, rows - lost.unsigned_abs())) }
    }

    /// Finds each merged key again, after everything else that ran.
    pub(super) async fn count_merged(&self, session: &Session, merged: i64) -> Result<()> {
        let doing = self.doing("counting the rows");
        let sql = count_found(self.target, &self.stage_sql());
        let found: i64 = session.query_one(&doing, &sql, &[]).await?.get(0);
        if found == merged {
            return Ok(());
        }
        let context = format!("{doing}: {merged} were merged, the table has {found} of them");
        let error = Error::new(ErrorKind::Mismatch, context);
        Err(self.suspect(error, "what deletes rows, or changes their key, must not run with the load"))
    }

    /// Removes what served the merge alone.
    pub(super) async fn end_merge(&self, session: &Session, is_open: bool) -> Result<()> {
        if is_open {
            session.batch("dropping the table to merge from", &drop_temporary()).await?;
        }
        if self.keeps_keys() {
            session.batch("dropping the keys", &stage::drop(&self.stage_sql())).await?;
        }
        Ok(())
    }

    /// Says so where a code means that the source gives a key twice.
    fn same_key_twice(&self, error: Error, (code, doing): (&str, &str)) -> Error {
        if error.sqlstate() != Some(code) {
            return error;
        }
        let key = self.rules.key.join(", ");
        Error::new(ErrorKind::Server, format!("{doing}: the source gives two rows with the same ({key})"))
            .with_sqlstate(code)
            .with_hint(
                "make its rows unique, or add a column to `key`; which of the two should stay is not said",
            )
    }
}
