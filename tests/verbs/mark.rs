//! Marks: each state, the audit, and what is refused.

use insta::assert_snapshot;
use serde_json::Value;

use super::{Site, stable};

const STATES: &str = "select string_agg(key || ' ' || state, ', ' order by key) from pgtide.interval";

#[tokio::test(flavor = "multi_thread")]
async fn each_state_is_set_with_its_reason_and_its_author() {
    let site = Site::with_events("mark_states").await;
    site.printed("run events --from-date 2013-01-01 --to-date 2013-01-03").await;
    let mark = async |arguments: &str| {
        site.pgtide(&format!("mark events {arguments} --reason")).arg("said so").run().await.expect(0).stdout
    };
    assert_snapshot!(mark("stale --date 2013-01-01").await, @"
    events 2013-01-01  loaded -> stale
    `pgtide run events --stale` loads it again
    ");
    assert_snapshot!(mark("failed --date 2013-01-02").await, @"
    events 2013-01-02  loaded -> failed
    the next `pgtide run events` loads it
    ");
    assert_snapshot!(mark("skipped --from-date 2013-01-04 --to-date 2013-01-05").await, @"
    events 2013-01-04  never loaded -> skipped
    events 2013-01-05  never loaded -> skipped
    no run takes them, unless --reload is given
    ");
    assert_snapshot!(mark("loaded --date 2013-01-06").await, @"
    events 2013-01-06  never loaded -> loaded
    runs leave it alone from now on
    ");
    let states = "2013-01-01 stale, 2013-01-02 failed, 2013-01-03 loaded, 2013-01-04 skipped, \
                  2013-01-05 skipped, 2013-01-06 loaded";
    assert_eq!(site.pair.destination.scalar(STATES).await, states);
    let audit = "select string_agg(distinct concat_ws(' ', outcome, reason, role, host is not null), ', ')
                 from pgtide.attempt where outcome = 'marked'";
    assert_eq!(site.pair.destination.scalar(audit).await, "marked said so postgres t");
    let plan = site.printed("plan events").await;
    assert!(plan.contains("2013-01-02  load"), "{plan}");
    assert!(!plan.contains("2013-01-04"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_another_tool_loaded_are_left_alone_afterwards() {
    let site = Site::with_events("mark_loaded").await;
    site.pair
        .destination
        .exec(
            "create table mart.events (id bigint primary key, at timestamptz not null, amount numeric(12,4));
               insert into mart.events values (10, '2013-01-01 10:00Z', 1)",
        )
        .await;
    let refused = site.pgtide("run events --date 2013-01-01").run().await.expect(78);
    assert!(refused.stderr.contains("pgtide mark events loaded --date 2013-01-01"), "{}", refused.stderr);
    site.printed("mark events loaded --date 2013-01-01 --reason restored").await;
    site.printed("run events --date 2013-01-01").await;
    assert_eq!(site.pair.destination.scalar("select count(*) from mart.events").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_table_needs_no_date_and_takes_none() {
    let site = Site::with_events("mark_whole").await;
    site.pair.destination.exec("create table mart.kinds (kind text primary key)").await;
    site.job("kinds", "table = \"public.kinds\"\ninto = \"mart.kinds\"\n");
    let marked = site.printed("mark kinds loaded --reason restored").await;
    assert_eq!(marked, "kinds  never loaded -> loaded\nruns leave it alone from now on\n");
    site.pgtide("mark kinds loaded --reason x --date 2013-01-01").run().await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let site = Site::with_events("mark_refused").await;
    let _stable = stable();
    let refused = async |arguments: &str, reason: &str, code: i32| {
        let run = site.pgtide(&format!("mark events {arguments} --reason")).arg(reason);
        run.run().await.expect(code).stderr
    };
    assert_snapshot!(refused("failed", "x", 2).await, @"
    error: marking events failed: which of its intervals? The job has one for each day

    hint: add --date DATE, or --from-date DATE --to-date DATE
    ");
    assert_snapshot!(refused("failed --date 2013-01-01", " ", 2).await, @r#"
    error: a mark needs a reason, and this one is empty

    hint: --reason "why"; the ledger keeps it
    "#);
    assert_snapshot!(refused("failed --date 2013-02-30", "x", 2).await, @"error: `2013-02-30` is not a date: February 2013 has 28 days");
    assert_snapshot!(refused("loaded --date 2999-01-01", "x", 75).await, @"
    error: marking events loaded: 2999-01-01 is not complete until 2999-01-02 00:10; after end_date 2013-01-10

    hint: nothing was marked; mark it when it is
    ");
    assert_snapshot!(refused("failed --date 2013-01-01", "x", 78).await, @"
    error: warehouse: there is no table mart.events

    hint: the first `pgtide run` makes the table; mark after it
    ");
    let ledger = "select count(*) from pg_namespace where nspname = 'pgtide'";
    assert_eq!(site.pair.destination.scalar(ledger).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_day_that_is_refused_does_not_stop_the_others() {
    let site = Site::with_events("mark_partly").await;
    site.printed("run events --date 2013-01-01 --date 2013-01-03").await;
    let run = site.pgtide("mark events stale --from-date 2013-01-01 --to-date 2013-01-03 --reason late");
    let output = run.run().await.expect(78);
    assert_snapshot!(output.stdout, @"
    events 2013-01-01  loaded -> stale
    events 2013-01-03  loaded -> stale
    `pgtide run events --stale` loads them again
    ");
    assert_snapshot!(output.stderr, @"error: marking events 2013-01-02 stale: nothing is loaded that could be stale");
    let run =
        site.pgtide("mark events stale --from-date 2013-01-01 --to-date 2013-01-03 --reason late -o json");
    let object: Value = serde_json::from_str(&run.run().await.expect(78).stdout).unwrap();
    assert_eq!(object["intervals"][0]["before"], "stale");
    assert_eq!(object["intervals"][1]["marked"], false);
    assert_eq!(object["intervals"][1]["error_kind"], "preflight");
}
