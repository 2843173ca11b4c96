//! A layered drawing (Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures",
//! 1981): nodes in columns from left to right so that edges go forwards, edges over several columns through places of their
//! own, few crossings by the barycentre of neighbours.

use super::topology::Topology;
use std::collections::BTreeSet;

/// How often the order in the columns is improved.
const SWEEPS: usize = 12;
/// The room between two nodes of a column, in units of the drawing.
const GAP: f64 = 26.0;
/// The height of a place where an edge passes a column.
const PASSAGE: f64 = 18.0;
/// Drawings with more edges than this have no flows: nobody could follow them, and it would take too long.
const MOST_EDGES: usize = 600;

/// Where a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Placed {
    /// The column, from 0.
    pub column: usize,
    /// The middle, from the top of the drawing.
    pub middle: f64,
    /// Its height.
    pub height: f64,
}

/// Where an edge goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// The number of the edge.
    pub edge: usize,
    /// Column and middle of each place, from its beginning to its end, both nodes included.
    pub points: Vec<(usize, f64)>,
}

/// A drawing without sizes in the other direction: columns are as wide as whoever draws them needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// Nodes, in the order of the topology's.
    pub nodes: Vec<Placed>,
    /// Edges that are drawn.
    pub edges: Vec<Routed>,
    /// How many columns there are.
    pub columns: usize,
    /// The height of the whole.
    pub height: f64,
    /// There are too many edges, and flows were left out.
    pub without_flows: bool,
}

/// A node, or a place where an edge passes a column.
struct Place {
    column: usize,
    height: f64,
    middle: f64,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Lays a topology out; `heights` has the height of each node. Deterministic.
/// O(sweeps · (nodes + edges · columns) · log).
pub fn layout(topology: &Topology, heights: &[f64]) -> Drawn {
    let count = topology.nodes.len();
    let without_flows = topology.edges.len() > MOST_EDGES;
    let kept: Vec<usize> = (0..topology.edges.len())
        .filter(|&index| {
            let wire = |edge: &super::Edge| edge.kind == super::EdgeKind::Wire;
            !without_flows || topology.edges.get(index).is_some_and(wire)
        })
        .take(4 * MOST_EDGES)
        .collect();
    let ends = |index: usize| topology.edges.get(index).map_or((0, 0), |edge| (edge.from, edge.to));
    let forwards = forwards(count, &kept, &ends);
    let columns = columns(count, &forwards);
    let mut places: Vec<Place> = (0..count)
        .map(|node| Place {
            column: columns.get(node).copied().unwrap_or(0),
            height: heights.get(node).copied().unwrap_or(PASSAGE),
            middle: 0.0,
            before: Vec::new(),
            after: Vec::new(),
        })
        .collect();
    let routes: Vec<(usize, Vec<usize>)> =
        forwards.iter().map(|&(edge, from, to)| (edge, route(from, to, &mut places))).collect();
    let width = places.iter().map(|place| place.column + 1).max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); width];
    for (index, place) in places.iter().enumerate() {
        if let Some(row) = rows.get_mut(place.column) {
            row.push(index);
        }
    }
    order(&mut rows, &mut places);
    let height = settle(&rows, &mut places);
    let at = |index: usize| places.get(index).map_or((0, 0.0), |place| (place.column, place.middle));
    let edges = routes.into_iter().map(|(edge, through)| {
        let mut points: Vec<(usize, f64)> = through.into_iter().map(at).collect();
        let (from, _) = ends(edge);
        let begins = points.first().copied();
        if begins != Some(at(from)) {
            points.reverse();
        }
        Routed { edge, points }
    });
    Drawn {
        edges: edges.collect(),
        nodes: places
            .iter()
            .take(count)
            .map(|place| Placed { column: place.column, middle: place.middle, height: place.height })
            .collect(),
        columns: width,
        height,
        without_flows,
    }
}

