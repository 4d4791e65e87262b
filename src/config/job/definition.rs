//! What decides a job's rows: its hash, its query for an interval, and the moment of a snapshot.
//!
//! The hash is kept in the ledger with each interval, so its form must stay as it is.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_128;

use super::{Job, LoadMode, Origin};
use crate::config::template::{self, TemplateContext};
use crate::error::{Error, Result};
use crate::interval::DataInterval;

impl LoadMode {
    /// The word in job files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::DeleteInsert => "delete-insert",
            Self::Merge => "merge",
            Self::Replace => "replace",
        }
    }
}

impl Job {
    /// Hashes what decides the rows: source, table or query with the params that it uses, into, columns,
    /// casts, condition, mode, key, time column and scope; 32 hexadecimal digits. Sizes and retries do
    /// not count.
    #[must_use]
    pub fn definition_hash(&self) -> String {
        format!("{:032x}", xxh3_128(self.definition().as_bytes()))
    }

    /// The hashed text. A change of its form makes every loaded interval look changed.
    fn definition(&self) -> String {
        let mut text = String::from("pgtide definition 1\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={}:{value}", value.len());
        };
        line("source", &self.source);
        match &self.origin {
            Origin::Table(name) => line("table", &name.to_string()),
            Origin::Query(query) => {
                line("query", query);
                // Those of [defaults] reach every job, and most queries do not use them.
                for (name, value) in template::params_used(query, &self.params) {
                    line("param", name);
                    line("value", &value.to_string());
                }
            }
        }
        line("into", &self.into.to_string());
        self.columns.iter().flatten().for_each(|column| line("column", column));
        for (column, sql) in &self.cast {
            line("cast", column);
            line("as", sql);
        }
        self.filter.iter().for_each(|filter| line("where", filter));
        line("mode", self.mode.word());
        self.key.iter().for_each(|column| line("key", column));
        self.time_column.iter().for_each(|column| line("time_column", column));
        self.scope.iter().for_each(|scope| line("scope", scope));
        text
    }

    /// The job as a run at this moment takes it: a snapshot job is then for the latest moment of its
    /// schedule, which its query may name.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> Self {
        let schedule = self.schedule.as_ref().filter(|_| self.calendar.is_none());
        Self { tick: schedule.and_then(|schedule| schedule.tick(now)), ..self.clone() }
    }

    /// Renders the query for an interval; none if the job copies a table.
    ///
    /// # Errors
    /// `Config`, with the template's line.
    pub fn render_query(&self, interval: &DataInterval, run_id: &str) -> Result<Option<String>> {
        let Origin::Query(template) = &self.origin else { return Ok(None) };
        let context = TemplateContext {
            interval: Some(*interval),
            timezone: self.timezone,
            unit: self.calendar.map(|calendar| calendar.unit),
            tick: self.tick,
            run_id,
            params: &self.params,
        };
        let rendered = template::render(template, &context);
        let named = |error: Error| match &self.file {
            Some(_) => error.while_doing(format!("job `{}`", self.name)),
            None => error,
        };
        rendered.map(Some).map_err(named)
    }
}
