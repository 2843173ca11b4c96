//! What a change of rulesets means: which packets fare differently, and nothing else.

mod json;
mod names;
mod show;
mod versions;

pub use json::schema;
pub use names::Cut;
pub use names::of as names_of;
pub use versions::Versions;
#[cfg(feature = "apply")]
pub use versions::find as find_versions;

use super::Stopped;
use super::hosts;
use crate::cli::Diff;
use crate::internal_error;
use crate::load::{self, Files};
use crate::output::{self, AnswerFormat, Color};
use crate::progress::Progress;
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::{Diagnostic, SourceMap, Verdict};
use firewarden_network::Host;
use firewarden_packet::{AtomTable, PacketBox};
use firewarden_verify::CheckOptions;
use firewarden_verify::diff::{
    DiffOptions, HostPair, Names, NotCompared, Telling, ToldChange, Touched, align_atoms,
};
use firewarden_verify::stack::{DeclaredIntent, StackFile};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Something differs.
const DIFFERS: u8 = 1;
/// A limit ended before everything was compared.
const UNDETERMINED: u8 = 3;

/// Everything that a diff says.
pub struct Answer {
    /// What was compared, in words.
    pub before: String,
    pub after: String,
    pub hosts: Vec<HostAnswer>,
    /// The intents that were asked of both sides; none where there is no stack file, or nothing differs.
    pub intents: Vec<IntentChange>,
    /// Intents that only the stack file before declares, so that nothing holds the version after to them.
    pub withdrawn: Vec<String>,
}

/// What differs on one host.
pub struct HostAnswer {
    pub name: String,
    pub touched: Touched,
    pub changes: Vec<ToldChange>,
    /// For each change, the sockets that wait for its packets.
    pub listeners: Vec<Vec<String>>,
    /// Live connections that are cut, where connections are known.
    pub cuts: Vec<Cut>,
    pub undecided: Vec<PacketBox>,
    /// What differs and isn't compared by meaning.
    pub not_compared: Vec<NotCompared>,
    pub regions: u64,
    /// Only one of the two has the host.
    pub only: Option<&'static str>,
}

impl HostAnswer {
    /// True where everything was compared.
    pub fn is_complete(&self) -> bool {
        self.undecided.is_empty() && self.not_compared.is_empty()
    }
}

/// An intent before and after.
pub struct IntentChange {
    pub intent: String,
    pub owner: Option<String>,
    pub before: Verdict,
    pub after: Verdict,
    /// Why, where it holds no more: the first finding's words.
    pub why: Option<String>,
}

/// Runs the command.
pub fn run(options: &Diff, color: Color) -> Result<ExitCode, Stopped> {
    let versions = versions::find(options)?;
    let comparison = match compare(options, &versions, color)? {
        Ok(comparison) => comparison,
        Err(what) => {
            internal_error::complain(&what);
            return Ok(ExitCode::from(internal_error::INTERNAL_ERROR));
        }
    };
    output::print(&comparison.render(options.format, color.style()))?;
    let code = ExitCode::from(comparison.answer.exit_code());
    // The process ends here, and takes both rulesets with it at once; rule by rule it would take as long as reading some.
    std::mem::forget(comparison);
    Ok(code)
}

/// An answer, and what it speaks of.
pub struct Comparison {
    pub answer: Answer,
    sides: Sides,
}

impl Comparison {
    /// The answer as text.
    pub fn render(&self, format: AnswerFormat, style: Style) -> String {
        show::render(&self.answer, &self.sides.atoms, &self.sides.sources, format, style)
    }

    /// The stack files before and after, where there are any.
    #[cfg(feature = "apply")]
    pub fn stacks(&self) -> [Option<&StackFile>; 2] {
        [self.sides.before.stack.as_ref(), self.sides.after.stack.as_ref()]
    }
}

