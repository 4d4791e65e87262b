//! The plan against a model: random jobs, ledgers and clocks, and what must hold for all of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A job and a ledger at a moment.
#[derive(Debug, Clone)]
struct World {
    job: Job,
    recorded: Vec<Recorded>,
    now: DateTime<Utc>,
}

fn any_calendar() -> impl Strategy<Value = Calendar> {
    let unit = prop_oneof![
        Just(Unit::Hour),
        Just(Unit::Day),
        Just(Unit::Week),
        Just(Unit::Month),
        Just(Unit::Elapsed(TimeDelta::hours(6))),
    ];
    (unit, prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()))
        .prop_map(|(unit, timezone)| Calendar { unit, timezone })
}

fn any_schedule() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some("@daily".to_owned())),
        Just(Some("30 2 * * *".to_owned())),
        Just(Some("0 3 * * MON".to_owned())),
        (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| Some(format!("{minute} {hour} * * *"))),
    ]
}

/// The state of an interval, its tries, and hours from its end to its load.
fn any_past() -> impl Strategy<Value = Option<(State, u32, i64)>> {
    let state = prop_oneof![
        4 => Just(State::Loaded),
        1 => Just(State::Failed),
        1 => Just(State::Skipped),
        1 => Just(State::Stale),
        1 => Just(State::Interrupted),
    ];
    prop::option::weighted(0.7, (state, 0..6_u32, 0..200_i64))
}

fn any_world() -> impl Strategy<Value = World> {
    let job = (
        any_calendar(),
        any_schedule(),
        prop::sample::select(vec![Catchup::Gaps, Catchup::All, Catchup::Last]),
        prop::sample::subsequence(vec![1_u32, 2, 3, 7], 0..3),
        0..3_u32,
        any::<bool>(),
    );
    // From 1990 to 2030.
    let now = 631_152_000_i64..1_893_456_000;
    (job, now, prop::collection::vec(any_past(), 1..40), 0..50_usize).prop_map(
        |((calendar, cron, catchup, lookback, retries, depends_on_past), seconds, pasts, start)| {
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            let back = std::iter::successors(Some(calendar.containing(now)), |i| Some(calendar.previous(i)));
            let known: Vec<_> = back.take(50).collect();
            let job = job_with(|job| {
                job.calendar = Some(calendar);
                job.timezone = calendar.timezone;
                job.schedule = cron.map(|cron| Schedule::parse(&cron, calendar.timezone).unwrap());
                job.catchup = catchup;
                job.start_date = Some(calendar.execution_date(&known[start]));
                job.depends_on_past = depends_on_past && lookback.is_empty();
                job.lookback = lookback;
                job.retries = retries;
            });
            let past = known.iter().zip(pasts).filter(|(interval, _)| !interval.is_empty());
            let recorded = past.filter_map(|(interval, past)| Some(recorded(*interval, past?))).collect();
            World { job, recorded, now }
        },
    )
}

fn recorded(interval: DataInterval, (state, attempts, hours): (State, u32, i64)) -> Recorded {
    let finished = Some(interval.end + TimeDelta::hours(hours));
    let loaded_at = finished.filter(|_| state.has_rows());
    let attempts = if state == State::Failed { attempts.max(1) } else { 0 };
    Recorded { attempts, finished, loaded_at, ..record(interval, state) }
}

impl World {
    fn calendar(&self) -> Calendar {
        self.job.calendar.unwrap()
    }

    fn plan(&self) -> Plan {
        plan(&self.job, &due(), &self.recorded, self.now).unwrap()
    }

    fn state(&self, interval: &DataInterval) -> Option<&Recorded> {
        self.recorded.iter().find(|record| record.interval == *interval)
    }

    /// Every interval that ought to be loaded by now, found by asking each in turn.
    fn due(&self) -> Vec<DataInterval> {
        let calendar = self.calendar();
        let start = calendar.start_of_date(self.job.start_date.unwrap());
        let all = calendar.intervals_between(start, self.now).filter(|i| !i.is_empty() && self.is_due(i));
        let all: Vec<_> = all.collect();
        match self.job.catchup {
            Catchup::Last => all.last().copied().into_iter().collect(),
            Catchup::All => all,
            _ => {
                let loaded = self.recorded.iter().filter(|r| r.state.has_rows());
                match loaded.map(|record| record.interval).min() {
                    Some(first) => all.into_iter().filter(|interval| first <= *interval).collect(),
                    None => all.last().copied().into_iter().collect(),
                }
            }
        }
    }

    fn is_due(&self, interval: &DataInterval) -> bool {
        let ticks = |schedule: &Schedule| {
            let first = schedule.next_after(interval.end - TimeDelta::seconds(1));
            first.is_some_and(|tick| tick <= self.now)
        };
        interval.end + TimeDelta::minutes(10) <= self.now && self.job.schedule.as_ref().is_none_or(ticks)
    }

