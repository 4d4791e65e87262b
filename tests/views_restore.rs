//! What was dropped comes back as it was; a plan that was read is what an apply does, or nothing.

use std::fs;

use crate::support::cli::Output;
use crate::views_apply::Views;

const BASE: &str = "create schema mart;
create table public.orders (id bigint primary key, region text, amount numeric);
insert into public.orders select n, case when n % 2 = 0 then 'eu' else 'us' end, n from generate_series(1, 100) n;
do $$ begin create role vr_reader; exception when duplicate_object then null; end $$;";

const SALES: &str = "create materialized view mart.sales as select region, sum(amount) as amount from public.orders group by region;
create unique index sales_key on mart.sales (region);
comment on materialized view mart.sales is 'Sales by region';
grant select on mart.sales to vr_reader;
";
const SHOWN: &str =
    "create view mart.shown as select region, amount, mart.twice(amount) as twice from mart.sales;\n";
const TOP: &str = "create materialized view mart.top as select max(amount) as best from mart.shown;\n";
const TWICE: &str =
    "create function mart.twice(n numeric) returns numeric language sql immutable as 'select n * 2';\n";

async fn views(hint: &str) -> Views {
    let files = [("sales.sql", SALES), ("shown.sql", SHOWN), ("top.sql", TOP), ("twice.sql", TWICE)];
    let views = Views::new(hint, BASE, &files).await;
    views.apply().await;
    views
}

/// Everything about the views of the schema that a drop loses.
const ALL: &str = "select string_agg(x, E'\\n' order by x) from (
    select relname::text || relkind::text || pg_get_viewdef(oid) || pg_get_userbyid(relowner) || coalesce(obj_description(oid), '')
    from pg_class where relnamespace = 'mart'::regnamespace and relkind in ('v', 'm')
    union all select indexdef from pg_indexes where schemaname = 'mart'
    union all select table_name::text || grantee::text || privilege_type::text from information_schema.role_table_grants where table_schema = 'mart'
    union all select pg_get_functiondef(oid) from pg_proc where pronamespace = 'mart'::regnamespace) f (x)";

#[tokio::test]
async fn a_view_that_was_dropped_comes_back_filled_with_all_that_belonged_to_it() {
    let views = views("vr_back").await;
    let before = views.db.scalar(ALL).await;
    let dropped = views.run("views drop mart.sales --with-dependents", 0).await;
    assert!(dropped.stderr.contains("pgtide views restore mart."), "{}", dropped.stderr);
    views.run("views drop mart.twice", 0).await;
    let listed = views.run("views restore", 0).await;
    for name in ["mart.sales", "mart.shown", "mart.top", "mart.twice"] {
        assert!(listed.stdout.contains(&format!("{name}  ")), "{}", listed.stdout);
    }
    let shown = views.run("views restore mart.sales --dry-run", 0).await;
    assert!(shown.stdout.contains("CREATE UNIQUE INDEX sales_key"), "{}", shown.stdout);
    assert_eq!(views.db.rows("select to_regclass('mart.sales')").await, [[None]]);
    // In whatever order they are named.
    views.run("views restore mart.top mart.sales mart.twice mart.shown", 0).await;
    assert_eq!(views.db.scalar(ALL).await, before);
    assert_eq!(views.db.scalar("select best from mart.top").await, "2550");
    let history =
        "select string_agg(name, ' ' order by id) from pgtide.view_history where action = 'restore'";
    assert_eq!(views.db.scalar(history).await, "mart.twice mart.sales mart.shown mart.top");
    // The files are there still: the next apply takes note and builds nothing.
    assert_eq!(views.classes().await.len(), 4);
    assert!(views.classes().await.iter().all(|class| class.starts_with("touched")));
    views.apply().await;
    assert_eq!(views.classes().await, Vec::<String>::new());
    let nothing = views.run("views restore", 0).await;
    assert!(nothing.stdout.contains("nothing that pgtide dropped is missing"), "{}", nothing.stdout);
}

