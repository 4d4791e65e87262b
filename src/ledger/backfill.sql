-- The ledger: backfills. A backfill is a set of intervals of one job that any number of processes
-- load together; what is loaded stands in pgtide.interval, here stands what was asked for.

create table pgtide.backfill (
    id             bigint generated always as identity primary key,
    job            text not null,
    number         integer not null check (number > 0),
    dates          text not null,
    options        jsonb not null,
    settings       jsonb not null,
    interval_start timestamptz not null,
    interval_end   timestamptz not null,
    timezone       text,
    keys           text[] not null,
    state          text not null check (state in ('running', 'paused', 'cancelled', 'done')),
    role           text not null default session_user,
    host           text not null,
    pid            bigint not null,
    run_id         text not null,
    triggered_by   text,
    created_at     timestamptz not null default pg_catalog.clock_timestamp(),
    changed_by     text not null,
    changed_at     timestamptz not null default pg_catalog.clock_timestamp(),
    unique (job, number)
);

comment on table pgtide.backfill is 'One row for each backfill: which intervals of a job were asked for, and whether processes are to work on them';
comment on column pgtide.backfill.id is 'Number of the row';
comment on column pgtide.backfill.job is 'Name of the job';
comment on column pgtide.backfill.number is 'Number of the backfill among those of its job: people write job/number';
comment on column pgtide.backfill.dates is 'Dates as they were typed; empty for start_date to now';
comment on column pgtide.backfill.options is 'What else decides which intervals are loaded: reload, stale, force';
comment on column pgtide.backfill.settings is 'How processes that resume it go about it: parallel, stop_at, max_rate and so on';
comment on column pgtide.backfill.interval_start is 'First instant of its first interval';
comment on column pgtide.backfill.interval_end is 'First instant after its last interval';
comment on column pgtide.backfill.timezone is 'Time zone of the job, an IANA name';
comment on column pgtide.backfill.keys is 'Names of its intervals, oldest first';
comment on column pgtide.backfill.state is 'running (to be worked on), paused, cancelled or done (all loaded or skipped)';
comment on column pgtide.backfill.role is 'Role that made it';
comment on column pgtide.backfill.host is 'Host of the process that made it';
comment on column pgtide.backfill.pid is 'That process';
comment on column pgtide.backfill.run_id is 'Run that made it';
comment on column pgtide.backfill.triggered_by is 'What started that run, such as an Airflow run id';
comment on column pgtide.backfill.created_at is 'When it was made; what was loaded later counts as reloaded';
comment on column pgtide.backfill.changed_by is 'Role, host and process that set the state last';
comment on column pgtide.backfill.changed_at is 'When the state was set last';
