//! The way of a packet as text, JSON and Markdown.

use super::{Hinge, Way};
use crate::output::AnswerFormat;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::text::{clip, one_line};
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, InterfaceName, Point, text};
use firewarden_ruleset::interpreter::{Event, Outcome, What};
use firewarden_ruleset::ir::{Chain, Family, Hook, NatDirection, Policy, RejectWith, Ruleset};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest rule that is shown, in characters.
const LONGEST_RULE: usize = 160;

/// Everything there is to say.
pub struct Answer<'a> {
    pub packet: &'a Point,
    pub host: &'a Host,
    pub way: &'a Way,
    pub hinges: &'a [Hinge],
    pub atoms: &'a AtomTable,
    pub sources: &'a SourceMap,
}

/// The JSON Schema of the answer.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(WireTrace).to_value()
}

/// The way of one packet through one host.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden trace, version 1")]
struct WireTrace {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// The packet that was asked about.
    packet: String,
    /// The host.
    host: String,
    /// `accept`, `drop` or `reject`.
    outcome: String,
    /// The packet at the end, with what rules changed.
    end: String,
    /// What happened, in order. Rules that don't match, and those that only count, aren't among it.
    steps: Vec<WireStep>,
    /// Constructs that aren't modelled and would change the outcome.
    depends_on: Vec<WireHinge>,
}

/// Something that happened.
#[derive(Serialize, JsonSchema)]
struct WireStep {
    /// The hook, such as `input`.
    hook: String,
    /// Family, table and chain, such as `inet filter input`.
    chain: String,
    /// The rule's text; empty for a policy.
    rule: String,
    /// What it did: `accept`, `drop`, `jump web`, `dnat to 10.0.1.10:443`, `policy drop`.
    action: String,
    /// The file of the rule.
    file: String,
    /// Its line, from 1.
    line: u32,
    /// Its column in characters, from 1.
    column: u32,
}

/// A construct that isn't modelled.
#[derive(Serialize, JsonSchema)]
struct WireHinge {
    /// Its text in the ruleset.
    construct: String,
    /// What it was taken to be.
    taken_to_match: bool,
}

