//! What a view's options do to its refresh: those of `pgtide.toml`, and those of its own file.

use serde_json::Value;

use crate::support::cli::write_file;
use crate::support::{Project, databases};
use crate::views_apply::Views;
use crate::views_graph::project;

/// Lines of JSON by view.
async fn lines(project: &Project, arguments: &str, view: &str) -> Value {
    let output = project.pgtide(arguments).arg("-o").arg("json").run().await.expect(0);
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.into_iter().find(|line| line["view"] == view).unwrap()
}

/// A view that shows the settings under which it was filled.
const SETTINGS: &str = "create table src.t (id int); insert into src.t values (1);
    create materialized view mart.a as
      select id, current_setting('work_mem') as work_mem, current_setting('statement_timeout') as timeout,
             current_setting('lock_timeout') as lock from src.t;
    create unique index on mart.a (id);";

#[tokio::test]
async fn statement_options_are_in_force_in_every_way_and_only_there() {
    let project = project("options_force", SETTINGS).await;
    project.add_to_file("[views.\"mart.*\"]\nwork_mem = \"77MiB\"\nstatement_timeout = \"90s\"\n");
    for way in ["plain", "concurrent", "swap"] {
        project.destination.exec("update src.t set id = id + 1").await;
        project.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
        let shown = project.destination.rows("select work_mem, timeout, lock from mart.a").await;
        let shown: Vec<_> = shown[0].iter().flatten().map(String::as_str).collect();
        assert_eq!(shown, ["77MB", "90s", "2s"], "{way}");
    }
    // A view beside it, in the same run and session, has what the role has.
    project
        .destination
        .exec("create schema raw; create materialized view raw.b as select current_setting('work_mem') || ' ' || current_setting('statement_timeout') as s from src.t")
        .await;
    project.pgtide("views refresh --force --jobs 1").run().await.expect(0);
    assert_eq!(project.destination.scalar("select s from raw.b").await, "4MB 0");
}

#[tokio::test]
async fn a_statement_timeout_ends_a_refresh_in_every_way_and_leaves_the_view_as_it_was() {
    let project = project(
        "options_timeout",
        "create table src.t (id int); insert into src.t values (0);
         create materialized view mart.a as select id, pg_sleep(id) is null as slept from src.t;
         create unique index on mart.a (id);",
    )
    .await;
    project.add_to_file("[views.\"mart.a\"]\nstatement_timeout = \"300ms\"\n");
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("update src.t set id = 60").await;
    for way in ["plain", "concurrent", "swap"] {
        let output = project.pgtide("views refresh --strategy").arg(way).run().await.expect(1);
        assert!(
            output.stderr.contains("statement_timeout of this view ended it"),
            "{way}: {}",
            output.stderr
        );
        assert!(!output.stderr.contains("next try in"), "{way}: {}", output.stderr);
        assert_eq!(project.destination.scalar("select id from mart.a").await, "0", "{way}");
    }
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
    assert_eq!(project.destination.scalar(left).await, "0");
}

#[tokio::test]
async fn after_says_what_becomes_of_statistics_and_of_the_visibility_map() {
    let views: Vec<_> =
        ["none", "analyze", "vacuum_analyze"].map(|name| (name, format!("mart.{name}"))).to_vec();
    let mut sql =
        "create table src.t (id int); insert into src.t select generate_series(1, 5000);".to_owned();
    for (_, view) in &views {
        sql.push_str(&format!(
            "create materialized view {view} with (autovacuum_enabled = false) as select * from src.t with no data;"
        ));
    }
    let project = project("options_after", &sql).await;
    for (name, view) in &views {
        project.add_to_file(&format!("[views.\"{view}\"]\nafter = \"{name}\"\n"));
    }
    for way in ["plain", "swap"] {
        project.pgtide("views refresh --force --strategy").arg(way).run().await.expect(0);
        for (name, view) in &views {
            let sql = format!(
                "select (select count(*) > 0 from pg_stats where schemaname || '.' || tablename = '{view}') || ' ' ||
                        (select relallvisible > 0 from pg_class where oid = '{view}'::regclass)"
            );
            let expected = match *name {
                "none" => "false false",
                "analyze" => "true false",
                _ => "true true",
            };
            assert_eq!(project.destination.scalar(&sql).await, expected, "{way} {name}");
        }
    }
}

#[tokio::test]
async fn min_interval_leaves_a_view_alone_until_it_is_over_unless_it_is_forced() {
    let project = project("options_interval", SETTINGS).await;
    project.add_to_file("[views.\"mart.a\"]\nmin_interval = \"1h\"\n");
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("update src.t set id = 2").await;
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("left alone: min_interval 1h"), "{}", output.stderr);
    project.pgtide("views refresh --force").run().await.expect(0);
    assert_eq!(project.destination.scalar("select id from mart.a").await, "2");
    project.destination.exec("update src.t set id = 3").await;
    project.destination.exec("update pgtide.view set refreshed_at = refreshed_at - interval '2 h'").await;
    project.pgtide("views refresh").run().await.expect(0);
    assert_eq!(project.destination.scalar("select id from mart.a").await, "3");
}

