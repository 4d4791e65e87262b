//! The database whose views a verb is about, opened, with its ledger.

use crate::cli::loading;
use crate::config::connection::ConnectionSpec;
use crate::config::project::Project;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::postgres::connect::{Session, Side};
use crate::views::files::Folder;
use crate::views::options::{self, ViewRules};

/// A database that is open.
pub(super) struct Place {
    pub(super) spec: ConnectionSpec,
    pub(super) session: Session,
    /// None if there is no ledger yet and nothing is to be written.
    pub(super) ledger: Option<Ledger>,
}

impl Place {
    /// What the project asks of the views of this database.
    pub(super) async fn rules(&self, project: &Project) -> Result<ViewRules> {
        options::resolved(&self.session, project.view_rules()).await
    }

    /// Opens it for looking: nothing is written.
    pub(super) async fn look(project: &Project, application: &str) -> Result<Self> {
        let (spec, session) = open(project, application).await?;
        let ledger = Ledger::find(&session, project.ledger_schema()).await?;
        Ok(Self { spec, session, ledger })
    }

    /// Opens it for work: makes the ledger where there is none.
    pub(super) async fn work(project: &Project, application: &str) -> Result<(Self, Ledger)> {
        let (spec, session) = open(project, application).await?;
        let ledger = Ledger::open(&session, project.ledger_schema()).await?;
        Ok((Self { spec, session, ledger: Some(ledger.clone()) }, ledger))
    }
}

async fn open(project: &Project, application: &str) -> Result<(ConnectionSpec, Session)> {
    let spec = project.connection(&project.views_destination()?)?;
    let session = Session::open(&spec, Side::Destination, application).await?;
    Ok((spec, session))
}

/// Reads the folder of files, and says as a person would where it is.
pub(in crate::cli) fn folder(project: &Project) -> (Folder, String) {
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
