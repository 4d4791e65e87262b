//! One view's turn: the lock, a second look, the refresh, and again if the failure may pass.
//!
//! Two runs that want the same view meet at its lock. The one that waited takes the other's refresh for its
//! own where the view is fresh now, or where that refresh began after the request and nothing has changed
//! since; it may have read its tables long before. The lock goes with the session, so a run that dies
//! holds up nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::steps::{self, Done};
use super::{Planned, Run, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Failure, ViewRefreshed};
use crate::ledger::{FailedRefresh, Source, Sources, ViewRecord};
use crate::postgres::connect::Session;
use crate::views::activity::{COLLECTOR_LATE, Uncounted};
use crate::views::catalog::{Catalog, MaterializedView};
use crate::views::options::{RefreshMode, ViewOptions};
use crate::views::outlook::own_tokens;
use crate::views::properties::Properties;
use crate::views::stale::{self, Evidence, Freshness, Verdict};
use crate::views::strategy::{self, Choice, Way};

/// The pause after the first failure; it doubles, and varies so that two runs do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a view's lock is waited for: as long as another run may refresh it.
const WAIT_FOR_OTHER: &str = "set lock_timeout = '6h'";

/// How a turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was refreshed; without a change what reads it stays fresh.
    Refreshed {
        /// Whether rows were written or removed.
        is_changed: bool,
    },
    /// It was fresh, after all.
    Fresh,
    /// Another run refreshed it in the meantime.
    RefreshedByOther,
}

/// A view as it is when its turn has come.
pub(super) struct Now {
    pub(super) view: MaterializedView,
    pub(super) options: ViewOptions,
    pub(super) record: Option<ViewRecord>,
    pub(super) sources: Sources,
    pub(super) reason: String,
    pub(super) choice: Choice,
    /// Everything that belongs to it; read where it is swapped.
    pub(super) properties: Option<Properties>,
    pub(super) attempt: u32,
    pub(super) started_at: DateTime<Utc>,
}

type Ended = (Planned, Option<Session>, Result<Turn, (Error, u32)>);

/// Takes a turn, with a session that is free or a new one, and gives the session back if it is still good.
pub(super) async fn take(run: &Run<'_>, view: Planned, mut session: Option<Session>) -> Ended {
    let mut attempt = 1;
    loop {
        let result = Box::pin(guarded(run, &view, &mut session, attempt)).await;
        let error = match result {
            Ok(turn) => return (view, session, Ok(turn)),
            Err(error) => error,
        };
        // A session that failed is thrown away: nobody knows in which state it is.
        if let Some(session) = session.take() {
            session.close().await;
        }
        let tries = run.refresher.settings.tries;
        if !error.is_retryable() || attempt >= tries || run.refresher.shutdown.is_requested() {
            return (view, None, Err((error, attempt)));
        }
        let wait = pause(attempt);
        let failure = Failure::of(&error, attempt, Utc::now());
        let name = view.name.to_string();
        run.refresher.events.send(Event::ViewRetrying { view: name, failure, wait });
        let mut shutdown = run.refresher.shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.requested() => return (view, None, Err((stopped(), attempt))),
        }
        attempt += 1;
    }
}

/// One try, which a signal ends on the server too.
async fn guarded(run: &Run<'_>, view: &Planned, session: &mut Option<Session>, attempt: u32) -> Result<Turn> {
    let opened = match session.take() {
        Some(session) => session,
        None => run.refresher.open(&view.name.to_string()).await?,
    };
    let session = session.insert(opened);
    let canceller = session.canceller();
    let mut shutdown = run.refresher.shutdown.clone();
    tokio::select! {
        result = attempt_once(run, view, session, attempt) => result,
        () = shutdown.requested() => {
            canceller.cancel().await;
            Err(stopped())
        }
    }
}

