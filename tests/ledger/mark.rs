//! Marks: audited, never beside a live run.

use pgtide::error::ErrorKind;
use pgtide::ledger::{ClaimOutcome, ClaimRequest, MarkRequest};
use pgtide::state::State;

use super::{World, day, totals};

#[tokio::test]
async fn an_interval_that_another_tool_loaded_is_marked_loaded() {
    let world = World::new("mark_loaded").await;
    let control = world.session().await;
    world.ledger.mark(&control, &world.mark(0, State::Loaded)).await.unwrap();
    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.state, interval.rows, interval.attempt), (State::Loaded, None, 0));
    assert_eq!(interval.reason.as_deref(), Some("because"));
    let outcome = world.ledger.claim(&control, &world.request(0)).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::AlreadyLoaded), "{outcome:?}");
}

#[tokio::test]
async fn every_mark_is_kept_with_its_reason_and_its_author() {
    let world = World::new("mark_audit").await;
    world.load(0, 10).await;
    let control = world.session().await;
    for state in [State::Stale, State::Skipped, State::Failed, State::Loaded] {
        world.ledger.mark(&control, &world.mark(0, state)).await.unwrap();
        assert_eq!(world.state(0).await, state);
    }
    let history = world.ledger.attempts(&control, "users", day(0)).await.unwrap();
    let states: Vec<State> = history.iter().map(|a| a.state).collect();
    assert_eq!(states, [State::Loaded, State::Stale, State::Skipped, State::Failed, State::Loaded]);
    let last = history.last().unwrap();
    assert_eq!((last.outcome.as_str(), last.reason.as_deref()), ("marked", Some("because")));
    assert_eq!((last.role.as_str(), last.host.as_deref()), ("postgres", Some("laptop")));
    assert_eq!(world.snapshot().await.intervals[0].rows, Some(10), "the load that stands is still counted");
}

#[tokio::test]
async fn a_loaded_interval_that_was_marked_failed_is_replaced_and_not_loaded_beside() {
    let world = World::new("mark_failed").await;
    world.load(0, 10).await;
    let control = world.session().await;
    world.ledger.mark(&control, &world.mark(0, State::Failed)).await.unwrap();
    let seen = world.snapshot().await.intervals[0].seen();
    let request = ClaimRequest { seen: Some(seen), ..world.request(0) };
    let (_control, claim) = world.claim_with(&request).await;
    assert!(claim.was_loaded);
    assert_eq!(claim.previous_rows, Some(10));
}

#[tokio::test]
async fn a_mark_beside_a_live_run_is_refused_and_after_its_death_it_fences() {
    let world = World::new("mark_live").await;
    let (control, claim) = world.claim(0).await;
    let marking = world.session().await;
    let error = world.ledger.mark(&marking, &world.mark(0, State::Skipped)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("etl-1"), "{error}");
    assert_eq!(world.state(0).await, State::Running);

    let orphan = world.session().await;
    world.write(&orphan, &claim, (1, 10)).await.unwrap();
    world.kill(control).await;
    world.ledger.mark(&marking, &world.mark(0, State::Skipped)).await.unwrap();
    assert_eq!(world.write(&orphan, &claim, (2, 10)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(world.state(0).await, State::Skipped);
    let outcomes: Vec<String> = world
        .ledger
        .attempts(&marking, "users", day(0))
        .await
        .unwrap()
        .into_iter()
        .map(|a| a.outcome)
        .collect();
    assert_eq!(outcomes, ["interrupted", "marked"]);
}

#[tokio::test]
async fn a_half_loaded_interval_that_is_marked_loaded_has_no_count() {
    let world = World::new("mark_half").await;
    let (control, claim) = world.claim(0).await;
    world.write(&control, &claim, (1, 10)).await.unwrap();
    world.kill(control).await;
    world.ledger.mark(&world.session().await, &world.mark(0, State::Loaded)).await.unwrap();
    let interval = world.snapshot().await.intervals.remove(0);
    assert_eq!((interval.state, interval.rows), (State::Loaded, None));
    assert_eq!(world.number("select count(*) from pgtide.batch").await, 0);
}

#[tokio::test]
async fn a_skip_after_the_plan_is_respected() {
    let world = World::new("mark_skip").await;
    let control = world.session().await;
    world.ledger.mark(&control, &world.mark(0, State::Skipped)).await.unwrap();
    let outcome = world.ledger.claim(&control, &world.request(0)).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::MarkedSkipped), "{outcome:?}");
    let seen = world.snapshot().await.intervals[0].seen();
    let (control, claim) = world.claim_with(&ClaimRequest { seen: Some(seen), ..world.request(0) }).await;
    world.finish(&control, &claim, &totals(&[])).await.unwrap();
}

#[tokio::test]
async fn marks_that_make_no_sense_are_refused_and_leave_no_row() {
    let world = World::new("mark_nonsense").await;
    let control = world.session().await;
    let refused =
        async |request: MarkRequest| world.ledger.mark(&control, &request).await.unwrap_err().kind();
    assert_eq!(refused(world.mark(0, State::Running)).await, ErrorKind::Usage);
    assert_eq!(refused(world.mark(0, State::Interrupted)).await, ErrorKind::Usage);
    assert_eq!(
        refused(MarkRequest { reason: " ".to_owned(), ..world.mark(0, State::Loaded) }).await,
        ErrorKind::Usage
    );
    assert_eq!(refused(world.mark(0, State::Stale)).await, ErrorKind::Preflight);
    world.load(1, 10).await;
    let other = MarkRequest { job: "people".to_owned(), ..world.mark(1, State::Loaded) };
    assert_eq!(refused(other).await, ErrorKind::Preflight);
    assert_eq!(world.number("select count(*) from pgtide.interval").await, 1);
}
