//! Thirty materialized views in four layers: refreshed one after the other, and two at once.
//!
//! The server has the defaults of a new cluster, `fsync` included. Each round refreshes all of them four
//! times, one time right after the other: by pgtide with `--jobs 1` and `--jobs 2`, and, as what the machine
//! can do, by one psql and by two that share each layer between them. Ratios of two at once to one after the
//! other are what counts, without and with parallel queries: with them a single refresh fills two cores by
//! itself. Last, what a run costs that finds all of them fresh, and one of 300 small views with nothing to do
//! in each but the refresh.
//!
//! `PGTIDE_BENCH_ROUNDS` changes the rounds and `PGTIDE_BENCH_PROGRAM` the program that is measured.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "measure/machine.rs"]
mod machine;
#[path = "views/site.rs"]
mod site;

use std::time::Duration;

use anyhow::{Context, Result};

use machine::machine;
use site::Site;

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    // `cargo test --all-targets` runs benches too, and has no minutes for them.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let rounds = match std::env::var("PGTIDE_BENCH_ROUNDS") {
        Ok(text) => text.parse().with_context(|| format!("PGTIDE_BENCH_ROUNDS is {text:?}"))?,
        Err(_) => ROUNDS,
    };
    println!("{}", machine());
    let site = Site::start()?;
    println!("30 views in 4 layers, fsync on; seconds");
    for workers in [0, 2] {
        site.set_parallel_workers(workers)?;
        // The first run learns how long each view takes.
        site.refresh(2)?;
        println!("  parallel workers of a query: {workers}");
        println!("    pgtide 1      2   ratio |  psql 1      2   ratio");
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let [one, two] = [site.refresh(1)?, site.refresh(2)?].map(|wall| wall.as_secs_f64());
            let [alone, shared] = [site.psql(1)?, site.psql(2)?].map(|wall| wall.as_secs_f64());
            println!(
                "    {one:>8.2} {two:>6.2} {:>7.3} | {alone:>7.2} {shared:>6.2} {:>7.3}",
                two / one,
                shared / alone
            );
            ratios.push([two / one, shared / alone]);
        }
        let [own, psql] = [0, 1].map(|column| median(ratios.iter().map(|row| row[column])));
        println!("    median          {own:>7.3} |                {psql:>7.3}");
    }
    site.refresh_stale()?;
    let walls = (0..21).map(|_| site.refresh_stale()).collect::<Result<Vec<_>>>()?;
    println!("nothing to refresh in 30: {:.0} ms", 1e3 * median(walls.iter().map(Duration::as_secs_f64)));
    site.make_small_views()?;
    let wall = site.refresh(2)?;
    println!("300 small views: {:.1} ms each", wall.as_secs_f64() * 1e3 / 300.0);
    Ok(())
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
