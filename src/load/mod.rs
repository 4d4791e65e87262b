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
mod merge;
mod prepare;
mod replace;
mod stage;
mod waits;

use std::time::Duration;

use crate::chunk::BatchLimits;
use crate::config::job::{CommitPolicy, EmptyWith, LoadMode, OnEmpty};
use crate::event::{Event, Events, IntervalId};
use crate::ledger::{Claim, Ledger};
use crate::postgres::bound::Condition;
use crate::postgres::ident;

pub use batch::{Shared, Written};
pub use finish::{Finished, Read};
pub use stage::discard as discard_stage;
pub use waits::Waits;

/// How long a statement may wait for a lock that readers would queue behind.
const EXCLUSIVE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The destination of one interval and how its rows get in; everything is resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// `schema.table` for people.
    pub name: String,
    /// The table, quoted.
    pub sql: String,
    /// The columns that are loaded, in the order of the query.
    pub columns: Vec<String>,
    /// The rows that the interval owns; an empty condition owns the whole table.
    pub owned: Condition,
    /// User triggers that could move or drop rows, by name.
    pub triggers: Vec<String>,
    /// Whether the time column is computed from the source's by a cast.
    pub time_is_cast: bool,
    /// Whether the job owns only a part of the table.
    pub has_scope: bool,
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
    /// Whether the table must be empty, whoever loaded what is in it.
    pub must_be_empty: bool,
    /// The command that loads this interval again and replaces what is there.
    pub reload_command: String,
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
}

impl Load<'_> {
    /// Whether batches go into a staged table.
    fn is_staged(&self) -> bool {
        self.rules.commit == CommitPolicy::Staged
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

    fn notice(&self, message: impl Into<String>) {
        self.events.send(Event::Notice { message: message.into() });
    }
}