async fn attempt_once(run: &Run<'_>, view: &Planned, session: &Session, attempt: u32) -> Result<Turn> {
    let ledger = &run.refresher.ledger;
    name_session(session, view, attempt).await?;
    let mut oid = view.oid;
    loop {
        let waited = !ledger.lock_view(session, oid).await?;
        if waited {
            session.batch("waiting for another run's refresh", WAIT_FOR_OTHER).await?;
            ledger.wait_for_view(session, oid).await?;
        }
        let started = Instant::now();
        let turn = match look_again(run, (view, oid), session, attempt).await? {
            Looked::Fresh => Turn::Fresh,
            Looked::ByOther => Turn::RefreshedByOther,
            Looked::Stale(now) => refresh(run, session, *now, started).await?,
            Looked::Swapped(successor) => {
                ledger.unlock_view(session, oid).await?;
                oid = successor;
                continue;
            }
        };
        ledger.unlock_view(session, oid).await?;
        return Ok(turn);
    }
}

/// What a DBA sees in `pg_stat_activity`, and what a row's errors are found by.
async fn name_session(session: &Session, view: &Planned, attempt: u32) -> Result<()> {
    let name = match attempt {
        1 => format!("pgtide/refresh/{}", view.name),
        _ => format!("pgtide/refresh/{} try {attempt}", view.name),
    };
    let sql = "select pg_catalog.set_config('application_name', $1, false)";
    session.query_one("naming the session", sql, &[&name]).await.map(|_| ())
}

enum Looked {
    Fresh,
    ByOther,
    Stale(Box<Now>),
    /// Another run has swapped it: this is its OID now.
    Swapped(u32),
}

/// Judges the view as it is now: another run may have refreshed it, or nothing below it has changed.
async fn look_again(
    run: &Run<'_>,
    (planned, oid): (&Planned, u32),
    session: &Session,
    attempt: u32,
) -> Result<Looked> {
    let (refresher, outlook) = (run.refresher, run.outlook);
    // A view below that was swapped in this run has another OID now.
    let read;
    let catalog = if outlook.catalog.still_holds(session).await? {
        &outlook.catalog
    } else {
        read = Catalog::read(session, &refresher.rules, None).await?;
        &read
    };
    let records = refresher.ledger.view_records(session).await?;
    let records: BTreeMap<u32, ViewRecord> = records.into_iter().map(|r| (r.oid, r)).collect();
    // Only its own: the size of a view that another session refreshes is told when that is over.
    let Some(view) = catalog.view_now(session, oid).await? else {
        return replaced(run, planned, catalog, &records);
    };
    let sources = sources_now(run, catalog, session, oid).await?;
    let seen = as_of_snapshot(run, catalog, sources.clone());
    let options = refresher.rules.of(&view.name);
    let verdict = {
        let blind_spot = catalog.blind_spot(view.oid, &refresher.rules);
        let uncounted = uncounted(run, session).await?;
        let evidence = Evidence {
            is_populated: view.is_populated,
            token: &view.token,
            is_locked: false,
            reads_clock: catalog.reads_clock(view.oid),
            blind_spot: blind_spot.as_deref(),
            record: records.get(&view.oid),
            sources: &sources,
            own_tokens: &own_tokens(&records),
            options: &options,
            uncounted: uncounted.as_ref(),
        };
        stale::judge(&evidence, sources.at)
    };
    let record = records.get(&view.oid).cloned();
    let reason = match wanted(run, planned, &verdict, (record.as_ref(), sources.at)) {
        Ok(reason) => reason,
        Err(looked) => return Ok(looked),
    };
    let asked = refresher.settings.strategy.or(options.refresh).unwrap_or_default();
    let (mut choice, properties) = choose(session, asked, &view, record.as_ref()).await?;
    if run.snapshot.is_some() {
        choice = under_snapshot(choice, properties.as_ref());
    }
    let started_at = sources.at;
    Ok(Looked::Stale(Box::new(Now {
        view,
        options,
        record,
        sources: seen,
        reason,
        choice,
        properties,
        attempt,
        started_at,
    })))
}

