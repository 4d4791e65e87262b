//! What can go wrong, as data: a kind, what was being done to what, and where it came from.
//!
//! One table, [`ErrorKind::policy`], says what each kind means: the exit code and whether another try
//! can help. The default is the safe answer: do not retry. Text for people is made by `report`.

use std::fmt;

/// The result of everything in the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarsely: enough to choose the exit code and whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line asked for something that makes no sense.
    Usage,
    /// A file, an environment variable or a job is not valid.
    Config,
    /// Configuration and databases do not fit: tables, rights, types.
    Preflight,
    /// Another live run holds what this one needs.
    Locked,
    /// The interval has not ended yet, or ended too recently.
    NotComplete,
    /// A server could not be reached, or the connection broke.
    Connection,
    /// The server refused for a reason that passes: deadlock, lock timeout, recovery conflict.
    Contention,
    /// The server is out of disk, memory or connections: stop the run, do not loop.
    Resources,
    /// The claim on the interval was taken over; nothing more of this attempt can commit.
    Fenced,
    /// Rows read, rows stored and rows recorded differ.
    Mismatch,
    /// The server refused, and would refuse again.
    Server,
    /// A signal asked the run to stop.
    Interrupted,
    /// A defect of pgtide.
    Internal,
}

/// What a kind of error means for the process and the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The exit code of the process when this is what ended it.
    pub exit_code: u8,
    /// Whether the same work may be tried again by itself.
    pub retry: bool,
}

impl ErrorKind {
    /// The one table: exit code and retry for each kind.
    #[must_use]
    pub fn policy(self) -> Policy {
        let (exit_code, retry) = match self {
            Self::Usage => (2, false),
            Self::Config | Self::Preflight => (78, false),
            Self::Locked | Self::NotComplete | Self::Resources => (75, false),
            Self::Connection | Self::Contention => (75, true),
            Self::Fenced => (75, false),
            Self::Mismatch | Self::Server | Self::Internal => (1, false),
            Self::Interrupted => (130, false),
        };
        Policy { exit_code, retry }
    }
}

/// An error: its kind, what was being done to what, and its cause.
///
/// `Display` gives the context alone; the cause is [`source`](std::error::Error::source). A row's
/// value never gets in here unless `--show-values` asked for it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: String,
    details: Vec<String>,
    hint: Option<String>,
    sqlstate: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind with what was being done, or what is wrong, in one line.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            context: context.into(),
            details: Vec::new(),
            hint: None,
            sqlstate: None,
            source: None,
        }))
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the next command or change that helps, one or more lines.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds one line below the first: a finding, a column, what is done and what is not.
    #[must_use]
    pub fn with_detail(mut self, line: impl Into<String>) -> Self {
        self.0.details.push(line.into());
        self
    }

    /// Adds the server's five-character code.
    #[must_use]
    pub fn with_sqlstate(mut self, code: impl Into<String>) -> Self {
        self.0.sqlstate = Some(code.into());
        self
    }

    /// Puts what was being done in front: `copying batch 17 of users: ...` stays one line.
    #[must_use]
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Self {
        self.0.context = format!("{doing}: {}", self.0.context);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Lines below the first.
    #[must_use]
    pub fn details(&self) -> &[String] {
        &self.0.details
    }

    /// What to do next, if it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The server's five-character code, if a server said something.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// Whether the same work may be tried again by itself.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.policy().retry
    }

    /// The context and every cause, joined by `: `, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.context.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}
