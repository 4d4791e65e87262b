//! `views apply --jobs`: independent views are built at once, each after what it reads, and a build that
//! fails takes along what stands on it and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::cli::{Output, write_file};
use crate::views_apply::Views;

const BASE: &str = "
create schema mart;
create table public.orders (id bigint primary key, region text, amount numeric);
insert into public.orders select n, case when n % 2 = 0 then 'eu' else 'us' end, n from generate_series(1, 1000) n";

/// A diamond with a tail: left and right may be built at once, after bottom and before top.
const BOTTOM: &str = "create materialized view mart.bottom as select region, sum(amount) as amount from public.orders group by region;";
const LEFT: &str =
    "create materialized view mart.left_side as select region, amount from mart.bottom where amount > 0;";
const RIGHT: &str = "create materialized view mart.right_side as select region, amount from mart.bottom;";
const TOP: &str = "create materialized view mart.top as select l.amount + r.amount as amount
    from mart.left_side l join mart.right_side r using (region);";
const APART: &str = "create materialized view mart.apart as select count(*) as orders from public.orders;";

const FILES: [(&str, &str); 5] = [
    ("a_top.sql", TOP),
    ("b_right.sql", RIGHT),
    ("c_left.sql", LEFT),
    ("d_bottom.sql", BOTTOM),
    ("e.sql", APART),
];

const EDGES: [(&str, &str); 4] = [
    ("mart.left_side", "mart.bottom"),
    ("mart.right_side", "mart.bottom"),
    ("mart.top", "mart.left_side"),
    ("mart.top", "mart.right_side"),
];

/// Where each view's event of a kind stands among all events.
fn places(output: &Output, event: &str) -> BTreeMap<String, usize> {
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = lines.enumerate().filter(|(_, line)| line["event"] == event);
    found.map(|(at, line)| (line["view"].as_str().unwrap().to_owned(), at)).collect()
}

#[track_caller]
fn assert_in_order(output: &Output) {
    let (started, built) = (places(output, "view_started"), places(output, "view_built"));
    for (reader, read) in EDGES {
        assert!(
            built[read] < started[reader],
            "{reader} was begun before {read} was built\n{}",
            output.stdout
        );
    }
}

#[tokio::test]
async fn two_builds_go_on_at_once_and_each_starts_after_what_it_reads() {
    let views = Views::new("vj_diamond", BASE, &FILES).await;
    let output = views.run("views apply -o json", 0).await;
    assert_in_order(&output);
    let (started, built) = (places(&output, "view_started"), places(&output, "view_built"));
    // Both may start at once; which of the others meet is a matter of how long each takes.
    for (one, other) in [("mart.apart", "mart.bottom"), ("mart.bottom", "mart.apart")] {
        assert!(started[one] < built[other], "{one} waited for {other}\n{}", output.stdout);
    }
    assert_eq!(views.db.scalar("select sum(amount) from mart.top").await, "1001000");
    views.nothing_left().await;
    // All of it changes: one unit, swapped at once, in the same order.
    views.file("d_bottom.sql", &BOTTOM.replace("sum(amount)", "2 * sum(amount)"));
    let output = views.run("views apply -o json --jobs 4", 0).await;
    assert_in_order(&output);
    assert_eq!(views.db.scalar("select sum(amount) from mart.top").await, "2002000");
    views.nothing_left().await;
    assert_eq!(views.classes().await, Vec::<String>::new());
}

#[tokio::test]
async fn one_job_builds_one_after_the_other_with_one_connection() {
    let views = Views::new("vj_one", BASE, &FILES).await;
    let output = views.run("views apply -o json --jobs 1", 0).await;
    assert_in_order(&output);
    let (started, built) = (places(&output, "view_started"), places(&output, "view_built"));
    let mut ends: Vec<_> = started.iter().map(|(view, at)| (*at, built[view])).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0), "{}", output.stdout);
}

#[tokio::test]
async fn the_connection_s_own_limit_holds() {
    // A view that tells how many sessions of the program there were while it was filled.
    let count = "create materialized view mart.NAME as select count(*) as sessions from pg_stat_activity
        where datname = current_database() and application_name like 'pgtide/%' and (select count(*) from generate_series(1, 300000)) > 0;";
    let names = ["one", "two", "three", "four"];
    let files: Vec<_> =
        names.iter().map(|name| (format!("{name}.sql"), count.replace("NAME", name))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let views = Views::new("vj_limit", BASE, &files).await;
    let url = views.db.url();
    let text = format!("[connections.destination]\nurl = \"{url}\"\nmax_connections = 2\n");
    write_file(views.project.folder(), "pgtide.toml", &text);
    views.run("views apply --jobs 8", 0).await;
    let most = "select max(sessions) from (select * from mart.one union all select * from mart.two
        union all select * from mart.three union all select * from mart.four) s";
    assert_eq!(views.db.scalar(most).await, "2");
}

