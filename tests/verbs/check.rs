//! check tells everything that is wrong at once, and its SQL mends what a DBA can mend.

use insta::assert_snapshot;
use serde_json::Value;

use super::{EVENTS_JOB, Site, stable};
use crate::support::{CANARY, Database};

/// A role without any right, and the URL to come in with it.
async fn plain_role(database: &Database) -> String {
    let role = format!("plain_{}", database.name());
    database.exec(&format!("create role {role} login")).await;
    database.url().replace(&format!("postgres:{CANARY}@"), &format!("{role}:{CANARY}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_well_has_ok_lines_and_nothing_is_made() {
    let site = Site::with_events("check_well").await;
    let _stable = stable();
    assert_snapshot!(site.printed("check").await, @"
    ok    project    pgtide.toml, 1 job
    ok    source     PostgreSQL [version] at [place], as postgres, without TLS
    ok    warehouse  PostgreSQL [version] at [place], as postgres, without TLS
    ok    warehouse  no ledger yet: the first run makes it in schema pgtide
    ok    events     public.events -> mart.events, delete-insert by day: 3 columns;
                     the first run makes the table

    all is well
    ");
    let made =
        "select count(*) from pg_class where relname = 'events' or relnamespace = to_regnamespace('pgtide')";
    assert_eq!(site.pair.destination.scalar(made).await, "0");
    site.printed("run events --date 2013-01-01").await;
    let after = site.printed("check events").await;
    let version = format!("ledger in schema pgtide, version {}", pgtide::ledger::VERSION);
    assert!(after.contains(&version), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_finding_of_every_job_comes_at_once() {
    let site = Site::with_events("check_all").await;
    site.pair
        .destination
        .exec(
            "create table mart.narrow (id integer, at timestamptz not null, amount integer);
               create view mart.seen as select 1 as id",
        )
        .await;
    site.job("narrow", &EVENTS_JOB.replace("mart.events", "mart.narrow"));
    site.job("lost", "table = \"public.evnts\"\ninto = \"mart.lost\"\n");
    site.job("seen", "table = \"public.events\"\ninto = \"mart.seen\"\n");
    site.job("typo", "tabel = \"public.events\"\nwriters = 99\n");
    site.job("away", "destination = \"elsewhere\"\ntable = \"public.events\"\n");
    let run = site.pgtide("check").env("PGTIDE_CONN_ELSEWHERE", "postgres://x@127.0.0.1:1/x?sslmode=disable");
    let output = run.run().await.expect(78);
    assert_eq!(output.stderr, "");
    let _stable = stable();
    assert_snapshot!(output.stdout, @r#"
    x     jobs/typo.toml  `table`: is missing: give `table`, `query` or `query_file`
    x     jobs/typo.toml  line 1: unknown key `tabel`, did you mean `table`?
    x     jobs/typo.toml  line 2: `writers`: 99 is not between 1 and 16
    ok    source          PostgreSQL [version] at [place], as postgres, without
                          TLS
    x     elsewhere       cannot connect to elsewhere (postgres://x@[place]/x):
                          connection refused
          hint: is the server running, and listening on port 1 of that address?
    ok    warehouse       PostgreSQL [version] at [place], as postgres, without
                          TLS
    ok    warehouse       no ledger yet: the first run makes it in schema pgtide
    note  away            its columns were not compared, for want of elsewhere
    ok    events          public.events -> mart.events, delete-insert by day: 3
                          columns; the first run makes the table
    x     lost            source: there is no table public.evnts; did you mean
                          public.events?
    x     lost            warehouse: there is no table mart.lost
          hint: make the table, or let pgtide make it: `create = true` in the job
    x     narrow          types differ in 2 columns
            column    source public.events   target mart.narrow
            id        bigint                 integer              does not fit
            amount    numeric(12,4)          integer              does not fit
          hint: on warehouse:
                  alter table mart.narrow
                    alter column id type bigint,
                    alter column amount type numeric(12,4);
                or keep integer, in jobs/narrow.toml:
                  [cast]
                  id = "id::integer"
                  amount = "round(amount)::integer"
    x     seen            warehouse: mart.seen is a view: rows can only be loaded
                          into a table

    8 findings
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_may_come_back() {
    let site = Site::with_events("check_down").await;
    let run = site.bare("check").env("SOURCE_URL", site.pair.source.url());
    let output = run.env("WAREHOUSE_URL", "postgres://x@127.0.0.1:1/x").run().await.expect(75);
    assert!(output.stdout.contains("x     warehouse  cannot connect to warehouse"), "{}", output.stdout);
    assert!(output.stdout.contains("\nok    source "), "{}", output.stdout);
    let unset = site.bare("check").run().await.expect(78);
    assert!(unset.stdout.contains(" SOURCE_URL is not set"), "{}", unset.stdout);
    assert!(unset.stdout.contains(" WAREHOUSE_URL is not set"), "{}", unset.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grants_that_are_printed_are_what_a_plain_role_needs() {
    let site = Site::with_events("check_grants").await;
    site.pair
        .destination
        .exec(
            "create table mart.events (id bigint primary key, at timestamptz not null, amount numeric(12,4));
               create index on mart.events (at)",
        )
        .await;
    site.job(
        "merged",
        &format!("{}mode = \"merge\"\nkey = [\"id\"]\n", EVENTS_JOB.replace("mart.events", "mart.merged")),
    );
    let (source, warehouse) = (plain_role(&site.pair.source).await, plain_role(&site.pair.destination).await);
    let run = |arguments: &str| {
        site.bare(arguments).env("SOURCE_URL", source.clone()).env("WAREHOUSE_URL", warehouse.clone())
    };
    let output = run("check --print-grants").run().await.expect(78);
    assert!(output.stderr.contains("lacks rights; as an administrator:"), "{}", output.stderr);
    assert_eq!(output.stdout.matches("create on database").count(), 1, "each once: {}", output.stdout);
    for part in output.stdout.split("-- as an administrator of ").skip(1) {
        let database = if part.starts_with("source") { &site.pair.source } else { &site.pair.destination };
        database.exec(&format!("-- {part}")).await;
    }
    let output = run("check --print-grants").run().await.expect(0);
    assert_eq!(output.stdout, "-- no right is missing\n");
    run("run --date 2013-01-01").run().await.expect(0);
    run("run events --date 2013-01-01 --reload").run().await.expect(0);
    let rows = "select (select count(*) from mart.events) || ' ' || (select count(*) from mart.merged)";
    assert_eq!(site.pair.destination.scalar(rows).await, "3 3");
    run("check").run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_still_hears_of_types() {
    let site = Site::with_events("check_both").await;
    site.pair.destination.exec("create table mart.events (id bigint, at timestamptz, amount integer)").await;
    let source = plain_role(&site.pair.source).await;
    let run = site.bare("check").env("SOURCE_URL", source).env("WAREHOUSE_URL", site.pair.destination.url());
    let output = run.run().await.expect(78).stdout;
    assert!(output.contains("grant select on table \"public\".\"events\""), "{output}");
    assert!(output.contains("types differ in 1 column"), "{output}");
    assert!(output.contains("2 findings; --print-grants"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_another_role_made_is_a_finding() {
    let site = Site::with_events("check_ledger").await;
    let warehouse = plain_role(&site.pair.destination).await;
    site.pair.destination.exec("create schema pgtide").await;
    let run = site.bare("check").env("SOURCE_URL", site.pair.source.url()).env("WAREHOUSE_URL", warehouse);
    let output = run.run().await.expect(78).stdout;
    assert!(
        output.contains("x     warehouse  the ledger in schema \"pgtide\" cannot be trusted"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_day_can_hold_are_counted() {
    let site = Site::with_events("check_null").await;
    site.pair
        .source
        .exec(
            "alter table public.events alter at drop not null;
               insert into public.events values (1, null, 0), (2, null, 0), (3, 'infinity', 0)",
        )
        .await;
    let output = site.printed("check events").await;
    let note = "note  events     public.events: at is NULL in 2 rows and infinite in 1 row; what";
    assert!(output.contains(note), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_one_object_and_names_are_checked() {
    let site = Site::with_events("check_json").await;
    site.job("lost", "table = \"public.evnts\"\ninto = \"mart.lost\"\n");
    let output = site.pgtide("check -o json").run().await.expect(78).stdout;
    let object: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(object["exit_code"], 78);
    let findings: Vec<_> =
        object["lines"].as_array().unwrap().iter().filter(|line| line["level"] == "finding").collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0]["kind"], "preflight");
    site.printed("check events").await;
    let unknown = site.pgtide("check event").run().await.expect(2);
    assert!(unknown.stderr.contains("did you mean `events`?"), "{}", unknown.stderr);
    let empty = crate::support::pgtide(&["check"]).run().await.expect(78);
    assert!(empty.stdout.contains("there are no jobs in jobs"), "{}", empty.stdout);
}
