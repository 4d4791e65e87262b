//! What breaks on the way: sessions that are terminated, servers that restart, networks that fail.
//!
//! A run that may try again goes on by itself; one that may not ends with 75, and the next finishes.

use pgtide::sandbox::{Options, Server, StopMode};

use crate::support::events::{self, BYTES, DAILY, FROM, INTO, PATIENT, ROWS, RUN, SLOWLY, until_sent};
use crate::support::project::no_session_on;
use crate::support::proxy::{Direction, Proxy};
use crate::support::servers::private_server_with;
use crate::support::{Database, Pair, Project, databases, private_server, until};

const ANY: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and application_name like 'pgtide%'";
// While rows are on their way: a session that ends after its last use costs nothing.
const CONTROL: &str = "select count(pg_terminate_backend(pid)) from pg_locks
    where locktype = 'advisory' and granted and objsubid = 2 and mode = 'ExclusiveLock'
      and database = (select oid from pg_database where datname = current_database())
      and exists (select from pg_stat_activity
                  where datname = current_database() and state = 'active' and query ilike 'copy %')";
const WAITS: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and application_name like 'pgtide%' and wait_event_type = 'Lock'";
const WRITER: &str = "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity
    where datname = current_database() and state = 'active' and query ilike 'copy %' limit 1) writer";

#[tokio::test]
async fn a_terminated_writer_costs_a_try_and_no_row() {
    survive_termination("a writer", WRITER).await;
}

#[tokio::test]
async fn a_terminated_control_session_costs_a_try_and_no_row() {
    survive_termination("a control session", CONTROL).await;
}

#[tokio::test]
async fn every_session_terminated_at_once_costs_a_try_and_no_row() {
    survive_termination("all", ANY).await;
}

/// Terminates sessions of the destination, three times in one run.
async fn survive_termination(name: &str, terminate: &str) {
    let project = events::daily(&databases("terminated").await, &format!("writers = 2\n{PATIENT}")).await;
    let running = project.pgtide(RUN).arg(SLOWLY).spawn();
    for part in [8, 3, 2] {
        until_sent(&project.destination, running.pid(), BYTES / part).await;
        until(&format!("{name} is terminated"), || async {
            project.destination.scalar(terminate).await != "0"
        })
        .await;
    }
    let output = running.finish().await.expect(0);
    assert!(output.stderr.contains("12 loaded"), "{}", output.stderr);
    events::assert_loaded(&project).await;
    assert_was_interrupted(&project).await;
}

/// All rows are one interval here, so that the source is being read whenever its session ends.
#[tokio::test]
async fn a_terminated_source_session_costs_a_try_and_no_row() {
    let pair = databases("terminated_source").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &events::job(&format!("mode = \"replace\"\n{PATIENT}")));
    let running = project.pgtide("run events").arg(SLOWLY).spawn();
    for part in [20, 15, 10] {
        until_sent(&project.destination, running.pid(), BYTES / part).await;
        until("it is terminated", || async { project.source.scalar(ANY).await != "0" }).await;
    }
    running.finish().await.expect(0);
    events::assert_loaded(&project).await;
    assert_was_interrupted(&project).await;
}

async fn assert_was_interrupted(project: &Project) {
    let sql = "select count(*) > 0 from pgtide.attempt where outcome <> 'loaded'";
    assert_eq!(project.destination.scalar(sql).await, "t", "nothing was in use when it was broken");
}

