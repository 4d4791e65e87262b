//! `pgtide views check`: test files and views: every finding.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {}

pub(super) async fn run(_args: CheckArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
