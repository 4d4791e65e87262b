//! Whole connections: places, variables and files together.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::ErrorKind;

fn env() -> Environment {
    Environment::empty("/work").with_user("me")
}

fn spec(place: &str) -> ConnectionSpec {
    ConnectionSpec::parse("c", place, &env()).unwrap().0
}

fn problems(place: &str) -> Vec<String> {
    let error = ConnectionSpec::parse("c", place, &env()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    if error.details().is_empty() { vec![error.to_string()] } else { error.details().to_vec() }
}

fn tcp(name: &str, port: u16) -> Host {
    Host::Tcp { name: name.to_owned(), addr: None, port }
}

#[test]
fn defaults_are_pgtides_own() {
    let spec = spec("postgres://h");
    assert_eq!(spec.hosts, [tcp("h", 5432)]);
    assert_eq!((spec.user.as_str(), spec.database.as_str()), ("me", "me"));
    assert_eq!(spec.sslmode, SslMode::Prefer);
    assert_eq!(spec.connect_timeout, Duration::from_secs(10));
    assert!(spec.keepalives);
    assert_eq!(spec.keepalives_idle, Duration::from_secs(30));
    assert_eq!(spec.keepalives_interval, Duration::from_secs(10));
    assert_eq!(spec.keepalives_count, 3);
    assert_eq!(spec.tcp_user_timeout, Some(Duration::from_secs(60)));
}

#[test]
fn words_have_libpqs_units() {
    let spec = spec(
        "host=h user=u connect_timeout=0 keepalives=0 keepalives_idle=7 keepalives_interval=8 \
         keepalives_count=9 tcp_user_timeout=30000 sslmode=verify-ca channel_binding=require \
         target_session_attrs=prefer-standby application_name=etl options='-c x=y'",
    );
    assert_eq!(spec.connect_timeout, Duration::from_secs(10));
    assert!(!spec.keepalives);
    assert_eq!(spec.keepalives_idle, Duration::from_secs(7));
    assert_eq!(spec.keepalives_interval, Duration::from_secs(8));
    assert_eq!(spec.keepalives_count, 9);
    assert_eq!(spec.tcp_user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(spec.sslmode, SslMode::VerifyCa);
    assert_eq!(spec.channel_binding, ChannelBinding::Require);
    assert_eq!(spec.target_session_attrs, TargetSessionAttrs::PreferStandby);
    assert_eq!(spec.application_name.as_deref(), Some("etl"));
    assert_eq!(spec.options.as_deref(), Some("-c x=y"));
    assert_eq!(
        super::super::ConnectionSpec::from_url("c", "postgres://u@h?tcp_user_timeout=0")
            .unwrap()
            .tcp_user_timeout,
        None
    );
}

#[test]
fn every_sslmode_is_known() {
    for (word, mode) in SSL_MODES {
        assert_eq!(spec(&format!("postgres://h?sslmode={word}")).sslmode, mode);
    }
    assert_eq!(
        problems("postgres://h?sslmode=canary"),
        ["connection `c`: sslmode is not disable, allow, prefer, require, verify-ca or verify-full"]
    );
}

#[test]
fn several_hosts_pair_with_their_ports() {
    assert_eq!(spec("postgres://a:1,b,[::1]:3/d").hosts, [tcp("a", 1), tcp("b", 5432), tcp("::1", 3)]);
    assert_eq!(spec("host=a,b port=7").hosts, [tcp("a", 7), tcp("b", 7)]);
    assert_eq!(spec("host=/tmp port=7").hosts, [Host::Unix { dir: "/tmp".into(), port: 7 }]);
    let addr = Some("10.0.0.1".parse().unwrap());
    assert_eq!(
        spec("host=db hostaddr=10.0.0.1").hosts,
        [Host::Tcp { name: "db".to_owned(), addr, port: 5432 }]
    );
    assert_eq!(
        spec("hostaddr=10.0.0.1").hosts,
        [Host::Tcp { name: "10.0.0.1".to_owned(), addr, port: 5432 }]
    );
}

#[test]
fn no_host_means_the_local_socket_or_localhost() {
    let dir = tempfile::tempdir().unwrap();
    let env = env().with_socket_dir("/nowhere").with_socket_dir(dir.path());
    let hosts = |place: &str| ConnectionSpec::parse("c", place, &env).unwrap().0.hosts;
    assert_eq!(hosts("postgres:///d"), [tcp("localhost", 5432)]);
    std::fs::write(dir.path().join(".s.PGSQL.5432"), "").unwrap();
    assert_eq!(hosts("postgres:///d"), [Host::Unix { dir: dir.path().into(), port: 5432 }]);
    assert_eq!(hosts("postgres://:5433/d"), [tcp("localhost", 5433)]);
}

#[test]
fn every_problem_is_told_at_once() {
    let found = problems("host=h port=99999 sslmode=x connect_timeout=soon channel_binding=y sslcert=a");
    assert_eq!(found.len(), 5, "{found:?}");
    for place in [
        "host=a,b port=1,2,3",
        "host=a,b hostaddr=10.0.0.1",
        "hostaddr=db",
        "host=@abstract",
        "host=h port=0",
        "host=h port=-1",
        "host=h sslrootcert=system sslmode=require",
    ] {
        assert_eq!(problems(place).len(), 1, "{place}");
    }
    let nobody = ConnectionSpec::from_url("c", "postgres://h").unwrap_err();
    assert_eq!(nobody.to_string(), "connection `c`: no user is given");
}

#[test]
fn variables_fill_what_is_missing() {
    let env = env()
        .with_var("PGHOST", "pghost")
        .with_var("PGHOSTADDR", "10.0.0.9")
        .with_var("PGPORT", "6000")
        .with_var("PGUSER", "pguser")
        .with_var("PGDATABASE", "pgdb")
        .with_var("PGPASSWORD", "pgpass")
        .with_var("PGSSLMODE", "require")
        .with_var("PGCONNECT_TIMEOUT", "3")
        .with_var("PGAPPNAME", "");
    let (spec, _) = ConnectionSpec::parse("c", "postgres://", &env).unwrap();
    assert_eq!(spec.hosts[0].to_string(), "pghost:6000");
    assert_eq!((spec.user.as_str(), spec.database.as_str()), ("pguser", "pgdb"));
    assert_eq!(spec.password, Some(Secret::new("pgpass")));
    assert_eq!(spec.sslmode, SslMode::Require);
    assert_eq!(spec.connect_timeout, Duration::from_secs(3));
    assert_eq!(spec.application_name, None);
    let (spec, _) = ConnectionSpec::parse("c", "postgres://u:p@h:1/d?sslmode=disable", &env).unwrap();
    assert_eq!(spec.hosts, [tcp("h", 1)], "PGHOSTADDR must not redirect a host that was given");
    assert_eq!(spec.password, Some(Secret::new("p")));
    assert_eq!(spec.sslmode, SslMode::Disable);
}

#[test]
fn a_variable_that_asks_for_the_impossible_is_refused_by_name() {
    let env = env().with_var("PGREQUIREPEER", "postgres").with_var("PGGSSENCMODE", "require");
    let error = ConnectionSpec::parse("c", "postgres://h", &env).unwrap_err();
    assert_eq!(error.details().len(), 2);
    assert!(
        error.details()[0]
            .starts_with("connection `c`: the environment variable PGGSSENCMODE: gssencmode can only be")
    );
}

#[test]
fn the_password_file_is_asked_for_each_host() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pass");
    std::fs::write(&file, "b:5432:d:u:canary\nlocalhost:5432:d:u:local\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = Environment::empty(dir.path()).with_var("PGPASSFILE", "pass").with_socket_dir("/sockets");
    let password = |place: &str| ConnectionSpec::parse("c", place, &env).unwrap().0.password;
    assert_eq!(password("postgres://u@a,b/d"), Some(Secret::new("canary")));
    assert_eq!(password("postgres://u@a/d"), None);
    assert_eq!(password("host=/sockets user=u dbname=d"), Some(Secret::new("local")));
    assert_eq!(password("host=/other user=u dbname=d"), None);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (spec, warnings) = ConnectionSpec::parse("c", "postgres://u@b/d?sslmode=require", &env).unwrap();
    assert_eq!(spec.password, None);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("can be read by others and is not used"));
}

#[test]
fn the_home_folder_holds_libpqs_default_files() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(".postgresql");
    std::fs::create_dir(&own).unwrap();
    let env = env().with_home(dir.path());
    let spec = |place: &str| ConnectionSpec::parse("c", place, &env).unwrap().0;
    assert_eq!(spec("host=h").sslrootcert, RootCert::Default);
    for file in ["root.crt", "postgresql.crt", "postgresql.key"] {
        std::fs::write(own.join(file), "").unwrap();
    }
    assert_eq!(spec("host=h").sslrootcert, RootCert::File(own.join("root.crt")));
    assert_eq!(spec("host=h").sslcert, Some(own.join("postgresql.crt")));
    assert_eq!(spec("host=h sslrootcert=~/ca.pem").sslrootcert, RootCert::File(dir.path().join("ca.pem")));
    let system = spec("host=h sslrootcert=system");
    assert_eq!((system.sslrootcert, system.sslmode), (RootCert::System, SslMode::VerifyFull));
}

