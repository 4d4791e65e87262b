//! The first screen, `--help` and `help exit-codes`. The lines of the verbs come from `args`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{CommandFactory, FromArgMatches};

use super::args::Cli;
use crate::exit::EXIT_CODES;
use crate::report::number::counted;
use crate::report::paint::escaped;
use crate::report::{Palette, Tone};

/// The colours of generated help.
pub(super) const STYLES: Styles = Styles::styled()
    .header(Style::new().bold())
    .usage(Style::new().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new());

pub(super) const COPY: &str = "\
Examples:
  pgtide copy public.users -s \"$SRC\" -d \"$DST\"
  pgtide copy public.users public.orders -s source -d warehouse
  pgtide copy --query \"select * from users where active\" --into mart.users -s source -d warehouse

Rows pass as they are, in binary, in transactions of --batch-rows.
A table that holds rows needs a --mode; with --mode replace the same command loads again.";

pub(super) const RUN: &str = "\
Examples:
  pgtide run                             what is due, of every job
  pgtide run orders --date 2026-01-05    this day, unless it is loaded
  pgtide run orders --date 2026-01 --reload

Without dates: what is due, that is complete and its schedule has come.
With dates: these, if they are complete. Loaded ones are left alone.";

pub(super) const BACKFILL: &str = "\
Examples:
  pgtide backfill orders --from-date 2023-01-01 --to-date 2025-12-31 --parallel 8
  pgtide backfill orders                 from the job's start_date to now
  pgtide backfill list                   what is asked for, and how far it is
  pgtide backfill pause orders/7

Ctrl-C stops safely. The same command goes on where this one stopped; on other
machines it takes part. Each interval is loaded once, by one of them.";

/// `Usage:` of a verb with verbs of its own.
pub(super) const BACKFILL_USAGE: &str = "\
pgtide backfill [OPTIONS] JOB
       pgtide backfill list [JOB]
       pgtide backfill pause|resume|cancel ID";

pub(super) const SCHEDULE: &str = "\
Examples:
  pgtide schedule                        all jobs
  pgtide schedule orders users

Of several schedules of one project one leads, in each destination; the others stand by
and take over when it dies. Files may change meanwhile: what is not valid keeps its last
good version. SIGTERM ends it cleanly (143): what is at work stops, and is taken up later.";

pub(super) const STATUS: &str = "\
Examples:
  pgtide status                          a line for each job
  pgtide status orders                   the calendar, and what is wrong
  pgtide status orders --date 2026-01-05
  pgtide status orders --watch
  pgtide status --exit-code              for a monitor";

pub(super) const MARK: &str = "\
Examples:
  pgtide mark orders loaded --date 2026-01-05 --reason \"restored from backup\"
  pgtide mark orders skipped --from-date 2023-12-24 --to-date 2023-12-26 --reason \"shop was closed\"";

/// Groups of verbs on the first screen.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["demo", "copy", "init", "check"]),
    ("Load", &["run", "backfill", "schedule", "plan"]),
    ("Look", &["status", "mark"]),
    ("Views", &["views"]),
];

/// The group that only `--help` shows.
const MORE: &[(&str, &[&str])] = &[("More", &["completions", "man", "help"])];

const EXAMPLES: &str = "  pgtide copy public.users -s \"$SRC\" -d \"$DST\"
  pgtide run users --date 2026-01-05
  pgtide backfill users --from-date 2023-01-01 --to-date 2025-12-31
";

/// The command line's grammar with its help.
#[must_use]
pub fn command() -> clap::Command {
    // clap takes colours out again where they are not wanted.
    let palette = Palette::new(true);
    let mut template = title(palette);
    template.push_str("\n{usage-heading} {usage}\n\n");
    template.push_str(&verbs(&[GROUPS, MORE].concat(), palette));
    template.push_str(&format!(
        "\n{}\n{{options}}{{after-help}}",
        palette.paint(Tone::Strong, "For every command:")
    ));
    Cli::command()
        .help_template(template)
        .override_usage("pgtide COMMAND [OPTIONS]")
        .after_help(format!("Exit codes:\n{}", exit_codes()))
}

/// Reads arguments by that grammar.
///
/// # Errors
/// clap's: help and version are among them.
pub fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let color = color_of(&args);
    Cli::from_arg_matches(&command().color(color).try_get_matches_from(args)?)
}

