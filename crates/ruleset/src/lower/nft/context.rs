//! What is known of a packet at a place in a rule: nft puts tests of the protocol in front of expressions that need
//! one, and refuses rules whose expressions contradict one another.

use super::selector::Need;
use crate::ir::{Family, Statement, Test};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, IntervalSet};

/// What the tests so far say about a protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    Any,
    /// It is this one.
    One(u128),
    /// It is one of several.
    Several,
}

/// The protocols known at a place in a rule.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Of the table.
    pub(super) family: Family,
    /// As in [`Field::NFPROTO`].
    pub(super) network: Known,
    /// As in [`Field::L4PROTO`].
    pub(super) transport: Known,
    /// The type of the frame, where an explicit test says so.
    pub(super) frame: Option<u128>,
}

impl Context {
    /// At the start of a rule.
    pub(super) fn new(family: Family) -> Context {
        let network = match family {
            Family::Ip => Known::One(2),
            Family::Ip6 => Known::One(10),
            _ => Known::Any,
        };
        Context { family, network, transport: Known::Any, frame: None }
    }

    /// Adds the tests that an expression needs, where they aren't known to hold.
    pub(super) fn require(
        &mut self,
        need: Need,
        span: Span,
        out: &mut Vec<Statement>,
    ) -> Result<(), Box<Diagnostic>> {
        match need {
            Need::Nothing => Ok(()),
            Need::Arp => {
                out.push(range_test(Field::NFPROTO, IntervalSet::empty()));
                Ok(())
            }
            Need::Vlan => match self.frame {
                Some(frame) if !is_vlan(frame) => Err(conflict("an untagged frame", "vlan", span)),
                _ => Ok(()),
            },
            Need::Network(wanted) => self.require_network(wanted, span, out),
            Need::Transport(wanted) => self.require_transport(wanted, span, out),
            Need::TransportOver { transport, network } => {
                if self.network == Known::Any && self.transport == Known::Any {
                    self.require_network(network, span, out)?;
                }
                self.require_transport(transport, span, out)
            }
        }
    }

    /// The packet must be of this network protocol (2 or 10).
    pub(super) fn require_network(
        &mut self,
        wanted: u128,
        span: Span,
        out: &mut Vec<Statement>,
    ) -> Result<(), Box<Diagnostic>> {
        match self.network {
            Known::One(known) if known == wanted => return Ok(()),
            Known::One(known) => return Err(conflict(network_name(known), network_name(wanted), span)),
            Known::Several => return Err(conflict("ip and ip6", network_name(wanted), span)),
            Known::Any => {}
        }
        self.network = Known::One(wanted);
        out.push(range_test(Field::NFPROTO, IntervalSet::single(wanted)));
        Ok(())
    }

    /// The packet must be of this transport protocol.
    pub(super) fn require_transport(
        &mut self,
        wanted: u128,
        span: Span,
        out: &mut Vec<Statement>,
    ) -> Result<(), Box<Diagnostic>> {
        match self.transport {
            Known::One(known) if known == wanted => return Ok(()),
            Known::One(known) => {
                return Err(conflict(&transport_name(known), &transport_name(wanted), span));
            }
            Known::Several => {
                return Err(conflict("several transport protocols", &transport_name(wanted), span));
            }
            Known::Any => {}
        }
        self.transport = Known::One(wanted);
        out.push(range_test(Field::L4PROTO, IntervalSet::single(wanted)));
        Ok(())
    }

    /// Takes note of a test that passed.
    pub(super) fn learn(&mut self, field: Field, values: &IntervalSet) {
        let known = match values.ranges() {
            [(low, high)] if low == high => Known::One(*low),
            _ => Known::Several,
        };
        match field {
            Field::NFPROTO if !matches!(self.network, Known::One(_)) => self.network = known,
            Field::L4PROTO if !matches!(self.transport, Known::One(_)) => self.transport = known,
            _ => {}
        }
    }

    /// True where a test of this field for these values holds by what is known already.
    pub(super) fn implies(&self, field: Field, values: &IntervalSet) -> bool {
        let known = match field {
            Field::NFPROTO => self.network,
            Field::L4PROTO => self.transport,
            _ => Known::Any,
        };
        matches!(known, Known::One(value) if values.contains(value))
    }
}

/// The types of frames that carry a VLAN tag.
pub(super) fn is_vlan(frame: u128) -> bool {
    matches!(frame, 0x8100 | 0x88a8 | 0x9100)
}

/// A statement that tests a field.
pub(super) fn range_test(field: Field, set: IntervalSet) -> Statement {
    Statement::Test(Test::Range { field, set })
}

fn conflict(known: &str, wanted: &str, span: Span) -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error("conflicting-protocols", format!("conflicting protocols: {known} and {wanted}"))
            .at(span, format!("this needs {wanted}"))
            .because(format!("an earlier part of the rule says {known}, so no packet can match both"))
            .help("split the rule in two, or remove one of the tests"),
    )
}

/// `ip` or `ip6`.
pub(super) fn network_name(nfproto: u128) -> &'static str {
    if nfproto == 2 { "ip" } else { "ip6" }
}

/// `tcp`, or the number.
pub(super) fn transport_name(number: u128) -> String {
    super::names::protocol_name(number).map_or_else(|| format!("protocol {number}"), str::to_owned)
}
