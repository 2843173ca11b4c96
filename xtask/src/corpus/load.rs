//! Corpus texts to rulesets, with what was said about them.

use firewarden_diagnostic::{Diagnostic, FileId, Severity};
use firewarden_packet::{AtomTable, Field};
use firewarden_ruleset::ir::{MapData, Rule, Ruleset, Statement, Test, Value, Verdict};
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::nft::text::SourceProvider;
use firewarden_ruleset::syntax::{ipset, iptables, nft};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// `nft -f`, `nft list ruleset`.
    Nft,
    /// `nft -j list ruleset`.
    Json,
    /// iptables-save or ip6tables-save; of either version where the text doesn't tell.
    Iptables,
    /// iptables-save.
    Iptables4,
    /// ip6tables-save.
    Iptables6,
    /// `ipset save`.
    Ipset,
}

/// A text, lowered.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What it means.
    pub ruleset: Ruleset,
    /// What was said.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// What makes the text unusable.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// The bytes of a file as text, with the masked MAC addresses of published dumps made addresses again.
pub fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.replace("XX:XX:XX:XX:XX:XX", "02:00:00:00:00:01").replace("xx:xx:xx:xx:xx:xx", "02:00:00:00:00:01")
}

/// Parses and lowers a text. `path` is where its includes are looked for.
pub fn load(text: &str, language: Language, path: &Path, atoms: &mut AtomTable) -> Loaded {
    let file = FileId(0);
    let mut loaded = Loaded::default();
    match language {
        Language::Nft | Language::Json => {
            let (script, found) = match language {
                Language::Json => nft::json::parse(file, text),
                _ => nft::text::parse(file, text, &mut Neighbours::new(path)),
            };
            loaded.diagnostics = found;
            let (ruleset, found) =
                lower::nft::lower(vec![script], &lower::nft::LowerOptions::default(), atoms);
            loaded.ruleset = ruleset;
            loaded.diagnostics.extend(found);
        }
        Language::Ipset => loaded.diagnostics = ipset::parse(file, text).1,
        Language::Iptables | Language::Iptables4 | Language::Iptables6 => {
            let versions = match language {
                Language::Iptables4 => Some(iptables::Versions::V4),
                Language::Iptables6 => Some(iptables::Versions::V6),
                _ => None,
            };
            let (save, found) = iptables::parse_as(file, text, versions);
            loaded.diagnostics = found;
            let options = lower::iptables::LowerOptions::default();
            let (ruleset, found) = lower::iptables::lower(&[save], &[], &options, atoms);
            loaded.ruleset = ruleset;
            loaded.diagnostics.extend(found);
        }
    }
    loaded
}

/// Files that are included by name, where they lie beside the one that names them.
struct Neighbours {
    names: Vec<PathBuf>,
}

impl Neighbours {
    fn new(path: &Path) -> Neighbours {
        Neighbours { names: vec![path.to_owned()] }
    }
}

impl SourceProvider for Neighbours {
    fn open(&mut self, from: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        if pattern.contains(['*', '?', '[']) {
            return Ok(Vec::new());
        }
        let folder = self.names.get(from.0 as usize).and_then(|path| path.parent()).unwrap_or(Path::new(""));
        let path = folder.join(pattern);
        let text = std::fs::read_to_string(&path).map_err(|_| "there is no such file".to_owned())?;
        let id = match self.names.iter().position(|known| *known == path) {
            Some(at) => at,
            None => {
                self.names.push(path);
                self.names.len() - 1
            }
        };
        Ok(vec![(FileId(id as u32), Arc::from(text))])
    }
}

/// The uninterpreted conditions, verdicts and written values of a rule, without the choices that are the kernel's
/// anyway: the port of a translation, the address of an interface.
pub fn atoms_of(rule: &Rule, ruleset: &Ruleset) -> Vec<Field> {
    let mut found = Vec::new();
    for statement in &rule.statements {
        match statement {
            Statement::Test(Test::Atom { atom, .. }) => found.push(*atom),
            Statement::Test(Test::Lookup { key, .. }) => found.extend(dynamic(key)),
            Statement::Verdict(Verdict::Opaque { atom }) => found.push(*atom),
            Statement::VerdictMap { key, map } => {
                found.extend(dynamic(key));
                for entry in ruleset.map(*map).into_iter().flat_map(|map| &map.entries) {
                    if let MapData::Verdict(Verdict::Opaque { atom }) = entry.data {
                        found.push(atom);
                    }
                }
            }
            Statement::Assign { value: Value::Choice(choice), .. } => found.push(*choice),
            Statement::Opaque { fields } => found.extend(fields.iter().map(|(_, choice)| *choice)),
            Statement::Test(_)
            | Statement::Verdict(_)
            | Statement::Assign { .. }
            | Statement::Nat(_)
            | Statement::Notrack
            | Statement::Neutral(_) => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn dynamic(key: &[Field]) -> impl Iterator<Item = Field> + '_ {
    key.iter().copied().filter(|field| field.is_dynamic())
}
