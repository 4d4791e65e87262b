//! Applying a plan: what is new is built beside, and changes places in one short transaction.
//!
//! ```text
//! build   no lock on anything live: create ... with no data, dress, refresh, vacuum (analyze)
//! swap    lock_timeout; views pointed at the new ones, old ones dropped, new ones home, ledger, commit
//! ```
//!
//! What is independent is built at once, by the sessions of a `crew`, in the order of a `queue`.
//!
//! The ledger's rows commit with the DDL that they tell of. Whatever fails leaves what was there; what
//! was built beside is removed, at the latest by the next apply. The same command again is always right.

mod build;
mod crew;
mod drops;
mod in_place;
mod leftover;
mod queue;
mod restore;
mod swap;
mod unit;

pub use crew::{Hands, lock};
pub use leftover::leftovers;
pub use restore::{chosen, restorable};

use std::time::{Duration, Instant};

use super::alter::{self, Building};
use super::diff::{Class, Step};
use super::facts::{self, Facts};
use super::files::{Folder, ViewFile};
use super::statement::Aspect;
use super::survey::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Ledger, Owner, ViewEvent, ViewObject};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// Tries to get the locks of a swap; the pauses between grow to a quarter of a minute.
const TRIES: u32 = 12;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How something new takes the place of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Built beside in steps of its own, then swapped in a short transaction.
    #[default]
    Beside,
    /// All in one transaction: nothing is ever half-done, and old rows stay needed by nobody else until it ends.
    InTransaction,
}

/// Says what happens, while it happens.
#[derive(Debug, Clone)]
pub enum Said {
    /// Work on an object begins.
    Started {
        /// Which.
        name: TableName,
        /// `building beside`.
        what: &'static str,
    },
    /// What is built beside is filled and dressed, and waits for the swap.
    Built {
        /// Which.
        name: TableName,
        /// In this time.
        elapsed: Duration,
    },
    /// A lock was not to be had; the try comes again.
    Waiting {
        /// For which object.
        name: TableName,
        /// The number of the next try.
        next_try: u32,
    },
    /// An object is done.
    Done {
        /// Which.
        name: TableName,
        /// What was done.
        class: Class,
        /// In this time.
        elapsed: Duration,
    },
    /// An object could not be done; what was there stands.
    Failed {
        /// Which.
        name: TableName,
        /// Why.
        error: String,
    },
    /// Something that an interrupted apply left was removed.
    Cleaned {
        /// What.
        what: String,
    },
}

/// Takes what is said.
pub type Listener<'a> = &'a (dyn Fn(Said) + Sync);

/// What an apply did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What is done.
    pub done: Vec<(TableName, Class)>,
    /// What is not, and why.
    pub failed: Vec<(TableName, String)>,
}

/// A session that applies, and what it needs to know.
pub struct Applier<'a> {
    /// The destination; its `search_path` is empty.
    pub session: &'a Session,
    /// The ledger, opened for writing.
    pub ledger: &'a Ledger,
    /// Who applies.
    pub owner: &'a Owner,
    /// How.
    pub strategy: Strategy,
    /// Who listens.
    pub listener: Listener<'a>,
}

impl<'a> Applier<'a> {
    /// One that builds beside.
    #[must_use]
    pub fn beside(
        session: &'a Session,
        ledger: &'a Ledger,
        owner: &'a Owner,
        listener: Listener<'a>,
    ) -> Self {
        Self { session, ledger, owner, strategy: Strategy::Beside, listener }
    }

    /// Does everything that the plan has for it to do, what is independent at once. One that fails does
    /// not stop those that do not need it.
    ///
    /// # Errors
    /// The server's, where it is gone or the ledger cannot be written.
    pub async fn apply(&self, plan: &Plan, folder: &Folder, hands: Hands<'_>) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        self.cheap(plan, folder, &mut outcome).await?;
        Box::pin(queue::Queue::new(self, plan, folder, hands).run(&mut outcome)).await?;
        self.drops(plan, &mut outcome).await?;
        Ok(outcome)
    }

    /// Tells how a step that needed nothing built ended, and keeps a failure.
    async fn settle(
        &self,
        step: &Step,
        result: Result<()>,
        started: Instant,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let Err(error) = result else {
            self.say_done(step, started, outcome);
            return Ok(());
        };
        if self.session.is_closed() || error.kind() == ErrorKind::Interrupted {
            return Err(error);
        }
        self.say_failed(step, &error, outcome);
        self.keep_failure(step, &error, started).await
    }

    fn say_done(&self, step: &Step, started: Instant, outcome: &mut Outcome) {
        outcome.done.push((step.name.clone(), step.class));
        let (name, class) = (step.name.clone(), step.class);
        (self.listener)(Said::Done { name, class, elapsed: started.elapsed() });
    }

    fn say_failed(&self, step: &Step, error: &Error, outcome: &mut Outcome) {
        let message = message(error);
        outcome.failed.push((step.name.clone(), message.clone()));
        (self.listener)(Said::Failed { name: step.name.clone(), error: message });
    }

