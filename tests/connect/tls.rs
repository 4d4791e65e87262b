//! Each `sslmode` against each kind of server: what comes about, encrypted or not, and what is refused.

use std::path::PathBuf;

use pgtide::config::connection::{ChannelBinding, ConnectionSpec, RootCert, SslMode};
use pgtide::error::ErrorKind;
use pgtide::sandbox::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Certificates, Guarded, guarded, host, open, refused, server_with_tls, spec};
use crate::support::databases;

const ALL: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

/// What one mode does: encrypted, plain, or the kind of the refusal.
async fn outcome(spec: &ConnectionSpec) -> Result<bool, ErrorKind> {
    match open(spec).await {
        Ok(session) => Ok(session.is_encrypted()),
        Err(_) => Err(refused(spec).await.kind()),
    }
}

async fn outcomes(spec: &ConnectionSpec) -> Vec<Result<bool, ErrorKind>> {
    let mut outcomes = Vec::new();
    for sslmode in ALL {
        outcomes.push(outcome(&ConnectionSpec { sslmode, ..spec.clone() }).await);
    }
    outcomes
}

impl Guarded {
    fn trusting(&self, root: &str) -> ConnectionSpec {
        ConnectionSpec { sslrootcert: RootCert::File(self.certificates.path(root)), ..self.spec() }
    }
}

const PLAIN: Result<bool, ErrorKind> = Ok(false);
const TLS: Result<bool, ErrorKind> = Ok(true);
const REFUSED: Result<bool, ErrorKind> = Err(ErrorKind::Preflight);
const CONFIG: Result<bool, ErrorKind> = Err(ErrorKind::Config);

#[tokio::test]
async fn with_the_right_root_every_mode_connects() {
    let spec = guarded().await.trusting("ca");
    assert_eq!(outcomes(&spec).await, [PLAIN, PLAIN, TLS, TLS, TLS, TLS]);
}

#[tokio::test]
async fn with_another_root_no_mode_that_demands_tls_connects() {
    let spec = guarded().await.trusting("other_ca");
    assert_eq!(outcomes(&spec).await, [PLAIN, PLAIN, PLAIN, REFUSED, REFUSED, REFUSED]);
    let error = refused(&ConnectionSpec { sslmode: SslMode::VerifyFull, ..spec }).await;
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(error.hint().unwrap().contains("sslrootcert"), "{error:?}");
}

#[tokio::test]
async fn without_a_root_only_the_verifying_modes_are_refused() {
    let spec = guarded().await.spec();
    assert_eq!(outcomes(&spec).await, [PLAIN, PLAIN, TLS, TLS, CONFIG, CONFIG]);
    let error = refused(&ConnectionSpec { sslmode: SslMode::VerifyFull, ..spec }).await;
    assert!(error.hint().unwrap().contains("system"), "{error:?}");
}

