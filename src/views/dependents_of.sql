-- What stands directly on the objects $1 and would keep them from being dropped: views by their rule,
-- functions, and whatever else; a view's row type is a part of it.
with target as (
  select t.oid, t.oid as part, 'pg_catalog.pg_class'::pg_catalog.regclass as cls
  from pg_catalog.unnest($1::pg_catalog.oid[]) t (oid)
  union all select t.oid, t.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass
  from pg_catalog.unnest($1::pg_catalog.oid[]) t (oid)
  union all select c.oid, y.oid, 'pg_catalog.pg_type'::pg_catalog.regclass
  from pg_catalog.pg_class c
  join pg_catalog.pg_type y on y.oid = c.reltype or y.typelem = c.reltype and c.reltype <> 0
  where c.oid = any ($1::pg_catalog.oid[])
)
select distinct t.oid as target,
       case when w.rulename = '_RETURN' then w.ev_class when d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass then d.objid else 0 end as dependent,
       case when w.rulename = '_RETURN' then pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class, 0)
            else pg_catalog.pg_describe_object(d.classid, d.objid, 0) end as described
from target t
join pg_catalog.pg_depend d on d.refclassid = t.cls and d.refobjid = t.part and d.deptype = 'n'
left join pg_catalog.pg_rewrite w
  on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and w.oid = d.objid
where w.ev_class is distinct from t.oid and not (d.classid = t.cls and d.objid = t.oid)
order by 1, 3
