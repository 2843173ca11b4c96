//! The folder of the changes: read and added to.

use super::{Stopped, stop, stopped};
use firewarden_change::approval::{Approval, read_approval};
use firewarden_change::record::{Change, Event, Record, Review, is_id, read_event, read_record, read_review};
use firewarden_diagnostic::{Diagnostic, FileId, SourceMap};
use firewarden_host::folder::{Folder, FolderError, Lock};
use std::path::Path;

/// The record in a change's folder.
const RECORD: &str = "change.yaml";
/// Folders beside it.
const REVIEWS: &str = "reviews";
const APPROVALS: &str = "approvals";
const EVENTS: &str = "events";
const PLANS: &str = "plans";
pub const EVIDENCE: &str = "evidence";
/// The most bytes of a record, a review and so on.
const MOST_BYTES: u64 = 1 << 20;
/// The most bytes of a plan or a piece of evidence.
const MOST_EVIDENCE: u64 = 256 << 20;

/// All changes of a folder.
pub struct Book {
    folder: Folder,
}

/// A change with the folder that it is in.
pub struct Entry {
    pub change: Change,
    pub folder: Folder,
}

impl Book {
    /// Opens the folder of the changes.
    pub fn open(path: &Path) -> Result<Book, Stopped> {
        match Folder::open(path) {
            Ok(folder) => Ok(Book { folder }),
            Err(FolderError::Missing(_)) => Err(stop(
                "change-folder",
                format!("there is no folder `{}`", path.display()),
                "`firewarden change propose` makes it; `--changes DIR` names another one",
            )),
            Err(error) => Err(unusable(&error)),
        }
    }

    /// The same, made where it is missing.
    pub fn make(path: &Path) -> Result<Book, Stopped> {
        std::fs::create_dir_all(path).map_err(|error| {
            stop(
                "unwritable",
                format!("cannot make `{}`: {error}", path.display()),
                "give a folder that you may write to",
            )
        })?;
        Book::open(path)
    }

    /// The ids of all changes, in order. Whatever else is in the folder isn't looked at, but for folders that look like one.
    pub fn ids(&self) -> Result<Vec<String>, Stopped> {
        let names = self.folder.names().map_err(|error| unusable(&error))?;
        Ok(names.into_iter().filter(|name| is_id(name)).collect())
    }

    /// Every change, and what is wrong with those that can't be read.
    pub fn all(&self, sources: &mut SourceMap) -> Result<(Vec<Entry>, Vec<Diagnostic>), Stopped> {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.read(&id, sources) {
                Ok(entry) => entries.push(entry),
                Err(found) => problems.extend(found),
            }
        }
        Ok((entries, problems))
    }

    /// One change.
    pub fn one(&self, id: &str) -> Result<Entry, Stopped> {
        if !is_id(id) {
            return Err(self.unknown(id));
        }
        let mut sources = SourceMap::default();
        match self.folder.folder(id) {
            Err(FolderError::Missing(_)) => Err(self.unknown(id)),
            _ => self.read(id, &mut sources).map_err(|problems| stopped(problems, sources)),
        }
    }

    fn unknown(&self, id: &str) -> Stopped {
        let known = self.ids().unwrap_or_default();
        let help = match firewarden_verify::nearest(id, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `firewarden change list`".to_owned(),
        };
        stop("unknown-change", format!("there is no change `{}`", id.replace('`', "'")), help)
    }

    /// Makes the folder of a new change; there must be none.
    pub fn add(&self, id: &str) -> Result<Folder, Stopped> {
        self.folder.make(id).map_err(|error| match error {
            FolderError::Present(_) => stop(
                "change-present",
                format!("there is a change `{id}` already"),
                format!(
                    "give this one another name with `--id`, or make another version with `--amend {id}`"
                ),
            ),
            error => unusable(&error),
        })
    }

    fn read(&self, id: &str, sources: &mut SourceMap) -> Result<Entry, Vec<Diagnostic>> {
        let broken = |error: &FolderError| vec![problem(error)];
        let folder = self.folder.folder(id).map_err(|error| broken(&error))?;
        let text = folder.text(RECORD, MOST_BYTES).map_err(|error| broken(&error))?;
        let name = folder.path().join(RECORD).display().to_string();
        let file = sources.add(name, text.as_str());
        let record = read_record(file, &text)?;
        if record.id != id {
            let message = format!("the folder `{id}` holds the change `{}`", record.id);
            return Err(vec![
                Diagnostic::error("change-id", message)
                    .help("a change is in the folder of its id: rename the one or the other"),
            ]);
        }
        let reviews = entries(&folder, REVIEWS, sources, read_review, Review::file_name)?;
        let approvals = entries(&folder, APPROVALS, sources, read_approval, Approval::file_name)?;
        let events = entries(&folder, EVENTS, sources, read_event, Event::file_name)?;
        Ok(Entry { change: Change { record, reviews, approvals, events }, folder })
    }
}

