//! Two throw-away servers, a table to copy on the first, and the ways to copy it.

use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use pgtide::sandbox::{Options, Programs, Server};

use super::process::{Cost, cpu_of_children, run};

const TABLE: &str = include_str!("lineitem.sql");
const FILL: &str = include_str!("fill.sql");

const TO_STDOUT: &str = "copy public.lineitem to stdout (format binary)";
const FROM_STDIN: &str = "copy public.lineitem from stdin (format binary)";

/// Tells whether two tables hold the same rows, in whatever order.
const DIGEST: &str = "select count(*), sum(hashtextextended(t::text, 0)) from public.lineitem t";

/// The source with its table, and the destination.
pub(crate) struct Pair {
    pub(crate) rows: u64,
    source: Server,
    destination: Server,
    programs: Programs,
}

impl Pair {
    /// Starts two servers with the settings of a new cluster and fills the source's table.
    pub(crate) fn start(rows: u64) -> Result<Self> {
        let programs = Programs::find()?;
        let options = Options { durable: true, ..Options::default() };
        let source = Server::start(&programs, "source", &options)?;
        let destination = Server::start(&programs, "destination", &options)?;
        Self { rows, source, destination, programs }.with_rows(rows)
    }

    /// The same servers with so many rows.
    pub(crate) fn with_rows(self, rows: u64) -> Result<Self> {
        let pair = Self { rows, ..self };
        pair.sql(&pair.source, "drop table if exists public.lineitem")?;
        pair.sql(&pair.source, TABLE)?;
        pair.sql(&pair.source, &FILL.replace("{rows}", &rows.to_string()))?;
        pair.sql(&pair.source, "vacuum (freeze, analyze) public.lineitem")?;
        Ok(pair)
    }

    /// The URL of the source's database.
    pub(crate) fn source_url(&self) -> String {
        self.source.url("postgres")
    }

    /// Copies by pgtide: a first copy into an empty table, the ledger made on the way.
    pub(crate) fn copy(&self, arguments: &[&str]) -> Result<Cost> {
        let mut pgtide = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        pgtide.args(["copy", "public.lineitem", "--quiet"]);
        pgtide.args(["--source", &self.source_url(), "--destination", &self.destination.url("postgres")]);
        pgtide.args(arguments);
        self.empty()?;
        self.with_servers(|| run(vec![pgtide]))
    }

    /// Copies by psql.
    pub(crate) fn pipe(&self) -> Result<Cost> {
        self.empty()?;
        let commands = vec![self.psql(&self.source, TO_STDOUT), self.psql(&self.destination, FROM_STDIN)];
        self.with_servers(|| run(commands))
    }

    /// Reads by psql and throws it away.
    pub(crate) fn psql_discard(&self) -> Result<Cost> {
        self.checkpoint()?;
        self.with_servers(|| run(vec![self.psql(&self.source, TO_STDOUT)]))
    }

    /// Fails unless the destination holds what the source does.
    pub(crate) fn compare(&self) -> Result<()> {
        self.copy(&[])?;
        let [source, destination] = [&self.source, &self.destination].map(|s| self.answer(s, DIGEST));
        ensure!(source? == destination?, "the copy is not equal to its source");
        println!("  a copy was compared with its source, row by row: equal");
        Ok(())
    }

    /// An empty table, no ledger, nothing left to flush.
    fn empty(&self) -> Result<()> {
        self.sql(
            &self.destination,
            "drop schema if exists pgtide cascade; drop table if exists public.lineitem",
        )?;
        self.sql(&self.destination, TABLE)?;
        self.checkpoint()
    }

    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.sql(&self.source, "checkpoint")?;
        self.sql(&self.destination, "checkpoint")
    }

    /// Adds what the sessions of both servers cost.
    pub(crate) fn with_servers(&self, work: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
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

    fn psql(&self, server: &Server, sql: &str) -> Command {
        let beside = self.programs.dir().join("psql");
        let mut psql = Command::new(if beside.is_file() { beside } else { "psql".into() });
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", &server.url("postgres"), "-c", sql]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }

    fn sql(&self, server: &Server, sql: &str) -> Result<()> {
        self.answer(server, sql).map(|_| ())
    }

    fn answer(&self, server: &Server, sql: &str) -> Result<String> {
        let output = self.psql(server, sql).output().context("starting psql")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql on {}: {error}", server.name());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
