-- The relations $1 and functions $2 by name and kind; all materialized views beside them, with what
-- decides how each is refreshed. The numbers are now(), random() and their like.
select 'r' as node, c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       coalesce(r.xmin::text, '') as token, false as is_opaque,
       c.relkind in ('v', 'm') and coalesce(
           r.ev_action::text ~ ':funcid (1299|2647|2648|2649|274|1598|3432) '
           or r.ev_action::text ~ 'SQLVALUEFUNCTION :op [0-8] ', false) as reads_clock
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_rewrite r on r.ev_class = c.oid and r.ev_type = '1' and c.relkind in ('v', 'm')
where (c.oid = any ($1) or c.relkind = 'm')
  and c.relkind in ('r', 'p', 'f', 'v', 'm')
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast|^pgtide_(build|old)_[0-9]+$'
union all
select 'f', p.oid, n.nspname, p.proname, 'f', p.xmin::text,
       not ({has_body}) and l.lanname not in ('internal', 'c') and p.provolatile <> 'i', false
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
where p.oid = any ($2)