/// Edges turned so that none leads back: an edge to a node from which it was reached is turned round. Edge, from, to.
fn forwards(
    count: usize,
    edges: &[usize],
    ends: &dyn Fn(usize) -> (usize, usize),
) -> Vec<(usize, usize, usize)> {
    let mut reached: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut turned = Vec::new();
    for &edge in edges {
        let (from, to) = ends(edge);
        if from == to || from >= count || to >= count {
            continue;
        }
        // Earlier edges have their way: wires come first.
        let back = leads(&reached, to, from);
        let (from, to) = if back { (to, from) } else { (from, to) };
        if let Some(next) = reached.get_mut(from) {
            next.insert(to);
        }
        turned.push((edge, from, to));
    }
    turned
}

/// Whether edges lead from a node to another.
fn leads(next: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        if node == to {
            return true;
        }
        for &after in next.get(node).into_iter().flatten() {
            if seen.insert(after) {
                open.push(after);
            }
        }
    }
    false
}

/// The column of each node: one behind the last of those that lead to it.
fn columns(count: usize, edges: &[(usize, usize, usize)]) -> Vec<usize> {
    let mut columns = vec![0; count];
    // There are no cycles, so that the longest way has fewer edges than there are nodes.
    for _ in 0..count {
        let mut changed = false;
        for &(_, from, to) in edges {
            let least = columns.get(from).map_or(0, |column| column + 1);
            if let Some(column) = columns.get_mut(to).filter(|column| **column < least) {
                *column = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    columns
}

/// The places of an edge, with one made in each column that it passes.
fn route(from: usize, to: usize, places: &mut Vec<Place>) -> Vec<usize> {
    let column = |places: &[Place], index: usize| places.get(index).map_or(0, |place| place.column);
    let (first, last) = (column(places, from), column(places, to));
    let mut through = vec![from];
    for column in first + 1..last {
        places.push(Place { column, height: PASSAGE, middle: 0.0, before: Vec::new(), after: Vec::new() });
        through.push(places.len() - 1);
    }
    through.push(to);
    for pair in through.windows(2) {
        let &[left, right] = pair else { continue };
        if let Some(place) = places.get_mut(left) {
            place.after.push(right);
        }
        if let Some(place) = places.get_mut(right) {
            place.before.push(left);
        }
    }
    through
}

/// Orders the columns: each place goes to the middle of its neighbours on one side, then on the other.
fn order(rows: &mut [Vec<usize>], places: &mut [Place]) {
    let number = |rows: &[Vec<usize>], places: &mut [Place]| {
        for row in rows {
            for (at, &index) in row.iter().enumerate() {
                if let Some(place) = places.get_mut(index) {
                    place.middle = at as f64;
                }
            }
        }
    };
    number(rows, places);
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let sequence: Vec<usize> =
            if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for column in sequence {
            let Some(row) = rows.get_mut(column) else { continue };
            let wish = |index: usize| -> f64 {
                let Some(place) = places.get(index) else { return 0.0 };
                let near = if down { &place.before } else { &place.after };
                mean(near, places).unwrap_or(place.middle)
            };
            let mut wishes: Vec<(f64, usize)> = row.iter().map(|&index| (wish(index), index)).collect();
            wishes.sort_by(|left, right| left.0.total_cmp(&right.0));
            *row = wishes.into_iter().map(|(_, index)| index).collect();
            let fixed = std::slice::from_ref(row);
            number(fixed, places);
        }
    }
}

fn mean(near: &[usize], places: &[Place]) -> Option<f64> {
    let middles: Vec<f64> =
        near.iter().filter_map(|&index| places.get(index)).map(|place| place.middle).collect();
    (!middles.is_empty()).then(|| middles.iter().sum::<f64>() / middles.len() as f64)
}

/// Gives every place its middle, in the order found, near its neighbours; gives the height of the whole.
fn settle(rows: &[Vec<usize>], places: &mut [Place]) -> f64 {
    let height = |row: &Vec<usize>, places: &[Place]| -> f64 {
        let all = row.iter().filter_map(|&index| places.get(index)).map(|place| place.height + GAP);
        all.sum::<f64>()
    };
    let whole = rows.iter().map(|row| height(row, places)).fold(0.0, f64::max);
    for row in rows {
        let mut at = (whole - height(row, places)) / 2.0;
        for &index in row {
            if let Some(place) = places.get_mut(index) {
                place.middle = at + (place.height + GAP) / 2.0;
                at += place.height + GAP;
            }
        }
    }
    for sweep in 0..SWEEPS {
        let sequence: Vec<&Vec<usize>> =
            if sweep % 2 == 0 { rows.iter().collect() } else { rows.iter().rev().collect() };
        for row in sequence {
            pull(row, places, whole);
        }
    }
    whole
}

/// Pulls the places of a column towards their neighbours, as far as the order and the room allow.
fn pull(row: &[usize], places: &mut [Place], whole: f64) {
    let half =
        |index: usize, places: &[Place]| places.get(index).map_or(0.0, |place| (place.height + GAP) / 2.0);
    let room: Vec<f64> = row.iter().map(|&index| half(index, places)).collect();
    for (at, &index) in row.iter().enumerate() {
        let Some(place) = places.get(index) else { continue };
        let near = [place.before.as_slice(), place.after.as_slice()].concat();
        let Some(wish) = mean(&near, places) else { continue };
        let own = room.get(at).copied().unwrap_or(0.0);
        let edge = |neighbour: Option<usize>, sign: f64| {
            let neighbour = neighbour.and_then(|at| Some((row.get(at)?, room.get(at)?)));
            neighbour.and_then(|(&other, half)| Some(places.get(other)?.middle + sign * (half + own)))
        };
        let low = edge(at.checked_sub(1), 1.0).unwrap_or(own);
        let high = edge(Some(at + 1), -1.0).unwrap_or(whole - own);
        let middle = if low <= high { wish.clamp(low, high) } else { place.middle };
        if let Some(place) = places.get_mut(index) {
            place.middle = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, EdgeKind, Node, NodeKind};
    use super::*;

    fn graph(count: usize, edges: &[(usize, usize)]) -> Topology {
        let node = |index: usize| Node { kind: NodeKind::Host, name: index.to_string(), lines: Vec::new() };
        let edge = |&(from, to): &(usize, usize)| Edge { from, to, kind: EdgeKind::Wire, label: Vec::new() };
        Topology { nodes: (0..count).map(node).collect(), edges: edges.iter().map(edge).collect() }
    }

    #[test]
    fn columns_follow_the_edges_and_nothing_overlaps() {
        let graph = graph(7, &[(0, 1), (1, 2), (0, 2), (2, 0), (1, 3), (1, 4), (4, 5), (6, 5)]);
        let heights = [40.0, 60.0, 40.0, 40.0, 40.0, 50.0, 40.0];
        let drawn = layout(&graph, &heights);
        let columns: Vec<usize> = drawn.nodes.iter().map(|node| node.column).collect();
        assert_eq!(columns, [0, 1, 2, 2, 2, 3, 0]);
        for (index, left) in drawn.nodes.iter().enumerate() {
            assert!(
                left.middle - left.height / 2.0 >= 0.0 && left.middle + left.height / 2.0 <= drawn.height
            );
            for right in &drawn.nodes[index + 1..] {
                let apart = (left.middle - right.middle).abs() >= (left.height + right.height) / 2.0;
                assert!(left.column != right.column || apart, "{left:?} {right:?}");
            }
        }
        // An edge over two columns has a place between; one that leads back begins at its own beginning.
        assert_eq!(drawn.edges[2].points.len(), 3);
        assert_eq!(drawn.edges[3].points.first().unwrap().0, 2);
        assert_eq!(drawn.edges[3].points.last().unwrap().0, 0);
        assert_eq!(layout(&graph, &heights), drawn);
    }

    #[test]
    fn crossings_are_taken_out() {
        let drawn = layout(&graph(4, &[(0, 3), (1, 2)]), &[10.0; 4]);
        let middle = |index: usize| drawn.nodes[index].middle;
        assert_eq!(middle(0) < middle(1), middle(3) < middle(2));
    }

    #[test]
    fn nothing_is_a_drawing_too() {
        assert_eq!(layout(&Topology::default(), &[]).columns, 0);
    }
}
