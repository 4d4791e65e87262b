//! Runs the program as a user would: its own folder, a clean environment, an end to the wait.
//!
//! Every output, of every run, is searched for the canary password.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::project::no_session_on;
use super::{CANARY, DEADLINE, Database, until_counted};

/// What a finished run left.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The exit code, or 128 and the signal's number.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Fails, showing everything, unless the run ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code; standard output:\n{}\nstandard error:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A run that has not started yet.
#[derive(Debug)]
pub(crate) struct Run {
    home: TempDir,
    dir: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    counted: Option<Counted>,
}

/// Where a run looks at the server's counters, and a token that every run of the project holds.
#[derive(Debug)]
struct Counted {
    database: Database,
    token: Arc<()>,
}

/// Prepares a run with these arguments.
pub(crate) fn pgtide<A: Into<OsString> + Clone>(arguments: &[A]) -> Run {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_owned();
    let arguments = arguments.iter().cloned().map(Into::into).collect();
    Run { home, dir, arguments, variables: Vec::new(), counted: None }
}

impl Run {
    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable; nothing else than `HOME`, `PATH`, `NO_COLOR` and these is set.
    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Runs in this folder instead of an empty one of its own.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = dir.as_ref().to_owned();
        self
    }

    /// Writes a file into the working folder first, with the folders above it.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        write_file(&self.dir, path, text);
        self
    }

    /// A run that may judge by the server's counters: `run` lets the server count first.
    pub(crate) fn counting(mut self, database: &Database, token: &Arc<()>) -> Self {
        self.counted = Some(Counted { database: database.clone(), token: Arc::clone(token) });
        self
    }

    /// Runs to the end; a run that hangs is killed and fails the test.
    pub(crate) async fn run(self) -> Output {
        self.let_count().await;
        self.spawn().finish().await
    }

    /// What tests and runs have written is counted before a run of `views` looks; see `until_counted`.
    async fn let_count(&self) {
        let Some(Counted { database, token }) = &self.counted else { return };
        if self.arguments.first().is_none_or(|first| first != "views") {
            return;
        }
        // A session tells the last of its counts when it ends, on any version, and that may be after the
        // end of its program. One token is the project's, one is here.
        if Arc::strong_count(token) == 2 {
            no_session_on(database).await;
        }
        until_counted(database).await;
    }

    /// Starts the run and leaves it to the test.
    pub(crate) fn spawn(self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        command.args(&self.arguments).current_dir(&self.dir).env_clear();
        command.env("HOME", self.home.path()).env("NO_COLOR", "1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = Collected::from(child.stdout.take().unwrap());
        let stderr = Collected::from(child.stderr.take().unwrap());
        let token = self.counted.map(|counted| counted.token);
        Running { child, stdout, stderr, _home: self.home, _token: token }
    }
}

/// Writes a file below a folder, with the folders above it.
pub(crate) fn write_file(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A run that is going on; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    _home: TempDir,
    _token: Option<Arc<()>>,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("the run is not over")).unwrap()
    }

    /// Sends a signal: `KILL` as the machine would, `TERM` as an operator would.
    pub(crate) fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits until standard error contains a text; fails if the run ends without it.
    pub(crate) async fn stderr_contains(&self, text: &str) {
        self.stderr.contains(text).await;
    }

    /// Waits until standard output contains a text; fails if the run ends without it.
    pub(crate) async fn stdout_contains(&self, text: &str) {
        self.stdout.contains(text).await;
    }

    /// Waits for the end, and checks that no secret was printed.
    pub(crate) async fn finish(mut self) -> Output {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        let Ok(status) = status else {
            panic!("the run hangs; so far:\n{}\n{}", self.stdout.so_far(), self.stderr.so_far());
        };
        let (stdout, stderr) = (self.stdout.all().await, self.stderr.all().await);
        assert!(!stdout.contains(CANARY), "a password on standard output:\n{stdout}");
        assert!(!stderr.contains(CANARY), "a password on standard error:\n{stderr}");
        Output { code: code(status.unwrap()), stdout, stderr }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|n| 128 + n)).expect("it ended by itself or by a signal")
}

/// A stream of the run, read as it comes.
#[derive(Debug)]
struct Collected {
    text: watch::Receiver<String>,
    task: JoinHandle<()>,
}

impl Collected {
    fn from(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, text) = watch::channel(String::new());
        let task = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
                sender.send_replace(String::from_utf8_lossy(&bytes).into_owned());
            }
        });
        Self { text, task }
    }

    fn so_far(&self) -> String {
        self.text.borrow().clone()
    }

    async fn contains(&self, part: &str) {
        let mut text = self.text.clone();
        let waited = tokio::time::timeout(DEADLINE, text.wait_for(|text| text.contains(part))).await;
        let found = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(found, "{part:?} did not come; what came:\n{}", self.so_far());
    }

    async fn all(self) -> String {
        self.task.await.unwrap();
        self.text.borrow().clone()
    }
}
