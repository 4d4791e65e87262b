//! Snapshot jobs in the status: the moments of the schedule, what came of them, and when one is late.

use serde_json::Value;

use crate::support::cli::write_file;
use crate::support::{Project, databases, events};

const SNAPSHOT: &str = "table = \"public.events\"\ninto = \"mart.snapshot\"\nmode = \"replace\"\ncreate = true\n\
                        schedule = \"0 0 1 1 *\"\ntimezone = \"UTC\"\n";

async fn project(name: &str, keys: &str) -> Project {
    let pair = databases(name).await;
    events::make(&pair).await;
    Project::new(&pair).job("users", &format!("{SNAPSHOT}{keys}"))
}

async fn printed(project: &Project, arguments: &str, code: i32) -> String {
    project.pgtide(arguments).run().await.expect(code).stdout
}

/// The load and its history move so many years back.
async fn age(project: &Project, years: i32) {
    let sql = format!(
        "update pgtide.interval set loaded_at = loaded_at - interval '{years} years', load_started_at = load_started_at - interval '{years} years',
             key = (left(key, 4)::integer - {years}) || substr(key, 5);
         update pgtide.attempt set started_at = started_at - interval '{years} years',
             finished_at = finished_at - interval '{years} years'"
    );
    project.destination.exec(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_job_shows_its_moments_and_missed_ones_do_not_count() {
    let project = project("snapshot_status", "").await;
    project.pgtide("run").run().await.expect(0);
    let this_year = project.destination.scalar("select extract(year from now() at time zone 'UTC')").await;
    let this_year: i32 = this_year.parse().unwrap();
    let status = printed(&project, "status users --exit-code", 0).await;
    assert!(status.contains(&format!("\n# loaded  {this_year}-01-01T00:00  ")), "{status}");
    assert!(status.contains(&format!("\n# {this_year}-01-01T00:00  ")), "{status}");
    assert!(status.contains(", 12,000 rows\n"), "{status}");
    assert!(status.contains(&format!("\nnext {}-01-01 00:00\n", this_year + 1)), "{status}");

    age(&project, 3).await;
    project.pgtide("run users").run().await.expect(0);
    let status = printed(&project, "status users --exit-code", 0).await;
    for (years, line) in [(0, "#"), (1, "."), (2, "."), (3, "#")] {
        let line = format!("\n{line} {}-01-01T00:00  ", this_year - years);
        assert!(status.contains(&line), "{line:?} is not in\n{status}");
    }
    assert!(status.contains("missed; nothing makes it up"), "{status}");
    assert!(!status.contains(&format!("{}-01-01T00:00", this_year - 4)), "it did not exist\n{status}");
    let object: Value = serde_json::from_str(&printed(&project, "status users -o json", 0).await).unwrap();
    assert_eq!(object["intervals"][0]["interval"], format!("{this_year}-01-01T00:00"));
    assert_eq!((&object["counts"]["loaded"], &object["counts"]["missing"]), (&1.into(), &0.into()));
    let moments: Vec<_> =
        object["moments"].as_array().unwrap().iter().map(|m| m["state"].as_str().unwrap()).collect();
    assert_eq!(moments, ["loaded", "missing", "missing", "loaded"]);
    assert_eq!(object["moments"][0]["rows"], 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_missed_its_deadline_rings_and_one_that_did_not_is_silent() {
    let project = project("snapshot_late", "deadline = \"1h\"\n").await;
    let status = printed(&project, "status users --exit-code", 1).await;
    assert!(status.contains(". missing  late  never loaded"), "{status}");
    project.pgtide("run").run().await.expect(0);
    printed(&project, "status --exit-code", 0).await;
    age(&project, 2).await;
    let status = printed(&project, "status users --exit-code", 1).await;
    assert!(status.contains("# loaded  late  "), "{status}");
    let overview = printed(&project, "status --exit-code", 1).await;
    assert!(overview.contains("late"), "{overview}");
    let object: Value = serde_json::from_str(&printed(&project, "status users -o json", 0).await).unwrap();
    assert_eq!((&object["late"], &object["moments"][0]["state"]), (&1.into(), &"missing".into()));
    write_file(project.folder(), "jobs/users.toml", &format!("{SNAPSHOT}deadline = \"500000h\"\n"));
    printed(&project, "status users --exit-code", 0).await;
}
