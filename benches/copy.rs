//! The whole way: a table as wide as TPC-H's lineitem, from one throw-away server to another.
//!
//! Each round does the same work twice, by `pgtide copy` with its defaults and by a binary
//! `psql | psql` pipe, one right after the other and in turns first: a machine that is busy with
//! something else is busy for both, so the ratio of a pair says more than any time. Both servers have
//! the defaults of a new cluster, `fsync` included, and a checkpoint before each run.
//!
//! `PGTIDE_BENCH_ROWS` and `PGTIDE_BENCH_ROUNDS` change the size; `cargo bench --bench copy -- memory`
//! runs one part of `pairs`, `read`, `memory`.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod measure;

use anyhow::{Context, Result, ensure};

use measure::figures::{Figures, mebibytes, median, seconds};
use measure::machine::machine;
use measure::pair::Pair;
use measure::process::Cost;

const ROWS: u64 = 6_001_215;
const ROUNDS: u64 = 5;

/// The ways a copy may use ten times of something, which must not show in its memory.
const TENFOLD_BATCHES: [&str; 4] = ["--batch-rows", "500000", "--batch-bytes", "160MiB"];

/// The widest spread of peak memory that still counts as the same.
const SAME_MEMORY: f64 = 1.10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches too, and has no minutes for them.
    if !arguments.iter().any(|a| a == "--bench") {
        return Ok(());
    }
    let wanted = |part: &str| {
        let mut parts = arguments.iter().filter(|a| !a.starts_with('-')).peekable();
        parts.peek().is_none() || parts.any(|p| p == part)
    };
    let (rows, rounds) = (number("PGTIDE_BENCH_ROWS", ROWS)?, number("PGTIDE_BENCH_ROUNDS", ROUNDS)?);
    println!("making {rows} rows of 16 columns on one of two servers, fsync on");
    let pair = Pair::start(rows)?;
    println!("{}", machine());
    if wanted("pairs") {
        pairs(&pair, rounds)?;
    }
    if wanted("read") {
        read(&pair, rounds)?;
    }
    if wanted("memory") {
        memory(pair)?;
    }
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(variable) else { return Ok(default) };
    let number = text.replace('_', "").parse().with_context(|| format!("{variable} is {text:?}"))?;
    ensure!(number > 0, "{variable} is 0");
    Ok(number)
}

/// From one server to the other, pgtide against the pipe.
fn pairs(pair: &Pair, rounds: u64) -> Result<()> {
    println!("\ncopy: `pgtide copy` against `psql | psql`, binary; CPU of each and of the servers beside it");
    let mut figures = Figures::new("pgtide copy", "psql | psql");
    alternate(rounds, &mut figures, || pair.copy(&[]), || pair.pipe())?;
    pair.compare()?;
    figures.sum_up(pair.rows);
    Ok(())
}

/// From the source to nowhere, pgtide's reading against psql's.
fn read(pair: &Pair, rounds: u64) -> Result<()> {
    println!("\nread: source to chunks, discarded, against `psql` to /dev/null, binary");
    let mut figures = Figures::new("pgtide read", "psql");
    alternate(rounds, &mut figures, || measure::read::discard(pair), || pair.psql_discard())?;
    figures.sum_up(pair.rows);
    Ok(())
}

/// Measures both in each round; who is first changes.
fn alternate(
    rounds: u64,
    figures: &mut Figures,
    mut ours: impl FnMut() -> Result<Cost>,
    mut theirs: impl FnMut() -> Result<Cost>,
) -> Result<()> {
    for round in 1..=rounds {
        let (a, b) = if round % 2 == 1 {
            let a = ours()?;
            (a, theirs()?)
        } else {
            let b = theirs()?;
            (ours()?, b)
        };
        figures.add(a, b);
    }
    Ok(())
}

/// Peak memory, which must depend neither on the rows nor on the batches.
fn memory(pair: Pair) -> Result<()> {
    println!("\nmemory: the most that `pgtide copy` held resident");
    let rows = pair.rows;
    let mut peaks = vec![];
    for (what, arguments) in [("defaults", &[][..]), ("batches of 10 times the size", &TENFOLD_BATCHES)] {
        peaks.push(peak(&pair, &format!("{rows} rows, {what}"), arguments)?);
    }
    let fewer = pair.with_rows((rows / 10).max(1))?;
    peaks.push(peak(&fewer, &format!("{} rows, defaults", fewer.rows), &[])?);
    let (least, most) = (peaks.iter().min(), peaks.iter().max());
    let (Some(&least), Some(&most)) = (least, most) else { return Ok(()) };
    let spread = most as f64 / least as f64;
    let verdict = if spread <= SAME_MEMORY { "the same" } else { "NOT the same" };
    println!("  most / least = {spread:.3}: {verdict}, at a limit of {SAME_MEMORY:.2}");
    Ok(())
}

fn peak(pair: &Pair, what: &str, arguments: &[&str]) -> Result<u64> {
    let mut peaks = vec![];
    for _ in 0..3 {
        let cost = pair.copy(arguments)?;
        peaks.push(cost.peak_bytes.context("this system does not tell a process's peak memory")?);
        println!("  {what}: {} in {}", mebibytes(cost.peak_bytes), seconds(cost.wall));
    }
    Ok(median(&mut peaks))
}
