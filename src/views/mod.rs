//! Materialized views: what reads a table, and how it gets fresh.

pub mod alter;
pub mod apply;
pub mod diff;
pub mod facts;
pub mod files;
pub mod options;
pub mod order;
pub mod refresh;
pub mod removal;
pub mod scratch;
pub mod script;
pub mod statement;
pub mod survey;
pub mod trial;
pub mod units;
