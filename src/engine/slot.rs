//! The sessions that one running interval uses, kept for the next.
//!
//! A session has one owner and is thrown away after any error or cancellation, never repaired.

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};

use super::{Engine, open_session, stopped};
use crate::config::job::Job;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Slots;
use crate::postgres::connect::{Session, Side};
use crate::postgres::horizon::Horizon;

/// How long the servers may take to hear that a query is not wanted any more.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A source session, a control session, and writers.
pub(super) struct Slot {
    pub(super) source: Option<Session>,
    pub(super) control: Option<Session>,
    pub(super) writers: Vec<Session>,
    /// How far the server of the source session had come when it was asked.
    pub(super) horizon: Option<Horizon>,
    /// What the control session holds of the limits, and since when nobody asked for it.
    held: Option<(Slots, Instant)>,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self { source: None, control: None, writers: Vec::new(), horizon: None, held: None }
    }

    /// Opens the control session alone, if it is missing or broken.
    pub(super) async fn open_control(&mut self, engine: &Engine, job: &Job) -> Result<()> {
        self.forget_lost_control();
        if self.control.is_none() {
            self.control = Some(open_session(engine, Side::Destination, job).await?);
        }
        Ok(())
    }

    /// A lock ends with its session.
    fn forget_lost_control(&mut self) {
        if self.control.take_if(|s| s.is_closed()).is_some() {
            self.held = None;
        }
    }

    /// Opens what is missing or broken, all at once.
    pub(super) async fn open(&mut self, engine: &Engine, job: &Job, writers: usize) -> Result<()> {
        self.source.take_if(|s| s.is_closed());
        if self.source.is_none() {
            self.horizon = None;
        }
        self.forget_lost_control();
        self.writers.retain(|s| !s.is_closed());
        let source = async {
            match self.source.take() {
                Some(session) => Ok(session),
                None => open_session(engine, Side::Source, job).await,
            }
        };
        let control = async {
            match self.control.take() {
                Some(session) => Ok(session),
                None => open_session(engine, Side::Destination, job).await,
            }
        };
        let missing = writers.saturating_sub(self.writers.len());
        let more = try_join_all((0..missing).map(|_| open_session(engine, Side::Destination, job)));
        // To the end each: who mends one connection wants to hear of the other, too.
        let all = async { futures::join!(source, control, more) };
        let mut shutdown = engine.shutdown.clone();
        let (source, control, more) = tokio::select! {
            opened = all => opened,
            () = shutdown.requested() => return Err(stopped()),
        };
        let (source, control) = match (source, control) {
            (Err(source), Err(control)) => return Err(both(source, control)),
            (Err(source), Ok(control)) => {
                // Of use without the source, too.
                self.control = Some(control);
                return Err(source);
            }
            (Ok(source), control) => (source, control?),
        };
        self.source = Some(source);
        self.control = Some(control);
        self.writers.extend(more?);
        Ok(())
    }

    /// What the connections are not, such as encrypted.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.source.iter().chain(&self.control).filter_map(Session::warning).collect()
    }

    pub(super) fn is_open(&self) -> bool {
        self.control.as_ref().is_some_and(|s| !s.is_closed())
    }

    pub(super) fn control(&self) -> Result<&Session> {
        self.control.as_ref().ok_or_else(not_open)
    }

    pub(super) fn source(&self) -> Result<&Session> {
        self.source.as_ref().ok_or_else(not_open)
    }

    /// Keeps what the control session was given.
    pub(super) fn hold(&mut self, slots: Slots) {
        self.held = Some((slots, Instant::now()));
    }

    pub(super) fn forget_held(&mut self) {
        self.held = None;
    }

    /// Nobody else wants what is held, as of now.
    pub(super) fn asked_again(&mut self) {
        if let Some((_, since)) = &mut self.held {
            *since = Instant::now();
        }
    }

    /// The control session, what it holds, and since when nobody asked for it.
    pub(super) fn held(&self) -> Option<(&Session, &Slots, Instant)> {
        let control = self.control.as_ref().filter(|s| !s.is_closed())?;
        self.held.as_ref().map(|(slots, since)| (control, slots, *since))
    }

    /// Closes the sessions that read and write.
    pub(super) async fn close_all_but_control(&mut self) {
        join_all(self.source.take().into_iter().chain(self.writers.drain(..)).map(Session::close)).await;
    }

    /// Closes every session; nothing runs on them.
    pub(super) async fn close(mut self) {
        self.close_all_but_control().await;
        if let Some(control) = self.control.take() {
            control.close().await;
        }
    }

    /// The server processes of the sessions: on the source, on the destination.
    pub(super) fn backends(&self) -> (Vec<i32>, Vec<i32>) {
        let pid = |session: &Session| session.server().backend_pid;
        let destination = self.control.iter().chain(&self.writers);
        (self.source.iter().map(pid).collect(), destination.map(pid).collect())
    }

    /// Ends every session, and what its server is doing for it.
    pub(super) async fn discard(&mut self) {
        self.held = None;
        let sessions =
            self.source.take().into_iter().chain(self.control.take()).chain(self.writers.drain(..));
        let sessions: Vec<_> = sessions.collect();
        let cancels = sessions.iter().filter(|s| !s.is_closed()).map(|s| s.canceller());
        let cancels: Vec<_> = cancels.collect();
        let all = join_all(cancels.iter().map(|c| c.cancel()));
        // A server that does not hear it finds the socket closed a moment later.
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, all).await;
        join_all(sessions.into_iter().map(Session::close)).await;
    }
}

/// One error of two: the one that does not pass by itself first.
fn both(source: Error, destination: Error) -> Error {
    let is_lasting = |error: &Error| !error.is_retryable();
    let (first, second) = match is_lasting(&destination) && !is_lasting(&source) {
        true => (destination, source),
        false => (source, destination),
    };
    let hint = second.hint().filter(|hint| first.hint() != Some(*hint)).map(str::to_owned);
    let error = first.with_detail(format!("and {}", second.chain()));
    match (error.hint().map(str::to_owned), hint) {
        (Some(one), Some(other)) => error.with_hint(format!("{one}\n{other}")),
        (None, Some(other)) => error.with_hint(other),
        (_, None) => error,
    }
}

fn not_open() -> Error {
    Error::new(ErrorKind::Connection, "the session is not open")
}
