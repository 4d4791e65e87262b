//! A server with views in layers, and the ways to refresh them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgtide::sandbox::{Options, Programs, Server};
use tempfile::TempDir;

/// The views of a layer: letter, number, and the query of one, by its number.
const LAYERS: [(&str, u32, &str); 4] = [
    (
        "a",
        10,
        "select region, day, sum(amount) as amount, avg(amount) as mean, stddev(amount) as spread,
         count(distinct customer) as customers from src.orders where id % 10 <> {n} group by region, day",
    ),
    (
        "b",
        10,
        "select region, date_trunc('month', day) as month, sum(amount) as amount, max(spread) as spread,
         (select count(*) from src.orders o where o.note ~ '{n}[a-f]{2}7') as noted
         from mart.a{n} group by region, 2",
    ),
    (
        "c",
        6,
        "select month, sum(amount) as amount, (select sum(length(md5(note))) from src.orders) as bytes
         from mart.b{n} group by month",
    ),
    (
        "d",
        4,
        "select sum(c.amount) as amount, (select percentile_cont(0.5) within group (order by amount) from src.orders)
         as middle from mart.c{n} c",
    ),
];

const TABLE: &str = "create schema src; create schema mart;
create table src.orders as
select i as id, date '2024-01-01' + i % 730 as day, i % 40 as region, i % 5000 as customer,
       (i::bigint * 7919 % 100000) / 100.0 as amount, md5(i::text) as note
from generate_series(1, 400000) i;
vacuum (analyze) src.orders";

/// The server and a project beside it.
pub(crate) struct Site {
    server: Server,
    programs: Programs,
    project: TempDir,
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let server =
            Server::start(&programs, "destination", &Options { durable: true, ..Options::default() })?;
        let project = tempfile::tempdir()?;
        let toml = format!("[connections.destination]\nurl = \"{}\"\n", server.url("postgres"));
        fs::write(project.path().join("pgtide.toml"), toml)?;
        fs::create_dir(project.path().join("jobs"))?;
        let site = Self { server, programs, project };
        for statement in TABLE.split(';') {
            site.sql(statement)?;
        }
        for (layer, number, query) in LAYERS {
            for n in 0..number {
                let query = query.replace("{n}", &n.to_string());
                site.sql(&format!("create materialized view mart.{layer}{n} as {query}"))?;
            }
        }
        Ok(site)
    }

    pub(crate) fn set_parallel_workers(&self, number: u32) -> Result<()> {
        self.sql(&format!("alter database postgres set max_parallel_workers_per_gather = {number}"))
    }

    /// Refreshes all of them, fresh or not.
    pub(crate) fn refresh(&self, jobs: u32) -> Result<Duration> {
        self.pgtide(&["--all", "--force", "--strategy", "plain", "--jobs", &jobs.to_string()])
    }

    /// Refreshes what is stale.
    pub(crate) fn refresh_stale(&self) -> Result<Duration> {
        self.pgtide(&[])
    }

    fn pgtide(&self, arguments: &[&str]) -> Result<Duration> {
        let program =
            env::var_os("PGTIDE_BENCH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_pgtide").into());
        let mut command = Command::new(program);
        command.args(["views", "refresh", "--quiet"]).args(arguments).current_dir(self.project.path());
        let start = Instant::now();
        let output = command.output().context("starting pgtide")?;
        let wall = start.elapsed();
        ensure!(output.status.success(), "pgtide: {}", String::from_utf8_lossy(&output.stderr));
        Ok(wall)
    }

    /// The same statements by psql: layer after layer, shared between so many sessions.
    pub(crate) fn psql(&self, sessions: usize) -> Result<Duration> {
        let start = Instant::now();
        for (layer, number, _) in LAYERS {
            let mut scripts = vec![String::new(); sessions];
            for n in 0..number {
                let name = format!("mart.{layer}{n}");
                let script = &mut scripts[n as usize % sessions];
                writeln!(script, "refresh materialized view {name};\nvacuum (analyze) {name};")?;
            }
            let spawned: Result<Vec<Child>> = scripts.iter().map(|script| self.psql_with(script)).collect();
            for mut child in spawned? {
                ensure!(child.wait()?.success(), "psql failed");
            }
        }
        Ok(start.elapsed())
    }

    /// Replaces the views by many small ones.
    pub(crate) fn make_small_views(&self) -> Result<()> {
        self.sql("drop schema mart cascade")?;
        self.sql("create schema mart")?;
        let make =
            |n| format!("execute 'create materialized view mart.s{n} as select {n} as n from src.one';");
        self.sql("create table src.one as select 1 as one")?;
        self.sql(&format!("do $$ begin {} end $$", (0..300).map(make).collect::<String>()))
    }

    fn sql(&self, sql: &str) -> Result<()> {
        ensure!(self.psql_with(sql)?.wait()?.success(), "psql failed");
        Ok(())
    }

    fn psql_with(&self, sql: &str) -> Result<Child> {
        let beside = self.programs.dir().join("psql");
        let mut psql = Command::new(if beside.is_file() { beside } else { "psql".into() });
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.server.url("postgres")]);
        // One statement a call: VACUUM is refused where several are sent as one.
        psql.args(sql.split_inclusive(";\n").flat_map(|statement| ["-c", statement]));
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting psql")
    }
}
