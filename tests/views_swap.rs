//! Swaps where something stands on the view: what is moved along, what makes a swap impossible, and what
//! comes in between.

use crate::support::{Pair, Project, server_major};
use crate::views_apply::Views;
use crate::views_graph::project;
use crate::views_retries::until_stale;

const BASE: &str = "
create table src.t (id int, v int); insert into src.t values (1, 1), (2, 2);
create materialized view mart.a as select id, v from src.t; create index a_v on mart.a (v);
grant usage on schema mart, src to public;";

/// All about `mart.a` and what stands on it; a swap gives another OID.
const STATE: &str = "select 'mart.a'::regclass::oid || ' ' || (select sum(v) from mart.a) || ' ' ||
    (select string_agg(distinct pg_describe_object(classid, objid, 0), ',' order by pg_describe_object(classid, objid, 0))
     from pg_depend where refobjid in ('mart.a'::regclass, (select reltype from pg_class where oid = 'mart.a'::regclass)))";

async fn assert_nothing_left(project: &Project) {
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
    assert_eq!(project.destination.scalar(left).await, "0");
}

#[tokio::test]
async fn whatever_reads_the_view_and_cannot_be_moved_refuses_a_swap_by_its_name() {
    let kinds = [
        ("create materialized view mart.b as select * from mart.a", "materialized view mart.b"),
        (
            "create function mart.f() returns setof mart.a language sql as 'select * from mart.a'",
            "function mart.f()",
        ),
        (
            "create function mart.g(mart.a[]) returns int language sql as 'select 1'",
            "function mart.g(mart.a[])",
        ),
        ("create table mart.rows (one mart.a)", "table mart.rows"),
        (
            "create policy mine on src.t using (exists (select from mart.a where a.id = t.id))",
            "policy mine on table src.t",
        ),
        (
            "create table mart.o (id int); create rule r as on insert to mart.o do also select * from mart.a",
            "rule r on table mart.o",
        ),
        (
            "create view mart.w as select 1 as id; create rule r as on insert to mart.w do instead update src.t set v = (select max(v) from mart.a)",
            "rule r on view mart.w",
        ),
        ("create type mart.pair as (one mart.a, other int)", "composite type mart.pair"),
    ];
    for (sql, name) in kinds {
        let project = project("swap_kinds", BASE).await;
        project.pgtide("views refresh").run().await.expect(0);
        project.destination.exec(sql).await;
        project.destination.exec("update src.t set v = v + 1").await;
        let before = project.destination.scalar(STATE).await;
        let output = project.pgtide("views refresh mart.a --force --strategy swap").run().await.expect(78);
        assert!(output.stderr.contains(&format!("{name} reads it")), "{name}: {}", output.stderr);
        assert_eq!(project.destination.scalar(STATE).await, before, "{name}");
        assert_nothing_left(&project).await;
        // By itself it takes another way, and what stands on the view stays.
        project.pgtide("views refresh --force").run().await.expect(0);
        let after = project.destination.scalar(STATE).await;
        let rest = |state: &str| state.splitn(3, ' ').nth(2).unwrap().to_owned();
        assert_eq!(rest(&after), rest(&before), "{name}");
        assert_eq!(project.destination.scalar("select sum(v) from mart.a").await, "5");
    }
}

#[tokio::test]
async fn a_function_of_sql_with_a_known_body_refuses_a_swap_too() {
    let project = project("swap_body", BASE).await;
    let version: i32 = project.destination.scalar("show server_version_num").await.parse().unwrap();
    if version < 140_000 {
        return;
    }
    let sql = "create function mart.f() returns bigint stable begin atomic select count(*) from mart.a; end";
    project.destination.exec(sql).await;
    let output = project.pgtide("views refresh mart.a --strategy swap").run().await.expect(78);
    assert!(output.stderr.contains("function mart.f() reads it"), "{}", output.stderr);
}

