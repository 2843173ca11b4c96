//! Statements other than tests: verdicts, limits, logs, objects, and what isn't understood.

use super::Lowerer;
use super::context::{Known, is_vlan, network_name, transport_name};
use super::elements::parts;
use super::rule::RuleContext;
use super::sets::{Content, Expected};
use super::text;
use super::types::Type;
use super::value::{Fail, Want, closest, constant, interval, invalid};
use crate::ir::{Family, Neutral, RejectWith, Statement, Test, Verdict};
use crate::syntax::nft::ast::{
    self, ChainTarget, Expr, ExprKind, Log, MapLookup, ObjectKind, ObjectRef, Queue, Redirection, Reject,
    SetUpdate, StatementKind, Xt, XtKind,
};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, Purity};

/// iptables targets that have no influence on where a packet goes.
const HARMLESS_TARGETS: &[&str] = &[
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "AUDIT",
    "TCPMSS",
    "TCPOPTSTRIP",
    "CHECKSUM",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "LED",
    "IDLETIMER",
    "RATEEST",
    "SECMARK",
    "CONNSECMARK",
    "HMARK",
    "SET",
    "TEE",
    "log",
    "nflog",
];

impl Lowerer<'_, '_> {
    /// Lowers a statement; `last` says that nothing comes after it in its rule.
    pub(super) fn statement(
        &mut self,
        cx: &mut RuleContext,
        statement: &ast::Statement,
        last: bool,
    ) -> Result<(), Fail> {
        let span = statement.span;
        match &statement.kind {
            StatementKind::Match(test) => self.matching(cx, test)?,
            StatementKind::Verdict(verdict) => {
                let verdict = self.verdict(cx.table, verdict, span)?;
                if verdict != Verdict::Continue {
                    cx.ended = Some(span);
                }
                cx.out.push(Statement::Verdict(verdict));
            }
            StatementKind::Vmap(lookup) => self.verdict_map(cx, lookup)?,
            StatementKind::Counter(_) => cx.out.push(Statement::Neutral(Neutral::Counter)),
            StatementKind::Last { .. } => cx.out.push(Statement::Neutral(Neutral::Other)),
            StatementKind::Quota(quota) => self.stateful(cx, "quota", &text::quota(quota), quota.over),
            StatementKind::Limit(limit) => self.stateful(cx, "limit", &text::limit(limit), limit.over),
            StatementKind::ConnectionLimit { over, count } => {
                self.stateful(cx, "connection limit", &format!("ct count {count}"), *over);
            }
            StatementKind::Reject(reject) => {
                self.reject(cx, reject, span)?;
                cx.ended = Some(span);
            }
            StatementKind::Log(log) => {
                check_log(log, span)?;
                cx.out.push(Statement::Neutral(Neutral::Log));
            }
            StatementKind::Nat(nat) => {
                self.nat(cx, nat, span)?;
                cx.ended = Some(span);
            }
            StatementKind::Tproxy(tproxy) => self.tproxy(cx, tproxy, span)?,
            StatementKind::Queue(queue) => {
                self.queue(cx, queue, span)?;
            }
            StatementKind::Notrack => cx.out.push(Statement::Notrack),
            StatementKind::Mangle(mangle) => self.mangle(cx, mangle)?,
            StatementKind::SetUpdate(update) => self.set_update(cx, update, span)?,
            StatementKind::Meter(meter) => {
                self.require_all(cx, &meter.element.key)?;
                let name = meter.name.as_ref().map_or("", |name| &*name.text);
                let what = format!("meter {name} {{ {} }}", text::expr(&meter.element.key));
                let options = meter.element.options.as_deref();
                self.element_statements(cx, &what, options.map_or(&[], |options| &options.statements))?;
            }
            StatementKind::Dup(dup) => {
                self.redirection(cx, dup)?;
                cx.out.push(Statement::Neutral(Neutral::Other));
            }
            StatementKind::Fwd(fwd) => {
                if cx.protocols.family != Family::Netdev {
                    return invalid(
                        "wrong-family",
                        span,
                        "`fwd` works in tables of the netdev family only",
                        "use routing, or `dup`",
                    );
                }
                self.redirection(cx, fwd)?;
                self.opaque_verdict(cx, "fwd", "fwd to another device", Purity::Pure);
                cx.ended = Some(span);
            }
            StatementKind::Flow(name) => {
                let known =
                    self.tables.get(cx.table).map(|table| table.flowtables.clone()).unwrap_or_default();
                if !known.contains(name.text.as_ref()) {
                    return unknown_object("flowtable", &name.text, name.span, known.into_iter());
                }
                cx.out.push(Statement::Neutral(Neutral::Other));
            }
            StatementKind::Synproxy(_) => {
                cx.require(super::selector::Need::Transport(6), span)?;
                self.opaque_verdict(cx, "synproxy", "synproxy", Purity::Stateful);
            }
            StatementKind::ObjectRef(object) => self.object_ref(cx, object, span)?,
            StatementKind::Xt(xt) => self.xt(cx, xt, last),
            StatementKind::ResetOption(option) => {
                self.require_all(cx, option)?;
                cx.out.push(Statement::Neutral(Neutral::Other));
            }
            StatementKind::Opaque(opaque) => self.unknown(cx, "unknown statement", &opaque.text, last),
            // There is a diagnostic already.
            StatementKind::Invalid(opaque) => self.unknown(cx, "invalid statement", &opaque.text, true),
        }
        Ok(())
    }

