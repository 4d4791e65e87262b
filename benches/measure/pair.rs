//! Two servers, a wide table to copy on the first, and the ways to copy it.

use std::process::Command;

use anyhow::{Result, ensure};

use super::process::{Cost, run};
use super::servers::Servers;

const TABLE: &str = include_str!("lineitem.sql");
const FILL: &str = include_str!("fill.sql");

const TO_STDOUT: &str = "copy public.lineitem to stdout (format binary)";
const FROM_STDIN: &str = "copy public.lineitem from stdin (format binary)";

/// Tells whether two tables hold the same rows, in whatever order.
const DIGEST: &str = "select count(*), sum(hashtextextended(t::text, 0)) from public.lineitem t";

/// The source with its table, and the destination.
pub(crate) struct Pair {
    pub(crate) rows: u64,
    servers: Servers,
}

impl Pair {
    /// Starts two servers with the settings of a new cluster and fills the source's table.
    pub(crate) fn start(rows: u64) -> Result<Self> {
        Self { rows, servers: Servers::start()? }.with_rows(rows)
    }

    /// The same servers with so many rows.
    pub(crate) fn with_rows(self, rows: u64) -> Result<Self> {
        let pair = Self { rows, ..self };
        let Servers { source, .. } = &pair.servers;
        pair.servers.sql(source, "drop table if exists public.lineitem")?;
        pair.servers.sql(source, TABLE)?;
        pair.servers.sql(source, &FILL.replace("{rows}", &rows.to_string()))?;
        pair.servers.sql(source, "vacuum (freeze, analyze) public.lineitem")?;
        Ok(pair)
    }

    /// The URL of the source's database.
    pub(crate) fn source_url(&self) -> String {
        self.servers.source.url("postgres")
    }

    /// Copies by pgtide: a first copy into an empty table, the ledger made on the way.
    pub(crate) fn copy(&self, arguments: &[&str]) -> Result<Cost> {
        let mut pgtide = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        pgtide.args(["copy", "public.lineitem", "--quiet"]);
        pgtide.args([
            "--source",
            &self.source_url(),
            "--destination",
            &self.servers.destination.url("postgres"),
        ]);
        pgtide.args(arguments);
        self.empty()?;
        self.with_servers(|| run(vec![pgtide]))
    }

    /// Copies by psql.
    pub(crate) fn pipe(&self) -> Result<Cost> {
        self.empty()?;
        let Servers { source, destination, .. } = &self.servers;
        let commands = vec![self.servers.psql(source, TO_STDOUT), self.servers.psql(destination, FROM_STDIN)];
        self.with_servers(|| run(commands))
    }

    /// Reads by psql and throws it away.
    pub(crate) fn psql_discard(&self) -> Result<Cost> {
        self.checkpoint()?;
        self.with_servers(|| run(vec![self.servers.psql(&self.servers.source, TO_STDOUT)]))
    }

    /// Fails unless the destination holds what the source does.
    pub(crate) fn compare(&self) -> Result<()> {
        self.copy(&[])?;
        let [source, destination] =
            [&self.servers.source, &self.servers.destination].map(|s| self.servers.answer(s, DIGEST));
        ensure!(source? == destination?, "the copy is not equal to its source");
        println!("  a copy was compared with its source, row by row: equal");
        Ok(())
    }

    /// An empty table, no ledger, nothing left to flush.
    fn empty(&self) -> Result<()> {
        let gone = "drop schema if exists pgtide cascade; drop table if exists public.lineitem";
        self.servers.sql(&self.servers.destination, gone)?;
        self.servers.sql(&self.servers.destination, TABLE)?;
        self.checkpoint()
    }

    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.servers.checkpoint()
    }

    /// Adds what the sessions of both servers cost.
    pub(crate) fn with_servers(&self, work: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
        self.servers.with_cpu(work)
    }
}
