//! "Loaded" counts only while the rows can be where they were recorded: the table is the one that was loaded,
//! and not emptied since. Whatever is said otherwise is said by every verb, with a command that mends it.

use crate::support::{Project, databases};

const JOB: &str = r#"
table = "public.events"
into = "mart.events"
time_column = "at"
interval = "day"
timezone = "UTC"
mode = "delete-insert"
create = true
start_date = 2024-01-01
end_date = 2024-01-03
catchup = "all"
"#;

const SOURCE: &str = "
create table public.events (id int primary key, at timestamptz not null, part text not null default 'a');
insert into public.events select g, '2024-01-01Z'::timestamptz + g * interval '1 h' from generate_series(0, 71) g";

/// Three days of 24 rows, loaded.
async fn loaded(hint: &str, job: &str) -> Project {
    let pair = databases(hint).await;
    pair.source.exec(SOURCE).await;
    pair.destination.exec("create schema mart").await;
    let project = Project::new(&pair).job("events", job);
    project.pgtide("run events").run().await.expect(0);
    project
}

/// What every verb says, and that none of them changes anything.
async fn refused_by_all(project: &Project, what: &str) {
    for verb in ["run events", "run events --date 2024-01-02", "run", "plan events", "backfill events"] {
        let said = project.pgtide(verb).run().await.expect(78);
        assert!(said.stderr.contains(what), "{verb}: {what:?} is not in\n{}", said.stderr);
        assert!(said.stderr.contains("hint:"), "{verb}: {}", said.stderr);
    }
    let check = project.pgtide("check events").run().await.expect(78);
    let check: Vec<_> = check.stdout.split_whitespace().collect();
    assert!(check.join(" ").contains(what), "{check:?}");
    for verb in ["status events", "status", "status events --date 2024-01-02"] {
        project.pgtide(verb).run().await.expect(0);
        let said = project.pgtide(&format!("{verb} --exit-code")).run().await.expect(1);
        assert!(said.stdout.contains("gone"), "{verb}: {}", said.stdout);
    }
    let said = project.pgtide("status events").run().await.expect(0).stdout;
    assert!(said.contains(what), "{what:?} is not in\n{said}");
}

#[tokio::test]
async fn a_schedule_says_what_is_gone_and_loads_nothing_beside_it() {
    let project = loaded("lost_schedule", &format!("{JOB}schedule = \"@daily\"\n")).await;
    project.destination.exec("drop table mart.events").await;
    let schedule = project.pgtide("schedule").spawn();
    schedule.stderr_contains("are recorded as loaded into mart.events, which is gone").await;
    schedule.signal(nix::sys::signal::Signal::SIGTERM);
    schedule.finish().await;
    let made = "select to_regclass('mart.events') is null";
    assert_eq!(project.destination.scalar(made).await, "t");
}