/// Batches commit without waiting for the disk: those that the crash takes, it takes with their records.
#[tokio::test]
async fn a_destination_that_crashes_costs_tries_and_no_row() {
    let settings = vec![("wal_writer_delay".to_owned(), "10s".to_owned())];
    let mut server = private_server_with("crash", Options { settings, ..Options::default() }).await;
    let ways = [
        ("batch", DAILY, "mode = 'delete-insert'\nwriters = 2"),
        ("staged", DAILY, "mode = 'delete-insert'\ncommit = 'staged'"),
        ("resume", "", "mode = 'append'\nresume_key = 'id'"),
        ("merge", DAILY, "mode = 'merge'\nkey = ['id']"),
    ];
    for (name, intervals, keys) in ways {
        let source = databases(&format!("crash_{name}")).await.source;
        let pair = Pair { source, destination: Database::create(&server, name).await };
        events::make(&pair).await;
        let job = events::job(&format!("{intervals}{PATIENT}{keys}"));
        let project = Project::new(&pair).job("events", &job);
        let running =
            project.pgtide(if intervals.is_empty() { "run events" } else { RUN }).arg(SLOWLY).spawn();
        for part in [6, 3] {
            until_sent(&project.destination, running.pid(), BYTES / part).await;
            server = restarted(server).await;
        }
        running.finish().await.expect(0);
        events::assert_loaded(&project).await;
        assert_was_interrupted(&project).await;
    }
}

/// With a standby that never answers, a COMMIT is on the disk and its session waits: whoever is cut off
/// here cannot know that the load is done.
#[tokio::test]
async fn a_commit_that_was_not_answered_is_found_done() {
    let server = private_server("unanswered").await;
    for (name, keys) in
        [("batch", ""), ("interval", "commit = \"interval\"\n"), ("append", "mode = \"append\"\n")]
    {
        let source = databases(&format!("unanswered_{name}")).await.source;
        let pair = Pair { source, destination: Database::create(&server, name).await };
        events::make(&pair).await;
        let project = Project::new(&pair).job("events", &events::job(&format!("{keys}{PATIENT}")));
        // Whoever stores the last row waits for the end of this transaction.
        let last = pair.destination.client().await;
        let row = format!("begin; insert into mart.events values ({ROWS}, now(), '')");
        last.batch_execute(&row).await.unwrap();
        let running = project.pgtide("run events").spawn();
        until("the last row is on its way", || async { pair.destination.scalar(WAITS).await != "0" }).await;
        set_standby(&pair.destination, "'ghost'").await;
        last.batch_execute("rollback").await.unwrap();
        let terminate =
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
        until("the finish is not answered", || async { pair.destination.scalar(terminate).await != "0" })
            .await;
        // The next attempt waits for its claim's COMMIT as long as the standby is wanted.
        set_standby(&pair.destination, "default").await;
        let output = running.finish().await.expect(0);
        assert!(output.stderr.contains("12,000 rows"), "{name} is told as loaded: {}", output.stderr);
        events::assert_loaded(&project).await;
        let attempts = "select string_agg(outcome, ' ' order by id) from pgtide.attempt";
        assert_eq!(pair.destination.scalar(attempts).await, "loaded", "{name} was not loaded twice");
    }
}

async fn set_standby(database: &Database, value: &str) {
    let client = database.client().await;
    client.execute(&format!("alter system set synchronous_standby_names = {value}"), &[]).await.unwrap();
    client.execute("select pg_reload_conf()", &[]).await.unwrap();
    let wanted = if value == "default" { "" } else { "ghost" };
    until("the setting is in force", || async {
        database.scalar("show synchronous_standby_names").await == wanted
    })
    .await;
}

#[tokio::test]
async fn a_source_that_crashes_costs_tries_and_no_row() {
    let server = private_server("source_crash").await;
    let destination = databases("source_crash").await.destination;
    let pair = Pair { source: Database::create(&server, "source").await, destination };
    let project = events::daily(&pair, PATIENT).await;
    let running = project.pgtide(RUN).arg(SLOWLY).spawn();
    until_sent(&project.destination, running.pid(), BYTES / 4).await;
    let server = restarted(server).await;
    running.finish().await.expect(0);
    events::assert_loaded(&project).await;
    drop(server);
}

/// Stops a server as a crash would, and starts it again.
async fn restarted(mut server: Server) -> Server {
    let restart = move || {
        server.restart(StopMode::Immediate).unwrap();
        server
    };
    tokio::task::spawn_blocking(restart).await.unwrap()
}

