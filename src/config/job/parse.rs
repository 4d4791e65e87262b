//! A job file's keys, one by one; every finding of the file is collected.
//!
//! [`read`] is called by the project for each file, with `[defaults]` below it. A new key goes into
//! [`JOB_KEYS`], into [`Job`], and into the one place here that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::settings::{Settings, number};
use super::{
    Catchup, CommitPolicy, EmptyWith, Job, LoadMode, OnEmpty, OnSchemaChange, Origin, Refresh, check, when,
};
use crate::config::environment::Environment;
use crate::config::file::{Item, Table, Value, read_text};
use crate::config::finding::Finding;
use crate::config::nearest::did_you_mean;
use crate::config::reader::Reader;
use crate::interval::{Calendar, Schedule, Unit};
use crate::name::{MAX_NAME_BYTES, TableName};

/// Every key of a job file.
pub(in crate::config) const JOB_KEYS: [&str; 53] = [
    "source",
    "destination",
    "table",
    "query",
    "query_file",
    "into",
    "columns",
    "cast",
    "where",
    "time_column",
    "interval",
    "timezone",
    "mode",
    "key",
    "resume_key",
    "commit",
    "scope",
    "empty_with",
    "on_empty",
    "max_shrink",
    "pre_sql",
    "post_sql",
    "analyze",
    "create",
    "create_partitions",
    "on_schema_change",
    "refresh",
    "batch_rows",
    "batch_bytes",
    "writers",
    "schedule",
    "schedule_timezone",
    "start_date",
    "end_date",
    "min_delay",
    "deadline",
    "catchup",
    "lookback",
    "depends_on_past",
    "retries",
    "retry_delay",
    "retry_exponential_backoff",
    "max_retry_delay",
    "max_active_runs",
    "pool",
    "pool_slots",
    "priority_weight",
    "execution_timeout",
    "progress_timeout",
    "notify_on_failure",
    "notify_on_success",
    "params",
    "was",
];

/// Keys that say which rows one job copies, and so cannot be shared in `[defaults]`.
const OWN_KEYS: [&str; 11] =
    ["table", "query", "query_file", "into", "columns", "cast", "where", "key", "resume_key", "scope", "was"];

/// Keys that `[defaults]` may have.
pub(in crate::config) fn default_keys() -> Vec<&'static str> {
    JOB_KEYS.into_iter().filter(|key| !OWN_KEYS.contains(key)).collect()
}

const MODES: [(&str, LoadMode); 4] = [
    ("append", LoadMode::Append),
    ("delete-insert", LoadMode::DeleteInsert),
    ("merge", LoadMode::Merge),
    ("replace", LoadMode::Replace),
];

const COMMITS: [(&str, CommitPolicy); 3] =
    [("batch", CommitPolicy::Batch), ("interval", CommitPolicy::Interval), ("staged", CommitPolicy::Staged)];

/// A job file to read, and what lies around it.
pub(in crate::config) struct JobFile<'a> {
    pub(in crate::config) name: &'a str,
    pub(in crate::config) path: &'a Path,
    pub(in crate::config) own: &'a Table,
    pub(in crate::config) defaults: &'a Table,
    /// The folder that paths are relative to.
    pub(in crate::config) root: &'a Path,
    pub(in crate::config) env: &'a Environment,
}

