//! pgtide copies rows from one Postgres to another, one data interval (usually a day) at a time, and
//! leaves the destination exactly right whatever breaks on the way.
//!
//! A job says what to copy; a ledger of small tables in the destination says what is loaded, and
//! commits in the same transactions as the rows. Running a command again finishes what was broken and
//! leaves alone what is done.
//!
//! ```text
//! arguments, jobs/*.toml, variables
//!    |  config
//!    v
//! plan      job + dates + ledger + now -> intervals to load, intervals left alone and why
//!    v
//! engine    several intervals at once, each:
//!    |        ledger   claim: who is alive, who may commit
//!    |        columns  as it is | cast on the source | refused
//!    |        extract  one snapshot, one named cursor: rows -> chunks of binary COPY tuples
//!    |          |      bounded channel
//!    |        load     writers: BEGIN; COPY; row of the ledger; COMMIT
//!    |        ledger   finish: totals compared, loaded
//!    v
//! views     what reads the loaded table, once per run
//!    v
//! report    bars, lines or JSON; exit code
//! ```
//!
//! In reading order:
//!
//! | module | |
//! | --- | --- |
//! | [`engine`] | the story: plan, intervals at once, tries, views, outcome |
//! | [`load`] | the only place that commits data: first transaction, batches, finishing transaction |
//! | [`ledger`] | claim, fence, record, finish; marks and looking |
//! | [`plan`] | which intervals, and why: a pure function |
//! | [`extract`] | one interval of the source, in one snapshot, into a channel of chunks |
//! | [`columns`] | source columns against destination columns: pure |
//! | [`views`] | materialized views: what reads what, stale or fresh, three ways of refreshing |
//! | [`postgres`] | sessions, TLS, the row tap, the cursor, COPY, the catalog, SQLSTATEs |
//! | [`config`] | job and project files, connections, templates: text in, validated values out |
//! | [`interval`] | data intervals and the calendar that cuts time into them |
//! | [`chunk`], [`name`], [`state`] | encoded rows on their way; names of tables; states of intervals |
//! | [`event`], [`shutdown`], [`error`] | what the engine says; the stop handle; kinds of errors |
//! | [`report`] | events as bars, lines and JSON; the calendar; errors for people |
//! | [`exit`] | the exit codes |
//! | [`cli`] | the command line: one file for each verb |
//! | [`sandbox`] | throw-away servers for the demo and the tests |
//!
//! Imports go downward only: `docs/architecture.md` has the layers, `tests/layering.rs` holds them.

pub mod chunk;
pub mod cli;
pub mod columns;
pub mod config;
pub mod engine;
pub mod error;
pub mod event;
pub mod exit;
pub mod extract;
pub mod interval;
pub mod ledger;
pub mod load;
pub mod name;
pub mod plan;
pub mod postgres;
pub mod report;
pub mod sandbox;
pub mod shutdown;
pub mod state;
pub mod views;
