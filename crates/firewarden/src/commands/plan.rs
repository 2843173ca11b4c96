//! What a change of the running rules will do, tried out before anything is touched.

mod candidate;
mod running;
mod show;

use super::Stopped;
use super::diff::{self, Comparison, IntentChange};
use super::meaning::probe;
use crate::cli::Diff;
use crate::cli::plan::Plan as Options;
use crate::internal_error;
use crate::load::{self, Files};
use crate::output::{self, AnswerFormat, Color};
use crate::progress::Progress;
use candidate::Given;
#[cfg(feature = "lab")]
pub use candidate::is_ipv6;
use firewarden_change::delta::{Edit, Listing, Manner, TableName, delta, handles, whole_text};
use firewarden_change::plan::{
    Evidence, FORMAT_VERSION, Finding, IntentVerdicts, Parent, Persist, Plan, Probe, Switch, hex,
};
use firewarden_diagnostic::{Diagnostic, Verdict};
use firewarden_host::rehearsal::{
    Loaded, RehearsalError, Rehearsed, hold_by_kernel, load as load_sandbox, rehearse,
};
use firewarden_host::utc_now;
use firewarden_verify::probes::{Attempt, attempts};
use firewarden_verify::stack::StackFile;
use running::Live;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// How much longer than the guard the kernel waits before it goes back by itself: the guard also tells what happened.
const GRACE_SECONDS: u32 = 3;

/// A plan, and what there is to say about it.
pub struct Made {
    /// The plan itself.
    pub plan: Plan,
    /// Rules, elements and so on that come and go.
    pub edits: Vec<Edit>,
    /// What it means for packets, and which intents were asked.
    pub comparison: Comparison,
    /// What newly breaks, one sentence each; a plan with some isn't applied unasked.
    pub broken: Vec<String>,
    /// Intents that newly depend on what isn't modelled.
    pub depends: Vec<String>,
}

/// Runs the command.
pub fn run(options: &Options, color: Color) -> Result<ExitCode, Stopped> {
    let Some(made) = make(options, color)? else {
        return Ok(ExitCode::from(internal_error::INTERNAL_ERROR));
    };
    if let Some(path) = &options.out {
        write(path, &made.plan.write())?;
    }
    let text = match options.format {
        AnswerFormat::Json => made.plan.write(),
        AnswerFormat::Human => show::human(&made, options.out.as_deref(), color.style()),
        AnswerFormat::Markdown => show::markdown(&made),
    };
    output::print(&text)?;
    Ok(ExitCode::from(made.exit_code()))
}

/// Makes a plan; `None` after telling of an internal error. Changes nothing but throwaway namespaces.
pub fn make(options: &Options, color: Color) -> Result<Option<Made>, Stopped> {
    let mut files = Files::with_include_paths(&options.include_paths);
    let given = candidate::find(options, &mut files)?;
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: files.diagnostics, sources: files.sources });
    }
    let live = running::read(options, &given)?;
    let (given, kept) = given.with_iptables(&live.running.state);
    let progress = Progress::start("trying it out in a throwaway namespace");
    let loaded = load_sandbox(&live.running, &given.candidate).map_err(|error| refused(&error))?;
    let mut rehearsed = tried(options, &live, &given, &loaded)?;
    rehearsed.notes.extend(kept);
    let switch = held(options, &live, &given, &loaded, &mut rehearsed)?;
    drop(progress);
    let folder = tempfile::tempdir().map_err(|error| {
        Diagnostic::error("temporary-folder", format!("no temporary folder can be made: {error}"))
            .help("set TMPDIR to a folder that can be written")
    })?;
    let mut versions = diff::Versions::live(
        (
            running::snapshot(&live, &live.running.state, &folder.path().join("running"))?,
            running::snapshot(&live, &rehearsed.result, &folder.path().join("planned"))?,
        ),
        ("the running rules".to_owned(), "the plan".to_owned()),
        (running::stack(options).map(Path::to_path_buf), live.host.clone()),
    );
    versions.renamed = Some((folder.path().to_path_buf(), String::new()));
    let comparison = match diff::compare(&comparing(options, &live.host), &versions, color)? {
        Ok(comparison) => comparison,
        Err(what) => {
            internal_error::complain(&what);
            return Ok(None);
        }
    };
    let plan = Plan { switch, ..written(options, &live, &given, &loaded, &rehearsed, &comparison)? };
    let (broken, depends) = findings(&plan.evidence);
    Ok(Some(Made { plan, edits: rehearsed.delta.edits, comparison, broken, depends }))
}