impl Answer<'_> {
    /// The answer in a format.
    pub fn render(&self, format: AnswerFormat, style: Style) -> String {
        match format {
            AnswerFormat::Human => self.human(style),
            AnswerFormat::Json => {
                // Strings, numbers and lists always serialize.
                let text = serde_json::to_string_pretty(&self.wire()).unwrap_or_default();
                format!("{text}\n")
            }
            AnswerFormat::Markdown => self.markdown(),
        }
    }

    fn wire(&self) -> WireTrace {
        let mut steps = Vec::new();
        for (hook, events) in &self.way.hooks {
            let before = std::iter::once(None).chain(events.iter().map(Some));
            for (event, before) in events.iter().zip(before) {
                // A translation accepts the packet, which needs no line of its own.
                let translated = before.is_some_and(|before| {
                    before.rule == event.rule && matches!(before.what, What::Translated(..))
                });
                if !(translated && event.what == What::Accepted) {
                    steps.push(self.step(*hook, event));
                }
            }
        }
        WireTrace {
            schema_version: 1,
            packet: text::format(self.packet, self.atoms),
            host: self.host.name.clone(),
            outcome: word(self.way.outcome).to_owned(),
            end: text::format(&self.way.end, self.atoms),
            steps,
            depends_on: self
                .hinges
                .iter()
                .map(|hinge| WireHinge {
                    construct: self.construct(hinge).to_owned(),
                    taken_to_match: hinge.value != 0,
                })
                .collect(),
        }
    }

    fn construct(&self, hinge: &Hinge) -> &str {
        self.atoms.get(hinge.field).map(|info| &*info.text).unwrap_or_default()
    }

    fn step(&self, hook: Hook, event: &Event) -> WireStep {
        let ruleset = &self.host.ruleset;
        let chain = ruleset.chain(event.rule.chain);
        let rule = ruleset.rule(event.rule);
        let policy = chain.and_then(|chain| chain.base.as_ref()).map(|base| base.policy_span);
        let span = rule.map(|rule| rule.span).or(policy).unwrap_or_default();
        let (file, line, column) = place(span, self.sources);
        WireStep {
            hook: hook_name(hook).to_owned(),
            chain: chain.map(|chain| chain_name(chain, ruleset)).unwrap_or_default(),
            rule: rule.map(|rule| one_line(self.sources.slice(rule.span)).into_owned()).unwrap_or_default(),
            action: self.action(event.what),
            file,
            line,
            column,
        }
    }

    fn action(&self, what: What) -> String {
        let ruleset = &self.host.ruleset;
        let named = |id| match ruleset.chain(id).map(|chain| &*chain.name) {
            None | Some("") => "the block behind it".to_owned(),
            Some(name) => one_line(name).into_owned(),
        };
        match what {
            What::Jumped(chain) => format!("jump {}", named(chain)),
            What::WentTo(chain) => format!("goto {}", named(chain)),
            What::Returned => "return".to_owned(),
            What::Wrote(field, value) => format!("set {} to {}", field.name(), self.value(field, value)),
            What::Translated(direction, end) => {
                let word = match direction {
                    NatDirection::Source => "snat",
                    NatDirection::Destination => "dnat",
                };
                let v6 = self.packet.get(Field::NFPROTO) == 10;
                let address = ip(end.address, v6);
                if v6 {
                    format!("{word} to [{address}]:{}", end.port)
                } else {
                    format!("{word} to {address}:{}", end.port)
                }
            }
            What::Untracked => "notrack".to_owned(),
            What::Logged => "log".to_owned(),
            What::Accepted => "accept".to_owned(),
            What::Dropped => "drop".to_owned(),
            What::Rejected(RejectWith::TcpReset) => "reject with tcp reset".to_owned(),
            What::Rejected(RejectWith::Icmp) => "reject".to_owned(),
            What::Policy(Policy::Accept) => "policy accept".to_owned(),
            What::Policy(Policy::Drop) => "policy drop".to_owned(),
        }
    }

    fn value(&self, field: Field, value: u128) -> String {
        match field {
            Field::SADDR | Field::DADDR => ip(value, self.packet.get(Field::NFPROTO) == 10),
            Field::IIFNAME | Field::OIFNAME => InterfaceName(value).to_string(),
            Field::MARK | Field::CT_MARK => format!("{value:#x}"),
            _ => value.to_string(),
        }
    }

    fn human(&self, style: Style) -> String {
        let wire = self.wire();
        let paint = |text: &str, color: AnsiColor| match style {
            Style::Plain => text.to_owned(),
            Style::Color => {
                let ansi = Ansi::new().bold().fg_color(Some(color.into()));
                format!("{ansi}{text}{ansi:#}")
            }
        };
        let mut out = String::new();
        push(&mut out, format_args!("{}\n", one_line(&wire.packet)));
        let mut shown = ("", "");
        for step in &wire.steps {
            if shown != (&step.hook, &step.chain) {
                push(&mut out, format_args!("\n{}: {}\n", step.hook, one_line(&step.chain)));
                shown = (&step.hook, &step.chain);
            }
            let color = match step.action.as_str() {
                "drop" | "policy drop" => AnsiColor::Red,
                action if action.starts_with("reject") => AnsiColor::Red,
                "accept" | "policy accept" => AnsiColor::Green,
                _ => AnsiColor::Cyan,
            };
            let at = format!("{}:{}", step.file, step.line);
            push(&mut out, format_args!("  {}\n", paint(&step.action, color)));
            let rule = if step.rule.is_empty() { "the chain's policy" } else { &step.rule };
            push(&mut out, format_args!("    {}  {}\n", one_line(&at), clip(rule, LONGEST_RULE)));
        }
        if wire.steps.is_empty() {
            out.push_str("\nno rule and no policy had anything to do with it\n");
        }
        for hinge in &wire.depends_on {
            let construct = hinge.construct.replace('`', "'");
            push(
                &mut out,
                format_args!(
                    "\ndepends on `{}`, taken not to match; add `where \"{}\" is true` to the packet to see the other way\n",
                    one_line(&construct),
                    one_line(&hinge.construct)
                ),
            );
        }
        let color = if wire.outcome == "accept" { AnsiColor::Green } else { AnsiColor::Red };
        push(&mut out, format_args!("\n{}", paint(&wire.outcome, color)));
        if wire.end != wire.packet && wire.outcome == "accept" {
            push(&mut out, format_args!(", as {}", one_line(&wire.end)));
        }
        out.push('\n');
        out
    }

    fn markdown(&self) -> String {
        let wire = self.wire();
        let cell = |text: &str| {
            clip(&one_line(text).replace('|', "\\|").replace('`', "'"), LONGEST_RULE).into_owned()
        };
        let mut out = format!("**{}**: `{}`\n\n", wire.outcome, cell(&wire.packet));
        out.push_str("| hook | chain | place | rule | action |\n|---|---|---|---|---|\n");
        for step in &wire.steps {
            push(
                &mut out,
                format_args!(
                    "| {} | `{}` | `{}:{}` | `{}` | {} |\n",
                    step.hook,
                    cell(&step.chain),
                    cell(&step.file),
                    step.line,
                    cell(if step.rule.is_empty() { "policy" } else { &step.rule }),
                    cell(&step.action),
                ),
            );
        }
        for hinge in &wire.depends_on {
            push(&mut out, format_args!("\nDepends on `{}`, taken not to match.\n", cell(&hinge.construct)));
        }
        out
    }
}

/// Appends to a string, which can't fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accept",
        Outcome::Dropped => "drop",
        Outcome::Rejected(_) => "reject",
    }
}

fn place(span: Span, sources: &SourceMap) -> (String, u32, u32) {
    match sources.get(span.file) {
        Some(file) => {
            let at = file.line_column(span.start);
            (file.name.clone(), at.line, at.column)
        }
        None => (String::new(), 0, 0),
    }
}

fn ip(value: u128, v6: bool) -> String {
    match u32::try_from(value) {
        Ok(short) if !v6 => Ipv4Addr::from(short).to_string(),
        _ => Ipv6Addr::from(value).to_string(),
    }
}

/// Family, table and chain as nft writes them.
pub fn chain_name(chain: &Chain, ruleset: &Ruleset) -> String {
    let Some(table) = ruleset.table(chain.table) else { return chain.name.to_string() };
    let family = match table.family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
        Family::Inet => "inet",
        Family::Arp => "arp",
        Family::Bridge => "bridge",
        Family::Netdev => "netdev",
    };
    format!("{family} {} {}", table.name, chain.name).trim_end().to_owned()
}

fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "ingress",
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
        Hook::Egress => "egress",
    }
}
