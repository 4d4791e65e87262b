//! The log on stderr, for finding out; what people need is said by `report`.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use super::args::{GlobalArgs, OutputArg};
use crate::error::{Error, ErrorKind};
use crate::report::Output;

/// Variables that choose what is logged, in tracing's syntax; the first that is set counts.
const VARIABLES: [&str; 2] = ["PGTIDE_LOG", "RUST_LOG"];

/// Starts the log; its lines go above the bars.
///
/// # Errors
/// `Usage`, when the variable cannot be read.
pub(super) fn start(global: &GlobalArgs, output: &Output) -> anyhow::Result<()> {
    let given =
        VARIABLES.iter().find_map(|name| Some((*name, std::env::var(name).ok().filter(|v| !v.is_empty())?)));
    let filter = match given {
        Some((name, text)) => EnvFilter::builder()
            .parse(directives(&text))
            .map_err(|error| Error::new(ErrorKind::Usage, format!("reading {name}")).with_source(error))?,
        None => EnvFilter::new(directives(level(global))),
    };
    let screen = output.screen.clone();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || screen.writer())
        .with_ansi(output.err.is_enabled());
    let started = match global.log_format {
        OutputArg::Text => builder.compact().try_init(),
        OutputArg::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(anyhow::Error::from_boxed).context("starting the log")
}

fn level(global: &GlobalArgs) -> &'static str {
    match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    }
}

/// Adds limits for the crates that log statements with their values, unless they are asked for by name.
fn directives(text: &str) -> String {
    let mut directives = text.to_owned();
    for target in ["tokio_postgres", "rustls"] {
        if !text.contains(target) {
            directives.push_str(&format!(",{target}=warn"));
        }
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_logs_no_values_unless_it_is_named() {
        assert_eq!(directives("debug"), "debug,tokio_postgres=warn,rustls=warn");
        assert_eq!(directives("warn,tokio_postgres=trace"), "warn,tokio_postgres=trace,rustls=warn");
    }
}
