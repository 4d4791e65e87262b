//! `pgtide views refresh`: refresh what is stale, in dependency order.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views refresh`.
#[derive(Debug, Args)]
pub(super) struct RefreshArgs {}

pub(super) async fn run(_args: RefreshArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
