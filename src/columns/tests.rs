//! Every pair of types that binary COPY is known to take wrongly, refuse, or take well.

use std::collections::BTreeMap;

use super::*;
use crate::postgres::catalog::{DataType, Field, Provider, TypeKind};

/// OIDs of another server's user-defined types differ; these stand for two servers.
const SOURCE_OID: u32 = 20_000;
const TARGET_OID: u32 = 30_000;

/// A built-in type as people write it: `numeric(10,2)`, `timestamptz(0)`, `int4[]`.
fn builtin(text: &str) -> DataType {
    if let Some(element) = text.strip_suffix("[]") {
        let part = builtin(element);
        return DataType {
            name: format!("_{}", part.name),
            formatted: text.to_owned(),
            kind: TypeKind::Array(Box::new(part.clone())),
            ..part
        };
    }
    let (name, modifier) = text.split_once('(').map_or((text, None), |(n, m)| (n, Some(m)));
    let numbers: Vec<i32> =
        modifier.map_or(Vec::new(), |m| m[..m.len() - 1].split(',').map(|n| n.parse().unwrap()).collect());
    let typmod = match (name, numbers.as_slice()) {
        (_, []) => -1,
        ("numeric", [p, s]) => ((p << 16) | s) + 4,
        ("varchar" | "bpchar", [n]) => n + 4,
        (_, [n, ..]) => *n,
    };
    let oid = name.bytes().fold(1_u32, |oid, b| (oid * 31 + u32::from(b)) % 9_000);
    DataType {
        oid,
        typmod,
        schema: "pg_catalog".to_owned(),
        name: name.to_owned(),
        formatted: text.to_owned(),
        kind: TypeKind::Base,
        provider: Provider::Builtin,
        own_binary_io: name != "aclitem",
    }
}

fn user(oid: u32, name: &str, kind: TypeKind) -> DataType {
    let formatted = format!("public.{name}");
    let (schema, name) = ("public".to_owned(), name.to_owned());
    DataType { oid, schema, name, formatted, kind, provider: Provider::User, ..builtin("text") }
}

fn mood(oid: u32, labels: &[&str]) -> DataType {
    user(oid, "mood", TypeKind::Enum(labels.iter().map(|l| (*l).to_owned()).collect()))
}

fn array_of(element: DataType) -> DataType {
    let formatted = format!("{}[]", element.formatted);
    DataType { formatted, kind: TypeKind::Array(Box::new(element.clone())), ..element }
}

fn extension(name: &str, version: &str) -> DataType {
    let provider = Provider::Extension { name: name.to_owned(), version: version.to_owned() };
    DataType { provider, ..user(SOURCE_OID, name, TypeKind::Base) }
}

fn point(oid: u32, fields: &[(&str, DataType)]) -> DataType {
    let field = |(name, t): &(&str, DataType)| Field { name: (*name).to_owned(), data_type: t.clone() };
    user(oid, "point2", TypeKind::Composite(fields.iter().map(field).collect()))
}

fn column(name: &str, data_type: DataType) -> Column {
    Column::plain(name, data_type)
}

fn not_null(name: &str) -> Column {
    Column { not_null: true, ..column(name, builtin("int4")) }
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn options(cast: &BTreeMap<String, String>) -> Options<'_> {
    Options {
        cast,
        columns: None,
        on_schema_change: OnSchemaChange::Warn,
        timezone: None,
        target_version: 150_000,
    }
}

/// `pass`, the SQL of a cast, or `refuse: why`.
fn decided_in(zone: Option<&str>, source: DataType, target: DataType) -> String {
    let none = BTreeMap::new();
    let options = Options { timezone: zone, ..options(&none) };
    match decide(&[column("c", source)], &[column("c", target)], &options) {
        Ok(plan) => match &plan.columns[0].expression {
            Expression::PassThrough => "pass".to_owned(),
            Expression::CastOnSource { sql } | Expression::Custom { sql } => sql.clone(),
        },
        Err(findings) => format!("refuse: {}", findings[0].problem),
    }
}

fn decided(source: &str, target: &str) -> String {
    decided_in(None, builtin(source), builtin(target))
}

