//! `-m state` and `-m conntrack` (net/netfilter/xt_conntrack.c).

use super::Lowerer;
use super::rule::{RuleContext, negate};
use crate::ir::{Statement, Test};
use crate::syntax::iptables::OptionUse;
use crate::syntax::iptables::args::{self};
use firewarden_packet::{Cube, Field, IntervalSet, Purity, ct_state, ct_status};
use smallvec::SmallVec;

/// Packets that belong to a connection; only they have a mark, a status and addresses of their first packet.
const TRACKED: (u128, u128) = (ct_state::ESTABLISHED, ct_state::NEW);

/// The packet belongs to a connection.
pub(super) fn tracked(context: &mut RuleContext<'_, '_>) {
    let set = IntervalSet::range(TRACKED.0, TRACKED.1);
    context.range(Field::CT_STATE, ct_state::MAX, set, false);
}

/// Something about the connection that isn't modelled. Without a connection it is false, so that its negation holds
/// (helper_mt, connlabel_mt).
pub(super) fn of_connection(context: &mut RuleContext<'_, '_>, atom: Field, negated: bool) {
    if !negated {
        tracked(context);
        context.atom_test(atom, false);
        return;
    }
    let connected = IntervalSet::range(TRACKED.0, TRACKED.1);
    let state = |set: IntervalSet| Test::Range { field: Field::CT_STATE, set };
    let without = vec![state(connected.complement(ct_state::MAX))];
    let with = vec![state(connected), Test::Atom { atom, negated: true }];
    if !context.any_of(&[without, with]) {
        context.atom_test(atom, true);
    }
}

/// What `--ctstate` asks for: states, and status bits of which any will do.
fn states(list: &str) -> (IntervalSet, u128) {
    let mut bits = 0;
    let mut ranges = Vec::new();
    for word in list.split(',') {
        let state = match word {
            _ if word.eq_ignore_ascii_case("INVALID") => ct_state::INVALID,
            _ if word.eq_ignore_ascii_case("NEW") => ct_state::NEW,
            _ if word.eq_ignore_ascii_case("ESTABLISHED") => ct_state::ESTABLISHED,
            _ if word.eq_ignore_ascii_case("RELATED") => ct_state::RELATED,
            _ if word.eq_ignore_ascii_case("UNTRACKED") => ct_state::UNTRACKED,
            _ if word.eq_ignore_ascii_case("SNAT") => {
                bits |= ct_status::SNAT;
                continue;
            }
            _ if word.eq_ignore_ascii_case("DNAT") => {
                bits |= ct_status::DNAT;
                continue;
            }
            _ => continue,
        };
        ranges.push((state, state));
    }
    (IntervalSet::from_ranges(ranges), bits)
}

/// A cube for each bit: any of them is set.
fn any_bit(bits: u128) -> SmallVec<[Cube; 1]> {
    (0..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0).map(|bit| Cube::new(bit, bit)).collect()
}

/// Protocols whose connections have ports. DCCP isn't among them: kernels since 6.16 no longer track its ports.
const PORTED: [u8; 4] = [6, 17, 132, 136];

impl Lowerer<'_, '_> {
    pub(super) fn conntrack(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let connected = IntervalSet::range(TRACKED.0, TRACKED.1);
        let Some(option) = context.get(instance, "ctstate").or(context.get(instance, "state")) else {
            tracked(context);
            self.conntrack_options(context, instance, &connected);
            return;
        };
        let (set, bits) = states(&context.value(option));
        let set = if option.negated { set.complement(ct_state::MAX) } else { set };
        let asks_more = context.of(instance).any(|option| !matches!(option.name(), "ctstate" | "state"));
        // Without a connection the kernel asks no more once the state fits, whatever the other options say.
        let free = set.subtract(&connected);
        let inside = set.intersect(&connected);
        if bits == 0 && (!asks_more || free.is_empty() || inside.is_empty()) {
            context.range(Field::CT_STATE, ct_state::MAX, set, false);
            if !inside.is_empty() {
                self.conntrack_options(context, instance, &inside);
            }
            return;
        }
        let in_state = |set: &IntervalSet| Test::Range { field: Field::CT_STATE, set: set.clone() };
        let status = Test::Bits { field: Field::CT_STATUS, cubes: any_bit(bits), negated: option.negated };
        // Of a packet with a connection; a status is asked for nowhere else.
        let conditions = match (bits, option.negated) {
            (0, _) => vec![vec![in_state(&inside)]],
            (_, true) => vec![vec![in_state(&inside), status]],
            (_, false) if inside.is_empty() => vec![vec![status]],
            (_, false) => vec![vec![in_state(&inside)], vec![in_state(&connected.subtract(&set)), status]],
        };
        let before = context.alternatives.clone();
        let mut fits = context.any_of(&conditions);
        if fits {
            let possible = if bits == 0 { &inside } else { &connected };
            self.conntrack_options(context, instance, possible);
            fits = free.is_empty() || context.or_else(&before, &Statement::Test(in_state(&free)));
        }
        if !fits {
            context.alternatives = before;
            let text = context.text(instance);
            let atom = self.atom("too many alternatives", &text, Purity::Pure);
            context.atom_test(atom, false);
        }
    }

