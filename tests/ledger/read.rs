//! Looking at the ledger: true beside live runs, and harmless.

use chrono::NaiveDate;
use pgtide::interval::DataInterval;
use pgtide::ledger::{Activity, ClaimRequest, DayRows, Ledger};
use pgtide::state::State;

use super::{World, day, totals};

#[tokio::test]
async fn a_snapshot_has_the_intervals_of_the_range_oldest_first() {
    let world = World::new("range").await;
    for number in [2, 0, 1, 3] {
        world.load(number, number + 1).await;
    }
    let control = world.session().await;
    let range = DataInterval { start: day(1).start, end: day(3).start };
    let snapshot = world.ledger.snapshot(&control, "users", Some(range)).await.unwrap();
    assert_eq!(snapshot.intervals.iter().map(|i| i.interval).collect::<Vec<_>>(), [day(1), day(2)]);
    assert_eq!(snapshot.intervals.iter().map(|i| i.rows).collect::<Vec<_>>(), [Some(2), Some(3)]);
    assert!(snapshot.intervals.iter().all(|i| i.activity == Activity::Idle));
    assert!(world.ledger.snapshot(&control, "people", None).await.unwrap().intervals.is_empty());
}

#[tokio::test]
async fn a_whole_table_is_the_interval_from_infinity_to_infinity() {
    let world = World::new("whole").await;
    let request = ClaimRequest { interval: DataInterval::WHOLE, key: "all".to_owned(), ..world.request(0) };
    let (control, claim) = world.claim_with(&request).await;
    world.finish(&control, &claim, &totals(&[])).await.unwrap();
    assert_eq!(world.snapshot().await.intervals[0].interval, DataInterval::WHOLE);
    let bounds = world.db.scalar("select interval_start || ' ' || interval_end from pgtide.loaded").await;
    assert_eq!(bounds, "-infinity infinity");
}

#[tokio::test]
async fn dead_and_live_runs_are_told_apart_in_one_snapshot() {
    let world = World::new("dead_and_live").await;
    let (dead, _) = world.claim(0).await;
    let (_live, _) = world.claim(1).await;
    world.load(2, 10).await;
    world.kill(dead).await;
    let states: Vec<_> = world.snapshot().await.intervals.iter().map(|i| (i.state, i.activity)).collect();
    assert_eq!(
        states,
        [
            (State::Interrupted, Activity::Dead),
            (State::Running, Activity::Live),
            (State::Loaded, Activity::Idle)
        ]
    );
}

#[tokio::test]
async fn rows_per_day_are_counted_by_the_jobs_own_dates() {
    let world = World::new("per_day").await;
    for number in 0..4 {
        world.load(number, (number + 1) * 10).await;
    }
    // In New York the first day begins at 05:00 UTC and is the first of January.
    let rows = world.ledger.rows_per_day(&world.session().await, "users", 3).await.unwrap();
    let date = |day| NaiveDate::from_ymd_opt(2026, 1, day).unwrap();
    let expected = [(2, 20), (3, 30), (4, 40)].map(|(day, rows)| DayRows { date: date(day), rows });
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn looking_works_in_a_session_that_cannot_write() {
    let world = World::new("read_only").await;
    world.load(0, 10).await;
    let (control, _) = world.claim(1).await;
    world.kill(control).await;
    let looking = world.session().await;
    looking.batch("setting", "set default_transaction_read_only = on").await.unwrap();
    let ledger = Ledger::find(&looking, "pgtide").await.unwrap().unwrap();
    assert_eq!(ledger.snapshot(&looking, "users", None).await.unwrap().intervals.len(), 2);
    assert_eq!(ledger.attempts(&looking, "users", day(0)).await.unwrap().len(), 1);
    assert!(ledger.latest_error(&looking, "users").await.unwrap().is_none());
    assert_eq!(ledger.rows_per_day(&looking, "users", 10).await.unwrap().len(), 1);
}
