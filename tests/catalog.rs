//! What is read from a server's catalog: names, tables, queries, rights; and the SQL made of it.

use std::path::PathBuf;
use std::time::Duration;

use pgtide::config::connection::{
    ChannelBinding, ConnectionSpec, Host, RootCert, Secret, SslMode, TargetSessionAttrs,
};
use pgtide::error::ErrorKind;
use pgtide::name::TableName;
use pgtide::postgres::catalog::{
    self, OnDelete, Persistence, Privilege, Relation, RelationKind, RuleEvent, TypeKind, find_relation,
};
use pgtide::postgres::connect::{Session, Side};

use crate::support::{self, CANARY, Database, Pair};

/// Opens a session on a test's database as a role.
pub(crate) async fn session_as(database: &Database, side: Side, role: &str) -> Session {
    let spec = ConnectionSpec {
        name: if side == Side::Source { "source" } else { "warehouse" }.to_owned(),
        hosts: vec![Host::Tcp { name: "127.0.0.1".to_owned(), addr: None, port: database.port() }],
        user: role.to_owned(),
        database: database.name().to_owned(),
        password: Some(Secret::new(CANARY)),
        password_command: None,
        sslmode: SslMode::Disable,
        sslrootcert: RootCert::Default,
        sslcert: None::<PathBuf>,
        sslkey: None,
        channel_binding: ChannelBinding::Prefer,
        target_session_attrs: TargetSessionAttrs::Any,
        connect_timeout: Duration::from_secs(30),
        keepalives: true,
        keepalives_idle: Duration::from_secs(60),
        keepalives_interval: Duration::from_secs(10),
        keepalives_count: 3,
        tcp_user_timeout: None,
        options: None,
        application_name: None,
        max_connections: None,
    };
    Session::open(&spec, side, "pgtide test").await.unwrap()
}

/// Opens sessions on both databases of a test.
pub(crate) async fn sessions(pair: &Pair) -> (Session, Session) {
    (
        session_as(&pair.source, Side::Source, "postgres").await,
        session_as(&pair.destination, Side::Destination, "postgres").await,
    )
}

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

async fn relation(session: &Session, text: &str) -> Relation {
    find_relation(session, &name(text)).await.unwrap()
}

/// Makes a role that only this test uses, since roles are shared by all databases of a server.
async fn role(database: &Database, hint: &str) -> String {
    let role = format!("{hint}_{}", database.name());
    database.exec(&format!("create role {role} login")).await;
    role
}

