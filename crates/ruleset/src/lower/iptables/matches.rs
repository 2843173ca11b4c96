//! Matches.

use super::Lowerer;
use super::rule::{RuleContext, negate};
use crate::ir::{Neutral, Statement, Test, Value};
use crate::syntax::iptables::args::{self, Address};
use crate::syntax::iptables::{OptionUse, names};
use firewarden_packet::{Cube, Field, IntervalSet, Purity, fib_type, tcp_flag};
use smallvec::SmallVec;

const PORT_MAX: u128 = 0xFFFF;

impl Lowerer<'_, '_> {
    /// The conditions of one loaded match.
    pub(super) fn match_module(&mut self, context: &mut RuleContext<'_, '_>, loading: &OptionUse) {
        let instance = loading.instance;
        match loading.module.name {
            "tcp" => self.ports_and_more(context, instance),
            "udp" | "sctp" | "dccp" => self.ports_and_more(context, instance),
            "multiport" => self.multiport(context, instance),
            "state" | "conntrack" => self.conntrack(context, instance),
            "comment" => {
                let comment = context.get(instance, "comment").map(|option| context.value(option));
                context.comment = comment.map(|text| text.into_owned().into_boxed_str());
            }
            "icmp" => self.icmp(context, instance, "icmp-type"),
            "icmp6" => self.icmp(context, instance, "icmpv6-type"),
            "mark" => mark(context, instance, Field::MARK),
            "connmark" => {
                super::conntrack::tracked(context);
                mark(context, instance, Field::CT_MARK);
            }
            "mac" => {
                for option in context.of(instance) {
                    let address = args::mac(&context.value(option)).unwrap_or_default();
                    let max = Field::ETHER_SADDR.max_value();
                    context.range(
                        Field::ETHER_SADDR,
                        max,
                        IntervalSet::single(u128::from(address)),
                        option.negated,
                    );
                }
            }
            "iprange" => iprange(context, instance),
            "length" => {
                for option in context.of(instance) {
                    let (low, high) = args::range(&context.value(option), 0xFFFF).unwrap_or_default();
                    context.range(
                        Field::LENGTH,
                        PORT_MAX,
                        IntervalSet::range(low.into(), high.into()),
                        option.negated,
                    );
                }
            }
            "ttl" | "hl" => ttl(context, instance),
            "dscp" => {
                for option in context.of(instance) {
                    let value = dscp(option.name(), &context.value(option));
                    context.range(Field::DSCP, 63, IntervalSet::single(value.into()), option.negated);
                }
            }
            "tos" => self.tos(context, instance),
            "ecn" => ecn(context, instance),
            "pkttype" => pkttype(context, instance),
            "addrtype" => self.addrtype(context, instance),
            "rpfilter" => self.rpfilter(context, instance),
            "set" => self.set_match(context, instance),
            "recent" => self.recent(context, instance),
            "nfacct" => context.push(Statement::Neutral(Neutral::Counter)),
            // The set of their conditions is a function of the packet and of its circumstances.
            "owner" | "physdev" | "cgroup" | "devgroup" | "cpu" | "helper" | "realm" | "esp" | "ah"
            | "ipcomp" | "mh" | "srh" | "connlabel" => self.each_option(context, loading),
            "socket" => self.socket(context, loading),
            "time" | "policy" | "osf" | "u32" | "bpf" | "string" | "rt" | "hbh" | "dst" | "frag"
            | "eui64" | "ipv6header" | "ipvs" | "tcpmss" | "cluster" => {
                self.whole(context, loading, Purity::Pure)
            }
            "connbytes" => {
                super::conntrack::tracked(context);
                self.whole(context, loading, Purity::Stateful);
            }
            _ => self.whole(context, loading, Purity::Stateful),
        }
    }

    /// One atom for a whole match; a single option's negation is the atom's.
    fn whole(&mut self, context: &mut RuleContext<'_, '_>, loading: &OptionUse, purity: Purity) {
        let instance = loading.instance;
        let mut negations = context.of(instance).filter(|option| option.negated);
        let negated = match (negations.next(), context.of(instance).count()) {
            // Of `! --string x --algo bm` the negation is the match's.
            (Some(_), 1) => true,
            (Some(option), _) => matches!(option.name(), "string" | "hex-string"),
            (None, _) => false,
        };
        drop(negations);
        let text = context.text(instance);
        let text = if negated { text.replacen("! ", "", 1) } else { text };
        let kind = if loading.module.name == "?" { "unknown match" } else { loading.module.name };
        let atom = self.atom(kind, &text, purity);
        context.atom_test(atom, negated);
    }

