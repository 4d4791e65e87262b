//! What a change of some objects means for the others, and what has to happen in one transaction.
//!
//! A materialized view that reads one that is replaced is built anew; an ordinary view or a function is
//! pointed at the new one and keeps everything that stands on it. Objects that have to change places
//! together are a unit. Units come one after the other; each leaves the database whole.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::{Class, Step};
use super::order::{self, Reads};
use super::statement::ObjectKind;
use crate::name::TableName;

/// Who stands on what, now and as the files say.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    /// As the files say: reader, then what it reads.
    pub reads: Reads,
    /// As it is now, among objects of files: reader, then what it reads.
    pub live: Reads,
    /// What stands on an object and is in no file.
    pub unknown: BTreeMap<TableName, Vec<String>>,
}

/// Objects that change together, each after what it reads.
pub type Unit = Vec<TableName>;

/// Why a step is blocked by readers that pgtide does not look after.
pub const IN_NO_FILE: &str = "but what stands on it is in no file";

/// Why a step is blocked by what cannot be carried to a new object.
pub const WOULD_BE_LOST: &str = "but what hangs on it would be lost";

/// Adds what has to change with what changes, blocks what cannot, and makes units.
pub fn arrange(steps: &mut [Step], edges: &Edges) -> Vec<Unit> {
    spread(steps, edges);
    block(steps, edges);
    let waves = match waves(steps, edges) {
        Some(waves) => waves,
        None => {
            together(steps, edges);
            block(steps, edges);
            // All in one: always right, and the most is built.
            active(steps).into_iter().map(|name| (name, 0)).collect()
        }
    };
    let units = components(steps, edges, &waves);
    for (number, unit) in units.iter().enumerate() {
        for step in steps.iter_mut().filter(|step| unit.contains(&step.name)) {
            step.unit = Some(number);
        }
    }
    units
}

/// Objects that are built or changed in place.
fn active(steps: &[Step]) -> BTreeSet<TableName> {
    let is_active = |step: &&Step| step.class.is_built() || step.class.is_in_place();
    steps.iter().filter(is_active).map(|step| step.name.clone()).collect()
}

fn class(steps: &[Step], name: &TableName) -> Option<Class> {
    steps.iter().find(|step| step.name == *name).map(|step| step.class)
}

/// Whether the live object is dropped for a new one.
fn is_swapped(step: &Step) -> bool {
    matches!(step.class, Class::Replace | Class::Rebuild)
}

/// Follows live readers of what is swapped, until nothing more is added.
fn spread(steps: &mut [Step], edges: &Edges) {
    loop {
        let swapped: BTreeSet<_> =
            steps.iter().filter(|step| is_swapped(step)).map(|step| step.name.clone()).collect();
        let mut has_changed = false;
        for step in steps.iter_mut() {
            let reads = edges.live.get(&step.name);
            let Some(read) = reads.into_iter().flatten().find(|read| swapped.contains(*read)) else {
                continue;
            };
            has_changed |= carry(step, read);
        }
        if !has_changed {
            return;
        }
    }
}

/// What happens to an object when one that it reads is swapped; whether that is new.
fn carry(step: &mut Step, read: &TableName) -> bool {
    let is_passive = step.class < Class::Repoint;
    if !is_passive {
        return false;
    }
    let keeps = match (&step.want, &step.live) {
        (Some(want), Some(live)) => want.keeps_columns_of(live),
        _ => false,
    };
    (step.class, step.cause) = match step.kind {
        ObjectKind::Matview => (Class::Rebuild, format!("reads {read}, which is replaced")),
        ObjectKind::View if !keeps => (Class::Rebuild, format!("reads {read}, which loses what it shows")),
        ObjectKind::View | ObjectKind::Function => {
            (Class::Repoint, format!("reads {read}, which is replaced"))
        }
    };
    true
}

/// What hangs on a view, how to take it off before an apply, and how to hang it up again.
fn remedy((what, statements): (&String, &String)) -> String {
    let (drop, make) = statements.split_once('\n').unwrap_or((statements, ""));
    let make = make.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{what}: before the apply `{drop}`, after it `{}`", make.trim_end_matches(';'))
}

