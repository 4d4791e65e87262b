//! A table that gets another file after the snapshot shows none of its rows to it: what is read then is
//! read again. A table is locked before the snapshot; what functions read cannot be known, and is looked at.

use crate::support::{Pair, Project, databases, rows};

async fn world(hint: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source
        .exec(
            "create schema app;
             create table app.o (id bigint primary key, v integer);
             insert into app.o select n, 1 from generate_series(1, 100) n;
             create table app.base as select id, v from app.o;
             create materialized view app.m as select id, v from app.base;
             create table app.p (id bigint, v integer) partition by list (v);
             create table app.p1 partition of app.p for values in (1);
             create table app.p2 partition of app.p for values in (2);
             insert into app.p select id, v from app.o;
             create function app.read(name text) returns table (id bigint, v integer) language plpgsql stable
                 as $$ begin return query execute format('select t.id, t.v::integer from app.%I t', name); end $$;
             create view app.seen as select * from app.read('o')",
        )
        .await;
    pair.destination.exec("create schema mart").await;
    pair
}

/// Runs a job while somebody changes what it reads, whose transaction ends when the reader waits for it.
async fn change_meanwhile(pair: &Pair, from: &str, locked: &str, change: &str) -> String {
    let job = format!(
        "{from}\ninto = \"mart.o\"\nmode = \"replace\"\ncreate = true\nretries = 1\nretry_delay = \"1s\"\n"
    );
    let project = Project::new(pair).job("o", &job);
    let other = pair.source.client().await;
    other.batch_execute(&format!("begin; {change}")).await.unwrap();
    let run = project.pgtide("run o --reload").spawn();
    pair.source.until_awaited(locked).await;
    other.batch_execute("commit").await.unwrap();
    let output = run.finish().await.expect(0);
    project.assert_ledger_is_settled().await;
    format!("{}{}", output.stdout, output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_reads_is_read_again_when_its_table_got_another_file() {
    for (table, change) in [
        ("o", "truncate app.o; insert into app.o select n, 1 from generate_series(1, 70) n"),
        ("o", "alter table app.o alter v type bigint using v + 1"),
        ("m", "insert into app.base values (0, 0); refresh materialized view app.m"),
        (
            "o",
            "alter table app.o rename to old; create table app.o (id bigint, v integer); insert into app.o values (1, 2)",
        ),
        (
            "p",
            "alter table app.p detach partition app.p1; create table app.p3 partition of app.p for values in (1);
             insert into app.p3 select id, v from app.p1",
        ),
        ("p1", "truncate app.p1; insert into app.p1 values (1, 1)"),
        ("o", "lock app.o in access exclusive mode; cluster app.o using o_pkey"),
    ] {
        let pair = world("hidden_function").await;
        let read = if table == "p1" { "p" } else { table };
        let query = format!("query = \"select * from app.read('{read}')\"");
        let text = change_meanwhile(&pair, &query, &format!("app.{table}"), change).await;
        assert!(text.contains("a table was emptied or rewritten meanwhile"), "{change}: {text}");
        rows::assert_equal(&pair.source, &pair.destination, &format!("(select id, v::integer from app.{read})"), "mart.o")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_a_function_is_looked_at_too() {
    let pair = world("hidden_view").await;
    let change = "truncate app.o; insert into app.o select n, 1 from generate_series(1, 70) n";
    let text = change_meanwhile(&pair, "table = \"app.seen\"", "app.o", change).await;
    assert!(text.contains("a table was emptied or rewritten meanwhile (app.o)"), "{text}");
    rows::assert_equal(&pair.source, &pair.destination, "app.o", "mart.o").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_locked_is_locked_before_the_snapshot_and_read_once() {
    let change = "insert into app.o values (0, 0); truncate app.o; insert into app.o values (1, 2), (2, 3)";
    for from in
        ["table = \"app.o\"", "query = \"select * from app.o\"", "table = \"app.o\"\nwhere = \"id > 0\""]
    {
        let pair = world("hidden_table").await;
        let text = change_meanwhile(&pair, from, "app.o", change).await;
        assert!(!text.contains("meanwhile"), "{text}");
        rows::assert_equal(&pair.source, &pair.destination, "app.o", "mart.o").await;
    }
}
