//! The database whose views a verb is about, opened, with its ledger.

use crate::config::connection::ConnectionSpec;
use crate::config::project::Project;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::postgres::connect::{Session, Side};

/// A database that is open.
pub(super) struct Place {
    pub(super) spec: ConnectionSpec,
    pub(super) session: Session,
    /// None if there is no ledger yet and nothing is to be written.
    pub(super) ledger: Option<Ledger>,
}

impl Place {
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
