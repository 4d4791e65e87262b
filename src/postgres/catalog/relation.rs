//! A table, view or the like, with all that decides how it can be read and loaded.

use tokio_postgres::Row;

use super::super::connect::{Server, Session};
use super::column::{self, Column};
use super::reaction::{self, ForeignKey, OnDelete, Rule};
use super::unique::{self, UniqueIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// A relation as the session's role sees it.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The OID.
    pub oid: u32,
    /// The name, with its schema.
    pub name: TableName,
    /// The kind.
    pub kind: RelationKind,
    /// How long its rows live.
    pub persistence: Persistence,
    /// The owner.
    pub owner: String,
    /// Whether row-level security filters this role's rows.
    pub row_security: bool,
    /// Rules that fire in sessions like this one.
    pub rules: Vec<Rule>,
    /// Triggers that users made, here and on its partitions, and that fire in sessions like this one.
    pub triggers: Vec<String>,
    /// Whether other tables inherit from it; partitions do not count.
    pub has_inheritors: bool,
    /// The columns in order.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in the key's order.
    pub primary_key: Vec<String>,
    /// Unique indexes that can tell two rows apart: valid, immediate, without condition or expression.
    pub unique_indexes: Vec<UniqueIndex>,
    /// Its own foreign keys.
    pub foreign_keys: Vec<String>,
    /// Foreign keys that point at it, or at a partition of it.
    pub referencing_fks: Vec<ForeignKey>,
    /// The planner's row count, if the table was ever analyzed.
    pub estimated_rows: Option<i64>,
    /// Columns that lead a valid B-tree or BRIN index without condition.
    pub leading_index_columns: Vec<String>,
    /// The partition bound, if it is itself a partition: `FOR VALUES FROM (...) TO (...)`.
    pub partition_bound: Option<String>,
    /// The partition key, if it is partitioned: `RANGE (day)`.
    pub partition_key: Option<String>,
    /// The leaves, if it is partitioned.
    pub leaves: Vec<Partition>,
    /// Whether the role may `LOCK ... IN ACCESS SHARE MODE`: a table, with SELECT on the whole of it.
    pub lockable: bool,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A foreign table.
    Foreign,
    /// A sequence.
    Sequence,
}

/// How long rows live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Persistence {
    /// For ever.
    Permanent,
    /// Until the server crashes.
    Unlogged,
    /// Until the session ends.
    Temporary,
}

/// A leaf of a partitioned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The OID.
    pub oid: u32,
    /// The name.
    pub name: TableName,
    /// The kind: a table or a foreign table.
    pub kind: RelationKind,
    /// How long its rows live.
    pub persistence: Persistence,
    /// `FOR VALUES ...` or `DEFAULT`.
    pub bound: String,
}

impl RelationKind {
    pub(super) fn of(relkind: &str) -> Option<Self> {
        Some(match relkind {
            "r" => Self::Table,
            "p" => Self::Partitioned,
            "v" => Self::View,
            "m" => Self::MaterializedView,
            "f" => Self::Foreign,
            "S" => Self::Sequence,
            _ => return None,
        })
    }

    /// The words for it: `materialized view`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Foreign => "foreign table",
            Self::Sequence => "sequence",
        }
    }
}

impl Persistence {
    fn of(relpersistence: &str) -> Self {
        match relpersistence {
            "u" => Self::Unlogged,
            "t" => Self::Temporary,
            _ => Self::Permanent,
        }
    }
}

impl Relation {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether a usable index leads with the column.
    #[must_use]
    pub fn index_on(&self, column: &str) -> bool {
        self.leading_index_columns.iter().any(|c| c == column)
    }

    /// Foreign keys through which a delete here deletes elsewhere.
    pub fn cascade_fks(&self) -> impl Iterator<Item = &ForeignKey> {
        self.referencing_fks.iter().filter(|fk| fk.on_delete == OnDelete::Cascade)
    }

    /// Whether another table's foreign key points here: `TRUNCATE` refuses such a table, even an empty one.
    #[must_use]
    pub fn is_referenced(&self) -> bool {
        self.referencing_fks.iter().any(|fk| !fk.is_inside)
    }

