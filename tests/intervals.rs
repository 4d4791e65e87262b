//! What is kept from one interval to the next: sessions, prepared statements, what is known of tables.
//!
//! Whatever changes on either server between two intervals of one run is noticed, or does not matter.

use pgtide::chunk::{self, Received};
use pgtide::config::connection::ConnectionSpec;
use pgtide::error::{Error, ErrorKind};
use pgtide::extract::{Extract, ReadColumn, extract};
use pgtide::postgres::bound::Condition;
use pgtide::postgres::connect::{Session, Side};
use tokio_postgres::types::Type;

use crate::support::{Database, Pair, Project, databases};

const JOB: &str = r#"
table = "public.users"
into = "mart.users"
time_column = "day"
interval = "day"
mode = "delete-insert"
"#;

const RUN: &str = "run users --from-date 2026-01-01 --to-date 2026-01-05 --parallel 1";

/// Five days of ten rows.
const FILL: &str = "create table public.users (day date, id integer, name text);
    insert into public.users
    select date '2026-01-01' + d, d * 10 + i, 'user ' || i from generate_series(0, 4) d, generate_series(1, 10) i";

async fn project(pair: &Pair, more: &str) -> Project {
    pair.source.exec(FILL).await;
    pair.destination
        .exec("create schema mart; create table mart.users (day date, id integer, name text)")
        .await;
    Project::new(pair).job("users", &format!("{JOB}{more}"))
}

async fn session(database: &Database, side: Side) -> Session {
    let spec = ConnectionSpec::from_url("warehouse", &database.url()).unwrap();
    Session::open(&spec, side, "pgtide test").await.unwrap()
}

#[tokio::test]
async fn rows_and_record_of_a_small_interval_are_one_transaction() {
    let project = project(&databases("one_transaction").await, "").await;
    project.pgtide(RUN).run().await.expect(0);
    project.assert_loaded("public.users", "mart.users").await;
    let together = "select count(*) from mart.users u
        join pgtide.interval i on i.key = u.day::text and i.xmin = u.xmin and i.batches = 1";
    assert_eq!(project.destination.scalar(together).await, "50");
}

#[tokio::test]
async fn an_interval_of_several_batches_commits_each() {
    let project = project(&databases("several_batches").await, "batch_rows = 1\nwriters = 2\n").await;
    let wide = "update public.users set name = repeat('x', 100000)";
    project.source.exec(wide).await;
    project.pgtide(RUN).run().await.expect(0);
    project.assert_loaded("public.users", "mart.users").await;
    let batches = "select min(batches) > 1 and max(attempt) = 1 from pgtide.interval";
    assert_eq!(project.destination.scalar(batches).await, "t");
}

#[tokio::test]
async fn writers_that_share_a_few_chunks_each_record_their_own() {
    for length in [7_000, 15_000, 30_000] {
        let project = project(&databases("few_chunks").await, "writers = 4\n").await;
        project.source.exec(&format!("update public.users set name = repeat('x', {length})")).await;
        project.pgtide(RUN).run().await.expect(0);
        project.assert_loaded("public.users", "mart.users").await;
    }
}

#[tokio::test]
async fn a_table_that_changes_between_two_intervals_is_noticed_before_the_second() {
    for change in [
        "alter table mart.users add column if not exists extra integer",
        "alter table mart.users alter column id type bigint",
        "alter table mart.users drop column if exists name",
    ] {
        let hook = format!("post_sql = [\"{change}\"]\n");
        let project = project(&databases("changed_between").await, &hook).await;
        let output = project.pgtide(RUN).run().await;
        assert_ne!(output.code, 0, "{change}");
        assert!(output.stderr.contains("mart.users changed since"), "{change}:\n{}", output.stderr);
        let loaded = "select count(*) from pgtide.loaded";
        assert_eq!(project.destination.scalar(loaded).await, "1", "{change}");
        assert_eq!(project.destination.scalar("select count(*) from mart.users").await, "10", "{change}");
    }
}

