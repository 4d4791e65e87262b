//! Where the rows go: the table as it is, or as it will be made, and whether the mode can work there.

use super::source::Source;
use crate::columns::ColumnPlan;
use crate::config::job::{CommitPolicy, Job, LoadMode};
use crate::config::nearest::did_you_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Accepted, Ledger};
use crate::name::TableName;
use crate::postgres::catalog::{self, Column, Identity, OnDelete, Relation, RuleEvent};
use crate::postgres::connect::Session;
use crate::postgres::ident;

const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Two first runs must not make the table twice.
const CREATION_LOCK: &str = "select pg_catalog.pg_advisory_xact_lock(7305808869231650148)";

/// The destination of a job.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// The full name.
    pub(super) name: TableName,
    /// The table, unless it is still to be made.
    pub(super) relation: Option<Relation>,
    /// What a load depends on; empty while the table is to be made.
    pub(super) fingerprint: String,
    /// Statements that make it.
    pub(super) create: Vec<String>,
    /// The columns it will have.
    planned: Vec<Column>,
}

/// Looks the table up, or makes it.
pub(super) async fn find(
    control: &Session,
    job: &Job,
    source: &Source,
    may_create: bool,
) -> Result<Destination> {
    refuse_read_only(control)?;
    if let Some(relation) = catalog::relation_if_exists(control, &job.into).await? {
        return existing(control, relation).await;
    }
    if !job.create {
        return Err(catalog::find_relation(control, &job.into)
            .await
            .err()
            .unwrap_or_else(|| appeared(&job.into))
            .with_hint(if job.file.is_some() {
                "make the table, or let pgtide make it: `create = true` in the job"
            } else {
                "make the table, or let pgtide make it: leave --no-create out"
            }));
    }
    let name = catalog::creation_name(control, &job.into).await?;
    let planned = catalog::created_columns(&wanted(job, source));
    if let Some(column) = planned.iter().find(|c| SYSTEM_COLUMNS.contains(&c.name.as_str())) {
        let context = format!("{name} cannot be made: every table has a column {} of its own", column.name);
        return Err(
            Error::new(ErrorKind::Preflight, context).with_hint("give the query's column another name")
        );
    }
    let create = catalog::create_statements(control, &name, &planned, &primary_key(job, source)).await?;
    if !may_create {
        // Refused now, nothing is made.
        let planned = catalog::types_there(control, planned).await?;
        return Ok(Destination { name, relation: None, fingerprint: String::new(), create, planned });
    }
    make(control, &name, &create).await?;
    let relation = catalog::find_relation(control, &name).await?;
    existing(control, relation).await
}

fn refuse_read_only(control: &Session) -> Result<()> {
    let server = control.server();
    if !server.in_recovery && !server.read_only {
        return Ok(());
    }
    let why = if server.in_recovery { "it is a standby" } else { "default_transaction_read_only is on" };
    Err(Error::new(ErrorKind::Preflight, format!("{} takes no writes: {why}", server.name))
        .with_hint("name the primary as destination, or a role that may write"))
}

async fn existing(control: &Session, relation: Relation) -> Result<Destination> {
    if let Some((first, rest)) = relation.refused_as_destination().split_first() {
        let error = Error::new(ErrorKind::Preflight, format!("{}: {first}", control.server().name));
        return Err(rest.iter().fold(error, |error, line| error.with_detail(line.clone())));
    }
    let fingerprint = catalog::shape(control, relation.oid).await?.fingerprint;
    // Read after the fingerprint: while that holds, these are its columns.
    let relation = catalog::find_relation(control, &relation.name).await?;
    Ok(Destination {
        name: relation.name.clone(),
        relation: Some(relation),
        fingerprint,
        create: Vec::new(),
        planned: Vec::new(),
    })
}

/// The source's columns that the job takes.
fn wanted(job: &Job, source: &Source) -> Vec<Column> {
    match &job.columns {
        Some(names) => {
            names.iter().filter_map(|n| source.columns.iter().find(|c| &c.name == n)).cloned().collect()
        }
        None => source.columns.clone(),
    }
}

/// The source's key, or what the job says tells rows apart; only if all of it is taken.
fn primary_key(job: &Job, source: &Source) -> Vec<String> {
    let key = match (&source.relation, job.mode) {
        (_, LoadMode::Merge) => job.key.clone(),
        (Some(relation), _) => relation.primary_key.clone(),
        (None, _) => Vec::new(),
    };
    let columns = wanted(job, source);
    let all = key.iter().all(|k| columns.iter().any(|c| &c.name == k));
    if all { key } else { Vec::new() }
}

