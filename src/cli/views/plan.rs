//! `pgtide views plan`: what apply would do to the views of the files, and why.

use clap::Args;

use crate::cli::Context;
use crate::error::{Error, ErrorKind};

/// `views plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {}

pub(super) async fn run(_args: PlanArgs, _context: &Context) -> anyhow::Result<u8> {
    Err(Error::new(ErrorKind::Internal, "not built").into())
}
