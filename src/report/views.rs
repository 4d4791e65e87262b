//! Views as `views status` and `views refresh --dry-run` show them: a line each, a tree, objects.
//!
//! The columns follow the width: at 80 what is needed to act, at 160 everything. The signs are those of
//! the calendar: `#` fresh, `~` stale, `X` failed, `.` empty, `>` at work, `?` not known.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use console::{measure_text_width, truncate_str};
use serde_json::{Value, json};

use super::number::{bytes, count, duration, grouped};
use super::paint::{Palette, Tone, escaped};
use super::table::Table;
use crate::config::quantity::show_duration;
use crate::error::Error;
use crate::views::graph::{Kind, Node};
use crate::views::options::ViewRules;
use crate::views::outlook::Outlook;
use crate::views::refresh::{Planned, Step};
use crate::views::stale::Freshness;
use crate::views::strategy::Choice;

/// From this width on every column is shown.
const WIDE: usize = 140;

/// A view as it is shown.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    layer: Option<usize>,
    freshness: Freshness,
    reason: String,
    refreshed_at: Option<DateTime<Utc>>,
    data_as_of: Option<DateTime<Utc>>,
    age: Option<Duration>,
    last: Option<Duration>,
    median: Option<Duration>,
    rows: Option<u64>,
    rows_in: Option<i64>,
    rows_out: Option<i64>,
    bytes: u64,
    dead_percent: u64,
    max_age: Option<Duration>,
    next: Option<Choice>,
    index: Option<String>,
    owner: String,
}

impl Line {
    /// Gathers what is known of a view.
    #[must_use]
    pub fn of(outlook: &Outlook, rules: &ViewRules, oid: u32, next: Option<Choice>) -> Self {
        let view = &outlook.catalog.views[&oid];
        let verdict = &outlook.verdicts[&oid];
        let record = outlook.records.get(&oid);
        let refreshed_at = record.and_then(|record| record.refreshed_at);
        Self {
            name: view.name.to_string(),
            layer: outlook.layers.get(&oid).copied(),
            freshness: verdict.freshness,
            reason: verdict.reason.clone(),
            refreshed_at,
            data_as_of: outlook.data_as_of(oid),
            age: refreshed_at.and_then(|at| (outlook.at - at).to_std().ok()),
            last: record.and_then(|record| record.last),
            median: record.and_then(|record| record.median),
            rows: record.and_then(|record| record.rows).map(i64::unsigned_abs).or(view.rows),
            rows_in: record.and_then(|record| record.rows_in),
            rows_out: record.and_then(|record| record.rows_out),
            bytes: view.bytes,
            dead_percent: view.dead_rows * 100 / (view.live_rows + view.dead_rows).max(1),
            max_age: rules.of(&view.name).max_age,
            next,
            index: view.unique_index.clone(),
            owner: view.owner.clone(),
        }
    }

    fn changed(&self) -> String {
        match (self.rows_in, self.rows_out) {
            (Some(rows_in), Some(rows_out)) => {
                format!("+{} -{}", count(rows_in.unsigned_abs()), count(rows_out.unsigned_abs()))
            }
            _ => String::new(),
        }
    }
}

/// The sign of a state, and its colour.
fn sign(freshness: Freshness) -> (&'static str, Tone) {
    match freshness {
        Freshness::Fresh => ("#", Tone::Good),
        Freshness::Stale | Freshness::TimeDependent => ("~", Tone::Warn),
        Freshness::Failed => ("X", Tone::Bad),
        Freshness::Unpopulated => (".", Tone::Warn),
        Freshness::Refreshing => (">", Tone::Busy),
        Freshness::Unknown => ("?", Tone::Warn),
    }
}

