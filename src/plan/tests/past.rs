//! `depends_on_past`: nothing overtakes what came before it.

use super::*;

fn chained() -> Job {
    job_with(|job| job.depends_on_past = true)
}

#[test]
fn an_interval_follows_one_that_is_loaded_or_skipped_or_loaded_before_it_here() {
    let mut recorded = loaded(["2026-01-06"]);
    recorded.push(day("2026-01-07", State::Skipped));
    assert_eq!(keys(&chained(), &due(), &recorded), ["2026-01-08", "2026-01-09", "2026-01-10"]);
    assert_eq!(keys(&chained(), &days(["2026-01-08"]), &recorded), ["2026-01-08"]);
}

#[test]
fn what_follows_a_hole_or_a_failure_is_blocked_with_the_reason() {
    let mut recorded = loaded(["2026-01-06", "2026-01-08"]);
    assert_eq!(
        lines(&planned(&chained(), &days(["2026-01-10"]), &recorded)),
        ["2026-01-10 blocked: waits for 2026-01-09, which was never loaded"]
    );
    recorded.push(Recorded { attempts: 4, ..day("2026-01-09", State::Failed) });
    let plan = planned(&chained(), &due(), &recorded);
    assert_eq!(lines(&plan)[0], "2026-01-07 load: never loaded");
    assert!(lines(&plan)[1].starts_with("2026-01-09 exhausted"), "{:?}", lines(&plan));
    assert_eq!(lines(&plan)[2], "2026-01-10 blocked: waits for 2026-01-09, which failed");
    assert_eq!(plan.blocked().count(), 1);
    assert_eq!(
        next_due(&chained(), &recorded[1..], now()),
        Some(at("2026-01-12T00:10")),
        "nothing can be done now"
    );
}

#[test]
fn there_is_no_past_before_the_start_or_before_all_that_is_known() {
    assert_eq!(keys(&chained(), &due(), &[]), ["2026-01-10"]);
    assert_eq!(keys(&chained(), &days(["2026-01-03"]), &loaded(["2026-01-05"])), ["2026-01-03"]);
    let mut started = chained();
    started.start_date = Some(date("2026-01-09"));
    let known = vec![day("2026-01-01", State::Failed)];
    assert_eq!(keys(&started, &days(["2026-01-09"]), &known), ["2026-01-09"]);
}

#[test]
fn a_date_without_an_instant_does_not_break_the_chain() {
    let zone = Calendar { unit: Unit::Day, timezone: Pacific::Apia };
    let mut apia = chained();
    apia.calendar = Some(zone);
    let recorded = [record(zone.parse_key("2011-12-29").unwrap(), State::Loaded)];
    assert_eq!(keys(&apia, &days(["2011-12-31"]), &recorded), ["2011-12-31"]);
}

#[test]
fn newest_first_is_refused() {
    for request in [due(), days(["2026-01-05"])] {
        let error = refused(&chained(), &Request { backwards: true, ..request }, &[]);
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            text_of(&error).contains("it cannot be loaded newest first\nhint: leave --run-backwards out")
        );
    }
}
