-- Materialized views that read the table $1, through views and other materialized views, in an order
-- in which each comes after what it reads.
with recursive dependent(oid, level, path) as (
  select $1::pg_catalog.oid, 0, array[$1::pg_catalog.oid]
  union all
  select r.ev_class, d.level + 1, d.path || r.ev_class
  from dependent d
  join pg_catalog.pg_depend p
    on p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and p.refobjid = d.oid
   and p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and p.deptype = 'n'
  join pg_catalog.pg_rewrite r on r.oid = p.objid
  where r.ev_class <> all (d.path)
)
select n.nspname, c.relname, c.relispopulated and exists (
         select from pg_catalog.pg_index i
         where i.indrelid = c.oid and i.indisunique and i.indisvalid
           and i.indpred is null and i.indexprs is null) as can_be_concurrent
from dependent d
join pg_catalog.pg_class c on c.oid = d.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'm'
group by n.nspname, c.relname, c.oid, c.relispopulated
order by pg_catalog.max(d.level), n.nspname, c.relname
