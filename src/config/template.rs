//! Query templates: Jinja with Airflow's names, so that a query pasted from a DAG runs unchanged.
//!
//! `{{ ds }}` and its like print text as in Airflow, in the job's zone. `{{ params.x }}` prints a SQL
//! literal, `{{ params.x | ident }}` a name. An undefined name is an error, found when the job is
//! read: [`check`] needs no interval.

mod literal;
mod macros;
mod moment;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use minijinja::{Environment, UndefinedBehavior, Value};

use self::macros::Macros;
use self::moment::Moment;
use super::nearest::did_you_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::{DataInterval, Tick, Unit};

/// What a template's names stand for.
#[derive(Debug, Clone)]
pub struct TemplateContext<'a> {
    /// The interval; with none, or all of time, the names of dates are undefined.
    pub interval: Option<DataInterval>,
    /// The zone that dates are printed in.
    pub timezone: Tz,
    /// The unit, for `prev_ds`.
    pub unit: Option<Unit>,
    /// The moment that a snapshot is for; its dates are named where there is no interval.
    pub tick: Option<Tick>,
    /// The run's id, for `run_id`.
    pub run_id: &'a str,
    /// Values for `params.x`.
    pub params: &'a BTreeMap<String, toml::Value>,
}

/// What is wrong with a template, and in which of its lines, from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateProblem {
    /// The line of the template.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Renders a template.
///
/// # Errors
/// `Config`, with the line and the name or call that is wrong.
pub fn render(template: &str, context: &TemplateContext<'_>) -> Result<String> {
    let names = names(context);
    let problems = static_problems(template, &names, context.params);
    if !problems.is_empty() {
        return Err(to_error(&problems));
    }
    let rendered = environment().render_str(template, names);
    rendered.map_err(|error| to_error(&[problem_of(&error)]))
}

/// Checks a template without an interval of its own; `has_interval` says whether the job has any.
#[must_use]
pub fn check(
    template: &str,
    params: &BTreeMap<String, toml::Value>,
    has_interval: bool,
) -> Vec<TemplateProblem> {
    let day = |d| Utc.with_ymd_and_hms(2024, 1, d, 0, 0, 0).single();
    let sample = day(1).zip(day(2)).map(|(start, end)| DataInterval { start, end });
    let context = TemplateContext {
        interval: sample.filter(|_| has_interval),
        timezone: Tz::UTC,
        unit: Some(Unit::Day),
        tick: None,
        run_id: "check",
        params,
    };
    let names = names(&context);
    let problems = static_problems(template, &names, params);
    if !problems.is_empty() {
        return problems;
    }
    // A trial finds unknown methods and formats. What is undefined only for the sample is left alone.
    let trial = environment().render_str(template, names).err();
    let trial = trial.filter(|error| error.kind() != minijinja::ErrorKind::UndefinedError);
    trial.iter().map(problem_of).collect()
}

/// The params that a template can print: those it names, or all if it uses `params` in another way.
pub fn params_used<'p>(
    template: &str,
    params: &'p BTreeMap<String, toml::Value>,
) -> impl Iterator<Item = (&'p String, &'p toml::Value)> {
    let environment = environment();
    // Parsing costs nothing where there is nothing to look for; a broken template is found elsewhere.
    let parsed = if params.is_empty() { None } else { environment.template_from_str(template).ok() };
    let used = parsed.map(|parsed| parsed.undeclared_variables(true)).unwrap_or_default();
    let all = used.contains("params");
    let named = move |name: &str| {
        let path = format!("params.{name}");
        used.iter()
            .any(|used| *used == path || used.strip_prefix(&*path).is_some_and(|rest| rest.starts_with('.')))
    };
    params.iter().filter(move |(name, _)| all || named(name))
}

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(literal::print);
    environment.add_filter("ident", literal::ident);
    environment.add_filter("literal", literal::literal_filter);
    environment.add_filter("safe", literal::plain);
    for (name, format) in moment::FILTERS {
        environment.add_filter(name, move |value: &Value| moment::filtered(value, format));
    }
    environment.remove_filter("escape");
    environment.remove_filter("e");
    environment
}