impl Made {
    /// 1 where something breaks, 3 where something newly depends.
    fn exit_code(&self) -> u8 {
        match (self.broken.is_empty(), self.depends.is_empty()) {
            (false, _) => 1,
            (true, false) => 3,
            (true, true) => 0,
        }
    }
}

/// How the two versions are compared.
fn comparing(options: &Options, host: &str) -> Diff {
    Diff {
        paths: Vec::new(),
        git: None,
        running: false,
        host: Some(host.to_owned()),
        include_paths: options.include_paths.clone(),
        format: options.format,
        budget: options.budget,
    }
}

/// Finds the scripts, with tables of others treated as the options say.
fn tried(options: &Options, live: &Live, given: &Given, loaded: &Loaded) -> Result<Rehearsed, Stopped> {
    let of_iptables = |table: &TableName| given.saved.contains(table);
    let named = |table: &TableName| given.named.contains(table);
    let read = |text| Listing::read(text).map_err(|error| refused(&error.into()));
    let foreign = delta(&read(&loaded.before)?, &read(&loaded.after)?, Manner::Fine, |table| {
        !named(table) && !of_iptables(table)
    });
    if !foreign.is_empty() && !options.keep_foreign && !options.flush_foreign {
        let tables: Vec<String> = foreign.tables.iter().map(|table| format!("`{table}`")).collect();
        let problem = format!("the candidate changes tables that it doesn't name: {}", tables.join(", "));
        return Err(Diagnostic::error("foreign-tables", problem)
            .because("`flush ruleset` removes what Docker, fail2ban and others have put there, too")
            .help("leave them alone with --keep-foreign, remove them with --flush-foreign, or replace `flush ruleset` by `table inet NAME` and `delete table inet NAME`")
            .into());
    }
    // Rules of a file have no handles that a kernel would know.
    let manners: &[Manner] = match live.snapshot.is_some() {
        true => &[Manner::Fine, Manner::Ends, Manner::Refill],
        false => &[Manner::Refill],
    };
    let touches = |table: &TableName| !of_iptables(table) && (named(table) || options.flush_foreign);
    let mut rehearsed = rehearse(&live.running, &given.candidate, loaded, touches, manners)
        .map_err(|error| Stopped::from(refused(&error)))?;
    if !foreign.is_empty() && options.keep_foreign {
        let tables: Vec<String> = foreign.tables.iter().map(ToString::to_string).collect();
        rehearsed.notes.push(format!("tables of others stay as they are: {}", tables.join(", ")));
    }
    if live.snapshot.is_none() {
        rehearsed.inverse.clear();
    }
    Ok(rehearsed)
}

/// Has the kernel hold the way back, where it can.
fn held(
    options: &Options,
    live: &Live,
    given: &Given,
    loaded: &Loaded,
    rehearsed: &mut Rehearsed,
) -> Result<Switch, Stopped> {
    let read = |text| Listing::read(text).map_err(|error| refused(&error.into()));
    let (before, after) = (read(&loaded.before)?, read(&loaded.after)?);
    let vanish = before.tables.iter().any(|table| after.table(&table.name).is_none());
    if live.snapshot.is_none() {
        return Ok(Switch::Guard("the rules of a file are in no kernel".to_owned()));
    }
    if vanish && options.keep_foreign {
        return Ok(Switch::Guard("the candidate removes tables of others, which stay".to_owned()));
    }
    let seconds = options.window.saturating_add(GRACE_SECONDS);
    let kernel = hold_by_kernel(&live.running, &given.candidate, loaded, rehearsed, seconds);
    Ok(kernel.unwrap_or_else(Switch::Guard))
}

