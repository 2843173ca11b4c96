//! `firewarden drill mutations`: the model's verdicts against the wires.

use super::place::{PROBER, Place, no_probers, outside_addresses, stack_file};
use super::problem;
use crate::cli::drill::{DrillFormat, Mutations};
use crate::commands::examples;
use crate::commands::{Stopped, internal};
use crate::load::{Files, Texts};
use crate::output::{self, Color};
use firewarden_diagnostic::{Finding, Report, Severity, Verdict, Witness};
use firewarden_lab::layout::{Layout, Loader};
use firewarden_lab::mutation::drill::{
    Agreement, Case, CaseResult, Compared, Drill, Judged, Judgement, Shown, Tally, tally,
};
use firewarden_lab::mutation::{Format, Mutation, RulesFile, Vocabulary, all, draw};
use firewarden_lab::outside;
use firewarden_lab::place::Lab;
use firewarden_lab::probe::{Attempt, Probers, Target};
use firewarden_lab::sample;
use firewarden_lab::stack::BUILT_IN;
use firewarden_verify::stack::StackFile;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// The version of the JSON.
const FORMAT_VERSION: u32 = 1;

/// Runs it.
pub fn run(options: &Mutations, color: Color) -> Result<ExitCode, Stopped> {
    let place = Place::find(options.name.as_deref(), color)?;
    let result = plant_all(options, &place.lab);
    drop(place);
    let run = result?;
    let text = match options.format {
        DrillFormat::Human => run.human(),
        DrillFormat::Json => run.json(),
    };
    output::print(&text)?;
    let is_true = run.total.misses + run.total.false_refusals == 0;
    Ok(ExitCode::from(u8::from(!is_true)))
}

/// The stack of a lab, as it is loaded for the model.
struct Stack {
    /// The stack file.
    path: PathBuf,
    /// Its texts; those of a folder stay where they are.
    texts: Texts,
    file: StackFile,
    /// The files that machines load: as the layout calls them, as the model reads them, how, and for which machine.
    rules: Vec<Rules>,
}

struct Rules {
    path: PathBuf,
    read_as: PathBuf,
    format: Format,
    interfaces: Vec<String>,
    text: String,
}

impl Stack {
    fn of(lab: &Lab) -> Result<Stack, Stopped> {
        let (path, texts) = stack_file(lab);
        let mut files = Files::with_include_paths(&[]);
        files.bring(&texts);
        let file = crate::commands::hosts::declared_stack(&path, &mut files)?;
        let mut rules: Vec<Rules> = Vec::new();
        for machine in &lab.layout().machines {
            for loaded in &machine.rules {
                let format = match loaded.loader {
                    Loader::Nft => Format::Nft,
                    Loader::Iptables => Format::Iptables,
                    Loader::Ip6tables => Format::Ip6tables,
                    Loader::Ipset => continue,
                };
                if rules.iter().any(|known| known.path == loaded.path) {
                    continue;
                }
                let read_as = match loaded.path.strip_prefix(BUILT_IN) {
                    Ok(name) => path.parent().unwrap_or(Path::new("")).join(name),
                    Err(_) => loaded.path.clone(),
                };
                let id = files.open(&read_as)?;
                let text = files.text(id).to_owned();
                let names = machine.interfaces.iter().map(|interface| interface.name.clone());
                let interfaces = std::iter::once("lo".to_owned()).chain(names).collect();
                rules.push(Rules { path: loaded.path.clone(), read_as, format, interfaces, text });
            }
        }
        Ok(Stack { path, texts, file, rules })
    }

    /// What the model says of the rulesets with a mistake.
    fn judge(&self, mutation: &Mutation) -> Result<Judgement, Stopped> {
        let mut texts = self.texts.clone();
        for file in mutation.files() {
            let rules = &self.rules[file];
            texts.insert(rules.read_as.clone(), Arc::from(mutation.apply(file, &rules.text)));
        }
        let (report, _) =
            examples::checked(&self.path, &texts).map_err(|what| internal(&what.to_string()))?;
        Ok(judgement(&report))
    }
}

fn judgement(report: &Report) -> Judgement {
    let error = report.diagnostics.iter().find(|problem| problem.severity == Severity::Error);
    if let (Some(error), true) = (error, report.results.is_empty()) {
        return Judgement::Refused(error.message.clone());
    }
    let judged = report.results.iter().map(|result| Judged {
        verdict: result.verdict.word().to_owned(),
        shown: match result.verdict {
            Verdict::Fail | Verdict::Depends => result.findings.iter().filter_map(shown).collect(),
            _ => Vec::new(),
        },
    });
    Judgement::Judged(judged.collect())
}

