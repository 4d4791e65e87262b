//! Whole projects in throw-away folders.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::job::{LoadMode, OneOff, Origin};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn env(&self) -> Environment {
        Environment::empty(self.path()).with_user("me")
    }

    fn load(&self) -> Result<Project> {
        Project::load(&Overrides::default(), &self.env())
    }
}

fn lines(error: &Error) -> Vec<String> {
    std::iter::once(error.to_string())
        .chain(error.details().to_vec())
        .chain(error.hint().map(str::to_owned))
        .collect()
}

#[test]
fn the_project_is_found_upward_and_paths_start_there() {
    let folder = Folder::new(&[
        ("pgtide.toml", "jobs = \"work\"\n[ledger]\nschema = \"tide\"\n[views]\nfiles = \"sql/\"\n"),
        ("work/users.toml", "table = \"users\"\n"),
        ("deep/er/x", ""),
    ]);
    let env = Environment::empty(folder.path().join("deep/er"));
    let project = Project::load(&Overrides::default(), &env).unwrap();
    assert_eq!(project.root(), folder.path());
    assert_eq!(project.job_names(), ["users"]);
    assert_eq!(project.ledger_schema(), "tide");
    assert_eq!(project.views_dir(), folder.path().join("sql/"));
    let overrides = Overrides { config: Some(folder.path().join("pgtide.toml")), ..Overrides::default() };
    assert_eq!(Project::load(&overrides, &Environment::empty("/")).unwrap().job_names(), ["users"]);
}

#[test]
fn no_project_file_is_a_project_without_jobs() {
    let folder = Folder::new(&[]);
    let overrides = Overrides {
        source: Some("postgres://a@h1/d".to_owned()),
        destination: Some("host=h2 user=b".to_owned()),
        ..Overrides::default()
    };
    let project = Project::load(&overrides, &folder.env()).unwrap();
    assert_eq!((project.file(), project.ledger_schema(), project.job_names().len()), (None, "pgtide", 0));
    assert_eq!(project.connection("source").unwrap().to_string(), "a@h1:5432/d");
    assert_eq!(project.connection("destination").unwrap().to_string(), "b@h2:5432/b");
    let error = project.job("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.hint().unwrap().contains("no pgtide.toml was found"));
    let lost = Overrides { config: Some("lost.toml".into()), ..Overrides::default() };
    assert_eq!(Project::load(&lost, &folder.env()).unwrap_err().to_string(), "there is no file lost.toml");
}

#[test]
fn every_finding_of_the_project_file_is_told() {
    let folder = Folder::new(&[(
        "pgtide.toml",
        "tabel = 1\nwriters = 2\nviews = 3\n[conections.a]\nurl = \"x\"\n[defaults]\ntable = \"t\"\n\
         retrys = 1\nparams = { a = \"${LOST}\" }\n[ledger]\nschema = \"pg_x\"\nname = \"y\"\n",
    )]);
    let error = folder.load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.details(),
        [
            "pgtide.toml:1: unknown key `tabel`",
            "pgtide.toml:2: `writers`: belongs under [defaults]",
            "pgtide.toml:3: `views`: is an integer, not a table: write [views]",
            "pgtide.toml:4: unknown key `conections`, did you mean `connections`?",
            "pgtide.toml:7: `table`: belongs to one job and cannot be in [defaults]",
            "pgtide.toml:8: unknown key `retrys`, did you mean `retries`?",
            "pgtide.toml:9: `defaults.params.a`: the environment variable LOST is not set",
            "pgtide.toml:11: `schema`: is a schema of Postgres itself",
            "pgtide.toml:12: unknown key `name`",
        ]
    );
}

