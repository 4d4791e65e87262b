-- Everything about the views with the OIDs $1: what a drop and a create would lose. One row for each
-- fact; search_path is empty, so that every name that the server writes has its schema.
with r as (
  select c.*, n.nspname from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid = any ($1::pg_catalog.oid[]) and c.relkind in ('m', 'v')
), i as (
  select r.oid as rel, x.indexrelid, x.indisclustered, x.indisvalid, ic.relname, ic.reltablespace
  from r
  join pg_catalog.pg_index x on x.indrelid = r.oid
  join pg_catalog.pg_class ic on ic.oid = x.indexrelid
), a as (
  select r.oid as rel, r.relkind, c.*, t.typstorage, t.typcollation
  from r
  join pg_catalog.pg_attribute c on c.attrelid = r.oid and c.attnum > 0 and not c.attisdropped
  join pg_catalog.pg_type t on t.oid = c.atttypid
)
select oid, 'name', nspname::text, relname::text from r
union all select oid, 'kind', null, case relkind when 'm' then 'materialized view' else 'view' end from r
union all select oid, 'definition', null, pg_catalog.pg_get_viewdef(oid) from r
union all select oid, 'populated', null, relispopulated::text from r where relkind = 'm'
union all select oid, 'owner', null, pg_catalog.pg_get_userbyid(relowner)::text from r
union all select r.oid, 'access method', null, m.amname::text from r join pg_catalog.pg_am m on m.oid = r.relam
union all select r.oid, 'tablespace', null, t.spcname::text
  from r join pg_catalog.pg_tablespace t on t.oid = r.reltablespace
union all select oid, 'option', null, o from r, pg_catalog.unnest({view_options}) o
union all select r.oid, 'option', null, 'toast.' || o
  from r join pg_catalog.pg_class t on t.oid = r.reltoastrelid, pg_catalog.unnest({toast_options}) o
union all select rel, 'column', pg_catalog.to_char(attnum, 'FM0000') || attname,
    pg_catalog.format_type(atttypid, atttypmod)
    || case when attcollation <> typcollation then ' collate ' || attcollation::pg_catalog.regcollation else '' end
  from a
union all select rel, 'column setting', attname::text, 'set statistics ' || attstattarget
  from a where relkind = 'm' and attstattarget >= 0
union all select rel, 'column setting', attname::text, 'set (' || pg_catalog.array_to_string(own, ', ') || ')'
  from (select rel, relkind, attname, {column_options} as own from a where attoptions is not null) c
  where relkind = 'm' and own <> '{}'
union all select rel, 'column setting', attname::text, 'set storage '
    || case attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end
  from a where relkind = 'm' and attstorage <> typstorage
-- The column is there from Postgres 14 on.
union all select rel, 'column setting', name, 'set compression ' || case method when 'l' then 'lz4' else 'pglz' end
  from (select rel, relkind, attname::text as name, pg_catalog.to_jsonb(a) ->> 'attcompression' as method from a) c
  where relkind = 'm' and method <> ''
union all select rel, 'index', relname::text, {index_definition} from i where indisvalid
union all select rel, 'invalid index', relname::text, '' from i where not indisvalid
union all select rel, 'cluster', null, relname::text from i where indisclustered
union all select i.rel, 'index tablespace', i.relname::text, t.spcname::text
  from i join pg_catalog.pg_tablespace t on t.oid = i.reltablespace
union all select i.rel, 'index comment', i.relname::text, d.description
  from i join pg_catalog.pg_description d
    on d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objoid = i.indexrelid and d.objsubid = 0
union all select r.oid, 'statistics', s.stxname::text, pg_catalog.pg_get_statisticsobjdef(s.oid)
  from r join pg_catalog.pg_statistic_ext s on s.stxrelid = r.oid
