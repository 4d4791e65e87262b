//! What a load into a table depends on, as one short text, and the file that the table is in.
//!
//! Rows are encoded for the columns that were compared before the first of them. A type of equal width, a
//! trigger or a rule that comes later makes other rows of the same bytes, without an error.

use crate::error::Result;
use crate::postgres::connect::Session;

/// Two digests: of the columns with what fills those that are left out, and of the triggers and rules that could
/// fire, on partitions too, or delete rows of other tables. Triggers that a partition has from its table come and
/// go with it and change nothing. Triggers look for their table, and not the table for its partitions, since that
/// would lock each of them. `{table}` is the table's OID.
const FINGERPRINT: &str = "
pg_catalog.concat_ws(' ',
    pg_catalog.hashtextextended(pg_catalog.concat_ws('|',
        (select pg_catalog.concat_ws(' ', c.relkind, c.relpersistence) from pg_catalog.pg_class c where c.oid = {table}),
        (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated,
                    a.attidentity, (select d.oid from pg_catalog.pg_attrdef d
                                    where d.adrelid = a.attrelid and d.adnum = a.attnum)), ',' order by a.attnum)
         from pg_catalog.pg_attribute a
         where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped)), 0),
    pg_catalog.hashtextextended(pg_catalog.concat_ws('|',
        (select pg_catalog.string_agg({trigger}, ',' order by t.oid)
         from pg_catalog.pg_trigger t
         where t.tgrelid = {table} and t.tgparentid = 0 and t.tgenabled <> 'D'
           and (not t.tgisinternal or t.tgtype & 8 <> 0)),
        (select pg_catalog.string_agg({trigger}, ',' order by t.oid)
         from pg_catalog.pg_class c, pg_catalog.pg_trigger t
         where c.oid = {table} and c.relkind = 'p'
           and not t.tgisinternal and t.tgparentid = 0 and t.tgenabled <> 'D' and t.tgrelid <> c.oid
           and c.oid in (select n.relid from pg_catalog.pg_partition_ancestors(t.tgrelid) n (relid))),
        (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.oid, r.ev_type, r.is_instead, r.ev_enabled,
                    r.ev_qual, r.ev_action), ',' order by r.oid)
         from pg_catalog.pg_rewrite r where r.ev_class = {table} and r.ev_enabled <> 'D')), 0))";

const TRIGGER: &str =
    "pg_catalog.concat_ws(' ', t.oid, t.tgfoid, t.tgtype, t.tgenabled, t.tgattr, t.tgargs, t.tgqual)";

/// The file of the table `{oid}`; of a partitioned one, which has none, a digest of its leaves' files.
/// Nothing of the table is locked.
const FILE: &str = "
(select case when f.relkind <> 'p' then f.relfilenode::bigint else (
     with recursive leaf (oid) as (
         select h.inhrelid from pg_catalog.pg_inherits h where h.inhparent = f.oid
         union all
         select h.inhrelid from pg_catalog.pg_inherits h join leaf on h.inhparent = leaf.oid)
     select pg_catalog.hashtextextended(coalesce(pg_catalog.string_agg(
                pg_catalog.concat(l.oid, ' ', l.relfilenode), ',' order by l.oid), ''), 0)
     from pg_catalog.pg_class l where l.oid in (select leaf.oid from leaf)) end
 from pg_catalog.pg_class f where f.oid = {oid})";

/// A table as a load found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What rows are encoded for and what they pass on their way in.
    pub fingerprint: String,
    /// Which file holds the rows.
    pub file: i64,
}

/// The fingerprint of a table, as an SQL expression of its OID.
#[must_use]
pub fn fingerprint_sql(table: &str) -> String {
    FINGERPRINT.replace("{trigger}", TRIGGER).replace("{table}", &format!("{table}::pg_catalog.oid"))
}

/// The file of a table, as an SQL expression of its OID.
#[must_use]
pub fn file_sql(table: &str) -> String {
    FILE.replace("{oid}", table)
}

/// Reads both at once.
///
/// # Errors
/// The server's.
pub async fn shape(session: &Session, table_oid: u32) -> Result<Shape> {
    let sql = format!("select {}, {}", fingerprint_sql("$1"), file_sql("$1"));
    let doing = "looking at the destination's columns";
    let [statement] = session.keep(doing, [&*sql]).await?;
    let row = session.query_one_kept(doing, &statement, &[&table_oid]).await?;
    Ok(Shape { fingerprint: row.get(0), file: row.get::<_, Option<i64>>(1).unwrap_or_default() })
}
