//! A type as the catalog knows it, with the types it is made of.
//!
//! Two servers give the same type different OIDs, so types are compared by name and structure;
//! `columns` does that. Here they are read: one query takes the closure of all parts.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::super::connect::Session;
use super::super::ident::quote;
use crate::error::{Error, ErrorKind, Result};

/// The first OID that `initdb` does not give: below are the types of Postgres itself.
const FIRST_NORMAL_OID: u32 = 16_384;
/// No type is nested deeper; the server refuses types that contain themselves.
const MAX_DEPTH: usize = 64;

/// A type with its modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataType {
    /// The OID on its own server; another server's differs for types that Postgres does not bring.
    pub oid: u32,
    /// The modifier, such as a length or a precision; -1 for none.
    pub typmod: i32,
    /// The schema.
    pub schema: String,
    /// The name: `int4`, not `integer`.
    pub name: String,
    /// As `format_type` writes it: `numeric(12,4)`; with its schema outside `pg_catalog`.
    pub formatted: String,
    /// Its kind, with its parts.
    pub kind: TypeKind,
    /// Who brought it.
    pub provider: Provider,
    /// Whether the type itself has send and receive functions; see [`DataType::has_binary_io`].
    pub own_binary_io: bool,
}

/// The kind of a type, with its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A scalar.
    Base,
    /// An array of the element.
    Array(Box<DataType>),
    /// An enumeration with its labels in order.
    Enum(Vec<String>),
    /// A domain over a type.
    Domain(Box<DataType>),
    /// A row type with its fields in order.
    Composite(Vec<Field>),
    /// A range over the subtype.
    Range(Box<DataType>),
    /// A multirange over the subtype.
    Multirange(Box<DataType>),
    /// Not a type that a column can have: `record`, `void`, `unknown`.
    Pseudo,
}

/// A field of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type.
    pub data_type: DataType,
}

/// Who brought a type: decides whether the same name means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Postgres.
    Builtin,
    /// An extension.
    Extension {
        /// Its name.
        name: String,
        /// Its installed version.
        version: String,
    },
    /// A user's `create type`.
    User,
}

impl DataType {
    /// The type below all domains.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        match &self.kind {
            TypeKind::Domain(base) => base.unwrapped(),
            _ => self,
        }
    }

    /// Whether the type and all its parts have a binary form.
    #[must_use]
    pub fn has_binary_io(&self) -> bool {
        self.own_binary_io
            && match &self.kind {
                TypeKind::Array(part)
                | TypeKind::Domain(part)
                | TypeKind::Range(part)
                | TypeKind::Multirange(part) => part.has_binary_io(),
                TypeKind::Composite(fields) => fields.iter().all(|f| f.data_type.has_binary_io()),
                TypeKind::Base | TypeKind::Enum(_) => true,
                TypeKind::Pseudo => false,
            }
    }

    /// Whether it is the type of this name that Postgres brings.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.provider == Provider::Builtin && self.schema == "pg_catalog" && self.name == name
    }

    /// The type as SQL that means the same under any `search_path`, with its modifier.
    #[must_use]
    pub fn sql(&self) -> String {
        if let TypeKind::Array(element) = &self.kind {
            return format!("{}[]", element.sql());
        }
        let modifier = if self.typmod < 0 { "" } else { parenthesis(&self.formatted) };
        format!("{}.{}{modifier}", quote(&self.schema), quote(&self.name))
    }
}

/// The modifier in `timestamp(3) with time zone`: `(3)`.
fn parenthesis(formatted: &str) -> &str {
    match (formatted.rfind('('), formatted.rfind(')')) {
        (Some(open), Some(close)) if open < close => &formatted[open..=close],
        _ => "",
    }
}

/// Types with all their parts, by OID.
pub(super) struct Types(HashMap<u32, TypeRow>);

struct TypeRow {
    schema: String,
    name: String,
    typtype: String,
    part: u32,
    part_typmod: i32,
    part_formatted: String,
    own_binary_io: bool,
    extension: Option<(String, String)>,
    labels: Vec<String>,
    field_names: Vec<String>,
    field_types: Vec<u32>,
    field_typmods: Vec<i32>,
    field_formatted: Vec<String>,
}

