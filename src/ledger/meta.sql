-- The table that says which version the ledger has; version 0 is a ledger with this table alone.

create table pgtide.meta (
    only_row   boolean primary key default true check (only_row),
    version    integer not null,
    changed_at timestamptz not null default pg_catalog.clock_timestamp(),
    changed_by text not null
);

comment on table pgtide.meta is 'One row: the version of the tables of this schema';
comment on column pgtide.meta.only_row is 'Always true, so that there is one row';
comment on column pgtide.meta.version is 'Version; newer programs upgrade it in place, older ones refuse it';
comment on column pgtide.meta.changed_at is 'When this version was reached';
comment on column pgtide.meta.changed_by is 'Program that brought it there';

insert into pgtide.meta (version, changed_by) values (0, 'pgtide');