#[tokio::test]
async fn a_root_file_that_is_named_must_exist() {
    let guarded = guarded().await;
    let spec = ConnectionSpec { sslmode: SslMode::Require, ..guarded.trusting("missing") };
    let error = refused(&spec).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[tokio::test]
async fn the_systems_roots_need_verify_full_and_do_not_know_a_private_ca() {
    let spec = ConnectionSpec { sslrootcert: RootCert::System, ..guarded().await.spec() };
    assert_eq!(outcome(&ConnectionSpec { sslmode: SslMode::Require, ..spec.clone() }).await, CONFIG);
    let error = refused(&ConnectionSpec { sslmode: SslMode::VerifyFull, ..spec }).await;
    assert!(matches!(error.kind(), ErrorKind::Preflight | ErrorKind::Config), "{error:?}");
}

#[tokio::test]
async fn only_verify_full_minds_the_name() {
    let guarded = guarded().await;
    for name in ["db.example", "127.0.0.2"] {
        let hosts = vec![host(name, guarded.server.port())];
        let spec = ConnectionSpec { hosts, ..guarded.trusting("ca") };
        assert_eq!(outcomes(&spec).await, [PLAIN, PLAIN, TLS, TLS, TLS, REFUSED], "{name}");
        let error = refused(&ConnectionSpec { sslmode: SslMode::VerifyFull, ..spec }).await;
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn an_address_is_verified_against_the_certificates_addresses() {
    let guarded = guarded().await;
    let hosts = vec![host("127.0.0.1", guarded.server.port())];
    let spec = ConnectionSpec { hosts, sslmode: SslMode::VerifyFull, ..guarded.trusting("ca") };
    assert_eq!(outcome(&spec).await, TLS);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let database = databases("connect_without_tls").await.source;
    let guarded = guarded().await;
    let hosts = vec![host("localhost", database.port())];
    let spec = ConnectionSpec { hosts, ..guarded.trusting("ca") };
    assert_eq!(outcomes(&spec).await, [PLAIN, PLAIN, PLAIN, REFUSED, REFUSED, REFUSED]);
    let error = refused(&ConnectionSpec { sslmode: SslMode::Require, ..spec }).await;
    assert!(error.to_string().contains("the server has no TLS"), "{error}");
}

#[tokio::test]
async fn allow_and_prefer_take_the_way_that_pg_hba_leaves() {
    let guarded = guarded().await;
    for (user, expected) in
        [("tls_only", [REFUSED, TLS, TLS, TLS]), ("plain_only", [PLAIN, PLAIN, PLAIN, REFUSED])]
    {
        guarded.role(user).await;
        let spec = ConnectionSpec { user: user.to_owned(), ..guarded.spec() };
        assert_eq!(outcomes(&spec).await[..4], expected, "{user}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_root_file() {
    let (server, certificates) = server_showing("own").await;
    let mut spec = spec_of(&server, certificates.path("own"));
    assert_eq!(outcome(&spec).await, TLS);
    spec.sslrootcert = RootCert::File(certificates.path("ca"));
    assert_eq!(outcome(&spec).await, REFUSED);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let (server, certificates) = server_showing("late").await;
    let error = refused(&spec_of(&server, certificates.path("ca"))).await;
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.hint().unwrap().contains("renewed"), "{error:?}");
}

async fn server_showing(name: &'static str) -> (Server, Certificates) {
    let start = move || {
        let certificates = Certificates::new();
        (server_with_tls(&certificates, name), certificates)
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

fn spec_of(server: &Server, root: PathBuf) -> ConnectionSpec {
    ConnectionSpec {
        sslmode: SslMode::VerifyFull,
        sslrootcert: RootCert::File(root),
        password: Some(pgtide::config::connection::Secret::new(crate::support::CANARY)),
        ..spec(vec![host("localhost", server.port())])
    }
}

#[tokio::test]
async fn a_client_certificate_is_a_way_in() {
    let guarded = guarded().await;
    guarded.role("cert_only").await;
    let without = ConnectionSpec {
        user: "cert_only".to_owned(),
        password: None,
        sslmode: SslMode::Require,
        ..guarded.spec()
    };
    assert_eq!(refused(&without).await.sqlstate(), Some("28000"));
    let with = ConnectionSpec {
        sslcert: Some(guarded.certificates.path("cert_only")),
        sslkey: Some(guarded.certificates.path("key")),
        ..without
    };
    assert_eq!(outcome(&with).await, TLS);
}

#[tokio::test]
async fn a_client_certificate_of_an_unknown_ca_is_refused_by_the_server() {
    let guarded = guarded().await;
    let spec = ConnectionSpec {
        sslcert: Some(guarded.certificates.path("own")),
        sslkey: Some(guarded.certificates.path("key")),
        sslmode: SslMode::Require,
        ..guarded.spec()
    };
    let error = refused(&spec).await;
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.hint().unwrap().contains("sslcert"), "{error:?}");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let guarded = guarded().await;
    let key = guarded.certificates.path("open_key");
    std::fs::copy(guarded.certificates.path("key"), &key).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let sslcert = Some(guarded.certificates.path("cert_only"));
    let error = refused(&ConnectionSpec { sslcert, sslkey: Some(key), ..guarded.spec() }).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint().unwrap().contains("chmod 0600"), "{error:?}");
}

#[tokio::test]
async fn channel_binding_is_used_over_tls_and_demanded_elsewhere() {
    let spec = ConnectionSpec { channel_binding: ChannelBinding::Require, ..guarded().await.spec() };
    assert_eq!(outcome(&ConnectionSpec { sslmode: SslMode::Require, ..spec.clone() }).await, TLS);
    let error = refused(&ConnectionSpec { sslmode: SslMode::Disable, ..spec }).await;
    assert!(error.to_string().contains("channel binding"), "{error}");
    assert!(error.hint().unwrap().contains("TLS"), "{error:?}");
}

/// Answers the request for TLS with these bytes, then with nothing.
async fn listener_answering(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            if stream.read_exact(&mut request).await.is_ok() {
                let _ = stream.write_all(answer).await;
            }
        }
    });
    port
}

#[tokio::test]
async fn bytes_smuggled_in_behind_the_servers_yes_do_not_survive_the_handshake() {
    let smuggled = b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    let port = listener_answering(smuggled).await;
    let spec = ConnectionSpec { sslmode: SslMode::Require, ..spec(vec![host("localhost", port)]) };
    let error = refused(&spec).await;
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn what_an_unauthenticated_server_says_instead_of_yes_or_no_is_not_shown() {
    let port = listener_answering(b"ESFATAL\0C28000\0Mgive me your password\0\0").await;
    let spec = ConnectionSpec { sslmode: SslMode::Require, ..spec(vec![host("localhost", port)]) };
    let error = refused(&spec).await;
    assert!(!super::everything_said(&error).contains("give me"), "{error:?}");
}