/// A load of one day and of one server's every byte, which a proxy counts and cuts.
struct Wire {
    project: Project,
    proxy: Proxy,
}

const ONE_DAY: &str = "run events --date 2026-01-05";

impl Wire {
    async fn to_destination(hint: &str, keys: &str) -> Self {
        let pair = databases(hint).await;
        let proxy = Proxy::start(&pair.destination).await;
        let project = Project::through(&pair, &pair.source.url(), &proxy.url(&pair.destination));
        Self::new(&pair, project, proxy, keys).await
    }

    async fn to_source(hint: &str, keys: &str) -> Self {
        let pair = databases(hint).await;
        let proxy = Proxy::start(&pair.source).await;
        let project = Project::through(&pair, &proxy.url(&pair.source), &pair.destination.url());
        Self::new(&pair, project, proxy, keys).await
    }

    async fn new(pair: &Pair, project: Project, proxy: Proxy, keys: &str) -> Self {
        events::make(pair).await;
        let project = project.job("events", &events::job(&format!("{DAILY}{keys}")));
        Self { project, proxy }
    }

    /// Loads the day, and tells how many bytes went each way.
    async fn measure(&self) -> [u64; 2] {
        let passed = || [Direction::ToServer, Direction::ToClient].map(|way| self.proxy.passed(way));
        let before = passed();
        self.project.pgtide(ONE_DAY).run().await.expect(0);
        let after = passed();
        [after[0] - before[0], after[1] - before[1]]
    }

    /// Loads the day over connections that break after so many bytes, then over good ones.
    async fn cut_at(&self, bytes: u64, way: Direction) {
        self.forget().await;
        self.proxy.cut_after(bytes, way);
        let output = self.project.pgtide(ONE_DAY).run().await;
        let place = format!("cut after {bytes} bytes {way:?}");
        // 0: what was cut off came after all was done.
        assert!([0, 75].contains(&output.code), "{place}: {}\n{}", output.code, output.stderr);
        self.proxy.heal();
        self.project.no_session_left().await;
        if output.code == 0 {
            assert_eq!(self.loaded().await, "1", "{place}");
        }
        let output = self.project.pgtide(ONE_DAY).run().await;
        assert_eq!(output.code, 0, "{place}, then run again: {}", output.stderr);
        self.assert_day_is_loaded().await;
    }

    async fn forget(&self) {
        let tables = "truncate mart.events, pgtide.interval, pgtide.batch, pgtide.attempt";
        self.project.destination.exec(tables).await;
    }

    async fn loaded(&self) -> String {
        self.project.destination.scalar("select count(*) from pgtide.loaded").await
    }

    async fn assert_day_is_loaded(&self) {
        let day =
            format!("(select * from {FROM} where (at at time zone 'America/New_York')::date = '2026-01-05')");
        self.project.assert_loaded(&day, INTO).await;
    }
}

#[tokio::test]
async fn a_connection_cut_anywhere_leaves_whole_batches() {
    survive_cuts("writers = 2", 0).await;
}

#[tokio::test]
async fn a_connection_cut_anywhere_leaves_a_whole_interval_or_none() {
    survive_cuts("commit = \"interval\"", 1).await;
}

#[tokio::test]
async fn a_connection_cut_anywhere_leaves_what_is_staged_whole_or_unseen() {
    survive_cuts("commit = \"staged\"\nwriters = 2", 2).await;
}

#[tokio::test]
async fn a_connection_cut_anywhere_appends_once() {
    survive_cuts("mode = \"append\"", 3).await;
}

