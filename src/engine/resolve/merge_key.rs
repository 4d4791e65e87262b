//! The key of a `merge`: whether the source can give one twice, and whether equal means the same.

use super::destination::Destination;
use super::source::Source;
use crate::columns::{ColumnPlan, Expression};
use crate::config::job::{Job, LoadMode};
use crate::load::MergeKey;
use crate::postgres::catalog::{Column, DataType, Provider, Relation, RelationKind, TypeKind, UniqueIndex};
use crate::postgres::ident;

/// Types of Postgres whose equal values are the same; texts only where their collation says so too.
const EXACT: [&str; 24] = [
    "bit",
    "bool",
    "bytea",
    "char",
    "cidr",
    "date",
    "inet",
    "int2",
    "int4",
    "int8",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "oid",
    "pg_lsn",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "varbit",
    "varchar",
    "xid8",
];

/// Looks at the key of a job that merges; of others there is nothing to know.
pub(super) fn look(job: &Job, source: &Source, destination: &Destination, plan: &ColumnPlan) -> MergeKey {
    let (LoadMode::Merge, Some(target)) = (job.mode, &destination.relation) else {
        return MergeKey::default();
    };
    let indexes: Vec<_> = target.unique_indexes.iter().filter(|index| index.is_on(&job.key)).collect();
    let is_plain = indexes.iter().all(|index| index.is_plain);
    let is_loose = |name: &String| target.column(name).is_none_or(|c| !(is_plain && is_exact(&c.data_type)));
    MergeKey {
        loose: job.key.iter().filter(|name| is_loose(name)).cloned().collect(),
        indexes: indexes.iter().map(|index| index.parts.join(", ")).collect(),
        equals: indexes.first().map(|index| equals(index)).unwrap_or_default(),
        is_unique: is_plain && is_unique(job, source, target, plan),
    }
}

fn equals(index: &UniqueIndex) -> Vec<(String, String)> {
    let columns = index.columns.iter().map(|column| ident::quote(column));
    columns.zip(index.equals.iter().cloned()).collect()
}

fn is_exact(data_type: &DataType) -> bool {
    let data_type = data_type.unwrapped();
    let is_builtin = data_type.provider == Provider::Builtin && EXACT.contains(&data_type.name.as_str());
    is_builtin || matches!(data_type.kind, TypeKind::Enum(_))
}

/// Whether a unique index of the source's table holds for the destination's key: no child's rows beside it, the
/// same values on both sides, and compared in the same way.
fn is_unique(job: &Job, source: &Source, target: &Relation, plan: &ColumnPlan) -> bool {
    let Some(table) = &source.relation else { return false };
    let is_one = matches!(
        table.kind,
        RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView
    );
    let within_key =
        |index: &UniqueIndex| index.is_plain && index.columns.iter().all(|c| job.key.contains(c));
    let passes = |name: &String| {
        let decision = plan.columns.iter().find(|d| &d.column == name);
        let both = table.column(name).zip(target.column(name));
        decision.is_some_and(|d| d.expression == Expression::PassThrough)
            && both.is_some_and(|(from, into)| compares_alike(from, into))
    };
    is_one
        && !table.has_inheritors
        && table.unique_indexes.iter().any(within_key)
        && job.key.iter().all(passes)
}

fn compares_alike(from: &Column, into: &Column) -> bool {
    let (from, into) = (from.data_type.unwrapped(), into.data_type.unwrapped());
    let is_builtin = from.provider == Provider::Builtin && into.provider == Provider::Builtin;
    is_builtin && from.name == into.name && (into.typmod < 0 || into.typmod == from.typmod)
}
