//! Views from files: created, replaced, altered, dropped; readers and what stands above notice little.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::cli::{Output, write_file};
use crate::support::{Database, Pair, Project, databases, server_major, until};

/// Tables, and a role that reads.
const BASE: &str = "
create schema mart;
create table public.orders (id bigint primary key, day date not null, region text, amount numeric);
insert into public.orders
select n, date '2026-01-01' + (n % 10)::int, case when n % 2 = 0 then 'eu' else 'us' end, n
from generate_series(1, 1000) n";

const SALES: &str = "
create materialized view mart.sales as
select day, region, sum(amount) as amount from public.orders group by day, region;
create unique index sales_key on mart.sales (day, region);
comment on materialized view mart.sales is 'Sales by day';
";

const TOP: &str = "
create materialized view mart.top as select region, max(amount) as best from mart.v_sales group by region;
";

const V_SALES: &str = "create view mart.v_sales as select day, region, amount from mart.sales;\n";

/// A project with files of views below `views/`.
pub(crate) struct Views {
    pub(crate) project: Project,
    pub(crate) db: Database,
}

impl Views {
    pub(crate) async fn new(hint: &str, base: &str, files: &[(&str, &str)]) -> Self {
        let pair: Pair = databases(hint).await;
        pair.destination.exec(base).await;
        let views = Self { project: Project::new(&pair), db: pair.destination };
        files.iter().for_each(|(path, text)| views.file(path, text));
        views
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        write_file(self.project.folder(), &format!("views/{path}"), text);
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.project.folder().join("views").join(path)).unwrap();
    }

    pub(crate) async fn run(&self, arguments: &str, code: i32) -> Output {
        self.project.pgtide(arguments).run().await.expect(code)
    }

    pub(crate) async fn apply(&self) -> Output {
        self.run("views apply", 0).await
    }

    /// The classes of the plan, without the unchanged.
    pub(crate) async fn classes(&self) -> Vec<String> {
        let output = self.run("views plan -o json", 0).await;
        let lines =
            output.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        lines
            .map(|line| (text(&line["class"]), text(&line["view"])))
            .filter(|(class, _)| class != "unchanged")
            .map(|(class, view)| format!("{class} {view}"))
            .collect()
    }

    pub(crate) async fn oid(&self, name: &str) -> String {
        self.db.scalar(&format!("select '{name}'::regclass::oid")).await
    }

    /// No schema of a build, or a trial, is left.
    pub(crate) async fn nothing_left(&self) {
        let schemas = "select string_agg(nspname, ' ') from pg_namespace
            where nspname !~ '^(pg_|information_schema|public|mart|pgtide$|etl|stage|core)'";
        assert_eq!(self.db.rows(schemas).await, [[None]], "schemas that are left");
    }
}

async fn three(hint: &str) -> Views {
    // The names are in the wrong order on purpose.
    let views =
        Views::new(hint, BASE, &[("a_top.sql", TOP), ("b_view.sql", V_SALES), ("z/sales.sql", SALES)]).await;
    views.apply().await;
    views
}

#[tokio::test]
async fn files_become_views_in_the_order_of_what_they_read() {
    let views =
        Views::new("va_new", BASE, &[("a_top.sql", TOP), ("b_view.sql", V_SALES), ("z/sales.sql", SALES)])
            .await;
    assert_eq!(views.classes().await.len(), 3);
    assert_eq!(
        views.db.scalar("select count(*) from pg_class where relnamespace = 'mart'::regnamespace").await,
        "0"
    );
    let output = views.apply().await;
    assert!(output.stdout.contains("3 new"), "{}", output.stdout);
    assert_eq!(views.db.scalar("select count(*) from mart.top").await, "2");
    assert_eq!(views.db.scalar("select obj_description('mart.sales'::regclass)").await, "Sales by day");
    assert_eq!(
        views.db.scalar("select reltuples from pg_class where oid = 'mart.sales'::regclass").await,
        "10"
    );
    assert_eq!(views.classes().await, Vec::<String>::new());
    let again = views.run("views apply --skip-exit-code 99", 99).await;
    assert!(again.stdout.contains("3 unchanged"), "{}", again.stdout);
    views.nothing_left().await;
}

