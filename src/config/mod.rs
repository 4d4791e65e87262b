//! Configuration: text in, validated values out; nothing here touches the network.
//!
//! [`project::Project`] is the door: it finds `pgtide.toml`, reads `jobs/*.toml`, and answers with
//! [`job::Job`]s and [`connection::ConnectionSpec`]s. The process's environment comes in as an
//! [`environment::Environment`], so that every rule can be tested. Findings and warnings are data.

pub mod connection;
pub mod environment;
mod file;
pub mod finding;
pub mod job;
pub mod nearest;
pub mod overrides;
pub mod project;
pub mod quantity;
mod reader;
pub mod template;
pub mod views;
