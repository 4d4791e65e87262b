//! Files from views that exist: each with everything that belongs to it, so that nothing has to be rebuilt.
//!
//! Other tools' own records tell what they did: a `flyway_schema_history` with its repeatable scripts,
//! the migrations of a Rails with Scenic, Alembic's version. They are read, never written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flate2::Crc;

use super::alter;
use super::facts::{self, Facts};
use super::files::Folder;
use super::statement::ObjectKind;
use crate::error::Result;
use crate::name::TableName;
use crate::postgres::connect::Session;
use crate::postgres::ident;

const CANDIDATES: &str = "
select c.oid
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('m', 'v')
  and n.nspname not in ('pg_catalog', 'information_schema', $1)
  and n.nspname not like 'pg\\_%'
  and coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '') not like 'pgtide: %'
  and not exists (select from pg_catalog.pg_depend d
                  where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                    and d.deptype = 'e')";

const TOOLS: &str = "
select n.nspname::text, c.relname::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relname in ('flyway_schema_history', 'schema_migrations', 'alembic_version')
order by 1, 2";

/// All views of a database that belong to no extension and no ledger, by name.
///
/// # Errors
/// The server's.
pub async fn candidates(session: &Session, ledger_schema: &str) -> Result<Vec<Facts>> {
    let rows = session.query("looking for views", CANDIDATES, &[&ledger_schema]).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut found: Vec<Facts> = facts::read(session, &oids).await?.into_values().collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The path and the text of the file that makes a view as it is.
#[must_use]
pub fn file_of(facts: &Facts, own_text: Option<&str>) -> (String, String) {
    let schema = facts.name.schema.as_deref().unwrap_or_default();
    let path = format!("{}/{}.sql", file_name(schema), file_name(&facts.name.table));
    let script = alter::script(facts);
    let text = match own_text {
        None => script,
        Some(query) => {
            let rest = script.split_once(";\n").map_or("", |(_, rest)| rest);
            let query = query.trim().trim_end_matches(';');
            format!("create {} {} as\n{query};\n{rest}", facts.kind.sql(), ident::quote_table(&facts.name))
        }
    };
    (path, text)
}

/// A name that is a file's on every system.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "_-".contains(c) { c } else { '_' }).collect()
}

/// Scenic's newest version of each view: `db/views/sales_v02.sql` is `sales`; `mart.sales_v01.sql` has a schema.
#[must_use]
pub fn scenic_texts(folder: &Path) -> BTreeMap<TableName, String> {
    let mut newest: BTreeMap<TableName, (u32, String)> = BTreeMap::new();
    for path in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()) {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let version = stem
            .rsplit_once("_v")
            .and_then(|(name, version)| Some((name.parse().ok()?, version.parse().ok()?)));
        let (Some((name, version)), Ok(text)) = (version, fs::read_to_string(&path)) else { continue };
        let name: TableName = name;
        if newest.get(&name).is_none_or(|(known, _)| *known < version) {
            newest.insert(name, (version, text));
        }
    }
    newest.into_iter().map(|(name, (_, text))| (name, text)).collect()
}

/// The text that a tool keeps for a view; one without a schema fits any.
#[must_use]
pub fn own_text<'t>(texts: &'t BTreeMap<TableName, String>, facts: &Facts) -> Option<&'t str> {
    let bare = TableName { schema: None, table: facts.name.table.clone() };
    let is_view = facts.kind != ObjectKind::Function;
    texts.get(&facts.name).or_else(|| texts.get(&bare)).filter(|_| is_view).map(String::as_str)
}

/// What other tools say about this database and the files, a line each.
///
/// # Errors
/// The server's.
pub async fn tools(session: &Session, root: &Path, folder: &Folder) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for row in session.query("looking for other tools' records", TOOLS, &[]).await? {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        match table.table.as_str() {
            "flyway_schema_history" => lines.extend(flyway(session, &table, root, folder).await?),
            "alembic_version" => {
                let sql = format!("select version_num::text from {}", ident::quote_table(&table));
                let rows = session.query("reading Alembic's version", &sql, &[]).await?;
                let versions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                lines.push(format!(
                    "Alembic is at {}: take views out of later migrations, they are files now",
                    versions.join(", ")
                ));
            }
            _ => {
                let sql = format!("select pg_catalog.max(version::text) from {}", ident::quote_table(&table));
                let newest: Option<String> =
                    session.query_one("reading Rails' migrations", &sql, &[]).await?.get(0);
                lines.push(format!(
                    "Rails has migrated to {}: later migrations leave views to these files",
                    newest.unwrap_or_default()
                ));
            }
        }
    }
    Ok(lines)
}

/// Compares the repeatable scripts that Flyway ran with the files that are here.
async fn flyway(session: &Session, table: &TableName, root: &Path, folder: &Folder) -> Result<Vec<String>> {
    let sql = format!(
        "select distinct on (script) script::text, checksum::pg_catalog.int4 from {}
         where version is null and success and type::text = 'SQL' order by script, installed_rank desc",
        ident::quote_table(table)
    );
    let rows = session.query("reading Flyway's history", &sql, &[]).await?;
    let mut lines = vec![format!("Flyway has run {} repeatable scripts", rows.len())];
    for row in &rows {
        let (script, checksum): (String, Option<i32>) = (row.get(0), row.get(1));
        let name = script.rsplit('/').next().unwrap_or(&script);
        let file = folder.files.iter().find(|file| file.path.rsplit('/').next() == Some(name));
        let text = file.and_then(|file| fs::read_to_string(root.join(&file.path)).ok());
        match (file, text) {
            (None, _) => lines.push(format!(
                "{script}: Flyway ran it, and it is not in the folder: its view has to be adopted or dropped"
            )),
            (Some(file), Some(text)) if checksum.is_some_and(|sum| sum != flyway_checksum(&text)) => {
                lines.push(format!("{}: edited since Flyway ran it", file.path));
            }
            _ => {}
        }
    }
    Ok(lines)
}

/// Flyway's checksum of a script: the CRC-32 of its lines without their ends.
#[must_use]
pub fn flyway_checksum(text: &str) -> i32 {
    let mut crc = Crc::new();
    text.trim_start_matches('\u{feff}').lines().for_each(|line| crc.update(line.as_bytes()));
    crc.sum().cast_signed()
}
