//! `pgtide schedule`: `run`, for ever.

use std::sync::Arc;

use futures::FutureExt;

use super::Context;
use super::args::ScheduleArgs;
use super::loading::{self, Task};
use super::views::clock;
use super::workshop::{self, Told, Workshop};
use crate::config::environment::Environment;
use crate::engine::Options;
use crate::event::{self, Events};
use crate::exit;
use crate::report::{Reporter, Span};
use crate::schedule::{Load, Schedule};

pub(super) async fn run(args: ScheduleArgs, context: &Context) -> anyhow::Result<u8> {
    let (events, receiver) = event::channel();
    let (shutdown, views) = (context.shutdown.clone(), events.clone());
    let schedule = Schedule {
        overrides: loading::overrides(context, None),
        env: Environment::from_process(),
        names: args.jobs,
        owner: workshop::owner(&uuid::Uuid::new_v4().to_string()),
        load: load(context, &events),
        events,
        shutdown: shutdown.clone(),
    };
    let reporter = Reporter::start_for(&context.output, receiver, Some(shutdown), Span::Forever);
    let clocks = async {
        clock::refresh_for_ever(context, &views).await;
        Ok(())
    };
    // Files that make no sense end both; a signal waits for both.
    let result = futures::try_join!(schedule.run(), clocks).map(|((), ())| ());
    drop(views);
    reporter.finish().await;
    // It ends only when a signal asks for it.
    Ok(result.map(|()| exit::INTERRUPTED)?)
}

/// Each start is a run of its own, with an id of its own.
fn load(context: &Context, events: &Events) -> Load {
    let (context, events, told) = (Arc::new(context.clone()), events.clone(), Told::default());
    Box::new(move |start| {
        let (context, events, told) = (context.clone(), events.clone(), told.clone());
        async move {
            let run_id = uuid::Uuid::new_v4().to_string();
            let workshop = Workshop::new(&context, &start.project, &run_id).after(&told, start.again);
            // What another run has is no failure of this one: it looks again.
            let options = Options { leave_held: true, ..Options::default() };
            let task = Task { job: start.job, request: start.request, options };
            workshop::run_one(&workshop, task, &events).await.1
        }
        .boxed()
    })
}
