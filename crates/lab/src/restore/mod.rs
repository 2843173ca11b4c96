//! The drill of restoring: everything that makes the stack what it is goes into a backup, is wiped, and comes back.

mod backup;

use crate::evidence::{EvidenceError, broken, failed, forget_connections};
use crate::place::{Lab, TEMPORARY};
use crate::probe::Probers;
use crate::sample::Sample;
use backup::{back_up, bring_back, differing, wipe};
use firewarden_verify::stack::StackFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The change records, in a lab.
const CHANGES: &str = "/run/firewarden/changes";
/// How long a change may take until it can be confirmed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often that is tried.
const GLANCE: Duration = Duration::from_millis(100);
/// How a user's own data are kept: commands for `sh -c` on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The host.
    pub host: String,
    /// Writes the backup to its standard output.
    pub backup: String,
    /// Reads the backup from its standard input.
    pub restore: String,
    /// Removes the data.
    pub wipe: String,
    /// Prints a few words that are the same for the same data.
    pub checksum: String,
    /// Adds something to the data.
    pub write: String,
}

impl Data {
    /// The database of the web stack, with PostgreSQL's own programs.
    pub fn postgresql() -> Data {
        let psql = |more: &str| {
            format!(
                "PATH=\"$(echo /usr/lib/postgresql/*/bin):$PATH\" psql --host=/run/postgresql --username=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 {more}"
            )
        };
        let query = |database: &str, sql: &str| {
            psql(&format!("--dbname={database} --no-align --tuples-only --command=\"{sql}\""))
        };
        Data {
            host: "db".to_owned(),
            backup: "PATH=\"$(echo /usr/lib/postgresql/*/bin):$PATH\" pg_dump --host=/run/postgresql --username=postgres --create --clean --if-exists shop".to_owned(),
            restore: psql("--dbname=postgres >/dev/null"),
            wipe: query("postgres", "DROP DATABASE shop WITH (FORCE)"),
            checksum: query("shop", "SELECT count(*), md5(string_agg(item::text, ';' ORDER BY id)) FROM items AS item"),
            write: query("shop", "INSERT INTO items (server) SELECT 'drill' FROM generate_series(1, 25)"),
        }
    }
}

/// The version of [`Restored`] as JSON.
pub const FORMAT_VERSION: u32 = 1;

/// How the drill went. This is the published format (`docs/schema/restore-drill-v1.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Firewarden restore drill, version 1")]
pub struct Restored {
    /// The version of this format: 1.
    pub version: u32,
    /// Files in the backup.
    pub files: usize,
    /// How long making the backup took, in seconds.
    pub backup_seconds: f64,
    /// What the wipe broke: intents that didn't hold afterwards, counted from 0 in the stack file's order.
    pub broken: Vec<usize>,
    /// From the wipe until every intent held again, in seconds.
    pub rto_seconds: f64,
    /// From the backup until the wipe, in seconds: what was written meanwhile is lost.
    pub rpo_seconds: f64,
    /// What the checksum command printed of the data.
    pub checksums: Checksums,
    /// Commands of the data that failed at the restore or after it, with their words.
    pub failed: Vec<String>,
    /// Files of the backup that aren't as it has them, or that are missing.
    pub different: Vec<String>,
    /// The journal of each host that has one.
    pub journals: BTreeMap<String, Journal>,
    /// Connections that aren't as they should be afterwards.
    pub not_green: Vec<String>,
}

/// The data's checksum over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checksums {
    /// When the backup was made.
    pub backup: String,
    /// Right before the wipe.
    pub before_wipe: String,
    /// After the restore; `null` where there was none to be had.
    pub restored: Option<String>,
}

/// What `firewarden journal verify` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Journal {
    /// Every entry is there, as it was written.
    Whole,
    /// Something isn't; its words.
    Damaged(String),
}

/// The JSON Schema of [`Restored`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Restored).to_value()
}

impl Restored {
    /// Whether all of it is back as it was when the backup was made.
    pub fn is_whole(&self) -> bool {
        self.different.is_empty()
            && self.failed.is_empty()
            && self.not_green.is_empty()
            && self.is_data_back()
            && self.journals.values().all(|journal| *journal == Journal::Whole)
    }

