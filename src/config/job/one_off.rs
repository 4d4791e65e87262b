//! The job of `pgtide copy`: no file, no interval.
//!
//! It is an ordinary [`Job`], so that the engine knows no difference.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::settings::Settings;
use super::{Catchup, EmptyWith, Job, LoadMode, OnEmpty, OnSchemaChange, Origin, Refresh};
use crate::config::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// What `pgtide copy` was asked for.
#[derive(Debug, Clone)]
pub struct OneOff {
    /// The table, or the query.
    pub origin: Origin,
    /// The destination table.
    pub into: TableName,
    /// `--where`.
    pub filter: Option<String>,
    /// `--mode`; without it `merge` if there is a key, else `replace`.
    pub mode: Option<LoadMode>,
    /// `--key`.
    pub key: Vec<String>,
    /// Whether to make the table when it is missing.
    pub create: bool,
}

impl Job {
    /// Makes the job of a one-off copy, between the connections `source` and `destination`, with
    /// pgtide's own settings. [`Project::one_off`](crate::config::project::Project::one_off) applies
    /// `[defaults]` and the command line too.
    ///
    /// # Errors
    /// `Usage`, when mode and key do not fit, or the mode needs an interval.
    pub fn one_off(ask: OneOff) -> Result<Self> {
        Self::one_off_with(ask, &mut Reader::new("", Vec::new()))
    }

    pub(in crate::config) fn one_off_with(ask: OneOff, reader: &mut Reader<'_>) -> Result<Self> {
        let mode = match ask.mode {
            Some(mode) => mode,
            None if ask.key.is_empty() => LoadMode::Replace,
            None => LoadMode::Merge,
        };
        check(mode, &ask)?;
        let settings = Settings::read(reader);
        let mut job = Self {
            name: format!("copy:{}", ask.into),
            file: None,
            source: reader.text("source").unwrap_or_else(|| "source".to_owned()),
            destination: reader.text("destination").unwrap_or_else(|| "destination".to_owned()),
            origin: ask.origin,
            query_file: None,
            into: ask.into,
            columns: None,
            cast: BTreeMap::new(),
            filter: ask.filter,
            time_column: None,
            calendar: None,
            timezone: Tz::UTC,
            mode,
            key: ask.key,
            resume_key: None,
            commit: None,
            scope: None,
            empty_with: EmptyWith::default(),
            on_empty: OnEmpty::default(),
            max_shrink: None,
            pre_sql: Vec::new(),
            post_sql: Vec::new(),
            analyze: reader.flag("analyze").unwrap_or(false),
            create: ask.create,
            create_partitions: false,
            on_schema_change: OnSchemaChange::default(),
            refresh: Refresh::default(),
            limits: settings.limits,
            writers: settings.writers,
            schedule: None,
            tick: None,
            start_date: None,
            end_date: None,
            min_delay: std::time::Duration::ZERO,
            deadline: None,
            catchup: Catchup::default(),
            lookback: Vec::new(),
            depends_on_past: false,
            retries: settings.retries,
            retry_delay: settings.retry_delay,
            retry_exponential_backoff: settings.retry_exponential_backoff,
            max_retry_delay: settings.max_retry_delay,
            max_active_runs: settings.max_active_runs,
            parallel: None,
            pool: None,
            pool_slots: 1,
            priority_weight: 1,
            progress_timeout: settings.progress_timeout,
            execution_timeout: settings.execution_timeout,
            notify_on_failure: Vec::new(),
            notify_on_success: Vec::new(),
            params: BTreeMap::new(),
            was: None,
        };
        job.limit_writers();
        Ok(job)
    }
}

fn check(mode: LoadMode, ask: &OneOff) -> Result<()> {
    let usage = |what: &str| Err(Error::new(ErrorKind::Usage, format!("copying into {}: {what}", ask.into)));
    match mode {
        LoadMode::Merge if ask.key.is_empty() => usage("mode merge needs --key"),
        LoadMode::DeleteInsert => usage("mode delete-insert needs intervals: write a job with `pgtide init`"),
        LoadMode::Append | LoadMode::Replace if !ask.key.is_empty() => {
            usage(&format!("--key is for mode merge, not {}", mode.word()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(mode: Option<LoadMode>, key: &[&str]) -> OneOff {
        let table: TableName = "public.users".parse().unwrap();
        let key = key.iter().map(|column| (*column).to_owned()).collect();
        OneOff { origin: Origin::Table(table.clone()), into: table, filter: None, mode, key, create: true }
    }

    #[test]
    fn a_copy_replaces_unless_it_has_a_key() {
        let job = Job::one_off(ask(None, &[])).unwrap();
        assert_eq!((job.mode, job.name.as_str(), job.writers), (LoadMode::Replace, "copy:public.users", 1));
        assert_eq!((job.source.as_str(), job.destination.as_str()), ("source", "destination"));
        assert_eq!(Job::one_off(ask(None, &["id"])).unwrap().mode, LoadMode::Merge);
    }

    #[test]
    fn mode_and_key_must_fit() {
        for (mode, key) in [
            (LoadMode::Merge, &[][..]),
            (LoadMode::DeleteInsert, &[]),
            (LoadMode::Append, &["id"]),
            (LoadMode::Replace, &["id"]),
        ] {
            assert_eq!(Job::one_off(ask(Some(mode), key)).unwrap_err().kind(), ErrorKind::Usage, "{mode:?}");
        }
    }
}
