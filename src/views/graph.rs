//! What reads what: materialized views, the relations below them, and the order that follows.
//!
//! Pure: the edges come from the catalog (`catalog`) and from `depends_on`, never from names. A path may
//! go through ordinary views and functions; layers are for display, the order of a refresh comes from
//! [`Graph::sources_of`]. Views can form cycles, which are found with their path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::name::TableName;

/// An object of the catalog: relations and functions number their OIDs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A table, view or materialized view.
    Relation(u32),
    /// A function whose body the catalog knows, or one that is opaque.
    Function(u32),
}

impl Node {
    /// The OID.
    #[must_use]
    pub fn oid(self) -> u32 {
        match self {
            Self::Relation(oid) | Self::Function(oid) => oid,
        }
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A table, partitioned or not.
    Table,
    /// A foreign table: nothing tells when it changes.
    Foreign,
    /// An ordinary view.
    View,
    /// A materialized view.
    Materialized,
    /// A function whose body the catalog knows.
    Function,
    /// A function with a body of text, which may read anything.
    Opaque,
}

impl Kind {
    /// Whether what reads it reads through it.
    fn is_between(self) -> bool {
        matches!(self, Self::View | Self::Function | Self::Opaque)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Foreign => "foreign table",
            Self::View => "view",
            Self::Materialized => "materialized view",
            Self::Function => "function",
            Self::Opaque => "function, body not known",
        }
    }
}

/// A named object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name with the schema.
    pub name: TableName,
    /// What it is.
    pub kind: Kind,
}

/// Objects, and what each reads directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    objects: BTreeMap<Node, Object>,
    reads: BTreeMap<Node, BTreeSet<Node>>,
}

impl Graph {
    /// Adds an object.
    pub fn add(&mut self, node: Node, name: TableName, kind: Kind) {
        self.objects.insert(node, Object { name, kind });
    }

    /// Says that one object reads another; both are added by [`add`](Self::add).
    pub fn add_edge(&mut self, reader: Node, read: Node) {
        self.reads.entry(reader).or_default().insert(read);
    }

    /// An object.
    #[must_use]
    pub fn object(&self, node: Node) -> Option<&Object> {
        self.objects.get(&node)
    }

