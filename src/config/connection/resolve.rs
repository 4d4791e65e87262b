//! Words to a [`ConnectionSpec`]: what is missing comes from a service file, `PG*` variables, a
//! password file and defaults, in libpq's order. Every problem is collected before any is told.
//!
//! Two differences from libpq, both to be safe with two servers at once: `PGHOSTADDR` counts only
//! where no host was given, and default deadlines are not infinite.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::passfile::{self, Wanted};
use super::service;
use super::words::{self, WORDS, Words};
use super::{ChannelBinding, ConnectionSpec, Host, RootCert, Secret, SslMode, TargetSessionAttrs};
use crate::config::environment::Environment;
use crate::config::nearest::listed;

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

const CHANNEL_BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const SESSION_ATTRS: [(&str, TargetSessionAttrs); 6] = [
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

/// What `[connections.NAME]` may say beside libpq's words.
#[derive(Default)]
pub(in crate::config) struct Extra {
    pub(in crate::config) password_command: Option<Vec<String>>,
    pub(in crate::config) max_connections: Option<usize>,
    /// The folder that relative paths of certificates start from.
    pub(in crate::config) base: Option<PathBuf>,
}

/// Fills words up and makes the spec; also gives warnings.
///
/// # Errors
/// Every problem; never with a value that could be a secret.
pub(in crate::config) fn resolve(
    name: &str,
    mut words: Words,
    extra: Extra,
    env: &Environment,
) -> Result<(ConnectionSpec, Vec<String>), Vec<String>> {
    let mut problems = Vec::new();
    let service = words.get("service").or_else(|| env.filled_var("PGSERVICE")).map(str::to_owned);
    if let Some(service) = service {
        problems.extend(service::fill(&mut words, &service, env).err());
    }
    fill_from_variables(&mut words, extra.password_command.is_some(), env, &mut problems);
    let mut resolver = Resolver { words: &words, env, extra, problems, warnings: Vec::new() };
    let spec = resolver.spec(name);
    match spec {
        Some(spec) if resolver.problems.is_empty() => Ok((spec, resolver.warnings)),
        _ => Err(resolver.problems),
    }
}

fn fill_from_variables(words: &mut Words, has_command: bool, env: &Environment, problems: &mut Vec<String>) {
    let has_host = words.get("host").is_some() || words.get("hostaddr").is_some();
    for word in WORDS {
        let Some((variable, value)) = word.variable.and_then(|v| Some((v, env.filled_var(v)?))) else {
            continue;
        };
        let skip = match word.name {
            "host" | "hostaddr" => has_host,
            "password" => has_command,
            _ => false,
        };
        if skip || words.get(word.name).is_some() {
            continue;
        }
        match words::check(word, value) {
            Ok(()) => words.fill(word.name, value),
            Err(what) => problems.push(format!("the environment variable {variable}: {what}")),
        }
    }
}

struct Resolver<'a> {
    words: &'a Words,
    env: &'a Environment,
    extra: Extra,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Resolver<'_> {
    fn spec(&mut self, name: &str) -> Option<ConnectionSpec> {
        let hosts = self.hosts();
        let user = self.words.get("user").or(self.env.user()).map(str::to_owned);
        if user.is_none() {
            self.problems.push("no user is given".to_owned());
        }
        let user = user.unwrap_or_default();
        let database = self.words.get("dbname").unwrap_or(&user).to_owned();
        let sslrootcert = self.root_cert();
        let sslmode = self.sslmode(&hosts, &sslrootcert);
        let (sslcert, sslkey) = self.client_cert();
        let spec = ConnectionSpec {
            name: name.to_owned(),
            password: self.password(&hosts, &user, &database),
            password_command: self.extra.password_command.clone(),
            sslmode,
            sslrootcert,
            sslcert,
            sslkey,
            channel_binding: self.choice("channel_binding", &CHANNEL_BINDINGS).unwrap_or_default(),
            target_session_attrs: self.choice("target_session_attrs", &SESSION_ATTRS).unwrap_or_default(),
            connect_timeout: self.seconds("connect_timeout", 10),
            keepalives: self.number::<i64>("keepalives").is_none_or(|number| number != 0),
            keepalives_idle: self.seconds("keepalives_idle", 30),
            keepalives_interval: self.seconds("keepalives_interval", 10),
            keepalives_count: self.number("keepalives_count").filter(|count| *count > 0).unwrap_or(3),
            tcp_user_timeout: self.tcp_user_timeout(),
            options: self.words.get("options").map(str::to_owned),
            application_name: self.words.get("application_name").map(str::to_owned),
            max_connections: self.extra.max_connections,
            hosts,
            user,
            database,
        };
        self.problems.is_empty().then_some(spec)
    }

    /// Pairs hosts, addresses and ports as libpq does: one port serves all hosts.
    fn hosts(&mut self) -> Vec<Host> {
        let list = |name| self.words.get(name).map(|v| v.split(',').map(str::trim).collect::<Vec<_>>());
        let names = list("host");
        let addrs = list("hostaddr");
        let ports = list("port").unwrap_or_else(|| vec![""]);
        let count = names.as_ref().or(addrs.as_ref()).map_or(1, Vec::len);
        if addrs.as_ref().is_some_and(|addrs| addrs.len() != count) {
            self.problems.push("hostaddr and host list different numbers of places".to_owned());
            return Vec::new();
        }
        if ports.len() != 1 && ports.len() != count {
            self.problems.push(format!("port lists {} ports for {count} hosts", ports.len()));
            return Vec::new();
        }
        let at = |list: &Option<Vec<&str>>, i: usize| list.as_ref().map_or("", |l| l[i]).to_owned();
        let places: Vec<_> = (0..count)
            .map(|i| (at(&names, i), at(&addrs, i), ports[if ports.len() == 1 { 0 } else { i }].to_owned()))
            .collect();
        places.iter().filter_map(|(name, addr, port)| self.host(name, addr, port)).collect()
    }

    fn host(&mut self, name: &str, addr: &str, port: &str) -> Option<Host> {
        let port = if port.is_empty() { Some(5432) } else { port.parse().ok().filter(|port| *port != 0) };
        let Some(port) = port else {
            self.problems.push("a port is not a number between 1 and 65535".to_owned());
            return None;
        };
        if name.starts_with('@') {
            self.problems.push("abstract sockets (`@`) are not supported".to_owned());
            return None;
        }
        if addr.is_empty() && name.starts_with('/') {
            return Some(Host::Unix { dir: PathBuf::from(name), port });
        }
        if addr.is_empty() && name.is_empty() {
            return Some(self.local_host(port));
        }
        let parsed = if addr.is_empty() { None } else { IpAddr::from_str(addr).ok() };
        if parsed.is_none() && !addr.is_empty() {
            self.problems.push("hostaddr is not an IP address".to_owned());
            return None;
        }
        let name = if name.is_empty() { addr } else { name };
        Some(Host::Tcp { name: name.to_owned(), addr: parsed, port })
    }

    /// The local server: its socket where there is one, else localhost.
    fn local_host(&self, port: u16) -> Host {
        let socket = format!(".s.PGSQL.{port}");
        match self.env.socket_dirs().iter().find(|dir| dir.join(&socket).exists()) {
            Some(dir) => Host::Unix { dir: dir.clone(), port },
            None => Host::Tcp { name: "localhost".to_owned(), addr: None, port },
        }
    }

    fn sslmode(&mut self, hosts: &[Host], root: &RootCert) -> SslMode {
        let given = self.choice("sslmode", &SSL_MODES);
        if *root == RootCert::System {
            if given.is_some_and(|mode| mode != SslMode::VerifyFull) {
                self.problems.push("sslrootcert=system needs sslmode=verify-full".to_owned());
            }
            return SslMode::VerifyFull;
        }
        let mode = given.unwrap_or_default();
        if matches!(mode, SslMode::Prefer | SslMode::Allow) && !hosts.iter().all(is_local) {
            let word = if mode == SslMode::Prefer { "prefer" } else { "allow" };
            self.warnings.push(format!(
                "sslmode={word} goes on without TLS when the server has none: set sslmode=verify-full"
            ));
        }
        mode
    }

    fn root_cert(&self) -> RootCert {
        match self.words.get("sslrootcert") {
            Some("system") => RootCert::System,
            Some(path) => RootCert::File(self.path(path)),
            None => self.home_file("root.crt").map_or(RootCert::Default, RootCert::File),
        }
    }

    /// The client's certificate and key; libpq's default files count when both exist.
    fn client_cert(&mut self) -> (Option<PathBuf>, Option<PathBuf>) {
        let given = |word| self.words.get(word).map(|path| self.path(path));
        let cert = given("sslcert").or_else(|| self.home_file("postgresql.crt"));
        let key = given("sslkey").or_else(|| self.home_file("postgresql.key"));
        match (cert, key) {
            (Some(cert), Some(key)) => (Some(cert), Some(key)),
            _ if self.words.get("sslcert").is_some() => {
                self.problems.push("sslcert needs sslkey".to_owned());
                (None, None)
            }
            _ => (None, None),
        }
    }

    fn home_file(&self, name: &str) -> Option<PathBuf> {
        self.env.home().map(|home| home.join(".postgresql").join(name)).filter(|file| file.is_file())
    }

    fn path(&self, path: &str) -> PathBuf {
        let base: &Path = self.extra.base.as_deref().unwrap_or(self.env.current_dir());
        self.env.absolute(base, path)
    }

    fn password(&mut self, hosts: &[Host], user: &str, database: &str) -> Option<Secret> {
        if let Some(password) = self.words.get("password") {
            return Some(Secret::new(password));
        }
        if self.extra.password_command.is_some() {
            return None;
        }
        let given = self.words.get("passfile").map(|path| self.path(path));
        let file = given.clone().or_else(|| self.env.home().map(|home| home.join(".pgpass")))?;
        match passfile::read(&file) {
            Ok(Some(text)) => self.password_in(&text, hosts, user, database),
            Ok(None) => {
                if given.is_some() {
                    self.warnings.push(format!("there is no password file {}", file.display()));
                }
                None
            }
            Err(warning) => {
                self.warnings.push(warning);
                None
            }
        }
    }

    fn password_in(&mut self, text: &str, hosts: &[Host], user: &str, database: &str) -> Option<Secret> {
        let mut found = hosts.iter().filter_map(|host| {
            let (host, port) = self.passfile_host(host);
            passfile::find(text, &Wanted { host: &host, port, database, user })
        });
        let first = found.next()?;
        if found.any(|other| other != first) {
            let warning = "the hosts have different passwords in the password file; the first is used";
            self.warnings.push(warning.to_owned());
        }
        Some(first)
    }

    /// The host as libpq looks it up: a default socket folder counts as localhost.
    fn passfile_host(&self, host: &Host) -> (String, u16) {
        match host {
            Host::Tcp { name, port, .. } => (name.clone(), *port),
            Host::Unix { dir, port } if self.env.socket_dirs().contains(dir) => {
                ("localhost".to_owned(), *port)
            }
            Host::Unix { dir, port } => (dir.display().to_string(), *port),
        }
    }

    fn choice<T: Copy>(&mut self, word: &str, meanings: &[(&str, T)]) -> Option<T> {
        let value = self.words.get(word)?;
        let found = meanings.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = meanings.iter().map(|(name, _)| *name).collect();
            self.problems.push(format!("{word} is not {}", listed(&names, "or")));
        }
        found
    }

    fn number<T: FromStr>(&mut self, word: &str) -> Option<T> {
        let parsed = self.words.get(word)?.trim().parse().ok();
        if parsed.is_none() {
            self.problems.push(format!("{word} is not a whole number"));
        }
        parsed
    }

    /// Seconds; none, zero and negative ones mean the default.
    fn seconds(&mut self, word: &str, default: u64) -> Duration {
        let given = self.number::<i32>(word).and_then(|seconds| u64::try_from(seconds).ok());
        Duration::from_secs(given.filter(|seconds| *seconds > 0).unwrap_or(default))
    }

    /// Milliseconds, as in libpq; zero leaves it to the operating system.
    fn tcp_user_timeout(&mut self) -> Option<Duration> {
        match self.number::<u32>("tcp_user_timeout") {
            Some(0) => None,
            Some(milliseconds) => Some(Duration::from_millis(milliseconds.into())),
            None => Some(Duration::from_secs(60)),
        }
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix { .. } => true,
        Host::Tcp { addr: Some(addr), .. } => addr.is_loopback(),
        Host::Tcp { name, .. } => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|addr| addr.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests;
