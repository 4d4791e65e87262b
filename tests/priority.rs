//! `priority_weight`: of several jobs that wait for the same slots, over processes, the larger one is first.

use crate::support::{Project, databases, events, until};

const TWELVE: &str = "--from-date 2026-01-01 --to-date 2026-01-12";

/// A job over its own table in a pool of one slot; each interval waits for a lock that the test may hold.
fn job(into: &str, weight: i32) -> String {
    let keys = format!(
        "{}create = true\npool = \"heavy\"\npriority_weight = {weight}\n\
         pre_sql = [\"select pg_catalog.pg_advisory_xact_lock(4711)\"]\n",
        events::DAILY
    );
    events::job(&keys).replace("mart.events", into)
}

/// Counts the advisory locks of this database that are, or are not, granted.
fn advisory(condition: &str) -> String {
    format!(
        "select count(*) from pg_catalog.pg_locks
         where locktype = 'advisory' and {condition} and pid <> pg_catalog.pg_backend_pid()
           and database = (select oid from pg_catalog.pg_database where datname = current_database())"
    )
}

/// Waits until so many intervals stand at the gate.
async fn until_blocked(project: &Project, number: &str) {
    let sql = advisory("not granted");
    until("intervals stand at the gate", || async { project.destination.scalar(&sql).await == number }).await;
}

/// Three processes want the one slot: `first` has it, then `small` waits, then `large`.
async fn order_of_three(name: &str, verb: &str) {
    let pair = databases(name).await;
    events::make(&pair).await;
    let mut project = Project::new(&pair);
    for (job_name, weight) in [("first", 1), ("small", 1), ("large", 5)] {
        project = project.job(job_name, &job(&format!("mart.{job_name}"), weight));
    }
    project.add_to_file("[pools]\nheavy = 1\n");
    project.pgtide("run --date 2026-01-01").run().await.expect(0);

    let gate = project.destination.client().await;
    gate.batch_execute("select pg_catalog.pg_advisory_lock(4711)").await.unwrap();
    let first = project.pgtide(&format!("{verb} first {TWELVE}")).spawn();
    until_blocked(&project, "1").await;
    let small = project.pgtide(&format!("{verb} small {TWELVE}")).spawn();
    small.stderr_contains("small waits: pool `heavy` of 1 has less than 1 free").await;
    let large = project.pgtide(&format!("{verb} large {TWELVE}")).spawn();
    large.stderr_contains("large waits: pool `heavy` of 1 has less than 1 free").await;
    gate.batch_execute("select pg_catalog.pg_advisory_unlock(4711)").await.unwrap();
    for run in [first, small, large] {
        run.finish().await.expect(0);
    }
    for job in ["first", "small", "large"] {
        let into = format!("mart.{job}");
        crate::support::rows::assert_equal(&pair.source, &pair.destination, events::FROM, &into).await;
    }
    let after_large = "
        select string_agg(distinct job, ' ' order by job) from (
            select i.job, a.started_at from pgtide.attempt a join pgtide.interval i on i.id = a.interval_id) s
        where started_at > (select max(a.started_at) from pgtide.attempt a
                            join pgtide.interval i on i.id = a.interval_id where i.job = 'large')";
    assert_eq!(project.destination.scalar(after_large).await, "first small", "both had to wait for it");
    let small_before = "
        select count(*) from pgtide.attempt a join pgtide.interval i on i.id = a.interval_id
        where i.job = 'small' and i.key > '2026-01-01' and a.started_at < (
            select max(a.started_at) from pgtide.attempt a
            join pgtide.interval i on i.id = a.interval_id where i.job = 'large')";
    assert_eq!(project.destination.scalar(small_before).await, "0", "it waited longer, and weighs less");
    assert_eq!(project.destination.scalar(&advisory("granted")).await, "0", "nothing stays announced");
}

#[tokio::test]
async fn of_runs_that_wait_for_a_pool_the_one_with_the_larger_weight_gets_the_slot() {
    order_of_three("priority_runs", "run").await;
}

#[tokio::test]
async fn of_backfills_that_wait_for_a_pool_the_one_with_the_larger_weight_gets_the_slot() {
    order_of_three("priority_backfills", "backfill").await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_own_limit_keeps_nobody_from_a_pool() {
    let pair = databases("priority_own").await;
    events::make(&pair).await;
    let own = job("mart.own", 9).replace("max_active_runs = 2", "max_active_runs = 1");
    let project = Project::new(&pair).job("own", &own).job("light", &job("mart.light", 1));
    project.add_to_file("[pools]\nheavy = 2\n");
    project.pgtide("run --date 2026-01-01").run().await.expect(0);

    let gate = project.destination.client().await;
    gate.batch_execute("select pg_catalog.pg_advisory_lock(4711)").await.unwrap();
    let holds = project.pgtide("run own --from-date 2026-01-01 --to-date 2026-01-06").spawn();
    until_blocked(&project, "1").await;
    let waits = project.pgtide("run own --from-date 2026-01-07 --to-date 2026-01-12").spawn();
    waits.stderr_contains("own waits: other runs of it have all 1 slots of max_active_runs").await;
    let light = project.pgtide("run light --date 2026-01-02").spawn();
    // It has its slot although the larger one waits, for it does not wait for the pool.
    until_blocked(&project, "2").await;
    gate.batch_execute("select pg_catalog.pg_advisory_unlock(4711)").await.unwrap();
    for run in [holds, waits, light] {
        run.finish().await.expect(0);
    }
}
