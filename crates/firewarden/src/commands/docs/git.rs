//! Who changed a line last, from `git blame --porcelain` (git-blame(1)), asked once for each file.

use crate::commands::check::date;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The last change of a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    /// Seconds since 1970.
    time: u64,
    commit: String,
    author: String,
    summary: String,
    /// The history ends here, so that the change may be an earlier one.
    boundary: bool,
}

/// What git says of a file.
enum Blame {
    /// By line, from 1.
    Lines(BTreeMap<u32, Change>),
    /// Why it says nothing.
    Nothing(&'static str),
}

/// Changes of lines, asked for as they are needed.
#[derive(Default)]
pub struct History {
    files: BTreeMap<PathBuf, Blame>,
    /// By folder, whether its repository has only the end of its history.
    shallow: BTreeMap<PathBuf, bool>,
}

impl History {
    /// The last change of the lines `first..=last` of a file: date, author, what the commit is about, its number.
    pub fn of(&mut self, file: &Path, first: u32, last: u32) -> String {
        let blame = self.files.entry(file.to_path_buf()).or_insert_with(|| blame(file));
        let lines = match blame {
            Blame::Nothing(why) => return (*why).to_owned(),
            Blame::Lines(lines) => lines,
        };
        let Some(change) = lines.range(first..=last.max(first)).map(|(_, change)| change).max().cloned()
        else {
            return "not in git".to_owned();
        };
        // Zeros stand for what is in the file and in no commit; its time would be the present one.
        if change.commit.bytes().all(|digit| digit == b'0') {
            return "not committed yet".to_owned();
        }
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        if change.boundary && *self.shallow.entry(folder.clone()).or_insert_with(|| is_shallow(&folder)) {
            return "before the history that is here begins (shallow clone)".to_owned();
        }
        let number = change.commit.get(..10).unwrap_or_default();
        format!("{} {}: {} ({number})", date(change.time / 86_400), change.author, change.summary)
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_shallow(folder: &Path) -> bool {
    git(folder, &["rev-parse", "--is-shallow-repository"]).is_some_and(|said| said.trim() == "true")
}

fn blame(file: &Path) -> Blame {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Blame::Nothing("not in git");
    };
    // A person's own settings mustn't reach the pages.
    let arguments = ["-c", "blame.ignoreRevsFile=", "-c", "blame.markUnblamableLines=false"];
    let said = git(folder, &[&arguments[..], &["blame", "--porcelain", "--", name]].concat());
    said.map_or(Blame::Nothing("not in git"), |text| Blame::Lines(parse(&text)))
}

/// Reads what git prints: for each line a head with the commit's number, what is known of a commit once, and the line.
fn parse(text: &str) -> BTreeMap<u32, Change> {
    let mut commits: BTreeMap<String, Change> = BTreeMap::new();
    let mut lines = BTreeMap::new();
    let mut head: Option<(String, u32)> = None;
    for line in text.lines() {
        if line.starts_with('\t') {
            if let Some((commit, number)) = head.take()
                && let Some(change) = commits.get(&commit)
            {
                lines.insert(number, change.clone());
            }
            continue;
        }
        let Some((commit, _)) = &head else {
            let mut words = line.split(' ');
            if let (Some(commit), Some(Ok(number))) = (words.next(), words.nth(1).map(str::parse)) {
                let fresh = || Change {
                    time: 0,
                    commit: commit.to_owned(),
                    author: String::new(),
                    summary: String::new(),
                    boundary: false,
                };
                commits.entry(commit.to_owned()).or_insert_with(fresh);
                head = Some((commit.to_owned(), number));
            }
            continue;
        };
        let Some(change) = commits.get_mut(commit) else { continue };
        match line.split_once(' ').unwrap_or((line, "")) {
            ("author", name) => change.author = name.to_owned(),
            ("author-time", seconds) => change.time = seconds.parse().unwrap_or(0),
            ("summary", text) => change.summary = text.to_owned(),
            ("boundary", _) => change.boundary = true,
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_prints() {
        let text = "aaaa000000000000000000000000000000000001 3 1 2\nauthor Ada\nauthor-time 86400\nauthor-tz +0000\nsummary open the web\nboundary\nfilename a.nft\n\ttcp dport 80 accept\n\
             aaaa000000000000000000000000000000000001 4 2\n\tauthor of nothing\n\
             0000000000000000000000000000000000000000 3 3 1\nauthor Not Committed Yet\nauthor-time 99\nsummary Version of a.nft\n\tdrop\n";
        let lines = parse(text);
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[&2].author.as_str(), lines[&2].time, lines[&2].boundary), ("Ada", 86_400, true));
        let mut history = History::default();
        history.files.insert(PathBuf::from("a.nft"), Blame::Lines(lines));
        let at = |history: &mut History, first, last| history.of(Path::new("a.nft"), first, last);
        assert_eq!(at(&mut history, 1, 2), "1970-01-02 Ada: open the web (aaaa000000)");
        assert_eq!(at(&mut history, 3, 3), "not committed yet");
        assert_eq!(at(&mut history, 9, 9), "not in git");
    }
}
