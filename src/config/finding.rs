//! What is wrong with the configuration: file, line, key, what would be right.
//!
//! Every problem is found before anything runs and all are told at once: [`to_error`] makes one
//! error of many findings.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as a person in the current folder would write it.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where it is, if it is in a file.
    pub place: Option<Place>,
    /// The key it is about.
    pub key: Option<String>,
    /// What is wrong, and what would be right; never a secret.
    pub message: String,
}

impl Finding {
    /// Makes a finding that is in no line of a file.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: None, key: None, message: message.into() }
    }

    /// Makes a finding in a line.
    #[must_use]
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), key: None, message: message.into() }
    }

    /// Says which key it is about.
    #[must_use]
    pub fn about(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

/// `jobs/users.toml:4: `writers`: 0 is not between 1 and 16`, in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "`{}`: ", key.escape_debug())?;
        }
        f.write_str(&self.message)
    }
}

/// Makes one `Config` error of findings, in the order of files and lines.
#[must_use]
pub fn to_error(mut findings: Vec<Finding>) -> Error {
    findings.sort();
    findings.dedup();
    match findings.as_slice() {
        [one] => Error::new(ErrorKind::Config, one.to_string()),
        many => {
            let context = format!("the configuration has {} problems", many.len());
            many.iter().fold(Error::new(ErrorKind::Config, context), |e, f| e.with_detail(f.to_string()))
        }
    }
}
