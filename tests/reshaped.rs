//! What a load depends on, changed by others while it runs: nothing is stored under other assumptions.

use crate::support::events::{self, BYTES, DAILY, FROM, INTO, PATIENT, RUN, SLOWLY, until_sent};
use crate::support::{Pair, Project, databases};

const EVERYTHING: &str = "run events";

/// Loads slowly, does something on the destination in the middle, and returns how the run ended.
async fn changed_in_the_middle(project: &Project, command: &str, change: &str) -> (i32, String) {
    let running = project.pgtide(command).arg(SLOWLY).spawn();
    until_sent(&project.destination, running.pid(), BYTES / 6).await;
    project.destination.exec(change).await;
    let output = running.finish().await;
    (output.code, output.stderr)
}

fn whole(pair: &Pair, keys: &str) -> Project {
    Project::new(pair).job("events", &events::job(&format!("mode = \"replace\"\n{keys}")))
}

#[tokio::test]
async fn a_type_of_equal_width_that_comes_between_two_batches_fails_the_load() {
    let pair = databases("reshaped_type").await;
    events::make(&pair).await;
    let change = "alter table mart.events drop constraint events_pkey;
                  alter table mart.events alter column id type double precision";
    for (name, project) in [("whole", whole(&pair, "writers = 2\n")), ("daily", events_daily(&pair))] {
        let command = if name == "whole" { EVERYTHING } else { RUN };
        pair.destination.exec("drop schema if exists pgtide cascade; truncate mart.events").await;
        let (code, stderr) = changed_in_the_middle(&project, command, change).await;
        assert_ne!(code, 0, "{name}: {stderr}");
        assert!(stderr.contains("changed since its columns were compared"), "{name}: {stderr}");
        let wrong = "select count(*) from mart.events where id <> floor(id) or id not between 1 and 12000";
        assert_eq!(pair.destination.scalar(wrong).await, "0", "{name}: rows of other bytes");
        let back = "alter table mart.events alter column id type bigint; alter table mart.events add primary key (id)";
        pair.destination.exec(back).await;
    }
}

fn events_daily(pair: &Pair) -> Project {
    Project::new(pair).job("events", &events::job(DAILY))
}

#[tokio::test]
async fn a_trigger_a_rule_or_a_default_that_comes_in_the_middle_fails_the_load_and_the_next_run_mends_it() {
    let pair = databases("reshaped_trigger").await;
    events::make(&pair).await;
    pair.destination
        .exec("create function mart.lose() returns trigger language plpgsql as $$begin new.body := 'x'; return new; end$$")
        .await;
    let changes = [
        (
            "create trigger lose before insert on mart.events for each row execute function mart.lose()",
            "drop trigger lose on mart.events",
        ),
        ("create rule lose as on insert to mart.events do instead nothing", "drop rule lose on mart.events"),
        ("alter table mart.events alter column body set default 'x'", "select 1"),
        ("alter table mart.events add column extra integer", "alter table mart.events drop column extra"),
    ];
    let project = whole(&pair, "");
    for (change, back) in changes {
        pair.destination.exec("drop schema if exists pgtide cascade; truncate mart.events").await;
        let (code, stderr) = changed_in_the_middle(&project, EVERYTHING, change).await;
        assert_eq!(code, 78, "{change}: {stderr}");
        assert!(stderr.contains("changed since its columns were compared"), "{change}: {stderr}");
        pair.destination.exec(back).await;
        project.pgtide(EVERYTHING).run().await.expect(0);
        events::assert_loaded(&project).await;
    }
}

