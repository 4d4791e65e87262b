-- The sessions of others in this database that may have written something, as they are now; one row
-- without a session if there is none. Left out: what writes no rows of tables, and pgtide's own, whose
-- loads and refreshes are in the ledger when they are done. A role without pg_read_all_stats sees of
-- others' sessions that they are there, and by its lock whether one is in a transaction.
select pg_catalog.statement_timestamp() as at,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 150000 as tells_by_itself,
       pg_catalog.current_setting('track_counts') = 'on' as counts,
       a.pid,
       a.state_change is not null as is_visible,
       coalesce(a.state = 'idle', false) as is_idle,
       case when a.xact_start is null then a.state_change else a.xact_start end as since,
       (select l.virtualtransaction from pg_catalog.pg_locks l
        where l.pid = a.pid and l.locktype = 'virtualxid' and l.granted and l.mode = 'ExclusiveLock'
        limit 1) as transaction
from (select 1) one
left join pg_catalog.pg_stat_activity a
  on a.datname = pg_catalog.current_database() and a.pid <> pg_catalog.pg_backend_pid()
 and a.usesysid is not null
 and coalesce(a.backend_type, '') not in ('autovacuum worker', 'walsender', 'parallel worker')
 and a.application_name not like 'pgtide/%'
