//! What is asked of a materialized view: how and when it is refreshed, how old it may get.
//!
//! The same keys stand in `pgtide.toml` under `[views."mart.*"]`, for all views that a pattern fits,
//! and as comment lines (`-- refresh: swap`) in a view's own SQL file, which has the last word.

use std::time::Duration;

use chrono_tz::Tz;

use super::nearest::{did_you_mean, listed};
use super::quantity::{parse_duration, parse_size};
use crate::interval::Schedule;
use crate::name::TableName;

/// The keys, as both places write them.
pub const VIEW_KEYS: [&str; 9] = [
    "refresh",
    "depends_on",
    "max_age",
    "min_interval",
    "after",
    "statement_timeout",
    "work_mem",
    "schedule",
    "every",
];

/// The smallest `work_mem` that Postgres takes, and the largest.
const WORK_MEM: std::ops::RangeInclusive<u64> = 64 * 1024..=(1 << 41) - 1024;

/// Which of the three ways a view is refreshed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RefreshMode {
    /// What fits its state and its indexes, with the reason told.
    #[default]
    Auto,
    /// `REFRESH`: quickest, readers wait all the time.
    Plain,
    /// `REFRESH ... CONCURRENTLY`: readers go on; slow where much has changed.
    Concurrent,
    /// Built beside and put in its place: readers wait for a moment.
    Swap,
    /// Not by pgtide.
    Never,
}

impl RefreshMode {
    /// Every way with its word.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("plain", Self::Plain),
        ("concurrent", Self::Concurrent),
        ("swap", Self::Swap),
        ("never", Self::Never),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        word(self, &Self::WORDS)
    }
}

/// What is done to a view after its refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AfterRefresh {
    /// `VACUUM (ANALYZE)` after a plain refresh or a swap; after a concurrent one what the changes ask for.
    #[default]
    VacuumAnalyze,
    /// `ANALYZE`.
    Analyze,
    /// Nothing.
    None,
}

impl AfterRefresh {
    /// Every choice with its word.
    pub const WORDS: [(&'static str, Self); 3] =
        [("vacuum_analyze", Self::VacuumAnalyze), ("analyze", Self::Analyze), ("none", Self::None)];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        word(self, &Self::WORDS)
    }
}

/// `every = "5m after success"`: how long after the end of its last refresh a view is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    /// The pause.
    pub pause: Duration,
}

/// What is asked of one view; what is not said is left to the weaker place, then to pgtide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewOptions {
    /// The way of refreshing.
    pub refresh: Option<RefreshMode>,
    /// Relations that it reads and the catalog does not know of: in functions, behind foreign tables.
    pub depends_on: Option<Vec<TableName>>,
    /// The age at which it is stale whatever was or was not loaded.
    pub max_age: Option<Duration>,
    /// The shortest time between the end of a refresh and the next.
    pub min_interval: Option<Duration>,
    /// What is done after a refresh.
    pub after: Option<AfterRefresh>,
    /// The longest that one refresh may take.
    pub statement_timeout: Option<Duration>,
    /// `work_mem` of the refresh, in bytes.
    pub work_mem_bytes: Option<u64>,
    /// A cron expression or a word such as `@daily`.
    pub schedule: Option<String>,
    /// A pause after which it is due again.
    pub every: Option<Every>,
}

impl ViewOptions {
    /// Takes a value as text, as a comment line holds it; `depends_on` takes names with commas between.
    ///
    /// # Errors
    /// What is wrong with the key or the value, in a sentence that follows the key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match key {
            "refresh" => self.refresh = Some(choose(value, &RefreshMode::WORDS)?),
            "after" => self.after = Some(choose(value, &AfterRefresh::WORDS)?),
            "depends_on" => self.depends_on = Some(relations(value)?),
            "max_age" => self.max_age = Some(positive(value)?),
            "min_interval" => self.min_interval = Some(parse_duration(value)?),
            "statement_timeout" => self.statement_timeout = Some(positive(value)?),
            "work_mem" => self.work_mem_bytes = Some(work_mem(value)?),
            "schedule" => self.schedule = Some(schedule(value)?),
            "every" => self.every = Some(Every { pause: every(value)? }),
            _ => return Err(format!("is not known{}", did_you_mean(key, VIEW_KEYS))),
        }
        Ok(())
    }

    /// Fills what is not said here with what a weaker place says.
    #[must_use]
    pub fn or(self, weaker: &Self) -> Self {
        let weaker = weaker.clone();
        // Whoever says one kind of time has said when: the other of a weaker place does not count.
        let is_timed = self.schedule.is_some() || self.every.is_some();
        Self {
            refresh: self.refresh.or(weaker.refresh),
            depends_on: self.depends_on.or(weaker.depends_on),
            max_age: self.max_age.or(weaker.max_age),
            min_interval: self.min_interval.or(weaker.min_interval),
            after: self.after.or(weaker.after),
            statement_timeout: self.statement_timeout.or(weaker.statement_timeout),
            work_mem_bytes: self.work_mem_bytes.or(weaker.work_mem_bytes),
            schedule: if is_timed { self.schedule } else { weaker.schedule },
            every: if is_timed { self.every } else { weaker.every },
        }
    }
}

