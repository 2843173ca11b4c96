//! Does every intent hold?

mod expect;

use super::Stopped;
use super::confirm;
use super::hosts::{self, Loaded};
use super::reported::{self, Answer, Failure};
use crate::cli::{Check, Confirm};
use crate::load::{self, Files};
use crate::output::Color;
use crate::progress::Progress;
use firewarden_diagnostic::{Diagnostic, Report, ResultItem, SourceMap, Span};
use firewarden_network::Host;
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Ruleset, Statement, Test, Verdict};
use firewarden_verify::intent::{Expectation, Peer, parse_intent};
use firewarden_verify::stack::DeclaredIntent;
use firewarden_verify::{CheckOptions, Place};
use std::borrow::Cow;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs the command.
pub fn run(options: &Check, color: Color) -> Result<ExitCode, Stopped> {
    reported::print(answer(options), options.format, color)
}

/// The report, and the texts that it speaks of. Wrong input is in the report.
///
/// # Errors
/// What engine and interpreter don't agree about.
pub fn answer(options: &Check) -> Answer {
    reported::answer("check", &options.input.paths, |report| examine(options, report))
}

/// Fills the report; gives the texts that it speaks of.
fn examine(options: &Check, report: &mut Report) -> Result<SourceMap, Failure> {
    let Loaded { mut files, mut atoms, stack, mut hosts, inputs } = hosts::load(&options.input)?;
    let mut intents = Cow::Borrowed(stack.as_ref().map_or(&[][..], |stack| &stack.intents));
    if let (Some(name), Some(_)) = (&options.input.host, &stack) {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            files.diagnostics.push(hosts::unknown(name, &known));
        }
        intents.to_mut().retain(|declared| names(declared, name));
    }
    for (expectation, texts) in [
        (Expectation::Allow, &options.allow),
        (Expectation::Deny, &options.deny),
        (Expectation::Only, &options.only),
    ] {
        for text in texts {
            intents.to_mut().extend(from_option(expectation, text, &mut files));
        }
    }
    if options.syntax && !load::has_errors(&files.diagnostics) {
        report.command = "check --syntax".to_owned();
        report.diagnostics = files.diagnostics;
        let read = hosts.iter().map(|host| Diagnostic::note("read", contents(&host.ruleset, &host.name)));
        report.diagnostics.extend(read);
        return Ok(files.sources);
    }
    let change = match &options.before {
        Some(path) if path.as_os_str() == "-" && options.input.paths.contains(path) => {
            let problem = Diagnostic::error("standard-input-twice", "standard input can't be both versions")
                .help("write the version before the change to a file");
            return Err(Failure::Input(problem.into()));
        }
        Some(path) => Some(expect::load(path, options, &mut hosts, &mut files, &mut atoms)?),
        None => None,
    };
    if intents.is_empty() && change.is_none() && !load::has_errors(&files.diagnostics) {
        let problem = no_intents(&hosts, &atoms, options);
        files.diagnostics.push(problem);
    }
    if load::has_errors(&files.diagnostics) {
        // nft and iptables-restore load all of a file or nothing, so there is nothing to answer for.
        return Err(Failure::Input(Stopped { diagnostics: files.diagnostics, sources: files.sources }));
    }
    let mut limits = CheckOptions { today: today(), ..CheckOptions::default() };
    if let Some(steps) = options.budget {
        limits.steps = steps;
    }
    let progress = Progress::start("checking intents");
    let checked =
        firewarden_verify::check(&mut hosts, stack.as_ref(), &intents, &mut atoms, &files.sources, &limits)?;
    report.results = checked.results;
    files.diagnostics.extend(proposed(&report.results));
    if let Some(change) = change {
        let mut found = change.examine(&mut hosts, stack.as_ref(), &mut atoms, &files.sources)?;
        report.results.append(&mut found);
    }
    let mut loaded = Loaded { files, atoms, stack, hosts, inputs };
    if options.confirm == Some(Confirm::Kernel) {
        let found = confirm::confirm(&mut report.results, &mut loaded);
        loaded.files.diagnostics.extend(found);
    }
    drop(progress);
    report.diagnostics = loaded.files.diagnostics;
    report.diagnostics.extend(checked.diagnostics);
    Ok(loaded.files.sources)
}

