//! Materialized views: what reads a table, and how it gets fresh.

pub mod options;
pub mod refresh;
