//! Making, finding, upgrading and refusing a ledger.

use futures::future::join_all;
use pgtide::error::{Error, ErrorKind};
use pgtide::ledger::{Ledger, VERSION};
use pgtide::postgres::connect::Session;

use super::{World, session, session_as};
use crate::support::{self, Database};

async fn database(hint: &str) -> Database {
    support::databases(hint).await.destination
}

/// A role of this test alone, that may connect.
async fn role(db: &Database, suffix: &str) -> String {
    let role = format!("{}_{suffix}", db.name());
    db.exec(&format!("create role {role} login")).await;
    role
}

async fn refused(db: &Database) -> Error {
    Ledger::open(&session(db).await, "pgtide").await.expect_err("the ledger must be refused")
}

fn details(error: &Error) -> String {
    error.details().join("\n")
}

#[tokio::test]
async fn many_first_runs_at_once_all_succeed() {
    let db = database("first_runs").await;
    let sessions: Vec<Session> = join_all((0..16).map(|_| session(&db))).await;
    let opened = join_all(sessions.iter().map(|s| Ledger::open(s, "pgtide"))).await;
    for result in opened {
        result.unwrap();
    }
    assert_eq!(
        db.scalar("select count(*) || ' ' || max(version) from pgtide.meta").await,
        format!("1 {VERSION}")
    );
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let world = World::new("open_again").await;
    world.load(0, 10).await;
    let versions = "select (select xmin::text from pgtide.meta) || ' ' || string_agg(xmin::text || xmax, ',')
                    from pgtide.interval";
    let before = world.db.scalar(versions).await;
    Ledger::open(&world.session().await, "pgtide").await.unwrap();
    assert_eq!(world.db.scalar(versions).await, before);
}

#[tokio::test]
async fn looking_for_a_ledger_never_makes_one() {
    let db = database("find_none").await;
    assert!(Ledger::find(&session(&db).await, "pgtide").await.unwrap().is_none());
    assert_eq!(db.scalar("select count(*) from pg_namespace where nspname = 'pgtide'").await, "0");
}