/// Blocks what something unknown stands on, what would lose what cannot be carried, and what is tied to it.
fn block(steps: &mut [Step], edges: &Edges) {
    for step in steps.iter_mut().filter(|step| is_swapped(step)) {
        let unknown = edges.unknown.get(&step.name).cloned().unwrap_or_default();
        let fixtures: Vec<_> = step.live.iter().flat_map(|live| live.fixtures.iter().map(remedy)).collect();
        if !unknown.is_empty() {
            step.details.extend(unknown);
            step.cause = format!("{}; {IN_NO_FILE}", step.cause);
            step.class = Class::Blocked;
        } else if !fixtures.is_empty() {
            step.details.extend(fixtures);
            step.cause = format!("{}; {WOULD_BE_LOST}", step.cause);
            step.class = Class::Blocked;
        }
    }
    loop {
        let stuck: BTreeSet<_> =
            steps.iter().filter(|step| step.class.needs_a_person()).map(|step| step.name.clone()).collect();
        let swapped: BTreeSet<_> =
            steps.iter().filter(|step| is_swapped(step)).map(|step| step.name.clone()).collect();
        let mut newly = Vec::new();
        for step in steps.iter() {
            let works = step.class.is_built() || step.class.is_in_place();
            let reads_stuck = edges.reads.get(&step.name).into_iter().flatten().find(|read| {
                // What reads a stuck one that is there can go on with it as it is.
                stuck.contains(*read)
                    && (class(steps, read) != Some(Class::Drift) || step.class == Class::Repoint)
            });
            if let Some(read) = reads_stuck.filter(|_| works) {
                newly.push((step.name.clone(), format!("{}; but it reads {read}, which waits", step.cause)));
            }
            if stuck.contains(&step.name) {
                let below =
                    edges.live.get(&step.name).into_iter().flatten().filter(|read| swapped.contains(*read));
                newly.extend(below.map(|read| {
                    (
                        read.clone(),
                        format!("its definition differs; but {} stands on it, which waits", step.name),
                    )
                }));
            }
        }
        if newly.is_empty() {
            return;
        }
        for (name, cause) in newly {
            for step in steps.iter_mut().filter(|step| step.name == name) {
                (step.class, step.cause) = (Class::Blocked, cause.clone());
            }
        }
    }
}

/// The wave of each: a view that is changed in place comes a wave before what is built from it. None if
/// what has to change together would fall apart.
fn waves(steps: &[Step], edges: &Edges) -> Option<BTreeMap<TableName, usize>> {
    let names = active(steps);
    let mut waves: BTreeMap<TableName, usize> = BTreeMap::new();
    for name in order::sorted(&names, &edges.reads) {
        let is_built = class(steps, &name).is_some_and(Class::is_built);
        let of = |read: &TableName| {
            let after = usize::from(is_built && class(steps, read).is_some_and(Class::is_in_place));
            waves.get(read).map(|wave| wave + after)
        };
        let wave = edges.reads.get(&name).into_iter().flatten().filter_map(of).max().unwrap_or(0);
        waves.insert(name, wave);
    }
    // Whoever reads a live one that goes away has to have changed by then.
    let swapped: BTreeSet<_> = steps.iter().filter(|step| is_swapped(step)).map(|step| &step.name).collect();
    let holds = names.iter().all(|name| {
        let read = edges.live.get(name).into_iter().flatten().filter(|read| swapped.contains(read));
        read.into_iter().all(|read| waves[name] <= waves[read])
    });
    holds.then_some(waves)
}

/// Builds also the views between what is built, so that all can change places at once.
fn together(steps: &mut [Step], edges: &Edges) {
    loop {
        let built: BTreeSet<_> =
            steps.iter().filter(|step| step.class.is_built()).map(|step| step.name.clone()).collect();
        let read: BTreeSet<_> =
            built.iter().flat_map(|name| edges.reads.get(name)).flatten().cloned().collect();
        let mut has_changed = false;
        for step in steps.iter_mut().filter(|step| step.class.is_in_place() && read.contains(&step.name)) {
            if step.kind == ObjectKind::Function {
                (step.class, step.cause) = (
                    Class::Blocked,
                    format!("{}; but what reads it changes at the same time: apply in two steps", step.cause),
                );
            } else {
                (step.class, step.cause) =
                    (Class::Rebuild, format!("{}; what reads it is built too", step.cause));
            }
            has_changed = true;
        }
        spread(steps, edges);
        if !has_changed {
            return;
        }
    }
}

