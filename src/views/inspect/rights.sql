-- What the materialized views $1 read, at any distance, and nobody lets them. A refresh runs as the owner
-- (the caller); what an ordinary view reads is read as its own owner, or as the caller if it is a security
-- invoker; functions are called by the caller, and one that is a security definer calls as its owner.
-- Of the objects $2 the owner is that of the object named $3, if there is one: they are tried out only.
with recursive {edges}, owned as (
  select c.oid, c.relkind, coalesce(live.relowner, c.relowner) as owner,
         coalesce(c.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1,security_invoker=yes}'
                                  ::pg_catalog.text[], false) as is_invoker
  from pg_catalog.pg_class c
  left join rows from (pg_catalog.unnest($2::pg_catalog.oid[]), pg_catalog.unnest($3::pg_catalog.text[])) t (oid, name)
    on t.oid = c.oid
  left join pg_catalog.pg_class live on live.oid = pg_catalog.to_regclass(t.name)
  where c.relkind in ('v', 'm')
), node (view, caller, role, kind, oid) as (
  select o.oid, o.owner, o.owner, 'r', o.oid from owned o where o.relkind = 'm' and o.oid = any ($1)
  union
  select n.view, x.caller, x.role, e.to_kind, e.to_oid
  from node n
  join edge e on e.from_kind = n.kind and e.from_oid = n.oid
  left join owned o on e.to_kind = 'r' and o.oid = e.to_oid and o.relkind = 'v'
  left join pg_catalog.pg_proc p on e.to_kind = 'f' and p.oid = e.to_oid
  cross join lateral (
    select case when p.prosecdef then p.proowner else n.caller end as caller,
           case when p.prosecdef then p.proowner when p.oid is not null or o.is_invoker then n.caller
                else o.owner end as role) x
  where o.oid is not null or p.oid is not null
), need as (
  select distinct n.view, case e.to_kind when 'r' then n.role else n.caller end as role, e.to_kind, e.to_oid,
         n.kind as via_kind, n.oid as via
  from node n
  join edge e on e.from_kind = n.kind and e.from_oid = n.oid
  left join owned o on e.to_kind = 'r' and o.oid = e.to_oid
  where case when e.to_kind = 'f' then not pg_catalog.has_function_privilege(n.caller, e.to_oid, 'execute')
             -- What is only tried out has no grants yet.
             when e.to_oid = any ($2) or pg_catalog.pg_has_role(n.role, o.owner, 'usage') then false
             when e.attnum > 0 then not pg_catalog.has_column_privilege(n.role, e.to_oid, e.attnum::pg_catalog.int2, 'select')
             else not pg_catalog.has_any_column_privilege(n.role, e.to_oid, 'select') end
)
select n.view, pg_catalog.pg_get_userbyid(n.role)::text as role, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.role)) as sql_role,
       n.role = (select o.owner from owned o where o.oid = n.view) as is_owner,
       n.to_kind = 'f' as is_function,
       case n.to_kind when 'f' then n.to_oid::pg_catalog.regprocedure::text else n.to_oid::pg_catalog.regclass::text end as target,
       case when n.via = n.view then null when n.via_kind = 'f' then n.via::pg_catalog.regprocedure::text
            else n.via::pg_catalog.regclass::text end as via
from need n
order by 1, 6, 2, 7
