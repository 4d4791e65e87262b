//! How a refresh of views is told: a line for each, bars with an estimate, objects, the last words.

use std::time::Duration;

use console::measure_text_width;
use serde_json::{Value, json};

use super::board::Moment;
use super::error::block;
use super::number::{counted, duration, grouped};
use super::paint::{Palette, Tone, escaped};
use super::phrase;
use crate::event::{Event, Failure, ViewRefreshed, ViewsSummary};

/// A bar longer than this tells nothing more.
const WIDEST_BAR: usize = 30;

/// A view that is being refreshed.
#[derive(Debug, Clone)]
pub(super) struct AtWork {
    view: String,
    mode: &'static str,
    since: Duration,
    estimate: Option<Duration>,
}

/// Counts an event of views among those at work.
pub(super) fn apply(at_work: &mut Vec<AtWork>, event: &Event, at: Duration) {
    match event {
        Event::ViewStarted { view, mode, estimate, .. } => {
            at_work.retain(|other| other.view != *view);
            // Of a moment there is nothing to estimate.
            let estimate = estimate.filter(|time| *time >= Duration::from_secs(1));
            at_work.push(AtWork { view: view.clone(), mode, since: at, estimate });
        }
        Event::ViewRefreshed(ViewRefreshed { view, .. }) | Event::ViewRetrying { view, .. } => {
            at_work.retain(|other| other.view != *view);
        }
        Event::ViewsFinished(_) => at_work.clear(),
        _ => {}
    }
}

/// A line for each view at work: its bar follows the time that it took before.
pub(super) fn frame(at_work: &[AtWork], moment: &Moment, columns: usize, palette: Palette) -> Vec<String> {
    let width = at_work.iter().map(|one| measure_text_width(&escaped(&one.view))).max().unwrap_or(0);
    let room = columns.saturating_sub(width + 46).min(WIDEST_BAR);
    at_work.iter().map(|one| one.line(width, room, moment, palette)).collect()
}

impl AtWork {
    fn line(&self, width: usize, room: usize, moment: &Moment, palette: Palette) -> String {
        let taken = moment.at.saturating_sub(self.since);
        let name = escaped(&self.view);
        let pad = " ".repeat(width.saturating_sub(measure_text_width(&name)));
        let part = self.estimate.map(|all| taken.as_secs_f64() / all.as_secs_f64().max(0.001));
        let bar = if room < 8 { String::new() } else { bar(room, part, palette) };
        let left = self.estimate.map(|all| match all.checked_sub(taken) {
            Some(left) => format!("about {} left", phrase::whole(left)),
            None => format!("took {} before", phrase::whole(all)),
        });
        let time = phrase::whole(taken);
        let parts = [&*format!("  {name}{pad}"), &bar, self.mode, &time, left.as_deref().unwrap_or_default()];
        phrase::columns(parts)
    }
}

fn bar(width: usize, part: Option<f64>, palette: Palette) -> String {
    // What takes longer than ever before is not done before it says so.
    let filled = (part.unwrap_or(0.0).clamp(0.0, 0.97) * width as f64) as usize;
    let rest = palette.paint(Tone::Faint, &"-".repeat(width - filled));
    format!("{}{rest}", palette.paint(Tone::Busy, &"#".repeat(filled)))
}

/// The line that an event leaves; empty for most.
pub(super) fn line(event: &Event, palette: Palette, verbose: bool) -> String {
    match event {
        Event::ViewsStarted { views, fresh, jobs } if *views > 0 => {
            let fresh = if *fresh > 0 { format!("{} fresh", grouped(*fresh as u64)) } else { String::new() };
            let at_once = if *jobs > 1 { format!("{jobs} at once") } else { String::new() };
            let stale = format!("{} to refresh", counted(*views as u64, "view"));
            phrase::columns([&*palette.paint(Tone::Strong, &stale), &fresh, &at_once])
        }
        Event::ViewStarted { view, mode, why, estimate, .. } if verbose => {
            let time = estimate.map(|time| format!("about {}", duration(time)));
            let sign = palette.paint(Tone::Busy, ">");
            let name = format!("{sign} view {}", escaped(view));
            phrase::columns([
                &*name,
                &format!("{mode}: {}", escaped(why)),
                time.as_deref().unwrap_or_default(),
            ])
        }
        Event::ViewRetrying { view, failure, wait } => {
            let sign = palette.paint(Tone::Warn, "~");
            let what = phrase::message(failure);
            let next = format!("next try in {}", duration(*wait));
            phrase::columns([&*format!("{sign} view {}", escaped(view)), &next, &what])
        }
        Event::ViewSkipped { view, reason } => {
            let sign = palette.paint(Tone::Faint, "-");
            format!("{sign} view {}  left alone: {}", escaped(view), escaped(reason))
        }
        Event::ViewRefreshed(view) => refreshed(view, palette),
        _ => String::new(),
    }
}

