-- Materialized views: which version of each table there is, and which one each view shows.
-- Names and types are a public interface. Only pgtide writes here.

create table pgtide.table_version (
    table_oid  oid not null primary key,
    version    bigint not null check (version > 0),
    changed_at timestamptz not null,
    rows       bigint not null
);

comment on table pgtide.table_version is 'How often pgtide has changed a table or a materialized view: what reads it is stale when the version is not the one it has seen';
comment on column pgtide.table_version.table_oid is 'OID of the table or materialized view';
comment on column pgtide.table_version.version is 'Number of the change, in the order of the commits';
comment on column pgtide.table_version.changed_at is 'When it was changed last';
comment on column pgtide.table_version.rows is 'Rows of the load or refresh that changed it last';

create table pgtide.view (
    view_oid        oid not null primary key,
    view_name       text not null,
    refreshed_at    timestamptz,
    data_as_of      timestamptz,
    sources         jsonb,
    xmin_token      text,
    refresh_id      bigint,
    failed_at       timestamptz,
    failed_id       bigint
);

comment on table pgtide.view is 'One row for each materialized view that pgtide has refreshed or should refresh: what it shows';
comment on column pgtide.view.view_oid is 'OID of the materialized view; with the OID of this table the key of the advisory lock of a refresh';
comment on column pgtide.view.view_name is 'Name of the view, with its schema, when it was last refreshed';
comment on column pgtide.view.refreshed_at is 'When the refresh that stands was committed';
comment on column pgtide.view.data_as_of is 'The moment whose rows it shows, at the latest';
comment on column pgtide.view.sources is 'What it reads, with version, files and counters of each as that refresh saw them';
comment on column pgtide.view.xmin_token is 'pg_class.xmin of the view after that refresh: another one means a refresh by somebody else';
comment on column pgtide.view.refresh_id is 'Row of view_refresh of that refresh';
comment on column pgtide.view.failed_at is 'When a refresh failed, if none went well since';
comment on column pgtide.view.failed_id is 'Row of view_refresh of that failure';

create table pgtide.view_refresh (
    id           bigint generated always as identity primary key,
    view_oid     oid not null,
    view_name    text not null,
    run_id       text not null,
    triggered_by text,
    host         text not null,
    pid          bigint not null,
    role         text not null default current_user,
    reason       text not null,
    mode         text not null check (mode in ('plain', 'concurrent', 'swap')),
    status       text not null check (status in ('refreshed', 'failed')),
    attempt      integer not null,
    started_at   timestamptz not null,
    finished_at  timestamptz not null default pg_catalog.clock_timestamp(),
    data_as_of   timestamptz,
    rows         bigint,
    rows_in      bigint,
    rows_out     bigint,
    bytes        bigint,
    sources      jsonb,
    xmin_token   text,
    sqlstate     text,
    error        text
);
create index view_refresh_view on pgtide.view_refresh (view_name, id);

comment on table pgtide.view_refresh is 'History: one row for each refresh that ended; rows are only ever added';
comment on column pgtide.view_refresh.id is 'Number of the row';
comment on column pgtide.view_refresh.view_oid is 'OID of the view afterwards';
comment on column pgtide.view_refresh.view_name is 'Name of the view, with its schema';
comment on column pgtide.view_refresh.run_id is 'Run';
comment on column pgtide.view_refresh.triggered_by is 'What started the run, such as an Airflow run id';
comment on column pgtide.view_refresh.host is 'Host of the run';
comment on column pgtide.view_refresh.pid is 'Process of the run on its host';
comment on column pgtide.view_refresh.role is 'Database role that recorded it';
comment on column pgtide.view_refresh.reason is 'Why it was refreshed';
comment on column pgtide.view_refresh.mode is 'plain, concurrent or swap';
comment on column pgtide.view_refresh.status is 'refreshed or failed';
comment on column pgtide.view_refresh.attempt is 'Number of the try in its run, from 1';
comment on column pgtide.view_refresh.started_at is 'When the try started';
comment on column pgtide.view_refresh.finished_at is 'When it was recorded, just before its commit';
comment on column pgtide.view_refresh.data_as_of is 'The moment whose rows it shows, at the latest';
comment on column pgtide.view_refresh.rows is 'Rows afterwards; an estimate after a concurrent refresh';
comment on column pgtide.view_refresh.rows_in is 'Rows that were written';
comment on column pgtide.view_refresh.rows_out is 'Rows that were removed; none after a plain refresh or a swap, which write all anew';
comment on column pgtide.view_refresh.bytes is 'Size afterwards, with indexes';
comment on column pgtide.view_refresh.sources is 'What it reads, with version, files and counters of each as it saw them';
comment on column pgtide.view_refresh.xmin_token is 'pg_class.xmin of the view afterwards';
comment on column pgtide.view_refresh.sqlstate is 'SQLSTATE, or the kind of error, if it failed';
comment on column pgtide.view_refresh.error is 'What went wrong, if it failed';