/// Names of Airflow that pgtide has no value for, and what to use.
const AIRFLOW_ONLY: [(&str, &str); 10] = [
    ("var", "use params"),
    ("conn", "use source and destination"),
    ("dag", "write its name"),
    ("dag_run", "use run_id or params"),
    ("task", "write its name"),
    ("ti", "use run_id"),
    ("task_instance", "use run_id"),
    ("prev_start_date_success", "use prev_ds"),
    ("prev_data_interval_start_success", "use prev_ds"),
    ("prev_data_interval_end_success", "use ds"),
];

fn names(context: &TemplateContext<'_>) -> BTreeMap<&'static str, Value> {
    let mut names = BTreeMap::from([
        ("run_id", Value::from(context.run_id)),
        ("params", literal::params(context.params)),
        ("macros", Value::from_object(Macros)),
    ]);
    if let Some(moments) = Moments::of(context) {
        add_dates(&mut names, &moments);
    }
    names
}

/// The moments that names of dates stand for.
struct Moments {
    start: DateTime<Tz>,
    end: DateTime<Tz>,
    logical: DateTime<Tz>,
    previous: DateTime<Tz>,
    next: DateTime<Tz>,
}

impl Moments {
    fn of(context: &TemplateContext<'_>) -> Option<Self> {
        match context.interval.filter(|interval| !interval.is_whole()) {
            Some(interval) => Some(Self::of_interval(&interval, context.timezone, context.unit)),
            None => context.tick.map(|tick| Self::of_tick(&tick, context.timezone)),
        }
    }

    /// As Airflow's for an interval: the logical date is its start.
    fn of_interval(interval: &DataInterval, timezone: Tz, unit: Option<Unit>) -> Self {
        let [start, end] = [interval.start, interval.end].map(|at| at.with_timezone(&timezone));
        Self { start, end, logical: start, previous: previous(start, unit), next: end }
    }

    /// As Airflow's for a run without an interval: the logical date is the moment itself.
    fn of_tick(tick: &Tick, timezone: Tz) -> Self {
        let [before, at, after] = [tick.before, tick.at, tick.after].map(|at| at.with_timezone(&timezone));
        Self { start: before, end: at, logical: at, previous: before, next: after }
    }
}

fn add_dates(names: &mut BTreeMap<&'static str, Value>, moments: &Moments) {
    let Moments { start, end, logical, previous, next } = *moments;
    for (name, moment) in [
        ("data_interval_start", start),
        ("data_interval_end", end),
        ("logical_date", logical),
        ("execution_date", logical),
        ("prev_execution_date", previous),
        ("next_execution_date", next),
    ] {
        names.insert(name, Value::from_object(Moment::Instant(moment)));
    }
    let date = logical.date_naive();
    let day_before = date.pred_opt().unwrap_or(date);
    let day_after = date.succ_opt().unwrap_or(date);
    for (name, nodash, date) in [
        ("ds", "ds_nodash", date),
        ("prev_ds", "prev_ds_nodash", previous.date_naive()),
        ("next_ds", "next_ds_nodash", next.date_naive()),
        ("yesterday_ds", "yesterday_ds_nodash", day_before),
        ("tomorrow_ds", "tomorrow_ds_nodash", day_after),
    ] {
        names.insert(name, Value::from(moment::iso_date(date)));
        names.insert(nodash, Value::from(moment::iso_date(date).replace('-', "")));
    }
    let ts = moment::iso(&logical);
    names.insert("ts_nodash", Value::from(logical.format("%Y%m%dT%H%M%S").to_string()));
    names.insert("ts_nodash_with_tz", Value::from(logical.format("%Y%m%dT%H%M%S%z").to_string()));
    names.insert("ts", Value::from(ts));
}

/// The start of the interval before, by its unit; a day before where there is none.
fn previous(start: DateTime<Tz>, unit: Option<Unit>) -> DateTime<Tz> {
    let stepped = |date: Option<NaiveDate>| {
        date.map(|date| moment::resolve_local(date.and_time(start.time()), start.timezone()))
    };
    let date = start.date_naive();
    let before = match unit {
        Some(Unit::Hour) => start.checked_sub_signed(chrono::TimeDelta::hours(1)),
        Some(Unit::Elapsed(length)) => start.checked_sub_signed(length),
        Some(Unit::Week) => stepped(date.checked_sub_days(Days::new(7))),
        Some(Unit::Month) => stepped(date.with_day(1).and_then(|d| d.checked_sub_months(Months::new(1)))),
        Some(Unit::Day) | None => stepped(date.pred_opt()),
    };
    before.unwrap_or(start)
}

/// Finds syntax errors, unknown names and params that would be quoted twice.
fn static_problems(
    template: &str,
    names: &BTreeMap<&'static str, Value>,
    params: &BTreeMap<String, toml::Value>,
) -> Vec<TemplateProblem> {
    let environment = environment();
    let used = match environment.template_from_str(template) {
        Ok(parsed) => parsed.undeclared_variables(true),
        Err(error) => return vec![problem_of(&error)],
    };
    let builtin: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    let mut problems = quoted_params(template);
    for path in &used {
        let mut parts = path.split('.');
        let root = parts.next().unwrap_or_default();
        let message = if !names.contains_key(root) && !builtin.contains(root) {
            Some(undefined(root, names))
        } else {
            parts.next().filter(|key| root == "params" && !params.contains_key(*key)).map(|key| {
                format!("`params.{key}` is undefined{}", did_you_mean(key, params.keys().map(String::as_str)))
            })
        };
        problems.extend(message.map(|message| TemplateProblem { line: line_of(template, path), message }));
    }
    problems.sort();
    problems.dedup();
    problems
}

fn undefined(name: &str, names: &BTreeMap<&'static str, Value>) -> String {
    if let Some((_, instead)) = AIRFLOW_ONLY.iter().find(|(airflow, _)| *airflow == name) {
        return format!("`{name}` is Airflow's own and undefined here: {instead}");
    }
    let day = DataInterval { start: DateTime::UNIX_EPOCH, end: DateTime::UNIX_EPOCH };
    let mut with_dates = BTreeMap::new();
    add_dates(&mut with_dates, &Moments::of_interval(&day, Tz::UTC, None));
    if with_dates.contains_key(name) {
        return format!("`{name}` is undefined: the job has no interval");
    }
    format!("`{name}` is undefined{}", did_you_mean(name, names.keys().copied()))
}

/// Finds `'{{ params.x }}'`: right in Airflow, two pairs of quotes here.
fn quoted_params(template: &str) -> Vec<TemplateProblem> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
    let starts = template.match_indices("'{{").filter_map(|(at, _)| {
        let (inner, _) = template[at + 3..].split_once("}}'")?;
        let inner = inner.trim_matches('-').trim();
        (inner.starts_with("params.") && inner.chars().all(is_path)).then_some((at, inner))
    });
    starts
        .map(|(at, inner)| TemplateProblem {
            line: line_at(template, at),
            message: format!(
                "`{inner}` prints a SQL literal with its own quotes: leave out the quotes around it"
            ),
        })
        .collect()
}

