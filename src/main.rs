//! The binary: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use pgtide::cli::args::{Cli, Command};
use pgtide::cli::{self, help, refusal};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match help::parse(args.clone()) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refusal::show(&error, &args)),
    };
    match runtime(&cli).enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(cli::main(cli))),
        Err(error) => {
            pgtide::report::Screen::stderr().print(&format!("error: starting the runtime: {error}"));
            ExitCode::from(pgtide::exit::FAILED)
        }
    }
}

/// What only reads answers sooner where nothing passes from thread to thread.
fn runtime(cli: &Cli) -> Builder {
    if matches!(cli.command, Some(Command::Plan(_) | Command::Status(_))) {
        return Builder::new_current_thread();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads());
    builder
}

/// One thread moves several intervals at full speed, and hands rows from reader to writer within one
/// core's cache; more are of use only where there are cores to spare.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8))
}
