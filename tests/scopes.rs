//! Whose rows a load touches: jobs beside each other on one table, and rows that nobody loaded.

use crate::support::{Pair, Project, databases, rows};

const FILL: &str = "create table public.t (id int, region text, at timestamptz not null);
    insert into public.t select g, case g % 2 when 0 then 'eu' else 'us' end,
        '2026-01-05 00:00Z'::timestamptz + g * interval '1 second' from generate_series(1, 100) g";
const TABLE: &str = "create schema mart;
    create table mart.t (id int, region text, at timestamptz not null); create index on mart.t (at);";
const PARTED: &str = "create schema mart;
    create table mart.t (id int, region text, at timestamptz not null) partition by range (at);
    create table mart.jan partition of mart.t for values from ('2026-01-01 00:00Z') to ('2026-02-01 00:00Z');
    create table mart.feb partition of mart.t for values from ('2026-02-01 00:00Z') to ('2026-03-01 00:00Z');
    create index on mart.t (at);";

fn job(into: &str, more: &str) -> String {
    format!(
        "table = \"public.t\"\ninto = \"mart.{into}\"\ntimezone = \"UTC\"\ninterval = \"day\"\ntime_column = \"at\"\n{more}"
    )
}

fn scoped(filter: &str, scope: &str, more: &str) -> String {
    job("t", &format!("where = \"{filter}\"\nscope = \"{scope}\"\n{more}"))
}

async fn project(pair: &Pair, table: &str) -> Project {
    pair.source.exec(FILL).await;
    pair.destination.exec(table).await;
    Project::new(pair)
}

async fn refused(project: &Project, run: &str, says: &[&str]) {
    let output = project.pgtide(run).run().await.expect(78);
    for says in says {
        assert!(output.stderr.contains(says), "{run}: {says}\n{}", output.stderr);
    }
}

const EU: &str = "region = 'eu'";

#[tokio::test]
async fn a_reload_under_a_broader_scope_removes_no_rows_of_another_job() {
    for table in [TABLE, PARTED] {
        for more in ["", "commit = \"interval\"\n"] {
            let pair = databases("broad").await;
            let project = project(&pair, table).await;
            let project = project
                .job("eu", &scoped(EU, EU, ""))
                .job("us", &scoped("region = 'us'", "region <> 'eu'", ""))
                .job("all", &scoped("region in ('us', 'xx')", "region in ('eu', 'us')", more));
            for run in ["run eu --date 2026-01-05", "run us --date 2026-01-05"] {
                project.pgtide(run).run().await.expect(0);
            }
            for run in ["run all --date 2026-01-05 --reload", "run all --date 2026-01-05"] {
                let says = [
                    "50 rows of 2026-01-05 in mart.t would be those of job `eu` too",
                    "the scope of `eu` is region = 'eu'",
                ];
                refused(&project, run, &says).await;
                rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
            }
            project.pgtide("run eu us --date 2026-01-05 --reload").run().await.expect(0);
            rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
        }
    }
}

#[tokio::test]
async fn rows_that_a_load_would_put_into_another_job_s_scope_are_refused() {
    for more in ["", "batch_rows = 10\n", "mode = \"append\"\n"] {
        let pair = databases("into_scope").await;
        let project = project(&pair, TABLE).await;
        let project = project
            .job("few", &scoped("id <= 10", "id <= 10", ""))
            .job("odd", &scoped("id > 90", "id > 5", more));
        project.pgtide("run few --date 2026-01-05").run().await.expect(0);
        pair.destination.exec("delete from mart.t").await;
        project.pgtide("run odd --date 2026-01-05").run().await.expect(0);
        pair.destination.exec("drop schema pgtide cascade; truncate mart.t").await;
        let project = project.job("odd", &scoped("id > 7", "id > 5", more));
        project.pgtide("run few --date 2026-01-05").run().await.expect(0);
        pair.destination.exec("delete from mart.t").await;
        refused(
            &project,
            "run odd --date 2026-01-05",
            &["3 rows of 2026-01-05 in mart.t would be those of job `few`"],
        )
        .await;
        let loaded = "select count(*) from pgtide.interval where state = 'loaded'";
        assert_eq!(pair.destination.scalar(loaded).await, "1");
    }
}

#[tokio::test]
async fn scopes_that_differ_in_blanks_alone_add_no_rows_twice() {
    for mode in ["mode = \"append\"\n", "mode = \"merge\"\nkey = [\"id\"]\n"] {
        let pair = databases("blanks").await;
        let project = project(&pair, TABLE).await;
        pair.destination.exec("alter table mart.t add primary key (id)").await;
        let project =
            project.job("a", &scoped(EU, "region='eu'", mode)).job("b", &scoped(EU, "region = 'eu'", mode));
        project.pgtide("run a --date 2026-01-05").run().await.expect(0);
        refused(
            &project,
            "run b --date 2026-01-05",
            &["50 rows of 2026-01-05 in mart.t would be those of job `a`"],
        )
        .await;
        assert_eq!(pair.destination.scalar("select count(*) from mart.t").await, "50");
    }
}