#[tokio::test]
async fn nothing_is_restored_over_what_is_there_and_all_is_restored_or_nothing() {
    let views = views("vr_there").await;
    let never = views.run("views restore mart.sale", 2).await;
    assert!(never.stderr.contains("pgtide never dropped mart.sale"), "{}", never.stderr);
    views.run("views drop mart.sales --with-dependents", 0).await;
    views.db.exec("create table mart.top (best int)").await;
    let there = views.run("views restore mart.sales mart.shown mart.top", 78).await;
    assert!(there.stderr.contains("there is mart.top again, so nothing was restored"), "{}", there.stderr);
    let gone = views.run("views restore mart.shown", 78).await;
    assert!(gone.stderr.contains("what it reads is gone too: name it as well"), "{}", gone.stderr);
    assert_eq!(views.db.rows("select to_regclass('mart.sales')").await, [[None]]);
    assert!(!views.run("views restore", 0).await.stdout.contains("mart.top"));
    views.run("views restore mart.sales mart.shown", 0).await;
}

#[tokio::test]
async fn the_file_is_written_again_and_never_over_another() {
    let views = views("vr_file").await;
    views.remove("top.sql");
    views.run("views apply --prune", 0).await;
    let output = views.run("views restore mart.top --write-file", 0).await;
    assert!(output.stderr.contains("top.sql: written"), "{}", output.stderr);
    assert_eq!(views.classes().await, ["touched mart.top"]);
    views.apply().await;
    views.run("views drop mart.top", 0).await;
    views.file("top.sql", "drop materialized view if exists mart.top;\n");
    let kept = views.run("views restore mart.top --write-file", 78).await;
    assert!(kept.stderr.contains("mart.top is restored; writing"), "{}", kept.stderr);
    assert!(fs::read_to_string(views.project.folder().join("views/top.sql")).unwrap().starts_with("drop"));
    assert_eq!(views.db.scalar("select best from mart.top").await, "2550");
}

async fn plan(views: &Views, arguments: &str) -> Output {
    let output = views.run(&format!("views plan -o json{arguments}"), 0).await;
    fs::write(views.project.folder().join("plan.json"), &output.stdout).unwrap();
    output
}

#[tokio::test]
async fn an_apply_of_a_plan_does_what_was_shown_or_nothing() {
    let views = views("vr_plan").await;
    views.file("sales.sql", &SALES.replace("sum(amount)", "max(amount)"));
    plan(&views, "").await;
    let before = views.oid("mart.sales").await;
    // The file changes after somebody has read the plan.
    views.file("sales.sql", &SALES.replace("sum(amount)", "min(amount)"));
    views.file("new.sql", "create view mart.new as select 1 as one;");
    let refused = views.run("views apply --plan plan.json", 78).await;
    assert!(refused.stderr.contains("is not what the plan shows; nothing was changed"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("mart.sales: replace still, but its file or what is live has changed since"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("mart.new: new now, and not in the plan"), "{}", refused.stderr);
    assert_eq!(views.oid("mart.sales").await, before);
    plan(&views, "").await;
    // Data, sizes and times may change meanwhile.
    views
        .db
        .exec("insert into public.orders values (1000, 'eu', 1); refresh materialized view mart.sales")
        .await;
    views.run("views apply --plan plan.json", 0).await;
    assert_eq!(views.db.scalar("select min(amount) from mart.sales").await, "1");
    // Applied once, it is done: there is nothing left of it.
    let again = views.run("views apply --plan plan.json", 78).await;
    assert!(again.stderr.contains("mart.sales: unchanged now, replace in the plan"), "{}", again.stderr);
    views.remove("new.sql");
    plan(&views, " --prune").await;
    let other = views.run("views apply --plan plan.json", 78).await;
    assert!(other.stderr.contains("mart.new: orphan now, drop in the plan"), "{}", other.stderr);
    views.run("views apply --plan plan.json --prune", 0).await;
}

#[tokio::test]
async fn what_somebody_changed_on_the_server_since_is_seen() {
    let views = views("vr_live").await;
    views.file("sales.sql", &SALES.replace("sum(amount)", "max(amount)"));
    plan(&views, "").await;
    views.db.exec("grant select on mart.sales to public").await;
    let refused = views.run("views apply --plan plan.json", 78).await;
    assert!(refused.stderr.contains("mart.sales: replace still"), "{}", refused.stderr);
    fs::write(views.project.folder().join("plan.json"), "views of warehouse\n").unwrap();
    let wrong = views.run("views apply --plan plan.json", 2).await;
    assert!(wrong.stderr.contains("line 1 is no line of a plan"), "{}", wrong.stderr);
}
