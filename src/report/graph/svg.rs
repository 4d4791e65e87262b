//! The graph as an SVG that stands alone: columns from sources to the last views, arrows as curves.
//!
//! A simple layered layout: boxes of a column are ordered by the middle of what they are joined with,
//! a few times in both directions. Colours follow the browser's light or dark scheme.

use std::fmt::Write as _;

use super::{Boxed, Picture, xml};
use crate::views::graph::Kind;

const ROW: f64 = 44.0;
const HEIGHT: f64 = 28.0;
const GAP: f64 = 70.0;
const MARGIN: f64 = 24.0;
/// The width of a character, as wide as it may get in a sans-serif face of 13 pixels.
const CHARACTER: f64 = 7.4;
/// How often the boxes are put in order again.
const SWEEPS: usize = 8;

const STYLE: &str = "<style>
  text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2937 }
  rect { fill: #f8fafc; stroke: #64748b; stroke-width: 1.2 }
  .materialized { fill: #dbeafe; stroke: #2563eb }
  .stale { stroke: #b45309; stroke-dasharray: 5 3; stroke-width: 2 }
  .view { fill: #ffffff; stroke-dasharray: 1 2 }
  .arrow { fill: none; stroke: #94a3b8; stroke-width: 1.4 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0f172a } text { fill: #e2e8f0 } rect { fill: #1e293b } .view { fill: #0f172a }
    .materialized { fill: #1e3a8a; stroke: #60a5fa } .stale { stroke: #f59e0b }
  }
</style>
<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#94a3b8\"/></marker></defs>
";

/// Where a box is.
#[derive(Debug, Clone, Copy, Default)]
struct Spot {
    x: f64,
    y: f64,
    width: f64,
}

pub(super) fn draw(picture: &Picture) -> String {
    let spots = layout(picture);
    let width = spots.iter().map(|spot| spot.x + spot.width).fold(0.0, f64::max) + MARGIN;
    let height = spots.iter().map(|spot| spot.y + HEIGHT).fold(0.0, f64::max) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>What the views read</title>\n{STYLE}"
    );
    for (from, to) in &picture.arrows {
        svg.push_str(&arrow(spots[*from], spots[*to]));
    }
    for (one, spot) in picture.boxes.iter().zip(&spots) {
        svg.push_str(&draw_box(one, *spot));
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_box(one: &Boxed, spot: Spot) -> String {
    let class = match one.kind {
        Kind::Materialized if one.is_stale() => "materialized stale",
        Kind::Materialized => "materialized",
        Kind::View => "view",
        _ => "source",
    };
    let state = one.freshness.map_or(one.kind.word(), crate::views::stale::Freshness::word);
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", xml(&one.reason)) };
    let (x, y) = (spot.x, spot.y);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "<g><title>{} ({state}{reason})</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
         height=\"{HEIGHT}\" rx=\"5\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
        xml(&one.name),
        spot.width,
        x + 10.0,
        y + 18.5,
        xml(&one.name)
    );
    text
}

fn arrow(from: Spot, to: Spot) -> String {
    let (x1, y1, x2, y2) = (from.x + from.width, from.y + HEIGHT / 2.0, to.x, to.y + HEIGHT / 2.0);
    let bend = ((x2 - x1).abs() / 2.0).max(24.0);
    format!(
        "<path class=\"arrow\" marker-end=\"url(#tip)\" d=\"M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}\"/>\n",
        x1 + bend,
        x2 - bend
    )
}

fn layout(picture: &Picture) -> Vec<Spot> {
    let last = picture.boxes.iter().map(|one| one.column).max().unwrap_or(0);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    for (number, one) in picture.boxes.iter().enumerate() {
        columns[one.column].push(number);
    }
    let mut rank = vec![0.0; picture.boxes.len()];
    place(&columns, &mut rank);
    for sweep in 0..SWEEPS {
        let to_right = sweep % 2 == 0;
        let order: Vec<usize> = if to_right { (0..=last).collect() } else { (0..=last).rev().collect() };
        for column in order {
            let middle = |box_number: usize| {
                let joined: Vec<f64> = picture
                    .arrows
                    .iter()
                    .filter_map(|(from, to)| match to_right {
                        true => (*to == box_number).then(|| rank[*from]),
                        false => (*from == box_number).then(|| rank[*to]),
                    })
                    .collect();
                match joined.len() {
                    0 => rank[box_number],
                    n => joined.iter().sum::<f64>() / n as f64,
                }
            };
            let mut keyed: Vec<(f64, usize)> = columns[column].iter().map(|n| (middle(*n), *n)).collect();
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            columns[column] = keyed.into_iter().map(|(_, number)| number).collect();
            place(&columns[column..=column], &mut rank);
        }
    }
    spots(picture, &columns, &rank)
}

/// Gives each box of a column its row, the column's middle at 0.
fn place(columns: &[Vec<usize>], rank: &mut [f64]) {
    for column in columns {
        let half = column.len().saturating_sub(1) as f64 / 2.0;
        for (row, number) in column.iter().enumerate() {
            rank[*number] = row as f64 - half;
        }
    }
}

fn spots(picture: &Picture, columns: &[Vec<usize>], rank: &[f64]) -> Vec<Spot> {
    let top = rank.iter().copied().fold(0.0, f64::min);
    let mut spots = vec![Spot::default(); picture.boxes.len()];
    let mut x = MARGIN;
    for column in columns {
        let width = |number: &usize| {
            console::measure_text_width(&picture.boxes[*number].name) as f64 * CHARACTER + 20.0
        };
        let widest = column.iter().map(width).fold(0.0, f64::max);
        for number in column {
            spots[*number] = Spot { x, y: MARGIN + (rank[*number] - top) * ROW, width: widest };
        }
        x += widest + GAP;
    }
    spots
}
