//! What must fit together in a job; each rule says what to change.
//!
//! Called once by `parse`, after every key was read. A rule keeps quiet where a value it needs was
//! bad already: one mistake makes one finding.

use super::{Catchup, CommitPolicy, EmptyWith, Job, LoadMode, Origin};
use crate::config::finding::Place;
use crate::config::reader::Reader;
use crate::config::template;

/// Checks a job; `mode` is none if it was not valid, so that nothing is said twice.
pub(super) fn job(job: &Job, mode: Option<LoadMode>, reader: &mut Reader<'_>) {
    if let Some(mode) = mode {
        check_mode(job, mode, reader);
        check_commit(job, mode, reader);
    }
    check_built(reader);
    check_interval(job, reader);
    check_schedule(job, reader);
    check_past(job, mode, reader);
    check_columns(job, reader);
    check_writers(job, mode, reader);
    check_places(job, reader);
    check_template(job, reader);
    check_hooks(job, reader);
}

fn check_mode(job: &Job, mode: LoadMode, r: &mut Reader<'_>) {
    if mode == LoadMode::Merge && job.key.is_empty() && !r.has("key") {
        r.fail("key", "is missing: mode merge needs the key columns");
    }
    if mode != LoadMode::Merge && r.has("key") {
        r.fail("key", format!("is for mode merge, not {}", mode.word()));
    }
    if mode != LoadMode::Append && r.has("resume_key") {
        r.fail("resume_key", format!("is for mode append, not {}", mode.word()));
    }
    if mode == LoadMode::DeleteInsert {
        for key in ["time_column", "interval"] {
            if !r.has(key) {
                r.fail(key, "is missing: mode delete-insert needs time_column and interval");
            }
        }
    }
    if mode == LoadMode::Replace && job.calendar.is_some() {
        r.fail("mode", "replace loads the whole table: leave out `interval`, or use delete-insert");
    }
    if mode != LoadMode::Replace && r.is_own("empty_with") {
        r.fail("empty_with", format!("is for mode replace, not {}", mode.word()));
    }
    if matches!(mode, LoadMode::Append | LoadMode::Merge) && r.is_own("max_shrink") {
        r.fail("max_shrink", format!("is for modes that replace rows, not {}", mode.word()));
    }
    if job.scope.is_some() && r.is_own("empty_with") && job.empty_with == EmptyWith::Truncate {
        r.fail("empty_with", "truncate would remove rows outside `scope`: use delete");
    }
}

fn check_commit(job: &Job, mode: LoadMode, r: &mut Reader<'_>) {
    use CommitPolicy::{Batch, Interval, Staged};
    let resumes = r.has("resume_key");
    let (allowed, message): (&[CommitPolicy], &str) = match mode {
        LoadMode::Append if resumes => (&[Batch], "append with resume_key commits by batch"),
        LoadMode::Append => {
            (&[Interval, Staged], "append commits by interval or staged; by batch only with resume_key")
        }
        LoadMode::Merge => (&[Batch, Interval], "merge commits by batch or by interval"),
        LoadMode::DeleteInsert | LoadMode::Replace => return,
    };
    if job.commit.is_some_and(|commit| !allowed.contains(&commit)) {
        r.fail("commit", message);
    }
}

/// Keys that are read and checked, and that nothing acts on in this release: silence would be a lie.
const NOT_BUILT: [&str; 1] = ["create_partitions"];

fn check_built(r: &mut Reader<'_>) {
    for key in NOT_BUILT {
        if r.has(key) && !r.has_failed(&[key]) {
            r.fail(key, "is not built in this release: leave it out");
        }
    }
}

fn check_interval(job: &Job, r: &mut Reader<'_>) {
    let is_table = matches!(job.origin, Origin::Table(_));
    if job.calendar.is_some() && is_table && !r.has("time_column") && job.mode != LoadMode::DeleteInsert {
        r.fail("time_column", "is missing: with an interval it says which rows belong to it");
    }
    if job.calendar.is_none() && !r.has_failed(&["interval"]) {
        for key in ["lookback", "depends_on_past", "catchup"] {
            if r.is_own(key) {
                r.fail(key, "needs an `interval`");
            }
        }
    }
    if let (Some(start), Some(end)) = (job.start_date, job.end_date)
        && end < start
    {
        r.fail("end_date", format!("{end} is before start_date, {start}"));
    }
    if job.was.as_ref() == Some(&job.name) {
        r.fail("was", "is the job's name now");
    }
}

fn check_schedule(job: &Job, r: &mut Reader<'_>) {
    if r.is_own("schedule_timezone") && !r.has("schedule") {
        r.fail("schedule_timezone", "is for a job with a `schedule`");
    }
    let has_time = job.calendar.is_some() || r.has("schedule") || r.has_failed(&["interval"]);
    if r.is_own("deadline") && !has_time {
        r.fail("deadline", "needs an `interval` or a `schedule`: late for what?");
    }
    if job.calendar.is_some() && job.deadline.is_some_and(|deadline| deadline <= job.min_delay) {
        let delay = job.min_delay.as_secs();
        r.fail("deadline", format!("is not longer than min_delay, {delay} s: every interval would be late"));
    }
    if job.calendar.is_some() && job.catchup == Catchup::All && !r.has("start_date") {
        r.fail("catchup", "\"all\" needs a `start_date`: all since when?");
    }
}

fn check_past(job: &Job, mode: Option<LoadMode>, r: &mut Reader<'_>) {
    if job.lookback.is_empty() || job.calendar.is_none() {
        return;
    }
    if job.depends_on_past {
        r.fail(
            "lookback",
            "changes intervals that later ones were built on, which depends_on_past rules out: leave one of them out",
        );
    }
    if mode == Some(LoadMode::Append) {
        r.fail("lookback", "loads again, and append would add the rows twice: use delete-insert or merge");
    }
}

