//! `firewarden drill restore`: everything is wiped, and comes back from a backup.

use super::place::{PROBER, Place, outside_addresses};
use crate::cli::drill::{DrillFormat, Restore};
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::place::Lab;
use firewarden_lab::probe::Probers;
use firewarden_lab::restore::{Checksums, Data, Journal, Restored, drill};
use firewarden_lab::sample;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs it.
pub fn run(options: &Restore, color: Color) -> Result<ExitCode, Stopped> {
    let named = options.backup.as_deref().map(Backup::named).transpose()?;
    let place = Place::find(options.name.as_deref(), color)?;
    let backup = match named {
        Some(backup) => backup,
        None => Backup::own(&place.lab)?,
    };
    let stack = super::place::stack(&place.lab)?;
    let samples = sample::draw(&stack, &outside_addresses(), options.seed);
    let mut probers =
        Probers::start(&place.lab, &PROBER).map_err(|error| super::place::no_probers(&error))?;
    let shown = std::io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if shown {
            // Nobody is left to be told where the terminal has gone.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    };
    let result = drill(&place.lab, &stack, &mut probers, &samples, &data(options), backup.path(), &mut tell);
    drop(probers);
    drop(backup);
    drop(place);
    let restored = result.map_err(super::problem)?;
    let intents: Vec<String> = stack.intents.iter().map(|declared| declared.intent.full_text()).collect();
    let text = match options.format {
        DrillFormat::Human => human(&restored, &intents, options.backup.as_deref()),
        DrillFormat::Json => serde_json::to_string_pretty(&restored).unwrap_or_default() + "\n",
    };
    output::print(&text)?;
    Ok(ExitCode::from(u8::from(!restored.is_whole())))
}

/// The data's commands: those of the web stack's database, unless others are given.
fn data(options: &Restore) -> Data {
    let own = Data::postgresql();
    let or = |given: &Option<String>, own: String| given.clone().unwrap_or(own);
    Data {
        host: options.data_host.clone(),
        backup: or(&options.backup_command, own.backup),
        restore: or(&options.restore_command, own.restore),
        wipe: or(&options.wipe_command, own.wipe),
        checksum: or(&options.checksum_command, own.checksum),
        write: or(&options.write_command, own.write),
    }
}

/// The folder of the backup: one that was named, or one in the lab, which goes with the drill or, where that is killed, with
/// the lab.
enum Backup {
    Named(PathBuf),
    Own(tempfile::TempDir),
}

impl Backup {
    fn own(lab: &Lab) -> Result<Backup, Diagnostic> {
        let own = tempfile::Builder::new().prefix("backup-").tempdir_in(lab.temporary());
        own.map(Backup::Own).map_err(|error| {
            Diagnostic::error("temporary-folder", format!("there is no place for the backup: {error}"))
                .help("name a folder with `--backup`")
        })
    }

    fn named(path: &Path) -> Result<Backup, Diagnostic> {
        std::fs::create_dir_all(path)
            .and_then(|()| Ok(std::fs::read_dir(path)?.next().is_none()))
            .map_err(|error| {
                Diagnostic::error("backup-folder", format!("`{}` can't be used: {error}", path.display()))
                    .help("name a folder that you may write to")
            })
            .and_then(|is_empty| match is_empty {
                true => Ok(Backup::Named(path.to_path_buf())),
                false => Err(Diagnostic::error("backup-folder", format!("`{}` isn't empty", path.display()))
                    .help("name an empty folder: a backup replaces nothing")),
            })
    }

    fn path(&self) -> &Path {
        match self {
            Backup::Named(path) => path,
            Backup::Own(folder) => folder.path(),
        }
    }
}

fn human(restored: &Restored, intents: &[String], kept: Option<&Path>) -> String {
    let verdict = |is_well: bool| if is_well { "ok  " } else { "FAIL" };
    let mut text = format!(
        "backup    {} files in {:.2} s: rules, change records, state folders with journals, data\n",
        restored.files, restored.backup_seconds
    );
    text.push_str(&format!(
        "wipe      rules, change records, state folders and data are gone: {} of {} intents didn't hold\n",
        restored.broken.len(),
        intents.len()
    ));
    for intent in restored.broken.iter().filter_map(|index| intents.get(*index)) {
        text.push_str(&format!("            {intent}\n"));
    }
    text.push_str(&format!(
        "RTO       {:.2} s from the wipe until every intent held again\n",
        restored.rto_seconds
    ));
    text.push_str(&format!(
        "RPO       {:.2} s from the backup to the wipe: what was written then is lost\n\n",
        restored.rpo_seconds
    ));
    text.push_str(&format!("{}  every intent holds\n", verdict(restored.not_green.is_empty())));
    for line in &restored.not_green {
        text.push_str(&format!("        {line}\n"));
    }
    text.push_str(&format!(
        "{}  rules, change records and state folders are those of the backup (SHA-256)\n",
        verdict(restored.different.is_empty())
    ));
    for line in &restored.different {
        text.push_str(&format!("        {line}\n"));
    }
    let Checksums { backup, before_wipe, restored: now } = &restored.checksums;
    let now = now.as_deref().unwrap_or("nothing");
    text.push_str(&format!(
        "{}  data: {backup} in the backup, {before_wipe} before the wipe, {now} now\n",
        verdict(restored.is_data_back() && restored.failed.is_empty())
    ));
    for line in &restored.failed {
        text.push_str(&format!("        {line}\n"));
    }
    for (host, journal) in &restored.journals {
        let (is_whole, words) = match journal {
            Journal::Whole => (true, String::new()),
            Journal::Damaged(words) => (false, format!(": {words}")),
        };
        text.push_str(&format!("{}  journal of {host}{words}\n", verdict(is_whole)));
    }
    if let Some(path) = kept {
        text.push_str(&format!("\nthe backup is in {}\n", path.display()));
    }
    text
}
