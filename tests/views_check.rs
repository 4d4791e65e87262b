//! `views check` and the part of `check` that is about views: every finding, each with what to do.

use crate::support::cli::{Output, write_file};
use crate::views_apply::Views;

const BASE: &str = "
create schema mart;
create table public.orders (id bigint primary key, region text, amount numeric);
insert into public.orders select n, case when n % 4 > 0 then 'eu' end, n from generate_series(1, 100) n;";

async fn views(hint: &str, sql: &str, files: &[(&str, &str)]) -> Views {
    Views::new(hint, &format!("{BASE} {sql}"), files).await
}

/// Fails unless the check has a line of this level with this text, and below it, somewhere, this hint.
#[track_caller]
fn assert_said(output: &Output, (level, view): (&str, &str), what: &str, hint: &str) {
    let objects = output.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let found = objects.into_iter().any(|line| {
        line["level"] == level
            && line["subject"] == view
            && line["message"].as_str().is_some_and(|message| message.contains(what))
            && line["hint"].as_str().is_some_and(|text| text.contains(hint))
    });
    assert!(found, "no {level} about {view}: {what}; {hint}\n{}", output.stdout);
}

#[tokio::test]
async fn nulls_in_a_key_are_counted_and_matter_where_a_concurrent_refresh_is_asked_for() {
    let sql = "create materialized view mart.sales as select region, sum(amount) as amount from public.orders group by region;
        create unique index sales_key on mart.sales (region) include (amount);
        create materialized view mart.whole as select * from public.orders;
        create unique index whole_key on mart.whole (id)";
    let views = views("vc_null", sql, &[]).await;
    let output = views.run("views check -o json", 0).await;
    let what = "1 row with a NULL in the key (region) of sales_key";
    assert_said(&output, ("note", "mart.sales"), what, "`auto` swaps");
    assert!(!output.stdout.contains("whole_key"), "{}", output.stdout);
    views.project.add_to_file("[views.\"mart.sales\"]\nrefresh = \"concurrent\"\n");
    let output = views.run("views check -o json", 78).await;
    assert_said(&output, ("finding", "mart.sales"), what, "coalesce");
}

#[tokio::test]
async fn a_count_that_takes_too_long_is_given_up_and_said() {
    let sql = "create materialized view mart.sales as select id, region from public.orders;
        create unique index sales_key on mart.sales (id)";
    let views = views("vc_slow", sql, &[]).await;
    let holder = views.db.client().await;
    holder
        .batch_execute(
            "begin; lock table public.orders in access exclusive mode; refresh materialized view mart.sales",
        )
        .await
        .unwrap();
    let output = views.run("views check -o json", 0).await;
    assert_said(&output, ("note", "mart.sales"), "has NULLs is not known", "count them at a quiet time");
}

#[tokio::test]
async fn what_gives_other_rows_each_time_is_told_with_what_it_means() {
    let sql = "create view mart.lottery as select id, random() as ticket from public.orders;
        create materialized view mart.drawn as select * from mart.lottery;
        create materialized view mart.today as select id from public.orders where now() > '2020-01-01' and current_date > '2020-01-01';
        create materialized view mart.mine as select id from public.orders where current_user = 'etl';
        create function mart.rate(n numeric) returns numeric language plpgsql as $$ begin return n * 2; end $$;
        create materialized view mart.rated as select mart.rate(amount) from public.orders";
    let views = views("vc_random", sql, &[]).await;
    let output = views.run("views check -o json", 0).await;
    let is = |view, what, hint| assert_said(&output, ("note", view), what, hint);
    is("mart.drawn", "calls random() in mart.lottery, which is volatile", "into an ordinary view above");
    is("mart.today", "tells the time (now())", "`max_age`");
    is("mart.today", "tells the time (current_date or its like)", "`max_age`");
    is("mart.mine", "names the role", "ordinary view above");
    is(
        "mart.rated",
        "calls mart.rate(numeric), which is declared volatile",
        "alter function mart.rate(numeric) stable;",
    );
    views.project.add_to_file("[views.\"mart.today\"]\nmax_age = \"1d\"\n");
    let output = views.run("views check -o json", 0).await;
    assert!(!output.stdout.contains("tells the time"), "{}", output.stdout);
}

/// Two owners: etl owns the materialized view, web the view between; nobody may read the table.
const ROLES: &str = "do $$ begin create role vc_etl; exception when duplicate_object then null; end $$;
    do $$ begin create role vc_web; exception when duplicate_object then null; end $$;
    grant usage, create on schema mart, public to vc_etl, vc_web;
    create view mart.shown as select id, amount from public.orders;
    create materialized view mart.sales as select * from mart.shown;
    alter view mart.shown owner to vc_web;
    alter materialized view mart.sales owner to vc_etl;";

