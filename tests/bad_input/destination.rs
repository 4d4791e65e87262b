//! What can be wrong with the destination: found before the first row, before even the ledger is made.

use super::{FITTING, USERS, case, check, in_project, stage};

const NOTHING: &str = "nothing; no row was read, mart.users is unchanged";
const AGAIN: &str = "pgtide run users --date 2024-05-01";

#[tokio::test]
async fn what_is_no_lasting_table_is_no_destination() {
    let pair = stage("bad_kind").await;
    let into = |table: &str| USERS.replace("mart.users", table);
    check(
        &pair,
        &[
            case("missing", USERS.replace("create = true", ""), &["there is no table mart.users", "create = true", NOTHING]),
            case("near", into("mart.usres").replace("create = true", ""), &["did you mean mart.users?"]).destination(FITTING),
            case("unlogged", USERS, &["unlogged", "alter table mart.users set logged", NOTHING])
                .destination(FITTING.replace("create", "create unlogged")),
            case("view", USERS, &["mart.users is a view", NOTHING]).destination("create view mart.users as select 1 as id"),
            case("matview", USERS, &["mart.users is a materialized view"])
                .destination("create materialized view mart.users as select 1 as id"),
            case("sequence", USERS, &["mart.users is a sequence"]).destination("create sequence mart.users"),
            case("foreign table", USERS, &["mart.users is a foreign table"]).destination(
                "create foreign data wrapper w; create server s foreign data wrapper w; create foreign table mart.users (id int) server s",
            ),
            case("unlogged partition", USERS, &["mart.users_1 is unlogged"]).destination(
                "drop server s cascade; drop foreign data wrapper w; create table mart.users (id int, name text, born timestamptz not null, amount numeric(12,4)) \
                 partition by range (born); create unlogged table mart.users_1 partition of mart.users default",
            ),
            case("the server's catalog", into("pg_catalog.pg_class"), &["is in the server's own catalog"]),
            case("the ledger", into("pgtide.interval"), &["is in pgtide's own ledger"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn columns_that_do_not_fit_are_told_all_at_once_with_what_helps() {
    let pair = stage("bad_columns").await;
    let differ = "create table mart.users (id int, name varchar(3), born timestamptz not null, amount int)";
    check(
        &pair,
        &[
            case("types", USERS, &[
                "users 2024-05-01 was not loaded: types differ in 2 columns",
                "  column    source public.users   target mart.users",
                "  name      text                  character varying(3)   does not fit",
                "  amount    numeric(12,4)         integer",
                NOTHING,
                "hint: on warehouse:",
                "        alter table mart.users\n          alter column name type text,\n          alter column amount type numeric(12,4);\n",
                "in jobs/users.toml:",
                "amount = \"round(amount)::integer\"",
                "then:",
                AGAIN,
            ])
            .destination(differ),
            case("NOT NULL", USERS, &[
                "2 findings",
                "note",
                "rank",
                "NOT NULL without a default",
                "[cast]\n        note = \"...\"\n        rank = \"...\"\n",
                "alter column note set default ...",
            ])
            .destination(FITTING.replace("amount", "note text not null, rank int not null, amount")),
            case("nothing in common", USERS.replace("time_column = \"born\"", "mode = \"append\"\ntime_column = \"born\""), &[
                "no column in common",
            ])
            .destination("create table mart.users (x int)"),
            case("only generated", USERS, &["`time_column`: no column `born` is loaded"]).destination(
                "create table mart.users (id int, born timestamptz generated always as (null::timestamptz) stored)",
            ),
            case("finer than its dates", USERS.replace("\"day\"", "\"hour\""), &["born", "date"])
                .destination("create table mart.users (id int, name text, born date not null, amount numeric(12,4))"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_mode_that_cannot_work_on_the_table_is_refused_with_every_reason() {
    let pair = stage("bad_mode").await;
    let merge = |key: &str| format!("{USERS}mode = \"merge\"\nkey = [\"{key}\"]\n");
    let child = |action: &str| {
        format!("{FITTING} create table mart.child (id int references mart.users on delete {action})")
    };
    check(
        &pair,
        &[
            case(
                "merge without index",
                merge("name"),
                &[
                    "cannot be loaded with mode merge",
                    "key column name may be null",
                    "no unique index on exactly (name)",
                    "alter table mart.users alter column \"name\" set not null;",
                    "create unique index on mart.users (\"name\");",
                ],
            )
            .destination(FITTING),
            case("cascade", USERS, &["would delete rows of mart.child too", "ON DELETE CASCADE", NOTHING])
                .destination(child("cascade")),
            case("set null", USERS, &["would change rows of mart.child too", "ON DELETE SET NULL"])
                .destination(child("set null")),
            case("scope", format!("{USERS}scope = \"regon = 'eu'\"\n"), &["`scope`", "regon", "(42703)"])
                .destination(FITTING),
            case(
                "scope of a table to be made",
                format!("{USERS}scope = \"regon = 'eu'\"\n"),
                &["`scope`", "(42703)"],
            ),
            case(
                "scope around our parentheses",
                format!("{USERS}scope = \"true) or (true\"\n"),
                &["`scope`", "(42601)"],
            )
            .destination(FITTING),
            case(
                "hook",
                format!("{USERS}post_sql = [\"analyse mart.users\", \"selct 1\"]\n"),
                &["`post_sql` statement 2", "syntax error", "line 1: selct 1"],
            ),
            case(
                "two in one hook",
                format!("{USERS}pre_sql = \"select 1; commit\"\n"),
                &["`pre_sql` statement 1", "a text of its own"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn rows_that_pgtide_did_not_load_are_not_touched() {
    let pair = stage("bad_foreign").await;
    let row = format!("{FITTING} insert into mart.users values (1000, 'mine', '2024-05-01 10:00Z', 1)");
    check(
        &pair,
        &[
            case(
                "interval",
                USERS,
                &[
                    "mart.users already has rows of 2024-05-01 that pgtide did not load",
                    "pgtide run users --date 2024-05-01 --reload",
                    "pgtide mark users loaded --date 2024-05-01",
                ],
            )
            .destination(row.clone())
            .while_loading(),
            case("copy", "", &["mart.users already has rows", "--mode replace", "--mode append"])
                .arguments(&["copy", "users", "--into", "mart.users", "-s", "source", "-d", "warehouse"])
                .destination(row)
                .while_loading(),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_destination_that_takes_no_writes_is_told_so() {
    let pair = stage("bad_read_only").await;
    let name = pair.destination.name().to_owned();
    pair.destination
        .exec(&format!("create schema mart; alter database {name} set default_transaction_read_only = on"))
        .await;
    let output = in_project(&pair, USERS, &["run", "users", "--date", "2024-05-01"]).run().await.expect(78);
    assert!(
        output.stderr.contains("warehouse takes no writes: default_transaction_read_only is on"),
        "{}",
        output.stderr
    );
    let schemas = "select count(*) from pg_namespace where nspname = 'pgtide'";
    assert_eq!(pair.destination.scalar(schemas).await, "0");
}

#[tokio::test]
async fn a_ledger_that_cannot_be_used_is_refused() {
    let pair = stage("bad_ledger").await;
    in_project(&pair, USERS, &["run", "users", "--date", "2024-05-02"]).run().await.expect(0);
    let run = || in_project(&pair, USERS, &["run", "users", "--date", "2024-05-01"]).run();

    pair.destination.exec("update pgtide.meta set version = version + 1").await;
    let output = run().await.expect(78);
    assert!(output.stderr.contains("this pgtide knows versions up to"), "{}", output.stderr);
    pair.destination.exec("update pgtide.meta set version = version - 1").await;

    let trigger = "create trigger mine before insert on pgtide.batch execute function suppress_redundant_updates_trigger()";
    pair.destination.exec(trigger).await;
    let output = run().await.expect(78);
    assert!(output.stderr.contains("drop trigger \"mine\" on \"pgtide\".batch"), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select count(*) from mart.users").await, "24");
}

#[tokio::test]
async fn views_to_refresh_that_do_not_read_the_table_are_told_before_the_load() {
    let pair = stage("bad_refresh").await;
    let job = format!("{USERS}refresh = [\"mart.totls\", \"mart.nowhere\"]\n");
    let view = "create materialized view mart.totals as select count(*) from mart.users";
    let says = ["`refresh`", "mart.totls, mart.nowhere", "these read it: mart.totals", NOTHING];
    check(&pair, &[case("names", job, &says).destination(format!("{FITTING}{view}"))]).await;
}
