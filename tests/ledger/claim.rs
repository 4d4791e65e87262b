//! Rules 1, 8 and 10: who may load an interval, what dead runs leave, and how they are found.

use bytes::Bytes;
use futures::SinkExt;
use futures::future::join_all;
use pgtide::error::{Error, ErrorKind};
use pgtide::interval::DataInterval;
use pgtide::ledger::{Activity, BatchRecord, ClaimOutcome, ClaimRequest, Ledger};
use pgtide::postgres::connect::Session;
use pgtide::state::State;

use super::{World, batch, begin, claimed, day, session, table, totals};
use crate::support::{self, Database};

#[tokio::test]
async fn of_many_runs_at_once_one_gets_the_interval() {
    let world = World::new("one_of_many").await;
    let sessions: Vec<Session> = join_all((0..12).map(|_| world.session())).await;
    let request = world.request(0);
    let outcomes = join_all(sessions.iter().map(|s| world.ledger.claim(s, &request))).await;
    let (mut claims, mut held) = (0, 0);
    for outcome in outcomes {
        match outcome.unwrap() {
            ClaimOutcome::Claimed(claim) => claims += claim.attempt,
            ClaimOutcome::Held(_) => held += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((claims, held), (1, 11));
    assert_eq!(world.state(0).await, State::Running);
}

#[tokio::test]
async fn claims_of_different_intervals_do_not_disturb_each_other() {
    let world = World::new("different").await;
    let sessions: Vec<Session> = join_all((0..12).map(|_| world.session())).await;
    let requests: Vec<ClaimRequest> = (0..12).map(|number| world.request(number)).collect();
    let claims = join_all(sessions.iter().zip(&requests).map(|(s, r)| world.ledger.claim(s, r))).await;
    let mut tokens: Vec<_> = claims.into_iter().map(|outcome| claimed(outcome).token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 12);
}

#[tokio::test]
async fn who_comes_second_learns_who_has_the_interval() {
    let world = World::new("holder").await;
    let (control, _claim) = world.claim(0).await;
    let outcome = world.ledger.claim(&world.session().await, &world.request(0)).await.unwrap();
    let ClaimOutcome::Held(holder) = outcome else { panic!("{outcome:?}") };
    assert_eq!((holder.host.as_str(), holder.pid), ("etl-1", Some(4711)));
    assert_eq!(holder.run_id.as_deref(), Some("run on etl-1"));
    assert_eq!(holder.backend_pid, control.server().backend_pid);
    assert!(holder.since.is_some());
}

#[tokio::test]
async fn a_session_cannot_hold_two_claims() {
    let world = World::new("re_entrant").await;
    let (control, claim) = world.claim(0).await;
    for number in [0, 1] {
        let error = world.ledger.claim(&control, &world.request(number)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    }
    world.ledger.release(&control, &claim).await.unwrap();
    assert_eq!(world.ledger.release(&control, &claim).await.unwrap_err().kind(), ErrorKind::Internal);
    let next = claimed(world.ledger.claim(&control, &world.request(1)).await);
    assert_eq!(next.attempt, 1);
}

#[tokio::test]
async fn an_interval_that_was_loaded_after_the_plan_is_not_loaded_twice() {
    let world = World::new("loaded_meanwhile").await;
    let planned = world.request(0);
    world.load(0, 10).await;
    let control = world.session().await;
    let reload = ClaimRequest { reload: true, ..planned.clone() };
    for request in [&planned, &reload] {
        let outcome = world.ledger.claim(&control, request).await.unwrap();
        assert!(matches!(outcome, ClaimOutcome::AlreadyLoaded), "{outcome:?}");
    }
    assert_eq!(world.stored().await, 10);
    claimed(world.ledger.claim(&control, &world.reload(0).await).await);
}

#[tokio::test]
async fn a_dead_run_is_shown_as_interrupted_and_the_next_takes_over() {
    let world = World::new("dead_run").await;
    let (control, dead) = world.claim(0).await;
    world.write(&control, &dead, (1, 30)).await.unwrap();
    world.write(&control, &dead, (2, 20)).await.unwrap();
    assert_eq!(world.state(0).await, State::Running);
    world.kill(control).await;
    assert_eq!(world.state(0).await, State::Interrupted);

    let (_control, claim) = world.claim(0).await;
    assert_eq!((claim.attempt, claim.tries, claim.left_rows), (2, 2, 50));
    assert!(!claim.was_loaded && claim.token != dead.token);
    assert_eq!(world.state(0).await, State::Running);
    let history = world.ledger.attempts(&world.session().await, "users", day(0)).await.unwrap();
    let facts: Vec<_> = history.iter().map(|a| (a.outcome.as_str(), a.attempt, a.rows)).collect();
    assert_eq!(facts, [("interrupted", 1, Some(50))]);
}

#[tokio::test]
async fn a_takeover_ends_the_run_that_holds_the_interval() {
    let world = World::new("takeover").await;
    let (hung, old) = world.claim(0).await;
    let request = ClaimRequest { take_over: true, ..world.request(0) };
    let (_control, new) = world.claim_with(&request).await;
    assert_eq!(new.attempt, old.attempt + 1);
    world.until_gone(hung.server().backend_pid).await;
    assert!(hung.batch("looking", "select 1").await.is_err());
}

#[tokio::test]
async fn a_writer_that_hangs_in_copy_is_ended_before_its_interval_is_claimed() {
    let world = World::new("hung_copy").await;
    let (control, claim) = world.claim(0).await;
    let writer = world.session().await;
    world.ledger.writer_lock(&writer, &claim).await.unwrap();
    begin(&writer).await;
    let sink = writer.client().copy_in::<_, Bytes>("copy mart.users from stdin").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(Bytes::from_static(b"1\t1\n")).await.unwrap();
    world.kill(control).await;

    let (_control, next) = world.claim(0).await;
    assert_eq!((next.attempt, next.left_rows), (2, 0));
    let held = format!("select count(*) from pg_locks where pid = {}", writer.server().backend_pid);
    assert_eq!(world.number(&held).await, 0);
}

#[tokio::test]
async fn a_writer_that_gave_its_lock_back_is_left_alone() {
    let world = World::new("writer_moves_on").await;
    let (control, claim) = world.claim(0).await;
    let writer = world.session().await;
    world.ledger.writer_lock(&writer, &claim).await.unwrap();
    world.ledger.writer_unlock(&writer, &claim).await.unwrap();
    world.kill(control).await;
    world.claim(0).await;
    writer.batch("looking", "select 1").await.unwrap();
}

#[tokio::test]
async fn a_writer_cannot_start_after_a_takeover() {
    let world = World::new("late_writer").await;
    let (control, old) = world.claim(0).await;
    world.kill(control).await;
    let (_control, _new) = world.claim(0).await;
    let writer = world.session().await;
    assert_eq!(world.ledger.writer_lock(&writer, &old).await.unwrap_err().kind(), ErrorKind::Fenced);
    let locks = format!(
        "select count(*) from pg_locks where locktype = 'advisory' and pid = {}",
        writer.server().backend_pid
    );
    assert_eq!(world.number(&locks).await, 0);
}

#[tokio::test]
async fn another_jobs_interval_on_the_same_rows_is_refused_however_the_table_is_spelled() {
    let world = World::new("overlap").await;
    world.load(0, 10).await;
    let mut other = ClaimRequest { job: "people".to_owned(), ..world.request(0) };
    other.table.name = "mart.\"users\"".to_owned();
    other.interval = DataInterval { start: day(-3).start, end: day(3).start };
    let control = world.session().await;
    let outcome = world.ledger.claim(&control, &other).await.unwrap();
    let ClaimOutcome::Overlaps { job, key } = outcome else { panic!("{outcome:?}") };
    assert_eq!((job.as_str(), key.as_str()), ("users", "day 0"));
    assert_eq!(
        world.number("select count(*) from pgtide.interval").await,
        1,
        "a refused claim leaves no row"
    );

    other.interval = day(1);
    claimed(world.ledger.claim(&control, &other).await);
}

#[tokio::test]
async fn jobs_with_different_scopes_share_a_table() {
    let world = World::new("scopes").await;
    let scoped = |job: &str, scope: &str| ClaimRequest {
        job: job.to_owned(),
        scope: Some(scope.to_owned()),
        ..world.request(0)
    };
    let (_eu, _) = world.claim_with(&scoped("eu", "region = 'eu'")).await;
    let (_us, _) = world.claim_with(&scoped("us", "region = 'us'")).await;
    let same = world.ledger.claim(&world.session().await, &scoped("copy", "region = 'eu'")).await.unwrap();
    assert!(matches!(same, ClaimOutcome::Overlaps { .. }), "{same:?}");
    let whole = world.ledger.claim(&world.session().await, &world.request(0)).await.unwrap();
    assert!(matches!(whole, ClaimOutcome::Overlaps { .. }), "{whole:?}");
}

#[tokio::test]
async fn of_two_overlapping_jobs_at_once_one_is_refused() {
    let world = World::new("overlap_race").await;
    for number in 0..10 {
        let one = world.request(number);
        let two = ClaimRequest { job: "people".to_owned(), ..world.request(number) };
        let (a, b) = tokio::join!(world.session(), world.session());
        let (a, b) = tokio::join!(world.ledger.claim(&a, &one), world.ledger.claim(&b, &two));
        let claims = [a.unwrap(), b.unwrap()];
        let refused = claims.iter().filter(|c| matches!(c, ClaimOutcome::Overlaps { .. })).count();
        assert_eq!(refused, 1, "{claims:?}");
    }
}

#[tokio::test]
async fn a_changed_unit_that_overlaps_what_is_loaded_is_refused() {
    let world = World::new("changed_unit").await;
    world.load(3, 10).await;
    let month = ClaimRequest {
        interval: DataInterval { start: day(0).start, end: day(31).start },
        ..world.request(0)
    };
    let outcome = world.ledger.claim(&world.session().await, &month).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Overlaps { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_run_whose_server_was_replaced_by_an_older_copy_cannot_commit_there() {
    let world = World::new("failover").await;
    let (control, _) = world.claim(0).await;
    world.kill(control).await;
    let copy = copy_of(&world.db).await;

    let (_control, here) = world.claim(0).await;
    let there = session(&copy).await;
    let ledger = Ledger::open(&there, "pgtide").await.unwrap();
    let successor = claimed(ledger.claim(&there, &world.request(0)).await);
    assert_eq!(
        (here.interval_id, here.attempt),
        (successor.interval_id, successor.attempt),
        "counters repeat"
    );

    let writer = session(&copy).await;
    assert_eq!(world.write(&writer, &here, (1, 50)).await.unwrap_err().kind(), ErrorKind::Fenced);
    writer.batch("committing, whatever was said", "commit").await.unwrap();
    world.write(&there, &successor, (1, 50)).await.unwrap();
    assert_eq!(copy.scalar("select count(*) from mart.users").await, "50");
}

/// Copies a database file by file, as a base backup would: the same OIDs, the state of this moment.
async fn copy_of(db: &Database) -> Database {
    let maintenance = db.sibling("postgres");
    let name = format!("{}_copy", db.name());
    let alone = format!("select count(*) from pg_stat_activity where datname = '{}'", db.name());
    support::until("nobody is connected", || async { maintenance.scalar(&alone).await == "0" }).await;
    maintenance.exec(&format!("create database {name} template {}", db.name())).await;
    db.sibling(&name)
}

#[tokio::test]
async fn a_reload_stays_loaded_until_its_replacement_commits() {
    let world = World::new("reload").await;
    world.load(0, 10).await;
    let (control, claim) = world.claim_with(&world.reload(0).await).await;
    assert!(claim.was_loaded);
    assert_eq!(claim.previous_rows, Some(10));
    let look = || async { world.snapshot().await.intervals[0].clone() };
    assert_eq!((look().await.state, look().await.activity), (State::Loaded, Activity::Live));
    world.kill(control).await;
    assert_eq!((look().await.state, look().await.activity), (State::Loaded, Activity::Dead));
    assert_eq!(world.number("select rows from pgtide.loaded").await, 10);
}

#[tokio::test]
async fn staged_tables_and_their_records_are_left_to_be_dropped() {
    let world = World::new("stages").await;
    world.load(0, 10).await;
    let (control, dead) = world.claim_with(&world.reload(0).await).await;
    let stage = dead.stage_name();
    world.db.exec(&format!("create unlogged table pgtide.{stage} (like mart.users)")).await;
    begin(&control).await;
    let staged = BatchRecord { staged: true, ..batch(1, 7) };
    world.ledger.record_batch(&control, &dead, &staged).await.unwrap();
    control.batch("committing", "commit").await.unwrap();
    world.kill(control).await;

    let (control, claim) = world.claim_with(&world.reload(0).await).await;
    assert_eq!((claim.left_stages.as_slice(), claim.left_rows), ([stage.clone()].as_slice(), 0));
    assert_eq!(world.number("select count(*) from pgtide.batch").await, 0);
    let stopped = Error::new(ErrorKind::Interrupted, "stopped before it was dropped");
    world.ledger.fail(&control, &claim, &stopped).await.unwrap();
    world.ledger.release(&control, &claim).await.unwrap();
    let (_control, later) = world.claim_with(&world.reload(0).await).await;
    assert_eq!(later.left_stages, [stage], "however many attempts come in between");
}

#[tokio::test]
async fn what_another_run_failed_with_after_the_look_is_left_to_it() {
    let world = World::new("failed_since").await;
    let mine = ClaimRequest { leave_failed_after: Some(0), ..world.request(0) };
    let (control, claim) = world.claim(0).await;
    let broken = Error::new(ErrorKind::Server, "a row that the table does not take");
    world.ledger.fail(&control, &claim, &broken).await.unwrap();
    world.ledger.release(&control, &claim).await.unwrap();

    let other = world.session().await;
    let outcome = world.ledger.claim(&other, &mine).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::FailedElsewhere), "{outcome:?}");
    let seen = ClaimRequest { leave_failed_after: Some(1), ..mine };
    let outcome = world.ledger.claim(&other, &seen).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Claimed(_)), "its lock was given back: {outcome:?}");
}

#[tokio::test]
async fn an_interrupted_append_goes_on_after_its_last_key_if_nothing_else_changed() {
    let world = World::new("resume").await;
    let (control, dead) = world.claim(0).await;
    for (number, key) in [(1, 10u8), (2, 20)] {
        begin(&control).await;
        let record = BatchRecord { resume_key: Some(vec![key]), ..batch(number, 5) };
        world.ledger.record_batch(&control, &dead, &record).await.unwrap();
        control.batch("committing", "commit").await.unwrap();
    }
    world.kill(control).await;

    let changed = ClaimRequest { definition_hash: "definition-2".to_owned(), ..world.request(0) };
    for request in [changed, world.request(0)] {
        let same = request.definition_hash == dead.definition_hash;
        let (control, claim) = world.claim_with(&request).await;
        assert_eq!(claim.resume_key, same.then(|| vec![20]));
        assert_eq!((claim.resume_rows, claim.left_rows), (if same { 10 } else { 0 }, 10));
        world.kill(control).await;
    }
}

#[tokio::test]
async fn a_table_that_was_made_anew_has_nothing_loaded() {
    let mut world = World::new("moved").await;
    world.load(0, 10).await;
    let reload = world.reload(0).await;
    world.db.exec("drop table mart.users; create table mart.users (day integer, id integer)").await;
    let gone = std::mem::replace(&mut world.table, table(&world.db, "mart.users").await);
    let request = ClaimRequest { table: world.table.clone(), ..reload };
    let (_control, claim) = world.claim_with(&request).await;
    assert_eq!((claim.was_loaded, claim.previous_rows), (false, None));
    assert_eq!(claim.moved_from, Some(gone));
    assert_eq!(world.state(0).await, State::Running);
}

#[tokio::test]
async fn a_claim_works_whatever_the_databases_defaults_are() {
    let world = World::new("defaults").await;
    let settings = [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "synchronous_commit = off",
    ];
    for setting in settings {
        world
            .db
            .exec(&format!("begin read write; alter database {} set {setting}; commit", world.db.name()))
            .await;
    }
    let (control, claim) = world.claim(0).await;
    control.batch("beginning", "begin isolation level read committed read write").await.unwrap();
    world.ledger.record_batch(&control, &claim, &batch(1, 1)).await.unwrap();
    world.ledger.finish(&control, &claim, &totals(&[(1, 1)])).await.unwrap();
    let row =
        control.query_one("looking", "select current_setting('synchronous_commit')", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "on", "the finish is synchronous");
    control.batch("committing", "commit").await.unwrap();
}