    /// Puts an atom in the place of a statement that can't be lowered, and reports why.
    pub(super) fn failed(&mut self, cx: &mut RuleContext, statement: &ast::Statement, fail: Fail) {
        if let Fail::Invalid(diagnostic) = fail {
            self.diagnostics.push(*diagnostic);
        }
        let (is_test, what) = match &statement.kind {
            StatementKind::Match(test) => (true, text::expr(&test.left)),
            StatementKind::Vmap(lookup) => (false, format!("{} vmap", text::expr(&lookup.key))),
            StatementKind::Limit(_) | StatementKind::Quota(_) | StatementKind::ConnectionLimit { .. } => {
                (true, "limit".to_owned())
            }
            StatementKind::Nat(_) => (false, "address translation".to_owned()),
            StatementKind::Mangle(mangle) => {
                cx.out.push(self.forget(&mangle.target));
                (true, format!("{} set", text::expr(&mangle.target)))
            }
            _ => (false, "statement".to_owned()),
        };
        let name = text::bounded(format!("{what} …"));
        if is_test {
            let atom = self.atoms.atom(self.scope, "invalid statement", &name, Purity::Stateful);
            cx.out.push(Statement::Test(Test::Atom { atom, negated: false }));
        } else {
            self.opaque_verdict(cx, "invalid statement", &name, Purity::Stateful);
        }
    }

    /// A condition with a memory: one atom for each occurrence.
    fn stateful(&mut self, cx: &mut RuleContext, kind: &str, what: &str, negated: bool) {
        let atom = self.atoms.atom(self.scope, kind, what, Purity::Stateful);
        cx.out.push(Statement::Test(Test::Atom { atom, negated }));
    }

    pub(super) fn opaque_verdict(&mut self, cx: &mut RuleContext, kind: &str, what: &str, purity: Purity) {
        let atom = self.atoms.atom(self.scope, kind, what, purity);
        cx.out.push(Statement::Verdict(Verdict::Opaque { atom }));
    }

    /// Something of which it isn't known whether it is a test, an effect or a verdict: it may end the rule, and where
    /// nothing comes after it, decide.
    fn unknown(&mut self, cx: &mut RuleContext, kind: &str, what: &str, last: bool) {
        let words: Vec<&str> = what.split_whitespace().collect();
        let name = text::bounded(words.join(" "));
        self.stateful(cx, kind, &name, false);
        if last {
            self.opaque_verdict(cx, kind, &name, Purity::Stateful);
        }
    }

