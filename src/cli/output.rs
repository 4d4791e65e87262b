//! How this process speaks: options, terminals and the environment, resolved once.

use clap::ColorChoice;

use super::args::{GlobalArgs, OutputArg, ProgressArg};
use crate::report::screen::{Screen, terminals};
use crate::report::{Format, Output, Palette, Progress};

/// What the decision depends on beside the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    /// Whether stdout is a terminal.
    stdout: bool,
    /// Whether stderr is a terminal.
    stderr: bool,
    /// `NO_COLOR` is set to something.
    no_color: bool,
    /// `TERM` is `dumb`.
    dumb: bool,
    /// `CI` is set to something: nobody watches bars there.
    ci: bool,
}

impl Surroundings {
    pub(super) fn of_process() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let (stdout, stderr) = terminals();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { stdout, stderr, no_color: is_set("NO_COLOR"), dumb, ci: is_set("CI") }
    }
}

pub(super) fn resolve(global: &GlobalArgs, around: &Surroundings) -> Output {
    let palette = |terminal: bool| match global.color {
        ColorChoice::Always => Palette::new(true),
        ColorChoice::Never => Palette::OFF,
        ColorChoice::Auto => Palette::new(terminal && !around.no_color && !around.dumb),
    };
    let format = match global.output {
        OutputArg::Text => Format::Text,
        OutputArg::Json => Format::Json,
    };
    Output {
        format,
        progress: progress(global, around),
        verbose: global.verbose > 0,
        out: palette(around.stdout),
        err: palette(around.stderr),
        screen: Screen::stderr(),
    }
}

fn progress(global: &GlobalArgs, around: &Surroundings) -> Progress {
    let is_json = global.output == OutputArg::Json;
    match global.progress {
        _ if global.quiet => {
            if is_json {
                Progress::None
            } else {
                Progress::Failures
            }
        }
        ProgressArg::Bars => Progress::Bars,
        ProgressArg::Plain => Progress::Plain,
        ProgressArg::None if is_json => Progress::None,
        ProgressArg::None => Progress::Quiet,
        // Objects and bars would write over each other on one terminal.
        ProgressArg::Auto if is_json && (around.stdout || !around.stderr) => Progress::None,
        ProgressArg::Auto if around.stderr && !around.dumb && !around.ci => Progress::Bars,
        ProgressArg::Auto if is_json => Progress::None,
        ProgressArg::Auto => Progress::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help::parse;

    const TERMINAL: Surroundings =
        Surroundings { stdout: true, stderr: true, no_color: false, dumb: false, ci: false };

    fn output(args: &str, around: Surroundings) -> (Progress, bool, bool) {
        let args = format!("pgtide run {args}");
        let cli = parse(args.split_whitespace().map(Into::into).collect()).unwrap();
        let output = resolve(&cli.global, &around);
        (output.progress, output.out.is_enabled(), output.err.is_enabled())
    }

    #[test]
    fn a_terminal_gets_bars_and_colour_and_anything_else_neither() {
        assert_eq!(output("", TERMINAL), (Progress::Bars, true, true));
        assert_eq!(output("", Surroundings::default()), (Progress::Plain, false, false));
        assert_eq!(output("", Surroundings { stdout: false, ..TERMINAL }), (Progress::Bars, false, true));
        assert_eq!(output("", Surroundings { ci: true, ..TERMINAL }), (Progress::Plain, true, true));
        assert_eq!(output("", Surroundings { dumb: true, ..TERMINAL }), (Progress::Plain, false, false));
        assert_eq!(output("", Surroundings { no_color: true, ..TERMINAL }), (Progress::Bars, false, false));
    }

    #[test]
    fn options_have_the_last_word() {
        assert_eq!(
            output("--progress bars --color always", Surroundings::default()),
            (Progress::Bars, true, true)
        );
        assert_eq!(output("--progress none --color never", TERMINAL), (Progress::Quiet, false, false));
        assert_eq!(output("-q", TERMINAL).0, Progress::Failures);
    }

    #[test]
    fn objects_and_bars_never_share_a_terminal() {
        assert_eq!(output("-o json", TERMINAL).0, Progress::None);
        assert_eq!(output("-o json", Surroundings { stdout: false, ..TERMINAL }).0, Progress::Bars);
        assert_eq!(output("-o json", Surroundings::default()).0, Progress::None);
        assert_eq!(output("-o json -q", TERMINAL).0, Progress::None);
    }
}