    /// Whether the host has a socket for the packet; with `--restore-skmark`, the packet gets that socket's mark
    /// (socket_match in net/netfilter/xt_socket.c).
    fn socket(&mut self, context: &mut RuleContext<'_, '_>, loading: &OptionUse) {
        self.whole(context, loading, Purity::Pure);
        if context.get(loading.instance, "restore-skmark").is_some() {
            let text = context.text(loading.instance);
            let marks = (0, u128::from(u32::MAX));
            let mark = self.atoms.choice(self.scope, "socket mark", &text, Purity::Stateful, marks);
            context.push(Statement::Assign { field: Field::MARK, value: Value::Choice(mark) });
        }
    }

    /// One atom for each option, where all of them must hold: so that `! --uid-owner 0` is the opposite of
    /// `--uid-owner 0` wherever it is written.
    fn each_option(&mut self, context: &mut RuleContext<'_, '_>, loading: &OptionUse) {
        let module = loading.module.name;
        let supplementary = context.get(loading.instance, "suppl-groups").is_some();
        let mut count = 0;
        for option in context.of(loading.instance) {
            count += 1;
            if option.name() == "suppl-groups" {
                continue;
            }
            // All security parameter indexes: IPv4 has nothing left to ask (IPv6: whether there is such a header).
            let spi = option.name().ends_with("spi") && !(module == "ah" && context.v6());
            if spi
                && args::range(&context.value(option), u64::from(u32::MAX)) == Some((0, u64::from(u32::MAX)))
            {
                if option.negated {
                    context.never();
                }
                continue;
            }
            let mut text = format!("-m {module} {}", context.option_text(option, false));
            if supplementary && option.name() == "gid-owner" {
                text.push_str(" --suppl-groups");
            }
            if module == "connlabel" && option.name() == "set" {
                continue;
            }
            let atom = self.atom(module, &text, Purity::Pure);
            match module {
                "helper" | "connlabel" => super::conntrack::of_connection(context, atom, option.negated),
                _ => context.atom_test(atom, option.negated),
            }
        }
        // `-m ah` without options asks for the header only, which IPv6 hides behind the protocol.
        if count == 0 && module == "ah" && context.v6() {
            let atom = self.atom(module, "-m ah", Purity::Pure);
            context.atom_test(atom, false);
        }
    }

    /// tcp, udp, sctp, dccp.
    fn ports_and_more(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        for option in context.of(instance) {
            match option.name() {
                name @ ("sport" | "dport") => {
                    let field = if name == "sport" { Field::SPORT } else { Field::DPORT };
                    let (low, high) = args::port_range(&context.value(option), ':').unwrap_or_default();
                    context.range(
                        field,
                        PORT_MAX,
                        IntervalSet::range(low.into(), high.into()),
                        option.negated,
                    );
                }
                "syn" => {
                    let mask = tcp_flag::FIN | tcp_flag::SYN | tcp_flag::RST | tcp_flag::ACK;
                    context.bits(Field::TCP_FLAGS, mask, tcp_flag::SYN, option.negated);
                }
                "tcp-flags" => {
                    let mask = names::tcp_flags(&context.value(option)).unwrap_or_default();
                    let value = names::tcp_flags(&context.second(option)).unwrap_or_default();
                    context.bits(Field::TCP_FLAGS, mask.into(), value.into(), option.negated);
                }
                _ => {
                    let text = format!("-m {} {}", option.module.name, context.option_text(option, false));
                    let atom = self.atom(option.name(), &text, Purity::Pure);
                    context.atom_test(atom, option.negated);
                }
            }
        }
    }

    fn multiport(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        for option in context.of(instance) {
            let ports = args::port_list(&context.value(option)).unwrap_or_default();
            let set: IntervalSet =
                ports.iter().map(|&(low, high)| (u128::from(low), u128::from(high))).collect();
            match option.name() {
                "sports" => context.range(Field::SPORT, PORT_MAX, set, option.negated),
                "dports" => context.range(Field::DPORT, PORT_MAX, set, option.negated),
                _ if option.negated => {
                    context.range(Field::SPORT, PORT_MAX, set.clone(), true);
                    context.range(Field::DPORT, PORT_MAX, set, true);
                }
                _ => {
                    let source = Test::Range { field: Field::SPORT, set: set.clone() };
                    let destination = Test::Range { field: Field::DPORT, set };
                    let conditions = [vec![source.clone()], vec![negate(&source, PORT_MAX), destination]];
                    self.any_or_atom(context, &conditions, instance);
                }
            }
        }
    }

