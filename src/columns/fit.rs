//! One pair of types: whether the source's bytes mean the same in the destination.
//!
//! Binary COPY checks lengths, not meanings: int8 lands in timestamptz without a word. So bytes
//! pass only between types that are the same by name, provider and structure, with a modifier that
//! is not narrower. A cast on the source is made where Postgres has one that keeps every value.
//! Everything else is refused.

use super::typmod::{digits_fit, is_narrower, text_fits};
use crate::postgres::catalog::{DataType, Field, Provider, TypeKind};
use crate::postgres::ident::literal;

/// OIDs below are the same in every Postgres; arrays and rows of those carry them and are checked.
const FIRST_GENERATED_OID: u32 = 10_000;
/// Since 14 a server takes another server's OIDs of user-defined types in arrays and rows.
const FOREIGN_OIDS_SINCE: i32 = 140_000;

/// Extensions of Postgres whose values have had one binary form in every version; each major version
/// brings another version of them, so that no update could make two servers equal.
const UNCHANGED_EXTENSIONS: [&str; 3] = ["citext", "hstore", "ltree"];

/// What the job and the destination add to a decision.
pub(super) struct Context<'a> {
    /// The job's time zone, if it has one.
    pub(super) timezone: Option<&'a str>,
    /// `server_version_num` of the destination.
    pub(super) target_version: i32,
}

/// What to do with a pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The bytes pass.
    Pass(Option<String>),
    /// The source converts, without ever losing.
    Convert(Conversion, Option<String>),
    /// Neither; why, in a few words.
    Refuse(String),
}

/// A conversion on the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// A cast to the type, as SQL.
    Cast(String),
    /// From a local time, or from the midnight of a date, to an instant.
    AtTimeZone { zone: String, from_date: bool, to: String },
}

impl Conversion {
    /// The expression for a column that is already quoted.
    pub(super) fn sql(&self, column: &str) -> String {
        match self {
            Self::Cast(to) => format!("{column}::{to}"),
            Self::AtTimeZone { zone, from_date, to } => {
                let local = if *from_date { "::\"pg_catalog\".\"timestamp\"" } else { "" };
                format!("({column}{local} at time zone {})::{to}", literal(zone))
            }
        }
    }
}

/// Decides on a pair; domains count as what they are over.
pub(super) fn fit(source: &DataType, target: &DataType, context: &Context<'_>) -> Fit {
    let (s, t) = (source.unwrapped(), target.unwrapped());
    if is_text(t) && (!s.has_binary_io() || is_object_name(s)) && s.kind != TypeKind::Pseudo {
        return Fit::Convert(Conversion::Cast(t.sql()), Some(format!("{} is copied as text", s.formatted)));
    }
    if let Some(without) = [s, t].into_iter().find(|part| !part.has_binary_io()) {
        return Fit::Refuse(format!("{} has no binary form", without.formatted));
    }
    match (&s.kind, &t.kind) {
        (TypeKind::Array(a), TypeKind::Array(b)) => array(a, b, context),
        (TypeKind::Enum(a), TypeKind::Enum(b)) => labels(a, b),
        (TypeKind::Composite(a), TypeKind::Composite(b)) => composite(a, b, context),
        (TypeKind::Range(a), TypeKind::Range(b)) | (TypeKind::Multirange(a), TypeKind::Multirange(b)) => {
            range((s, t), (a, b), context)
        }
        (TypeKind::Enum(_), TypeKind::Base) if is_text(t) => cast_to(t),
        (TypeKind::Base, TypeKind::Enum(_)) if s.is_builtin("text") || s.is_builtin("varchar") => {
            Fit::Pass(Some(format!("{} takes only its labels", t.formatted)))
        }
        (TypeKind::Base, TypeKind::Base) => base(s, t, context),
        _ => different(),
    }
}

/// Whether it takes a text of any length.
fn is_text(data_type: &DataType) -> bool {
    data_type.is_builtin("text") || (data_type.is_builtin("varchar") && data_type.typmod < 0)
}

/// Whether it is one of `regclass`, `regtype` and the like: an OID that means an object's name.
pub(super) fn is_object_name(data_type: &DataType) -> bool {
    data_type.provider == Provider::Builtin && data_type.name.starts_with("reg")
}

