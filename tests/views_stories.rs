//! Five ways in which views are kept today, each from its own artefacts to the same views kept by files.

use crate::support::server_major;
use crate::views_apply::Views;

const SHOP: &str = "
create table public.orders (id bigint primary key, day date not null, region text not null, amount numeric not null);
insert into public.orders select n, date '2026-01-01' + (n % 10)::int, case when n % 2 = 0 then 'eu' else 'us' end, n
from generate_series(1, 1000) n;
";

#[tokio::test]
async fn the_daily_refresh_of_an_airflow_task_becomes_one_command() {
    // What the task runs today.
    let task = "refresh materialized view sales";
    let base = format!(
        "{SHOP} create materialized view sales as select day, sum(amount) as amount from orders group by day;
        create unique index on sales (day); grant select on sales to public; {task}"
    );
    let views = Views::new("st_airflow", &base, &[]).await;
    let before = views.oid("public.sales").await;
    views.run("views adopt", 0).await;
    assert_eq!(views.classes().await, Vec::<String>::new());
    assert_eq!(views.oid("public.sales").await, before);
    views.db.exec("insert into public.orders values (1001, '2026-01-01', 'eu', 1)").await;
    views.run("views refresh", 0).await;
    assert_eq!(views.db.scalar("select sum(amount) from sales").await, "500501");
    let again = views.run("views refresh --skip-exit-code 99", 99).await;
    assert_eq!(again.code, 99);
}

/// The strings of `op.execute(...)` in a function of an Alembic version file.
fn alembic(file: &str, function: &str) -> Vec<String> {
    let body = file.split(&format!("def {function}():")).nth(1).unwrap().split("\ndef ").next().unwrap();
    let parts = body.split("op.execute(\"\"\"").skip(1);
    parts.map(|part| part.split("\"\"\"").next().unwrap().to_owned()).collect()
}

const ALEMBIC: &str = r#"
revision = "a1b2c3"
down_revision = None

def upgrade():
    op.execute("""DROP MATERIALIZED VIEW IF EXISTS sales CASCADE""")
    op.execute("""
        CREATE MATERIALIZED VIEW sales AS
        SELECT day, region, sum(amount) AS amount FROM orders GROUP BY day, region
    """)
    op.execute("""CREATE UNIQUE INDEX sales_key ON sales (day, region)""")

def downgrade():
    op.execute("""DROP MATERIALIZED VIEW IF EXISTS sales CASCADE""")
    op.execute("""
        CREATE MATERIALIZED VIEW sales AS
        SELECT day, sum(amount) AS amount FROM orders GROUP BY day
    """)
"#;

#[tokio::test]
async fn an_alembic_migration_that_drops_with_cascade_becomes_a_file_that_takes_nothing_with_it() {
    let base = format!("{SHOP} create table alembic_version (version_num varchar(32) primary key); insert into alembic_version values ('a1b2c3');
        {}; create view by_region as select region, sum(amount) as amount from sales group by region; grant select on by_region to public",
        alembic(ALEMBIC, "upgrade").join(";"));
    let views = Views::new("st_alembic", &base, &[]).await;
    let output = views.run("views adopt", 0).await;
    assert!(output.stderr.contains("Alembic is at a1b2c3"), "{}", output.stderr);
    let (sales, above) = (views.oid("public.sales").await, views.oid("public.by_region").await);
    // The statements of upgrade, joined, are a file as they stand.
    views.file("public/sales.sql", &format!("{};", alembic(ALEMBIC, "upgrade").join(";\n")));
    assert_eq!(views.classes().await, ["touched public.sales"]);
    views.apply().await;
    assert_eq!(views.oid("public.sales").await, sales);
    // A change, which the migration would have paid for with by_region.
    let changed = alembic(ALEMBIC, "upgrade")
        .join(";\n")
        .replace("sum(amount) AS amount", "sum(amount) AS amount, count(*) AS orders");
    views.file("public/sales.sql", &format!("{changed};"));
    views.apply().await;
    assert_eq!(views.oid("public.by_region").await, above);
    assert_eq!(views.db.scalar("select sum(orders) from sales").await, "1000");
    // The downgrade loses a column that by_region shows: refused where CASCADE took it.
    views.file("public/sales.sql", &format!("{};", alembic(ALEMBIC, "downgrade").join(";\n")));
    let output = views.run("views apply", 1).await;
    // From Postgres 16 on the column's name is quoted.
    let told = output.stdout.replace('"', "");
    assert!(
        told.contains("public.by_region") && told.contains("region does not exist (42703)"),
        "{}",
        output.stdout
    );
    assert_eq!(views.db.scalar("select count(*) from by_region").await, "2");
    assert_eq!(views.db.scalar("select sum(orders) from sales").await, "1000");
}

