//! Rule 7, and failing: how an attempt ends.

use pgtide::error::{Error, ErrorKind};
use pgtide::ledger::{BatchRecord, Totals};
use pgtide::state::State;

use super::{World, batch, begin, day, totals};

#[tokio::test]
async fn a_finished_interval_keeps_its_totals_and_no_batches() {
    let world = World::new("finished").await;
    let (control, claim) = world.claim(0).await;
    for number in 1..=3 {
        world.write(&control, &claim, (number, 10)).await.unwrap();
    }
    let known = totals(&[(1, 10), (2, 10), (3, 10)]);
    world.finish(&control, &claim, &known).await.unwrap();

    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.state, interval.rows, interval.bytes), (State::Loaded, Some(30), Some(300)));
    assert_eq!((interval.batches, interval.digest), (Some(3), Some(known.digest)));
    assert_eq!((interval.attempt, interval.tries), (1, 0));
    assert_eq!(interval.definition_hash.as_deref(), Some("definition-1"));
    assert!(interval.loaded_at.is_some() && interval.finished_at.is_some());
    assert_eq!(world.number("select count(*) from pgtide.batch").await, 0);
    let history = world.ledger.attempts(&control, "users", day(0)).await.unwrap();
    assert_eq!((history.len(), history[0].outcome.as_str(), history[0].rows), (1, "loaded", Some(30)));
    let loaded = world.db.rows("select job, table_name, key, rows from pgtide.loaded").await;
    assert_eq!(loaded, [["users", "mart.users", "day 0", "30"].map(|v| Some(v.to_owned())).to_vec()]);
}

#[tokio::test]
async fn a_batch_that_commits_beside_the_finish_is_not_missed() {
    let world = World::new("late_batch").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 50)).await.unwrap();
    let late = world.session().await;
    world.write_open(&late, &claim, (2, 50)).await.unwrap();
    let known = totals(&[(1, 50)]);
    let (finish, ()) = tokio::join!(world.finish(&control, &claim, &known), async {
        world.until_blocked(&control).await;
        late.batch("committing", "commit").await.unwrap();
    });
    let error = finish.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(
        error.details().iter().any(|line| line == "rows: 100 recorded, 50 known to this run"),
        "{:?}",
        error.details()
    );
    assert_eq!(world.state(0).await, State::Running);
}

#[tokio::test]
async fn a_batch_that_comes_after_the_finish_is_fenced() {
    let world = World::new("too_late").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 50)).await.unwrap();
    begin(&control).await;
    world.ledger.finish(&control, &claim, &totals(&[(1, 50)])).await.unwrap();
    let late = world.session().await;
    let (written, ()) = tokio::join!(world.write(&late, &claim, (2, 50)), async {
        world.until_blocked(&late).await;
        control.batch("committing", "commit").await.unwrap();
    });
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Fenced);
    late.batch("committing, whatever was said", "commit").await.unwrap();
    assert_eq!((world.stored().await, world.number("select rows from pgtide.loaded").await), (50, 50));
}

#[tokio::test]
async fn every_difference_is_listed_and_nothing_is_said_to_be_loaded() {
    let world = World::new("differences").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    world.write(&control, &claim, (3, 10)).await.unwrap();
    let known = Totals { batches: 3, ..totals(&[(1, 10), (2, 10), (3, 11)]) };
    let error = world.finish(&control, &claim, &known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let text = error.details().join("\n");
    for finding in [
        "batches: 2 recorded, 3",
        "rows: 20 recorded, 31",
        "bytes: 200 recorded",
        "digest:",
        "numbers from 1 to 3",
    ] {
        assert!(text.contains(finding), "{finding} in {text}");
    }
    assert_eq!(world.state(0).await, State::Running);
    assert_eq!(world.number("select count(*) from pgtide.attempt").await, 0);
}

#[tokio::test]
async fn what_dead_attempts_left_must_be_cleared_before_the_finish() {
    let world = World::new("not_cleared").await;
    let (control, dead) = world.claim(0).await;
    world.write(&control, &dead, (1, 10)).await.unwrap();
    world.kill(control).await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    let error = world.finish(&control, &claim, &totals(&[(1, 10)])).await.unwrap_err();
    assert_eq!(error.details(), ["10 rows of earlier attempts are not cleared"]);
}

#[tokio::test]
async fn a_resumed_interval_counts_the_rows_of_all_its_attempts() {
    let world = World::new("resumed").await;
    let keyed = |number, key| BatchRecord { resume_key: Some(vec![key]), ..batch(number, 10) };
    for (attempt, key) in [(1, 1u8), (2, 2)] {
        let (control, claim) = world.claim(0).await;
        assert_eq!((claim.attempt, claim.resume_rows), (attempt, i64::from(attempt - 1) * 10));
        begin(&control).await;
        world.ledger.record_batch(&control, &claim, &keyed(1, key)).await.unwrap();
        control.batch("committing", "commit").await.unwrap();
        world.kill(control).await;
    }
    let (control, claim) = world.claim(0).await;
    begin(&control).await;
    world.ledger.record_batch(&control, &claim, &keyed(1, 3)).await.unwrap();
    let known = Totals { rows: 30, ..totals(&[(1, 10)]) };
    world.ledger.finish(&control, &claim, &known).await.unwrap();
    control.batch("committing", "commit").await.unwrap();
    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.rows, interval.bytes, interval.batches), (Some(30), Some(300), Some(3)));
    assert_eq!(interval.digest, Some(totals(&[(1, 10), (2, 10), (3, 10)]).digest));
    assert_eq!(world.db.scalar("select resume_key from pgtide.interval").await, "\\x03");
}

