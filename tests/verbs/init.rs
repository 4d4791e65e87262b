//! init: files that check and run accept, no secret in them, and nothing overwritten.

use insta::assert_snapshot;

use super::{EVENTS, Site};
use crate::support::{CANARY, databases, pgtide};

fn read(site: &Site, path: &str) -> String {
    std::fs::read_to_string(site.folder.path().join(path)).unwrap()
}

/// A job without the comments and the blank line that it opens with.
fn without_opening(job: &str) -> String {
    let lines = job.lines().skip_while(|line| line.is_empty() || line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// A folder without a project, and the events.
async fn empty_folder(hint: &str) -> Site {
    let site = Site { pair: databases(hint).await, folder: tempfile::TempDir::new().unwrap() };
    site.pair.source.exec(EVENTS).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_writes_is_accepted_by_check_and_run() {
    let site = empty_folder("init_new").await;
    let url = site.pair.source.url();
    let output = site.bare("init public.events -s").arg(&*url).run().await.expect(0);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"postgres@127\.0\.0\.1:\d+/\w+", "[place]");
    let _stable = settings.bind_to_scope();
    assert_snapshot!(output.stdout, @"
    wrote  pgtide.toml       the connections
    wrote  jobs/events.toml  public.events by day of at, delete-insert

    Next:
      export SOURCE_URL='postgres://[place]?sslmode=disable'   # and the password, here or in ~/.pgpass
      export DESTINATION_URL='postgres://USER@HOST:5432/DATABASE'
      pgtide check events     connections, rights, types
      pgtide plan events      what would be loaded, and why
      pgtide run events       the newest day; later, what is missing
      pgtide backfill events  everything since start_date
    ");
    assert_snapshot!(read(&site, "pgtide.toml"), @r#"
    # What the jobs in jobs/ share. Paths are relative to this file, which pgtide finds from any folder below.
    # Secrets stay outside: ${NAME} is a variable of the environment, and ~/.pgpass is read as psql does.

    [connections.source]
    url = "${SOURCE_URL}"               # postgres://user@host:5432/database?sslmode=verify-full
    # max_connections = 40              # pgtide never opens more than this on the server

    [connections.destination]
    url = "${DESTINATION_URL}"          # postgres://user@host:5432/database?sslmode=verify-full
    # max_connections = 40              # pgtide never opens more than this on the server

    [defaults]                          # keys of every job that does not say otherwise
    source = "source"
    destination = "destination"
    # retries = 3                       # further tries after a failure that may pass
    "#);
    assert_snapshot!(read(&site, "jobs/events.toml"), @r#"
    # public.events, day by day: each day's rows are replaced by the source's.
    #
    #   pgtide check events     connections, rights, types
    #   pgtide plan events      what would be loaded, and why
    #   pgtide run events       the newest day; later, what is missing
    #   pgtide backfill events  everything since start_date

    table = "public.events"
    into = "public.events"              # its name in the destination

    time_column = "at"                  # timestamp with time zone, NOT NULL, indexed
    interval = "day"                    # hour, day, week, month; or elapsed: 6h, 24h
    timezone = "UTC"                    # whose days: an IANA name, such as "Europe/Berlin"
    start_date = 2013-01-01             # of the first row
    mode = "delete-insert"              # or append: never removes; or merge, with `key`

    create = true                       # makes the table when it is missing: types, NOT NULL, primary key
    # refresh = "dependents"            # the materialized views that read it, once per run
    "#);
    for file in ["pgtide.toml", "jobs/events.toml"] {
        assert!(!read(&site, file).contains(CANARY), "a secret in {file}");
    }
    let run = |arguments: &str| {
        let run = site.bare(arguments).env("SOURCE_URL", site.pair.source.url());
        run.env("DESTINATION_URL", site.pair.destination.url())
    };
    run("check").run().await.expect(0);
    run("run events --from-date 2013-01-01 --to-date 2013-01-10").run().await.expect(0);
    assert_eq!(site.pair.destination.scalar("select count(*) from public.events").await, "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten() {
    let site = Site::with_events("init_twice").await;
    let (project, job) = (read(&site, "pgtide.toml"), read(&site, "jobs/events.toml"));
    let output = site.pgtide("init public.events").run().await.expect(2);
    assert!(output.stderr.contains("jobs/events.toml is there already"), "{}", output.stderr);
    site.pair.source.exec("create table public.kinds (kind text primary key)").await;
    site.printed("init kinds").await;
    assert_eq!((read(&site, "pgtide.toml"), read(&site, "jobs/events.toml")), (project, job));
    let kinds = read(&site, "jobs/kinds.toml");
    assert!(kinds.contains("mode = \"replace\""), "{kinds}");
    assert!(!kinds.contains("\nsource"), "the project says it: {kinds}");
    site.printed("check kinds").await;
    site.printed("run kinds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_are_merged_by_their_key() {
    let site = empty_folder("init_merge").await;
    site.pair
        .source
        .exec(
            "create table public.\"Odd users\" (\"Id\" bigint, tenant int, birth_date date not null,
                   created_at timestamp, updated_at timestamptz not null, primary key (tenant, \"Id\"));
               create index on public.\"Odd users\" (updated_at);
               insert into public.\"Odd users\" values (1, 1, '1990-01-01', null, '2024-02-03 12:00Z')",
        )
        .await;
    let run = pgtide(&["init", "public.\"Odd users\""]).dir(site.folder.path());
    run.env("PGTIDE_CONN_SOURCE", site.pair.source.url()).run().await.expect(0);
    let job = read(&site, "jobs/Odd_users.toml");
    assert_snapshot!(without_opening(&job), @r#"
    table = 'public."Odd users"'
    into = 'public."Odd users"'         # its name in the destination

    time_column = "updated_at"          # timestamp with time zone, NOT NULL, indexed
    # time_column = "birth_date"
    # time_column = "created_at"
    interval = "day"                    # hour, day, week, month; or elapsed: 6h, 24h
    timezone = "UTC"                    # whose days: an IANA name, such as "Europe/Berlin"
    start_date = 2024-02-03             # of the first row
    mode = "merge"                      # a row that changed comes again; one that was deleted stays
    key = ["tenant", "Id"]              # the primary key

    create = true                       # makes the table when it is missing: types, NOT NULL, primary key
    # refresh = "dependents"            # the materialized views that read it, once per run
    "#);
    let project = read(&site, "pgtide.toml");
    assert!(!project.contains("[connections.source]"), "it is known: {project}");
    let run = |arguments: &str| {
        let run = site.bare(arguments).env("PGTIDE_CONN_SOURCE", site.pair.source.url());
        run.env("DESTINATION_URL", site.pair.destination.url())
    };
    run("check").run().await.expect(0);
    run("run Odd_users --date 2024-02-03").run().await.expect(0);
    assert_eq!(site.pair.destination.scalar("select count(*) from public.\"Odd users\"").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_and_nothing_is_written() {
    let site = empty_folder("init_wrong").await;
    let url = site.pair.source.url();
    let output = site.bare("init public.evnts -s").arg(&*url).run().await.expect(78);
    assert!(output.stderr.contains("did you mean public.events?"), "{}", output.stderr);
    let down = site.bare("init public.events -s postgres://x@127.0.0.1:1/x").run().await.expect(75);
    assert!(down.stderr.contains("cannot connect to source"), "{}", down.stderr);
    let unknown = site.bare("init public.events").run().await.expect(78);
    assert!(unknown.stderr.contains("give --source URL"), "{}", unknown.stderr);
    assert_eq!(std::fs::read_dir(site.folder.path()).unwrap().count(), 0);
}
