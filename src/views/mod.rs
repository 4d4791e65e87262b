//! Materialized views: what reads what, what is stale and why, and how it gets fresh.
//!
//! In reading order: [`graph`] (pure) and [`catalog`], which reads it; [`stale`] (pure) judges a view from
//! what its last refresh saw; [`outlook`] is all of that at one moment; [`strategy`] (pure) chooses one of
//! three ways; [`refresh`] plans and runs; [`swap`] builds beside and exchanges, with all [`properties`] kept.

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