fn refused(error: &RehearsalError) -> Diagnostic {
    let (code, help) = match error {
        RehearsalError::Sandbox(_) => {
            ("sandbox", "run it as root, or where ordinary users may make user namespaces")
        }
        RehearsalError::Candidate(_) => (
            "candidate-refused",
            "correct it: nothing would be loaded; `firewarden check --syntax` tells more",
        ),
        RehearsalError::Running(_) | RehearsalError::Rollback(_) => (
            "no-way-back",
            "leave tables alone that nft can't print (matches of iptables such as `string` or `recent`), or give a candidate in the form of iptables-save",
        ),
        RehearsalError::Forward(_) => ("no-way-forward", "load it in smaller steps, and please report this"),
        RehearsalError::Listing(_) => ("listing", "please report this, with the version of nft"),
    };
    Diagnostic::error(code, error.to_string()).help(help)
}

/// What newly breaks, and what newly depends.
fn findings(evidence: &Evidence) -> (Vec<String>, Vec<String>) {
    let (depends, broken): (Vec<_>, Vec<_>) =
        evidence.findings().into_iter().partition(|finding| matches!(finding, Finding::Depends(_)));
    let words = |findings: Vec<Finding<'_>>| findings.iter().map(ToString::to_string).collect();
    (words(broken), words(depends))
}

/// The plan.
fn written(
    options: &Options,
    live: &Live,
    given: &Given,
    loaded: &Loaded,
    rehearsed: &Rehearsed,
    comparison: &Comparison,
) -> Result<Plan, Diagnostic> {
    let delta = &rehearsed.delta;
    let read = |text| Listing::read(text).map_err(|error| refused(&error.into()));
    let manifest = live.snapshot.as_ref().map(|snapshot| &snapshot.manifest);
    let said = |value: Option<&Option<String>>| value.cloned().flatten().unwrap_or_default();
    let parent = Parent {
        boot_id: said(manifest.map(|manifest| &manifest.boot_id)),
        namespace: said(manifest.map(|manifest| &manifest.namespace)),
        generation: live.running.state.generation,
        ruleset: live.running.state.digest(),
        tables: delta.tables.iter().map(ToString::to_string).collect(),
        handles: hex(&Sha256::digest(handles(&read(&live.running.listing)?, &delta.tables))),
        parts: live.running.state.parts(),
    };
    let meaning = &comparison.answer;
    let intents = meaning.intents.iter().map(|intent| IntentVerdicts {
        intent: intent.intent.clone(),
        before: intent.before.word().to_owned(),
        after: intent.after.word().to_owned(),
    });
    let hosts = &meaning.hosts;
    let changes = hosts
        .iter()
        .flat_map(|host| &host.changes)
        .map(|change| format!("{}: {}", change.title, change.headline));
    let mut notes = notes(live, given, loaded, rehearsed);
    let undecided = hosts.iter().map(|host| host.undecided.len() + host.not_compared.len()).sum::<usize>();
    if undecided > 0 {
        notes.push(format!("{undecided} sets of packets or rules were not compared by meaning"));
    }
    let evidence = Evidence {
        changes: changes.collect(),
        intents: intents.collect(),
        cut: hosts.iter().flat_map(|host| &host.cuts).map(show::cut).collect(),
        own_session: hosts.iter().flat_map(|host| &host.cuts).find(|cut| cut.own_session).map(show::cut),
        notes,
    };
    Ok(Plan {
        version: FORMAT_VERSION,
        host: live.host.clone(),
        made: utc_now(),
        parent,
        result: rehearsed.result.digest(),
        parts: rehearsed.result.parts(),
        forward: rehearsed.forward.clone(),
        inverse: rehearsed.inverse.clone(),
        rollback: rehearsed.back.clone(),
        probes: match comparison.stacks() {
            [_, Some(stack)] => probes(stack, &live.host, &meaning.intents),
            _ => Vec::new(),
        },
        window_seconds: options.window,
        persist: options.persist.as_deref().map(|path| persisted(path, given, rehearsed)).transpose()?,
        switch: Switch::Guard("nothing was tried".to_owned()),
        evidence,
    })
}

/// Connections that show whether intents hold, but for those that nothing could be said of. Those of an intent that the
/// change breaks are made too: whoever goes on with it all the same sees what it does.
fn probes(stack: &StackFile, host: &str, asked: &[IntentChange]) -> Vec<Probe> {
    let is_empty = |attempt: &Attempt| {
        asked.iter().any(|asked| asked.intent == attempt.intent && asked.after == Verdict::Vacuous)
    };
    attempts(stack, host).into_iter().filter(|attempt| !is_empty(attempt)).map(probe).collect()
}

