//! Views that came from files: what is applied, and the history of everything that was done.
//!
//! The caller's transaction is open where a row has to commit with the DDL that it tells of.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::{Ledger, Owner};
use crate::error::Result;
use crate::postgres::connect::Session;

const OBJECTS: &str = "
select name, kind, oid, file, checksum, checksum_expanded, definition_hash, properties_hash, aspects,
       server_version, state, error_message
from pgtide.view_object order by name";

const RECORD: &str = "
insert into pgtide.view_object as o
    (name, kind, oid, file, checksum, checksum_expanded, definition_hash, properties_hash, aspects,
     server_version, state, error_code, error_message)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
        'applied', null, null)
on conflict (name) do update
set kind = excluded.kind, oid = excluded.oid, file = excluded.file, checksum = excluded.checksum,
    checksum_expanded = excluded.checksum_expanded, definition_hash = excluded.definition_hash,
    properties_hash = excluded.properties_hash, aspects = excluded.aspects,
    server_version = excluded.server_version, state = 'applied', error_code = null, error_message = null,
    applied_at = pg_catalog.clock_timestamp(), applied_by = current_user";

const FAIL: &str = "
insert into pgtide.view_object as o
    (name, kind, oid, file, checksum, checksum_expanded, definition_hash, properties_hash, aspects,
     server_version, state, error_code, error_message)
values ($1, $2, 0, $3, '', '', '', '', '',
        pg_catalog.current_setting('server_version_num')::pg_catalog.int4, 'failed', $4, $5)
on conflict (name) do update
set state = 'failed', error_code = excluded.error_code, error_message = excluded.error_message";

const HISTORY: &str = "
insert into pgtide.view_history
    (host, pid, run_id, action, name, kind, oid, file, checksum, cause, sql, before, outcome,
     error_code, error_message, elapsed_ms)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
        case when $14::pg_catalog.text is null then 'done' else 'failed' end, $13, $14, $15)";

const DURATIONS: &str = "
select distinct on (name) name, elapsed_ms from pgtide.view_history
where outcome = 'done' and action in ('new', 'replace', 'rebuild') and kind = 'materialized view'
order by name, id desc";

const DROPPED: &str = "
select distinct on (d.name, d.kind) d.id, d.at, d.role, d.name, d.kind, d.before,
       (select h.file from pgtide.view_history h
        where h.name = d.name and h.file is not null order by h.id desc limit 1) as file
from pgtide.view_history d
where d.action = 'drop' and d.outcome = 'done' and d.before is not null
order by d.name, d.kind, d.id desc";

/// What pgtide dropped, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedView {
    /// The row of the history: what was dropped later has a higher one.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// By which role.
    pub role: String,
    /// Its name with the schema.
    pub name: String,
    /// `materialized view`, `view` or `function`.
    pub kind: String,
    /// Statements that make it.
    pub before: String,
    /// The file that it came from last.
    pub file: Option<String>,
}

/// What is applied of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewObject {
    /// Its name with the schema, as [`TableName`](crate::name::TableName) shows it.
    pub name: String,
    /// `materialized view`, `view` or `function`.
    pub kind: String,
    /// Its OID when it was applied.
    pub oid: u32,
    /// The file.
    pub file: String,
    /// Checksum of the file.
    pub checksum: String,
    /// Checksum with placeholders filled in.
    pub checksum_expanded: String,
    /// Hash of its definition.
    pub definition_hash: String,
    /// Hash of what belongs to it.
    pub properties_hash: String,
    /// What the file speaks of.
    pub aspects: Vec<String>,
    /// Version of the server that wrote the definition.
    pub server_version: i32,
    /// What went wrong at the last try, if it failed.
    pub error: Option<String>,
}

/// Something that was done, or failed.
#[derive(Debug, Clone)]
pub struct ViewEvent {
    /// What was done.
    pub action: String,
    /// To what.
    pub name: String,
    /// Of what kind.
    pub kind: String,
    /// Its OID afterwards.
    pub oid: Option<u32>,
    /// Its file and the checksum.
    pub file: Option<(String, String)>,
    /// Why.
    pub cause: String,
    /// The statements.
    pub sql: String,
    /// Statements that make what was there before.
    pub before: Option<String>,
    /// SQLSTATE and message, if it failed.
    pub error: Option<(Option<String>, String)>,
    /// How long it took.
    pub elapsed_ms: i64,
}

