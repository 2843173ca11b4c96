//! Where the internet is: behind which interfaces, and which addresses its packets come from.

use super::super::words::interface;
use crate::exposed::ask::senders;
use firewarden_network::Host;
use firewarden_packet::{Dim, Field, InterfaceName, IntervalSet, PacketBox};
use firewarden_ruleset::ir::{NatAddress, NatDirection, Ruleset, Statement, Test};
use std::collections::BTreeSet;

/// The most interfaces named in an assumption.
const MOST_LISTED: usize = 6;

/// Beginnings of names of interfaces that don't lead to the internet.
const INSIDE: [&str; 18] = [
    "lo",
    "docker",
    "br-",
    "virbr",
    "veth",
    "cni",
    "cali",
    "flannel",
    "kube",
    "tun",
    "tap",
    "wg",
    "lan",
    "int",
    "vmbr",
    "lxc",
    "podman",
    "tailscale",
];

/// Where packets of the internet may come in.
pub struct Outside {
    /// By these interfaces; `None` where all but some are taken for it.
    pub only: Option<Vec<u128>>,
    /// How that is known, as a sentence for findings.
    pub assumption: String,
    /// Nothing was guessed.
    pub certain: bool,
}

impl Outside {
    /// From what is declared, else from what rules show.
    pub fn of(host: &Host) -> Outside {
        let uplinks: Vec<u128> =
            host.interfaces.iter().filter(|own| own.uplink).map(|own| own.name.0).collect();
        if !uplinks.is_empty() {
            let assumption = format!(
                "the internet is behind {}, as the stack file says, and nowhere else",
                listed(&uplinks)
            );
            return Outside { only: Some(uplinks), assumption, certain: true };
        }
        let masquerading = masqueraded(&host.ruleset);
        if !masquerading.is_empty() {
            let assumption = format!(
                "the internet is behind {}, where addresses are translated as packets leave, and nowhere else",
                listed(&masquerading)
            );
            return Outside { only: Some(masquerading), assumption, certain: true };
        }
        let left_out: Vec<u128> = named_inputs(&host.ruleset)
            .into_iter()
            .filter(|&name| is_inside(name) && name != interface("lo"))
            .collect();
        let assumption = if left_out.is_empty() {
            "the internet may be behind every interface other than the loopback".to_owned()
        } else {
            format!(
                "the internet may be behind every interface other than the loopback and those that are internal by their names: {}",
                listed(&left_out)
            )
        };
        Outside { only: None, assumption, certain: false }
    }

    /// Those of some ranges of names that may lead to the internet; neighbours are put together.
    pub fn sides(&self, interfaces: &[Dim]) -> Vec<Dim> {
        let mut sides: Vec<Dim> = Vec::new();
        for dim in interfaces.iter().filter(|dim| self.may_be(dim)) {
            match (sides.last_mut(), dim) {
                (Some(Dim::Range(_, end)), Dim::Range(low, high)) if end.checked_add(1) == Some(*low) => {
                    *end = *high;
                }
                _ => sides.push(*dim),
            }
        }
        sides
    }

    /// Whether packets that come in by these interfaces may come from the internet.
    fn may_be(&self, interfaces: &Dim) -> bool {
        if let Some(only) = &self.only {
            return only.iter().any(|&name| interfaces.contains(name));
        }
        match interfaces {
            Dim::Range(low, high) if low == high => !is_inside(*low),
            // Everything between the names that rules tell apart, or all names with a beginning.
            Dim::Range(low, high) => !INSIDE.iter().any(|prefix| {
                InterfaceName::prefix(prefix).is_ok_and(|(from, to)| from <= *low && *high <= to)
            }),
            Dim::Bits(_) => true,
        }
    }
}

fn is_inside(name: u128) -> bool {
    let name = InterfaceName(name).to_string();
    INSIDE.iter().any(|prefix| name.starts_with(prefix))
}

/// Names in words; the rest of many is counted.
fn listed(names: &[u128]) -> String {
    let (shown, rest) = names.split_at(names.len().min(MOST_LISTED));
    let mut words: Vec<String> = shown.iter().map(|&name| format!("`{}`", InterfaceName(name))).collect();
    if !rest.is_empty() {
        words.push(format!("{} more", rest.len()));
    }
    words.join(", ")
}

/// The names that rules ask for where packets come in.
fn named_inputs(ruleset: &Ruleset) -> BTreeSet<u128> {
    let mut names = BTreeSet::new();
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    for statement in rules.flat_map(|rule| &rule.statements) {
        if let Statement::Test(Test::Range { field: Field::IIFNAME, set }) = statement {
            names.extend(set.ranges().iter().filter(|(low, high)| low == high).map(|(low, _)| *low));
        }
    }
    names
}

/// The interfaces by which source addresses are translated as packets leave, where rules name them.
fn masqueraded(ruleset: &Ruleset) -> Vec<u128> {
    let mut names = BTreeSet::new();
    for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
        let source = rule.statements.iter().any(|statement| match statement {
            Statement::Nat(nat) => {
                nat.direction == NatDirection::Source
                    && matches!(nat.address, NatAddress::OfOutputInterface | NatAddress::To(_))
            }
            _ => false,
        });
        if !source {
            continue;
        }
        for statement in &rule.statements {
            if let Statement::Test(Test::Range { field: Field::OIFNAME, set }) = statement {
                names.extend(set.ranges().iter().filter(|(low, high)| low == high).map(|(low, _)| *low));
            }
        }
    }
    names.into_iter().filter(|&name| !is_inside(name)).collect()
}

/// Addresses that are routed on the internet, documentation included: it is what examples are written with.
pub fn public(nfproto: u128) -> IntervalSet {
    if nfproto == 10 {
        return IntervalSet::range(0x2 << 124, (0x4 << 124) - 1);
    }
    senders(2).subtract(&private())
}

/// All public addresses in as few intervals as can be, with some private ones between them.
pub fn whole(nfproto: u128) -> IntervalSet {
    if nfproto == 10 {
        return public(10);
    }
    IntervalSet::from_ranges([(0x0100_0000, 0x7EFF_FFFF), (0x8000_0000, 0xDFFF_FFFF)])
}

pub fn private() -> IntervalSet {
    IntervalSet::from_ranges([
        (0x0A00_0000, 0x0AFF_FFFF),
        (0x6440_0000, 0x647F_FFFF),
        (0x7F00_0000, 0x7FFF_FFFF),
        (0xA9FE_0000, 0xA9FE_FFFF),
        (0xAC10_0000, 0xAC1F_FFFF),
        (0xC0A8_0000, 0xC0A8_FFFF),
    ])
}

/// How many values a set has, about.
pub fn size(set: &IntervalSet) -> f64 {
    set.ranges().iter().map(|&(low, high)| (high - low) as f64 + 1.0).sum()
}

/// The parts of a question that come from the internet.
pub fn from_outside(question: &[PacketBox], outside: &Outside, sources: &IntervalSet) -> Vec<PacketBox> {
    let mut parts = Vec::new();
    for part in question {
        if part.get(Field::IIFNAME).is_some_and(|interfaces| !outside.may_be(interfaces)) {
            continue;
        }
        for &(low, high) in sources.ranges() {
            let mut part = part.clone();
            if part.restrict(Field::SADDR, Dim::Range(low, high)) {
                parts.push(part);
            }
        }
    }
    parts
}
