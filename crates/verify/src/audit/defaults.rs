//! What base chains do beside their rules: established connections, loopback, invalid packets, the end of the chain.

use super::Context;
use super::bases::{packets, sees};
use super::checks;
use super::open::Open;
use super::rules::{Ledger, Standing, unconditional};
use super::space::Space;
use super::summary::Tally;
use super::words::{Effect, chain_text, effect_of, interface};
use crate::exposed::Way;
use firewarden_diagnostic::Diagnostic;
use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler, StepKind};
use firewarden_packet::{Cube, Dim, Field, PacketBox, Point, ct_state, fib_type, tcp_flag};
use firewarden_ruleset::ir::{ChainId, ChainType, Dialect, Hook, Neutral, Policy, RuleRef, Statement};
use std::collections::BTreeSet;

/// The most regions of one question.
const REGIONS: usize = 2_000;

/// The most rules looked at for one question.
const STEPS: u64 = 5_000_000;

/// An accepted packet, and the rule that accepted it last.
enum Answer {
    /// None is accepted.
    Refused,
    /// By this rule or policy; `None` where no chain filters.
    Accepted(Option<RuleRef>),
    Unknown,
}

struct Defaults<'c, 'a, 'f> {
    context: &'c mut Context<'a, 'f>,
    engine: &'a Engine<'a>,
    space: &'a Space<'a>,
    ledger: &'c Ledger,
    open: &'c Open,
    tally: &'c mut Tally,
}

/// Looks at the defaults of a host.
pub fn examine(context: &mut Context<'_, '_>, ledger: &Ledger, open: &Open, tally: &mut Tally) {
    let (engine, space) = (context.engine, context.space);
    let mut defaults = Defaults { context, engine, space, ledger, open, tally };
    defaults.established();
    defaults.loopback();
    defaults.invalid();
    defaults.reload_leak();
    defaults.unlogged();
}