#[tokio::test]
async fn rights_of_owners_are_followed_through_every_view_between() {
    let views = views("vc_rights", ROLES, &[]).await;
    let output = views.run("views check -o json", 78).await;
    assert_said(
        &output,
        ("finding", "mart.sales"),
        "its owner vc_etl, as whom it is refreshed, may not read mart.shown",
        "grant select on mart.shown to vc_etl;",
    );
    assert_said(
        &output,
        ("finding", "mart.sales"),
        "reads mart.shown, whose owner vc_web may not read public.orders: a refresh fails",
        "grant select on public.orders to vc_web;",
    );
    // The columns that are read are enough.
    views.db.exec("grant select on mart.shown to vc_etl; grant select (id) on public.orders to vc_web").await;
    let output = views.run("views check -o json", 78).await;
    assert!(output.stdout.contains("whose owner vc_web may not read public.orders"), "{}", output.stdout);
    views.db.exec("grant select (amount) on public.orders to vc_web").await;
    views.run("views check", 0).await;
    views.run("views refresh", 0).await;
}

#[tokio::test]
async fn functions_are_called_as_the_owner_of_the_materialized_view() {
    let sql = format!(
        "{ROLES} grant select on mart.shown to vc_etl; grant select on public.orders to vc_web;
        create function mart.twice(n numeric) returns numeric language sql immutable as 'select n * 2';
        revoke execute on function mart.twice(numeric) from public;
        create or replace view mart.shown as select id, mart.twice(amount) as amount from public.orders;"
    );
    let views = views("vc_call", &sql, &[]).await;
    let output = views.run("views check -o json", 78).await;
    assert_said(
        &output,
        ("finding", "mart.sales"),
        "its owner vc_etl, as whom it is refreshed, may not call mart.twice(numeric), which mart.shown names",
        "grant execute on function mart.twice(numeric) to vc_etl;",
    );
    views.db.exec("grant execute on function mart.twice(numeric) to vc_etl").await;
    views.run("views check", 0).await;
    views.run("views refresh", 0).await;
}

#[tokio::test]
async fn a_view_that_a_file_would_make_is_checked_with_the_owner_that_it_would_have() {
    let sql = "do $$ begin create role vc_etl; exception when duplicate_object then null; end $$;
        grant usage, create on schema mart to vc_etl";
    let file = "create materialized view mart.sales as select * from mart.shown;\nalter materialized view mart.sales owner to vc_etl;\n";
    let shown = "create view mart.shown as select id, amount from public.orders;\n";
    let views = views("vc_file", sql, &[("sales.sql", file), ("shown.sql", shown)]).await;
    let output = views.run("views check -o json", 0).await;
    assert_said(&output, ("note", "mart.sales"), "new: there is none yet", "views apply does it");
    views.file("sales.sql", &file.replace("mart.shown", "public.orders"));
    let output = views.run("views check -o json", 78).await;
    assert_said(
        &output,
        ("finding", "mart.sales"),
        "its owner vc_etl, as whom it is refreshed, may not read public.orders",
        "grant select on public.orders to vc_etl;",
    );
    let applied = views.run("views apply", 1).await;
    assert!(applied.stderr.contains("permission denied for table orders"), "{}", applied.stderr);
}

#[tokio::test]
async fn functions_without_a_path_are_found_below_views_too() {
    let sql = "create function mart.latest() returns bigint language sql stable as 'select max(id) from public.orders';
        create view mart.shown as select mart.latest() as id;
        create materialized view mart.sales as select * from mart.shown";
    let views = views("vc_path", sql, &[]).await;
    let output = views.run("views check -o json", 0).await;
    let what = "reads through mart.latest(), which has no search_path of its own";
    assert_said(&output, ("note", "mart.sales"), what, "alter function mart.latest() set search_path");
    views.db.exec("alter function mart.latest() set search_path = public").await;
    assert!(!views.run("views check", 0).await.stdout.contains("search_path"));
}

#[tokio::test]
async fn drift_rules_about_nothing_and_ways_that_are_not_possible_are_findings() {
    let file = "create materialized view mart.sales as select id from public.orders;\n";
    let views = views("vc_rules", "", &[("sales.sql", file)]).await;
    views.apply().await;
    views.db.exec("drop materialized view mart.sales; create materialized view mart.sales as select id + 1 as id from public.orders").await;
    views.project.add_to_file(
        "[views.\"mart.sale\"]\nmax_age = \"1d\"\n[views.\"mart.sales\"]\nrefresh = \"concurrent\"\ndepends_on = [\"public.nowhere\"]\n",
    );
    let output = views.run("views check -o json", 78).await;
    let is = |subject, what, hint| assert_said(&output, ("finding", subject), what, hint);
    is("mart.sales", "drift: ", "--revert mart.sales");
    is("rules", "[views.\"mart.sale\"] fits no materialized view", "names have their schema");
    is("mart.sales", "depends_on names public.nowhere, which does not exist", "take it out");
    is("mart.sales", "cannot be refreshed concurrently: no unique index", "create unique index");
}

