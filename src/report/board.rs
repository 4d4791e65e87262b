//! What is known at a moment: every event is counted here first, then shown by one of the views.
//!
//! The board is bounded: it holds the intervals that run, one line per job, and counts of the rest.
//! Contract with the engine: every interval left alone is said by `IntervalSkipped`; those the plan
//! already left out (`RunStarted::skipped`) come first, later ones are taken off the waiting.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Local};

use super::bottleneck::Bottleneck;
use crate::event::{Event, IntervalId, Phase, RunStarted, Waits};

/// The span, in which rates are measured.
const WINDOW: Duration = Duration::from_secs(10);

/// A point in time: on the reporter's own clock, and on the wall.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since the reporter started.
    pub at: Duration,
    /// What a clock on the wall shows.
    pub wall: DateTime<FixedOffset>,
}

impl Moment {
    /// Now, for a reporter that started at `start`.
    #[must_use]
    pub fn since(start: std::time::Instant) -> Self {
        Self { at: start.elapsed(), wall: Local::now().fixed_offset() }
    }
}

/// Which jobs a reporter tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Span {
    /// One; or tables of a copy.
    #[default]
    One,
    /// Several, which may run at the same time.
    Several,
    /// Any, again and again: what is over is forgotten.
    Forever,
}

/// Jobs that are over and still known, where there is no end.
const REMEMBERED: usize = 32;

/// Totals over everything that was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    span: Span,
    jobs: Vec<JobCount>,
    pub(super) running: Vec<Running>,
    /// Views that are being refreshed.
    pub(super) views: Vec<super::refresh::AtWork>,
    /// What bounds the speed.
    pub(super) bottleneck: Bottleneck,
    rows_loaded: u64,
    bytes_loaded: u64,
    sent: (u64, u64),
    rate: Rate,
    started: Option<Duration>,
    /// How many tries an interval may have, for those that failed once.
    tries: HashMap<IntervalId, u32>,
}

/// One job's intervals.
#[derive(Debug, Clone)]
pub(super) struct JobCount {
    pub(super) run: RunStarted,
    pub(super) loaded: usize,
    pub(super) failed: usize,
    pub(super) skip_reasons: BTreeMap<String, usize>,
    pub(super) finished: bool,
}

/// An interval at work.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) id: IntervalId,
    pub(super) attempt: u32,
    pub(super) phase: Phase,
    pub(super) since: Duration,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) estimate: Option<u64>,
    /// When the next try starts, while there is a pause.
    pub(super) retry_at: Option<Duration>,
    rate: Rate,
}

/// The numbers of the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) intervals: usize,
    pub(super) loaded: usize,
    pub(super) skipped: usize,
    pub(super) failed: usize,
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl JobCount {
    fn new(run: &RunStarted) -> Self {
        Self { run: run.clone(), loaded: 0, failed: 0, skip_reasons: BTreeMap::new(), finished: false }
    }

    /// A table copied whole has one interval, all of time, and no zone.
    pub(super) fn is_whole(&self) -> bool {
        self.run.timezone.is_none() && self.run.intervals <= 1
    }

    fn skipped(&self) -> usize {
        self.skip_reasons.values().sum::<usize>().max(self.run.skipped)
    }

    /// Intervals that were planned and then found to need nothing.
    fn skipped_late(&self) -> usize {
        self.skipped() - self.run.skipped
    }
}

impl Board {
    pub(super) fn new(span: Span) -> Self {
        Self { span, ..Self::default() }
    }

    /// Forgets what is over, so that a process without an end stays small and counts what is at work.
    fn forget(&mut self, job: &str) {
        if self.jobs.iter().all(|job| job.finished) {
            let last = self.jobs.split_off(self.jobs.len().saturating_sub(REMEMBERED));
            *self = Self { span: self.span, jobs: last, ..Self::default() };
        }
        self.jobs.retain(|known| known.run.job != job);
        self.tries.retain(|id, _| id.job != job);
    }

