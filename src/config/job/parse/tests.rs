//! Job files as people write them, rightly and wrongly.

use chrono::{NaiveDate, TimeDelta};

use super::*;
use crate::config::file::parse_toml;

fn read_with(defaults: &str, own: &str) -> Result<Job, Vec<String>> {
    let table = |text: &str, file: &str| parse_toml(text, file).unwrap_or_else(|found| panic!("{found:?}"));
    let (own, defaults) = (table(own, "jobs/users.toml"), table(defaults, "pgtide.toml"));
    let env = Environment::empty("/srv");
    let file = JobFile {
        name: "users",
        path: Path::new("/srv/jobs/users.toml"),
        own: &own,
        defaults: &defaults,
        root: Path::new("/srv"),
        env: &env,
    };
    read(&file).map_err(|mut found| {
        found.sort();
        found.iter().map(ToString::to_string).collect()
    })
}

fn job(own: &str) -> Job {
    read_with("", own).unwrap_or_else(|found| panic!("{found:#?}"))
}

/// The findings of a job file that also has a table, unless it says otherwise.
fn findings(own: &str) -> Vec<String> {
    let has_origin = own.contains("table =") || own.contains("query");
    let text = if has_origin { own.to_owned() } else { format!("{own}\ntable = \"t\"") };
    read_with("", &text).err().unwrap_or_else(|| panic!("no finding in:\n{text}"))
}

#[track_caller]
fn refused(own: &str, expected: &str) {
    let found = findings(own);
    assert!(found.iter().any(|finding| finding.contains(expected)), "{own}\n{found:#?}");
}

const DAILY: &str = "table = \"t\"\ntime_column = \"at\"\ninterval = \"day\"\ntimezone = \"UTC\"\n";

