//! Pairs of types, each through the catalog, the decision and a binary COPY between two servers:
//! refused, or stored as the value that Postgres's own cast gives.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, pin_mut};
use pgtide::columns::{ColumnPlan, Finding, Options, decide, select_list};
use pgtide::config::job::OnSchemaChange;
use pgtide::postgres::catalog::{Column, describe_query, find_relation};
use pgtide::postgres::connect::Session;
use pgtide::postgres::ident::quote;
use tokio_postgres::SimpleQueryMessage;

use crate::catalog::{name, sessions};
use crate::support::{self, lower_major, server_major};

/// What becomes of a pair of types.
#[derive(Debug, Clone, Copy)]
enum Becomes {
    /// No row is read.
    Refused,
    /// The value is that of the cast.
    Copied,
    /// The types go together; this value does not, and the server says so.
    ServerRefuses(&'static str),
}
use Becomes::{Copied, Refused, ServerRefuses};

/// `(source type, value, destination type, what becomes of it)`.
type Case = (&'static str, &'static str, &'static str, Becomes);

/// Binary COPY takes these without a word and stores something else.
const SILENTLY_WRONG: &[Case] = &[
    ("int4", "1", "float4", Refused),
    ("int8", "1", "float8", Refused),
    ("int8", "1700000000", "timestamp", Refused),
    ("int8", "1700000000", "timestamptz", Refused),
    ("int4", "1", "date", Refused),
    ("date", "'2024-05-01'", "int4", Refused),
    ("timestamp", "'2024-05-01 12:00'", "timestamptz", Refused),
    ("timestamptz", "'2024-05-01 12:00'", "timestamp", Refused),
    ("time", "'12:00'", "int8", Refused),
    ("int8", "43200000000", "time", Refused),
    ("money", "100", "int8", Refused),
    ("int8", "100", "money", Refused),
    ("jsonb", r#"'{"a":1}'"#, "text", Copied),
    ("text", "'abc'", "bytea", Refused),
    ("bytea", "'abc'", "text", Refused),
    ("uuid", "'6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b'", "bytea", Refused),
    ("bool", "true", "\"char\"", Refused),
    ("text", "'x'", "bool", Refused),
    ("int4", "-1", "oid", Refused),
    ("regclass", "'pg_catalog.pg_class'", "oid", Refused),
    ("regclass", "'pg_catalog.pg_class'", "regclass", Refused),
    ("numeric", "1.23456", "numeric(10,2)", Refused),
    ("varbit", "b'101'", "bit(3)", Refused),
    ("timestamptz", "'2024-05-01 12:00:00.6'", "timestamptz(0)", Refused),
    ("numeric[]", "'{1.23456}'", "numeric(10,2)[]", Refused),
    ("numeric", "1.23456", "public.cents", Refused),
];

/// Binary COPY stops at these; a cast on the source helps, or they are refused before the first row.
const REFUSED_BY_THE_SERVER: &[Case] = &[
    ("int4", "-7", "int8", Copied),
    ("int8", "7", "int4", Refused),
    ("int4", "7", "int2", Refused),
    ("numeric", "1.5", "float8", Refused),
    ("date", "'2024-05-01'", "timestamp", Copied),
    ("float8", "1.5", "numeric", Refused),
    ("int4range", "'[1,5)'", "int8range", Refused),
    ("json", r#"'{"a":1}'"#, "jsonb", Refused),
    ("text", r#"'{"a":1}'"#, "jsonb", Refused),
    ("jsonb", r#"'{"a":1}'"#, "json", Copied),
    ("text", "'abc'", "varchar(2)", Refused),
    ("numeric", "1e20", "numeric(10,2)", Refused),
    ("numeric", "'Infinity'", "numeric(10,2)", Refused),
    ("uuid", "'6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b'", "text", Copied),
    ("int4[]", "'{1,2}'", "int8[]", Copied),
    ("public.pair_other", "'(1,2)'", "public.pair_other", Refused),
    ("public.shrunk", "'gone'", "public.shrunk", Refused),
    ("text", "'x'", "public.mood", ServerRefuses("22P02")),
    ("int4", "-1", "public.positive", ServerRefuses("23514")),
    ("bit(4)", "b'1010'", "bit(5)", Refused),
    ("aclitem", "'postgres=r/postgres'", "aclitem", Refused),
    ("aclitem[]", "'{postgres=r/postgres}'", "aclitem[]", Refused),
    ("varchar(5)[]", "'{a,b}'", "text[]", Copied),
];

/// Values of the ends of each range, and types whose OIDs differ between the servers.
const FINE: &[Case] = &[
    ("public.mood", "'ok'", "public.mood", Copied),
    ("public.mood[]", "'{ok,NULL,sad}'", "public.mood[]", Copied),
    ("public.mood[]", "'[-1:0]={ok,sad}'", "text[]", Copied),
    ("public.pair", "'(1,\"a b\")'", "public.pair", Copied),
    ("public.pair[]", "'{\"(1,a)\"}'", "public.pair[]", Copied),
    ("public.positive", "5", "public.positive", Copied),
    ("public.positive", "5", "int8", Copied),
    ("int4", "5", "public.positive", Copied),
    ("int4[]", "'{1,2}'", "public.positive[]", Copied),
    ("public.span", "'[1.5,2.5]'", "public.span", Copied),
    ("numeric(10,2)", "1.20", "public.cents", Copied),
    ("text", "'sad'", "public.mood", Copied),
    ("float8", "'NaN'", "float8", Copied),
    ("float8", "'-Infinity'", "float8", Copied),
    ("numeric", "'NaN'", "numeric", Copied),
    ("numeric", "1.10 + repeat('9', 9000)::numeric", "numeric", Copied),
    ("date", "'infinity'", "date", Copied),
    ("date", "'infinity'", "timestamp", Copied),
    ("date", "'5874897-12-31'", "date", Copied),
    ("timestamp", "'-infinity'", "timestamp", Copied),
    ("timestamptz", "'4713-01-01 00:00 BC'", "timestamptz", Copied),
    ("timestamptz", "'294276-12-31'", "timestamptz(6)", Copied),
    ("time", "'24:00:00'", "time", Copied),
    ("interval", "'-178000000 years 3 days 00:00:01.5'", "interval", Copied),
    ("int4[]", "'[-3:-2][5:5]={{1},{2}}'", "int4[]", Copied),
    ("int4[]", "'[-3:-2][5:5]={{1},{2}}'", "int8[]", Copied),
    ("xml", "'<a>1</a>'", "xml", Copied),
    ("tsvector", "'''a'':1A ''b'':2'", "tsvector", Copied),
    ("int4multirange", "'{[1,3),[5,9)}'", "int4multirange", Copied),
    ("regclass", "'pg_catalog.pg_class'", "text", Copied),
    ("aclitem[]", "'{postgres=r/postgres}'", "text", Copied),
    ("bpchar(5)", "'ab'", "text", Copied),
    ("bpchar(5)", "'ab'", "bpchar(9)", Copied),
    ("\"char\"", "'x'", "\"char\"", Copied),
    ("text", "null", "varchar", Copied),
    ("public.hstore", "'a=>1, b=>NULL'", "public.hstore", Copied),
    ("public.hstore[]", "'{a=>1}'", "public.hstore[]", Copied),
    ("public.citext", "'Ab'", "public.citext", Copied),
    ("public.citext", "'Ab'", "text", Copied),
    ("varchar(5)", "'Ab'", "public.citext", Copied),
];

/// The two servers give these types different OIDs, since the destination has others before.
const TYPES: &str = "
create extension hstore schema public; create extension citext schema public;
create type public.mood as enum ('sad', 'ok', 'happy');
create type public.pair as (a int4, b text);
create domain public.positive as int4 check (value > 0);
create domain public.cents as numeric(10,2);
create type public.span as range (subtype = float8);";
const ONLY_SOURCE: &str = "
create type public.pair_other as (a int4, b int4);
create type public.shrunk as enum ('kept', 'gone');";
const ONLY_DESTINATION: &str = "
create type public.filler as enum (); create type public.more as (a int4); create table public.rest ();
create type public.pair_other as (a int4, b text);
create type public.shrunk as enum ('kept');";

/// The tables of a single pair.
const TABLE: &str = "public.t";

struct Bench {
    source: Session,
    destination: Session,
    timezone: Option<&'static str>,
}

impl Bench {
    async fn new(hint: &str) -> Self {
        let db = support::databases(hint).await;
        db.source.exec(&format!("{TYPES}{ONLY_SOURCE}")).await;
        db.destination.exec(&format!("{ONLY_DESTINATION}{TYPES}")).await;
        let (source, destination) = sessions(&db).await;
        // What a source is given for each transaction, for one that also writes here.
        let settings = source.local_settings().replace("set local ", "set ");
        source.client().batch_execute(&settings).await.unwrap();
        Self { source, destination, timezone: None }
    }

    async fn check(&self, case: Case) {
        let Some((from, value, into, becomes)) = on_this_server(case) else { return };
        let label = format!("{value}::{from} into {into}");
        let plan = match (self.decide(from, value, into).await, becomes) {
            (Err(_), Refused) => return,
            (Ok(plan), Copied | ServerRefuses(_)) => plan,
            (decision, _) => panic!("{label}: expected {becomes:?}, decided {decision:?}"),
        };
        match (self.copy(&plan, TABLE, TABLE).await, becomes) {
            (Ok(()), Copied) => {
                assert_eq!(self.stored(TABLE).await, self.cast(from, &[value], into).await, "{label}");
            }
            (Err(code), ServerRefuses(expected)) => assert_eq!(code, expected, "{label}"),
            (copied, _) => panic!("{label}: expected {becomes:?}, the copy gave {copied:?}"),
        }
    }

    /// Makes a table on each side and decides, as the engine does: once before, once described.
    async fn decide(&self, from: &str, value: &str, into: &str) -> Result<ColumnPlan, Vec<Finding>> {
        let make = |t: &str| format!("drop table if exists {TABLE}; create table {TABLE} (c {t})");
        let fill = format!("{}; insert into {TABLE} select ({value})::{from}", make(from));
        self.source.client().batch_execute(&fill).await.unwrap();
        self.destination.batch("making the destination", &make(into)).await.unwrap();
        let s = find_relation(&self.source, &name(TABLE)).await.unwrap();
        let t = find_relation(&self.destination, &name(TABLE)).await.unwrap();
        let plan = self.decide_on(&s.columns, &t.columns)?;
        let query = format!("select {} from {TABLE}", select_list(&plan));
        let described = describe_query(&self.source, &query).await.unwrap();
        plan.verify(&described, &t.columns, &self.options(&BTreeMap::new()))?;
        Ok(plan)
    }

    fn decide_on(&self, source: &[Column], target: &[Column]) -> Result<ColumnPlan, Vec<Finding>> {
        decide(source, target, &self.options(&BTreeMap::new()))
    }

    fn options<'a>(&self, cast: &'a BTreeMap<String, String>) -> Options<'a> {
        Options {
            cast,
            columns: None,
            on_schema_change: OnSchemaChange::Warn,
            timezone: self.timezone,
            target_version: self.destination.server().version_num,
        }
    }

    /// Copies all rows; the code of the server's refusal, if it refuses.
    async fn copy(&self, plan: &ColumnPlan, from: &str, into: &str) -> Result<(), String> {
        let code = |e: tokio_postgres::Error| e.code().expect("the server answered").code().to_owned();
        let out = format!("copy (select {} from {from}) to stdout (format binary)", select_list(plan));
        let rows = self.source.client().copy_out(&out).await.unwrap();
        let columns: Vec<String> = plan.target_columns().map(quote).collect();
        let into = format!("copy {into} ({}) from stdin (format binary)", columns.join(", "));
        let sink = self.destination.client().copy_in::<_, Bytes>(&into).await.unwrap();
        pin_mut!(rows, sink);
        while let Some(chunk) = rows.next().await {
            sink.send(chunk.unwrap()).await.unwrap();
        }
        sink.finish().await.map_err(code)?;
        Ok(())
    }

    async fn stored(&self, table: &str) -> Vec<Option<String>> {
        texts(&self.destination, &format!("select c::text from {table} order by ctid")).await
    }

    /// What Postgres itself makes of the values.
    async fn cast(&self, from: &str, values: &[&str], into: &str) -> Vec<Option<String>> {
        let zone = self.timezone.map(|zone| format!("::timestamp at time zone '{zone}'")).unwrap_or_default();
        let select = |value: &&str| format!("select ((({value})::{from}){zone})::{into}::text");
        let all: Vec<String> = values.iter().map(select).collect();
        texts(&self.destination, &all.join(" union all ")).await
    }
}

/// The case as Postgres 13 can make it, and what becomes of it there: it has neither multiranges nor
/// infinite numerics, and refuses types of users by their OIDs. All others have it as it stands.
fn on_this_server((from, value, into, becomes): Case) -> Option<Case> {
    const CARRY_OIDS: [&str; 4] = ["public.mood[]", "public.pair[]", "public.positive[]", "public.hstore[]"];
    let lacks = lower_major() < 14;
    let value = if lacks && from == "numeric" && value == "'Infinity'" { "'NaN'" } else { value };
    let becomes = if server_major() < 14 && CARRY_OIDS.contains(&into) { Refused } else { becomes };
    (!lacks || !from.contains("multirange")).then_some((from, value, into, becomes))
}

/// The first column of all rows.
async fn texts(session: &Session, sql: &str) -> Vec<Option<String>> {
    let messages = session.client().simple_query(sql).await.unwrap_or_else(|e| panic!("{e:?}: {sql}"));
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    };
    messages.iter().filter_map(text).collect()
}

#[tokio::test]
async fn pairs_that_copy_would_store_wrongly_are_refused_or_cast() {
    let bench = Bench::new("silently_wrong").await;
    for case in SILENTLY_WRONG {
        bench.check(*case).await;
    }
}

#[tokio::test]
async fn pairs_that_the_server_would_refuse_are_refused_before_or_cast() {
    let bench = Bench::new("server_refuses").await;
    for case in REFUSED_BY_THE_SERVER {
        bench.check(*case).await;
    }
}

#[tokio::test]
async fn values_at_the_ends_of_their_types_arrive_as_they_were() {
    let bench = Bench::new("fine").await;
    for case in FINE {
        bench.check(*case).await;
    }
}

#[tokio::test]
async fn local_times_arrive_as_instants_of_the_jobs_time_zone() {
    let bench = Bench { timezone: Some("America/New_York"), ..Bench::new("zones").await };
    for value in ["'2024-05-01 12:00'", "'2024-03-10 02:30'", "'2024-11-03 01:30'", "'infinity'"] {
        bench.check(("timestamp", value, "timestamptz", Copied)).await;
    }
    bench.check(("timestamp(0)", "'2024-05-01 12:00'", "timestamptz(3)", Copied)).await;
    bench.check(("date", "'2024-05-01'", "timestamptz", Copied)).await;
    bench.check(("timestamptz", "'2024-05-01 12:00'", "timestamp", Refused)).await;
}

/// Types with values that would show a wrong or lossy conversion.
const MATRIX: &[(&str, &[&str])] = &[
    ("bool", &["true"]),
    ("int2", &["-32768"]),
    ("int4", &["-2147483648"]),
    ("int8", &["-9223372036854775808"]),
    ("numeric", &["123456789012345678901234567890.123456789", "'-Infinity'"]),
    ("numeric(10,2)", &["12345678.90"]),
    ("numeric(12,4)", &["12345678.9012"]),
    ("numeric(30,0)", &["123456789012345678901234567890"]),
    ("float4", &["1.1", "'NaN'"]),
    ("float8", &["1.1", "'-0'"]),
    ("money", &["12.34"]),
    ("oid", &["4294967295"]),
    ("text", &["'a  '", "''"]),
    ("varchar", &["'ä€𝄞 '"]),
    ("varchar(5)", &["'ä€𝄞x '"]),
    ("varchar(40)", &["'abc'"]),
    ("bpchar", &["'ab '"]),
    ("bpchar(5)", &["'ab'"]),
    ("name", &["repeat('n', 63)"]),
    ("\"char\"", &["'c'"]),
    ("bytea", &[r"'\x00ff'"]),
    ("uuid", &["'6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b'"]),
    ("json", &[r#"'{"b": 1, "a":1, "b":2}'"#]),
    ("jsonb", &[r#"'{"b": 1.10, "a": [null]}'"#]),
    ("date", &["'2024-02-29'", "'-infinity'"]),
    ("time", &["'24:00:00'"]),
    ("time(3)", &["'01:02:03.456'"]),
    ("timetz", &["'24:00:00-15:59'"]),
    ("timestamp", &["'2024-02-29 23:59:59.999999'"]),
    ("timestamp(0)", &["'2024-02-29 23:59:59'"]),
    ("timestamptz", &["'2024-02-29 23:59:59.999999+13'"]),
    ("timestamptz(3)", &["'2024-02-29 23:59:59.999+13'"]),
    ("interval", &["'1 mon -1 day 24:00:00.000001'"]),
    ("interval(0)", &["'1 day 00:00:01'"]),
    ("interval year to month", &["'1 year 1 mon'"]),
    ("bit(5)", &["b'10101'"]),
    ("varbit", &["b'1010'"]),
    ("varbit(9)", &["b'101010'"]),
    ("inet", &["'10.0.0.1/8'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("point", &["'(1.5,-0)'"]),
    ("tsvector", &["'''a'':1'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'"]),
    ("int4range", &["'[1,5)'"]),
    ("tstzrange", &["'[2024-01-01,infinity)'"]),
    ("int2[]", &["'[0:1]={1,NULL}'"]),
    ("int4[]", &["'{{1,2},{3,4}}'"]),
    ("text[]", &["'{a,NULL,\"NULL\"}'"]),
    ("varchar(5)[]", &["'{a,b}'"]),
    ("timestamp[]", &["'{2024-01-01}'"]),
    ("public.mood", &["'sad'"]),
    ("public.mood[]", &["'{ok}'"]),
    ("public.positive", &["2147483647"]),
    ("public.cents", &["12345678.90"]),
];

#[tokio::test]
async fn every_accepted_pair_of_many_types_stores_what_the_cast_gives() {
    let bench = Bench::new("matrix").await;
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    let can_make = |value: &&&str| !(lower_major() < 14 && **value == "'-Infinity'");
    for (number, (data_type, values)) in MATRIX.iter().enumerate() {
        let table = name(&format!("public.t{number}"));
        let make = format!("create table {table} (c {data_type})");
        bench.destination.batch("making a table", &make).await.unwrap();
        let fill: String = values
            .iter()
            .filter(can_make)
            .map(|v| format!("; insert into {table} select ({v})::{data_type}"))
            .collect();
        bench.source.client().batch_execute(&format!("{make}{fill}")).await.unwrap();
        sources.push(find_relation(&bench.source, &table).await.unwrap());
        targets.push(find_relation(&bench.destination, &table).await.unwrap());
    }
    let mut accepted = 0;
    for (source, (from, values)) in sources.iter().zip(MATRIX) {
        let values: Vec<&str> = values.iter().filter(can_make).copied().collect();
        for (target, (into, _)) in targets.iter().zip(MATRIX) {
            let Ok(plan) = bench.decide_on(&source.columns, &target.columns) else {
                assert!(
                    from != into || (server_major() < 14 && *from == "public.mood[]"),
                    "{from} goes into itself"
                );
                continue;
            };
            accepted += 1;
            let (s, t) = (source.name.to_string(), target.name.to_string());
            let label = format!("{values:?} of {from} into {into}");
            match bench.copy(&plan, &s, &t).await {
                Ok(()) => {
                    assert_eq!(bench.stored(&t).await, bench.cast(from, &values, into).await, "{label}")
                }
                // A label that is not there; a domain's check.
                Err(code) => assert!(code == "22P02" || code == "23514", "{label}: {code}"),
            }
            bench.destination.batch("emptying a table", &format!("truncate {t}")).await.unwrap();
        }
    }
    assert!(accepted > 2 * MATRIX.len(), "only {accepted} pairs were accepted");
}
