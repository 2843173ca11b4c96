//! Everything that the pages say, in words.

use super::git::History;
use crate::commands::hosts::Loaded;
use crate::commands::paths::{relative, whole};
use firewarden_diagnostic::{Span, Verdict};
use firewarden_network::Host;
use firewarden_ruleset::ir::{ChainId, RuleRef};
use firewarden_verify::matrix::{Matrix, Topology, chain_title, matrix, rule_line, services, topology};
use firewarden_verify::stack::StackFile;
use firewarden_verify::{Checked, manager_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// All pages' content.
pub struct Book {
    /// Sources by destinations.
    pub matrix: Matrix,
    /// The picture.
    pub topology: Topology,
    /// In the order declared.
    pub intents: Vec<IntentRow>,
    /// In the order declared.
    pub hosts: Vec<HostPage>,
    /// A limit ended the search for rules that these intents meet.
    pub incomplete: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `edge.nft:44`, from the stack file's folder.
    pub text: String,
    /// The same from the pages' folder, as a link; empty where it isn't a file.
    pub link: String,
}

/// One intent.
pub struct IntentRow {
    /// Its name, else its text.
    pub name: String,
    /// As declared: `allow lb -> app tcp/8080`.
    pub text: String,
    /// `allow`, `deny` or `only`.
    pub expectation: &'static str,
    /// The services.
    pub services: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What else there is to say of the answer.
    pub detail: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub because: Option<String>,
    /// Where it is declared.
    pub place: Place,
    /// Its last change.
    pub change: String,
}

/// The rules of one host.
pub struct HostPage {
    /// Its name.
    pub name: String,
    /// Its chains, in the order of the ruleset.
    pub chains: Vec<ChainPart>,
}

/// The rules of one chain.
pub struct ChainPart {
    /// `inet filter input`.
    pub title: String,
    /// `filter chain on input, policy drop`, for a base chain.
    pub about: Option<String>,
    /// The intents whose packets the policy decides on, by number.
    pub policy: Vec<usize>,
    /// Its rules.
    pub rules: Vec<RuleRow>,
}

/// One rule.
pub struct RuleRow {
    /// Where it is.
    pub place: Place,
    /// As written.
    pub text: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Who writes it, where that isn't a person.
    pub manager: Option<String>,
    /// The intents whose packets meet it, by number.
    pub intents: Vec<usize>,
    /// Its last change.
    pub change: String,
}

/// Where files are, and who changed them.
struct Places<'p> {
    loaded: &'p Loaded,
    base: &'p Path,
    out: &'p Path,
    history: History,
    texts: BTreeMap<PathBuf, (String, String)>,
}

impl Places<'_> {
    /// The place of a span, and its last change.
    fn of(&mut self, span: Span) -> (Place, String) {
        let sources = &self.loaded.files.sources;
        let Some(file) = sources.get(span.file) else { return (Place::default(), "not in git".to_owned()) };
        let first = file.line_column(span.start).line;
        let last = file.line_column(span.end.saturating_sub(1).max(span.start)).line;
        let name = Path::new(&file.name).file_name().unwrap_or_default();
        let path = self.loaded.files.folder(span.file).join(name);
        if !path.is_file() {
            return (Place { text: file.name.clone(), link: String::new() }, "not in git".to_owned());
        }
        let (base, out) = (self.base, self.out);
        let (text, link) =
            self.texts.entry(path.clone()).or_insert_with(|| (relative(base, &path), relative(out, &path)));
        let place = Place { text: format!("{text}:{first}"), link: format!("{link}#L{first}") };
        (place, self.history.of(&whole(&path), first, last))
    }
}

/// Puts the pages' content together. `base` is the stack file's folder, `out` the pages'.
pub fn book(loaded: &Loaded, stack: &StackFile, checked: &Checked, base: &Path, out: &Path) -> Book {
    let mut places = Places { loaded, base, out, history: History::default(), texts: BTreeMap::new() };
    let intents: Vec<IntentRow> = stack
        .intents
        .iter()
        .zip(&checked.results)
        .map(|(declared, result)| {
            let (place, change) = places.of(declared.span);
            IntentRow {
                name: result.name.clone(),
                text: declared.intent.full_text(),
                expectation: declared.intent.expectation.word(),
                services: services(&declared.intent),
                verdict: result.verdict,
                detail: result.detail.clone(),
                owner: declared.owner.clone(),
                because: declared.because.clone(),
                place,
                change,
            }
        })
        .collect();
    let mut users: BTreeMap<(usize, RuleRef), Vec<usize>> = BTreeMap::new();
    for (intent, used) in checked.rules.iter().enumerate() {
        for &at in &used.rules {
            users.entry(at).or_default().push(intent);
        }
    }
    let cut = checked.rules.iter().zip(&intents).filter(|(used, _)| used.more);
    Book {
        matrix: matrix(stack),
        topology: topology(stack, &loaded.hosts),
        incomplete: cut.map(|(_, intent)| intent.name.clone()).collect(),
        hosts: loaded
            .hosts
            .iter()
            .enumerate()
            .map(|(index, host)| page(index, host, &users, &mut places))
            .collect(),
        intents,
    }
}

fn page(
    index: usize,
    host: &Host,
    users: &BTreeMap<(usize, RuleRef), Vec<usize>>,
    places: &mut Places<'_>,
) -> HostPage {
    let users_of = |chain: ChainId, rule: u32| -> Vec<usize> {
        users.get(&(index, RuleRef { chain, index: rule })).cloned().unwrap_or_default()
    };
    let mut chains = Vec::new();
    for (number, chain) in host.ruleset.chains.iter().enumerate() {
        let Ok(id) = u32::try_from(number).map(ChainId) else { break };
        if chain.rules.is_empty() && chain.base.is_none() {
            continue;
        }
        let (title, about) = chain_title(&host.ruleset, id);
        let rules = chain.rules.iter().zip(0..).map(|(rule, at)| {
            let (place, change) = places.of(rule.span);
            RuleRow {
                place,
                change,
                text: rule_line(&places.loaded.files.sources, rule),
                comment: rule.comment.as_deref().map(str::to_owned),
                manager: manager_of(&host.ruleset, RuleRef { chain: id, index: at })
                    .map(|manager| manager.name),
                intents: users_of(id, at),
            }
        });
        let rules: Vec<RuleRow> = rules.collect();
        let policy = users_of(id, u32::try_from(chain.rules.len()).unwrap_or(u32::MAX));
        chains.push(ChainPart { title, about, policy, rules });
    }
    HostPage { name: host.name.clone(), chains }
}

impl Book {
    /// The owners of intents, each once.
    pub fn owners(&self, intents: &[usize]) -> Vec<&str> {
        let all = intents.iter().filter_map(|&index| self.intents.get(index)?.owner.as_deref());
        all.collect::<BTreeSet<&str>>().into_iter().collect()
    }

    /// The reasons of intents, each once, in order.
    pub fn reasons(&self, intents: &[usize]) -> Vec<&str> {
        let mut found = Vec::new();
        for reason in intents.iter().filter_map(|&index| self.intents.get(index)?.because.as_deref()) {
            if !found.contains(&reason) {
                found.push(reason);
            }
        }
        found
    }
}
