//! Connections: URLs, libpq's words and variables, `.pgpass`, service files, Airflow's variables.
//!
//! tokio-postgres knows few of libpq's words and means other things by some; everything is parsed
//! here, to libpq's meaning. Nothing here touches the network.
//!
//! A place is text (`url`, `keywords`, `airflow`), becomes `words::Words`, is filled up from a
//! service file, `PG*` variables and a password file, and ends as a [`ConnectionSpec`] in `resolve`.

mod airflow;
mod keywords;
mod passfile;
mod resolve;
mod service;
mod url;
mod words;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::finding::{Finding, to_error};
use crate::error::Result;

pub(super) use airflow::parse as parse_airflow;
pub(super) use resolve::{Extra, resolve};
pub(super) use words::Words;

/// A text that never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// Plain first, TLS if the server insists.
    Allow,
    /// TLS first, plain if the server has none.
    #[default]
    Prefer,
    /// TLS; the certificate is verified only if a root file exists.
    Require,
    /// TLS with a chain to a trusted root.
    VerifyCa,
    /// TLS with a chain to a trusted root and the right name.
    VerifyFull,
}

/// libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetSessionAttrs {
    /// Any server.
    #[default]
    Any,
    /// One that takes writes by default.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One in recovery.
    Standby,
    /// One in recovery, else any.
    PreferStandby,
}

/// libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If both sides can.
    #[default]
    Prefer,
    /// Always.
    Require,
}

/// One place to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or address; `addr` (libpq's `hostaddr`) saves the look-up.
    Tcp {
        /// The name, also for the certificate.
        name: String,
        /// The address to dial, if given.
        addr: Option<std::net::IpAddr>,
        /// The port.
        port: u16,
    },
    /// A folder with a Unix socket.
    Unix {
        /// The folder.
        dir: PathBuf,
        /// The port in the socket's name.
        port: u16,
    },
}

/// Where the root certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// `~/.postgresql/root.crt`, if it exists.
    Default,
    /// A file.
    File(PathBuf),
    /// The system's store.
    System,
}

/// One Postgres, fully resolved: everything that connecting needs.
#[derive(Clone)]
pub struct ConnectionSpec {
    /// The connection's name in messages: `source`, `warehouse`.
    pub name: String,
    /// Places to try, in order.
    pub hosts: Vec<Host>,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, if one is known.
    pub password: Option<Secret>,
    /// A command that prints the password, run once, when the connection is first opened.
    pub password_command: Option<Vec<String>>,
    /// `sslmode`.
    pub sslmode: SslMode,
    /// `sslrootcert`.
    pub sslrootcert: RootCert,
    /// `sslcert`.
    pub sslcert: Option<PathBuf>,
    /// `sslkey`.
    pub sslkey: Option<PathBuf>,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
    /// `target_session_attrs`.
    pub target_session_attrs: TargetSessionAttrs,
    /// The deadline for one host: look-up, TCP, TLS and authentication together.
    pub connect_timeout: Duration,
    /// `keepalives`.
    pub keepalives: bool,
    /// `keepalives_idle`.
    pub keepalives_idle: Duration,
    /// `keepalives_interval`.
    pub keepalives_interval: Duration,
    /// `keepalives_count`.
    pub keepalives_count: u32,
    /// `tcp_user_timeout`.
    pub tcp_user_timeout: Option<Duration>,
    /// `options`, as in libpq.
    pub options: Option<String>,
    /// `application_name`, if the user gave one.
    pub application_name: Option<String>,
    /// The most connections pgtide may open on this server.
    pub max_connections: Option<usize>,
}

impl ConnectionSpec {
    /// Parses a URL (`postgres://...`) or a keyword string (`host=... dbname=...`), and fills what it
    /// does not say from the environment as libpq does; also gives warnings for people.
    ///
    /// # Errors
    /// `Config`, with every problem found; never with the text itself.
    pub fn parse(name: &str, place: &str, env: &Environment) -> Result<(Self, Vec<String>)> {
        let words = Words::parse(place).map_err(|what| vec![what]);
        words
            .and_then(|words| resolve(name, words, Extra::default(), env))
            .map_err(|problems| to_error(findings(name, problems)))
    }

    /// Parses a URL or a keyword string alone: no variables, no files.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_url(name: &str, place: &str) -> Result<Self> {
        Self::parse(name, place, &Environment::default()).map(|(spec, _)| spec)
    }
}

/// Makes findings about a connection.
pub(super) fn findings(name: &str, problems: Vec<String>) -> Vec<Finding> {
    let finding = |what| Finding::new(format!("connection `{}`: {what}", name.escape_debug()));
    problems.into_iter().map(finding).collect()
}

/// Shows all but secrets: the password and the arguments of `password_command`.
impl fmt::Debug for ConnectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSpec")
            .field("name", &self.name)
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("password", &self.password)
            .field("password_command", &self.password_command.as_ref().map(|_| "(hidden)"))
            .field("sslmode", &self.sslmode)
            .field("target_session_attrs", &self.target_session_attrs)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// A place to try, as `host:port`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port, .. } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port, .. } => write!(f, "{name}:{port}"),
            Self::Unix { dir, port } => write!(f, "{}:{port}", dir.display()),
        }
    }
}

/// `etl@db.example:5432/warehouse`, for messages.
impl fmt::Display for ConnectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        write!(f, "{}@{}/{}", self.user, hosts.join(","), self.database)
    }
}
