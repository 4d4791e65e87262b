//! Every load mode and commit policy, killed twenty times in one load, then once to the end.
//!
//! A kill comes when a random share of the rows has been sent, and a random moment later, so that it
//! lands in claims, in COPY, in commits and in finishes. `PGTIDE_SEED` repeats a failure's draws.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio_postgres::Client;

use crate::support::events::{self, DAILY, FROM, INTO};
use crate::support::project::{kill_when, versions};
use crate::support::{Project, databases, until};

/// Each of the 12 days is two or three batches.
const ROWS: u64 = 6_000;
const BYTES: u64 = ROWS * events::ROW_BYTES;

const KILLS: usize = 20;

/// Some kill must have found an attempt at work; how many do depends on how busy the machine is.
const KILLS_AT_WORK: i64 = 1;

/// What happens on the source before its rows are loaded again.
const CHANGES: &str = "
update public.events set body = 'changed' where id % 7 = 0;
delete from public.events where id % 11 = 0;
insert into public.events select id + 100000, at, body from public.events where id % 13 = 0";

const WHOLE: &str = "";

/// Whether the rows that are loaded are there once, or are loaded a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    First,
    Again,
}

struct Case {
    name: &'static str,
    load: Load,
    intervals: &'static str,
    /// The job's keys that choose the way.
    keys: &'static str,
}

macro_rules! cases {
    ($($name:ident: $load:ident, $intervals:ident, $keys:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (name, load) = (stringify!($name), Load::$load);
            Box::pin(survive(Case { name, load, intervals: $intervals, keys: $keys })).await;
        }
    )*};
}

cases! {
    delete_insert_by_batch: First, DAILY, "mode = 'delete-insert'\ncommit = 'batch'\nwriters = 2";
    delete_insert_by_interval: First, DAILY, "mode = 'delete-insert'\ncommit = 'interval'";
    delete_insert_staged: First, DAILY, "mode = 'delete-insert'\ncommit = 'staged'\nwriters = 2";
    delete_insert_again: Again, DAILY, "mode = 'delete-insert'\nwriters = 2";
    delete_insert_again_by_interval: Again, DAILY, "mode = 'delete-insert'\ncommit = 'interval'";
    merge_by_batch: First, DAILY, "mode = 'merge'\nkey = ['id']\ncommit = 'batch'\nwriters = 2";
    merge_by_interval: First, DAILY, "mode = 'merge'\nkey = ['id']\ncommit = 'interval'";
    append_by_interval: First, DAILY, "mode = 'append'";
    append_staged: First, DAILY, "mode = 'append'\ncommit = 'staged'\nwriters = 2";
    append_after_the_last_key: First, DAILY, "mode = 'append'\nresume_key = 'id'";
    append_whole_after_the_last_key: First, WHOLE, "mode = 'append'\nresume_key = 'id'";
    replace_by_batch: First, WHOLE, "mode = 'replace'\ncommit = 'batch'\nwriters = 2";
    replace_by_interval: First, WHOLE, "mode = 'replace'\ncommit = 'interval'";
    replace_staged: First, WHOLE, "mode = 'replace'\ncommit = 'staged'\nwriters = 2";
    replace_again: Again, WHOLE, "mode = 'replace'\nwriters = 2";
    replace_again_with_delete: Again, WHOLE, "mode = 'replace'\nempty_with = 'delete'";
    replace_again_by_interval: Again, WHOLE, "mode = 'replace'\ncommit = 'interval'";
}

async fn survive(case: Case) {
    let mut random = Random::new();
    println!("PGTIDE_SEED={} repeats this", random.seed);
    let world = World::new(&case).await;
    if case.load == Load::Again {
        world.project.pgtide(&world.command("")).run().await.expect(0);
        world.project.source.exec(CHANGES).await;
    }
    let mut kills = 0;
    while kills < KILLS {
        match world.kill_once(&mut random, kills).await {
            // The servers had not noticed the last kill yet: that is no kill.
            75 => world.project.no_session_left().await,
            0 if case.load == Load::First => break,
            _ => kills += 1,
        }
        // Every second time the next run meets what is left as soon as it can.
        if random.below(2) == 0 {
            world.assert_every_row_is_recorded().await;
        }
    }
    world.finish().await;
    world.project.assert_loaded(FROM, INTO).await;
    // A load that was over before its kill, on a busy machine, proves nothing about kills.
    if kills == KILLS {
        world.assert_kills_hit().await;
    }
    let before = versions(&world.project.destination, INTO).await;
    world.project.pgtide(&world.command("")).run().await.expect(0);
    assert_eq!(versions(&world.project.destination, INTO).await, before, "a run when all is done");
}

