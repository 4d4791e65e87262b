//! Values arrive bit for bit, through `pgtide copy`, which makes the table.
//!
//! Each test makes a table of odd values on the source and compares both sides as text, with every
//! setting that decides how a value looks fixed.

use crate::support::rows::assert_equal;
use crate::support::{Database, Pair, databases, lower_major, pgtide, server_major};

/// Copies with these arguments, between the two databases of a test.
async fn copy(pair: &Pair, arguments: &[&str]) -> crate::support::cli::Output {
    let (source, destination) = (pair.source.url(), pair.destination.url());
    let all = [&["copy", "-s", &source, "-d", &destination], arguments].concat();
    pgtide(&all).run().await
}

/// The same table without what is newer than one of the servers: since when, what, and what instead.
fn without_newer(sql: &str, others: &[(u32, &str, &str)]) -> String {
    others.iter().fold(sql.to_owned(), |sql, (since, new, old)| {
        assert!(sql.contains(new), "{new}");
        if lower_major() < *since { sql.replace(new, old) } else { sql }
    })
}

/// Makes a table by `sql` on the source, copies it, and compares.
async fn arrives(hint: &str, sql: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source.exec(sql).await;
    copy(&pair, &["public.t"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
    assert_eq!(columns(&pair.source).await, columns(&pair.destination).await);
    pair
}

/// Names, types and nullability of the columns of `public.t`.
async fn columns(database: &Database) -> Vec<Vec<Option<String>>> {
    let sql = "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute
               where attrelid = 'public.t'::regclass and attnum > 0 and not attisdropped order by attnum";
    database.rows(sql).await
}

#[tokio::test]
async fn times_at_and_beyond_the_edges() {
    arrives(
        "times",
        "create table public.t (id int, d date, ts timestamp, tz timestamptz, t time, ttz timetz,
                                i interval, ts3 timestamp(3), i2 interval day to second(2));
         insert into public.t values
         (1, 'infinity', 'infinity', 'infinity', '24:00:00', '24:00:00-15:59', '178000000 years', '2000-01-01 00:00:00.1235', '1 day 1.239 s'),
         (2, '-infinity', '-infinity', '-infinity', '00:00:00', '00:00:00+15:59', '-178000000 years', 'infinity', '0'),
         (3, '4713-01-01 BC', '4713-01-01 BC', '4713-01-02 00:00 BC', '23:59:59.999999', '12:00+00', '1 mon -1 day 00:00:01', '-infinity', null),
         (4, '0044-03-15 BC', '0001-12-31 23:59:59.999999 BC', '0001-01-01 BC', null, null, '-00:00:00.000001', null, null),
         (5, '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', null, null, '1 year 2 mons 3 days 04:05:06.789', null, null),
         (6, '2000-02-29', '1999-12-31 23:59:59.999999', '2013-11-03 01:30:00-04', null, null, null, null, null)",
    )
    .await;
}

#[tokio::test]
async fn numbers_at_and_beyond_the_edges() {
    let sql = without_newer(
        "create table public.t (id int, n numeric, n2 numeric(1000,500), n3 numeric(3,-2), r real, d double precision,
                                i2 smallint, i8 bigint, m money, o oid, x xid, x8 xid8, l pg_lsn);
         insert into public.t (id, n, r, d) values
         (1, 'NaN', 'NaN', 'NaN'), (2, 'Infinity', 'Infinity', 'Infinity'), (3, '-Infinity', '-Infinity', '-Infinity'),
         (4, 0, '-0', '-0'), (5, '0.000', '1e-45', '5e-324'), (6, '-0.10', '3.4028235e38', '1.7976931348623157e308'),
         (7, repeat('9', 1000)::numeric, 0.1, 0.1), (8, ('0.' || repeat('7', 1000))::numeric, 1.0/3, 1.0/3),
         (9, (repeat('8', 131072) || '.' || repeat('3', 16383))::numeric, null, null);
         insert into public.t (id, n2, n3, i2, i8, m, o, x, x8, l) values
         (10, (repeat('9', 500) || '.' || repeat('9', 500))::numeric, 12345, -32768, -9223372036854775808,
          '-92233720368547758.08', 4294967295, '4294967295', '18446744073709551615', 'FFFFFFFF/FFFFFFFF'),
         (11, 'NaN', 'NaN', 32767, 9223372036854775807, '92233720368547758.07', 0, '0', '0', '0/0')",
        // No infinite numeric, no scale below zero.
        &[
            (14, "(2, 'Infinity'", "(2, 'NaN'"),
            (14, "(3, '-Infinity'", "(3, 'NaN'"),
            (15, "numeric(3,-2)", "numeric(5,0)"),
        ],
    );
    arrives("numbers", &sql).await;
}

