//! Stale or fresh, and the reason told.

use serde_json::Value;

use crate::support::{Project, until};
use crate::views_graph::project;

/// State and reason of a view.
async fn state(project: &Project, view: &str) -> (String, String) {
    let output = project.pgtide("views status -o json").run().await.expect(0);
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.into_iter().find(|line| line["view"] == view).unwrap();
    (line["state"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap().to_owned())
}

async fn refresh(project: &Project) -> String {
    project.pgtide("views refresh").run().await.expect(0).stderr
}

/// A table, a view of it that is fresh.
async fn fresh(hint: &str) -> Project {
    let project = project(
        hint,
        "create table src.t (id int primary key, v int);
         insert into src.t select i, 0 from generate_series(1, 100) i;
         create materialized view mart.a as select * from src.t;
         create unique index on mart.a (id);",
    )
    .await;
    assert_eq!(state(&project, "mart.a").await.1, "never refreshed by pgtide");
    refresh(&project).await;
    assert_eq!(state(&project, "mart.a").await.0, "fresh");
    project
}

#[tokio::test]
async fn rows_that_another_writes_are_seen_and_a_second_refresh_finds_nothing() {
    let project = fresh("stale_written").await;
    project.destination.exec("update src.t set v = 1 where id = 1").await;
    let (word, reason) = state(&project, "mart.a").await;
    assert_eq!((&*word, &*reason), ("stale", "src.t: rows were written"));
    assert!(refresh(&project).await.contains("+1 -1 rows"));
    assert!(refresh(&project).await.contains("nothing to do  views: 1 fresh"));
}

#[tokio::test]
async fn a_truncate_and_a_partition_that_goes_show_in_the_files() {
    let project = fresh("stale_truncate").await;
    project.destination.exec("truncate src.t").await;
    assert!(state(&project, "mart.a").await.1.contains("truncated"));
    project
        .destination
        .exec(
            "create table src.p (d int) partition by list (d);
             create table src.p1 partition of src.p for values in (1); insert into src.p values (1);
             create materialized view mart.p as select * from src.p;",
        )
        .await;
    refresh(&project).await;
    assert_eq!(state(&project, "mart.p").await.0, "fresh");
    project.destination.exec("alter table src.p detach partition src.p1").await;
    assert!(state(&project, "mart.p").await.1.contains("other partitions"));
}

#[tokio::test]
async fn counters_that_start_again_make_it_stale_rather_than_fresh() {
    let project = fresh("stale_reset").await;
    project.destination.exec("select pg_stat_reset()").await;
    assert_eq!(state(&project, "mart.a").await.0, "stale");
}

#[tokio::test]
async fn what_nobody_can_see_is_unknown_and_what_tells_the_time_depends_on_it() {
    let project = project(
        "stale_blind",
        "create foreign data wrapper w; create server s foreign data wrapper w;
         create foreign table src.far (id int) server s;
         create materialized view mart.far as select * from src.far with no data;
         create materialized view mart.clock as select current_date as d;
         create materialized view mart.empty as select 1 as one with no data;",
    )
    .await;
    assert_eq!(state(&project, "mart.far").await.0, "unpopulated");
    let output = project.pgtide("views refresh").run().await.expect(1);
    assert!(output.stderr.contains("x view mart.far"), "{}", output.stderr);
    assert_eq!(state(&project, "mart.empty").await.0, "fresh");
    let (word, reason) = state(&project, "mart.clock").await;
    assert_eq!((&*word, &*reason), ("time-dependent", "its query tells the time; no max_age is set"));
    let rules = "[views.\"mart.clock\"]\nmax_age = \"1h\"\n";
    project.add_to_file(rules);
    assert_eq!(state(&project, "mart.clock").await.0, "fresh");
    // Its only failure was that it could not be read: that is what the monitor rings for.
    project.pgtide("views status --exit-code").run().await.expect(1);
}

#[tokio::test]
async fn a_refresh_by_somebody_else_is_seen_and_what_reads_the_view_is_stale_only_if_rows_changed() {
    let project = fresh("stale_outside").await;
    project.destination.exec("create materialized view mart.b as select count(*) as n from mart.a").await;
    refresh(&project).await;
    project.destination.exec("refresh materialized view concurrently mart.a").await;
    assert!(state(&project, "mart.a").await.1.contains("outside pgtide"));
    assert_eq!(state(&project, "mart.b").await.0, "fresh");
    project.destination.exec("insert into src.t values (1000, 0)").await;
    project.destination.exec("refresh materialized view concurrently mart.a").await;
    // What a session counted is told when the server has ended it.
    until("the rows of mart.a are counted", || async {
        state(&project, "mart.b").await.1 == "mart.a: rows were written"
    })
    .await;
}

#[tokio::test]
async fn nothing_changed_below_leaves_all_above_fresh() {
    let project = fresh("stale_cut_off").await;
    project
        .destination
        .exec(
            "create materialized view mart.b as select count(*) as n from mart.a;
             create materialized view mart.c as select * from mart.b;",
        )
        .await;
    refresh(&project).await;
    // Written, and as it was.
    project.destination.exec("update src.t set v = v where id = 5").await;
    assert_eq!(state(&project, "mart.c").await.1, "upstream mart.b");
    let told = refresh(&project).await;
    assert!(told.contains("nothing changed") && told.contains("1 refreshed, 2 fresh"), "{told}");
    assert_eq!(state(&project, "mart.c").await.0, "fresh");
}

#[tokio::test]
async fn a_view_between_that_was_replaced_makes_it_stale() {
    let project = project(
        "stale_between",
        "create table src.t (id int); create view mart.v as select id from src.t;
         create materialized view mart.a as select * from mart.v;",
    )
    .await;
    refresh(&project).await;
    project.destination.exec("create or replace view mart.v as select id + 1 as id from src.t").await;
    assert!(state(&project, "mart.a").await.1.contains("was replaced"));
}
