//! An index over the rules of one chain: a bounding-volume hierarchy over the rules' hulls.
//!
//! It answers two questions, each in time that follows the answer and not the number of rules: which is the first rule
//! from a place on that may match a point, and which rules may match some packet of a box.

use crate::lookup::Tables;
use firewarden_packet::{Dim, Field, Point};
use firewarden_ruleset::ir::{Rule, Statement, Test};
use smallvec::SmallVec;

/// The fields that rules are told apart by. The others are checked on the rules that remain.
const LANES: [Field; LANE_COUNT] = [
    Field::SADDR,
    Field::DADDR,
    Field::DPORT,
    Field::SPORT,
    Field::L4PROTO,
    Field::IIFNAME,
    Field::OIFNAME,
    Field::CT_STATE,
];
const LANE_COUNT: usize = 8;
const FAN_OUT: usize = 16;

/// Rules that ask neither for addresses nor for ports are met by packets everywhere: in the tree they would widen what is
/// around them. Up to this many are kept beside it.
const MOST_BROAD: usize = 32;

/// The lane of each fixed field that has one.
const LANE_OF: [Option<usize>; Field::FIXED] = {
    let mut lanes = [None; Field::FIXED];
    let mut lane = 0;
    while lane < LANE_COUNT {
        lanes[LANES[lane].index()] = Some(lane);
        lane += 1;
    }
    lanes
};

/// The range of a lane that a rule says nothing about.
const ANYTHING: (u128, u128) = (0, u128::MAX);

/// The lanes of addresses and ports.
const NARROW_LANES: usize = 4;

/// Chains of fewer rules are scanned.
pub(crate) const WORTH_AN_INDEX: usize = 48;

/// Ranks as signed numbers (see [`signed`]): that is what every x86-64 compares several of at once.
type Lanes = [i32; LANE_COUNT];

/// Keeps the order: the lowest rank becomes the lowest signed number.
fn signed(rank: u32) -> i32 {
    (rank ^ (1 << 31)).cast_signed()
}

/// The hull of one rule or of a subtree, both ends included, in ranks.
#[derive(Clone, Copy, Debug)]
struct Hull {
    low: Lanes,
    high: Lanes,
}

impl Hull {
    const NOTHING: Hull = Hull { low: [i32::MAX; LANE_COUNT], high: [i32::MIN; LANE_COUNT] };
    const EVERYTHING: Hull = Hull { low: [i32::MIN; LANE_COUNT], high: [i32::MAX; LANE_COUNT] };

    fn join(&mut self, other: &Hull) {
        for lane in 0..LANE_COUNT {
            self.low[lane] = self.low[lane].min(other.low[lane]);
            self.high[lane] = self.high[lane].max(other.high[lane]);
        }
    }

    /// The range of a lane whose ranks are the values themselves (see [`fits_a_rank`]).
    fn plain_range(&self, lane: usize) -> (u128, u128) {
        let value = |rank: i32| u128::from(rank.cast_unsigned() ^ (1 << 31));
        let high = value(self.high[lane]);
        (value(self.low[lane]), if high == u128::from(u32::MAX) { u128::MAX } else { high })
    }

    /// Written without branches, so that the compiler uses vector instructions.
    fn meets(&self, low: &Lanes, high: &Lanes) -> bool {
        let mut apart = 0;
        for lane in 0..LANE_COUNT {
            apart |= i32::from(self.low[lane] > high[lane]) | i32::from(self.high[lane] < low[lane]);
        }
        apart == 0
    }
}

#[derive(Debug)]
struct Node {
    hull: Hull,
    first_rule: u32,
    last_rule: u32,
    /// Of `Index::nodes`, or for a leaf of `Index::leaves`.
    children: std::ops::Range<u32>,
    leaf: bool,
}

/// How values of one lane become ranks: as they are where they fit, else by the elementary intervals of the rules.
#[derive(Debug)]
enum Axis {
    Plain,
    Ranked(Vec<u128>),
}

