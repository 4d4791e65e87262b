-- What a refresh of each materialized view of $1 depends on. A size is read under a lock, for which a plain
-- refresh would be waited for as long as it takes; while somebody has or wants that lock the planner's
-- number of pages has to do.
with taken as (
  select l.relation from pg_catalog.pg_locks l
  where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
), pages as (
  select c.oid, c.relpages as own,
         c.relpages + coalesce((select pg_catalog.sum(i.relpages) from pg_catalog.pg_index x
                                join pg_catalog.pg_class i on i.oid = x.indexrelid where x.indrelid = c.oid), 0) as total
  from pg_catalog.pg_class c where c.oid = any ($1)
)
select c.oid, c.relispopulated as is_populated, c.xmin::text as token,
       pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
       pg_catalog.pg_has_role(c.relowner, 'usage') as is_mine,
       case when c.oid in (select relation from taken)
            then p.total * pg_catalog.current_setting('block_size')::bigint
            else coalesce(pg_catalog.pg_total_relation_size(c.oid), 0) end::bigint as bytes,
       case when c.oid in (select relation from taken)
            then p.own * pg_catalog.current_setting('block_size')::bigint
            else coalesce(pg_catalog.pg_table_size(c.oid), 0) end as table_bytes,
       -- Nobody has counted: -1; before Postgres 14, 0 rows on 0 pages.
       case when c.reltuples > 0 or c.relpages > 0
              or c.reltuples = 0 and pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 140000
            then c.reltuples::bigint end as rows,
       pg_catalog.pg_stat_get_live_tuples(c.oid) as live_rows,
       pg_catalog.pg_stat_get_dead_tuples(c.oid) as dead_rows,
       (select pg_catalog.min(ic.relname) from pg_catalog.pg_index i
          join pg_catalog.pg_class ic on ic.oid = i.indexrelid
          join pg_catalog.pg_am am on am.oid = ic.relam
        where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid
          and am.amname = 'btree' and i.indpred is null and i.indexprs is null
          and 0 < all (i.indkey::pg_catalog.int2[])) as unique_index,
       not exists (select from pg_catalog.pg_index i
          join pg_catalog.pg_class ic on ic.oid = i.indexrelid
          join pg_catalog.pg_am am on am.oid = ic.relam
        where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid
          and am.amname = 'btree' and i.indpred is null and i.indexprs is null
          and 0 < all (i.indkey::pg_catalog.int2[])
          and not exists (select from pg_catalog.pg_attribute a
                          -- Nobody but a superuser may read pg_statistic itself.
                          join pg_catalog.pg_stats s on s.attname = a.attname and s.null_frac > 0
                           and s.schemaname = n.nspname and s.tablename = c.relname
                          where a.attrelid = c.oid
                            and a.attnum = any ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])))
         as has_null_keys,
       exists (select from pg_catalog.pg_locks l
               where l.locktype = 'advisory' and l.granted and l.objsubid = 2
                 and l.classid = $2 and l.objid = c.oid
                 and l.pid <> pg_catalog.pg_backend_pid()
                 and l.database = (select d.oid from pg_catalog.pg_database d
                                   where d.datname = pg_catalog.current_database())) as is_locked
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pages p on p.oid = c.oid
where c.oid = any ($1) and c.relkind = 'm'