/// Reads a job.
///
/// # Errors
/// Every finding of the file.
pub(in crate::config) fn read(file: &JobFile<'_>) -> Result<Job, Vec<Finding>> {
    let mut reader = Reader::new(&file.env.shown(file.path), vec![file.own, file.defaults]);
    reader.refuse_unknown(&JOB_KEYS);
    let (origin, query_file) = origin(&mut reader, file);
    let into = into(&mut reader, &origin);
    let (calendar, timezone) = calendar(&mut reader);
    let time_column = column(&mut reader, "time_column");
    let mode = mode(&mut reader, &origin, time_column.is_some() && calendar.is_some());
    let settings = Settings::read(&mut reader);
    let r = &mut reader;
    let mut job = Job {
        name: file.name.to_owned(),
        file: Some(file.path.to_owned()),
        source: connection(r, "source"),
        destination: connection(r, "destination"),
        origin,
        query_file,
        into,
        columns: columns(r, "columns"),
        cast: cast(r),
        filter: r.text("where"),
        time_column,
        calendar,
        timezone,
        mode: mode.unwrap_or(LoadMode::Append),
        key: columns(r, "key").unwrap_or_default(),
        resume_key: column(r, "resume_key"),
        commit: r.choice("commit", &COMMITS),
        scope: r.text("scope"),
        empty_with: r
            .choice("empty_with", &[("truncate", EmptyWith::Truncate), ("delete", EmptyWith::Delete)])
            .unwrap_or_default(),
        on_empty: r
            .choice("on_empty", &[("ok", OnEmpty::Ok), ("warn", OnEmpty::Warn), ("fail", OnEmpty::Fail)])
            .unwrap_or_default(),
        max_shrink: max_shrink(r),
        pre_sql: r.texts("pre_sql").unwrap_or_default(),
        post_sql: r.texts("post_sql").unwrap_or_default(),
        analyze: r.flag("analyze").unwrap_or(false),
        create: r.flag("create").unwrap_or(false),
        create_partitions: r.flag("create_partitions").unwrap_or(false),
        on_schema_change: on_schema_change(r),
        refresh: refresh(r),
        limits: settings.limits,
        writers: settings.writers,
        schedule: schedule(r, timezone),
        tick: None,
        start_date: r.date("start_date"),
        end_date: r.date("end_date"),
        min_delay: r.duration("min_delay").unwrap_or(Duration::from_secs(600)),
        deadline: r.duration("deadline"),
        catchup: catchup(r),
        lookback: lookback(r),
        depends_on_past: r.flag("depends_on_past").unwrap_or(false),
        retries: settings.retries,
        retry_delay: settings.retry_delay,
        retry_exponential_backoff: settings.retry_exponential_backoff,
        max_retry_delay: settings.max_retry_delay,
        max_active_runs: settings.max_active_runs,
        parallel: None,
        pool: r.text("pool"),
        pool_slots: number(r, "pool_slots", 1..=1_000).unwrap_or(1),
        priority_weight: r.integer("priority_weight", -1_000_000..=1_000_000).map_or(1, |n| n as i32),
        progress_timeout: settings.progress_timeout,
        execution_timeout: settings.execution_timeout,
        notify_on_failure: r.texts("notify_on_failure").unwrap_or_default(),
        notify_on_success: r.texts("notify_on_success").unwrap_or_default(),
        params: params(r, file),
        was: r.parsed("was", |name| check_name(name).map(|()| name.to_owned())),
    };
    check::job(&job, mode, &mut reader);
    job.settle();
    let findings = reader.finish();
    if findings.is_empty() { Ok(job) } else { Err(findings) }
}

/// Checks a job's name: letters, digits, `_`, `.` and `-`.
pub(in crate::config) fn check_name(name: &str) -> Result<(), String> {
    const TAKEN: [&str; 4] = ["list", "pause", "resume", "cancel"];
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Err(
            "a job's name has only letters, digits, `_`, `.` and `-`, and begins with one of the first three"
                .to_owned(),
        );
    }
    if TAKEN.contains(&name) {
        return Err(format!("a job cannot be named `{name}`, which is a word of `pgtide backfill`"));
    }
    Ok(())
}

fn origin(reader: &mut Reader<'_>, file: &JobFile<'_>) -> (Origin, Option<PathBuf>) {
    let given: Vec<&str> =
        ["table", "query", "query_file"].into_iter().filter(|key| reader.has(key)).collect();
    match given.as_slice() {
        [] => reader.fail("table", "is missing: give `table`, `query` or `query_file`"),
        [_, second, ..] => {
            reader.fail(second, format!("`{}` is given too; one of the two is enough", given[0]))
        }
        [_] => {}
    }
    if let Some(name) = table_name(reader, "table") {
        return (Origin::Table(name), None);
    }
    if let Some(query) = reader.text("query") {
        return (Origin::Query(query), None);
    }
    let path = reader.text("query_file").map(|path| file.env.absolute(file.root, &path));
    let text = path.as_deref().map(read_text);
    match text {
        Some(Ok(query)) if !query.trim().is_empty() => (Origin::Query(query), path),
        Some(Ok(_)) => {
            reader.fail("query_file", "is an empty file");
            (Origin::Query(String::new()), path)
        }
        Some(Err(what)) => {
            reader.fail("query_file", what);
            (Origin::Query(String::new()), path)
        }
        None => (Origin::Query(String::new()), None),
    }
}