/// `part` is the element, base type or subtype. `rngmultitypid` came with 14, hence the way around
/// by jsonb; a true array is one that its element calls its array (`int2vector` is none). Every
/// step goes by an index: a catalog can have a hundred thousand row types.
const TYPES: &str = r#"
with recursive multirange(oid, subtype) as materialized (
    select (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid, r.rngsubtype
    from pg_catalog.pg_range r
), closure(oid) as (
    select wanted.oid from pg_catalog.unnest($1::pg_catalog.oid[]) as wanted(oid)
    union
    select inner_type.oid
    from closure c join pg_catalog.pg_type t on t.oid = c.oid cross join lateral (
        select e.oid from pg_catalog.pg_type e where e.oid = t.typelem and e.typarray = t.oid
        union all select t.typbasetype where t.typtype = 'd'
        union all select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
        union all select m.subtype from multirange m where m.oid = t.oid
        union all select a.atttypid from pg_catalog.pg_attribute a
            where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) inner_type(oid)
)
select t.oid, n.nspname, t.typname, t.typtype::pg_catalog.text,
    coalesce(p.part, 0::pg_catalog.oid), coalesce(p.typmod, -1),
    coalesce(pg_catalog.format_type(p.part, coalesce(p.typmod, -1)), ''),
    t.typsend <> 0 and t.typreceive <> 0, e.extname, e.extversion,
    array(select l.enumlabel::pg_catalog.text from pg_catalog.pg_enum l
          where l.enumtypid = t.oid order by l.enumsortorder),
    coalesce(f.names, '{}'), coalesce(f.types, '{}'), coalesce(f.typmods, '{}'), coalesce(f.formatted, '{}')
from closure c
    join pg_catalog.pg_type t on t.oid = c.oid
    join pg_catalog.pg_namespace n on n.oid = t.typnamespace
    left join lateral (
        select e.oid, null::pg_catalog.int4 from pg_catalog.pg_type e
            where e.oid = t.typelem and e.typarray = t.oid
        union all select t.typbasetype, t.typtypmod where t.typtype = 'd'
        union all select r.rngsubtype, null from pg_catalog.pg_range r where r.rngtypid = t.oid
        union all select m.subtype, null from multirange m where m.oid = t.oid
    ) p(part, typmod) on true
    left join lateral (
        select pg_catalog.array_agg(a.attname::pg_catalog.text order by a.attnum),
            pg_catalog.array_agg(a.atttypid order by a.attnum),
            pg_catalog.array_agg(a.atttypmod order by a.attnum),
            pg_catalog.array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) order by a.attnum)
        from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) f(names, types, typmods, formatted) on true
    left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        and d.objid = t.oid and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        and d.deptype = 'e'
    left join pg_catalog.pg_extension e on e.oid = d.refobjid"#;

impl Types {
    /// Reads types and all that they are made of.
    pub(super) async fn read(session: &Session, oids: &[u32]) -> Result<Self> {
        let rows = session.query("reading types from the catalog", TYPES, &[&oids]).await?;
        Ok(Self(rows.iter().map(|row| (row.get(0), TypeRow::of(row))).collect()))
    }

    /// Puts a type together.
    pub(super) fn build(&self, oid: u32, typmod: i32, formatted: &str) -> Result<DataType> {
        self.build_at(oid, typmod, formatted, MAX_DEPTH)
    }

    fn build_at(&self, oid: u32, typmod: i32, formatted: &str, depth: usize) -> Result<DataType> {
        let row = self.0.get(&oid).filter(|_| depth > 0).ok_or_else(|| {
            Error::new(ErrorKind::Preflight, format!("type {formatted} went away while it was looked at"))
        })?;
        Ok(DataType {
            oid,
            typmod,
            schema: row.schema.clone(),
            name: row.name.clone(),
            formatted: formatted.to_owned(),
            kind: self.kind(row, typmod, formatted, depth - 1)?,
            provider: row.provider(oid),
            own_binary_io: row.own_binary_io,
        })
    }

    fn kind(&self, row: &TypeRow, typmod: i32, formatted: &str, depth: usize) -> Result<TypeKind> {
        let part = |typmod, formatted: &str| self.build_at(row.part, typmod, formatted, depth).map(Box::new);
        Ok(match row.typtype.as_str() {
            "e" => TypeKind::Enum(row.labels.clone()),
            "c" => TypeKind::Composite(self.fields(row, depth)?),
            "d" => TypeKind::Domain(part(row.part_typmod, &row.part_formatted)?),
            "r" => TypeKind::Range(part(-1, &row.part_formatted)?),
            "m" => TypeKind::Multirange(part(-1, &row.part_formatted)?),
            "p" => TypeKind::Pseudo,
            _ if row.part != 0 => {
                let element = formatted.strip_suffix("[]").unwrap_or(&row.part_formatted);
                TypeKind::Array(part(typmod, element)?)
            }
            _ => TypeKind::Base,
        })
    }

    fn fields(&self, row: &TypeRow, depth: usize) -> Result<Vec<Field>> {
        let field = |i: usize| {
            let (oid, typmod) = (row.field_types[i], row.field_typmods[i]);
            let data_type = self.build_at(oid, typmod, &row.field_formatted[i], depth)?;
            Ok(Field { name: row.field_names[i].clone(), data_type })
        };
        (0..row.field_names.len()).map(field).collect()
    }
}

impl TypeRow {
    fn of(row: &Row) -> Self {
        let extension: Option<String> = row.get(8);
        Self {
            schema: row.get(1),
            name: row.get(2),
            typtype: row.get(3),
            part: row.get(4),
            part_typmod: row.get(5),
            part_formatted: row.get(6),
            own_binary_io: row.get(7),
            extension: extension.map(|name| (name, row.get(9))),
            labels: row.get(10),
            field_names: row.get(11),
            field_types: row.get(12),
            field_typmods: row.get(13),
            field_formatted: row.get(14),
        }
    }

    fn provider(&self, oid: u32) -> Provider {
        match &self.extension {
            Some((name, version)) => Provider::Extension { name: name.clone(), version: version.clone() },
            None if oid < FIRST_NORMAL_OID => Provider::Builtin,
            None => Provider::User,
        }
    }
}
