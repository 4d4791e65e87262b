//! Unique indexes that can tell two rows apart, and how they do it.

use tokio_postgres::Row;

/// A unique index over plain columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueIndex {
    /// The index's name.
    pub name: String,
    /// Its key columns in order.
    pub columns: Vec<String>,
    /// Each key column as an index is made of it: the quoted name, collation, operator class.
    pub parts: Vec<String>,
    /// For each key column, what tells that a value equals another: `collate "x" operator(s.=)`.
    pub equals: Vec<String>,
    /// Whether each column is compared as its type is by default, and under no collation that calls different
    /// texts equal.
    pub is_plain: bool,
}

/// An index may have another collation, or another operator class, than its column.
pub(super) const UNIQUE_INDEXES: &str = r#"
select x.relname, k.columns, k.parts, k.equals, k.is_plain
from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
    cross join lateral (
        select pg_catalog.array_agg(a.attname::pg_catalog.text order by k.n),
            pg_catalog.array_agg(pg_catalog.concat(pg_catalog.quote_ident(a.attname), c.sql, ' ',
                pg_catalog.quote_ident(cn.nspname), '.', pg_catalog.quote_ident(oc.opcname)) order by k.n),
            pg_catalog.array_agg(pg_catalog.concat(c.sql, ' operator(', pg_catalog.quote_ident(pn.nspname), '.',
                p.oprname, ')') order by k.n),
            pg_catalog.bool_and(oc.opcdefault and coalesce(l.collisdeterministic, true))
        from pg_catalog.unnest(i.indkey::pg_catalog.int2[]) with ordinality k(attnum, n)
            join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
            join pg_catalog.pg_opclass oc on oc.oid = i.indclass[k.n::pg_catalog.int4 - 1]
            join pg_catalog.pg_namespace cn on cn.oid = oc.opcnamespace
            join pg_catalog.pg_amop o on o.amopfamily = oc.opcfamily and o.amopstrategy = 3
                and o.amoplefttype = oc.opcintype and o.amoprighttype = oc.opcintype
            join pg_catalog.pg_operator p on p.oid = o.amopopr
            join pg_catalog.pg_namespace pn on pn.oid = p.oprnamespace
            left join pg_catalog.pg_collation l on l.oid = i.indcollation[k.n::pg_catalog.int4 - 1]
            left join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
            cross join lateral (
                select case when l.oid <> a.attcollation then pg_catalog.concat(' collate ',
                    pg_catalog.quote_ident(ln.nspname), '.', pg_catalog.quote_ident(l.collname)) end) c(sql)
        where k.n <= i.indnkeyatts) k(columns, parts, equals, is_plain)
where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indimmediate
    and i.indpred is null and i.indexprs is null and k.columns is not null
order by i.indisprimary desc, x.relname"#;

pub(super) fn unique_index(row: &Row) -> UniqueIndex {
    UniqueIndex {
        name: row.get(0),
        columns: row.get(1),
        parts: row.get(2),
        equals: row.get(3),
        is_plain: row.get(4),
    }
}

impl UniqueIndex {
    /// Whether it has exactly these columns in any order.
    #[must_use]
    pub fn is_on(&self, columns: &[String]) -> bool {
        self.columns.len() == columns.len() && columns.iter().all(|c| self.columns.contains(c))
    }
}
