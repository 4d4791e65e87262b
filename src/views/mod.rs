//! Materialized views: what reads a table, and how it gets fresh.

pub mod facts;
pub mod files;
pub mod options;
pub mod refresh;
pub mod script;
pub mod statement;
