//! How many intervals run at once over all processes: what a slot waits for before it claims.
//!
//! A slot takes all limits of an interval at once and keeps them for its next interval, unless
//! others who go first wait. One slot of a process waits at a time, with its control session alone; nothing
//! is held while it waits.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::Mutex;

use super::halt::Applicant;
use super::slot::Slot;
use super::{Budget, Engine, stopped};
use crate::config::job::Job;
use crate::error::Result;
use crate::event::Event;
use crate::ledger::{Asked, Class, Limit, Rank};

/// The time between two tries; up to as much again is added, so that processes do not march in step.
const POLL: Duration = Duration::from_millis(150);

/// How long slots are kept before somebody asks whether others who go first wait for them.
const KEEP: Duration = Duration::from_millis(200);

/// The limits of a job's intervals.
#[derive(Debug)]
pub(super) struct Limits {
    all: Vec<Limit>,
    rank: Rank,
    /// Who holds it waits; what was said about waiting.
    gate: Mutex<HashSet<usize>>,
}

impl Limits {
    pub(super) fn of(engine: &Engine, job: &Job, budget: &Budget) -> Self {
        let mut all = Vec::new();
        let mut add = |kind, name: &str, total: Option<usize>, take: usize| {
            let Some(total) = total else { return };
            let same = |limit: &&mut Limit| limit.kind == kind && limit.name == name;
            match all.iter_mut().find(same) {
                Some(limit) => limit.take = (limit.take + take).min(limit.total),
                None => {
                    all.push(Limit { kind, name: name.to_owned(), total, take: take.clamp(1, total.max(1)) })
                }
            }
        };
        add("max_active_runs", &job.name, job.calendar.map(|_| active_runs(job)), 1);
        let pool = job.pool.as_deref().unwrap_or_default();
        add("pool", pool, engine.options.pool_slots.filter(|_| job.pool.is_some()), job.pool_slots);
        add("parallelism", "", engine.options.parallelism, 1);
        let (source, destination) = (&engine.source, &engine.destination);
        add("max_connections", &source.name, source.max_connections, 1);
        add("max_connections", &destination.name, destination.max_connections, budget.writers + 1);
        let class = if engine.options.backfill.is_some() { Class::Backfill } else { Class::Run };
        let rank = Rank { class, weight: job.priority_weight };
        Self { all, rank, gate: Mutex::default() }
    }

    /// Waits until the slot holds its share of every limit; opens its control session alone.
    pub(super) async fn admit(&self, run: Applicant<'_>, slot: &mut Slot) -> Result<()> {
        if self.all.is_empty() || self.keeps(run, slot).await? {
            return Ok(());
        }
        let mut said = self.gate.lock().await;
        let mut has_waited = false;
        loop {
            run.engine.answered(run.job, slot.open_control(run.engine, run.job)).await?;
            let control = slot.control()?;
            run.may_start(control).await?;
            let asked = run.ledger.ask_for_slots(control, &self.all, self.rank);
            let asked = run.engine.answered(run.job, asked).await?;
            if let Asked::Short(limit) = asked {
                let Limit { kind, name, total, .. } = &self.all[limit];
                let limit = Some((*kind, name.clone(), *total));
                run.engine.events.send(Event::WaitsForSlot { job: run.job.name.clone(), limit });
            }
            match asked {
                Asked::Given(slots) => {
                    if has_waited {
                        let ended = run.ledger.stop_waiting(control, &self.all, self.rank);
                        run.engine.answered(run.job, ended).await?;
                    }
                    slot.hold(slots);
                    if has_waited {
                        let job = run.job.name.clone();
                        run.engine.events.send(Event::WaitsForSlot { job, limit: None });
                    }
                    return Ok(());
                }
                Asked::Short(limit) if said.insert(limit) => {
                    let message = format!("{} waits: {}", run.job.name, wait_text(&self.all[limit]));
                    run.engine.events.send(Event::Notice { message });
                }
                Asked::Short(_) => {}
            }
            has_waited = true;
            let mut shutdown = run.engine.shutdown.clone();
            tokio::select! {
                () = tokio::time::sleep(POLL + jitter(POLL)) => {}
                () = shutdown.requested() => return Err(stopped()),
            }
        }
    }

    /// Whether the slot holds its share and may keep it; gives it back if others go first.
    async fn keeps(&self, run: Applicant<'_>, slot: &mut Slot) -> Result<bool> {
        let Some((control, slots, since)) = slot.held() else { return Ok(false) };
        if since.elapsed() < KEEP {
            return Ok(true);
        }
        let asked = run.ledger.slots_are_wanted(control, &self.all, (self.rank, slots));
        if run.engine.answered(run.job, asked).await? {
            let back = run.ledger.give_back_slots(control, &self.all, slots);
            run.engine.answered(run.job, back).await?;
            slot.forget_held();
            return Ok(false);
        }
        slot.asked_again();
        Ok(true)
    }

    /// Gives back all that a slot holds or has announced; its other sessions are closed, since they count.
    pub(super) async fn dismiss(&self, run: Applicant<'_>, slot: &mut Slot) -> Result<()> {
        slot.close_all_but_control().await;
        if let Some((control, slots, _)) = slot.held() {
            run.ledger.give_back_slots(control, &self.all, slots).await?;
        }
        slot.forget_held();
        if self.rank.class == Class::Backfill && slot.is_open() {
            run.ledger.withdraw(slot.control()?, &self.all, self.rank).await?;
        }
        Ok(())
    }
}

/// How many intervals of a job there may be at once; one, where each waits for the one before.
fn active_runs(job: &Job) -> usize {
    if job.depends_on_past { 1 } else { job.max_active_runs }
}

fn wait_text(limit: &Limit) -> String {
    let Limit { kind, name, total, take } = limit;
    match *kind {
        "max_active_runs" => format!("other runs of it have all {total} slots of max_active_runs"),
        "pool" => format!("pool `{name}` of {total} has less than {take} free"),
        "parallelism" => format!("other runs have all {total} slots of parallelism"),
        _ => format!("the {total} connections of max_connections on `{name}` are in use by other runs"),
    }
}

/// A random part of a duration, from what differs between processes and moments.
fn jitter(most: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
