//! One throw-away server: its folder, its supervisor, its address.
//!
//! The server's parent is `supervisor.sh`, a shell in a process group of its own (Ctrl-C does not
//! reach it) that takes orders from a pipe. The pipe closes when this process ends, even by
//! `kill -9`; the shell then stops the server at once and removes the folder. Everything blocks:
//! call it before the work starts, or from a blocking thread.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use super::Programs;
use crate::error::{Error, ErrorKind, Result};

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// Another program may take the free port first: so many ports are tried.
const PORT_TRIES: usize = 5;

/// A Unix socket's path has about 100 bytes; the folder's and the socket's names take 45 of them.
const LONGEST_BASE_BYTES: usize = 55;

/// How a server is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it would survive a power cut (`fsync`); nothing less needs it.
    pub durable: bool,
    /// The password of role `postgres`; without one, everybody on this machine is let in.
    pub password: Option<String>,
    /// Settings for `postgresql.conf`, after the sandbox's own.
    pub settings: Vec<(String, String)>,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Clients are disconnected, their transactions rolled back, and the server shuts down in order.
    Fast,
    /// As after a crash: the next start recovers from the log.
    Immediate,
}

impl StopMode {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

/// A server that goes on after this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The process to `kill` to stop the server and remove its folder.
    pub pid: u32,
    /// The folder with its data, socket and log.
    pub folder: PathBuf,
}

/// A running throw-away server; dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Server {
    name: String,
    folder: Option<TempDir>,
    supervisor: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    port: u16,
    postmaster: i32,
    password: Option<String>,
}

