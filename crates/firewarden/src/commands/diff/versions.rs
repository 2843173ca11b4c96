//! What is compared with what: two paths, a revision with the files as they are, or the live ruleset with a file.

use crate::cli::Diff;
use crate::load::Texts;
use firewarden_diagnostic::Diagnostic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The two versions.
pub struct Versions {
    pub before: Vec<PathBuf>,
    pub after: Vec<PathBuf>,
    /// What people call them.
    pub names: (String, String),
    /// The commit that was before, where it is a revision.
    #[cfg(feature = "apply")]
    pub commit: Option<String>,
    /// The folder that stands for a revision, and what its files are called.
    pub renamed: Option<(PathBuf, String)>,
    /// Texts that are read in place of files.
    pub texts: Texts,
    /// The stack file in which the two versions are one host's, with that host's name; `before` and `after` are snapshots
    /// then.
    #[cfg(feature = "apply")]
    pub live: Option<(Option<PathBuf>, String)>,
    /// Goes away with this.
    _folder: Option<TempDir>,
}

#[cfg(feature = "apply")]
impl Versions {
    /// Two snapshots of one host, in a stack file where one is given.
    pub fn live(
        (before, after): (PathBuf, PathBuf),
        names: (String, String),
        subject: (Option<PathBuf>, String),
    ) -> Versions {
        Versions {
            before: vec![before],
            after: vec![after],
            names,
            commit: None,
            renamed: None,
            texts: Texts::new(),
            live: Some(subject),
            _folder: None,
        }
    }
}

impl Versions {
    /// Two folders of texts that this program brings along.
    pub fn brought(before: PathBuf, after: PathBuf, texts: Texts) -> Versions {
        Versions {
            names: (before.display().to_string(), after.display().to_string()),
            before: vec![before],
            after: vec![after],
            #[cfg(feature = "apply")]
            commit: None,
            renamed: None,
            texts,
            #[cfg(feature = "apply")]
            live: None,
            _folder: None,
        }
    }
}

/// Finds out what is compared.
pub fn find(options: &Diff) -> Result<Versions, Diagnostic> {
    let shown = |path: &Path| path.display().to_string();
    match (&options.git, options.running, options.paths.as_slice()) {
        (None, false, [before, after]) if before.as_os_str() == "-" && after == before => {
            Err(usage("standard input can't be both versions"))
        }
        (None, false, [before, after]) => Ok(Versions {
            names: (shown(before), shown(after)),
            before: vec![before.clone()],
            after: vec![after.clone()],
            #[cfg(feature = "apply")]
            commit: None,
            renamed: None,
            texts: Texts::new(),
            #[cfg(feature = "apply")]
            live: None,
            _folder: None,
        }),
        (Some(revision), false, [path]) => revision_of(revision, path),
        (None, true, [path]) => running(path),
        (Some(_), true, _) => {
            Err(usage("`--git` and `--running` are two different ways to say what was before"))
        }
        (None, false, _) => Err(usage("two versions are needed: BEFORE and AFTER")),
        _ => Err(usage("one path is needed: what it will be")),
    }
}

fn usage(problem: &str) -> Diagnostic {
    Diagnostic::error("usage", problem).help(
        "`firewarden diff OLD.nft NEW.nft`, `firewarden diff --git HEAD~1 FOLDER`, or `firewarden diff --running NEW.nft`",
    )
}

