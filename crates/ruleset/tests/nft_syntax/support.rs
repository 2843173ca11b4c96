//! What the tests share: parsing with diagnostics as text, and trees as text without places.

use firewarden_diagnostic::{Diagnostic, FileId, SourceMap};
use firewarden_ruleset::syntax::nft::ast::Script;
use firewarden_ruleset::syntax::nft::text::{NoIncludes, SourceProvider, parse};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Texts by name, which may include one another.
#[derive(Default)]
pub struct Texts {
    pub map: SourceMap,
    files: BTreeMap<&'static str, (FileId, Arc<str>)>,
}

impl Texts {
    pub fn new(files: &[(&'static str, &str)]) -> Texts {
        let mut texts = Texts::default();
        for (name, text) in files {
            let id = texts.map.add(*name, *text);
            texts.files.insert(name, (id, Arc::from(*text)));
        }
        texts
    }

    pub fn parse(&mut self, name: &str) -> (Script, Vec<Diagnostic>) {
        let (id, text) = self.files[name].clone();
        parse(id, &text, self)
    }
}

impl SourceProvider for Texts {
    fn open(&mut self, _from: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        if let Some(prefix) = pattern.strip_suffix('*') {
            return Ok(self
                .files
                .iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(_, f)| f.clone())
                .collect());
        }
        self.files
            .get(pattern)
            .cloned()
            .map(|file| vec![file])
            .ok_or_else(|| "there is no such file".to_owned())
    }
}

/// Parses a text that includes nothing.
pub fn parse_text(text: &str) -> (Script, Vec<Diagnostic>) {
    parse(FileId(0), text, &mut NoIncludes)
}

/// `line:column code: message` of each diagnostic.
pub fn lines(text: &str, diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut map = SourceMap::default();
    map.add("t", text);
    let place = |d: &Diagnostic| d.span().map_or("-".to_owned(), |span| map.place(span));
    diagnostics
        .iter()
        .map(|d| format!("{} {}: {}", place(d).trim_start_matches("t:"), d.code, d.message))
        .collect()
}

/// A tree as text, without spans, handles and the `Variable` nodes' definitions' places.
pub fn without_places(tree: &impl std::fmt::Debug) -> String {
    let text = format!("{tree:?}");
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // `Span { file: FileId(0), start: 1, end: 2 }` becomes `_`.
    while let Some(at) = rest.find("Span { file") {
        let (before, after) = rest.split_at(at);
        result.push_str(before);
        result.push('_');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    result.push_str(rest);
    result
}

/// The folder of the corpus, or a printed reason why the test is skipped.
pub fn corpus(folder: &str) -> Option<PathBuf> {
    let found = std::env::var_os("FIREWARDEN_CORPUS").map(|root| Path::new(&root).join(folder));
    match found {
        Some(path) if path.is_dir() => Some(path),
        Some(path) => {
            println!("skipped: there is no {} in the corpus", path.display());
            None
        }
        None => {
            println!("skipped: FIREWARDEN_CORPUS is not set");
            None
        }
    }
}

/// All files below a folder with this extension, in order.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