/// `# view mart.sales  refreshed in 1.2 s  concurrent  +9 -8 rows  stale: src.orders: 3 loads since`.
fn refreshed(view: &ViewRefreshed, palette: Palette) -> String {
    let name = escaped(&view.view);
    if let Some(error) = &view.error {
        return format!("{} view {name}  not refreshed: {}", palette.paint(Tone::Bad, "x"), escaped(error));
    }
    let rows = match (view.mode, view.changed) {
        (Some("concurrent"), Some((0, 0))) => "nothing changed".to_owned(),
        (Some("concurrent"), Some((rows_in, rows_out))) => {
            format!("+{} -{} rows", grouped(rows_in), grouped(rows_out))
        }
        (_, Some((rows_in, _))) => counted(rows_in, "row"),
        (_, None) => String::new(),
    };
    let first = format!("{} view {name}", palette.paint(Tone::Good, "#"));
    let time = format!("refreshed in {}", duration(view.elapsed));
    phrase::columns([&*first, &time, view.mode.unwrap_or_default(), &rows, &escaped(&view.reason)])
}

/// The last words of a refresh.
pub(super) fn summary(run: &ViewsSummary, palette: Palette) -> String {
    let (word, tone) = match () {
        () if run.interrupted => ("stopped", Tone::Warn),
        () if !run.failed.is_empty() => ("failed", Tone::Bad),
        () if run.not_started > 0 => ("not done", Tone::Warn),
        () if run.refreshed == 0 => ("nothing to do", Tone::Good),
        () => ("done", Tone::Good),
    };
    let part = |number: usize, word: &str| (number > 0).then(|| format!("{} {word}", grouped(number as u64)));
    let parts = [
        part(run.refreshed, "refreshed"),
        part(run.failed.len(), "failed"),
        part(run.left.len(), "left alone"),
        part(run.not_started, "not done"),
        part(run.fresh, "fresh"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let counts = if parts.is_empty() { "no views".to_owned() } else { parts.join(", ") };
    let mut text = format!("{}  views: {counts}", palette.paint(tone, word));
    if run.refreshed + run.failed.len() > 0 {
        text.push_str(&format!("  in {}", duration(run.elapsed)));
    }
    for (view, failure) in &run.failed {
        text.push_str(&format!(
            "\n\n{} {}  {}",
            palette.paint(Tone::Bad, "x"),
            escaped(view),
            phrase::message(failure)
        ));
        text.push('\n');
        text.push_str(block(&failure.details, failure.hint.as_deref(), palette).trim_end());
    }
    if let Some(command) = &run.retry_command {
        let word = if run.failed.is_empty() { "go on with:" } else { "try again:" };
        let again = palette.paint(Tone::Strong, word);
        text = format!("{}\n\n{again} {}", text.trim_end(), escaped(command));
    }
    text
}

/// The name and the fields of an event's object, if it is one of views.
pub(super) fn object(event: &Event, failure: impl Fn(&Failure) -> Value) -> Option<(&'static str, Value)> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(match event {
        Event::ViewsStarted { views, fresh, jobs } => {
            ("views_started", json!({ "views": views, "fresh": fresh, "parallel": jobs }))
        }
        Event::ViewStarted { view, mode, why, attempt, estimate } => {
            let estimate = estimate.map(millis);
            let fields = json!({ "view": view, "mode": mode, "why": why, "attempt": attempt,
                "estimated_ms": estimate });
            ("view_started", fields)
        }
        Event::ViewRetrying { view, failure: cause, wait } => {
            let fields = json!({ "view": view, "wait_ms": millis(*wait), "failure": failure(cause) });
            ("view_retrying", fields)
        }
        Event::ViewSkipped { view, reason } => ("view_skipped", json!({ "view": view, "reason": reason })),
        Event::ViewRefreshed(view) => {
            let (rows_in, rows_out) = view.changed.unzip();
            let fields = json!({ "view": view.view, "elapsed_ms": millis(view.elapsed), "error": view.error,
                "mode": view.mode, "reason": view.reason, "rows_in": rows_in, "rows_out": rows_out });
            ("view_refreshed", fields)
        }
        Event::ViewsFinished(run) => {
            let failed: Vec<_> = run
                .failed
                .iter()
                .map(|(view, cause)| json!({ "view": view, "failure": failure(cause) }))
                .collect();
            let left: Vec<_> =
                run.left.iter().map(|(view, reason)| json!({ "view": view, "reason": reason })).collect();
            let fields = json!({ "refreshed": run.refreshed, "fresh": run.fresh, "left": left,
                "failed": failed, "not_started": run.not_started, "elapsed_ms": millis(run.elapsed),
                "interrupted": run.interrupted, "retry_command": run.retry_command });
            ("views_finished", fields)
        }
        _ => return None,
    })
}
