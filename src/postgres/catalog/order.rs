//! The order that a type has by itself: that of its default B-tree operator class.
//!
//! `order by` uses it. An operator that is found by its name may be another: of citext, `pg_catalog.>`
//! compares text, with regard to case, and what goes on from there leaves rows out.

use super::super::connect::Session;
use super::super::ident::quote;
use super::data_type::DataType;
use crate::error::Result;

/// Two operators of one operator class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    less: String,
    greater: String,
    type_sql: String,
}

/// As the server chooses: the type's own, else one for a type that its values are also of, of these the
/// preferred one, else one for all types of its kind.
const DEFAULT_ORDER: &str = "
select ln.nspname, lo.oprname, gn.nspname, go.oprname
from pg_catalog.pg_type t
    cross join pg_catalog.pg_opclass c
    join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    join pg_catalog.pg_type i on i.oid = c.opcintype
    join pg_catalog.pg_amop l on l.amopfamily = c.opcfamily and l.amopstrategy = 1
        and l.amoplefttype = c.opcintype and l.amoprighttype = c.opcintype
    join pg_catalog.pg_amop g on g.amopfamily = c.opcfamily and g.amopstrategy = 5
        and g.amoplefttype = c.opcintype and g.amoprighttype = c.opcintype
    join pg_catalog.pg_operator lo on lo.oid = l.amopopr
    join pg_catalog.pg_namespace ln on ln.oid = lo.oprnamespace
    join pg_catalog.pg_operator go on go.oid = g.amopopr
    join pg_catalog.pg_namespace gn on gn.oid = go.oprnamespace
    left join pg_catalog.pg_cast k on k.castsource = t.oid and k.casttarget = c.opcintype
        and k.castmethod = 'b' and k.castcontext = 'i'
where t.oid = $1 and c.opcdefault
    and (c.opcintype = t.oid or k.oid is not null
        or i.oid = 'pg_catalog.anyenum'::pg_catalog.regtype and t.typtype = 'e'
        or i.oid = 'pg_catalog.anyrange'::pg_catalog.regtype and t.typtype = 'r'
        or i.typname = 'anymultirange' and t.typtype = 'm'
        or i.oid = 'pg_catalog.record'::pg_catalog.regtype and t.typtype = 'c'
        or i.oid = 'pg_catalog.anyarray'::pg_catalog.regtype and exists (
            select from pg_catalog.pg_type e where e.oid = t.typelem and e.typarray = t.oid))
order by c.opcintype = t.oid desc, k.oid is not null desc, i.typispreferred desc
limit 1";

/// The order of a type that is no domain; none if it has none.
///
/// # Errors
/// Whatever the server says.
pub async fn default_order(session: &Session, data_type: &DataType) -> Result<Option<Order>> {
    let row = session.query_opt("looking for a type's order", DEFAULT_ORDER, &[&data_type.oid]).await?;
    Ok(row.map(|row| {
        let operator = |schema: usize, name: usize| {
            format!("operator({}.{})", quote(row.get(schema)), row.get::<_, String>(name))
        };
        Order { less: operator(0, 1), greater: operator(2, 3), type_sql: data_type.sql() }
    }))
}

impl Order {
    /// What stands behind `order by`.
    #[must_use]
    pub fn by(&self, value: &str) -> String {
        format!("{value} using {}", self.less)
    }

    /// The condition that a value comes neither before nor after another, a parameter such as `$1`.
    #[must_use]
    pub fn same(&self, value: &str, parameter: &str) -> String {
        let Self { less, greater, type_sql } = self;
        format!("not ({value} {less} {parameter}::{type_sql} or {value} {greater} {parameter}::{type_sql})")
    }

    /// The condition that a value comes after another, a parameter such as `$1`.
    #[must_use]
    pub fn later(&self, value: &str, parameter: &str) -> String {
        format!("{value} {} {parameter}::{}", self.greater, self.type_sql)
    }
}