/// The line where a name is first used inside a tag.
fn line_of(template: &str, path: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let found = template.match_indices(path).map(|(at, _)| at).find(|at| {
        let (before, after) = (&template[..*at], &template[at + path.len()..]);
        let opened = before.rfind("{{").max(before.rfind("{%"));
        let closed = before.rfind("}}").max(before.rfind("%}"));
        opened > closed && !before.ends_with(is_word) && !before.ends_with('.') && !after.starts_with(is_word)
    });
    line_at(template, found.unwrap_or(0))
}

fn line_at(template: &str, at: usize) -> usize {
    template[..at].matches('\n').count() + 1
}

fn problem_of(error: &minijinja::Error) -> TemplateProblem {
    let mut message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        message.push_str(": ");
        message.push_str(&next.to_string());
        cause = next.source();
    }
    TemplateProblem { line: error.line().unwrap_or(1), message }
}

fn to_error(problems: &[TemplateProblem]) -> Error {
    let shown = |p: &TemplateProblem| format!("the query template, line {}: {}", p.line, p.message);
    match problems {
        [one] => Error::new(ErrorKind::Config, shown(one)),
        many => {
            let error =
                Error::new(ErrorKind::Config, format!("the query template has {} problems", many.len()));
            many.iter().fold(error, |error, problem| error.with_detail(shown(problem)))
        }
    }
}

#[cfg(test)]
mod tests;
