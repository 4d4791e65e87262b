//! `pgtide views drop`: drop a view, its definition kept.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views drop`.
#[derive(Debug, Args)]
pub(super) struct DropArgs {}

pub(super) async fn run(_args: DropArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
