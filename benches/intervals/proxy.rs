//! A proxy that counts round trips: how often the client speaks again after it was answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// A listening proxy in front of one server.
pub(crate) struct Proxy {
    port: u16,
    round_trips: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens for as long as the process lives.
    pub(crate) fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let round_trips = Arc::new(AtomicU64::new(0));
        let counter = round_trips.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                serve(client, server, &counter);
            }
        });
        Ok(Self { port, round_trips })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

fn serve(client: TcpStream, server: TcpStream, round_trips: &Arc<AtomicU64>) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let answered = Arc::new(AtomicBool::new(true));
    let (was_answered, counter) = (answered.clone(), round_trips.clone());
    thread::spawn(move || {
        pass(client, server, || {
            counter.fetch_add(u64::from(was_answered.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
        })
    });
    thread::spawn(move || pass(server_too, client_too, || answered.store(true, Ordering::Relaxed)));
}

fn pass(mut from: TcpStream, mut to: TcpStream, at_each: impl Fn()) {
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        at_each();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
