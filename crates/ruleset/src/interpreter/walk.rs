//! A packet on its way, and what happened to it.

use crate::ir::{ChainId, NatDirection, Policy, RejectWith, RuleRef};
use firewarden_packet::{Field, Point, ct_state};

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address, as in [`Field::SADDR`].
    pub address: u128,
    /// The port.
    pub port: u128,
}

/// What the connection tracking does to packets of a connection that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The new destination, in prerouting or output.
    pub destination: Option<End>,
    /// The new source, in postrouting or input.
    pub source: Option<End>,
}

/// One packet, and what the host remembers of it between hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The packet as it is now. Before the first hook, [`Field::CT_STATE`] holds what conntrack is going to say of it.
    pub now: Point,
    /// For packets of a connection that exists: what becomes of their ends.
    pub translation: Translation,
    /// The source of this connection is settled: later nat chains for it aren't asked.
    pub source_done: bool,
    /// The same for the destination.
    pub destination_done: bool,
    /// A rule redirected the packet to this host.
    pub redirected: bool,
    /// A rule left the new destination to the kernel, out of several addresses.
    pub destination_chosen: bool,
    /// Until conntrack has seen the packet: the state it is going to have.
    state_to_come: Option<u128>,
}

/// What became of a packet on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All base chains let it pass.
    Accepted,
    /// The last event's rule or policy dropped it.
    Dropped,
    /// The last event's rule rejected it.
    Rejected(RejectWith),
}

/// What a rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Called a chain.
    Jumped(ChainId),
    /// Went on in a chain for good.
    WentTo(ChainId),
    /// Went back to the calling chain.
    Returned,
    /// Set a field to a value.
    Wrote(Field, u128),
    /// Translated an end of the packet; address and port as they are now.
    Translated(NatDirection, End),
    /// Exempted the packet from tracking.
    Untracked,
    /// Logged it.
    Logged,
    /// Accepted it in this base chain.
    Accepted,
    /// Dropped it.
    Dropped,
    /// Rejected it.
    Rejected(RejectWith),
    /// No rule of the base chain decided, so its policy did; the rule's index is the number of the chain's rules.
    Policy(Policy),
}

/// A rule on the way with what it did. Rules whose tests fail, and counters, leave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The rule.
    pub rule: RuleRef,
    /// What it did.
    pub what: What,
}

/// The answer for one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookResult {
    /// What became of the packet.
    pub outcome: Outcome,
    /// The rules on the way, in order. Where the packet was refused, the last one did it.
    pub events: Vec<Event>,
}

impl Walk {
    /// A packet before the first hook.
    pub fn new(packet: Point) -> Walk {
        Walk {
            now: packet,
            translation: Translation::default(),
            source_done: false,
            destination_done: false,
            redirected: false,
            destination_chosen: false,
            state_to_come: None,
        }
    }

    /// Takes the connection away from the packet, as long as conntrack hasn't seen it: `ct state` is `invalid` then.
    pub(super) fn before_conntrack(&mut self) {
        if self.state_to_come.is_none() {
            self.state_to_come = Some(self.now.get(Field::CT_STATE));
            self.now.set(Field::CT_STATE, ct_state::INVALID);
        }
    }

    /// Conntrack sees the packet. The first packet of a connection gives the connection its original addresses.
    pub(super) fn conntrack(&mut self) {
        let Some(state) = self.state_to_come.take() else { return };
        let state = if self.is_never_tracked() { ct_state::UNTRACKED } else { state };
        self.now.set(Field::CT_STATE, state);
        if state == ct_state::NEW {
            for (original, own) in [
                (Field::CT_ORIGINAL_SADDR, Field::SADDR),
                (Field::CT_ORIGINAL_DADDR, Field::DADDR),
                (Field::CT_ORIGINAL_SPORT, Field::SPORT),
                (Field::CT_ORIGINAL_DPORT, Field::DPORT),
            ] {
                self.now.set(original, self.now.get(own));
            }
            self.now.set(Field::CT_DIRECTION, 0);
        }
    }

    /// What conntrack leaves alone by itself: multicast listener, neighbour and multicast router discovery, but neither
    /// redirects nor the end of a multicast router (`noct_valid_new` in nf_conntrack_proto_icmpv6.c).
    fn is_never_tracked(&self) -> bool {
        self.now.get(Field::NFPROTO) == 10
            && self.now.get(Field::L4PROTO) == 58
            && matches!(self.now.get(Field::ICMP_TYPE), 130..=136 | 143 | 151 | 152)
    }

    /// `notrack`: a packet that has no connection, and isn't going to get one, reads as untracked from here on. Has no
    /// effect on packets that have one (nft_notrack_eval). True where it had an effect.
    pub(super) fn notrack(&mut self) -> bool {
        if self.now.get(Field::CT_STATE) != ct_state::INVALID {
            return false;
        }
        self.now.set(Field::CT_STATE, ct_state::UNTRACKED);
        if let Some(state) = &mut self.state_to_come {
            *state = ct_state::UNTRACKED;
        }
        true
    }

    /// True where the packet has a connection at this moment.
    pub(super) fn has_connection(&self) -> bool {
        let state = self.now.get(Field::CT_STATE);
        state != ct_state::INVALID && state != ct_state::UNTRACKED
    }
}
