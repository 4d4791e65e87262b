-- Who names what directly, column by column: views by their query, functions by a body that the catalog
-- knows. A part of other queries.
edge (from_kind, from_oid, to_kind, to_oid, attnum) as (
  select 'r', r.ev_class, case d.refclassid when 'pg_catalog.pg_class'::pg_catalog.regclass then 'r' else 'f' end,
         d.refobjid, d.refobjsubid
  from pg_catalog.pg_rewrite r
  join pg_catalog.pg_class o on o.oid = r.ev_class and o.relkind in ('v', 'm')
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
  where r.ev_type = '1' and d.deptype = 'n' and r.oid >= 16384
    and d.refclassid in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
    and (d.refclassid <> 'pg_catalog.pg_class'::pg_catalog.regclass or d.refobjid <> r.ev_class)
  union
  select 'f', p.oid, case d.refclassid when 'pg_catalog.pg_class'::pg_catalog.regclass then 'r' else 'f' end,
         d.refobjid, d.refobjsubid
  from pg_catalog.pg_proc p
  join pg_catalog.pg_depend d
    on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'n'
  where pg_catalog.to_jsonb(p) ->> 'prosqlbody' is not null and p.oid >= 16384
    and d.refclassid in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
    and (d.refclassid <> 'pg_catalog.pg_proc'::pg_catalog.regclass or d.refobjid <> p.oid)
)
