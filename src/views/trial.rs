//! What the files mean: every object created without rows beside the live ones, looked at, and undone.
//!
//! Nothing live is dropped, locked against readers or changed. The server itself says what a file's text
//! means, which names it reads, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{self, Facts};
use super::files::{Definition, Folder};
use super::inspect::{self, Tried, Unreadable};
use super::order::{self, Reads};
use super::scratch::Scratch;
use super::statement::{Aspect, ObjectKind};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;
use crate::postgres::sqlstate::place_in;

const DOING: &str = "trying out the files of views";

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// Objects as they would be, under their own names.
    pub objects: BTreeMap<TableName, Facts>,
    /// What each reads of the others, directly.
    pub reads: Reads,
    /// Files that the server refuses.
    pub failed: BTreeMap<TableName, Failure>,
    /// What they would read and their owners may not.
    pub unreadable: Vec<(TableName, Unreadable)>,
}

/// Why a file cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one line.
    pub message: String,
    /// Lines below it.
    pub details: Vec<String>,
    /// The server's code.
    pub sqlstate: Option<String>,
}

/// The schemas of the role's own `search_path`, which must be in force.
///
/// # Errors
/// The server's.
pub async fn role_path(session: &Session) -> Result<Vec<String>> {
    let sql = "select pg_catalog.current_schemas(false)::pg_catalog.text[]";
    Ok(session.query_one("reading the role's search path", sql, &[]).await?.get(0))
}

/// The schema in which the role creates what is named without one.
///
/// # Errors
/// The server's.
pub async fn default_schema(session: &Session) -> Result<String> {
    session.batch(DOING, "begin read only; set local search_path to default").await?;
    let path = role_path(session).await;
    session.batch(DOING, "rollback").await?;
    Ok(path?.into_iter().next().unwrap_or_else(|| "public".to_owned()))
}

/// Guesses from the text what reads what, for an order to start with.
#[must_use]
pub fn guess(folder: &Folder) -> Reads {
    let names: BTreeSet<_> = folder.definitions().map(|(_, object)| object.name.clone()).collect();
    let mut reads = Reads::new();
    for (file, object) in folder.definitions() {
        let qualified = object.create.qualified().map(|(_, schema, name)| TableName::new(schema, name));
        let bare = (0..object.create.tokens.len()).filter_map(|at| {
            let alone = (at == 0 || object.create.word(at - 1) != ".") && object.create.word(at + 1) != ".";
            let word = object.create.name(at).filter(|_| alone)?;
            names.iter().find(|name| name.table == word && name.schema == object.name.schema).cloned()
        });
        let named = file.options.depends_on.clone().unwrap_or_default();
        let all =
            qualified.chain(bare).chain(named).filter(|name| names.contains(name) && *name != object.name);
        reads.insert(object.name.clone(), all.collect());
    }
    reads
}

/// Tries all files.
///
/// # Errors
/// The server's, where they are not about a file.
pub async fn run(session: &Session, folder: &Folder) -> Result<Trial> {
    session.batch(DOING, "begin isolation level read committed read write").await?;
    let result = inside(session, folder).await;
    // Whatever happened: nothing of it stays.
    let undone = session.batch(DOING, "rollback").await;
    result.and_then(|trial| undone.map(|()| trial))
}

