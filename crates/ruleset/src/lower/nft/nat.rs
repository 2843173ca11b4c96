//! Address translation.

use super::Lowerer;
use super::context::Known;
use super::elements::parts;
use super::rule::RuleContext;
use super::selector::Place;
use super::sets::{DataType, Expected};
use super::text;
use super::types::Type;
use super::value::{Fail, Want, host_mask, interval, invalid};
use crate::ir::{Nat, NatAddress, NatDirection, Statement, Test, Value};
use crate::syntax::nft::ast::{self, Expr, ExprKind, MapLookup, NatKind};
use firewarden_diagnostic::Span;
use firewarden_packet::{Field, FieldKind, Purity};

const PORT: Want = Want { ty: Type::Service, bits: 16 };

/// The ports from which the kernel picks one at random: below 1024 for a source port that is, above for one that isn't
/// (nf_nat_l4proto_unique_tuple).
const RANDOM_PORTS: (u128, u128) = (1, 65535);

impl Lowerer<'_, '_> {
    /// Lowers `snat`, `dnat`, `masquerade` and `redirect`.
    pub(super) fn nat(&mut self, cx: &mut RuleContext, nat: &ast::Nat, span: Span) -> Result<(), Fail> {
        let direction = match nat.kind {
            NatKind::Snat | NatKind::Masquerade => NatDirection::Source,
            NatKind::Dnat | NatKind::Redirect => NatDirection::Destination,
        };
        let translated = matches!(nat.kind, NatKind::Snat | NatKind::Dnat);
        if translated && nat.address.is_none() && nat.port.is_none() {
            return invalid(
                "bad-nat",
                span,
                "this translation says neither an address nor a port",
                "write `to address`, `to :port` or `to address:port`",
            );
        }
        let nfproto = self.nat_family(cx, nat.family, nat.address.is_some(), span)?;
        let mut port = None;
        let address = match (&nat.address, nat.kind) {
            (Some(address), _) => {
                let ty = if nfproto == Some(10) { Type::Ipv6 } else { Type::Ipv4 };
                let want = Want { ty, bits: ty.bits() };
                let (address, from_address) = self.nat_address(cx, nat, address, want, direction)?;
                port = from_address;
                NatAddress::To(address)
            }
            (None, NatKind::Masquerade) => NatAddress::OfOutputInterface,
            (None, NatKind::Redirect) => NatAddress::ThisHost,
            (None, _) => NatAddress::Keep,
        };
        if let Some(expr) = &nat.port {
            port = Some(self.nat_value(cx, expr, PORT)?);
        }
        if port.is_some() && cx.protocols.transport == Known::Any {
            return invalid(
                "no-protocol",
                span,
                "a port can only be translated after a match on a transport protocol",
                "put `meta l4proto { tcp, udp }`, or a test such as `tcp dport 80`, before it",
            );
        }
        if port.is_none() && direction == NatDirection::Source && (nat.random || nat.fully_random) {
            let what = text::bounded(format!("random port of {}", nat_name(nat.kind)));
            port = Some(Value::Choice(self.atoms.choice(
                self.scope,
                "nat port",
                &what,
                Purity::Stateful,
                RANDOM_PORTS,
            )));
        }
        let unknown_address = match (&address, nfproto) {
            (NatAddress::OfOutputInterface, family) => Some(self.own_address("masquerade address", family)),
            (NatAddress::ThisHost, family) => Some(self.own_address("redirect address", family)),
            _ => None,
        };
        cx.out.push(Statement::Nat(Box::new(Nat { direction, address, port, nfproto, unknown_address })));
        Ok(())
    }

    /// The family of a translation: as written, else as known from the rule.
    pub(super) fn nat_family(
        &mut self,
        cx: &mut RuleContext,
        written: Option<ast::Family>,
        has_address: bool,
        span: Span,
    ) -> Result<Option<u128>, Fail> {
        let known = match cx.protocols.network {
            Known::One(known) => Some(known),
            _ => None,
        };
        let written = match written {
            Some(ast::Family::Ip) => Some(2),
            Some(ast::Family::Ip6) => Some(10),
            _ => None,
        };
        match (written, known) {
            (Some(written), Some(known)) if written != known => invalid(
                "conflicting-protocols",
                span,
                "the translation is for another address family than the rule",
                "use the same family for both",
            ),
            (Some(written), _) => Ok(Some(written)),
            (None, Some(known)) => Ok(Some(known)),
            (None, None) if has_address => invalid(
                "no-protocol",
                span,
                "the rule doesn't say whether it translates IPv4 or IPv6 packets",
                "write `dnat ip to` or `dnat ip6 to`, or match an address before it",
            ),
            (None, None) => Ok(None),
        }
    }