/// A project with one job, and how it is run.
struct World {
    project: Project,
    load: Load,
    is_daily: bool,
    is_merge: bool,
    /// Whether what was committed before a kill stays and is gone on after.
    keeps_batches: bool,
    /// Tells how far a run is.
    watch: Client,
}

impl World {
    async fn new(case: &Case) -> Self {
        let pair = databases(&format!("kill_{}", case.name)).await;
        events::make_rows(&pair, ROWS).await;
        let job = events::job(&format!("{}{}", case.intervals, case.keys));
        let project = Project::new(&pair).job("events", &job);
        let watch = project.destination.client().await;
        Self {
            load: case.load,
            is_daily: case.intervals == DAILY,
            is_merge: case.keys.contains("merge"),
            keeps_batches: case.keys.contains("resume_key"),
            project,
            watch,
        }
    }

    fn command(&self, options: &str) -> String {
        let run = if self.is_daily { events::RUN } else { "run events" };
        format!("{run} {options}")
    }

    fn load_command(&self) -> String {
        self.command(if self.load == Load::Again { "--reload" } else { "" })
    }

    /// Draws how many bytes a run may send before it is killed; none for a kill soon after its start.
    fn draw(&self, random: &mut Random, number: usize) -> Option<u64> {
        if random.below(5) == 0 {
            return None;
        }
        let keeps_some = self.keeps_batches || (self.is_daily && self.load == Load::First);
        Some(match (keeps_some, number) {
            // The twenty runs together get about as far as the end.
            (true, _) => random.below(BYTES / KILLS as u64 * 3),
            // The last ones come so late that the load may be over.
            (false, 15..) => BYTES * 9 / 10 + random.below(BYTES / 10),
            (false, _) => random.below(BYTES * 9 / 10),
        })
    }

    /// Starts a run and kills it; returns its exit code, for it may have been quicker.
    async fn kill_once(&self, random: &mut Random, number: usize) -> i32 {
        let running = self.project.pgtide(&self.load_command()).spawn();
        let bytes = self.draw(random, number);
        let later = Duration::from_millis(random.below(if bytes.is_some() { 15 } else { 150 }));
        let pid = running.pid();
        let moment = async {
            if let Some(bytes) = bytes {
                until("enough bytes were sent", || async { events::sent(&self.watch, pid).await >= bytes })
                    .await;
            }
            // Not to wait for anything: to come at no particular moment.
            tokio::time::sleep(later).await;
        };
        let output = kill_when(running, moment).await;
        let is_known = [137, 75, 0].contains(&output.code);
        assert!(is_known, "kill {number}, {bytes:?} bytes and {later:?}: {}\n{}", output.code, output.stderr);
        output.code
    }

    /// Whenever a run dies, every row in the table is in the ledger, once.
    async fn assert_every_row_is_recorded(&self) {
        self.project.no_session_left().await;
        let destination = &self.project.destination;
        let is_new = destination.scalar("select to_regclass('pgtide.batch') is null").await == "t";
        // A merge counts what it was given: rows that are there already are not there twice.
        if is_new || self.is_merge {
            return;
        }
        let sql = "select (select coalesce(sum(rows), 0) from pgtide.interval where loaded_at is not null)
                        + (select coalesce(sum(rows), 0) from pgtide.batch where number > 0 and not staged),
                          (select count(*) from mart.events)";
        let rows = destination.rows(sql).await;
        assert_eq!(rows[0][0], rows[0][1], "rows in the ledger, and in the table");
    }

    async fn finish(&self) {
        self.project.no_session_left().await;
        self.project.pgtide(&self.load_command()).run().await.expect(0);
    }

    async fn assert_kills_hit(&self) {
        let sql = "select count(*) from pgtide.attempt where outcome = 'interrupted'";
        let interrupted: i64 = self.project.destination.scalar(sql).await.parse().unwrap();
        assert!(interrupted >= KILLS_AT_WORK, "only {interrupted} attempts were interrupted");
    }
}

/// SplitMix64: a failure is repeated with its seed.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let drawn = || RandomState::new().hash_one(0);
        let seed = std::env::var("PGTIDE_SEED").ok().map_or_else(drawn, |seed| seed.parse().unwrap());
        Self { seed, state: seed }
    }

    /// A number below the limit.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