#[tokio::test]
async fn a_comment_or_another_layout_never_rebuilds() {
    let views = three("va_touch").await;
    let before = views.oid("mart.sales").await;
    let text = SALES
        .replace("select day", "-- what the shop sold\nSELECT   day")
        .replace("group by", "\n\n/* x */ GROUP BY");
    views.file("z/sales.sql", &text);
    assert_eq!(views.classes().await, ["touched mart.sales"]);
    views.apply().await;
    assert_eq!(views.oid("mart.sales").await, before);
    assert_eq!(views.classes().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_of_indexes_makes_and_drops_indexes_alone() {
    let views = three("va_index").await;
    let before = views.oid("mart.sales").await;
    let text = SALES
        .replace("sales_key on mart.sales (day, region)", "sales_key on mart.sales (region, day)")
        + "create index sales_amount on mart.sales (amount) where amount > 5;\n";
    views.file("z/sales.sql", &text);
    assert_eq!(views.classes().await, ["indexes mart.sales"]);
    views.apply().await;
    assert_eq!(views.oid("mart.sales").await, before);
    let indexes = views.db.rows("select indexdef from pg_indexes where tablename = 'sales' order by 1").await;
    assert_eq!(indexes.len(), 2, "{indexes:?}");
    assert!(
        indexes[1][0].as_ref().unwrap().contains("sales_key ON mart.sales USING btree (region, day)"),
        "{indexes:?}"
    );
    views.file("z/sales.sql", SALES);
    views.apply().await;
    assert_eq!(views.db.scalar("select count(*) from pg_indexes where tablename = 'sales'").await, "1");
    assert_eq!(views.classes().await, Vec::<String>::new());
}

#[tokio::test]
async fn grants_and_comments_are_given_and_taken_away_in_place() {
    let views = three("va_props").await;
    views.db.exec("do $$ begin create role va_reader; create role va_other; exception when others then null; end $$").await;
    let before = views.oid("mart.sales").await;
    views.file("z/sales.sql", &format!("{SALES}grant select on mart.sales to va_reader, va_other;\ncomment on column mart.sales.day is 'local';\n"));
    assert_eq!(views.classes().await, ["properties mart.sales"]);
    views.apply().await;
    views.file("z/sales.sql", &format!("{SALES}grant select on mart.sales to va_reader;\n"));
    let plan = views.run("views plan", 0).await;
    assert!(plan.stdout.contains("revoke select from va_other"), "{}", plan.stdout);
    assert!(plan.stdout.contains("no comment on column day"), "{}", plan.stdout);
    views.apply().await;
    let may = "select has_table_privilege('va_reader', 'mart.sales', 'select')::text || has_table_privilege('va_other', 'mart.sales', 'select')";
    assert_eq!(views.db.scalar(may).await, "truefalse");
    // What the file does not speak of any more, and did, goes too.
    views.file("z/sales.sql", SALES);
    views.apply().await;
    assert_eq!(views.db.scalar(may).await, "falsefalse");
    assert_eq!(views.oid("mart.sales").await, before);
}

#[tokio::test]
async fn a_view_between_is_a_firebreak_it_keeps_its_oid_and_what_stands_on_it() {
    let views = three("va_fire").await;
    views.db.exec("do $$ begin create role va_fire; exception when others then null; end $$; grant select on mart.v_sales, mart.sales to va_fire; comment on view mart.v_sales is 'kept'").await;
    let (view, top, sales) =
        (views.oid("mart.v_sales").await, views.oid("mart.top").await, views.oid("mart.sales").await);
    views.file(
        "z/sales.sql",
        &SALES.replace("sum(amount) as amount", "sum(amount) as amount, count(*) as orders"),
    );
    assert_eq!(views.classes().await, ["replace mart.sales", "repoint mart.v_sales"]);
    let output = views.apply().await;
    assert_eq!(
        (views.oid("mart.v_sales").await, views.oid("mart.top").await),
        (view, top),
        "{}",
        output.stdout
    );
    assert_ne!(views.oid("mart.sales").await, sales);
    assert_eq!(views.db.scalar("select sum(orders) from mart.sales").await, "1000");
    assert_eq!(views.db.scalar("select obj_description('mart.v_sales'::regclass)").await, "kept");
    assert_eq!(views.db.scalar("select obj_description('mart.sales'::regclass)").await, "Sales by day");
    let may = "select has_table_privilege('va_fire', 'mart.v_sales', 'select') and has_table_privilege('va_fire', 'mart.sales', 'select')";
    assert_eq!(views.db.scalar(may).await, "t");
    assert_eq!(views.db.scalar("select count(*) from mart.v_sales").await, "10");
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn a_column_that_goes_under_a_view_rebuilds_what_is_above_it() {
    let views = three("va_column").await;
    let top = views.oid("mart.top").await;
    views.file(
        "z/sales.sql",
        &SALES
            .replace("day, region, sum(amount)", "day, region, 'x' as extra, sum(amount)")
            .replace("sum(amount) as amount", "sum(amount)::text as amount"),
    );
    views.file("b_view.sql", "create view mart.v_sales as select region, amount from mart.sales;\n");
    assert_eq!(views.classes().await, ["replace mart.sales", "replace mart.v_sales", "rebuild mart.top"]);
    views.apply().await;
    assert_ne!(views.oid("mart.top").await, top);
    assert_eq!(views.db.scalar("select pg_typeof(best) from mart.top limit 1").await, "text");
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn an_unknown_dependent_stops_a_replacement_and_nothing_is_changed() {
    let views = three("va_unknown").await;
    views.db.exec("create view public.theirs as select * from mart.sales").await;
    let before = views.oid("mart.sales").await;
    views.file("z/sales.sql", &SALES.replace("sum(amount)", "avg(amount)"));
    views.file("new.sql", "create view mart.fine as select 1 as one;");
    let output = views.run("views apply", 1).await;
    assert!(output.stdout.contains("blocked     mart.sales"), "{}", output.stdout);
    assert!(output.stdout.contains("view public.theirs"), "{}", output.stdout);
    assert!(output.stdout.contains("views adopt"), "{}", output.stdout);
    assert_eq!(views.oid("mart.sales").await, before);
    assert_eq!(views.db.scalar("select one from mart.fine").await, "1");
}

#[tokio::test]
async fn a_reader_that_holds_the_view_is_waited_for_and_the_build_is_kept() {
    let views = three("va_wait").await;
    let reader = views.db.client().await;
    reader.batch_execute("begin; select * from mart.sales").await.unwrap();
    views.file("z/sales.sql", &SALES.replace("sum(amount)", "avg(amount)"));
    let running = views.project.pgtide("views apply --progress plain").spawn();
    running.stderr_contains("readers hold it; try 3 comes").await;
    let others = views.db.client().await;
    assert_eq!(others.query("select * from mart.v_sales", &[]).await.unwrap().len(), 10);
    reader.batch_execute("commit").await.unwrap();
    let output = running.finish().await.expect(0);
    assert_eq!(output.stderr.matches("building beside").count(), 1, "{}", output.stderr);
    views.nothing_left().await;
}

#[tokio::test]
async fn killed_between_build_and_swap_nothing_is_lost_and_the_next_apply_cleans_up() {
    let views = three("va_kill").await;
    let before = views.oid("mart.sales").await;
    let reader = views.db.client().await;
    reader.batch_execute("begin; select * from mart.sales").await.unwrap();
    views.file("z/sales.sql", &SALES.replace("sum(amount)", "avg(amount)"));
    let running = views.project.pgtide("views apply --progress plain").spawn();
    running.stderr_contains("readers hold it").await;
    running.signal(Signal::SIGKILL);
    running.finish().await;
    reader.batch_execute("commit").await.unwrap();
    views.project.no_session_left().await;
    assert_eq!(views.oid("mart.sales").await, before);
    assert_eq!(views.db.scalar("select count(*) from mart.v_sales").await, "10");
    assert_ne!(
        views.db.scalar("select count(*) from pg_namespace where nspname like 'pgtide_apply%'").await,
        "0"
    );
    let output = views.apply().await;
    assert!(output.stderr.contains("left by an apply that was interrupted, removed"), "{}", output.stderr);
    assert_ne!(views.oid("mart.sales").await, before);
    views.nothing_left().await;
}

#[tokio::test]
async fn everything_that_belongs_to_a_view_survives_a_replacement_and_default_privileges_add_nothing() {
    let views = three("va_keep").await;
    let compression = if server_major() >= 14 { "set compression pglz" } else { "set storage external" };
    views.db.exec(&"do $$ begin create role va_owner; create role va_default; exception when others then null; end $$;
        grant usage, create on schema mart to va_owner; grant select on public.orders to va_owner;
        create index by_hand on mart.sales (amount);
        alter materialized view mart.sales set (fillfactor = 70);
        alter materialized view mart.sales alter column amount set statistics 500;
        alter materialized view mart.sales alter column region {compression};
        alter materialized view mart.sales cluster on by_hand;
        create statistics mart.sales_stat (ndistinct) on day, region from mart.sales;
        comment on index mart.by_hand is 'made at night';
        alter materialized view mart.sales owner to va_owner;
        alter default privileges grant select on tables to va_default".replace("{compression}", compression)).await;
    let facts = "select string_agg(x, E'\n' order by x) from (
        select indexdef from pg_indexes where schemaname = 'mart' and tablename = 'sales'
        union all select array_to_string(reloptions, ',') || pg_get_userbyid(relowner) from pg_class where oid = 'mart.sales'::regclass
        union all select attname || attstattarget from pg_attribute where attrelid = 'mart.sales'::regclass and attstattarget > 0
        union all select attname || attstorage::text || coalesce(to_jsonb(a) ->> 'attcompression', '') from pg_attribute a where attrelid = 'mart.sales'::regclass and attnum > 0
        union all select pg_get_statisticsobjdef(oid) from pg_statistic_ext where stxrelid = 'mart.sales'::regclass
        union all select obj_description('mart.by_hand'::regclass) || obj_description('mart.sales'::regclass)
        union all select indexrelid::regclass::text from pg_index where indrelid = 'mart.sales'::regclass and indisclustered
        union all select privilege_type || grantee::regrole::text from pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) where oid = 'mart.sales'::regclass) f (x)";
    // The file speaks of indexes and comments; by_hand is not in it, so it is written down first.
    let text = format!(
        "{SALES}create index by_hand on mart.sales (amount);\ncomment on index mart.by_hand is 'made at night';\n"
    );
    views.file("z/sales.sql", &text);
    views.run("views apply --accept mart.sales", 0).await;
    assert_eq!(views.classes().await, Vec::<String>::new());
    let before = views.db.scalar(facts).await;
    views.file("z/sales.sql", &text.replace("sum(amount) as amount", "sum(amount) + 1 as amount"));
    assert_eq!(views.classes().await, ["replace mart.sales", "repoint mart.v_sales"]);
    views.apply().await;
    assert_eq!(views.db.scalar(facts).await, before);
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn a_wrong_file_is_told_with_its_place_and_the_others_are_applied() {
    let views = three("va_wrong").await;
    views.file("wrong.sql", "create materialized view mart.wrong as\nselect nothing from public.orders;\n");
    views.file("above.sql", "create view mart.above as select * from mart.wrong;\n");
    views.file("fine.sql", "create view mart.fine as select 1 as one;\n");
    let output = views.run("views apply", 1).await;
    assert!(output.stdout.contains("column \"nothing\" does not exist"), "{}", output.stdout);
    assert!(output.stdout.contains("line 2: select nothing"), "{}", output.stdout);
    assert!(output.stdout.contains("reads mart.wrong, which could not be created"), "{}", output.stdout);
    assert_eq!(views.db.scalar("select one from mart.fine").await, "1");
    assert_eq!(
        views.db.scalar("select state from pgtide.view_object where name = 'mart.wrong'").await,
        "failed"
    );
    views.file("wrong.sql", "create materialized view mart.wrong as\nselect id from public.orders;\n");
    views.apply().await;
    assert_eq!(views.db.scalar("select count(*) from mart.above").await, "1000");
    assert_eq!(views.db.scalar("select count(*) from pgtide.view_object where state = 'failed'").await, "0");
}

#[tokio::test]
async fn a_cycle_is_told_with_its_path() {
    let views = Views::new(
        "va_cycle",
        BASE,
        &[
            ("a.sql", "create view mart.a as select * from mart.b"),
            ("b.sql", "create view mart.b as select * from mart.c"),
            ("c.sql", "create view mart.c as select * from mart.a"),
        ],
    )
    .await;
    let output = views.run("views plan", 78).await;
    assert!(
        output.stdout.contains("reads itself: mart.a -> mart.b -> mart.c -> mart.a"),
        "{}",
        output.stdout
    );
}

#[tokio::test]
async fn what_was_changed_outside_is_shown_and_left_until_somebody_decides() {
    let views = three("va_drift").await;
    views
        .db
        .exec(
            "create or replace view mart.v_sales as select day, region, amount * 2 as amount from mart.sales",
        )
        .await;
    assert_eq!(views.classes().await, ["drift mart.v_sales"]);
    let output = views.run("views apply", 1).await;
    assert!(output.stdout.contains("--revert mart.v_sales"), "{}", output.stdout);
    views.run("views apply --revert mart.v_sales", 0).await;
    assert_eq!(
        views
            .db
            .scalar("select (select sum(amount) from mart.v_sales) = (select sum(amount) from mart.sales)")
            .await,
        "t"
    );
    views
        .db
        .exec(
            "create or replace view mart.v_sales as select day, region, amount * 3 as amount from mart.sales",
        )
        .await;
    views.run("views apply --accept mart.v_sales", 0).await;
    assert_eq!(views.classes().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_gone_makes_an_orphan_which_prune_drops_unless_something_stands_on_it() {
    let views = three("va_orphan").await;
    views.remove("z/sales.sql");
    assert_eq!(views.classes().await, ["orphan mart.sales"]);
    let output = views.run("views apply --prune", 1).await;
    assert!(output.stdout.contains("blocked     mart.sales"), "{}", output.stdout);
    views.remove("a_top.sql");
    views.remove("b_view.sql");
    views.run("views apply --prune", 0).await;
    assert_eq!(
        views.db.scalar("select count(*) from pg_class where relnamespace = 'mart'::regnamespace").await,
        "0"
    );
    let kept = views
        .db
        .scalar("select before from pgtide.view_history where action = 'drop' and name = 'mart.sales'")
        .await;
    assert!(
        kept.contains("create materialized view \"mart\".\"sales\"")
            && kept.contains("CREATE UNIQUE INDEX sales_key"),
        "{kept}"
    );
    views.db.exec(&kept).await;
    assert_eq!(views.db.scalar("select count(*) from mart.sales").await, "10");
}

#[tokio::test]
async fn in_one_transaction_all_is_there_or_nothing_is() {
    let views = three("va_intx").await;
    views.file("z/sales.sql", &SALES.replace("sum(amount)", "avg(amount)"));
    views.run("views apply --strategy in-transaction", 0).await;
    assert!(views.db.scalar("select pg_get_viewdef('mart.sales'::regclass)").await.contains("avg("));
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn a_new_view_above_a_changed_one_does_not_rebuild_its_neighbours() {
    let views = three("va_wave").await;
    let top = views.oid("mart.top").await;
    views.file(
        "z/sales.sql",
        &SALES.replace("sum(amount) as amount", "sum(amount) as amount, count(*) as orders"),
    );
    views.file(
        "b_view.sql",
        "create view mart.v_sales as select day, region, amount, orders from mart.sales;\n",
    );
    views.file(
        "orders.sql",
        "create materialized view mart.orders as select sum(orders) as orders from mart.v_sales;\n",
    );
    assert_eq!(views.classes().await, ["replace mart.sales", "view mart.v_sales", "new mart.orders"]);
    views.apply().await;
    assert_eq!(views.oid("mart.top").await, top);
    assert_eq!(views.db.scalar("select orders from mart.orders").await, "1000");
    views.nothing_left().await;
}

#[tokio::test]
async fn a_diamond_through_a_view_changes_places_at_once() {
    let views = three("va_diamond").await;
    views.file("both.sql", "create materialized view mart.both as select s.day, v.amount from mart.sales s join mart.v_sales v using (day, region);\n");
    views.apply().await;
    views.file("z/sales.sql", &SALES.replace("sum(amount) as amount", "sum(amount) * 2 as amount"));
    let output = views.apply().await;
    assert_eq!(views.db.scalar("select sum(amount) from mart.both").await, "1001000", "{}", output.stdout);
    assert_eq!(views.db.scalar("select sum(amount) from mart.v_sales").await, "1001000");
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn names_without_a_schema_are_found_through_the_role_s_own_search_path() {
    let base = format!(
        "{BASE}; do $$ begin execute format('alter database %I set search_path = mart, public', current_database()); end $$"
    );
    let views = Views::new("va_path", &base, &[
        ("top.sql", "create materialized view top as select max(amount) as best from sales;"),
        ("sales.sql", "create materialized view sales as select day, sum(amount) as amount from orders group by day; create index on sales (day); grant select on sales to public;"),
        ("f.sql", "create or replace function mart.twice(n numeric) returns numeric language sql immutable as $$ select n * 2 $$;"),
    ]).await;
    views.apply().await;
    assert_eq!(views.db.scalar("select count(*) from mart.top").await, "1");
    views.file(
        "top.sql",
        "create materialized view top as select mart.twice(max(amount)) as best from sales;",
    );
    views.file("sales.sql", "create materialized view sales as select day, sum(amount) + 1 as amount from orders group by day; create index on sales (day); grant select on sales to public;");
    views.apply().await;
    assert_eq!(
        views
            .db
            .scalar("select (select best from mart.top) = 2 * (select max(amount) from mart.sales)")
            .await,
        "t"
    );
    assert_eq!(views.classes().await, Vec::<String>::new());
    views.nothing_left().await;
}

#[tokio::test]
async fn a_tombstone_drops_and_a_second_apply_at_once_is_refused() {
    let views = three("va_tomb").await;
    views.file("a_top.sql", "drop materialized view if exists mart.top cascade;\n");
    assert_eq!(views.classes().await, ["drop mart.top"]);
    let reader = views.db.client().await;
    reader.batch_execute("begin; select * from mart.sales").await.unwrap();
    views.file("z/sales.sql", &SALES.replace("sum(amount)", "avg(amount)"));
    let running = views.project.pgtide("views apply --progress plain").spawn();
    running.stderr_contains("readers hold it").await;
    let second = views.run("views apply", 75).await;
    assert!(second.stderr.contains("another pgtide applies views"), "{}", second.stderr);
    reader.batch_execute("commit").await.unwrap();
    running.finish().await.expect(0);
    assert_eq!(views.db.rows("select to_regclass('mart.top')").await, [[None]]);
    until("the plan is empty", || async { views.classes().await.is_empty() }).await;
}

#[tokio::test]
async fn readers_go_on_while_a_view_is_replaced_and_an_older_snapshot_finds_rows() {
    let views = three("va_reader").await;
    let old = views.db.client().await;
    old.batch_execute("begin isolation level repeatable read; select count(*) from public.orders")
        .await
        .unwrap();
    let reader = views.db.client().await;
    views.file(
        "z/sales.sql",
        &SALES.replace(
            "sum(amount)",
            "(select count(*) from generate_series(1, 2000000)) > 0 as is_sold, sum(amount)",
        ),
    );
    let mut apply = std::pin::pin!(views.apply());
    let (mut longest, mut reads) = (Duration::ZERO, 0);
    loop {
        let start = Instant::now();
        let read =
            async { reader.query("select day, region, amount from mart.v_sales", &[]).await.unwrap().len() };
        tokio::select! {
            biased;
            rows = read => assert_eq!(rows, 10),
            _ = &mut apply => break,
        }
        (longest, reads) = (longest.max(start.elapsed()), reads + 1);
    }
    println!("{reads} reads while mart.sales was replaced; the longest took {longest:?}");
    let rows = old.query_one("select count(*) from mart.sales", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 10, "rows that a snapshot from before the swap finds");
    views.nothing_left().await;
}

#[tokio::test]
async fn a_wish_about_what_no_file_creates_is_refused() {
    let views = three("va_wish").await;
    let output = views.run("views apply --accept mart.nothing", 2).await;
    assert!(output.stderr.contains("none creates mart.nothing"), "{}", output.stderr);
}
