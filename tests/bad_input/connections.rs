//! Servers that are not there or do not let us in.

use pgtide::sandbox::Options;

use super::super::support::servers::private_server_with;
use super::super::support::{CANARY, databases, pgtide};
use super::{report, wrong_words};

/// Runs `copy users` between two places.
async fn refused(cases: &[(&str, &str, i32, &[&str])], destination: &str) {
    let mut faults = String::new();
    for (name, source, code, says) in cases {
        let run = pgtide(&["copy", "users", "--into", "mart.users", "-s", source, "-d", destination]);
        let output = run.run().await;
        report(&mut faults, name, &output, &wrong_words(&output, *code, says));
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn places_that_nobody_has_are_told_without_their_passwords() {
    let pair = databases("bad_places").await;
    let port = pair.source.port();
    let url = |rest: &str| format!("postgres://postgres:{CANARY}@{rest}");
    let nobody_listens = url("127.0.0.1:1/postgres");
    let no_database = url(&format!("127.0.0.1:{port}/nosuch?sslmode=disable"));
    let no_role = format!("postgres://nosuchrole:{CANARY}@127.0.0.1:{port}/postgres?sslmode=disable");
    let no_host = url("nosuchhost.invalid/postgres?sslmode=disable");
    let no_tls = url(&format!("127.0.0.1:{port}/postgres?sslmode=require"));
    let (port_word, bad_escape, unescaped) =
        (url("h:abc/x"), url("h/x").replace('@', "%zz@"), url("a@b@h/x"));
    let word = format!("host=127.0.0.1 port=1 pasword={CANARY}");
    refused(
        &[
            (
                "nobody listens",
                &nobody_listens,
                75,
                &["cannot connect to source", "127.0.0.1:1", "connection refused", "hint:"],
            ),
            ("no such host", &no_host, 75, &["cannot connect to source", "nosuchhost.invalid", "hint:"]),
            ("no such database", &no_database, 78, &["nosuch", "does not exist (3D000)", "hint:"]),
            ("no such role", &no_role, 78, &["nosuchrole", "(28000)", "hint:"]),
            ("no TLS", &no_tls, 78, &["the server has no TLS", "hint:"]),
            ("a port that is no number", &port_word, 78, &["--source", "a port is not a number"]),
            ("a bad escape", &bad_escape, 78, &["--source", "%25"]),
            ("a sign that is not escaped", &unescaped, 78, &["--source", "percent-encode"]),
            ("a typo in a word", &word, 78, &["--source", "did you mean `password`"]),
            ("a variable that is empty", "", 78, &["the name of a connection is empty", "hint:"]),
            ("a name that nothing has", "surce", 78, &["no connection `surce`", "PGTIDE_CONN_SURCE"]),
        ],
        &pair.destination.url(),
    )
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_with_the_places_of_passwords() {
    let options = Options { password: Some(CANARY.to_owned()), ..Options::default() };
    let server = private_server_with("bad_password", options).await;
    let (port, wrong) = (server.port(), format!("{CANARY}-not"));
    let url = |user: &str| format!("postgres://{user}@127.0.0.1:{port}/postgres?sslmode=disable");
    let (with_wrong, without) = (url(&format!("postgres:{wrong}")), url("postgres"));
    refused(
        &[
            (
                "wrong",
                &with_wrong,
                78,
                &[
                    "cannot connect to source",
                    "password authentication failed",
                    "(28P01)",
                    "and cannot connect to destination",
                    "~/.pgpass",
                ],
            ),
            ("none", &without, 78, &["the server asks for a password, and none is known", "PGPASSWORD"]),
        ],
        &url("postgres"),
    )
    .await;
}
