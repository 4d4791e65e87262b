//! SIGINT and SIGTERM: the first asks for a safe stop, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{INTERRUPTED, TERMINATED};
use crate::shutdown::ShutdownTrigger;

/// The most time for tidying up after the second signal.
const TIDY: Duration = Duration::from_millis(100);

/// Which signal came first.
#[derive(Debug, Clone, Default)]
pub struct Received(Arc<AtomicU8>);

impl Received {
    /// 130 or 143, if a signal came.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Acquire)).filter(|code| *code != 0)
    }
}

/// Listens from now on, on the current runtime; `say` is called on the first signal, `tidy` before the
/// second ends the process, if it takes no longer than a tenth of a second.
///
/// # Errors
/// When the process cannot listen to signals.
pub fn listen(
    trigger: ShutdownTrigger,
    say: impl FnOnce(&str) + Send + 'static,
    tidy: impl FnOnce() + Send + 'static,
) -> io::Result<Received> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let received = Received::default();
    let first = received.clone();
    tokio::spawn(async move {
        let code = next(&mut interrupt, &mut terminate).await;
        first.0.store(code, Ordering::Release);
        trigger.stop();
        say(if code == INTERRUPTED { "SIGINT" } else { "SIGTERM" });
        let code = next(&mut interrupt, &mut terminate).await;
        // A terminal that is held must not hold the process. Nothing else is waited for: whatever is
        // open dies with its connections.
        let _ = tokio::time::timeout(TIDY, tokio::task::spawn_blocking(tidy)).await;
        std::process::exit(code.into());
    });
    Ok(received)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => TERMINATED,
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal as Sent, raise};

    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_for_a_stop_and_gives_the_code() {
        let (trigger, mut shutdown) = crate::shutdown::channel();
        let (tx, said) = tokio::sync::oneshot::channel();
        let received = listen(trigger, move |name| drop(tx.send(name.to_owned())), || ()).unwrap();
        assert_eq!(received.exit_code(), None);
        raise(Sent::SIGTERM).unwrap();
        shutdown.requested().await;
        assert_eq!(said.await.as_deref(), Ok("SIGTERM"));
        assert_eq!(received.exit_code(), Some(TERMINATED));
    }
}
