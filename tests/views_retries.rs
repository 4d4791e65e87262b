//! Which failures of a refresh are tried again, and which are told at once.
//!
//! Deadlocks, terminated sessions, a full server and a broken network are real ones; codes that are hard
//! to bring about come from a function in the view's query, on a real server all the same.

use crate::support::proxy::{Direction, Proxy};
use crate::support::{Database, Project, databases, until};
use crate::views_graph::project;

/// A table and a fresh view of it, that has to be refreshed once more: one row is 2 now.
const STALE: &str = "
create schema src; create schema mart;
create table src.t (id int primary key, v int); insert into src.t select i, 0 from generate_series(1, 500) i;
create materialized view mart.a as select * from src.t;
create unique index a_key on mart.a (id)";

const SHOWN: &str = "select sum(v) from mart.a";

async fn make_stale(project: &Project) {
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("update src.t set v = 2 where id = 1").await;
    until_stale(project).await;
}

/// Waits until the rows that were written last are known: older servers count them late.
pub(crate) async fn until_stale(project: &Project) {
    until("a view is known to be stale", || async {
        project.pgtide("views status").run().await.expect(0).stdout.contains(" stale")
    })
    .await;
}

async fn stale(hint: &str) -> Project {
    let pair = databases(hint).await;
    pair.destination.exec(STALE).await;
    let project = Project::new(&pair);
    make_stale(&project).await;
    project
}

/// A session that keeps everybody from reading the table.
async fn hold(database: &Database) -> tokio_postgres::Client {
    let blocker = database.client().await;
    blocker.batch_execute("begin; lock table src.t in access exclusive mode").await.unwrap();
    blocker
}

