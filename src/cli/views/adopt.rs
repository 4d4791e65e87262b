//! `pgtide views adopt`: write files from views that exist.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views adopt`.
#[derive(Debug, Args)]
pub(super) struct AdoptArgs {}

pub(super) async fn run(_args: AdoptArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