    /// Counts one event.
    pub(super) fn apply(&mut self, event: &Event, at: Duration) {
        match event {
            Event::RunStarted(run) => {
                if self.span == Span::Forever {
                    self.forget(&run.job);
                }
                self.started.get_or_insert(at);
                self.jobs.push(JobCount::new(run));
            }
            Event::IntervalLoadedElsewhere { id } => self.end(id, |job| job.loaded += 1),
            Event::Waited { id, waits } => self.waited(id, waits, at),
            Event::WaitsForSlot { job, limit } => self.bottleneck.slot(job, limit.as_ref()),
            Event::IntervalStopped { id } => self.retire(id),
            Event::IntervalSkipped { id, reason } => {
                self.retire(id);
                if let Some(job) = self.job_mut(&id.job) {
                    *job.skip_reasons.entry(short(reason).to_owned()).or_default() += 1;
                }
            }
            Event::IntervalStarted { id, attempt, estimated_rows, .. } => {
                self.start(id, *attempt, *estimated_rows, at);
            }
            Event::PhaseChanged { id, phase } => {
                if let Some(running) = self.running_mut(id) {
                    running.phase = *phase;
                    running.since = at;
                }
            }
            Event::Progress { id, rows, bytes } => self.progress(id, (*rows, *bytes), at),
            Event::IntervalRetrying { id, tries, wait, .. } => {
                self.tries.insert(id.clone(), *tries);
                if let Some(running) = self.running_mut(id) {
                    running.retry_at = Some(at + *wait);
                    (running.rows, running.bytes) = (0, 0);
                }
            }
            Event::IntervalLoaded { id, loaded } => {
                self.progress(id, (loaded.rows, loaded.bytes), at);
                self.rows_loaded += loaded.rows;
                self.bytes_loaded += loaded.bytes;
                self.tries.remove(id);
                self.end(id, |job| job.loaded += 1);
            }
            Event::IntervalFailed { id, .. } => self.end(id, |job| job.failed += 1),
            Event::RunFinished(summary) => {
                self.running.retain(|running| running.id.job != summary.job);
                self.bottleneck.slot(&summary.job, None);
                if let Some(job) = self.job_mut(&summary.job) {
                    job.finished = true;
                }
            }
            Event::RunNotStarted { job } => {
                self.bottleneck.slot(job, None);
                if let Some(job) = self.job_mut(job) {
                    job.finished = true;
                }
            }
            Event::BatchCommitted { .. } | Event::Notice { .. } | Event::Scheduling(_) => {}
            of_views => super::refresh::apply(&mut self.views, of_views, at),
        }
    }

    fn start(&mut self, id: &IntervalId, attempt: u32, estimate: Option<u64>, at: Duration) {
        let running = Running {
            id: id.clone(),
            attempt,
            phase: Phase::Claiming,
            since: at,
            rows: 0,
            bytes: 0,
            estimate,
            retry_at: None,
            rate: Rate::default(),
        };
        match self.running_mut(id) {
            // Another try keeps its line.
            Some(before) => *before = running,
            None => self.running.push(running),
        }
    }

    /// How many tries an interval may have, if it failed at least once.
    pub(super) fn tries(&self, id: &IntervalId) -> Option<u32> {
        self.tries.get(id).copied()
    }

    fn progress(&mut self, id: &IntervalId, (rows, bytes): (u64, u64), at: Duration) {
        let Some(running) = self.running_mut(id) else { return };
        let new = (rows.saturating_sub(running.rows), bytes.saturating_sub(running.bytes));
        (running.rows, running.bytes) = (rows, bytes);
        running.rate.push(at, (rows, bytes));
        self.sent.0 += new.0;
        self.sent.1 += new.1;
        self.rate.push(at, self.sent);
    }

    fn waited(&mut self, id: &IntervalId, waits: &Waits, at: Duration) {
        let Some(run) = self.jobs.iter().rev().map(|job| &job.run).find(|run| run.job == id.job) else {
            return;
        };
        self.bottleneck.waited(id, waits, (&run.source, &run.destination), at);
    }

    fn retire(&mut self, id: &IntervalId) {
        self.running.retain(|running| running.id != *id);
        self.bottleneck.ended(id);
    }

    fn end(&mut self, id: &IntervalId, count: impl FnOnce(&mut JobCount)) {
        self.retire(id);
        self.job_mut(&id.job).map(count);
    }