/// A line for each view.
#[must_use]
pub fn text(lines: &[Line], columns: usize, palette: Palette) -> String {
    if lines.is_empty() {
        return "no materialized views\n".to_owned();
    }
    let table = if columns >= WIDE { wide(lines, palette) } else { narrow(lines, columns, palette) };
    let mut text = with_reasons(&table, lines, columns);
    let count = |wanted: &[Freshness]| lines.iter().filter(|line| wanted.contains(&line.freshness)).count();
    let parts = [
        (count(&[Freshness::Fresh]), "fresh"),
        (count(&[Freshness::Stale, Freshness::TimeDependent]), "stale"),
        (count(&[Freshness::Unknown]), "unknown"),
        (count(&[Freshness::Unpopulated]), "unpopulated"),
        (count(&[Freshness::Refreshing]), "refreshing"),
        (count(&[Freshness::Failed]), "failed"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    text.push_str(&format!("\n{}\n", parts.join("  ")));
    if lines.iter().any(|line| line.freshness.wants_refresh()) {
        text.push_str("pgtide views refresh\n");
    }
    text
}

/// Puts the reason of each view below its line.
fn with_reasons(table: &str, lines: &[Line], columns: usize) -> String {
    let mut rows = table.lines();
    let mut text = rows.next().map(|heading| format!("{heading}\n")).unwrap_or_default();
    for (row, line) in rows.zip(lines) {
        text.push_str(&format!("{row}\n"));
        if !line.reason.is_empty() {
            let reason = format!("     {}", escaped(&line.reason));
            text.push_str(&format!("{}\n", truncate_str(&reason, columns.saturating_sub(1), "..")));
        }
    }
    text
}

fn wide(lines: &[Line], palette: Palette) -> String {
    let mut table = Table::new([
        "",
        "view",
        "layer",
        "state",
        "refreshed",
        "data as of",
        "age",
        "last",
        "median",
        "rows",
        "change",
        "size",
        "dead",
        "next",
        "index",
    ]);
    for line in lines {
        let (sign, tone) = sign(line.freshness);
        let plain = |text: String| (text, Tone::Plain);
        table.painted_row([
            (sign.to_owned(), tone),
            plain(line.name.clone()),
            plain(line.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string())),
            (line.freshness.word().to_owned(), tone),
            plain(line.refreshed_at.map_or_else(|| "never".to_owned(), minute)),
            plain(line.data_as_of.map(minute).unwrap_or_default()),
            plain(line.age.map(duration).unwrap_or_default()),
            plain(line.last.map(duration).unwrap_or_default()),
            plain(line.median.map(duration).unwrap_or_default()),
            plain(line.rows.map(count).unwrap_or_default()),
            plain(line.changed()),
            plain(bytes(line.bytes)),
            plain(format!("{} %", line.dead_percent)),
            plain(line.next.as_ref().map(|next| next.way.word().to_owned()).unwrap_or_default()),
            plain(line.index.clone().unwrap_or_default()),
        ]);
    }
    table.text(0, palette)
}

fn narrow(lines: &[Line], columns: usize, palette: Palette) -> String {
    let mut table = Table::new(["", "view", "state", "age", "took", "rows", "next"]);
    let width = |text: &str| measure_text_width(&escaped(text));
    let name = lines.iter().map(|line| width(&line.name)).max().unwrap_or(4).min(columns / 3);
    let cut = |text: &str, room: usize| truncate_str(&escaped(text), room, "..").into_owned();
    for line in lines {
        let (sign, tone) = sign(line.freshness);
        let plain = |text: String| (text, Tone::Plain);
        table.painted_row([
            (sign.to_owned(), tone),
            plain(cut(&line.name, name)),
            (line.freshness.word().to_owned(), tone),
            plain(line.age.map_or_else(|| "never".to_owned(), duration)),
            plain(line.last.map(duration).unwrap_or_default()),
            plain(line.rows.map(count).unwrap_or_default()),
            plain(line.next.as_ref().map(|next| next.way.word().to_owned()).unwrap_or_default()),
        ]);
    }
    table.text(0, palette)
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

/// A view as an object.
#[must_use]
pub fn json(line: &Line) -> Value {
    let at = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let ms = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    json!({
        "view": line.name, "layer": line.layer, "state": line.freshness.word(), "reason": line.reason,
        "refreshed_at": at(line.refreshed_at), "data_as_of": at(line.data_as_of), "age_ms": ms(line.age),
        "last_ms": ms(line.last), "median_ms": ms(line.median), "rows": line.rows, "rows_in": line.rows_in,
        "rows_out": line.rows_out, "bytes": line.bytes, "dead_percent": line.dead_percent,
        "max_age": line.max_age.map(show_duration),
        "next": line.next.as_ref().map(|next| next.way.word()),
        "next_why": line.next.as_ref().map(|next| next.why.clone()),
        "index": line.index, "owner": line.owner,
    })
}

/// Each view with all that it reads below it; what was drawn once is named again, not drawn again.
#[must_use]
pub fn tree(outlook: &Outlook, views: &[u32], palette: Palette) -> String {
    let read: BTreeSet<u32> =
        views.iter().filter_map(|v| outlook.upstream.get(v)).flatten().copied().collect();
    let mut roots: Vec<u32> = views.iter().filter(|view| !read.contains(view)).copied().collect();
    if roots.is_empty() {
        roots = views.to_vec();
    }
    let mut tree = Tree { outlook, palette, drawn: BTreeSet::new(), text: String::new() };
    for root in roots {
        tree.node(Node::Relation(root), "", "");
    }
    if tree.text.is_empty() { "no materialized views\n".to_owned() } else { tree.text }
}

struct Tree<'a> {
    outlook: &'a Outlook,
    palette: Palette,
    drawn: BTreeSet<Node>,
    text: String,
}

impl Tree<'_> {
    fn node(&mut self, node: Node, branch: &str, indent: &str) {
        let graph = &self.outlook.catalog.graph;
        let Some(object) = graph.object(node) else { return };
        let name = escaped(&object.name.to_string());
        let verdict = self.outlook.verdicts.get(&node.oid()).filter(|_| object.kind == Kind::Materialized);
        let again = !self.drawn.insert(node);
        let label = match verdict {
            Some(verdict) => {
                let (sign, tone) = sign(verdict.freshness);
                let sign = self.palette.paint(tone, sign);
                let state = self.palette.paint(tone, verdict.freshness.word());
                let reason = if again { String::new() } else { format!("  {}", escaped(&verdict.reason)) };
                format!("{sign} {name}  {state}{reason}")
            }
            None => format!("{name}  {}", self.palette.paint(Tone::Faint, object.kind.word())),
        };
        let seen = if again && graph.direct(node).next().is_some() { "  (above)" } else { "" };
        self.text.push_str(&format!("{branch}{}{seen}\n", label.trim_end()));
        if again {
            return;
        }
        let below: Vec<Node> = graph.direct(node).collect();
        for (number, child) in below.iter().enumerate() {
            let is_last = number + 1 == below.len();
            let (here, next) = if is_last { ("`- ", "   ") } else { ("|- ", "|  ") };
            self.node(*child, &format!("{indent}{here}"), &format!("{indent}{next}"));
        }
    }
}