#[tokio::test]
async fn comment_lines_of_a_view_s_own_file_reach_refresh_and_status_before_those_of_patterns() {
    let project = project(
        "options_files",
        &format!(
            "{SETTINGS} create table src.rates (id int);
             create function mart.rate() returns bigint language plpgsql stable as 'begin return (select count(*) from src.rates); end';
             create materialized view mart.priced as select mart.rate() as n;
             create materialized view mart.clock as select current_date as d;
             create materialized view mart.theirs as select 1 as one;"
        ),
    )
    .await;
    project.add_to_file("[views.\"mart.*\"]\nrefresh = \"swap\"\nwork_mem = \"5MiB\"\nmax_age = \"1m\"\n");
    let files = [
        (
            "a.sql",
            "-- refresh: plain\n-- work_mem: 66MiB\n-- statement_timeout: 70s\n-- min_interval: 1h\ncreate materialized view mart.a as select 1;",
        ),
        (
            "b/priced.sql",
            "-- depends_on: src.rates\ncreate materialized view mart.priced as select mart.rate() as n;",
        ),
        ("clock.sql", "-- max_age: 26h\ncreate materialized view mart.clock as select current_date as d;"),
        ("theirs.sql", "-- refresh: never\ncreate materialized view mart.theirs as select 1 as one;"),
    ];
    for (path, text) in files {
        write_file(project.folder(), &format!("views/{path}"), text);
    }
    let plan = lines(&project, "views refresh --dry-run", "mart.a").await;
    assert_eq!(plan["mode"], "plain", "{plan}");
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("view mart.theirs  left alone: refresh: never"), "{}", output.stderr);
    let shown = project.destination.rows("select work_mem, timeout from mart.a").await;
    assert_eq!(shown, [[Some("66MB".to_owned()), Some("70s".to_owned())]]);
    // What the function reads is known, so the view is fresh, then stale.
    assert_eq!(lines(&project, "views status", "mart.priced").await["state"], "fresh");
    project.destination.exec("insert into src.rates values (1)").await;
    assert_eq!(
        lines(&project, "views status", "mart.priced").await["reason"],
        "src.rates: rows were written"
    );
    let clock = lines(&project, "views status", "mart.clock").await;
    assert_eq!(
        (&clock["state"], &clock["reason"]),
        (&"fresh".into(), &"its query tells the time; max_age 1d2h".into())
    );
    project.destination.exec("update src.t set id = 2").await;
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("view mart.a  left alone: min_interval 1h"), "{}", output.stderr);
    assert!(output.stderr.contains("view mart.priced  refreshed"), "{}", output.stderr);
}

#[tokio::test]
async fn a_file_that_names_its_view_without_a_schema_is_meant_by_the_role_s_search_path() {
    let base = "create schema mart; create schema raw; create table public.t (id int); insert into public.t values (1);
        do $$ begin execute format('alter database %I set search_path = mart, public', current_database()); end $$";
    let settings =
        "create materialized view settings as select current_setting('work_mem') as work_mem from public.t;";
    let views =
        Views::new("options_path", base, &[("s.sql", &format!("-- work_mem: 66MiB\n{settings}"))]).await;
    views.db.exec(&format!("set search_path = raw; {settings}")).await;
    views.apply().await;
    views.run("views refresh --force", 0).await;
    assert_eq!(views.db.scalar("select work_mem from mart.settings").await, "66MB");
    assert_eq!(views.db.scalar("select work_mem from raw.settings").await, "4MB");
}

/// Nothing here needs a superuser: the owner of the views looks, refreshes in every way and applies.
#[tokio::test]
async fn a_role_without_special_rights_does_it_all() {
    let pair = databases("options_plain_role").await;
    let (db, role) = (&pair.destination, format!("plain_{}", pair.destination.name()));
    db.exec(&format!(
        "create role {role} login; grant create on database {} to {role};
         create schema mart authorization {role}; set role {role};
         create table mart.t (id int, v int); insert into mart.t values (1, 1), (null, 2);
         create materialized view mart.a as select id, v from mart.t; create unique index on mart.a (id);
         create view mart.above as select id, v from mart.a; analyze mart.a;",
        db.name()
    ))
    .await;
    let url = db.url().replacen("postgres://postgres:", &format!("postgres://{role}:"), 1);
    let project = Project::through(&pair, &pair.source.url(), &url);
    for way in ["plain", "concurrent", "swap", "auto"] {
        db.exec("update mart.t set v = v + 1").await;
        let output = project.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
        assert!(output.stderr.contains("1 refreshed"), "{way}: {}", output.stderr);
        assert_eq!(output.stderr.contains("has NULLs"), way == "concurrent", "{way}: {}", output.stderr);
    }
    write_file(
        project.folder(),
        "views/b.sql",
        "create materialized view mart.b as select sum(v) as v from mart.above;",
    );
    for verb in [
        "views status --exit-code",
        "views graph",
        "views check",
        "views plan",
        "views apply",
        "views status --tree",
    ] {
        project.pgtide(verb).run().await.expect(0);
    }
    assert_eq!(db.scalar("select v from mart.b").await, "11");
    write_file(
        project.folder(),
        "views/b.sql",
        "create materialized view mart.b as select max(v) as v from mart.above;",
    );
    project.pgtide("views apply").run().await.expect(0);
    assert_eq!(
        db.scalar(
            "select v || pg_get_userbyid(relowner) from mart.b, pg_class where oid = 'mart.b'::regclass"
        )
        .await,
        format!("6{role}")
    );
    project.pgtide("views drop mart.b").run().await.expect(0);
    let fresh = project.pgtide("views refresh").run().await.expect(0);
    assert!(fresh.stderr.contains("nothing to do"), "{}", fresh.stderr);
}