    /// Whether a unique index has exactly these columns in any order.
    #[must_use]
    pub fn has_unique_index(&self, columns: &[String]) -> bool {
        self.unique_indexes.iter().any(|index| index.is_on(columns))
    }

    /// Whether a unique index, not null throughout, has exactly these columns in any order.
    #[must_use]
    pub fn is_unique_key(&self, columns: &[String]) -> bool {
        let not_null = |name: &String| self.column(name).is_some_and(|c| c.not_null);
        self.has_unique_index(columns) && columns.iter().all(not_null)
    }

    /// Why rows cannot be read from it, each with what helps; empty if they can.
    #[must_use]
    pub fn refused_as_source(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.kind == RelationKind::Sequence {
            reasons.push(format!("{} is a sequence, not a table", self.name));
        }
        if self.row_security {
            reasons.push(format!(
                "row-level security on {} hides rows from this role: use a role with BYPASSRLS",
                self.name
            ));
        }
        reasons
    }

    /// Why rows cannot be loaded into it, each with what helps; empty if they can.
    #[must_use]
    pub fn refused_as_destination(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !matches!(self.kind, RelationKind::Table | RelationKind::Partitioned) {
            let kind = self.kind.words();
            reasons.push(format!("{} is a {kind}: rows can only be loaded into a table", self.name));
        }
        if self.row_security {
            reasons.push(format!("row-level security on {} is in force for this role", self.name));
        }
        reasons.extend(unsafe_storage(&self.name, self.persistence));
        for leaf in &self.leaves {
            reasons.extend(unsafe_storage(&leaf.name, leaf.persistence));
            if leaf.kind == RelationKind::Foreign {
                reasons.push(format!("partition {} of {} is a foreign table", leaf.name, self.name));
            }
        }
        reasons
    }
}

fn unsafe_storage(name: &TableName, persistence: Persistence) -> Option<String> {
    match persistence {
        Persistence::Permanent => None,
        Persistence::Unlogged => Some(format!(
            "{name} is unlogged and would be empty after a crash: alter table {name} set logged;"
        )),
        Persistence::Temporary => Some(format!("{name} is a temporary table of another session")),
    }
}

/// Whether two relations are one and the same table.
///
/// A copy of a whole cluster shares its identifier and OIDs with the original, so a primary must
/// also have started at the same moment; a standby is taken for its primary.
#[must_use]
pub fn same_table(source: (&Server, &Relation), destination: (&Server, &Relation)) -> bool {
    let (a, b) = (source.0, destination.0);
    a.system_identifier == b.system_identifier
        && a.database_oid == b.database_oid
        && source.1.oid == destination.1.oid
        && (a.in_recovery || a.postmaster_start == b.postmaster_start)
}

const RELATION: &str = r#"
with tree(oid) as (
    select $1::pg_catalog.oid
    union select relid::pg_catalog.oid from pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass)
)
select n.nspname, c.relname, c.relkind::pg_catalog.text, c.relpersistence::pg_catalog.text,
    pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.row_security_active(c.oid),
    c.relkind = 'r' and exists (select from pg_catalog.pg_inherits h where h.inhparent = c.oid),
    -- Before Postgres 15, what a partition has from its parent is marked internal.
    array(select distinct g.tgname::pg_catalog.text from pg_catalog.pg_trigger g
          where g.tgrelid in (select oid from tree)
              and g.tgenabled::pg_catalog.text in
                  ('A', case pg_catalog.current_setting('session_replication_role')
                        when 'replica' then 'R' else 'O' end)
              and (not g.tgisinternal or g.tgparentid <> 0 and not exists (
                  select from pg_catalog.pg_constraint k where k.oid = g.tgconstraint and k.contype = 'f'))
          order by 1),
    array(select a.attname::pg_catalog.text
          from pg_catalog.pg_index i
              cross join lateral pg_catalog.unnest(i.indkey::pg_catalog.int2[]) with ordinality k(attnum, n)
              join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where i.indrelid = c.oid and i.indisprimary and k.n <= i.indnkeyatts order by k.n),
    array(select k.conname::pg_catalog.text from pg_catalog.pg_constraint k
          where k.conrelid = c.oid and k.contype = 'f' order by 1),
    array(select distinct a.attname::pg_catalog.text
          from pg_catalog.pg_index i
              join pg_catalog.pg_class x on x.oid = i.indexrelid
              join pg_catalog.pg_am m on m.oid = x.relam
              join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
          where i.indrelid = c.oid and i.indisvalid and i.indisready and i.indpred is null
              and m.amname in ('btree', 'brin')),
    pg_catalog.pg_get_expr(c.relpartbound, c.oid),
    case when c.relkind = 'p' then pg_catalog.pg_get_partkeydef(c.oid) end,
    c.relkind in ('r', 'p') and pg_catalog.has_table_privilege(c.oid, 'select'),
    -- Nobody has counted: -1; before Postgres 14, 0 rows on 0 pages.
    (select pg_catalog.sum(l.reltuples::pg_catalog.float8) filter (where l.reltuples > 0 or l.relpages > 0
            or l.reltuples = 0 and pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 140000)
     from tree join pg_catalog.pg_class l using (oid) where l.relkind in ('r', 'm', 'f'))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = $1"#;

