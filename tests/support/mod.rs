//! The test harness: two servers for the whole process, two databases for each test.
//!
//! `databases("name")` is where a test starts; `private_server("name")` is for tests that stop or
//! crash a server; `cli::pgtide` runs the program, in a `Project` where it needs jobs; `rows::assert_equal` is the checker; `proxy` is a
//! network that breaks on demand, `pooler` one that shares a server process. Nothing sleeps: tests wait for a state with `until`.
#![allow(dead_code, unused_imports, reason = "each test uses a part of the harness")]

pub(crate) mod cli;
pub(crate) mod events;
pub(crate) mod flights;
pub(crate) mod pooler;
pub(crate) mod project;
pub(crate) mod proxy;
pub(crate) mod rows;
pub(crate) mod servers;

use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use cli::pgtide;
pub(crate) use project::Project;
pub(crate) use servers::{
    Database, Pair, databases, lower_major, private_server, server_major, until_counted,
};

/// The password in every test URL. No output of the program may ever contain it.
pub(crate) const CANARY: &str = "canary-7f3a-do-not-print";

/// The longest that a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until the probe says yes; fails the test, naming what it waited for, at the deadline.
pub(crate) async fn until<F, Fut>(what: &str, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while !probe().await {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
