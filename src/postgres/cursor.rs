//! The named server-side cursor: a named portal whose rows go through the tap, never through `Row`.
//!
//! A portal is the object that `DECLARE CURSOR` makes, without the tuplestore that SQL `FETCH` fills
//! first. The next fetch is sent before the previous one is consumed, so neither server waits for the
//! other. Called by `extract`, inside its transaction.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Portal, RowStream, Statement, Transaction};

use super::row_tap::{Diverted, TapHandle};
use crate::chunk::ChunkSender;

/// Rows of one fetch: large enough that a fetch costs nothing, small enough to suspend now and then.
pub const FETCH_ROWS: i32 = 20_000;

/// How many fetches are under way at once.
const FETCHES_AHEAD: usize = 2;

/// Why a cursor stopped before its end.
#[derive(Debug)]
pub enum CursorError {
    /// The server or the connection; the first error, not the 25P02 that follows it.
    Postgres(tokio_postgres::Error),
    /// A row came past the tap, or the server counted other rows than the tap.
    Miscounted {
        /// What the tap saw.
        diverted: u64,
        /// What came past it.
        passed: u64,
    },
}

impl From<tokio_postgres::Error> for CursorError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// An open cursor.
pub struct Cursor<'t> {
    transaction: &'t Transaction<'t>,
    portal: Portal,
    tap: TapHandle,
}

impl<'t> Cursor<'t> {
    /// Opens a cursor over a prepared query.
    ///
    /// # Errors
    /// The server's, such as a parameter of the wrong type.
    pub async fn open(
        transaction: &'t Transaction<'t>,
        tap: &TapHandle,
        statement: &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Self, tokio_postgres::Error> {
        let portal = transaction.bind(statement, params).await?;
        Ok(Self { transaction, portal, tap: tap.clone() })
    }

    /// Sends every row into the channel, as chunks, and says so at the end.
    ///
    /// # Errors
    /// The first error of a fetch; the channel is then left without its end, which aborts the load.
    pub async fn drain(self, sender: ChunkSender) -> Result<Diverted, CursorError> {
        self.tap.arm(sender.queue());
        let fetched = self.fetch_all().await;
        let (last, total) = self.tap.disarm();
        let passed = fetched?;
        if passed > 0 {
            return Err(CursorError::Miscounted { diverted: total.rows, passed });
        }
        if last.rows > 0 {
            sender.send(last).await;
        }
        sender.finish();
        Ok(total)
    }

    /// Fetches to the end; returns how many rows came past the tap, which must be none.
    async fn fetch_all(&self) -> Result<u64, tokio_postgres::Error> {
        let mut under_way: VecDeque<Pin<Box<RowStream>>> = VecDeque::new();
        let mut complete = false;
        let mut passed = 0;
        loop {
            while !complete && under_way.len() < FETCHES_AHEAD {
                let fetch = self.transaction.query_portal_raw(&self.portal, FETCH_ROWS).await?;
                under_way.push_back(Box::pin(fetch));
            }
            let Some(mut fetch) = under_way.pop_front() else {
                return Ok(passed);
            };
            while fetch.try_next().await?.is_some() {
                passed += 1;
            }
            // A suspended portal has no command tag; a completed one has.
            complete |= fetch.rows_affected().is_some();
        }
    }
}
