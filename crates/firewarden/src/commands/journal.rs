//! The record of what happened to this host's rules: shown, checked, written out, and signed.

mod wire;

pub use wire::schema;

use super::Stopped;
use super::state_folder::state_folder;
use crate::cli::journal::{Checkpoint, EntryFormat, Export, Journal, JournalCommand, Show, Verify};
use crate::cli::state::StateFolder;
use crate::load;
use crate::output::{self, Color};
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::Diagnostic;
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::text::quote;
use firewarden_store::{self as store, Actor, Entry, Kind, NewEntry, Store, StoreError, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The journal isn't sound.
const UNSOUND: u8 = 1;

/// How many entries are read at once.
const PAGE: u32 = 512;

/// The longest text that is shown in a line, in characters.
const LONGEST_TEXT: usize = 300;

/// Runs the command.
pub fn run(options: &Journal, color: Color) -> Result<ExitCode, Stopped> {
    let done = match &options.command {
        JournalCommand::Show(options) => show(options, color.style()),
        JournalCommand::Verify(options) => return Ok(verify(options)?),
        JournalCommand::Export(options) => export(options),
        JournalCommand::Checkpoint(options) => checkpoint(options),
    };
    done.map(|()| ExitCode::SUCCESS).map_err(Stopped::from)
}

/// Who runs this program, for the entries of `command`.
pub fn actor(command: &str) -> Actor {
    let current = firewarden_host::actor::Actor::current();
    Actor {
        user: current.name().to_owned(),
        uid: Some(current.uid),
        session: current.connection.or(current.terminal),
        process: Some(format!("firewarden {command} [{}]", std::process::id())),
    }
}

/// What is wrong with the journal, and what to do about it.
pub fn failed(error: &StoreError) -> Diagnostic {
    let problem = |code| Diagnostic::error(code, error.to_string().replace('\n', " "));
    match error {
        StoreError::NoJournal(_) => problem("journal-missing")
            .help("nothing was recorded yet, or the state is elsewhere: name its folder with `--state`"),
        StoreError::NotAJournal { .. } => {
            problem("journal-foreign").help("move the file away, or name another folder with `--state`")
        }
        StoreError::Newer { .. } => {
            problem("journal-newer").help("use the version that wrote it, or a later one")
        }
        StoreError::Full(_) => problem("journal-full").help("make space on that disk; nothing was recorded"),
        StoreError::Busy(_) => problem("journal-busy").help("try again when that process is done"),
        StoreError::Damaged { .. } => problem("journal-damaged")
            .help("keep a copy of the folder as evidence, then restore the journal from a backup"),
        StoreError::Key { .. } => problem("journal-key")
            .help("restore the key with mode 600, or move it away: a new one is made, and `verify` tells so"),
        StoreError::Invalid(_) => problem("journal-entry").help("shorten or mend what is to be recorded"),
        _ => {
            problem("journal-unusable").help("check the rights of the state folder and the space on its disk")
        }
    }
}

fn open(option: &StateFolder) -> Result<store::Journal, Diagnostic> {
    store::Journal::open_to_read(&state_folder(option)?).map_err(|error| failed(&error))
}

/// Hands all entries on, page by page.
fn each_page(
    journal: &mut store::Journal,
    mut page: impl FnMut(&[Entry]) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut last = 0;
    loop {
        let entries = journal.entries_after(last, PAGE).map_err(|error| failed(&error))?;
        let Some(end) = entries.last() else { return Ok(()) };
        last = end.sequence;
        page(&entries)?;
    }
}

fn show(options: &Show, style: Style) -> Result<(), Diagnostic> {
    let since = options.since.as_deref().map(|written| moment(written, Timestamp::now())).transpose()?;
    let mut journal = open(&options.state)?;
    let wanted = |entry: &&Entry| {
        let of_change = |id: &String| entry.change.as_ref() == Some(id) || entry.trial.as_ref() == Some(id);
        since.is_none_or(|since| entry.time >= since)
            && options.change.as_ref().is_none_or(of_change)
            && (options.kind.is_empty() || options.kind.contains(&entry.kind))
    };
    each_page(&mut journal, |entries| {
        let lines = entries.iter().filter(wanted).map(|entry| match options.format {
            EntryFormat::Human => human(entry, style),
            EntryFormat::Json => wire::entry_line(entry),
        });
        output::print(&lines.collect::<String>())
    })
}

/// A moment as written: a time, a date, or how long before `now`.
fn moment(written: &str, now: Timestamp) -> Result<Timestamp, Diagnostic> {
    if let Ok(time) = written.parse::<Timestamp>() {
        return Ok(time);
    }
    let zoned: Result<Zoned, jiff::Error> = match written.parse::<Date>() {
        Ok(date) => date.to_zoned(TimeZone::UTC),
        Err(_) => written
            .parse::<Span>()
            // `2h ago` means the same as `2h`.
            .and_then(|span| now.to_zoned(TimeZone::UTC).checked_sub(span.abs())),
    };
    zoned.map(|zoned| zoned.timestamp()).map_err(|_| {
        let shown = quote(written, LONGEST_TEXT).replace('`', "'");
        Diagnostic::error("time-syntax", format!("`{shown}` is neither a time nor how long ago"))
            .help("write it as `2026-11-21`, `2026-11-21T08:00:00Z`, `2h` or `3 days`")
    })
}

/// An entry in a line.
fn human(entry: &Entry, style: Style) -> String {
    let paint = |ansi: Ansi, text: String| match style {
        Style::Color => format!("{ansi}{text}{ansi:#}"),
        Style::Plain => text,
    };
    let color = match entry.kind.as_str() {
        "confirmed" | "persisted" | "approved" => AnsiColor::Green,
        "stuck" | "probe-failed" | "emergency" | "refused" => AnsiColor::Red,
        "reverting" | "reverted" | "restored" | "recovered" => AnsiColor::Yellow,
        _ => AnsiColor::Cyan,
    };
    let quoted = |text: &str| quote(text, LONGEST_TEXT);
    let kind = paint(color.on_default(), format!("{:<15}", quoted(&entry.kind)));
    let mut line = format!("{:>6}  {:.0}  {kind} ", entry.sequence, entry.time);
    line.push_str(&quoted(&entry.actor.user));
    for (name, value) in [("change", &entry.change), ("trial", &entry.trial)] {
        if let Some(value) = value {
            line.push_str(&format!(" · {name} {}", quoted(value)));
        }
    }
    format!("{line} · {}\n", quoted(&entry.text))
}

fn verify(options: &Verify) -> Result<ExitCode, Diagnostic> {
    let exported = options.checkpoint.as_deref().map(read_checkpoint).transpose()?;
    let folder = state_folder(&options.state)?;
    let mut journal = match store::Journal::open_to_read(&folder) {
        Ok(journal) => journal,
        Err(error @ StoreError::Damaged { .. }) => {
            output::print(&format!("{error}\n"))?;
            return Ok(ExitCode::from(UNSOUND));
        }
        Err(error) => return Err(failed(&error)),
    };
    let key = journal.public_key();
    let verified = store::verify(&mut journal, exported.as_ref(), key).map_err(|error| failed(&error))?;
    let mut text: String = verified
        .findings
        .iter()
        .map(|finding| format!("{}\n", quote(&finding.to_string(), 2 * LONGEST_TEXT)))
        .collect();
    let sound = verified.findings.is_empty();
    let word = if sound { "sound" } else { "not sound" };
    let entries = counted(verified.count, "entry", "entries");
    let signed =
        counted(u64::try_from(verified.checkpoints).unwrap_or(u64::MAX), "checkpoint", "checkpoints");
    text.push_str(&format!("{word}: {entries}, {signed}; the last hash is {}\n", verified.head));
    output::print(&text)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(UNSOUND) })
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn read_checkpoint(file: &Path) -> Result<store::Checkpoint, Diagnostic> {
    let read = if file == Path::new("-") { load::read_stdin()? } else { load::read_file(file)? };
    wire::parse_checkpoint(&read.text).map_err(|reason| {
        let problem = format!("`{}` isn't a checkpoint: {}", file.display(), quote(&reason, LONGEST_TEXT));
        Diagnostic::error("checkpoint-syntax", problem)
            .help("give a file that `firewarden journal checkpoint` wrote")
    })
}