    /// Whether the data are those of the backup.
    pub fn is_data_back(&self) -> bool {
        self.checksums.restored.as_ref() == Some(&self.checksums.backup)
    }
}

/// Runs the drill in a lab, with the backup in an empty folder. `samples` show whether the intents hold; `tell` hears what
/// is being done.
///
/// # Errors
/// [`EvidenceError`]: something of it can't be done. Then the lab may be left wiped.
pub fn drill(
    lab: &Lab,
    stack: &StackFile,
    probers: &mut Probers,
    samples: &[Sample],
    data: &Data,
    folder: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Restored, EvidenceError> {
    tell("steady state: every intent holds");
    forget_connections(lab)?;
    let unsteady = broken(lab, stack, probers, samples, |_| true)?;
    if !unsteady.is_empty() {
        return Err(EvidenceError::Unsteady(unsteady.into_iter().map(|(_, words)| words).take(5).collect()));
    }
    tell("a confirmed change on edge, so that there is a change record and a journal");
    confirmed_change(lab)?;
    command_of(lab, data, &data.write, "")?;
    tell("backup: rules, change records, state with journals and confirmed rules, data");
    let begun = Instant::now();
    let manifest = back_up(lab, data, folder)?;
    let backed_up = Instant::now();
    // What is written between backup and disaster is what a recovery point objective is about.
    command_of(lab, data, &data.write, "")?;
    let before_wipe = checksum(lab, data)?;
    tell("wipe");
    let wiped = Instant::now();
    wipe(lab, data)?;
    forget_connections(lab)?;
    let mut lost: Vec<usize> =
        broken(lab, stack, probers, samples, |_| false)?.into_iter().map(|(intent, _)| intent).collect();
    lost.dedup();
    tell("restore");
    let mut failed = Vec::new();
    // A restore that doesn't work is what a drill is to find.
    failed.extend(bring_back(lab, data, folder)?.err().map(|error| error.to_string()));
    forget_connections(lab)?;
    let not_green: Vec<String> =
        broken(lab, stack, probers, samples, |_| true)?.into_iter().map(|(_, words)| words).collect();
    let whole = Instant::now();
    tell("proof: digests, journals, data");
    let restored = checksum(lab, data).map_err(|error| failed.push(error.to_string())).ok();
    let different = differing(lab, &manifest)?;
    let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    Ok(Restored {
        version: FORMAT_VERSION,
        files: manifest.files.len(),
        backup_seconds: seconds(begun, backed_up),
        broken: lost,
        rto_seconds: seconds(wiped, whole),
        rpo_seconds: seconds(backed_up, wiped),
        checksums: Checksums { backup: manifest.data, before_wipe, restored },
        failed,
        different,
        journals: journals(lab)?,
        not_green,
    })
}

/// A change that breaks no intent: proposed, so that there is a record of it, planned, applied and confirmed.
fn confirmed_change(lab: &Lab) -> Result<(), EvidenceError> {
    const HOST: &str = "edge";
    /// Nobody has a service on port 9, discard.
    const RULES: &str = "table inet restore-drill {
        chain input { type filter hook input priority 10; policy accept; tcp dport 9 drop; }
    }\n";
    let inside = |name: &str| format!("{TEMPORARY}/{name}");
    let write = |path: &str, text: &str| {
        fs::write(lab.path(Path::new(path)), text).map_err(|error| failed(path, error))
    };
    let (before, after) = (inside("before.nft"), inside("after.nft"));
    let running = on(lab, HOST, &["nft", "list", "ruleset"], "")?;
    write(&before, &running)?;
    write(&after, &format!("{running}{RULES}"))?;
    let reason = ["--reason", "the drill of restoring", "--impact", "none"];
    let propose = ["firewarden", "change", "propose", &after, "--before", &before, "--changes", CHANGES];
    on(lab, HOST, &[&propose[..], &reason].concat(), "")?;
    let (candidate, plan) = (inside("drill.nft"), inside("drill.json"));
    write(&candidate, RULES)?;
    on(lab, HOST, &["firewarden", "plan", &candidate, "--window", "60", "--out", &plan], "")?;
    let mut apply = lab.command(HOST, "firewarden")?;
    apply.args(["apply", &plan]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let applying = apply.spawn().map_err(|error| failed("firewarden apply", error))?;
    let until = Instant::now() + PATIENCE;
    // There is nothing to confirm before the rules are in.
    while let Err(error) = on(lab, HOST, &["firewarden", "confirm", "--this-session"], "") {
        if Instant::now() > until {
            return Err(error);
        }
        std::thread::sleep(GLANCE);
    }
    let output = applying.wait_with_output().map_err(|error| failed("firewarden apply", error))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed("firewarden apply", io::Error::other(words(&output)))),
    }
}

