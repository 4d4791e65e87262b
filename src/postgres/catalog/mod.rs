//! What a server's catalog says: tables, columns, types, the shape of a query, rights.
//!
//! Reads only; the SQL that would change something (a missing table, grants) is handed back as
//! text. Every session has an empty `search_path`, so names are looked up by parameters and written
//! with their schema. Called by the engine before the first row, by `plan` and by `check`.

mod column;
mod create;
mod data_type;
mod find;
mod fingerprint;
mod order;
mod query;
mod reaction;
mod relation;
mod rights;
mod unique;

pub use column::{Column, Identity};
pub use create::{
    add_columns_sql, create_schema_sql, create_statements, create_table_sql, created_columns, missing_types,
    types_there,
};
pub use data_type::{DataType, Field, Provider, TypeKind};
pub use find::{creation_name, find_relation, relation_if_exists, role_search_path, schemas_of};
pub use fingerprint::{Shape, file_sql, fingerprint_sql, shape};
pub use order::{Order, default_order};
pub use query::{QueryShape, RelationRef, describe_query, inspect_query, lock_sql};
pub use reaction::{ForeignKey, OnDelete, Rule, RuleEvent};
pub use relation::{Partition, Persistence, Relation, RelationKind, same_table};
pub use rights::{
    Grant, Object, Privilege, grants_sql, missing_grants, needed_for_creation, needed_for_ledger,
    needed_on_relation,
};
pub use unique::UniqueIndex;
