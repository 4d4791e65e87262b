//! Materialized views: what reads a table, and how it gets fresh.

pub mod options;
pub mod properties;
pub mod refresh;
pub mod swap;