/// Compares two versions. The inner error is what engine and interpreter don't agree about.
pub fn compare(
    options: &Diff,
    versions: &Versions,
    color: Color,
) -> Result<Result<Comparison, String>, Stopped> {
    let mut files = Files::with_include_paths(&options.include_paths);
    if let Some((folder, name)) = &versions.renamed {
        files.rename(folder, name);
    }
    files.bring(&versions.texts);
    let mut atoms = AtomTable::default();
    if !options.running {
        load::ahead::parse([&versions.before, &versions.after], &mut files);
    }
    let before = side(&versions.before, options, versions, &mut files, &mut atoms)?;
    let after = match options.running {
        true => hosts::on_top(&before, &options.paths, &mut files, &mut atoms)?,
        false => side(&versions.after, options, versions, &mut files, &mut atoms)?,
    };
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: files.diagnostics, sources: files.sources });
    }
    output::complain(&files.diagnostics, &files.sources, color);
    let progress = Progress::start("comparing");
    let mut sides = Sides { before, after, atoms, sources: files.sources };
    let compared = sides.compare(options, versions.names.clone());
    drop(progress);
    match compared {
        Ok(answer) => Ok(Ok(Comparison { answer, sides })),
        Err(Failure::Input(problem)) => Err(Stopped { diagnostics: vec![problem], sources: sides.sources }),
        Err(Failure::Internal(what)) => Ok(Err(what)),
    }
}