async fn count(project: &Project, table: &str) -> String {
    project.destination.scalar(&format!("select count(*) from {table}")).await
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew_for_the_next_day_alone() {
    let project = loaded("lost_dropped", JOB).await;
    project.destination.exec("drop table mart.events").await;
    refused_by_all(&project, "are recorded as loaded into mart.events, which is gone").await;
    let consumers = "select count(*) from pgtide.loaded";
    assert_eq!(
        project.destination.scalar(consumers).await,
        "0",
        "no consumer is told of a table that is gone"
    );
    let next = JOB.replace("end_date = 2024-01-03", "");
    std::fs::write(project.folder().join("jobs/events.toml"), next).unwrap();
    project.pgtide("run events --date 2024-01-04").run().await.expect(78);
    let made = "select to_regclass('mart.events') is null";
    assert_eq!(project.destination.scalar(made).await, "t");

    std::fs::write(project.folder().join("jobs/events.toml"), JOB).unwrap();
    project.pgtide("run events --stale").run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
    project.pgtide("status events --exit-code").run().await.expect(0);
}

#[tokio::test]
async fn a_table_that_was_made_anew_is_another_one_whatever_its_name() {
    let project = loaded("lost_anew", JOB).await;
    // As a dump that was restored.
    let again = "create table mart.kept as table mart.events; drop table mart.events;
                 alter table mart.kept rename to events";
    project.destination.exec(again).await;
    refused_by_all(&project, "which is gone: the table of this name is another one").await;
    // Nothing was changed by what was refused.
    assert_eq!(count(&project, "mart.events").await, "72");
    // Rows that pgtide did not load there are not replaced unless that is said.
    project.pgtide("run events --stale").run().await.expect(78);
    let reload = "run events --from-date 2024-01-01 --to-date 2024-01-03 --reload";
    project.pgtide(reload).run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
}

#[tokio::test]
async fn of_a_table_that_was_restored_what_agrees_is_kept_and_the_rest_is_loaded() {
    let project = loaded("lost_rebind", JOB).await;
    let again = "create table mart.kept as table mart.events; drop table mart.events;
                 alter table mart.kept rename to events;
                 delete from mart.events where id = 30 or id >= 48";
    project.destination.exec(again).await;
    let rebind = |more: &str| project.pgtide(&format!("mark events {more}--rebind --reason restored"));
    rebind("failed ").run().await.expect(2);
    let said = rebind("loaded ").run().await.expect(1).stdout;
    for line in [
        "events 2024-01-01  loaded -> loaded  (24 rows, as recorded)",
        "events 2024-01-02  loaded -> stale  (23 rows of 24)",
        "events 2024-01-03  loaded -> failed  (0 rows of 24)",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let rows = "select string_agg(concat_ws(' ', key, state, rows, table_oid = 'mart.events'::regclass), ', '
                                  order by key) from pgtide.interval";
    let kept = "2024-01-01 loaded 24 t, 2024-01-02 stale 24 t, 2024-01-03 failed t";
    assert_eq!(project.destination.scalar(rows).await, kept);
    project.pgtide("run events --stale").run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
    let said = rebind("loaded ").run().await.expect(0).stdout;
    assert_eq!(said, "all that is recorded of events is in mart.events\n");
    project.pgtide("status events --exit-code").run().await.expect(0);
}

#[tokio::test]
async fn a_table_that_was_emptied_holds_nothing_of_what_is_recorded() {
    for (hint, how) in [
        ("lost_truncated", "truncate mart.events"),
        ("lost_deleted", "delete from mart.events; vacuum full mart.events"),
    ] {
        let project = loaded(hint, JOB).await;
        for statement in how.split("; ") {
            project.destination.exec(statement).await;
        }
        refused_by_all(&project, "which has no rows of them any more").await;
        project.pgtide("run events --stale").run().await.expect(0);
        project.assert_loaded("public.events", "mart.events").await;
        project.pgtide("run events").run().await.expect(0);
    }
}

#[tokio::test]
async fn a_table_that_was_rewritten_is_looked_at_once_and_counts() {
    let project = loaded("lost_rewritten", JOB).await;
    let seen = "select count(*) from pgtide.table_seen";
    for statement in ["vacuum full mart.events", "cluster mart.events using events_pkey"] {
        let statements = ["alter table mart.events add constraint events_pkey primary key (id)", statement];
        for statement in &statements[usize::from(statement.starts_with("cluster"))..] {
            let _ = project.destination.client().await.batch_execute(statement).await;
        }
        project.pgtide("status events --exit-code").run().await.expect(0);
        project.pgtide("plan events").run().await.expect(0);
        project.pgtide("run events").run().await.expect(0);
        assert_eq!(project.destination.scalar(seen).await, "1", "{statement}: what was found is kept");
    }
    project.destination.exec("truncate mart.events").await;
    project.pgtide("run events").run().await.expect(78);
}

#[tokio::test]
async fn one_day_that_was_put_back_does_not_speak_for_the_others() {
    let project = loaded("lost_partly", JOB).await;
    project.destination.exec("truncate mart.events").await;
    project.pgtide("run events --date 2024-01-02 --reload").run().await.expect(0);
    let said = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(said.contains("2 intervals, 2024-01-01 to 2024-01-03, are recorded as loaded"), "{said}");
    project.pgtide("run events --stale").run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
}

#[tokio::test]
async fn a_leaf_that_was_dropped_takes_its_days_with_it() {
    let pair = databases("lost_leaf").await;
    pair.source.exec(SOURCE).await;
    pair.destination
        .exec(
            "create schema mart;
             create table mart.events (id int, at timestamptz not null, part text) partition by range (at);
             create table mart.e1 partition of mart.events for values from ('2024-01-01Z') to ('2024-01-02Z');
             create table mart.e2 partition of mart.events for values from ('2024-01-02Z') to ('2024-01-03Z');
             create table mart.e3 partition of mart.events for values from ('2024-01-03Z') to ('2024-01-04Z')",
        )
        .await;
    let project = Project::new(&pair).job("events", JOB);
    project.pgtide("run events").run().await.expect(0);
    let more =
        "create table mart.e4 partition of mart.events for values from ('2024-01-04Z') to ('2024-01-05Z')";
    project.destination.exec(more).await;
    project.pgtide("run events").run().await.expect(0);
    project.destination.exec("truncate mart.e2").await;
    let said = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(said.contains("2024-01-02 is recorded as loaded into mart.events"), "{said}");
    project.pgtide("run events --stale").run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
    project.destination.exec("alter table mart.events detach partition mart.e1").await;
    project.pgtide("status events --exit-code").run().await.expect(1);
    project.pgtide("mark events skipped --date 2024-01-01 --reason retention").run().await.expect(0);
    project.pgtide("run events").run().await.expect(0);
    project.pgtide("status events --exit-code").run().await.expect(0);
}

#[tokio::test]
async fn a_table_or_a_schema_that_was_renamed_is_named_as_it_is_now() {
    let project = loaded("lost_renamed", JOB).await;
    project.destination.exec("alter table mart.events rename to events_old").await;
    refused_by_all(&project, "which is named mart.events_old now").await;
    let follow = JOB.replace("into = \"mart.events\"", "into = \"mart.events_old\"");
    std::fs::write(project.folder().join("jobs/events.toml"), follow).unwrap();
    project.pgtide("run events").run().await.expect(0);
    assert_eq!(count(&project, "mart.events_old").await, "72");
    std::fs::write(project.folder().join("jobs/events.toml"), JOB).unwrap();
    project
        .destination
        .exec("alter table mart.events_old rename to events; alter schema mart rename to m2")
        .await;
    refused_by_all(&project, "which is named m2.events now").await;
}

#[tokio::test]
async fn another_table_in_into_has_none_of_the_rows() {
    let project = loaded("lost_into", JOB).await;
    project.destination.exec("create table mart.other (like mart.events)").await;
    let other = JOB.replace("into = \"mart.events\"", "into = \"mart.other\"");
    std::fs::write(project.folder().join("jobs/events.toml"), other).unwrap();
    refused_by_all(&project, "are recorded as loaded into mart.events, and `into` names mart.other now")
        .await;
    project.pgtide("run events --stale").run().await.expect(0);
    assert_eq!(count(&project, "mart.other").await, "72");
    project.pgtide("run events").run().await.expect(0);
}

#[tokio::test]
async fn another_project_with_a_job_of_the_name_is_not_told_that_its_rows_are_there() {
    let project = loaded("lost_project", JOB).await;
    project.source.exec("create table public.visits as table public.events").await;
    let pair =
        crate::support::Pair { source: project.source.clone(), destination: project.destination.clone() };
    let theirs = JOB.replace("public.events", "public.visits").replace("mart.events", "mart.visits");
    let another = Project::new(&pair).job("events", &theirs);
    let said = another.pgtide("run events").run().await.expect(78).stderr;
    assert!(said.contains("give this one another name"), "{said}");
    another.pgtide("status --exit-code").run().await.expect(1);
    project.pgtide("run events").run().await.expect(0);
}

#[tokio::test]
async fn a_table_that_is_loaded_whole_is_loaded_again_when_that_is_asked_for() {
    for (hint, how) in
        [("lost_whole_drop", "drop table mart.events"), ("lost_whole_empty", "truncate mart.events")]
    {
        let pair = databases(hint).await;
        pair.source.exec(SOURCE).await;
        pair.destination.exec("create schema mart").await;
        let job = "table = \"public.events\"\ninto = \"mart.events\"\nmode = \"replace\"\ncreate = true\n";
        let project = Project::new(&pair).job("events", job);
        project.pgtide("run").run().await.expect(0);
        project.destination.exec(how).await;
        for verb in ["run events", "plan events", "check events"] {
            project.pgtide(verb).run().await.expect(78);
        }
        project.pgtide("status --exit-code").run().await.expect(1);
        project.pgtide("run events --reload").run().await.expect(0);
        project.assert_loaded("public.events", "mart.events").await;
        project.pgtide("run events").run().await.expect(0);
    }
}

#[tokio::test]
async fn what_append_added_is_added_again_only_where_nothing_of_it_can_be() {
    let append = JOB.replace("delete-insert", "append");
    let project = loaded("lost_append", &append).await;
    project.destination.exec("truncate mart.events").await;
    project.pgtide("run events").run().await.expect(78);
    project.pgtide("run events --stale").run().await.expect(0);
    project.assert_loaded("public.events", "mart.events").await;
    let again = "create table mart.kept as table mart.events; drop table mart.events;
                 alter table mart.kept rename to events";
    project.destination.exec(again).await;
    let said = project.pgtide("run events --stale").run().await.expect(78).stderr;
    assert!(said.contains("append would add its rows again"), "{said}");
    assert_eq!(count(&project, "mart.events").await, "72");
}
