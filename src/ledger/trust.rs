//! What the catalog says about the ledger, and whether it can be trusted.
//!
//! A trigger, a default or a view in a planted ledger would run another role's code as ours, so
//! nothing of it is read or written before its owner and its shape are known: one catalog query.

use std::collections::BTreeMap;

use super::open::VERSION;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connect::Session;
use crate::postgres::ident;

/// The tables and the columns that this version works with.
pub(super) const TABLES: [(&str, &str); 11] = [
    ("meta", "only_row version changed_at changed_by"),
    (
        "interval",
        "id job interval_start interval_end key timezone state reason table_oid table_name scope loaded_at \
         definition_hash rows bytes batches digest source_snapshot source_system resume_key token attempt \
         tries attempt_definition_hash attempt_fingerprint host pid run_id triggered_by backend_pid started_at \
         finished_at error_code error_message load_started_at table_file",
    ),
    (
        "batch",
        "interval_id token number attempt rows bytes digest staged xid resume_key definition_hash committed_at \
         origin",
    ),
    (
        "attempt",
        "id interval_id attempt token outcome state reason role host pid run_id triggered_by definition_hash \
         rows bytes batches digest source_snapshot source_system foreign_rows started_at finished_at \
         error_code error_message",
    ),
    (
        "backfill",
        "id job number dates options settings interval_start interval_end timezone keys state role host pid \
         run_id triggered_by created_at changed_by changed_at",
    ),
    (
        "view_object",
        "name kind oid file checksum checksum_expanded definition_hash properties_hash aspects server_version \
         state applied_at applied_by error_code error_message",
    ),
    (
        "view_history",
        "id at role host pid run_id action name kind oid file checksum cause sql before outcome error_code \
         error_message elapsed_ms",
    ),
    ("table_seen", "table_oid file seen_at"),
    ("table_version", "table_oid version changed_at rows"),
    ("view", "view_oid view_name refreshed_at data_as_of sources xmin_token refresh_id failed_at failed_id"),
    (
        "view_refresh",
        "id view_oid view_name run_id triggered_by host pid role reason mode status attempt started_at \
         finished_at data_as_of rows rows_in rows_out bytes sources xmin_token sqlstate error",
    ),
];

/// Membership is followed by hand: `pg_has_role` says yes to a superuser, who is the one to protect.
const INSPECT: &str = "
with recursive mine (oid) as (
    select r.oid from pg_catalog.pg_roles r where r.rolname = current_user
    union
    select m.roleid from pg_catalog.pg_auth_members m join mine on m.member = mine.oid
)
select pg_catalog.pg_get_userbyid(n.nspowner)::text as schema_owner,
       n.nspowner in (select oid from mine) as schema_mine,
       exists (select from pg_catalog.aclexplode(n.nspacl) a
               where a.grantee = 0 and a.privilege_type = 'CREATE') as schema_public,
       pg_catalog.has_schema_privilege(n.oid, 'usage') as schema_usage,
       current_user::text as role,
       c.oid, c.relname::text as name, c.relkind::text as kind, c.relpersistence::text as persistence,
       pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
       c.relowner in (select oid from mine) as mine,
       pg_catalog.has_table_privilege(c.oid, 'select') as readable,
       array(select t.tgname::text from pg_catalog.pg_trigger t
             where c.relhastriggers and t.tgrelid = c.oid and not t.tgisinternal) as triggers,
       array(select w.rulename::text from pg_catalog.pg_rewrite w
             where c.relhasrules and w.ev_class = c.oid and w.rulename <> '_RETURN') as rules,
       c.relrowsecurity or c.relforcerowsecurity as row_security,
       exists (select from pg_catalog.pg_index x
               where x.indrelid = c.oid and x.indisprimary and x.indisvalid) as has_key,
       array(select a.attname::text from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
from pg_catalog.pg_namespace n
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = any ($2)
where n.nspname = $1";

/// The schema and the tables of a ledger, as the catalog describes them.
pub(super) struct Inspection {
    schema: String,
    role: String,
    schema_owner: String,
    schema_mine: bool,
    schema_public: bool,
    schema_usage: bool,
    relations: BTreeMap<String, Relation>,
}

struct Relation {
    oid: u32,
    kind: String,
    persistence: String,
    owner: String,
    mine: bool,
    readable: bool,
    triggers: Vec<String>,
    rules: Vec<String>,
    row_security: bool,
    has_key: bool,
    columns: Vec<String>,
}

/// Lines of what is wrong and of what repairs it.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    hints: Vec<String>,
}