#[tokio::test]
async fn rules_triggers_and_defaults_of_a_view_above_stay_when_it_is_pointed_at_the_new_one() {
    let project = project(
        "swap_above",
        &format!(
            "{BASE} create table src.log (id int);
             create view mart.above as select id, v from mart.a;
             alter view mart.above alter column v set default 7;
             create rule ins as on insert to mart.above do instead insert into src.log values (new.v);
             create function src.note() returns trigger language plpgsql as
               'begin insert into src.log values (old.id); return old; end';
             create trigger del instead of delete on mart.above for each row execute function src.note();
             create view mart.higher as select sum(v) as v from mart.above;
             create function mart.g() returns setof mart.above language sql as 'select * from mart.above';"
        ),
    )
    .await;
    let about = "select pg_get_viewdef('mart.above'::regclass) || pg_get_viewdef('mart.higher'::regclass) ||
        (select string_agg(pg_get_ruledef(oid), '' order by rulename) from pg_rewrite where ev_class = 'mart.above'::regclass) ||
        (select string_agg(pg_get_triggerdef(oid), '') from pg_trigger where tgrelid = 'mart.above'::regclass) ||
        (select string_agg(pg_get_expr(adbin, adrelid), '') from pg_attrdef where adrelid = 'mart.above'::regclass)";
    let (before, oid) = (
        project.destination.scalar(about).await,
        project.destination.scalar("select 'mart.above'::regclass::oid").await,
    );
    project.destination.exec("insert into src.t values (3, 3)").await;
    project.pgtide("views refresh --strategy swap").run().await.expect(0);
    assert_eq!(project.destination.scalar(about).await, before);
    assert_eq!(project.destination.scalar("select 'mart.above'::regclass::oid").await, oid);
    assert_eq!(project.destination.scalar("select v from mart.higher").await, "6");
    project
        .destination
        .exec("insert into mart.above (id) values (1); delete from mart.above where id = 3")
        .await;
    assert_eq!(
        project.destination.scalar("select string_agg(id::text, ' ' order by id) from src.log").await,
        "3 7"
    );
    assert_nothing_left(&project).await;
}

/// A swap that has built and waits for a reader; the caller does something meanwhile.
async fn meanwhile(hint: &str, sql: &str, code: i32) -> (Project, String) {
    let project = project(hint, BASE).await;
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("update src.t set v = v + 1").await;
    until_stale(&project).await;
    let reader = project.destination.client().await;
    reader.batch_execute("begin; select * from mart.a").await.unwrap();
    let running = project.pgtide("views refresh --strategy swap").spawn();
    project.destination.until_awaited("mart.a").await;
    // In the reader's own transaction: nobody else gets past the exchange that waits.
    reader.batch_execute(&format!("{sql}; commit")).await.unwrap();
    let output = running.finish().await.expect(code);
    assert_nothing_left(&project).await;
    (project, output.stderr)
}