async fn make(control: &Session, name: &TableName, statements: &[String]) -> Result<()> {
    let doing = format!("creating {name}");
    control.batch(&doing, "begin isolation level read committed").await?;
    control.query_one(&doing, CREATION_LOCK, &[]).await?;
    let made = make_if_missing(control, name, &doing, statements).await;
    control.batch(&doing, if made.is_ok() { "commit" } else { "rollback" }).await?;
    made
}

async fn make_if_missing(
    control: &Session,
    name: &TableName,
    doing: &str,
    statements: &[String],
) -> Result<()> {
    if catalog::relation_if_exists(control, name).await?.is_some() {
        return Ok(());
    }
    for statement in statements {
        control.batch(doing, statement).await?;
    }
    Ok(())
}

/// Adds the columns that `on_schema_change = "add"` asks for; returns the table as it is then.
pub(super) async fn add_columns(
    control: &Session,
    ledger: &Ledger,
    destination: &Destination,
    plan: &ColumnPlan,
) -> Result<Destination> {
    let doing = format!("adding columns to {}", destination.name);
    if let Some(sql) = catalog::add_columns_sql(&destination.name, &plan.added) {
        // Readers queue behind a statement that waits for its lock.
        let table = ident::quote_table(&destination.name);
        let begin =
            format!("begin; set local lock_timeout = '5s'; lock table {table} in access exclusive mode");
        control.batch(&doing, &begin).await?;
        let oid = destination.relation.as_ref().map_or(0, |r| r.oid);
        let added = async {
            let before = ledger.shape_before(control, oid).await?;
            control.batch(&doing, &sql).await?;
            ledger.accept_shape(control, oid, &before, Accepted::NewColumn).await
        };
        let added = added.await;
        control.batch(&doing, if added.is_ok() { "commit" } else { "rollback" }).await?;
        added?;
    }
    existing(control, catalog::find_relation(control, &destination.name).await?).await
}

fn appeared(name: &TableName) -> Error {
    Error::new(ErrorKind::Contention, format!("{name} was made while it was looked for"))
}

/// Refuses to load a table from itself.
pub(super) fn refuse_same_table(
    source_session: &Session,
    control: &Session,
    source: &Source,
    destination: &Destination,
) -> Result<()> {
    let (Some(from), Some(into)) = (&source.relation, &destination.relation) else { return Ok(()) };
    if !catalog::same_table((source_session.server(), from), (control.server(), into)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Preflight, format!("source and destination are the same table, {}", into.name))
        .with_hint("name another table with --into (in a job: `into`), or another destination"))
}

impl Destination {
    /// The columns it has, or will have.
    pub(super) fn columns(&self) -> &[Column] {
        self.relation.as_ref().map_or(&self.planned, |r| &r.columns)
    }

    /// Refuses the server's own tables and those of the ledger.
    pub(super) fn refuse_system(&self, control: &Session, ledger: &str) -> Result<()> {
        let schema = self.name.schema.as_deref().unwrap_or_default();
        let whose = match schema {
            _ if schema == ledger => "pgtide's own ledger",
            "information_schema" => "the server's own catalog",
            _ if schema.starts_with("pg_") => "the server's own catalog",
            _ => return Ok(()),
        };
        let context = format!("{}: {} is in {whose}", control.server().name, self.name);
        Err(Error::new(ErrorKind::Preflight, context)
            .with_hint("name a table of yours with --into (in a job: `into`)"))
    }

    /// Refuses what the job's mode cannot do to this table, all of it at once.
    pub(super) fn check(&self, control: &Session, job: &Job, plan: &ColumnPlan) -> Result<()> {
        let mut reasons = Reasons::default();
        for name in job.key.iter().chain(&job.resume_key) {
            if !plan.target_columns().any(|c| c == name) {
                let nearest = did_you_mean(name, plan.target_columns());
                reasons.lines.push(format!("no column `{name}` is loaded{nearest}"));
            }
        }
        let keys_exist = reasons.lines.is_empty();
        if let Some(relation) = &self.relation {
            match job.mode {
                LoadMode::DeleteInsert | LoadMode::Replace => reasons.of_deleting(relation),
                LoadMode::Merge if keys_exist => {
                    reasons.of_merging(relation, &job.key);
                    reasons.of_identities(relation, (job, plan));
                }
                LoadMode::Merge | LoadMode::Append => {}
            }
            reasons.of_rules(relation, job);
        }
        let mode = job.mode.word();
        let context = format!("{}: {} cannot be loaded with mode {mode}", control.server().name, self.name);
        reasons.into_result(context)
    }
}