/// Whether the journals that came back are whole.
fn journals(lab: &Lab) -> Result<BTreeMap<String, Journal>, EvidenceError> {
    let mut found = BTreeMap::new();
    for machine in &lab.layout().machines {
        if !lab.state(&machine.name)?.join("journal.sqlite").exists() {
            continue;
        }
        let output = run(lab.command(&machine.name, "firewarden")?.args(["journal", "verify"]), "")
            .map_err(|error| failed("firewarden journal verify", error))?;
        let verdict = match output.status.success() {
            true => Journal::Whole,
            false => Journal::Damaged(words(&output)),
        };
        found.insert(machine.name.clone(), verdict);
    }
    Ok(found)
}

/// What the data's checksum command prints.
fn checksum(lab: &Lab, data: &Data) -> Result<String, EvidenceError> {
    Ok(command_of(lab, data, &data.checksum, "")?.trim().to_owned())
}

/// Runs one of the data's commands; gives what it prints.
fn command_of(lab: &Lab, data: &Data, command: &str, input: &str) -> Result<String, EvidenceError> {
    on(lab, &data.host, &["sh", "-c", command], input)
}

fn on(lab: &Lab, host: &str, command: &[&str], input: &str) -> Result<String, EvidenceError> {
    let named = format!("`{}` on {host}", command.join(" "));
    let (program, arguments) = command.split_first().unwrap_or((&"true", &[]));
    let output =
        run(lab.command(host, program)?.args(arguments), input).map_err(|error| failed(&named, error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(&named, io::Error::other(words(&output)))),
    }
}

fn words(output: &Output) -> String {
    let said = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() { output.status.to_string() } else { said }
}

fn run(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("LC_ALL", "C")
        .spawn()?;
    let writer = child.stdin.take().map(|mut pipe| {
        let input = input.to_owned();
        // A command that stops reading says why itself.
        std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())))
    });
    let output = child.wait_with_output()?;
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored() -> Restored {
        Restored {
            version: FORMAT_VERSION,
            files: 3,
            backup_seconds: 0.1,
            broken: vec![2],
            rto_seconds: 1.0,
            rpo_seconds: 0.5,
            checksums: Checksums { backup: "a".into(), before_wipe: "b".into(), restored: Some("a".into()) },
            failed: Vec::new(),
            different: Vec::new(),
            journals: [("edge".to_owned(), Journal::Whole)].into(),
            not_green: Vec::new(),
        }
    }

    #[test]
    fn whole_is_what_is_as_it_was_at_the_backup() {
        assert!(restored().is_whole(), "what was written after the backup is lost, and that is no damage");
        let changes: [fn(&mut Restored); 6] = [
            |restored| restored.different.push("rules/edge.nft".into()),
            |restored| restored.not_green.push("a -> b: no answer".into()),
            |restored| restored.checksums.restored = Some("b".into()),
            |restored| restored.checksums.restored = None,
            |restored| restored.failed.push("`psql` on db: it ended with 2".into()),
            |restored| {
                let damage = Journal::Damaged("an entry is missing".into());
                restored.journals.insert("lb".into(), damage);
            },
        ];
        for change in changes {
            let mut spoiled = restored();
            change(&mut spoiled);
            assert!(!spoiled.is_whole(), "{spoiled:?}");
        }
    }
}