    fn running_mut(&mut self, id: &IntervalId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.id == *id)
    }

    fn job_mut(&mut self, name: &str) -> Option<&mut JobCount> {
        self.jobs.iter_mut().rev().find(|job| job.run.job == name)
    }

    /// The job of that name, the latest if it ran twice.
    pub(super) fn job(&self, name: &str) -> Option<&JobCount> {
        self.jobs.iter().rev().find(|job| job.run.job == name)
    }

    /// Whether several jobs work at the same time, so that a date alone would not tell which.
    pub(super) fn is_mixed(&self) -> bool {
        self.span != Span::One || self.jobs.iter().filter(|job| !job.finished).count() > 1
    }

    /// Whether it goes on and on, so that what happens needs its time.
    pub(super) fn is_endless(&self) -> bool {
        self.span == Span::Forever
    }

    /// Whether an event may stay unsaid among those of other jobs: there was nothing to do.
    pub(super) fn is_idle(&self, event: &Event) -> bool {
        let is_idle = match event {
            // Its end says what it was.
            Event::RunStarted(run) => run.intervals == 0 || self.span == Span::Forever,
            Event::RunFinished(run) => run.loaded == 0 && run.failed.is_empty() && run.not_started == 0,
            _ => false,
        };
        is_idle && self.span != Span::One
    }

    /// What to call an interval: its date, with the job's name where that is needed; a table's name.
    pub(super) fn label(&self, id: &IntervalId) -> String {
        label(id, self.is_mixed())
    }

    /// The numbers of the whole.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            rows: self.rows_loaded + self.running.iter().map(|running| running.rows).sum::<u64>(),
            bytes: self.bytes_loaded + self.running.iter().map(|running| running.bytes).sum::<u64>(),
            running: self.running.len(),
            ..Totals::default()
        };
        let is_over = |job: &&JobCount| self.span == Span::Forever && job.finished;
        for job in self.jobs.iter().filter(|job| !is_over(job)) {
            totals.intervals += job.run.intervals + job.run.skipped;
            totals.loaded += job.loaded;
            totals.failed += job.failed;
            totals.skipped += job.skipped();
            if !job.finished {
                let ended = job.loaded + job.failed + job.skipped_late();
                totals.waiting += job.run.intervals.saturating_sub(ended);
            }
        }
        totals.waiting = totals.waiting.saturating_sub(totals.running);
        totals
    }

    /// Rows and bytes per second of the last ten seconds, over everything that runs.
    pub(super) fn rates(&self, at: Duration) -> Option<(f64, f64)> {
        self.rate.per_second(at)
    }

    /// How much is left, from what the intervals so far took; none while that would be a guess.
    pub(super) fn left(&self, at: Duration) -> Option<Duration> {
        let totals = self.totals();
        let part: f64 = self.running.iter().filter_map(Running::part).sum();
        let done = (totals.loaded + totals.failed) as f64 + part;
        let open = (totals.running + totals.waiting) as f64 - part;
        let elapsed = at.saturating_sub(self.started?);
        let known = elapsed >= Duration::from_secs(2) && done >= 0.02 && open > 0.0;
        known.then(|| elapsed.mul_f64((open / done).min(1e6)))
    }
}

/// What to call an interval; `mixed` if its job is not plain from what is around.
pub(super) fn label(id: &IntervalId, mixed: bool) -> String {
    let job = id.job.strip_prefix("copy:").unwrap_or(&id.job);
    match (id.key.as_str(), mixed) {
        ("all", _) => job.to_owned(),
        (key, true) => format!("{job} {key}"),
        (key, false) => key.to_owned(),
    }
}

impl Running {
    /// The part that is done, 0 to 1, if it can be told; never 1 before the end.
    pub(super) fn part(&self) -> Option<f64> {
        match self.estimate {
            Some(estimate) if estimate > 0 => Some((self.rows as f64 / estimate as f64).min(0.99)),
            _ => None,
        }
    }

    /// Rows and bytes per second.
    pub(super) fn rates(&self, at: Duration) -> Option<(f64, f64)> {
        self.rate.per_second(at)
    }

    /// How much is left of this interval.
    pub(super) fn left(&self, at: Duration) -> Option<Duration> {
        let (rows, _) = self.rates(at).filter(|(rows, _)| *rows >= 1.0)?;
        let open = self.estimate?.checked_sub(self.rows)?;
        Some(Duration::from_secs_f64(open as f64 / rows))
    }
}

/// A rate over the last [`WINDOW`].
#[derive(Debug, Clone, Default)]
struct Rate(VecDeque<(Duration, (u64, u64))>);

impl Rate {
    fn push(&mut self, at: Duration, total: (u64, u64)) {
        let close = |(last, _): &(Duration, _)| at.saturating_sub(*last) < Duration::from_millis(250);
        if self.0.len() > 1 && self.0.back().is_some_and(close) {
            self.0.pop_back();
        }
        self.0.push_back((at, total));
        while self.0.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) > WINDOW) {
            self.0.pop_front();
        }
    }

    fn per_second(&self, at: Duration) -> Option<(f64, f64)> {
        let (_, last) = *self.0.back()?;
        let old = |(then, _): &&(Duration, _)| at.saturating_sub(*then) >= WINDOW;
        let (then, first) = *self.0.iter().rev().find(old).or(self.0.front())?;
        let seconds = at.saturating_sub(then).as_secs_f64();
        let per = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
        (seconds >= 0.3).then(|| (per(last.0, first.0), per(last.1, first.1)))
    }
}

/// A reason without the dates and counts that make each one different.
fn short(reason: &str) -> &str {
    let number = reason.char_indices().zip(reason.chars().skip(1));
    let starts = |c, next: char| c == ' ' && (next.is_ascii_digit() || next == '(');
    let end = number.filter(|((_, c), next)| starts(*c, *next)).map(|((at, _), _)| at).next();
    reason[..end.unwrap_or(reason.len())].trim_end_matches([',', ':', ';'])
}