const LEAVES: &str = r#"
select c.oid, n.nspname, c.relname, c.relkind::pg_catalog.text, c.relpersistence::pg_catalog.text,
    coalesce(pg_catalog.pg_get_expr(c.relpartbound, c.oid), '')
from pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass) p
    join pg_catalog.pg_class c on c.oid = p.relid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where p.isleaf
order by n.nspname, c.relname"#;

/// Reads all of a relation; none if it went away.
pub(super) async fn read(session: &Session, oid: u32) -> Result<Option<Relation>> {
    let doing = "reading a table from the catalog";
    let Some(row) = session.query_opt(doing, RELATION, &[&oid]).await? else {
        return Ok(None);
    };
    let columns = column::read(session, oid).await?;
    let unique = session.query(doing, unique::UNIQUE_INDEXES, &[&oid]).await?;
    let fks = session.query(doing, reaction::REFERENCING_FKS, &[&oid]).await?;
    let rules = session.query(doing, reaction::RULES, &[&oid]).await?;
    let mut relation = of_row(oid, &row, columns)?;
    if relation.kind == RelationKind::Partitioned {
        let leaves = session.query(doing, LEAVES, &[&oid]).await?;
        relation.leaves = leaves.iter().map(leaf).collect::<Result<_>>()?;
    }
    relation.unique_indexes = unique.iter().map(unique::unique_index).collect();
    relation.referencing_fks = fks.iter().map(reaction::foreign_key).collect();
    relation.rules = rules.iter().map(reaction::rule).collect();
    Ok(Some(relation))
}

fn of_row(oid: u32, row: &Row, columns: Vec<Column>) -> Result<Relation> {
    let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    let kind = kind_of(&name, row.get(2))?;
    let rows: Option<f64> = row.get(14);
    Ok(Relation {
        oid,
        name,
        kind,
        persistence: Persistence::of(row.get(3)),
        owner: row.get(4),
        row_security: row.get(5),
        rules: Vec::new(),
        has_inheritors: row.get(6),
        triggers: row.get(7),
        columns,
        primary_key: row.get(8),
        unique_indexes: Vec::new(),
        foreign_keys: row.get(9),
        referencing_fks: Vec::new(),
        // Below 2^53, so nothing is lost that the planner's estimate had.
        estimated_rows: rows.map(|rows| rows as i64),
        leading_index_columns: row.get(10),
        partition_bound: row.get(11),
        partition_key: row.get(12),
        leaves: Vec::new(),
        lockable: row.get(13),
    })
}

fn kind_of(name: &TableName, relkind: &str) -> Result<RelationKind> {
    RelationKind::of(relkind).ok_or_else(|| {
        Error::new(ErrorKind::Preflight, format!("{name} is neither a table nor a view (kind {relkind})"))
    })
}

fn leaf(row: &Row) -> Result<Partition> {
    let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
    let kind = kind_of(&name, row.get(3))?;
    Ok(Partition { oid: row.get(0), name, kind, persistence: Persistence::of(row.get(4)), bound: row.get(5) })
}
