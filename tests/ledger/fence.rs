//! Rules 2, 3, 5, 6 and 9: what a run may commit, and what is known of a commit without an answer.

use futures::future::join_all;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use pgtide::error::ErrorKind;
use pgtide::ledger::Accepted;
use pgtide::postgres::connect::Session;
use pgtide::sandbox::{Options, StopMode};

use super::{World, batch, begin, totals};
use crate::support::{self, Database};

#[tokio::test]
async fn an_orphan_that_wakes_up_cannot_clear_what_its_successor_wrote() {
    let world = World::new("orphan_clear").await;
    let (control, orphan) = world.claim(0).await;
    let asleep = world.session().await;
    begin(&asleep).await;
    world.kill(control).await;

    let (control, next) = world.claim(0).await;
    world.write(&control, &next, (1, 100)).await.unwrap();
    asleep.batch("clearing", "delete from mart.users").await.unwrap();
    let error = world.ledger.fence(&asleep, &orphan, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("attempt 1 of users day 0 has lost its claim"), "{error}");
    asleep.batch("committing, whatever was said", "commit").await.unwrap();
    assert_eq!(world.stored().await, 100);
}

#[tokio::test]
async fn an_orphan_that_wakes_up_cannot_write_another_batch() {
    let world = World::new("orphan_batch").await;
    let (control, orphan) = world.claim(0).await;
    let writer = world.session().await;
    world.write(&writer, &orphan, (1, 10)).await.unwrap();
    world.kill(control).await;
    let (_control, _next) = world.claim(0).await;
    let error = world.write_open(&writer, &orphan, (2, 10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    writer.batch("committing, whatever was said", "commit").await.unwrap();
    assert_eq!(world.stored().await, 10);
    assert_eq!(world.number("select sum(rows)::bigint from pgtide.batch").await, 10);
}

#[tokio::test]
async fn a_mark_and_a_failure_fence_too() {
    let world = World::new("fail_fences").await;
    let (control, claim) = world.claim(0).await;
    let broken = pgtide::error::Error::new(ErrorKind::Connection, "reading: connection lost");
    world.ledger.fail(&control, &claim, &broken).await.unwrap();
    assert_eq!(world.write(&control, &claim, (1, 10)).await.unwrap_err().kind(), ErrorKind::Fenced);
    control.batch("ending", "rollback").await.unwrap();
    assert_eq!(world.ledger.fail(&control, &claim, &broken).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_table_that_was_swapped_under_its_name_is_fenced() {
    let world = World::new("swapped").await;
    let (control, claim) = world.claim(0).await;
    world
        .db
        .exec("alter table mart.users rename to old; create table mart.users (day integer, id integer)")
        .await;
    assert_eq!(world.write(&control, &claim, (1, 10)).await.unwrap_err().kind(), ErrorKind::Fenced);
    control.batch("committing, whatever was said", "commit").await.unwrap();
    assert_eq!(world.stored().await, 0);
}

#[tokio::test]
async fn a_clear_is_a_transaction_of_its_own_before_several_writers() {
    let world = World::new("clear_first").await;
    let (control, dead) = world.claim(0).await;
    world.write(&control, &dead, (1, 60)).await.unwrap();
    world.write(&control, &dead, (2, 40)).await.unwrap();
    world.kill(control).await;

    let (control, claim) = world.claim(0).await;
    assert_eq!(claim.left_rows, world.stored().await);
    begin(&control).await;
    control.batch("clearing", "delete from mart.users").await.unwrap();
    world.ledger.forget_batches(&control, &claim).await.unwrap();
    world.ledger.fence(&control, &claim, 0).await.unwrap();
    control.batch("committing", "commit").await.unwrap();

    let writers: Vec<Session> = join_all((0..4).map(|_| world.session())).await;
    let written = join_all((1..).zip(&writers).map(|(n, w)| world.write(w, &claim, (n, 25)))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    world.finish(&control, &claim, &totals(&[(1, 25), (2, 25), (3, 25), (4, 25)])).await.unwrap();
    assert_eq!((world.stored().await, world.number("select rows from pgtide.loaded").await), (100, 100));
}

#[tokio::test]
async fn batches_of_many_writers_neither_deadlock_nor_touch_the_interval() {
    let world = World::new("no_deadlock").await;
    let (_control, claim) = world.claim(0).await;
    let version = "select xmin from pgtide.interval";
    let before = world.db.scalar(version).await;
    let writers: Vec<Session> = join_all((0..6).map(|_| world.session())).await;
    // All six are past their fence at once; each would wait for the others if batches updated the row.
    for (number, writer) in (1..).zip(&writers) {
        world.write_open(writer, &claim, (number, 10)).await.unwrap();
    }
    let committed = join_all(writers.iter().map(|w| w.batch("committing", "commit"))).await;
    assert!(committed.iter().all(Result::is_ok), "{committed:?}");
    assert_eq!(world.stored().await, 60);
    assert_eq!(world.db.scalar(version).await, before);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_fails_on_its_key() {
    let world = World::new("sent_again").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    let error = world.write_open(&control, &claim, (1, 10)).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Mismatch, Some("23505")));
    control.batch("committing, whatever was said", "commit").await.unwrap();
    assert_eq!(world.stored().await, 10);
}

#[tokio::test]
async fn the_fate_of_a_commit_without_an_answer_is_found_out() {
    let world = World::new("unknown_commit").await;
    let (_control, claim) = world.claim(0).await;
    let asking = world.session().await;
    for (number, end, fate) in [(1, "commit", true), (2, "rollback", false)] {
        let writer = world.session().await;
        world.write_open(&writer, &claim, (number, 10)).await.unwrap();
        // The old server process still works on it: the answer has to wait.
        let (answer, ()) = tokio::join!(world.ledger.batch_committed(&asking, &claim, number), async {
            world.until_blocked(&asking).await;
            writer.batch("ending", end).await.unwrap();
        });
        assert_eq!(answer.unwrap(), fate);
        assert_eq!(world.ledger.batch_committed(&asking, &claim, number).await.unwrap(), fate);
    }
    assert_eq!(world.stored().await, 10);
}

#[tokio::test]
async fn the_fate_of_a_finish_without_an_answer_is_found_out() {
    let world = World::new("unknown_finish").await;
    for (number, end, fate) in [(0, "commit", true), (1, "rollback", false)] {
        let (control, claim) = world.claim(number).await;
        world.write(&control, &claim, (1, 10)).await.unwrap();
        begin(&control).await;
        world.ledger.finish(&control, &claim, &totals(&[(1, 10)])).await.unwrap();
        let asking = world.session().await;
        let (answer, ()) = tokio::join!(world.ledger.finish_committed(&asking, &claim), async {
            world.until_blocked(&asking).await;
            control.batch("ending", end).await.unwrap();
        });
        assert_eq!(answer.unwrap(), fate);
    }
}

#[tokio::test]
async fn the_fate_of_a_batch_is_nobodys_business_after_a_takeover() {
    let world = World::new("unknown_fenced").await;
    let (control, claim) = world.claim(0).await;
    world.kill(control).await;
    let (control, _next) = world.claim(0).await;
    let error = world.ledger.batch_committed(&control, &claim, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn each_batch_records_the_transaction_that_tells_its_fate() {
    let world = World::new("xid").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    assert_eq!(world.db.scalar("select pg_xact_status(xid) from pgtide.batch").await, "committed");
    let own =
        world.db.scalar("select count(*) from mart.users u, pgtide.batch b where u.xmin = b.xid::xid").await;
    assert_eq!(own, "10");
}

#[tokio::test]
async fn numbers_of_batches_and_of_steps_do_not_mix() {
    let world = World::new("numbers").await;
    let (control, claim) = world.claim(0).await;
    for result in [
        world.ledger.fence(&control, &claim, 1).await,
        world.ledger.record_batch(&control, &claim, &batch(0, 10)).await,
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[tokio::test]
async fn a_server_that_restarted_has_lost_rows_and_records_together_and_the_attempt_cannot_finish() {
    let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
    let options = Options { durable: true, settings, ..Options::default() };
    let mut server = support::servers::private_server_with("ledger_restart", options).await;
    let world = World::on(Database::create(&server, "restarted").await).await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 50)).await.unwrap();
    control.batch("setting", "set synchronous_commit = off").await.unwrap();
    stop_those_who_flush(&world).await;
    for number in 2..=4 {
        world.write(&control, &claim, (number, 40)).await.unwrap();
    }
    server.restart(StopMode::Immediate).unwrap();

    let stored = world.stored().await;
    assert!(stored < 170, "the server lost acknowledged batches");
    let acknowledged = totals(&[(1, 50), (2, 40), (3, 40), (4, 40)]);
    let again = world.session().await;
    let error = world.finish(&again, &claim, &acknowledged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let (_control, next) = world.claim(0).await;
    assert_eq!(next.left_rows, stored, "rows and records went together");
}

/// Stops the processes that write WAL on behalf of others: what is acknowledged without a flush stays in
/// memory. The server kills them when it is stopped.
async fn stop_those_who_flush(world: &World) {
    let writers = "select pid from pg_stat_activity \
        where backend_type in ('walwriter', 'background writer', 'checkpointer')";
    let pids = world.db.rows(writers).await;
    assert_eq!(pids.len(), 3);
    for pid in pids.iter().flatten().flatten() {
        signal::kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGSTOP).unwrap();
    }
}

#[tokio::test]
async fn a_column_of_ours_lets_running_loads_go_on_and_hides_no_change_of_others() {
    let world = World::new("accept_shape").await;
    let session = world.session().await;
    let (control, claim) = world.claim(0).await;
    let (other_control, other) = world.claim(1).await;
    let add = |column: &'static str| {
        let (world, session) = (&world, &session);
        async move {
            begin(session).await;
            let before = world.ledger.shape_before(session, world.table.oid).await.unwrap();
            session
                .batch("adding", &format!("alter table mart.users add column {column} integer"))
                .await
                .unwrap();
            world.ledger.accept_shape(session, world.table.oid, &before, Accepted::NewColumn).await.unwrap();
            session.batch("committing", "commit").await.unwrap();
        }
    };
    add("first").await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    world.db.exec("alter table mart.users alter column id type real").await;
    add("second").await;
    for (control, claim) in [(control, claim), (other_control, other)] {
        let error = world.write(&control, &claim, (2, 10)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight, "{error}");
        assert!(error.to_string().contains("changed since its columns were compared"), "{error}");
        control.batch("ending", "rollback").await.unwrap();
    }
    assert_eq!(world.stored().await, 10);
}
