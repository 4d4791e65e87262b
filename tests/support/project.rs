//! A project as a user has it: `pgtide.toml`, jobs beside it, and two connections.
//!
//! The checks at its end hold after every load, whatever broke on the way.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::cli::{Output, Run, Running, write_file};
use super::{Database, Pair, pgtide, rows, until};

/// A folder with a configuration.
#[derive(Debug)]
pub(crate) struct Project {
    folder: TempDir,
    pub(crate) source: Database,
    pub(crate) destination: Database,
    runs: Arc<()>,
}

impl Project {
    /// A project between the two databases of a test, without retries.
    pub(crate) fn new(pair: &Pair) -> Self {
        Self::through(pair, &pair.source.url(), &pair.destination.url())
    }

    /// The same over other URLs, such as a proxy's.
    pub(crate) fn through(pair: &Pair, source_url: &str, destination_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (pair.source.clone(), pair.destination.clone());
        let project = Self { folder, source, destination, runs: Arc::default() };
        project.file(
            "pgtide.toml",
            &format!(
                "[connections.source]\nurl = \"{source_url}\"\n\
                 [connections.destination]\nurl = \"{destination_url}\"\n\
                 [defaults]\ntimezone = \"America/New_York\"\nretries = 0\n"
            ),
        )
    }

    /// Adds a job.
    pub(crate) fn job(self, name: &str, toml: &str) -> Self {
        self.file(&format!("jobs/{name}.toml"), toml)
    }

    fn file(self, path: &str, text: &str) -> Self {
        write_file(self.folder.path(), path, text);
        self
    }

    /// Adds to `pgtide.toml`.
    pub(crate) fn add_to_file(&self, toml: &str) {
        let file = self.folder().join("pgtide.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}{toml}")).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Prepares a run in the folder; the arguments are separated by spaces.
    pub(crate) fn pgtide(&self, arguments: &str) -> Run {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        pgtide(&arguments).dir(self.folder()).counting(&self.destination, &self.runs)
    }

    /// Waits until neither server has a session of pgtide in the test's databases.
    pub(crate) async fn no_session_left(&self) {
        tokio::join!(no_session_on(&self.source), no_session_on(&self.destination));
    }

    /// Fails unless both sides hold the same rows, the ledger knows of each, and nothing is left over.
    pub(crate) async fn assert_loaded(&self, from: &str, into: &str) {
        self.no_session_left().await;
        rows::assert_equal(&self.source, &self.destination, from, into).await;
        self.assert_ledger_is_settled().await;
        let sums = format!(
            "select (select coalesce(sum(rows), 0) from pgtide.interval), (select count(*) from {into})"
        );
        let sums = self.destination.rows(&sums).await;
        assert_eq!(sums[0][0], sums[0][1], "rows in the ledger, and in {into}");
    }

    /// Fails if an attempt left anything behind: a batch, a token, a staged table, a lock.
    pub(crate) async fn assert_ledger_is_settled(&self) {
        let sql = "select (select count(*) from pgtide.batch) as batches,
            (select count(*) from pgtide.interval where token is not null) as tokens,
            (select count(*) from pg_catalog.pg_class
             where relnamespace = 'pgtide'::regnamespace and relname like 'stage%') as stages,
            (select count(*) from pg_catalog.pg_locks
             where locktype = 'advisory'
               and database = (select oid from pg_catalog.pg_database where datname = current_database())) as locks";
        let left: Vec<_> = self.destination.rows(sql).await[0].iter().flatten().cloned().collect();
        assert_eq!(left, ["0"; 4], "batches, tokens, staged tables and locks that are left");
    }
}

/// Waits until a database has no session of pgtide.
pub(crate) async fn no_session_on(database: &Database) {
    let client = database.client().await;
    let sql = "select count(*) from pg_catalog.pg_stat_activity
               where datname = current_database() and application_name like 'pgtide%'";
    until("no session of pgtide is left", || async {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

/// What the rows of a table are and where they lie: it changes with any write, even of the same values.
pub(crate) async fn versions(database: &Database, table: &str) -> rows::Digest {
    rows::digest(database, &format!("(select ctid, xmin from {table})")).await
}

/// Kills a run, as the machine would, when the moment has come; a run may end by itself before.
pub(crate) async fn kill_when(running: Running, moment: impl Future<Output = ()>) -> Output {
    let pid = running.pid();
    let mut end = pin!(running.finish());
    tokio::select! {
        output = &mut end => return output,
        () = moment => {}
    }
    // It may have ended at this very moment, with its last words still to be read.
    match signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => end.await,
        Err(error) => panic!("killing {pid}: {error}"),
    }
}
