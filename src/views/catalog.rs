//! What the catalog says about materialized views: the graph, and what a refresh of each depends on.
//!
//! Read in four statements, whatever the number of views; nothing is locked and nothing is written.

use std::collections::BTreeMap;

use super::graph::{Graph, Kind, Node};
use super::options::ViewRules;
use crate::error::Result;
use crate::ledger::{self, Ledger, Source, Sources};
use crate::name::TableName;
use crate::postgres::connect::Session;

const EDGES: &str = include_str!("edges.sql");
const OBJECTS: &str = include_str!("objects.sql");
const MATERIALIZED: &str = include_str!("materialized.sql");
const SHAPE: &str = include_str!("shape.sql");

const FAMILY: &str = "
with recursive leaf(oid) as (
    select $1::pg_catalog.oid
    union
    select i.inhrelid from leaf l join pg_catalog.pg_inherits i on i.inhparent = l.oid
), above(oid) as (
    select $1::pg_catalog.oid
    union
    select i.inhparent from above a join pg_catalog.pg_inherits i on i.inhrelid = a.oid
)
select oid from leaf union select oid from above";

/// The first version whose functions have bodies that the catalog knows.
const SQL_BODIES: i32 = 140_000;

/// A materialized view as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializedView {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// Whether it holds rows.
    pub is_populated: bool,
    /// The `xmin` of its row in the catalog: every refresh changes it.
    pub token: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether the session's role is the owner or a member of it.
    pub is_mine: bool,
    /// Its size, with indexes.
    pub bytes: u64,
    /// Its size without indexes.
    pub table_bytes: u64,
    /// Rows, as the planner knows them.
    pub rows: Option<u64>,
    /// Rows that are there and rows that are dead, as far as the server has counted.
    pub live_rows: u64,
    /// Rows that wait for a vacuum.
    pub dead_rows: u64,
    /// An index that makes a concurrent refresh possible.
    pub unique_index: Option<String>,
    /// Whether every such index has NULLs in its key: a concurrent refresh then writes those rows each time.
    pub has_null_keys: bool,
    /// Whether another session refreshes it now, by the ledger's lock.
    pub is_locked: bool,
}

/// Everything about the views of one database at one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// What reads what.
    pub graph: Graph,
    /// The materialized views by OID.
    pub views: BTreeMap<u32, MaterializedView>,
    /// Definitions of views and functions: a token that changes with them.
    tokens: BTreeMap<Node, String>,
    /// Views, materialized or not, whose own query tells the time.
    clocks: Vec<u32>,
    /// Views, materialized or not, whose own query reads what nobody counts.
    uncounted: BTreeMap<u32, String>,
    /// Names of `depends_on` that no relation has, with the view that has them.
    pub unknown_names: Vec<(TableName, TableName)>,
    /// What differs whenever a definition has changed.
    shape: String,
}