fn into(reader: &mut Reader<'_>, origin: &Origin) -> TableName {
    if let Some(name) = table_name(reader, "into") {
        return name;
    }
    match origin {
        Origin::Table(name) => name.clone(),
        Origin::Query(_) => {
            if !reader.has("into") && !reader.has_failed(&["table"]) {
                reader.fail("into", "is missing: a query needs the name of its destination table");
            }
            TableName { schema: None, table: String::new() }
        }
    }
}

fn table_name(reader: &mut Reader<'_>, key: &str) -> Option<TableName> {
    reader.parsed(key, |text| text.parse::<TableName>().map_err(|error| error.to_string()))
}

fn connection(reader: &mut Reader<'_>, key: &str) -> String {
    let parse = |text: &str| {
        if crate::config::overrides::Overrides::is_place(text) {
            return Err(
                "is not a connection's name: put the URL into [connections] of pgtide.toml".to_owned()
            );
        }
        Ok(text.to_owned())
    };
    reader.parsed(key, parse).unwrap_or_else(|| key.to_owned())
}

fn calendar(reader: &mut Reader<'_>) -> (Option<Calendar>, Tz) {
    let timezone = reader.parsed("timezone", when::parse_timezone);
    let unit: Option<Unit> = reader.parsed("interval", when::parse_unit).flatten();
    if unit.is_some_and(when::is_calendar) && !reader.has("timezone") {
        reader.fail("interval", "needs `timezone`, such as timezone = \"Europe/Berlin\" or \"UTC\"");
    }
    let timezone = timezone.unwrap_or(Tz::UTC);
    (unit.map(|unit| Calendar { unit, timezone }), timezone)
}

/// The schedule, in its own zone or the job's.
fn schedule(reader: &mut Reader<'_>, timezone: Tz) -> Option<Schedule> {
    let own = reader.parsed("schedule_timezone", when::parse_timezone);
    reader.parsed("schedule", |text| when::parse_schedule(text, own.unwrap_or(timezone)))
}

/// The mode given, or the one that goes without saying.
fn mode(reader: &mut Reader<'_>, origin: &Origin, has_time: bool) -> Option<LoadMode> {
    if reader.has("mode") {
        return reader.choice("mode", &MODES);
    }
    match origin {
        _ if has_time => Some(LoadMode::DeleteInsert),
        Origin::Table(_) => Some(LoadMode::Replace),
        Origin::Query(_) => {
            if !reader.has_failed(&["table", "interval", "time_column"]) {
                reader.fail(
                    "mode",
                    "is missing: a query without time_column and interval needs append, merge or replace",
                );
            }
            None
        }
    }
}

fn check_column(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("a column has {} bytes, Postgres keeps {MAX_NAME_BYTES}", name.len()));
    }
    Ok(())
}

fn column(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    reader.parsed(key, |name| check_column(name).map(|()| name.to_owned()))
}

fn columns(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    let names = reader.texts(key)?;
    if names.is_empty() {
        reader.fail(key, "is empty");
    }
    let mut seen = BTreeSet::new();
    for name in &names {
        if let Err(what) = check_column(name) {
            reader.fail(key, what);
        }
        if !seen.insert(name) {
            reader.fail(key, format!("names `{}` twice", name.escape_debug()));
        }
    }
    Some(names)
}