    /// The name of a node, or its number if it is gone.
    #[must_use]
    pub fn name(&self, node: Node) -> String {
        self.object(node).map_or_else(|| node.oid().to_string(), |object| object.name.to_string())
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = (Node, &Object)> {
        self.objects.iter().map(|(node, object)| (*node, object))
    }

    /// Finds relations by a name; without a schema there may be several.
    #[must_use]
    pub fn find(&self, name: &TableName) -> Vec<Node> {
        let is = |object: &Object| {
            object.name.table == name.table && (name.schema.is_none() || object.name.schema == name.schema)
        };
        let relations = self.objects.iter().filter(|(node, _)| matches!(node, Node::Relation(_)));
        relations.filter(|(_, object)| is(object)).map(|(node, _)| *node).collect()
    }

    /// The materialized views.
    #[must_use]
    pub fn views(&self) -> Vec<u32> {
        let views = self.objects.iter().filter(|(_, object)| object.kind == Kind::Materialized);
        views.map(|(node, _)| node.oid()).collect()
    }

    /// What an object names directly.
    pub fn direct(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        self.reads.get(&node).into_iter().flatten().copied()
    }

    /// The relations whose rows a materialized view holds: through views and functions, down to tables
    /// and materialized views.
    #[must_use]
    pub fn sources_of(&self, view: u32) -> BTreeSet<u32> {
        let stop = |node: &Node| !self.objects.get(node).is_some_and(|o| o.kind.is_between());
        self.walk(Node::Relation(view)).into_iter().filter(stop).map(Node::oid).collect()
    }

    /// The views and functions through which a materialized view reads.
    #[must_use]
    pub fn between(&self, view: u32) -> BTreeSet<Node> {
        let between = |node: &Node| self.objects.get(node).is_some_and(|o| o.kind.is_between());
        self.walk(Node::Relation(view)).into_iter().filter(between).collect()
    }

    /// Every node reached from one without going through a table or another materialized view.
    fn walk(&self, start: Node) -> BTreeSet<Node> {
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<Node> = self.direct(start).collect();
        while let Some(node) = queue.pop_front() {
            if node != start
                && seen.insert(node)
                && self.objects.get(&node).is_some_and(|o| o.kind.is_between())
            {
                queue.extend(self.direct(node));
            } else if node == start {
                // A view that reads itself, through others: part of a cycle.
                seen.insert(node);
            }
        }
        seen
    }

    /// For each materialized view the materialized views that it reads.
    #[must_use]
    pub fn upstream(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let views: BTreeSet<u32> = self.views().into_iter().collect();
        views
            .iter()
            .map(|view| (*view, self.sources_of(*view).intersection(&views).copied().collect()))
            .collect()
    }

    /// The materialized views that read any of these relations, through whatever, at any distance.
    #[must_use]
    pub fn dependents(&self, relations: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut found: BTreeSet<u32> = BTreeSet::new();
        let sources: Vec<_> = self.views().into_iter().map(|view| (view, self.sources_of(view))).collect();
        loop {
            let before = found.len();
            let is_reached = |from: &BTreeSet<u32>, found: &BTreeSet<u32>| {
                from.iter().any(|oid| relations.contains(oid) || found.contains(oid))
            };
            for (view, from) in &sources {
                if is_reached(from, &found) {
                    found.insert(*view);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// The materialized views below these, at any distance.
    #[must_use]
    pub fn ancestors(&self, views: &BTreeSet<u32>) -> BTreeSet<u32> {
        let upstream = self.upstream();
        let mut found = BTreeSet::new();
        let mut queue: Vec<u32> = views.iter().copied().collect();
        while let Some(view) = queue.pop() {
            let below = upstream.get(&view).into_iter().flatten();
            queue.extend(below.filter(|oid| found.insert(**oid)));
        }
        found
    }

    /// The layer of each materialized view: 0 reads no other; members of cycles have none.
    #[must_use]
    pub fn layers(&self) -> BTreeMap<u32, usize> {
        let upstream = self.upstream();
        let mut layers: BTreeMap<u32, usize> = BTreeMap::new();
        loop {
            let ready: Vec<_> = upstream
                .iter()
                .filter(|(view, _)| !layers.contains_key(view))
                .filter_map(|(view, below)| {
                    let below: Option<Vec<usize>> = below.iter().map(|b| layers.get(b).copied()).collect();
                    Some((*view, below?.into_iter().max().map_or(0, |layer| layer + 1)))
                })
                .collect();
            if ready.is_empty() {
                return layers;
            }
            layers.extend(ready);
        }
    }

    /// One path for each cycle of materialized views: `a, b, a`.
    #[must_use]
    pub fn cycles(&self) -> Vec<Vec<u32>> {
        let (upstream, layers) = (self.upstream(), self.layers());
        let mut left: BTreeSet<u32> = upstream.keys().filter(|v| !layers.contains_key(v)).copied().collect();
        let mut cycles = Vec::new();
        while let Some(start) = left.first().copied() {
            match shortest_cycle(start, &upstream) {
                Some(path) => {
                    path.iter().for_each(|view| {
                        left.remove(view);
                    });
                    cycles.push(path);
                }
                // It only reads from a cycle.
                None => {
                    left.remove(&start);
                }
            }
        }
        cycles
    }
}

fn shortest_cycle(start: u32, upstream: &BTreeMap<u32, BTreeSet<u32>>) -> Option<Vec<u32>> {
    let mut came_from: BTreeMap<u32, u32> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(view) = queue.pop_front() {
        for below in upstream.get(&view).into_iter().flatten() {
            if *below == start {
                let mut path = vec![start, view];
                let mut at = view;
                while at != start {
                    at = came_from[&at];
                    path.push(at);
                }
                path.reverse();
                path.dedup();
                path.push(start);
                path.dedup();
                return Some(if path.len() == 1 { vec![start, start] } else { path });
            }
            if *below != start && !came_from.contains_key(below) {
                came_from.insert(*below, view);
                queue.push_back(*below);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a<-b` for "b reads a"; upper case is a materialized view, `v` in front a view, else a table.
    fn graph(edges: &str) -> Graph {
        let mut graph = Graph::default();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for edge in edges.split_whitespace() {
            let nodes: Vec<Node> = edge
                .split("<-")
                .map(|name| {
                    let next = u32::try_from(numbers.len()).unwrap() + 1;
                    let node = Node::Relation(*numbers.entry(name.to_owned()).or_insert(next));
                    let kind = match name.chars().next().unwrap() {
                        'v' => Kind::View,
                        first if first.is_uppercase() => Kind::Materialized,
                        _ => Kind::Table,
                    };
                    graph.add(node, TableName::new("mart", name), kind);
                    node
                })
                .collect();
            if let [read, reader] = nodes[..] {
                graph.add_edge(reader, read);
            }
        }
        graph
    }

    fn names(graph: &Graph, oids: impl IntoIterator<Item = u32>) -> String {
        let name = |oid| graph.object(Node::Relation(oid)).unwrap().name.table.clone();
        oids.into_iter().map(name).collect::<Vec<_>>().join(" ")
    }

    fn oid(graph: &Graph, name: &str) -> u32 {
        graph.find(&TableName::new("mart", name))[0].oid()
    }

    #[test]
    fn a_path_goes_through_views_and_stops_at_tables_and_materialized_views() {
        let g = graph("t<-A A<-v1 v1<-v2 v2<-B u<-v2 B<-C t<-C");
        assert_eq!(names(&g, g.sources_of(oid(&g, "B"))), "A u");
        assert_eq!(names(&g, g.sources_of(oid(&g, "C"))), "t B");
        assert_eq!(names(&g, g.dependents(&[oid(&g, "u")].into())), "B C");
        assert_eq!(names(&g, g.dependents(&[oid(&g, "t")].into())), "A B C");
        assert_eq!(names(&g, g.ancestors(&[oid(&g, "C")].into())), "A B");
    }

    #[test]
    fn a_layer_is_the_longest_path_and_a_diamond_has_three() {
        let g = graph("t<-A A<-B A<-C B<-D C<-D A<-D");
        let layers = g.layers();
        assert_eq!(["A", "B", "C", "D"].map(|name| layers[&oid(&g, name)]), [0, 1, 1, 2]);
        assert!(g.cycles().is_empty());
    }

    #[test]
    fn a_cycle_is_told_with_its_path_and_what_reads_from_it_is_none() {
        let g = graph("A<-v1 v1<-B B<-A B<-C t<-D");
        let cycles: Vec<_> = g.cycles().into_iter().map(|path| names(&g, path)).collect();
        assert_eq!(cycles, ["A B A"]);
        let layers = g.layers();
        assert_eq!(layers.len(), 1);
        assert_eq!(layers[&oid(&g, "D")], 0);
    }

    #[test]
    fn views_in_a_cycle_do_not_keep_the_walk() {
        let g = graph("v1<-v2 v2<-v1 v1<-A t<-v2");
        assert_eq!(names(&g, g.sources_of(oid(&g, "A"))), "t");
    }

    #[test]
    fn a_name_without_a_schema_may_mean_several() {
        let mut g = graph("t<-A");
        g.add(Node::Relation(99), TableName::new("raw", "A"), Kind::Materialized);
        assert_eq!(g.find(&"\"A\"".parse().unwrap()).len(), 2);
        assert_eq!(g.find(&"raw.\"A\"".parse().unwrap()).len(), 1);
    }
}