impl Catalog {
    /// Reads it.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(session: &Session, rules: &ViewRules, lock_class: Option<u32>) -> Result<Self> {
        // Read first: what changes meanwhile is a change since.
        let mut catalog = Self { shape: shape(session).await?, ..Self::default() };
        let edges = catalog.read_graph(session, &[]).await?;
        let extra = catalog.declared(session, rules).await?;
        if !extra.is_empty() {
            let oids: Vec<u32> = extra.iter().map(|(_, oid)| *oid).collect();
            catalog.graph = Graph::default();
            let edges = catalog.read_graph(session, &oids).await?;
            catalog.link(edges);
            for (view, read) in extra {
                catalog.graph.add_edge(Node::Relation(view), Node::Relation(read));
            }
        } else {
            catalog.link(edges);
        }
        catalog.read_views(session, lock_class).await?;
        Ok(catalog)
    }

    /// Reads what reads what, and nothing that waits while a view is refreshed, as its size does.
    ///
    /// # Errors
    /// The server's.
    pub async fn read_edges(session: &Session) -> Result<Self> {
        let mut catalog = Self::default();
        let edges = catalog.read_graph(session, &[]).await?;
        catalog.link(edges);
        Ok(catalog)
    }

    /// Reads objects; gives the edges among all that the catalog has.
    async fn read_graph(&mut self, session: &Session, more: &[u32]) -> Result<Vec<(Node, Node)>> {
        let doing = "reading what the views read";
        let has_body = session.server().version_num >= SQL_BODIES;
        let body = if has_body { "p.prosqlbody is not null" } else { "false" };
        let rows = session.query(doing, &EDGES.replace("{has_body}", body), &[]).await?;
        let edges: Vec<(Node, Node)> =
            rows.iter().map(|row| (node(row.get(0), row.get(1)), node(row.get(2), row.get(3)))).collect();
        let all = || edges.iter().flat_map(|(from, to)| [*from, *to]);
        let mut relations: Vec<u32> =
            all().filter(|n| matches!(n, Node::Relation(_))).map(Node::oid).chain(more.to_vec()).collect();
        let mut functions: Vec<u32> =
            all().filter(|n| matches!(n, Node::Function(_))).map(Node::oid).collect();
        for oids in [&mut relations, &mut functions] {
            oids.sort_unstable();
            oids.dedup();
        }
        let sql = OBJECTS.replace("{has_body}", body);
        for row in session.query(doing, &sql, &[&relations, &functions]).await? {
            self.add_object(&row);
        }
        Ok(edges)
    }

    fn add_object(&mut self, row: &tokio_postgres::Row) {
        let node = node(row.get("node"), row.get("oid"));
        let name = TableName::new(row.get::<_, String>("schema"), row.get::<_, String>("name"));
        let kind = match (node, row.get::<_, &str>("kind")) {
            (Node::Function(_), _) if row.get("is_opaque") => Kind::Opaque,
            (Node::Function(_), _) => Kind::Function,
            (_, "m") => Kind::Materialized,
            (_, "v") => Kind::View,
            (_, "f") => Kind::Foreign,
            _ => Kind::Table,
        };
        self.graph.add(node, name, kind);
        self.tokens.insert(node, row.get("token"));
        if row.get("reads_clock") {
            self.clocks.push(node.oid());
        }
        if let Some(what) = row.get("uncounted") {
            self.uncounted.insert(node.oid(), what);
        }
    }

    /// Keeps the edges whose ends are both known: what reads the system's tables is no edge.
    fn link(&mut self, edges: Vec<(Node, Node)>) {
        for (from, to) in edges {
            if self.graph.object(from).is_some() && self.graph.object(to).is_some() {
                self.graph.add_edge(from, to);
            }
        }
    }

    /// The relations that the rules say a view reads, by OID.
    async fn declared(&mut self, session: &Session, rules: &ViewRules) -> Result<Vec<(u32, u32)>> {
        let views = self.graph.views();
        let named = views.iter().filter_map(|view| Some((*view, self.graph.object(Node::Relation(*view))?)));
        let named: Vec<(u32, TableName, TableName)> = named
            .flat_map(|(view, object)| {
                let reads = rules.of(&object.name).depends_on.into_iter().flatten();
                reads.map(move |read| (view, object.name.clone(), read))
            })
            .collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let quoted: Vec<String> =
            named.iter().map(|(.., read)| crate::postgres::ident::quote_table(read)).collect();
        let sql = "select pg_catalog.to_regclass(n.name)::pg_catalog.oid
            from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality n (name, place) order by n.place";
        let rows = session.query("looking for what depends_on names", sql, &[&quoted]).await?;
        let mut found = Vec::new();
        for ((view, name, read), row) in named.into_iter().zip(&rows) {
            match row.get::<_, Option<u32>>(0) {
                Some(oid) => found.push((view, oid)),
                None => self.unknown_names.push((name, read)),
            }
        }
        Ok(found)
    }

    async fn read_views(&mut self, session: &Session, lock_class: Option<u32>) -> Result<()> {
        let views = self.views_now(session, &self.graph.views(), lock_class).await?;
        self.views = views.into_iter().map(|view| (view.oid, view)).collect();
        Ok(())
    }

    /// Whether all definitions are still those of this catalog, at a fraction of the cost of reading it.
    ///
    /// # Errors
    /// The server's.
    pub async fn still_holds(&self, session: &Session) -> Result<bool> {
        Ok(self.shape == shape(session).await?)
    }

    /// A materialized view as it is now, by this catalog's names; none if it is gone.
    ///
    /// # Errors
    /// The server's.
    pub async fn view_now(&self, session: &Session, oid: u32) -> Result<Option<MaterializedView>> {
        Ok(self.views_now(session, &[oid], None).await?.pop())
    }

    async fn views_now(
        &self,
        session: &Session,
        oids: &[u32],
        lock_class: Option<u32>,
    ) -> Result<Vec<MaterializedView>> {
        let class = lock_class.unwrap_or(0);
        let rows = session.query("reading the materialized views", MATERIALIZED, &[&oids, &class]).await?;
        let named = |row: &tokio_postgres::Row| {
            let object = self.graph.object(Node::Relation(row.get("oid")))?;
            Some(materialized_view(row, object.name.clone()))
        };
        Ok(rows.iter().filter_map(named).collect())
    }

    /// Whether a view's rows depend on when it is refreshed: its own query or one between tells the time.
    #[must_use]
    pub fn reads_clock(&self, view: u32) -> bool {
        let between = self.graph.between(view);
        self.clocks.iter().any(|oid| *oid == view || between.contains(&Node::Relation(*oid)))
    }

    /// Why nobody can see whether a view is fresh: it reads a foreign table, the system's tables, a sequence,
    /// or a function that may read anything, and no `depends_on` says what.
    #[must_use]
    pub fn blind_spot(&self, view: u32, rules: &ViewRules) -> Option<String> {
        let foreign = self.graph.sources_of(view).into_iter().map(Node::Relation);
        let foreign = foreign.filter(|n| self.graph.object(*n).is_some_and(|o| o.kind == Kind::Foreign));
        if let Some(node) = foreign.into_iter().next() {
            return Some(format!("foreign table {}", self.graph.name(node)));
        }
        let name = self.graph.object(Node::Relation(view)).map(|o| o.name.clone())?;
        if rules.of(&name).depends_on.is_some() {
            return None;
        }
        let own = std::iter::once(Node::Relation(view)).chain(self.graph.between(view));
        if let Some(what) = own.filter_map(|node| self.uncounted.get(&node.oid())).next() {
            return Some(what.clone());
        }
        let mut between = self.graph.between(view).into_iter();
        let opaque = between.find(|n| self.graph.object(*n).is_some_and(|o| o.kind == Kind::Opaque))?;
        Some(format!("function {}, whose body the catalog does not know", self.graph.name(opaque)))
    }

    /// The state of all that these views read, each as one moment saw it.
    ///
    /// # Errors
    /// The server's.
    pub async fn sources(
        &self,
        ledger: Option<&Ledger>,
        session: &Session,
        views: &[u32],
    ) -> Result<BTreeMap<u32, Sources>> {
        let reads: BTreeMap<u32, _> = views.iter().map(|v| (*v, self.graph.sources_of(*v))).collect();
        let mut oids: Vec<u32> = reads.values().flatten().copied().collect();
        oids.sort_unstable();
        oids.dedup();
        let Sources { at, epoch, relations, .. } = ledger::sources(ledger, session, &oids).await?;
        let states: BTreeMap<u32, Source> = relations.into_iter().map(|s| (s.oid, s)).collect();
        let of = |view: u32, oids: &std::collections::BTreeSet<u32>| Sources {
            at,
            epoch: epoch.clone(),
            relations: oids
                .iter()
                .filter_map(|oid| states.get(oid))
                .map(|s| Source { name: self.graph.name(Node::Relation(s.oid)), ..s.clone() })
                .collect(),
            between: self.tokens_between(view),
        };
        Ok(reads.iter().map(|(view, oids)| (*view, of(*view, oids))).collect())
    }

    fn tokens_between(&self, view: u32) -> Vec<(u32, String)> {
        let between = self.graph.between(view).into_iter();
        between.map(|n| (n.oid(), self.tokens.get(&n).cloned().unwrap_or_default())).collect()
    }
}