fn different() -> Fit {
    Fit::Refuse("different types".to_owned())
}

fn too_narrow() -> Fit {
    Fit::Refuse("does not fit".to_owned())
}

fn cast_to(target: &DataType) -> Fit {
    Fit::Convert(Conversion::Cast(target.sql()), None)
}

fn array(source: &DataType, target: &DataType, context: &Context<'_>) -> Fit {
    let cast = |to: String| Fit::Convert(Conversion::Cast(format!("{to}[]")), None);
    match fit(source, target, context) {
        Fit::Pass(note) => match carried_oid(source, target, context) {
            CarriedOid::Taken => Fit::Pass(note),
            CarriedOid::Checked => cast(target.unwrapped().sql()),
            CarriedOid::TooOld => too_old(),
        },
        Fit::Convert(Conversion::Cast(to), _) => cast(to),
        Fit::Convert(Conversion::AtTimeZone { .. }, _) => different(),
        refused @ Fit::Refuse(_) => refused,
    }
}

/// What the destination makes of an OID inside an array or a row.
enum CarriedOid {
    Taken,
    Checked,
    TooOld,
}

fn carried_oid(source: &DataType, target: &DataType, context: &Context<'_>) -> CarriedOid {
    if source.oid == target.oid {
        CarriedOid::Taken
    } else if source.oid < FIRST_GENERATED_OID && target.oid < FIRST_GENERATED_OID {
        CarriedOid::Checked
    } else if context.target_version >= FOREIGN_OIDS_SINCE {
        CarriedOid::Taken
    } else {
        CarriedOid::TooOld
    }
}

fn too_old() -> Fit {
    Fit::Refuse("carries type OIDs, which a destination older than 14 refuses".to_owned())
}

/// An enumeration's binary form is its label.
fn labels(source: &[String], target: &[String]) -> Fit {
    let missing: Vec<String> = source.iter().filter(|l| !target.contains(l)).map(|l| literal(l)).collect();
    if missing.is_empty() { Fit::Pass(None) } else { Fit::Refuse(format!("has no {}", missing.join(", "))) }
}

fn composite(source: &[Field], target: &[Field], context: &Context<'_>) -> Fit {
    let names = |fields: &[Field]| fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    if names(source) != names(target) {
        return Fit::Refuse("has other fields".to_owned());
    }
    for (a, b) in source.iter().zip(target) {
        let pass = matches!(fit(&a.data_type, &b.data_type, context), Fit::Pass(_));
        match carried_oid(&a.data_type, &b.data_type, context) {
            CarriedOid::Taken if pass => {}
            CarriedOid::TooOld if pass => return too_old(),
            _ => return Fit::Refuse(format!("field {} does not fit", a.name)),
        }
    }
    Fit::Pass(None)
}

fn range(types: (&DataType, &DataType), parts: (&DataType, &DataType), context: &Context<'_>) -> Fit {
    let named = |t: &DataType| (t.schema.clone(), t.name.clone());
    let same = named(types.0) == named(types.1)
        && named(parts.0) == named(parts.1)
        && matches!(fit(parts.0, parts.1, context), Fit::Pass(_));
    if same { Fit::Pass(None) } else { different() }
}

fn base(s: &DataType, t: &DataType, context: &Context<'_>) -> Fit {
    match (&s.provider, &t.provider) {
        (Provider::Builtin, Provider::Builtin) => builtin(s, t, context),
        (Provider::Extension { name: a, version: v }, Provider::Extension { name: b, version: w })
            if a == b && s.name == t.name =>
        {
            extension(s, t, (a, v, w))
        }
        (Provider::User, Provider::User) if s.schema == t.schema && s.name == t.name => {
            let note = format!("{} is taken to be the same program on both servers", s.formatted);
            if is_narrower("", s.typmod, t.typmod) { too_narrow() } else { Fit::Pass(Some(note)) }
        }
        (Provider::Extension { name, .. }, Provider::Builtin) if name == "citext" && s.name == "citext" => {
            if is_text(t) {
                cast_to(t)
            } else {
                different()
            }
        }
        (Provider::Builtin, Provider::Extension { name, .. })
            if name == "citext" && t.name == "citext" && (s.name == "text" || s.name == "varchar") =>
        {
            Fit::Pass(None)
        }
        _ => different(),
    }
}