#[test]
fn strange_files_are_refused_clearly() {
    for (name, text, expected) in [
        ("pgtide.toml", "a = = 1", "pgtide.toml:1: "),
        ("pgtide.toml/x", "", "pgtide.toml is a directory, not a file"),
        ("jobs/users.toml", "", "jobs/users.toml: is empty: a job needs at least `table`"),
        ("jobs/users.toml", "\u{feff}", "jobs/users.toml: is empty"),
        ("jobs/users.toml/x", "", "jobs/users.toml is a directory, not a file"),
    ] {
        let folder = Folder::new(&[(name, text)]);
        let error = folder.load().and_then(|project| project.job("users")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let found = lines(&error);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{found:?}");
    }
    let folder = Folder::new(&[("pgtide.toml", ""), ("jobs/users.toml", "\u{feff}table = \"t\"\r\n")]);
    assert_eq!(folder.load().unwrap().job("users").unwrap().name, "users");
}

#[test]
fn a_job_is_asked_for_by_its_name() {
    let folder = Folder::new(&[
        ("pgtide.toml", ""),
        ("jobs/users.toml", "table = \"users\""),
        ("jobs/orders.toml", "table = \"orders\""),
        ("jobs/notes.md", ""),
        ("jobs/.hidden.toml", ""),
    ]);
    let project = folder.load().unwrap();
    assert_eq!(project.job_names(), ["orders", "users"]);
    assert_eq!(project.job("users").unwrap().file, Some(folder.path().join("jobs/users.toml")));
    assert_eq!(
        lines(&project.job("usres").unwrap_err()),
        ["there is no job `usres`, did you mean `users`?", "jobs: orders, users"]
    );
    let error = project.job("jobs/users.toml").unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Usage, Some("the job's name is `users`")));
    assert_eq!(project.job("../x").unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn the_findings_of_all_jobs_are_told_at_once() {
    let folder = Folder::new(&[
        ("pgtide.toml", "[connections.source]\nurl = \"postgres://h\"\n"),
        ("jobs/a.toml", "tabel = \"x\""),
        ("jobs/b.toml", "table = \"t\"\nwriters = 99"),
        ("jobs/list.toml", "table = \"t\""),
        ("jobs/c.toml", "table = \"t\"\ndestination = \"sourec\""),
        ("jobs/d.toml", "table = \"t\"\ndestination = \"sourec\""),
    ]);
    let project = folder.load().unwrap();
    assert_eq!(project.jobs().unwrap_err().details().len(), 4);
    let found: Vec<String> = project.findings().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "jobs `c`, `d` all load t: give each a `scope`",
            "there is no connection `sourec`, did you mean `source`?",
            "jobs/a.toml: `table`: is missing: give `table`, `query` or `query_file`",
            "jobs/a.toml:1: unknown key `tabel`, did you mean `table`?",
            "jobs/b.toml:2: `writers`: 99 is not between 1 and 16",
            "jobs/list.toml: a job cannot be named `list`, which is a word of `pgtide backfill`",
        ]
    );
}

#[test]
fn connections_come_from_the_strongest_place() {
    let folder = Folder::new(&[(
        "pgtide.toml",
        "[connections.my-dw]\nurl = \"postgres://file\"\nmax_connections = 40\n[connections.source]\nhost = \"file\"\n",
    )]);
    let env = folder
        .env()
        .with_var("AIRFLOW_CONN_MY_DW", "postgres://airflow")
        .with_var("AIRFLOW_CONN_LAKE", "postgresql://lake");
    let host = |env: &Environment, overrides: &Overrides, name: &str| {
        let spec = Project::load(overrides, env).unwrap().connection(name).unwrap();
        (spec.hosts[0].to_string(), spec.max_connections)
    };
    let none = Overrides::default();
    assert_eq!(host(&env, &none, "my-dw"), ("file:5432".to_owned(), Some(40)));
    assert_eq!(host(&env, &none, "lake"), ("lake:5432".to_owned(), None));
    let env = env.with_var("PGTIDE_CONN_MY_DW", "host=variable");
    assert_eq!(host(&env, &none, "my-dw"), ("variable:5432".to_owned(), Some(40)));
    let typed = Overrides { source: Some("postgres://typed".to_owned()), ..Overrides::default() };
    assert_eq!(host(&env, &typed, "source"), ("typed:5432".to_owned(), None));
    assert_eq!(host(&env, &none, "source"), ("file:5432".to_owned(), None));
    let project = Project::load(&none, &env).unwrap();
    assert_eq!(project.connection_names(), ["lake", "my-dw", "source"]);
    assert_eq!(
        lines(&project.connection("my-wd").unwrap_err()),
        [
            "there is no connection `my-wd`, did you mean `my-dw`?",
            "known connections: lake, my-dw, source",
            "give PGTIDE_CONN_MY_WD, or [connections.my-wd] in pgtide.toml",
        ]
    );
}

