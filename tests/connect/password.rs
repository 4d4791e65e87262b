//! Passwords: known, printed by a command, wrong, missing; and never shown.

use std::path::Path;

use pgtide::config::connection::{ConnectionSpec, Secret};
use pgtide::error::ErrorKind;
use tempfile::TempDir;

use super::{everything_said, guarded, open, refused};
use crate::support::CANARY;

/// A command line that counts its runs in a file and prints another one.
fn printing(folder: &Path) -> Option<Vec<String>> {
    let script = "echo run >>\"$0/runs\"; cat \"$0/password\"";
    let words = ["/bin/sh", "-c", script, folder.to_str().unwrap()];
    Some(words.map(str::to_owned).to_vec())
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).unwrap().lines().count()
}

#[tokio::test]
async fn a_wrong_password_is_for_a_person_to_fix_and_not_shown() {
    let wrong = "wrong-and-secret";
    let spec = ConnectionSpec { password: Some(Secret::new(wrong)), ..guarded().await.spec() };
    let error = refused(&spec).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Preflight, Some("28P01")));
    assert!(error.hint().unwrap().contains("PGPASSWORD"), "{error:?}");
    assert!(!everything_said(&error).contains(wrong));
    assert!(!format!("{spec:?}").contains(wrong));
}

#[tokio::test]
async fn a_password_that_is_asked_for_and_not_known_is_said_to_be_missing() {
    let error = refused(&ConnectionSpec { password: None, ..guarded().await.spec() }).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().ends_with("the server asks for a password, and none is known"), "{error}");
    assert!(error.hint().unwrap().contains("password_command in [connections.warehouse]"), "{error:?}");
}

#[tokio::test]
async fn a_command_is_run_once_and_again_when_the_server_no_longer_takes_its_word() {
    let guarded = guarded().await;
    guarded.role("rotated").await;
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("password"), format!("{CANARY}\n")).unwrap();
    let spec = ConnectionSpec {
        user: "rotated".to_owned(),
        password: None,
        password_command: printing(folder),
        ..guarded.spec()
    };
    open(&spec).await.unwrap();
    open(&spec).await.unwrap();
    assert_eq!(runs(folder), 1);

    guarded.admin().await.batch("rotating", "alter role rotated password 'another one'").await.unwrap();
    std::fs::write(folder.join("password"), "another one\n").unwrap();
    open(&spec).await.unwrap();
    assert_eq!(runs(folder), 2);
}

#[tokio::test]
async fn a_command_that_fails_shows_its_standard_error_and_not_its_output() {
    let guarded = guarded().await;
    let script = format!("echo {CANARY}; echo vault is sealed >&2; exit 3");
    let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    let spec = ConnectionSpec { password: None, password_command: Some(command), ..guarded.spec() };
    let error = refused(&spec).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.details(), ["vault is sealed"]);
}

#[tokio::test]
async fn a_command_that_cannot_start_or_prints_nothing_is_named() {
    let guarded = guarded().await;
    for (program, said) in [("/no/such/program", "cannot be started"), ("/bin/true", "printed nothing")] {
        let command = Some(vec![program.to_owned()]);
        let error =
            refused(&ConnectionSpec { password: None, password_command: command, ..guarded.spec() }).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(program) && error.to_string().contains(said), "{error}");
    }
}
