//! Materialized views: what reads a table, and how it gets fresh.

pub mod catalog;
pub mod due;
pub mod graph;
pub mod options;
pub mod outlook;
pub mod properties;
pub mod refresh;
pub mod stale;
pub mod strategy;
pub mod swap;
