-- The ledger, a later version: what a load was seen to be in, so that a record counts only while that stands.

alter table pgtide.interval add column load_started_at timestamptz;
alter table pgtide.interval add column table_file bigint;

-- What an earlier version loaded: the latest attempt is the load, if nothing came after it.
update pgtide.interval set load_started_at = started_at
where loaded_at is not null and token is null and error_code is null and started_at <= loaded_at;

comment on column pgtide.interval.load_started_at is 'When the attempt of the standing load began, before its snapshot was taken; null if another tool loaded it';
comment on column pgtide.interval.table_file is 'File of the destination table when the load was recorded, of a partitioned one a digest of the files of all leaves; another one now means that the rows are looked for';
comment on column pgtide.backfill.created_at is 'When it was made; a load that began later counts as reloaded';

create table pgtide.table_seen (
    table_oid oid primary key,
    file      bigint not null,
    seen_at   timestamptz not null
);

comment on table pgtide.table_seen is 'One row for each destination table whose file is another one than some of its loads were recorded with: VACUUM FULL, CLUSTER, a new partition';
comment on column pgtide.table_seen.table_oid is 'OID of the destination table';
comment on column pgtide.table_seen.file is 'File of the table, as in interval, in which the rows of what is loaded were found';
comment on column pgtide.table_seen.seen_at is 'When; what was recorded until then was found';

create or replace view pgtide.loaded as
    select i.job, i.table_name, i.interval_start, i.interval_end, i.key, i.loaded_at, i.rows
    from pgtide.interval i
    where i.state = 'loaded' and exists (select from pg_catalog.pg_class c where c.oid = i.table_oid);

alter table pgtide.attempt add column foreign_rows bigint;
comment on column pgtide.attempt.foreign_rows is 'Rows that a load removed though no load of the interval was recorded to have stored them';

alter table pgtide.interval add column attempt_fingerprint text;

comment on column pgtide.interval.attempt_fingerprint is 'Digest of the columns, triggers and rules of the destination table that the latest attempt compared; with others it can commit nothing';

-- Where a batch was read from: an append goes on only from the same place.
alter table pgtide.batch add column origin text;
comment on column pgtide.batch.origin is 'What the rows were read from, for jobs with a resume_key: system identifier, database and digest of the query; null if an older program wrote it';