fn extension(s: &DataType, t: &DataType, (name, version, target_version): (&str, &str, &str)) -> Fit {
    if version != target_version && !UNCHANGED_EXTENSIONS.contains(&name) {
        return Fit::Refuse(format!("extension {name} is {version} here, {target_version} there"));
    }
    if is_narrower("", s.typmod, t.typmod) { too_narrow() } else { Fit::Pass(None) }
}

fn builtin(s: &DataType, t: &DataType, context: &Context<'_>) -> Fit {
    let text = |name: &str| name == "text" || name == "varchar";
    if is_object_name(s) || is_object_name(t) {
        return Fit::Refuse("an OID means another object on another server".to_owned());
    }
    if s.name == t.name || (text(&s.name) && text(&t.name)) {
        if is_narrower(&t.name, s.typmod, t.typmod) {
            return too_narrow();
        }
        let money = s.name == "money";
        return Fit::Pass(money.then(|| "lc_monetary must have as many decimals on both sides".to_owned()));
    }
    if t.name == "timestamptz" && (s.name == "timestamp" || s.name == "date") {
        return at_time_zone(s, t, context);
    }
    match lossless_cast(s, t) {
        Some(true) => cast_to(t),
        Some(false) => too_narrow(),
        None if is_number(&s.name) && is_number(&t.name) => too_narrow(),
        None => different(),
    }
}

/// A local time is an instant only in a zone, and only the job can say which.
fn at_time_zone(s: &DataType, t: &DataType, context: &Context<'_>) -> Fit {
    let from_date = s.name == "date";
    if !from_date && is_narrower("timestamptz", s.typmod, t.typmod) {
        return too_narrow();
    }
    let Some(zone) = context.timezone else {
        return Fit::Refuse("a local time without a timezone in the job".to_owned());
    };
    let note = format!("read as local time of {zone}");
    Fit::Convert(Conversion::AtTimeZone { zone: zone.to_owned(), from_date, to: t.sql() }, Some(note))
}

/// Whether Postgres has a cast between the two built-in types that keeps every value; `Some(false)`
/// where only the modifier is in the way.
fn lossless_cast(s: &DataType, t: &DataType) -> Option<bool> {
    match (s.name.as_str(), t.name.as_str()) {
        ("int2", "int4" | "int8" | "float4" | "float8")
        | ("int4", "int8" | "float8")
        | ("float4", "float8")
        | ("date", "timestamp")
        | ("jsonb", "json")
        | ("cidr", "inet") => Some(true),
        ("int2", "numeric") => Some(digits_fit(t.typmod, 5)),
        ("int4", "numeric") => Some(digits_fit(t.typmod, 10)),
        ("int8", "numeric") => Some(digits_fit(t.typmod, 19)),
        // Blanks at the end of `character` mean nothing to Postgres and are not kept.
        ("bpchar", "text" | "varchar") => Some(!is_narrower("varchar", s.typmod, t.typmod)),
        ("bit", "varbit") => Some(!is_narrower("varbit", s.typmod, t.typmod)),
        (name, "text" | "varchar") => longest_text(name).map(|longest| text_fits(t.typmod, longest)),
        _ => None,
    }
}

/// For types whose text says all: how long it can be, if there is a limit. Floats, dates and times
/// are not among them, since settings decide how they are written.
fn longest_text(type_name: &str) -> Option<Option<i32>> {
    match type_name {
        "bool" => Some(Some(5)),
        "int2" => Some(Some(6)),
        "int4" => Some(Some(11)),
        "int8" => Some(Some(20)),
        "uuid" => Some(Some(36)),
        "name" => Some(Some(63)),
        "macaddr" => Some(Some(17)),
        "numeric" | "json" | "jsonb" | "inet" | "cidr" => Some(None),
        _ => None,
    }
}

/// Whether a type is a number: then the trouble is size, not meaning.
pub(super) fn is_number(type_name: &str) -> bool {
    matches!(type_name, "int2" | "int4" | "int8" | "numeric" | "float4" | "float8")
}