union all select r.oid, 'grant', case when x.grantee = r.relowner then '' when x.grantee = 0 then 'public'
    else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) end,
    pg_catalog.lower(x.privilege_type) || case when x.is_grantable and x.grantee <> r.relowner then '*' else '' end
  from r, pg_catalog.aclexplode(coalesce(r.relacl, pg_catalog.acldefault('r', r.relowner))) x
union all select a.rel, 'grant', case when x.grantee = 0 then 'public'
    else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) end,
    pg_catalog.lower(x.privilege_type) || ' (' || pg_catalog.quote_ident(a.attname) || ')'
    || case when x.is_grantable then '*' else '' end
  from a, pg_catalog.aclexplode(a.attacl) x
union all select r.oid, 'comment', coalesce(c.attname::text, ''), d.description
  from r join pg_catalog.pg_description d
    on d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objoid = r.oid
  left join pg_catalog.pg_attribute c on c.attrelid = r.oid and c.attnum = d.objsubid and d.objsubid > 0
-- What cannot be carried to another object: the statement that drops it, and below it the one that makes it again.
union all select r.oid, 'fixture', 'trigger ' || t.tgname,
    pg_catalog.format(E'drop trigger %I on %I.%I\n%s', t.tgname, r.nspname, r.relname, pg_catalog.pg_get_triggerdef(t.oid))
  from r join pg_catalog.pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
union all select r.oid, 'fixture', 'rule ' || w.rulename,
    pg_catalog.format(E'drop rule %I on %I.%I\n%s', w.rulename, r.nspname, r.relname, pg_catalog.pg_get_ruledef(w.oid))
  from r join pg_catalog.pg_rewrite w on w.ev_class = r.oid and w.rulename <> '_RETURN'
union all select r.oid, 'fixture', 'default of column ' || a.attname,
    pg_catalog.format(E'alter view %1$I.%2$I alter column %3$I drop default\nalter view %1$I.%2$I alter column %3$I set default %4$s',
                      r.nspname, r.relname, a.attname, pg_catalog.pg_get_expr(f.adbin, f.adrelid))
  from r join a on a.rel = r.oid
  join pg_catalog.pg_attrdef f on f.adrelid = r.oid and f.adnum = a.attnum where r.relkind = 'v' and a.atthasdef
union all select r.oid, 'fixture', 'security label of ' || l.provider || coalesce(' on column ' || c.attname, ''),
    pg_catalog.format(E'security label for %1$I on %2$s is null\nsecurity label for %1$I on %2$s is %3$L', l.provider,
      case when c.attname is not null then pg_catalog.format('column %I.%I.%I', r.nspname, r.relname, c.attname)
           else pg_catalog.format('%s %I.%I', case r.relkind when 'm' then 'materialized view' else 'view' end, r.nspname, r.relname) end,
      l.label)
  from r join pg_catalog.pg_seclabel l
    on l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and l.objoid = r.oid
  left join pg_catalog.pg_attribute c on c.attrelid = r.oid and c.attnum = l.objsubid and l.objsubid > 0
union all select r.oid, 'bytes', null, pg_catalog.pg_total_relation_size(r.oid)::text from r where r.relkind = 'm'
union all select p.oid, f.what, f.key, f.value
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  cross join lateral (
    select 'name', n.nspname::text, p.proname::text
    union all select 'kind', null, 'function'
    union all select 'definition', null, pg_catalog.pg_get_functiondef(p.oid)
    union all select 'arguments', null, pg_catalog.pg_get_function_identity_arguments(p.oid)
    union all select 'owner', null, pg_catalog.pg_get_userbyid(p.proowner)::text
    union all select 'grant', case when x.grantee = p.proowner then '' when x.grantee = 0 then 'public'
        else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) end,
        pg_catalog.lower(x.privilege_type) || case when x.is_grantable and x.grantee <> p.proowner then '*' else '' end
      from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) x
    union all select 'comment', '', d.description from pg_catalog.pg_description d
      where d.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objoid = p.oid
  ) f (what, key, value)
  where p.oid = any ($1::pg_catalog.oid[]) and p.prokind = 'f'
