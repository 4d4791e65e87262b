//! How long it takes to say what is to do: the plan alone, and the commands that show it.
//!
//! `plan` is a pure function, measured over a ledger in memory. The commands are whole processes, from
//! start to exit, against a ledger that `generate_series` filled on a throw-away server; every round
//! starts a new one. The median is what counts: a busy machine makes single rounds slow.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeZone, Utc};
use pgtide::config::job::{Job, LoadMode, OneOff, Origin};
use pgtide::interval::{Calendar, DataInterval, Unit};
use pgtide::plan::{Dates, Recorded, Request, plan};
use pgtide::sandbox::{Options, Programs, Server};
use pgtide::state::State;

const ROUNDS: usize = 21;

/// Unit, job and number of intervals. Each has one hole, so that a plan has something to find.
const LEDGERS: [(&str, &str, i64); 2] = [("hour", "hours", 100_000), ("day", "days", 3_650)];

const FILL: &str = "
set timezone = 'America/New_York';
insert into pgtide.interval (job, interval_start, interval_end, key, timezone, state, table_oid, table_name,
    loaded_at, definition_hash, rows, bytes, batches, digest, source_snapshot, source_system, attempt, host,
    pid, run_id, started_at, finished_at, table_file)
select '{job}', s, s + interval '1 {unit}', to_char(s, '{key}'), 'America/New_York', 'loaded',
       'mart.{job}'::regclass, 'mart.{job}', s + interval '2 {unit}',
       (select definition_hash from pgtide.interval where job = '{job}'), 1000, 100000, 1, 42,
       '1:1:', 7, 1, 'etl-1', 4711, 'run', s + interval '1 {unit} 59 m', s + interval '2 {unit}',
       pg_relation_filenode('mart.{job}')
from (select min(interval_start) as newest from pgtide.interval where job = '{job}') known,
     generate_series(newest - interval '{number} {unit}', newest - interval '1 {unit}', interval '1 {unit}') s;
delete from pgtide.interval
where id = (select id from pgtide.interval where job = '{job}' order by interval_start offset 1000 limit 1)";

fn main() -> Result<()> {
    // `cargo test --all-targets` runs benches too, and has no seconds for them.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!("plan, the pure function: job, request, ledger in memory, now -> what to load");
    for (unit, _, number) in LEDGERS {
        pure(unit, number)?;
    }
    println!("\nthe commands, from start to exit");
    let site = Site::start()?;
    for (unit, job, number) in LEDGERS {
        for verb in ["plan", "status"] {
            let walls = (0..ROUNDS).map(|_| site.pgtide(&[verb, job])).collect::<Result<Vec<_>>>()?;
            told(&format!("pgtide {verb} over {number} {unit}s"), walls);
        }
    }
    Ok(())
}

/// The plan over a ledger of so many units, one of which is missing.
fn pure(unit: &str, number: i64) -> Result<()> {
    let now = Utc.with_ymd_and_hms(2026, 1, 11, 8, 0, 0).single().context("a date")?;
    let job = job(if unit == "hour" { Unit::Hour } else { Unit::Day })?;
    let request = Request::of(&job, Dates::Due);
    let recorded = recorded(&job, now, number)?;
    let mut walls = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let found = plan(&job, &request, &recorded, now)?;
        walls.push(start.elapsed());
        ensure!(found.to_load().count() == 1, "one interval is missing");
    }
    told(&format!("plan over {} {unit}s", recorded.len()), walls);
    Ok(())
}

fn job(unit: Unit) -> Result<Job> {
    let table: pgtide::name::TableName = "public.events".parse()?;
    let ask = OneOff {
        origin: Origin::Table(table.clone()),
        into: table,
        filter: None,
        mode: None,
        key: Vec::new(),
        create: false,
    };
    let calendar = Some(Calendar { unit, timezone: chrono_tz::America::New_York });
    Ok(Job { name: "events".to_owned(), calendar, mode: LoadMode::DeleteInsert, ..Job::one_off(ask)? })
}

