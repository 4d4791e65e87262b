//! `pgtide demo`: two throw-away servers, a month of real flights, a crash on purpose, and the proof.
//!
//! The runs of the demo are this program, called as a user would call it, in a project folder of its
//! own; so what it shows is what it does. Servers and folder are gone at the end, also after kill -9.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use super::Context;
use super::args::DemoArgs;
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::report::number::grouped;
use crate::sandbox::{Options, Programs, Server, flights};

const PROJECT: &str = include_str!("../../pgtide.toml");
const JOB: &str = include_str!("../../jobs/flights.toml");
const WAREHOUSE: &str = include_str!("demo/warehouse.sql");
const DIGEST: &str = include_str!("demo/digest.sql");
const RUN: [&str; 6] = ["run", "flights", "--from-date", "2013-01-01", "--to-date", "2013-01-31"];
/// Days that the first run may load before it is killed.
const DAYS_BEFORE_THE_CRASH: usize = 14;

pub(super) async fn run(args: DemoArgs, context: &Context) -> anyhow::Result<u8> {
    let demo = Demo::start(context).await?;
    let mut shutdown = context.shutdown.clone();
    tokio::select! {
        told = demo.tell(context) => told?,
        () = shutdown.requested() => {
            return Err(Error::new(ErrorKind::Interrupted, "the demo was stopped; its servers are gone").into());
        }
    }
    if args.keep {
        demo.keep(context)?;
    } else {
        context
            .output
            .print("\nThe servers and their data are gone. `pgtide demo --keep` leaves them to you.\n");
    }
    Ok(exit::DONE)
}

struct Demo {
    source: Server,
    warehouse: Server,
    project: tempfile::TempDir,
}

impl Demo {
    async fn start(context: &Context) -> Result<Self> {
        let programs = Programs::find()?;
        let version = programs.version().to_owned();
        context.output.print(&format!(
            "Two throw-away servers (PostgreSQL {version}) on free ports of 127.0.0.1 ...\n"
        ));
        let start = |name: &'static str| {
            let programs = programs.clone();
            let options = Options { password: Some(uuid::Uuid::new_v4().to_string()), ..Options::default() };
            tokio::task::spawn_blocking(move || Server::start(&programs, name, &options))
        };
        let (source, warehouse) = tokio::join!(start("source"), start("warehouse"));
        let (source, warehouse) = (joined(source)??, joined(warehouse)??);
        let project = project().map_err(|e| failed("writing the demo's project").with_source(e))?;
        Ok(Self { source, warehouse, project })
    }

    async fn tell(&self, context: &Context) -> Result<()> {
        let say = |text: &str| context.output.print(text);
        let source = connect(&self.source).await?;
        let warehouse = connect(&self.warehouse).await?;
        flights::create_tables(&source).await?;
        let rows = flights::load_january(&source).await?;
        say(&format!("  source     public.flights: {} real flights of January 2013\n", grouped(rows)));
        execute(&warehouse, WAREHOUSE).await?;
        say("  warehouse  mart.flights, empty, and mart.carrier_delays, a materialized view above it\n");

        say(&format!("\n1. A run of 31 days that dies half-way: kill -9\n\n   $ pgtide {}\n", RUN.join(" ")));
        let loaded = self.run_and_kill().await?;
        say(&format!("   killed after {loaded} days; what is committed stays, and the ledger knows it\n"));

        say("\n2. The same command again goes on where that one stopped\n\n");
        self.pgtide(&RUN).await?;

        say("\n3. Which days are in\n\n");
        self.pgtide(&["status", "flights"]).await?;

        say("\n4. The proof: both sides by count and by an order-free digest of every row\n\n");
        let (a, b) = (digest(&source, "public.flights").await?, digest(&warehouse, "mart.flights").await?);
        say(&format!("   source     {} rows  {}\n   warehouse  {} rows  {}\n", a.0, a.1, b.0, b.1));
        if a != b {
            return Err(Error::new(ErrorKind::Mismatch, "the two sides of the demo differ"));
        }
        let view = scalar(&warehouse, "select sum(flights) from mart.carrier_delays").await?;
        say(&format!("   equal; mart.carrier_delays was refreshed once and sees {view} flights\n"));

        say("\n5. The materialized views above, and which are stale\n\n");
        self.pgtide(&["views", "status"]).await?;

        say("\n6. Once more changes nothing\n\n");
        self.pgtide(&RUN).await
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let program = std::env::current_exe().map_err(|e| failed("finding this program").with_source(e))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.project.path()).kill_on_drop(true);
        for (name, value) in self.variables() {
            command.env(name, value);
        }
        Ok(command)
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        [("SOURCE_URL", self.source.url("postgres")), ("WAREHOUSE_URL", self.warehouse.url("postgres"))]
    }

    async fn pgtide(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command(arguments)?.stdin(Stdio::null()).status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(&format!("pgtide {}: {status}", arguments.join(" ")))),
            Err(error) => Err(failed("running this program").with_source(error)),
        }
    }

    /// Runs until so many days are loaded, then kills the run as a crash would; returns how many.
    async fn run_and_kill(&self) -> Result<usize> {
        let mut command = self.command(&RUN)?;
        command.args(["--output", "json", "--progress", "none", "--parallel", "2"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| failed("running this program").with_source(e))?;
        let loaded = count_loaded(&mut child, DAYS_BEFORE_THE_CRASH).await?;
        child.kill().await.map_err(|e| failed("killing the first run").with_source(e))?;
        Ok(loaded)
    }

    fn keep(self, context: &Context) -> Result<()> {
        let variables = self.variables();
        let folder = self.project.keep();
        let (source, warehouse) = (self.source.keep()?, self.warehouse.keep()?);
        let mut text = String::from("\nThe servers go on. To look around:\n\n");
        text.push_str(&format!("  cd {}\n", folder.display()));
        for (name, value) in variables {
            text.push_str(&format!("  export {name}='{value}'\n"));
        }
        text.push_str(
            "  pgtide status flights\n  psql \"$WAREHOUSE_URL\"\n\nTo stop them and remove their data:\n\n",
        );
        text.push_str(&format!("  kill {} {}; rm -r {}\n", source.pid, warehouse.pid, folder.display()));
        context.output.print(&text);
        Ok(())
    }
}