async fn inside(session: &Session, folder: &Folder) -> Result<Trial> {
    session.batch(DOING, "set local search_path to default; set local lock_timeout = '5s'; set local check_function_bodies = off").await?;
    let own = role_path(session).await?;
    let names: BTreeSet<_> = folder.definitions().map(|(_, object)| object.name.clone()).collect();
    let scratch = Scratch::new(&format!("pgtide_trial_{}_", session.server().backend_pid), names.clone());
    scratch.make(session, "pgtide: being tried for").await?;
    session.batch(DOING, &format!("set local search_path to {}", scratch.search_path(&own))).await?;
    let has_defaults = has_default_grants(session).await?;
    let objects: BTreeMap<_, _> = folder.definitions().map(|(_, object)| (&object.name, object)).collect();
    let guess = guess(folder);
    let mut pending = order::sorted(&names, &guess);
    let mut errors = BTreeMap::new();
    loop {
        let before = pending.len();
        let mut left = Vec::new();
        for name in pending {
            match create(session, &scratch, objects[&name], has_defaults).await? {
                None => drop(errors.remove(&name)),
                Some(failure) => {
                    errors.insert(name.clone(), failure);
                    left.push(name);
                }
            }
        }
        pending = left;
        if pending.is_empty() || pending.len() == before {
            break;
        }
    }
    let created: Vec<_> = names.iter().filter(|name| !errors.contains_key(*name)).cloned().collect();
    session.batch(DOING, "set local search_path to ''").await?;
    let mut trial = look(session, &scratch, folder, &created).await?;
    trial.failed = explained(errors, &guess);
    Ok(trial)
}

async fn has_default_grants(session: &Session) -> Result<bool> {
    let sql = "select exists (select from pg_catalog.pg_default_acl a join pg_catalog.pg_roles r on r.oid = a.defaclrole
               where r.rolname = current_user and a.defaclobjtype = 'r' and a.defaclnamespace = 0)";
    Ok(session.query_one(DOING, sql, &[]).await?.get(0))
}

/// Creates one, or says what is wrong with it; an error that is not about the file ends all.
async fn create(
    session: &Session,
    scratch: &Scratch,
    object: &Definition,
    has_defaults: bool,
) -> Result<Option<Failure>> {
    session.batch(DOING, "savepoint one").await?;
    let create = scratch.create(object);
    let mut statements = vec![create];
    if has_defaults && object.aspects.contains(&Aspect::Grants) && object.kind != ObjectKind::Function {
        let name = scratch.name(&object.name);
        statements.extend(without_defaults(&name));
    }
    statements.extend(object.parts.iter().map(|part| scratch.part(part)));
    for statement in &statements {
        let Err(error) = session.client().batch_execute(statement).await else { continue };
        let places = place_in(statement, &error);
        let error = session.error(&format!("creating {}", object.name), error).await;
        if session.is_closed()
            || error.kind() == ErrorKind::Contention
            || error.kind() == ErrorKind::Resources
        {
            return Err(error);
        }
        session.batch(DOING, "rollback to savepoint one").await?;
        return Ok(Some(failure(&error, places)));
    }
    session.batch(DOING, "release savepoint one").await?;
    Ok(None)
}

/// Takes away what the role's default privileges gave: the file says who may read.
fn without_defaults(name: &TableName) -> Vec<String> {
    let sql = format!(
        "do $pgtide$ declare who text; begin for who in
           select distinct case when x.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) end
           from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x
           where c.oid = {}::pg_catalog.regclass and x.grantee <> c.relowner
         loop execute {} || who; end loop; end $pgtide$",
        ident::literal(&ident::quote_table(name)),
        ident::literal(&format!("revoke all on table {} from ", ident::quote_table(name))),
    );
    vec![sql]
}

fn failure(error: &Error, places: Vec<String>) -> Failure {
    let details = error.details().iter().cloned().chain(places).collect();
    Failure { message: error.chain(), details, sqlstate: error.sqlstate().map(str::to_owned) }
}

