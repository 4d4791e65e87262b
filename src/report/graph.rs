//! The graph of views for a terminal, as Mermaid, DOT, SVG and JSON.
//!
//! [`Picture`] is plain data: boxes in layers and arrows from what is read to what reads it, with tables
//! and ordinary views among the boxes. `svg` lays it out.

mod svg;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::paint::{Palette, Tone, escaped};
use crate::views::graph::{Kind, Node};
use crate::views::outlook::Outlook;
use crate::views::stale::Freshness;

/// One object of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxed {
    name: String,
    kind: Kind,
    freshness: Option<Freshness>,
    reason: String,
    /// Its column: tables 0, then each after all that it reads.
    column: usize,
}

/// Boxes, and arrows by number from what is read to what reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    boxes: Vec<Boxed>,
    arrows: Vec<(usize, usize)>,
}

impl Picture {
    /// Draws these views and everything that they read.
    #[must_use]
    pub fn of(outlook: &Outlook, views: &[u32]) -> Self {
        let graph = &outlook.catalog.graph;
        let mut nodes = BTreeSet::new();
        let mut queue: Vec<Node> = views.iter().map(|oid| Node::Relation(*oid)).collect();
        while let Some(node) = queue.pop() {
            if nodes.insert(node) {
                queue.extend(graph.direct(node));
            }
        }
        let columns = columns(outlook, &nodes);
        let mut order: Vec<Node> = nodes.into_iter().collect();
        order.sort_by_key(|node| (columns[node], graph.name(*node)));
        let number: BTreeMap<Node, usize> = order.iter().enumerate().map(|(i, node)| (*node, i)).collect();
        let mut arrows: Vec<(usize, usize)> = order
            .iter()
            .flat_map(|reader| graph.direct(*reader).map(|read| (number[&read], number[reader])))
            .collect();
        arrows.sort_unstable();
        Self { boxes: order.iter().filter_map(|node| boxed(outlook, *node, columns[node])).collect(), arrows }
    }

    /// Layers, each view with what it reads.
    #[must_use]
    pub fn text(&self, palette: Palette) -> String {
        let last = self.boxes.iter().map(|one| one.column).max().unwrap_or(0);
        let mut text = String::new();
        for column in 0..=last {
            let members: Vec<usize> =
                (0..self.boxes.len()).filter(|i| self.boxes[*i].column == column).collect();
            let title = if column == 0 { "sources".to_owned() } else { format!("layer {column}") };
            if members.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{}", palette.paint(Tone::Strong, &title));
            let width =
                members.iter().map(|i| console::measure_text_width(&escaped(&self.boxes[*i].name))).max();
            for member in members {
                text.push_str(&self.line(member, width.unwrap_or(0), palette));
            }
        }
        if text.is_empty() { "no materialized views\n".to_owned() } else { text }
    }

    fn line(&self, member: usize, width: usize, palette: Palette) -> String {
        let one = &self.boxes[member];
        let name = escaped(&one.name);
        let pad = " ".repeat(width.saturating_sub(console::measure_text_width(&name)));
        let reads: Vec<_> = self
            .arrows
            .iter()
            .filter(|(_, to)| *to == member)
            .map(|(from, _)| escaped(&self.boxes[*from].name))
            .collect();
        let what = match one.freshness {
            Some(freshness) => freshness.word(),
            None => one.kind.word(),
        };
        let reads = if reads.is_empty() { String::new() } else { format!("  <- {}", reads.join(", ")) };
        format!("  {name}{pad}  {}{reads}\n", palette.paint(Tone::Faint, what))
    }