#[test]
fn the_smallest_job_is_one_table() {
    let job = job("table = \"public.Users\"");
    assert_eq!((job.source.as_str(), job.destination.as_str()), ("source", "destination"));
    assert_eq!(job.into, TableName::new("public", "users"));
    assert_eq!(job.origin, Origin::Table(TableName::new("public", "users")));
    assert_eq!((job.mode, job.calendar, job.timezone), (LoadMode::Replace, None, Tz::UTC));
    assert_eq!((job.limits.rows, job.limits.bytes, job.writers), (50_000, 16 << 20, 1));
    assert_eq!((job.retries, job.retry_delay, job.max_retry_delay), (3, secs(5), secs(300)));
    assert_eq!((job.min_delay, job.max_active_runs, job.retry_exponential_backoff), (secs(600), 4, true));
    assert_eq!((job.catchup, job.refresh, job.on_empty), (Catchup::Gaps, Refresh::None, OnEmpty::Auto));
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_example_of_the_readme_is_read_whole() {
    let job = job(r#"
        source      = "source"
        destination = "warehouse"
        table       = "public.flights"
        into        = "mart.flights"
        time_column = "time_hour"
        mode        = "delete-insert"
        interval    = "day"
        timezone    = "America/New_York"
        schedule    = "@daily"
        start_date  = 2013-01-01
        end_date    = "2013-12-31"
        refresh     = "dependents"
        create      = true
        batch_rows  = 50_000
        batch_bytes = "32MiB"
        writers     = 2
        max_shrink  = "50%"
        pre_sql     = "select 1"
        post_sql    = ["select 2", "select 3"]
        params      = { region = "eu" }
        cast        = { price = "round(price)" }
    "#);
    let calendar = Calendar { unit: Unit::Day, timezone: Tz::America__New_York };
    assert_eq!((job.mode, job.calendar), (LoadMode::DeleteInsert, Some(calendar)));
    assert_eq!(job.start_date, NaiveDate::from_ymd_opt(2013, 1, 1));
    assert_eq!(job.end_date, NaiveDate::from_ymd_opt(2013, 12, 31));
    assert_eq!((job.limits.bytes, job.writers, job.refresh), (32 << 20, 2, Refresh::Dependents));
    assert_eq!(job.max_shrink, Some(0.5));
    assert_eq!((job.pre_sql.len(), job.post_sql.len()), (1, 2));
    assert_eq!(job.cast["price"], "round(price)");
    assert_eq!(job.params["region"].as_str(), Some("eu"));
}

#[test]
fn modes_follow_from_what_is_given() {
    assert_eq!(job(DAILY).mode, LoadMode::DeleteInsert);
    assert_eq!(job("table = \"t\"\ntime_column = \"at\"").mode, LoadMode::Replace);
    assert_eq!(job("query = \"select 1\"\ninto = \"t\"\nmode = \"append\"").mode, LoadMode::Append);
    assert_eq!(job("table = \"t\"\nmode = \"merge\"\nkey = \"id\"").key, ["id"]);
    refused("query = \"select 1\"\ninto = \"t\"", "`mode`: is missing");
}

#[test]
fn intervals_are_calendar_units_or_elapsed_time() {
    let unit = |interval: &str| {
        let own =
            format!("table = \"t\"\ntime_column = \"at\"\ntimezone = \"UTC\"\ninterval = \"{interval}\"");
        job(&own).calendar.map(|calendar| calendar.unit)
    };
    assert_eq!(unit("hour"), Some(Unit::Hour));
    assert_eq!(unit("1d"), Some(Unit::Day));
    assert_eq!(unit("24h"), Some(Unit::Elapsed(TimeDelta::hours(24))));
    assert_eq!(job("table = \"t\"\ntime_column = \"at\"\ninterval = \"6h\"").timezone, Tz::UTC);
    refused("time_column = \"at\"\ninterval = \"day\"", "`interval`: needs `timezone`");
    refused("time_column = \"at\"\ninterval = \"0h\"", "of no length");
    refused("timezone = \"Europe/Berln\"", "did you mean `Europe/Berlin`?");
}

#[test]
fn every_finding_of_a_file_is_told_with_its_line() {
    let found =
        findings("tabel = \"users\"\nmode = \"merg\"\nwriters = 0\nretries = \"many\"\ncolumns = [1]\n");
    assert_eq!(
        found,
        [
            "jobs/users.toml:1: unknown key `tabel`, did you mean `table`?",
            "jobs/users.toml:2: `mode`: `merg` is not append, delete-insert, merge or replace, did you mean `merge`?",
            "jobs/users.toml:3: `writers`: 0 is not between 1 and 16",
            "jobs/users.toml:4: `retries`: is a string, not an integer",
            "jobs/users.toml:5: `columns`: holds an integer, not a string",
        ]
    );
    assert_eq!(
        read_with("", "x = 1").unwrap_err()[0],
        "jobs/users.toml: `table`: is missing: give `table`, `query` or `query_file`"
    );
}

#[test]
fn every_value_has_its_own_check() {
    for (own, expected) in [
        ("table = \"a.b.c\"", "has more than two parts"),
        ("table = \"\"", "`table`: is empty"),
        ("table = \"t\"\nquery = \"q\"\nmode = \"append\"", "`query`: `table` is given too"),
        ("query = \"select 1\"\nmode = \"append\"", "`into`: is missing"),
        ("query_file = \"nowhere.sql\"\nmode = \"append\"\ninto = \"t\"", "`query_file`: cannot be read"),
        ("source = \"postgres://u:canary@h/d\"", "`source`: is not a connection's name"),
        ("batch_rows = 0", "0 is not between 1 and 1_000_000_000"),
        ("batch_rows = 1_000_000_000_000", "is not between"),
        ("batch_bytes = \"1KiB2\"", "`batch_bytes`: is not a size"),
        ("batch_bytes = 10", "is not between 1024 and"),
        ("writers = 17", "between 1 and 16"),
        ("min_delay = \"soon\"", "is not a duration"),
        ("min_delay = -1", "`min_delay`: is an integer, not a duration"),
        ("retry_delay = \"10m\"\nmax_retry_delay = \"5m\"", "is shorter than retry_delay"),
        ("execution_timeout = \"0s\"", "leaves no time"),
        ("start_date = \"2024-02-30\"", "is not a date of the calendar"),
        ("start_date = 2024-01-01T00:00:00", "not a date such as"),
        ("start_date = 2024-01-02\nend_date = 2024-01-01", "2024-01-01 is before start_date"),
        ("schedule = \"daily\"", "five fields"),
        ("catchup = \"al\"", "did you mean `all`?"),
        ("lookback = -1", "is not a count"),
        ("lookback = [0]", "is not a count"),
        ("max_shrink = 1.5", "is not a part"),
        ("max_shrink = \"x%\"", "is not a part"),
        ("refresh = \"dependent\"", "did you mean `dependents`?"),
        ("refresh = [\"a b\"]", "is not a table name"),
        ("create = \"yes\"", "is a string, not true or false"),
        ("cast = { a = 1 }", "`cast.a`: is not a SQL expression"),
        ("cast = \"x\"", "is not a table such as"),
        ("columns = []", "`columns`: is empty"),
        ("columns = [\"a\", \"a\"]", "names `a` twice"),
        ("params = 1", "`params`: is not a table"),
        ("was = \"a/b\"", "`was`: a job's name has only"),
        ("was = \"users\"", "is the job's name now"),
        ("pool_slots = 0", "between 1 and 1_000"),
        ("pre_sql = [\"\"]", "holds an empty string"),
    ] {
        refused(own, expected);
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let daily = |more: &str| format!("{DAILY}{more}");
    for (own, expected) in [
        ("mode = \"merge\"".to_owned(), "`key`: is missing: mode merge needs"),
        ("key = [\"id\"]".to_owned(), "`key`: is for mode merge, not replace"),
        ("resume_key = \"id\"".to_owned(), "`resume_key`: is for mode append, not replace"),
        ("mode = \"delete-insert\"".to_owned(), "`time_column`: is missing: mode delete-insert needs"),
        ("interval = \"6h\"".to_owned(), "`time_column`: is missing: with an interval"),
        (daily("mode = \"replace\""), "`mode`: replace loads the whole table"),
        (daily("mode = \"append\"\ncommit = \"batch\""), "`commit`: append commits by interval or staged"),
        (
            daily("mode = \"append\"\nresume_key = \"id\"\ncommit = \"staged\""),
            "append with resume_key commits by batch",
        ),
        (
            daily("mode = \"append\"\nresume_key = \"id\"\nwriters = 2"),
            "`writers`: resume_key needs the rows in order",
        ),
        (daily("mode = \"append\"\nwriters = 2"), "add commit = \"staged\""),
        (daily("commit = \"interval\"\nwriters = 2"), "one transaction has one writer"),
        (
            "mode = \"merge\"\nkey = \"id\"\ncommit = \"staged\"".to_owned(),
            "merge commits by batch or by interval",
        ),
        (daily("empty_with = \"delete\""), "`empty_with`: is for mode replace"),
        ("scope = \"a = 1\"\nempty_with = \"truncate\"".to_owned(), "outside `scope`"),
        ("mode = \"append\"\nmax_shrink = 0.5".to_owned(), "`max_shrink`: is for modes that replace rows"),
        ("lookback = 1".to_owned(), "`lookback`: needs an `interval`"),
        (daily("create_partitions = true"), "`create_partitions`: is not built in this release"),
        (daily("columns = [\"a\"]"), "`time_column`: `at` is not among `columns`"),
        ("columns = [\"a\"]\ncast = { b = \"1\" }".to_owned(), "`cast`: `b` is not among `columns`"),
        ("source = \"x\"\ndestination = \"x\"".to_owned(), "is the source, and the table is the same"),
        (
            "query = \"select '{{ ds }}'\"\ninto = \"t\"\nmode = \"append\"".to_owned(),
            "`ds` is undefined: the job has no interval",
        ),
    ] {
        refused(&own, expected);
    }
}

#[test]
fn one_mistake_makes_one_finding() {
    for own in [
        "table = \"t\"\nmode = \"merg\"\nkey = \"id\"",
        "table = \"t\"\ntime_column = \"at\"\ninterval = \"dya\"\ntimezone = \"UTC\"",
        "table = \"t\"\ntime_column = \"at\"\ninterval = \"day\"\ntimezone = \"UCT/x\"",
        "table = \"t\"\nmode = \"merge\"\nkey = [1]",
        "table = \"a b\"",
        "table = \"t\"\ninto = \"a b\"",
        "query = \"\"\nmode = \"append\"\ninto = \"t\"",
        "tabel = \"users\"\nquery = \"select 1\"\nmode = \"append\"\ninto = \"t\"",
    ] {
        assert_eq!(findings(own).len(), 1, "{own}\n{:#?}", findings(own));
    }
}

#[test]
fn a_scope_makes_replace_delete() {
    assert_eq!(job("table = \"t\"\nscope = \"a = 1\"").empty_with, EmptyWith::Delete);
    assert_eq!(job("table = \"t\"").empty_with, EmptyWith::Truncate);
}

#[test]
fn defaults_lie_below_a_job() {
    let defaults = "writers = 4\nretries = 1\ntimezone = \"Europe/Berlin\"\nparams = { a = 1, b = 2 }\nretry_delay = \"10m\"";
    let job = read_with(defaults, "table = \"t\"\nretries = 2\nparams = { b = 3 }").unwrap();
    assert_eq!((job.writers, job.retries, job.timezone), (4, 2, Tz::Europe__Berlin));
    assert_eq!(job.max_retry_delay, secs(600), "a longer delay lifts the default cap");
    assert_eq!(job.params["a"].as_integer().zip(job.params["b"].as_integer()), Some((1, 3)));
    let ordered = read_with(defaults, &format!("{DAILY}mode = \"append\"\nresume_key = \"id\"")).unwrap();
    assert_eq!(ordered.writers, 1, "a default for all jobs does not break one that needs order");
    let whole =
        read_with("interval = \"day\"\ntimezone = \"UTC\"", "table = \"t\"\ninterval = \"none\"").unwrap();
    assert_eq!((whole.calendar, whole.mode), (None, LoadMode::Replace));
    assert_eq!(
        read_with("writers = 99", "table = \"t\"").unwrap_err(),
        ["pgtide.toml:1: `writers`: 99 is not between 1 and 16"]
    );
}

#[test]
fn a_query_is_checked_as_a_template() {
    let query = "query = '''\nselect *\nfrom t where d = '{{ dss }}'\n'''\ninto = \"t\"\nmode = \"append\"\ninterval = \"6h\"";
    assert_eq!(
        findings(query),
        ["jobs/users.toml:1: `query`: line 2 of the query: `dss` is undefined, did you mean `ds`?"]
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("q.sql");
    std::fs::write(&file, "select 1\n{{ oops").unwrap();
    let found = findings(&format!("query_file = {file:?}\ninto = \"t\"\nmode = \"append\""));
    assert!(found[0].contains("q.sql:2: "), "{found:?}");
    std::fs::write(&file, "select 1").unwrap();
    let job = job(&format!("query_file = {file:?}\ninto = \"t\"\nmode = \"append\""));
    assert_eq!((job.origin, job.query_file), (Origin::Query("select 1".to_owned()), Some(file)));
}

#[test]
fn a_query_is_rendered_for_an_interval() {
    use crate::interval::DataInterval;
    use chrono::{TimeZone, Utc};
    let own = "query = \"select {{ params.n }} where d = '{{ ds }}'\"\ninto = \"t\"\nmode = \"append\"\n\
               interval = \"day\"\ntimezone = \"America/New_York\"\nparams = { n = 7 }";
    let at = |day| Utc.with_ymd_and_hms(2026, 1, day, 5, 0, 0).unwrap();
    let interval = DataInterval { start: at(5), end: at(6) };
    let rendered = job(own).render_query(&interval, "r").unwrap();
    assert_eq!(rendered.as_deref(), Some("select 7 where d = '2026-01-05'"));
    assert_eq!(job(DAILY).render_query(&interval, "r").unwrap(), None);
}

#[test]
fn only_what_decides_the_rows_changes_the_hash() {
    let hash = |more: &str| job(&format!("{DAILY}{more}")).definition_hash();
    let plain = hash("");
    assert_eq!(plain.len(), 32);
    for same in ["retries = 9", "batch_rows = 7", "writers = 2", "refresh = \"dependents\"", "create = true"]
    {
        assert_eq!(hash(same), plain, "{same}");
    }
    let others = [
        "source = \"x\"",
        "into = \"u\"",
        "columns = [\"at\"]",
        "cast = { at = \"x\" }",
        "where = \"x\"",
        "mode = \"append\"",
        "mode = \"merge\"\nkey = \"id\"",
        "scope = \"x\"",
    ];
    let hashes: BTreeSet<String> = others.iter().map(|more| hash(more)).chain([plain]).collect();
    assert_eq!(hashes.len(), others.len() + 1, "each changes the hash, and in its own way");
}

#[test]
fn the_hash_of_a_definition_never_changes_by_itself() {
    let definition = job(&format!("{DAILY}where = \"a = 'é'\"")).definition_hash();
    insta::assert_snapshot!(definition, @"b0200964fced5399f995ba0f96136e4f");
}

#[test]
fn the_params_that_a_query_uses_are_part_of_its_definition() {
    let own = |query: &str, params: &str| {
        job(&format!("query = \"{query}\"\ninto = \"t\"\nmode = \"append\"\nparams = {params}"))
            .definition_hash()
    };
    for query in
        ["select {{ params['r'].x }}", "{% set p = params %}select {{ p.r.x }}", "select {{ params.r.x }}"]
    {
        let eu = own(query, "{ r = { x = 'eu' } }");
        assert_ne!(eu, own(query, "{ r = { x = 'us' } }"), "{query}");
        assert_eq!(eu, own(query, "{ r = { x = 'eu' } }"), "{query}");
    }
    let two = |params| own("select {{ params.r }}, {{ params.s }}", params);
    assert_ne!(two("{ r = 'a', s = 'b' }"), two("{ r = 'b', s = 'a' }"));
    assert_ne!(two("{ r = 1, s = 1 }"), two("{ r = 1, s = '1' }"), "a literal of another type");
    let plain = own("select 1 as params", "{}");
    assert_eq!(plain, own("select 1 as params", "{ unused = 7 }"), "of [defaults], for another job");
    insta::assert_snapshot!(plain, @"4c942c78f00034a597df8263b3ff6ced");
}

#[test]
fn job_names_are_plain() {
    for good in ["users", "a.b-c_1", "_x", "2026"] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "a/b", "a b", "-a", ".a", "ü", "list", "cancel"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../../docs/jobs.md");
    for key in JOB_KEYS {
        assert!(page.contains(&format!("`{key}`")), "docs/jobs.md lacks {key}");
    }
    let own = page.lines().find(|line| line.starts_with("| `[defaults]`")).unwrap();
    for key in JOB_KEYS {
        assert_eq!(own.contains(&format!("`{key}`")), OWN_KEYS.contains(&key), "{key} and [defaults]");
    }
}
