//! The command line: what was typed becomes a verb's call, and its end an exit code.
//!
//! Each verb has a file with `run(args, &Context) -> anyhow::Result<u8>`; the number is an exit code
//! (see [`exit`](crate::exit)). A verb shows its work through `report`; an error that it returns is
//! printed once, by `main`.

pub mod args;
pub mod backfill;
mod check;
mod completions;
mod copy;
pub mod dates;
mod demo;
pub mod help;
mod init;
mod loading;
mod log;
mod man;
mod mark;
mod output;
mod plan;
pub mod quantity;
pub mod refusal;
mod run;
mod schedule;
pub mod signals;
mod status;
mod stop_at;
pub mod views;
mod workshop;

use crate::error::{Error, ErrorKind};
use crate::exit::{DONE, INTERRUPTED, NOTHING_TO_DO, USAGE};
use crate::report::{Output, Progress};
use crate::shutdown::{self, Shutdown};
use args::{Cli, Command, GlobalArgs, HelpArgs};

/// What every verb gets beside its arguments.
#[derive(Debug, Clone)]
pub struct Context {
    /// The options of every verb.
    pub global: GlobalArgs,
    /// How to speak.
    pub output: Output,
    /// Says when to stop.
    pub shutdown: Shutdown,
}

/// Runs a parsed command line to its exit code; an error has been printed.
pub async fn main(cli: Cli) -> u8 {
    refusal::unless_written(verb(cli).await)
}

async fn verb(cli: Cli) -> u8 {
    let output = output::resolve(&cli.global, &output::Surroundings::of_process());
    let Some(command) = cli.command else { return first_screen(&output) };
    let skip_exit_code = cli.global.skip_exit_code;
    let code = match start(command, cli.global, output.clone()).await {
        Ok(code) => code,
        Err(error) => {
            let error = ours(error);
            output.error(&error);
            error.kind().policy().exit_code
        }
    };
    if code == NOTHING_TO_DO { skip_exit_code.unwrap_or(DONE) } else { code }
}

async fn start(command: Command, global: GlobalArgs, output: Output) -> anyhow::Result<u8> {
    log::start(&global, &output)?;
    let (trigger, shutdown) = shutdown::channel();
    let (screen, has_bars) = (output.screen.clone(), output.progress == Progress::Bars);
    let say = move |signal: &str| {
        if !has_bars {
            screen.print(&format!("{signal}: stopping; committed batches stay, open ones roll back"));
        }
    };
    let screen = output.screen.clone();
    let received = signals::listen(trigger, say, move || screen.clear())?;
    let context = Context { global, output, shutdown };
    let result = dispatch(command, &context).await;
    match (result, received.exit_code()) {
        (Ok(INTERRUPTED), Some(code)) => Ok(code),
        (Err(error), Some(code)) if is_interrupted(&error) => {
            context.output.error(&ours(error));
            Ok(code)
        }
        (result, _) => result,
    }
}

async fn dispatch(command: Command, context: &Context) -> anyhow::Result<u8> {
    match command {
        Command::Demo(args) => demo::run(args, context).await,
        Command::Copy(args) => copy::run(args, context).await,
        Command::Init(args) => init::run(args, context).await,
        Command::Check(args) => check::run(args, context).await,
        Command::Run(args) => run::run(args, context).await,
        Command::Backfill(args) => backfill::run(args, context).await,
        Command::Schedule(args) => schedule::run(args, context).await,
        Command::Plan(args) => plan::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Mark(args) => mark::run(args, context).await,
        Command::Views(args) => views::run(args, context).await,
        Command::Completions(args) => Ok(completions::run(&args, context)),
        Command::Man => man::run(context),
        Command::Help(args) => show_help(&args, context),
    }
}

fn first_screen(output: &Output) -> u8 {
    let project = std::env::current_dir().ok().and_then(|folder| help::Project::nearest(&folder));
    output.print(&help::first_screen(project.as_ref(), output.out));
    USAGE
}

fn show_help(args: &HelpArgs, context: &Context) -> anyhow::Result<u8> {
    let topic = args.topic.as_deref();
    if topic == Some("exit-codes") {
        context.output.print(&help::exit_codes());
        return Ok(DONE);
    }
    let Some(text) = help::of(topic) else {
        let what = format!("there is no help on `{}`", topic.unwrap_or_default().escape_debug());
        return Err(Error::new(ErrorKind::Usage, what)
            .with_hint("pgtide help COMMAND, or pgtide help exit-codes")
            .into());
    };
    let text = if context.output.out.is_enabled() { text.ansi().to_string() } else { text.to_string() };
    context.output.print(&text);
    Ok(DONE)
}

fn is_interrupted(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::Interrupted)
}

/// An error of the library as it is; anything else is a defect, with all of its causes.
fn ours(error: anyhow::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|other| Error::new(ErrorKind::Internal, format!("{other:#}")))
}

/// Ends work that only looks, or writes in single transactions, at the first signal.
async fn stoppable<T>(
    context: &Context,
    work: impl Future<Output = crate::error::Result<T>>,
) -> crate::error::Result<T> {
    let mut shutdown = context.shutdown.clone();
    tokio::select! {
        result = work => result,
        () = shutdown.requested() => Err(Error::new(ErrorKind::Interrupted, "stopped by a signal")),
    }
}
