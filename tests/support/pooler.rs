//! A pooler between the program and a real server, as PgBouncer is one: it invents the key of every
//! connection, and in transaction mode it gives one server process to whoever's transaction is next.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::Database;

/// How long a client keeps a server process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As long as it is connected.
    Session,
    /// Until its transaction ends; there is one process for all.
    Transaction,
}

/// A pooler in front of one database; it ends with the test.
#[derive(Debug)]
pub(crate) struct Pooler {
    database: Database,
    port: u16,
}

impl Pooler {
    pub(crate) async fn start(database: &Database, mode: Mode) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pool = Arc::new(Pool {
            database: database.clone(),
            idle: Mutex::default(),
            keys: AtomicI32::new(1_000_000),
        });
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pool = Arc::clone(&pool);
                // A client that goes away in the middle is none of a test's business.
                tokio::spawn(async move { pool.serve(Wire::new(client), mode).await });
            }
        });
        Self { database: database.clone(), port }
    }

    pub(crate) fn url(&self) -> String {
        self.database.url_at(self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Another application of the pool.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Everything that a client of the pool finds in the server process that it is given.
    pub(crate) async fn found(&self) -> Vec<String> {
        let sql = "select name || ' = ' || setting from pg_settings
            union all select 'statement ' || name from pg_prepared_statements
            union all select 'cursor ' || name from pg_cursors
            union all select 'lock ' || objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
            union all select 'table ' || relname from pg_class where relpersistence = 't'
            union all select 'role ' || current_user
            order by 1";
        let rows = self.client().await.simple_query(sql).await.unwrap();
        let text = |message: &tokio_postgres::SimpleQueryMessage| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.iter().filter_map(text).collect()
    }

    /// Fails if a client finds anything else than before.
    pub(crate) async fn assert_found(&self, before: &[String], what: &str) {
        let now = self.found().await;
        let new: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        let gone: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        assert!(new.is_empty() && gone.is_empty(), "{what} left {new:?}, and took {gone:?}");
    }
}

struct Pool {
    database: Database,
    /// The one server process of transaction mode; none before its first use, or when a client left it open.
    idle: Mutex<Option<Wire>>,
    keys: AtomicI32,
}

impl Pool {
    async fn serve(&self, mut client: Wire, mode: Mode) -> io::Result<()> {
        let Some(start) = client.start_message().await? else { return Ok(()) };
        // A request to cancel has a code of its own where a version would stand.
        if start.get(4..6) == Some(&1234_u16.to_be_bytes()) {
            return Ok(());
        }
        let mut held = self.idle.lock().await;
        if mode == Mode::Session {
            drop(held);
            let (mut server, greeting) = self.server().await?;
            client.stream.write_all(&self.greeting(&greeting)).await?;
            return serve_transactions(&mut client, &mut server, false).await.map(drop);
        }
        let (server, greeting) = self.server().await?;
        if held.is_none() {
            *held = Some(server);
        }
        drop(held);
        client.stream.write_all(&self.greeting(&greeting)).await?;
        while client.has_more().await? {
            let mut held = self.idle.lock().await;
            let mut server = match held.take() {
                Some(server) => server,
                None => self.server().await?.0,
            };
            // A server process in the middle of something is closed.
            if serve_transactions(&mut client, &mut server, true).await? {
                *held = Some(server);
            }
        }
        Ok(())
    }

    /// A connection of the pool to the server, and what the server said of itself.
    async fn server(&self) -> io::Result<(Wire, Vec<u8>)> {
        let mut server = Wire::new(TcpStream::connect((Ipv4Addr::LOCALHOST, self.database.port())).await?);
        let body = format!(
            "\0\x03\0\0user\0postgres\0database\0{}\0application_name\0pool\0\0",
            self.database.name()
        );
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        server.stream.write_all(&[&length, body.as_bytes()].concat()).await?;
        let mut greeting = Vec::new();
        while let Some(message) = server.message().await? {
            match message[0] {
                b'S' => greeting.extend(message),
                b'Z' => break,
                _ => {}
            }
        }
        Ok((server, greeting))
    }

    /// What a client is told: all that the server says, and a key that is nobody's.
    fn greeting(&self, parameters: &[u8]) -> Vec<u8> {
        let key = self.keys.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        [b"R\0\0\0\x08\0\0\0\0", parameters, b"K\0\0\0\x0c", &key, b"\0\0\0\x01", b"Z\0\0\0\x05I"].concat()
    }
}

/// Passes messages until a transaction has ended, or until the client has; says whether the server
/// process is as it was.
async fn serve_transactions(client: &mut Wire, server: &mut Wire, one: bool) -> io::Result<bool> {
    let (mut unanswered, mut in_transaction) = (0_u32, false);
    loop {
        tokio::select! {
            message = client.message() => match message? {
                Some(message) if message[0] != b'X' => {
                    unanswered += u32::from(matches!(message[0], b'Q' | b'S'));
                    server.stream.write_all(&message).await?;
                }
                _ => return Ok(unanswered == 0 && !in_transaction),
            },
            message = server.message() => {
                let Some(message) = message? else { return Ok(false) };
                client.stream.write_all(&message).await?;
                if message[0] == b'Z' {
                    unanswered -= 1;
                    in_transaction = message[5] != b'I';
                    if one && unanswered == 0 && !in_transaction {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// One end of a connection, in whole messages.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Reads on; false at the end. What is read stays when this is not waited for any longer.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.read).await? > 0)
    }

    async fn has_more(&mut self) -> io::Result<bool> {
        Ok(!self.read.is_empty() || self.fill().await?)
    }

    async fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.whole(1).await
    }

    async fn start_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.whole(0).await
    }

    /// A message whose length stands behind so many bytes.
    async fn whole(&mut self, before: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.read.get(before..before + 4) {
                let length = before + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= length {
                    return Ok(Some(self.read.drain(..length).collect()));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }
}