#[tokio::test]
async fn a_trigger_on_one_partition_counts_too() {
    let pair = databases("reshaped_leaf").await;
    events::make(&pair).await;
    pair.destination
        .exec("drop table mart.events;
               create table mart.events (id bigint, at timestamptz not null, body text not null) partition by range (at);
               create table mart.events_1 partition of mart.events for values from (minvalue) to ('2026-01-07');
               create table mart.events_2 partition of mart.events for values from ('2026-01-07') to (maxvalue);
               create function mart.lose() returns trigger language plpgsql as $$begin new.body := 'x'; return new; end$$")
        .await;
    let change =
        "create trigger lose before insert on mart.events_2 for each row execute function mart.lose()";
    let (code, stderr) = changed_in_the_middle(&whole(&pair, ""), EVERYTHING, change).await;
    assert_eq!(code, 78, "{stderr}");
}

#[tokio::test]
async fn a_table_that_is_emptied_in_the_middle_is_loaded_again_and_one_that_is_rewritten_goes_on() {
    let pair = databases("reshaped_files").await;
    events::make(&pair).await;
    let ways = [
        ("truncate mart.events", "mode = \"replace\"\n", 2),
        ("truncate mart.events", "mode = \"merge\"\nkey = [\"id\"]\n", 2),
        ("vacuum full mart.events", "mode = \"replace\"\n", 1),
        ("cluster mart.events using events_pkey", "mode = \"replace\"\n", 1),
        ("vacuum full mart.events", "mode = \"append\"\nresume_key = \"id\"\n", 1),
    ];
    for (change, mode, attempts) in ways {
        pair.destination.exec("drop schema if exists pgtide cascade; truncate mart.events").await;
        let project = Project::new(&pair).job("events", &events::job(&format!("{mode}{PATIENT}")));
        let (code, stderr) = changed_in_the_middle(&project, EVERYTHING, change).await;
        assert_eq!(code, 0, "{change}, {mode}: {stderr}");
        events::assert_loaded(&project).await;
        let tried = project.destination.scalar("select max(attempt) from pgtide.attempt").await;
        assert_eq!(tried, attempts.to_string(), "{change}, {mode}");
    }
}

#[tokio::test]
async fn an_append_whose_rows_are_gone_does_not_go_on_after_them() {
    let pair = databases("reshaped_append").await;
    events::make(&pair).await;
    let project = Project::new(&pair)
        .job("events", &events::job(&format!("mode = \"append\"\nresume_key = \"id\"\n{PATIENT}")));
    let (code, stderr) = changed_in_the_middle(&project, EVERYTHING, "truncate mart.events").await;
    assert_eq!(code, 78, "{stderr}");
}

#[tokio::test]
async fn hooks_may_switch_triggers_off_and_on_around_a_load() {
    let pair = databases("reshaped_hooks").await;
    events::make(&pair).await;
    pair.destination
        .exec(
            "create function mart.lose() returns trigger language plpgsql as 'begin return null; end';
               create trigger lose before insert on mart.events for each row execute function mart.lose()",
        )
        .await;
    let hooks = "pre_sql = [\"alter table mart.events disable trigger lose\"]
                 post_sql = [\"alter table mart.events enable trigger lose\"]\n";
    let project = Project::new(&pair).job("events", &events::job(&format!("{DAILY}{hooks}")));
    project.pgtide(RUN).arg("--parallel").arg("1").run().await.expect(0);
    events::assert_loaded(&project).await;
    let enabled = "select tgenabled from pg_trigger where tgname = 'lose'";
    assert_eq!(pair.destination.scalar(enabled).await, "O");
}

#[tokio::test]
async fn a_modifier_that_is_widened_on_the_source_in_the_middle_rounds_nothing() {
    let pair = databases("reshaped_source").await;
    events::make(&pair).await;
    pair.source.exec("alter table public.events add column price numeric(12,2) not null default 1.25").await;
    pair.destination.exec("alter table mart.events add column price numeric(12,2)").await;
    let project = events_daily(&pair);
    let running = project.pgtide(RUN).arg(SLOWLY).arg("--parallel").arg("1").spawn();
    until_sent(&project.destination, running.pid(), BYTES / 6).await;
    pair.source
        .exec(
            "alter table public.events alter column price type numeric(14,4);
               update public.events set price = 1.2345",
        )
        .await;
    let output = running.finish().await;
    assert_ne!(output.code, 0, "{}", output.stderr);
    assert!(
        output.stderr.contains("the source's columns changed since they were compared"),
        "{}",
        output.stderr
    );
    let rounded = "select count(*) from mart.events where price <> 1.25";
    assert_eq!(pair.destination.scalar(rounded).await, "0");
    assert_eq!(project.source.scalar(&format!("select min(price) from {FROM}")).await, "1.2345");
    assert_ne!(project.destination.scalar(&format!("select count(*) from {INTO}")).await, "0");
}
