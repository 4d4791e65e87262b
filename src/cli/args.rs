//! What can be typed: one struct per verb, no behaviour. The first line of each verb's comment is its
//! line on the first screen.

use std::path::PathBuf;

use chrono::NaiveTime;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};

use super::dates::DatesArgs;
use super::{help, quantity};
use crate::config::connection::Secret;
use crate::config::job::LoadMode;
use crate::engine::Rate;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

pub(super) const LOAD: &str = "Load";
const EVERYWHERE: &str = "For every command";

/// Copy Postgres to Postgres, day by day, exactly once
#[derive(Debug, Parser)]
#[command(name = "pgtide", version, disable_help_subcommand = true, styles = help::STYLES)]
#[command(infer_subcommands = false, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The verb; the first screen without one.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story on two throw-away servers
    Demo(DemoArgs),
    /// Copy tables or a query now; no files needed
    Copy(CopyArgs),
    /// Write pgtide.toml and a first job from a live table
    Init(InitArgs),
    /// Test configuration, connections, rights and types
    Check(CheckArgs),
    /// Load what is due, or the dates given
    Run(RunArgs),
    /// Load a range of dates in parallel; again = resume
    Backfill(super::backfill::BackfillArgs),
    /// Run for ever: load what is due, when it is due
    Schedule(ScheduleArgs),
    /// What run or backfill would do, and why
    Plan(RunArgs),
    /// Calendar of days; one day's error and tries
    Status(StatusArgs),
    /// Override a day's state, with a reason
    Mark(MarkArgs),
    /// Status, plan, apply, refresh
    Views(super::views::ViewsArgs),
    /// Print a script that completes commands for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    /// Show the help of a command, or the exit codes
    Help(HelpArgs),
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The source: a connection's name, or a URL
    #[arg(short, long, global = true, value_name = "CONN|URL", help_heading = EVERYWHERE, value_parser = secret)]
    pub source: Option<Secret>,
    /// The destination: a connection's name, or a URL
    #[arg(short, long, global = true, value_name = "CONN|URL", help_heading = EVERYWHERE, value_parser = secret)]
    pub destination: Option<Secret>,
    /// The project's file, in place of the nearest pgtide.toml upward
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// What stdout gets: text for people, json for programs
    #[arg(short, long, global = true, value_name = "FORMAT", help_heading = EVERYWHERE, default_value = "text")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub output: OutputArg,
    /// Say only what failed
    #[arg(short, long, global = true, help_heading = EVERYWHERE, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; -vv and -vvv log more
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour: auto, always, never
    #[arg(long, global = true, value_name = "WHEN", help_heading = EVERYWHERE, default_value = "auto")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub color: ColorChoice,
    /// How to show progress: auto, bars, plain, none
    #[arg(long, global = true, value_name = "HOW", help_heading = EVERYWHERE, default_value = "auto")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub progress: ProgressArg,
    /// The form of log lines: text, json
    #[arg(long, global = true, value_name = "FORMAT", help_heading = EVERYWHERE, default_value = "text")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub log_format: OutputArg,
    /// Let error messages hold values of rows
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub show_values: bool,
    /// Exit with this code, 99, when there was nothing to do
    #[arg(long, global = true, value_name = "CODE", help_heading = EVERYWHERE)]
    #[arg(value_parser = RangedU64ValueParser::<u8>::new().range(99..=99))]
    pub skip_exit_code: Option<u8>,
}

/// `--output` and `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    /// For people
    Text,
    /// For programs
    Json,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// Bars on a terminal, else plain
    Auto,
    /// Bars that move
    Bars,
    /// A line now and then
    Plain,
    /// The summary only
    None,
}

/// How to load.
#[derive(Debug, Clone, Default, Args)]
pub struct LoadArgs {
    /// Destination connections per interval, 1 to 16
    #[arg(long, value_name = "N", help_heading = LOAD, value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    pub writers: Option<usize>,
    /// Rows in a transaction: 50000, 50k
    #[arg(long, value_name = "ROWS", help_heading = LOAD, value_parser = quantity::count)]
    pub batch_rows: Option<u64>,
    /// Bytes in a transaction: 16MiB
    #[arg(long, value_name = "SIZE", help_heading = LOAD, value_parser = quantity::bytes)]
    pub batch_bytes: Option<u64>,
    /// Intervals (or tables) at once in this process, 1 to 64
    #[arg(long, value_name = "N", help_heading = LOAD, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub parallel: Option<usize>,
    /// Further tries after a failure that may pass
    #[arg(long, value_name = "N", help_heading = LOAD)]
    pub retries: Option<u32>,
    /// Start nothing new after the first failure
    #[arg(long, help_heading = LOAD)]
    pub fail_fast: bool,
    /// Load the newest interval first
    #[arg(long, help_heading = LOAD)]
    pub run_backwards: bool,
    /// Start nothing new after this time of day, in the job's zone: 07:00
    #[arg(long, value_name = "HH:MM", help_heading = LOAD, value_parser = quantity::time_of_day)]
    pub stop_at: Option<NaiveTime>,
    /// The most to read in a second, in this process: 50k (rows), 20MiB (bytes)
    #[arg(long, value_name = "ROWS|SIZE", help_heading = LOAD, value_parser = quantity::rate)]
    pub max_rate: Option<Rate>,
    /// Show the plan and change nothing
    #[arg(long, help_heading = LOAD)]
    pub dry_run: bool,
    /// End the run that holds an interval, and load it here
    #[arg(long, help_heading = LOAD)]
    pub take_over: bool,
    /// Load again what append has loaded: its rows are then there twice
    #[arg(long, help_heading = LOAD)]
    pub force: bool,
}

