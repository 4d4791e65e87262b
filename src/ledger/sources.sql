-- The state of each relation of $1: version by this ledger, files and counters of it and of all below
-- it. A load goes into a partitioned table or into one of its partitions, so versions above and below count.
with recursive root(oid) as (
    select distinct o from pg_catalog.unnest($1::pg_catalog.oid[]) o
), leaf(root, oid) as (
    select oid, oid from root
    union
    select l.root, i.inhrelid from leaf l join pg_catalog.pg_inherits i on i.inhparent = l.oid
), above(root, oid) as (
    select oid, oid from root
    union
    select a.root, i.inhparent from above a join pg_catalog.pg_inherits i on i.inhrelid = a.oid
), state as (
    select l.root as oid,
           v.version, v.changed_at,
           pg_catalog.md5(pg_catalog.string_agg(
               pg_catalog.concat_ws(':', l.oid, pg_catalog.pg_relation_filenode(l.oid)), ',' order by l.oid)) as files,
           coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(l.oid)
                                 + pg_catalog.pg_stat_get_tuples_updated(l.oid)
                                 + pg_catalog.pg_stat_get_tuples_deleted(l.oid)), 0)::bigint as counters,
           pg_catalog.bool_or(c.relkind = 'f') as is_foreign,
           pg_catalog.min(c.xmin::text) filter (where c.oid = l.root) as token
    from leaf l
    join pg_catalog.pg_class c on c.oid = l.oid
    left join lateral (
        select pg_catalog.sum(t.version)::bigint as version, pg_catalog.max(t.changed_at) as changed_at
        from pgtide.table_version t
        where t.table_oid in (select x.oid from leaf x where x.root = l.root
                              union select x.oid from above x where x.root = l.root)
    ) v on true
    group by l.root, v.version, v.changed_at
)
select pg_catalog.statement_timestamp() as at,
       -- Another one when counters were reset, or lost in a crash.
       (select pg_catalog.concat_ws(' ', coalesce(extract(epoch from d.stats_reset)::text, '-'),
                                    coalesce(extract(epoch from b.stats_reset)::text, '-'))
        from pg_catalog.pg_stat_database d, pg_catalog.pg_stat_bgwriter b
        where d.datname = pg_catalog.current_database()) as epoch,
       s.*
from (select 1) one left join state s on true
