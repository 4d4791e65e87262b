//! What the written files call the two servers, and how their places get to pgtide without being written.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::cli::loading;
use crate::config::connection::{ConnectionSpec, Host, SslMode};
use crate::config::overrides::Overrides;
use crate::config::project::Project;

/// A place to show where none is known.
pub(super) const EXAMPLE: &str = "postgres://USER@HOST:5432/DATABASE";

/// The two ends of a job.
pub(super) struct Ends {
    pub(super) source: End,
    pub(super) destination: End,
    /// What `[defaults]` of an existing project file says already.
    pub(super) defaults: toml::Table,
}

/// One end.
pub(super) struct End {
    /// What the job file calls this end: `source`.
    pub(super) key: &'static str,
    /// The connection to look at now.
    pub(super) place: String,
    /// The connection's name in the files.
    pub(super) name: String,
    /// Whether the name can be resolved already, without anything typed.
    pub(super) is_known: bool,
}

impl Ends {
    pub(super) fn of(project: &Project) -> Self {
        let defaults = defaults(project);
        let overrides = project.overrides();
        let plain = loading::without_places(project);
        let end = |key: &'static str, given: &Option<String>| {
            let usual = defaults.get(key).and_then(toml::Value::as_str).unwrap_or(key).to_owned();
            let (place, name) = match given {
                Some(given) if Overrides::is_place(given) => (key.to_owned(), usual),
                Some(name) => (name.clone(), name.clone()),
                None => (usual.clone(), usual),
            };
            let is_known = plain.as_ref().is_ok_and(|plain| plain.connection(&name).is_ok());
            End { key, place, name, is_known }
        };
        let source = end("source", &overrides.source);
        let destination = end("destination", &overrides.destination);
        Self { source, destination, defaults }
    }

    /// Whether an existing project file says this for every job.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.defaults.contains_key(key)
    }
}

fn defaults(project: &Project) -> toml::Table {
    let text = project.file().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let document: toml::Table = text.parse().unwrap_or_default();
    document.get("defaults").and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

impl End {
    /// The variable that the new project file takes the place from: `SOURCE_URL`.
    pub(super) fn variable(&self) -> String {
        format!("{}_URL", self.upper())
    }

    fn upper(&self) -> String {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        self.name.chars().map(upper).collect()
    }

    /// The line to type so that the connection is known; none if it is.
    pub(super) fn export(&self, place: &str, had_project: bool) -> Option<String> {
        // A project file that is there is left alone: this variable is read whatever the file says.
        let variable = if had_project { format!("PGTIDE_CONN_{}", self.upper()) } else { self.variable() };
        let is_set = std::env::var_os(&variable).is_some_and(|value| !value.is_empty());
        (!self.is_known && !is_set).then(|| format!("export {variable}='{place}'"))
    }
}

/// The place, but for the password.
pub(super) fn without_password(spec: &ConnectionSpec) -> String {
    let hosts: Vec<_> = spec.hosts.iter().map(ToString::to_string).collect();
    let (user, database) = (&spec.user, &spec.database);
    let mode = match spec.sslmode {
        SslMode::Prefer => "",
        SslMode::Disable => "?sslmode=disable",
        SslMode::Allow => "?sslmode=allow",
        SslMode::Require => "?sslmode=require",
        SslMode::VerifyCa => "?sslmode=verify-ca",
        SslMode::VerifyFull => "?sslmode=verify-full",
    };
    match spec.hosts.first() {
        // A socket's folder cannot stand where a URL has its host.
        Some(Host::Unix { dir, port }) => {
            format!("host={} port={port} user={user} dbname={database}", dir.display())
        }
        _ => {
            let (user, database) = (encoded(user), encoded(database));
            format!("postgres://{user}@{}/{database}{mode}", hosts.join(","))
        }
    }
}

fn encoded(text: &str) -> String {
    const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');
    percent_encoding::utf8_percent_encode(text, &PLAIN).to_string()
}
