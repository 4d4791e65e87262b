//! Tells a program of the user how a job's run ended: one JSON object on its standard input.
//!
//! The program is started without a shell, in the project's folder, and has [`LIMIT`] to end; mail, chat
//! and pagers are its own business. What goes wrong here is a warning and never the run's failure. The
//! object holds no password and no value of a row; the environment is pgtide's own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::config::job::Job;
use crate::error::{Error, ErrorKind};
use crate::event::{Failure, Summary};
use crate::ledger::Owner;
use crate::shutdown::Shutdown;

/// How long the program may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How long it may go on when pgtide was asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Bytes of what it writes that are kept.
const KEPT_BYTES: usize = 4_096;

/// How a job's run ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The job.
    pub job: &'a Job,
    /// Who ran it.
    pub owner: &'a Owner,
    /// What came of it; an error, if it could not start or its views were not refreshed.
    pub result: Result<&'a Summary, &'a Error>,
    /// The keys of the intervals that were loaded, oldest first.
    pub loaded: &'a [String],
    /// Rows that were loaded.
    pub rows: u64,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
}

/// What kind of end it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Failure,
    /// Nothing was to do, or a signal stopped it: nobody is told.
    Neither,
}

impl Outcome<'_> {
    fn end(&self) -> End {
        match self.result {
            // A signal may also come before the first interval.
            Err(error) if error.kind() == ErrorKind::Interrupted => End::Neither,
            Err(_) => End::Failure,
            Ok(run) if !run.failed.is_empty() => End::Failure,
            Ok(run) if run.interrupted || run.halted.is_some() => End::Neither,
            Ok(run) if run.not_started > 0 => End::Failure,
            Ok(run) if run.loaded > 0 => End::Success,
            Ok(_) => End::Neither,
        }
    }

    /// The program and its arguments, if somebody is to be told.
    fn command(&self) -> Option<(&String, &[String])> {
        match self.end() {
            End::Success => self.job.notify_on_success.split_first(),
            End::Failure => self.job.notify_on_failure.split_first(),
            End::Neither => None,
        }
    }

    /// What the program reads; names and types are a public interface, documented in `docs/operations.md`.
    #[must_use]
    pub fn json(&self) -> Value {
        let run = self.result.ok();
        let failed: Vec<_> = run.iter().flat_map(|run| &run.failed).map(failed).collect();
        let error = self.result.err().map(|error| Failure::of(error, 0, self.finished));
        json!({
            "job": self.job.name,
            "state": if self.end() == End::Success { "success" } else { "failure" },
            "run_id": self.owner.run_id,
            "host": self.owner.host,
            "trigger": self.owner.trigger,
            "source": self.job.source,
            "destination": self.job.destination,
            "into": self.job.into.to_string(),
            "loaded": self.loaded,
            "failed": failed,
            "not_started": run.map_or(0, |run| run.not_started),
            "error": error.as_ref().map(reason),
            "rows": self.rows,
            "retry_command": self.retry_command(),
            "started": time(self.started),
            "finished": time(self.finished),
        })
    }

    fn retry_command(&self) -> Option<String> {
        match self.result {
            Ok(run) => run.retry_command.clone(),
            Err(_) => Some(format!("pgtide run {}", self.job.name)),
        }
    }
}

fn failed((key, failure): &(String, Failure)) -> Value {
    let mut object = json!({ "interval": key });
    if let (Value::Object(object), Value::Object(reason)) = (&mut object, reason(failure)) {
        object.extend(reason);
        object.insert("try".to_owned(), failure.attempt.into());
        object.insert("at".to_owned(), time(failure.at).into());
    }
    object
}

fn reason(failure: &Failure) -> Value {
    json!({ "error": failure.message, "sqlstate": failure.sqlstate, "details": failure.details,
        "hint": failure.hint })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Runs the job's program for this outcome, if it has one; gives a warning, if that went wrong.
pub async fn tell(outcome: &Outcome<'_>, folder: &Path, shutdown: &Shutdown) -> Option<String> {
    let (program, arguments) = outcome.command()?;
    let text = format!("{}\n", outcome.json());
    let file = place(program, folder);
    let run = within(LIMIT, run(&file, arguments, folder, text));
    let problem = tokio::select! {
        problem = run => problem,
        () = cut_short(shutdown.clone()) => Some("was killed: pgtide was asked to stop".to_owned()),
    };
    problem.map(|what| format!("{}: nobody may have been told: `{program}` {what}", outcome.job.name))
}

/// What went wrong with a program, if something did; dropping it half-way kills it.
async fn within(limit: Duration, run: impl Future<Output = Result<(), String>>) -> Option<String> {
    match tokio::time::timeout(limit, run).await {
        Ok(ended) => ended.err(),
        Err(_) => Some(format!("had not ended after {} s and was killed", limit.as_secs())),
    }
}

async fn cut_short(mut shutdown: Shutdown) {
    shutdown.requested().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// A program with a slash is a file, relative to the project's folder; else it is looked up in `PATH`.
fn place(program: &str, folder: &Path) -> OsString {
    if program.contains('/') { folder.join(program).into() } else { program.into() }
}

async fn run(program: &OsString, arguments: &[String], folder: &Path, text: String) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    // A group of its own: Ctrl-C is pgtide's to act on, and what the program starts ends with it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let group = Group::of(&child);
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut input) = input {
            // A program that does not read its input has decided not to.
            let _ = input.write_all(text.as_bytes()).await;
        }
    };
    let (status, (), said) = futures::join!(child.wait(), write, last_line(errors));
    let status = status.map_err(|error| format!("was lost: {error}"))?;
    group.disarm();
    if status.success() {
        return Ok(());
    }
    let said = said.map(|line| format!(": {line}")).unwrap_or_default();
    Err(format!("ended with {status}{said}"))
}

/// The last line of what a program writes; reads all of it, so that the program never waits.
async fn last_line(errors: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let mut errors = errors?;
    let (mut kept, mut part) = (Vec::new(), [0; KEPT_BYTES]);
    while let Ok(read @ 1..) = errors.read(&mut part).await {
        kept.extend_from_slice(&part[..read]);
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// The program and what it started; killed when dropped before it is over.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = "sleep 1000 & echo $! > child; wait".to_owned();
        let child = folder.path().join("child");
        let arguments = ["-c".to_owned(), script];
        let shell = OsString::from("sh");
        let run = run(&shell, &arguments, folder.path(), String::new());
        let mut run = Box::pin(run);
        let pid = loop {
            // It goes on until its child is known.
            let problem = within(Duration::from_millis(20), run.as_mut()).await;
            assert!(problem.is_some_and(|what| what.contains("had not ended")));
            let pid = std::fs::read_to_string(&child).unwrap_or_default().trim().parse();
            if let Ok(pid) = pid {
                break Pid::from_raw(pid);
            }
        };
        drop(run);
        // A killed child of a killed parent may wait for init to take it away.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !(state().is_empty() || state().contains(") Z")) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_program_with_a_slash_is_a_file_of_the_project() {
        let folder = Path::new("/srv/etl");
        assert_eq!(place("./told.sh", folder), OsString::from("/srv/etl/./told.sh"));
        assert_eq!(place("/usr/bin/mail", folder), OsString::from("/usr/bin/mail"));
        assert_eq!(place("mail", folder), OsString::from("mail"));
    }
}
