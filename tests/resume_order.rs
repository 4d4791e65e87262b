//! Going on after a key uses the order in which the keys came, of whatever type they are.

use crate::support::{Project, databases, rows};

/// A type as citext is one: text without regard to case, whose operators are in its own schema.
const FOLDED: &str = "
create schema ext;
create type ext.folded;
create function ext.folded_in(cstring) returns ext.folded language internal immutable strict as 'textin';
create function ext.folded_out(ext.folded) returns cstring language internal immutable strict as 'textout';
create function ext.folded_recv(internal) returns ext.folded language internal immutable strict as 'textrecv';
create function ext.folded_send(ext.folded) returns bytea language internal immutable strict as 'textsend';
create type ext.folded (input = ext.folded_in, output = ext.folded_out, receive = ext.folded_recv,
    send = ext.folded_send, internallength = variable, storage = extended);
create cast (ext.folded as text) without function as implicit;
create cast (text as ext.folded) without function as assignment;
create function ext.compare(a ext.folded, b ext.folded) returns integer language sql immutable strict
    as $$ select pg_catalog.bttextcmp(pg_catalog.lower(a::text) collate \"C\", pg_catalog.lower(b::text) collate \"C\") $$;
create function ext.lt(ext.folded, ext.folded) returns boolean language sql immutable strict as $$ select ext.compare($1, $2) < 0 $$;
create function ext.le(ext.folded, ext.folded) returns boolean language sql immutable strict as $$ select ext.compare($1, $2) <= 0 $$;
create function ext.eq(ext.folded, ext.folded) returns boolean language sql immutable strict as $$ select ext.compare($1, $2) = 0 $$;
create function ext.ge(ext.folded, ext.folded) returns boolean language sql immutable strict as $$ select ext.compare($1, $2) >= 0 $$;
create function ext.gt(ext.folded, ext.folded) returns boolean language sql immutable strict as $$ select ext.compare($1, $2) > 0 $$;
create operator ext.< (leftarg = ext.folded, rightarg = ext.folded, function = ext.lt, commutator = operator(ext.>));
create operator ext.<= (leftarg = ext.folded, rightarg = ext.folded, function = ext.le);
create operator ext.= (leftarg = ext.folded, rightarg = ext.folded, function = ext.eq, commutator = operator(ext.=));
create operator ext.>= (leftarg = ext.folded, rightarg = ext.folded, function = ext.ge);
create operator ext.> (leftarg = ext.folded, rightarg = ext.folded, function = ext.gt);
create operator class ext.folded_ops default for type ext.folded using btree as
    operator 1 ext.<, operator 2 ext.<=, operator 3 ext.=, operator 4 ext.>=, operator 5 ext.>,
    function 1 ext.compare(ext.folded, ext.folded);
create domain ext.name as ext.folded;
create type ext.size as enum ('small', 'large', 'medium');
create type ext.pair as (a integer, b text)";

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_goes_on_where_it_was_in_every_type() {
    let pair = databases("resume_order").await;
    pair.source.exec(FOLDED).await;
    pair.destination.exec(&format!("{FOLDED}; create schema mart")).await;
    let letters = "(case when n % 2 = 0 then 'k' else 'K' end) || lpad(n::text, 4, '0')";
    for (number, (ty, key)) in [
        ("ext.folded", format!("({letters})::text")),
        ("ext.name", format!("({letters})::text")),
        ("text", letters.to_owned()),
        ("varchar(20)", letters.to_owned()),
        ("char(9)", letters.to_owned()),
        ("name", letters.to_owned()),
        ("text collate \"C\"", letters.to_owned()),
        (
            "numeric",
            "case n when 300 then 'NaN' when 5 then '-0.50' else (n / 7.0)::text end::numeric".to_owned(),
        ),
        (
            "float8",
            "case n when 300 then 'NaN' when 299 then 'infinity' when 150 then '-0' else (n - 150)::text end::float8"
                .to_owned(),
        ),
        ("integer[]", "array[n % 5, n]".to_owned()),
        ("ext.folded[]", format!("array[({letters})::text]::ext.folded[]")),
        ("jsonb", format!("jsonb_build_object('k', {letters})")),
        ("int4range", "int4range(n % 9, n + 9)".to_owned()),
        ("bytea", "decode(md5(n::text), 'hex')".to_owned()),
        (
            "timestamptz",
            "case n when 7 then 'infinity' else '2026-01-01'::timestamptz + n * interval '1 s' end"
                .to_owned(),
        ),
        ("ext.size", "(array['small', 'large', 'medium'])[n]::ext.size".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let (table, rows) = (format!("t{number}"), if ty == "ext.size" { 3 } else { 300 });
        let make = format!("create table {{}}.{table} (k {ty} primary key, n integer, pad text)");
        pair.source.exec(&format!("create schema if not exists app; {}", make.replace("{}", "app"))).await;
        pair.source
            .exec(&format!("insert into app.{table} select {key}, n, repeat('x', 900000 / {rows}) from generate_series(1, {rows}) n"))
            .await;
        pair.destination
            .exec(&format!(
                "{}; create function mart.f{number}() returns trigger language plpgsql as $$ begin
                     if (select count(*) from mart.{table}) >= {rows} / 2 then raise 'enough'; end if; return new; end $$;
                 create trigger enough before insert on mart.{table} for each row execute function mart.f{number}()",
                make.replace("{}", "mart")
            ))
            .await;
        let job = format!(
            "table = \"app.{table}\"\ninto = \"mart.{table}\"\nmode = \"append\"\nresume_key = \"k\"\nbatch_rows = {}\n",
            rows / 3
        );
        let project = Project::new(&pair).job(&table, &job);
        let output = project.pgtide(&format!("run {table}")).run().await;
        assert_eq!(output.code, 1, "{ty}: {}", output.stderr);
        let stored = pair.destination.scalar(&format!("select count(*) from mart.{table}")).await;
        pair.destination.exec(&format!("drop trigger enough on mart.{table}")).await;
        let output = project.pgtide(&format!("run {table}")).run().await;
        assert_eq!(output.code, 0, "{ty}: {}", output.stderr);
        rows::assert_equal(
            &pair.source,
            &pair.destination,
            &format!("app.{table}"),
            &format!("mart.{table}"),
        )
        .await;
        assert!(ty == "ext.size" || stored != "0", "{ty}: some were stored before");
    }
}