/// The packet that breaks an intent; where it depends, the first one of a finding does.
fn shown(finding: &Finding) -> Option<Shown> {
    let witness = finding.witnesses.first()?;
    Some(Shown {
        packet: witness.packet.clone(),
        attempt: attempt(witness),
        arrives_at: witness.outcome.strip_prefix("delivered to ").map(str::to_owned),
    })
}

/// A packet as a socket can send it: the beginning of a TCP connection, or an echo request.
fn attempt(witness: &Witness) -> Option<Attempt> {
    let field = |names: [&str; 2]| {
        let mut found = witness.fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
        found.next().map(|(_, value)| value.as_str())
    };
    let source: IpAddr = field(["ip.saddr", "ip6.saddr"])?.parse().ok()?;
    let destination: IpAddr = field(["ip.daddr", "ip6.daddr"])?.parse().ok()?;
    if field(["ct.state", "ct.state"]).is_some_and(|state| state != "new") {
        return None;
    }
    // Told in the packet's text only.
    let hops = witness.packet.split(" ttl ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let port = |name| field([name, name]).and_then(|port| port.parse::<u16>().ok());
    match field(["l4proto", "l4proto"])? {
        "tcp" => {
            let flags = field(["tcp.flags", "tcp.flags"]);
            let target = Target::Tcp(SocketAddr::new(destination, port("tcp.dport")?));
            let is_first = flags.is_none_or(|flags| flags == "syn");
            is_first.then_some(Attempt { source, source_port: port("tcp.sport"), hops, target })
        }
        "icmp" | "icmpv6" | "ipv6-icmp" => {
            let kind = field(["icmp.type", "icmpv6.type"]);
            let is_echo = kind.is_some_and(|kind| ["echo-request", "8", "128"].contains(&kind));
            is_echo.then_some(Attempt { source, source_port: None, hops, target: Target::Echo(destination) })
        }
        _ => None,
    }
}

/// A drill that is over. This is the published format (`docs/schema/mutation-drill-v1.json`).
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden mutation drill, version 1")]
struct Run {
    /// The version of this format: 1.
    version: u32,
    /// What mistakes and connections were drawn from.
    seed: u64,
    /// How many mistakes are known for the rulesets.
    known: usize,
    /// How many connections were tried for each mistake, beside the packets of findings.
    connections: usize,
    /// How long it took, without the lab's coming up.
    seconds: f64,
    /// The intents of the stack file, in its order.
    intents: Vec<String>,
    /// All mistakes together.
    total: Tally,
    /// The mistakes of each kind that was drawn.
    kinds: Vec<Tally>,
    /// Each mistake, in the order in which they were planted.
    cases: Vec<Case>,
}

/// The JSON Schema of `--format json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Run).to_value()
}