impl Ledger {
    /// All that is applied.
    ///
    /// # Errors
    /// The server's.
    pub async fn view_objects(&self, session: &Session) -> Result<Vec<ViewObject>> {
        let rows = session.query("reading what views are applied", &self.sql(OBJECTS), &[]).await?;
        Ok(rows.iter().map(object).collect())
    }

    /// How long the last build of each materialized view took, in milliseconds.
    ///
    /// # Errors
    /// The server's.
    pub async fn view_build_times(&self, session: &Session) -> Result<Vec<(String, i64)>> {
        let rows = session.query("reading how long views took", &self.sql(DURATIONS), &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The last drop of everything that was ever dropped.
    ///
    /// # Errors
    /// The server's.
    pub async fn dropped_views(&self, session: &Session) -> Result<Vec<DroppedView>> {
        let rows = session.query("reading what views were dropped", &self.sql(DROPPED), &[]).await?;
        let dropped = |row: &Row| DroppedView {
            id: row.get("id"),
            at: row.get("at"),
            role: row.get("role"),
            name: row.get("name"),
            kind: row.get("kind"),
            before: row.get("before"),
            file: row.get("file"),
        };
        Ok(rows.iter().map(dropped).collect())
    }

    /// Records an object as applied, in the caller's transaction.
    ///
    /// # Errors
    /// The server's.
    pub async fn record_view_object(&self, session: &Session, object: &ViewObject) -> Result<()> {
        self.require_writable()?;
        let aspects = object.aspects.join(" ");
        let doing = format!("recording {}", object.name);
        let sql = self.sql(RECORD);
        let ViewObject { name, kind, oid, file, checksum, checksum_expanded, definition_hash, .. } = object;
        let hashes = (definition_hash, &object.properties_hash);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [name, kind, oid, file, checksum, checksum_expanded, hashes.0, hashes.1, &aspects];
        session.execute(&doing, &sql, &params).await.map(drop)
    }

    /// Records that a file could not be applied; what was applied before stands.
    ///
    /// # Errors
    /// The server's.
    pub async fn record_view_failure(
        &self,
        session: &Session,
        (name, kind, file): (&str, &str, &str),
        (code, message): (Option<&str>, &str),
    ) -> Result<()> {
        self.require_writable()?;
        let doing = format!("recording the failure of {name}");
        session.execute(&doing, &self.sql(FAIL), &[&name, &kind, &file, &code, &message]).await.map(drop)
    }

    /// Forgets an object: pgtide does not look after it any more.
    ///
    /// # Errors
    /// The server's.
    pub async fn forget_view_object(&self, session: &Session, name: &str) -> Result<bool> {
        self.require_writable()?;
        let sql = self.sql("delete from pgtide.view_object where name = $1");
        Ok(session.execute(&format!("forgetting {name}"), &sql, &[&name]).await? > 0)
    }

    /// Adds to the history, in the caller's transaction.
    ///
    /// # Errors
    /// The server's.
    pub async fn record_view_event(&self, session: &Session, owner: &Owner, event: &ViewEvent) -> Result<()> {
        self.require_writable()?;
        let (file, checksum) = event.file.as_ref().map(|(file, sum)| (file, sum)).unzip();
        let (code, message) = event.error.as_ref().map(|(code, text)| (code.as_ref(), text)).unzip();
        let (code, pid) = (code.flatten(), i64::from(owner.pid));
        let ViewEvent { action, name, kind, oid, cause, sql, before, elapsed_ms, .. } = event;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 15] = [
            &owner.host,
            &pid,
            &owner.run_id,
            action,
            name,
            kind,
            oid,
            &file,
            &checksum,
            cause,
            sql,
            before,
            &code,
            &message,
            elapsed_ms,
        ];
        session
            .execute(&format!("recording what was done to {name}"), &self.sql(HISTORY), &params)
            .await
            .map(drop)
    }
}

fn object(row: &Row) -> ViewObject {
    let aspects: &str = row.get("aspects");
    ViewObject {
        name: row.get("name"),
        kind: row.get("kind"),
        oid: row.get("oid"),
        file: row.get("file"),
        checksum: row.get("checksum"),
        checksum_expanded: row.get("checksum_expanded"),
        definition_hash: row.get("definition_hash"),
        properties_hash: row.get("properties_hash"),
        aspects: aspects.split_whitespace().map(str::to_owned).collect(),
        server_version: row.get("server_version"),
        error: row.get("error_message"),
    }
}
