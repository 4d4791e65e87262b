//! libpq's connection words: one table says what becomes of each.
//!
//! A word is used, is harmless and ignored, is allowed with some values only, or is refused with the
//! reason. Nothing that changes what a user would trust is ever dropped in silence.

use std::collections::BTreeMap;

use super::{keywords, url};
use crate::config::nearest::nearest;

/// What becomes of a word.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It decides something.
    Used,
    /// It changes nothing here.
    Ignored,
    /// Only these values are accepted, and change nothing; others are refused with the reason.
    Only(&'static [&'static str], &'static str),
    /// No value is accepted, for this reason.
    Refused(&'static str),
}

/// A word, its `PG*` variable, and what becomes of it.
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) variable: Option<&'static str>,
    pub(super) fate: Fate,
}

const fn used(name: &'static str, variable: Option<&'static str>) -> Word {
    Word { name, variable, fate: Fate::Used }
}

const fn ignored(name: &'static str) -> Word {
    Word { name, variable: None, fate: Fate::Ignored }
}

const fn only(
    name: &'static str,
    variable: Option<&'static str>,
    values: &'static [&'static str],
    reason: &'static str,
) -> Word {
    Word { name, variable, fate: Fate::Only(values, reason) }
}

const fn refused(name: &'static str, variable: Option<&'static str>, reason: &'static str) -> Word {
    Word { name, variable, fate: Fate::Refused(reason) }
}

const NO_GSS: &str = "pgtide has no GSSAPI; use TLS with sslmode";
const NO_CRL: &str = "pgtide does not read certificate revocation lists";
const NO_OAUTH: &str = "pgtide has no OAuth; use password_command to fetch a token as the password";

/// Every word of libpq up to version 18.
pub(super) const WORDS: &[Word] = &[
    used("service", Some("PGSERVICE")),
    used("servicefile", Some("PGSERVICEFILE")),
    used("host", Some("PGHOST")),
    used("hostaddr", Some("PGHOSTADDR")),
    used("port", Some("PGPORT")),
    used("dbname", Some("PGDATABASE")),
    used("user", Some("PGUSER")),
    used("password", Some("PGPASSWORD")),
    used("passfile", Some("PGPASSFILE")),
    used("channel_binding", Some("PGCHANNELBINDING")),
    used("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    used("options", Some("PGOPTIONS")),
    used("application_name", Some("PGAPPNAME")),
    used("keepalives", None),
    used("keepalives_idle", None),
    used("keepalives_interval", None),
    used("keepalives_count", None),
    used("tcp_user_timeout", None),
    used("sslmode", Some("PGSSLMODE")),
    used("sslrootcert", Some("PGSSLROOTCERT")),
    used("sslcert", Some("PGSSLCERT")),
    used("sslkey", Some("PGSSLKEY")),
    used("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ignored("fallback_application_name"),
    ignored("sslcompression"),
    ignored("load_balance_hosts"),
    ignored("krbsrvname"),
    ignored("gsslib"),
    ignored("max_protocol_version"),
    only("client_encoding", None, &["utf8", "utf-8", "unicode", "auto"], "rows travel in UTF8"),
    only(
        "replication",
        None,
        &["false", "off", "no", "0"],
        "pgtide copies with queries, not with replication",
    ),
    only(
        "sslnegotiation",
        Some("PGSSLNEGOTIATION"),
        &["postgres"],
        "pgtide asks for TLS the way that every server version knows",
    ),
    only("sslsni", Some("PGSSLSNI"), &["1"], "pgtide always sends the server's name when it uses TLS"),
    only(
        "sslcertmode",
        Some("PGSSLCERTMODE"),
        &["allow"],
        "pgtide sends a client certificate when sslcert and sslkey are given",
    ),
    only(
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        &["tlsv1", "tlsv1.1", "tlsv1.2"],
        "pgtide speaks TLS 1.2 and 1.3",
    ),
    only(
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        &["tlsv1.3"],
        "pgtide speaks TLS 1.2 and 1.3",
    ),
    only("min_protocol_version", None, &["3.0"], "pgtide speaks protocol 3.0"),
    only("gssencmode", Some("PGGSSENCMODE"), &["disable", "prefer"], NO_GSS),
    only("gssdelegation", Some("PGGSSDELEGATION"), &["0"], NO_GSS),
    refused(
        "require_auth",
        Some("PGREQUIREAUTH"),
        "pgtide cannot limit the server's choice; use sslmode=verify-full or channel_binding=require",
    ),
    refused("requirepeer", Some("PGREQUIREPEER"), "pgtide does not ask who runs a local server"),
    refused("sslpassword", None, "pgtide reads keys without a passphrase; decrypt the key file"),
    refused("sslcrl", Some("PGSSLCRL"), NO_CRL),
    refused("sslcrldir", Some("PGSSLCRLDIR"), NO_CRL),
    refused("sslkeylogfile", None, "pgtide does not write TLS secrets to files"),
    refused("scram_client_key", None, "pgtide needs the password itself"),
    refused("scram_server_key", None, "pgtide needs the password itself"),
    refused("oauth_issuer", None, NO_OAUTH),
    refused("oauth_client_id", None, NO_OAUTH),
    refused("oauth_client_secret", None, NO_OAUTH),
    refused("oauth_scope", None, NO_OAUTH),
];

/// Finds a word.
pub(super) fn word(name: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.name == name)
}

/// Words with their values, as given in one place. Not `Debug`: it holds the password.
#[derive(Clone, Default)]
pub(in crate::config) struct Words(BTreeMap<&'static str, String>);

impl Words {
    /// Parses a URL or a keyword string.
    ///
    /// # Errors
    /// What is wrong, never with a part of the text that could be a secret.
    pub(in crate::config) fn parse(place: &str) -> Result<Self, String> {
        if place.contains('\0') {
            return Err("the connection holds a NUL".to_owned());
        }
        match place.split_once("://") {
            Some(("postgres" | "postgresql", _)) => url::parse(place),
            Some((scheme, _)) if !scheme.contains(['=', '\'', ' ']) => Err(wrong_scheme(scheme)),
            _ => keywords::parse(place),
        }
    }

    /// Sets a word; a later value wins.
    ///
    /// # Errors
    /// That the word is not known, or is refused and why.
    pub(in crate::config) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let word = word(name).ok_or_else(|| unknown(name))?;
        check(word, value)?;
        self.0.insert(word.name, value.to_owned());
        Ok(())
    }

    /// Whether libpq has the word.
    pub(in crate::config) fn knows(name: &str) -> bool {
        word(name).is_some()
    }

    /// Every word of libpq.
    pub(in crate::config) fn names() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|word| word.name)
    }

    /// Sets a word that has no value yet.
    pub(super) fn fill(&mut self, name: &'static str, value: &str) {
        self.0.entry(name).or_insert_with(|| value.to_owned());
    }

    /// The value of a word; an empty one counts as not given.
    pub(in crate::config) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Words with a value, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// Checks a word's value against its fate.
