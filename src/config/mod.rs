//! Configuration: text in, validated values out; nothing here touches the network.

pub mod connection;
pub mod file;
pub mod job;
pub mod template;
