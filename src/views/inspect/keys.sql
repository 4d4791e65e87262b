-- Unique indexes that a concurrent refresh of a materialized view goes by, with the columns of their keys.
select c.oid as view, pg_catalog.format('%I.%I', n.nspname, c.relname) as sql_view, ic.relname::text as index,
       (select pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) order by k.place)
        from pg_catalog.unnest(i.indkey::pg_catalog.int2[]) with ordinality k (attnum, place)
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where k.place <= i.indnkeyatts) as columns
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_index i on i.indrelid = c.oid
join pg_catalog.pg_class ic on ic.oid = i.indexrelid
join pg_catalog.pg_am am on am.oid = ic.relam
where c.relkind = 'm' and c.relispopulated and i.indisunique and i.indimmediate and i.indisvalid
  and am.amname = 'btree' and i.indpred is null and i.indexprs is null
  and 0 < all (i.indkey::pg_catalog.int2[])
  and n.nspname !~ '^pgtide_(build|old)_[0-9]+$'
order by n.nspname, c.relname, ic.relname