/// What to do with intervals that are loaded.
#[derive(Debug, Clone, Args)]
pub struct ReloadArgs {
    /// Load also what is loaded; its rows are replaced
    #[arg(long, help_heading = LOAD)]
    pub reload: bool,
    /// Load also what is stale
    #[arg(long, help_heading = LOAD)]
    pub stale: bool,
}

/// `copy`.
#[derive(Debug, Args)]
#[command(after_help = help::COPY, override_usage = "pgtide copy [OPTIONS] TABLE...\n       pgtide copy [OPTIONS] --query SQL --into TABLE")]
pub struct CopyArgs {
    /// Tables of the source: schema.table
    #[arg(value_name = "TABLE", required_unless_present = "query", conflicts_with = "query")]
    pub tables: Vec<TableName>,
    /// The destination table, if it has another name
    #[arg(long, value_name = "TABLE")]
    pub into: Option<TableName>,
    /// A query of the source in place of a table
    #[arg(long, value_name = "SQL", requires = "into")]
    pub query: Option<String>,
    /// A SQL condition on the source
    #[arg(long = "where", value_name = "SQL", conflicts_with = "query")]
    pub filter: Option<String>,
    /// append, delete-insert, merge or replace; a table that is made new needs none
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub mode: Option<ModeArg>,
    /// The key columns of merge: id, or id,day
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', required_if_eq("mode", "merge"))]
    pub key: Vec<String>,
    /// Refuse when the destination table is missing, rather than make it
    #[arg(long)]
    pub no_create: bool,
    /// How to load.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl CopyArgs {
    /// Finds what the options cannot mean together.
    ///
    /// # Errors
    /// `Usage`, for `--into` with several tables, and for an order of intervals, which a copy has not.
    pub fn validate(&self) -> Result<()> {
        if self.load.run_backwards {
            return Err(Error::new(
                ErrorKind::Usage,
                "--run-backwards orders intervals, and a copy has none",
            ));
        }
        if self.tables.len() > 1 && self.into.is_some() {
            return Err(Error::new(ErrorKind::Usage, "--into names one table, and several are to be copied")
                .with_hint("leave --into out: each table keeps its name; or copy one at a time"));
        }
        Ok(())
    }
}

/// `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Rows are added; nothing is ever removed
    Append,
    /// An interval's rows are replaced
    DeleteInsert,
    /// Rows are inserted or, where the key exists, updated
    Merge,
    /// The whole table is replaced
    Replace,
}

impl From<ModeArg> for LoadMode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Append => Self::Append,
            ModeArg::DeleteInsert => Self::DeleteInsert,
            ModeArg::Merge => Self::Merge,
            ModeArg::Replace => Self::Replace,
        }
    }
}

/// `run` and `plan`.
#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
pub struct RunArgs {
    /// Jobs by name; all of the project without
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Which intervals.
    #[command(flatten)]
    pub dates: DatesArgs,
    /// How to load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What to do with loaded ones.
    #[command(flatten)]
    pub again: ReloadArgs,
}

/// `schedule`.
#[derive(Debug, Args)]
#[command(after_help = help::SCHEDULE)]
pub struct ScheduleArgs {
    /// Jobs by name; all of the project without
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// `status`.
#[derive(Debug, Args)]
#[command(after_help = help::STATUS)]
pub struct StatusArgs {
    /// The job; a line for each without
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// One day, month or key: its tries, errors and rows
    #[arg(long, value_name = "DATE", requires = "job")]
    pub date: Option<String>,
    /// The first day (or month) of the calendar
    #[arg(long, value_name = "DATE", requires = "job", conflicts_with = "date")]
    pub from_date: Option<String>,
    /// Exit 1 if anything has failed, is missing, stale or late: for monitors
    #[arg(long)]
    pub exit_code: bool,
    /// Draw it again every 2 seconds, in place, on a terminal
    #[arg(long, conflicts_with = "exit_code")]
    pub watch: bool,
}

/// `mark`.
#[derive(Debug, Args)]
#[command(after_help = help::MARK, override_usage = "pgtide mark JOB STATE --reason TEXT --date DATE... [OPTIONS]")]
pub struct MarkArgs {
    /// The job
    #[arg(value_name = "JOB")]
    pub job: String,
    /// The new state
    #[arg(value_name = "STATE")]
    pub state: MarkArg,
    /// Why; the ledger keeps it with your name
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// With loaded: keep what a table that was made anew holds as it is recorded
    #[arg(long)]
    pub rebind: bool,
    /// Which intervals; none for a table that is loaded whole.
    #[command(flatten)]
    pub dates: DatesArgs,
}

/// The states that `mark` can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkArg {
    /// The rows are there, also if another tool brought them
    Loaded,
    /// The rows are not right: the next run takes it
    Failed,
    /// Not wanted: no run takes it
    Skipped,
    /// The source changed: --stale takes it
    Stale,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Jobs by name; all of the project without
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Print the SQL that gives the rights that are missing, for a DBA
    #[arg(long)]
    pub print_grants: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A table of the source: schema.table
    #[arg(value_name = "TABLE")]
    pub table: TableName,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the two servers running, and say how to reach and stop them
    #[arg(long)]
    pub keep: bool,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command, or exit-codes
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// A URL may hold a password, and arguments may be printed for debugging.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
