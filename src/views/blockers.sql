-- What depends on the view c and keeps it from being replaced, as a JSON array of texts; ordinary views
-- are left out, since they can be pointed at another one. A part of other queries.
select coalesce((
      select pg_catalog.jsonb_agg(distinct case when r.ev_type = '1'
               then pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0)
               else pg_catalog.pg_describe_object(d.classid, d.objid, 0) end)
      from pg_catalog.pg_depend d
      left join pg_catalog.pg_rewrite r
        on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
      left join pg_catalog.pg_class o on o.oid = r.ev_class
      where (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid
               and d.deptype in ('n', 'a', 'P', 'S')
             or d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
               and d.refobjid in (select t.oid from pg_catalog.pg_type t
                                  where t.oid = c.reltype or t.typelem = c.reltype and t.typcategory = 'A')
               and d.deptype = 'n')
        and not (d.deptype = 'a' and d.classid in ('pg_catalog.pg_class'::pg_catalog.regclass,
                                                   'pg_catalog.pg_statistic_ext'::pg_catalog.regclass))
        and o.oid is distinct from c.oid
        and not (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                 and o.relkind is not distinct from 'v' and r.ev_type is not distinct from '1')
    ), '[]')
    || coalesce((
      select pg_catalog.jsonb_agg('extension ' || e.extname)
      from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e'
        and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass), '[]')
