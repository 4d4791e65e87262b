//! The states of an interval, as the ledger keeps them and every view shows them.
//!
//! Five are stored. `interrupted` is not: it is `running` whose owner is gone, which only a reader
//! that looks at the locks can tell.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// What the ledger says about an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// A live run holds it.
    Running,
    /// A run held it and is gone; what it committed is still there.
    Interrupted,
    /// Its rows are complete.
    Loaded,
    /// The last attempt ended with an error.
    Failed,
    /// It was loaded, and its rows are known to differ from the source's by now.
    Stale,
    /// It is left out on purpose.
    Skipped,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Interrupted, Self::Loaded, Self::Failed, Self::Stale, Self::Skipped];

    /// The word in the ledger and on the screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Stale => "stale",
            Self::Skipped => "skipped",
        }
    }

    /// Whether the rows of a finished load are in the table.
    #[must_use]
    pub fn has_rows(self) -> bool {
        matches!(self, Self::Loaded | Self::Stale)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            Error::new(
                ErrorKind::Usage,
                format!("`{}` is not a state: the states are {words}", text.escape_debug()),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_from_its_word() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
        }
        assert_eq!("done".parse::<State>().unwrap_err().kind(), ErrorKind::Usage);
    }
}
