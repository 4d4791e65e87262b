//! What only shows when rows arrive: the failure names constraint, trigger and place, never a value.

use super::{Case, FITTING, ROW_CANARY, USERS, case, check, in_project, stage};

/// A table like the source's with something more, and a case that fails in it.
fn failing(name: &'static str, more: &str, says: &[&'static str]) -> Case {
    case(name, USERS, says).destination(format!("{FITTING}{more}")).while_loading().code(1)
}

fn trigger(body: &str) -> String {
    format!(
        "create function mart.watch() returns trigger language plpgsql as $f$ begin {body} end $f$;
         create trigger watcher before insert on mart.users for each row execute function mart.watch()"
    )
}

#[tokio::test]
async fn a_row_that_the_destination_refuses_is_told_without_its_values() {
    let pair = stage("bad_rows").await;
    let many = "alter table mart.users drop constraint users_pkey; create unique index one on mart.users ((amount > 0))";
    check(
        &pair,
        &[
            failing("check", "alter table mart.users add constraint few check (amount < 5)", &[
                "users 2024-05-01 was not loaded: copying batch 1 of mart.users for 2024-05-01",
                "row violates constraint few of mart.users (23514)",
                "COPY users, line",
                "--show-values",
                "pgtide run users --date 2024-05-01",
            ]),
            failing("foreign key", "create table mart.ids (id int primary key); alter table mart.users add constraint known foreign key (id) references mart.ids", &[
                "row violates foreign key known of mart.users (23503)",
            ]),
            failing("unique", many, &["duplicate key violates constraint one", "(23505)"]),
            failing("domain", "create domain mart.short as text check (length(value) < 5); alter table mart.users alter name type mart.short", &["short", "(23514)"]),
            failing("partition", "", &["(23514)", "no partition"]).destination(
                "create table mart.users (id int, name text, born timestamptz not null, amount numeric(12,4)) partition by range (born)",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn triggers_that_drop_move_or_refuse_rows_are_named() {
    let pair = stage("bad_triggers").await;
    check(
        &pair,
        &[
            failing("drops", &trigger("if new.id % 2 = 0 then return null; end if; return new;"), &[
                "sent 24 rows, 12 were stored",
                "triggers on mart.users: watcher",
                "hint: a BEFORE trigger that returns null",
            ]),
            failing("moves", &trigger("new.born := new.born + interval '1 day'; return new;"), &[
                "24 were written, the table has 0",
                "triggers on mart.users: watcher",
            ]),
            failing("raises", &trigger("raise exception 'no %', new.name;"), &[
                "PL/pgSQL function mart.watch() raised an error (P0001)",
                "--show-values",
            ]),
            failing("raises as a constraint", &trigger("raise exception 'no %', new.name using errcode = '23514', hint = new.name, detail = new.name;"), &[
                "PL/pgSQL function mart.watch() raised an error (23514)",
            ]),
        ],
    )
    .await;
}

#[tokio::test]
async fn values_are_shown_only_to_who_asks() {
    let pair = stage("bad_values").await;
    let sql = format!("create schema mart; {FITTING}{}", trigger("raise exception 'no %', new.name;"));
    pair.destination.exec(&sql).await;
    let run = ["run", "users", "--date", "2024-05-01", "--show-values"];
    let output = in_project(&pair, USERS, &run).run().await.expect(1);
    assert!(output.stderr.contains(&format!("no {ROW_CANARY}")), "{}", output.stderr);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_told_without_it() {
    let pair = stage("bad_value").await;
    let copy = |sql| ["copy", "--query", sql, "--into", "mart.users", "-s", "source", "-d", "warehouse"];
    let (text, number) =
        ("select id, name::int as name from users", "select (id * 100000)::int2 as id from users");
    let too_long = format!("{USERS}[cast]\nname = \"name::varchar(64)\"\n");
    check(
        &pair,
        &[
            case("no number", "", &["reading the source", "(22P02)", "--show-values"])
                .arguments(&copy(text))
                .destination("create table mart.users (id int, name int)")
                .while_loading()
                .code(1),
            case("out of range", "", &["reading the source", "out of range (22003)"])
                .arguments(&copy(number))
                .destination("create table mart.users (id int2)")
                .while_loading()
                .code(1),
            case("too long", too_long, &["name", "character varying(64)", "character(3)"])
                .destination(FITTING.replace("name text", "name char(3)")),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_same_key_twice_in_a_merge_is_told_with_the_key() {
    let pair = stage("bad_merge").await;
    let job =
        "query = 'select id % 5 as id, name from users'\ninto = 'mart.users'\nmode = 'merge'\nkey = ['id']\n";
    let merge = case("twice", job, &["two rows with the same (id)", "(23505)"]).arguments(&["run", "users"]);
    check(
        &pair,
        &[merge
            .destination("create table mart.users (id int primary key, name text)")
            .while_loading()
            .code(1)],
    )
    .await;
}

#[tokio::test]
async fn an_empty_interval_fails_where_the_job_says_so() {
    let pair = stage("bad_empty").await;
    let job = format!("{USERS}on_empty = \"fail\"\n");
    let run = ["run", "users", "--date", "2024-06-01"];
    let empty = case("empty", job, &["has no rows for 2024-06-01", "on_empty = \"fail\""]);
    check(&pair, &[empty.arguments(&run).destination(FITTING).while_loading().code(1)]).await;
}

#[tokio::test]
async fn a_value_too_long_for_its_column_is_told_with_the_length_alone() {
    let pair = stage("bad_length").await;
    let hook = "post_sql = [\"insert into mart.short select name from mart.users\"]\n";
    let job = format!("{USERS}commit = \"interval\"\n{hook}");
    let says = ["running post_sql statement 1", "value too long for type character varying(3) (22001)"];
    let short = format!("{FITTING}create table mart.short (name varchar(3))");
    check(&pair, &[case("length", job, &says).destination(short).while_loading().code(1)]).await;
}

#[tokio::test]
async fn columns_that_the_destination_computes_are_left_out_with_a_notice() {
    let pair = stage("good_generated").await;
    let table =
        FITTING.replace("amount numeric(12,4)", "amount numeric(12,4) generated always as (1) stored");
    pair.destination.exec(&format!("create schema mart; {table}")).await;
    let output = in_project(&pair, USERS, &["run", "users", "--date", "2024-05-01"]).run().await.expect(0);
    assert!(output.stderr.contains("amount is left out: the destination computes it"), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select count(amount) from mart.users").await, "24");
}

#[tokio::test]
async fn a_hook_that_fails_takes_the_load_with_it() {
    let pair = stage("bad_hooks").await;
    let reload = ["run", "users", "--date", "2024-05-01"];
    let hook = |name, sql: &str, code, says: &[&'static str]| {
        let job = format!("{USERS}commit = \"interval\"\npost_sql = [\"select 1\", \"\"\"{sql}\"\"\"]\n");
        case(name, job, says).arguments(&reload).destination(FITTING).while_loading().code(code)
    };
    check(
        &pair,
        &[
            hook(
                "unknown table",
                "delete from mart.nowhere",
                78,
                &["running post_sql statement 2", "mart.nowhere", "(42P01)", "^"],
            ),
            hook(
                "raise",
                "do $$ begin raise exception 'bad'; end $$",
                1,
                &["running post_sql statement 2", "(P0001)"],
            ),
            hook(
                "a commit inside",
                "do $$ begin commit; end $$",
                1,
                &["running post_sql statement 2", "(2D000)"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_view_that_cannot_be_refreshed_is_told_after_the_load_that_stays() {
    let pair = stage("bad_view").await;
    let view = "create materialized view mart.broken as select 1 / (id - 7) as x from mart.users";
    pair.destination.exec(&format!("create schema mart; {FITTING}{view}")).await;
    let job = format!("{USERS}refresh = \"dependents\"\n");
    let output = in_project(&pair, &job, &["run", "users", "--date", "2024-05-01"]).run().await.expect(1);
    for part in ["1 of 1 views were not refreshed", "(22012)", "pgtide views refresh mart.broken", "1 loaded"]
    {
        assert!(output.stderr.contains(part), "{part}\n{}", output.stderr);
    }
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "24");
}