/// Why the view is to be refreshed now, or why not: it is fresh, or another run has refreshed it for us.
fn wanted(
    run: &Run<'_>,
    planned: &Planned,
    verdict: &Verdict,
    (record, now): (Option<&ViewRecord>, DateTime<Utc>),
) -> Result<String, Looked> {
    let settings = &run.refresher.settings;
    let is_forced = settings.force && planned.step == Step::Refresh;
    let refreshed_at = |record: Option<&ViewRecord>| record.and_then(|record| record.refreshed_at);
    let by_other = refreshed_at(record) > refreshed_at(run.outlook.records.get(&planned.oid));
    let began_at = record.and_then(ViewRecord::began_at);
    // What began before the request may have read before it, whatever has happened in between.
    let is_ours = by_other && began_at >= Some(run.outlook.at);
    let is_young = |least| began_at.and_then(|at| (now - at).to_std().ok()).is_some_and(|age| age < least);
    let is_good_enough = is_ours || by_other && settings.if_older_than.is_some_and(is_young);
    let wish = verdict.wants_refresh(planned.trust);
    let is_unchanged =
        matches!(verdict.freshness, Freshness::Fresh | Freshness::Unknown | Freshness::TimeDependent);
    match wish {
        // Nothing has changed since, and no more can be known.
        Some(_) if is_ours && is_unchanged => Err(Looked::ByOther),
        Some(reason) => Ok(reason),
        None if is_forced && !is_good_enough => Ok(planned.reason.clone()),
        None if by_other => Err(Looked::ByOther),
        None => Err(Looked::Fresh),
    }
}

/// What the view reads, as it is now. Just after a load a collector may not have its rows yet, which are no
/// change by others.
async fn sources_now(run: &Run<'_>, catalog: &Catalog, session: &Session, oid: u32) -> Result<Sources> {
    let ledger = Some(&run.refresher.ledger);
    let read = || async {
        let sources = catalog.sources(ledger, session, &[oid]).await?;
        Ok::<_, Error>(
            sources.into_iter().next().map(|(_, sources)| sources).expect("one view was asked for"),
        )
    };
    let sources = read().await?;
    let late = TimeDelta::from_std(COLLECTOR_LATE).expect("about a second");
    let is_new = |source: &Source| source.changed_at.is_some_and(|at| sources.at - at < late);
    if run.outlook.activity.has_collector() && sources.relations.iter().any(is_new) {
        tokio::time::sleep(COLLECTOR_LATE).await;
        return read().await;
    }
    Ok(sources)
}

/// Who may still hold something back of what was written before the request.
async fn uncounted(run: &Run<'_>, session: &Session) -> Result<Option<Uncounted>> {
    let mut activity = run.outlook.activity.clone();
    if activity.uncounted().is_some() {
        activity.look_again(session).await?;
    }
    Ok(activity.uncounted())
}

/// Under one snapshot a view sees tables as they were when it was taken, and views as they are.
fn as_of_snapshot(run: &Run<'_>, catalog: &Catalog, mut sources: Sources) -> Sources {
    if let Some(snapshot) = &run.snapshot {
        for source in &mut sources.relations {
            let is_view = catalog.views.contains_key(&source.oid);
            if let Some(then) = snapshot.sources.get(&source.oid).filter(|_| !is_view) {
                *source = then.clone();
            }
        }
        sources.at = snapshot.at;
    }
    sources
}

/// The view is gone: if another run has swapped it, its successor is looked at in its place.
fn replaced(
    run: &Run<'_>,
    planned: &Planned,
    catalog: &Catalog,
    records: &BTreeMap<u32, ViewRecord>,
) -> Result<Looked> {
    let refreshed_at = |record: Option<&ViewRecord>| record.and_then(|record| record.refreshed_at);
    let before = refreshed_at(run.outlook.records.get(&planned.oid));
    let successor = catalog.views.values().find(|view| view.name == planned.name);
    let successor = successor.filter(|view| refreshed_at(records.get(&view.oid)) > before);
    successor.map(|view| Looked::Swapped(view.oid)).ok_or_else(|| {
        Error::new(ErrorKind::Preflight, format!("{} was dropped or replaced meanwhile", planned.name))
            .with_hint("run it again: the next run looks at what is there")
    })
}

