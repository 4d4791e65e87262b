//! `pgtide views status`: what is fresh or stale, and why.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {}

pub(super) async fn run(_args: StatusArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
