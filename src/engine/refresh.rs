//! After a run's intervals: the views that read the table, once, if they are stale.
//!
//! Also a run that has nothing to load looks, so that what a failed refresh left is made up for. A
//! failure does not undo the load; the exit code tells it.

use super::slot::Slot;
use super::{Engine, stopped};
use crate::config::job::{Job, Refresh};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Summary, ViewsSummary};
use crate::ledger::Ledger;
use crate::postgres::connect::Session;
use crate::views::catalog;
use crate::views::options::{self, ViewRules};
use crate::views::outlook::Outlook;
use crate::views::refresh::{self, Refresher, Request, Scope, Settings, Step};
use crate::views::stale::Trust;

/// The first version in which a session can be told to give away what it has counted.
const FLUSHES_COUNTERS: i32 = 150_000;

impl Engine {
    /// Refreshes what reads the table, once per run, also when only some intervals arrived.
    pub(super) async fn refresh_views(
        &self,
        job: &Job,
        table_oid: u32,
        slot: &mut Slot,
        summary: &Summary,
    ) -> Result<()> {
        if self.shutdown.is_requested() {
            return Ok(());
        }
        if job.refresh == Refresh::None {
            if summary.loaded == 0 {
                return Ok(());
            }
            if let Err(error) = self.answered(job, self.name_stale_views(job, table_oid, slot)).await {
                tracing::debug!("the views that are stale now are not known: {}", error.chain());
            }
            return Ok(());
        }
        slot.open(self, job, 0).await?;
        flush_counters(slot).await;
        if self.options.views_later {
            return Ok(());
        }
        let ledger = Ledger::open(slot.control()?, &self.ledger_schema).await?;
        self.refresh_left(job, &ledger, (table_oid, summary.loaded > 0), slot.control()?).await
    }

    /// Refreshes what an earlier run of the job, whose refresh failed, has left stale.
    pub(super) async fn make_up(&self, job: &Job, ledger: Option<&Ledger>, slot: &Slot) -> Result<()> {
        if self.options.views_later {
            return Ok(());
        }
        let Some(ledger) = ledger else { return Ok(()) };
        self.unless_stopped(self.refresh_latest(job, ledger, (slot.control()?, false))).await
    }

    /// Refreshes what reads the table of a job and is stale, once all jobs of a command have ended.
    ///
    /// # Errors
    /// Those of the views, as one.
    pub async fn refresh_after(&self, job: &Job, has_loaded: bool) -> Result<()> {
        if job.refresh == Refresh::None {
            return Ok(());
        }
        let mut slot = Slot::new();
        self.answered(job, slot.open_control(self, job)).await?;
        let refresh = async {
            let session = slot.control()?;
            match Ledger::open_existing(session, &self.ledger_schema).await? {
                Some(ledger) => self.refresh_latest(job, &ledger, (session, has_loaded)).await,
                None => Ok(()),
            }
        };
        self.unless_stopped(refresh).await
    }

    /// Refreshes what reads the table that the newest load of the job went into.
    async fn refresh_latest(
        &self,
        job: &Job,
        ledger: &Ledger,
        (session, has_loaded): (&Session, bool),
    ) -> Result<()> {
        if job.refresh == Refresh::None {
            return Ok(());
        }
        match ledger.latest_table(session, &job.name).await? {
            Some(table_oid) => self.refresh_left(job, ledger, (table_oid, has_loaded), session).await,
            None => Ok(()),
        }
    }