/// Chooses the way; what belongs to the view is read where it may be swapped.
async fn choose(
    session: &Session,
    asked: RefreshMode,
    view: &MaterializedView,
    record: Option<&ViewRecord>,
) -> Result<(Choice, Option<Properties>)> {
    let properties = match asked {
        RefreshMode::Auto | RefreshMode::Swap => Some(Properties::read(session, view.oid).await?),
        _ => None,
    };
    let obstacle = properties.as_ref().and_then(|properties| properties.blockers.first());
    let choice = strategy::choose(asked, view, record, obstacle.map(String::as_str))?;
    Ok((choice, properties))
}

/// Under one snapshot nothing can be concurrent: that compares with rows that the snapshot does not see.
fn under_snapshot(choice: Choice, properties: Option<&Properties>) -> Choice {
    if choice.way != Way::Concurrent {
        return choice;
    }
    let can_swap = properties.is_some_and(|properties| properties.blockers.is_empty());
    let way = if can_swap { Way::Swap } else { Way::Plain };
    Choice { way, why: "one snapshot for all".to_owned(), warning: choice.warning }
}

/// Refreshes, and says and records how it went.
async fn refresh(run: &Run<'_>, session: &Session, now: Now, started: Instant) -> Result<Turn> {
    let events = &run.refresher.events;
    let name = now.view.name.to_string();
    if let Some(message) = &now.choice.warning {
        events.send(Event::Notice { message: message.clone() });
    }
    events.send(Event::ViewStarted {
        view: name.clone(),
        mode: now.choice.way.word(),
        why: now.choice.why.clone(),
        attempt: now.attempt,
        estimate: now.record.as_ref().and_then(|record| record.median),
    });
    let result = steps::refresh(run, session, &now).await;
    let told = ViewRefreshed {
        view: name,
        elapsed: started.elapsed(),
        mode: Some(now.choice.way.word()),
        reason: now.reason.clone(),
        ..ViewRefreshed::default()
    };
    match result {
        Ok(Done { rows_in, rows_out }) => {
            let changed = Some((rows_in, rows_out));
            events.send(Event::ViewRefreshed(ViewRefreshed { changed, ..told }));
            let is_changed = now.choice.way != Way::Concurrent || rows_in + rows_out > 0;
            Ok(Turn::Refreshed { is_changed })
        }
        Err(error) => {
            let error = steps::explained(error, &now);
            let is_last = !error.is_retryable() || now.attempt >= run.refresher.settings.tries;
            if is_last && error.kind() != ErrorKind::Interrupted {
                events.send(Event::ViewRefreshed(ViewRefreshed { error: Some(error.chain()), ..told }));
                record_failure(run, &now, &error).await;
            }
            Err(error)
        }
    }
}

/// The failure is recorded by a session of its own: the other one may be in any state.
async fn record_failure(run: &Run<'_>, now: &Now, error: &Error) {
    let name = now.view.name.to_string();
    let failed = FailedRefresh {
        oid: now.view.oid,
        name: &name,
        reason: &now.reason,
        mode: now.choice.way.word(),
        attempt: i32::try_from(now.attempt).unwrap_or(i32::MAX),
        started_at: now.started_at,
    };
    let recorded = async {
        let session = run.refresher.open(&name).await?;
        let (ledger, owner) = (&run.refresher.ledger, &run.refresher.owner);
        ledger.record_failed_refresh(&session, owner, &failed, error).await?;
        session.close().await;
        Ok::<(), Error>(())
    };
    if let Err(error) = Box::pin(recorded).await {
        tracing::warn!("the failure of {name} is not recorded: {}", error.chain());
    }
}

fn pause(attempt: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(8)).min(LONGEST_PAUSE);
    let part = (uuid::Uuid::new_v4().as_u128() % 1_000) as f64 / 1_000.0;
    doubled.mul_f64(0.5 + part)
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped by a signal")
}