/// Why a mode cannot work on a table, and what changes that.
#[derive(Default)]
struct Reasons {
    lines: Vec<String>,
    hints: Vec<String>,
}

impl Reasons {
    fn of_deleting(&mut self, relation: &Relation) {
        for key in &relation.referencing_fks {
            let (table, mut name) = (&key.table, key.name.clone());
            if let Some(partition) = &key.to_partition {
                name.push_str(&format!(", which points at partition {partition},"));
            }
            self.lines.extend(match key.on_delete {
                OnDelete::Refuse => None,
                OnDelete::Cascade => Some(format!(
                    "deleting its rows would delete rows of {table} too: foreign key {name} is ON DELETE CASCADE"
                )),
                OnDelete::Set => Some(format!(
                    "deleting its rows would change rows of {table} too: foreign key {name} is ON DELETE SET NULL or SET DEFAULT"
                )),
            });
        }
        if !self.lines.is_empty() {
            self.hints.push(
                "use mode merge, which deletes nothing; or make the foreign key ON DELETE NO ACTION"
                    .to_owned(),
            );
        }
    }

    fn of_merging(&mut self, relation: &Relation, key: &[String]) {
        let nullable: Vec<_> =
            key.iter().filter(|k| relation.column(k).is_some_and(|c| !c.not_null)).cloned().collect();
        for column in &nullable {
            self.lines.push(format!("key column {column} may be null"));
            let sql =
                format!("alter table {} alter column {} set not null;", relation.name, ident::quote(column));
            self.hints.push(sql);
        }
        if !relation.has_unique_index(key) {
            self.lines.push(format!("there is no unique index on exactly ({})", key.join(", ")));
            self.hints.push(format!(
                "create unique index on {} ({});",
                relation.name,
                ident::quote_list(key)
            ));
        }
    }

    /// Refuses what rules would make of the rows.
    fn of_rules(&mut self, relation: &Relation, job: &Job) {
        let inserts = job.mode == LoadMode::Merge || job.commit == Some(CommitPolicy::Staged);
        for rule in &relation.rules {
            let line = match (rule.event, job.mode) {
                (RuleEvent::Insert | RuleEvent::Update, LoadMode::Merge) => {
                    "merge inserts or updates, which the server refuses where such a rule is"
                }
                (RuleEvent::Insert, _) if inserts => {
                    "staged rows are inserted, which fires it, where COPY would not"
                }
                _ => continue,
            };
            self.lines.push(format!("rule {} is ON {}: {line}", rule.name, rule.event.word()));
            let (table, name) = (&relation.name, ident::quote(&rule.name));
            self.hints.push(match rule.event {
                // A disabled one is refused all the same.
                RuleEvent::Update => format!("drop rule {name} on {table};"),
                _ => format!("alter table {table} disable rule {name};"),
            });
        }
    }

    /// `ON CONFLICT DO UPDATE` sets no column that the server alone may fill.
    fn of_identities(&mut self, relation: &Relation, (job, plan): (&Job, &ColumnPlan)) {
        for name in plan.target_columns().filter(|name| !job.key.iter().any(|key| key == name)) {
            if relation.column(name).is_some_and(|c| c.identity == Some(Identity::Always)) {
                self.lines
                    .push(format!("column {name} is GENERATED ALWAYS AS IDENTITY and cannot be updated"));
                let name = ident::quote(name);
                let sql =
                    format!("alter table {} alter column {name} set generated by default;", relation.name);
                self.hints.push(sql);
            }
        }
    }

    fn into_result(self, context: String) -> Result<()> {
        let error = match self.lines.as_slice() {
            [] => return Ok(()),
            [only] => Error::new(ErrorKind::Preflight, format!("{context}: {only}")),
            several => several.iter().fold(Error::new(ErrorKind::Preflight, context), |error, line| {
                error.with_detail(line.clone())
            }),
        };
        Err(if self.hints.is_empty() { error } else { error.with_hint(self.hints.join("\n")) })
    }
}