/// A relation with its partitions and what it is a partition of: a load of one is a load of all of them.
///
/// # Errors
/// The server's.
pub async fn family(session: &Session, oid: u32) -> Result<Vec<u32>> {
    let rows = session.query("looking for partitions", FAMILY, &[&oid]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn shape(session: &Session) -> Result<String> {
    session.query_one("looking for changed definitions", SHAPE, &[]).await.map(|row| row.get("shape"))
}

fn materialized_view(row: &tokio_postgres::Row, name: TableName) -> MaterializedView {
    let number = |name: &str| row.get::<_, i64>(name).unsigned_abs();
    MaterializedView {
        oid: row.get("oid"),
        name,
        is_populated: row.get("is_populated"),
        token: row.get("token"),
        owner: row.get("owner"),
        is_mine: row.get("is_mine"),
        bytes: number("bytes"),
        table_bytes: number("table_bytes"),
        rows: row.get::<_, Option<i64>>("rows").map(i64::unsigned_abs),
        live_rows: number("live_rows"),
        dead_rows: number("dead_rows"),
        unique_index: row.get("unique_index"),
        has_null_keys: row.get("has_null_keys"),
        is_locked: row.get("is_locked"),
    }
}

fn node(kind: &str, oid: u32) -> Node {
    if kind == "f" { Node::Function(oid) } else { Node::Relation(oid) }
}
