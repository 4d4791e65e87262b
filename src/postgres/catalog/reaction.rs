//! What the server does besides, when rows of a table come and go: triggers, rules, and the foreign keys
//! of other tables.

use tokio_postgres::Row;

use crate::name::TableName;

/// A rule that fires in sessions like this one; a view's own is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The rule's name.
    pub name: String,
    /// The statements that it fires on.
    pub event: RuleEvent,
}

/// The statements that a rule fires on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleEvent {
    /// INSERT; COPY is none.
    Insert,
    /// UPDATE, and INSERT ... ON CONFLICT DO UPDATE, which the server refuses then.
    Update,
    /// DELETE; TRUNCATE is none.
    Delete,
}

impl RuleEvent {
    /// The word for it in SQL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A foreign key that points at a table, or at a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The table that has it.
    pub table: TableName,
    /// Whether that is the table itself, or a partition of it.
    pub is_inside: bool,
    /// The partition that it points at, if not at the table.
    pub to_partition: Option<TableName>,
    /// What happens there when a row here is deleted.
    pub on_delete: OnDelete,
}

/// The action of a foreign key when a row it points at is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnDelete {
    /// The delete fails, now or at the commit.
    Refuse,
    /// The rows that point at it are deleted too.
    Cascade,
    /// Their columns are set to NULL or to the default.
    Set,
}

/// Rules fire by the statement's own table: those of a partition are none of its parent's.
pub(super) const RULES: &str = r#"
select w.rulename, w.ev_type::pg_catalog.text
from pg_catalog.pg_rewrite w
where w.ev_class = $1 and w.ev_type in ('2', '3', '4')
    and w.ev_enabled::pg_catalog.text in
        ('A', case pg_catalog.current_setting('session_replication_role') when 'replica' then 'R' else 'O' end)
order by w.rulename"#;

/// The children of a foreign key between the same two trees say nothing more. A key has the name that people
/// gave it, which is that of the topmost.
pub(super) const REFERENCING_FKS: &str = r#"
with tree(oid) as (
    select $1::pg_catalog.oid
    union select relid::pg_catalog.oid from pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass)
)
select top.conname, n.nspname, c.relname, k.confdeltype::pg_catalog.text, k.conrelid in (select oid from tree),
    case when k.confrelid <> $1 then pn.nspname end, case when k.confrelid <> $1 then p.relname end
from pg_catalog.pg_constraint k
    join pg_catalog.pg_class c on c.oid = k.conrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_class p on p.oid = k.confrelid
    join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
    cross join lateral (
        with recursive up as (
            select k.conname, k.conparentid
            union all select o.conname, o.conparentid
            from up join pg_catalog.pg_constraint o on o.oid = up.conparentid)
        select up.conname from up where up.conparentid = 0) top
where k.contype = 'f' and k.confrelid in (select oid from tree)
    and not exists (select from pg_catalog.pg_constraint parent
                    where parent.oid = k.conparentid and parent.confrelid in (select oid from tree))
order by n.nspname, c.relname, top.conname"#;

pub(super) fn rule(row: &Row) -> Rule {
    let event: String = row.get(1);
    Rule {
        name: row.get(0),
        event: match event.as_str() {
            "2" => RuleEvent::Update,
            "3" => RuleEvent::Insert,
            _ => RuleEvent::Delete,
        },
    }
}

pub(super) fn foreign_key(row: &Row) -> ForeignKey {
    let action: String = row.get(3);
    let (schema, partition): (Option<String>, Option<String>) = (row.get(5), row.get(6));
    ForeignKey {
        name: row.get(0),
        table: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        is_inside: row.get(4),
        to_partition: schema.zip(partition).map(|(schema, name)| TableName::new(schema, name)),
        on_delete: match action.as_str() {
            "c" => OnDelete::Cascade,
            "n" | "d" => OnDelete::Set,
            _ => OnDelete::Refuse,
        },
    }
}
