//! Loads stacks and rulesets for tests.
#![allow(dead_code, reason = "each test uses a part")]

use firewarden_diagnostic::Span;
use firewarden_diagnostic::{ResultItem, SourceMap, Verdict};
use firewarden_network::{Address, Host, Interface};
use firewarden_packet::{AtomTable, InterfaceName};
use firewarden_ruleset::ir::Ruleset;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::{iptables, nft};
use firewarden_verify::intent::parse_intent;
use firewarden_verify::stack::{DeclaredIntent, StackFile, read_stack};
use firewarden_verify::{CheckOptions, Checked, Place, check};
use std::path::Path;

/// Texts, atoms and hosts.
#[derive(Default)]
pub struct World {
    pub sources: SourceMap,
    pub atoms: AtomTable,
    pub hosts: Vec<Host>,
    pub stack: Option<StackFile>,
}

impl World {
    /// A ruleset from texts: nft, or iptables-save where a line begins with `*`.
    pub fn ruleset(&mut self, scope: &str, texts: &[(&str, String)]) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for (name, text) in texts {
            let file = self.sources.add(*name, text.clone());
            let (own, said) = if text.lines().any(|line| line.starts_with('*')) {
                let (save, mut said) = iptables::parse(file, text);
                let options = lower::iptables::LowerOptions { scope, ..Default::default() };
                let (own, found) = lower::iptables::lower(&[save], &[], &options, &mut self.atoms);
                said.extend(found);
                (own, said)
            } else {
                let (script, mut said) = nft::text::parse(file, text, &mut nft::text::NoIncludes);
                let options = lower::nft::LowerOptions { scope };
                let (own, found) = lower::nft::lower(vec![script], &options, &mut self.atoms);
                said.extend(found);
                (own, said)
            };
            let errors: Vec<_> =
                said.iter().filter(|d| d.severity == firewarden_diagnostic::Severity::Error).collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
            ruleset.append(own);
        }
        ruleset
    }

    /// A stack file with its rulesets, which `read` finds by the name that the stack file gives.
    pub fn stack(text: &str, read: &dyn Fn(&str) -> String) -> World {
        let mut world = World::default();
        let file = world.sources.add("firewarden.yaml", text);
        let (stack, said) = read_stack(file, text);
        assert!(said.is_empty(), "{said:#?}");
        for declared in &stack.hosts {
            let texts: Vec<(&str, String)> =
                declared.rules.iter().map(|path| (path.value.as_str(), read(&path.value))).collect();
            let ruleset = world.ruleset(&declared.name.value, &texts);
            world.hosts.push(host_of(declared, ruleset));
        }
        world.stack = Some(stack);
        world
    }

    /// The stack of a folder.
    pub fn folder(path: &str) -> World {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        let text = std::fs::read_to_string(root.join("firewarden.yaml")).unwrap();
        World::stack(&text, &|name| std::fs::read_to_string(root.join(name)).unwrap())
    }

    /// One ruleset without a stack.
    pub fn bare(text: &str) -> World {
        let mut world = World::default();
        let ruleset = world.ruleset("host", &[("rules", text.to_owned())]);
        world.hosts.push(Host { name: "host".to_owned(), ruleset, forwards: true, ..Host::default() });
        world
    }

    /// Checks the stack's intents and others from text.
    pub fn check(&mut self, intents: &[&str]) -> Checked {
        let mut declared: Vec<DeclaredIntent> =
            self.stack.as_ref().map(|stack| stack.intents.clone()).unwrap_or_default();
        for text in intents {
            let file = self.sources.add("--intent", *text);
            let place = Place::exact(Span::new(file, 0, text.len()));
            declared.push(DeclaredIntent::bare(parse_intent(text, place, None).unwrap()));
        }
        let options = CheckOptions::default();
        check(&mut self.hosts, self.stack.as_ref(), &declared, &mut self.atoms, &self.sources, &options)
            .unwrap()
    }

    /// A result in a few lines.
    pub fn show(&self, item: &ResultItem) -> String {
        let mut out = format!("{} {}", item.verdict.word(), item.intent);
        if let Some(detail) = &item.detail {
            out.push_str(&format!(" ({detail})"));
        }
        for finding in &item.findings {
            let diagnostic = &finding.diagnostic;
            let place = diagnostic.span().map(|span| self.sources.place(span)).unwrap_or_default();
            out.push_str(&format!("\n  {place}: [{}] {}", diagnostic.code, diagnostic.message));
            for label in &diagnostic.labels {
                out.push_str(&format!("\n    @{} {}", self.sources.place(label.span), label.message));
            }
            for note in &diagnostic.notes {
                out.push_str(&format!("\n    note: {note}"));
            }
            if let Some(help) = &diagnostic.help {
                out.push_str(&format!("\n    help: {help}"));
            }
            for witness in &finding.witnesses {
                out.push_str(&format!(
                    "\n    packet: {} => {} {:?}",
                    witness.packet, witness.outcome, witness.given
                ));
                for step in &witness.path {
                    let mark = if step.decides { "*" } else { " " };
                    out.push_str(&format!(
                        "\n     {mark} {} {}: {} => {}",
                        step.host, step.place, step.rule, step.action
                    ));
                }
            }
        }
        out
    }
}

fn host_of(declared: &firewarden_verify::stack::Host, ruleset: Ruleset) -> Host {
    let address = |ip: std::net::IpAddr, prefix: u32| {
        let (family, value) = firewarden_verify::address::number(ip);
        Address { nfproto: family.nfproto(), value, prefix }
    };
    let interfaces: Vec<Interface> = declared
        .interfaces
        .iter()
        .map(|interface| Interface {
            name: InterfaceName::new(&interface.name.value).unwrap(),
            addresses: interface
                .addresses
                .iter()
                .map(|at| address(at.value.address, at.value.prefix_length))
                .collect(),
            uplink: interface.uplink,
        })
        .collect();
    Host {
        name: declared.name.value.clone(),
        ruleset,
        forwards: interfaces.len() > 1,
        interfaces,
        addresses: declared
            .addresses
            .iter()
            .map(|at| address(at.value, if at.value.is_ipv4() { 32 } else { 128 }))
            .collect(),
        addresses_known: true,
        ..Host::default()
    }
}

/// Verdicts in order.
pub fn verdicts(checked: &Checked) -> Vec<Verdict> {
    checked.results.iter().map(|item| item.verdict).collect()
}
