-- Differs whenever a view, a materialized view or a function was created, replaced, renamed or dropped; a
-- refresh does none of these. Not read from the definitions themselves, which are long.
select pg_catalog.concat_ws(' ',
  (select pg_catalog.concat_ws(' ', pg_catalog.count(*), pg_catalog.max(r.oid), pg_catalog.sum(r.xmin::text::bigint))
   from pg_catalog.pg_rewrite r where r.oid >= 16384),
  (select pg_catalog.concat_ws(' ', pg_catalog.count(*), pg_catalog.max(p.oid), pg_catalog.sum(p.xmin::text::bigint))
   from pg_catalog.pg_proc p where p.oid >= 16384),
  (select pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', c.oid, c.relnamespace, c.relname), 0))
   from pg_catalog.pg_class c where c.relkind = 'm')) as shape
