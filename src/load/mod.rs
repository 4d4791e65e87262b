//! Loading: the only place that commits data.
//!
//! A load of one interval has three parts. [`prepare`](Load::prepare) is transaction 0: it removes
//! what a broken attempt left, runs `pre_sql` and makes the staged table. [`write`](Load::write) runs
//! once per writer: a batch is BEGIN, COPY, the mode's SQL, the ledger's row, COMMIT.
//! [`finish`](Load::finish) publishes what was staged, runs `post_sql`, and records the end, all in
//! one synchronous transaction. Every one of these transactions ends with the ledger's fence, which
//! fails by itself when the claim was lost.
//!
//! Statements of a mode are pure functions in its own file. Called by the engine.

mod append;
mod batch;
mod delete_insert;
mod finish;
mod hooks;
mod leftovers;
mod merge;
mod neighbours;
mod prepare;
mod replace;
mod stage;
mod waits;

use std::time::Duration;

use crate::chunk::BatchLimits;
use crate::config::job::{CommitPolicy, EmptyWith, LoadMode, OnEmpty};
use crate::error::{Error, Result};
use crate::event::{Event, Events, IntervalId};
use crate::interval::DataInterval;
use crate::ledger::{Claim, Ledger};
use crate::postgres::bound::Condition;
use crate::postgres::connect::Session;
use crate::postgres::ident;

pub use batch::{Shared, Written};
pub use finish::{Finished, Read};
pub use stage::discard as discard_stage;
pub use waits::Waits;

/// What waits for the COMMIT would run after the rows were counted and the fence was passed.
const RUN_DEFERRED: &str = "set constraints all immediate";

/// How long a statement may wait for a lock that readers would queue behind.
const EXCLUSIVE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The destination of one interval and how its rows get in; everything is resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// `schema.table` for people.
    pub name: String,
    /// The table, quoted.
    pub sql: String,
    /// The table as it is read and emptied: `only` it, where others may inherit from it.
    pub own_sql: String,
    /// The columns that are loaded, in the order of the query.
    pub columns: Vec<String>,
    /// The rows that the interval owns; an empty condition owns the whole table.
    pub owned: Condition,
    /// The rows that the interval may add to: its time, as far as the job names a column for it, and its scope.
    pub within: Condition,
    /// User triggers that could move or drop rows, by name.
    pub triggers: Vec<String>,
    /// Rules that could do the same: each with its event.
    pub rules: Vec<String>,
    /// What `merge` has to know of its key.
    pub merge_key: MergeKey,
    /// Whether the time column is computed from the source's by a cast.
    pub time_is_cast: bool,
    /// Whether the job owns only a part of the table.
    pub has_scope: bool,
}

/// How values of a merge's key are told apart.
#[derive(Debug, Clone, Default)]
pub struct MergeKey {
    /// Key columns whose equal values need not be the same: `1.0` and `1.00`.
    pub loose: Vec<String>,
    /// The columns of each unique index on the key, as an index is made of them.
    pub indexes: Vec<String>,
    /// For each key column, quoted, what tells that a value equals another.
    pub equals: Vec<(String, String)>,
    /// Whether the source cannot give a key twice.
    pub is_unique: bool,
}

/// What a job says about loading.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The mode.
    pub mode: LoadMode,
    /// What a transaction holds, resolved.
    pub commit: CommitPolicy,
    /// The key columns of `merge`.
    pub key: Vec<String>,
    /// The index, in the target's columns, of the key an interrupted `append` goes on after.
    pub resume_column: Option<usize>,
    /// The size of a batch.
    pub limits: BatchLimits,
    /// Statements of the first transaction.
    pub pre_sql: Vec<String>,
    /// Statements of the finishing transaction.
    pub post_sql: Vec<String>,
    /// What to do with no rows.
    pub on_empty: OnEmpty,
    /// The largest part by which a reload may shrink the interval.
    pub max_shrink: Option<f64>,
    /// How a staged `replace` empties the table.
    pub empty_with: EmptyWith,
    /// Whether the user asked to replace what is there, whoever loaded it.
    pub reload: bool,
    /// Whether rows may be there of a load that the ledger does not know, which `append` would add again.
    pub looks_for_rows: bool,
    /// Whether the table must be empty, whoever loaded what is in it.
    pub must_be_empty: bool,
    /// The command that loads this interval again and replaces what is there.
    pub reload_command: String,
    /// The command that adds the rows whatever is there.
    pub force_command: String,
    /// The command that keeps what is there and records it as loaded.
    pub mark_command: String,
}