    fn own_address(&mut self, kind: &str, family: Option<u128>) -> Field {
        let (name, domain) = match family {
            Some(2) => (format!("{kind} (IPv4)"), (0, u128::from(u32::MAX))),
            Some(_) => (format!("{kind} (IPv6)"), (0, u128::MAX)),
            None => (kind.to_owned(), (0, u128::MAX)),
        };
        self.atoms.choice(self.scope, kind, &name, Purity::Pure, domain)
    }

    /// The new address, and the new port where the address expression gives both.
    fn nat_address(
        &mut self,
        cx: &mut RuleContext,
        nat: &ast::Nat,
        address: &Expr,
        want: Want,
        direction: NatDirection,
    ) -> Result<(Value, Option<Value>), Fail> {
        let resolved = address.resolved();
        if let ExprKind::Map(lookup) = &resolved.kind {
            return self.nat_map(cx, lookup, want, nat, direction);
        }
        if let ([address, port], ExprKind::Concat(_)) = (parts(resolved), &resolved.kind) {
            let address = self.nat_value(cx, address, want)?;
            return Ok((address, Some(self.nat_value(cx, port, PORT)?)));
        }
        if let (true, ExprKind::Prefix(_, length)) = (nat.prefix, &resolved.kind) {
            let (low, _) = interval(address, want)?;
            return Ok((prefix_value(low, host_mask(want, u32::from(*length)), direction), None));
        }
        Ok((self.nat_value(cx, address, want)?, None))
    }

    /// An address or port by map.
    fn nat_map(
        &mut self,
        cx: &mut RuleContext,
        lookup: &MapLookup,
        want: Want,
        nat: &ast::Nat,
        direction: NatDirection,
    ) -> Result<(Value, Option<Value>), Fail> {
        let key = self.key(cx, &lookup.key)?;
        let (map, data) = self.map_of(cx, &lookup.map, &key, &Expected::Values(&[&[want], &[want, PORT]]))?;
        let with_port = matches!(&data, DataType::Values(wants) if wants.len() == 2);
        let Some(map) = map else {
            self.require_entry(cx, lookup);
            let name = text::bounded(format!("{} map {}", text::expr(&lookup.key), text::expr(&lookup.map)));
            let mut choose = |what: &str, want: Want| {
                let text = format!("{what} of {name}");
                let domain = (0, want.max());
                Value::Choice(self.atoms.choice(self.scope, "map", &text, Purity::Stateful, domain))
            };
            return Ok((choose("address", want), with_port.then(|| choose("port", PORT))));
        };
        if nat.prefix {
            self.prefixes(map, direction);
        }
        let part = |component| Value::Map { key: key.fields.clone(), map, component };
        Ok((part(0), with_port.then(|| part(1))))
    }

    /// `snat ip prefix to … map { 10.0.0.0/24 : 192.0.2.0/24 }`: the host part is kept.
    fn prefixes(&mut self, map: crate::ir::MapId, direction: NatDirection) {
        let atoms = &*self.atoms;
        let Some(map) = self.out.maps.get_mut(map.0 as usize) else { return };
        for entry in &mut map.entries {
            let crate::ir::MapData::Values(values) = &mut entry.data else { continue };
            for value in values.iter_mut().take(1) {
                if let Value::Choice(field) = value {
                    let (low, high) = atoms.domain(*field);
                    *value = prefix_value(low, low ^ high, direction);
                }
            }
        }
    }