impl Findings {
    fn add(&mut self, line: String, hint: impl Into<String>) {
        self.lines.push(line);
        let hint = hint.into();
        if !hint.is_empty() && !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    fn into_result(self, what: &str) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut error = Error::new(ErrorKind::Preflight, what);
        if !self.hints.is_empty() {
            error = error.with_hint(self.hints.join("\n"));
        }
        Err(self.lines.into_iter().fold(error, Error::with_detail))
    }
}

/// Looks the ledger up in the catalog; none if the schema does not exist.
pub(super) async fn inspect(session: &Session, schema: &str) -> Result<Option<Inspection>> {
    let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    let doing = format!("looking for the ledger in schema {}", ident::quote(schema));
    let rows = session.query(&doing, INSPECT, &[&schema, &names]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut found = Inspection {
        schema: schema.to_owned(),
        role: first.get("role"),
        schema_owner: first.get("schema_owner"),
        schema_mine: first.get("schema_mine"),
        schema_public: first.get("schema_public"),
        schema_usage: first.get("schema_usage"),
        relations: BTreeMap::new(),
    };
    for row in rows.iter().filter(|row| row.get::<_, Option<u32>>("oid").is_some()) {
        found.relations.insert(row.get("name"), Relation::from_row(row));
    }
    Ok(Some(found))
}

impl Relation {
    fn from_row(row: &tokio_postgres::Row) -> Self {
        Self {
            oid: row.get("oid"),
            kind: row.get("kind"),
            persistence: row.get("persistence"),
            owner: row.get("owner"),
            mine: row.get("mine"),
            readable: row.get("readable"),
            triggers: row.get("triggers"),
            rules: row.get("rules"),
            row_security: row.get("row_security"),
            has_key: row.get("has_key"),
            columns: row.get("columns"),
        }
    }
}

impl Inspection {
    /// Whether nothing of a ledger is there yet.
    pub(super) fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    /// The OID of a table; [`require_shape`](Self::require_shape) has found it.
    pub(super) fn oid(&self, table: &str) -> u32 {
        self.relations.get(table).expect("the shape was checked").oid
    }

    /// Refuses a ledger that could run somebody else's code as this role.
    pub(super) fn require_trusted(&self) -> Result<()> {
        let mut findings = Findings::default();
        self.check_schema(&mut findings);
        for (name, relation) in &self.relations {
            self.check_owner(name, relation, &mut findings);
            self.check_code(name, relation, &mut findings);
        }
        findings
            .into_result(&format!("the ledger in schema {} cannot be trusted", ident::quote(&self.schema)))
    }

    /// Refuses to read what is no table, or may not be read.
    pub(super) fn require_readable(&self) -> Result<()> {
        let mut findings = Findings::default();
        let (schema, role) = (ident::quote(&self.schema), ident::quote(&self.role));
        for (name, relation) in &self.relations {
            self.check_kind(name, relation, &mut findings);
            if !self.schema_usage || !relation.readable {
                findings.add(
                    format!("role {role} may not read {schema}.{name}"),
                    format!(
                        "grant usage on schema {schema} to {role}; \
                         grant select on all tables in schema {schema} to {role};"
                    ),
                );
            }
        }
        findings.into_result(&format!("the ledger in schema {schema} cannot be read"))
    }

    /// Refuses tables that are not what version [`VERSION`] works with; to be called once the version is known.
    pub(super) fn require_shape(&self) -> Result<()> {
        let mut findings = Findings::default();
        let schema = ident::quote(&self.schema);
        for (name, columns) in TABLES {
            let Some(relation) = self.relations.get(name) else {
                findings.add(format!("table {schema}.{name} is missing"), self.restore_hint());
                continue;
            };
            let missing: Vec<&str> = columns
                .split_whitespace()
                .filter(|c| !relation.columns.iter().any(|have| have == c))
                .collect();
            if !missing.is_empty() {
                let line = format!("table {schema}.{name} has no column {}", missing.join(", "));
                findings.add(line, self.restore_hint());
            }
            if !relation.has_key {
                findings.add(format!("table {schema}.{name} has no valid primary key"), self.restore_hint());
            }
        }
        findings.into_result(&format!("schema {schema} does not hold a ledger of version {VERSION}"))
    }

    /// Refuses a schema where some tables have our names and the one that says the version is missing.
    pub(super) fn require_meta(&self) -> Result<()> {
        if self.relations.contains_key("meta") || self.relations.is_empty() {
            return Ok(());
        }
        self.require_shape()
    }

    fn restore_hint(&self) -> String {
        format!("restore schema {} from a backup, or configure another schema for the ledger", self.schema)
    }

    fn check_schema(&self, findings: &mut Findings) {
        let schema = ident::quote(&self.schema);
        if !self.schema_mine {
            findings.add(
                format!("it belongs to {}, and {} is no member of it", self.schema_owner, self.role),
                {
                    let (owner, role) = (ident::quote(&self.schema_owner), ident::quote(&self.role));
                    format!("connect as {}; or, if you trust it: grant {owner} to {role};", self.schema_owner)
                },
            );
        }
        if self.schema_public {
            findings.add(
                format!("everybody may create objects in schema {schema}"),
                format!("revoke create on schema {schema} from public;"),
            );
        }
    }

    fn check_owner(&self, name: &str, relation: &Relation, findings: &mut Findings) {
        // Whoever owns the schema, too, is told of once.
        if relation.mine || (!self.schema_mine && relation.owner == self.schema_owner) {
            return;
        }
        let schema = ident::quote(&self.schema);
        findings.add(
            format!(
                "table {schema}.{name} belongs to {}, and {} is no member of it",
                relation.owner, self.role
            ),
            self.owner_hint(&relation.owner, &format!("alter table {schema}.{name} owner to")),
        );
    }

    fn owner_hint(&self, owner: &str, alter: &str) -> String {
        let (owner_sql, role) = (ident::quote(owner), ident::quote(&self.role));
        format!("connect as {owner}; or, if you trust it: grant {owner_sql} to {role}; or: {alter} {role};")
    }

    fn check_kind(&self, name: &str, relation: &Relation, findings: &mut Findings) {
        let schema = ident::quote(&self.schema);
        if relation.kind != "r" {
            findings.add(format!("{schema}.{name} is not an ordinary table"), self.restore_hint());
        } else if relation.persistence != "p" {
            let line = format!("table {schema}.{name} is not permanent: a crash would empty it");
            findings.add(line, format!("alter table {schema}.{name} set logged;"));
        }
    }

    fn check_code(&self, name: &str, relation: &Relation, findings: &mut Findings) {
        let schema = ident::quote(&self.schema);
        self.check_kind(name, relation, findings);
        for trigger in &relation.triggers {
            let (line, drop) =
                (format!("table {schema}.{name} has trigger {trigger}"), ident::quote(trigger));
            findings.add(line, format!("drop trigger {drop} on {schema}.{name};"));
        }
        for rule in &relation.rules {
            let (line, drop) = (format!("table {schema}.{name} has rule {rule}"), ident::quote(rule));
            findings.add(line, format!("drop rule {drop} on {schema}.{name};"));
        }
        if relation.row_security {
            findings.add(
                format!("table {schema}.{name} has row-level security"),
                format!(
                    "alter table {schema}.{name} disable row level security, no force row level security;"
                ),
            );
        }
    }
}
