//! The shared pair of servers, their version, and databases on them.

use std::env;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pgtide::sandbox::{Options, Programs, Server};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{CANARY, until};

static SHARED: OnceLock<(Server, Server)> = OnceLock::new();
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// The two databases of one test, on two servers.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) source: Database,
    pub(crate) destination: Database,
}

/// Makes an empty database on each of the shared servers; the hint makes its name readable.
pub(crate) async fn databases(hint: &str) -> Pair {
    let (source, destination) = tokio::task::spawn_blocking(shared).await.unwrap();
    let name = format!("{hint}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let (source, destination) =
        tokio::join!(Database::create(source, &name), Database::create(destination, &name));
    Pair { source, destination }
}

/// Starts a server of its own for a test that stops or crashes it.
pub(crate) async fn private_server(hint: &str) -> Server {
    private_server_with(hint, Options::default()).await
}

/// The same with options.
pub(crate) async fn private_server_with(hint: &str, options: Options) -> Server {
    let hint = hint.to_owned();
    tokio::task::spawn_blocking(move || start(&hint, &options)).await.unwrap()
}

fn shared() -> &'static (Server, Server) {
    SHARED.get_or_init(|| {
        let source = thread::spawn(|| start_with(&source_programs(), "source", &Options::default()));
        let destination = start("destination", &Options::default());
        (source.join().unwrap(), destination)
    })
}

fn start(name: &str, options: &Options) -> Server {
    start_with(&programs(), name, options)
}

fn start_with(programs: &Programs, name: &str, options: &Options) -> Server {
    Server::start(programs, name, options).unwrap_or_else(|e| panic!("{}\n{:?}", e.chain(), e.details()))
}

fn programs() -> Programs {
    Programs::find().unwrap_or_else(|e| panic!("{e}\n{}", e.hint().unwrap_or_default()))
}

/// Of another version than the destination's, if `PG_BIN_SOURCE` says so.
fn source_programs() -> Programs {
    match env::var_os("PG_BIN_SOURCE") {
        Some(dir) => Programs::named("PG_BIN_SOURCE", Path::new(&dir)).unwrap(),
        None => programs(),
    }
}

/// The major version of the destination and of private servers: what a test expects may depend on it.
pub(crate) fn server_major() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| major(&programs()))
}

/// The lower of the two servers' versions: what both can make.
pub(crate) fn lower_major() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| server_major().min(major(&source_programs())))
}

fn major(programs: &Programs) -> u32 {
    let digits: String = programs.version().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Waits until the server has counted every row that was written by now. Before Postgres 15 a process of
/// its own counts, up to a second late, in the order in which it is told; what it is told may be lost on the
/// way, so another row is written every 200 looks.
pub(crate) async fn until_counted(database: &Database) {
    if server_major() >= 15 {
        return;
    }
    let client = database.client().await;
    client.batch_execute("create temporary table written_last (n int)").await.unwrap();
    let probes = AtomicUsize::new(0);
    let sql = "select pg_stat_get_tuples_inserted('pg_temp.written_last'::regclass)";
    until("the rows are counted", || async {
        if probes.fetch_add(1, Ordering::Relaxed).is_multiple_of(200) {
            client.batch_execute("insert into pg_temp.written_last values (1)").await.unwrap();
        }
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}

/// One database of one test.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    name: String,
    port: u16,
}

impl Database {
    /// Creates a database with this name; the name must be a plain word.
    pub(crate) async fn create(server: &Server, name: &str) -> Self {
        let admin = Self::existing(server, "postgres");
        admin.exec(&format!("create database {name} template template0")).await;
        Self::existing(server, name)
    }

    /// A database that is there already.
    pub(crate) fn existing(server: &Server, name: &str) -> Self {
        Self { name: name.to_owned(), port: server.port() }
    }

    /// Another database of the same server.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self { name: name.to_owned(), port: self.port }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL for the program; its password is not asked for and must never be printed.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The URL through another port, such as a proxy's.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres:{CANARY}@127.0.0.1:{port}/{}?sslmode=disable", self.name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A new connection; its task ends with the client.
    pub(crate) async fn client(&self) -> Client {
        self.try_client().await.unwrap_or_else(|e| panic!("connecting to {}: {e}", self.name))
    }

    /// The same for a server that may be down.
    pub(crate) async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements, separated by semicolons, on a connection of their own.
    pub(crate) async fn exec(&self, sql: &str) {
        let result = self.client().await.batch_execute(sql).await;
        result.unwrap_or_else(|e| panic!("{}: {e:?}\n{sql}", self.name));
    }

    /// The first column of the first row as text; fails when there is no row or it is null.
    pub(crate) async fn scalar(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        let value = rows.first().and_then(|row| row.first().cloned().flatten());
        value.unwrap_or_else(|| panic!("no value from {sql}"))
    }

    /// Waits until a session waits for a lock on a relation.
    pub(crate) async fn until_awaited(&self, relation: &str) {
        let sql =
            format!("select count(*) from pg_locks where not granted and relation = '{relation}'::regclass");
        until(&format!("a session waits for {relation}"), || async { self.scalar(&sql).await != "0" }).await;
    }

    /// All rows as text.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.client().await.simple_query(sql).await;
        let messages = messages.unwrap_or_else(|e| panic!("{}: {e:?}\n{sql}", self.name));
        messages.iter().filter_map(values).collect()
    }
}

fn values(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
}