impl Axis {
    /// The elementary intervals of some ranges.
    fn ranked(ranges: &[(u128, u128)]) -> Axis {
        let mut starts: Vec<u128> = Vec::with_capacity(ranges.len() * 2);
        for &(low, high) in ranges {
            starts.push(low);
            starts.extend(high.checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        starts.shrink_to_fit();
        Axis::Ranked(starts)
    }

    fn rank(&self, value: u128) -> i32 {
        signed(match self {
            Axis::Plain => value.min(u128::from(u32::MAX)) as u32,
            Axis::Ranked(starts) => starts.partition_point(|&start| start <= value) as u32,
        })
    }
}

/// The index of one chain.
#[derive(Debug)]
pub(crate) struct Index {
    axes: [Axis; LANE_COUNT],
    nodes: Vec<Node>,
    leaves: Vec<(u32, Hull)>,
    root: Option<u32>,
    /// Rules that aren't in the tree, in order.
    broad: Vec<(u32, Hull)>,
}

impl Index {
    /// O(n log n) in the number of rules.
    pub(crate) fn new(rules: &[Rule], tables: &Tables) -> Index {
        let mut leaves: Vec<(u32, Hull)> = Vec::with_capacity(rules.len());
        // The ranges of all rules would take several times what the index does, so only those of lanes with values
        // that don't fit a rank are kept, from the first of these on.
        let mut wide: [Option<Vec<(u128, u128)>>; LANE_COUNT] = Default::default();
        let mut broad = 0;
        let mut is_broad = vec![false; rules.len()];
        for ((id, rule), own) in rules.iter().enumerate().zip(&mut is_broad) {
            let ranges = rule_ranges(rule, tables);
            *own = ranges[..NARROW_LANES].iter().all(|&range| range == ANYTHING);
            broad += usize::from(*own);
            let mut hull = Hull::EVERYTHING;
            for (lane, &range) in ranges.iter().enumerate() {
                if range != ANYTHING {
                    hull.low[lane] = Axis::Plain.rank(range.0);
                    hull.high[lane] = Axis::Plain.rank(range.1);
                } else if wide[lane].is_none() {
                    continue;
                }
                match &mut wide[lane] {
                    Some(known) => known.push(range),
                    None if fits_a_rank(range) => {}
                    None => {
                        let mut known: Vec<(u128, u128)> = Vec::with_capacity(rules.len());
                        known.extend(leaves.iter().map(|(_, hull)| hull.plain_range(lane)));
                        known.push(range);
                        wide[lane] = Some(known);
                    }
                }
            }
            leaves.push((id as u32, hull));
        }
        let axes = std::array::from_fn(|lane| {
            let Some(ranges) = wide[lane].take() else { return Axis::Plain };
            let axis = Axis::ranked(&ranges);
            for ((_, hull), (low, high)) in leaves.iter_mut().zip(ranges) {
                hull.low[lane] = axis.rank(low);
                hull.high[lane] = axis.rank(high);
            }
            axis
        });
        let mut aside = Vec::new();
        if broad <= MOST_BROAD {
            aside.extend(leaves.iter().filter(|(id, _)| is_broad[*id as usize]).copied());
            leaves.retain(|(id, _)| !is_broad[*id as usize]);
        }
        let mut index = Index { axes, nodes: Vec::new(), leaves: Vec::new(), root: None, broad: aside };
        let count = leaves.len();
        if count > 0 {
            let groups = arrange(&mut leaves, 0);
            index.leaves = leaves;
            index.root = Some(index.build(groups));
        }
        index
    }

    /// Stacks nodes of up to [`FAN_OUT`] children over groups of leaves.
    fn build(&mut self, groups: Vec<std::ops::Range<u32>>) -> u32 {
        let mut level: Vec<u32> = Vec::with_capacity(groups.len());
        for group in groups {
            let mut node = Node {
                hull: Hull::NOTHING,
                first_rule: u32::MAX,
                last_rule: 0,
                children: group.clone(),
                leaf: true,
            };
            for (id, hull) in &self.leaves[group.start as usize..group.end as usize] {
                node.hull.join(hull);
                node.first_rule = node.first_rule.min(*id);
                node.last_rule = node.last_rule.max(*id);
            }
            level.push(self.nodes.len() as u32);
            self.nodes.push(node);
        }
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / FAN_OUT + 1);
            for children in level.chunks(FAN_OUT) {
                let start = children[0];
                let mut node = Node {
                    hull: Hull::NOTHING,
                    first_rule: u32::MAX,
                    last_rule: 0,
                    children: start..start + children.len() as u32,
                    leaf: false,
                };
                for &child in children {
                    let child = &self.nodes[child as usize];
                    node.hull.join(&child.hull);
                    node.first_rule = node.first_rule.min(child.first_rule);
                    node.last_rule = node.last_rule.max(child.last_rule);
                }
                above.push(self.nodes.len() as u32);
                self.nodes.push(node);
            }
            level = above;
        }
        level[0]
    }

    /// The first rule in `from..to` for which `matches` says yes, among those whose hull holds the point.
    pub(crate) fn first(
        &self,
        at: &Point,
        from: u32,
        to: u32,
        mut matches: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let ranks: Lanes = std::array::from_fn(|lane| self.axes[lane].rank(at.get(LANES[lane])));
        let mut best = to;
        for (id, hull) in &self.broad {
            if (from..best).contains(id) && hull.meets(&ranks, &ranks) && matches(*id) {
                best = *id;
            }
        }
        let mut stack: SmallVec<[u32; 64]> = self.root.into_iter().collect();
        while let Some(node) = stack.pop() {
            let node = &self.nodes[node as usize];
            // What was found meanwhile may come before all of its rules.
            if node.first_rule >= best {
                continue;
            }
            let children = node.children.start as usize..node.children.end as usize;
            if !node.leaf {
                // Only what the point is in goes onto the stack, the first child on top.
                for (number, child) in self.nodes[children].iter().enumerate().rev() {
                    if child.first_rule < best && child.last_rule >= from && child.hull.meets(&ranks, &ranks)
                    {
                        stack.push(node.children.start + number as u32);
                    }
                }
                continue;
            }
            for (id, hull) in &self.leaves[children] {
                if hull.meets(&ranks, &ranks) && (from..best).contains(id) && matches(*id) {
                    best = *id;
                }
            }
        }
        (best < to).then_some(best)
    }

