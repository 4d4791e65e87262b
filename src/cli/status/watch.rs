//! `--watch`: the same picture, drawn again and again in place, until Ctrl-C.
//!
//! Each frame is a look of its own, files and connections included: what changes is seen, and a
//! destination that is down for a while is said in the frame. On a pipe there is no place to draw in, so
//! it is refused.

use std::time::Duration;

use chrono::Local;

use super::{Shown, look};
use crate::cli::args::StatusArgs;
use crate::cli::{Context, loading};
use crate::error::{Error, ErrorKind, Result};
use crate::exit;
use crate::report::{Format, screen};

/// The time between two frames.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &StatusArgs, context: &Context) -> Result<u8> {
    let (stdout, stderr) = screen::terminals();
    if !(stdout && stderr) || context.output.format == Format::Json {
        return Err(Error::new(ErrorKind::Usage, "--watch draws on a terminal, and here is none")
            .with_hint("leave it out; for programs: pgtide status --output json, as often as you like"));
    }
    let mut shutdown = context.shutdown.clone();
    let mut last = frame(args, context).await?;
    loop {
        draw(context, &last);
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::select! {
            () = shutdown.requested() => break,
            looked = frame(args, context) => match looked {
                Ok(shown) => last = shown,
                Err(error) => last.errors = vec![error],
            }
        }
    }
    context.output.screen.clear();
    // What was seen last stays on the terminal.
    context.output.print(&last.text);
    Ok(exit::INTERRUPTED)
}

async fn frame(args: &StatusArgs, context: &Context) -> Result<Shown> {
    let project = loading::project(context, None)?;
    look(context, &project, args).await
}

fn draw(context: &Context, shown: &Shown) {
    let (_, rows) = context.output.screen.size();
    let clock = Local::now().format("%Y-%m-%d %H:%M:%S");
    let heading = format!("{clock}  every {} s; Ctrl-C ends", EVERY.as_secs());
    let mut lines = vec![String::new(), heading, String::new()];
    lines.extend(shown.text.lines().map(str::to_owned));
    let errors = shown.errors.iter().map(|error| format!("error: {}", error.chain()));
    // What is too long for the terminal loses its end, but never the errors.
    lines.truncate(rows.saturating_sub(1 + shown.errors.len()).max(1));
    lines.extend(errors);
    context.output.screen.draw(&lines);
}
