//! Exit codes: the one table that `--help`, `pgtide help exit-codes` and the README show.
//!
//! The code of a single error is [`ErrorKind::policy`](crate::error::ErrorKind::policy); the code of a
//! run of many intervals is [`of_runs`]. A test holds both to this table.

use crate::event::{Halt, Summary};

/// Done, or nothing to do.
pub const DONE: u8 = 0;
/// Some intervals failed.
pub const FAILED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// The same command may succeed later.
pub const TEMPORARY: u8 = 75;
/// Configuration and databases have to change first.
pub const CONFIGURATION: u8 = 78;
/// There was nothing to do, and the caller asked to be told.
pub const NOTHING_TO_DO: u8 = 99;
/// SIGINT ended it.
pub const INTERRUPTED: u8 = 130;
/// SIGTERM ended it.
pub const TERMINATED: u8 = 143;

/// Every exit code with its name and its meaning.
pub const EXIT_CODES: &[(u8, &str, &str)] = &[
    (DONE, "done", "all that was asked for is committed, or nothing was due"),
    (FAILED, "failed", "some intervals failed; the last lines say which"),
    (USAGE, "usage", "the command line makes no sense; nothing was done"),
    (TEMPORARY, "temporary", "locked, unreachable or not complete yet: try later"),
    (CONFIGURATION, "configuration", "configuration, tables or rights have to change first"),
    (NOTHING_TO_DO, "nothing to do", "only with --skip-exit-code 99"),
    (INTERRUPTED, "interrupted", "SIGINT (Ctrl-C) ended it; the same command goes on"),
    (TERMINATED, "terminated", "SIGTERM ended it; the same command goes on"),
];

/// The exit code of a command that ran these jobs.
///
/// If nothing was loaded and every failure agrees, theirs; what may pass stays [`TEMPORARY`] also beside
/// loaded intervals; else 1. [`NOTHING_TO_DO`] if
/// nothing was loaded because nothing had to be; `main` makes it [`DONE`] unless `--skip-exit-code` asks.
/// A run whose backfill was cancelled is [`FAILED`]: trying again by itself would begin it anew.
/// A stop by signal is [`INTERRUPTED`]; only `main` knows which signal it was.
#[must_use]
pub fn of_runs(runs: &[Summary]) -> u8 {
    let loaded = runs.iter().any(|run| run.loaded + run.loaded_elsewhere > 0);
    let mut codes = runs.iter().flat_map(|run| &run.failed).map(|(_, failure)| failure.exit_code);
    match codes.next() {
        _ if runs.iter().any(|run| run.interrupted) => INTERRUPTED,
        // Not temporary: whoever tries again by itself would undo what a person decided.
        _ if runs.iter().any(|run| run.halted == Some(Halt::Cancelled)) => FAILED,
        None if runs.iter().any(|run| run.not_started > 0) => TEMPORARY,
        None if loaded => DONE,
        None => NOTHING_TO_DO,
        Some(first) if (!loaded || first == TEMPORARY) && codes.all(|code| code == first) => first,
        Some(_) => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::event::Failure;

    fn failed_with(kinds: &[ErrorKind], loaded: usize) -> Summary {
        let failure = |kind| Failure::of(&Error::new(kind, "x"), 1, DateTime::UNIX_EPOCH);
        let failed = kinds.iter().map(|kind| ("2026-01-05".to_owned(), failure(*kind))).collect();
        Summary { failed, loaded, ..Summary::default() }
    }

    #[test]
    fn every_kind_of_error_has_a_code_in_the_table() {
        use ErrorKind::*;
        let kinds = [
            Usage,
            Config,
            Preflight,
            Locked,
            NotComplete,
            Connection,
            Contention,
            Resources,
            Fenced,
            Mismatch,
            Server,
            Interrupted,
            Internal,
        ];
        for kind in kinds {
            let code = kind.policy().exit_code;
            assert!(EXIT_CODES.iter().any(|(known, _, _)| *known == code), "{kind:?}: {code}");
        }
    }

    #[test]
    fn failures_that_agree_give_their_code_and_others_give_1() {
        use ErrorKind::*;
        assert_eq!(of_runs(&[failed_with(&[], 3)]), DONE);
        assert_eq!(of_runs(&[failed_with(&[], 0)]), NOTHING_TO_DO);
        assert_eq!(of_runs(&[failed_with(&[Preflight], 0)]), CONFIGURATION);
        assert_eq!(of_runs(&[failed_with(&[Locked, Connection], 0)]), TEMPORARY);
        assert_eq!(of_runs(&[failed_with(&[Preflight, Locked], 0)]), FAILED);
        assert_eq!(of_runs(&[failed_with(&[Preflight], 1)]), FAILED, "the rest is loaded");
        assert_eq!(of_runs(&[failed_with(&[Locked], 1)]), TEMPORARY, "another run has the rest");
    }

    #[test]
    fn a_paused_backfill_may_be_tried_again_and_a_cancelled_one_not() {
        let halted = |halt| Summary { halted: Some(halt), not_started: 3, ..failed_with(&[], 2) };
        assert_eq!(of_runs(&[halted(Halt::Paused)]), TEMPORARY);
        assert_eq!(of_runs(&[halted(Halt::StopAt)]), TEMPORARY);
        assert_eq!(of_runs(&[halted(Halt::Cancelled)]), FAILED);
        assert_eq!(of_runs(&[Summary { loaded_elsewhere: 5, ..failed_with(&[], 0) }]), DONE);
    }

    #[test]
    fn a_stopped_run_is_interrupted_whatever_failed_before() {
        let summary = Summary { interrupted: true, ..failed_with(&[ErrorKind::Preflight], 0) };
        assert_eq!(of_runs(&[summary]), INTERRUPTED);
    }
}
