//! Materialized views: as files, in the order of what reads what, and fresh.
//!
//! From files: `files` reads them, `trial` asks the server what they mean, `survey` makes the plan (`diff`
//! for one object, `units` for what hangs together), `apply` builds beside and swaps. Fresh: `graph`,
//! `stale`, `refresh`.

pub mod adopt;
pub mod alter;
pub mod apply;
pub mod catalog;
pub mod diff;
pub mod due;
pub mod facts;
pub mod files;
pub mod graph;
pub mod lint;
pub mod options;
pub mod order;
pub mod outlook;
pub mod properties;
pub mod refresh;
pub mod removal;
pub mod scratch;
pub mod script;
pub mod stale;
pub mod statement;
pub mod strategy;
pub mod survey;
pub mod swap;
pub mod trial;
pub mod units;