    /// A value that a translation or mangling writes: a constant, a range, a map, or something of the packet.
    pub(super) fn nat_value(&mut self, cx: &mut RuleContext, expr: &Expr, want: Want) -> Result<Value, Fail> {
        let resolved = expr.resolved();
        if let ExprKind::Map(lookup) = &resolved.kind {
            let key = self.key(cx, &lookup.key)?;
            let (map, _) = self.map_of(cx, &lookup.map, &key, &Expected::Values(&[&[want]]))?;
            let Some(map) = map else {
                self.require_entry(cx, lookup);
                return Ok(self.any_value(expr, want));
            };
            return Ok(Value::Map { key: key.fields, map, component: 0 });
        }
        if let Some(value) = self.packet_value(cx, expr, want)? {
            return Ok(value);
        }
        match interval(expr, want) {
            Ok((low, high)) if low == high => Ok(Value::Const(low)),
            Ok((low, high)) => {
                let what = format!("one of {}", text::values(want, &[(low, high)]));
                let choice = self.atoms.choice(self.scope, "nat range", &what, Purity::Stateful, (low, high));
                Ok(Value::Choice(choice))
            }
            Err(Fail::Unmodelled) => Ok(self.any_value(expr, want)),
            Err(other) => Err(other),
        }
    }

    /// A value that comes from the packet; `None` for expressions that don't.
    pub(super) fn packet_value(
        &mut self,
        cx: &mut RuleContext,
        expr: &Expr,
        want: Want,
    ) -> Result<Option<Value>, Fail> {
        self.require_all(cx, expr)?;
        let resolved = expr.resolved();
        if let ExprKind::Numgen(_) | ExprKind::Hash(_) = &resolved.kind {
            let Some(left) = cx.left(expr)? else { return Ok(None) };
            return Ok(Some(Value::Choice(self.choice_for(resolved, &left.selector))));
        }
        let Some(left) = cx.left_widened(expr, want.bits)? else { return Ok(None) };
        cx.require_selector(&left.selector, expr.span)?;
        let plain_type = !matches!(left.selector.ty, Type::CtState | Type::EtherType);
        if let Place::Field { field, mask: u128::MAX } = left.selector.place
            && left.linear.shift == 0
            && plain_type
        {
            let mask = left.linear.and;
            return Ok(Some(if mask == 0 {
                Value::Const(left.linear.xor)
            } else {
                Value::Mix { terms: Box::new([(field, mask)]), xor: Box::new(left.linear.xor) }
            }));
        }
        Ok(Some(self.any_value(expr, want)))
    }

    /// Where a map that changes has no entry, the rule ends.
    fn require_entry(&mut self, cx: &mut RuleContext, lookup: &MapLookup) {
        if let ExprKind::SetRef(name) = &lookup.map.resolved().kind {
            let atom = self.membership(cx.table, &lookup.key, name);
            cx.out.push(Statement::Test(Test::Atom { atom, negated: false }));
        }
    }

    fn any_value(&mut self, expr: &Expr, want: Want) -> Value {
        let name = text::bounded(text::expr(expr));
        let domain = (0, want.max());
        Value::Choice(self.atoms.choice(self.scope, "computed value", &name, Purity::Stateful, domain))
    }

    /// What becomes of a field when a statement that writes it can't be lowered: any value.
    pub(super) fn forget(&mut self, target: &Expr) -> Statement {
        let site = super::selector::Site::anywhere(crate::ir::Family::Inet);
        let field = match super::selector::selector(target, &site) {
            Ok(Some(found)) => match found.place {
                Place::Field { field, .. } => Some(field),
                Place::Unknown { .. } => None,
            },
            _ => None,
        };
        let fields = field
            .filter(|field| matches!(field.kind(), FieldKind::Range | FieldKind::Bits))
            .map(|field| {
                let domain = (0, field.max_value());
                let what = format!("{} after an invalid statement", field.name());
                (field, self.atoms.choice(self.scope, "invalid statement", &what, Purity::Stateful, domain))
            })
            .into_iter()
            .collect();
        Statement::Opaque { fields }
    }
}

fn prefix_value(base: u128, host: u128, direction: NatDirection) -> Value {
    let field = match direction {
        NatDirection::Source => Field::SADDR,
        NatDirection::Destination => Field::DADDR,
    };
    Value::Mix { terms: Box::new([(field, host)]), xor: Box::new(base & !host) }
}

fn nat_name(kind: NatKind) -> &'static str {
    match kind {
        NatKind::Snat => "snat",
        NatKind::Dnat => "dnat",
        NatKind::Masquerade => "masquerade",
        NatKind::Redirect => "redirect",
    }
}