    /// A `flowchart` of Mermaid.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, one) in self.boxes.iter().enumerate() {
            let name = xml(&one.name).replace('#', "&num;");
            let (open, close) = match one.kind {
                Kind::Materialized => ("[\"", "\"]"),
                Kind::View => ("(\"", "\")"),
                Kind::Table | Kind::Foreign => ("[(\"", "\")]"),
                Kind::Function | Kind::Opaque => ("{{\"", "\"}}"),
            };
            let class = if one.is_stale() { ":::stale" } else { "" };
            let _ = writeln!(text, "  n{number}{open}{name}{close}{class}");
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        text.push_str("  classDef stale stroke:#b45309,stroke-dasharray:4\n");
        text
    }

    /// A `digraph` of Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text = "digraph views {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n".to_owned();
        for (number, one) in self.boxes.iter().enumerate() {
            let name = escaped(&one.name).replace('\\', "\\\\").replace('"', "\\\"");
            let shape = match one.kind {
                Kind::Materialized => "box",
                Kind::View => "ellipse",
                Kind::Table | Kind::Foreign => "cylinder",
                Kind::Function | Kind::Opaque => "hexagon",
            };
            let style = if one.is_stale() { ", style=dashed" } else { "" };
            let _ = writeln!(text, "  n{number} [label=\"{name}\", shape={shape}{style}];");
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        text.push_str("}\n");
        text
    }

    /// One object with everything.
    #[must_use]
    pub fn json(&self) -> Value {
        let nodes: Vec<_> = self
            .boxes
            .iter()
            .map(|one| {
                json!({ "name": one.name, "kind": one.kind.word(), "layer": one.column,
                    "state": one.freshness.map(Freshness::word), "reason": one.reason })
            })
            .collect();
        let edges: Vec<_> = self
            .arrows
            .iter()
            .map(|(from, to)| json!({ "reads": self.boxes[*from].name, "view": self.boxes[*to].name }))
            .collect();
        json!({ "nodes": nodes, "edges": edges })
    }

    /// A picture that a browser shows by itself.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}

impl Boxed {
    fn is_stale(&self) -> bool {
        self.freshness.is_some_and(Freshness::wants_refresh)
    }
}

fn boxed(outlook: &Outlook, node: Node, column: usize) -> Option<Boxed> {
    let object = outlook.catalog.graph.object(node)?;
    let verdict = outlook.verdicts.get(&node.oid()).filter(|_| object.kind == Kind::Materialized);
    Some(Boxed {
        name: object.name.to_string(),
        kind: object.kind,
        freshness: verdict.map(|verdict| verdict.freshness),
        reason: verdict.map(|verdict| verdict.reason.clone()).unwrap_or_default(),
        column,
    })
}

/// The longest way to each node from what reads nothing; a cycle is cut where it closes.
fn columns(outlook: &Outlook, nodes: &BTreeSet<Node>) -> BTreeMap<Node, usize> {
    let graph = &outlook.catalog.graph;
    let mut columns: BTreeMap<Node, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    // As many rounds as there are nodes reach every end; in a cycle they would go on for ever.
    for _ in 0..nodes.len().min(200) {
        let mut is_changed = false;
        for node in nodes {
            let below = graph.direct(*node).filter_map(|read| columns.get(&read)).max().copied();
            let column = below.map_or(0, |below| below + 1).min(nodes.len());
            if columns[node] != column {
                columns.insert(*node, column);
                is_changed = true;
            }
        }
        if !is_changed {
            break;
        }
    }
    columns
}

/// A text inside XML.
fn xml(text: &str) -> String {
    let safe = escaped(text);
    safe.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn picture() -> Picture {
        let one = |name: &str, kind, column, freshness| Boxed {
            name: name.to_owned(),
            kind,
            freshness,
            reason: String::new(),
            column,
        };
        Picture {
            boxes: vec![
                one("src.orders", Kind::Table, 0, None),
                one("mart.\"a <b>\"", Kind::Materialized, 1, Some(Freshness::Fresh)),
                one("mart.v", Kind::View, 2, None),
                one("mart.top", Kind::Materialized, 3, Some(Freshness::Stale)),
            ],
            arrows: vec![(0, 1), (1, 2), (2, 3)],
        }
    }

    #[test]
    fn a_terminal_gets_layers() {
        assert_snapshot!(picture().text(Palette::OFF), @r#"
        sources
          src.orders  table
        layer 1
          mart."a <b>"  fresh  <- src.orders
        layer 2
          mart.v  view  <- mart."a <b>"
        layer 3
          mart.top  stale  <- mart.v
        "#);
    }

    #[test]
    fn mermaid_and_dot_have_a_node_each_and_quote_odd_names() {
        assert_snapshot!(picture().mermaid(), @r#"
        flowchart LR
          n0[("src.orders")]
          n1["mart.&quot;a &lt;b&gt;&quot;"]
          n2("mart.v")
          n3["mart.top"]:::stale
          n0 --> n1
          n1 --> n2
          n2 --> n3
          classDef stale stroke:#b45309,stroke-dasharray:4
        "#);
        assert!(picture().dot().contains(r#"n1 [label="mart.\"a <b>\"", shape=box];"#));
    }

    #[test]
    fn the_svg_stands_alone_and_holds_every_name() {
        let svg = picture().svg();
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
        assert!(svg.contains("mart.&quot;a &lt;b&gt;&quot;") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<path class=\"arrow\"").count(), 3);
    }
}