#[test]
fn a_section_has_a_url_or_words_with_variables() {
    let folder = Folder::new(&[(
        "pgtide.toml",
        r#"
        [connections.a]
        url = "${URL}"
        password_command = ["pass", "${WHAT}"]
        [connections.b]
        host = "db"
        port = 5433
        user = "etl"
        password = "${PW}"
        sslrootcert = "certs/ca.pem"
        keepalives = false
        "#,
    )]);
    let env = folder.env().with_var("URL", "postgres://u@a/d").with_var("WHAT", "dw").with_var("PW", "p@$${");
    let project = Project::load(&Overrides::default(), &env).unwrap();
    let a = project.connection("a").unwrap();
    assert_eq!(a.to_string(), "u@a:5432/d");
    assert_eq!(a.password_command, Some(vec!["pass".to_owned(), "dw".to_owned()]));
    let b = project.connection("b").unwrap();
    assert_eq!((b.to_string().as_str(), b.keepalives), ("etl@db:5433/etl", false));
    assert_eq!(b.password.unwrap().reveal(), "p@$${");
    let root = folder.path().join("certs/ca.pem");
    assert_eq!(b.sslrootcert, crate::config::connection::RootCert::File(root));
}

#[test]
fn every_finding_of_a_section_is_told_and_others_still_work() {
    let folder = Folder::new(&[(
        "pgtide.toml",
        "[connections.bad]\nurl = \"postgres://u@h/d\"\nuser = \"v\"\nprot = 1\nport = \"${LOST}\"\n\
         password_command = \"pass\"\nmax_connections = 0\ngssencmode = \"require\"\n\
         [connections.good]\nhost = \"h\"\n",
    )]);
    let project = folder.load().unwrap();
    assert_eq!(project.connection("good").unwrap().to_string(), "me@h:5432/me");
    let error = project.connection("bad").unwrap_err();
    assert_eq!(
        error.details(),
        [
            "pgtide.toml:3: `connections.bad.user`: is in the url too; one of the two is enough",
            "pgtide.toml:4: unknown key `prot`, did you mean `port`?",
            "pgtide.toml:5: `connections.bad.port`: the environment variable LOST is not set",
            "pgtide.toml:6: `password_command`: is not an array such as [\"pass\", \"show\", \"dw\"]",
            "pgtide.toml:7: `max_connections`: 0 is not between 2 and 10_000",
            "pgtide.toml:8: `connections.bad.gssencmode`: gssencmode can only be disable or prefer: \
             pgtide has no GSSAPI; use TLS with sslmode",
        ]
    );
}

#[test]
fn the_command_line_is_stronger_than_jobs() {
    let folder = Folder::new(&[
        ("pgtide.toml", "[defaults]\nbatch_rows = 7\nwriters = 3\n"),
        ("jobs/a.toml", "table = \"t\"\nwriters = 2\nsource = \"x\""),
        ("jobs/b.toml", "table = \"t\"\nmode = \"append\""),
        ("jobs/c.toml", "table = \"t\"\ninto = \"u\"\ndestination = \"source\""),
    ]);
    let overrides = Overrides {
        source: Some("postgres://h".to_owned()),
        destination: Some("dw".to_owned()),
        writers: Some(8),
        batch_bytes: Some(4_096),
        retries: Some(0),
        parallel: Some(2),
        ..Overrides::default()
    };
    let project = Project::load(&overrides, &folder.env()).unwrap();
    let a = project.job("a").unwrap();
    assert_eq!((a.source.as_str(), a.destination.as_str()), ("source", "dw"));
    assert_eq!((a.writers, a.limits.rows, a.limits.bytes, a.retries, a.parallel), (8, 7, 4_096, 0, Some(2)));
    assert_eq!(project.job("b").unwrap().writers, 1);
    let table: crate::name::TableName = "t".parse().unwrap();
    let ask = OneOff {
        origin: Origin::Table(table.clone()),
        into: table,
        filter: None,
        mode: None,
        key: vec![],
        create: true,
    };
    let copy = project.one_off(ask).unwrap();
    assert_eq!((copy.mode, copy.writers, copy.limits.rows), (LoadMode::Replace, 8, 7));
    assert_eq!((copy.source.as_str(), copy.destination.as_str()), ("source", "dw"));

    let typed = Overrides { source: Some("postgres://h".to_owned()), ..Overrides::default() };
    let error = Project::load(&typed, &folder.env()).unwrap().job("c").unwrap_err();
    assert!(error.to_string().contains("job `c` uses that name for its other end"), "{error}");
}