#[tokio::test]
async fn what_runs_that_died_have_left_is_named() {
    let file = "create materialized view mart.sales as select id from public.orders;\n";
    let views = views("vc_left", "", &[("sales.sql", file)]).await;
    views.apply().await;
    let mark = "pgtide: built beside by views apply, ledger \"pgtide\", for mart";
    views
        .db
        .exec(&format!("create schema pgtide_apply_0_1; comment on schema pgtide_apply_0_1 is '{mark}'"))
        .await;
    views.db.exec("create index half on mart.sales (id); update pg_index set indisvalid = false where indexrelid = 'mart.half'::regclass").await;
    let output = views.run("views check -o json", 0).await;
    let is = |subject, what, hint| assert_said(&output, ("note", subject), what, hint);
    is("database", "pgtide_apply_0_1 was left by an apply", "the next views apply removes it");
    is("mart.sales", "index half was left half-made", "drop index concurrently mart.half;");
}

#[tokio::test]
async fn what_hangs_on_a_view_is_named_with_the_statements_that_move_it() {
    let views = views(
        "vc_hang",
        "create function mart.quiet() returns trigger language plpgsql as 'begin return null; end'",
        &[("shown.sql", "create view mart.shown as select id, amount from public.orders;\n")],
    )
    .await;
    views.apply().await;
    views
        .db
        .exec(
            "create trigger hush instead of delete on mart.shown for each row execute function mart.quiet();
        create rule lost as on insert to mart.shown do instead nothing;
        alter view mart.shown alter column id set default 7;
        insert into pg_seclabel values ('mart.shown'::regclass, 'pg_class'::regclass, 0, 'dummy', 'secret')",
        )
        .await;
    views.file("shown.sql", "create view mart.shown as select amount from public.orders;\n");
    let output = views.run("views apply", 1).await;
    for line in [
        "blocked     mart.shown",
        "but what hangs on it would be lost",
        "trigger hush: before the apply `drop trigger hush on mart.shown`, after it `CREATE TRIGGER hush INSTEAD OF DELETE",
        "rule lost: before the apply `drop rule lost on mart.shown`, after it `CREATE RULE lost AS",
        "default of column id: before the apply `alter view mart.shown alter column id drop default`, after it `alter view mart.shown alter column id set default 7`",
        "security label of dummy: before the apply `security label for dummy on view mart.shown is null`, after it `security label for dummy on view mart.shown is 'secret'`",
        "run the statements above in psql",
    ] {
        assert!(output.stdout.contains(line), "{line}\n{}", output.stdout);
    }
    assert!(!output.stdout.contains("views adopt"), "{}", output.stdout);
    views.db.exec("drop trigger hush on mart.shown; drop rule lost on mart.shown; alter view mart.shown alter column id drop default; delete from pg_seclabel").await;
    views.apply().await;
}

#[tokio::test]
async fn the_check_of_the_whole_configuration_tells_of_views_too() {
    let views = views("vc_whole", "", &[]).await;
    let job = "table = \"public.orders\"\ninto = \"mart.orders\"\nmode = \"replace\"\n";
    write_file(views.project.folder(), "jobs/orders.toml", job);
    views
        .project
        .source
        .exec("create table public.orders (id bigint primary key, region text, amount numeric)")
        .await;
    views.db.exec("create table mart.orders (id bigint primary key, region text, amount numeric)").await;
    let plain = views.run("check", 0).await;
    assert!(!plain.stdout.contains("views"), "{}", plain.stdout);
    views.project.add_to_file("[views]\nfiles = \"sql/\"\n[views.\"mart.nothing\"]\nmax_age = \"1d\"\n");
    let output = views.run("check", 78).await;
    let text = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for what in [
        "there is no folder sql",
        "[views.\"mart.nothing\"] fits no materialized view, and no file makes one",
    ] {
        assert!(text.contains(what), "{what}\n{}", output.stdout);
    }
    write_file(views.project.folder(), "sql/one.sql", "create materialized view mart.nothing as select 1;");
    write_file(
        views.project.folder(),
        "sql/two.sql",
        "create materialized view mart.two as select;;; garbage",
    );
    let output = views.run("check", 78).await;
    assert!(output.stdout.contains("two.sql:1"), "{}", output.stdout);
    assert!(!output.stdout.contains("fits no materialized view"), "{}", output.stdout);
    std::fs::remove_file(views.project.folder().join("sql/two.sql")).unwrap();
    let output = views.run("check", 0).await;
    assert!(output.stdout.contains("1 file in sql"), "{}", output.stdout);
}

#[tokio::test]
async fn a_project_of_views_alone_is_checked_without_jobs() {
    let file = "create materialized view mart.sales as select id from public.orders;\n";
    let views = views("vc_alone", "", &[("sales.sql", file)]).await;
    let output = views.run("check", 0).await;
    assert!(output.stdout.contains("1 file in views"), "{}", output.stdout);
    assert!(output.stdout.contains("PostgreSQL"), "{}", output.stdout);
    let gone = "[connections.destination]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n";
    write_file(views.project.folder(), "pgtide.toml", gone);
    let output = views.run("check", 75).await;
    assert!(output.stdout.contains("x     destination"), "{}", output.stdout);
}