#[tokio::test]
async fn texts_and_bytes() {
    arrives(
        "texts",
        r#"create table public.t (id int, t text, v varchar(5), c char(5), b bytea, n name, one "char", bi bit(5), vb bit varying);
         insert into public.t values
         (1, '', '', '', '', '', '', '10101', ''),
         (2, null, null, null, null, null, null, null, null),
         (3, E'\\N \t\r\n\x01\x7f "quoted" ''single'' \\', 'äöüßé', 'ab', '\x00ff00', 'a', 'x', '00000', '1'),
         (4, '日本語 🚀 ' || U&'\202E' || 'e' || U&'\0301', '  x  ', '  x', decode(repeat('00ff', 5000), 'hex'), repeat('n', 63)::name, E'\\377', '11111', repeat('01', 4000)::bit varying),
         (5, repeat('a', 100000), 'NULL', 'NULL', null, 'NULL', 'N', null, B'0')"#,
    )
    .await;
}

/// The empty tsquery is left out: Postgres 15 sends it in binary and refuses to receive it.
#[tokio::test]
async fn documents_networks_and_keys() {
    arrives(
        "documents",
        r#"create table public.t (id int, j json, jb jsonb, jp jsonpath, x xml, u uuid, i inet, c cidr, m macaddr, m8 macaddr8,
                                  tv tsvector, tq tsquery, p point, l line, s lseg, b box, pa path, po polygon, ci circle);
         insert into public.t (id, j, jb, jp, x, u) values
         (1, '{"b" : 1, "a": [ 1,2 ] , "a":3}', '{"b": 1, "a": [1, 2, {"n": 1e400}], "z": "\u00e9"}', '$.a[*] ? (@ > 1)',
             '<a b="c">text<!-- note --></a>', '00000000-0000-0000-0000-000000000000'),
         (2, 'null', 'null', null, '', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
         (3, '""', '""', null, 'only text', gen_random_uuid()),
         (4, ' [1]  ', '[]', null, '<a/><b/>', null);
         insert into public.t (id, i, c, m, m8, tv, tq) values
         (5, '::/0', '0.0.0.0/0', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00:00:01', 'a:1A b:2B,3C ''it''''s''', 'a & !b | c:*A'),
         (6, '192.168.1.5/24', '2001:db8::/32', '00:00:00:00:00:00', null, '', 'a <-> (b | c)'),
         (7, '::ffff:1.2.3.4/128', '10.1.2.3/32', null, null, to_tsvector('english', repeat('the quick fox ', 100)), null);
         insert into public.t (id, p, l, s, b, pa, po, ci) values
         (8, '(NaN,Infinity)', '{1,-1,0}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(0,0),1e300>')"#,
    )
    .await;
}

#[tokio::test]
async fn arrays_and_ranges() {
    let sql = without_newer(
        r#"create table public.t (id int, a int[], t text[], tz timestamptz[], n numeric[], j jsonb[], r int4range, nr numrange,
                                  tr tstzrange, dr daterange, mr int8multirange, tm tstzmultirange, ra int4range[]);
         insert into public.t (id, a, t, tz, n, j) values
         (1, '{}', '{}', '{}', '{}', '{}'),
         (2, '{null}', '{"", null, "NULL", "a,b", "\"q\"", "{}"}', '{infinity,-infinity,"0044-03-15 12:00 BC"}', '{NaN,Infinity,1.50}', array['{"a":1}'::jsonb, 'null', null]),
         (3, '[-2:0]={1,2,3}', '[2:3][0:1]={{a,b},{c,d}}', null, '{{{1},{2}},{{3},{null}}}', null);
         insert into public.t (id, r, nr, tr, dr, mr, tm, ra) values
         (4, 'empty', 'empty', '(,)', '[2013-03-10,)', '{}', '{[2013-01-01,2013-02-01),(2014-01-01,infinity]}', '{"[1,3)",empty,null}'),
         (5, '[1,1]', '(0.10,NaN]', '[-infinity,infinity]', '(,)', '{[1,3),[5,9),(20,)}', '{}', '{}')"#,
        // No multirange, no infinite numeric.
        &[
            (14, "int8multirange", "int8range[]"),
            (14, "tstzmultirange", "tstzrange[]"),
            (
                14,
                "{[2013-01-01,2013-02-01),(2014-01-01,infinity]}",
                r#"{"[2013-01-01,2013-02-01)","(2014-01-01,infinity]"}"#,
            ),
            (14, "{[1,3),[5,9),(20,)}", r#"{"[1,3)","[5,9)","(20,)"}"#),
            (14, "{NaN,Infinity,1.50}", "{NaN,1.50}"),
        ],
    );
    arrives("arrays", &sql).await;
}

