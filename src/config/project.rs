//! The project: `pgtide.toml`, the jobs beside it, and the connections they name.
//!
//! [`Project::load`] is what every verb starts with; it fails on the first bad `pgtide.toml`.
//! [`Project::read`] is for `check`: it keeps what is wrong, for [`findings`](Project::findings) to
//! tell with everything else. Jobs are read when asked for, connections are resolved when asked for.

mod connections;
mod document;
mod jobs;
mod views;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono_tz::Tz;

use self::document::Document;
use super::connection::ConnectionSpec;
use super::environment::Environment;
use super::file::Value;
use super::finding::{Finding, to_error};
use super::job::Job;
use super::overrides::Overrides;
use super::views::{ViewOptions, ViewRules};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// The name of the project file.
pub const PROJECT_FILE: &str = "pgtide.toml";

/// A project and what the command line said about it.
#[derive(Debug)]
pub struct Project {
    root: PathBuf,
    file: Option<PathBuf>,
    document: Document,
    overrides: Overrides,
    env: Environment,
    findings: Vec<Finding>,
    warnings: Mutex<BTreeSet<String>>,
}

impl Project {
    /// Finds and reads `pgtide.toml`, upward from the current folder or where `--config` says. None
    /// at all is a project without jobs.
    ///
    /// # Errors
    /// `Usage` for options out of range; `Config` with every finding of the file.
    pub fn load(overrides: &Overrides, env: &Environment) -> Result<Self> {
        let project = Self::read(overrides, env)?;
        if project.findings.is_empty() { Ok(project) } else { Err(to_error(project.findings)) }
    }

    /// Reads as [`load`](Self::load) does, and keeps what is wrong with the file.
    ///
    /// # Errors
    /// `Usage` for options out of range; `Config` if `--config` names no file.
    pub fn read(overrides: &Overrides, env: &Environment) -> Result<Self> {
        overrides.validate()?;
        let file = find_file(overrides, env)?;
        let root = file.as_deref().and_then(Path::parent).unwrap_or(env.current_dir()).to_owned();
        let (document, findings) = match &file {
            Some(file) => Document::read(file, env),
            None => (Document::default(), Vec::new()),
        };
        let (overrides, env) = (overrides.clone(), env.clone());
        Ok(Self { root, file, document, overrides, env, findings, warnings: Mutex::default() })
    }

    /// The folder that paths are relative to: that of `pgtide.toml`, else the current one.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the project is called: its `name`, or that of its folder.
    #[must_use]
    pub fn name(&self) -> String {
        let folder = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let folder = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
        self.document.name.clone().or_else(folder).unwrap_or_else(|| "pgtide".to_owned())
    }

    /// The project file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The ledger's schema in the destination.
    #[must_use]
    pub fn ledger_schema(&self) -> &str {
        self.document.ledger_schema.as_deref().unwrap_or("pgtide")
    }

    /// Intervals at once over all jobs and machines, if there is a limit.
    #[must_use]
    pub fn parallelism(&self) -> Option<usize> {
        self.document.parallelism
    }

    /// The slots of a pool, if it is declared.
    #[must_use]
    pub fn pool_slots(&self, pool: &str) -> Option<usize> {
        self.document.pools.get(pool).copied()
    }

    /// The folder of the views' SQL files.
    #[must_use]
    pub fn views_dir(&self) -> PathBuf {
        self.root.join(self.document.views_dir.as_deref().unwrap_or("views/"))
    }

    /// Whether the project has views: a folder of files that is there or named, or rules.
    #[must_use]
    pub fn has_views(&self) -> bool {
        let has_rules = !self.document.view_rules.unused(&[]).is_empty();
        self.names_views_dir() || has_rules || self.views_dir().is_dir()
    }

    /// Whether `[views] files` names the folder: then it has to be there.
    #[must_use]
    pub fn names_views_dir(&self) -> bool {
        self.document.views_dir.is_some()
    }