fn plant_all(options: &Mutations, lab: &Lab) -> Result<Run, Stopped> {
    let begun = Instant::now();
    let stack = Stack::of(lab)?;
    let interfaces: Vec<Vec<&str>> =
        stack.rules.iter().map(|rules| rules.interfaces.iter().map(String::as_str).collect()).collect();
    let names: Vec<String> = stack.rules.iter().map(|rules| name(&rules.path)).collect();
    let files: Vec<RulesFile> = stack
        .rules
        .iter()
        .zip(&interfaces)
        .zip(&names)
        .map(|((rules, interfaces), name)| RulesFile {
            name,
            text: &rules.text,
            format: rules.format,
            interfaces,
        })
        .collect();
    let paths: Vec<PathBuf> = stack.rules.iter().map(|rules| rules.path.clone()).collect();
    let known = all(&files, &vocabulary(lab.layout()));
    let drawn = draw(options.seed, usize::try_from(options.count).unwrap_or(usize::MAX), &known);
    let outside: Vec<IpAddr> = outside_addresses();
    let samples = sample::draw(&stack.file, &outside, options.seed);
    let connections = samples.len();
    let probers = Probers::start(lab, &PROBER).map_err(|error| no_probers(&error))?;
    let mut drill = Drill::begin(lab, &stack.file, probers, samples).map_err(problem)?;
    let bar = bar(drawn.len());
    let mut cases = Vec::new();
    for index in drawn {
        let mutation = &known[index];
        let judgement = stack.judge(mutation)?;
        let result = drill.plant(mutation, &files, &paths, &judgement).map_err(problem)?;
        cases.push(Case {
            kind: mutation.kind.word().to_owned(),
            file: names[mutation.file].clone(),
            line: mutation.line,
            what: mutation.what.clone(),
            result,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut kinds = tally(&cases);
    let total = kinds.pop().unwrap_or_default();
    Ok(Run {
        version: FORMAT_VERSION,
        seed: options.seed,
        known: known.len(),
        connections,
        seconds: begun.elapsed().as_secs_f64(),
        intents: stack.file.intents.iter().map(|declared| declared.intent.full_text()).collect(),
        total,
        kinds,
        cases,
    })
}

fn bar(count: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos} of {len} mistakes ({elapsed}, {eta} left)")
    {
        bar.set_style(style);
    }
    bar
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The addresses of the lab's machines.
fn vocabulary(layout: &Layout) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for address in
        layout.machines.iter().flat_map(|machine| machine.addresses()).chain([outside::office(false)])
    {
        match address {
            IpAddr::V4(address) => vocabulary.ipv4.push(address),
            IpAddr::V6(address) => vocabulary.ipv6.push(address),
        }
    }
    vocabulary
}

impl Run {
    fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn human(&self) -> String {
        let mut text = String::from(
            "kind         planted  not loadable  refused  harmless  misses  false refusals  undecided  not shown\n",
        );
        for tally in self.kinds.iter().chain([&self.total]) {
            let kind = if tally.kind.is_empty() { "all" } else { &tally.kind };
            text.push_str(&format!(
                "{kind:<12} {:>7}  {:>12}  {:>7}  {:>8}  {:>6}  {:>14}  {:>9}  {:>9}\n",
                tally.planted,
                tally.unloadable,
                tally.refused,
                tally.harmless,
                tally.misses,
                tally.false_refusals,
                tally.undecided,
                tally.not_shown,
            ));
        }
        for (agreement, title) in [
            (Agreement::Miss, "missed: `check` passes, and a connection shows that the intent doesn't hold"),
            (
                Agreement::FalseRefusal,
                "refused though it holds: `check` fails, and the packet does what it should",
            ),
            (
                Agreement::Undecided,
                "undecided: it depends on what the model has no value for; nothing was seen broken",
            ),
            (
                Agreement::NotShown,
                "not shown: `check` fails by a packet that no socket sends; nothing else shows it",
            ),
        ] {
            self.list(&mut text, agreement, title);
        }
        for case in &self.cases {
            if let CaseResult::RefusedByKernel { why } = &case.result {
                text.push_str(&format!("\nonly the loader refuses it: {}\n  {why}\n", place(case)));
            }
            if let CaseResult::RefusedByModel { why } = &case.result {
                text.push_str(&format!(
                    "\nonly `check` says that it can't be loaded: {}\n  {why}\n",
                    place(case)
                ));
            }
        }
        let Tally { planted, unloadable, misses, false_refusals, undecided, not_shown, .. } = self.total;
        let compared = planted - unloadable;
        let agree = self.cases.iter().filter(|case| agrees(case)).count();
        text.push_str(&format!(
            "\n{planted} of {} known mistakes, seed {}: {agree} of {compared} that load are judged as the lab shows \
             ({:.1} %); {misses} missed, {false_refusals} refused for nothing, {undecided} undecided, {not_shown} not \
             shown; {} connections each, {:.0} s\n",
            self.known,
            self.seed,
            100.0 * agree as f64 / compared.max(1) as f64,
            self.connections,
            self.seconds,
        ));
        text
    }

    fn list(&self, text: &mut String, agreement: Agreement, title: &str) {
        let cases: Vec<&Case> = self.cases.iter().filter(|case| case.has(agreement)).collect();
        if cases.is_empty() {
            return;
        }
        text.push_str(&format!("\n{title}\n"));
        for case in cases {
            text.push_str(&format!("  {}\n", place(case)));
            let CaseResult::Compared(intents) = &case.result else { continue };
            for Compared { intent, evidence, .. } in intents.iter().filter(|one| one.agreement == agreement) {
                let intent = self.intents.get(*intent).map(String::as_str).unwrap_or_default();
                text.push_str(&format!("    {intent}\n"));
                for line in evidence.iter().take(3) {
                    text.push_str(&format!("      {line}\n"));
                }
            }
        }
    }
}

fn agrees(case: &Case) -> bool {
    match &case.result {
        CaseResult::Compared(intents) => intents.iter().all(|one| one.agreement == Agreement::Agrees),
        _ => false,
    }
}

fn place(case: &Case) -> String {
    format!("{}:{} {}: {}", case.file, case.line, case.kind, case.what)
}
