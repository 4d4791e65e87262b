//! TLS in libpq's sense, on rustls: what each `sslmode` verifies, root and client certificates.
//!
//! `verify-full` checks chain and name, `verify-ca` the chain, the weaker modes the chain only if a
//! root file exists. The handshake's signature is checked in every mode, because SCRAM's channel
//! binding rests on it. Whether TLS is used at all is negotiated in `connect::socket`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::connection::{ConnectionSpec, RootCert, SslMode};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sqlstate::io_text;

/// A TCP connection inside TLS.
pub(crate) type TlsSocket = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// How to do TLS with one server: roots, client certificate, what to verify.
#[derive(Clone)]
pub struct Tls {
    maker: MakeRustlsConnect,
    checks_name: bool,
}

impl Tls {
    /// Reads the certificates that a connection names.
    ///
    /// # Errors
    ///
    /// `Config`: a file is missing, unreadable or not PEM, the key is open to others, or the mode needs roots.
    pub fn new(spec: &ConnectionSpec) -> Result<Self> {
        let checks_name = spec.sslmode == SslMode::VerifyFull;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { trust: trust(spec)?, checks_name, algorithms };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match client_certificate(spec)? {
            None => builder.with_no_client_auth(),
            Some((file, chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| config(format!("client certificate {} cannot be used: {e}", file.display())))?,
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { maker: MakeRustlsConnect::new(config), checks_name })
    }

    /// Does the handshake on a socket whose server has agreed to TLS; `name` is for the certificate.
    ///
    /// # Errors
    ///
    /// `Preflight` when a side refuses the other's certificate, `Connection` when the socket broke.
    pub(crate) async fn handshake(&self, socket: TcpStream, name: &str) -> Result<TlsSocket> {
        let name = self.server_name(&socket, name)?;
        let Ok(connect) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut self.maker.clone(), &name);
        connect.connect(socket).await.map_err(|e| failure(&e))
    }

    /// The name to verify; where names are not verified, one that cannot be in a certificate becomes the address.
    fn server_name(&self, socket: &TcpStream, name: &str) -> Result<String> {
        if ServerName::try_from(name).is_ok() {
            return Ok(name.to_owned());
        }
        if self.checks_name {
            let text = format!("sslmode=verify-full needs a host name, and {name:?} is none");
            return Err(config(text));
        }
        let peer = socket.peer_addr().map_err(|e| Error::new(ErrorKind::Connection, io_text(&e)))?;
        Ok(peer.ip().to_string())
    }
}

/// Finds rustls' refusal in an I/O error, of the handshake or of the first read after it (TLS 1.3 tells a
/// client that its certificate was refused only then).
pub(crate) fn rustls_error(e: &io::Error) -> Option<&rustls::Error> {
    e.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Says what a failed handshake means.
pub(crate) fn failure(e: &io::Error) -> Error {
    match rustls_error(e) {
        None => Error::new(ErrorKind::Connection, format!("the TLS handshake broke: {}", io_text(e))),
        Some(refusal) => {
            let error = Error::new(ErrorKind::Preflight, format!("TLS failed: {refusal}"));
            match hint(refusal) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
    }
}

fn hint(refusal: &rustls::Error) -> Option<&'static str> {
    match refusal {
        rustls::Error::InvalidCertificate(cause) => match cause {
            CertificateError::UnknownIssuer => {
                Some("set sslrootcert to the file with the certificate of the server's CA, or to `system`")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Some(
                "use the name in the certificate as host (hostaddr keeps the address), or sslmode=verify-ca",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("the server's certificate has to be renewed")
            }
            _ => None,
        },
        rustls::Error::AlertReceived(_) => {
            Some("the server refused: check the client certificate (sslcert, sslkey) and the server's log")
        }
        _ => None,
    }
}

/// What a server's chain may end in.
#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    /// The roots as they are in the file: a server may present one of them itself.
    own: Vec<CertificateDer<'static>>,
}

fn trust(spec: &ConnectionSpec) -> Result<Option<Trust>> {
    let verifies = matches!(spec.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
    match &spec.sslrootcert {
        RootCert::System if spec.sslmode == SslMode::VerifyFull => system_roots().map(Some),
        RootCert::System => Err(config("sslrootcert=system needs sslmode=verify-full")),
        RootCert::File(file) => root_file(file).map(Some),
        RootCert::Default => match in_home("root.crt") {
            Some(file) if file.exists() => root_file(&file).map(Some),
            _ if verifies => Err(config("sslmode verifies the server, and there is no root certificate").with_hint(
                "set sslrootcert to a file, or to `system` for the system's trusted roots, or put it in ~/.postgresql/root.crt",
            )),
            _ => Ok(None),
        },
    }
}

fn root_file(file: &Path) -> Result<Trust> {
    let own = certificates("sslrootcert", file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &own {
        roots.add(certificate.clone()).map_err(|e| config(format!("sslrootcert {}: {e}", file.display())))?;
    }
    Ok(Trust { roots, own })
}

fn system_roots() -> Result<Trust> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons = found.errors.iter().map(ToString::to_string);
        let error = config("sslrootcert=system: the system has no trusted root certificates");
        return Err(reasons.fold(error, Error::with_detail));
    }
    Ok(Trust { roots, own: Vec::new() })
}

type ClientCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client certificate and key: those named, else those in `~/.postgresql` if they exist, as in libpq.
fn client_certificate(spec: &ConnectionSpec) -> Result<Option<ClientCertificate>> {
    let default = || in_home("postgresql.crt").filter(|file| file.exists());
    let Some(file) = spec.sslcert.clone().or_else(default) else { return Ok(None) };
    let Some(key_file) = spec.sslkey.clone().or_else(|| in_home("postgresql.key")) else {
        return Err(config(format!("sslcert {} has no sslkey", file.display())));
    };
    let chain = certificates("sslcert", &file)?;
    check_key_is_private(&key_file)?;
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|e| match e {
        pem::Error::NoItemsFound => config(format!("sslkey {} holds no unencrypted key", key_file.display()))
            .with_hint("openssl pkey -in ENCRYPTED -out KEY removes the passphrase"),
        e => unreadable("sslkey", &key_file, &e),
    })?;
    Ok(Some((file, chain, key)))
}

/// libpq's rule: 0600 or less if it is ours, 0640 or less if it is root's.
fn check_key_is_private(file: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).map_err(|e| unreadable("sslkey", file, &pem::Error::Io(e)))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    let text = format!("sslkey {} can be read by others", file.display());
    Err(config(text).with_hint(format!("chmod 0600 {}", file.display())))
}

fn certificates(word: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(word, file, &e))?;
    if found.is_empty() {
        return Err(config(format!("{word} {} holds no certificate", file.display())));
    }
    Ok(found)
}

fn unreadable(word: &str, file: &Path, e: &pem::Error) -> Error {
    let cause = match e {
        pem::Error::Io(e) => io_text(e),
        e => e.to_string(),
    };
    config(format!("{word} {} cannot be read: {cause}", file.display()))
}

fn in_home(name: &str) -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".postgresql").join(name))
}

fn config(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

/// Verifies a server's certificate as far as the mode asks.
#[derive(Debug)]
struct Verifier {
    /// `None` verifies no chain.
    trust: Option<Trust>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if let Some(Trust { roots, own }) = &self.trust
            // A self-signed server certificate that is itself the root file is trusted as it is.
            && !own.contains(end_entity)
        {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        if self.checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