#[tokio::test]
async fn an_append_in_one_transaction_has_rows_and_record_in_the_same_commit() {
    let world = World::new("single").await;
    let single = |rows| Totals { batches: 1, single_transaction: true, ..totals(&[(1, rows)]) };
    let (control, claim) = world.claim(0).await;
    begin(&control).await;
    control
        .batch("writing", "insert into mart.users select 1, i from generate_series(1, 10) i")
        .await
        .unwrap();
    world.ledger.finish(&control, &claim, &single(10)).await.unwrap();
    control.batch("committing", "commit").await.unwrap();
    let together = "select count(*) from mart.users u, pgtide.interval i where u.xmin = i.xmin";
    assert_eq!(world.number(together).await, 10);

    world.ledger.release(&control, &claim).await.unwrap();
    let (control, claim) = world.claim(1).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    let error = world.finish(&control, &claim, &single(10)).await.unwrap_err();
    assert_eq!(error.details(), ["batches from other transactions: 1 recorded, 0 known to this run"]);
}

#[tokio::test]
async fn an_interval_without_rows_finishes() {
    let world = World::new("empty").await;
    let (control, claim) = world.claim(0).await;
    world.finish(&control, &claim, &totals(&[])).await.unwrap();
    assert_eq!(world.snapshot().await.intervals[0].rows, Some(0));
}

#[tokio::test]
async fn a_finish_outside_of_a_read_committed_transaction_is_refused() {
    let world = World::new("isolation").await;
    let (control, claim) = world.claim(0).await;
    assert!(world.ledger.finish(&control, &claim, &totals(&[])).await.is_err());
    control.batch("beginning", "begin isolation level repeatable read").await.unwrap();
    let error = world.ledger.finish(&control, &claim, &totals(&[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    control.batch("ending", "rollback").await.unwrap();
    assert_eq!(world.state(0).await, State::Running);
}

#[tokio::test]
async fn a_failure_is_kept_with_its_code_and_text() {
    let world = World::new("failure").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    let error = Error::new(ErrorKind::Contention, "copying batch 2 of users")
        .with_source("deadlock detected")
        .with_detail("process 1 waits")
        .with_sqlstate("40P01");
    world.ledger.fail(&control, &claim, &error).await.unwrap();
    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.state, interval.error_code.as_deref()), (State::Failed, Some("40P01")));
    assert_eq!(
        interval.error_message.as_deref(),
        Some("copying batch 2 of users: deadlock detected\nprocess 1 waits")
    );
    let latest = world.ledger.latest_error(&control, "users").await.unwrap().unwrap();
    assert_eq!((latest.key.as_str(), latest.rows, latest.attempt), ("day 0", Some(10), 1));

    world.ledger.release(&control, &claim).await.unwrap();
    let (_control, next) = world.claim(0).await;
    assert_eq!((next.tries, next.left_rows), (2, 10), "a failed attempt's rows are still accounted for");
    assert_eq!(world.snapshot().await.intervals[0].error_code, None);
}

#[tokio::test]
async fn a_failed_reload_leaves_the_interval_loaded() {
    let world = World::new("failed_reload").await;
    world.load(0, 10).await;
    let planned = world.reload(0).await;
    let (control, claim) = world.claim_with(&planned).await;
    let error = Error::new(ErrorKind::Connection, "reading users: connection closed");
    world.ledger.fail(&control, &claim, &error).await.unwrap();
    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.state, interval.rows), (State::Loaded, Some(10)));
    assert_eq!(interval.error_code.as_deref(), Some("connection"));
    assert_eq!(world.number("select rows from pgtide.loaded").await, 10);

    world.ledger.release(&control, &claim).await.unwrap();
    let (_control, again) = world.claim_with(&planned).await;
    assert_eq!((again.was_loaded, again.tries), (true, 2), "the same plan may be tried again");
}
