-- Views as files: what was applied, from which file, and everything that was ever done to a view.
-- A row and the DDL that it tells of commit together. Names and types are a public interface.

create table pgtide.view_object (
    name              text primary key,
    kind              text not null check (kind in ('materialized view', 'view', 'function')),
    oid               oid not null,
    file              text not null,
    checksum          text not null,
    checksum_expanded text not null,
    definition_hash   text not null,
    properties_hash   text not null,
    aspects           text not null,
    server_version    integer not null,
    state             text not null check (state in ('applied', 'failed')),
    applied_at        timestamptz not null default pg_catalog.clock_timestamp(),
    applied_by        text not null default current_user,
    error_code        text,
    error_message     text
);

comment on table pgtide.view_object is 'One row for each view or function that came from a file';
comment on column pgtide.view_object.name is 'Name with its schema';
comment on column pgtide.view_object.kind is 'materialized view, view or function';
comment on column pgtide.view_object.oid is 'OID when it was applied: an object that was renamed is known by it; 0 if it was never made';
comment on column pgtide.view_object.file is 'Path of the file below the folder of views';
comment on column pgtide.view_object.checksum is 'Checksum of the file';
comment on column pgtide.view_object.checksum_expanded is 'Checksum of the text with its placeholders filled in';
comment on column pgtide.view_object.definition_hash is 'Hash of the definition as the server wrote it, with an empty search_path';
comment on column pgtide.view_object.properties_hash is 'Hash of indexes, grants, comments, owner, settings and statistics';
comment on column pgtide.view_object.aspects is 'What the file speaks of, with blanks between: indexes comments grants owner settings statistics';
comment on column pgtide.view_object.server_version is 'server_version_num of the server that wrote the definition';
comment on column pgtide.view_object.state is 'applied, or failed: the last try failed, and what was there before stands';
comment on column pgtide.view_object.applied_at is 'When it was last applied or recorded';
comment on column pgtide.view_object.applied_by is 'Role that did it';
comment on column pgtide.view_object.error_code is 'SQLSTATE of the last try, if it failed';
comment on column pgtide.view_object.error_message is 'What went wrong';

create table pgtide.view_history (
    id            bigint generated always as identity primary key,
    at            timestamptz not null default pg_catalog.clock_timestamp(),
    role          text not null default current_user,
    host          text not null,
    pid           bigint not null,
    run_id        text not null,
    action        text not null,
    name          text not null,
    kind          text not null,
    oid           oid,
    file          text,
    checksum      text,
    cause         text not null,
    sql           text not null,
    before        text,
    outcome       text not null check (outcome in ('done', 'failed')),
    error_code    text,
    error_message text,
    elapsed_ms    bigint not null
);
create index view_history_name on pgtide.view_history (name, id);

comment on table pgtide.view_history is 'Everything that was done to views through files; rows are only ever added';
comment on column pgtide.view_history.id is 'Number of the row';
comment on column pgtide.view_history.at is 'When it was recorded, just before its commit';
comment on column pgtide.view_history.role is 'Role that did it';
comment on column pgtide.view_history.host is 'Host of the process';
comment on column pgtide.view_history.pid is 'Process id there';
comment on column pgtide.view_history.run_id is 'The run';
comment on column pgtide.view_history.action is 'new, replace, rebuild, view, repoint, indexes, properties, touched, accept, drop, restore, forget or failed';
comment on column pgtide.view_history.name is 'Name with its schema';
comment on column pgtide.view_history.kind is 'materialized view, view or function';
comment on column pgtide.view_history.oid is 'OID afterwards; null if it is gone';
comment on column pgtide.view_history.file is 'Path of the file, if there is one';
comment on column pgtide.view_history.checksum is 'Checksum of the file';
comment on column pgtide.view_history.cause is 'Why';
comment on column pgtide.view_history.sql is 'The statements, in order';
comment on column pgtide.view_history.before is 'Statements that make what was there before';
comment on column pgtide.view_history.outcome is 'done or failed';
comment on column pgtide.view_history.error_code is 'SQLSTATE, if it failed';
comment on column pgtide.view_history.error_message is 'What went wrong';
comment on column pgtide.view_history.elapsed_ms is 'How long it took, building included';
