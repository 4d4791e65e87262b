//! Two throw-away servers with the settings of a new cluster, and what their sessions cost.

use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use pgtide::sandbox::{Options, Programs, Server};

use super::process::{Cost, cpu_of_children};

/// A source and a destination.
pub(crate) struct Servers {
    pub(crate) source: Server,
    pub(crate) destination: Server,
    programs: Programs,
}

impl Servers {
    pub(crate) fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let options = Options { durable: true, ..Options::default() };
        let source = Server::start(&programs, "source", &options)?;
        let destination = Server::start(&programs, "destination", &options)?;
        Ok(Self { source, destination, programs })
    }

    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.sql(&self.source, "checkpoint")?;
        self.sql(&self.destination, "checkpoint")
    }

    /// Adds what the sessions of both servers cost.
    pub(crate) fn with_cpu(&self, work: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
        let cpu = |server: &Server| cpu_of_children(server.postmaster_pid()).unwrap_or_default();
        let before = (cpu(&self.source), cpu(&self.destination));
        let cost = work()?;
        // A session's time is its server's only when the server has seen it end.
        thread::sleep(std::time::Duration::from_millis(200));
        Ok(Cost {
            source_cpu: cpu(&self.source) - before.0,
            destination_cpu: cpu(&self.destination) - before.1,
            ..cost
        })
    }

    pub(crate) fn psql(&self, server: &Server, sql: &str) -> Command {
        let beside = self.programs.dir().join("psql");
        let mut psql = Command::new(if beside.is_file() { beside } else { "psql".into() });
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", &server.url("postgres"), "-c", sql]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }

    pub(crate) fn sql(&self, server: &Server, sql: &str) -> Result<()> {
        self.answer(server, sql).map(|_| ())
    }

    pub(crate) fn answer(&self, server: &Server, sql: &str) -> Result<String> {
        let output = self.psql(server, sql).output().context("starting psql")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql on {}: {error}", server.name());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
