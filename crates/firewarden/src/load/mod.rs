//! From paths to rulesets and facts: reading, recognising formats, and putting the files of one host together.

pub mod ahead;
mod detect;
mod files;
mod glob;
mod host;
mod read;
pub mod sections;
pub mod snapshot;

pub use detect::Format;
pub use files::{Files, Texts};
pub use host::{on_top, ruleset};
#[cfg(feature = "apply")]
pub use read::{read_file, read_stdin};

use firewarden_diagnostic::{Diagnostic, FileId, Severity, Span};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of a stack file in a folder.
const STACK_FILE: &str = "firewarden.yaml";

/// How much of a file is looked at to suggest it, in bytes.
const LOOKED_AT: u64 = 8192;

/// What the paths on the command line are.
#[derive(Debug)]
pub enum Subject {
    /// A stack file.
    Stack(FileId),
    /// The rulesets of one host.
    Rulesets(Vec<RulesetFile>),
    /// Folders that `firewarden capture` has written, one for each host.
    Snapshots(Vec<PathBuf>),
}

/// A file with rules, not parsed yet.
#[derive(Clone, Copy, Debug)]
pub struct RulesetFile {
    /// The text.
    pub file: FileId,
    /// What it is written in.
    pub format: Format,
}

/// Finds out what the paths are. The error is about the first path that can't be used.
pub fn subject(paths: &[PathBuf], files: &mut Files) -> Result<Subject, Diagnostic> {
    if let [only] = paths
        && only.is_dir()
    {
        let stack = only.join(STACK_FILE);
        if stack.exists() {
            return Ok(Subject::Stack(files.open(&stack)?));
        }
        let several = snapshot::snapshots_in(only);
        if !snapshot::is_snapshot(only) && !several.is_empty() {
            return Ok(Subject::Snapshots(several));
        }
    }
    if !paths.is_empty() && paths.iter().all(|path| snapshot::is_snapshot(path)) {
        return Ok(Subject::Snapshots(paths.to_vec()));
    }
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Diagnostic::error("standard-input-twice", "`-` is given more than once")
            .help("standard input can be read once; write the other text to a file"));
    }
    if let Some(folder) = paths.iter().find(|path| path.is_dir()) {
        return Err(no_stack_file(folder));
    }
    let mut rulesets = Vec::new();
    for path in paths {
        let file = files.open(path)?;
        match detect::detect(files.text(file), files.name(file))? {
            Format::Stack if paths.len() == 1 => return Ok(Subject::Stack(file)),
            Format::Stack => {
                let message = format!("`{}` is a stack file, which comes alone", path.display());
                return Err(Diagnostic::error("mixed-input", message)
                    .help("name the rulesets in it, under `rules`, and give nothing but the stack file"));
            }
            format => rulesets.push(RulesetFile { file, format }),
        }
    }
    Ok(Subject::Rulesets(rulesets))
}

fn no_stack_file(folder: &Path) -> Diagnostic {
    let shown = folder.display();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort_unstable();
    let problem = Diagnostic::error("no-stack-file", format!("the folder `{shown}` has no `{STACK_FILE}`"));
    let yaml = names.iter().find(|name| name.ends_with(".yaml") || name.ends_with(".yml"));
    if let Some(yaml) = yaml {
        return problem.help(format!("did you mean `{}`?", folder.join(yaml).display()));
    }
    match names.iter().find(|name| looks_like_rules(&folder.join(name))) {
        Some(file) => problem.help(format!(
            "write one (docs/guide.md shows how), or give a ruleset, such as `{}`",
            folder.join(file).display()
        )),
        None => problem.help("write one (docs/guide.md shows how), or give a ruleset file"),
    }
}

/// Whether the beginning of a file with a usual name is in a language of rulesets. Anything may be called `.conf`.
fn looks_like_rules(path: &Path) -> bool {
    let usual = ["nft", "rules", "v4", "v6", "conf"];
    if !path.extension().is_some_and(|end| usual.iter().any(|usual| end == *usual)) || !path.is_file() {
        return false;
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    read.is_ok()
        && matches!(
            detect::detect(&String::from_utf8_lossy(&start), ""),
            Ok(Format::NftText | Format::NftJson | Format::IptablesSave)
        )
}

/// A file that a stack file names, relative to it. `None` after saying why not.
pub fn declared(path: &str, at: Span, stack: FileId, files: &mut Files) -> Option<RulesetFile> {
    let full = files.folder(stack).join(path);
    let opened = files.open(&full).and_then(|file| {
        let format = detect::detect(files.text(file), files.name(file))?;
        Ok(RulesetFile { file, format })
    });
    match opened {
        Ok(RulesetFile { format: Format::Stack, .. }) => {
            let message = format!("`{path}` is a stack file, not a ruleset");
            files.diagnostics.push(
                Diagnostic::error("mixed-input", message)
                    .at(at, "named here")
                    .help("name a ruleset in its place"),
            );
            None
        }
        Ok(found) => Some(found),
        Err(problem) => {
            files.diagnostics.push(problem.at(at, "named here"));
            None
        }
    }
}

/// True where something is wrong enough that no answer is worth anything.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
