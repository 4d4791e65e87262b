-- The relations $1 and functions $2 by name and kind; all materialized views beside them, with what
-- decides how each is refreshed. The numbers are now(), random() and their like; relations below 16384 are
-- the system's own, whose rows and those of sequences nobody counts.
select 'r' as node, c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       coalesce(r.xmin::text, '') as token, false as is_opaque,
       c.relkind in ('v', 'm') and coalesce(
           r.ev_action::text ~ ':funcid (1299|2647|2648|2649|274|1598|3432) '
           or r.ev_action::text ~ 'SQLVALUEFUNCTION :op [0-8] ', false) as reads_clock,
       case when r.oid < 16384 then null
            when r.ev_action::text ~ ':relid ([1-9][0-9]{0,3}|1[0-5][0-9]{3}|16[0-2][0-9]{2}|163[0-7][0-9]|1638[0-3]) '
            then 'tables of the system'
            else (select 'sequence ' || pg_catalog.min(s.oid::pg_catalog.regclass::text)
                  from pg_catalog.pg_depend d join pg_catalog.pg_class s on s.oid = d.refobjid and s.relkind = 'S'
                  where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
                    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) end as uncounted
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_rewrite r on r.ev_class = c.oid and r.ev_type = '1' and c.relkind in ('v', 'm')
where (c.oid = any ($1) or c.relkind = 'm')
  and c.relkind in ('r', 'p', 'f', 'v', 'm')
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast|^pgtide_(build|old)_[0-9]+$'
union all
select 'f', p.oid, n.nspname, p.proname, 'f', p.xmin::text,
       not ({has_body}) and l.lanname not in ('internal', 'c') and p.provolatile <> 'i', false, null
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
where p.oid = any ($2)