/// A planned view, and the way in which it would be refreshed.
pub type PlanLine = (Planned, Option<Result<Choice, Error>>);

/// What a refresh would do, in its order.
#[must_use]
pub fn plan_text(lines: &[PlanLine], palette: Palette) -> String {
    let mut table = Table::new(["", "view", "way", "about", "why"]);
    let (mut wanted, mut left) = (0_u64, 0_u64);
    for (view, choice) in lines {
        let (sign, tone, why) = match (&view.step, choice) {
            (Step::Refresh, Some(Err(error))) => ("X", Tone::Bad, error.chain()),
            (Step::Refresh, Some(Ok(choice))) => {
                ("~", Tone::Warn, format!("{}; {}", view.reason, choice.why))
            }
            (Step::Refuse, _) => ("X", Tone::Bad, view.reason.clone()),
            (Step::Leave, _) => ("-", Tone::Faint, view.reason.clone()),
            _ => {
                left += 1;
                continue;
            }
        };
        wanted += u64::from(view.step == Step::Refresh);
        let way = choice.as_ref().and_then(|c| c.as_ref().ok()).map(|c| c.way.word()).unwrap_or_default();
        let about = view.estimate.map(duration).unwrap_or_default();
        let plain = |text: String| (text, Tone::Plain);
        table.painted_row([
            (sign.to_owned(), tone),
            plain(view.name.to_string()),
            plain(way.to_owned()),
            plain(about),
            plain(why),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.text(0, palette) };
    text.push_str(&format!("{} to refresh, {} fresh; nothing was changed\n", grouped(wanted), grouped(left)));
    text
}

/// A planned view as an object.
#[must_use]
pub fn plan_json((view, choice): &PlanLine) -> Value {
    let step = match view.step {
        Step::Refresh => "refresh",
        Step::Fresh => "fresh",
        Step::Leave => "leave",
        Step::Refuse => "refuse",
    };
    let good = choice.as_ref().and_then(|choice| choice.as_ref().ok());
    let error = choice.as_ref().and_then(|choice| choice.as_ref().err());
    json!({
        "view": view.name.to_string(), "step": step, "reason": view.reason,
        "mode": good.map(|choice| choice.way.word()), "why": good.map(|choice| choice.why.clone()),
        "warning": good.and_then(|choice| choice.warning.clone()), "error": error.map(Error::chain),
        "estimated_ms": view.estimate.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    })
}
