//! Views in the check of the whole configuration: folder, files, rules, and the connection that they are on.
//!
//! What the files mean on the server, rights and keys are for `views check`, which tries them out.

use super::Checklist;
use super::places::Places;
use crate::cli::views;
use crate::config::project::Project;
use crate::error::{ErrorKind, Result};
use crate::ledger::Ledger;
use crate::postgres::connect::{Session, Side};
use crate::report::checklist::{Level, Line};
use crate::views::files::Folder;
use crate::views::outlook::Outlook;

/// The connection that the views are on, if the project has views and says which.
pub(super) fn destination(checklist: &mut Checklist, project: &Project) -> Option<String> {
    if !project.has_views() {
        return None;
    }
    match project.views_destination() {
        Ok(name) => Some(name),
        Err(error) if error.kind() == ErrorKind::Usage => {
            let what = format!("{}: the views' rules are not compared with a database", error.chain());
            checklist
                .push(Line::new(Level::Note, "views", what).with_hint("pgtide check --destination NAME"));
            None
        }
        // A job that cannot be read is a finding already.
        Err(_) => None,
    }
}

/// Tells what is wrong with folder, files and rules.
pub(super) async fn check(
    checklist: &mut Checklist,
    project: &Project,
    destination: Option<&str>,
    places: &Places,
) {
    let (folder, root) = views::folder(project);
    if project.names_views_dir() && !project.views_dir().is_dir() {
        let line = Line::new(Level::Finding, "views", format!("there is no folder {root}"));
        checklist.push(line.with_hint("make it, or set `files` below [views] in pgtide.toml"));
    } else if project.views_dir().is_dir() {
        views::offline(&folder, &root).into_iter().for_each(|line| checklist.push(line));
    }
    let place = destination.and_then(|name| places.get(name, Side::Destination));
    if let Some(place) = place.filter(|place| place.ledger_is_readable) {
        match rules(project, &folder, &place.session).await {
            Ok(lines) => lines.into_iter().for_each(|line| checklist.push(line)),
            Err(error) => checklist.error("views", &error),
        }
    }
}

async fn rules(project: &Project, folder: &Folder, session: &Session) -> Result<Vec<Line>> {
    let ledger = Ledger::find(session, project.ledger_schema()).await?;
    let mut all = project.view_rules().clone();
    for (file, object) in folder.definitions() {
        all.add_file(object.name.clone(), file.options.clone());
    }
    let outlook = Outlook::read(session, ledger.as_ref(), &all).await?;
    Ok(views::rules(project, folder, &outlook))
}