fn cast(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(item) = reader.item("cast") else { return BTreeMap::new() };
    let Value::Table(table) = &item.value else {
        reader.fail("cast", "is not a table such as { price = \"round(price)\" }");
        return BTreeMap::new();
    };
    let mut casts = BTreeMap::new();
    for (name, (_, item)) in &table.entries {
        match &item.value {
            Value::Text(sql) if !sql.trim().is_empty() && !sql.contains('\0') => {
                casts.insert(name.clone(), sql.clone());
            }
            _ => reader.fail_at(&item.place, &format!("cast.{name}"), "is not a SQL expression in a string"),
        }
    }
    casts
}

fn max_shrink(reader: &mut Reader<'_>) -> Option<f64> {
    let part = match &reader.item("max_shrink")?.value {
        Value::Float(part) => Some(*part),
        Value::Integer(part @ (0 | 1)) => Some(*part as f64),
        Value::Text(text) => {
            text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok()).map(|n| n / 100.0)
        }
        _ => None,
    };
    let part = part.filter(|part| (0.0..=1.0).contains(part));
    if part.is_none() {
        reader.fail("max_shrink", "is not a part between 0.0 and 1.0, or \"50%\"");
    }
    part
}

fn on_schema_change(reader: &mut Reader<'_>) -> OnSchemaChange {
    let words =
        [("warn", OnSchemaChange::Warn), ("add", OnSchemaChange::Add), ("fail", OnSchemaChange::Fail)];
    reader.choice("on_schema_change", &words).unwrap_or_default()
}

fn catchup(reader: &mut Reader<'_>) -> Catchup {
    let words =
        [("gaps", Catchup::Gaps), ("all", Catchup::All), ("last", Catchup::Last), ("none", Catchup::None)];
    match reader.item("catchup").map(|item| &item.value) {
        // Airflow's two values.
        Some(Value::Flag(true)) => Catchup::All,
        Some(Value::Flag(false)) => Catchup::Last,
        _ => reader.choice("catchup", &words).unwrap_or_default(),
    }
}

fn refresh(reader: &mut Reader<'_>) -> Refresh {
    let Some(item) = reader.item("refresh") else { return Refresh::None };
    if let Value::Text(word) = &item.value {
        match word.as_str() {
            "none" => return Refresh::None,
            "dependents" => return Refresh::Dependents,
            _ => reader.fail(
                "refresh",
                format!(
                    "is not \"none\", \"dependents\" or an array of views{}",
                    did_you_mean(word, ["none", "dependents"])
                ),
            ),
        }
        return Refresh::None;
    }
    let names = reader.texts("refresh").unwrap_or_default();
    let parsed = names.iter().map(|name| name.parse::<TableName>());
    let (good, bad): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
    bad.into_iter().filter_map(Result::err).for_each(|error| reader.fail("refresh", error.to_string()));
    Refresh::Named(good.into_iter().flatten().collect())
}

fn lookback(reader: &mut Reader<'_>) -> Vec<u32> {
    const WRONG: &str = "is not a count from 0 to 366 or an array of counts from 1 to 366";
    let count = |item: &Item, least: i64| match item.value {
        Value::Integer(n) if (least..=366).contains(&n) => u32::try_from(n).ok(),
        _ => None,
    };
    let Some(item) = reader.item("lookback") else { return Vec::new() };
    let counts = match &item.value {
        Value::List(items) => items.iter().map(|item| count(item, 1)).collect(),
        _ => count(item, 0).map(|n| (1..=n).collect::<Vec<u32>>()),
    };
    counts.unwrap_or_else(|| {
        reader.fail("lookback", WRONG);
        Vec::new()
    })
}

/// The job's params over those of `[defaults]`, key by key.
fn params(reader: &mut Reader<'_>, file: &JobFile<'_>) -> BTreeMap<String, toml::Value> {
    let mut params = BTreeMap::new();
    for table in [file.defaults, file.own] {
        match table.entries.get("params").map(|(_, item)| item) {
            None => {}
            Some(Item { value: Value::Table(table), .. }) => {
                params.extend(table.entries.iter().map(|(key, (_, item))| (key.clone(), item.to_toml())));
            }
            Some(other) => {
                reader.fail_at(&other.place, "params", "is not a table such as { region = \"eu\" }")
            }
        }
    }
    params
}

#[cfg(test)]
mod tests;
