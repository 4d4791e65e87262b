//! The plan for views as text and as JSON: each object with the cause, the lock, the room and the time.

use std::time::Duration;

use serde_json::{Value, json};

use super::number::{bytes, counted, duration};
use super::paint::{Palette, Tone, escaped};
use crate::views::diff::{Class, Step};
use crate::views::shown;
use crate::views::survey::{Plan, STANDS_ON_IT};
use crate::views::units::{IN_NO_FILE, WOULD_BE_LOST};

/// Draws the plan; unchanged objects are counted, or listed if `verbose`.
#[must_use]
pub fn text(plan: &Plan, (place, files): (&str, &str), verbose: bool, palette: Palette) -> String {
    let mut text = format!("views of {}  {}\n\n", escaped(place), escaped(files));
    let shown: Vec<&Step> =
        ordered(plan).into_iter().filter(|step| verbose || step.class != Class::Unchanged).collect();
    let width = shown.iter().map(|step| step.name.to_string().chars().count()).max().unwrap_or(0).min(40);
    for step in &shown {
        let word = palette.paint(tone(step.class), &format!("{:<10}", step.class.word()));
        let name = format!("{:<width$}", escaped(&step.name.to_string()));
        text.push_str(format!("  {word}  {name}  {}", escaped(&step.cause)).trim_end());
        text.push('\n');
        for line in costs(step, plan).into_iter().chain(step.details.iter().cloned()) {
            text.push_str(&format!("              {}\n", escaped(&line)));
        }
    }
    if !shown.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{}\n", summary(plan)));
    for hint in hints(plan) {
        text.push_str(&format!("{} {hint}\n", palette.paint(Tone::Good, "hint:")));
    }
    text
}

/// Units in their order, then what needs nothing built.
fn ordered(plan: &Plan) -> Vec<&Step> {
    let mut steps: Vec<&Step> = plan.steps.iter().collect();
    let place = |step: &Step| {
        let within = step.unit.and_then(|unit| plan.units[unit].iter().position(|name| *name == step.name));
        (step.class.needs_a_person(), step.unit.map_or(0, |unit| unit + 1), within)
    };
    steps.sort_by_key(|step| place(step));
    steps
}

fn tone(class: Class) -> Tone {
    match class {
        Class::Failed | Class::Blocked => Tone::Bad,
        Class::Drift | Class::Orphan | Class::Drop => Tone::Warn,
        Class::Unchanged => Tone::Plain,
        _ => Tone::Good,
    }
}

/// Lock, room and time of a step that is dear.
fn costs(step: &Step, plan: &Plan) -> Vec<String> {
    let is_swap = matches!(step.class, Class::Replace | Class::Rebuild);
    let mut line = Vec::new();
    if is_swap || step.class == Class::Drop {
        line.push(format!("lock: {}", step.class.lock()));
    }
    if let Some(live) = step.live.as_ref().filter(|live| is_swap && live.bytes > 0) {
        line.push(format!("room: about {}", bytes(live.bytes)));
    }
    if let Some(ms) = plan.build_ms.get(&step.name.to_string()).filter(|_| step.class.is_built()) {
        line.push(format!("time: {} last", duration(Duration::from_millis(ms.unsigned_abs()))));
    }
    if line.is_empty() { Vec::new() } else { vec![line.join("  ")] }
}

/// `2 to replace, 1 new, 9 unchanged`.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let mut classes: Vec<Class> = plan.steps.iter().map(|step| step.class).collect();
    classes.sort_unstable_by(|one, other| other.cmp(one));
    classes.dedup();
    let count = |class: Class| plan.of(|other| other == class).count();
    if classes.is_empty() {
        return "no files and no views that came from files".to_owned();
    }
    classes
        .into_iter()
        .map(|class| format!("{} {}", count(class), class.word()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn hints(plan: &Plan) -> Vec<String> {
    let first =
        |class: Class| plan.of(|other| other == class).next().map(|step| escaped(&step.name.to_string()));
    let mut hints = Vec::new();
    if let Some(name) = first(Class::Orphan) {
        hints.push(format!("pgtide views drop {name}, or views apply --prune, drops it; views drop --forget {name} leaves it to others"));
    }
    if let Some(name) = first(Class::Drift) {
        hints.push(format!(
            "pgtide views apply --revert {name} applies the file over it; --accept {name} keeps what is live"
        ));
    }
    let is_blocked =
        |why: &str| plan.of(|class| class == Class::Blocked).any(|step| step.cause.contains(why));
    if is_blocked(IN_NO_FILE) || is_blocked(STANDS_ON_IT) {
        hints.push(
            "pgtide views adopt NAME takes a view into the files; then apply looks after it too".to_owned(),
        );
    }
    if is_blocked(WOULD_BE_LOST) {
        hints.push(
            "run the statements above in psql, the first one before views apply and the other after it; nothing is dropped unasked"
                .to_owned(),
        );
    }
    hints
}

/// A line for the outcome of an apply.
#[must_use]
pub fn outcome(done: usize, failed: usize) -> String {
    let done = format!("{} applied", counted(done as u64, "object"));
    if failed == 0 { done } else { format!("{done}, {failed} failed; what was there before stands") }
}

/// An object for each step.
#[must_use]
pub fn json(plan: &Plan) -> Vec<Value> {
    ordered(plan).into_iter().map(|step| object(step, plan)).collect()
}

fn object(step: &Step, plan: &Plan) -> Value {
    let sql: Vec<&String> = step.changes.iter().flat_map(|change| &change.sql).collect();
    json!({
        "view": step.name.to_string(),
        "kind": step.kind.sql(),
        "class": step.class.word(),
        "cause": step.cause,
        "details": step.details,
        "file": step.file,
        "unit": step.unit,
        "lock": step.class.lock(),
        "bytes": step.live.as_ref().map(|live| live.bytes),
        "last_build_ms": plan.build_ms.get(&step.name.to_string()),
        "changes": step.changes.iter().map(|change| &change.text).collect::<Vec<_>>(),
        "sql": sql,
        "digest": shown::digest(step),
    })
}