    /// Refreshes what reads the table and is stale, whoever loaded it.
    async fn refresh_left(
        &self,
        job: &Job,
        ledger: &Ledger,
        (table_oid, has_loaded): (u32, bool),
        session: &Session,
    ) -> Result<()> {
        let names = match &job.refresh {
            Refresh::None => return Ok(()),
            Refresh::Dependents => None,
            Refresh::Named(names) => Some(names.clone()),
        };
        let rules = options::resolved(session, &self.view_rules).await?;
        let outlook = Outlook::read(session, Some(ledger), &rules).await?;
        let family = catalog::family(session, table_oid).await?;
        // What others write is not this job's to wait for. But what it names is refreshed after a load
        // unless it is proved fresh.
        let trust = if has_loaded && names.is_some() { Trust::Proven } else { Trust::Counted };
        let request = Request { trust, ..Request::of(Scope::Loaded(family, names)) };
        let plan = refresh::plan(&outlook, &rules, &request, outlook.at)?;
        if plan.iter().all(|view| view.step != Step::Refresh) {
            return Ok(());
        }
        let refresher = self.refresher(ledger, rules);
        refresher.clear_leftovers(session).await?;
        let done = Box::pin(refresher.run(&outlook, plan)).await?;
        if done.interrupted {
            return Err(stopped());
        }
        judged(&done)
    }

    fn refresher(&self, ledger: &Ledger, rules: ViewRules) -> Refresher {
        // One session of the run stays open beside those of the views.
        let room = self.destination.max_connections.map_or(usize::MAX, |cap| cap.saturating_sub(1));
        let settings = Settings {
            jobs: Settings::default().jobs.min(room).max(1),
            show_values: self.options.show_values,
            ..Settings::default()
        };
        Refresher {
            spec: self.destination.clone(),
            ledger: ledger.clone(),
            owner: self.owner.clone(),
            events: self.events.clone(),
            shutdown: self.shutdown.clone(),
            rules,
            settings,
        }
    }

    /// Tells which views nobody asked to refresh: a courtesy, which no load fails for.
    async fn name_stale_views(&self, job: &Job, table_oid: u32, slot: &mut Slot) -> Result<()> {
        slot.open(self, job, 0).await?;
        let session = slot.control()?;
        let rules = options::resolved(session, &self.view_rules).await?;
        let catalog = catalog::Catalog::read(session, &rules, None).await?;
        let family = catalog::family(session, table_oid).await?;
        let views = catalog.graph.dependents(&family.into_iter().collect());
        if !views.is_empty() {
            let names: Vec<_> = views.iter().map(|oid| catalog.views[oid].name.to_string()).collect();
            let message = format!("stale now, not refreshed: {}", names.join(", "));
            self.events.send(Event::Notice { message });
        }
        Ok(())
    }
}

/// Lets the server count now what this run has written: else a refresh that follows at once would see
/// the counters move later, and take them for somebody else's rows.
async fn flush_counters(slot: &mut Slot) {
    // A session that ends has told everything.
    for session in slot.writers.drain(..) {
        session.close().await;
    }
    let Ok(session) = slot.control() else { return };
    if session.server().version_num >= FLUSHES_COUNTERS {
        flush(session).await;
    }
}

async fn flush(session: &Session) {
    let sql = "select pg_catalog.pg_stat_force_next_flush()";
    if let Err(error) = session.query("flushing counters", sql, &[]).await {
        tracing::debug!("{}", error.chain());
    }
}

/// One error for all views that failed.
fn judged(done: &ViewsSummary) -> Result<()> {
    let all = done.refreshed + done.failed.len() + done.left.len();
    let Some((_, first)) = done.failed.first() else {
        return match done.not_started {
            0 => Ok(()),
            _ => Err(stopped()),
        };
    };
    let passes = first.exit_code == 75 && done.failed.iter().all(|(_, f)| f.exit_code == 75);
    let kind = if passes { ErrorKind::Contention } else { ErrorKind::Server };
    let names: Vec<_> = done.failed.iter().map(|(view, _)| view.clone()).collect();
    let error = Error::new(kind, format!("{} of {all} views were not refreshed", done.failed.len()));
    let told = done.failed.iter().map(|(_, failure)| failure.message.clone());
    let left = done.left.iter().map(|(view, reason)| format!("{view}: {reason}"));
    Err(told.chain(left).fold(error, Error::with_detail).with_hint(format!(
        "the load is done and stays; then:\n  pgtide views refresh {} --downstream",
        names.join(" ")
    )))
}
