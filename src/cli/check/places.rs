//! The servers of the jobs: reachable, encrypted, which Postgres, whose ledger.

use futures::future::join_all;

use super::Checklist;
use crate::config::connection::ConnectionSpec;
use crate::config::job::Job;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::error::Result;
use crate::ledger::{Ledger, VERSION};
use crate::postgres::catalog;
use crate::postgres::connect::{Server, Session, Side};
use crate::report::checklist::{Level, Line};

/// Every connection that a job uses, open where it can be.
pub(super) struct Places(Vec<Place>);

/// A connection as source or as destination.
pub(super) struct Place {
    name: String,
    side: Side,
    pub(super) session: Session,
    /// Where it is, for a DBA: `warehouse, database dw at db:5432`.
    pub(super) label: String,
    /// Whether the engine can read the ledger, or there is none yet.
    pub(super) ledger_is_readable: bool,
}

impl Places {
    /// Opens all at once, and tells of each in turn.
    pub(super) async fn open(
        checklist: &mut Checklist,
        project: &Project,
        (jobs, views): (&[Job], Option<&str>),
        named: bool,
    ) -> Self {
        let mut specs = Vec::new();
        let mut wanted = wanted(project.overrides(), jobs);
        let of_views = views.map(|name| (name.to_owned(), Side::Destination));
        wanted.extend(of_views.filter(|place| !wanted.contains(place)).into_iter().collect::<Vec<_>>());
        for (name, side) in wanted {
            match project.connection(&name) {
                Ok(spec) => specs.push((name, side, spec)),
                // Without names of jobs it is among the findings of the configuration.
                Err(_) if !named && !jobs.is_empty() => {}
                Err(error) => checklist.error(&name, &error),
            }
        }
        let sessions = specs.iter().map(|(_, side, spec)| Session::open(spec, *side, "pgtide/check"));
        let sessions = join_all(sessions).await;
        let mut places = Vec::new();
        for ((name, side, spec), session) in specs.into_iter().zip(sessions) {
            match session {
                Ok(session) => places.push(look(checklist, project, (name, side), &spec, session).await),
                Err(error) => checklist.error(&spec.name, &error),
            }
        }
        Self(places)
    }

    /// The place of a job's end, if it could be opened.
    pub(super) fn get(&self, name: &str, side: Side) -> Option<&Place> {
        self.0.iter().find(|place| place.name == name && place.side == side)
    }
}

/// What the jobs use; without jobs, what the command line names.
fn wanted(overrides: &Overrides, jobs: &[Job]) -> Vec<(String, Side)> {
    let name = |given: &Option<String>, end: &str| {
        let given = given.as_ref()?;
        Some(if Overrides::is_place(given) { end.to_owned() } else { given.clone() })
    };
    let mut wanted = Vec::new();
    if jobs.is_empty() {
        wanted.extend(name(&overrides.source, "source").map(|name| (name, Side::Source)));
        wanted.extend(name(&overrides.destination, "destination").map(|name| (name, Side::Destination)));
    }
    for job in jobs {
        for end in [(job.source.clone(), Side::Source), (job.destination.clone(), Side::Destination)] {
            if !wanted.contains(&end) {
                wanted.push(end);
            }
        }
    }
    wanted
}

/// Tells of an open server, and of the ledger where rows go.
async fn look(
    checklist: &mut Checklist,
    project: &Project,
    (name, side): (String, Side),
    spec: &ConnectionSpec,
    session: Session,
) -> Place {
    let server = session.server();
    checklist.push(Line::new(Level::Ok, &spec.name, description(server, session.is_encrypted())));
    if let Some(warning) = session.warning() {
        checklist.push(Line::new(Level::Note, &spec.name, warning));
    }
    let label = format!("{}, database {} at {}", spec.name, spec.database, server.host);
    let mut place = Place { name, side, session, label, ledger_is_readable: true };
    if side == Side::Destination {
        ledger(checklist, &mut place, project.ledger_schema()).await;
    }
    place
}

/// `PostgreSQL 15.18 at db:5432 (10.0.0.1), as etl, with TLS`.
fn description(server: &Server, is_encrypted: bool) -> String {
    let (major, minor) = (server.version_num / 10_000, server.version_num % 10_000);
    let tls = if is_encrypted { "with TLS" } else { "without TLS" };
    let standby = if server.in_recovery { ", a standby" } else { "" };
    format!("PostgreSQL {major}.{minor} at {}, as {}, {tls}{standby}", server.host, server.role)
}

async fn ledger(checklist: &mut Checklist, place: &mut Place, schema: &str) {
    let name = place.session.server().name.clone();
    match Ledger::examine(&place.session, schema).await {
        Ok(Some(version)) => {
            let upgrade = if version < VERSION { "; the next run upgrades it" } else { "" };
            let what = format!("ledger in schema {schema}, version {version}{upgrade}");
            checklist.push(Line::new(Level::Ok, name, what));
        }
        Ok(None) => match to_make(&place.session, schema).await {
            Ok(missing) if missing.is_empty() => {
                let what = format!("no ledger yet: the first run makes it in schema {schema}");
                checklist.push(Line::new(Level::Ok, name, what));
            }
            Ok(missing) => {
                let what = format!("the ledger in schema {schema} is still to be made, and");
                checklist.lacks(&place.label, (&name, &what), &missing);
            }
            Err(error) => checklist.error(&name, &error),
        },
        Err(error) => {
            place.ledger_is_readable = Ledger::find(&place.session, schema).await.is_ok();
            checklist.error(&name, &error);
        }
    }
}

async fn to_make(session: &Session, schema: &str) -> Result<Vec<catalog::Grant>> {
    let needed = catalog::needed_for_ledger(session, schema, false).await?;
    catalog::missing_grants(session, needed).await
}