#[tokio::test]
async fn a_ledger_that_was_found_refuses_to_write() {
    let world = World::new("find_only").await;
    let control = world.session().await;
    let found = Ledger::find(&control, "pgtide").await.unwrap().unwrap();
    let error = found.claim(&control, &world.request(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_ledger_of_a_newer_program_is_refused() {
    let world = World::new("newer").await;
    world.db.exec("update pgtide.meta set version = 99").await;
    for error in [
        refused(&world.db).await,
        Ledger::find(&world.session().await, "pgtide").await.expect_err("it is newer"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("has version 99"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn an_older_ledger_is_upgraded_in_place() {
    let db = database("older").await;
    db.exec("create schema pgtide").await;
    db.exec(include_str!("../../src/ledger/meta.sql")).await;
    let error = Ledger::find(&session(&db).await, "pgtide").await.expect_err("it is older");
    assert_eq!(error.kind(), ErrorKind::Preflight);
    Ledger::open(&session(&db).await, "pgtide").await.unwrap();
    assert_eq!(db.scalar("select version from pgtide.meta").await, VERSION.to_string());
    assert!(Ledger::find(&session(&db).await, "pgtide").await.unwrap().is_some());
}

#[tokio::test]
async fn any_schema_name_works() {
    let db = database("odd_schema").await;
    let odd = "it's \"odd\". \\pgtide.";
    let control = session(&db).await;
    Ledger::open(&control, odd).await.unwrap();
    assert_eq!(Ledger::find(&control, odd).await.unwrap().unwrap().schema(), odd);
    for bad in ["", "pg_ledger"] {
        assert_eq!(Ledger::open(&control, bad).await.unwrap_err().kind(), ErrorKind::Config);
    }
}

#[tokio::test]
async fn a_ledger_of_another_role_is_refused_even_to_a_superuser() {
    let db = database("other_role").await;
    let etl = role(&db, "etl").await;
    db.exec(&format!("grant create on database {} to {etl}", db.name())).await;
    Ledger::open(&session_as(&db, &etl).await, "pgtide").await.unwrap();

    let error = refused(&db).await;
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert_eq!(error.details().len(), 1, "its four tables have the same owner: {}", details(&error));
    assert!(details(&error).contains(&format!("belongs to {etl}")), "{}", details(&error));
    assert!(error.hint().unwrap().contains(&format!("grant \"{etl}\" to \"postgres\"")));
    assert!(
        Ledger::find(&session(&db).await, "pgtide").await.unwrap().is_some(),
        "looking runs no code of theirs"
    );

    db.exec(&format!("grant {etl} to postgres")).await;
    Ledger::open(&session(&db).await, "pgtide").await.unwrap();
    db.exec(&format!("revoke {etl} from postgres")).await;
}

#[tokio::test]
async fn triggers_rules_and_policies_on_the_ledger_are_refused_all_at_once() {
    let world = World::new("planted_code").await;
    world
        .db
        .exec(
            "create sequence public.ran;
             create function public.spy() returns trigger language plpgsql as
                 $$ begin perform nextval('public.ran'); return new; end $$;
             create trigger spy before insert or update on pgtide.interval
                 for each row execute function public.spy();
             create rule spy as on insert to pgtide.batch do also select nextval('public.ran');
             alter table pgtide.attempt enable row level security;
             alter table pgtide.attempt set unlogged;
             grant create on schema pgtide to public",
        )
        .await;
    let error = refused(&world.db).await;
    assert_eq!(error.kind(), ErrorKind::Preflight);
    let lines = details(&error);
    for finding in ["trigger spy", "rule spy", "row-level security", "not permanent", "everybody may create"]
    {
        assert!(lines.contains(finding), "{finding} in {lines}");
    }
    assert!(error.hint().unwrap().contains("drop trigger \"spy\" on \"pgtide\".interval;"));
    assert_eq!(world.db.scalar("select is_called from public.ran").await, "f");
}

#[tokio::test]
async fn a_dropped_trigger_is_forgiven() {
    let world = World::new("dropped_trigger").await;
    world
        .db
        .exec(
            "create function public.spy() returns trigger language plpgsql as $$ begin return new; end $$;
             create trigger spy before insert on pgtide.interval for each row execute function public.spy();
             drop trigger spy on pgtide.interval",
        )
        .await;
    assert_eq!(
        world.db.scalar("select relhastriggers from pg_class where oid = 'pgtide.interval'::regclass").await,
        "t"
    );
    Ledger::open(&world.session().await, "pgtide").await.unwrap();
}

#[tokio::test]
async fn a_planted_view_is_refused_before_it_is_read() {
    let db = database("planted_view").await;
    db.exec(
        "create schema pgtide; create sequence public.ran;
         create view pgtide.meta as select nextval('public.ran')::int4 as version",
    )
    .await;
    let looked = Ledger::find(&session(&db).await, "pgtide").await.expect_err("it is a view");
    assert_eq!(looked.kind(), ErrorKind::Preflight);
    let error = refused(&db).await;
    assert!(details(&error).contains("not an ordinary table"), "{}", details(&error));
    assert_eq!(db.scalar("select is_called from public.ran").await, "f");
}

#[tokio::test]
async fn tables_that_are_no_ledger_are_refused_with_every_missing_column() {
    let db = database("no_ledger").await;
    db.exec("create schema pgtide; create table pgtide.interval (job text, state text)").await;
    let error = refused(&db).await;
    assert_eq!(error.kind(), ErrorKind::Preflight);
    let lines = details(&error);
    assert!(lines.contains("meta is missing") && lines.contains("no valid primary key"), "{lines}");
    assert!(lines.contains("has no column id, interval_start"), "{lines}");
}

#[tokio::test]
async fn planted_temporary_tables_and_functions_change_nothing() {
    let world = World::new("shadow").await;
    let control = world.session().await;
    control
        .batch(
            "planting",
            "create temporary table interval (like pgtide.interval including all);
             create temporary table batch (like pgtide.batch including all);
             create temporary table pg_locks (pid integer);
             create function public.clock_timestamp() returns timestamptz language sql
                 as $$ select 1 / 0; select null::timestamptz $$",
        )
        .await
        .unwrap();
    let claim = super::claimed(world.ledger.claim(&control, &world.request(0)).await);
    world.write(&control, &claim, (1, 10)).await.unwrap();
    world.finish(&control, &claim, &super::totals(&[(1, 10)])).await.unwrap();
    assert_eq!(world.number("select rows from pgtide.loaded").await, 10);
    let planted = control.query_one("counting", "select count(*) from pg_temp.interval", &[]).await.unwrap();
    assert_eq!(planted.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_role_that_may_not_create_the_ledger_reads_what_an_administrator_must_do() {
    let db = database("may_not").await;
    let etl = role(&db, "etl").await;
    let error = Ledger::open(&session_as(&db, &etl).await, "pgtide").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42501"));
    let remedy = error.hint().unwrap().split_once(": ").unwrap().1.to_owned();
    db.exec(&remedy).await;
    Ledger::open(&session_as(&db, &etl).await, "pgtide").await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_look_reads_which_grants_are_missing() {
    let world = World::new("may_not_look").await;
    let analyst = role(&world.db, "analyst").await;
    let error = Ledger::find(&session_as(&world.db, &analyst).await, "pgtide").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    world.db.exec(error.hint().unwrap()).await;
    let looking = session_as(&world.db, &analyst).await;
    let ledger = Ledger::find(&looking, "pgtide").await.unwrap().unwrap();
    assert!(ledger.snapshot(&looking, "users", None).await.unwrap().intervals.is_empty());
}

#[tokio::test]
async fn every_table_and_column_of_the_ledger_has_a_comment() {
    let world = World::new("comments").await;
    let missing = world
        .db
        .rows(
            "select c.relname, a.attname from pg_class c
             left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
             where c.relnamespace = 'pgtide'::regnamespace and c.relkind in ('r', 'v')
               and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)",
        )
        .await;
    assert!(missing.is_empty(), "{missing:?}");
}
