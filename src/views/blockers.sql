-- What keeps the view c from being built beside and replaced, as a JSON array of sentences: what depends on
-- it, but for ordinary views, which can be pointed at another one; rights that this role lacks. A part of
-- other queries.
select coalesce((
      select pg_catalog.jsonb_agg(distinct case when r.ev_type = '1'
               then pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0)
               else pg_catalog.pg_describe_object(d.classid, d.objid, 0) end || ' reads it')
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
      select pg_catalog.jsonb_agg('it is a part of extension ' || e.extname)
      from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e'
        and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass), '[]')
    || coalesce((
      select pg_catalog.jsonb_agg(distinct pg_catalog.format('view %I.%I, which reads it, belongs to %s',
                 vn.nspname, v.relname, pg_catalog.pg_get_userbyid(v.relowner)))
      from pg_catalog.pg_depend d
      join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
      join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind = 'v'
      join pg_catalog.pg_namespace vn on vn.oid = v.relnamespace
      where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid
        and r.ev_type = '1' and v.oid <> c.oid and not pg_catalog.pg_has_role(v.relowner, 'usage')), '[]')
    || case when pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create') then '[]'::pg_catalog.jsonb
       else pg_catalog.jsonb_build_array(pg_catalog.format(
           'building beside needs CREATE on database %I', pg_catalog.current_database())) end
    || case when pg_catalog.has_schema_privilege(c.relnamespace, 'create') then '[]'::pg_catalog.jsonb
       else pg_catalog.jsonb_build_array(pg_catalog.format(
           'building beside needs CREATE on schema %s', c.relnamespace::pg_catalog.regnamespace)) end
