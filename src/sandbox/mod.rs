//! Throw-away Postgres servers for the demo, the tests and the benches.
//!
//! A server lives in a folder of its own under the temporary folder, listens on a free port of
//! 127.0.0.1, and is gone with the process that started it, however that process ends: a small
//! shell holds the other end of a pipe, and stops the server when the pipe closes. Nothing here is
//! used when real data is copied.

pub mod flights;
mod programs;
mod server;

pub use programs::Programs;
pub use server::{Kept, Options, Server, StopMode};