/// The options of all views of a project: patterns, and what the views' own files say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewRules {
    /// Patterns such as `mart.*` with their options, in any order.
    patterns: Vec<(String, ViewOptions)>,
    /// What a view's own file says.
    files: Vec<(TableName, ViewOptions)>,
}

impl ViewRules {
    /// Adds the options of a pattern: a name with its schema, in which `*` stands for any characters.
    pub fn add_pattern(&mut self, pattern: &str, options: ViewOptions) {
        self.patterns.push((pattern.to_owned(), options));
        // The longest pattern says the most; equal ones by name, so that the order is no accident.
        self.patterns.sort_by(|(one, _), (other, _)| (other.len(), one).cmp(&(one.len(), other)));
    }

    /// Whether any view may be due by a clock of its own.
    #[must_use]
    pub fn has_clocks(&self) -> bool {
        let patterns = self.patterns.iter().map(|(_, options)| options);
        let mut all = patterns.chain(self.files.iter().map(|(_, options)| options));
        all.any(|options| options.schedule.is_some() || options.every.is_some())
    }

    /// Adds what a view's own file says.
    pub fn add_file(&mut self, view: TableName, options: ViewOptions) {
        self.files.push((view, options));
    }

    /// Whether a file names its view without a schema.
    #[must_use]
    pub fn has_bare_names(&self) -> bool {
        self.files.iter().any(|(view, _)| view.schema.is_none())
    }

    /// Gives the views of files that name none this schema.
    #[must_use]
    pub fn with_schema(mut self, schema: &str) -> Self {
        for (view, _) in &mut self.files {
            view.schema.get_or_insert_with(|| schema.to_owned());
        }
        self
    }

    /// What is asked of a view: its file first, then patterns, the longest first.
    #[must_use]
    pub fn of(&self, view: &TableName) -> ViewOptions {
        let own = self.files.iter().find(|(name, _)| name == view).map(|(_, options)| options.clone());
        let name = view.to_string();
        let fits = |pattern: &str| matches(pattern, &name) || matches(pattern, &plain(view));
        let fitting = self.patterns.iter().filter(|(pattern, _)| fits(pattern));
        fitting.fold(own.unwrap_or_default(), |options, (_, weaker)| options.or(weaker))
    }

    /// The patterns that fit none of these views: most likely typos.
    #[must_use]
    pub fn unused<'a>(&'a self, views: &[TableName]) -> Vec<&'a str> {
        let fits = |pattern: &str| {
            views.iter().any(|v| matches(pattern, &v.to_string()) || matches(pattern, &plain(v)))
        };
        self.patterns.iter().map(|(pattern, _)| pattern.as_str()).filter(|p| !fits(p)).collect()
    }
}

/// A name as it is stored, without quotes.
fn plain(name: &TableName) -> String {
    match &name.schema {
        Some(schema) => format!("{schema}.{}", name.table),
        None => name.table.clone(),
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| matches(rest, &tail[at..]))
        }),
    }
}

fn word<T: Copy + PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word)
}

fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let suggestion = did_you_mean(text, names.iter().copied());
        format!("`{}` is not {}{suggestion}", text.escape_debug(), listed(&names, "or"))
    })
}

