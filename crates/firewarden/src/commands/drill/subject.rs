//! What is drilled: a scenario, with the web stack's files before and after its change.

use crate::commands::Stopped;
use crate::commands::examples::{self, WEB_STACK};
use crate::commands::hosts;
use crate::load::{self, Files, Texts};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_lab::scenario::{self, Scenario, read_scenario};
use firewarden_verify::nearest;
use firewarden_verify::stack::StackFile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A scenario, ready to be drilled.
pub struct Subject {
    pub scenario: Scenario,
    /// The texts that the change makes, by the names of the files.
    pub changed: BTreeMap<String, String>,
    /// The web stack, and beside it the same with the change.
    pub texts: Texts,
    /// The stack file with the change.
    pub after: PathBuf,
}

impl Subject {
    /// A drill that comes along, or a file.
    pub fn find(named: &str) -> Result<Subject, Stopped> {
        let (path, text, comes_along) = match scenario::by_name(named) {
            Some(built_in) => (PathBuf::from(built_in.path), built_in.text.to_owned(), true),
            None if Path::new(named).exists() => {
                (PathBuf::from(named), load::read_file(Path::new(named))?.text, false)
            }
            None => return Err(unknown(named).into()),
        };
        let mut sources = SourceMap::default();
        let file = sources.add(path.display().to_string(), text.as_str());
        let (scenario, diagnostics) = read_scenario(file, &text);
        let Some(scenario) = scenario else { return Err(Stopped { diagnostics, sources }) };
        if let Some(problem) = undeclared(&scenario, &web_stack()?) {
            return Err(Stopped { diagnostics: vec![problem], sources });
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let texts = examples::texts();
        let old = |name: &str| texts.get(&beside(WEB_STACK, name)).map(|text| text.to_string());
        let other = |name: &str| match comes_along {
            true => texts.get(&plain(&folder.join(name))).map(|text| text.to_string()),
            false => load::read_file(&folder.join(name)).ok().map(|read| read.text),
        };
        match scenario.changed(&old, &other) {
            Ok(changed) => Ok(Subject::of(scenario, changed, texts)),
            Err(problem) => Err(Stopped { diagnostics: vec![*problem], sources }),
        }
    }

    fn of(scenario: Scenario, changed: BTreeMap<String, String>, mut texts: Texts) -> Subject {
        let folder = Path::new("drills").join(&scenario.name);
        let stack = Path::new(WEB_STACK).parent().unwrap_or(Path::new("")).to_path_buf();
        let same: Vec<(PathBuf, Arc<str>)> = texts
            .iter()
            .filter_map(|(path, text)| Some((folder.join(path.strip_prefix(&stack).ok()?), Arc::clone(text))))
            .collect();
        texts.extend(same);
        for (name, text) in &changed {
            texts.insert(folder.join(name), Arc::from(text.as_str()));
        }
        Subject { scenario, changed, texts, after: folder.join("firewarden.yaml") }
    }

    /// The change as a diff.
    pub fn difference(&self) -> String {
        let difference = |name: &String| {
            examples::difference(&beside(WEB_STACK, name), &self.after.with_file_name(name), &self.texts)
        };
        let mut text: String = self.changed.keys().map(difference).collect();
        if let Some(fault) = &self.scenario.fault {
            text += &format!("and on {}: {}\n", fault.host, fault.make);
        }
        text
    }
}

/// What the web stack declares.
fn web_stack() -> Result<StackFile, Stopped> {
    let mut files = Files::with_include_paths(&[]);
    files.bring(&examples::texts());
    hosts::declared_stack(Path::new(WEB_STACK), &mut files)
}

/// A host or an intent that the drill names and the web stack doesn't have.
fn undeclared(scenario: &Scenario, stack: &StackFile) -> Option<Diagnostic> {
    let missing = |code: &'static str, what: &str, name: &str, known: &[&str]| {
        let problem = Diagnostic::error(code, format!("the web stack has no {what} `{name}`"));
        match nearest(name, known.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("name one of {}", known.join(", "))),
        }
    };
    let host = &scenario.change.host;
    let hosts: Vec<&str> = stack.hosts.iter().map(|host| host.name.value.as_str()).collect();
    if !hosts.contains(&host.value.as_str()) {
        return Some(missing("drill-host", "host", &host.value, &hosts).at(host.span, ""));
    }
    let intents: Vec<&str> =
        stack.intents.iter().filter_map(|intent| Some(intent.name.as_ref()?.value.as_str())).collect();
    let wrong = scenario.expect.breaks.iter().find(|name| !intents.contains(&name.as_str()))?;
    Some(missing("drill-intent", "intent", wrong, &intents))
}

fn beside(stack: &str, name: &str) -> PathBuf {
    Path::new(stack).with_file_name(name)
}

/// A path without `folder/..`.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}

fn unknown(named: &str) -> Diagnostic {
    let problem =
        Diagnostic::error("no-such-drill", format!("there is no drill `{}`", named.replace('`', "'")));
    match nearest(named, scenario::BUILT_IN.iter().map(|known| known.name)) {
        Some(near) => problem.help(format!("did you mean `{near}`? `firewarden drill list` has all of them")),
        None => problem.help("give a name of `firewarden drill list`, or a drill file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tour::Outage;
    use crate::commands::tour::lasted;
    use clap::ValueEnum;

    #[test]
    fn drills_and_the_tour_tell_the_same_of_the_outages() {
        for outage in Outage::value_variants() {
            let (number, minutes) = lasted(*outage);
            let Ok(subject) = Subject::find(number) else { panic!("there is no drill {number}") };
            let told = subject.scenario.postmortem.unwrap();
            assert_eq!(told.lasted() / 60_000.0, f64::from(minutes), "{number}");
        }
    }
}