#[test]
fn only_a_far_server_without_sure_tls_is_warned_of() {
    let warnings = |place: &str| ConnectionSpec::parse("c", place, &env()).unwrap().1.len();
    for local in ["host=localhost", "host=127.0.0.9", "host=::1", "host=/tmp", "host=db hostaddr=127.0.0.1"] {
        assert_eq!(warnings(local), 0, "{local}");
    }
    assert_eq!(warnings("host=db"), 1);
    assert_eq!(warnings("host=localhost,db"), 1);
    assert_eq!(warnings("host=db sslmode=require"), 0);
    assert_eq!(warnings("host=db sslmode=disable"), 0);
}

#[test]
fn a_secret_is_in_no_output() {
    let env = env().with_var("PGPASSWORD", "canary");
    let mut shown = format!("{env:?}");
    for place in ["postgres://u:canary@h/d", "host=h password=canary", "host=h"] {
        let (spec, warnings) = ConnectionSpec::parse("c", place, &env).unwrap();
        assert_eq!(spec.password.as_ref().unwrap().reveal(), "canary");
        shown.push_str(&format!("{spec:?} {spec} {:?} {warnings:?}", spec.password));
    }
    for place in [
        "postgres://u:canary@h:x/d",
        "postgres://u:1234/canary@h/d",
        "postgres://u:canary@h/d?sslmode=canary&port=canary&zzz=canary",
        "host=h password=canary canary",
        "host=h password=my canary=x",
        "host=h port=canary hostaddr=canary keepalives=canary target_session_attrs=canary",
        "postgres://u:canary@h/d?gssencmode=canary",
    ] {
        let error = ConnectionSpec::parse("c", place, &env).unwrap_err();
        shown.push_str(&format!(
            "{error:?} {error} {:?} {:?} {}",
            error.details(),
            error.hint(),
            error.chain()
        ));
    }
    assert!(!shown.contains("canary"), "{shown}");
}
