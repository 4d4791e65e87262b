//! A TCP proxy in front of a server that stalls, delays, swallows or cuts on demand.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Database;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the program to the server.
    ToServer,
    /// From the server to the program.
    ToClient,
}

/// What the network does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Passes bytes on, each piece after this delay.
    Pass(Duration),
    /// Accepts and reads nothing: senders run full.
    Stall,
    /// Reads and throws away: the other side hears nothing.
    Blackhole,
    /// All connections are cut; new ones are too.
    Cut,
}

/// The proxy; dropping it cuts everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    passed: [AtomicU64; 2],
    /// The connection is cut when so many bytes have passed; `u64::MAX` is never.
    cut_at: [AtomicU64; 2],
}

impl Proxy {
    /// Starts a proxy in front of a database's server.
    pub(crate) async fn start(database: &Database) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass(Duration::ZERO)),
            passed: Default::default(),
            cut_at: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
        });
        let task = tokio::spawn(accept(listener, database.port(), Arc::clone(&shared)));
        Self { port, shared, task }
    }

    /// The database's URL through this proxy.
    pub(crate) fn url(&self, database: &Database) -> String {
        database.url_at(self.port)
    }

    /// Stops reading, both ways, with all connections open.
    pub(crate) fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Reads and throws away, both ways.
    pub(crate) fn blackhole(&self) {
        self.shared.mode.send_replace(Mode::Blackhole);
    }

    /// Passes each piece on after a delay.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.mode.send_replace(Mode::Pass(delay));
    }

    /// Cuts all connections, and new ones until `heal`.
    pub(crate) fn cut(&self) {
        self.shared.mode.send_replace(Mode::Cut);
    }

    /// Cuts all connections when so many more bytes have passed this way; the rest is not delivered.
    pub(crate) fn cut_after(&self, bytes: u64, direction: Direction) {
        let way = direction as usize;
        let passed = self.shared.passed[way].load(Ordering::SeqCst);
        self.shared.cut_at[way].store(passed + bytes, Ordering::SeqCst);
    }

    /// Makes the network good again; connections that were cut stay cut.
    pub(crate) fn heal(&self) {
        for limit in &self.shared.cut_at {
            limit.store(u64::MAX, Ordering::SeqCst);
        }
        self.shared.mode.send_replace(Mode::Pass(Duration::ZERO));
    }

    /// Whether connections are cut at present.
    pub(crate) fn is_cut(&self) -> bool {
        *self.shared.mode.borrow() == Mode::Cut
    }

    /// Bytes that have passed this way, over all connections.
    pub(crate) fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(serve(client, port, Arc::clone(&shared)));
    }
}

/// Serves one connection until either side ends or it is cut; dropping both sockets closes them.
async fn serve(client: TcpStream, port: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    // Small messages go on at once, as they do without a proxy.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut mode = shared.mode.subscribe();
    tokio::select! {
        () = pump(client_read, server_write, &shared, Direction::ToServer) => {}
        () = pump(server_read, client_write, &shared, Direction::ToClient) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    direction: Direction,
) {
    let way = direction as usize;
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let read = tokio::select! {
            biased;
            _ = mode.changed() => continue,
            read = from.read(&mut buffer) => read,
        };
        let Ok(read @ 1..) = read else { return };
        let now = *mode.borrow();
        if now == Mode::Blackhole {
            continue;
        }
        // Even a sleep of nothing lasts a millisecond.
        if let Mode::Pass(delay) = now
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
        let passed = shared.passed[way].load(Ordering::SeqCst);
        let room = shared.cut_at[way].load(Ordering::SeqCst).saturating_sub(passed);
        let share = read.min(usize::try_from(room).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..share]).await.is_err() {
            return;
        }
        shared.passed[way].fetch_add(share as u64, Ordering::SeqCst);
        if share < read {
            shared.mode.send_replace(Mode::Cut);
            return;
        }
    }
}
