//! Intervals that cannot be loaded yet, or not beside another job's.

use super::{USERS, case, check, in_project, stage};

#[tokio::test]
async fn an_interval_that_is_not_complete_is_temporary_and_leaves_no_trace() {
    let pair = stage("bad_future").await;
    let run = ["run", "users", "--date", "2999-01-01"];
    check(&pair, &[case("future", USERS, &["not complete until 2999-01-02 00:10"]).arguments(&run).code(75)])
        .await;
}

#[tokio::test]
async fn two_jobs_that_load_the_same_rows_are_told_of_each_other() {
    let pair = stage("bad_overlap").await;
    let project = |arguments: &[&str]| in_project(&pair, USERS, arguments).file("jobs/other.toml", USERS);
    project(&["run", "users", "--date", "2024-05-01"]).run().await.expect(0);
    let output = project(&["run", "other", "--date", "2024-05-01"]).run().await.expect(78);
    assert!(output.stderr.contains("2024-05-01 overlaps 2024-05-01 of job `users`"), "{}", output.stderr);
    assert!(output.stderr.contains("`scope`"), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "24");
}