#[tokio::test]
async fn a_build_that_fails_takes_along_what_stands_on_it_and_nothing_else() {
    let views = Views::new("vj_fail", BASE, &FILES).await;
    views.file("c_left.sql", &LEFT.replace("amount > 0", "amount / (amount - amount) > 0"));
    let output = views.run("views apply", 1).await;
    assert!(output.stderr.contains("mart.left_side: failed: "), "{}", output.stderr);
    assert!(output.stderr.contains("division by zero"), "{}", output.stderr);
    assert!(
        output.stderr.contains("mart.top: failed: it waits for mart.left_side, which failed"),
        "{}",
        output.stderr
    );
    let there = "select string_agg(relname, ' ' order by relname) from pg_class where relnamespace = 'mart'::regnamespace and relkind = 'm'";
    assert_eq!(views.db.scalar(there).await, "apart bottom right_side");
    assert_eq!(
        views
            .db
            .scalar(
                "select string_agg(name, ' ' order by name) from pgtide.view_object where state = 'failed'"
            )
            .await,
        "mart.left_side mart.top"
    );
    views.nothing_left().await;
    views.file("c_left.sql", LEFT);
    assert_eq!(views.classes().await, ["new mart.left_side", "new mart.top"]);
    views.apply().await;
    assert_eq!(views.db.scalar("select sum(amount) from mart.top").await, "1001000");
    views.nothing_left().await;
}

#[tokio::test]
async fn what_a_failed_view_still_reads_is_not_taken_from_under_it() {
    let views = Views::new("vj_under", BASE, &FILES).await;
    views.apply().await;
    let oids = "select string_agg(oid::text, ' ' order by relname) from pg_class where relname in ('bottom', 'left_side', 'right_side', 'top')";
    let before = views.db.scalar(oids).await;
    // The live left side reads the live bottom, so neither that nor what reads it can be swapped.
    views.file("d_bottom.sql", &BOTTOM.replace("sum(amount)", "sum(amount) + 1"));
    views.file("c_left.sql", &LEFT.replace("amount > 0", "amount / (amount - amount) > 0"));
    views.file("e.sql", &APART.replace("count(*)", "count(*) + 1"));
    let output = views.run("views apply", 1).await;
    assert!(output.stderr.contains("mart.bottom: failed: it waits for mart.left_side"), "{}", output.stderr);
    assert_eq!(views.db.scalar(oids).await, before);
    assert_eq!(views.db.scalar("select orders from mart.apart").await, "1001");
    assert_eq!(views.db.scalar("select sum(amount) from mart.top").await, "1001000");
    views.nothing_left().await;
}

#[tokio::test]
async fn a_build_that_can_no_longer_be_of_use_is_cancelled() {
    let views = Views::new("vj_cancel", BASE, &FILES).await;
    views.apply().await;
    // Right would take for ever; it cannot be swapped without left, which fails.
    views.file("d_bottom.sql", &BOTTOM.replace("sum(amount)", "sum(amount) + 1"));
    views.file("c_left.sql", &LEFT.replace("amount > 0", "amount / (amount - amount) > 0"));
    views.file("b_right.sql", &RIGHT.replace(";", " where (select pg_sleep(600))::text = '';"));
    let output = views.run("views apply", 1).await;
    assert!(output.stderr.contains("mart.right_side: failed: it waits for mart."), "{}", output.stderr);
    assert!(!output.stderr.contains("canceling"), "{}", output.stderr);
    views.nothing_left().await;
}

#[tokio::test]
async fn sessions_of_an_apply_that_died_hold_off_the_next_one() {
    let views = Views::new("vj_hands", BASE, &FILES).await;
    views.apply().await;
    let helper = views.db.client().await;
    // What a helping session holds; the key is read off a running apply.
    let reader = views.db.client().await;
    reader.batch_execute("begin; select * from mart.apart; select * from mart.bottom").await.unwrap();
    views.file("e.sql", &APART.replace("count(*)", "count(*) + 1"));
    views.file("d_bottom.sql", &BOTTOM.replace("sum(amount)", "sum(amount) + 1"));
    let running = views.project.pgtide("views apply --progress plain").spawn();
    running.stderr_contains("mart.apart: readers hold it").await;
    running.stderr_contains("mart.bottom: readers hold it").await;
    let take = "select pg_advisory_lock_shared((l.classid::bigint << 32) | l.objid::bigint) from pg_locks l
        where l.locktype = 'advisory' and l.objsubid = 1 and l.mode = 'ShareLock' and l.granted
          and l.database = (select oid from pg_database where datname = current_database())";
    assert_eq!(helper.query(take, &[]).await.unwrap().len(), 1);
    reader.batch_execute("commit").await.unwrap();
    running.finish().await.expect(0);
    let refused = views.run("views apply", 75).await;
    assert!(
        refused.stderr.contains("sessions of an apply that died are still at work"),
        "{}",
        refused.stderr
    );
    drop(helper);
}
