//! Views with a clock of their own: `run` and `schedule` refresh those that are due and stale.

use std::time::Duration;

use super::place::Place;
use crate::cli::workshop;
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::error::{Error, Result};
use crate::event::{Event, Events, ViewsSummary};
use crate::interval::Schedule;
use crate::views::due::due;
use crate::views::outlook::Outlook;
use crate::views::refresh::{self, Refresher, Request, Scope, Settings, Step};
use crate::views::stale::Trust;

const APPLICATION: &str = "pgtide/refresh";

/// The time between two looks at the clocks of views.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Refreshes what is due by its own clock and stale; none if nothing is.
///
/// # Errors
/// What kept the views from being looked at; a view that could not be refreshed is in the summary.
pub(in crate::cli) async fn refresh_due(
    context: &Context,
    project: &Project,
    events: &Events,
) -> Result<Option<ViewsSummary>> {
    if !project.view_rules().has_clocks() {
        return Ok(None);
    }
    let (place, ledger) = Box::pin(stoppable(context, Place::work(project, APPLICATION))).await?;
    let rules = &place.rules(project).await?;
    let zone = project.timezone();
    let fired = |text: &str, now| Schedule::parse(text, zone).ok()?.latest_until(now);
    let looked = stoppable(context, Outlook::read(&place.session, Some(&ledger), rules));
    let mut outlook = Box::pin(looked).await?;
    let due = due(&outlook, rules, &fired, outlook.at);
    let names = due.iter().filter_map(|due| outlook.catalog.views.get(&due.oid)).map(|v| v.name.clone());
    let scope = Scope::Named { names: names.collect(), upstream: false, downstream: false };
    let request = Request { trust: Trust::Settled, ..Request::of(scope) };
    let settled = refresh::settle(&place.session, Some(&ledger), &mut outlook, (rules, &request));
    Box::pin(stoppable(context, settled)).await?;
    let plan = refresh::plan(&outlook, rules, &request, outlook.at)?;
    if due.is_empty() || plan.iter().all(|view| view.step != Step::Refresh) {
        return Ok(None);
    }
    let room = place.spec.max_connections.unwrap_or(usize::MAX);
    let settings = Settings::default();
    let refresher = Refresher {
        spec: place.spec.clone(),
        ledger,
        owner: workshop::owner(&uuid::Uuid::new_v4().to_string()),
        events: events.clone(),
        shutdown: context.shutdown.clone(),
        rules: rules.clone(),
        settings: Settings {
            jobs: settings.jobs.min(room).max(1),
            show_values: context.global.show_values,
            ..settings
        },
    };
    Box::pin(stoppable(context, refresher.clear_leftovers(&place.session))).await?;
    place.session.close().await;
    let mut summary = Box::pin(refresher.run(&outlook, plan)).await?;
    summary.retry_command = (!summary.failed.is_empty()).then(|| "pgtide views refresh".to_owned());
    events.send(Event::ViewsFinished(summary.clone()));
    Ok(Some(summary))
}

/// Refreshes what is due, for ever, until a signal; what goes wrong is said once.
pub(in crate::cli) async fn refresh_for_ever(context: &Context, events: &Events) {
    let mut shutdown = context.shutdown.clone();
    let mut said = None;
    loop {
        let refreshed = match loading::project(context, None) {
            Ok(project) => refresh_due(context, &project, events).await,
            // The schedule itself tells what is wrong with files, and goes on with what it had.
            Err(_) => Ok(None),
        };
        let trouble = refreshed.err().map(|error: Error| error.chain());
        if let Some(what) = trouble.clone().filter(|_| trouble != said) {
            events.send(Event::Notice { message: format!("views with a clock of their own: {what}") });
        }
        said = trouble;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.requested() => return,
        }
    }
}
