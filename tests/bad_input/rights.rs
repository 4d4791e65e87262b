//! Roles that may not: every grant that is missing, as SQL for whoever gives it.

use super::super::support::{Database, Pair};
use super::{FITTING, USERS, case, contents, in_project, report, stage, wrong_words};

/// A role of the test's own, on both servers; roles are of a whole server.
async fn weak_role(pair: &Pair) -> String {
    let role = format!("weak_{}", pair.source.name());
    for database in [&pair.source, &pair.destination] {
        database.exec(&format!("create role {role} login")).await;
    }
    role
}

fn url_as(role: &str, database: &Database) -> String {
    database.url().replacen("postgres:", &format!("{role}:"), 2).replacen(
        &format!("{role}://"),
        "postgres://",
        1,
    )
}

#[tokio::test]
async fn a_role_that_may_not_read_is_told_the_grant_it_lacks() {
    let pair = stage("bad_select").await;
    let role = weak_role(&pair).await;
    pair.source.exec("create schema hidden; create table hidden.t (id int)").await;
    pair.destination.exec("create schema mart").await;
    let copy = |what: &[&'static str]| {
        [&["copy"], what, &["--into", "mart.users", "-s", "source", "-d", "warehouse"]].concat()
    };
    let cases = [
        case(
            "table",
            "",
            &["no select on table public.users", "hint: on source:", "grant select (\"id\"", "to \"weak_"],
        )
        .arguments(&copy(&["users"])),
        case("schema", "", &["no usage on schema hidden", "grant usage on schema \"hidden\""])
            .arguments(&copy(&["hidden.t"])),
        case("query", "", &["permission denied for table users", "(42501)"])
            .arguments(&copy(&["--query", "select * from users"])),
    ];
    let mut faults = String::new();
    for case in cases {
        let before = contents(&pair.destination, true).await;
        let run =
            in_project(&pair, &case.job, &case.arguments).env("SOURCE_URL", url_as(&role, &pair.source));
        let output = run.run().await;
        let mut wrong = wrong_words(&output, case.code, &case.says);
        if contents(&pair.destination, true).await != before {
            wrong.push("the destination changed".to_owned());
        }
        report(&mut faults, case.name, &output, &wrong);
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn a_role_that_may_not_write_is_told_every_grant_it_lacks() {
    let pair = stage("bad_insert").await;
    let role = weak_role(&pair).await;
    let ledger = format!("create schema pgtide authorization {role}; ");
    let usage = format!("{ledger}{FITTING} grant usage on schema mart to {role}; ");
    let cases = [
        case("nothing at all", USERS, &["no create on schema mart", "no create on database", "grant create on schema \"mart\" to"]),
        case("no ledger", USERS, &["no create on database", "hint: on warehouse:"])
            .destination(format!("{FITTING} grant usage on schema mart to {role}; grant all on mart.users to {role}")),
        case("table", USERS, &["no select on table mart.users", "no insert on table mart.users", "no delete on table mart.users"])
            .destination(usage.clone()),
        case("replace", "", &["no truncate on table mart.users", "grant truncate on table"])
            .arguments(&["copy", "users", "--into", "mart.users", "--mode", "replace", "-s", "source", "-d", "warehouse"])
            .destination(format!("{usage} grant select, insert on mart.users to {role}")),
        case("merge", "", &["no update on table mart.users"])
            .arguments(&["copy", "users", "--into", "mart.users", "--key", "id", "-s", "source", "-d", "warehouse"])
            .destination(format!("{usage} grant select, insert on mart.users to {role}")),
        case("somebody else's ledger", USERS, &["the ledger in schema \"pgtide\" cannot be trusted", "belongs to postgres", "connect as postgres"])
            .destination(format!("{FITTING} create schema pgtide; create table pgtide.meta (version int); grant all on all tables in schema mart to {role}")),
    ];
    let mut faults = String::new();
    for case in cases {
        let reset = "drop schema if exists mart, pgtide cascade; create schema mart; ";
        pair.destination.exec(&format!("{reset}{}", case.destination)).await;
        let before = contents(&pair.destination, true).await;
        let run = in_project(&pair, &case.job, &case.arguments)
            .env("WAREHOUSE_URL", url_as(&role, &pair.destination));
        let output = run.run().await;
        let mut wrong = wrong_words(&output, case.code, &case.says);
        if contents(&pair.destination, true).await != before {
            wrong.push("the destination changed".to_owned());
        }
        report(&mut faults, case.name, &output, &wrong);
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn row_level_security_is_never_taken_for_an_empty_or_smaller_table() {
    let pair = stage("bad_policy").await;
    let role = weak_role(&pair).await;
    let policy = |table: &str| {
        format!(
            "alter table {table} enable row level security; create policy few on {table} using (id < 9); grant all on {table} to {role}; "
        )
    };
    pair.source.exec(&policy("users")).await;
    pair.destination.exec("create schema mart").await;
    let copy = |what: &[&'static str]| {
        [&["copy"], what, &["--into", "mart.users", "-s", "source", "-d", "warehouse"]].concat()
    };
    let run = |what: &[&'static str]| {
        in_project(&pair, "", &copy(what)).env("SOURCE_URL", url_as(&role, &pair.source)).run()
    };

    let output = run(&["users"]).await.expect(78);
    assert!(output.stderr.contains("row-level security on public.users hides rows"), "{}", output.stderr);
    let output = run(&["--query", "select * from users"]).await.expect(78);
    assert!(output.stderr.contains("row-level security"), "{}", output.stderr);

    let sql = format!(
        "create schema pgtide authorization {role}; {FITTING} grant usage on schema mart to {role}; {}",
        policy("mart.users")
    );
    pair.destination.exec(&sql).await;
    let run = in_project(&pair, "", &copy(&["users"])).env("WAREHOUSE_URL", url_as(&role, &pair.destination));
    let output = run.run().await.expect(78);
    assert!(output.stderr.contains("row-level security on mart.users is in force"), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "0");
}
