//! What the tap costs per row, without any server: a stream of `DataRow` messages in memory, as a
//! server sends it, goes through the tap and becomes chunks.
//!
//! Every figure is the CPU time of one row of 16 columns, which other work on the machine disturbs
//! less than a clock's time. `copy` is the floor: the same bytes, from the stream to a buffer of the
//! socket's size and from there to chunks, with nothing looked at; `digest` is what has to be added.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pgtide::chunk::CHUNK_BYTES;
use pgtide::postgres::row_tap::{Diverted, RowTap};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use xxhash_rust::xxh3::xxh3_64;

/// Enough that the stream does not fit into any cache, as a real one does not.
const ROWS: u64 = 200_000;

/// The bytes that a read of the socket brings.
const READ_BYTES: usize = 64 * 1024;

fn benches(c: &mut Criterion) {
    let stream = stream(ROWS);
    let rows = rows(&stream);
    let runtime = Builder::new_current_thread().build().expect("a runtime without drivers needs nothing");
    let mut group = c.benchmark_group("row");
    group.bench_function("tap", |b| b.iter_custom(|n| per_row(n, || tap(&runtime, &stream))));
    group.bench_function("digest", |b| b.iter_custom(|n| per_row(n, || digest(&rows))));
    group.bench_function("copy", |b| b.iter_custom(|n| per_row(n, || copy(&stream))));
    group.finish();
}

/// The time of so many rows, from as many passes over the stream as give at least that many.
fn per_row<T>(rows: u64, mut pass: impl FnMut() -> T) -> Duration {
    let passes = rows.div_ceil(ROWS);
    let before = cpu();
    for _ in 0..passes {
        black_box(pass());
    }
    (cpu() - before).mul_f64(rows as f64 / (passes * ROWS) as f64)
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

/// Diverts the whole stream; the chunks are dropped as soon as they are there.
fn tap(runtime: &Runtime, stream: &[u8]) -> Diverted {
    runtime.block_on(async {
        let (mut tap, handle) = RowTap::new(stream);
        let (sender, chunks) = async_channel::bounded(2);
        handle.arm(sender);
        let mut passed = [0; 64];
        let reading = async {
            while tap.read(&mut passed).await.expect("the stream is well-formed") > 0 {}
            let (last, total) = handle.disarm();
            drop(last);
            total
        };
        let dropping = async { while chunks.recv().await.is_ok() {} };
        let (total, ()) = tokio::join!(reading, dropping);
        assert_eq!(total.rows, ROWS);
        total
    })
}

fn digest(rows: &[&[u8]]) -> u64 {
    rows.iter().fold(0, |sum, row| sum.wrapping_add(xxh3_64(row)))
}

fn copy(stream: &[u8]) -> usize {
    let mut buffer = vec![0; READ_BYTES];
    let mut copied = 0;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + READ_BYTES);
    for read in stream.chunks(READ_BYTES) {
        buffer[..read.len()].copy_from_slice(read);
        chunk.extend_from_slice(black_box(&buffer[..read.len()]));
        if chunk.len() >= CHUNK_BYTES {
            copied += black_box(&chunk).len();
            chunk = Vec::with_capacity(CHUNK_BYTES + READ_BYTES);
        }
    }
    copied + chunk.len()
}

/// `DataRow` messages like TPC-H's lineitem, which has 16 columns of seven types.
fn stream(rows: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    for row in 0..rows {
        let body = body(row);
        stream.push(b'D');
        stream.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        stream.extend_from_slice(&body);
    }
    stream
}

/// The bodies of a stream's messages.
fn rows(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut rows = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let [_, length @ ..] = *header;
        let (body, rest) = rest.split_at(u32::from_be_bytes(length) as usize - 4);
        rows.push(body);
        stream = rest;
    }
    rows
}

fn body(row: u64) -> Vec<u8> {
    let (key, integer, number, text) = (row.to_be_bytes(), [1; 4], [3; 12], [b'x'; 44]);
    let comment = &text[..10 + (row % 34) as usize];
    let mut fields: Vec<&[u8]> = vec![&key];
    fields.extend([&integer[..]; 3]);
    fields.extend([&number[..]; 4]);
    fields.extend([&text[..1]; 2]);
    fields.extend([&integer[..]; 3]);
    fields.extend([&text[..25], &text[..10], comment]);
    let mut body = (fields.len() as i16).to_be_bytes().to_vec();
    for field in fields {
        body.extend_from_slice(&(field.len() as i32).to_be_bytes());
        body.extend_from_slice(field);
    }
    body
}

criterion_group!(all, benches);
criterion_main!(all);