fn export(options: &Export) -> Result<(), Diagnostic> {
    let mut journal = open(&options.state)?;
    let checkpoints = journal.checkpoints().map_err(|error| failed(&error))?;
    let mut checkpoints = checkpoints.iter().peekable();
    let mut upto = |count: u64| {
        let mut lines = String::new();
        while let Some(checkpoint) = checkpoints.next_if(|checkpoint| checkpoint.count <= count) {
            lines.push_str(&wire::checkpoint_line(checkpoint));
        }
        lines
    };
    each_page(&mut journal, |entries| {
        let lines = entries.iter().map(|entry| {
            // Each behind the entry that it signs.
            upto(entry.sequence.saturating_sub(1)) + &wire::entry_line(entry)
        });
        output::print(&lines.collect::<String>())
    })?;
    output::print(&upto(u64::MAX))
}

fn checkpoint(options: &Checkpoint) -> Result<(), Diagnostic> {
    let folder = state_folder(&options.state)?;
    // Nothing is made where there is nothing to sign.
    drop(store::Journal::open_to_read(&folder).map_err(|error| failed(&error))?);
    let mut journal = store::Journal::open(&folder).map_err(|error| failed(&error))?;
    let to = options.out.as_ref().map_or("standard output".to_owned(), |out| format!("`{}`", out.display()));
    let now = Timestamp::now();
    let text = format!("a checkpoint is signed, to be written to {to}");
    let entry = NewEntry::new(now, Kind::Checkpoint, actor("journal checkpoint"), text);
    journal.append(entry).map_err(|error| failed(&error))?;
    let signed = journal.add_checkpoint(now).map_err(|error| failed(&error))?;
    let line = wire::checkpoint_line(&signed);
    match &options.out {
        None => output::print(&line),
        Some(out) => replace(out, &line).map_err(|error| {
            Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", out.display()))
                .help("give a file in a folder that you may write to")
        }),
    }
}

/// Writes a file that is either the old or the new one, whatever happens meanwhile.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments() {
        let now = "2026-11-21T08:00:00Z".parse().unwrap();
        for (written, expected) in [
            ("2026-11-20", Some("2026-11-20T00:00:00Z")),
            ("2026-11-20T10:00:00+02:00", Some("2026-11-20T08:00:00Z")),
            ("2h", Some("2026-11-21T06:00:00Z")),
            ("3 days", Some("2026-11-18T08:00:00Z")),
            ("3 days ago", Some("2026-11-18T08:00:00Z")),
            ("1 month", Some("2026-10-21T08:00:00Z")),
            ("PT30M", Some("2026-11-21T07:30:00Z")),
            ("9999999999999 years", None),
            ("yesterday", None),
            ("", None),
        ] {
            let read = moment(written, now);
            assert_eq!(read.ok().map(|time| time.to_string()).as_deref(), expected, "{written}");
        }
    }
}