#[tokio::test]
async fn a_hook_that_makes_the_table_anew_is_fenced_and_rolled_back() {
    let anew = "post_sql = [\"drop table mart.users\",
        \"create table mart.users (day date, id integer, name text)\"]\n";
    let project = project(&databases("made_anew").await, anew).await;
    let output = project.pgtide(RUN).run().await;
    assert!(output.stderr.contains("no longer the table that was claimed"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select count(*) from pgtide.loaded").await, "0");
    let accounted = "select (select sum(rows) from pgtide.batch where number > 0)
        = (select count(*) from mart.users)";
    assert_eq!(project.destination.scalar(accounted).await, "t", "every row of the old table is recorded");
}

#[tokio::test]
async fn a_hook_may_deallocate_what_the_session_keeps() {
    let hooks = "pre_sql = [\"deallocate all\"]\npost_sql = [\"deallocate all\"]\n";
    for more in ["", "commit = \"interval\"\n"] {
        let project = project(&databases("deallocate").await, &format!("{hooks}{more}")).await;
        project.pgtide(RUN).run().await.expect(0);
        project.assert_loaded("public.users", "mart.users").await;
        project.pgtide(&format!("{RUN} --reload")).run().await.expect(0);
        project.assert_loaded("public.users", "mart.users").await;
    }
}

#[tokio::test]
async fn a_source_that_changes_between_two_reads_of_a_session_is_noticed() {
    let database = databases("source_changed").await.source;
    database.exec(FILL).await;
    let mut session = session(&database, Side::Source).await;
    assert_eq!(read(&mut session).await.unwrap(), 50);
    for change in [
        "alter table public.users alter column id type bigint",
        "alter table public.users rename column name to title",
    ] {
        database.exec(change).await;
        let error = read(&mut session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight, "{change}: {}", error.chain());
        database.exec("drop table public.users").await;
        database.exec(FILL).await;
        assert_eq!(read(&mut session).await.unwrap(), 50, "the same table again");
    }
}

async fn read(session: &mut Session) -> Result<u64, Error> {
    let column =
        |name: &str, ty: Type| ReadColumn { name: name.to_owned(), type_oid: ty.oid(), typmod: None };
    let what = Extract {
        sql: "select day, id, name from public.users".to_owned(),
        bounds: Condition::default(),
        lock: vec!["public.users".to_owned()],
        all_locked: true,
        completion: None,
        timezone: "UTC".to_owned(),
        role_search_path: false,
        columns: vec![column("day", Type::DATE), column("id", Type::INT4), column("name", Type::TEXT)],
        comment: "pgtide test".to_owned(),
    };
    let (sender, chunks) = chunk::channel(4);
    let discarding = async { while matches!(chunks.recv().await, Received::Chunk(_)) {} };
    let (extracted, ()) = tokio::join!(extract(session, &what, sender), discarding);
    Ok(extracted?.total.rows)
}

#[tokio::test]
async fn a_kept_statement_whose_result_changed_its_type_is_prepared_anew() {
    let database = databases("kept_changed").await.destination;
    database.exec("create table public.t as select 1 as a").await;
    let session = session(&database, Side::Destination).await;
    for change in ["alter table public.t alter column a type bigint", "alter table public.t add column b int"]
    {
        let [all] = session.keep("looking", ["select * from public.t"]).await.unwrap();
        session.query_one_kept("looking", &all, &[]).await.unwrap();
        database.exec(change).await;
        let error = session.query_one_kept("looking", &all, &[]).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Contention, Some("0A000")), "{change}");
        assert!(error.is_retryable());
    }
    let [all] = session.keep("looking", ["select * from public.t"]).await.unwrap();
    assert_eq!(session.query_one_kept("looking", &all, &[]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_somebody_deallocated_is_prepared_anew() {
    let session = session(&databases("kept_gone").await.destination, Side::Destination).await;
    let [one] = session.keep("looking", ["select 1"]).await.unwrap();
    session.batch("deallocating", "deallocate all").await.unwrap();
    let error = session.query_one_kept("looking", &one, &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Contention, Some("26000")));
    let [one] = session.keep("looking", ["select 1"]).await.unwrap();
    session.query_one_kept("looking", &one, &[]).await.unwrap();
}

#[tokio::test]
async fn a_session_keeps_a_bounded_number_of_statements_and_each_once() {
    let session = session(&databases("kept_bounded").await.destination, Side::Destination).await;
    for number in 1..200 {
        session.keep("looking", ["select 0", &format!("select {number}")]).await.unwrap();
    }
    let kept = "select count(*), count(*) filter (where statement = 'select 0') from pg_prepared_statements";
    let row = session.client().query_typed_one(kept, &[]).await.unwrap();
    assert!(row.get::<_, i64>(0) <= 64, "{} are kept", row.get::<_, i64>(0));
    assert_eq!(row.get::<_, i64>(1), 1, "what is used again is not prepared again, nor evicted");
}