#[tokio::test]
async fn a_scenic_database_with_a_cascade_is_adopted_with_its_own_sql_and_refreshed_in_order() {
    let v1 = "SELECT day, SUM(amount) AS amount\n  FROM orders -- every order\n GROUP BY day";
    let v2 = "SELECT day, region, SUM(amount) AS amount\n  FROM orders -- every order\n GROUP BY day, region";
    let tops = "SELECT region, MAX(amount) AS best FROM v_sales GROUP BY region";
    let base = format!("{SHOP} create table schema_migrations (version varchar primary key); insert into schema_migrations values ('20260101000000'), ('20260102000000');
        create materialized view sales as {v2}; create unique index index_sales_on_day_and_region on sales (day, region);
        create view v_sales as select * from sales; create materialized view tops as {tops}; create unique index index_tops_on_region on tops (region);
        grant select on tops to public");
    let views = Views::new("st_scenic", &base, &[]).await;
    for (name, text) in [("sales_v01", v1), ("sales_v02", v2), ("tops_v01", tops)] {
        crate::support::cli::write_file(views.project.folder(), &format!("db/views/{name}.sql"), text);
    }
    let output = views.run("views adopt --scenic db/views", 0).await;
    assert!(output.stderr.contains("Rails has migrated to 20260102000000"), "{}", output.stderr);
    let text = std::fs::read_to_string(views.project.folder().join("views/public/sales.sql")).unwrap();
    assert!(text.contains("-- every order") && text.contains("index_sales_on_day_and_region"), "{text}");
    assert_eq!(views.classes().await, Vec::<String>::new());
    // Scenic's cascade does not see the ordinary view between.
    views.db.exec("insert into orders values (1001, '2026-01-01', 'eu', 100000)").await;
    views.run("views refresh tops --upstream", 0).await;
    assert_eq!(views.db.scalar("select best > 100000 from tops where region = 'eu'").await, "t");
    // A new version is an edit: indexes, grants and what stands above stay.
    views.file(
        "public/sales.sql",
        &text.replace("SUM(amount) AS amount", "SUM(amount) AS amount, COUNT(*) AS orders"),
    );
    views.apply().await;
    assert_eq!(
        views.db.scalar("select count(*) from pg_indexes where tablename in ('sales', 'tops')").await,
        "2"
    );
    assert_eq!(views.db.scalar("select sum(orders) from sales").await, "1001");
}

/// A folder as Flyway runs it: two domains, three layers, drops at the top of each file.
fn flyway() -> Vec<(&'static str, String)> {
    let matview = |name: &str, query: &str| {
        format!(
            "DROP MATERIALIZED VIEW IF EXISTS {name} CASCADE;\nCREATE MATERIALIZED VIEW {name} AS\n{query};\nGRANT SELECT ON {name} TO PUBLIC;\n"
        )
    };
    vec![
        (
            "sales/R__10_stage_orders.sql",
            matview(
                "stage.orders",
                "SELECT id, day, region, amount FROM public.orders WHERE amount > ${smallest}",
            ),
        ),
        (
            "sales/R__20_core_sales.sql",
            matview(
                "core.sales",
                "SELECT day, region, sum(amount) AS amount FROM stage.orders GROUP BY day, region",
            ),
        ),
        (
            "sales/R__30_mart_sales.sql",
            matview("mart.sales", "SELECT region, sum(amount) AS amount FROM core.sales GROUP BY region"),
        ),
        (
            "people/R__10_stage_regions.sql",
            matview("stage.regions", "SELECT DISTINCT region FROM public.orders"),
        ),
        (
            "people/R__20_core_regions.sql",
            matview("core.regions", "SELECT region, upper(region) AS name FROM stage.regions"),
        ),
        (
            "people/R__30_mart_names.sql",
            matview(
                "mart.names",
                "SELECT r.name, s.amount FROM core.regions r JOIN mart.sales s USING (region)",
            ),
        ),
    ]
}

#[tokio::test]
async fn a_folder_of_flyway_s_repeatable_files_is_taken_over_as_it_stands() {
    let files = flyway();
    let mut base = format!("{SHOP} create schema stage; create schema core; create schema mart;
        create table flyway_schema_history (installed_rank int primary key, version varchar(50), description varchar(200), type varchar(20),
            script varchar(1000), checksum int, installed_by varchar(100), installed_on timestamp default now(), execution_time int, success boolean);");
    let order = [0, 1, 2, 3, 4, 5];
    for (rank, at) in order.into_iter().enumerate() {
        let (path, text) = &files[at];
        let checksum = pgtide::views::adopt::flyway_checksum(text);
        base.push_str(&text.replace("${smallest}", "0"));
        base.push_str(&format!("insert into flyway_schema_history values ({rank}, null, 'x', 'SQL', '{path}', {checksum}, 'flyway', now(), 1, true);"));
    }
    base.push_str("insert into flyway_schema_history values (90, null, 'gone', 'SQL', 'sales/R__40_gone.sql', 1, 'flyway', now(), 1, true)");
    let views = Views::new("st_flyway", &base, &[]).await;
    files.iter().for_each(|(path, text)| views.file(path, text));
    views.file("V1__tables.sql", "create table x ();");
    let toml = std::fs::read_to_string(views.project.folder().join("pgtide.toml")).unwrap();
    crate::support::cli::write_file(
        views.project.folder(),
        "pgtide.toml",
        &format!("{toml}[views.placeholders]\nsmallest = \"0\"\n"),
    );
    let oids = "select string_agg(oid::text, ' ' order by oid) from pg_class where relkind = 'm'";
    let before = views.db.scalar(oids).await;
    let output = views.run("views adopt", 0).await;
    assert!(output.stdout.contains("6 objects adopted, none rebuilt"), "{}", output.stdout);
    assert!(
        output.stderr.contains("sales/R__40_gone.sql: Flyway ran it, and it is not in the folder"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("edited since Flyway"), "{}", output.stderr);
    assert_eq!(views.db.scalar(oids).await, before);
    assert_eq!(views.classes().await, Vec::<String>::new());

    // Renamed: nothing but the record. Edited: rebuilt with what reads it, which CASCADE would have lost.
    let (core, names) = (files[1].1.clone(), files[5].1.clone());
    views.remove("sales/R__20_core_sales.sql");
    views.file("sales/core_sales.sql", &core);
    views.remove("people/R__30_mart_names.sql");
    views.file(
        "people/R__30_mart_names.sql",
        &names.replace("r.name, s.amount", "r.name, s.amount, 1 AS one"),
    );
    assert_eq!(views.classes().await, ["touched core.sales", "replace mart.names"]);
    views.apply().await;
    assert_eq!(views.db.scalar("select count(*) from mart.names where one = 1").await, "2");

    // The bottom of one domain: its layers in their order, the other domain's reader with them, no more.
    let regions = views.oid("core.regions").await;
    views.file("sales/R__10_stage_orders.sql", &files[0].1.replace("> ${smallest}", "> ${smallest} + 500"));
    assert_eq!(
        views.classes().await,
        ["replace stage.orders", "rebuild core.sales", "rebuild mart.sales", "rebuild mart.names"]
    );
    views.apply().await;
    assert_eq!(views.db.scalar("select sum(amount) from mart.names").await, "375250");
    assert_eq!(views.oid("core.regions").await, regions);

    // Dropped by a file that is a drop alone; deleted with its file.
    views.file("people/R__30_mart_names.sql", "DROP MATERIALIZED VIEW IF EXISTS mart.names CASCADE;\n");
    views.remove("people/R__20_core_regions.sql");
    assert_eq!(views.classes().await, ["drop mart.names", "orphan core.regions"]);
    views.run("views apply --prune", 0).await;
    assert_eq!(views.db.scalar("select count(*) from pg_class where relkind = 'm'").await, "4");
    views.nothing_left().await;
}

#[tokio::test]
async fn a_dbt_materialized_view_keeps_its_hashed_indexes_and_takes_a_changed_query() {
    // What dbt-postgres compiles: the model's SQL, indexes named by a hash, grants by config.
    let model = "select day, sum(amount) as amount from public.orders group by day";
    let base = format!("{SHOP} create schema mart;
        create materialized view if not exists \"mart\".\"daily\" as {model};
        create unique index if not exists \"0d1f0aa16d3c4ba5b0ef8ec3d0b8b5a1\" on \"mart\".\"daily\" using btree (day);
        grant select on \"mart\".\"daily\" to public;
        create view mart.weekly as select date_trunc('week', day) as week, sum(amount) as amount from mart.daily group by 1");
    let views = Views::new("st_dbt", &base, &[]).await;
    views.run("views adopt", 0).await;
    let weekly = views.oid("mart.weekly").await;
    // dbt does not see that the SQL has changed; and where it replaces, weekly is gone.
    views.file("mart/daily.sql", "create materialized view mart.daily as\nselect day, sum(amount) as amount, count(*) as orders from public.orders group by day;\n\
         create unique index \"0d1f0aa16d3c4ba5b0ef8ec3d0b8b5a1\" on mart.daily using btree (day);\ngrant select on mart.daily to public;\n");
    assert_eq!(views.classes().await, ["replace mart.daily", "repoint mart.weekly"]);
    views.apply().await;
    assert_eq!(views.oid("mart.weekly").await, weekly);
    assert_eq!(
        views.db.scalar("select indexname from pg_indexes where tablename = 'daily'").await,
        "0d1f0aa16d3c4ba5b0ef8ec3d0b8b5a1"
    );
    let may = "select has_table_privilege('pg_monitor', 'mart.daily', 'select') and has_table_privilege('pg_monitor', 'mart.weekly', 'select')";
    assert_eq!(views.db.scalar(may).await, "f");
    views.nothing_left().await;
}

#[tokio::test]
async fn drop_is_refused_while_something_stands_on_it_and_keeps_what_it_was() {
    let base = format!("{SHOP} create schema mart");
    let views = Views::new("st_drop", &base, &[
        ("a.sql", "create materialized view mart.a as select day from public.orders; create index a_day on mart.a (day);"),
        ("b.sql", "create view mart.b as select * from mart.a;"),
        ("c.sql", "create materialized view mart.c as select * from mart.b;"),
    ]).await;
    views.apply().await;
    let output = views.run("views drop mart.a", 78).await;
    assert!(output.stderr.contains("view mart.b (from a file)"), "{}", output.stderr);
    views.db.exec("create view public.theirs as select * from mart.c").await;
    let output = views.run("views drop mart.a --with-dependents", 78).await;
    assert!(output.stderr.contains("view public.theirs (in no file)"), "{}", output.stderr);
    views.db.exec("drop view public.theirs").await;
    let output = views.run("views drop mart.a --with-dependents", 0).await;
    assert!(output.stderr.contains("still creates mart.a"), "{}", output.stderr);
    assert_eq!(
        views.db.scalar("select count(*) from pg_class where relnamespace = 'mart'::regnamespace").await,
        "0"
    );
    views.apply().await;
    views.run("views drop --forget mart.c", 0).await;
    views.remove("c.sql");
    assert_eq!(views.classes().await, Vec::<String>::new());
    assert_eq!(views.db.scalar("select count(*) from mart.c").await, "1000");
}

#[tokio::test]
async fn check_tells_everything_at_once_and_offline_what_needs_no_server() {
    let base = format!(
        "{SHOP} create schema mart; create function mart.path_dependent() returns bigint language sql as 'select count(*) from orders'"
    );
    let views = Views::new("st_check", &base, &[
        ("a.sql", "-- refersh: swap\ncreate view mart.a as select 1;"),
        ("b.sql", "create view mart.b as select nothing from public.orders;"),
        ("c.sql", "-- refresh: concurrent\ncreate materialized view mart.c as select o.* from public.orders o; create index on mart.c (id);"),
        ("d.sql", "create table mart.d ()"),
    ]).await;
    let offline = views.run("views check --offline", 78).await;
    for part in ["did you mean `refresh`?", "needs a unique index", "`*` is frozen", "d.sql:1", "3 findings"]
    {
        assert!(offline.stdout.contains(part), "{part}: {}", offline.stdout);
    }
    let online = views.run("views check", 78).await;
    assert!(online.stdout.contains("column \"nothing\" does not exist"), "{}", online.stdout);
    for path in ["a.sql", "b.sql", "d.sql"] {
        views.remove(path);
    }
    views.file("c.sql", "create materialized view mart.c as select mart.path_dependent() as n;");
    if server_major() >= 17 {
        let output = views.run("views apply", 1).await;
        for part in
            ["\"orders\" does not exist (42P01)", "hint: SQL function \"path_dependent\" names it without"]
        {
            assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
        }
        views.db.exec("alter function mart.path_dependent() set search_path = public").await;
        views.apply().await;
        views.run("views check", 0).await;
        return;
    }
    views.apply().await;
    let online = views.run("views check", 0).await;
    assert!(online.stdout.contains("from PostgreSQL 17 on"), "{}", online.stdout);
}
