//! pgtide copies rows from one Postgres to another, one data interval at a time.
pub mod chunk;
pub mod columns;
pub mod config;
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
pub mod sandbox;
pub mod shutdown;
pub mod state;
pub mod views;
