//! Real rows for the demo and the tests: flights from New York City in 2013, by airline.
//!
//! January is part of the program; the tests bring the year. `jobs/data/README.md` says where the
//! data is from. The tables are made as an application would own them, and know nothing of pgtide.

use std::io::{BufRead, BufReader, Read};
use std::pin::pin;

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::SinkExt;
use tokio_postgres::Client;

use crate::error::{Error, ErrorKind, Result};

/// Rows of January, by local date.
pub const JANUARY_ROWS: u64 = 27_004;

const TABLES: &str = include_str!("flights.sql");
const DEPARTURES: &str = "
insert into public.departures
select row_number() over (order by time_hour, carrier, flight),
       time_hour, carrier, flight, tailnum, origin, dest, dep_delay
from public.flights
where dep_time is not null";
const JANUARY: &[u8] = include_bytes!("../../jobs/data/flights-2013-01.csv.gz");
const AIRLINES: &[u8] = include_bytes!("../../jobs/data/airlines.csv");

const PIECE_BYTES: usize = 64 * 1024;

/// Creates `public.airlines`, filled, and `public.flights` and `public.departures`, empty.
///
/// # Errors
/// When the server refuses, for example because they exist.
pub async fn create_tables(client: &Client) -> Result<()> {
    client.batch_execute(TABLES).await.map_err(|e| refused("creating the demo's tables", e))?;
    copy(client, "public.airlines", AIRLINES).await.map(|_| ())
}

/// Adds the flights of January 2013, New York dates, to `public.flights`, and those that departed to
/// `public.departures`; returns the number of flights.
///
/// # Errors
/// When the server refuses.
pub async fn load_january(client: &Client) -> Result<u64> {
    let rows = load(client, JANUARY).await?;
    client.execute(DEPARTURES, &[]).await.map_err(|e| refused("filling public.departures", e))?;
    Ok(rows)
}

/// Adds flights from gzipped CSV to `public.flights`, by the columns of its first line; returns their number.
///
/// # Errors
/// When the input cannot be read or the server refuses.
pub async fn load(client: &Client, gzipped: impl Read) -> Result<u64> {
    copy(client, "public.flights", GzDecoder::new(gzipped)).await
}

async fn copy(client: &Client, table: &str, csv: impl Read) -> Result<u64> {
    let doing = || format!("filling {table}");
    let unreadable = |e: std::io::Error| Error::new(ErrorKind::Internal, doing()).with_source(e);
    let mut csv = BufReader::with_capacity(PIECE_BYTES, csv);
    let mut columns = String::new();
    csv.read_line(&mut columns).map_err(unreadable)?;
    let sql = format!("copy {table} ({}) from stdin with (format csv, null 'NA')", columns.trim_end());
    let sink = client.copy_in::<_, Bytes>(&sql).await.map_err(|e| refused(&doing(), e))?;
    let mut sink = pin!(sink);
    loop {
        let piece = Bytes::copy_from_slice(csv.fill_buf().map_err(unreadable)?);
        if piece.is_empty() {
            return sink.finish().await.map_err(|e| refused(&doing(), e));
        }
        csv.consume(piece.len());
        sink.send(piece).await.map_err(|e| refused(&doing(), e))?;
    }
}

fn refused(doing: &str, source: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Server, doing).with_source(source)
}
