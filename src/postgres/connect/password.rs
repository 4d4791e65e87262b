//! The password: the one that is known, or what a command prints.
//!
//! A command runs without a shell, once per process and command line. A server that refuses what was
//! kept gets one fresh answer: tokens of cloud providers last minutes, a backfill lasts hours. What
//! the command prints to standard output appears nowhere.

use std::collections::HashMap;
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::config::connection::{ConnectionSpec, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sqlstate::{io_text, printable};

const COMMAND_LIMIT: Duration = Duration::from_secs(30);

static KEPT: LazyLock<Mutex<HashMap<Vec<String>, Secret>>> = LazyLock::new(Mutex::default);

/// A password and whether it was kept from an earlier run of its command.
pub(super) struct Password {
    pub(super) secret: Option<Secret>,
    pub(super) kept: bool,
}

/// Finds the password of a connection, if it has one.
pub(super) async fn of(spec: &ConnectionSpec) -> Result<Password> {
    let command = match &spec.password_command {
        Some(command) if spec.password.is_none() => command,
        _ => return Ok(Password { secret: spec.password.clone(), kept: false }),
    };
    // Held while the command runs, so that sessions that open together ask once.
    let mut kept = KEPT.lock().await;
    if let Some(secret) = kept.get(command) {
        return Ok(Password { secret: Some(secret.clone()), kept: true });
    }
    let secret = run(spec, command).await?;
    kept.insert(command.clone(), secret.clone());
    Ok(Password { secret: Some(secret), kept: false })
}

/// Forgets a password that a server refused, unless another session has replaced it already.
pub(super) async fn forget(spec: &ConnectionSpec, refused: &Password) {
    let mut kept = KEPT.lock().await;
    if let Some(command) = &spec.password_command
        && kept.get(command) == refused.secret.as_ref()
    {
        kept.remove(command);
    }
}

async fn run(spec: &ConnectionSpec, command: &[String]) -> Result<Secret> {
    let failed = |what: String| {
        let program = command.first().map_or("", String::as_str);
        Error::new(ErrorKind::Config, format!("the password command of {} ({program}) {what}", spec.name))
            .with_hint(format!("run the password_command of [connections.{}] by hand", spec.name))
    };
    let [program, arguments @ ..] = command else { return Err(failed("is empty".to_owned())) };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_LIMIT, output)
        .await
        .map_err(|_| failed(format!("did not end within {} s", COMMAND_LIMIT.as_secs())))?
        .map_err(|e| failed(format!("cannot be started: {}", io_text(&e))))?;
    if !output.status.success() {
        return Err(said(&output)
            .into_iter()
            .fold(failed(format!("failed: {}", output.status)), Error::with_detail));
    }
    match without_newline(output.stdout) {
        Some(password) if !password.is_empty() => Ok(Secret::new(password)),
        Some(_) => Err(failed("printed nothing".to_owned())),
        None => Err(failed("printed something that is not UTF-8".to_owned())),
    }
}

/// The first lines of standard error, unless what was printed, which may be the password, is among them.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.split_whitespace().any(|word| text.contains(word)) {
        return Vec::new();
    }
    text.lines().filter(|line| !line.trim().is_empty()).take(5).map(printable).collect()
}

fn without_newline(bytes: Vec<u8>) -> Option<String> {
    let mut text = String::from_utf8(bytes).ok()?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        assert_eq!(without_newline(b" p w \n".to_vec()).as_deref(), Some(" p w "));
        assert_eq!(without_newline(b"pw\r\n".to_vec()).as_deref(), Some("pw"));
        assert_eq!(without_newline(b"pw\n\n".to_vec()).as_deref(), Some("pw\n"));
        assert_eq!(without_newline(vec![0xff]), None);
    }
}
