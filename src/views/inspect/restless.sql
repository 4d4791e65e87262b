-- What in the query of a materialized view, or of a view below it, gives something else each time: volatile
-- functions, those of the system too, which no dependency names; the clock; the role.
with recursive {edges}, node (view, oid) as (
  select c.oid, c.oid from pg_catalog.pg_class c where c.relkind = 'm'
  union
  select n.view, e.to_oid
  from node n
  join edge e on e.from_kind = 'r' and e.from_oid = n.oid and e.to_kind = 'r'
  join pg_catalog.pg_class c on c.oid = e.to_oid and c.relkind = 'v'
), said as (
  select n.view, n.oid, r.ev_action::text as query
  from node n join pg_catalog.pg_rewrite r on r.ev_class = n.oid and r.ev_type = '1'
), called as (
  select distinct s.view, s.oid, m[2]::pg_catalog.oid as function
  from said s, pg_catalog.regexp_matches(s.query, ':(funcid|opfuncid) (\d+)', 'g') m
)
select c.view, case when c.oid <> c.view then c.oid::pg_catalog.regclass::text end as via,
       case when p.oid in (1299, 2647, 2648) then 'clock' else 'volatile' end as kind,
       p.oid::pg_catalog.regprocedure::text as what,
       p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace as is_system
from called c join pg_catalog.pg_proc p on p.oid = c.function
where p.provolatile = 'v' or p.oid in (1299, 2647, 2648)
union
select s.view, case when s.oid <> s.view then s.oid::pg_catalog.regclass::text end, x.kind, x.what, true
from said s
cross join lateral (
  select 'clock' as kind, 'current_date or its like' as what where s.query ~ 'SQLVALUEFUNCTION :op [0-8] '
  union all
  select 'role', 'current_user or its like' where s.query ~ 'SQLVALUEFUNCTION :op (9|1[012]) ') x
order by 1, 3, 4, 2
