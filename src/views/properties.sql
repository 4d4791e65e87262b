-- Everything about the materialized view or view $1 that dropping and creating it would lose, as one
-- JSON object. Names are qualified, since the session's search path is empty.
select pg_catalog.jsonb_build_object(
  'oid', c.oid::bigint,
  'schema', n.nspname,
  'name', c.relname,
  'sql_name', pg_catalog.format('%I.%I', n.nspname, c.relname),
  'sql_schema', pg_catalog.quote_ident(n.nspname),
  'kind', c.relkind,
  'definition', pg_catalog.pg_get_viewdef(c.oid),
  'is_populated', c.relispopulated,
  'owner', pg_catalog.pg_get_userbyid(c.relowner),
  'access_method', (select a.amname from pg_catalog.pg_am a where a.oid = c.relam),
  'tablespace', (select t.spcname from pg_catalog.pg_tablespace t where t.oid = c.reltablespace),
  'options', pg_catalog.to_jsonb({view_options}),
  'toast_options', pg_catalog.to_jsonb(coalesce(
      (select {toast_options} from pg_catalog.pg_class t where t.oid = c.reltoastrelid), '{}')),
  'columns', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
          'name', a.attname,
          'statistics', case when a.attstattarget >= 0 then a.attstattarget end,
          'options', pg_catalog.to_jsonb({column_options}),
          'storage', case when a.attstorage <> t.typstorage then a.attstorage::text end,
          'compression', {compression},
          'comment', pg_catalog.col_description(c.oid, a.attnum)
        ) order by a.attnum)
      from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
  'indexes', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
          'name', ic.relname,
          'sql_name', pg_catalog.quote_ident(ic.relname),
          'definition', {index_definition},
          'is_valid', i.indisvalid,
          'is_clustered', i.indisclustered,
          'tablespace', (select t.spcname from pg_catalog.pg_tablespace t where t.oid = ic.reltablespace),
          'comment', pg_catalog.obj_description(i.indexrelid, 'pg_class'),
          'statistics', coalesce((
              select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.attnum, a.attstattarget) order by a.attnum)
              from pg_catalog.pg_attribute a
              where a.attrelid = i.indexrelid and a.attstattarget >= 0), '[]')
        ) order by ic.relname)
      from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
      where i.indrelid = c.oid), '[]'),
  'statistics', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
          'schema', sn.nspname,
          'name', s.stxname,
          'sql_name', pg_catalog.format('%I.%I', sn.nspname, s.stxname),
          'definition', pg_catalog.pg_get_statisticsobjdef(s.oid),
          'target', case when s.stxstattarget >= 0 then s.stxstattarget end,
          'comment', pg_catalog.obj_description(s.oid, 'pg_statistic_ext')
        ) order by s.stxname)
      from pg_catalog.pg_statistic_ext s join pg_catalog.pg_namespace sn on sn.oid = s.stxnamespace
      where s.stxrelid = c.oid), '[]'),
  'grants', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
          'grantee', case when x.grantee <> 0 then pg_catalog.pg_get_userbyid(x.grantee) end,
          'privilege', x.privilege_type,
          'is_grantable', x.is_grantable,
          'column', null) order by x.number)
      from pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner)))
        with ordinality x (grantor, grantee, privilege_type, is_grantable, number)), '[]')
    || coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
          'grantee', case when x.grantee <> 0 then pg_catalog.pg_get_userbyid(x.grantee) end,
          'privilege', x.privilege_type,
          'is_grantable', x.is_grantable,
          'column', a.attname) order by a.attnum, x.number)
      from pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl)
        with ordinality x (grantor, grantee, privilege_type, is_grantable, number)
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
  'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
  'labels', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(l.provider, l.label))
      from pg_catalog.pg_seclabel l
      where l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and l.objoid = c.oid and l.objsubid = 0), '[]'),
  'extensions', coalesce((
      select pg_catalog.jsonb_agg(e.extname)
      from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'x'
        and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass), '[]'),
  'views', coalesce((
      select pg_catalog.jsonb_agg(distinct pg_catalog.jsonb_build_object(
          'oid', v.oid::bigint, 'schema', vn.nspname, 'name', v.relname))
      from pg_catalog.pg_depend d
      join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
      join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind = 'v'
      join pg_catalog.pg_namespace vn on vn.oid = v.relnamespace
      where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid
        and r.ev_type = '1' and v.oid <> c.oid), '[]'),
  'blockers', ({blockers})
) as properties
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = $1
