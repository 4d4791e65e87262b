//! Opening a session: hosts in turn, each with one deadline for everything.
//!
//! As in libpq, a host that cannot be reached or is of the wrong kind leads to the next one, and a
//! host that refuses (password, pg_hba.conf, certificate) ends the search.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{ChannelBinding as Binding, Config};

use super::canceller::Canceller;
use super::failure::{self, At};
use super::password::{self, Password};
use super::server::{self, Server};
use super::session::Session;
use super::socket::{Encryption, Failure, Place};
use super::{Side, settings, startup};
use crate::config::connection::{ChannelBinding, ConnectionSpec, Host, SslMode, TargetSessionAttrs};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::tls::Tls;

/// In force when `connect_timeout` is 0, which means "for ever" in libpq: nothing waits for ever here.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// Opens a session.
pub(super) async fn open(spec: &ConnectionSpec, side: Side, application_name: &str) -> Result<Session> {
    let opening = Opening {
        spec: Arc::new(spec.clone()),
        side,
        application_name: spec.application_name.as_deref().unwrap_or(application_name),
        tls: needs_tls(spec).then(|| Tls::new(spec)).transpose().map_err(|e| failure::of_spec(spec, e))?,
    };
    let password = password::of(spec).await?;
    match opening.any_host(&password).await {
        Err(e) if password.kept && e.sqlstate() == Some("28P01") => {
            password::forget(spec, &password).await;
            opening.any_host(&password::of(spec).await?).await
        }
        result => result,
    }
}

fn needs_tls(spec: &ConnectionSpec) -> bool {
    spec.sslmode != SslMode::Disable && spec.hosts.iter().any(|host| matches!(host, Host::Tcp { .. }))
}

/// Everything that is the same for all places.
struct Opening<'a> {
    spec: Arc<ConnectionSpec>,
    side: Side,
    application_name: &'a str,
    tls: Option<Tls>,
}

impl Opening<'_> {
    async fn any_host(&self, password: &Password) -> Result<Session> {
        let config = self.config(password);
        let mut failures = Vec::new();
        for wanted in passes(self.spec.target_session_attrs) {
            failures.clear();
            for host in &self.spec.hosts {
                if let Some(session) = self.host(host, &config, wanted, &mut failures).await {
                    return Ok(session);
                }
                if failures.last().is_some_and(At::ends_the_search) {
                    return Err(failure::of_all(&self.spec, failures));
                }
            }
        }
        Err(failure::of_all(&self.spec, failures))
    }

    /// Tries every address of a host. Each gets its share of what is left of the deadline, so that a
    /// silent first address does not use up the time of the second.
    async fn host(
        &self,
        host: &Host,
        config: &Config,
        wanted: TargetSessionAttrs,
        failures: &mut Vec<At>,
    ) -> Option<Session> {
        let limit =
            if self.spec.connect_timeout.is_zero() { DEFAULT_LIMIT } else { self.spec.connect_timeout };
        let until = Instant::now() + limit;
        let places = match timeout_at(until, Place::all_of(host)).await {
            Ok(Ok(places)) => places,
            Ok(Err(e)) => {
                failures.push(At::host(host, e));
                return None;
            }
            Err(_) => {
                failures.push(At::host(host, failure::no_answer(limit)));
                return None;
            }
        };
        for (left, place) in (1_u32..=u32::try_from(places.len()).unwrap_or(u32::MAX)).rev().zip(&places) {
            let share = until.saturating_duration_since(Instant::now()) / left;
            let error = match timeout(share, Box::pin(self.place(place, config, wanted))).await {
                Ok(Ok(session)) => return Some(session),
                Ok(Err(error)) => error,
                Err(_) => failure::no_answer(if places.len() == 1 { limit } else { share }),
            };
            failures.push(At::place(host, place, error));
            if failures.last().is_some_and(At::ends_the_search) {
                return None;
            }
        }
        None
    }

    /// Tries one address, twice where the mode leaves the choice of TLS to the server.
    async fn place(&self, place: &Place, config: &Config, wanted: TargetSessionAttrs) -> Result<Session> {
        let (first, second) = match (self.spec.sslmode, place) {
            (_, Place::Unix(_)) | (SslMode::Disable, _) => (Encryption::Never, None),
            (SslMode::Allow, _) => (Encryption::Never, Some(Encryption::Always)),
            (SslMode::Prefer, _) => (Encryption::IfOffered, Some(Encryption::Never)),
            (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => (Encryption::Always, None),
        };
        let failed = match self.attempt(place, first, config, wanted).await {
            Ok(session) => return Ok(session),
            Err(failed) => failed,
        };
        match second {
            Some(second) if failed.tls => match self.attempt(place, second, config, wanted).await {
                Ok(session) => Ok(session),
                Err(again) => Err(failure::of_both(failed.error, &again.error, second)),
            },
            _ => Err(failed.error),
        }
    }

    async fn attempt(
        &self,
        place: &Place,
        encryption: Encryption,
        config: &Config,
        wanted: TargetSessionAttrs,
    ) -> Result<Session, Failure> {
        let spec = &*self.spec;
        let socket = place.connect(spec, self.tls.as_ref(), encryption).await?;
        let encrypted = socket.is_encrypted();
        let started = startup::start(config.clone(), socket, self.side).await.map_err(|e| {
            let error = failure::of_startup(spec, &e);
            // With the other choice of TLS, another line of pg_hba.conf may match.
            let other_may_help =
                error.sqlstate() == Some("28000") && (encrypted || encryption == Encryption::Never);
            failure::of_tls(&e).unwrap_or(Failure { error, tls: other_may_help })
        })?;
        let server = server::look(&started.client, &spec.name, place.to_string()).await?;
        check_kind(wanted, &server)?;
        if self.side == Side::Destination {
            server::refuse_pooler(started.tap.backend_pid(), &server)?;
            settings::apply(&started.client, &server).await?;
        }
        let canceller = Canceller {
            token: started.client.cancel_token(),
            place: place.clone(),
            spec: Arc::clone(&self.spec),
            tls: self.tls.clone().filter(|_| encrypted),
        };
        Ok(Session::new(started, self.side, server, canceller))
    }

    fn config(&self, password: &Password) -> Config {
        let mut config = Config::new();
        config.user(&self.spec.user).dbname(&self.spec.database).application_name(self.application_name);
        config.channel_binding(match self.spec.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        });
        if let Some(secret) = &password.secret {
            config.password(secret.reveal());
        }
        if let Some(options) = &self.spec.options {
            config.options(options);
        }
        config
    }
}

/// `prefer-standby` looks for a standby first, and then for anything.
fn passes(wanted: TargetSessionAttrs) -> impl Iterator<Item = TargetSessionAttrs> {
    let (first, second) = match wanted {
        TargetSessionAttrs::PreferStandby => (TargetSessionAttrs::Standby, Some(TargetSessionAttrs::Any)),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

fn check_kind(wanted: TargetSessionAttrs, server: &Server) -> Result<()> {
    let found = match wanted {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => return Ok(()),
        TargetSessionAttrs::ReadWrite if server.read_only => "the session is read-only",
        TargetSessionAttrs::ReadOnly if !server.read_only => "the session is not read-only",
        TargetSessionAttrs::Primary if server.in_recovery => "the server is a standby",
        TargetSessionAttrs::Standby if !server.in_recovery => "the server is not a standby",
        _ => return Ok(()),
    };
    // Temporary: while a standby takes over, no server may be of the wanted kind.
    Err(Error::new(ErrorKind::Connection, format!("{found}, and target_session_attrs asks for another")))
}
