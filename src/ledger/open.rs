//! Finding, creating and upgrading the ledger.
//!
//! The version is read only after the catalog says that the table which holds it can be trusted: a
//! view of that name would run another role's code. Two first runs at once meet at an advisory lock.

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_64;

use super::trust::{self, Inspection};
use super::{Ledger, begin, end, with_schema};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The steps from version 0: step `n` takes the ledger from version `n` to `n + 1`.
const STEPS: [&str; 6] = [
    include_str!("schema.sql"),
    include_str!("backfill.sql"),
    include_str!("views_refresh.sql"),
    include_str!("views_files.sql"),
    include_str!("overlap.sql"),
    include_str!("evidence.sql"),
];

/// The version of the ledger that this program works with.
pub const VERSION: i32 = STEPS.len() as i32;

const META: &str = include_str!("meta.sql");

impl Ledger {
    /// Opens the ledger for loading: creates or upgrades it where needed, and refuses one that could
    /// run another role's code.
    ///
    /// # Errors
    /// `Config` for a ledger of a newer program; `Preflight` for one that cannot be trusted, with
    /// every finding, or may not be created.
    pub async fn open(session: &Session, schema: &str) -> Result<Self> {
        check_name(schema)?;
        if let Some(found) = trust::inspect(session, schema).await?
            && !found.is_empty()
        {
            found.require_trusted()?;
            found.require_meta()?;
            let (version, since) = version(session, schema).await?;
            if version == VERSION {
                return opened(schema, &found, since, true);
            }
        }
        let doing = format!("creating the ledger in schema {}", ident::quote(schema));
        begin(session, &doing).await?;
        let result = upgrade(session, schema, &doing).await;
        end(session, &doing, result).await
    }

    /// Opens the ledger for loading if there is one, as [`open`](Self::open) does; makes none.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn open_existing(session: &Session, schema: &str) -> Result<Option<Self>> {
        check_name(schema)?;
        match trust::inspect(session, schema).await? {
            Some(found) if !found.is_empty() => Self::open(session, schema).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Opens the ledger for looking, if there is one; never writes, and needs no more than `select`.
    ///
    /// # Errors
    /// `Config` for a ledger of a newer program; `Preflight` for one that is older or not readable.
    pub async fn find(session: &Session, schema: &str) -> Result<Option<Self>> {
        check_name(schema)?;
        let Some(found) = trust::inspect(session, schema).await?.filter(|found| !found.is_empty()) else {
            return Ok(None);
        };
        found.require_readable()?;
        found.require_meta()?;
        match version(session, schema).await? {
            (VERSION, since) => opened(schema, &found, since, false).map(Some),
            (older, _) => Err(Error::new(
                ErrorKind::Preflight,
                format!("the ledger in schema {} has version {older}, not {VERSION}", ident::quote(schema)),
            )
            .with_hint("the next command that loads upgrades it: pgtide run")),
        }
    }

    /// Judges the ledger as [`open`](Self::open) does, and writes nothing; gives its version, or none if
    /// it is still to be made.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for what creating or upgrading it needs.
    pub async fn examine(session: &Session, schema: &str) -> Result<Option<i32>> {
        check_name(schema)?;
        let Some(found) = trust::inspect(session, schema).await? else { return Ok(None) };
        found.require_trusted()?;
        found.require_meta()?;
        if found.is_empty() {
            return Ok(None);
        }
        let (version, _) = version(session, schema).await?;
        if version == VERSION {
            found.require_shape()?;
        }
        Ok(Some(version))
    }
}

fn opened(schema: &str, found: &Inspection, since: DateTime<Utc>, writable: bool) -> Result<Ledger> {
    found.require_shape()?;
    Ok(Ledger {
        schema: schema.to_owned(),
        quoted: ident::quote(schema),
        interval_oid: found.oid("interval"),
        meta_oid: found.oid("meta"),
        view_oid: found.oid("view"),
        since,
        writable,
    })
}

fn check_name(schema: &str) -> Result<()> {
    if schema.is_empty() || schema.starts_with("pg_") || schema.len() > crate::name::MAX_NAME_BYTES {
        let what = format!("`{}` cannot be the schema of the ledger", schema.escape_debug());
        return Err(Error::new(ErrorKind::Config, what)
            .with_hint("names of 1 to 63 bytes that do not begin with pg_"));
    }
    Ok(())
}

/// Reads the version of a trusted ledger, and since when it has it; none newer than ours gets past here.
async fn version(session: &Session, schema: &str) -> Result<(i32, DateTime<Utc>)> {
    let quoted = ident::quote(schema);
    let doing = format!("reading the version of the ledger in schema {quoted}");
    let sql = with_schema("select version, changed_at from pgtide.meta", &quoted);
    let row = session.query_one(&doing, &sql, &[]).await?;
    let found: i32 = row.get(0);
    if found <= VERSION {
        return Ok((found, row.get(1)));
    }
    Err(Error::new(
        ErrorKind::Config,
        format!(
            "the ledger in schema {quoted} has version {found}, this pgtide knows versions up to {VERSION}"
        ),
    )
    .with_hint("use the pgtide that upgraded the ledger, or a newer one"))
}

/// Brings whatever is there to [`VERSION`]; the caller's transaction is open.
async fn upgrade(session: &Session, schema: &str, doing: &str) -> Result<Ledger> {
    let quoted = ident::quote(schema);
    let key = xxh3_64(format!("pgtide ledger {schema}").as_bytes()).cast_signed();
    session.execute(doing, "select pg_catalog.pg_advisory_xact_lock($1)", &[&key]).await?;
    match trust::inspect(session, schema).await? {
        None => create_schema(session, &quoted, doing).await?,
        Some(found) => {
            found.require_trusted()?;
            found.require_meta()?;
            if found.is_empty() {
                session.batch(doing, &with_schema(META, &quoted)).await?;
            }
        }
    }
    let (from, _) = version(session, schema).await?;
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        session.batch(doing, &with_schema(step, &quoted)).await?;
    }
    if from < VERSION {
        let sql = "update pgtide.meta set version = $1, changed_by = $2, changed_at = clock_timestamp()";
        let by = concat!("pgtide ", env!("CARGO_PKG_VERSION"));
        session.execute(doing, &with_schema(sql, &quoted), &[&VERSION, &by]).await?;
    }
    let found = trust::inspect(session, schema).await?.expect("the schema was made in this transaction");
    let (_, since) = version(session, schema).await?;
    opened(schema, &found, since, true)
}

async fn create_schema(session: &Session, quoted: &str, doing: &str) -> Result<()> {
    let comment = "What pgtide has loaded into this database. Written by pgtide only";
    let sql = format!("create schema {quoted}; comment on schema {quoted} is '{comment}'");
    session.batch(doing, &sql).await.map_err(|error| match error.sqlstate() {
        Some("42501") => {
            let role = ident::quote(&session.server().role);
            error.with_hint(format!("as an administrator: create schema {quoted} authorization {role};"))
        }
        _ => error,
    })?;
    session.batch(doing, &with_schema(META, quoted)).await
}
