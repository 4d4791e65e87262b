//! What comes after what: an order in which each stands after what it reads, or the cycle that forbids it.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::TableName;

/// Who reads whom, directly.
pub type Reads = BTreeMap<TableName, BTreeSet<TableName>>;

/// Puts names in order: what is read first, then by name. Cycles are broken where they are met.
#[must_use]
pub fn sorted(names: &BTreeSet<TableName>, reads: &Reads) -> Vec<TableName> {
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for name in names {
        visit(name, names, reads, &mut seen, &mut order);
    }
    order
}

fn visit(
    name: &TableName,
    names: &BTreeSet<TableName>,
    reads: &Reads,
    seen: &mut BTreeSet<TableName>,
    order: &mut Vec<TableName>,
) {
    if !seen.insert(name.clone()) {
        return;
    }
    for read in reads.get(name).into_iter().flatten().filter(|read| names.contains(*read)) {
        visit(read, names, reads, seen, order);
    }
    order.push(name.clone());
}

/// Finds a cycle among names, with its first name again at the end.
#[must_use]
pub fn cycle(names: &BTreeSet<TableName>, reads: &Reads) -> Option<Vec<TableName>> {
    let mut path = Vec::new();
    names.iter().find_map(|name| {
        path.clear();
        walk(name, names, reads, &mut path)
    })
}

fn walk(
    name: &TableName,
    names: &BTreeSet<TableName>,
    reads: &Reads,
    path: &mut Vec<TableName>,
) -> Option<Vec<TableName>> {
    if let Some(at) = path.iter().position(|one| one == name) {
        return Some(path[at..].iter().chain([name]).cloned().collect());
    }
    path.push(name.clone());
    let next = reads.get(name).into_iter().flatten().filter(|read| names.contains(*read));
    let found = next.into_iter().find_map(|read| walk(read, names, reads, path));
    path.pop();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn reads(edges: &[(&str, &str)]) -> (BTreeSet<TableName>, Reads) {
        let mut found = Reads::new();
        for (one, other) in edges {
            found.entry(name(one)).or_default().insert(name(other));
        }
        (edges.iter().flat_map(|(one, other)| [name(one), name(other)]).collect(), found)
    }

    fn shown(names: &[TableName]) -> String {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_read_comes_first_whatever_its_name() {
        let (names, reads) = reads(&[("a", "z"), ("b", "a"), ("b", "z")]);
        assert_eq!(shown(&sorted(&names, &reads)), "z a b");
    }

    #[test]
    fn a_cycle_is_told_with_its_path() {
        let (names, reads) = reads(&[("a", "b"), ("b", "c"), ("c", "b")]);
        assert_eq!(shown(&cycle(&names, &reads).unwrap()), "b c b");
        assert_eq!(cycle(&names, &Reads::new()), None);
    }
}