/// What was added to a change: the files of a folder that may be missing. A file that isn't named after what it says is
/// refused: it would take the place of another, or count beside it.
fn entries<T>(
    folder: &Folder,
    name: &str,
    sources: &mut SourceMap,
    read: impl Fn(FileId, &str) -> Result<T, Vec<Diagnostic>>,
    file_name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Vec<Diagnostic>> {
    let broken = |error: &FolderError| vec![problem(error)];
    let inner = match folder.folder(name) {
        Ok(inner) => inner,
        Err(FolderError::Missing(_)) => return Ok(Vec::new()),
        Err(error) => return Err(broken(&error)),
    };
    let mut found = Vec::new();
    for name in inner.names().map_err(|error| broken(&error))? {
        let text = inner.text(&name, MOST_BYTES).map_err(|error| broken(&error))?;
        let shown = inner.path().join(&name).display().to_string();
        let file = sources.add(shown.clone(), text.as_str());
        let entry = read(file, &text)?;
        let expected = file_name(&entry);
        if expected != name {
            let message = format!("`{shown}` says that it is `{expected}`");
            return Err(vec![
                Diagnostic::error("change-entry", message)
                    .help("rename it, or take it out: entries are named after what they say"),
            ]);
        }
        found.push(entry);
    }
    Ok(found)
}

impl Entry {
    /// Waits until nobody else writes to the change. The record must still be the one that was read.
    pub fn hold(&self, book: &Book) -> Result<Lock, Stopped> {
        let lock = self.folder.lock().map_err(|error| unusable(&error))?;
        let now = book.one(&self.change.record.id)?;
        match now.change.record.hash() == self.change.record.hash() {
            true => Ok(lock),
            false => Err(stop(
                "change-changed",
                format!("somebody else changed `{}` in the meantime", self.change.record.id),
                "look at it once more with `firewarden change show`, then try again",
            )),
        }
    }

    /// Adds a review.
    pub fn add_review(&self, review: &Review) -> Result<(), Stopped> {
        write(&self.folder, REVIEWS, &review.file_name(), &review.write())
    }

    /// Adds an approval, in place of an earlier one by the same person.
    pub fn add_approval(&self, approval: &Approval) -> Result<(), Stopped> {
        write(&self.folder, APPROVALS, &approval.file_name(), &approval.write())
    }

    /// Adds what became of it.
    pub fn add_event(&self, event: &Event) -> Result<(), Stopped> {
        write(&self.folder, EVENTS, &event.file_name(), &event.write())
    }

    /// The bytes of a piece of evidence.
    pub fn evidence(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        self.folder.folder(EVIDENCE)?.bytes(name, MOST_EVIDENCE)
    }

    /// The text of the plan for a host.
    pub fn plan(&self, host: &str) -> Result<String, FolderError> {
        self.folder.folder(PLANS)?.text(&plan_name(host), MOST_EVIDENCE)
    }
}

/// Writes the record.
pub fn write_record(folder: &Folder, record: &Record) -> Result<(), Stopped> {
    folder.write(RECORD, &record.write()).map_err(|error| unusable(&error))
}

/// Writes a piece of evidence.
pub fn write_evidence(folder: &Folder, name: &str, text: &str) -> Result<(), Stopped> {
    write(folder, EVIDENCE, name, text)
}

/// Writes the plan for a host.
pub fn write_plan(folder: &Folder, host: &str, text: &str) -> Result<(), Stopped> {
    write(folder, PLANS, &plan_name(host), text)
}

fn plan_name(host: &str) -> String {
    let name: String = host
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' })
        .collect();
    format!("{name}.json")
}

fn write(folder: &Folder, inner: &str, name: &str, text: &str) -> Result<(), Stopped> {
    let inner = folder.ensure(inner).map_err(|error| unusable(&error))?;
    inner.write(name, text).map_err(|error| unusable(&error))
}

fn problem(error: &FolderError) -> Diagnostic {
    let help = match error {
        FolderError::Missing(_) => {
            "a change is a folder with a `change.yaml`; take this one out, or propose it again"
        }
        FolderError::Special(_) => {
            "put a plain file or folder in its place: links in records aren't followed"
        }
        FolderError::TooLarge { .. } => "keep records short, and evidence in files of its own",
        _ => "check who may read and write there",
    };
    Diagnostic::error("change-file", error.to_string()).help(help)
}

fn unusable(error: &FolderError) -> Stopped {
    problem(error).into()
}