/// What the operator is told.
fn notes(live: &Live, given: &Given, loaded: &Loaded, rehearsed: &Rehearsed) -> Vec<String> {
    let mut notes = rehearsed.notes.clone();
    let state = &live.running.state;
    if live.snapshot.is_none() {
        notes.push(
            "made from files, not from a running host: `apply` refuses it where other rules run".to_owned(),
        );
    }
    let legacy = !state.legacy_iptables.is_empty() || !state.legacy_ip6tables.is_empty();
    if legacy {
        notes.push("the kernel has rules of the old iptables, which `nft list ruleset` doesn't show; both are compared, and a packet has to pass both".to_owned());
    }
    if legacy && !Listing::read(&live.running.listing).is_ok_and(|listing| listing.tables.is_empty()) {
        notes.push("two backends are in use: the old iptables and nftables".to_owned());
    }
    let scripts =
        rehearsed.forward.iter().map(|script| script.text.matches("\nCOMMIT").count().max(1)).sum::<usize>();
    if scripts > 1 {
        notes.push(format!("it is not atomic: {scripts} tables are loaded one after the other; every one of them is rolled back"));
    }
    match &rehearsed.twice {
        Some(twice) if twice.is_empty() || !given.candidate.forward.is_empty() => {}
        Some(twice) => notes.push(format!(
            "loading the candidate a second time changes {} again (rules come twice); begin it with `table ...` and `delete table ...`",
            twice.edits.iter().map(|edit| edit.place.as_str()).collect::<Vec<_>>().join(", ")
        )),
        None => notes.push("the candidate can't be loaded a second time".to_owned()),
    }
    if !loaded.reworded.is_empty() {
        notes.push(format!(
            "nft prints rules in other words once it has read them: {}",
            loaded.reworded.join(", ")
        ));
    }
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    if let Ok(listing) = Listing::read(&loaded.after) {
        let ours = listing.tables.iter().filter(|table| rehearsed.delta.tables.contains(&table.name));
        for rule in ours.flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
            let words: Vec<&str> = rule.text.split_whitespace().collect();
            needed.extend(words.windows(2).filter_map(|pair| match pair {
                ["iif" | "oif", name] if name.trim_matches('"') != "lo" => Some(name.trim_matches('"')),
                _ => None,
            }));
        }
    }
    if !needed.is_empty() {
        let names: Vec<&str> = needed.into_iter().collect();
        notes.push(format!(
            "at boot the rules load only if these interfaces are there: {} (`iif`, `oif`); `iifname` and `oifname` need none",
            names.join(", ")
        ));
    }
    notes
}

/// The file for the next boot.
fn persisted(path: &Path, given: &Given, rehearsed: &Rehearsed) -> Result<Persist, Diagnostic> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let text = match (given.candidate.files.is_empty(), given.candidate.forward.as_slice()) {
        (false, []) => {
            let listing = Listing::read(&rehearsed.result.nft).map_err(|error| refused(&error.into()))?;
            let tables: BTreeSet<TableName> = given.named.union(&rehearsed.delta.tables).cloned().collect();
            format!("#!/usr/sbin/nft -f\n{}", whole_text(&listing, &tables))
        }
        (true, [only, ..]) if given.candidate.forward.iter().all(|script| script.loader == only.loader) => {
            candidate::save_of(only.loader, &rehearsed.result).to_owned()
        }
        _ => {
            return Err(Diagnostic::error(
                "persist",
                "one file can't hold rules of nft and of iptables, or of IPv4 and IPv6",
            )
            .help("plan them one after the other, each with a --persist of its own"));
        }
    };
    Ok(Persist { path: path.display().to_string(), text })
}

fn write(path: &Path, text: &str) -> Result<(), Diagnostic> {
    std::fs::write(path, text).map_err(|error| {
        Diagnostic::error("unwritable", format!("`{}` can't be written: {error}", path.display()))
            .help("give a path in a folder that you may write to")
    })
}