    /// Marks a step as failed in the ledger.
    async fn keep_failure(&self, step: &Step, error: &Error, started: Instant) -> Result<()> {
        let event = self.event(step, None, "", started);
        self.record_failure(step, &event, (error.sqlstate(), &message(error))).await
    }

    async fn record_failure(
        &self,
        step: &Step,
        event: &ViewEvent,
        (code, message): (Option<&str>, &str),
    ) -> Result<()> {
        let file = step.file.as_deref().unwrap_or_default();
        let error = Some((code.map(str::to_owned), message.to_owned()));
        let event = ViewEvent { error, ..event.clone() };
        self.ledger
            .record_view_failure(self.session, (&event.name, &event.kind, file), (code, message))
            .await?;
        self.ledger.record_view_event(self.session, self.owner, &event).await
    }

    /// Records an object as applied, in the open transaction; what is recorded is what the catalog has.
    async fn record(
        &self,
        step: &Step,
        folder: &Folder,
        (oid, sql): (u32, &str),
        started: Instant,
    ) -> Result<()> {
        let facts = facts::read(self.session, &[oid]).await?;
        let Some(now) = facts.get(&oid) else {
            return Err(Error::new(ErrorKind::Contention, format!("{} went away meanwhile", step.name)));
        };
        if let Some((file, aspects)) = file_of(step, folder) {
            self.ledger.record_view_object(self.session, &object(step, now, file, &aspects)).await?;
        }
        let event = self.event(step, Some(oid), sql, started);
        self.ledger.record_view_event(self.session, self.owner, &event).await
    }

    fn event(&self, step: &Step, oid: Option<u32>, sql: &str, started: Instant) -> ViewEvent {
        ViewEvent {
            action: step.class.word().to_owned(),
            name: step.name.to_string(),
            kind: step.kind.sql().to_owned(),
            oid,
            file: step.file.clone().map(|file| (file, String::new())),
            cause: step.cause.clone(),
            sql: sql.to_owned(),
            before: step.live.as_ref().map(alter::script),
            error: None,
            elapsed_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }

    async fn begin(&self, doing: &str) -> Result<()> {
        let sql = "begin isolation level read committed read write; set local lock_timeout = '2s'; \
                   set local synchronous_commit = on; set local search_path to ''";
        self.session.batch(doing, sql).await
    }

    async fn end<T>(&self, result: Result<T>) -> Result<T> {
        let doing = "ending a transaction of views apply";
        match result {
            Ok(value) => self.session.batch(doing, "commit").await.map(|()| value),
            Err(error) => {
                // What went wrong first is what matters.
                let _ = self.session.batch(doing, "rollback").await;
                Err(error)
            }
        }
    }

    async fn wait(&self, step: &Step, next_try: u32) {
        (self.listener)(Said::Waiting { name: step.name.clone(), next_try });
        let pause = FIRST_PAUSE.saturating_mul(1 << (next_try - 2).min(8)).min(LONGEST_PAUSE);
        let jitter = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 512.0 + 0.75;
        tokio::time::sleep(pause.mul_f64(jitter)).await;
    }
}

fn message(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("hint: {}", hint.replace('\n', "; ")));
    let lines = std::iter::once(error.chain()).chain(error.details().iter().cloned()).chain(hint);
    lines.collect::<Vec<_>>().join("; ")
}

fn file_of<'f>(step: &Step, folder: &'f Folder) -> Option<(&'f ViewFile, Vec<Aspect>)> {
    let found = folder.definitions().find(|(_, object)| object.name == step.name);
    found.map(|(file, object)| (file, object.aspects.clone()))
}

fn object(step: &Step, now: &Facts, file: &ViewFile, aspects: &[Aspect]) -> ViewObject {
    ViewObject {
        name: step.name.to_string(),
        kind: step.kind.sql().to_owned(),
        oid: now.oid,
        file: file.path.clone(),
        checksum: file.checksum.clone(),
        checksum_expanded: file.checksum_expanded.clone(),
        definition_hash: now.definition_hash(),
        properties_hash: now.properties_hash(),
        aspects: aspects.iter().map(|aspect| aspect.name().to_owned()).collect(),
        server_version: 0,
        error: None,
    }
}

/// Statements that dress what was just made as it is to be.
fn dressing(now: &Facts, want: &Facts, building: Building) -> Vec<String> {
    alter::changes(now, want, building).into_iter().flat_map(|change| change.sql).collect()
}

/// The prefix of the schemas in which a unit is built.
fn prefix(ledger: &Ledger, unit: usize) -> String {
    let schema: String = ledger.schema().chars().take(12).collect();
    format!("{schema}_apply_{unit}_")
}

/// What the comment of such a schema begins with.
fn mark(ledger: &Ledger) -> String {
    format!("pgtide: built beside by views apply, ledger {}, for", ident::quote(ledger.schema()))
}
