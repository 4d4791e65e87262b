//! Statements that a session keeps prepared, found by their text.
//!
//! What every interval runs again is parsed once per session. A statement that the server does not
//! know any more, or whose result changed its type, makes the session forget all of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::error::{DbError, SqlState};

/// More than the statements of a run; the one that was used longest ago goes first.
const MOST: usize = 64;

/// The statements of one session, the one used last at the end.
#[derive(Default)]
pub(super) struct Statements(Mutex<Vec<(String, Statement)>>);

impl Statements {
    pub(super) fn find(&self, sql: &str) -> Option<Statement> {
        let mut all = self.lock();
        let at = all.iter().rposition(|(text, _)| text == sql)?;
        let found = all.remove(at);
        let statement = found.1.clone();
        all.push(found);
        Some(statement)
    }

    pub(super) fn add(&self, sql: &str, statement: Statement) {
        let mut all = self.lock();
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((sql.to_owned(), statement));
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Statement)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server refuses a statement only because it was prepared earlier: somebody deallocated it,
/// or a column that it returns has another type by now.
pub(super) fn is_outdated(e: &tokio_postgres::Error) -> bool {
    let changed = |db: &DbError| {
        *db.code() == SqlState::FEATURE_NOT_SUPPORTED && db.routine() == Some("RevalidateCachedQuery")
    };
    e.as_db_error().is_some_and(|db| *db.code() == SqlState::INVALID_SQL_STATEMENT_NAME || changed(db))
}
