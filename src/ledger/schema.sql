-- The ledger, version 1: what is loaded, what is being loaded, and what was tried.
-- Run in one transaction by the first command that loads, after meta.sql; the schema pgtide stands
-- for the configured one. Names and types are a public interface. Only pgtide writes here.

create table pgtide.interval (
    id                      bigint generated always as identity primary key check (id between 1 and 2147483647),
    job                     text not null,
    interval_start          timestamptz not null,
    interval_end            timestamptz not null,
    key                     text not null,
    timezone                text,
    state                   text not null check (state in ('running', 'loaded', 'failed', 'stale', 'skipped')),
    reason                  text,
    table_oid               oid not null,
    table_name              text not null,
    scope                   text,
    loaded_at               timestamptz,
    definition_hash         text,
    rows                    bigint,
    bytes                   bigint,
    batches                 integer,
    digest                  bigint,
    source_snapshot         text,
    source_system           bigint,
    resume_key              bytea,
    token                   uuid,
    attempt                 integer not null default 0,
    tries                   integer not null default 0,
    attempt_definition_hash text,
    host                    text,
    pid                     bigint,
    run_id                  text,
    triggered_by            text,
    backend_pid             integer,
    started_at              timestamptz,
    finished_at             timestamptz,
    error_code              text,
    error_message           text,
    unique (job, interval_start, interval_end),
    check (interval_start < interval_end),
    check (state not in ('loaded', 'stale') or loaded_at is not null)
);
create index interval_table on pgtide.interval (table_oid, interval_start);

comment on table pgtide.interval is 'One row for each data interval of each job';
comment on column pgtide.interval.id is 'Number of the row; with the OID of this table the key of the advisory lock of a running attempt, so it fits 32 bits';
comment on column pgtide.interval.job is 'Name of the job';
comment on column pgtide.interval.interval_start is 'First instant inside; -infinity for a whole table';
comment on column pgtide.interval.interval_end is 'First instant after; infinity for a whole table';
comment on column pgtide.interval.key is 'Name of the interval in the time zone of the job: 2026-01-05';
comment on column pgtide.interval.timezone is 'Time zone of the job, an IANA name';
comment on column pgtide.interval.state is 'running, loaded, failed, stale or skipped; stays loaded until a replacement commits; running without a live run is shown as interrupted';
comment on column pgtide.interval.reason is 'Reason that was given with the last mark, until the next attempt';
comment on column pgtide.interval.table_oid is 'OID of the destination table';
comment on column pgtide.interval.table_name is 'Name of the destination table, with its schema, when it was last claimed';
comment on column pgtide.interval.scope is 'SQL condition that limits which rows of the table belong to the job';
comment on column pgtide.interval.loaded_at is 'When the load that stands was recorded; null while nothing is loaded';
comment on column pgtide.interval.definition_hash is 'Hash of the definition of the job that the standing load used';
comment on column pgtide.interval.rows is 'Rows of the standing load; null if another tool loaded it';
comment on column pgtide.interval.bytes is 'Bytes of the standing load, as sent';
comment on column pgtide.interval.batches is 'Committed batches of the standing load';
comment on column pgtide.interval.digest is 'Order-free digest of the rows of the standing load: wrapping sum of the XXH3-64 of each row';
comment on column pgtide.interval.source_snapshot is 'Snapshot of the source that the standing load read: pg_current_snapshot()';
comment on column pgtide.interval.source_system is 'System identifier of the source cluster that the standing load read';
comment on column pgtide.interval.resume_key is 'Last key of the standing load, for jobs with a resume_key';
comment on column pgtide.interval.token is 'Fencing token of the attempt that may commit, 128 random bits; null while there is none';
comment on column pgtide.interval.attempt is 'Number of the latest attempt, from 1';
comment on column pgtide.interval.tries is 'Attempts since it was last loaded or marked';
comment on column pgtide.interval.attempt_definition_hash is 'Hash of the definition of the job that the latest attempt used';
comment on column pgtide.interval.host is 'Host of the latest attempt';
comment on column pgtide.interval.pid is 'Process of the latest attempt on its host';
comment on column pgtide.interval.run_id is 'Run of the latest attempt';
comment on column pgtide.interval.triggered_by is 'What started the run of the latest attempt, such as an Airflow run id';
comment on column pgtide.interval.backend_pid is 'Server process that holds the claim of the latest attempt';
comment on column pgtide.interval.started_at is 'When the latest attempt was claimed';
comment on column pgtide.interval.finished_at is 'When the latest attempt ended; null while it runs and if it died';
comment on column pgtide.interval.error_code is 'SQLSTATE, or the kind of error, of the latest attempt if it failed';
comment on column pgtide.interval.error_message is 'What went wrong in the latest attempt if it failed';

create table pgtide.batch (
    interval_id     bigint not null,
    token           uuid not null,
    number          integer not null,
    attempt         integer not null,
    rows            bigint not null check (rows >= 0),
    bytes           bigint not null check (bytes >= 0),
    digest          bigint not null,
    staged          boolean not null,
    xid             xid8 not null default pg_catalog.pg_current_xact_id(),
    resume_key      bytea,
    definition_hash text not null,
    committed_at    timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (interval_id, token, number)
);

