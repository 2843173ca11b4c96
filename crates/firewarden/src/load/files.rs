//! The files of a run: each is read once, whoever names it, and known by one id.

use super::ahead::Parsed;
use super::glob;
use super::read::{self, Text};
use firewarden_diagnostic::{Diagnostic, FileId, SourceMap, Span};
use firewarden_ruleset::syntax::nft::text::SourceProvider;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Where nft looks for included files by itself.
const DEFAULT_INCLUDE_PATH: &str = "/etc";

/// The texts read so far.
#[derive(Debug, Default)]
pub struct Files {
    /// The texts with their names.
    pub sources: SourceMap,
    /// What was strange about files themselves.
    pub diagnostics: Vec<Diagnostic>,
    /// Folders in which included files are looked for after the including file's own.
    include_paths: Vec<PathBuf>,
    /// Folders of the files, for the paths in them.
    folders: BTreeMap<FileId, PathBuf>,
    /// By the path with links resolved, so that a cycle of includes is seen as one.
    known: BTreeMap<PathBuf, FileId>,
    stdin: Option<FileId>,
    /// Texts that were parsed before anybody asked for them.
    pub(super) parsed: BTreeMap<FileId, Parsed>,
    /// A folder that stands for something else, with the name that people know its files by.
    renamed: Option<(PathBuf, String)>,
    /// Texts that are read in place of files.
    texts: Texts,
}

/// Texts with the paths that they are known by, without `.` and `..`: what this program brings along.
pub type Texts = BTreeMap<PathBuf, Arc<str>>;

impl Files {
    /// Nothing read yet. Included files are looked for in these folders after the including file's own.
    pub fn with_include_paths(include_paths: &[PathBuf]) -> Files {
        Files { include_paths: include_paths.to_vec(), ..Files::default() }
    }

    /// Shows files of a folder under another name: a temporary one, made from a revision.
    pub fn rename(&mut self, folder: &Path, name: &str) {
        self.renamed = Some((folder.to_path_buf(), name.to_owned()));
    }

    /// Reads these texts wherever one of their paths is opened, whatever the disk has there.
    pub fn bring(&mut self, texts: &Texts) {
        self.texts.extend(texts.iter().map(|(path, text)| (path.clone(), Arc::clone(text))));
    }

    /// The name of a file as people know it.
    fn name_of(&self, path: &Path) -> String {
        if let Some((folder, name)) = &self.renamed
            && let Ok(inside) = path.strip_prefix(folder)
        {
            return format!("{name}{}", inside.display());
        }
        shown(path).display().to_string()
    }

    /// Reads a file, or standard input where the path is `-`.
    pub fn open(&mut self, path: &Path) -> Result<FileId, Diagnostic> {
        if path == Path::new("-") {
            if let Some(file) = self.stdin {
                return Ok(file);
            }
            let file = self.add("<stdin>".to_owned(), read::read_stdin()?);
            self.stdin = Some(file);
            return Ok(file);
        }
        let inside = shown(path);
        if let Some(text) = self.texts.get(&inside).cloned() {
            if let Some(&file) = self.known.get(&inside) {
                return Ok(file);
            }
            let file = self.sources.add(inside.display().to_string(), text);
            self.folders.insert(file, folder_of(path));
            self.known.insert(inside, file);
            return Ok(file);
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if let Some(&file) = self.known.get(&real) {
            return Ok(file);
        }
        let file = self.add(self.name_of(path), read::read_file(path)?);
        self.folders.insert(file, folder_of(path));
        self.known.insert(real, file);
        Ok(file)
    }

    fn add(&mut self, name: String, read: Text) -> FileId {
        let shown = name.replace('`', "'");
        let file = self.sources.add(name, read.text);
        if let Some(at) = read.latin1 {
            self.diagnostics.push(
                Diagnostic::warning(
                    "not-utf-8",
                    format!("`{shown}` is not UTF-8; it was read as ISO 8859-1"),
                )
                .at(Span::new(file, at, at), "the first byte that shows it")
                .help("save it as UTF-8, so that names and comments are shown as they were meant"),
            );
        }
        file
    }

    /// The text of a file; empty for an id that isn't known.
    pub fn text(&self, file: FileId) -> &str {
        self.sources.get(file).map(|source| &*source.text).unwrap_or_default()
    }

    /// The same, to hold on to while further files are read.
    pub fn shared_text(&self, file: FileId) -> Arc<str> {
        self.sources.get(file).map(|source| Arc::clone(&source.text)).unwrap_or_default()
    }

    /// The name of a file as people know it.
    pub fn name(&self, file: FileId) -> &str {
        self.sources.get(file).map(|source| source.name.as_str()).unwrap_or_default()
    }

    /// The folder of a file; the present one for standard input.
    pub fn folder(&self, file: FileId) -> PathBuf {
        self.folders.get(&file).cloned().unwrap_or_else(|| PathBuf::from("."))
    }

    /// Where to look for an included file, in order.
    ///
    /// nft looks up a path that begins with `./` or `../` from the folder it is run in, and any other relative path in
    /// its include path (nft(8), "INCLUDING EXTERNAL FILES"). Rulesets are checked from anywhere, so the folder of the
    /// including file comes first here, for both; then the folders of `-I`; then `/etc`.
    fn places(&self, from: FileId, pattern: &str) -> Vec<PathBuf> {
        if pattern.starts_with('/') {
            return vec![PathBuf::from("/")];
        }
        let mut places = vec![self.folder(from)];
        if !pattern.starts_with("./") && !pattern.starts_with("../") {
            places.extend(self.include_paths.iter().cloned());
            places.push(PathBuf::from(DEFAULT_INCLUDE_PATH));
        }
        places
    }
}

impl SourceProvider for Files {
    fn open(&mut self, from: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        let places = self.places(from, pattern);
        let wildcard = glob::has_wildcard(pattern);
        for place in &places {
            let path = place.join(pattern);
            // Anything but a file that isn't there is worth its own words: a folder, a file that may not be read.
            let found = match wildcard {
                true => glob::expand(place, pattern),
                false if path.exists() => vec![path],
                false => continue,
            };
            if found.is_empty() {
                continue;
            }
            let mut texts = Vec::new();
            for path in found {
                let file = Files::open(self, &path).map_err(|problem| problem.message)?;
                texts.push((file, self.shared_text(file)));
            }
            return Ok(texts);
        }
        if wildcard {
            return Ok(Vec::new());
        }
        let looked: Vec<String> =
            places.iter().map(|place| format!("`{}`", place.join(pattern).display())).collect();
        Err(format!("there is no such file; looked for {}", looked.join(", ")))
    }
}

/// A path as it is shown: without `./` and without `folder/..`.
fn shown(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.into_iter().collect()
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
