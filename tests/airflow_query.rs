//! A query as it stands in an Airflow DAG: its templates, its bare names, its casts to `date`.
//!
//! What its `date` means is the job's time zone; where its names are found is the role's search path.

use crate::support::events::{self, PATIENT};
use crate::support::project::versions;
use crate::support::rows::assert_equal;
use crate::support::{Pair, Project, databases};

const QUERY: &str = r#"
query = "SELECT * FROM users WHERE created_at::date = date '{{ ds }}'"
into = "mart.users"
create = true
interval = "day"
timezone = "America/New_York"
"#;

/// `users` is in a schema that only the role's search path names; in `public` a decoy would be found first.
/// The role's own time zone, and the cluster's, are others than the job's.
const SOURCE: &str = "
create schema app;
create table app.users (id int primary key, created_at timestamptz not null, name text);
insert into app.users select i, timestamptz '2013-03-08 00:00 America/New_York' + i * interval '10 min', 'u' || i
from generate_series(0, 1000) i;
create table public.users (id int, created_at timestamptz, name text, decoy int)";

/// Gives a role its settings in this database and its own URL.
async fn source_of_a_role(pair: &Pair, role: &str) -> String {
    let name = pair.source.name();
    let sql = format!(
        "{SOURCE}; create role {role} login; grant usage on schema app to {role}; grant select on app.users to {role};
         alter role {role} in database {name} set search_path = app, public;
         alter role {role} in database {name} set timezone = 'Asia/Tokyo';
         alter role {role} in database {name} set datestyle = 'German, DMY'"
    );
    pair.source.exec(&sql).await;
    pair.source.url().replace("postgres://postgres:", &format!("postgres://{role}:"))
}

/// The rows of New York days, as SQL says it without any setting.
fn days(table: &str, from: &str, to: &str) -> String {
    format!(
        "(select * from {table} where (created_at at time zone 'America/New_York')::date between '{from}' and '{to}')"
    )
}

#[tokio::test]
async fn a_query_pasted_from_a_dag_loads_the_days_of_the_job_s_zone() {
    let pair = databases("airflow").await;
    let source = source_of_a_role(&pair, "airflow_reader").await;
    pair.destination.exec("create schema mart").await;
    let project = Project::through(&pair, &source, &pair.destination.url())
        .job("users", &format!("{QUERY}mode = \"delete-insert\"\ntime_column = \"created_at\""));
    // Over the night without 02:00: its day has 23 hours, 138 rows of ten minutes.
    let run = "run users --from-date 2013-03-09 --to-date 2013-03-11";
    project.pgtide(run).run().await.expect(0);
    project.assert_loaded(&days("app.users", "2013-03-09", "2013-03-11"), "mart.users").await;
    let day = "select rows from pgtide.interval where key = '2013-03-10'";
    assert_eq!(pair.destination.scalar(day).await, "138");

    let before = versions(&pair.destination, "mart.users").await;
    project.pgtide(run).run().await.expect(0);
    assert_eq!(versions(&pair.destination, "mart.users").await, before);

    pair.source
        .exec("update app.users set name = 'new' where id % 2 = 0; delete from app.users where id % 5 = 0")
        .await;
    project.pgtide("run users --date 2013-03-10 --reload").run().await.expect(0);
    let [from, into] = ["app.users", "mart.users"].map(|t| days(t, "2013-03-10", "2013-03-10"));
    assert_equal(&pair.source, &pair.destination, &from, &into).await;
}

#[tokio::test]
async fn a_query_without_a_time_column_is_merged_or_appended_by_day() {
    let pair = databases("airflow_merge").await;
    let source = source_of_a_role(&pair, "airflow_merger").await;
    pair.destination.exec("create schema mart").await;
    let project = Project::through(&pair, &source, &pair.destination.url())
        .job("merged", &format!("{QUERY}mode = \"merge\"\nkey = [\"id\"]"))
        .job("appended", &format!("{}mode = \"append\"", QUERY.replace("mart.users", "mart.appended")));
    for (job, into) in [("merged", "mart.users"), ("appended", "mart.appended")] {
        let run = format!("run {job} --from-date 2013-03-09 --to-date 2013-03-11");
        project.pgtide(&run).run().await.expect(0);
        let from = days("app.users", "2013-03-09", "2013-03-11");
        assert_equal(&pair.source, &pair.destination, &from, into).await;
    }
    project.assert_ledger_is_settled().await;
}

/// Everything that Airflow's macros give a query, against what the zone makes of the day.
#[tokio::test]
async fn the_names_of_airflow_mean_the_day_and_its_instants() {
    let pair = databases("airflow_names").await;
    pair.destination.exec("create schema mart").await;
    let job = r#"
query = """
select '{{ ds }}' as ds, '{{ ds_nodash }}' as ds_nodash, '{{ ts }}' as ts,
       timestamptz '{{ data_interval_start }}' as first, timestamptz '{{ data_interval_end }}' as last,
       timestamptz '{{ logical_date }}' as logical, timestamptz '{{ execution_date }}' as execution,
       '{{ macros.ds_add(ds, -1) }}' as day_before, {{ params.region }} as region,
       current_setting('timezone') as zone -- a comment at the end
"""
into = "mart.names"
create = true
mode = "append"
interval = "day"
timezone = "America/New_York"
params = { region = "it's" }
"#;
    let project = Project::new(&pair).job("names", job);
    project.pgtide("run names --date 2013-11-03").run().await.expect(0);
    let row = "select ds, ds_nodash, first at time zone 'UTC', last at time zone 'UTC', logical = first, execution = first,
                      day_before, region, zone from mart.names";
    let row = pair.destination.rows(row).await;
    let row: Vec<_> = row[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(
        row,
        [
            "2013-11-03",
            "20131103",
            "2013-11-03 04:00:00",
            "2013-11-04 05:00:00",
            "t",
            "t",
            "2013-11-02",
            "it's",
            "America/New_York"
        ]
    );
}

#[tokio::test]
async fn a_query_survives_an_interruption_as_a_table_does() {
    let pair = databases("airflow_killed").await;
    events::make(&pair).await;
    let job = format!(
        "query = \"\"\"SELECT * FROM public.events WHERE at >= '{{{{ data_interval_start }}}}' AND at < '{{{{ data_interval_end }}}}';\"\"\"
         into = \"mart.events\"\nmode = \"delete-insert\"\ntime_column = \"at\"\ninterval = \"day\"\nbatch_rows = 200\n{PATIENT}"
    );
    let project = Project::new(&pair).job("events", &job);
    let running = project.pgtide(events::RUN).arg(events::SLOWLY).spawn();
    events::until_sent(&pair.destination, running.pid(), events::BYTES / 3).await;
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and application_name like 'pgtide%'";
    pair.destination.scalar(terminate).await;
    running.finish().await.expect(0);
    events::assert_loaded(&project).await;
}