    fn icmp(&mut self, context: &mut RuleContext<'_, '_>, instance: u8, name: &str) {
        let Some(option) = context.get(instance, name) else { return };
        let Some((kind, low, high)) = names::icmp_type(&context.value(option), context.v6()) else { return };
        let Some(kind) = kind else {
            if option.negated {
                context.never();
            }
            return;
        };
        let kind = IntervalSet::single(kind.into());
        let codes = IntervalSet::range(low.into(), high.into());
        if !option.negated {
            context.range(Field::ICMP_TYPE, 255, kind, false);
            context.range(Field::ICMP_CODE, 255, codes, false);
        } else if codes.covers(0, 255) {
            context.range(Field::ICMP_TYPE, 255, kind, true);
        } else {
            let is = Test::Range { field: Field::ICMP_TYPE, set: kind };
            let code = Test::Range { field: Field::ICMP_CODE, set: codes.complement(255) };
            let conditions = [vec![negate(&is, 255)], vec![is, code]];
            self.any_or_atom(context, &conditions, instance);
        }
    }

    /// [`RuleContext::any_of`], or an atom where that makes too many rules.
    pub(super) fn any_or_atom(
        &mut self,
        context: &mut RuleContext<'_, '_>,
        conditions: &[Vec<Test>],
        instance: u8,
    ) {
        if !context.any_of(conditions) {
            let text = context.text(instance);
            let atom = self.atom("too many alternatives", &text, Purity::Pure);
            context.atom_test(atom, false);
        }
    }

    fn tos(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let Some(option) = context.get(instance, "tos") else { return };
        let Some((value, mask)) = args::tos(&context.value(option)) else { return };
        if value & !mask != 0 {
            if !option.negated {
                context.never();
            }
            return;
        }
        let matching = |shift: u32, width: u8| -> IntervalSet {
            let (mask, value) = (mask >> shift & width, value >> shift & width);
            (0..=width).filter(|word| word & mask == value).map(|word| (word.into(), word.into())).collect()
        };
        let (dscp, ecn) = (matching(2, 63), matching(0, 3));
        if !option.negated {
            context.range(Field::DSCP, 63, dscp, false);
            context.range(Field::ECN, 3, ecn, false);
            return;
        }
        let is = Test::Range { field: Field::DSCP, set: dscp.clone() };
        let other = Test::Range { field: Field::ECN, set: ecn.complement(3) };
        let mut conditions = vec![vec![negate(&is, 63)]];
        if !ecn.covers(0, 3) {
            conditions.push(vec![is, other]);
        }
        self.any_or_atom(context, &conditions, instance);
    }

    fn addrtype(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let limited =
            ["limit-iface-in", "limit-iface-out"].iter().any(|name| context.get(instance, name).is_some());
        if limited {
            let text = context.text(instance);
            let atom = self.atom("addrtype of an interface", &text, Purity::Pure);
            context.atom_test(atom, false);
            return;
        }
        for option in context.of(instance) {
            let field =
                if option.name() == "src-type" { Field::FIB_SADDR_TYPE } else { Field::FIB_DADDR_TYPE };
            let text = context.value(option);
            let set: IntervalSet = text
                .split(',')
                .filter_map(names::addr_type)
                .map(|kind| (u128::from(kind), u128::from(kind)))
                .collect();
            if context.v6() {
                self.addrtype_v6(context, instance, field, &set, option.negated);
            } else {
                context.range(field, field.max_value(), set, option.negated);
            }
        }
    }

    /// For IPv6, `UNICAST`, `MULTICAST` and `UNSPEC` ask what the address looks like, and all of them must hold; any of
    /// the others is looked up in the routing table (match_type6 in net/netfilter/xt_addrtype.c).
    fn addrtype_v6(
        &mut self,
        context: &mut RuleContext<'_, '_>,
        instance: u8,
        field: Field,
        kinds: &IntervalSet,
        negated: bool,
    ) {
        let address = if field == Field::FIB_SADDR_TYPE { Field::SADDR } else { Field::DADDR };
        let multicast = IntervalSet::range(0xff << 120, u128::MAX);
        let unspecified = IntervalSet::single(0);
        let mapped = IntervalSet::range(0xffff << 32, (0xffff << 32) | 0xffff_ffff);
        let unicast = multicast.union(&unspecified).union(&mapped).complement(u128::MAX);
        let looks =
            [(fib_type::UNICAST, unicast), (fib_type::MULTICAST, multicast), (fib_type::UNSPEC, unspecified)];
        let mut tests = Vec::new();
        let mut looked_up = kinds.clone();
        for (kind, set) in looks {
            if kinds.contains(kind) {
                tests.push(Test::Range { field: address, set });
                looked_up = looked_up.subtract(&IntervalSet::single(kind));
            }
        }
        if !looked_up.is_empty() {
            tests.push(Test::Range { field, set: looked_up });
        }
        if !negated {
            tests.into_iter().for_each(|test| context.test(test));
            return;
        }
        // One of them fails, the ones before it hold: conditions that don't overlap.
        let mut conditions: Vec<Vec<Test>> = Vec::new();
        for (at, test) in tests.iter().enumerate() {
            let max = match test {
                Test::Range { field, .. } => field.max_value(),
                _ => u128::MAX,
            };
            let mut condition: Vec<Test> = tests.iter().take(at).cloned().collect();
            condition.push(negate(test, max));
            conditions.push(condition);
        }
        self.any_or_atom(context, &conditions, instance);
    }

