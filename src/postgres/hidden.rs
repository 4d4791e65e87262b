//! Rows that a snapshot should hold and did not show, because of what became of their table meanwhile.
//!
//! TRUNCATE, a rewriting ALTER TABLE and a refresh of a materialized view give a table a new file, whose
//! rows a snapshot from before does not see: it shows an empty table, and no error. A table that took
//! another's name is not seen at all. Locks that are there before the snapshot prevent all that; what
//! cannot be locked, such as what a function reads, is looked at after reading. The locks that reading
//! took last until the transaction ends, so the look is at every relation that was read.

/// The relations whose rows may have been hidden, as text; null for none. For the simple protocol, in the
/// transaction that read: `pg_class` is seen as of its snapshot, and the functions tell what is true now.
pub const HIDDEN: &str = "
set local search_path = '';
select pg_catalog.string_agg(coalesce(c.oid::pg_catalog.regclass::pg_catalog.text, 'one made since'), ', ')
from pg_catalog.pg_locks l left join pg_catalog.pg_class c on c.oid = l.relation
where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation'
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and (c.oid is null
        or c.relkind in ('r', 'm') and c.relfilenode <> 0
            and pg_catalog.pg_relation_filenode(c.oid) is distinct from c.relfilenode
        or c.relkind = 'p' and exists (
            select from pg_catalog.pg_inherits i
            where i.inhparent = c.oid
                -- Since 14: a partition that leaves is not read any more, by anybody.
                and pg_catalog.to_jsonb(i) ->> 'inhdetachpending' is distinct from 'true'
                and i.inhrelid <> all (select t.relid from pg_catalog.pg_partition_tree(c.oid) t)))";