async fn count_loaded(child: &mut Child, enough: usize) -> Result<usize> {
    let stdout = child.stdout.take().ok_or_else(|| failed("reading the first run's progress"))?;
    let mut lines = BufReader::new(stdout).lines();
    let mut loaded = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        loaded += usize::from(line.contains("\"interval_loaded\""));
        if loaded == enough {
            break;
        }
    }
    if loaded == enough { Ok(loaded) } else { Err(failed("the first run ended before it was killed")) }
}

/// A project folder with the job that the repository shows.
fn project() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("pgtide-demo-").tempdir()?;
    let write = |path: PathBuf, text: &str| std::fs::write(path, text);
    write(folder.path().join("pgtide.toml"), PROJECT)?;
    std::fs::create_dir(folder.path().join("jobs"))?;
    write(folder.path().join(Path::new("jobs/flights.toml")), JOB)?;
    Ok(folder)
}

async fn connect(server: &Server) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .map_err(|e| failed(&format!("connecting to the demo's {}", server.name())).with_source(e))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn execute(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|e| failed("preparing the warehouse").with_source(e))
}

async fn scalar(client: &Client, sql: &str) -> Result<String> {
    let sql = format!("select ({sql})::text");
    let row = client.query_one(&sql, &[]).await.map_err(|e| failed("reading the view").with_source(e))?;
    Ok(row.get(0))
}

/// The number of rows, and a sum over a hash of each row, whatever their order.
async fn digest(client: &Client, table: &str) -> Result<(String, String)> {
    let sql = DIGEST.replace("{table}", table);
    let row = client.query_one(&sql, &[]).await.map_err(|e| failed("comparing").with_source(e))?;
    Ok((grouped(row.get::<_, i64>(0).unsigned_abs()), row.get(1)))
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|e| failed("starting a server").with_source(e))
}

fn failed(doing: &str) -> Error {
    Error::new(ErrorKind::Internal, doing)
}
