-- Functions below materialized views, at any distance, that look names up when they run, by a path that is
-- not their own.
with recursive {edges}, node (view, kind, oid) as (
  select c.oid, 'r', c.oid from pg_catalog.pg_class c where c.relkind = 'm'
  union
  select n.view, e.to_kind, e.to_oid
  from node n
  join edge e on e.from_kind = n.kind and e.from_oid = n.oid
  left join pg_catalog.pg_class c on e.to_kind = 'r' and c.oid = e.to_oid and c.relkind = 'v'
  where e.to_kind = 'f' or c.oid is not null
)
select n.view, p.oid::pg_catalog.regprocedure::text as function
from node n
join pg_catalog.pg_proc p on n.kind = 'f' and p.oid = n.oid
join pg_catalog.pg_language l on l.oid = p.prolang
where l.lanname not in ('internal', 'c') and p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
  and pg_catalog.to_jsonb(p) ->> 'prosqlbody' is null
  and not exists (select from pg_catalog.unnest(p.proconfig) s where s like 'search_path=%')
order by 1, 2