#[test]
fn pairs_that_copy_would_store_wrongly_never_pass_through() {
    for pair in [
        "int4 float4",
        "int8 float8",
        "int8 timestamp",
        "int8 timestamptz",
        "int4 date",
        "date int4",
        "timestamp timestamptz",
        "timestamptz timestamp",
        "time int8",
        "money int8",
        "int8 money",
        "jsonb text",
        "text bytea",
        "bytea text",
        "uuid bytea",
        "bool char",
        "text bool",
        "int4 oid",
        "regclass oid",
        "regclass regclass",
        "numeric numeric(10,2)",
        "varbit bit(5)",
        "float4 int4",
        "float8 int8",
        "timestamptz timestamptz(0)",
        "numeric(12,4) int4",
    ] {
        let (source, target) = pair.split_once(' ').unwrap();
        assert_ne!(decided(source, target), "pass", "{pair}");
    }
}

#[test]
fn pairs_that_lose_or_have_no_conversion_are_refused() {
    for pair in [
        "int8 int4",
        "int4 int2",
        "int4 float4",
        "int8 float8",
        "numeric float8",
        "float8 numeric",
        "float4 numeric",
        "int8 timestamptz",
        "int4 date",
        "date int4",
        "timestamp timestamptz",
        "timestamptz timestamp",
        "time int8",
        "money int8",
        "int8 money",
        "text bytea",
        "bytea text",
        "uuid bytea",
        "bool char",
        "text bool",
        "int4 oid",
        "regclass oid",
        "regclass regclass",
        "numeric numeric(10,2)",
        "numeric(12,4) int4",
        "varbit bit(5)",
        "bit(4) bit(5)",
        "json jsonb",
        "text jsonb",
        "text json",
        "text varchar(2)",
        "varchar varchar(10)",
        "varchar(11) varchar(10)",
        "text bpchar(10)",
        "int4 varchar(10)",
        "int4 numeric(10,2)",
        "timestamptz timestamptz(0)",
        "timestamp date",
        "inet cidr",
        "aclitem aclitem",
        "interval interval(0)",
        "text int4",
        "int8[] int4[]",
        "text[] int4[]",
        "numeric[] numeric(10,2)[]",
        "int4 int4[]",
    ] {
        let (source, target) = pair.split_once(' ').unwrap();
        assert!(decided(source, target).starts_with("refuse"), "{pair}: {}", decided(source, target));
    }
}

#[test]
fn same_types_that_are_not_narrower_pass_through() {
    for pair in [
        "int4 int4",
        "numeric numeric",
        "numeric(10,2) numeric",
        "numeric(10,2) numeric(12,4)",
        "varchar(5) varchar(6)",
        "varchar text",
        "text varchar",
        "varchar(5) text",
        "bpchar(5) bpchar(9)",
        "timestamptz timestamptz(6)",
        "timestamptz(0) timestamptz(3)",
        "jsonb jsonb",
        "xml xml",
        "tsvector tsvector",
        "bit(5) bit(5)",
        "varbit(5) varbit",
        "oid oid",
        "int4[] int4[]",
        "numeric(10,2)[] numeric[]",
    ] {
        let (source, target) = pair.split_once(' ').unwrap();
        assert_eq!(decided(source, target), "pass", "{pair}");
    }
}