impl Server {
    /// Makes a new cluster and starts it on a free port; takes about half a second.
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`] with the end of the server's log when it does not come up.
    pub fn start(programs: &Programs, name: &str, options: &Options) -> Result<Self> {
        let account = Account::choose()?;
        let folder = make_folder(name, account.as_ref())
            .map_err(|e| failed(name, "making its folder").with_source(e))?;
        if let Some(password) = &options.password {
            write_password(folder.path(), password, account.as_ref())
                .map_err(|e| failed(name, "writing its first password").with_source(e))?;
        }
        let mut supervisor = spawn(programs, folder.path(), account.as_ref())
            .map_err(|e| failed(name, "starting its supervisor").with_source(e))?;
        let orders = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().expect("standard output is a pipe"));
        let mut server = Self {
            name: name.to_owned(),
            folder: Some(folder),
            supervisor,
            orders,
            answers,
            port: 0,
            postmaster: 0,
            password: options.password.clone(),
        };
        server.initialise(options)?;
        server.start_on_free_port()?;
        Ok(server)
    }

    /// The server's name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of a database of this server, for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
        format!("postgres://postgres{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server's first process, for tests that stop or signal it.
    #[must_use]
    pub fn postmaster_pid(&self) -> i32 {
        self.postmaster
    }

    /// The folder that holds the data, the Unix socket and the log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("a server that was not kept has its folder").path()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder().join("log"))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Stops the server and keeps its data; [`resume`](Self::resume) starts it again.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn stop(&mut self, mode: StopMode) -> Result<()> {
        self.order(&format!("stop {}", mode.signal())).map(|_| ())
    }

    /// Starts a stopped server on the port it had, after recovery if it needs one.
    ///
    /// # Errors
    /// With the end of the server's log when it does not come up.
    pub fn resume(&mut self) -> Result<()> {
        if self.try_start()? { Ok(()) } else { Err(self.not_started()) }
    }

    /// Stops the server and starts it again on the same port.
    ///
    /// # Errors
    /// With the end of the server's log when it does not come up.
    pub fn restart(&mut self, mode: StopMode) -> Result<()> {
        self.stop(mode)?;
        self.resume()
    }

    /// Lets the server go on after this process; says how to end it.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn keep(mut self) -> Result<Kept> {
        self.order("keep")?;
        let folder = self.folder.take().expect("a server is kept once").keep();
        Ok(Kept { pid: self.supervisor.id(), folder })
    }

    fn initialise(&mut self, options: &Options) -> Result<()> {
        let method = if options.password.is_some() { "scram-sha-256" } else { "trust" };
        if self.order(&format!("init {method}"))? != "made" {
            return Err(failed(&self.name, "initdb").with_detail(self.end_of_log()));
        }
        let text = settings(self.folder(), options);
        File::options()
            .append(true)
            .open(self.data_dir().join("postgresql.conf"))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| failed(&self.name, "writing its settings").with_source(e))
    }

    fn start_on_free_port(&mut self) -> Result<()> {
        for _ in 0..PORT_TRIES {
            self.port = free_port().map_err(|e| failed(&self.name, "finding a free port").with_source(e))?;
            if self.try_start()? {
                return Ok(());
            }
            if !self.log().contains("Address already in use") {
                break;
            }
        }
        Err(self.not_started())
    }

    fn try_start(&mut self) -> Result<bool> {
        let answer = self.order(&format!("start {}", self.port))?;
        let pid = answer.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
        self.postmaster = pid.unwrap_or(0);
        Ok(pid.is_some())
    }

    /// Gives the supervisor an order and waits for its answer; the supervisor bounds the wait.
    fn order(&mut self, order: &str) -> Result<String> {
        let gone = || failed(&self.name, "its supervisor is gone");
        let pipe = self.orders.as_mut().ok_or_else(gone)?;
        writeln!(pipe, "{order}").map_err(|e| failed(&self.name, "its supervisor is gone").with_source(e))?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(0) => Err(gone()),
            Ok(_) => Ok(answer.trim_end().to_owned()),
            Err(e) => Err(gone().with_source(e)),
        }
    }

    fn not_started(&self) -> Error {
        failed(&self.name, "it did not come up").with_detail(self.end_of_log())
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        if self.folder.is_some() {
            // The supervisor stops the server and ends; a failure would only leave a zombie.
            let _ = self.supervisor.wait();
        }
    }
}

/// The account that runs the server when this process is root, which `initdb` refuses to be.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn choose() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let known = |name| User::from_name(name).ok().flatten();
        let user = known("postgres").or_else(|| known("nobody")).ok_or_else(|| {
            Error::new(
                ErrorKind::Preflight,
                "a Postgres server does not run as root, and there is no account postgres or nobody",
            )
            .with_hint("run this as an ordinary user")
        })?;
        Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    fn own(&self, path: &Path) -> std::io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }
}

fn failed(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Preflight, format!("starting the throw-away server {name}: {what}"))
}

fn make_folder(name: &str, account: Option<&Account>) -> std::io::Result<TempDir> {
    let wanted = env::temp_dir();
    let fits = wanted.to_str().is_some_and(|path| path.len() <= LONGEST_BASE_BYTES)
        && account.is_none_or(|_| is_open_to_all(&wanted));
    let base = if fits { wanted } else { PathBuf::from("/tmp") };
    let folder = tempfile::Builder::new()
        .prefix(&format!("pgtide-{name}-"))
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(base)?;
    File::create(folder.path().join("log"))?;
    if let Some(account) = account {
        account.own(folder.path())?;
        account.own(&folder.path().join("log"))?;
    }
    Ok(folder)
}

/// Whether every account can go through all folders of the path and write to the last.
fn is_open_to_all(dir: &Path) -> bool {
    let has = |path: &Path, bits| fs::metadata(path).is_ok_and(|m| m.mode() & bits == bits);
    dir.ancestors().all(|path| has(path, 0o001)) && has(dir, 0o002)
}

fn write_password(folder: &Path, password: &str, account: Option<&Account>) -> std::io::Result<()> {
    let path = folder.join("password");
    File::create(&path)?.set_permissions(fs::Permissions::from_mode(0o600))?;
    fs::write(&path, password)?;
    account.map_or(Ok(()), |account| account.own(&path))
}

fn spawn(programs: &Programs, folder: &Path, account: Option<&Account>) -> std::io::Result<Child> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SUPERVISOR, "pgtide-sandbox"]).arg(programs.dir()).arg(folder);
    shell.current_dir(folder).process_group(0).env("LC_ALL", "C");
    for (variable, _) in env::vars_os().filter(|(variable, _)| is_libpq_variable(variable)) {
        shell.env_remove(variable);
    }
    if let Some(account) = account {
        shell.uid(account.uid).gid(account.gid);
    }
    let log = File::options().append(true).open(folder.join("log"))?;
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()
}

fn is_libpq_variable(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("PG"))
}

fn settings(folder: &Path, options: &Options) -> String {
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", folder.to_str().expect("temporary folders have plain names")),
        ("max_connections", "200"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %q%a "),
    ];
    if !options.durable {
        settings.extend([("fsync", "off"), ("full_page_writes", "off")]);
    }
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
}

/// Asks the kernel for a port that nobody listens on.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