    /// Adds what the comment lines of views' own files ask for: the last word on a view.
    #[must_use]
    pub fn with_view_files(mut self, files: impl IntoIterator<Item = (TableName, ViewOptions)>) -> Self {
        files.into_iter().for_each(|(view, options)| self.document.view_rules.add_file(view, options));
        self
    }

    /// What `${name}` stands for in a view's file: `[views.placeholders]`, else a variable.
    #[must_use]
    pub fn placeholder(&self, name: &str) -> Option<&str> {
        self.document.placeholders.get(name).map(String::as_str).or_else(|| self.env.var(name))
    }

    /// The zone of `[defaults]`, for what belongs to no job; UTC without.
    #[must_use]
    pub fn timezone(&self) -> Tz {
        let text = self.document.defaults.entries.get("timezone").map(|(_, item)| &item.value);
        match text {
            Some(Value::Text(text)) => text.parse().unwrap_or(Tz::UTC),
            _ => Tz::UTC,
        }
    }

    /// What the project says about materialized views, by pattern.
    #[must_use]
    pub fn view_rules(&self) -> &ViewRules {
        &self.document.view_rules
    }

    /// The folder of job files.
    #[must_use]
    pub fn jobs_dir(&self) -> PathBuf {
        self.root.join(self.document.jobs_dir.as_deref().unwrap_or("jobs/"))
    }

    /// What the command line said.
    #[must_use]
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Warnings so far, each once: of the file, and of the connections resolved until now.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn warn(&self, warnings: impl IntoIterator<Item = String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(warnings);
    }

    /// Everything that is wrong: the file, every job, every connection that is declared or used.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        let mut good: Vec<Job> = Vec::new();
        for result in self.read_jobs() {
            match result {
                Ok(job) => good.push(job),
                Err(found) => findings.extend(found),
            }
        }
        findings.extend(jobs::shared_tables(&good));
        let used = good.iter().flat_map(|job| [job.source.clone(), job.destination.clone()]);
        let names: BTreeSet<String> = used.chain(self.document.connections.keys().cloned()).collect();
        findings.extend(names.iter().flat_map(|name| self.connection_findings(name)));
        findings.sort();
        findings.dedup();
        findings
    }

    fn connection_findings(&self, name: &str) -> Vec<Finding> {
        match self.find_connection(name) {
            None => vec![Finding::new(self.unknown_connection(name).to_string())],
            Some(found) => self.resolve_found(name, &found).err().unwrap_or_default(),
        }
    }

    /// Resolves a connection by its name: the command line, `PGTIDE_CONN_NAME`, `[connections.NAME]`,
    /// `AIRFLOW_CONN_NAME`, in this order; or by a URL or keyword string.
    ///
    /// # Errors
    /// `Config`: it is not known, with the nearest and all that are; or it is not valid, with every
    /// problem. Never with a secret.
    pub fn connection(&self, name: &str) -> Result<ConnectionSpec> {
        let found = self.find_connection(name).ok_or_else(|| self.unknown_connection(name))?;
        let (spec, warnings) = self.resolve_found(name, &found).map_err(to_error)?;
        let shown = &spec.name;
        self.warn(warnings.into_iter().map(|warning| format!("connection `{shown}`: {warning}")));
        Ok(spec)
    }
}

fn find_file(overrides: &Overrides, env: &Environment) -> Result<Option<PathBuf>> {
    let Some(given) = &overrides.config else {
        let found =
            env.current_dir().ancestors().map(|dir| dir.join(PROJECT_FILE)).find(|file| file.exists());
        return Ok(found);
    };
    let file = env.current_dir().join(given);
    if file.exists() {
        return Ok(Some(file));
    }
    Err(Error::new(ErrorKind::Config, format!("there is no file {}", env.shown(&file)))
        .with_hint("--config names the project file, such as /srv/etl/pgtide.toml"))
}

#[cfg(test)]
mod tests;
