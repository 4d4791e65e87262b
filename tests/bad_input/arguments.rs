//! What can be typed wrongly: exit 2 before any file or network matters.

use super::super::support::pgtide;
use super::{PROJECT, USERS, report, wrong_words};

/// Runs a command in a project whose servers nobody has.
async fn refused(cases: &[(&[&str], &[&str])]) {
    let mut faults = String::new();
    for (arguments, says) in cases {
        let run = pgtide(arguments).file("pgtide.toml", PROJECT).file("jobs/users.toml", USERS);
        let run = run
            .env("SOURCE_URL", "postgres://127.0.0.1:1/a")
            .env("WAREHOUSE_URL", "postgres://127.0.0.1:1/b");
        let output = run.run().await;
        report(&mut faults, &arguments.join(" "), &output, &wrong_words(&output, 2, says));
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn numbers_out_of_range_and_flags_that_contradict_each_other_are_refused() {
    refused(&[
        (&["run", "--parallel", "0"], &["--parallel", "1..=64"]),
        (&["run", "--writers", "99"], &["--writers", "1..=16"]),
        (&["run", "--batch-rows", "0"], &["--batch-rows", "above 0"]),
        (&["run", "--batch-rows", "99999999999999"], &["--batch-rows", "between 1 and"]),
        (&["run", "--batch-bytes", "1TB"], &["--batch-bytes", "16MiB"]),
        (&["run", "--retries", "-1"], &["-1"]),
        (&["run", "-q", "-v"], &["--quiet", "--verbose"]),
        (&["run", "--date", "2024-05-01", "--from-date", "2024-05-01"], &["--date", "--from-date"]),
        (&["run", "--from-date", "2024-05-01"], &["--to-date"]),
        (&["run", "--parallel", "2", "--parallel", "3"], &["multiple times"]),
        (&["run", "--reload"], &["--reload needs dates", "--from-date"]),
        (&["run", "--frob"], &["--frob"]),
        (&["frob"], &["frob"]),
        (&["run", "-o", "xml"], &["xml", "text", "json"]),
        (&["run", "--skip-exit-code", "3"], &["99"]),
    ])
    .await;
}

#[tokio::test]
async fn names_of_tables_and_jobs_that_cannot_be_are_refused() {
    let long = "x".repeat(64);
    refused(&[
        (&["copy"], &["TABLE"]),
        (&["copy", "a.b.c.d"], &["more than two parts"]),
        (&["copy", "a..b"], &["a part is empty"]),
        (&["copy", ""], &["a part is empty"]),
        (&["copy", "odd name"], &["double quotes"]),
        (&["copy", &long], &["64 bytes", "63"]),
        (&["copy", "users", "--into", &format!("mart.{}", "ж".repeat(32))], &["64 bytes", "63"]),
        (&["copy", "a", "b", "--into", "c"], &["--into names one table"]),
        (&["copy", "users", "--mode", "merge"], &["--key"]),
        (&["copy", "users", "--mode", "overwrite"], &["append, delete-insert, merge, replace"]),
        (
            &["copy", "users", "--mode", "delete-insert", "-s", "source", "-d", "warehouse"],
            &["needs intervals"],
        ),
        (&["run", "usres"], &["no job `usres`", "did you mean `users`", "jobs: users"]),
        (&["run", ""], &["no job ``", "jobs: users"]),
        (&["run", "jobs/users.toml"], &["jobs are named, not their files", "the job's name is `users`"]),
        (&["run", "users/"], &["the job's name is `users`"]),
        (&["run", "../users"], &["the job's name is `users`"]),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_date_is_refused_and_all_of_it_is_told() {
    let says: &[&str] = &["is not a date", "YYYY-MM-DD"];
    refused(&[
        (&["run", "users", "--date", "2024-02-30"], &["`2024-02-30`", "February 2024 has 29 days"]),
        (&["run", "users", "--date", "20240501"], says),
        (&["run", "users", "--date", "today"], says),
        (&["run", "users", "--date", " 2024-05-01"], says),
        (&["run", "users", "--date", "2024-05-01 "], says),
        (&["run", "users", "--date", "2024-5-1"], says),
        (&["run", "users", "--date", "٢٠٢٤-٠٥-٠١"], says),
        (&["run", "users", "--date", "+262142-12-31"], says),
        (&["run", "users", "--date", "infinity"], says),
        (&["run", "users", "--date", ""], says),
        (&["run", "users", "--date", "0000-01-01"], &["years go from 0001 to 9999"]),
        (&["run", "users", "--date", "2024-13"], &["there is no month 13"]),
        (
            &["run", "users", "--date", "2024-02-30", "--date", "today"],
            &["2 of the dates are not valid", "`2024-02-30`", "`today`"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn ranges_that_hold_nothing_or_too_much_are_refused() {
    let instants = |start, end| ["run", "users", "--interval-start", start, "--interval-end", end];
    refused(&[
        (
            &["run", "users", "--from-date", "2024-05-02", "--to-date", "2024-05-01"],
            &["ends on 2024-05-01 before"],
        ),
        (
            &["run", "users", "--from-date", "1024-01-01", "--to-date", "9024-01-01"],
            &["at most 250,000", "in parts"],
        ),
        (&instants("2024-05-01T00:00", "2024-05-01T00:00"), &["has no width", "CronDataIntervalTimetable"]),
        (&instants("2024-05-02T00:00", "2024-05-01T00:00"), &["before it starts"]),
        (
            &instants("2024-05-01T06:00", "2024-05-02T00:00"),
            &["no interval of one `day`", "2024-05-01T00:00Z and 2024-05-02T00:00Z"],
        ),
        (&instants("yesterday", "2024-05-02T00"), &["2 of the times are not valid", "`yesterday`"]),
    ])
    .await;
}
