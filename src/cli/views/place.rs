//! Where the views are: the destination that is named, else the one that all jobs share.

use std::collections::BTreeSet;

use crate::cli::loading;
use crate::config::overrides::Overrides;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::{Session, Side};
use crate::views::files::Folder;

/// The connection that holds the views.
pub(super) fn connection(project: &Project) -> Result<String> {
    if let Some(given) = &project.overrides().destination {
        return Ok(if Overrides::is_place(given) { "destination".to_owned() } else { given.clone() });
    }
    let jobs: BTreeSet<String> = project.jobs()?.into_iter().map(|job| job.destination).collect();
    match jobs.len() {
        0 => Ok("destination".to_owned()),
        1 => Ok(jobs.into_iter().collect()),
        _ => {
            let names = jobs.into_iter().collect::<Vec<_>>().join(", ");
            Err(Error::new(ErrorKind::Usage, format!("the views of which connection? The jobs load into {names}"))
                .with_hint("name one: -d CONNECTION"))
        }
    }
}

/// Opens a session there; `verb` is what a DBA sees.
pub(super) async fn open(project: &Project, verb: &str) -> Result<Session> {
    let spec = project.connection(&connection(project)?)?;
    Session::open(&spec, Side::Destination, &format!("pgtide/views {verb}")).await
}

/// Reads the folder of files, and says as a person would where it is.
pub(super) fn folder(project: &Project) -> (Folder, String) {
    let root = project.views_dir();
    let folder = Folder::read(&root, &|name| project.placeholder(name).map(str::to_owned));
    (folder, loading::shown(&root))
}

/// The findings of the files, as one error.
pub(super) fn refuse_findings(folder: &Folder) -> Result<()> {
    if folder.findings.is_empty() {
        return Ok(());
    }
    let what = match folder.findings.len() {
        1 => "a file of views is wrong".to_owned(),
        n => format!("files of views are wrong: {n} findings"),
    };
    let error = Error::new(ErrorKind::Config, what);
    Err(folder.findings.iter().fold(error, |error, finding| error.with_detail(finding.to_string())))
}
