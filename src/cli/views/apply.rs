//! `pgtide views apply`: make the views as the files say.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views apply`.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {}

pub(super) async fn run(_args: ApplyArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