    fn rpfilter(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let inverted = context.get(instance, "invert").is_some();
        let plain = ["loose", "accept-local"].iter().all(|name| context.get(instance, name).is_none());
        if plain {
            context.range(Field::FIB_REVERSE_PATH, 1, IntervalSet::single(1), inverted);
            return;
        }
        let text: Vec<String> = context
            .of(instance)
            .filter(|option| option.name() != "invert")
            .map(|option| context.option_text(option, false))
            .collect();
        let atom = self.atom("rpfilter", &format!("-m rpfilter {}", text.join(" ")), Purity::Pure);
        context.atom_test(atom, inverted);
    }

    /// `--set` always holds; the others ask the list.
    fn recent(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        if let Some(set) = context.get(instance, "set") {
            if set.negated {
                context.never();
            } else {
                context.push(Statement::Neutral(Neutral::Other));
            }
            return;
        }
        let negated = context.of(instance).any(|option| option.negated);
        let text = context.text(instance);
        let text = if negated { text.replacen("! ", "", 1) } else { text };
        let atom = self.atom("recent", &text, Purity::Stateful);
        context.atom_test(atom, negated);
    }
}

/// A DSCP by number or class.
pub(super) fn dscp(option: &str, value: &str) -> u8 {
    if option.ends_with("class") {
        names::dscp_class(value).unwrap_or_default()
    } else {
        args::number(value, 63).unwrap_or_default() as u8
    }
}

fn mark(context: &mut RuleContext<'_, '_>, instance: u8, field: Field) {
    let Some(option) = context.get(instance, "mark") else { return };
    let Some((value, mask)) = args::masked(&context.value(option), u64::from(u32::MAX)) else { return };
    context.bits(field, mask.unwrap_or(u64::from(u32::MAX)).into(), value.into(), option.negated);
}

fn iprange(context: &mut RuleContext<'_, '_>, instance: u8) {
    for option in context.of(instance) {
        let field = if option.name() == "src-range" { Field::SADDR } else { Field::DADDR };
        let set = match args::address_range(&context.value(option)) {
            Some((Address::V4(low), Address::V4(high))) => IntervalSet::range(low.into(), high.into()),
            Some((Address::V6(low), Address::V6(high))) => IntervalSet::range(low, high),
            _ => continue,
        };
        context.range(field, context.address_max(), set, option.negated);
    }
}

fn ttl(context: &mut RuleContext<'_, '_>, instance: u8) {
    for option in context.of(instance) {
        let value = u128::from(args::number(&context.value(option), 255).unwrap_or_default());
        let set = match option.name().get(option.name().len() - 2..) {
            Some("lt") => value.checked_sub(1).map_or(IntervalSet::empty(), IntervalSet::up_to),
            Some("gt") => IntervalSet::range(value + 1, 255),
            _ => IntervalSet::single(value),
        };
        context.range(Field::TTL, 255, set, option.negated);
    }
}

fn ecn(context: &mut RuleContext<'_, '_>, instance: u8) {
    for option in context.of(instance) {
        let flag = match option.name() {
            "ecn-tcp-ece" => tcp_flag::ECN,
            "ecn-tcp-cwr" => tcp_flag::CWR,
            _ => {
                let value = args::number(&context.value(option), 3).unwrap_or_default();
                context.range(Field::ECN, 3, IntervalSet::single(value.into()), option.negated);
                continue;
            }
        };
        let cubes = SmallVec::from_slice(&[Cube::new(flag, flag)]);
        context.test(Test::Bits { field: Field::TCP_FLAGS, cubes, negated: option.negated });
    }
}

fn pkttype(context: &mut RuleContext<'_, '_>, instance: u8) {
    for option in context.of(instance) {
        let kind = match &*context.value(option).to_ascii_lowercase() {
            "broadcast" => 1,
            "multicast" => 2,
            "unicast" | "host" => 0,
            _ => continue,
        };
        context.range(Field::PKTTYPE, Field::PKTTYPE.max_value(), IntervalSet::single(kind), option.negated);
    }
}