/// One attempt at one interval.
pub struct Load<'a> {
    /// The ledger of the destination.
    pub ledger: &'a Ledger,
    /// The claim that every transaction is fenced by.
    pub claim: &'a Claim,
    /// Where to.
    pub target: &'a Target,
    /// How.
    pub rules: &'a Rules,
    /// Which interval, in events.
    pub id: IntervalId,
    /// Who listens.
    pub events: &'a Events,
    /// The file of the destination table before the first batch.
    pub file: i64,
}

impl Load<'_> {
    /// Whether batches go into a staged table.
    fn is_staged(&self) -> bool {
        self.rules.commit == CommitPolicy::Staged
    }

    /// Whether the interval is all of time.
    fn is_whole(&self) -> bool {
        self.id.key == DataInterval::WHOLE_KEY
    }

    /// The staged table of this attempt, quoted: named by token, in the ledger's schema.
    fn stage_sql(&self) -> String {
        format!("{}.{}", ident::quote(self.ledger.schema()), ident::quote(&self.stage_name()))
    }

    fn stage_name(&self) -> String {
        self.claim.stage_name()
    }

    /// The table that COPY fills: the target, the stage, or a temporary table of the session.
    fn copy_into(&self) -> String {
        match self.rules.mode {
            LoadMode::Merge => merge::TEMPORARY_TABLE.to_owned(),
            _ if self.is_staged() => self.stage_sql(),
            _ => self.target.sql.clone(),
        }
    }

    /// The statements that remove what the interval owns.
    fn empty_statement(&self) -> String {
        match self.rules.mode {
            LoadMode::Replace => replace::empty(self.target, self.rules.empty_with),
            LoadMode::DeleteInsert | LoadMode::Append | LoadMode::Merge => delete_insert::delete(self.target),
        }
    }

    /// Whether code that is not pgtide's runs in the load and could add, move or drop rows.
    fn has_foreign_code(&self) -> bool {
        let Rules { pre_sql, post_sql, .. } = self.rules;
        let Target { triggers, rules, .. } = self.target;
        !(triggers.is_empty() && rules.is_empty() && pre_sql.is_empty() && post_sql.is_empty())
    }

    /// Whether the keys that were merged are kept until the end: to find one that comes twice, in whatever
    /// batches, or to find each again.
    fn keeps_keys(&self) -> bool {
        let is_needed = !self.target.merge_key.is_unique || self.has_foreign_code();
        self.rules.mode == LoadMode::Merge && is_needed
    }

    /// Runs what the transaction has put off, such as triggers that wait for its end.
    async fn run_deferred(&self, session: &Session) -> Result<()> {
        session.batch(&self.doing("running what was put off to the commit"), RUN_DEFERRED).await
    }

    /// Names what could have moved rows, and how to have it not do so.
    fn suspect(&self, error: Error, hint: &str) -> Error {
        let Target { name, triggers, rules, .. } = self.target;
        let of = |what: &str, names: &[String]| format!("{what} on {name}: {}", names.join(", "));
        let mut error = error;
        if !triggers.is_empty() {
            error = error.with_detail(of("triggers", triggers));
        }
        if !rules.is_empty() {
            error = error.with_detail(of("rules", rules));
        }
        let hooks = [("pre_sql", &self.rules.pre_sql), ("post_sql", &self.rules.post_sql)];
        for (key, _) in hooks.iter().filter(|(_, sql)| !sql.is_empty()) {
            error = error.with_detail(format!("the job has `{key}`"));
        }
        error.with_hint(hint)
    }

    fn notice(&self, message: impl Into<String>) {
        self.events.send(Event::Notice { message: message.into() });
    }
}
