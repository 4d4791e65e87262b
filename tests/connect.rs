//! Sessions against real servers, and against listeners that only pretend to be one.

mod host;
mod password;
mod session;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use pgtide::config::connection::{
    ChannelBinding, ConnectionSpec, Host, RootCert, Secret, SslMode, TargetSessionAttrs,
};
use pgtide::error::Error;
use pgtide::postgres::connect::{Session, Side};
use pgtide::sandbox::{Options, Programs, Server, StopMode};
use tempfile::TempDir;

use super::support::CANARY;

/// Who may come in how; the superuser over the Unix socket always.
const PG_HBA: &str = "
local     all all              trust
hostssl   all tls_only    all  scram-sha-256
hostnossl all tls_only    all  reject
hostssl   all plain_only  all  reject
hostnossl all plain_only  all  trust
hostssl   all cert_only   all  cert
host      all all         all  scram-sha-256
";

/// A server with TLS, passwords and rules, shared by the tests of this module.
struct Guarded {
    server: Server,
    certificates: Certificates,
}

/// Files: a CA, another CA, a client's certificate and key, a server's.
struct Certificates {
    folder: TempDir,
    key: rcgen::KeyPair,
}

impl Certificates {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// All certificates have one key, which is quick to make and says nothing about who is trusted.
    fn new() -> Self {
        let this = Self { folder: TempDir::new().unwrap(), key: rcgen::KeyPair::generate().unwrap() };
        this.write("key", &this.key.serialize_pem());
        for name in ["ca", "other_ca"] {
            let mut params = named(name, &[]);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca =
                rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
            this.write(name, &ca.pem());
            if name == "ca" {
                this.sign("server", &named("a server", &["localhost", "127.0.0.1"]), &ca);
                this.sign("cert_only", &named("cert_only", &[]), &ca);
                let mut late = named("a late server", &["localhost"]);
                late.not_after = rcgen::date_time_ymd(2020, 1, 1);
                this.sign("late", &late, &ca);
            }
        }
        let mut own = named("its own root", &["localhost"]);
        own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        this.write("own", &own.self_signed(&this.key).unwrap().pem());
        this
    }

    fn sign(&self, name: &str, params: &rcgen::CertificateParams, ca: &rcgen::Issuer<'_, rcgen::KeyPair>) {
        self.write(name, &params.signed_by(&self.key, ca).unwrap().pem());
    }
}

fn named(name: &str, alternatives: &[&str]) -> rcgen::CertificateParams {
    let alternatives: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(alternatives).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

/// The shared server with TLS.
async fn guarded() -> &'static Guarded {
    static SHARED: OnceLock<Guarded> = OnceLock::new();
    tokio::task::spawn_blocking(|| {
        SHARED.get_or_init(|| {
            let certificates = Certificates::new();
            let server = server_with_tls(&certificates, "server");
            Guarded { server, certificates }
        })
    })
    .await
    .unwrap()
}

/// Starts a server that shows one of the certificates.
fn server_with_tls(certificates: &Certificates, name: &str) -> Server {
    let options = Options { password: Some(CANARY.to_owned()), ..Options::default() };
    let mut server = Server::start(&Programs::find().unwrap(), "tls", &options).unwrap();
    let data = server.data_dir();
    for (from, to) in [(name, "server.crt"), ("key", "server.key"), ("ca", "ca.crt")] {
        copy_to_server(&certificates.path(from), &data.join(to));
    }
    std::fs::write(data.join("pg_hba.conf"), PG_HBA).unwrap();
    std::fs::write(data.join("postgresql.auto.conf"), "ssl = on\nssl_ca_file = 'ca.crt'\n").unwrap();
    server.restart(StopMode::Fast).unwrap();
    server
}

/// Copies a file and gives it to the account that owns the folder.
fn copy_to_server(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::copy(from, to).unwrap();
    let owner = std::fs::metadata(to.parent().unwrap()).unwrap();
    std::os::unix::fs::chown(to, Some(owner.uid()), Some(owner.gid())).unwrap();
}

impl Guarded {
    /// A connection by TCP as the superuser, by the name in the certificate.
    fn spec(&self) -> ConnectionSpec {
        let spec = spec(vec![host("localhost", self.server.port())]);
        ConnectionSpec { password: Some(Secret::new(CANARY)), ..spec }
    }

    /// A connection that nothing can refuse.
    fn socket_spec(&self) -> ConnectionSpec {
        spec(vec![Host::Unix { dir: self.server.folder().to_owned(), port: self.server.port() }])
    }

    async fn admin(&self) -> Session {
        open(&self.socket_spec()).await.unwrap()
    }

    /// Makes a role with the canary as password, unless another test has.
    async fn role(&self, name: &str) {
        let sql = format!(
            "begin; select pg_catalog.pg_advisory_xact_lock(1);
             do $$ begin
               if not exists (select from pg_catalog.pg_roles where rolname = '{name}') then
                 create role {name} login password '{CANARY}';
               end if;
             end $$; commit"
        );
        self.admin().await.batch("making a role", &sql).await.unwrap();
    }
}

fn host(name: &str, port: u16) -> Host {
    Host::Tcp { name: name.to_owned(), addr: Some([127, 0, 0, 1].into()), port }
}

/// A connection to a database of the shared servers, through another port.
pub(crate) fn spec_at(database: &super::support::Database, port: u16) -> ConnectionSpec {
    ConnectionSpec {
        database: database.name().to_owned(),
        sslmode: SslMode::Disable,
        ..spec(vec![host("localhost", port)])
    }
}

/// A connection as the superuser, with libpq's defaults.
fn spec(hosts: Vec<Host>) -> ConnectionSpec {
    ConnectionSpec {
        name: "warehouse".to_owned(),
        hosts,
        user: "postgres".to_owned(),
        database: "postgres".to_owned(),
        password: None,
        password_command: None,
        sslmode: SslMode::Prefer,
        sslrootcert: RootCert::Default,
        sslcert: None,
        sslkey: None,
        channel_binding: ChannelBinding::Prefer,
        target_session_attrs: TargetSessionAttrs::Any,
        connect_timeout: Duration::from_secs(30),
        keepalives: true,
        keepalives_idle: Duration::from_secs(30),
        keepalives_interval: Duration::from_secs(10),
        keepalives_count: 3,
        tcp_user_timeout: None,
        options: None,
        application_name: None,
        max_connections: None,
    }
}

async fn open(spec: &ConnectionSpec) -> Result<Session, Error> {
    Session::open(spec, Side::Destination, "pgtide/test").await
}

/// The error of a connection that must not come about, which must not hold the password.
async fn refused(spec: &ConnectionSpec) -> Error {
    let error = open(spec).await.expect_err("the connection must not come about");
    let everything = everything_said(&error);
    assert!(!everything.contains(CANARY), "{everything}");
    error
}

fn everything_said(error: &Error) -> String {
    format!(
        "{error:?}\n{}\n{}\n{}",
        error.chain(),
        error.details().join("\n"),
        error.hint().unwrap_or_default()
    )
}

async fn setting(session: &Session, name: &str) -> String {
    let row = session.query_one("reading a setting", "select pg_catalog.current_setting($1)", &[&name]).await;
    row.unwrap().get(0)
}