#[test]
fn safe_widenings_are_cast_on_the_source() {
    for (source, target, sql) in [
        ("int2", "int4", r#""c"::"pg_catalog"."int4""#),
        ("int4", "int8", r#""c"::"pg_catalog"."int8""#),
        ("int8", "numeric", r#""c"::"pg_catalog"."numeric""#),
        ("int4", "numeric(12,2)", r#""c"::"pg_catalog"."numeric"(12,2)"#),
        ("float4", "float8", r#""c"::"pg_catalog"."float8""#),
        ("date", "timestamp", r#""c"::"pg_catalog"."timestamp""#),
        ("bpchar(5)", "varchar(5)", r#""c"::"pg_catalog"."varchar"(5)"#),
        ("jsonb", "text", r#""c"::"pg_catalog"."text""#),
        ("uuid", "varchar(36)", r#""c"::"pg_catalog"."varchar"(36)"#),
        ("aclitem", "text", r#""c"::"pg_catalog"."text""#),
        ("regclass", "text", r#""c"::"pg_catalog"."text""#),
        ("bit(4)", "varbit(5)", r#""c"::"pg_catalog"."varbit"(5)"#),
        ("int4[]", "int8[]", r#""c"::"pg_catalog"."int8"[]"#),
        ("varchar(5)[]", "text[]", r#""c"::"pg_catalog"."text"[]"#),
    ] {
        assert_eq!(decided(source, target), sql, "{source} into {target}");
    }
}

#[test]
fn local_times_become_instants_only_with_a_time_zone() {
    let zone = Some("America/New_York");
    let into = |source: &str| decided_in(zone, builtin(source), builtin("timestamptz"));
    assert_eq!(into("timestamp"), r#"("c" at time zone 'America/New_York')::"pg_catalog"."timestamptz""#);
    assert_eq!(
        into("date"),
        r#"("c"::"pg_catalog"."timestamp" at time zone 'America/New_York')::"pg_catalog"."timestamptz""#
    );
    assert!(decided("timestamp", "timestamptz").starts_with("refuse"));
    assert!(decided_in(zone, builtin("timestamp"), builtin("timestamptz(0)")).starts_with("refuse"));
    assert!(decided_in(zone, builtin("timestamp[]"), builtin("timestamptz[]")).starts_with("refuse"));
}

#[test]
fn enums_pass_when_the_destination_has_every_label() {
    let (source, wider) = (mood(SOURCE_OID, &["sad", "ok"]), mood(TARGET_OID, &["ok", "sad", "happy"]));
    let narrower = mood(TARGET_OID, &["ok"]);
    assert_eq!(decided_in(None, source.clone(), wider.clone()), "pass");
    assert_eq!(decided_in(None, array_of(source.clone()), array_of(wider.clone())), "pass");
    assert_eq!(decided_in(None, source.clone(), narrower.clone()), "refuse: has no 'sad'");
    assert_eq!(decided_in(None, builtin("text"), wider), "pass");
    assert_eq!(decided_in(None, source.clone(), builtin("text")), r#""c"::"pg_catalog"."text""#);
    let none = BTreeMap::new();
    let findings = decide(&[column("c", source)], &[column("c", narrower)], &options(&none)).unwrap_err();
    assert_eq!(
        findings[0].remedy.advice.as_deref(),
        Some("in the destination: alter type public.mood add value 'sad';")
    );
}

#[test]
fn composites_pass_when_every_field_does() {
    let fields = [("x", builtin("numeric(10,2)")), ("y", builtin("text"))];
    let source = point(SOURCE_OID, &fields);
    assert_eq!(decided_in(None, source.clone(), point(TARGET_OID, &fields)), "pass");
    let rounded = point(TARGET_OID, &[("x", builtin("numeric(10,1)")), ("y", builtin("text"))]);
    assert_eq!(decided_in(None, source.clone(), rounded), "refuse: field x does not fit");
    let retyped = point(TARGET_OID, &[("x", builtin("numeric(10,2)")), ("y", builtin("varchar"))]);
    assert_eq!(decided_in(None, source.clone(), retyped), "refuse: field y does not fit");
    let renamed = point(TARGET_OID, &[("x", builtin("numeric(10,2)")), ("z", builtin("text"))]);
    assert_eq!(decided_in(None, source, renamed), "refuse: has other fields");
}

#[test]
fn arrays_of_user_types_need_a_destination_that_takes_foreign_oids() {
    let none = BTreeMap::new();
    let old = Options { target_version: 130_000, ..options(&none) };
    let moods = |oid| [column("c", array_of(mood(oid, &["ok"])))];
    assert!(decide(&moods(SOURCE_OID), &moods(TARGET_OID), &old).is_err());
    assert!(decide(&moods(SOURCE_OID), &moods(SOURCE_OID), &old).is_ok());
}

#[test]
fn domains_count_as_what_they_are_over() {
    let domain = |over: &str| user(TARGET_OID, "d", TypeKind::Domain(Box::new(builtin(over))));
    assert_eq!(decided_in(None, builtin("int4"), domain("int4")), "pass");
    assert_eq!(decided_in(None, domain("int4"), builtin("int8")), r#""c"::"pg_catalog"."int8""#);
    assert_eq!(decided_in(None, builtin("int4"), domain("int8")), r#""c"::"pg_catalog"."int8""#);
    assert!(decided_in(None, builtin("numeric"), domain("numeric(10,2)")).starts_with("refuse"));
}

#[test]
fn extension_types_need_the_same_version_on_both_sides() {
    let (a, b) = (extension("vector", "0.8"), extension("vector", "0.7"));
    assert_eq!(decided_in(None, a.clone(), a.clone()), "pass");
    assert_eq!(decided_in(None, a, b), "refuse: extension vector is 0.8 here, 0.7 there");
    assert_eq!(decided_in(None, extension("hstore", "1.8"), extension("hstore", "1.7")), "pass");
    let citext = extension("citext", "1.6");
    assert_eq!(decided_in(None, citext.clone(), builtin("text")), r#""c"::"pg_catalog"."text""#);
    assert_eq!(decided_in(None, builtin("text"), citext), "pass");
}

#[test]
fn the_jobs_own_sql_takes_the_place_of_a_refused_column() {
    let cast = text_map(&[("discount", "round(discount)::integer")]);
    let source = [column("id", builtin("int4")), column("discount", builtin("numeric(12,4)"))];
    let target = [column("id", builtin("int4")), column("discount", builtin("int4"))];
    let options = options(&cast);
    let plan = decide(&source, &target, &options).unwrap();
    assert_eq!(select_list(&plan), "\"id\", (\nround(discount)::integer\n) as \"discount\"");
    assert_eq!(plan.verify(&target, &target, &options), Ok(()));
    let findings = plan.verify(&source, &target, &options).unwrap_err();
    assert_eq!(findings[0].remedy.cast.as_deref(), Some("(round(discount)::integer)::int4"));
}

#[test]
fn every_finding_comes_at_once_with_its_remedy() {
    let cast = text_map(&[("nosuch", "1")]);
    let source =
        [column("a", builtin("numeric")), column("b", builtin("text")), column("b", builtin("text"))];
    let target = [column("a", builtin("int4")), column("b", builtin("text")), not_null("kind")];
    let findings = decide(&source, &target, &options(&cast)).unwrap_err();
    let seen: Vec<(&str, &str)> = findings.iter().map(|f| (f.column.as_str(), f.problem.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("b", "the source has two columns of this name"),
            ("nosuch", "`cast` names it, the destination does not have it"),
            ("a", "does not fit"),
            ("kind", "the source does not have it; it is NOT NULL without a default"),
        ]
    );
    assert_eq!(findings[2].remedy.alter.as_deref(), Some("alter column a type numeric"));
    assert_eq!(findings[2].remedy.cast.as_deref(), Some("round(a)::int4"));
    assert!(findings[3].remedy.needs_value);
}

#[test]
fn columns_that_only_one_side_has_are_left_out_added_or_refused() {
    let none = BTreeMap::new();
    let source = [column("id", builtin("int4")), column("new", builtin("text"))];
    let generated = Column { generated: true, ..column("sum", builtin("int4")) };
    let target = [column("id", builtin("int4")), column("own", builtin("text")), generated];
    let with = |on_schema_change| decide(&source, &target, &Options { on_schema_change, ..options(&none) });

    let warned = with(OnSchemaChange::Warn).unwrap();
    assert_eq!(warned.target_columns().collect::<Vec<_>>(), ["id"]);
    assert!(warned.notices[0].contains("left out") && warned.notices[0].contains("new"));
    assert!(warned.notices[1].contains("default or NULL: own"));

    let added = with(OnSchemaChange::Add).unwrap();
    assert_eq!(added.target_columns().collect::<Vec<_>>(), ["id", "new"]);
    assert_eq!(added.added, [column("new", builtin("text"))]);

    let refused = with(OnSchemaChange::Fail).unwrap_err();
    assert_eq!(refused.iter().map(|f| f.column.as_str()).collect::<Vec<_>>(), ["new", "own"]);
}

#[test]
fn listed_columns_decide_what_is_copied_and_in_which_order() {
    let none = BTreeMap::new();
    let columns = ["c", "a"].map(str::to_owned);
    let source = ["a", "b", "c"].map(|name| column(name, builtin("int4")));
    let options = Options { columns: Some(&columns), ..options(&none) };
    let plan = decide(&source, &source, &options).unwrap();
    assert_eq!(select_list(&plan), r#""c", "a""#);
    assert!(plan.notices.is_empty(), "{:?}", plan.notices);
    let findings = decide(&source[..2], &source, &options).unwrap_err();
    assert_eq!(findings[0].column, "c");
}

#[test]
fn tables_without_columns_go_together_and_tables_without_common_columns_do_not() {
    let none = BTreeMap::new();
    assert_eq!(select_list(&decide(&[], &[], &options(&none)).unwrap()), "");
    let (a, b) = ([column("a", builtin("int4"))], [column("b", builtin("int4"))]);
    assert!(decide(&a, &b, &options(&none)).is_err());
    assert!(decide(&[], &b, &options(&none)).is_err());
}

#[test]
fn names_over_63_bytes_are_refused() {
    let long = "ж".repeat(32);
    let cast = text_map(&[(&long, "1")]);
    let both = [column("a", builtin("int4"))];
    let findings = decide(&both, &both, &options(&cast)).unwrap_err();
    assert!(findings.iter().any(|f| f.problem == "has 64 bytes, Postgres keeps 63"));
}
