//! Status beyond the calendar: gaps found and filled, deadlines, ten years, watching; and runs of several jobs.

use serde_json::Value;

use crate::support::cli::write_file;
use crate::support::events::{self, DAILY, FROM, INTO};
use crate::support::{Project, databases, rows};

const ALL: &str = "run events --from-date 2026-01-01 --to-date 2026-01-12";

async fn printed(project: &Project, arguments: &str) -> String {
    project.pgtide(arguments).run().await.expect(0).stdout
}

/// The rows of all days but one with their versions: any write shows.
async fn others(project: &Project) -> rows::Digest {
    let table = "(select ctid, xmin, t.* from mart.events t where (at at time zone 'America/New_York')::date <> '2026-01-05')";
    rows::digest(&project.destination, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_lost_is_found_by_status_loaded_by_run_and_nothing_else_moves() {
    let pair = databases("status_gap").await;
    let project = events::daily(&pair, "start_date = 2026-01-01\nend_date = 2026-01-12\n").await;
    project.pgtide(ALL).run().await.expect(0);
    assert_eq!(printed(&project, "status --exit-code").await.lines().count(), 2);
    let before = others(&project).await;
    pair.destination
        .exec(
            "delete from mart.events where (at at time zone 'America/New_York')::date = '2026-01-05';
             delete from pgtide.attempt where interval_id = (select id from pgtide.interval where key = '2026-01-05');
             delete from pgtide.interval where key = '2026-01-05'",
        )
        .await;
    let ledger = "(select ctid, xmin, * from pgtide.interval where key <> '2026-01-05')";
    let records = rows::digest(&pair.destination, ledger).await;

    let status = project.pgtide("status events --exit-code").run().await.expect(1).stdout;
    assert!(status.contains("11 loaded  1 missing"), "{status}");
    assert!(
        status.contains(". 2026-01-05  never loaded\n              pgtide run events --date 2026-01-05"),
        "{status}"
    );
    let object: Value = serde_json::from_str(&printed(&project, "status events -o json").await).unwrap();
    assert_eq!(object["gaps"][0]["first"], "2026-01-05");
    assert_eq!(
        (&object["oldest_loaded"], &object["newest_loaded"]),
        (&"2026-01-01".into(), &"2026-01-12".into())
    );

    project.pgtide("run").run().await.expect(0);
    project.assert_loaded(FROM, INTO).await;
    assert_eq!(others(&project).await, before, "no other row was touched");
    assert_eq!(rows::digest(&pair.destination, ledger).await, records, "nor any other record");
    printed(&project, "status events --exit-code").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_deadline_rings_and_one_that_is_to_come_does_not() {
    let pair = databases("status_deadline").await;
    let bounds = "start_date = 2026-01-01\nend_date = 2026-01-12\n";
    let project = events::daily(&pair, &format!("{bounds}deadline = \"6h\"\n")).await;
    project.pgtide("run events --from-date 2026-01-01 --to-date 2026-01-11").run().await.expect(0);
    let status = project.pgtide("status events --exit-code").run().await.expect(1).stdout;
    assert!(status.contains("11 loaded  1 missing  1 late"), "{status}");
    assert!(status.contains("\n. 2026-01-12  late  never loaded\n"), "{status}");
    let day = project.pgtide("status events --date 2026-01-12 --exit-code").run().await.expect(1).stdout;
    assert!(day.starts_with("events 2026-01-12  . missing, late\n"), "{day}");
    let overview = project.pgtide("status --exit-code").run().await.expect(1).stdout;
    assert!(overview.lines().next().unwrap().contains("  late  "), "{overview}");
    let object: Value = serde_json::from_str(&printed(&project, "status -o json").await).unwrap();
    assert_eq!(object["late"], 1);
    let patient = events::job(&format!("{DAILY}{bounds}deadline = \"500000h\"\n"));
    write_file(project.folder(), "jobs/events.toml", &patient);
    let status = printed(&project, "status events --exit-code").await;
    assert!(status.contains("11 loaded  1 missing ") && !status.contains("late"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_of_days_are_one_screen() {
    let pair = databases("status_decade").await;
    let project = events::daily(&pair, "start_date = 2016-01-01\nend_date = 2026-01-12\n").await;
    project.pgtide("run events --date 2026-01-12").run().await.expect(0);
    pair.destination
        .exec(
            "insert into pgtide.interval (job, interval_start, interval_end, key, timezone, state, table_oid,
                 table_name, loaded_at, rows, table_file)
             select 'events', d at time zone 'America/New_York', (d + interval '1 day') at time zone 'America/New_York',
                 d::date, 'America/New_York', 'loaded', 'mart.events'::regclass, 'mart.events', now(), 1,
                 pg_relation_filenode('mart.events')
             from generate_series(timestamp '2016-01-01', '2026-01-11', interval '1 day') d
             where d <> timestamp '2019-03-05'",
        )
        .await;
    let status = printed(&project, "status events").await;
    assert!(status.contains("3,664 loaded  1 missing"), "{status}");
    assert!(status.contains("\n  2019  #  #  .  #  #  #  #  #  #  #  #  #\n"), "{status}");
    assert!(status.contains("pgtide run events --date 2019-03-05"), "{status}");
    assert!(status.lines().count() < 50 && status.lines().all(|line| line.chars().count() <= 80), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_needs_a_terminal() {
    let pair = databases("status_watch").await;
    let project = events::daily(&pair, "").await;
    let output = project.pgtide("status --watch").run().await.expect(2);
    assert!(output.stderr.contains("--watch draws on a terminal"), "{}", output.stderr);
    assert!(output.stderr.contains("--output json"), "{}", output.stderr);
}

/// Three jobs: one that loads, one that cannot start, one that is done already.
async fn three(hint: &str) -> Project {
    let pair = databases(hint).await;
    pair.source
        .exec("create table public.kinds as select 1 as id; create table public.done as select 1 as id")
        .await;
    let project =
        events::daily(&pair, "catchup = \"all\"\nstart_date = 2026-01-01\nend_date = 2026-01-03\n").await;
    let project = project
        .job("done", "table = \"public.done\"\ninto = \"mart.done\"\ncreate = true\n")
        .job("lost", "table = \"public.nothing\"\ninto = \"mart.nothing\"\ncreate = true\n");
    project.pgtide("run done").run().await.expect(0);
    project
}

#[tokio::test(flavor = "multi_thread")]
async fn several_jobs_run_at_once_and_the_last_words_name_each() {
    let project = three("run_three").await;
    let output = project.pgtide("run").run().await.expect(1);
    let (_, recap) = output.stderr.split_once("\n3 jobs in ").unwrap_or_else(|| panic!("{}", output.stderr));
    let lines: Vec<_> = recap.lines().collect();
    assert!(lines[0].ends_with(": 1 done, 1 failed, 1 nothing to do"), "{recap}");
    assert_eq!(lines[1], "- done    nothing to do");
    assert!(lines[2].starts_with("# events  3 loaded  3,000 rows"), "{recap}");
    assert!(lines[3].starts_with("x lost    could not start: "), "{recap}");
    assert_eq!(lines[4], "          pgtide run lost");
    assert!(output.stderr.contains("# events 2026-01-02  1,000 rows"), "{}", output.stderr);
    let quiet = project.pgtide("run -q").run().await.expect(78);
    assert!(!quiet.stderr.contains("events"), "{}", quiet.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_does_not_wait_for_another_and_the_heavier_goes_first() {
    let pair = databases("run_at_once").await;
    let project =
        events::daily(&pair, "catchup = \"all\"\nstart_date = 2026-01-01\nend_date = 2026-01-01\n").await;
    pair.source.exec("create table public.kinds as select 1 as id").await;
    let kinds = "table = \"public.kinds\"\ninto = \"mart.kinds\"\ncreate = true\n";
    let project = project.job("kinds", kinds);
    let blocker = pair.destination.client().await;
    // The day waits for this lock, and `kinds` is loaded all the same.
    blocker.batch_execute("begin; lock table mart.events in exclusive mode").await.unwrap();
    let running = project.pgtide("run").spawn();
    crate::support::until("the other job is loaded", || async {
        let sql = "select 1 from pgtide.interval where job = 'kinds' and state = 'loaded'";
        blocker_free(&project).await.query_opt(sql, &[]).await.is_ok_and(|row| row.is_some())
    })
    .await;
    blocker.batch_execute("rollback").await.unwrap();
    running.finish().await.expect(0);

    let project = project.job("kinds", &format!("{kinds}mode = \"append\"\npriority_weight = 2\n"));
    let project = project.job("light", &format!("{kinds}mode = \"append\"\nscope = \"true\"\n"));
    let output = project.pgtide("plan kinds").run().await.expect(0);
    assert!(output.stdout.contains("kinds"), "{}", output.stdout);
}

async fn blocker_free(project: &Project) -> tokio_postgres::Client {
    project.destination.client().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_file_that_is_broken_does_not_stop_the_others() {
    let project = three("run_broken").await;
    write_file(project.folder(), "jobs/lost.toml", "table = 3\n");
    let output = project.pgtide("run").run().await.expect(1);
    assert!(output.stderr.contains("lost.toml:1: `table`"), "{}", output.stderr);
    assert!(output.stderr.contains("# events  3 loaded"), "{}", output.stderr);
    project.pgtide("run nobody").run().await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_several_jobs_name_their_job() {
    let project = three("run_json").await;
    let output = project.pgtide("run -o json").run().await.expect(1);
    let objects: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished: Vec<_> =
        objects.iter().filter(|o| o["event"] == "run_finished").map(|o| &o["job"]).collect();
    assert_eq!(finished.len(), 2, "{finished:?}");
    let loaded = objects.iter().filter(|o| o["event"] == "interval_loaded");
    assert!(loaded.clone().count() == 3 && loaded.clone().all(|o| o["job"] == "events"));
    assert_eq!(output.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_share_a_table_when_each_has_its_scope() {
    let pair = databases("run_scope").await;
    events::make(&pair).await;
    let part = |rest: u8, scope: bool| {
        let scope = if scope { format!("scope = \"id % 2 = {rest}\"\n") } else { String::new() };
        events::job(&format!("{DAILY}where = \"id % 2 = {rest}\"\n{scope}"))
    };
    let project = Project::new(&pair).job("even", &part(0, true)).job("odd", &part(1, true));
    let dates = "--from-date 2026-01-01 --to-date 2026-01-12";
    project.pgtide(&format!("run even odd {dates}")).run().await.expect(0);
    project.assert_loaded(FROM, INTO).await;
    let before =
        rows::digest(&pair.destination, "(select xmin, t.* from mart.events t where id % 2 = 1)").await;
    project.pgtide("run even --date 2026-01-03 --reload").run().await.expect(0);
    let after =
        rows::digest(&pair.destination, "(select xmin, t.* from mart.events t where id % 2 = 1)").await;
    assert_eq!(before, after, "a reload of one job leaves the other's rows alone");
    project.assert_loaded(FROM, INTO).await;
    // Without a scope nobody can tell whose rows they are.
    let project = project.job("odd", &part(1, false));
    let output = project.pgtide("run odd --date 2026-01-03 --reload").run().await.expect(78);
    assert!(output.stderr.contains("scope"), "{}", output.stderr);
}
