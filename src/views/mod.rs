//! Materialized views: as files, in the order of what reads what, and fresh.
//!
//! As files: [`files`] reads them, [`trial`] asks the server what they mean, [`survey`] makes the plan
//! ([`diff`] for one object, [`units`] for what hangs together), [`apply`] builds beside and swaps; [`shown`]
//! holds a plan to what was read. [`lint`] and [`inspect`] find what is wrong without and with a server.
//!
//! Fresh: [`graph`] (pure) and [`catalog`], which reads it; [`stale`] (pure) judges a view from what its
//! last refresh saw; [`outlook`] is all of that at one moment; [`strategy`] (pure) chooses one of three
//! ways; [`refresh`] plans and runs; [`swap`] builds beside and exchanges, with all [`properties`] kept.

pub mod activity;
pub mod adopt;
pub mod alter;
pub mod apply;
pub mod catalog;
pub mod diff;
pub mod due;
pub mod facts;
pub mod files;
pub mod graph;
pub mod inspect;
pub mod lint;
pub mod options;
pub mod order;
pub mod outlook;
pub mod properties;
pub mod refresh;
pub mod removal;
pub mod scratch;
pub mod script;
mod settable;
pub mod shown;
pub mod stale;
pub mod statement;
pub mod strategy;
pub mod survey;
pub mod swap;
pub mod trial;
pub mod units;
