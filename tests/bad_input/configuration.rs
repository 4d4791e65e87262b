//! What can be wrong in files: exit 78 with file, line and key, all findings at once, no network.

use super::super::support::{cli, pgtide};
use super::{PROJECT, report, wrong_words};

/// Places where no server is: reading files must not need one.
const NOWHERE: &str = "postgres://127.0.0.1:1/none";

/// Runs `plan users` with this as `jobs/users.toml`, and looks at what is said.
async fn refused(cases: &[(&[u8], &[&str])]) {
    let mut faults = String::new();
    for (job, says) in cases {
        let folder = tempfile::tempdir().unwrap();
        cli::write_file(folder.path(), "pgtide.toml", PROJECT);
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        std::fs::write(folder.path().join("jobs/users.toml"), job).unwrap();
        let run = pgtide(&["plan", "users"]).dir(folder.path());
        let output = run.env("SOURCE_URL", NOWHERE).env("WAREHOUSE_URL", NOWHERE).run().await;
        report(&mut faults, &String::from_utf8_lossy(job), &output, &wrong_words(&output, 78, says));
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn a_job_with_wrong_keys_is_refused_with_line_and_nearest_name() {
    refused(&[
        (b"table = \"t\"\nmode = \"replace\"\nwriter = 2\n", &["jobs/users.toml:3", "`writer`", "did you mean `writers`"]),
        (
            b"table = \"t\"\ntime_colum = \"born\"\nmod = \"append\"\nwriters = 0\ninterval = \"dya\"\ntimezone = \"Europe/Berln\"\n",
            &[
                "5 problems",
                "jobs/users.toml:2: unknown key `time_colum`, did you mean `time_column`?",
                "jobs/users.toml:3: unknown key `mod`, did you mean `mode`?",
                "jobs/users.toml:4: `writers`: 0 is not between 1 and 16",
                "jobs/users.toml:5: `interval`",
                "jobs/users.toml:6: `timezone`: `Europe/Berln` is not an IANA time zone, did you mean `Europe/Berlin`?",
            ],
        ),
        (b"table = 5\n", &["jobs/users.toml:1: `table`: is an integer, not a string"]),
        (b"table = \"t\"\nmode = \"replace\"\nsource = \"surce\"\n", &["no connection `surce`", "did you mean `source`"]),
        (b"table = \"t\"\nquery = \"select 1\"\nmode = \"replace\"\n", &["`table` is given too"]),
        (b"table = \"t\"\nmode = \"merge\"\n", &["`key`: is missing"]),
        (b"table = \"t\"\nmode = \"delete-insert\"\n", &["2 problems", "`time_column`: is missing", "`interval`: is missing"]),
        (b"query_file = \"no.sql\"\ninto = \"t\"\nmode = \"replace\"\n", &["`query_file`: cannot be read: no such file"]),
        (b"table = \"t\"\nmode = \"replace\"\nend_date = 2024-01-01\n", &["2024-01-01 is before start_date, 2024-05-01"]),
    ])
    .await;
}

#[tokio::test]
async fn a_job_file_that_is_no_toml_is_refused_with_its_line() {
    refused(&[
        (b"", &["jobs/users.toml: is empty"]),
        (b"# nothing yet\n", &["jobs/users.toml: is empty"]),
        (b"table = \"t\nmode = \"replace\"\n", &["jobs/users.toml:1"]),
        (
            b"table = \"t\"\nmode = \"replace\"\nmode = \"merge\"\n",
            &["jobs/users.toml:3: duplicate key `mode`"],
        ),
        (b"table = \"t\xff\"\n", &["jobs/users.toml is not UTF-8"]),
        (b"\0\0", &["jobs/users.toml:1"]),
        (b"table = \"t\"\nmode = \"replace\"\nstart_date = 2024-02-30\n", &["jobs/users.toml:3"]),
    ])
    .await;
}

#[tokio::test]
async fn a_template_that_cannot_be_rendered_is_refused_with_its_line() {
    let job = |query: &str| {
        format!("into = \"t\"\nmode = \"append\"\ninterval = \"day\"\nquery = '''\n{query}\n'''\n")
            .into_bytes()
    };
    let (undefined, open, end) =
        (job("select\n{{ dss }}"), job("select {{ ds }"), job("select {% for x in y %}"));
    refused(&[
        (&undefined, &["`query`: line 2 of the query: `dss` is undefined, did you mean `ds`?"]),
        (&open, &["`query`: line 1 of the query"]),
        (&end, &["`query`", "unexpected end of input"]),
    ])
    .await;
}

#[tokio::test]
async fn hooks_that_end_the_transaction_are_refused_before_anything_runs() {
    refused(&[
        (
            b"table = \"t\"\nmode = \"replace\"\npre_sql = [\"analyze t\", \"-- done\\nCOMMIT\"]\npost_sql = \"rollback\"\n",
            &["`pre_sql`: statement 2: hooks are part of the load's transaction", "`post_sql`: statement 1"],
        ),
        (
            b"table = \"t\"\nmode = \"replace\"\npost_sql = [\"copy t from stdin\"]\n",
            &["`post_sql`: statement 1: COPY cannot read or write pgtide's own connection"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_mark_at_the_start_and_carriage_returns_are_no_mistakes() {
    let job = "\u{feff}table = \"t\"\r\nmode = \"replace\"\r\n";
    let run = pgtide(&["plan", "users"]).file("pgtide.toml", PROJECT).file("jobs/users.toml", job);
    let output = run.env("SOURCE_URL", NOWHERE).env("WAREHOUSE_URL", NOWHERE).run().await.expect(75);
    assert!(output.stderr.contains("connection refused"), "{}", output.stderr);
}

#[tokio::test]
async fn a_project_without_files_or_with_wrong_ones_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    cli::write_file(folder.path(), "empty/pgtide.toml", "");
    cli::write_file(folder.path(), "empty_folder/pgtide.toml", PROJECT);
    cli::write_file(folder.path(), "empty_folder/jobs/notes.txt", "");
    cli::write_file(folder.path(), "folder/jobs/users.toml/x", "");
    cli::write_file(folder.path(), "folder/pgtide.toml", PROJECT);
    cli::write_file(folder.path(), "unset/pgtide.toml", "[connections.a]\nurl = \"${NOT_SET}\"\n[defalts]\n");
    cli::write_file(folder.path(), "unset/jobs/users.toml", "table = \"a\"\ninto = \"b\"\n");
    cli::write_file(folder.path(), "variable/pgtide.toml", "[connections.a]\nurl = \"${NOT_SET}\"\n");
    let job = "table = \"a\"\ninto = \"b\"\nmode = \"replace\"\nsource = \"a\"\ndestination = \"a\"\n";
    cli::write_file(folder.path(), "variable/jobs/users.toml", job);
    std::fs::create_dir(folder.path().join("none")).unwrap();
    let cases: &[(&str, &[&str], i32, &[&str])] = &[
        ("none", &["run"], 78, &["there are no jobs", "pgtide init TABLE"]),
        ("none", &["run", "users"], 2, &["there is no job `users`", "no pgtide.toml was found"]),
        ("none", &["run", "--config", "."], 78, &["is a directory"]),
        ("none", &["run", "--config", "no.toml"], 78, &["there is no file no.toml"]),
        ("empty", &["run"], 78, &["there are no jobs", "pgtide init TABLE"]),
        ("empty_folder", &["run"], 78, &["there are no jobs", "pgtide init TABLE"]),
        ("folder", &["plan", "users"], 78, &["jobs/users.toml is a directory"]),
        ("unset", &["plan", "users"], 78, &["pgtide.toml:3", "`defalts`", "did you mean `defaults`"]),
        (
            "variable",
            &["plan", "users"],
            78,
            &["pgtide.toml:2", "the environment variable NOT_SET is not set"],
        ),
    ];
    let mut faults = String::new();
    for (dir, arguments, code, says) in cases {
        let output = pgtide(arguments).dir(folder.path().join(dir)).run().await;
        report(
            &mut faults,
            &format!("{dir}: {}", arguments.join(" ")),
            &output,
            &wrong_words(&output, *code, says),
        );
    }
    assert!(faults.is_empty(), "{faults}");
}
