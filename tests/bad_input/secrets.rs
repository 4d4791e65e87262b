//! Passwords, wherever they come from, and values of rows are in no output, no log and no ledger.

use std::os::unix::fs::PermissionsExt;

use pgtide::sandbox::{Options, Server};

use super::super::support::cli::Run;
use super::super::support::servers::private_server_with;
use super::super::support::{CANARY, pgtide, until};
use super::{FITTING, ROW_CANARY};

/// Every way to say too much: logs of all levels, objects, plans.
const LOUD: &[&[&str]] = &[
    &["run", "users", "--date", "2024-05-01", "-vvv"],
    &["run", "users", "--date", "2024-05-01", "--log-format", "json", "-vvv"],
    &["run", "users", "--date", "2024-05-01", "-o", "json", "-vvv"],
    &["plan", "users", "--date", "2024-05-01", "-vvv"],
    &["plan", "users", "--date", "2024-05-01", "-o", "json"],
];

/// The names of the connections and what they share; how the password comes is each case's own.
const PROJECT: &str =
    "[defaults]\nsource = \"source\"\ndestination = \"warehouse\"\ntimezone = \"UTC\"\nretries = 0\n";

const JOB: &str =
    "table = \"public.users\"\ninto = \"mart.users\"\ntime_column = \"born\"\ninterval = \"day\"\n";

/// A server that asks for the password, with a table whose rows all hold the canary, and one that takes none.
async fn server() -> (Server, tokio_postgres::Client) {
    let options = Options { password: Some(CANARY.to_owned()), ..Options::default() };
    let server = private_server_with("secrets", options).await;
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = format!(
        "create table users (id int primary key, name text, born timestamptz not null, amount numeric(12,4));
         insert into users values (1, '{ROW_CANARY}', '2024-05-01 10:00Z', 1);
         create schema mart; {FITTING}; alter table mart.users add constraint none check (name is null)"
    );
    client.batch_execute(&sql).await.unwrap();
    (server, client)
}

/// The place without its password, in a URL and in a section of `pgtide.toml`.
fn place(server: &Server, password: &str) -> String {
    format!("postgres://postgres{password}@127.0.0.1:{}/postgres?sslmode=disable", server.port())
}

fn sections(place: &str, more: &str) -> String {
    format!(
        "{PROJECT}[connections.source]\nurl = \"{place}\"\n{more}\n[connections.warehouse]\nurl = \"{place}\"\n{more}\n"
    )
}

/// Runs of the same command, the password coming from each place in turn.
fn runs(server: &Server, arguments: &[&str]) -> Vec<(&'static str, Run)> {
    let (bare, full) = (place(server, ""), place(server, &format!(":{CANARY}")));
    let folder = tempfile::tempdir().unwrap().keep();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let passfile = write("pgpass", &format!("*:*:*:*:{CANARY}\n"));
    let secret = write("secret", CANARY);
    let run = |project: &str| pgtide(arguments).file("pgtide.toml", project).file("jobs/users.toml", JOB);
    let both = |run: Run, prefix: &str, value: &str| {
        run.env(format!("{prefix}_CONN_SOURCE"), value).env(format!("{prefix}_CONN_WAREHOUSE"), value)
    };
    let airflow = format!(
        "{{\"conn_type\": \"postgres\", \"login\": \"postgres\", \"password\": \"{CANARY}\", \"host\": \"127.0.0.1\", \
         \"port\": {}, \"schema\": \"postgres\", \"extra\": {{\"sslmode\": \"disable\"}}}}",
        server.port()
    );
    let command = format!("password_command = [\"cat\", \"{}\"]", secret.display());
    vec![
        ("PGPASSWORD", run(&sections(&bare, "")).env("PGPASSWORD", CANARY)),
        ("pgpass", run(&sections(&bare, "")).env("PGPASSFILE", passfile)),
        ("password_command", run(&sections(&bare, &command))),
        ("pgtide.toml, in the url", run(&sections(&full, ""))),
        ("pgtide.toml, as a key", run(&sections(&bare, &format!("password = \"{CANARY}\"")))),
        ("PGTIDE_CONN", both(run(PROJECT), "PGTIDE", &full)),
        ("AIRFLOW_CONN, a URI", both(run(PROJECT), "AIRFLOW", &full)),
        ("AIRFLOW_CONN, JSON", both(run(PROJECT), "AIRFLOW", &airflow)),
        ("the command line", run(PROJECT).arg("-s").arg(&full).arg("-d").arg(&full)),
    ]
}

/// Everything that the ledger holds, as text.
async fn ledger(client: &tokio_postgres::Client) -> String {
    let sql = "select coalesce(string_agg(query_to_xml(format('select * from pgtide.%I', relname), true, true, '')::text, ''), '')
        from pg_class where relnamespace = (select oid from pg_namespace where nspname = 'pgtide') and relkind in ('r', 'v')";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn no_password_and_no_row_is_in_any_output_or_in_the_ledger() {
    let (server, client) = server().await;
    // Every place with one command, every command with one place.
    for (number, arguments) in LOUD.iter().enumerate() {
        let places = if number == 0 { usize::MAX } else { 1 };
        for (place, run) in runs(&server, arguments).into_iter().take(places) {
            // The harness searches the output for the password.
            let output = run.run().await;
            let all = format!("{}{}", output.stdout, output.stderr);
            let loads = arguments[0] == "run";
            assert_eq!(output.code, i32::from(loads), "{place}: {arguments:?}\n{all}");
            assert!(!loads || all.contains("row violates constraint none"), "{place}: {arguments:?}\n{all}");
            assert!(!all.contains(ROW_CANARY), "{place}: {arguments:?}\n{all}");
        }
    }
    let ledger = ledger(&client).await;
    assert!(ledger.contains("row violates constraint none"), "{ledger}");
    assert!(!ledger.contains(CANARY) && !ledger.contains(ROW_CANARY), "{ledger}");
}

#[tokio::test]
async fn a_password_that_was_not_typed_is_not_in_the_list_of_processes_nor_in_the_servers_view() {
    let (server, client) = server().await;
    client.batch_execute("begin; lock table mart.users in access exclusive mode").await.unwrap();
    let (place, run) = runs(&server, LOUD[0]).swap_remove(0);
    let running = run.spawn();
    let waits = "select count(*) from pg_locks where not granted and relation = 'mart.users'::regclass";
    until("the run waits for the table", || async {
        client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
    let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
    let seen = "select string_agg(application_name || ' ' || query, ' ') from pg_stat_activity where pid <> pg_backend_pid()";
    let seen: String = client.query_one(seen, &[]).await.unwrap().get(0);
    client.batch_execute("rollback").await.unwrap();
    running.finish().await;
    assert!(cmdline.contains("users") && !cmdline.contains(CANARY), "{place}: {cmdline}");
    assert!(seen.contains("pgtide") && !seen.contains(CANARY), "{seen}");
}

#[tokio::test]
async fn a_password_command_that_fails_is_told_without_what_it_printed() {
    let (server, _client) = server().await;
    let command = format!("password_command = [\"sh\", \"-xc\", \"echo {CANARY}; exit 3\"]");
    let project = sections(&place(&server, ""), &command);
    let run = pgtide(&["run", "users", "--date", "2024-05-01", "-vvv"]).file("pgtide.toml", &project);
    let output = run.file("jobs/users.toml", JOB).run().await.expect(78);
    assert!(output.stderr.contains("the password command of"), "{}", output.stderr);
    assert!(output.stderr.contains("exit status: 3"), "{}", output.stderr);
}
