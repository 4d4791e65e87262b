-- The ledger, a later version: a claim finds the intervals of a table that share an instant at once, among
-- any number. The table is a range of one OID, since GiST has no equality without an extension.

create index interval_overlap on pgtide.interval using gist (
    pg_catalog.int8range(table_oid::bigint, table_oid::bigint, '[]'),
    pg_catalog.tstzrange(interval_start, interval_end)
);