pub(super) fn check(word: &Word, value: &str) -> Result<(), String> {
    match word.fate {
        _ if value.is_empty() => Ok(()),
        Fate::Used | Fate::Ignored => Ok(()),
        Fate::Only(values, _) if values.contains(&value.to_ascii_lowercase().as_str()) => Ok(()),
        Fate::Only(values, reason) => {
            Err(format!("{} can only be {}: {reason}", word.name, values.join(" or ")))
        }
        Fate::Refused(reason) => Err(format!("{} is not supported: {reason}", word.name)),
    }
}

/// Shows an unknown word only where it is a typo of a known one: it may be the tail of a password.
fn unknown(name: &str) -> String {
    match nearest(name, WORDS.iter().map(|word| word.name)) {
        Some(known) => format!("unknown word `{}`, did you mean `{known}`?", name.escape_debug()),
        None => "a word is not one of libpq's".to_owned(),
    }
}

fn wrong_scheme(scheme: &str) -> String {
    if scheme.starts_with("postgres") {
        "the URL must start with postgres:// or postgresql://, without a driver's name".to_owned()
    } else {
        "the URL must start with postgres:// or postgresql://".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_no_support_is_refused_with_its_reason() {
        let mut words = Words::default();
        assert_eq!(words.set("gssencmode", "prefer"), Ok(()));
        assert_eq!(
            words.set("gssencmode", "require"),
            Err("gssencmode can only be disable or prefer: pgtide has no GSSAPI; use TLS with sslmode"
                .to_owned())
        );
        assert!(words.set("require_auth", "scram-sha-256").unwrap_err().contains("channel_binding=require"));
        assert_eq!(
            words.set("sslmod", "require"),
            Err("unknown word `sslmod`, did you mean `sslmode`?".to_owned())
        );
    }

    #[test]
    fn every_word_is_in_the_table_once() {
        let names: std::collections::BTreeSet<_> = WORDS.iter().map(|word| word.name).collect();
        assert_eq!(names.len(), WORDS.len());
    }

    #[test]
    fn every_word_is_documented() {
        let page = include_str!("../../../docs/jobs.md");
        for word in WORDS {
            assert!(page.contains(&format!("`{}`", word.name)), "docs/jobs.md lacks {}", word.name);
        }
    }

    #[test]
    fn a_wrong_scheme_is_refused() {
        for place in ["mysql://u:canary@h/d", "postgresql+psycopg2://u:canary@h/d", "http://canary"] {
            let message = Words::parse(place).err().unwrap();
            assert!(message.starts_with("the URL must start with postgres://"), "{message}");
            assert!(!message.contains("canary"));
        }
    }
}
