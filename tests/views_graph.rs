//! What reads what, through views and functions, and how it is drawn.

use serde_json::Value;

use crate::support::{Project, databases, server_major};

/// A project whose destination has what this SQL makes.
pub(crate) async fn project(hint: &str, sql: &str) -> Project {
    let pair = databases(hint).await;
    pair.destination.exec(&format!("create schema src; create schema mart; {sql}")).await;
    Project::new(&pair)
}

/// What each view reads directly or through others, as `graph -o json` tells it: `reader<-read`.
async fn edges(project: &Project) -> Vec<String> {
    let output = project.pgtide("views graph -o json").run().await.expect(0);
    let graph: Value = serde_json::from_str(&output.stdout).unwrap();
    let text = |edge: &Value, key: &str| edge[key].as_str().unwrap().to_owned();
    let edges = graph["edges"].as_array().unwrap();
    edges.iter().map(|edge| format!("{}<-{}", text(edge, "view"), text(edge, "reads"))).collect()
}

#[tokio::test]
async fn a_path_goes_through_views_and_functions_with_a_known_body() {
    let is_known = server_major() >= 14;
    let body = if is_known {
        "begin atomic select count(*) from mart.b; end"
    } else {
        "language sql as 'select count(*) from mart.b'"
    };
    let sql = format!(
        "create table src.t (id int);
         create materialized view mart.a as select * from src.t;
         create view mart.v1 as select * from mart.a;
         create view mart.v2 as select * from mart.v1;
         create materialized view mart.b as select * from mart.v2;
         create function mart.f() returns bigint stable {body};
         create materialized view mart.c as select mart.f() as n;"
    );
    let project = project("graph_path", &sql).await;
    if !is_known {
        // Postgres 13 keeps every body as text, so it has to be told.
        project.add_to_file("[views.\"mart.c\"]\ndepends_on = [\"mart.b\"]\n");
    }
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("insert into src.t values (1)").await;
    let plan = project.pgtide("views refresh --after-load src.t --dry-run").run().await.expect(0);
    let at = |name: &str| plan.stdout.find(name).unwrap_or_else(|| panic!("{name}: {}", plan.stdout));
    assert!(at("mart.a ") < at("mart.b ") && at("mart.b ") < at("mart.c "), "{}", plan.stdout);
    assert!(edges(&project).await.contains(&"mart.c<-mart.f".to_owned()));
}

#[tokio::test]
async fn a_rule_that_is_no_query_is_no_edge_and_odd_names_are_told_apart() {
    let project = project(
        "graph_odd",
        "create table src.t (id int); create table src.other (id int);
         create schema \"Odd Ünïcode\";
         create view mart.v as select id from src.t;
         create rule ins as on insert to mart.v do instead insert into src.other values (new.id);
         create materialized view mart.on_view as select * from mart.v;
         create materialized view \"Odd Ünïcode\".\"on_view\" as select * from src.t;
         create materialized view mart.\"a \"\"q\"\" <b>\" as select * from \"Odd Ünïcode\".on_view;",
    )
    .await;
    let edges = edges(&project).await;
    assert!(!edges.iter().any(|edge| edge.contains("src.other")), "{edges:?}");
    assert!(edges.contains(&"mart.\"a \"\"q\"\" <b>\"<-\"Odd Ünïcode\".on_view".to_owned()), "{edges:?}");
    let output = project.pgtide("views refresh on_view").run().await.expect(2);
    assert!(output.stderr.contains("in several schemas"), "{}", output.stderr);
    project.pgtide("views refresh mart.on_view").run().await.expect(0);
    let svg = project.pgtide("views graph --format svg").run().await.expect(0).stdout;
    assert!(svg.starts_with("<svg") && svg.contains("&lt;b&gt;"), "{svg}");
    for format in ["mermaid", "dot"] {
        project.pgtide("views graph --format").arg(format).run().await.expect(0);
    }
}

#[tokio::test]
async fn a_load_of_a_partition_or_of_its_parent_reaches_what_reads_either() {
    let project = project(
        "graph_partitions",
        "create table src.p (d date) partition by range (d);
         create table src.p1 partition of src.p for values from ('2026-01-01') to ('2026-02-01');
         create materialized view mart.of_parent as select count(*) from src.p;
         create materialized view mart.of_leaf as select count(*) from src.p1;",
    )
    .await;
    for table in ["src.p", "src.p1"] {
        let plan = project.pgtide("views refresh --dry-run --after-load").arg(table).run().await.expect(0);
        assert!(plan.stdout.contains("2 to refresh"), "{table}: {}", plan.stdout);
    }
}

#[tokio::test]
async fn depends_on_says_what_a_function_with_a_body_of_text_reads() {
    let project = project(
        "graph_declared",
        "create table src.rates (id int);
         create function mart.rate() returns bigint language plpgsql stable as
           'begin return (select count(*) from src.rates); end';
         create materialized view mart.priced as select mart.rate() as n;",
    )
    .await;
    project.pgtide("views refresh").run().await.expect(0);
    let status = project.pgtide("views status").run().await.expect(0);
    assert!(status.stdout.contains("1 unknown"), "{}", status.stdout);
    let rules = "[views.\"mart.*\"]\ndepends_on = [\"src.rates\"]\n";
    project.add_to_file(rules);
    project.pgtide("views refresh").run().await.expect(0);
    let status = project.pgtide("views status").run().await.expect(0);
    assert!(status.stdout.contains("1 fresh"), "{}", status.stdout);
    project.destination.exec("insert into src.rates values (1)").await;
    let again = project.pgtide("views refresh").run().await.expect(0);
    assert!(again.stderr.contains("src.rates: rows were written"), "{}", again.stderr);
}

#[tokio::test]
async fn a_cycle_of_views_is_told_with_its_path_and_the_others_are_refreshed() {
    let project = project(
        "graph_cycle",
        "create table src.t (id int);
         create view mart.v as select id from src.t;
         create materialized view mart.a as select * from mart.v;
         create materialized view mart.b as select * from mart.a;
         create or replace view mart.v as select id from mart.b;
         create view mart.w1 as select 1 as id; create view mart.w2 as select * from mart.w1;
         create or replace view mart.w1 as select id from mart.w2;
         create materialized view mart.alone as select * from src.t;",
    )
    .await;
    let output = project.pgtide("views refresh").run().await.expect(1);
    assert!(output.stderr.contains("mart.a -> mart.b -> mart.a"), "{}", output.stderr);
    assert!(output.stderr.contains("# view mart.alone"), "{}", output.stderr);
    for verb in ["views status", "views status --tree", "views graph", "views graph --format svg"] {
        project.pgtide(verb).run().await.expect(0);
    }
}