/// The files of a revision beside those of the working tree. The whole revision is unpacked, since rulesets include
/// files from anywhere in it.
fn revision_of(revision: &str, path: &Path) -> Result<Versions, Diagnostic> {
    let real = path.canonicalize().map_err(|error| {
        Diagnostic::error("unreadable", format!("`{}` can't be read: {error}", path.display()))
            .help("give a file or folder that is in the working tree")
    })?;
    let folder = if real.is_dir() { real.clone() } else { real.parent().unwrap_or(&real).to_path_buf() };
    let top = git(&folder, &["rev-parse", "--show-toplevel"])?;
    let top = PathBuf::from(top.trim_end())
        .canonicalize()
        .map_err(|error| Diagnostic::error("git", format!("the repository can't be found: {error}")))?;
    // A revision must not be taken for an option.
    let commit = git(
        &folder,
        &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")],
    )
    .map_err(|_| {
        Diagnostic::error("git-revision", format!("there is no revision `{}`", revision.replace('`', "'")))
            .help("see `git log`; in a shallow clone fetch more history, as with `fetch-depth: 0`")
    })?;
    let short = commit.trim_end().get(..10).unwrap_or_default().to_owned();
    let unpacked = tempfile::tempdir().map_err(|error| {
        Diagnostic::error("temporary-folder", format!("no temporary folder can be made: {error}"))
            .help("set TMPDIR to a folder that can be written")
    })?;
    unpack(&top, commit.trim_end(), unpacked.path())?;
    let inside = real.strip_prefix(&top).unwrap_or(Path::new("")).to_path_buf();
    let before = unpacked.path().join(&inside);
    if !before.exists() {
        return Err(Diagnostic::error(
            "git-path",
            format!("`{}` is not in revision `{}`", inside.display(), revision.replace('`', "'")),
        )
        .help("give an older path with `firewarden diff OLD NEW`, or another revision"));
    }
    Ok(Versions {
        names: (format!("{revision} ({short})"), path.display().to_string()),
        #[cfg(feature = "apply")]
        commit: Some(commit.trim_end().to_owned()),
        before: vec![before],
        after: vec![path.to_path_buf()],
        renamed: Some((unpacked.path().to_path_buf(), format!("{revision}:"))),
        texts: Texts::new(),
        #[cfg(feature = "apply")]
        live: None,
        _folder: Some(unpacked),
    })
}

/// Runs git and gives what it prints.
fn git(folder: &Path, arguments: &[&str]) -> Result<String, Diagnostic> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().map_err(|error| {
        Diagnostic::error("git", format!("git can't be run: {error}")).help("install git")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("no reason given").replace('`', "'");
        return Err(Diagnostic::error("git", format!("git failed: {said}"))
            .help("run it in a git working tree, or give two paths"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `git archive` into `tar`.
fn unpack(top: &Path, commit: &str, to: &Path) -> Result<(), Diagnostic> {
    let failed = |what: String| {
        Diagnostic::error("git", what).help("check that git and tar are installed and the disk has space")
    };
    let mut archive = Command::new("git")
        .arg("-C")
        .arg(top)
        .args(["archive", "--format=tar", commit])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("git can't be run: {error}")))?;
    let Some(stream) = archive.stdout.take() else { return Err(failed("git gave no output".to_owned())) };
    let tar = Command::new("tar").arg("-x").arg("-C").arg(to).stdin(Stdio::from(stream)).status();
    let archived = archive.wait().map_err(|error| failed(format!("git didn't end: {error}")))?;
    let unpacked = tar.map_err(|error| failed(format!("tar can't be run: {error}")))?;
    if archived.success() && unpacked.success() {
        Ok(())
    } else {
        Err(failed(format!("revision {commit} can't be unpacked")))
    }
}

/// The live ruleset of this host, as a snapshot, beside a file.
fn running(path: &Path) -> Result<Versions, Diagnostic> {
    let folder = tempfile::tempdir().map_err(|error| {
        Diagnostic::error("temporary-folder", format!("no temporary folder can be made: {error}"))
            .help("set TMPDIR to a folder that can be written")
    })?;
    let unreadable = |why: String| {
        Diagnostic::error("running-ruleset", format!("the live ruleset can't be read: {why}"))
            .help("run it as root, or give a file that `nft list ruleset` or iptables-save wrote")
    };
    let snapshot = firewarden_host::capture(&firewarden_host::CaptureOptions::default())
        .map_err(|error| unreadable(error.to_string()))?;
    if let Some(why) = snapshot.manifest.missing.get(firewarden_host::snapshot::RULESET) {
        return Err(unreadable(why.clone()));
    }
    let written = firewarden_host::snapshot::write(&snapshot, folder.path(), true)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Versions {
        names: ("the live ruleset".to_owned(), path.display().to_string()),
        #[cfg(feature = "apply")]
        commit: None,
        before: vec![written.clone()],
        after: vec![path.to_path_buf()],
        renamed: Some((written, "live ".to_owned())),
        texts: Texts::new(),
        #[cfg(feature = "apply")]
        live: None,
        _folder: Some(folder),
    })
}
