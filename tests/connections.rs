//! `max_connections` by the server's own log, which has every session's begin and end.

use std::collections::HashSet;

use pgtide::sandbox::{Options, Server};

use crate::support::servers::private_server_with;
use crate::support::{Database, Pair, Project, events};

const TWELVE: &str = "--from-date 2026-01-01 --to-date 2026-01-12";

/// The most sessions of the job that were there at once.
fn most_at_once(log: &str) -> usize {
    let (mut open, mut most) = (HashSet::new(), 0);
    for line in log.lines() {
        let pid = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(pid, _)| pid);
        if line.contains("connection authorized: ") && line.contains("application_name=pgtide/events") {
            open.extend(pid);
            most = most.max(open.len());
        } else if line.contains("disconnection: ") {
            pid.map(|pid| open.remove(pid));
        }
    }
    assert!(open.is_empty(), "sessions without an end: {open:?}");
    most
}

/// A server that logs every session.
async fn logging(name: &str) -> Server {
    let settings = ["log_connections", "log_disconnections"].map(|name| (name.to_owned(), "on".to_owned()));
    private_server_with(name, Options { settings: settings.into(), ..Options::default() }).await
}

fn limited(project: &Project, side: &str, most: usize) {
    let file = project.folder().join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let entry = format!("[connections.{side}]\n");
    std::fs::write(&file, text.replace(&entry, &format!("{entry}max_connections = {most}\n"))).unwrap();
}

#[tokio::test]
async fn the_log_of_both_servers_has_no_more_sessions_than_allowed_and_one_for_each_process_that_waits() {
    let (from, to) = tokio::join!(logging("connections_from"), logging("connections_to"));
    let source = Database::create(&from, "source").await;
    let pair = Pair { source, destination: Database::create(&to, "destination").await };
    events::make(&pair).await;
    let job = events::job(&format!("{}writers = 2\n", events::DAILY));
    let job = job.replace("max_active_runs = 2\n", "max_active_runs = 8\n");
    let project = Project::new(&pair).job("events", &job);
    limited(&project, "source", 3);
    limited(&project, "destination", 7);
    project.pgtide("run events --date 2026-01-01").run().await.expect(0);
    let runs: Vec<_> = (0..3).map(|_| project.pgtide(&format!("backfill events {TWELVE}")).spawn()).collect();
    for run in runs {
        run.finish().await.expect(0);
    }
    project.no_session_left().await;
    let (source, destination) = (most_at_once(&from.log()), most_at_once(&to.log()));
    assert!((1..=3).contains(&source), "{source} on the source");
    assert!((4..=7 + 3).contains(&destination), "{destination} on the destination");
    events::assert_loaded(&project).await;
}
