//! pgtide's reading side alone: the source's rows become chunks, and the chunks are thrown away.

use std::time::Instant;

use anyhow::{Result, ensure};
use nix::sys::resource::UsageWho;
use pgtide::chunk::{self, Received};
use pgtide::config::connection::ConnectionSpec;
use pgtide::extract::{Extract, ReadColumn, extract};
use pgtide::postgres::bound::Condition;
use pgtide::postgres::connect::{Session, Side};

use super::pair::Pair;
use super::process::{Cost, cpu_of};

/// As many as the engine lets wait for two writers.
const QUEUED_CHUNKS: usize = 4;

/// Reads every row of the pair's source.
pub(crate) fn discard(pair: &Pair) -> Result<Cost> {
    pair.checkpoint()?;
    pair.with_servers(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (before, start) = (cpu_of(UsageWho::RUSAGE_SELF)?, Instant::now());
        let rows = runtime.block_on(read(&pair.source_url()))?;
        ensure!(rows == pair.rows, "{rows} rows were read");
        let (wall, cpu) = (start.elapsed(), cpu_of(UsageWho::RUSAGE_SELF)? - before);
        Ok(Cost { wall, cpu, ..Cost::default() })
    })
}

async fn read(url: &str) -> Result<u64> {
    let spec = ConnectionSpec::from_url("source", url)?;
    let mut session = Session::open(&spec, Side::Source, "pgtide bench").await?;
    let columns = session.client().prepare("select * from public.lineitem").await?;
    let what = Extract {
        sql: "select * from public.lineitem".to_owned(),
        bounds: Condition::default(),
        lock: vec!["public.lineitem".to_owned()],
        all_locked: true,
        completion: None,
        timezone: "UTC".to_owned(),
        role_search_path: false,
        columns: columns.columns().iter().map(read_column).collect(),
        comment: "pgtide bench".to_owned(),
    };
    let (sender, chunks) = chunk::channel(QUEUED_CHUNKS);
    let discarding = async { while matches!(chunks.recv().await, Received::Chunk(_)) {} };
    let (extracted, ()) = tokio::join!(extract(&mut session, &what, sender), discarding);
    let rows = extracted?.total.rows;
    session.close().await;
    Ok(rows)
}

fn read_column(column: &tokio_postgres::Column) -> ReadColumn {
    ReadColumn { name: column.name().to_owned(), type_oid: column.type_().oid(), typmod: None }
}
