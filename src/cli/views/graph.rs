//! `pgtide views graph`: draw what reads what.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views graph`.
#[derive(Debug, Args)]
pub(super) struct GraphArgs {}

pub(super) async fn run(_args: GraphArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