#[cfg(test)]
mod tests {
    use super::super::story::{self, at};
    use super::*;

    #[test]
    fn every_interval_is_in_exactly_one_place() {
        let board = story::backfill_at_work();
        let totals = board.totals();
        assert_eq!((totals.intervals, totals.loaded, totals.skipped, totals.failed), (1_096, 484, 4, 1));
        assert_eq!((totals.running, totals.waiting), (10, 597));
    }

    #[test]
    fn an_interval_that_is_skipped_late_is_no_longer_waiting() {
        let mut board = Board::default();
        board.apply(&Event::RunStarted(story::run("orders", 3, 1)), at(0.0));
        let skip = |key: &str| Event::IntervalSkipped { id: story::id("orders", key), reason: "x".into() };
        board.apply(&skip("2026-01-01"), at(0.0));
        assert_eq!((board.totals().skipped, board.totals().waiting), (1, 3), "the plan had left it out");
        board.apply(&skip("2026-01-02"), at(0.1));
        assert_eq!((board.totals().skipped, board.totals().waiting), (2, 2));
    }

    #[test]
    fn reasons_are_counted_together_without_what_makes_each_one_different() {
        assert_eq!(short("loaded 2026-01-06 03:00, 27 rows"), "loaded");
        assert_eq!(short("already running (etl-1 since 2026-01-06)"), "already running");
        assert_eq!(short("marked skipped: no source"), "marked skipped: no source");
    }

    #[test]
    fn rates_are_of_the_last_ten_seconds_and_fall_when_nothing_comes() {
        let mut rate = Rate::default();
        for second in 0..=60_u64 {
            let rows = if second <= 30 { second * 100 } else { 3_000 + (second - 30) * 10 };
            rate.push(at(second as f64), (rows, rows * 2));
        }
        assert_eq!(rate.per_second(at(60.0)), Some((10.0, 20.0)));
        assert_eq!(rate.per_second(at(65.0)).unwrap().0, 5.0);
        assert_eq!(rate.per_second(at(90.0)).unwrap().0, 0.0);
        assert!(rate.0.len() < 15, "it stays small: {}", rate.0.len());
    }

    #[test]
    fn a_retry_starts_from_nothing_but_rows_sent_twice_are_work_done_twice() {
        let mut board = Board::default();
        let id = story::id("orders", "2026-01-01");
        board.apply(&Event::RunStarted(story::run("orders", 1, 0)), at(0.0));
        board.apply(&story::started(&id, 1, Some(100)), at(0.0));
        board.apply(&Event::Progress { id: id.clone(), rows: 50, bytes: 500 }, at(1.0));
        let wait = Duration::from_secs(5);
        board.apply(
            &Event::IntervalRetrying { id: id.clone(), failure: story::deadlock(1), tries: 4, wait },
            at(2.0),
        );
        assert_eq!((board.totals().rows, board.totals().running), (0, 1));
        board.apply(&story::started(&id, 2, Some(100)), at(7.0));
        board.apply(&Event::Progress { id: id.clone(), rows: 20, bytes: 200 }, at(8.0));
        assert_eq!((board.totals().rows, board.sent), (20, (70, 700)));
        assert_eq!((board.running[0].attempt, board.tries(&id)), (2, Some(4)));
    }

    #[test]
    fn the_time_left_follows_what_was_done() {
        let mut board = Board::default();
        board.apply(&Event::RunStarted(story::run("orders", 4, 0)), at(0.0));
        assert_eq!(board.left(at(10.0)), None, "nothing is done");
        let id = story::id("orders", "2026-01-01");
        board.apply(&story::started(&id, 1, Some(100)), at(0.0));
        board.apply(&story::loaded(&id, 100), at(10.0));
        assert_eq!(board.left(at(10.0)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_board_without_an_end_stays_small_and_counts_what_is_at_work() {
        let mut board = Board::new(Span::Forever);
        for round in 0..500 {
            let job = format!("job-{}", round % 100);
            let id = story::id(&job, "2026-01-01");
            board.apply(&Event::RunStarted(story::run(&job, 1, 0)), at(0.0));
            board.apply(&story::started(&id, 1, None), at(0.0));
            assert_eq!((board.totals().intervals, board.totals().running), (1, 1), "round {round}");
            match round % 3 {
                0 => board.apply(&Event::RunNotStarted { job: job.clone() }, at(1.0)),
                _ => board.apply(&story::loaded(&id, 10), at(1.0)),
            }
            let summary = crate::event::Summary { job, ..Default::default() };
            board.apply(&Event::RunFinished(summary), at(1.0));
            assert!(board.jobs.len() <= REMEMBERED + 1, "round {round}");
        }
        assert!(board.is_mixed() && board.rows_loaded <= 10 && board.tries.is_empty());
    }
}
