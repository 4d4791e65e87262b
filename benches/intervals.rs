//! Many small intervals: a year of days with 1,000 rows each, loaded by one process.
//!
//! Both servers have the defaults of a new cluster, `fsync` included. Each round loads the year anew,
//! with 1, 2, 4 and 8 intervals at once; CPU of pgtide and of both servers' sessions is per interval,
//! and moves less than the clock on a machine that does other things too. A last run goes through
//! proxies that count round trips, while the servers log every statement: that one is not timed.
//!
//! `PGTIDE_BENCH_ROUNDS` changes the rounds and `PGTIDE_BENCH_PROGRAM` the program that is measured;
//! `cargo bench --bench intervals -- counts` only counts.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "intervals/days.rs"]
mod days;
#[path = "measure/machine.rs"]
mod machine;
#[path = "measure/process.rs"]
mod process;
#[path = "intervals/proxy.rs"]
mod proxy;
#[path = "measure/servers.rs"]
mod servers;

use anyhow::{Context, Result};

use days::{Counts, DAYS, Days};
use machine::machine;
use process::Cost;

const ROUNDS: u64 = 3;
const PARALLEL: [u64; 4] = [1, 2, 4, 8];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches too, and has no minutes for them.
    if !arguments.iter().any(|a| a == "--bench") {
        return Ok(());
    }
    let rounds = match std::env::var("PGTIDE_BENCH_ROUNDS") {
        Ok(text) => text.parse().with_context(|| format!("PGTIDE_BENCH_ROUNDS is {text:?}"))?,
        Err(_) => ROUNDS,
    };
    let days = Days::start()?;
    println!("{}", machine());
    if !arguments.iter().any(|a| a == "counts") {
        println!("{DAYS} intervals of 1,000 rows, fsync on; milliseconds per interval");
        println!("  at once | intervals/s |   wall  pgtide  source   dest. |  peak MiB");
        for _ in 0..rounds {
            for parallel in PARALLEL {
                print_cost(parallel, &days.load(parallel)?);
            }
        }
        days.compare()?;
    }
    let (source, destination) = days.count()?;
    println!("per interval, 1 at once");
    println!("  source:      {}", line(&source));
    println!("  destination: {}", line(&destination));
    Ok(())
}

fn print_cost(parallel: u64, cost: &Cost) {
    let each = |duration: std::time::Duration| duration.as_secs_f64() * 1e3 / DAYS as f64;
    let Cost { wall, cpu, source_cpu, destination_cpu, peak_bytes } = *cost;
    let peak = peak_bytes.unwrap_or(0) as f64 / 1_048_576.0;
    let figures = [wall, cpu, source_cpu, destination_cpu].map(|d| format!("{:>7.2}", each(d))).join(" ");
    println!("  {parallel:>7} | {:>11.1} |{figures} | {peak:>9.1}", DAYS as f64 / wall.as_secs_f64());
}

fn line(counts: &Counts) -> String {
    let each = |count: u64| count as f64 / DAYS as f64;
    format!(
        "{:.1} round trips, {:.1} statements, {:.1} of them parsed",
        each(counts.round_trips),
        each(counts.statements),
        each(counts.parses)
    )
}
