//! Errors for programs, and for whoever went away.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::support::{cli, pgtide};
use super::{PROJECT, USERS, in_project, stage};

/// The object that is the last line of standard output.
fn error_of(stdout: &str) -> Value {
    let last = stdout.lines().last().unwrap_or_default();
    let object: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    object["error"].clone()
}

#[tokio::test]
async fn an_error_for_a_program_is_one_object_on_standard_output() {
    let pair = stage("bad_json").await;
    let run = |arguments: &[&str]| in_project(&pair, USERS, arguments).run();

    let output = run(&["run", "users", "--date", "2024-02-30", "-o", "json"]).await.expect(2);
    let error = error_of(&output.stdout);
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_i64()), (Some("usage"), Some(2)));
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""));

    let copy =
        ["copy", "users", "--into", "mart.users", "--where", "nmae = 1", "-s", "source", "-d", "warehouse"];
    let output = run(&[&copy[..], &["-o", "json"]].concat()).await.expect(78);
    let error = error_of(&output.stdout);
    assert_eq!((error["kind"].as_str(), error["sqlstate"].as_str()), (Some("preflight"), Some("42703")));
    assert!(error["message"].as_str().unwrap().contains("column \"nmae\" does not exist"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("users.name"), "{error}");
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn a_command_line_that_cannot_be_read_is_an_object_for_a_program_too() {
    for arguments in [&["run", "--dat", "2026-01-05", "-o", "json"][..], &["mark", "--output=json", "orders"]]
    {
        let output = pgtide(arguments).run().await.expect(2);
        let error = error_of(&output.stdout);
        assert_eq!((error["kind"].as_str(), error["exit_code"].as_i64()), (Some("usage"), Some(2)));
        assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""));
    }
    let output = pgtide(&["run", "--dat", "2026-01-05", "-o", "json"]).run().await.expect(2);
    assert!(error_of(&output.stdout)["hint"].as_str().unwrap().contains("--date"), "{}", output.stdout);
    let output = pgtide(&["run", "--dat", "2026-01-05"]).run().await.expect(2);
    assert!(output.stdout.is_empty() && output.stderr.starts_with("error: unexpected"), "{}", output.stderr);
    let output = pgtide(&["run", "--help", "-o", "json"]).run().await.expect(0);
    assert!(output.stdout.contains("Usage: pgtide run"), "help is for people: {}", output.stdout);
}

#[tokio::test]
async fn output_that_cannot_be_written_is_no_success() {
    let pair = stage("bad_full").await;
    pair.destination.exec("create schema mart").await;
    let folder = tempfile::tempdir().unwrap();
    cli::write_file(folder.path(), "pgtide.toml", PROJECT);
    cli::write_file(folder.path(), "jobs/users.toml", USERS);
    for (arguments, code) in [
        (&["plan", "users", "--date", "2024-05-01"][..], 1),
        (&["plan", "users", "--date", "2024-05-01", "-o", "json"], 1),
        (&["run", "users", "--date", "2024-05-01", "--dry-run"], 1),
        (&["run", "users", "--date", "2024-05-01", "-o", "json"], 1),
        (&["status"], 1),
        (&["status", "users", "-o", "json"], 1),
        (&["mark", "users", "stale", "--date", "2024-05-01", "--reason", "x"], 1),
        (&["check", "-o", "json"], 1),
        (&["backfill", "list"], 1),
        (&["views", "status"], 1),
        (&["views", "graph"], 1),
        (&["help", "exit-codes"], 1),
        (&["run", "--help"], 1),
        (&["--version"], 1),
        (&["completions", "bash"], 1),
        (&["man"], 1),
        // What is worse stays.
        (&[], 2),
        (&["run", "--dat", "-o", "json"], 2),
        (&["run", "usrs", "-o", "json"], 2),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        command.args(arguments).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        command.env("SOURCE_URL", pair.source.url()).env("WAREHOUSE_URL", pair.destination.url());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        let said = stderr.matches("error: writing to standard output: No space left on device").count();
        assert_eq!(said, 1, "{arguments:?}: {stderr}");
    }
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "24", "the rows are there");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_nothing() {
    let pair = stage("bad_pipe").await;
    pair.destination.exec("create schema mart").await;
    let folder = tempfile::tempdir().unwrap();
    cli::write_file(folder.path(), "pgtide.toml", PROJECT);
    cli::write_file(folder.path(), "jobs/users.toml", USERS);
    for arguments in [
        &["plan", "users", "--from-date", "2024-05-01", "--to-date", "2024-12-31", "-v"][..],
        &["run", "users", "--date", "2024-05-01", "-o", "json"],
        &["help", "run"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgtide"));
        command.args(arguments).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        command.env("SOURCE_URL", pair.source.url()).env("WAREHOUSE_URL", pair.destination.url());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "24");
}

#[tokio::test]
async fn what_a_server_or_a_person_writes_cannot_move_the_cursor() {
    let output = pgtide(&["run", "a\u{1b}[31mb\nc"]).run().await.expect(2);
    assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
    let pair = stage("bad_escape").await;
    pair.source.exec("create table \"odd\u{1b}[31m\" (a int not null)").await;
    let copy = ["copy", "\"odd\u{1b}[31\"", "--into", "mart.users", "-s", "source", "-d", "warehouse"];
    let output = in_project(&pair, "", &copy).run().await.expect(78);
    assert!(output.stderr.contains("did you mean"), "{:?}", output.stderr);
    assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
}
