//! A year of small days on one server, and the ways to load it into another.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::process::{Cost, run};
use super::proxy::Proxy;
use super::servers::Servers;

/// The days of 2025.
pub(crate) const DAYS: u64 = 365;

const TABLE: &str = "create table public.events (
    id bigint, happened_at timestamptz not null, user_id integer, kind text, amount numeric, note text)";

const FILL: &str = "insert into public.events
    select g, timestamptz '2025-01-01 00:00+00' + g / 1000 * interval '1 day' + g % 1000 * interval '80 seconds',
           (g * 7919) % 20000, (array['view', 'click', 'buy'])[g % 3 + 1], (g * 104729 % 100000) / 100.0,
           repeat('x', (g % 40)::integer)
    from generate_series(0::bigint, 364999) g";

const JOB: &str = "table = \"public.events\"\ntime_column = \"happened_at\"\ninterval = \"day\"\ntimezone = \"UTC\"\n\
    mode = \"delete-insert\"\n";

/// Tells whether two tables hold the same rows, in whatever order.
const DIGEST: &str = "select count(*), sum(hashtextextended(t::text, 0)) from public.events t";

/// What a run sends to one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Times that somebody waited for an answer before going on.
    pub(crate) round_trips: u64,
    /// Statements executed.
    pub(crate) statements: u64,
    /// Statements parsed for it.
    pub(crate) parses: u64,
}

/// Two servers, one with a year of rows, and a project with a job for them.
pub(crate) struct Days {
    servers: Servers,
    project: TempDir,
}

impl Days {
    pub(crate) fn start() -> Result<Self> {
        let servers = Servers::start()?;
        servers.sql(&servers.source, TABLE)?;
        servers.sql(&servers.source, FILL)?;
        servers.sql(&servers.source, "create index on public.events (happened_at)")?;
        servers.sql(&servers.source, "vacuum (freeze, analyze) public.events")?;
        let project = tempfile::tempdir()?;
        fs::create_dir(project.path().join("jobs"))?;
        fs::write(project.path().join("jobs/events.toml"), JOB)?;
        Ok(Self { servers, project })
    }

    /// Loads the year into an empty table, so many days at once.
    pub(crate) fn load(&self, parallel: u64) -> Result<Cost> {
        self.empty()?;
        let urls = [&self.servers.source, &self.servers.destination].map(|s| s.url("postgres"));
        self.servers.with_cpu(|| run(vec![self.pgtide(&urls, parallel)?]))
    }

    /// Loads the year once more, and counts what each server is asked.
    pub(crate) fn count(&self) -> Result<(Counts, Counts)> {
        self.empty()?;
        let Servers { source, destination, .. } = &self.servers;
        let both = [source, destination];
        for server in both {
            self.servers.sql(server, "alter system set log_min_duration_statement = 0")?;
            self.servers.sql(server, "select pg_reload_conf()")?;
        }
        let logs = both.map(|server| server.log().len());
        let proxies = [Proxy::start(source.port())?, Proxy::start(destination.port())?];
        let urls = [0, 1].map(|i| {
            let (from, to) = (both[i].port(), proxies[i].port());
            both[i].url("postgres").replace(&format!(":{from}/"), &format!(":{to}/"))
        });
        run(vec![self.pgtide(&urls, 1)?])?;
        let counts = [0, 1].map(|i| counts(&both[i].log()[logs[i]..], proxies[i].round_trips()));
        for server in both {
            self.servers.sql(server, "alter system reset log_min_duration_statement")?;
            self.servers.sql(server, "select pg_reload_conf()")?;
        }
        Ok((counts[0], counts[1]))
    }

    /// Fails unless the destination holds what the source does.
    pub(crate) fn compare(&self) -> Result<()> {
        let both = [&self.servers.source, &self.servers.destination];
        let [source, destination] = both.map(|server| self.servers.answer(server, DIGEST));
        ensure!(source? == destination?, "the copy is not equal to its source");
        println!("  the last load was compared with its source, row by row: equal");
        Ok(())
    }

    fn pgtide(&self, urls: &[String; 2], parallel: u64) -> Result<Command> {
        let connections = format!(
            "[connections.source]\nurl = \"{}\"\n[connections.warehouse]\nurl = \"{}\"\n\
             [defaults]\nsource = \"source\"\ndestination = \"warehouse\"\n",
            urls[0], urls[1]
        );
        fs::write(self.project.path().join("pgtide.toml"), connections)?;
        let program = env::var_os("PGTIDE_BENCH_PROGRAM");
        let mut pgtide = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_pgtide").into()));
        pgtide.args(["run", "events", "--from-date", "2025-01-01", "--to-date", "2025-12-31", "--quiet"]);
        pgtide.args(["--parallel", &parallel.to_string()]).current_dir(self.project.path());
        Ok(pgtide)
    }

    /// An empty table with its index, no ledger, nothing left to flush.
    fn empty(&self) -> Result<()> {
        let destination = &self.servers.destination;
        let gone = "drop schema if exists pgtide cascade; drop table if exists public.events";
        self.servers.sql(destination, gone)?;
        self.servers.sql(destination, TABLE)?;
        self.servers.sql(destination, "create index on public.events (happened_at)")?;
        self.servers.checkpoint()
    }
}

/// What a log says, in which every step of every statement is a line.
fn counts(log: &str, round_trips: u64) -> Counts {
    let of = |step: &str| log.lines().filter(|l| l.contains(" ms  ") && l.contains(step)).count() as u64;
    Counts { round_trips, statements: of("  execute ") + of("  statement: "), parses: of("  parse ") }
}
