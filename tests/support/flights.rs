//! The flights of 2013 in a test's database.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use pgtide::sandbox::flights;

use super::Database;

/// Flights of the whole year, in New York dates.
pub(crate) const YEAR_ROWS: u64 = 336_776;

/// The file of the year: the one that `PGTIDE_FLIGHTS` names, with all columns, or the committed one with nine.
pub(crate) fn year() -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/flights-2013.csv.gz");
    env::var_os("PGTIDE_FLIGHTS").map_or(committed, PathBuf::from)
}

/// Makes `public.flights`, `public.airlines` and `public.departures`, with January's 27,004 flights.
pub(crate) async fn load_january(database: &Database) {
    let client = database.client().await;
    flights::create_tables(&client).await.unwrap();
    assert_eq!(flights::load_january(&client).await.unwrap(), flights::JANUARY_ROWS);
}

/// Makes `public.flights` and `public.airlines`, with all flights of the year.
pub(crate) async fn load_year(database: &Database) {
    let client = database.client().await;
    flights::create_tables(&client).await.unwrap();
    let file = File::open(year()).unwrap();
    assert_eq!(flights::load(&client, file).await.unwrap(), YEAR_ROWS);
}