/// Splits at commas that are not inside quotes.
fn relations(text: &str) -> Result<Vec<TableName>, String> {
    let mut is_quoted = false;
    let parts = text.split(|c: char| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    parts.map(relation).collect()
}

fn relation(text: &str) -> Result<TableName, String> {
    let name: TableName = text.trim().parse().map_err(|e: crate::error::Error| e.to_string())?;
    match name.schema {
        Some(_) => Ok(name),
        None => Err(format!("`{name}` has no schema: write schema.{name}")),
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("is no time at all: write `90s`, `5m` or `26h`".to_owned()),
        time => Ok(time),
    }
}

fn work_mem(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if WORK_MEM.contains(&bytes) { Ok(bytes) } else { Err("is not between 64kB and 2TB".to_owned()) }
}

/// Checks a schedule, which is kept as it was written: its zone is the project's.
fn schedule(text: &str) -> Result<String, String> {
    Schedule::parse(text, Tz::UTC).map(|_| text.to_owned()).map_err(|error| match text.starts_with('@') {
        true => {
            format!("`{}` is not a schedule{}", text.escape_debug(), did_you_mean(text, Schedule::words()))
        }
        false => error.to_string(),
    })
}

/// `5m after success`, or the time alone.
fn every(text: &str) -> Result<Duration, String> {
    positive(text.strip_suffix("after success").unwrap_or(text).trim())
        .map_err(|wrong| format!("{wrong}; as in `5m after success`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> ViewOptions {
        let mut options = ViewOptions::default();
        pairs.iter().for_each(|(key, value)| options.set(key, value).unwrap());
        options
    }

    #[test]
    fn every_key_is_read_as_a_comment_line_writes_it() {
        let all = options(&[
            ("refresh", " swap "),
            ("depends_on", "src.rates, \"Src\".\"odd, name\""),
            ("max_age", "26h"),
            ("min_interval", "10m"),
            ("after", "analyze"),
            ("statement_timeout", "2h"),
            ("work_mem", "256MB"),
            ("every", "5m after success"),
        ]);
        assert_eq!(all.refresh, Some(RefreshMode::Swap));
        assert_eq!(all.max_age, Some(Duration::from_secs(26 * 3_600)));
        assert_eq!(all.work_mem_bytes, Some(256_000_000));
        assert_eq!(all.every, Some(Every { pause: Duration::from_secs(300) }));
        assert_eq!(all.depends_on.map(|names| names.len()), Some(2));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let mut options = ViewOptions::default();
        for (key, value, part) in [
            ("refresh", "swop", "did you mean `swap`?"),
            ("max_ege", "1h", "did you mean `max_age`?"),
            ("max_age", "0", "no time at all"),
            ("depends_on", "rates", "write schema.rates"),
            ("work_mem", "1", "between 64kB"),
            ("schedule", "@dayly", "did you mean `@daily`?"),
            ("schedule", "often", "cron expression"),
            ("every", "soon", "as in `5m after success`"),
        ] {
            let message = options.set(key, value).unwrap_err();
            assert!(message.contains(part), "{key}: {message}");
        }
        assert_eq!(options, ViewOptions::default());
    }

    #[test]
    fn a_view_s_own_file_has_the_last_word_then_the_longest_pattern() {
        let mut rules = ViewRules::default();
        rules.add_pattern("*", options(&[("refresh", "plain"), ("max_age", "1d"), ("schedule", "@daily")]));
        rules.add_pattern("mart.*", options(&[("refresh", "swap"), ("work_mem", "1GB")]));
        rules.add_file(TableName::new("mart", "sales"), options(&[("max_age", "2h"), ("every", "5m")]));
        let sales = rules.of(&TableName::new("mart", "sales"));
        let expected =
            options(&[("refresh", "swap"), ("max_age", "2h"), ("work_mem", "1GB"), ("every", "5m")]);
        assert_eq!(sales, expected);
        assert_eq!(rules.of(&TableName::new("raw", "sales")).refresh, Some(RefreshMode::Plain));
        assert_eq!(rules.unused(&[TableName::new("raw", "x")]), ["mart.*"]);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, fits) in [
            ("mart.*", "mart.sales", true),
            ("*.sales", "mart.sales", true),
            ("mart.s*s", "mart.sales", true),
            ("mart.s*x", "mart.sales", false),
            ("mart.sales", "mart.sales_2", false),
            ("*", "", true),
            ("mart.*", "mart.Ünïcode", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
