//! `pgtide completions`: a script for a shell, on stdout.

use super::args::CompletionsArgs;
use super::{Context, help};
use crate::exit::DONE;

pub(super) fn run(args: &CompletionsArgs, context: &Context) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "pgtide", &mut script);
    context.output.print(&String::from_utf8_lossy(&script));
    DONE
}
