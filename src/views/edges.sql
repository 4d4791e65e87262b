-- What each view, materialized view and function with a known body names directly. A rule has rows for
-- its own relation too, which are no edge; only the _RETURN rule is a query. Functions of the system
-- are not in pg_depend.
select 'r' as from_kind, r.ev_class as from_oid,
       case d.refclassid when 'pg_catalog.pg_class'::pg_catalog.regclass then 'r' else 'f' end as to_kind,
       d.refobjid as to_oid
from pg_catalog.pg_rewrite r
join pg_catalog.pg_class o on o.oid = r.ev_class and o.relkind in ('v', 'm')
join pg_catalog.pg_depend d
  on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
where r.ev_type = '1' and d.deptype = 'n' and r.oid >= 16384
  and d.refclassid in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
  and (d.refclassid <> 'pg_catalog.pg_class'::pg_catalog.regclass or d.refobjid <> r.ev_class)
union
select 'f', p.oid,
       case d.refclassid when 'pg_catalog.pg_class'::pg_catalog.regclass then 'r' else 'f' end,
       d.refobjid
from pg_catalog.pg_proc p
join pg_catalog.pg_depend d
  on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'n'
where {has_body} and p.oid >= 16384
  and d.refclassid in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
  and (d.refclassid <> 'pg_catalog.pg_proc'::pg_catalog.regclass or d.refobjid <> p.oid)