fn check_columns(job: &Job, r: &mut Reader<'_>) {
    let Some(columns) = &job.columns else { return };
    let named = [("time_column", &job.time_column), ("resume_key", &job.resume_key)]
        .into_iter()
        .filter_map(|(key, column)| Some((key, column.as_ref()?)))
        .chain(job.key.iter().map(|column| ("key", column)))
        .chain(job.cast.keys().map(|column| ("cast", column)));
    let missing: Vec<_> = named.filter(|(_, column)| !columns.contains(column)).collect();
    for (key, column) in missing {
        r.fail(key, format!("`{}` is not among `columns`", column.escape_debug()));
    }
}

fn check_writers(job: &Job, mode: Option<LoadMode>, r: &mut Reader<'_>) {
    if job.writers < 2 || mode.is_none() || !r.is_own("writers") || r.has_failed(&["commit", "resume_key"]) {
        return;
    }
    if job.resume_key.is_some() {
        r.fail("writers", "resume_key needs the rows in order: one writer");
    } else if job.has_one_writer() {
        r.fail("writers", "one transaction has one writer: add commit = \"staged\", or set writers = 1");
    }
}

/// A COMMIT inside a hook would outlive our rollback, and a COPY would wait for rows that never come.
fn check_hooks(job: &Job, r: &mut Reader<'_>) {
    for (key, statements) in [("pre_sql", &job.pre_sql), ("post_sql", &job.post_sql)] {
        for (number, sql) in statements.iter().enumerate() {
            if let Some(what) = refused_hook(&words(sql)) {
                r.fail(key, format!("statement {}: {what}", number + 1));
            }
        }
    }
}

fn refused_hook(words: &[String]) -> Option<&'static str> {
    let second = words.get(1).map_or("", String::as_str);
    match words.first()?.as_str() {
        "begin" | "start" | "commit" | "end" | "abort" => {}
        "rollback" if second != "to" => {}
        "prepare" if second == "transaction" => {}
        "copy" if words.iter().any(|word| word == "stdin" || word == "stdout") => {
            return Some("COPY cannot read or write pgtide's own connection");
        }
        _ => return None,
    }
    Some("hooks are part of the load's transaction: they cannot begin or end one")
}

/// The words of a statement, in lower case, without comments.
fn words(sql: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = sql;
    while let Some(start) = ["--", "/*"].into_iter().filter_map(|mark| rest.find(mark)).min() {
        text.push_str(&rest[..start]);
        text.push(' ');
        rest = after_comment(&rest[start..]);
    }
    text.push_str(rest);
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// What follows the comment that a text begins with; `/* */` nest.
fn after_comment(text: &str) -> &str {
    if text.starts_with("--") {
        return text.split_once('\n').map_or("", |(_, rest)| rest);
    }
    let (mut depth, mut rest) = (0, text);
    while let Some(mark) = ["/*", "*/"].into_iter().filter_map(|mark| rest.find(mark)).min() {
        depth += if rest[mark..].starts_with("/*") { 1 } else { -1 };
        rest = &rest[mark + 2..];
        if depth == 0 {
            return rest;
        }
    }
    ""
}

fn check_places(job: &Job, r: &mut Reader<'_>) {
    let same_table = matches!(&job.origin, Origin::Table(name) if *name == job.into);
    if job.source == job.destination && same_table && !r.has_failed(&["table", "into"]) {
        r.fail("destination", "is the source, and the table is the same");
    }
}

fn check_template(job: &Job, r: &mut Reader<'_>) {
    let Origin::Query(query) = &job.origin else { return };
    if r.has_failed(&["interval", "params"]) {
        return;
    }
    // A job with a schedule has at least the moment it was due at.
    let has_interval = job.calendar.is_some() || job.schedule.is_some() || r.has("schedule");
    for problem in template::check(query, &job.params, has_interval) {
        match &job.query_file {
            Some(path) => {
                let place = Place { file: path.display().to_string(), line: problem.line };
                r.fail_at(&place, "query_file", problem.message);
            }
            None => r.fail("query", format!("line {} of the query: {}", problem.line, problem.message)),
        }
    }
}

impl Job {
    /// Whether its rows go through one transaction, or in order, and so through one writer.
    pub(super) fn has_one_writer(&self) -> bool {
        let one_transaction = match self.commit {
            Some(commit) => commit == CommitPolicy::Interval,
            None => self.mode == LoadMode::Append,
        };
        self.resume_key.is_some() || one_transaction
    }

    /// Fixes what follows from other keys.
    pub(super) fn settle(&mut self) {
        // TRUNCATE would remove other jobs' rows too.
        if self.scope.is_some() {
            self.empty_with = EmptyWith::Delete;
        }
        self.limit_writers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_ends_the_transaction_is_known_by_its_first_words() {
        let refused = |sql| refused_hook(&words(sql)).is_some();
        for sql in [
            "commit",
            "-- all done\nCOMMIT;",
            " /* a */ end",
            "rollback",
            "prepare transaction 'x'",
            "/* a /* b */ c */ commit",
            "/*/**/x*/ prepare transaction 'p'",
        ] {
            assert!(refused(sql), "{sql}");
        }
        assert!(refused("copy t from stdin"));
        for sql in
            ["analyze t", "rollback to a", "copy t to '/tmp/t'", "select 'commit'", "prepare q as select 1"]
        {
            assert!(!refused(sql), "{sql}");
        }
    }
}
