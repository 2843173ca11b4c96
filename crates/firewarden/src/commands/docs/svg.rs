//! The picture of a stack as SVG 1.1, readable on light and dark ground, without scripts and fonts of its own.

use super::TITLE;
use firewarden_diagnostic::render::text::html;
use firewarden_verify::intent::Expectation;
use firewarden_verify::matrix::{Drawn, EdgeKind, Node, NodeKind, Topology, layout};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The width of a character of the names, and of what is below them.
const NAME_WIDTH: f64 = 8.4;
const LINE_WIDTH: f64 = 6.7;
const LINE_HEIGHT: f64 = 15.0;
/// The most lines below a name.
const MOST_LINES: usize = 6;
/// The room between columns without labels.
const ROOM: f64 = 60.0;
const MARGIN: f64 = 20.0;
/// The room for the legend.
const LEGEND: f64 = 40.0;

const STYLE: &str = "
  .fw-bg { fill: #ffffff; } .fw-host { fill: #f3f6fa; stroke: #44546a; } .fw-link { fill: #fff7e0; stroke: #a07a1f; }
  .fw-party { fill: #eef7ee; stroke: #3d7a46; } .fw-name { fill: #1b2430; font: 600 14px ui-monospace, monospace; }
  .fw-line { fill: #46536a; font: 11px ui-monospace, monospace; } .fw-edge { fill: none; stroke-width: 1.6; }
  .fw-wire { stroke: #b3bcc9; stroke-width: 1.4; } .fw-allow { stroke: #1f6feb; } .fw-only { stroke: #1f6feb; stroke-width: 3; }
  .fw-deny { stroke: #c62828; stroke-dasharray: 6 4; } .fw-label { font: 11px ui-monospace, monospace; fill: #1b2430;
    stroke: #ffffff; stroke-width: 4; paint-order: stroke; } .fw-head-allow { fill: #1f6feb; } .fw-head-deny { stroke: #c62828; }
  @media (prefers-color-scheme: dark) {
    .fw-bg { fill: #10151c; } .fw-host { fill: #1c2531; stroke: #8fa3bf; } .fw-link { fill: #2d2714; stroke: #d1a94a; }
    .fw-party { fill: #16281a; stroke: #7fbf8a; } .fw-name { fill: #e8edf4; } .fw-line { fill: #aab6c8; }
    .fw-wire { stroke: #4b5768; } .fw-allow { stroke: #6cb0ff; } .fw-only { stroke: #6cb0ff; } .fw-deny { stroke: #ff7b72; }
    .fw-label { fill: #e8edf4; stroke: #10151c; } .fw-head-allow { fill: #6cb0ff; } .fw-head-deny { stroke: #ff7b72; }
  }
";

/// Draws a topology.
pub fn svg(topology: &Topology) -> String {
    let heights: Vec<f64> =
        topology.nodes.iter().map(|node| 34.0 + LINE_HEIGHT * lines(node).len() as f64).collect();
    let drawn = layout(topology, &heights);
    let columns = Columns::of(topology, &drawn);
    let (width, height) = (columns.width.max(420.0), drawn.height + 2.0 * MARGIN + LEGEND);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>{TITLE}</title>\n<style>{STYLE}</style>\n<defs>\n\
         <marker id=\"fw-arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"9\" markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"fw-head-allow\" d=\"M0 0 L8 4 L0 8 z\"/></marker>\n\
         <marker id=\"fw-cross\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"10\" markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"fw-head-deny\" d=\"M1 1 L7 7 M7 1 L1 7\" stroke-width=\"1.6\"/></marker>\n\
         </defs>\n<rect class=\"fw-bg\" width=\"100%\" height=\"100%\"/>\n",
    );
    edges(topology, &drawn, &columns, &mut out);
    for (node, placed) in topology.nodes.iter().zip(&drawn.nodes) {
        let (x, width) = columns.at(placed.column);
        draw(node, x, placed.middle + MARGIN - placed.height / 2.0, width, placed.height, &mut out);
    }
    legend(height - LEGEND / 2.0, drawn.without_flows, &mut out);
    out += "</svg>\n";
    out
}

fn lines(node: &Node) -> Vec<String> {
    match node.lines.len() {
        0..=MOST_LINES => node.lines.clone(),
        more => {
            let shown = MOST_LINES - 1;
            let rest = format!("and {} more", more - shown);
            node.lines.iter().take(shown).cloned().chain([rest]).collect()
        }
    }
}

/// Where columns begin, and how wide they are.
struct Columns {
    spans: Vec<(f64, f64)>,
    width: f64,
}

impl Columns {
    fn of(topology: &Topology, drawn: &Drawn) -> Columns {
        let mut widths = vec![24.0_f64; drawn.columns];
        for (node, placed) in topology.nodes.iter().zip(&drawn.nodes) {
            let name = node.name.chars().count() as f64 * NAME_WIDTH;
            let longest =
                lines(node).iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64 * LINE_WIDTH;
            if let Some(width) = widths.get_mut(placed.column) {
                *width = width.max(name.max(longest) + 24.0);
            }
        }
        // The label of an edge that passes no column stands between its two; others have theirs in the first they pass.
        let mut rooms = vec![ROOM; drawn.columns];
        for routed in drawn.edges.iter().filter(|routed| routed.points.len() == 2) {
            let label = topology
                .edges
                .get(routed.edge)
                .and_then(|edge| edge.label.iter().map(|text| text.chars().count()).max());
            let leaves =
                routed.points.first().zip(routed.points.get(1)).map(|(first, next)| first.0.min(next.0));
            if let (Some(label), Some(room)) = (label, leaves.and_then(|column| rooms.get_mut(column))) {
                *room = room.max(label.min(40) as f64 * LINE_WIDTH + 50.0);
            }
        }
        let mut at = MARGIN;
        let mut spans = Vec::new();
        for (width, room) in widths.iter().zip(&rooms) {
            spans.push((at, *width));
            at += width + room;
        }
        let end = spans.last().map_or(0.0, |(x, width)| x + width);
        Columns { spans, width: end + MARGIN }
    }

    fn at(&self, column: usize) -> (f64, f64) {
        self.spans.get(column).copied().unwrap_or_default()
    }
}

fn draw(node: &Node, x: f64, y: f64, width: f64, height: f64, out: &mut String) {
    let (class, radius) = match node.kind {
        NodeKind::Host => ("fw-host", 6.0),
        NodeKind::Link => ("fw-link", height / 2.0),
        NodeKind::Party => ("fw-party", 14.0),
    };
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{:.1}\"/>",
        radius.min(18.0)
    );
    let middle = x + width / 2.0;
    let _ = writeln!(
        out,
        "<text class=\"fw-name\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        y + 21.0,
        html(&node.name)
    );
    for (index, line) in lines(node).iter().enumerate() {
        let _ = writeln!(
            out,
            "<text class=\"fw-line\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 37.0 + LINE_HEIGHT * index as f64,
            html(line)
        );
    }
}

/// An edge at a node's side.
struct Met {
    /// The middle of what it leads to from there.
    towards: f64,
    edge: usize,
    begins: bool,
}

/// Where edges meet a node's side: spread over it in the order of their other ends. By the edge's number, and whether it
/// begins there.
fn ports(drawn: &Drawn) -> BTreeMap<(usize, bool), f64> {
    // By column and middle of the node, and the side.
    let mut sides: BTreeMap<(usize, u64, bool), Vec<Met>> = BTreeMap::new();
    for (edge, routed) in drawn.edges.iter().enumerate() {
        let (Some(first), Some(last)) = (routed.points.first(), routed.points.last()) else { continue };
        let (Some(second), Some(before)) = (routed.points.get(1), routed.points.iter().rev().nth(1)) else {
            continue;
        };
        for (own, other, begins) in [(first, second, true), (last, before, false)] {
            let side = (own.0, own.1.to_bits(), other.0 > own.0);
            sides.entry(side).or_default().push(Met { towards: other.1, edge, begins });
        }
    }
    let mut offsets = BTreeMap::new();
    for ((column, middle, _), mut met) in sides {
        met.sort_by(|left, right| left.towards.total_cmp(&right.towards).then(left.edge.cmp(&right.edge)));
        let node = drawn.nodes.iter().find(|node| node.column == column && node.middle.to_bits() == middle);
        let room = node.map_or(0.0, |node| node.height - 14.0);
        let steps = met.len().saturating_sub(1) as f64;
        let step = if steps > 0.0 { (room / steps).min(16.0) } else { 0.0 };
        for (at, one) in met.into_iter().enumerate() {
            offsets.insert((one.edge, one.begins), step * (at as f64 - steps / 2.0));
        }
    }
    offsets
}

fn edges(topology: &Topology, drawn: &Drawn, columns: &Columns, out: &mut String) {
    let offsets = ports(drawn);
    let mut labels = String::new();
    for (index, routed) in drawn.edges.iter().enumerate() {
        let Some(edge) = topology.edges.get(routed.edge) else { continue };
        let (class, marker) = match edge.kind {
            EdgeKind::Wire => ("fw-wire", ""),
            EdgeKind::Flow(Expectation::Allow) => ("fw-allow", " marker-end=\"url(#fw-arrow)\""),
            EdgeKind::Flow(Expectation::Only) => ("fw-only", " marker-end=\"url(#fw-arrow)\""),
            EdgeKind::Flow(Expectation::Deny) => ("fw-deny", " marker-end=\"url(#fw-cross)\""),
        };
        let (path, label) = curve(&routed.points, index, &offsets, columns);
        let _ = writeln!(out, "<path class=\"fw-edge {class}\" d=\"{path}\"{marker}/>");
        let height = 13.0 * edge.label.len().saturating_sub(1) as f64;
        for (row, text) in edge.label.iter().enumerate() {
            let _ = writeln!(
                labels,
                "<text class=\"fw-label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                label.0,
                label.1 - 5.0 - height + 13.0 * row as f64,
                html(&clip(text))
            );
        }
    }
    out.push_str(&labels);
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The path of an edge, and where its label stands.
fn curve(
    points: &[(usize, f64)],
    edge: usize,
    offsets: &BTreeMap<(usize, bool), f64>,
    columns: &Columns,
) -> (String, (f64, f64)) {
    let (Some(&(first, begin)), Some(&(last, end))) = (points.first(), points.last()) else {
        return (String::new(), (0.0, 0.0));
    };
    let forward = last > first;
    let sides = |column: usize| {
        let (x, width) = columns.at(column);
        if forward { (x, x + width) } else { (x + width, x) }
    };
    let offset = |begins: bool| offsets.get(&(edge, begins)).copied().unwrap_or(0.0) + MARGIN;
    let mut at = (sides(first).1, begin + offset(true));
    let mut path = format!("M{:.1} {:.1}", at.0, at.1);
    let mut label = at;
    for (index, &(column, middle)) in points.iter().enumerate().skip(1) {
        let is_last = index + 1 == points.len();
        let to = (sides(column).0, if is_last { end + offset(false) } else { middle + MARGIN });
        let half = (at.0 + to.0) / 2.0;
        let _ = write!(path, " C{half:.1} {:.1} {half:.1} {:.1} {:.1} {:.1}", at.1, to.1, to.0, to.1);
        if index == 1 {
            label = (half, (at.1 + to.1) / 2.0);
        }
        at = to;
        if !is_last {
            at.0 = sides(column).1;
            if index == 1 {
                label = ((to.0 + at.0) / 2.0, to.1);
            }
            let _ = write!(path, " L{:.1} {:.1}", at.0, at.1);
        }
    }
    (path, label)
}

fn legend(y: f64, without_flows: bool, out: &mut String) {
    let mut x = MARGIN;
    let entries = [
        ("fw-allow", " marker-end=\"url(#fw-arrow)\"", "allow"),
        ("fw-only", " marker-end=\"url(#fw-arrow)\"", "only"),
        ("fw-deny", " marker-end=\"url(#fw-cross)\"", "deny"),
        ("fw-wire", "", "link"),
    ];
    for (class, marker, word) in entries {
        let _ = writeln!(
            out,
            "<path class=\"fw-edge {class}\" d=\"M{x:.0} {y:.1} L{:.0} {y:.1}\"{marker}/>\n<text class=\"fw-line\" x=\"{:.0}\" y=\"{:.1}\">{word}</text>",
            x + 40.0,
            x + 48.0,
            y + 4.0
        );
        x += 100.0;
    }
    if without_flows {
        let _ = writeln!(
            out,
            "<text class=\"fw-line\" x=\"{x:.0}\" y=\"{:.1}\">too many flows to draw</text>",
            y + 4.0
        );
    }
}