/// Types that somebody made have other OIDs on each server: the destination has them under their names.
#[tokio::test]
async fn types_that_the_user_made() {
    let pair = databases("made").await;
    let types = r#"
        create type public.mood as enum ('sad', 'ok', 'with "quotes" and, comma');
        create domain public.positive as integer check (value > 0);
        create type public.place as (street text, at timestamptz, mood public.mood, nested int[]);
        create domain public.address as public.place;
        create type public.floats as range (subtype = float8);
        create extension hstore schema public"#;
    // What differs in order and number differs in OID.
    pair.destination
        .exec("create type public.other as enum ('x'); create table public.o (a public.other)")
        .await;
    pair.source.exec(types).await;
    pair.destination.exec(types).await;
    pair.source
        .exec(
            r#"create table public.t (id public.positive, m public.mood, ms public.mood[], p public.place, ps public.place[],
                                      a public.address, f public.floats, h public.hstore, hs public.hstore[], ds public.positive[]);
             insert into public.t values
             (1, 'sad', '{ok,"with \"quotes\" and, comma"}', row('x "y", (z)', 'infinity', 'ok', '{1,null}'), array[row(null, null, null, null)::public.place, null],
              row('a', null, 'sad', '{}'), '[NaN,NaN]', 'a=>1, "b c"=>NULL, ""=>""', array['x=>y'::public.hstore], '{1,2}'),
             (2, null, null, null, null, null, 'empty', '', '{}', '{}')"#,
        )
        .await;
    if server_major() < 14 {
        // It looks at OIDs inside of values: refused by name, and what has none goes on.
        let output = copy(&pair, &["public.t"]).await.expect(78);
        let told = "carries type OIDs, which a destination older than 14 refuses";
        assert_eq!(output.stderr.matches(told).count(), 6, "{}", output.stderr);
        assert_eq!(pair.destination.scalar("select to_regclass('public.t') is null").await, "t");
        pair.source.exec("alter table public.t drop ms, drop p, drop ps, drop a, drop hs, drop ds").await;
    }
    copy(&pair, &["public.t"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
}

#[tokio::test]
async fn a_table_that_cannot_take_a_type_of_the_user_is_refused_before_it_is_made() {
    let pair = databases("not_made").await;
    pair.source
        .exec("create type public.mood as enum ('ok', 'gone'); create table public.t (m public.mood)")
        .await;
    pair.destination.exec("create type public.mood as enum ('ok')").await;
    let output = copy(&pair, &["public.t"]).await.expect(78);
    assert!(output.stderr.contains("public.mood"), "{}", output.stderr);
    assert_eq!(pair.destination.scalar("select to_regclass('public.t') is null").await, "t");
}

#[tokio::test]
async fn one_row_of_50_megabytes() {
    arrives(
        "huge",
        "create table public.t (id int, body text, bytes bytea);
         alter table public.t alter body set storage external, alter bytes set storage external;
         insert into public.t values (1, 'small', '\\x00');
         insert into public.t select 2, string_agg(md5(i::text), ''), null from generate_series(1, 1638400) i;
         insert into public.t values (3, 'small', '\\xff')",
    )
    .await;
}

#[tokio::test]
async fn names_that_need_quotes() {
    let pair = databases("names").await;
    let table = r#""Ünïcode ""quoted"" schema"."Ünïcode ""quoted"" name""#;
    let sql = format!(
        r#"create schema "Ünïcode ""quoted"" schema";
         create table {table} ("Ünïcode ""quoted"" col" int primary key, "select" text, "a b" int, "$1" int, "x;--" int, "A" int, "a" int);
         insert into {table} values (1, 'a', 2, 3, 4, 5, 6), (2, null, null, null, null, null, null)"#
    );
    pair.source.exec(&sql).await;
    copy(&pair, &[table]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, table, table).await;
}

#[tokio::test]
async fn tables_of_odd_shape() {
    let pair = databases("shapes").await;
    let many = |f: fn(u32) -> String| (1..=1600).map(f).collect::<Vec<_>>().join(", ");
    let (columns, values) = (many(|i| format!("c{i} smallint")), many(|i| format!("{}", i % 3)));
    pair.source
        .exec(&format!(
            "create table public.zero (); insert into public.zero select from generate_series(1, 1000);
             create table public.wide ({columns}); insert into public.wide values ({values}); insert into public.wide default values;
             create table public.empty (id int primary key, t text);
             create table public.dropped (gone int, id int, also_gone text, t text);
             alter table public.dropped drop gone, drop also_gone;
             insert into public.dropped values (1, 'a')"
        ))
        .await;
    copy(&pair, &["public.zero", "public.wide", "public.empty", "public.dropped"]).await.expect(0);
    let count = pair.destination.scalar("select count(*) from public.zero").await;
    assert_eq!(count, "1000", "rows without columns");
    for table in ["public.wide", "public.empty", "public.dropped"] {
        assert_equal(&pair.source, &pair.destination, table, table).await;
    }
}

#[tokio::test]
async fn views_and_partitioned_tables_as_source() {
    let pair = databases("relations").await;
    pair.source
        .exec(
            "create table public.base (id int primary key, at date not null, v text);
             insert into public.base select i, date '2013-01-01' + i % 90, 'v' || i from generate_series(1, 500) i;
             create view public.seen as select id, v, at + 1 as tomorrow from public.base where id % 2 = 0;
             create materialized view public.kept as select at, count(*) as n from public.base group by at;
             create table public.parts (id int, at date not null, v text) partition by range (at);
             create table public.parts_1 partition of public.parts for values from ('2013-01-01') to ('2013-02-01');
             create table public.parts_2 partition of public.parts for values from ('2013-02-01') to ('2013-03-01') partition by hash (id);
             create table public.parts_2a partition of public.parts_2 for values with (modulus 2, remainder 0);
             create table public.parts_2b (v text, at date not null, id int);
             alter table public.parts_2 attach partition public.parts_2b for values with (modulus 2, remainder 1);
             create table public.parts_rest partition of public.parts default;
             insert into public.parts select * from public.base;
             create table public.parent (id int, v text);
             create table public.child (extra int) inherits (public.parent);
             insert into public.parent values (1, 'a'); insert into public.child values (2, 'b', 3)",
        )
        .await;
    let relations = ["public.seen", "public.kept", "public.parts", "public.parent"];
    copy(&pair, &relations).await.expect(0);
    for relation in relations {
        assert_equal(&pair.source, &pair.destination, relation, relation).await;
    }
}

#[tokio::test]
async fn a_partitioned_destination() {
    let pair = databases("into_parts").await;
    pair.source
        .exec(
            "create table public.t (id int, at date not null, v text);
             insert into public.t select i, date '2013-01-01' + i % 90, 'v' || i from generate_series(1, 500) i",
        )
        .await;
    pair.destination
        .exec(
            "create table public.t (id int, at date not null, v text) partition by range (at);
             create table public.t_1 partition of public.t for values from ('2013-01-01') to ('2013-02-01');
             create table public.t_2 (v text, id int, at date not null);
             alter table public.t attach partition public.t_2 for values from ('2013-02-01') to ('2013-03-01');
             create table public.t_rest partition of public.t default",
        )
        .await;
    copy(&pair, &["public.t"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
    copy(&pair, &["public.t", "--mode", "replace"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
}

#[tokio::test]
async fn generated_and_identity_columns() {
    let pair = databases("generated").await;
    let table = "create table public.t (id bigint generated always as identity, n int,
                                        double int generated always as (n * 2) stored,
                                        by_default int generated by default as identity, s serial)";
    pair.source.exec(table).await;
    pair.source
        .exec(
            "insert into public.t (n) select i from generate_series(1, 50) i;
             insert into public.t (id, n, by_default, s) overriding system value values (1000, 7, 2000, 3000)",
        )
        .await;
    // Into a table that computes the column itself, first load and staged reload; and into one that is made.
    pair.destination.exec(table).await;
    copy(&pair, &["public.t"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
    copy(&pair, &["public.t", "--mode", "replace"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.t").await;
    copy(&pair, &["public.t", "--into", "public.made"]).await.expect(0);
    assert_equal(&pair.source, &pair.destination, "public.t", "public.made").await;
}