comment on table pgtide.batch is 'One row for each committed transaction of an unfinished attempt; empty when nothing runs and nothing is broken';
comment on column pgtide.batch.interval_id is 'Row of the table interval; null, and so refused, for an attempt that has lost its claim';
comment on column pgtide.batch.token is 'Fencing token of the attempt';
comment on column pgtide.batch.number is 'Number of the batch in its attempt, from 1; 0 and below for transactions that are no batch';
comment on column pgtide.batch.attempt is 'Number of the attempt';
comment on column pgtide.batch.rows is 'Rows of the batch';
comment on column pgtide.batch.bytes is 'Bytes of the batch, as sent';
comment on column pgtide.batch.digest is 'Order-free digest of the rows of the batch';
comment on column pgtide.batch.staged is 'Whether the rows are in a staged table and not in the destination table';
comment on column pgtide.batch.xid is 'Transaction of the batch: pg_xact_status() tells its fate';
comment on column pgtide.batch.resume_key is 'Last key of the batch, for jobs with a resume_key';
comment on column pgtide.batch.definition_hash is 'Hash of the definition of the job that the attempt used';
comment on column pgtide.batch.committed_at is 'When the batch was recorded, just before its commit';

create table pgtide.attempt (
    id              bigint generated always as identity primary key,
    interval_id     bigint not null,
    attempt         integer not null,
    token           uuid,
    outcome         text not null check (outcome in ('loaded', 'failed', 'interrupted', 'marked')),
    state           text not null,
    reason          text,
    role            text not null default session_user,
    host            text,
    pid             bigint,
    run_id          text,
    triggered_by    text,
    definition_hash text,
    rows            bigint,
    bytes           bigint,
    batches         integer,
    digest          bigint,
    source_snapshot text,
    source_system   bigint,
    started_at      timestamptz,
    finished_at     timestamptz not null default pg_catalog.clock_timestamp(),
    error_code      text,
    error_message   text
);
create index attempt_interval on pgtide.attempt (interval_id, id);

comment on table pgtide.attempt is 'History: one row for each attempt that ended and for each mark; rows are only ever added';
comment on column pgtide.attempt.id is 'Number of the row';
comment on column pgtide.attempt.interval_id is 'Row of the table interval';
comment on column pgtide.attempt.attempt is 'Number of the attempt; for a mark, of the latest attempt before it';
comment on column pgtide.attempt.token is 'Fencing token of the attempt';
comment on column pgtide.attempt.outcome is 'loaded, failed, interrupted (the run died, found by the next one) or marked (somebody set the state)';
comment on column pgtide.attempt.state is 'State of the interval afterwards';
comment on column pgtide.attempt.reason is 'Reason that was given with a mark';
comment on column pgtide.attempt.role is 'Role that recorded it';
comment on column pgtide.attempt.host is 'Host of the attempt or of the mark';
comment on column pgtide.attempt.pid is 'Process on that host';
comment on column pgtide.attempt.run_id is 'Run';
comment on column pgtide.attempt.triggered_by is 'What started the run, such as an Airflow run id';
comment on column pgtide.attempt.definition_hash is 'Hash of the definition of the job';
comment on column pgtide.attempt.rows is 'Rows that are in the destination table because of it: loaded, or left behind';
comment on column pgtide.attempt.bytes is 'Bytes of those rows, as sent';
comment on column pgtide.attempt.batches is 'Batches of those rows';
comment on column pgtide.attempt.digest is 'Order-free digest of the rows of a load';
comment on column pgtide.attempt.source_snapshot is 'Snapshot of the source that a load read';
comment on column pgtide.attempt.source_system is 'System identifier of the source cluster that a load read';
comment on column pgtide.attempt.started_at is 'When the attempt was claimed; null for a mark';
comment on column pgtide.attempt.finished_at is 'When it was recorded';
comment on column pgtide.attempt.error_code is 'SQLSTATE, or the kind of error';
comment on column pgtide.attempt.error_message is 'What went wrong';

create view pgtide.loaded as
    select job, table_name, interval_start, interval_end, key, loaded_at, rows
    from pgtide.interval
    where state = 'loaded';

comment on view pgtide.loaded is 'For consumers: the intervals that are loaded now';
comment on column pgtide.loaded.job is 'Name of the job';
comment on column pgtide.loaded.table_name is 'Destination table';
comment on column pgtide.loaded.interval_start is 'First instant inside; -infinity for a whole table';
comment on column pgtide.loaded.interval_end is 'First instant after; infinity for a whole table';
comment on column pgtide.loaded.key is 'Name of the interval in the time zone of the job: 2026-01-05';
comment on column pgtide.loaded.loaded_at is 'When the load was recorded';
comment on column pgtide.loaded.rows is 'Rows loaded; null if another tool loaded it';
