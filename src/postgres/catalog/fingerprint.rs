//! What a load into a table depends on, as one short text, and the files that the table is in.
//!
//! Rows are encoded for the columns that were compared before the first of them. A type of equal width, a
//! trigger or a rule that comes later makes other rows of the same bytes, without an error.

use crate::error::Result;
use crate::postgres::connect::Session;

/// Two digests: of the columns with what fills those that are left out, and of the triggers and rules that could
/// fire, on partitions too. Those that a partition has from its table come and go with it and change nothing.
/// Triggers look for their table, and not the table for its partitions, since that would lock each of them.
/// `{table}` is the table's OID.
const FINGERPRINT: &str = "
pg_catalog.concat_ws(' ',
    pg_catalog.md5(pg_catalog.concat_ws('|',
        (select pg_catalog.concat_ws(' ', c.relkind, c.relpersistence) from pg_catalog.pg_class c where c.oid = {table}),
        (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated,
                    a.attidentity, (select d.oid from pg_catalog.pg_attrdef d
                                    where d.adrelid = a.attrelid and d.adnum = a.attnum)), ',' order by a.attnum)
         from pg_catalog.pg_attribute a
         where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped))),
    pg_catalog.md5(pg_catalog.concat_ws('|',
        (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.oid, t.tgfoid, t.tgtype, t.tgenabled,
                    t.tgattr, pg_catalog.encode(t.tgargs, 'hex'), t.tgqual), ',' order by t.oid)
         from pg_catalog.pg_trigger t
         where not t.tgisinternal and t.tgparentid = 0 and t.tgenabled <> 'D'
           and (t.tgrelid = {table}
                or {table} in (select n.relid from pg_catalog.pg_partition_ancestors(t.tgrelid) n (relid)))),
        (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.oid, r.ev_type, r.is_instead, r.ev_enabled,
                    r.ev_qual, r.ev_action), ',' order by r.oid)
         from pg_catalog.pg_rewrite r where r.ev_class = {table} and r.ev_enabled <> 'D'))))";

/// TRUNCATE, VACUUM FULL and CLUSTER put a table into a new file, and each partition has its own.
const FILES: &str = "
pg_catalog.md5((
    select pg_catalog.string_agg(pg_catalog.concat_ws(' ', f.oid, pg_catalog.pg_relation_filenode(f.oid)), ',' order by f.oid)
    from (select {table}::pg_catalog.oid as oid
          union select t.relid::pg_catalog.oid from pg_catalog.pg_partition_tree({table}::pg_catalog.oid::pg_catalog.regclass) t) f
))";

/// A table as a load found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What rows are encoded for and what they pass on their way in.
    pub fingerprint: String,
    /// Which files hold the rows.
    pub files: String,
}

/// The fingerprint of a table, as an SQL expression of its OID.
#[must_use]
pub fn fingerprint_sql(table: &str) -> String {
    FINGERPRINT.replace("{table}", &format!("{table}::pg_catalog.oid"))
}

/// Reads both at once.
///
/// # Errors
/// The server's.
pub async fn shape(session: &Session, table_oid: u32) -> Result<Shape> {
    let sql = format!("select {}, {}", fingerprint_sql("$1"), FILES.replace("{table}", "$1"));
    let doing = "looking at the destination's columns";
    let [statement] = session.keep(doing, [&*sql]).await?;
    let row = session.query_one_kept(doing, &statement, &[&table_oid]).await?;
    let text = |index| row.get::<_, Option<String>>(index).unwrap_or_default();
    Ok(Shape { fingerprint: text(0), files: text(1) })
}