/// Cuts in all parts of a load, and closely around its commits; `shift` keeps the tests from
/// cutting at the same places.
async fn survive_cuts(keys: &str, shift: u64) {
    let wire = Wire::to_destination("cut", keys).await;
    wire.measure().await;
    wire.forget().await;
    // The second run has no ledger to make.
    let [to_server, to_client] = wire.measure().await;
    for part in 0..5 {
        wire.cut_at(to_server * (4 * part + shift) / 20, Direction::ToServer).await;
        wire.cut_at(to_client * (4 * part + shift) / 20, Direction::ToClient).await;
    }
    // Answers to the last batches, to the finish and to its COMMIT: the load may be done, unknown to its run.
    for step in 0..16 {
        wire.cut_at(to_client - 140 * step - 35 * shift, Direction::ToClient).await;
    }
    for step in 0..6 {
        wire.cut_at(to_server - 500 * step - 125 * shift, Direction::ToServer).await;
    }
}

#[tokio::test]
async fn a_source_that_is_cut_off_anywhere_costs_a_run_and_no_row() {
    let wire = Wire::to_source("cut_source", "").await;
    wire.measure().await;
    wire.forget().await;
    let [to_server, to_client] = wire.measure().await;
    for part in 0..10 {
        wire.cut_at(to_server * part / 10, Direction::ToServer).await;
        wire.cut_at(to_client * part / 10, Direction::ToClient).await;
    }
}

#[tokio::test]
async fn a_run_goes_on_by_itself_when_the_network_is_back() {
    let keys = format!("writers = 2\n{PATIENT}");
    let (into, from) =
        (Wire::to_destination("back", &keys).await, Wire::to_source("back_source", &keys).await);
    for (wire, proxied) in [(&into, &into.project.destination), (&from, &from.project.source)] {
        let running = wire.project.pgtide(RUN).arg(SLOWLY).spawn();
        for part in [6, 3, 2] {
            until_sent(&wire.project.destination, running.pid(), BYTES / part).await;
            wire.proxy.cut();
            no_session_on(proxied).await;
            wire.proxy.heal();
        }
        let output = running.finish().await.expect(0);
        assert!(output.stderr.contains("12 loaded"), "{}", output.stderr);
        events::assert_loaded(&wire.project).await;
    }
}

#[tokio::test]
async fn a_network_that_stands_still_is_noticed_and_named() {
    let keys = "progress_timeout = \"2s\"";
    for (wire, side) in [
        (Wire::to_destination("stall", keys).await, "the destination takes nothing"),
        (Wire::to_source("stall_source", keys).await, "the source sends nothing"),
    ] {
        let running = wire.project.pgtide(RUN).arg(SLOWLY).spawn();
        until_sent(&wire.project.destination, running.pid(), BYTES / 3).await;
        wire.proxy.stall();
        let output = running.finish().await.expect(75);
        for part in ["no progress for 2 s", side, "progress_timeout", "try again: pgtide run events"] {
            assert!(output.stderr.contains(part), "{part:?} is not in\n{}", output.stderr);
        }
        wire.proxy.heal();
        wire.project.no_session_left().await;
        wire.project.pgtide(RUN).run().await.expect(0);
        events::assert_loaded(&wire.project).await;
    }
}

/// Before the first row too: a server that accepts and is silent, or that falls silent at a claim.
#[tokio::test]
async fn a_server_that_falls_silent_is_not_waited_for_for_ever() {
    let keys = "progress_timeout = \"2s\"";
    for swallow in [Proxy::stall, Proxy::blackhole] {
        let wire = Wire::to_destination("silent", keys).await;
        wire.project.pgtide(ONE_DAY).run().await.expect(0);
        let client = wire.project.destination.client().await;
        client.batch_execute("begin; lock table pgtide.interval").await.unwrap();
        let running = wire.project.pgtide(RUN).spawn();
        wire.project.destination.until_awaited("pgtide.interval").await;
        swallow(&wire.proxy);
        client.batch_execute("rollback").await.unwrap();
        let output = running.finish().await.expect(75);
        assert!(output.stderr.contains("no answer"), "{}", output.stderr);
        wire.proxy.heal();
        wire.project.no_session_left().await;
        wire.project.pgtide(RUN).run().await.expect(0);
        events::assert_loaded(&wire.project).await;
    }
}