impl Defaults<'_, '_, '_> {
    fn families(&self, hook: Hook) -> Vec<u128> {
        let ruleset = &self.context.host.ruleset;
        let filtered = |nfproto: &u128| {
            ruleset.base_chains(hook, *nfproto).iter().any(|&id| {
                ruleset
                    .chain(id)
                    .and_then(|chain| chain.base.as_ref())
                    .is_some_and(|base| base.chain_type == ChainType::Filter)
            })
        };
        [2, 10].into_iter().filter(filtered).collect()
    }

    /// Families and hooks where packets that nobody named are denied.
    fn denying(&self) -> Vec<(Way, Hook, u128)> {
        let mut found = Vec::new();
        for (way, hook) in [(Way::Input, Hook::Input), (Way::Forward, Hook::Forward)] {
            for nfproto in self.families(hook) {
                if !self.open.general.contains(&(way, nfproto)) {
                    found.push((way, hook, nfproto));
                }
            }
        }
        found
    }

    /// Whether some packet of a box passes a hook.
    fn any_accepted(&mut self, hook: Hook, question: PacketBox) -> Answer {
        let mut peeler = Peeler::new([question]);
        let mut budget = STEPS;
        for _ in 0..REGIONS {
            let Some(part) = peeler.piece() else { return Answer::Refused };
            let point = Point::in_box(part, &Point::default());
            let mut flow = Flow::new(part.clone(), point, self.context.subject.atoms);
            let decision =
                self.engine.run_hook(hook, &mut flow, self.context.host, Detail::Fate, &mut budget);
            match decision {
                Ok(decision) if decision.fate == Fate::Accepted => {
                    let accepting = |kind: &StepKind| {
                        matches!(kind, StepKind::Accepted | StepKind::Policy(Policy::Accept))
                    };
                    let last = decision.steps.iter().rev().find(|step| accepting(&step.kind));
                    return Answer::Accepted(last.map(|step| step.rule));
                }
                Ok(_) => {
                    let region = flow.region().clone();
                    peeler.cut(&region, self.context.subject.atoms);
                }
                Err(_) => break,
            }
        }
        self.tally.defaults_undecided += 1;
        Answer::Unknown
    }

    /// Packets that come in by an interface other than the loopback's.
    fn from_elsewhere(hook: Hook, nfproto: u128) -> PacketBox {
        let lo = interface("lo");
        packets(hook, nfproto)
            .with(Field::IIFNAME, Dim::Range(lo + 1, u128::MAX))
            .with_value(Field::FIB_REVERSE_PATH, 1)
            .with_value(Field::FIB_SADDR_TYPE, fib_type::UNICAST)
            .with_value(Field::MARK, 0)
    }

    fn base_of(&self, hook: Hook, nfproto: u128) -> Option<ChainId> {
        let ruleset = &self.context.host.ruleset;
        let denies = |id: &ChainId| {
            ruleset
                .chain(*id)
                .and_then(|chain| chain.base.as_ref())
                .is_some_and(|base| base.chain_type == ChainType::Filter)
        };
        let chains = ruleset.base_chains(hook, nfproto);
        let with_rules =
            |id: &&ChainId| denies(id) && ruleset.chain(**id).is_some_and(|chain| !chain.rules.is_empty());
        chains.iter().rfind(with_rules).or_else(|| chains.iter().rfind(|id| denies(id))).copied()
    }

    fn accepts_something(&self, hook: Hook) -> bool {
        self.ledger.rules.iter().any(|(at, standing)| {
            let live = matches!(standing, Standing::Needed(_) | Standing::Redundant(..) | Standing::Open(_));
            let here = || {
                self.space.ways(at.chain).is_some_and(|ways| {
                    ways.known.iter().any(|way| self.space.base(way.base).is_some_and(|(of, _)| of == hook))
                })
            };
            let accepts =
                || self.context.host.ruleset.rule(*at).is_some_and(|rule| effect_of(rule) == Effect::Accepts);
            live && accepts() && here()
        })
    }

    fn established(&mut self) {
        let mut told = BTreeSet::new();
        for (_, hook, nfproto) in self.denying() {
            if !self.accepts_something(hook) {
                continue;
            }
            let tested = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN;
            let question = Self::from_elsewhere(hook, nfproto)
                .with_value(Field::L4PROTO, 6)
                .with_value(Field::CT_STATE, ct_state::ESTABLISHED)
                .with_value(Field::CT_DIRECTION, 1)
                .with_value(Field::SPORT, 443)
                .with(Field::DPORT, Dim::Range(32_768, 60_999))
                .with(Field::TCP_FLAGS, Dim::Bits(Cube::new(tested, tcp_flag::ACK)))
                .with_value(Field::FRAGMENT_OFFSET, 0);
            let (Answer::Refused, Some(chain)) =
                (self.any_accepted(hook, question), self.base_of(hook, nfproto))
            else {
                continue;
            };
            if !told.insert(chain) {
                continue;
            }
            let span = self.context.host.ruleset.chain(chain).map(|chain| chain.span).unwrap_or_default();
            let what = if hook == Hook::Input {
                "this host has opened"
            } else {
                "hosts behind this one have opened"
            };
            let message = format!("answers on connections that {what} are denied");
            let diagnostic = Diagnostic::warning(checks::NO_ESTABLISHED.id, message)
                .at(span, "no rule accepts established connections")
                .because("asked of TCP packets from port 443 to ports 32768 to 60999, in state established")
                .help("add `ct state established,related accept` before the rules that deny");
            self.context.report_chain(&checks::NO_ESTABLISHED, chain, diagnostic);
        }
    }

    fn loopback(&mut self) {
        let mut told = BTreeSet::new();
        let lo = interface("lo");
        for (way, hook, nfproto) in self.denying() {
            if way != Way::Input {
                continue;
            }
            let Some(chain) = self.base_of(hook, nfproto) else { continue };
            let span = self.context.host.ruleset.chain(chain).map(|chain| chain.span).unwrap_or_default();
            let (low, high) = if nfproto == 2 { (0x7F00_0000, 0x7FFF_FFFF) } else { (1, 1) };
            let new = packets(hook, nfproto)
                .with_value(Field::L4PROTO, 6)
                .with_value(Field::CT_STATE, ct_state::NEW)
                .with(Field::SADDR, Dim::Range(low, high))
                .with(Field::DADDR, Dim::Range(low, high))
                .with(Field::TCP_FLAGS, Dim::Bits(Cube::new(0x17, tcp_flag::SYN)))
                .with_value(Field::DPORT, 631);
            let own = new.clone().with(Field::IIFNAME, Dim::Range(lo, lo));
            if matches!(self.any_accepted(hook, own), Answer::Refused) && told.insert((chain, false)) {
                let message = "the host can't reach itself over the loopback interface";
                let diagnostic = Diagnostic::warning(checks::LOOPBACK_DENIED.id, message)
                    .at(span, "denies what comes in by lo")
                    .help("add `iifname \"lo\" accept` at the top: programs on the host talk to each other that way");
                self.context.report_chain(&checks::LOOPBACK_DENIED, chain, diagnostic);
            }
            let mut spoofed = new.with(Field::IIFNAME, Dim::Range(lo + 1, u128::MAX));
            spoofed.clear(Field::DADDR);
            spoofed.clear(Field::DPORT);
            if let Answer::Accepted(Some(rule)) = self.any_accepted(hook, spoofed)
                && told.insert((chain, true))
            {
                let message = "packets with a loopback source are let in by other interfaces";
                let diagnostic = Diagnostic::note(checks::LOOPBACK_SPOOFING.id, message)
                    .at(super::words::span_of(&self.context.host.ruleset, rule), "lets some of them in")
                    .because("the kernel drops them unless `route_localnet` is set")
                    .help("after accepting lo, drop what has a source of 127.0.0.0/8 or ::1");
                self.context.report_chain(&checks::LOOPBACK_SPOOFING, chain, diagnostic);
            }
        }
    }

    fn invalid(&mut self) {
        let mut told = BTreeSet::new();
        for (_, hook, nfproto) in self.denying() {
            let question = Self::from_elsewhere(hook, nfproto)
                .with_value(Field::L4PROTO, 6)
                .with_value(Field::CT_STATE, ct_state::INVALID);
            let Answer::Accepted(Some(rule)) = self.any_accepted(hook, question) else { continue };
            let Some(chain) = self.base_of(hook, nfproto).filter(|chain| told.insert(*chain)) else {
                continue;
            };
            let message = format!("packets in state invalid pass the {} hook", hook.word());
            let diagnostic = Diagnostic::note(checks::INVALID_ACCEPTED.id, message)
                .at(super::words::span_of(&self.context.host.ruleset, rule), "accepts some of them")
                .help("add `ct state invalid drop` behind the rule for established connections");
            self.context.report_chain(&checks::INVALID_ACCEPTED, chain, diagnostic);
        }
    }

    /// Base chains that deny by their policy alone, in files that are loaded by flushing everything first.
    fn reload_leak(&mut self) {
        let ruleset = &self.context.host.ruleset;
        let mut found = Vec::new();
        for (number, chain) in ruleset.chains.iter().enumerate() {
            let (Some(base), Some(table)) = (&chain.base, ruleset.table(chain.table)) else { continue };
            let filters =
                base.chain_type == ChainType::Filter && matches!(base.hook, Hook::Input | Hook::Forward);
            let flushed = || {
                self.context
                    .subject
                    .sources
                    .get(chain.span.file)
                    .is_some_and(|file| super::lint::flushes(&file.text))
            };
            let ends = chain
                .rules
                .last()
                .is_some_and(|rule| unconditional(rule) && effect_of(rule) == Effect::Denies);
            if base.policy != Policy::Drop || !filters || ends || table.dialect != Dialect::Nft || !flushed()
            {
                continue;
            }
            let message = "while this file is loaded again, packets that the policy denies can pass";
            let diagnostic = Diagnostic::note(checks::RELOAD_LEAK.id, message)
                .at(base.policy_span, "only the policy denies")
                .because("the kernel puts the policy of a chain into force apart from its rules, which was measured to let packets through while rulesets are swapped under load")
                .help("end the chain with `drop`, which comes and goes with the other rules");
            found.push((ChainId(number as u32), diagnostic));
        }
        for (chain, diagnostic) in found {
            self.context.report_chain(&checks::RELOAD_LEAK, chain, diagnostic);
        }
    }

    fn unlogged(&mut self) {
        let mut told = BTreeSet::new();
        for (_, hook, nfproto) in self.denying() {
            let ruleset = &self.context.host.ruleset;
            let logs = ruleset.chains.iter().enumerate().any(|(number, chain)| {
                let id = ChainId(number as u32);
                let here = || {
                    self.space.roots(id).iter().any(|&base| {
                        self.space
                            .base(base)
                            .is_some_and(|(of, families)| of == hook && families.contains(&nfproto))
                    })
                };
                let log = |statement: &Statement| matches!(statement, Statement::Neutral(Neutral::Log));
                chain.rules.iter().flat_map(|rule| &rule.statements).any(log) && here()
            });
            let Some(chain) = self.base_of(hook, nfproto).filter(|_| !logs) else { continue };
            let seen = ruleset.table_of(chain).is_some_and(|table| sees(table.family, nfproto));
            if !seen || !told.insert(chain) {
                continue;
            }
            let span = ruleset.chain(chain).map(|chain| chain.span).unwrap_or_default();
            let message = format!("nothing that `{}` denies is logged", chain_text(ruleset, chain));
            let diagnostic = Diagnostic::note(checks::DROPS_NOT_LOGGED.id, message)
                .at(span, "")
                .help("log what reaches the end of the chain, with a limit: `limit rate 10/minute log prefix \"denied \"`");
            self.context.report_chain(&checks::DROPS_NOT_LOGGED, chain, diagnostic);
        }
    }
}
