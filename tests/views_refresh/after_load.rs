//! After a load: what reads the tables, once, and what a failure left is made up for.

use nix::sys::signal::Signal;

use crate::support::{Pair, Project, databases, until};

/// A job of one table with a row an hour, day by day.
fn job(table: &str, refresh: &str) -> String {
    format!(
        "table = \"public.{table}\"\ninto = \"mart.{table}\"\ntime_column = \"at\"\ninterval = \"day\"\n\
         start_date = 2025-01-01\nmax_active_runs = 4\nrefresh = {refresh}\n"
    )
}

const TABLE: &str = "create table {} (id int primary key, at timestamptz not null);";
const ROWS: &str = "insert into {} select i, timestamptz '2025-01-01 05:00Z' + i * interval '1 hour'
                    from generate_series(0, 24 * 395 - 1) i; create index on {} (at);";

async fn tables(pair: &Pair, names: &[&str]) {
    pair.destination.exec("create schema mart").await;
    for name in names {
        let from = format!("public.{name}");
        pair.source.exec(&format!("{}{}", TABLE.replace("{}", &from), ROWS.replace("{}", &from))).await;
        pair.destination.exec(&TABLE.replace("{}", &format!("mart.{name}"))).await;
    }
}

#[tokio::test]
async fn after_a_backfill_exactly_what_reads_the_tables_is_refreshed_once_each() {
    let pair = databases("after_backfill").await;
    tables(&pair, &["orders", "items", "other"]).await;
    let mut sql = String::new();
    for i in 0..20 {
        // 12 of 20 read what is loaded: 5 the one table, 4 the other, 3 both, through a view among them.
        let from = match i {
            0..5 => "mart.orders",
            5..9 => "mart.items",
            9..12 => "(select at from mart.orders union all select at from mart.items)",
            _ => "mart.other",
        };
        sql.push_str(&format!(
            "create materialized view mart.v{i} as select count(*) as n, max(at) from {from} x;"
        ));
    }
    pair.destination.exec(&sql).await;
    let project = Project::new(&pair)
        .job("orders", &job("orders", "\"dependents\""))
        .job("items", &job("items", "\"dependents\""));
    project.pgtide("views refresh").run().await.expect(0);
    let run = "run orders items --from-date 2025-01-01 --to-date 2025-12-31";
    project.pgtide(run).run().await.expect(0);
    let counts =
        "select view_name, count(*) - 1 from pgtide.view_refresh group by 1 having count(*) > 1 order by 1";
    let counts = project.destination.rows(counts).await;
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.iter().all(|row| row[1].as_deref() == Some("1")), "{counts:?}");
    assert_eq!(project.destination.scalar("select n from mart.v9").await, "17520");
    // Loaded and refreshed: nothing is left to do, for a load or for a refresh.
    let again = project.pgtide(run).run().await.expect(0);
    assert!(!again.stderr.contains("view mart."), "{}", again.stderr);
    let again = project.pgtide("views refresh").run().await.expect(0);
    assert!(again.stderr.contains("20 fresh"), "{}", again.stderr);
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_load_and_the_next_run_makes_up_for_it() {
    let pair = databases("after_failure").await;
    tables(&pair, &["orders"]).await;
    pair.destination
        .exec(
            "create table mart.divisor (d int); insert into mart.divisor values (1);
             create materialized view mart.v as select count(*) / (select d from mart.divisor) as n from mart.orders;
             update mart.divisor set d = 0",
        )
        .await;
    let project = Project::new(&pair).job("orders", &job("orders", "[\"mart.v\"]"));
    let run = "run orders --date 2026-01-05";
    let output = project.pgtide(run).run().await.expect(1);
    assert!(output.stderr.contains("1 loaded"), "{}", output.stderr);
    assert!(output.stderr.contains("pgtide views refresh mart.v"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select count(*) from mart.orders").await, "24");
    let again = project.pgtide(run).run().await.expect(1);
    assert!(again.stderr.contains("x view mart.v"), "{}", again.stderr);
    project.destination.exec("update mart.divisor set d = 1").await;
    let again = project.pgtide(run).run().await.expect(0);
    assert!(again.stderr.contains("# view mart.v"), "{}", again.stderr);
    assert_eq!(project.destination.scalar("select n from mart.v").await, "24");
}

#[tokio::test]
async fn a_view_waits_for_the_day_that_it_needs() {
    let pair = databases("after_required").await;
    tables(&pair, &["orders", "other"]).await;
    pair.destination
        .exec(
            "create materialized view mart.a as select * from mart.orders;
             create materialized view mart.b as select count(*) as n from mart.a;",
        )
        .await;
    let project = Project::new(&pair).job("orders", &job("orders", "\"none\""));
    let require = "views refresh mart.b --upstream --require-loaded 2026-01-06";
    let never = project.pgtide(require).run().await.expect(75);
    assert!(never.stderr.contains("loaded by days"), "{}", never.stderr);
    project.pgtide("run orders --date 2026-01-05").run().await.expect(0);
    let early = project.pgtide(require).run().await.expect(75);
    assert!(early.stderr.contains("up to 2026-01-05"), "{}", early.stderr);
    assert!(early.stderr.contains("pgtide run orders --date 2026-01-06"), "{}", early.stderr);
    let told = project.pgtide("run orders --date 2026-01-06").run().await.expect(0);
    assert!(told.stderr.contains("stale now, not refreshed: mart.a, mart.b"), "{}", told.stderr);
    project.pgtide(require).run().await.expect(0);
    assert_eq!(project.destination.scalar("select n from mart.b").await, "48");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_with_a_clock_of_its_own_is_refreshed_when_it_is_due_and_stale() {
    let pair = databases("own_clock").await;
    pair.destination
        .exec(
            "create schema mart; create table mart.t (n int); insert into mart.t values (1);
             create materialized view mart.daily as select sum(n) as n from mart.t;
             create materialized view mart.soon as select sum(n) as n from mart.t;
             create materialized view mart.asked as select sum(n) as n from mart.t;",
        )
        .await;
    let project = Project::new(&pair);
    let rules = "[views.\"mart.daily\"]\nschedule = \"@daily\"\n[views.\"mart.soon\"]\nevery = \"1s after success\"\n";
    project.add_to_file(rules);
    // Without jobs there is something to do all the same; what was never refreshed is due.
    project.pgtide("run").run().await.expect(0);
    let names = "select string_agg(distinct view_name, ' ' order by view_name) from pgtide.view_refresh";
    assert_eq!(project.destination.scalar(names).await, "mart.daily mart.soon");
    project.destination.exec("insert into mart.t values (2)").await;
    let running = project.pgtide("schedule").spawn();
    until("the view is refreshed", || async {
        project.destination.scalar("select n from mart.soon").await == "3"
    })
    .await;
    running.signal(Signal::SIGTERM);
    running.finish().await.expect(143);
    assert_eq!(project.destination.scalar("select n from mart.daily").await, "1", "its day is not over");
    assert_eq!(project.destination.scalar("select n from mart.asked").await, "1");
}
