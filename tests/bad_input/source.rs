//! What can be wrong with the source: found before the first row, before even the ledger is made.

use nix::sys::signal::Signal;

use super::super::support::until;
use super::{Case, FITTING, USERS, case, check, stage};

fn copy(name: &'static str, arguments: &[&'static str], says: &[&'static str]) -> Case {
    let places = ["-s", "source", "-d", "warehouse"];
    Case { arguments: [&["copy"], arguments, &places].concat(), ..case(name, "", says) }
}

fn query(name: &'static str, sql: &'static str, says: &[&'static str]) -> Case {
    copy(name, &["--query", sql, "--into", "mart.users"], says)
}

const NOTHING: &str = "nothing; no row was read";

#[tokio::test]
async fn tables_and_columns_that_are_not_there_are_told_with_the_nearest() {
    let pair = stage("bad_source").await;
    let job = |more: &str| format!("{USERS}{more}");
    check(
        &pair,
        &[
            copy("table", &["public.usres", "--into", "mart.users"], &[
                "mart.users was not loaded: source: there is no table public.usres; did you mean public.users?",
                NOTHING,
            ]),
            copy("without schema", &["usres", "--into", "mart.users"], &["in the role's search_path", "public.users?"]),
            copy("schema", &["sales.users", "--into", "mart.users"], &["did you mean public.users?"]),
            case("time_column", USERS.replace("born", "bron"), &["`time_column`", "`bron`", "did you mean `born`", NOTHING]),
            case("no time", USERS.replace("born", "name"), &["`time_column`: name is text, which does not tell time"]),
            case("columns", job("columns = [\"id\", \"nmae\", \"born\"]\n"), &["nmae", "did you mean name?"]),
            case("cast column", job("[cast]\nnmae = \"1\"\n"), &["nmae", "`cast` names it", "did you mean name?"]),
            case("cast SQL", job("[cast]\nname = \"nmae || 1\"\n"), &["(42703)", "nmae || 1", "^", "users.name"]),
            case("key", job("mode = \"merge\"\nkey = [\"ids\"]\n"), &["no column `ids` is loaded, did you mean `id`"]),
            case("resume_key", job("mode = \"append\"\nresume_key = \"ids\"\n"), &["no column `ids`", "`id`"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_condition_has_to_be_one_that_the_server_takes() {
    let pair = stage("bad_where").await;
    let filter = |name, sql, says: &[&'static str]| {
        copy(name, &["users", "--into", "mart.users", "--where", sql], says)
    };
    check(
        &pair,
        &[
            filter("column", "nmae = 'x'", &["`where`", "nmae", "(42703)", "where nmae = 'x'", "^"]),
            filter("types", "name = 1", &["`where`", "(42883)"]),
            filter("open", "name = (select", &["`where`", "syntax error", "(42601)"]),
            filter("around our parentheses", "true) or (true", &["`where`", "syntax error", "(42601)"]),
            filter("two statements", "true; drop table users", &["`where`", "a single statement"]),
            filter("order", "true order by id", &["`where`", "syntax error", "(42601)"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_query_has_to_be_one_statement_that_only_reads() {
    let pair = stage("bad_query").await;
    let reads = "the query is not one that only reads";
    check(
        &pair,
        &[
            query("typo", "selct 1", &["syntax error", "(42601)", "line 1: selct 1", "^", NOTHING]),
            query("later line", "select id,\nnmae from users", &["line 2: nmae from users", "(42703)"]),
            query("two", "select 1 as a; select 2", &["(42601)", "a single statement"]),
            query("insert", "insert into users values (99, 'x', now(), 1) returning *", &[reads, "hint:"]),
            query(
                "hidden insert",
                "with w as (insert into users values (99, 'x', now(), 1) returning *) select * from w",
                &[reads],
            ),
            query("delete", "delete from users", &[reads]),
            query("commit", "commit", &[reads]),
            query("explain", "explain select 1", &[reads]),
            query("nothing", "", &[reads]),
            query("no columns", "select", &[reads]),
            query("name twice", "select 1 as a, 2 as a", &["two columns of this name"]),
            query("record", "select row(1, 2) as r", &["record", "r::text"]),
            query("system name", "select 1 as ctid", &["ctid", "another name"]),
            query("template", "select {{ nmae }} as a", &["`nmae` is undefined"]),
            query("no interval", "select {{ ds }} as a", &["the job has no interval"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_function_that_writes_cannot_write_to_the_source() {
    let pair = stage("bad_function").await;
    let function = "create function grow() returns int language sql as 'insert into users values (99, null, now(), 1) returning id'";
    pair.source.exec(function).await;
    check(
        &pair,
        &[query("function", "select grow() as id", &["read-only transaction", "(25006)"])
            .destination("create table mart.users (id int)")
            .while_loading()],
    )
    .await;
}

#[tokio::test]
async fn source_and_destination_cannot_be_the_same_table() {
    let pair = stage("bad_same").await;
    pair.source.exec("create schema mart").await;
    let arguments = ["copy", "users", "-s", "source", "-d", "source"];
    check(&pair, &[case("same", "", &["the same table, public.users", "--into"]).arguments(&arguments)])
        .await;
}

#[tokio::test]
async fn an_append_that_is_loaded_is_not_loaded_again_without_force() {
    let pair = stage("bad_append").await;
    let job = format!("{USERS}mode = \"append\"\n");
    pair.destination.exec(&format!("create schema mart; {}", FITTING.replace(" primary key", ""))).await;
    let run = |more: &[&str]| {
        super::in_project(&pair, &job, &[&["run", "users", "--date", "2024-05-01"], more].concat())
    };
    let rows = || async { pair.destination.scalar("select count(*) from mart.users").await };
    run(&[]).run().await.expect(0);
    let output = run(&["--reload"]).run().await.expect(78);
    assert!(output.stderr.contains("append would add its rows again"), "{}", output.stderr);
    assert!(output.stderr.contains("--force"), "{}", output.stderr);
    assert_eq!(rows().await, "24");
    run(&["--force"]).run().await.expect(0);
    assert_eq!(rows().await, "48");
}

#[tokio::test]
async fn a_stop_is_heard_while_another_session_holds_the_source() {
    let pair = stage("bad_lock").await;
    let blocker = pair.source.client().await;
    blocker.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();
    for verb in ["run", "plan"] {
        let running = super::in_project(&pair, USERS, &[verb, "users", "--date", "2024-05-01"]).spawn();
        let waits = "select count(*) from pg_locks where not granted and relation = 'users'::regclass";
        until("the run waits for the table", || async { pair.source.scalar(waits).await != "0" }).await;
        running.signal(Signal::SIGTERM);
        let output = running.finish().await.expect(143);
        assert!(output.stderr.contains("stopped by a signal"), "{}", output.stderr);
        until("the server forgets the query", || async { pair.source.scalar(waits).await == "0" }).await;
    }
    blocker.batch_execute("rollback").await.unwrap();
    let schemas = "select count(*) from pg_namespace where nspname in ('pgtide', 'mart')";
    assert_eq!(pair.destination.scalar(schemas).await, "0");
}