    /// The ledger after a run of this plan in which all went well but these.
    fn after(&self, plan: &Plan, fails: impl Fn(&Planned) -> bool) -> Self {
        let mut ledger: BTreeMap<_, _> = self.recorded.iter().map(|r| (r.interval, r.clone())).collect();
        for planned in plan.to_load() {
            let known =
                ledger.entry(planned.interval).or_insert_with(|| record(planned.interval, State::Failed));
            if fails(planned) {
                known.state = if known.state.has_rows() { known.state } else { State::Failed };
                known.attempts += 1;
            } else {
                *known = Recorded {
                    attempts: 0,
                    loaded_at: Some(self.now),
                    ..record(planned.interval, State::Loaded)
                };
            }
        }
        Self { recorded: ledger.into_values().collect(), ..self.clone() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_same_ledger_in_another_order_gives_the_same_plan(world in any_world()) {
        let plan = world.plan();
        let mut other = world.clone();
        other.recorded.reverse();
        prop_assert_eq!(&plan.intervals, &other.plan().intervals);
        prop_assert_eq!((plan.done, plan.notes), (other.plan().done, other.plan().notes));
    }

    #[test]
    fn every_due_interval_is_done_or_in_the_plan_and_none_is_twice(world in any_world()) {
        let plan = world.plan();
        prop_assert!(plan.intervals.windows(2).all(|pair| pair[0].interval < pair[1].interval));
        let listed: BTreeSet<_> = plan.intervals.iter().map(|p| p.interval).collect();
        let due = world.due();
        let done = due.iter().filter(|interval| !listed.contains(interval));
        let mut count = 0;
        for interval in done {
            let state = world.state(interval).map(|record| record.state);
            prop_assert!(matches!(state, Some(State::Loaded | State::Skipped)), "{interval:?} is forgotten");
            count += 1;
        }
        prop_assert_eq!(plan.done, count);
    }

    #[test]
    fn nothing_is_loaded_before_its_time_or_without_a_reason(world in any_world()) {
        let due: BTreeSet<_> = world.due().into_iter().collect();
        for planned in world.plan().to_load() {
            prop_assert!(world.is_due(&planned.interval), "{} is not due", planned.key);
            let record = world.state(&planned.interval);
            match record.map(|record| record.state) {
                None => prop_assert!(due.contains(&planned.interval)),
                Some(State::Loaded) => {
                    prop_assert!(planned.reason.starts_with("lookback from"), "{}", planned.reason);
                }
                Some(State::Failed) => prop_assert!(record.unwrap().attempts <= world.job.retries),
                state => prop_assert_eq!(state, Some(State::Interrupted)),
            }
            let most = world.job.retries + 1;
            prop_assert!(planned.tries_left.is_some_and(|left| (1..=most).contains(&left)));
        }
    }

    #[test]
    fn after_a_run_only_what_failed_is_tried_again(world in any_world(), failing in any::<u64>()) {
        let mut world = world;
        // A chain stops at its first failure, which the model does not know.
        world.job.depends_on_past = false;
        let (plan, due) = (world.plan(), world.due());
        let fails = |planned: &Planned| (planned.interval.start.timestamp() / 60).unsigned_abs() & failing & 7 == 1;
        let failed: Vec<_> = plan.to_load().filter(|p| fails(p)).map(|p| p.interval).collect();
        let again = world.after(&plan, fails).plan();
        for planned in again.to_load() {
            // What was taken up before all that was loaded makes what is between them a hole.
            let is_new = !due.contains(&planned.interval) && planned.reason == "never loaded";
            prop_assert!(is_new || failed.contains(&planned.interval), "{}: {}", planned.key, planned.reason);
        }
        let well = |world: &World| world.after(&world.plan(), |_| false);
        prop_assert_eq!(well(&well(&world)).plan().to_load().count(), 0);
    }

    #[test]
    fn the_past_of_what_is_loaded_is_done_or_comes_first(world in any_world()) {
        let mut world = world;
        (world.job.depends_on_past, world.job.lookback) = (true, Vec::new());
        let calendar = world.calendar();
        let plan = world.plan();
        let first = world.recorded.iter().map(|record| record.interval.start).min();
        let mut here = BTreeSet::new();
        for planned in plan.to_load() {
            let mut before = calendar.previous(&planned.interval);
            while before.is_empty() {
                before = calendar.previous(&before);
            }
            let state = world.state(&before).map(|record| record.state);
            let is_done = matches!(state, Some(State::Loaded | State::Stale | State::Skipped));
            let start = calendar.start_of_date(world.job.start_date.unwrap());
            let is_no_past = before.start < start || first.is_none_or(|first| before.start < first);
            prop_assert!(is_done || is_no_past || here.contains(&before), "{}", planned.key);
            here.insert(planned.interval);
        }
    }

    #[test]
    fn the_next_moment_is_when_something_new_is_due(world in any_world()) {
        let mut world = world;
        world.job.depends_on_past = false;
        let Some(next) = next_due(&world.job, &world.recorded, world.now) else {
            return Err(TestCaseError::fail("the job does not end"));
        };
        prop_assert_eq!(next == world.now, world.plan().to_load().count() > 0);
        let done = world.after(&world.plan(), |_| false);
        let done = done.after(&done.plan(), |_| false);
        let next = next_due(&done.job, &done.recorded, done.now).unwrap();
        let loads = |now| World { now, ..done.clone() }.plan().to_load().count();
        prop_assert!(next > done.now);
        // What was loaded early may leave a moment without work to a job that looks back, or at the last only.
        let is_sure = world.job.lookback.is_empty() && world.job.catchup != Catchup::Last;
        prop_assert!(loads(next) > 0 || !is_sure, "nothing is due at {next}");
        prop_assert_eq!(loads(next - TimeDelta::seconds(1)), 0, "something is due before {}", next);
    }
}
