//! What a broken attempt left in the table, and what others did there before the next run.
//!
//! A constraint that a late row breaks ends a load half-way: its first batches stay.

use crate::support::cli::Output;
use crate::support::events::{self, BYTES, DAILY, INTO, SLOWLY, until_sent};
use crate::support::project::versions;
use crate::support::{Pair, Project, databases};

const LATE: &str = "alter table mart.events add constraint late check (id < 9000) not valid";
const OPEN: &str = "alter table mart.events drop constraint late";

/// Loads as far as the late row; returns what the run said.
async fn load_half(project: &Project, command: &str) -> Output {
    project.destination.exec(LATE).await;
    let output = project.pgtide(command).run().await.expect(1);
    project.destination.exec(OPEN).await;
    output
}

async fn count(project: &Project, of: &str) -> i64 {
    project.destination.scalar(&format!("select count(*) from {of}")).await.parse().unwrap()
}

/// A project whose days are half-loaded by one writer.
async fn days(hint: &str, keys: &str) -> Project {
    events::daily(&databases(hint).await, &format!("writers = 1\n{keys}")).await
}

#[tokio::test]
async fn what_others_wrote_into_a_half_loaded_day_is_not_removed_with_it() {
    let project = days("left_days", "").await;
    let mine = "insert into mart.events select -{day}, '2026-01-{day} 12:00-05', 'mine'";
    let one = "(select min(id) from mart.events where at >= '2026-01-{day} 00:00-05')";
    let foreign = "holds 1 rows of 2026-01-{day} that pgtide did not load";
    let lacks_one = "rows that the interrupted attempts stored";
    let (update, delete) = (
        format!("update mart.events set body = 'mine' where id = {one}"),
        format!("delete from mart.events where id = {one}"),
    );
    let swapped = format!("{delete}; {mine}");
    let cases: [(&str, &[&str]); 4] = [
        (mine, &[foreign]),
        (&update, &[foreign, lacks_one]),
        (&swapped, &[foreign, lacks_one]),
        (
            "do $$ begin insert into mart.events values (-7, '2026-01-{day} 12:00-05', 'x'); exception when others then end $$",
            &[foreign],
        ),
    ];
    for (number, (change, said)) in cases.into_iter().enumerate() {
        let day = format!("{:02}", number + 1);
        let run = format!("run events --date 2026-01-{day}");
        load_half(&project, &run).await;
        project.destination.exec(&change.replace("{day}", &day)).await;
        let before = versions(&project.destination, INTO).await;
        let refused = project.pgtide(&run).run().await.expect(78).stderr;
        for line in said {
            assert!(refused.contains(&line.replace("{day}", &day)), "{change}: {refused}");
        }
        assert!(refused.contains(&format!("pgtide {run} --reload")), "{refused}");
        assert_eq!(versions(&project.destination, INTO).await, before, "{change}: nothing is removed");
        let reload = project.pgtide(&format!("{run} --reload")).run().await.expect(0).stderr;
        let tells = said.iter().any(|line| line.contains("did not load"));
        let told = reload.contains("did not come from this job and go with the reload");
        assert_eq!(told, tells, "{change}: {reload}");
        assert_eq!(count(&project, "mart.events where id < 0").await, 0);
    }
    // What is only missing is nothing to lose.
    let run = "run events --date 2026-01-12";
    load_half(&project, run).await;
    project.destination.exec(&delete.replace("{day}", "12")).await;
    let said = project.pgtide(run).run().await.expect(0).stderr;
    assert!(said.contains("1 of the") && said.contains("are gone: it starts over"), "{said}");
    project.pgtide(events::RUN).run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn what_the_server_does_to_a_half_loaded_day_leaves_it_the_attempts_own() {
    let project = days("left_rewritten", "").await;
    for (day, change) in [
        ("01", "vacuum (freeze) mart.events"),
        ("02", "vacuum full mart.events"),
        ("03", "cluster mart.events using events_pkey"),
        ("04", "alter table mart.events add column more integer"),
    ] {
        let run = format!("run events --date 2026-01-{day}");
        load_half(&project, &run).await;
        let half = count(&project, &format!("mart.events where id % 12 = {day}::int - 1")).await;
        assert!(half > 0 && half < 1000, "{half} rows are half a day");
        project.destination.exec(change).await;
        project.pgtide(&run).run().await.expect(0);
        assert_eq!(
            count(&project, &format!("mart.events where id % 12 = {day}::int - 1")).await,
            1000,
            "{change}"
        );
    }
    let run = "run events --date 2026-01-05";
    load_half(&project, run).await;
    project.destination.exec("alter table mart.events alter body type text using body || ''").await;
    let refused = project.pgtide(run).run().await.expect(78).stderr;
    assert!(refused.contains("somebody changed since") && refused.contains("--reload"), "{refused}");
}

#[tokio::test]
async fn a_half_loaded_table_keeps_what_others_added_until_a_reload_is_asked_for() {
    let pair = databases("left_replace").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &events::job("mode = \"replace\"\nwriters = 1\n"));
    load_half(&project, "run events").await;
    project.pgtide("run events").run().await.expect(0);
    events::assert_loaded(&project).await;
    project.destination.exec("drop schema pgtide cascade; truncate mart.events").await;
    load_half(&project, "run events").await;
    project.destination.exec("insert into mart.events values (-1, now(), 'mine')").await;
    let refused = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(refused.contains("holds 1 rows that pgtide did not load"), "{refused}");
    assert_eq!(count(&project, "mart.events where id < 0").await, 1);
    project.pgtide("run events --reload").run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn what_another_scope_half_loaded_is_removed_with_it() {
    let project = days("left_scope", "").await;
    let run = "run events --date 2026-01-05";
    load_half(&project, run).await;
    let half = "writers = 1\nscope = \"id % 24 = 4\"\nwhere = \"id % 24 = 4\"\n";
    let project = project.job("events", &events::job(&format!("{DAILY}{half}")));
    project.pgtide(run).run().await.expect(0);
    assert_eq!(count(&project, "mart.events where id % 24 = 4").await, 500);
    assert_eq!(count(&project, INTO).await, 500, "rows of the attempt that had no scope");
}

const QUERY: &str = "query = \"select id, at, body from public.events where body <> {{ params.not }}\"\n\
    into = \"mart.events\"\nmode = \"append\"\nresume_key = \"id\"\nbatch_rows = 200\n";

fn query(more: &str) -> String {
    format!("{QUERY}{more}")
}

const PLAIN: &str = "params = { not = 'a' }\n";

#[tokio::test]
async fn an_append_goes_on_only_with_what_it_began_with() {
    let (pair, other) = tokio::join!(databases("left_append"), databases("left_append_other"));
    events::make(&pair).await;
    events::make(&other).await;
    let mut project = Project::new(&pair).job("events", &query(PLAIN));
    load_half(&project, "run events").await;
    let half = count(&project, INTO).await;
    assert!(half > 0);
    let before = versions(&project.destination, INTO).await;
    let others = [
        ("params = { not = 'b' }\n", "another definition of the job made"),
        ("params = { not = 'a' }\ntimezone = 'Asia/Tokyo'\n", "another query"),
        ("params = { not = 'a' }\nscope = 'id > 0'\n", "another definition of the job made"),
    ];
    for (keys, said) in others {
        project = project.job("events", &query(keys));
        let refused = project.pgtide("run events").run().await.expect(78).stderr;
        assert!(refused.contains(said), "{keys}: {refused}");
        assert_eq!(versions(&project.destination, INTO).await, before, "{keys}");
    }
    let project = project.job("events", &query(PLAIN));
    let file = project.folder().join("pgtide.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&pair.source.url(), &other.source.url())).unwrap();
    let refused = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(refused.contains("were read from another database"), "{refused}");
    // It was refused and has written nothing: what is there is still of the first database.
    let refused = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(refused.contains("were read from another database"), "{refused}");
    project.destination.exec(&printed_delete(&refused)).await;
    assert_eq!(count(&project, INTO).await, 0, "the printed statement removes the rows");
    std::fs::write(&file, text).unwrap();
    project.pgtide("run events").run().await.expect(75);
    load_half(&project, "run events").await;
    project.pgtide("run events").run().await.expect(0);
    events::assert_loaded(&project).await;
}

/// The statement that a hint gives.
fn printed_delete(stderr: &str) -> String {
    let line = stderr.lines().find(|line| line.contains("delete from")).expect("a statement");
    let start = line.find("delete from").unwrap_or(0);
    line[start..].to_owned()
}

#[tokio::test]
async fn an_append_does_not_go_on_after_rows_that_were_removed() {
    let pair = databases("left_gone").await;
    events::make(&pair).await;
    let project = Project::new(&pair).job("events", &query(PLAIN));
    load_half(&project, "run events").await;
    project.destination.exec("truncate mart.events").await;
    let refused = project.pgtide("run events").run().await.expect(75).stderr;
    assert!(refused.contains("were removed by somebody else"), "{refused}");
    assert_eq!(count(&project, INTO).await, 0);
    load_half(&project, "run events").await;
    project.destination.exec("delete from mart.events where id = 7").await;
    let refused = project.pgtide("run events").run().await.expect(78).stderr;
    assert!(refused.contains("1 of the") && refused.contains("pgtide run events --force"), "{refused}");
    project.destination.exec(&printed_delete(&refused)).await;
    project.pgtide("run events").run().await.expect(75);
    project.pgtide("run events").run().await.expect(0);
    events::assert_loaded(&project).await;
}

#[tokio::test]
async fn a_key_of_a_query_that_is_no_key_is_noticed() {
    let pair = databases("left_key").await;
    events::make(&pair).await;
    let keys = |id: &str| {
        format!(
            "query = \"select {id} as id, at, body from public.events\"\ninto = \"mart.keys\"\nmode = \"append\"\n\
             resume_key = \"id\"\nbatch_rows = 200\n"
        )
    };
    for (id, said) in [("1::bigint", "has a value twice"), ("nullif(id, 12000)", "is null in some row")] {
        pair.destination.exec("drop table if exists mart.keys; drop schema if exists pgtide cascade").await;
        pair.destination.exec("create table mart.keys (id bigint, at timestamptz, body text)").await;
        let project = Project::new(&pair).job("keys", &keys(id));
        let failed = project.pgtide("run keys").run().await.expect(1).stderr;
        assert!(failed.contains(said), "{id}: {failed}");
    }
    // What came between the batches is seen when the next run goes on.
    pair.source.exec("create table public.extra as select * from public.events where false").await;
    for (row, said) in
        [("(select max(id) from mart.events)", "is there twice"), ("null", "is null in some row")]
    {
        let both = "query = \"select * from public.events union all select * from public.extra\"\n";
        pair.destination.exec("drop schema if exists pgtide cascade; truncate mart.events").await;
        pair.source.exec("truncate public.extra").await;
        let project =
            Project::new(&pair).job("events", &format!("{both}{}", &QUERY[QUERY.find("into").unwrap()..]));
        load_half(&project, "run events").await;
        let id = project.destination.scalar("select max(id) from mart.events").await;
        let row = if row == "null" { row.to_owned() } else { id };
        pair.source.exec(&format!("insert into public.extra values ({row}, now(), 'x')")).await;
        let refused = project.pgtide("run events").run().await.expect(78).stderr;
        assert!(refused.contains(said), "{row}: {refused}");
    }
}

/// A project that appends the whole table.
async fn appended(pair: &Pair) -> Project {
    events::make(pair).await;
    Project::new(pair).job("events", &events::job("mode = \"append\"\nresume_key = \"id\"\n"))
}

#[tokio::test]
async fn a_ledger_that_is_dropped_in_mid_run_ends_the_run_and_its_rows_are_not_added_twice() {
    let pair = databases("left_no_ledger").await;
    let project = appended(&pair).await;
    let running = project.pgtide("run events").arg(SLOWLY).spawn();
    until_sent(&project.destination, running.pid(), BYTES / 10).await;
    project.destination.exec("drop schema pgtide cascade").await;
    let failed = running.finish().await;
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    let half = count(&project, INTO).await;
    assert!(half > 0);
    let refused = project.pgtide("run events").run().await.expect(78).stderr;
    for said in ["append would add them again", "pgtide mark events loaded", "pgtide run events --force"] {
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(count(&project, INTO).await, half);
    project.pgtide("mark events loaded").arg("--reason").arg("half is enough").run().await.expect(0);
    project.pgtide("run events").run().await.expect(0);
    assert_eq!(count(&project, INTO).await, half);
}

#[tokio::test]
async fn a_ledger_that_is_made_anew_in_mid_run_knows_nothing_of_the_run() {
    let pair = databases("left_new_ledger").await;
    let project = appended(&pair)
        .await
        .job("other", "query = \"select 1 as a\"\ninto = \"mart.other\"\nmode = \"append\"\ncreate = true\n");
    let running = project.pgtide("run events").arg(SLOWLY).spawn();
    until_sent(&project.destination, running.pid(), BYTES / 10).await;
    project.destination.exec("drop schema pgtide cascade").await;
    project.pgtide("run other").run().await.expect(0);
    let failed = running.finish().await;
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    assert_eq!(count(&project, "pgtide.interval where job = 'events' and loaded_at is not null").await, 0);
    project.pgtide("run events").run().await.expect(78);
    assert_eq!(count(&project, "(select id from mart.events group by 1 having count(*) > 1) twice").await, 0);
}

#[tokio::test]
async fn an_append_adds_to_rows_of_others_and_not_to_its_own_of_a_ledger_that_is_gone() {
    let pair = databases("left_add").await;
    let project = appended(&pair).await;
    project.destination.exec("insert into mart.events values (-5, now(), 'of another source')").await;
    project.pgtide("run events").run().await.expect(0);
    assert_eq!(count(&project, INTO).await, 12_001);

    let days = databases("left_add_days").await;
    events::make(&days).await;
    days.destination.exec("alter table mart.events drop constraint events_pkey").await;
    let project = Project::new(&days).job("events", &events::job(&format!("{DAILY}mode = \"append\"\n")));
    let run = "run events --date 2026-01-05";
    project.pgtide(run).run().await.expect(0);
    project.pgtide("run events --date 2026-01-06").run().await.expect(0);
    project.destination.exec("drop schema pgtide cascade").await;
    let refused = project.pgtide(run).run().await.expect(78).stderr;
    assert!(refused.contains("already has rows of 2026-01-05"), "{refused}");
    assert_eq!(count(&project, INTO).await, 2000);
    project.pgtide("run events --date 2026-01-07").run().await.expect(0);
    project.pgtide("mark events loaded --date 2026-01-05 --reason kept").run().await.expect(0);
    project.pgtide(run).run().await.expect(0);
    assert_eq!(count(&project, INTO).await, 3000);
    project.pgtide("run events --date 2026-01-06 --force").run().await.expect(0);
    assert_eq!(count(&project, INTO).await, 4000, "that was asked for");
}