/// Reads what was created, under the names it would have.
async fn look(session: &Session, scratch: &Scratch, folder: &Folder, created: &[TableName]) -> Result<Trial> {
    let there: Vec<_> = created.iter().map(|name| scratch.name(name)).collect();
    let kinds: BTreeMap<_, _> = folder.definitions().map(|(_, object)| (&object.name, object.kind)).collect();
    let home = |name: &TableName| TableName {
        schema: name.schema.as_deref().and_then(|s| scratch.home(s)),
        table: name.table.clone(),
    };
    let mut names: BTreeMap<u32, TableName> = BTreeMap::new();
    for found in facts::named(session, &there).await? {
        let name = home(&found.name);
        if kinds.get(&name).is_some_and(|kind| kind.sql() == found.kind) {
            names.insert(found.oid, name);
        }
    }
    let oids: Vec<u32> = names.keys().copied().collect();
    let quoted = as_the_server_writes(session, scratch).await?;
    let back = |schema: &str, _: &str| quoted.get(&scratch.home(schema)?).cloned();
    let mut trial = Trial::default();
    for (oid, facts) in facts::read(session, &oids).await? {
        trial.objects.insert(names[&oid].clone(), facts.moved(names[&oid].clone(), &back));
    }
    for dependent in facts::dependents(session, &oids).await? {
        if let (Some(reader), Some(read)) = (names.get(&dependent.oid), names.get(&dependent.target)) {
            trial.reads.entry(reader.clone()).or_default().insert(read.clone());
        }
    }
    trial.unreadable = unreadable(session, scratch, folder, &names).await?;
    for (file, object) in folder.definitions() {
        let named = file.options.depends_on.iter().flatten().filter(|name| kinds.contains_key(name));
        trial.reads.entry(object.name.clone()).or_default().extend(named.cloned());
    }
    Ok(trial)
}

/// What the views would read and may not, each with the owner that it would have.
async fn unreadable(
    session: &Session,
    scratch: &Scratch,
    folder: &Folder,
    names: &BTreeMap<u32, TableName>,
) -> Result<Vec<(TableName, Unreadable)>> {
    let mut tried = Tried::default();
    for (oid, name) in names {
        let object = folder.definitions().map(|(_, object)| object).find(|object| object.name == *name);
        let Some(object) = object.filter(|object| object.kind != ObjectKind::Function) else { continue };
        let keeps_owner = !object.aspects.contains(&Aspect::Owner);
        tried.oids.push(*oid);
        tried.names.push(keeps_owner.then(|| ident::quote_table(name)));
    }
    let found = inspect::unreadable(session, &tried.oids, &tried).await?;
    let at_home = |via: String| {
        scratch
            .schemas()
            .fold(via, |via, (there, home)| via.replace(&format!("{there}."), &format!("{home}.")))
    };
    let named = |one: Unreadable| {
        Some((names.get(&one.view)?.clone(), Unreadable { via: one.via.map(at_home), ..one }))
    };
    Ok(found.into_iter().filter_map(named).collect())
}

/// The home schemas as the server writes them: quoted where it would quote them, so that texts compare.
async fn as_the_server_writes(session: &Session, scratch: &Scratch) -> Result<BTreeMap<String, String>> {
    let homes: Vec<String> = scratch.schemas().map(|(_, home)| home.to_owned()).collect();
    let sql = "select h, pg_catalog.quote_ident(h) from pg_catalog.unnest($1::pg_catalog.text[]) h";
    let rows = session.query(DOING, sql, &[&homes]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Tells what failed by itself from what only waits for it; where all wait, there is a cycle.
fn explained(errors: BTreeMap<TableName, Failure>, guess: &Reads) -> BTreeMap<TableName, Failure> {
    let names: BTreeSet<_> = errors.keys().cloned().collect();
    let cycle = order::cycle(&names, guess);
    let waits =
        |name: &TableName| guess.get(name).into_iter().flatten().find(|read| names.contains(*read)).cloned();
    let explain = |(name, failure): (TableName, Failure)| {
        let of =
            |message: String| Failure { message, details: Vec::new(), sqlstate: failure.sqlstate.clone() };
        let failure = match (&cycle, waits(&name)) {
            (Some(path), _) if path.contains(&name) => {
                let path: Vec<_> = path.iter().map(ToString::to_string).collect();
                of(format!("reads itself: {}", path.join(" -> ")))
            }
            (_, Some(other)) => of(format!("reads {other}, which could not be created")),
            _ => failure,
        };
        (name, failure)
    };
    errors.into_iter().map(explain).collect()
}
