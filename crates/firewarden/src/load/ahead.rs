//! Two versions of a ruleset parsed side by side: what one text says doesn't hang on the other.

use super::{Files, Format, detect};
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_ruleset::syntax::nft;
use firewarden_ruleset::syntax::nft::ast::Script;
use firewarden_ruleset::syntax::nft::text::NoIncludes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Shorter texts are parsed sooner than a thread is started.
const WORTH_A_THREAD: usize = 128 << 10;

/// A text of nft, parsed.
pub type Parsed = (Script, Vec<Diagnostic>);

/// Parses the files of two versions on two threads and keeps the results for when they are asked for. Does nothing where
/// any of them isn't plain text of nft without includes, or can't be read: loading then says what there is to say.
pub fn parse(versions: [&[PathBuf]; 2], files: &mut Files) {
    let [Some(before), Some(after)] = versions.map(|paths| texts(paths, files)) else { return };
    let long = |texts: &[(FileId, Arc<str>)]| texts.iter().map(|(_, text)| text.len()).sum::<usize>();
    if long(&before).min(long(&after)) < WORTH_A_THREAD {
        return;
    }
    let all = |texts: &[(FileId, Arc<str>)]| -> Vec<(FileId, Parsed)> {
        texts.iter().map(|(file, text)| (*file, nft::text::parse(*file, text, &mut NoIncludes))).collect()
    };
    let parsed = thread::scope(|scope| {
        let other = scope.spawn(|| all(&before));
        let own = all(&after);
        // A panic there comes again where the file is parsed in its turn.
        other.join().map(|other| [other, own]).ok()
    });
    for (file, parsed) in parsed.into_iter().flatten().flatten() {
        files.parsed.insert(file, parsed);
    }
}

/// The texts of some paths, where all are nft's and include nothing.
fn texts(paths: &[PathBuf], files: &mut Files) -> Option<Vec<(FileId, Arc<str>)>> {
    let mut texts = Vec::with_capacity(paths.len());
    for path in paths {
        if path == Path::new("-") || !path.is_file() {
            return None;
        }
        let file = files.open(path).ok()?;
        let text = files.shared_text(file);
        let is_nft = detect::detect(&text, files.name(file)).is_ok_and(|format| format == Format::NftText);
        if !is_nft || text.contains("include") || texts.iter().any(|(known, _)| *known == file) {
            return None;
        }
        texts.push((file, text));
    }
    Some(texts)
}
