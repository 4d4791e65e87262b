//! Job files by name, with `[defaults]` below them and the command line above.
//!
//! Files are listed when asked for and read one by one; a job is never cached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Project;
use crate::config::file::read_toml;
use crate::config::finding::{Finding, Place, to_error};
use crate::config::job::parse::{self, JobFile};
use crate::config::job::{Job, OneOff};
use crate::config::nearest::{did_you_mean, nearest};
use crate::config::overrides::Overrides;
use crate::config::reader::Reader;
use crate::error::{Error, ErrorKind, Result};

impl Project {
    /// The names of the jobs that have a file, in order.
    #[must_use]
    pub fn job_names(&self) -> Vec<String> {
        self.job_files().into_keys().filter(|name| parse::check_name(name).is_ok()).collect()
    }

    /// Reads one job.
    ///
    /// # Errors
    /// `Usage`, when there is no such job, with the nearest; `Config`, with every finding of its file.
    pub fn job(&self, name: &str) -> Result<Job> {
        let Some(path) = self.job_files().remove(name) else { return Err(self.no_such_job(name)) };
        self.read_job(name, path).map_err(to_error)
    }

    /// Reads every job, in the order of names.
    ///
    /// # Errors
    /// `Config`, with the findings of all files.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut findings = Vec::new();
        for result in self.read_jobs() {
            match result {
                Ok(job) => jobs.push(job),
                Err(found) => findings.extend(found),
            }
        }
        if findings.is_empty() { Ok(jobs) } else { Err(to_error(findings)) }
    }

    /// Reads every job apart from the others, in the order of names.
    #[must_use]
    pub fn each_job(&self) -> Vec<(String, Result<Job>)> {
        let files = self.job_files().into_iter();
        files.map(|(name, path)| (name.clone(), self.read_job(&name, path).map_err(to_error))).collect()
    }

    /// Makes the job of a one-off copy, with the settings of `[defaults]` and the command line.
    ///
    /// # Errors
    /// `Usage`, when mode and key do not fit; `Config`, for bad settings in `[defaults]`.
    pub fn one_off(&self, ask: OneOff) -> Result<Job> {
        let mut reader = Reader::new(&self.document.shown, vec![&self.document.defaults]);
        let job = Job::one_off_with(ask, &mut reader)?;
        let findings = reader.finish();
        if !findings.is_empty() {
            return Err(to_error(findings));
        }
        self.overridden(job).map_err(|finding| to_error(vec![finding]))
    }

    pub(super) fn read_jobs(&self) -> Vec<Result<Job, Vec<Finding>>> {
        self.job_files().into_iter().map(|(name, path)| self.read_job(&name, path)).collect()
    }

    /// Files of the jobs' folder by their stems; other kinds of files, hidden ones and folders are
    /// not jobs.
    fn job_files(&self) -> BTreeMap<String, PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.jobs_dir()) else { return BTreeMap::new() };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
            .filter(|(name, _)| !name.starts_with('.'))
            .collect()
    }

    fn read_job(&self, name: &str, path: PathBuf) -> Result<Job, Vec<Finding>> {
        let shown = self.env.shown(&path);
        parse::check_name(name)
            .map_err(|what| vec![Finding::at(Place { file: shown.clone(), line: 0 }, what)])?;
        let own = read_toml(&path, &self.env)?;
        if own.entries.is_empty() {
            let message = "is empty: a job needs at least `table`";
            return Err(vec![Finding::at(Place { file: shown, line: 0 }, message)]);
        }
        let defaults = &self.document.defaults;
        let file = JobFile { name, path: &path, own: &own, defaults, root: &self.root, env: &self.env };
        let job = parse::read(&file)?;
        if let Some(was) = job.was.as_ref().filter(|was| self.job_files().contains_key(*was)) {
            let place = own.entries.get("was").map(|(place, _)| place.clone());
            let message = format!("`{was}` has a file of its own: remove that one, or this key");
            return Err(vec![Finding { place, key: Some("was".to_owned()), message }]);
        }
        if let Some(what) = self.pool_finding(&job) {
            let key =
                if own.entries.contains_key("pool") || job.pool_slots < 2 { "pool" } else { "pool_slots" };
            let place = own.entries.get(key).map(|(place, _)| place.clone());
            let place = place.unwrap_or(Place { file: shown, line: 0 });
            return Err(vec![Finding::at(place, what).about(key)]);
        }
        self.overridden(job).map_err(|finding| vec![finding])
    }

    /// What is wrong with the pool of a job, if something is.
    fn pool_finding(&self, job: &Job) -> Option<String> {
        let pool = job.pool.as_ref()?;
        let Some(slots) = self.pool_slots(pool) else {
            let suggestion = did_you_mean(pool, self.document.pools.keys().map(String::as_str));
            let shown = pool.escape_debug();
            return Some(format!(
                "`{shown}` is not declared{suggestion}; add it under [pools] in pgtide.toml: {shown} = 4"
            ));
        };
        let wanted = job.pool_slots;
        (wanted > slots).then(|| format!("`{pool}` has {slots} slots, and an interval takes {wanted}"))
    }

    /// Applies the command line. A place there is known as `source` or `destination` from then on.
    fn overridden(&self, mut job: Job) -> Result<Job, Finding> {
        for (option, end, given) in [
            ("--source", "source", &self.overrides.source),
            ("--destination", "destination", &self.overrides.destination),
        ] {
            let Some(given) = given else { continue };
            let name = if Overrides::is_place(given) { end } else { given };
            let (own, other) = match end {
                "source" => (&mut job.source, &job.destination),
                _ => (&mut job.destination, &job.source),
            };
            if Overrides::is_place(given) && other == end {
                return Err(Finding::new(format!(
                    "{option} is known as `{end}`, but job `{}` uses that name for its other end",
                    job.name
                )));
            }
            *own = name.to_owned();
        }
        job.apply_numbers(&self.overrides);
        Ok(job)
    }

    fn no_such_job(&self, name: &str) -> Error {
        let shown = name.escape_debug();
        let known = self.job_names();
        let stem = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).trim_end_matches(".toml");
        if stem != name {
            let context =
                format!("`{shown}` is not a job: jobs are named, not their files, and lie in one folder");
            let error = Error::new(ErrorKind::Usage, context);
            return match nearest(stem, known.iter().map(String::as_str)) {
                Some(job) => error.with_hint(format!("the job's name is `{job}`")),
                None => error.with_detail(format!("jobs: {}", known.join(", "))),
            };
        }
        let suggestion = did_you_mean(name, known.iter().map(String::as_str));
        let error = Error::new(ErrorKind::Usage, format!("there is no job `{shown}`{suggestion}"));
        match (known.as_slice(), &self.file) {
            ([], None) => error.with_hint(format!(
                "no pgtide.toml was found in {} or above it: `pgtide init TABLE` writes one",
                self.env.current_dir().display()
            )),
            ([], Some(_)) => error.with_hint(format!(
                "{} has no jobs: `pgtide init TABLE` writes one",
                self.env.shown(&self.jobs_dir())
            )),
            (known, _) => error.with_detail(format!("jobs: {}", known.join(", "))),
        }
    }
}

/// Finds jobs that load one table without saying, each by its `scope`, which rows are theirs.
pub(super) fn shared_tables(jobs: &[Job]) -> Vec<Finding> {
    let mut by_table: BTreeMap<_, Vec<&Job>> = BTreeMap::new();
    for job in jobs {
        by_table.entry((&job.destination, &job.into)).or_default().push(job);
    }
    let shared = by_table.into_iter().filter(|(_, jobs)| jobs.len() > 1);
    shared
        .filter(|(_, jobs)| jobs.iter().any(|job| job.scope.is_none()))
        .map(|((_, table), jobs)| {
            let names: Vec<String> = jobs.iter().map(|job| format!("`{}`", job.name)).collect();
            Finding::new(format!("jobs {} all load {table}: give each a `scope`", names.join(", ")))
        })
        .collect()
}
