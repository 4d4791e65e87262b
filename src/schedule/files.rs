//! The project and its jobs, read again and again: a broken edit keeps the last good version.
//!
//! What was read counts when two looks in a row agree, so that a file that is just being written is not
//! taken for a broken one, nor one that an editor replaces for one that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::environment::Environment;
use crate::config::job::Job;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Scheduling;

/// The jobs as they are to be run, and the project they belong to.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) project: Arc<Project>,
    /// The most important first.
    pub(super) jobs: Vec<Job>,
}

impl Jobs {
    pub(super) fn destinations(&self) -> BTreeSet<String> {
        self.jobs.iter().map(|job| job.destination.clone()).collect()
    }
}

/// What is known of one job's file.
struct Known {
    /// The last good version, and how it looks in full.
    good: Option<(Job, String)>,
    findings: Vec<String>,
}

/// What one look found.
struct Look {
    project: Result<Project, Vec<String>>,
    jobs: BTreeMap<String, Result<Job, Vec<String>>>,
    /// The hash of the project's file.
    text: Option<u64>,
    /// All of it in one text, to compare looks.
    shape: String,
}

/// The files of a project.
pub(super) struct Files {
    overrides: Overrides,
    env: Environment,
    names: Vec<String>,
    project: Arc<Project>,
    /// The hash of the project's file; none before the first look.
    text: Option<u64>,
    findings: Vec<String>,
    known: BTreeMap<String, Known>,
    jobs: Arc<Jobs>,
    /// The shape that counts, and the one that was seen last.
    shapes: (String, String),
}

impl Files {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// The project's; `Usage` for a name that no job has; `Config`, when there is no job, or no good one.
    pub(super) fn read(
        overrides: &Overrides,
        env: &Environment,
        names: &[String],
    ) -> Result<(Self, Vec<Scheduling>)> {
        let project = Arc::new(Project::load(overrides, env)?);
        for name in names {
            project.job(name)?;
        }
        let jobs = Arc::new(Jobs { project: project.clone(), jobs: Vec::new() });
        let mut files = Self {
            overrides: overrides.clone(),
            env: env.clone(),
            names: names.to_owned(),
            project: project.clone(),
            text: None,
            findings: Vec::new(),
            known: BTreeMap::new(),
            jobs,
            shapes: Default::default(),
        };
        let look = files.look_once();
        files.shapes = (look.shape.clone(), look.shape.clone());
        let mut said = files.take(look);
        // At the start no job is new.
        said.retain(|said| !matches!(said, Scheduling::JobAdded { .. }));
        if files.jobs.jobs.is_empty() && !project.view_rules().has_clocks() {
            project.jobs()?;
            let what = format!("there are no jobs in {}", project.jobs_dir().display());
            return Err(Error::new(ErrorKind::Config, what).with_hint("pgtide init TABLE writes a first one"));
        }
        Ok((files, said))
    }

    /// The jobs as of the last look that counted.
    pub(super) fn jobs(&self) -> Arc<Jobs> {
        self.jobs.clone()
    }

    /// Looks again; none if nothing has changed, or not for long enough.
    pub(super) fn look(&mut self) -> Option<Vec<Scheduling>> {
        let look = self.look_once();
        let is_settled = self.shapes.1 == look.shape;
        self.shapes.1.clone_from(&look.shape);
        if !is_settled || self.shapes.0 == look.shape {
            return None;
        }
        self.shapes.0.clone_from(&look.shape);
        Some(self.take(look))
    }

    fn look_once(&self) -> Look {
        let project = Project::load(&self.overrides, &self.env).map_err(|error| lines(&error));
        let each = project.as_ref().unwrap_or(&self.project).each_job().into_iter();
        let wanted = each.filter(|(name, _)| self.names.is_empty() || self.names.contains(name));
        let jobs: BTreeMap<_, _> =
            wanted.map(|(name, job)| (name, job.map_err(|error| lines(&error)))).collect();
        let file = project.as_ref().ok().and_then(Project::file).and_then(|file| std::fs::read(file).ok());
        let text = file.map(|text| xxhash_rust::xxh3::xxh3_64(&text));
        let shape = format!("{text:?} {:?} {jobs:?}", project.as_ref().err());
        Look { project, jobs, text, shape }
    }

    /// Makes a look count, and tells what is different.
    fn take(&mut self, look: Look) -> Vec<Scheduling> {
        let mut said = Vec::new();
        match look.project {
            Ok(project) => {
                // The same project stays the same value: who leads need not compete again.
                if self.text.is_none() || self.text != look.text {
                    (self.project, self.text) = (Arc::new(project), look.text);
                }
                if !std::mem::take(&mut self.findings).is_empty() {
                    said.push(Scheduling::Mended { job: None });
                }
            }
            Err(findings) => {
                if findings != self.findings {
                    said.push(Scheduling::Broken { job: None, findings: findings.clone(), kept: true });
                }
                self.findings = findings;
            }
        }
        let gone: Vec<_> = self.known.keys().filter(|name| !look.jobs.contains_key(*name)).cloned().collect();
        for job in gone {
            self.known.remove(&job);
            said.push(Scheduling::JobRemoved { job });
        }
        said.extend(look.jobs.into_iter().flat_map(|(name, job)| self.take_job(name, job)));
        let mut jobs: Vec<_> =
            self.known.values().filter_map(|known| known.good.as_ref()).map(|(job, _)| job.clone()).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.priority_weight));
        self.jobs = Arc::new(Jobs { project: self.project.clone(), jobs });
        said
    }

    fn take_job(&mut self, name: String, read: Result<Job, Vec<String>>) -> Vec<Scheduling> {
        let before = self.known.remove(&name).unwrap_or(Known { good: None, findings: Vec::new() });
        let job = Some(name.clone());
        let (known, said) = match read {
            Err(findings) => {
                let broken =
                    Scheduling::Broken { job, findings: findings.clone(), kept: before.good.is_some() };
                let said = if findings == before.findings { Vec::new() } else { vec![broken] };
                (Known { good: before.good, findings }, said)
            }
            Ok(good) => {
                let shape = format!("{good:?}");
                let mut said = Vec::new();
                if !before.findings.is_empty() {
                    said.push(Scheduling::Mended { job });
                }
                match &before.good {
                    None if before.findings.is_empty() => {
                        said.push(Scheduling::JobAdded { job: name.clone() })
                    }
                    Some((_, known)) if *known != shape => {
                        said.push(Scheduling::JobChanged { job: name.clone() });
                    }
                    _ => {}
                }
                (Known { good: Some((good, shape)), findings: Vec::new() }, said)
            }
        };
        self.known.insert(name, known);
        said
    }
}

/// What is wrong, a line each.
fn lines(error: &Error) -> Vec<String> {
    if error.details().is_empty() { vec![error.chain()] } else { error.details().to_vec() }
}