    fn conntrack_options(&mut self, context: &mut RuleContext<'_, '_>, instance: u8, possible: &IntervalSet) {
        for option in context.of(instance) {
            self.conntrack_option(context, option, possible);
        }
    }

    fn conntrack_option(
        &mut self,
        context: &mut RuleContext<'_, '_>,
        option: &OptionUse,
        possible: &IntervalSet,
    ) {
        match option.name() {
            "ctproto" => self.protocol(context, option, possible),
            "ctorigsrc" => self.network(context, Field::CT_ORIGINAL_SADDR, option),
            "ctorigdst" => self.network(context, Field::CT_ORIGINAL_DADDR, option),
            "ctorigsrcport" => self.ports(context, Field::CT_ORIGINAL_SPORT, option),
            "ctorigdstport" => self.ports(context, Field::CT_ORIGINAL_DPORT, option),
            "ctstatus" => {
                let mut bits = 0;
                for word in context.value(option).split(',') {
                    bits |= match word.to_ascii_uppercase().as_str() {
                        "EXPECTED" => ct_status::EXPECTED,
                        "SEEN_REPLY" => ct_status::SEEN_REPLY,
                        "ASSURED" => ct_status::ASSURED,
                        "CONFIRMED" => ct_status::CONFIRMED,
                        _ => 0,
                    };
                }
                if bits != 0 {
                    context.test(Test::Bits {
                        field: Field::CT_STATUS,
                        cubes: any_bit(bits),
                        negated: option.negated,
                    });
                } else if !option.negated {
                    // NONE asks for no bit, and the kernel wants one of those asked for.
                    context.never();
                }
            }
            "ctdir" => {
                let reply = context.value(option).eq_ignore_ascii_case("REPLY");
                context.range(Field::CT_DIRECTION, 1, IntervalSet::single(reply.into()), option.negated);
            }
            "ctstate" | "state" => {}
            name => {
                let text = format!("-m conntrack {}", context.option_text(option, false));
                let atom = self.atom(name, &text, Purity::Pure);
                context.atom_test(atom, option.negated);
            }
        }
    }

    /// The protocol of the connection: the packet's own, unless it is an ICMP error about another one.
    fn protocol(&mut self, context: &mut RuleContext<'_, '_>, option: &OptionUse, possible: &IntervalSet) {
        let number = args::protocol(&context.value(option)).unwrap_or_default();
        let set = IntervalSet::single(number.into());
        let set = if option.negated { set.complement(255) } else { set };
        let icmp = if context.v6() { 58 } else { 1 };
        if !possible.contains(ct_state::RELATED) {
            context.range(Field::L4PROTO, 255, set, false);
            return;
        }
        let related = Test::Range { field: Field::CT_STATE, set: IntervalSet::single(ct_state::RELATED) };
        let error = Test::Range { field: Field::L4PROTO, set: IntervalSet::single(icmp) };
        let own = Test::Range { field: Field::L4PROTO, set: set.clone() };
        let text = format!("-m conntrack {}", context.option_text(option, false));
        let atom = self.atom("protocol of an ICMP error's connection", &text, Purity::Pure);
        let mut conditions = vec![
            vec![negate(&related, ct_state::MAX), own],
            vec![related.clone(), error, Test::Atom { atom, negated: option.negated }],
        ];
        let rest = set.subtract(&IntervalSet::single(icmp));
        if !rest.is_empty() {
            conditions.push(vec![related, Test::Range { field: Field::L4PROTO, set: rest }]);
        }
        if !context.any_of(&conditions) {
            context.atom_test(atom, option.negated);
        }
    }

    /// A port of the connection. Of a protocol without ports the kernel gives what it keeps in their place: type and
    /// code of ICMP, its identifier, the key of GRE, or 0. Where the rule names no protocol, such packets have some port.
    fn ports(&mut self, context: &mut RuleContext<'_, '_>, field: Field, option: &OptionUse) {
        let portless = [context.get(0, "protocol"), context.get(option.instance, "ctproto")]
            .into_iter()
            .flatten()
            .filter(|option| !option.negated)
            .filter_map(|option| args::protocol(&context.value(option)))
            .any(|protocol| protocol != 0 && !PORTED.contains(&protocol));
        if portless {
            let text = format!("-m conntrack {}", context.option_text(option, false));
            let atom = self.atom("port of a connection without ports", &text, Purity::Pure);
            context.atom_test(atom, option.negated);
            return;
        }
        let (low, high) = args::port_range(&context.value(option), ':').unwrap_or_default();
        context.range(field, 0xFFFF, IntervalSet::range(low.into(), high.into()), option.negated);
    }
}