/// `--color` must be known before anything is parsed: errors of the parser are coloured too.
fn color_of(args: &[OsString]) -> clap::ColorChoice {
    early(args, &["--color"]).and_then(|text| text.parse().ok()).unwrap_or(clap::ColorChoice::Auto)
}

/// The value of an option under one of its names, among arguments that are not, or cannot be, parsed.
pub(super) fn early<'a>(args: &'a [OsString], names: &[&str]) -> Option<&'a str> {
    let texts: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let value = |name: &&str| {
        let joined = texts.iter().find_map(|arg| match name.starts_with("--") {
            true => arg.strip_prefix(*name)?.strip_prefix('='),
            false => arg.strip_prefix(*name).map(|value| value.trim_start_matches('=')),
        });
        let apart = texts.windows(2).find(|pair| pair[0] == *name).map(|pair| pair[1]);
        apart.or(joined)
    };
    names.iter().find_map(value)
}

fn title(palette: Palette) -> String {
    let name = palette.paint(Tone::Strong, concat!("pgtide ", env!("CARGO_PKG_VERSION")));
    let about = Cli::command().get_about().map(ToString::to_string).unwrap_or_default();
    format!("{name}  {about}\n")
}

fn verbs(groups: &[(&str, &[&str])], palette: Palette) -> String {
    let command = Cli::command();
    let mut text = String::new();
    let width = groups.iter().flat_map(|(_, names)| names.iter()).map(|name| name.len()).max().unwrap_or(0);
    for (group, names) in groups {
        for (number, name) in names.iter().enumerate() {
            let verb = command.find_subcommand(name).expect("the groups name verbs, as a test checks");
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let group = format!("{:<8}", if number == 0 { group } else { "" });
            let name = format!("{name:<width$}");
            let (group, name) = (palette.paint(Tone::Strong, &group), palette.paint(Tone::Busy, &name));
            let _ = writeln!(text, "{group}{name}  {about}");
        }
    }
    text
}

/// What `pgtide` alone shows, at most 80 columns wide.
#[must_use]
pub fn first_screen(project: Option<&Project>, palette: Palette) -> String {
    let mut text = format!("{}\nUsage: pgtide COMMAND [OPTIONS]\n\n", title(palette));
    text.push_str(&verbs(GROUPS, palette));
    let _ = write!(text, "\n{EXAMPLES}\n");
    if let Some(project) = project {
        let _ = writeln!(text, "{project}");
    }
    text.push_str("More: pgtide help COMMAND, pgtide help exit-codes\n");
    text
}

/// The table of exit codes; the README shows the same lines.
#[must_use]
pub fn exit_codes() -> String {
    EXIT_CODES.iter().map(|(code, name, meaning)| format!("  {code:>3}  {name:<14} {meaning}\n")).collect()
}

/// The help of a verb, or of everything.
#[must_use]
pub fn of(topic: Option<&str>) -> Option<clap::builder::StyledStr> {
    let mut command = command();
    command.build();
    let Some(topic) = topic else { return Some(command.render_help()) };
    command.find_subcommand_mut(topic).map(clap::Command::render_help)
}

/// A folder with a pgtide.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The file.
    pub file: PathBuf,
    /// How many files `jobs/` has.
    pub jobs: usize,
}

impl Project {
    /// Looks for the nearest pgtide.toml, from a folder upward.
    #[must_use]
    pub fn nearest(folder: &Path) -> Option<Self> {
        let file = folder.ancestors().map(|dir| dir.join("pgtide.toml")).find(|file| file.is_file())?;
        let is_job = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
        let entries = file.with_file_name("jobs").read_dir().into_iter().flatten().flatten();
        let jobs = entries.filter(|entry| is_job(&entry.path())).count();
        Some(Self { file, jobs })
    }
}

/// `Project: /srv/etl/pgtide.toml, 3 jobs`, cut at the left to 80 columns.
impl std::fmt::Display for Project {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = escaped(&self.file.to_string_lossy());
        let rest = format!(", {}", counted(self.jobs as u64, "job"));
        let room = 80 - "Project: ".len() - rest.len();
        let width = path.chars().count();
        if width <= room {
            return write!(f, "Project: {path}{rest}");
        }
        let tail: String = path.chars().skip(width - (room - 3)).collect();
        write!(f, "Project: ...{tail}{rest}")
    }
}

#[cfg(test)]
mod tests;