#[tokio::test]
async fn what_comes_to_stand_on_the_view_while_the_new_one_is_built_stops_the_exchange() {
    let sql = "create materialized view mart.late as select * from mart.a";
    let (project, told) = meanwhile("swap_late", sql, 78).await;
    assert!(told.contains("something depends on mart.a that cannot be moved"), "{told}");
    assert!(told.contains("materialized view mart.late"), "{told}");
    assert_eq!(project.destination.scalar("select count(*) from mart.late").await, "2");
    assert_eq!(project.destination.scalar("select sum(v) from mart.a").await, "3", "as it was");
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains("2 refreshed"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select sum(v) from mart.late").await, "5");
}

#[tokio::test]
async fn an_index_a_grant_or_a_view_that_comes_in_between_is_not_lost() {
    let (project, _) = meanwhile("swap_index", "create index late on mart.a (id)", 0).await;
    let indexes = "select string_agg(indexname, ' ' order by 1) from pg_indexes where tablename = 'a'";
    assert_eq!(project.destination.scalar(indexes).await, "a_v late");
    let (project, _) = meanwhile("swap_grant", "grant select on mart.a to public", 0).await;
    let granted = "select count(*) from pg_class, aclexplode(relacl) x where oid = 'mart.a'::regclass and x.grantee = 0";
    assert_eq!(project.destination.scalar(granted).await, "1");
    let (project, _) = meanwhile("swap_comment", "comment on materialized view mart.a is 'late'", 0).await;
    let comment = "select coalesce(obj_description('mart.a'::regclass), 'lost')";
    assert_eq!(project.destination.scalar(comment).await, "late");
    let (project, _) =
        meanwhile("swap_view", "create view mart.late as select sum(v) as v from mart.a", 0).await;
    assert_eq!(project.destination.scalar("select v from mart.late").await, "5");
    let (project, _) =
        meanwhile("swap_statistics", "create statistics mart.late on id, v from mart.a", 0).await;
    let statistics = "select count(*) from pg_statistic_ext where stxrelid = 'mart.a'::regclass";
    assert_eq!(project.destination.scalar(statistics).await, "1");
    let (project, _) =
        meanwhile("swap_options", "alter materialized view mart.a set (fillfactor = 70)", 0).await;
    let options = "select coalesce(array_to_string(reloptions, ' '), 'lost') from pg_class where oid = 'mart.a'::regclass";
    assert_eq!(project.destination.scalar(options).await, "fillfactor=70");
}

#[tokio::test]
async fn an_older_snapshot_finds_rows_after_a_swap() {
    let project = project("swap_snapshot", BASE).await;
    let old = project.destination.client().await;
    old.batch_execute("begin isolation level repeatable read; select count(*) from src.t").await.unwrap();
    project.pgtide("views refresh --strategy swap").run().await.expect(0);
    let rows = old.query_one("select count(*) from mart.a", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn what_apply_has_just_built_is_fresh_for_a_refresh() {
    for how in ["views apply", "views apply --strategy in-transaction"] {
        let views = Views::new(
            "swap_applied",
            "create schema mart; create table public.t (id int); insert into public.t values (1), (2)",
            &[
                ("top.sql", "create materialized view mart.top as select count(*) as n from mart.v;"),
                ("v.sql", "create view mart.v as select id from mart.base;"),
                ("base.sql", "create materialized view mart.base as select id from public.t;"),
            ],
        )
        .await;
        views.run(how, 0).await;
        let output = views.run("views refresh", 0).await;
        assert!(output.stderr.contains("nothing to do  views: 2 fresh"), "{how}: {}", output.stderr);
        // The same after a replacement, which its neighbour above the view need not notice.
        views.file("base.sql", "create materialized view mart.base as select id from public.t where id > 1;");
        views.run(how, 0).await;
        let status = views.run("views status", 0).await;
        assert!(
            status.stdout.contains("mart.base") && !status.stdout.contains("unknown"),
            "{}",
            status.stdout
        );
        let output = views.run("views refresh", 0).await;
        assert!(!output.stderr.contains("view mart.base"), "{how}: {}", output.stderr);
        assert_eq!(views.db.scalar("select n from mart.top").await, "1", "{how}");
        let output = views.run("views refresh", 0).await;
        assert!(output.stderr.contains("nothing to do  views: 2 fresh"), "{how}: {}", output.stderr);
    }
}

/// The same database as another role.
fn project_as(views: &Project, role: &str) -> Project {
    let (source, destination) = (views.source.clone(), views.destination.clone());
    let url = destination.url().replacen("postgres://postgres:", &format!("postgres://{role}:"), 1);
    Project::through(&Pair { source: source.clone(), destination }, &source.url(), &url)
}

#[tokio::test]
async fn without_the_rights_that_a_swap_needs_a_refresh_takes_another_way_and_says_why() {
    let project = project("swap_rights", BASE).await;
    let (db, role) = (&project.destination, format!("weak_{}", project.destination.name()));
    db.exec(&format!(
        "create role {role} login; create schema pgtide authorization {role};
         grant all on schema mart to {role}; grant all on src.t to {role};
         alter materialized view mart.a owner to {role};
         create view mart.theirs as select * from mart.a;"
    ))
    .await;
    let weak = project_as(&project, &role);
    let reasons = [
        ("", "view mart.theirs, which reads it, belongs to postgres"),
        ("drop view mart.theirs", "building beside needs CREATE on database"),
        (
            "do $$ begin execute format('grant create on database %I to public', current_database()); end $$;
             do $$ begin execute 'revoke create on schema mart from ' || (select pg_get_userbyid(relowner) from pg_class where oid = 'mart.a'::regclass); end $$",
            "building beside needs CREATE on schema mart",
        ),
    ];
    for (change, reason) in reasons {
        db.exec(change).await;
        let swap = weak.pgtide("views refresh --force --strategy swap").run().await.expect(78);
        assert!(swap.stderr.contains(reason), "{reason}: {}", swap.stderr);
        let output = weak.pgtide("views refresh --force").run().await.expect(0);
        assert!(output.stderr.contains("1 refreshed"), "{reason}: {}", output.stderr);
        let plan = weak.pgtide("views refresh --force --dry-run").run().await.expect(0);
        assert!(plan.stdout.contains("plain"), "{reason}: {}", plan.stdout);
    }
    // A moment's refresh is plain anyway; for longer ones the warning says what would help.
    db.exec("update pgtide.view_refresh set finished_at = started_at + interval '9 s'").await;
    let output = weak.pgtide("views refresh --force").run().await.expect(0);
    assert!(output.stderr.contains("readers wait for about 9s"), "{}", output.stderr);
    db.exec(&format!("grant create on schema mart to {role}")).await;
    let output = weak.pgtide("views refresh --force").run().await.expect(0);
    assert!(output.stderr.contains("swap"), "{}", output.stderr);
    assert_nothing_left(&project).await;
}

#[tokio::test]
async fn a_member_of_the_owner_s_role_refreshes_in_every_way_and_the_owner_stays() {
    let project = project("swap_member", BASE).await;
    let (db, team) = (&project.destination, format!("team_{}", project.destination.name()));
    db.exec(&format!(
        "create role {team}; create role {team}_etl login in role {team};
         grant create on database {} to {team}_etl; grant all on schema mart to {team}, {team}_etl; grant all on src.t to {team};
         alter materialized view mart.a owner to {team};
         create view mart.above as select v from mart.a; alter view mart.above owner to {team};
         create unique index a_key on mart.a (id); grant select on mart.a to public;",
        db.name()
    ))
    .await;
    let member = project_as(&project, &format!("{team}_etl"));
    for way in ["plain", "concurrent", "swap"] {
        db.exec("update src.t set v = v + 1").await;
        member.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
        let kept = db.scalar("select string_agg(pg_get_userbyid(relowner), ' ') from pg_class where oid in ('mart.a'::regclass, 'mart.above'::regclass)").await;
        assert_eq!(kept, format!("{team} {team}"), "{way}");
    }
    assert_eq!(db.scalar("select sum(v) from mart.above").await, "9");
    assert_nothing_left(&project).await;
}

#[tokio::test]
async fn a_role_that_may_maintain_a_view_refreshes_it_in_place_without_owning_it() {
    let project = project("swap_maintain", BASE).await;
    let (db, role) = (&project.destination, format!("keeper_{}", project.destination.name()));
    let has_maintain = server_major() >= 17;
    db.exec(&format!(
        "create role {role} login; create schema pgtide authorization {role};
         grant usage on schema mart, src to {role}; grant select on src.t, mart.a to {role};
         create unique index a_key on mart.a (id);"
    ))
    .await;
    let keeper = project_as(&project, &role);
    let refused = keeper.pgtide("views refresh --force").run().await.expect(78);
    assert!(refused.stderr.contains("42501"), "{}", refused.stderr);
    if has_maintain {
        db.exec(&format!("grant maintain on mart.a to {role}")).await;
    } else {
        db.exec(&format!("grant postgres to {role}")).await;
    }
    for way in ["plain", "concurrent", "auto"] {
        db.exec("update src.t set v = v + 1").await;
        keeper.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
    }
    assert_eq!(db.scalar("select sum(v) from mart.a").await, "9");
    let swap = keeper.pgtide("views refresh --force --strategy swap").run().await;
    assert_eq!(swap.code, if has_maintain { 78 } else { 0 }, "{}", swap.stderr);
    // Without the index a refresh of this length would be a swap.
    db.exec(
        "drop index mart.a_key; update pgtide.view_refresh set finished_at = started_at + interval '9 s'",
    )
    .await;
    let output = keeper.pgtide("views refresh --force").run().await.expect(0);
    let way = if has_maintain { "plain" } else { "swap" };
    assert!(output.stderr.contains(&format!("  {way}  ")), "{}", output.stderr);
}