#[tokio::test]
async fn a_missing_table_is_named_with_the_nearest_name() {
    let db = support::databases("nearest").await;
    db.source.exec(r#"create table flights (id int); create table "Airports" (id int)"#).await;
    let session = session_as(&db.source, Side::Source, "postgres").await;
    let error = find_relation(&session, &name("public.flight")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert_eq!(error.to_string(), "source: there is no table public.flight; did you mean public.flights?");
    let error = find_relation(&session, &name("public.airports")).await.unwrap_err();
    assert!(error.to_string().ends_with(r#"did you mean public."Airports"?"#), "{error}");
}

#[tokio::test]
async fn a_name_without_a_schema_is_found_where_the_role_would_find_it() {
    let db = support::databases("search_path").await;
    let role = role(&db.source, "path").await;
    db.source
        .exec(&format!(
            r#"create schema "Odd"; create table "Odd".t (odd int); create table public.t (plain int);
               grant usage on schema "Odd" to {role};
               alter role {role} set search_path = nosuch, "Odd", public"#
        ))
        .await;
    let session = session_as(&db.source, Side::Source, &role).await;
    assert_eq!(relation(&session, "t").await.name, TableName::new("Odd", "t"));
    assert_eq!(catalog::creation_name(&session, &name("n")).await.unwrap(), TableName::new("Odd", "n"));
    let other = session_as(&db.source, Side::Source, "postgres").await;
    assert_eq!(relation(&other, "t").await.name, TableName::new("public", "t"));
    assert!(catalog::relation_if_exists(&other, &name("nosuch")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_table_is_read_with_all_that_decides_how_it_is_loaded() {
    let db = support::databases("relation").await;
    db.destination
        .exec(
            "create table t (
                 id int generated always as identity primary key, day date not null, note varchar(5),
                 gone int, twice int generated always as (extract(day from day)::int * 2) stored);
             alter table t drop column gone;
             create unique index by_day on t (day, note); create index late on t (note) where note <> '';
             create table child (t int constraint to_t references t on delete cascade,
                                 u int constraint to_u references t on delete set null);
             create function f() returns trigger language plpgsql as 'begin return new; end';
             create trigger watch before insert on t for each row execute function f();
             create trigger off before insert on t for each row execute function f();
             alter table t disable trigger off;
             create rule r as on insert to t do also nothing;
             insert into t (day) select '2024-01-01' from generate_series(1, 100); analyze t",
        )
        .await;
    let session = session_as(&db.destination, Side::Destination, "postgres").await;
    let t = relation(&session, "public.t").await;
    assert_eq!((t.kind, t.persistence), (RelationKind::Table, Persistence::Permanent));
    assert_eq!(t.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["id", "day", "note", "twice"]);
    assert_eq!(t.primary_key, ["id"]);
    assert_eq!(t.triggers, ["watch"]);
    assert_eq!(
        t.rules.iter().map(|r| (r.name.as_str(), r.event)).collect::<Vec<_>>(),
        [("r", RuleEvent::Insert)]
    );
    assert!(t.lockable && !t.row_security && !t.has_inheritors);
    assert_eq!(t.estimated_rows, Some(100));
    assert!(t.index_on("day") && t.index_on("id") && !t.index_on("note"));
    assert!(t.is_unique_key(&["id".to_owned()]));
    assert!(!t.is_unique_key(&["day".to_owned(), "note".to_owned()]), "note can be null");
    assert_eq!(t.cascade_fks().map(|fk| fk.name.as_str()).collect::<Vec<_>>(), ["to_t"]);
    assert_eq!(t.referencing_fks[1].on_delete, OnDelete::Set);
    let id = t.column("id").unwrap();
    assert_eq!(id.sequence, Some(TableName::new("public", "t_id_seq")));
    assert!(id.identity.is_some() && id.not_null && id.can_be_left_out());
    assert!(t.column("twice").unwrap().generated);
    assert_eq!(t.column("note").unwrap().data_type.formatted, "character varying(5)");
    assert!(t.refused_as_destination().is_empty());
}

#[tokio::test]
async fn partitions_and_views_say_why_they_cannot_be_loaded() {
    let db = support::databases("refused").await;
    db.destination
        .exec(
            "create table p (day date) partition by range (day);
             create table p1 partition of p for values from ('2024-01-01') to ('2024-02-01');
             create unlogged table p2 partition of p default;
             create view v as select 1 as a",
        )
        .await;
    let session = session_as(&db.destination, Side::Destination, "postgres").await;
    let p = relation(&session, "public.p").await;
    assert_eq!(p.partition_key.as_deref(), Some("RANGE (day)"));
    assert_eq!(p.leaves.iter().map(|l| l.name.table.as_str()).collect::<Vec<_>>(), ["p1", "p2"]);
    assert_eq!(p.leaves[0].bound, "FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')");
    assert_eq!(
        p.refused_as_destination(),
        ["public.p2 is unlogged and would be empty after a crash: alter table public.p2 set logged;"]
    );
    let leaf = relation(&session, "public.p1").await;
    assert_eq!(leaf.partition_bound.as_ref(), Some(&p.leaves[0].bound));
    let v = relation(&session, "public.v").await;
    assert_eq!(v.refused_as_destination(), ["public.v is a view: rows can only be loaded into a table"]);
    assert!(v.refused_as_source().is_empty());
}

#[tokio::test]
async fn row_security_is_seen_when_it_is_in_force_for_the_role() {
    let db = support::databases("row_security").await;
    let role = role(&db.source, "limited").await;
    db.source
        .exec(&format!(
            "create table t (a int); alter table t enable row level security; grant select on t to {role}"
        ))
        .await;
    let limited = session_as(&db.source, Side::Source, &role).await;
    assert_eq!(relation(&limited, "public.t").await.refused_as_source().len(), 1);
    let owner = session_as(&db.source, Side::Source, "postgres").await;
    assert!(relation(&owner, "public.t").await.refused_as_source().is_empty());
}

#[tokio::test]
async fn planted_objects_change_nothing_that_is_read() {
    let db = support::databases("planted").await;
    db.source
        .exec(
            "create function public.evil(oid, oid) returns bool language sql as 'select false';
             create operator public.= (leftarg = oid, rightarg = oid, function = public.evil);
             create function public.format_type(oid, int4) returns text language sql as $$ select 'evil' $$;
             create table public.pg_class (a int); create table public.t (a numeric(5,2))",
        )
        .await;
    let path = format!("alter database {} set search_path = public, pg_catalog", db.source.name());
    db.source.exec(&path).await;
    let session = session_as(&db.source, Side::Source, "postgres").await;
    let t = relation(&session, "t").await;
    assert_eq!(t.columns[0].data_type.formatted, "numeric(5,2)");
    assert_eq!(relation(&session, "pg_class").await.name, TableName::new("public", "pg_class"));
}

#[tokio::test]
async fn a_query_is_described_and_its_tables_found_without_running_it() {
    let db = support::databases("query").await;
    db.source
        .exec(
            "create type mood as enum ('sad', 'ok'); create schema deep;
             create table deep.base (a int, m mood); create view v as select a, m from deep.base;
             create table other (a int, price numeric(12,4), tags varchar(5)[]);
             create materialized view mv as select 1 as one",
        )
        .await;
    let session = session_as(&db.source, Side::Source, "postgres").await;
    let sql = "select v.m, o.price, o.tags, (select one from mv), pg_sleep(3600)::text as s
               from v join other o using (a)";
    let path = catalog::role_search_path(&session).await.unwrap();
    let shape = catalog::inspect_query(&session, sql, &path).await.unwrap();
    let columns: Vec<(&str, &str)> =
        shape.columns.iter().map(|c| (c.name.as_str(), c.data_type.formatted.as_str())).collect();
    assert_eq!(
        columns,
        [
            ("m", "public.mood"),
            ("price", "numeric(12,4)"),
            ("tags", "character varying(5)[]"),
            ("one", "integer"),
            ("s", "text")
        ]
    );
    assert_eq!(shape.columns[0].data_type.kind, TypeKind::Enum(vec!["sad".to_owned(), "ok".to_owned()]));
    let relations: Vec<String> = shape.relations.iter().map(|r| r.name.to_string()).collect();
    assert_eq!(relations, ["deep.base", "public.mv", "public.other", "public.v"]);
    assert_eq!(
        catalog::lock_sql(&shape.relations).as_deref(),
        Some(r#"lock table "deep"."base", "public"."other" in access share mode"#)
    );
    let locks = "select count(*) from pg_locks where relation = 'deep.base'::regclass";
    assert_eq!(db.source.scalar(locks).await, "0", "the throw-away transaction has ended");
    let error = catalog::inspect_query(&session, "select nosuch from v", &path).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42703"));
    assert_eq!(catalog::describe_query(&session, "select 1::int8 as n").await.unwrap()[0].name, "n");
}

#[tokio::test]
async fn missing_rights_are_grants_that_help_when_a_dba_runs_them() {
    let db = support::databases("rights").await;
    let role = role(&db.destination, "etl").await;
    db.destination
        .exec(&format!(
            "create schema mart; create table mart.t (a int, b int);
             revoke temporary on database {} from public",
            db.destination.name()
        ))
        .await;
    let session = session_as(&db.destination, Side::Destination, &role).await;
    let t = relation(&session, "mart.t").await;
    let privileges = [Privilege::Select, Privilege::Insert, Privilege::Delete, Privilege::Truncate];
    let columns = ["a".to_owned()];
    let needed = || async {
        let mut grants = catalog::needed_on_relation(&session, &t, &privileges, Some(&columns));
        grants.extend(catalog::needed_for_ledger(&session, "pgtide", true).await.unwrap());
        grants
    };
    let missing = catalog::missing_grants(&session, needed().await).await.unwrap();
    assert_eq!(missing.len(), 7);
    assert!(!t.lockable);
    db.destination.exec(&catalog::grants_sql(&missing)).await;
    assert_eq!(catalog::missing_grants(&session, needed().await).await.unwrap(), []);
    session.batch("using the rights", "insert into mart.t (a) values (1); truncate mart.t").await.unwrap();
    session.batch("using the rights", "create schema pgtide; create temp table x (a int)").await.unwrap();
}

#[tokio::test]
async fn a_missing_table_is_made_with_types_not_null_and_key() {
    let db = support::databases("create").await;
    db.source
        .exec(
            r#"create type mood as enum ('it''s', 'ok');
               create table "T 1" (id bigserial, "when" timestamptz(3) not null, price numeric(12,4),
                   c character(3), b bit(4), tags text[], twice bigint generated always as (id * 2) stored,
                   primary key (id, "when"));
               create table moody (m mood, ms mood[])"#,
        )
        .await;
    let (source, destination) = sessions(&db).await;
    let t = relation(&source, r#"public."T 1""#).await;
    let target = name(r#"mart."T 1""#);
    let columns = catalog::created_columns(&t.columns);
    let statements =
        catalog::create_statements(&destination, &target, &columns, &t.primary_key).await.unwrap();
    assert_eq!(statements.len(), 2, "the schema is made too");
    for sql in &statements {
        destination.batch("making the table", sql).await.unwrap();
    }
    let made = relation(&destination, r#"mart."T 1""#).await;
    let shape = |r: &Relation| {
        let shape = |c: &catalog::Column| (c.name.clone(), c.data_type.formatted.clone(), c.not_null);
        r.columns.iter().map(shape).collect::<Vec<_>>()
    };
    assert_eq!(shape(&made), shape(&t));
    assert_eq!(made.primary_key, t.primary_key);
    assert!(made.columns.iter().all(|c| !c.generated && !c.has_default));

    let moody = relation(&source, "public.moody").await;
    let error = catalog::create_statements(&destination, &name("public.moody"), &moody.columns, &[])
        .await
        .unwrap_err();
    assert_eq!(error.details(), ["m  public.mood", "ms  public.mood[]"]);
    let remedy = r#"create type "public"."mood" as enum ('it''s', 'ok');"#;
    assert_eq!(error.hint(), Some(format!("on warehouse:\n  {remedy}").as_str()));
    db.destination.exec(remedy).await;
    let missing = catalog::missing_types(&destination, &moody.columns).await.unwrap();
    assert!(missing.is_empty());
}

#[tokio::test]
async fn one_table_seen_through_two_sessions_is_the_same_table() {
    let db = support::databases("same").await;
    db.source.exec("create table t (a int); create table u (a int)").await;
    db.destination.exec("create table t (a int)").await;
    let one = session_as(&db.source, Side::Source, "postgres").await;
    let two = session_as(&db.source, Side::Destination, "postgres").await;
    let far = session_as(&db.destination, Side::Destination, "postgres").await;
    let (t, again) = (relation(&one, "public.t").await, relation(&two, "public.t").await);
    let (u, other) = (relation(&two, "public.u").await, relation(&far, "public.t").await);
    assert!(catalog::same_table((one.server(), &t), (two.server(), &again)));
    assert!(!catalog::same_table((one.server(), &t), (two.server(), &u)));
    assert!(!catalog::same_table((one.server(), &t), (far.server(), &other)));
}