/// Reads one version.
fn side(
    paths: &[PathBuf],
    options: &Diff,
    versions: &Versions,
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Result<hosts::Hosts, Stopped> {
    #[cfg(feature = "apply")]
    if let (Some((stack, host)), [folder]) = (&versions.live, paths) {
        return hosts::with_live(hosts::Live { stack: stack.as_deref(), host, folder }, files, atoms);
    }
    #[cfg(not(feature = "apply"))]
    let _ = versions;
    hosts::load_from(paths, options.host.as_deref(), files, atoms)
}

impl Answer {
    /// Intents whose verdict changes.
    pub fn changed_intents(&self) -> impl Iterator<Item = &IntentChange> {
        self.intents.iter().filter(|intent| intent.before != intent.after)
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        let differs = |host: &HostAnswer| !host.changes.is_empty() || host.only.is_some();
        if self.hosts.iter().any(differs) {
            DIFFERS
        } else if self.hosts.iter().any(|host| !host.is_complete()) {
            UNDETERMINED
        } else {
            0
        }
    }
}

/// Why there is no answer.
enum Failure {
    Input(Diagnostic),
    Internal(String),
}

/// Both sides, read.
struct Sides {
    before: hosts::Hosts,
    after: hosts::Hosts,
    atoms: AtomTable,
    sources: SourceMap,
}

impl Sides {
    fn compare(&mut self, options: &Diff, words: (String, String)) -> Result<Answer, Failure> {
        let intents = self.intents();
        for (side, stack) in
            [(&mut self.before.hosts, &self.before.stack), (&mut self.after.hosts, &self.after.stack)]
        {
            if let Some(stack) = stack {
                firewarden_verify::complete_hosts(side, stack, &intents);
            }
        }
        let names = names::of(&self.after.hosts, &self.before.hosts);
        let mut answer = Answer {
            before: words.0,
            after: words.1,
            hosts: Vec::new(),
            intents: Vec::new(),
            withdrawn: self.withdrawn(),
        };
        let all: BTreeSet<String> =
            self.before.hosts.iter().chain(self.after.hosts.iter()).map(|host| host.name.clone()).collect();
        let bare = self.before.stack.is_none() && self.after.stack.is_none();
        if self.before.stack.is_none() != self.after.stack.is_none() {
            return Err(Failure::Input(
                Diagnostic::error("different-kinds", "one side is a ruleset, the other one a stack of hosts")
                    .help("give two rulesets or two folders; a ruleset of one host of a stack is compared with `diff OLD.nft NEW.nft`"),
            ));
        }
        for name in all {
            if options.host.as_ref().is_some_and(|wanted| *wanted != name && !bare) {
                continue;
            }
            answer.hosts.push(self.host(&name, options, &names)?);
        }
        if let Some(wanted) = options.host.as_ref().filter(|_| answer.hosts.is_empty()) {
            let known: Vec<&str> = self.after.hosts.iter().map(|host| host.name.as_str()).collect();
            return Err(Failure::Input(hosts::unknown(wanted, &known)));
        }
        if answer.hosts.iter().any(|host| !host.changes.is_empty() || host.only.is_some())
            && !intents.is_empty()
        {
            answer.intents = self.intent_changes(&intents)?;
        }
        Ok(answer)
    }

    fn host(&mut self, name: &str, options: &Diff, names: &Names) -> Result<HostAnswer, Failure> {
        let place = |hosts: &[Host]| hosts.iter().position(|host| host.name == name);
        let found = (place(&self.before.hosts), place(&self.after.hosts));
        let mut told = HostAnswer {
            name: name.to_owned(),
            touched: Touched::default(),
            changes: Vec::new(),
            listeners: Vec::new(),
            cuts: Vec::new(),
            undecided: Vec::new(),
            not_compared: Vec::new(),
            regions: 0,
            only: None,
        };
        let (Some(first), Some(second)) = found else {
            told.only = Some(if found.0.is_some() { "before" } else { "after" });
            return Ok(told);
        };
        let Some(before) = self.before.hosts.get(first) else { return Ok(told) };
        if let Some(after) = self.after.hosts.get_mut(second) {
            align_atoms(&before.ruleset, &mut after.ruleset, &self.atoms);
        }
        let Some(after) = self.after.hosts.get(second) else { return Ok(told) };
        let pair = HostPair::new(before, after, &self.atoms);
        let mut limits = DiffOptions::default();
        if let Some(steps) = options.budget {
            limits.steps = steps;
        }
        let compared = pair.compare(&self.atoms, limits);
        if let Some(what) = compared.unconfirmed {
            return Err(Failure::Internal(format!("engine and interpreter disagree about {what}")));
        }
        let telling = Telling { before, after, atoms: &self.atoms, sources: &self.sources, names };
        told.not_compared = pair.not_compared(&self.sources);
        told.touched = pair.touched();
        told.changes = telling.changes(&compared);
        told.listeners = told.changes.iter().map(|change| names::listeners(after, change)).collect();
        told.cuts = names::cuts(&telling, &self.atoms, names, names::session());
        told.undecided = compared.undecided;
        told.regions = compared.regions;
        Ok(told)
    }

    /// The intents that hold after the change.
    fn intents(&self) -> Vec<DeclaredIntent> {
        self.after.stack.as_ref().map(|stack| stack.intents.clone()).unwrap_or_default()
    }

    /// Intents that hold before the change only, in their words.
    fn withdrawn(&self) -> Vec<String> {
        let words = |stack: &Option<StackFile>| -> Vec<String> {
            stack
                .iter()
                .flat_map(|stack| &stack.intents)
                .map(|declared| declared.intent.full_text())
                .collect()
        };
        let after = words(&self.after.stack);
        words(&self.before.stack).into_iter().filter(|text| !after.contains(text)).collect()
    }

    /// Asks each intent of both sides.
    fn intent_changes(&mut self, intents: &[DeclaredIntent]) -> Result<Vec<IntentChange>, Failure> {
        let mut verdicts = Vec::new();
        for side in [&mut self.before, &mut self.after] {
            let checked = firewarden_verify::check(
                &mut side.hosts,
                side.stack.as_ref(),
                intents,
                &mut self.atoms,
                &self.sources,
                &CheckOptions::default(),
            )
            .map_err(|disagreement| Failure::Internal(disagreement.to_string()))?;
            verdicts.push(checked.results);
        }
        let [before, after] = verdicts.as_slice() else { return Ok(Vec::new()) };
        let asked = before.iter().zip(after);
        Ok(asked
            .map(|(before, after)| IntentChange {
                intent: after.intent.clone(),
                owner: after.owner.clone(),
                before: before.verdict,
                after: after.verdict,
                why: after.shown().first().map(|finding| finding.diagnostic.message.clone()),
            })
            .collect())
    }
}