    /// The verdict of the representation.
    pub(super) fn verdict(
        &mut self,
        table: usize,
        verdict: &ast::Verdict,
        span: Span,
    ) -> Result<Verdict, Fail> {
        Ok(match verdict {
            ast::Verdict::Accept => Verdict::Accept,
            ast::Verdict::Drop => Verdict::Drop,
            ast::Verdict::Continue | ast::Verdict::Break => Verdict::Continue,
            ast::Verdict::Return => Verdict::Return,
            ast::Verdict::Jump(target) => Verdict::Jump(self.target(table, target, span)?),
            ast::Verdict::Goto(target) => Verdict::Goto(self.target(table, target, span)?),
        })
    }

    fn target(&mut self, table: usize, target: &ChainTarget, span: Span) -> Result<crate::ir::ChainId, Fail> {
        match target {
            ChainTarget::Named(name) => self.chain_named(table, name).ok_or(Fail::Unmodelled),
            ChainTarget::Anonymous(chain) => {
                let Some(owner) = self.tables.get(table).map(|info| info.id) else {
                    return invalid("unknown-table", span, "this chain is in no table", "put it in a table");
                };
                let id = self.push_chain(owner, "", None, chain.span);
                let rules = self.lower_rules(table, id, chain.rules.iter());
                if let Some(target) = self.out.chains.get_mut(id.0 as usize) {
                    target.rules = rules;
                }
                Ok(id)
            }
        }
    }

