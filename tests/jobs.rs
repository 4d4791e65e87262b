//! The jobs that the repository shows, run as a reader would run them, on the data of the demo.
//!
//! Each file of `jobs/` has a row in [`EXAMPLES`], which says in plain SQL what the destination must
//! hold afterwards; a file without one fails the test. The second run must change nothing at all.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::cli::Output;
use crate::support::{self, Pair, rows};

/// A job, how it is run, and what must come of it.
struct Example {
    name: &'static str,
    dates: &'static [&'static str],
    /// What the source has, as the destination should have it.
    expected: &'static str,
    /// The destination, with the columns in the same order.
    stored: &'static str,
}

const JANUARY: &[&str] = &["--from-date", "2013-01-01", "--to-date", "2013-01-31"];

const EXAMPLES: &[Example] = &[
    Example {
        name: "aircraft",
        dates: JANUARY,
        // Days are merged oldest first, so each aircraft has the values of the last day it was seen.
        expected: "(select distinct on (tailnum) tailnum, last_seen, carrier, longest
                    from (select tailnum, max(time_hour) as last_seen, max(carrier) as carrier, max(distance) as longest
                          from public.flights where tailnum is not null group by tailnum, year, month, day) days
                    order by tailnum, last_seen desc)",
        stored: "(select tailnum, last_seen, carrier, longest from mart.aircraft)",
    },
    Example { name: "airlines", dates: &[], expected: "public.airlines", stored: "mart.airlines" },
    Example {
        name: "delays",
        dates: JANUARY,
        expected: "(select carrier, flight, origin, dest, time_hour, dep_delay, arr_delay
                    from public.flights where dep_delay >= 60)",
        stored: "(select carrier, flight, origin, dest, time_hour, dep_delay, arr_delay from mart.delays)",
    },
    Example { name: "departures", dates: &[], expected: "public.departures", stored: "mart.departures" },
    Example { name: "flights", dates: JANUARY, expected: "public.flights", stored: "mart.flights" },
];

#[test]
fn every_job_file_has_an_example_here() {
    let files = std::fs::read_dir(repository().join("jobs")).unwrap().map(|entry| entry.unwrap().path());
    let jobs = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let names: BTreeSet<String> =
        jobs.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let known: BTreeSet<String> = EXAMPLES.iter().map(|example| example.name.to_owned()).collect();
    assert_eq!(names, known);
}

#[tokio::test]
async fn every_job_loads_what_its_query_says_and_a_second_run_changes_nothing() {
    let db = support::databases("jobs").await;
    support::flights::load_january(&db.source).await;
    for example in EXAMPLES {
        run(&db, example).await.expect(0);
        let name = example.name;
        let expected = rows::digest(&db.source, example.expected).await;
        assert!(expected.rows > 0, "{name}: the example shows nothing");
        assert_eq!(rows::digest(&db.destination, example.stored).await, expected, "{name}");
        let before = versions(&db, example).await;
        run(&db, example).await.expect(0);
        assert_eq!(versions(&db, example).await, before, "{name}: the second run changed something");
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn run(db: &Pair, example: &Example) -> Output {
    let run = support::pgtide(&["run", example.name]).dir(repository());
    let run = example.dates.iter().fold(run, |run, argument| run.arg(argument));
    run.env("SOURCE_URL", db.source.url()).env("WAREHOUSE_URL", db.destination.url()).run().await
}

/// The row versions of the job's table and of the whole ledger: any write shows.
async fn versions(db: &Pair, example: &Example) -> Vec<rows::Digest> {
    let table = format!("mart.{}", example.name);
    let mut digests = Vec::new();
    for table in [&*table, "pgtide.interval", "pgtide.batch", "pgtide.attempt", "pgtide.meta"] {
        let versions = format!("(select ctid, xmin, t.* from {table} t)");
        digests.push(rows::digest(&db.destination, &versions).await);
    }
    digests
}
