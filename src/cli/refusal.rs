//! How a command ends that could not even be read, or whose output could not be written.
//!
//! What the parser refuses is an error like others: text on stderr, one object on stdout for programs.
//! Help is no error. Output that did not arrive (a full disk) must not end with exit code 0; a reader
//! that wants no more (`| head`) may.

use std::ffi::OsString;

use super::help;
use crate::error::{Error, ErrorKind};
use crate::exit::{DONE, FAILED, USAGE};
use crate::report::screen::{stdout_error, stdout_failed, to_stdout};
use crate::report::{Palette, Screen, error};

/// Prints what the parser says, and gives the exit code.
#[must_use]
pub fn show(refused: &clap::Error, args: &[OsString]) -> u8 {
    let code = u8::try_from(refused.exit_code()).unwrap_or(USAGE);
    if code != DONE && help::early(args, &["--output", "-o"]) == Some("json") {
        to_stdout(&error::json(&usage(&refused.render().to_string())));
    } else if let Err(error) = refused.print() {
        stdout_failed(error);
    }
    unless_written(code)
}

/// The exit code, unless what was to be printed is not there: then not 0, and a person is told.
#[must_use]
pub fn unless_written(code: u8) -> u8 {
    let Some(cause) = stdout_error() else { return code };
    let error = Error::new(ErrorKind::Internal, format!("writing to standard output: {cause}"))
        .with_hint("what was loaded stays loaded; give the output a place that has room");
    Screen::stderr().print(&error::text(&error, Palette::OFF));
    if code == DONE { FAILED } else { code }
}

/// The parser's text as an error: its first paragraph, and its tips or else the usage as the hint.
fn usage(text: &str) -> Error {
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let tips: Vec<_> = rest.iter().filter_map(|part| part.strip_prefix("tip: ")).collect();
    let usage = rest.iter().find(|part| part.starts_with("Usage:"));
    let error = Error::new(ErrorKind::Usage, first.strip_prefix("error: ").unwrap_or(&first));
    match (tips.is_empty(), usage) {
        (false, _) => error.with_hint(tips.join("\n")),
        (true, Some(usage)) => error.with_hint(usage),
        (true, None) => error.with_hint("pgtide help COMMAND"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &str) -> Error {
        let args: Vec<OsString> = format!("pgtide {arguments}").split_whitespace().map(Into::into).collect();
        usage(&help::parse(args).unwrap_err().render().to_string())
    }

    #[test]
    fn what_the_parser_refuses_is_one_line_and_what_helps() {
        let error = refused("run --dat 2026-01-05");
        assert_eq!(error.chain(), "unexpected argument '--dat' found");
        assert!(error.hint().unwrap().contains("'--date'"), "{:?}", error.hint());
        let error = refused("status --output yaml");
        assert!(error.chain().starts_with("invalid value 'yaml' for '--output"), "{error}");
        let error = refused("mark orders");
        assert!(error.chain().contains("required") && error.hint().is_some(), "{error}");
    }

    #[test]
    fn an_option_is_found_before_the_rest_is_understood() {
        let args = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for text in ["run --bad -o json", "run -ojson --bad", "run --output=json", "--output json x"] {
            assert_eq!(help::early(&args(text), &["--output", "-o"]), Some("json"), "{text}");
        }
        for text in ["run --bad", "run -- -o json", "run -o text", "run --output"] {
            assert_ne!(help::early(&args(text), &["--output", "-o"]), Some("json"), "{text}");
        }
    }
}