    fn verdict_map(&mut self, cx: &mut RuleContext, lookup: &MapLookup) -> Result<(), Fail> {
        let key = self.key(cx, &lookup.key)?;
        match self.map_of(cx, &lookup.map, &key, &Expected::Verdict) {
            Ok((Some(map), _)) => {
                cx.out.push(Statement::VerdictMap { key: key.fields, map });
                Ok(())
            }
            // Entries come and go: there may be none, and where there is one it decides.
            Ok((None, _)) | Err(Fail::Unmodelled) => {
                let name = lookup.map.resolved();
                let what = match &name.kind {
                    ExprKind::SetRef(name) => self.membership(cx.table, &lookup.key, name),
                    _ => {
                        let name = text::bounded(format!("{} vmap", text::expr(&lookup.key)));
                        self.atoms.atom(self.scope, "verdict map", &name, Purity::Stateful)
                    }
                };
                cx.out.push(Statement::Test(Test::Atom { atom: what, negated: false }));
                let name =
                    text::bounded(format!("{} vmap {}", text::expr(&lookup.key), text::expr(&lookup.map)));
                self.opaque_verdict(cx, "verdict map", &name, Purity::Stateful);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    fn reject(&mut self, cx: &mut RuleContext, reject: &Reject, span: Span) -> Result<(), Fail> {
        let code = |ty: Type| match &reject.code {
            Some(code) => constant(code, Want { ty, bits: 8 }).map(|_| ()),
            None => Ok(()),
        };
        if cx.protocols.frame.is_some_and(|frame| !matches!(frame, 0x0800 | 0x86dd) && !is_vlan(frame)) {
            return invalid(
                "conflicting-protocols",
                span,
                "only IP packets can be rejected",
                "use `drop` for other frames",
            );
        }
        let with = match reject.with {
            Some(ast::RejectWith::TcpReset) => {
                match cx.protocols.transport {
                    Known::One(6) | Known::Any => {}
                    Known::One(other) => {
                        return invalid(
                            "conflicting-protocols",
                            span,
                            format!("a TCP reset can't answer a packet of {}", transport_name(other)),
                            "use `reject with icmp …`, or match `tcp` before it",
                        );
                    }
                    Known::Several => {}
                }
                if cx.protocols.transport == Known::Any {
                    cx.require(super::selector::Need::Transport(6), span)?;
                }
                RejectWith::TcpReset
            }
            Some(ast::RejectWith::Icmp) => {
                code(Type::IcmpCode)?;
                self.reject_family(cx, 2, span)?;
                RejectWith::Icmp
            }
            Some(ast::RejectWith::Icmpv6) => {
                code(Type::Icmpv6Code)?;
                self.reject_family(cx, 10, span)?;
                RejectWith::Icmp
            }
            Some(ast::RejectWith::Icmpx) => {
                code(Type::IcmpxCode)?;
                if matches!(cx.protocols.family, Family::Ip | Family::Ip6) {
                    return invalid(
                        "wrong-family",
                        span,
                        "`icmpx` works in tables of the inet, bridge and netdev families only",
                        "use `icmp` or `icmpv6`",
                    );
                }
                RejectWith::Icmp
            }
            None => RejectWith::Icmp,
        };
        if cx.protocols.family == Family::Arp {
            return invalid("wrong-family", span, "ARP packets can't be rejected", "use `drop`");
        }
        cx.out.push(Statement::Verdict(Verdict::Reject(with)));
        Ok(())
    }

    fn reject_family(&mut self, cx: &mut RuleContext, wanted: u128, span: Span) -> Result<(), Fail> {
        if let Known::One(known) = cx.protocols.network
            && known != wanted
        {
            let name = if wanted == 2 { "icmp" } else { "icmpv6" };
            return invalid(
                "conflicting-protocols",
                span,
                format!("an {name} error can't answer a packet of {}", network_name(known)),
                "use `reject`, which picks the right one",
            );
        }
        cx.protocols.require_network(wanted, span, &mut cx.out)?;
        Ok(())
    }

    fn queue(&mut self, cx: &mut RuleContext, queue: &Queue, span: Span) -> Result<(), Fail> {
        let want = Want { ty: Type::Integer, bits: 16 };
        let mut what = "queue".to_owned();
        if let Some(number) = &queue.number {
            what = format!("queue to {}", text::expr(number));
            let counted = match &number.resolved().kind {
                ExprKind::Numgen(numgen) => Some((numgen.offset, numgen.modulus)),
                ExprKind::Hash(hash) => Some((hash.offset, hash.modulus)),
                _ => None,
            };
            match (&number.resolved().kind, counted) {
                (_, Some((offset, modulus))) => {
                    if offset.saturating_add(modulus.saturating_sub(1)) > 0xffff || queue.fanout {
                        return invalid(
                            "bad-queue",
                            number.span,
                            "this can give numbers that aren't those of a queue",
                            "queue numbers go from 0 to 65535, and `fanout` needs a range of them",
                        );
                    }
                    self.require_all(cx, number)?;
                }
                (ExprKind::Map(lookup), _) => {
                    let key = self.key(cx, &lookup.key)?;
                    self.map_of(cx, &lookup.map, &key, &Expected::Values(&[&[want]]))?;
                }
                _ => {
                    if cx.left(number)?.is_some() {
                        return invalid(
                            "bad-queue",
                            number.span,
                            "a property of the packet can't be the number of a queue",
                            "use a number, a range, or a map to numbers",
                        );
                    }
                    interval(number, want)?;
                }
            }
        }
        if cx.protocols.family == Family::Netdev {
            return invalid("wrong-family", span, "netdev tables can't queue packets", "use an inet table");
        }
        self.opaque_verdict(cx, "queue", &text::bounded(what), Purity::Stateful);
        Ok(())
    }

    fn set_update(&mut self, cx: &mut RuleContext, update: &SetUpdate, span: Span) -> Result<(), Fail> {
        let info = self.set_info(cx.table, &update.set.text, update.set.span)?;
        self.require_all(cx, &update.element.key)?;
        if let Some(data) = &update.element.data {
            self.require_all(cx, data)?;
        }
        let given = parts(&update.element.key).len();
        if !info.key.is_empty() && info.key.len() != given {
            return invalid(
                "wrong-type",
                span,
                format!("the set `{}` has keys of {} parts, not {given}", update.set.text, info.key.len()),
                "give as many parts as the set's type has",
            );
        }
        let what = format!("@{} {{ {} }}", update.set.text, text::expr(&update.element.key));
        let options = update.element.options.as_deref();
        self.element_statements(cx, &what, options.map_or(&[], |options| &options.statements))
    }

    /// The statements of a set's element, which are evaluated for each key apart.
    fn element_statements(
        &mut self,
        cx: &mut RuleContext,
        what: &str,
        statements: &[ast::Statement],
    ) -> Result<(), Fail> {
        let mut tested = false;
        for statement in statements {
            let (kind, inner, over) = match &statement.kind {
                StatementKind::Limit(limit) => ("limit", text::limit(limit), limit.over),
                StatementKind::Quota(quota) => ("quota", text::quota(quota), quota.over),
                StatementKind::ConnectionLimit { over, count } => {
                    ("connection limit", format!("ct count {count}"), *over)
                }
                StatementKind::Counter(_) | StatementKind::Last { .. } => continue,
                _ => ("unknown statement", "statement".to_owned(), false),
            };
            tested = true;
            let name = text::bounded(format!("{what} {inner}"));
            self.stateful(cx, kind, &name, over);
        }
        if !tested {
            cx.out.push(Statement::Neutral(Neutral::Other));
        }
        Ok(())
    }

    /// Adds the protocols that all parts of an expression need.
    pub(super) fn require_all(&mut self, cx: &mut RuleContext, expr: &Expr) -> Result<(), Fail> {
        for part in parts(expr) {
            match &part.kind {
                ExprKind::Hash(hash) => {
                    if let Some(of) = &hash.expr {
                        self.require_all(cx, of)?;
                    }
                }
                ExprKind::Map(lookup) => self.require_all(cx, &lookup.key)?,
                _ => {
                    // The width doesn't matter here: only the protocol is asked for.
                    if let Some(left) = cx.left_widened(part, 128)? {
                        cx.require_selector(&left.selector, part.span)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn redirection(&mut self, cx: &mut RuleContext, to: &Redirection) -> Result<(), Fail> {
        let family = match (to.family, cx.protocols.network) {
            (Some(ast::Family::Ip), _) => Some(2),
            (Some(ast::Family::Ip6), _) => Some(10),
            (_, Known::One(known)) => Some(known),
            _ => None,
        };
        if let Some(address) = &to.address {
            let wants = match family {
                Some(2) => Want { ty: Type::Ipv4, bits: 32 },
                Some(_) => Want { ty: Type::Ipv6, bits: 128 },
                // In netdev tables this is the device.
                None => Want { ty: Type::InterfaceIndex, bits: 32 },
            };
            self.constant_or_map(cx, address, wants)?;
        }
        if let Some(device) = &to.device {
            self.constant_or_map(cx, device, Want { ty: Type::InterfaceIndex, bits: 32 })?;
        }
        Ok(())
    }

    fn constant_or_map(&mut self, cx: &mut RuleContext, expr: &Expr, want: Want) -> Result<(), Fail> {
        match &expr.resolved().kind {
            ExprKind::Map(lookup) => {
                let key = self.key(cx, &lookup.key)?;
                self.map_of(cx, &lookup.map, &key, &Expected::Values(&[&[want]])).map(|_| ())
            }
            _ if cx.left(expr)?.is_some() => self.require_all(cx, expr),
            _ => match constant(expr, want) {
                Ok(_) | Err(Fail::Unmodelled) => Ok(()),
                Err(other) => Err(other),
            },
        }
    }

    fn object_ref(&mut self, cx: &mut RuleContext, object: &ObjectRef, span: Span) -> Result<(), Fail> {
        let kind = text::object_kind(object.kind);
        let mut what = format!("{kind} {}", text::expr(&object.name));
        match &object.name.resolved().kind {
            ExprKind::Map(lookup) => {
                let key = self.key(cx, &lookup.key)?;
                self.objects_of(cx, &lookup.map, object.kind)?;
                let (map, _) = self.map_of(cx, &lookup.map, &key, &Expected::Object(object.kind))?;
                // Without an entry the rule ends.
                match map.and_then(|map| self.keys_of(map)) {
                    Some(set) => {
                        cx.out.push(Statement::Test(Test::Lookup { key: key.fields, set, negated: false }))
                    }
                    None => self.object_lookup(cx, lookup, &key)?,
                }
                what = format!("{kind} by {}", text::expr(&lookup.key));
            }
            _ => {
                if let Some(name) = object.name.word() {
                    self.object_exists(cx, object.kind, name, object.name.span)?;
                }
            }
        }
        let what = text::bounded(what);
        match object.kind {
            ObjectKind::Counter => cx.out.push(Statement::Neutral(Neutral::Counter)),
            ObjectKind::Limit | ObjectKind::Quota => self.stateful(cx, kind, &what, false),
            ObjectKind::Synproxy => {
                cx.require(super::selector::Need::Transport(6), span)?;
                self.opaque_verdict(cx, kind, &what, Purity::Stateful);
            }
            _ => cx.out.push(Statement::Neutral(Neutral::Other)),
        }
        Ok(())
    }

    /// The test that a named map of objects has an entry.
    fn object_lookup(
        &mut self,
        cx: &mut RuleContext,
        lookup: &MapLookup,
        key: &super::sets::Key,
    ) -> Result<(), Fail> {
        if let ExprKind::SetRef(name) = &lookup.map.resolved().kind {
            let info = self.set_info(cx.table, name, lookup.map.span)?;
            let statement = match info.content {
                Content::Set(set) => Test::Lookup { key: key.fields.clone(), set, negated: false },
                _ => Test::Atom { atom: self.membership(cx.table, &lookup.key, name), negated: false },
            };
            cx.out.push(Statement::Test(statement));
        }
        Ok(())
    }

    /// Checks the objects that the entries of a literal map name.
    fn objects_of(&mut self, cx: &RuleContext, map: &Expr, kind: ObjectKind) -> Result<(), Fail> {
        if let ExprKind::Set(literal) = &map.resolved().kind {
            for element in &literal.elements {
                if let Some((data, name)) =
                    element.data.as_deref().and_then(|data| Some((data, data.word()?)))
                {
                    self.object_exists(cx, kind, name, data.span)?;
                }
            }
        }
        Ok(())
    }

    fn object_exists(
        &mut self,
        cx: &RuleContext,
        kind: ObjectKind,
        name: &str,
        span: Span,
    ) -> Result<(), Fail> {
        let Some(table) = self.tables.get(cx.table) else { return Ok(()) };
        if table.objects.contains(&(kind, name)) {
            return Ok(());
        }
        let known = table.objects.iter().filter(|(own, _)| *own == kind).map(|(_, name)| *name);
        unknown_object(text::object_kind(kind), name, span, known)
    }

    fn xt(&mut self, cx: &mut RuleContext, xt: &Xt, last: bool) {
        let name = xt.name.as_ref();
        let kind = match xt.kind {
            Some(kind) => kind,
            // `# xt_LOG`: targets are in capitals, and stand at the end.
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => XtKind::Target,
            None => XtKind::Match,
        };
        match kind {
            // The listing shows the name only: two that look alike may differ.
            XtKind::Match => self.stateful(cx, "xt match", &format!("xt match {name}"), false),
            XtKind::Target if HARMLESS_TARGETS.contains(&name) => {
                let is_log = name.ends_with("LOG") || name.ends_with("log");
                cx.out.push(Statement::Neutral(if is_log { Neutral::Log } else { Neutral::Other }));
            }
            XtKind::Target if matches!(name, "MARK" | "CONNMARK") => {
                let what = format!("xt target {name}");
                let fields = [Field::MARK, Field::CT_MARK]
                    .into_iter()
                    .map(|field| {
                        let domain = (0, field.max_value());
                        let choice =
                            self.atoms.choice(self.scope, "xt target", &what, Purity::Stateful, domain);
                        (field, choice)
                    })
                    .collect();
                cx.out.push(Statement::Opaque { fields });
            }
            XtKind::Target if name == "REJECT" => {
                cx.out.push(Statement::Verdict(Verdict::Reject(RejectWith::Icmp)));
            }
            XtKind::Target => {
                let what = format!("xt target {name}");
                if !last {
                    self.stateful(cx, "xt target", &what, false);
                }
                self.opaque_verdict(cx, "xt target", &what, Purity::Stateful);
            }
            XtKind::Watcher => cx.out.push(Statement::Neutral(Neutral::Log)),
        }
    }

    fn tproxy(&mut self, cx: &mut RuleContext, tproxy: &ast::Tproxy, span: Span) -> Result<(), Fail> {
        if tproxy.address.is_none() && tproxy.port.is_none() {
            return invalid(
                "bad-tproxy",
                span,
                "`tproxy` needs an address or a port",
                "write `tproxy to :50080`",
            );
        }
        if !matches!(cx.protocols.transport, Known::One(6 | 17)) && cx.protocols.transport != Known::Several {
            return invalid(
                "no-protocol",
                span,
                "`tproxy` needs a match on TCP or UDP before it",
                "put `meta l4proto tcp` before it",
            );
        }
        let family = self.nat_family(cx, tproxy.family, tproxy.address.is_some(), span)?;
        if let (Some(address), Some(family)) = (&tproxy.address, family) {
            let ty = if family == 2 { Type::Ipv4 } else { Type::Ipv6 };
            self.constant_or_map(cx, address, Want { ty, bits: ty.bits() })?;
        }
        if let Some(port) = &tproxy.port {
            self.constant_or_map(cx, port, Want { ty: Type::Service, bits: 16 })?;
        }
        let what = match (&tproxy.address, &tproxy.port) {
            (Some(address), Some(port)) => format!("{}:{}", text::expr(address), text::expr(port)),
            (Some(address), None) => text::expr(address),
            (None, Some(port)) => format!(":{}", text::expr(port)),
            (None, None) => String::new(),
        };
        // The rule goes on where there is a socket that takes the packet.
        let name = text::bounded(format!("tproxy to {what}"));
        let atom = self.atoms.atom(self.scope, "tproxy", &name, Purity::Pure);
        cx.out.push(Statement::Test(Test::Atom { atom, negated: false }));
        Ok(())
    }
}

fn unknown_object<'n, T>(
    kind: &str,
    name: &str,
    span: Span,
    known: impl Iterator<Item = &'n str>,
) -> Result<T, Fail> {
    let help = match closest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare it in the table: `{kind} {name} {{ … }}`"),
    };
    invalid("unknown-object", span, format!("the table has no {kind} `{name}`"), help)
}

fn check_log(log: &Log, span: Span) -> Result<(), Fail> {
    let group_options = log.group.is_some() || log.snaplen.is_some() || log.queue_threshold.is_some();
    let has_flags = !log.flags.is_empty();
    let clash = if log.level == Some("audit") && (log.prefix.is_some() || group_options || has_flags) {
        Some("`log level audit` takes no other option")
    } else if log.group.is_some() && log.level.is_some() {
        Some("`group` and `level` can't be used together")
    } else if log.group.is_some() && has_flags {
        Some("`group` and `flags` can't be used together")
    } else if log.group.is_some_and(|group| group > 0xffff) {
        Some("a log group is a number from 0 to 65535")
    } else {
        None
    };
    match clash {
        Some(message) => Err(Fail::Invalid(Box::new(
            Diagnostic::error("bad-log", message)
                .at(span, "")
                .help("`level` and `flags` are for the kernel log, `group` is for netlink"),
        ))),
        None => Ok(()),
    }
}
