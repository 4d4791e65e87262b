//! All tests that need a server or the program, in one binary: one build, one pair of servers.
//!
//! Each module is a part of what pgtide promises; each test has databases of its own on the shared
//! servers, or a server of its own where it breaks one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that fails panics")]

/// The harness: servers, databases, the program, the checker, a faulty network.
mod support;

/// Throw-away servers start, keep databases apart, and never outlive their owner.
mod sandbox;