#[test]
fn options_out_of_range_are_told_at_once() {
    let overrides = Overrides {
        writers: Some(0),
        batch_rows: Some(10_u64.pow(12)),
        batch_bytes: Some(0),
        retries: Some(101),
        parallel: Some(10_000),
        ..Overrides::default()
    };
    let error = Project::load(&overrides, &Environment::empty("/")).unwrap_err();
    assert_eq!((error.kind(), error.details().len()), (ErrorKind::Usage, 5));
    assert_eq!(error.details()[0], "--writers 0 is not between 1 and 16");
}

#[test]
fn warnings_are_gathered_once_each() {
    let folder = Folder::new(&[(
        "pgtide.toml",
        "[connections.a]\nurl = \"postgres://u:canary@localhost/d\"\n[connections.b]\nhost = \"far\"\npassword = \"${PW}\"\n",
    )]);
    let file = folder.path().join("pgtide.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let env =
        folder.env().with_var("PW", "canary").with_var("AIRFLOW_CONN_AIR", "postgres://localhost?zzz=1");
    let overrides =
        Overrides { source: Some("postgres://u:canary@localhost".to_owned()), ..Overrides::default() };
    let project = Project::load(&overrides, &env).unwrap();
    assert_eq!(project.warnings(), Vec::<String>::new());
    for name in ["a", "b", "source", "air", "a"] {
        project.connection(name).unwrap();
    }
    let warnings = project.warnings();
    let starts = [
        "connection `a`: pgtide.toml holds its password and can be read by others",
        "connection `air`: extra `zzz` is not a word of libpq",
        "connection `b`: sslmode=prefer goes on without TLS",
        "connection `source`: the password in --source is visible to other users",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let project = Project::load(&Overrides::default(), &env).unwrap();
    project.connection("a").unwrap();
    assert_eq!(project.warnings(), Vec::<String>::new());
}

#[test]
fn a_secret_is_in_no_output_of_a_project() {
    let folder = Folder::new(&[
        (
            "pgtide.toml",
            "[connections.a]\nurl = \"postgres://u:canary@h:x/d\"\n[connections.b]\nhost = \"h\"\npassword = \"canary\"\n\
             port = \"canary\"\n[connections.c]\nurl = \"canary\"\n[connections.d]\nurl = \"${URL}\"\n\
             [connections.e]\nhost = \"h\"\npassword_command = [\"echo\", \"canary\"]\n[connections.f]\npassword = [\"canary\"]\n",
        ),
        ("jobs/j.toml", "table = \"t\"\nsource = \"postgres://u:canary@h/d\"\ndestination = \"e\""),
    ]);
    let env = folder
        .env()
        .with_var("URL", "postgres://u:can/ary@canary@h/d")
        .with_var("AIRFLOW_CONN_AIR", "{\"password\": \"canary\"")
        .with_var("PGTIDE_CONN_V", "password=canary canary");
    let place = "postgres://u:canary@h:x/d";
    let overrides = Overrides {
        source: Some(place.to_owned()),
        destination: Some("password='canary".to_owned()),
        ..Overrides::default()
    };
    let project = Project::load(&overrides, &env).unwrap();
    let mut shown = format!("{project:?} {overrides:?} {env:?} {:?}", project.findings());
    for name in ["a", "b", "c", "d", "e", "f", "air", "v", "source", "destination", place, "nothing"] {
        match project.connection(name) {
            Ok(spec) => shown.push_str(&format!("{spec:?} {spec}")),
            Err(error) => shown.push_str(&format!("{error:?} {} {}", error.chain(), lines(&error).join(" "))),
        }
    }
    shown.push_str(&format!("{:?} {:?}", project.job("j").map_err(|e| lines(&e)), project.warnings()));
    assert!(shown.contains("connection `v`"), "{shown}");
    assert!(!shown.contains("canary") && !shown.contains("ary@"), "{shown}");
}