    /// Calls `visit` for each rule in `from..to` whose hull meets the image, in no particular order.
    pub(crate) fn meeting(
        &self,
        image: &dyn Fn(Field) -> Dim,
        from: u32,
        to: u32,
        mut visit: impl FnMut(u32),
    ) {
        let mut low: Lanes = [i32::MIN; LANE_COUNT];
        let mut high: Lanes = [i32::MAX; LANE_COUNT];
        for lane in 0..LANE_COUNT {
            if let Dim::Range(from, to) = image(LANES[lane]) {
                low[lane] = self.axes[lane].rank(from);
                high[lane] = self.axes[lane].rank(to);
            }
        }
        for (id, hull) in &self.broad {
            if (from..to).contains(id) && hull.meets(&low, &high) {
                visit(*id);
            }
        }
        let mut stack: SmallVec<[u32; 64]> = self.root.into_iter().collect();
        while let Some(node) = stack.pop() {
            let node = &self.nodes[node as usize];
            let children = node.children.start as usize..node.children.end as usize;
            if !node.leaf {
                for (number, child) in self.nodes[children].iter().enumerate() {
                    if child.hull.meets(&low, &high) && child.first_rule < to && child.last_rule >= from {
                        stack.push(node.children.start + number as u32);
                    }
                }
                continue;
            }
            for (id, hull) in &self.leaves[children] {
                if hull.meets(&low, &high) && (from..to).contains(id) {
                    visit(*id);
                }
            }
        }
    }
}

/// Sorts leaves so that neighbours are near one another, and cuts them into groups of up to [`FAN_OUT`]: halves at the
/// median of the lane whose centres spread most, again and again. O(n log n).
fn arrange(leaves: &mut [(u32, Hull)], offset: u32) -> Vec<std::ops::Range<u32>> {
    if leaves.len() <= FAN_OUT {
        return std::iter::once(offset..offset + leaves.len() as u32).collect();
    }
    let centre = |hull: &Hull, lane: usize| i64::from(hull.low[lane]) + i64::from(hull.high[lane]);
    let mut widest = (0, 0);
    // A sample tells the spread well enough, and keeps every level of the recursion cheap.
    let step = (leaves.len() / 64).max(1);
    for lane in 0..LANE_COUNT {
        let centres = leaves.iter().step_by(step).map(|(_, hull)| centre(hull, lane));
        let (low, high) = centres.fold((i64::MAX, i64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        if high - low > widest.0 {
            widest = (high - low, lane);
        }
    }
    // What is on the left fills whole nodes of the level below, so that no node holds leaves of both sides.
    let mut whole = FAN_OUT;
    while whole * FAN_OUT < leaves.len() {
        whole *= FAN_OUT;
    }
    let middle = (leaves.len() / 2).div_ceil(whole) * whole;
    if widest.0 > 0 {
        leaves.select_nth_unstable_by_key(middle, |(id, hull)| (centre(hull, widest.1), *id));
    }
    let (left, right) = leaves.split_at_mut(middle);
    let mut groups = arrange(left, offset);
    groups.extend(arrange(right, offset + middle as u32));
    groups
}

/// Whether both ends are ranks as they are. The largest rank stands for everything above.
fn fits_a_rank((low, high): (u128, u128)) -> bool {
    let limit = u128::from(u32::MAX);
    low < limit && (high < limit || high == u128::MAX)
}

/// The smallest interval of each lane outside which the rule surely doesn't match. Tests behind an effect don't count:
/// the rule acts before it comes to them.
fn rule_ranges(rule: &Rule, tables: &Tables) -> [(u128, u128); LANE_COUNT] {
    let mut ranges = [ANYTHING; LANE_COUNT];
    let mut narrow = |field: Field, low: u128, high: u128| {
        if let Some(&Some(lane)) = LANE_OF.get(field.index()) {
            let range = &mut ranges[lane];
            *range = (range.0.max(low), range.1.min(high));
        }
    };
    for statement in &rule.statements {
        match statement {
            Statement::Test(Test::Range { field, set }) => {
                let (low, high) = set.hull().unwrap_or((1, 0));
                narrow(*field, low, high);
            }
            Statement::Test(Test::Lookup { key, set, negated: false }) => match tables.set(*set).hull() {
                Some(hull) => key.iter().zip(hull).for_each(|(&field, (low, high))| narrow(field, low, high)),
                None => key.iter().for_each(|&field| narrow(field, 1, 0)),
            },
            Statement::Test(_) | Statement::Neutral(_) => {}
            Statement::VerdictMap { key, map } => {
                if let Some(hull) = tables.map(*map).hull() {
                    key.iter().zip(hull).for_each(|(&field, (low, high))| narrow(field, low, high));
                }
                break;
            }
            _ => break,
        }
    }
    ranges
}