fn recorded(job: &Job, now: DateTime<Utc>, number: i64) -> Result<Vec<Recorded>> {
    let calendar = job.calendar.context("the job has intervals")?;
    let back = std::iter::successors(Some(calendar.containing(now)), |i| Some(calendar.previous(i)));
    let known: Vec<DataInterval> = back.skip(1).take(usize::try_from(number)?).collect();
    let hole = known[known.len() / 2];
    let hash: std::sync::Arc<str> = job.definition_hash().into();
    let loaded = |interval: DataInterval| Recorded {
        interval,
        state: State::Loaded,
        definition_hash: Some(hash.clone()),
        rows: Some(1_000),
        loaded_at: Some(interval.end),
        began: None,
        is_live: false,
        attempts: 0,
        finished: Some(interval.end),
        loss: None,
        note: None,
    };
    Ok(known.into_iter().filter(|interval| *interval != hole).map(loaded).collect())
}

/// A server with a project beside it, and a ledger of years.
struct Site {
    folder: tempfile::TempDir,
    _server: Server,
}

impl Site {
    fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let server = Server::start(&programs, "destination", &Options::default())?;
        let folder = tempfile::tempdir()?;
        let url = server.url("postgres");
        let project = format!(
            "[connections.source]\nurl = \"{url}\"\n[connections.destination]\nurl = \"{url}\"\n\
             [defaults]\ntimezone = \"America/New_York\"\n"
        );
        std::fs::write(folder.path().join("pgtide.toml"), project)?;
        std::fs::create_dir(folder.path().join("jobs"))?;
        let mut sql = "create schema mart; create table public.events (at timestamptz not null, n int); \
            create index on public.events (at); "
            .to_owned();
        for (unit, job, _) in LEDGERS {
            sql.push_str(&format!(
                "create table mart.{job} (at timestamptz not null, n int); create index on mart.{job} (at); "
            ));
            let toml = format!(
                "table = \"public.events\"\ninto = \"mart.{job}\"\ntime_column = \"at\"\ninterval = \"{unit}\"\n"
            );
            std::fs::write(folder.path().join(format!("jobs/{job}.toml")), toml)?;
        }
        let site = Self { folder, _server: server };
        site.psql(&programs, &url, &sql)?;
        for (unit, job, number) in LEDGERS {
            // Makes the ledger.
            site.pgtide(&["run", job])?;
            let key = if unit == "hour" { "YYYY-MM-DD\"T\"HH24:MI" } else { "YYYY-MM-DD" };
            let fill = FILL.replace("{job}", job).replace("{unit}", unit).replace("{key}", key);
            let fill = fill.replace("{number}", &number.to_string());
            site.psql(&programs, &url, &fill)?;
            site.psql(&programs, &url, "vacuum (analyze) pgtide.interval")?;
        }
        Ok(site)
    }

    fn psql(&self, programs: &Programs, url: &str, sql: &str) -> Result<()> {
        let beside = programs.dir().join("psql");
        let mut psql = Command::new(if beside.is_file() { beside } else { "psql".into() });
        let output = psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).output()?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs the program to its end.
    fn pgtide(&self, arguments: &[&str]) -> Result<Duration> {
        let mut pgtide = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        pgtide.args(arguments).arg("--quiet").current_dir(self.folder.path()).stdout(Stdio::null());
        let start = Instant::now();
        let output = pgtide.output().context("starting pgtide")?;
        let wall = start.elapsed();
        ensure!(output.status.success(), "pgtide: {}", String::from_utf8_lossy(&output.stderr));
        Ok(wall)
    }
}

fn told(what: &str, mut walls: Vec<Duration>) {
    walls.sort_unstable();
    let [least, median, most] = [0, walls.len() / 2, walls.len() - 1].map(|at| walls[at].as_secs_f64() * 1e3);
    println!("  {what:<36} median {median:8.2} ms   {least:.2} to {most:.2}");
}
