//! What the command line said that is stronger than every file.
//!
//! The command line fills it in as typed; a project checks it and applies it to jobs.

use std::fmt;
use std::path::PathBuf;

/// Options of the command line, as typed; none means that files and defaults decide.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--config`: the project file.
    pub config: Option<PathBuf>,
    /// `--source`: a connection's name, a URL or a keyword string.
    pub source: Option<String>,
    /// `--destination`: a connection's name, a URL or a keyword string.
    pub destination: Option<String>,
    /// `--writers`.
    pub writers: Option<u64>,
    /// `--batch-rows`.
    pub batch_rows: Option<u64>,
    /// `--batch-bytes`, in bytes.
    pub batch_bytes: Option<u64>,
    /// `--retries`.
    pub retries: Option<u64>,
    /// `--parallel`: intervals at once in this process.
    pub parallel: Option<u64>,
}

impl Overrides {
    /// Whether a `--source` or `--destination` is a place, not a connection's name.
    #[must_use]
    pub fn is_place(text: &str) -> bool {
        text.contains("://") || text.contains('=')
    }
}

/// Hides places, which may hold a password.
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &Option<String>| match text.as_deref() {
            Some(place) if Self::is_place(place) => Some("(a place)".to_owned()),
            name => name.map(str::to_owned),
        };
        f.debug_struct("Overrides")
            .field("config", &self.config)
            .field("source", &shown(&self.source))
            .field("destination", &shown(&self.destination))
            .field("writers", &self.writers)
            .field("batch_rows", &self.batch_rows)
            .field("batch_bytes", &self.batch_bytes)
            .field("retries", &self.retries)
            .field("parallel", &self.parallel)
            .finish()
    }
}