#[tokio::test]
async fn a_job_on_a_partition_and_one_on_its_parent_meet() {
    for mode in ["append", "delete-insert"] {
        for (first, second) in [("whole", "leaf"), ("leaf", "whole")] {
            let pair = databases("leaf_overlap").await;
            let mode = format!("mode = \"{mode}\"\n");
            let project = project(&pair, PARTED).await;
            let project = project
                .job("whole", &job("t", &mode))
                .job("leaf", &job("jan", &mode))
                .job("other", &job("feb", &mode));
            project.pgtide(&format!("run {first} --date 2026-01-05")).run().await.expect(0);
            for more in ["", " --reload"] {
                if mode.contains("append") && !more.is_empty() {
                    continue;
                }
                let run = format!("run {second} --date 2026-01-05{more}");
                refused(&project, &run, &[&format!("overlaps 2026-01-05 of job `{first}`")]).await;
            }
            rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
            // Another partition, and another day, are nobody's yet.
            project.pgtide("run other --date 2026-02-05").run().await.expect(0);
            project.pgtide(&format!("run {second} --date 2026-01-06")).run().await.expect(0);
        }
    }
}

#[tokio::test]
async fn scopes_of_a_partition_and_of_its_parent_are_compared_in_the_partition() {
    let pair = databases("leaf_scopes").await;
    let project = project(&pair, PARTED).await;
    let leaf = job("jan", "where = \"region = 'eu'\"\nscope = \"region = 'eu'\"\n");
    let project = project
        .job("leaf", &leaf)
        .job("us", &scoped("region = 'us'", "region = 'us'", ""))
        .job("all", &scoped("true", "region <> ''", ""));
    project.pgtide("run leaf us --date 2026-01-05").run().await.expect(0);
    rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
    refused(&project, "run all --date 2026-01-05 --reload", &["would be those of job `leaf`"]).await;
    pair.destination.exec("delete from pgtide.interval where job = 'us'").await;
    refused(&project, "run all --date 2026-01-05 --reload", &["would be those of job `leaf`"]).await;
}

#[tokio::test]
async fn a_scope_in_the_ledger_is_one_condition_that_only_reads_or_is_refused_by_name() {
    for (planted, says) in [
        ("region = 'eu') or (true", "syntax error"),
        ("gone = 1", "column \"gone\" does not exist"),
        ("mart.writes(id)", "read-only transaction"),
        ("true; drop table mart.t; --", "multiple commands"),
    ] {
        let pair = databases("planted").await;
        let writes = "create function mart.writes(int) returns boolean language plpgsql as
            'begin insert into mart.t values (0, ''x'', now()); return false; end'";
        let project = project(&pair, &format!("{TABLE}{writes}")).await;
        let project =
            project.job("eu", &scoped(EU, EU, "")).job("us", &scoped("region = 'us'", "region = 'us'", ""));
        project.pgtide("run eu --date 2026-01-05").run().await.expect(0);
        let client = pair.destination.client().await;
        client.execute("update pgtide.interval set scope = $1", &[&planted]).await.unwrap();
        let says = [
            says,
            "the scope of job `eu`, which has 2026-01-05,",
            "pgtide run eu --date 2026-01-05 --reload",
        ];
        refused(&project, "run us --date 2026-01-05", &says).await;
        assert_eq!(pair.destination.scalar("select count(*) from mart.t").await, "50");
        // The remedy works.
        project.pgtide("run eu --date 2026-01-05 --reload").run().await.expect(0);
        project.pgtide("run us --date 2026-01-05").run().await.expect(0);
        rows::assert_equal(&pair.source, &pair.destination, "public.t", "mart.t").await;
    }
}

const BY_HAND: &str =
    "insert into mart.t select 9000 + g, 'me', '2026-01-05 12:00Z' from generate_series(1, 7) g";
const TOLD: &str =
    "in mart.t did not come from this job and go with the reload: the ledger has 100, the table 107";

#[tokio::test]
async fn rows_that_were_put_into_a_loaded_day_are_counted_before_a_reload_removes_them() {
    let whole = "table = \"public.t\"\ninto = \"mart.t\"\nmode = \"replace\"\n";
    for (job, run) in [
        (job("t", ""), "run t --date 2026-01-05"),
        (job("t", "commit = \"interval\"\n"), "run t --date 2026-01-05"),
        (whole.to_owned(), "run t"),
        (format!("{whole}empty_with = \"delete\"\n"), "run t"),
        (format!("{whole}commit = \"interval\"\n"), "run t"),
    ] {
        let pair = databases("by_hand").await;
        let project = project(&pair, TABLE).await.job("t", &job);
        project.pgtide(run).run().await.expect(0);
        let output = project.pgtide(&format!("{run} --reload")).run().await.expect(0);
        assert!(!output.stderr.contains("go with the reload"), "{}", output.stderr);
        pair.destination.exec(BY_HAND).await;
        let output = project.pgtide(&format!("{run} --reload -o json")).run().await.expect(0);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(TOLD), "{said}");
        assert_eq!(said.matches("7 rows").count(), 1, "{said}");
        project.assert_loaded("public.t", "mart.t").await;
        let history = "select string_agg(foreign_rows::text, ',' order by id) from pgtide.attempt";
        assert_eq!(pair.destination.scalar(history).await, "0,0,7");
    }
}

#[tokio::test]
async fn rows_that_nobody_loaded_are_counted_when_they_are_replaced_on_demand() {
    let pair = databases("unloaded").await;
    let project = project(&pair, &format!("{TABLE}{BY_HAND}")).await.job("t", &job("t", ""));
    let output = project.pgtide("run t --date 2026-01-05 --reload").run().await.expect(0);
    assert!(output.stderr.contains("7 rows of 2026-01-05 in mart.t did not come"), "{}", output.stderr);
    project.assert_loaded("public.t", "mart.t").await;
}