/// Cuts each wave into what hangs together.
fn components(steps: &[Step], edges: &Edges, waves: &BTreeMap<TableName, usize>) -> Vec<Unit> {
    let names: BTreeSet<_> = active(steps).into_iter().filter(|name| waves.contains_key(name)).collect();
    let mut group: BTreeMap<TableName, TableName> =
        names.iter().map(|name| (name.clone(), name.clone())).collect();
    let pairs = [&edges.reads, &edges.live]
        .into_iter()
        .flatten()
        .flat_map(|(one, reads)| reads.iter().map(move |read| (one, read)));
    for (one, other) in pairs {
        let same = names.contains(one) && names.contains(other) && waves[one] == waves[other];
        if same && group[one] != group[other] {
            let (keep, gone) = (group[one].clone(), group[other].clone());
            group.values_mut().filter(|of| **of == gone).for_each(|of| *of = keep.clone());
        }
    }
    let order = order::sorted(&names, &edges.reads);
    let mut units: Vec<(usize, TableName, Unit)> = Vec::new();
    for name in order {
        match units.iter_mut().find(|(_, of, _)| *of == group[&name]) {
            Some((_, _, unit)) => unit.push(name),
            None => units.push((waves[&name], group[&name].clone(), vec![name])),
        }
    }
    // Stable: within a wave the order of what reads what stays.
    units.sort_by_key(|(wave, ..)| *wave);
    units.into_iter().map(|(_, _, unit)| unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn step(text: &str, kind: ObjectKind, class: Class) -> Step {
        Step {
            name: name(text),
            kind,
            class,
            cause: String::new(),
            details: Vec::new(),
            file: None,
            live: None,
            want: None,
            changes: Vec::new(),
            sqlstate: None,
            unit: None,
        }
    }

    fn edges(pairs: &[(&str, &str)]) -> Edges {
        let mut edges = Edges::default();
        for (reader, read) in pairs {
            edges.reads.entry(name(reader)).or_default().insert(name(read));
            edges.live.entry(name(reader)).or_default().insert(name(read));
        }
        edges
    }

    fn shown(units: &[Unit]) -> String {
        let one = |unit: &Unit| unit.iter().map(|name| name.table.clone()).collect::<Vec<_>>().join("+");
        units.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_reads_a_replaced_view_directly_changes_with_it() {
        let mut steps = [
            step("a", ObjectKind::Matview, Class::Replace),
            step("b", ObjectKind::Matview, Class::Unchanged),
            step("c", ObjectKind::Matview, Class::Unchanged),
        ];
        let units = arrange(&mut steps, &edges(&[("b", "a"), ("c", "b")]));
        assert_eq!(shown(&units), "a+b+c");
        assert_eq!(steps[2].class, Class::Rebuild);
    }

    #[test]
    fn a_view_in_place_parts_what_is_built_below_from_what_is_built_above() {
        let mut steps = [
            step("a", ObjectKind::Matview, Class::Replace),
            step("v", ObjectKind::View, Class::InPlace),
            step("x", ObjectKind::Matview, Class::New),
        ];
        assert_eq!(shown(&arrange(&mut steps, &edges(&[("v", "a"), ("x", "v")]))), "a+v x");
    }

    #[test]
    fn a_diamond_through_a_view_is_built_as_a_whole() {
        let mut steps = [
            step("a", ObjectKind::Matview, Class::Replace),
            step("v", ObjectKind::View, Class::InPlace),
            step("x", ObjectKind::Matview, Class::Unchanged),
        ];
        assert_eq!(shown(&arrange(&mut steps, &edges(&[("v", "a"), ("x", "v"), ("x", "a")]))), "a+v+x");
        assert_eq!(steps[1].class, Class::Rebuild);
    }

    #[test]
    fn what_is_in_no_file_blocks_all_that_is_tied_to_it() {
        let mut steps = [
            step("a", ObjectKind::Matview, Class::Replace),
            step("b", ObjectKind::Matview, Class::Unchanged),
            step("z", ObjectKind::View, Class::New),
        ];
        let mut edges = edges(&[("b", "a")]);
        edges.unknown.insert(name("b"), vec!["view theirs".to_owned()]);
        assert_eq!(shown(&arrange(&mut steps, &edges)), "z");
        assert_eq!((steps[0].class, steps[1].class), (Class::Blocked, Class::Blocked));
    }
}
