//! Binary `COPY ... FROM STDIN`: header, chunks as they are, trailer, and the server's count of rows.
//!
//! A dropped writer aborts its transaction (the driver sends CopyFail), and after any error here the
//! connection must be thrown away: a failed start leaves the driver's protocol state broken.

use std::pin::Pin;

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::{Client, CopyInSink, Statement};

use super::ident;

/// Signature, flags, and no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &(-1i16).to_be_bytes();
/// The largest piece that is sent as one message; the server loses the thread near 1 GiB.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// The statement that copies into a table's columns; `table_sql` is quoted already.
#[must_use]
pub fn copy_statement<S: AsRef<str>>(table_sql: &str, columns: &[S]) -> String {
    if columns.is_empty() {
        return format!("copy {table_sql} from stdin (format binary)");
    }
    format!("copy {table_sql} ({}) from stdin (format binary)", ident::quote_list(columns))
}

/// A COPY under way.
pub struct CopyIn {
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl CopyIn {
    /// Starts a COPY.
    ///
    /// # Errors
    /// The server's; the connection is of no use afterwards.
    pub async fn start(client: &Client, statement: &Statement) -> Result<Self, tokio_postgres::Error> {
        let mut sink = Box::pin(client.copy_in(statement).await?);
        sink.feed(Bytes::from_static(HEADER)).await?;
        Ok(Self { sink })
    }

    /// Sends whole rows.
    ///
    /// # Errors
    /// Only a lost connection; what the server thinks of the rows comes from [`finish`](Self::finish).
    pub async fn send(&mut self, mut rows: Bytes) -> Result<(), tokio_postgres::Error> {
        while rows.len() > MESSAGE_BYTES {
            self.sink.feed(rows.split_to(MESSAGE_BYTES)).await?;
        }
        self.sink.feed(rows).await
    }

    /// Ends the COPY; returns the rows that the server stored.
    ///
    /// # Errors
    /// Whatever was wrong with any row sent.
    pub async fn finish(mut self) -> Result<u64, tokio_postgres::Error> {
        self.sink.feed(Bytes::from_static(TRAILER)).await?;
        self.sink.as_mut().finish().await
    }
}