/// Says how many answers count for nothing yet.
fn proposed(results: &[ResultItem]) -> Option<Diagnostic> {
    let text = match results.iter().filter(|result| result.proposed).count() {
        0 => return None,
        1 => "1 intent is proposed: it fails nothing until somebody accepts it".to_owned(),
        count => format!("{count} intents are proposed: they fail nothing until somebody accepts them"),
    };
    Some(Diagnostic::note("intents-proposed", text).help("remove `proposed: true` from those that are right"))
}

/// An intent of the command line. `None` after saying what is wrong with it.
fn from_option(expectation: Expectation, text: &str, files: &mut Files) -> Option<DeclaredIntent> {
    from_text(&format!("--{}", expectation.word()), Some(expectation), text, files)
}

/// The same of an option that doesn't say what is expected.
fn from_text(
    option: &str,
    expectation: Option<Expectation>,
    text: &str,
    files: &mut Files,
) -> Option<DeclaredIntent> {
    let file = files.sources.add(option, text);
    let place = Place::exact(Span::new(file, 0, text.len()));
    match parse_intent(text, place, expectation) {
        Ok(intent) => Some(DeclaredIntent::bare(intent)),
        Err(problem) => {
            files.diagnostics.push(*problem);
            None
        }
    }
}

/// Whether an intent speaks of a host.
fn names(declared: &DeclaredIntent, host: &str) -> bool {
    let sides = [&declared.intent.source, &declared.intent.destination];
    let named = |peer: &Peer| matches!(peer, Peer::Name(name) if **name == *host);
    sides.iter().any(|side| side.include.iter().any(|peer| named(&peer.value)))
        || declared.via.iter().any(|via| via.value == host)
}

/// Nothing to check is no pass: says what was read, and what can be asked.
fn no_intents(hosts: &[Host], atoms: &AtomTable, options: &Check) -> Diagnostic {
    let path = options.input.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let mut problem = Diagnostic::error("no-intents", "there is nothing to check: no intent was given");
    for host in hosts {
        problem = problem.because(contents(&host.ruleset, &host.name));
    }
    if atoms.iter().next().is_some() {
        let count = atoms.iter().count();
        problem = problem
            .because(format!("{count} constructs in them aren't modelled; answers name those that decide"));
    }
    problem.help(format!(
        "add one, such as `--allow \"any -> 10.0.0.1 tcp/443\"`, see who reaches what with `firewarden exposed {path}`, or have it only read with `--syntax`"
    ))
}

fn contents(ruleset: &Ruleset, host: &str) -> String {
    let rules: usize = ruleset.chains.iter().map(|chain| chain.rules.len()).sum();
    let opaque = |statement: &Statement| {
        matches!(
            statement,
            Statement::Test(Test::Atom { .. })
                | Statement::Verdict(Verdict::Opaque { .. })
                | Statement::Opaque { .. }
        )
    };
    let with_atoms = ruleset
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .filter(|rule| rule.statements.iter().any(opaque))
        .count();
    let count = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    format!(
        "{host} was read without error: {}, {}, {}, of which {with_atoms} with constructs that aren't modelled",
        count(ruleset.tables.len(), "table"),
        count(ruleset.chains.len(), "chain"),
        count(rules, "rule"),
    )
}

/// Today in UTC as `2026-11-21`; `None` where the clock is before 1970.
pub fn today() -> Option<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(date(seconds / 86_400))
}

/// The day of the Gregorian calendar that is so many days after 1970-01-01.
pub fn date(days: u64) -> String {
    // Years begin in March here, so that the day that may be missing is their last; 719,468 days before 1970 begins
    // an era of 400 such years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_778, "2026-11-21"),
            (47_540, "2100-02-28"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