/// Waits until a session of a refresh waits for a lock.
async fn until_it_waits(database: &Database) {
    let client = database.client().await;
    let sql = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where not l.granted and a.datname = current_database() and a.application_name like 'pgtide/refresh/%'";
    until("the refresh waits for a lock", || async {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}

async fn assert_refreshed(project: &Project) {
    assert_eq!(project.destination.scalar(SHOWN).await, "2");
    let again = project.pgtide("views refresh").run().await.expect(0);
    assert!(again.stderr.contains("nothing to do  views: 1 fresh"), "{}", again.stderr);
    project.no_session_left().await;
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
    assert_eq!(project.destination.scalar(left).await, "0");
}

#[tokio::test]
async fn a_deadlock_with_a_reader_is_tried_again() {
    let project = stale("retry_deadlock").await;
    let name = project.destination.name().to_owned();
    // The refresh finds the deadlock, well before it gives way for its lock_timeout; the reader never looks.
    project.destination.exec(&format!("alter database {name} set deadlock_timeout = '1500ms'")).await;
    let reader = hold(&project.destination).await;
    reader.batch_execute("set deadlock_timeout = '1h'").await.unwrap();
    let running = project.pgtide("views refresh --strategy plain").spawn();
    until_it_waits(&project.destination).await;
    let rows = reader.query("select * from mart.a", &[]).await.unwrap();
    assert_eq!(rows.len(), 500, "what it was before");
    running.stderr_contains("(40P01)").await;
    reader.batch_execute("rollback").await.unwrap();
    let output = running.finish().await.expect(0);
    assert!(output.stderr.contains("~ view mart.a  next try in"), "{}", output.stderr);
    assert_refreshed(&project).await;
}

#[tokio::test]
async fn a_session_that_is_terminated_is_replaced_in_every_way() {
    for way in ["plain", "concurrent", "swap"] {
        let project = stale("retry_terminated").await;
        let blocker = hold(&project.destination).await;
        let running = project.pgtide("views refresh --strategy").arg(way).spawn();
        until_it_waits(&project.destination).await;
        let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and application_name like 'pgtide/refresh/%'";
        assert_eq!(project.destination.scalar(terminate).await, "1");
        running.stderr_contains("~ view mart.a  next try in").await;
        blocker.batch_execute("rollback").await.unwrap();
        let output = running.finish().await.expect(0);
        assert!(output.stderr.contains("1 refreshed"), "{way}: {}", output.stderr);
        let kept = project.destination.scalar("select attempt from pgtide.view_refresh order by id desc");
        assert_eq!(kept.await, "2", "{way}");
        assert_refreshed(&project).await;
    }
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_tried_again() {
    let pair = databases("retry_full").await;
    let (db, role) = (&pair.destination, format!("full_{}", pair.destination.name()));
    db.exec(&format!(
        "create role {role} login connection limit 2; grant create on database {} to {role};
         create schema mart authorization {role}; set role {role};
         create table mart.t (id int); insert into mart.t values (1);
         create materialized view mart.a as select * from mart.t with no data;
         create materialized view mart.b as select * from mart.t with no data;",
        db.name()
    ))
    .await;
    let url = db.url().replacen("postgres://postgres:", &format!("postgres://{role}:"), 1);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let project = Project::through(&pair, &pair.source.url(), &url);
    let running = project.pgtide("views refresh --jobs 2").spawn();
    running.stderr_contains("(53300)").await;
    drop(client);
    connection.await.unwrap().unwrap();
    let output = running.finish().await.expect(0);
    assert!(output.stderr.contains("2 refreshed"), "{}", output.stderr);
}

/// The project through a proxy, and the proxy.
async fn far(hint: &str) -> (Project, Proxy) {
    let pair = databases(hint).await;
    pair.destination.exec(STALE).await;
    let proxy = Proxy::start(&pair.destination).await;
    let project = Project::through(&pair, &pair.source.url(), &proxy.url(&pair.destination));
    make_stale(&project).await;
    (project, proxy)
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_refresh_is_made_again() {
    for way in ["plain", "concurrent", "swap"] {
        let (project, proxy) = far("retry_broken").await;
        let blocker = hold(&project.destination).await;
        let running = project.pgtide("views refresh --strategy").arg(way).spawn();
        until_it_waits(&project.destination).await;
        proxy.cut();
        running.stderr_contains("~ view mart.a  next try in").await;
        proxy.heal();
        blocker.batch_execute("rollback").await.unwrap();
        running.finish().await.expect(0);
        assert_refreshed(&project).await;
    }
}

/// The connection breaks after so many bytes, at many places: also where nobody knows whether it committed.
#[tokio::test]
async fn wherever_the_connection_breaks_the_view_is_refreshed_in_the_end() {
    const PLACES: u64 = 12;
    for way in ["concurrent", "swap"] {
        let (project, proxy) = far("retry_anywhere").await;
        let before = proxy.passed(Direction::ToClient);
        project.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
        let all = proxy.passed(Direction::ToClient) - before;
        for place in 1..PLACES {
            project.destination.exec("update src.t set v = 3 - v where id <= 2").await;
            let sum = project.destination.scalar("select sum(v) from src.t").await;
            until_stale(&project).await;
            proxy.cut_after(all * place / PLACES, Direction::ToClient);
            let running = project.pgtide("views refresh --strategy").arg(way).spawn();
            let client = project.destination.client().await;
            let finish = running.finish();
            let heal = async {
                until("the connection is cut", || async {
                    client.simple_query("select 1").await.unwrap();
                    proxy.is_cut()
                })
                .await;
                proxy.heal();
            };
            // What breaks before the first view ends the run: temporary.
            let (output, ()) = tokio::join!(finish, heal);
            assert!([0, 75].contains(&output.code), "{way} {place}: {output:?}");
            let next = project.pgtide("views refresh --strategy").arg(way).run().await.expect(0);
            let shown = project.destination.scalar(SHOWN).await;
            assert_eq!(shown, sum, "{way} {place}: {}{}", output.stderr, next.stderr);
            if output.code == 0 {
                assert!(next.stderr.contains("1 fresh"), "{way} {place}: {}", next.stderr);
            }
        }
        project.no_session_left().await;
        let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_'";
        assert_eq!(project.destination.scalar(left).await, "0");
    }
}

/// A view whose query fails with a code the first time, and is good from then on.
async fn failing_once(hint: &str, code: &str) -> Project {
    project(
        hint,
        &format!(
            "create table src.t (id int); insert into src.t values (1); create sequence src.tries;
             create function src.fail() returns int language plpgsql volatile as $$
             begin
               if nextval('src.tries') = 1 then raise exception 'made to fail' using errcode = '{code}'; end if;
               return 1;
             end $$;
             create materialized view mart.a as select id, src.fail() as v from src.t with no data;"
        ),
    )
    .await
}

#[tokio::test]
async fn codes_that_pass_are_tried_again_and_others_are_not() {
    let passing = ["40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08006", "53300"];
    for code in passing {
        let project = failing_once("retry_code", code).await;
        let output = project.pgtide("views refresh").run().await.expect(0);
        assert!(output.stderr.contains("next try in"), "{code}: {}", output.stderr);
        assert!(output.stderr.contains(&format!("({code})")), "{code}: {}", output.stderr);
    }
    let lasting = [
        ("21000", 1),
        ("23505", 1),
        ("22012", 1),
        ("42P01", 78),
        ("42501", 78),
        ("0A000", 78),
        ("57014", 1),
        ("53100", 75),
        ("P0001", 1),
    ];
    for (code, exit) in lasting {
        let project = failing_once("retry_not", code).await;
        let output = project.pgtide("views refresh").run().await.expect(exit);
        assert!(!output.stderr.contains("next try in"), "{code}: {}", output.stderr);
        let kept = "select status || ' ' || sqlstate || ' ' || attempt from pgtide.view_refresh";
        assert_eq!(project.destination.scalar(kept).await, format!("failed {code} 1"));
        project.pgtide("views refresh").run().await.expect(0);
    }
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_told_at_once_with_what_to_do() {
    let project = project(
        "retry_lasting",
        "create role retry_owner; grant usage on schema src, mart to retry_owner; grant create on schema mart to retry_owner;
         create table src.t (id int); insert into src.t values (1); grant select on src.t to retry_owner;
         create table src.gone (id int);
         create function src.reads() returns bigint language plpgsql stable as
           'begin return (select count(*) from src.gone); end';
         create materialized view mart.missing as select src.reads() as n;
         create materialized view mart.refused as select * from src.t;
         alter materialized view mart.refused owner to retry_owner;
         create materialized view mart.slow as select id, pg_sleep(id * 60) is null as slept from src.t with no data;
         create materialized view mart.twice as select * from src.t; create unique index on mart.twice (id);",
    )
    .await;
    project.add_to_file("[views.\"mart.slow\"]\nstatement_timeout = \"200ms\"\n");
    project.pgtide("views refresh mart.missing mart.refused mart.twice").run().await.expect(0);
    let db = &project.destination;
    db.exec("drop table src.gone; revoke select on src.t from retry_owner; insert into src.t values (1)")
        .await;
    let output = project.pgtide("views refresh -o json --strategy auto").run().await.expect(1);
    assert!(!output.stdout.contains("view_retrying"), "{}", output.stdout);
    let output = project.pgtide("views refresh").run().await.expect(1);
    for part in [
        "(42P01)",
        "(42501)",
        "the owner needs SELECT on what it reads",
        "(57014)",
        "statement_timeout of this view ended it",
        "make the key of the unique index on mart.twice hold for all rows",
        "4 failed",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    assert!(!output.stderr.contains("next try in"), "{}", output.stderr);
    let most = db.scalar("select max(attempt) from pgtide.view_refresh").await;
    assert_eq!(most, "1");
}

#[tokio::test]
async fn a_reader_behind_a_waiting_refresh_reads_on_while_the_first_one_still_holds_the_view() {
    let project = stale("retry_queue").await;
    let first = project.destination.client().await;
    first.batch_execute("begin; select * from mart.a").await.unwrap();
    let running = project.pgtide("views refresh --strategy plain").spawn();
    until_it_waits(&project.destination).await;
    let started = std::time::Instant::now();
    let second = project.destination.client().await;
    assert_eq!(second.query("select * from mart.a", &[]).await.unwrap().len(), 500);
    println!("a reader behind a refresh that waits: {:?}", started.elapsed());
    running.stderr_contains("(55P03)").await;
    first.batch_execute("rollback").await.unwrap();
    running.finish().await.expect(0);
    assert_refreshed(&project).await;
}
