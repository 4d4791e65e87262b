//! Behind a pooler, a server process is another application's a moment later: pgtide leaves nothing in it,
//! and is not disturbed by what others left.

use pgtide::postgres::connect::{Session, Side};

use crate::support::pooler::{Mode, Pooler};
use crate::support::{Pair, Project, databases, pgtide, rows};

/// Two tables of a type that the driver has to look up, a view, a function; and what the jobs load into.
async fn world(hint: &str) -> Pair {
    let pair = databases(hint).await;
    let mood = "create type public.mood as enum ('sad', 'ok'); create schema app";
    pair.source
        .exec(&format!(
            "{mood};
             create table app.users (id bigint primary key, at timestamptz not null, mood public.mood not null);
             insert into app.users select n, '2026-01-05 06:00+00'::timestamptz + n * interval '1 minute', 'ok'
                 from generate_series(1, 3000) n;
             create function app.users() returns setof app.users language sql stable
                 as 'select * from app.users';
             analyze"
        ))
        .await;
    pair.destination.exec(mood).await;
    pair
}

/// What other applications of the pool have left in their server process: names of statements that the
/// driver would choose as well, and settings that a load must not depend on.
async fn leave_things(pooler: &Pooler) {
    let others = pooler.client().await;
    let prepared: String = (0..200).map(|n| format!("prepare s{n} as select {n}; ")).collect();
    let settings = "set search_path = nowhere; set timezone = 'Asia/Tokyo'; set statement_timeout = '7min';
        set default_transaction_isolation = serializable; set datestyle = 'German'; set row_security = on;
        set extra_float_digits = 0; set lock_timeout = '1h'; set cursor_tuple_fraction = 0.5;
        set client_min_messages = 'error'";
    others.batch_execute(&format!("{prepared}{settings}")).await.unwrap();
}

const BY_DAY: &str = "table = \"app.users\"\ninto = \"app.by_day\"\ntime_column = \"at\"\ninterval = \"day\"\n\
                      create = true\nstart_date = 2026-01-05\nend_date = 2026-01-07\nwhere = \"id > 0\"\n";
const BY_QUERY: &str = "query = \"select id, at, mood from app.users() where id < 2000\"\ninto = \"app.by_query\"\n\
                        mode = \"replace\"\ncreate = true\n";
const BY_KEY: &str = "table = \"app.users\"\ninto = \"app.by_key\"\nmode = \"append\"\nresume_key = \"id\"\n\
                      batch_rows = 500\ncreate = true\n";
/// Fails in the middle of its rows.
const BROKEN: &str = "query = \"select id, 1 / (2500 - id) as n, mood from app.users\"\ninto = \"app.broken\"\n\
                      mode = \"replace\"\ncreate = true\n";

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_leaves_anything_in_the_source_of_a_pool() {
    let pair = world("pooled_source").await;
    let pooler = Pooler::start(&pair.source, Mode::Transaction).await;
    leave_things(&pooler).await;
    let before = pooler.found().await;
    assert!(before.iter().any(|line| line == "statement s0"), "the pool has one server process");
    let project = Project::through(&pair, &pooler.url(), &pair.destination.url())
        .job("by_day", BY_DAY)
        .job("by_query", BY_QUERY)
        .job("by_key", BY_KEY)
        .job("broken", BROKEN);
    for (arguments, code) in [
        ("check by_day by_query by_key", 0),
        ("plan by_day", 0),
        ("plan by_query", 0),
        ("init app.users", 0),
        ("run by_query", 0),
        ("backfill by_day --parallel 3", 0),
        ("run by_key", 0),
        ("run broken", 1),
        ("run by_query --reload", 0),
        ("run by_day --date 2026-01-05 --reload", 0),
        ("status", 0),
        ("status by_day", 0),
        ("copy app.users --into app.copied", 0),
        ("copy app.nothing --into app.copied", 78),
    ] {
        let output = project.pgtide(arguments).run().await;
        assert_eq!(output.code, code, "{arguments}: {}{}", output.stdout, output.stderr);
        pooler.assert_found(&before, arguments).await;
    }
    for copy in ["app.by_day", "app.by_key", "app.copied"] {
        rows::assert_equal(&pair.source, &pair.destination, "app.users", copy).await;
    }
    rows::assert_equal(
        &pair.source,
        &pair.destination,
        "(select * from app.users where id < 2000)",
        "app.by_query",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_behind_a_pooler_is_refused_and_finds_as_it_was() {
    let pair = world("pooled_destination").await;
    for mode in [Mode::Transaction, Mode::Session] {
        let pooler = Pooler::start(&pair.destination, mode).await;
        leave_things(&pooler).await;
        let before = pooler.found().await;
        let project = Project::through(&pair, &pair.source.url(), &pooler.url()).job("by_query", BY_QUERY);
        for arguments in [
            "run by_query",
            "backfill list",
            "plan by_query",
            "check by_query",
            "status",
            "mark by_query loaded --reason tested",
            "views status",
            "views refresh --all",
            "copy app.users --into app.copied",
        ] {
            let output = project.pgtide(arguments).run().await;
            let text = format!("{arguments}: {}{}", output.stdout, output.stderr);
            assert_eq!(output.code, 78, "{text}");
            assert!(text.contains("destination goes through a pooler"), "{text}");
            assert!(text.contains("the server's own address and port"), "{text}");
            pooler.assert_found(&before, arguments).await;
        }
    }
    assert_eq!(
        pair.destination.scalar("select count(*) from pg_namespace where nspname = 'pgtide'").await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_behind_a_session_pooler_is_read_as_any_other() {
    let pair = world("session_pooler").await;
    let pooler = Pooler::start(&pair.source, Mode::Session).await;
    let url = pooler.url();
    pgtide(&["copy", "app.users", "-s", &url, "-d", &pair.destination.url()]).run().await.expect(0);
    rows::assert_equal(&pair.source, &pair.destination, "app.users", "app.users").await;
}

#[tokio::test]
async fn a_session_that_is_dropped_in_the_middle_leaves_nothing_either() {
    let pair = world("pooled_middle").await;
    let pooler = Pooler::start(&pair.source, Mode::Transaction).await;
    leave_things(&pooler).await;
    let spec = crate::connect::spec_at(&pair.source, pooler.port());
    let session = Session::open(&spec, Side::Source, "pgtide").await.unwrap();
    let before = pooler.found().await;
    session.begin_reading("beginning", "set local timezone = 'Europe/Rome'").await.unwrap();
    let kept = session.client().prepare("select mood from app.users").await.unwrap();
    let row = session.query_one("asking", "select current_setting('timezone')", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "Europe/Rome");
    session.close().await;
    drop(kept);
    let after = pooler.found().await;
    // The pooler closed the server process, as it was in a transaction; what others had left went with it.
    let is_ours = |line: &&String| line.starts_with("statement pgtide_") || line.contains("Europe/Rome");
    assert!(!before.iter().chain(&after).any(|line| is_ours(&line)), "{after:?}");
    assert!(!after.iter().any(|line| line.starts_with("cursor ")), "{after:?}");
}
