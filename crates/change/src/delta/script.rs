//! Differences as commands of nft(8), in an order in which every name is there when it is used.

use super::Manner;
use super::compare::{Difference, Hunk};
use super::listing::{Chain, Element, Object, Set, Table};
use crate::plan::Inverse;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Whether a script brings a change or takes it back. Elements with a timeout that only the kernel has are kept on the way
/// forward; on the way back, those that the change brought go, and those that it left alone are still there or ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Back,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Command(String),
    /// Deletes the rule at an index of a chain, which has this handle in the listing that the script starts from.
    DeleteRule {
        family: String,
        table: String,
        chain: String,
        index: usize,
        handle: u64,
    },
}

impl Step {
    pub fn into_inverse(self) -> Inverse {
        match self {
            Step::Command(text) => Inverse::Command(text),
            Step::DeleteRule { family, table, chain, index, .. } => {
                Inverse::DeleteRule { family, table, chain, index }
            }
        }
    }
}

/// The text for `nft -f`.
pub(super) fn text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        // Writing to a string doesn't fail.
        let _ = match step {
            Step::Command(command) => writeln!(text, "{command}"),
            Step::DeleteRule { family, table, chain, handle, .. } => {
                writeln!(text, "delete rule {family} {table} {chain} handle {handle}")
            }
        };
    }
    text
}

fn command(steps: &mut Vec<Step>, text: String) {
    steps.push(Step::Command(text));
}

/// Deletes a table.
pub(super) fn remove(table: &Table<'_>, manner: Manner, steps: &mut Vec<Step>) {
    if manner == Manner::Refill {
        // Deleting what isn't there is an error; adding what is there isn't.
        command(steps, format!("add table {}", table.name));
    }
    command(steps, format!("delete table {}", table.name));
}

/// Makes a table with everything in it.
pub(super) fn create(table: &Table<'_>, manner: Manner, steps: &mut Vec<Step>) {
    if manner == Manner::Refill {
        remove(table, manner, steps);
    }
    let mut text = format!("table {} {{\n", table.name);
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    table.flags.iter().for_each(|flags| line(format!("\tflags {flags}")));
    table.other.iter().for_each(|other| line(format!("\t{other}")));
    for object in &table.objects {
        line(format!("\t{} {} {{ {} }}", object.kind, object.name, object_body(object)));
    }
    for set in &table.sets {
        line(format!("\t{} {} {{ {}", set.kind, set.name, set_header(set)));
        if !set.elements.is_empty() {
            line(format!("\t\telements = {{ {} }}", elements(set.elements.values())));
        }
        line("\t}".to_owned());
    }
    for chain in &table.chains {
        line(format!("\tchain {} {{ {}", chain.name, chain_header(chain)));
        chain.rules.iter().for_each(|rule| line(format!("\t\t{}", rule.text)));
        line("\t}".to_owned());
    }
    text.push('}');
    command(steps, text);
}

/// The statements of an object, each with a line break, which ends every statement for nft.
fn object_body(object: &Object<'_>) -> String {
    object.body.iter().chain(&object.comment).fold(String::from("\n"), |text, line| text + line + "\n")
}

fn set_header(set: &Set<'_>) -> String {
    set.header.iter().chain(&set.comment).fold(String::from("\n"), |text, line| text + line + "\n")
}

fn chain_header(chain: &Chain<'_>) -> String {
    let mut text = String::new();
    if let Some(base) = chain.base {
        let _ = write!(text, "{base};");
    }
    if let Some(policy) = chain.policy {
        let _ = write!(text, " policy {policy};");
    }
    for other in &chain.other {
        let _ = write!(text, " {other};");
    }
    text.push('\n');
    text
}

fn elements<'e, 'a: 'e>(elements: impl Iterator<Item = &'e Element<'a>>) -> String {
    let mut text = String::new();
    for element in elements {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(element.text);
    }
    text
}

/// Changes a table that stays.
pub(super) fn change(
    difference: &Difference<'_, '_>,
    manner: Manner,
    direction: Direction,
    steps: &mut Vec<Step>,
) {
    let mut writer = Writer { difference, manner, direction, steps, refilled: BTreeSet::new() };
    writer.take_away();
    writer.bring();
}

struct Writer<'d, 't, 'a> {
    difference: &'d Difference<'t, 'a>,
    manner: Manner,
    direction: Direction,
    steps: &'d mut Vec<Step>,
    /// Sets that were emptied, and are filled again.
    refilled: BTreeSet<&'a str>,
}

impl<'t, 'a> Writer<'_, 't, 'a> {
    fn command(&mut self, text: String) {
        command(self.steps, text);
    }

    /// `inet filter NAME`.
    fn named(&self, name: &str) -> String {
        format!("{} {name}", self.difference.from.name)
    }

    /// Everything that goes: first what refers to others.
    fn take_away(&mut self) {
        let (from, to) = (self.difference.from, self.difference.to);
        if from.flags != to.flags || self.manner == Manner::Refill {
            let flags = to.flags.map(|flags| format!(" {{ flags {flags}; }}")).unwrap_or_default();
            self.command(format!("add table {}{flags}", from.name));
        }
        if self.manner == Manner::Refill {
            self.make_sure();
        }
        for chain in &from.chains {
            match self.difference.hunks.get(chain.name) {
                Some(hunks) if self.manner != Manner::Refill => self.delete_rules(chain, hunks),
                Some(_) if !self.touched(chain) => {}
                _ => self.command(format!("flush chain {}", self.named(chain.name))),
            }
        }
        let pairs: Vec<_> = self.difference.kept_sets().collect();
        for (set, other) in pairs {
            self.delete_elements(set, other);
        }
        for set in self.difference.lone_sets(from, to) {
            self.command(format!("delete {} {}", set.kind, self.named(set.name)));
        }
        for chain in self.difference.lone_chains(from, to) {
            self.command(format!("delete chain {}", self.named(chain.name)));
        }
        for object in self.difference.lone_objects(from, to) {
            self.command(format!("delete {} {}", object.kind, self.named(object.name)));
        }
    }

    /// From a state that may be either of the two: everything that will be deleted or filled gets to be there, and empty.
    fn make_sure(&mut self) {
        let (from, to) = (self.difference.from, self.difference.to);
        let anew = &self.difference.anew;
        for object in self.difference.lone_objects(from, to) {
            if !anew.objects.contains(&(object.kind, object.name)) {
                self.add_object(object);
            }
        }
        for set in self.difference.lone_sets(from, to) {
            if !anew.sets.contains(set.name) {
                self.add_set(set);
            }
        }
        for chain in self.difference.lone_chains(from, to) {
            if !anew.chains.contains(chain.name) {
                self.command(format!("add chain {}", self.named(chain.name)));
            }
        }
        for chain in self.difference.lone_chains(to, from) {
            if !anew.chains.contains(chain.name) {
                self.add_chain(chain);
                self.command(format!("flush chain {}", self.named(chain.name)));
            }
        }
    }

    /// Everything that comes: first what others refer to.
    fn bring(&mut self) {
        let (from, to) = (self.difference.from, self.difference.to);
        for object in self.difference.lone_objects(to, from) {
            self.add_object(object);
        }
        for chain in self.difference.lone_chains(to, from) {
            self.add_chain(chain);
        }
        for set in self.difference.lone_sets(to, from) {
            self.add_set(set);
            self.add_elements(set.name, set.elements.values().collect());
        }
        let pairs: Vec<_> = self.difference.kept_sets().collect();
        for (set, other) in pairs {
            self.add_missing(set, other);
        }
        for chain in &to.chains {
            let old = from.chain(chain.name);
            match (old, self.difference.hunks.get(chain.name)) {
                (Some(old), Some(hunks)) if self.manner != Manner::Refill => {
                    for hunk in hunks {
                        self.add_rules(old, chain, hunk);
                    }
                    if old.policy != chain.policy {
                        self.set_policy(chain);
                    }
                }
                (Some(old), Some(_)) if !self.touched(old) => {
                    if old.policy != chain.policy {
                        self.set_policy(chain);
                    }
                }
                (_, hunks) => {
                    for rule in &chain.rules {
                        self.command(format!("add rule {} {}", self.named(chain.name), rule.text));
                    }
                    if hunks.is_some() {
                        self.set_policy(chain);
                    }
                }
            }
        }
    }

    /// Whether rules of a chain that stays differ.
    fn touched(&self, chain: &Chain<'a>) -> bool {
        self.difference.hunks.get(chain.name).is_some_and(|hunks| !hunks.is_empty())
    }

    fn delete_rules(&mut self, chain: &Chain<'a>, hunks: &[Hunk]) {
        let name = &self.difference.from.name;
        for index in hunks.iter().flat_map(|hunk| hunk.from.clone()) {
            let Some(rule) = chain.rules.get(index) else { continue };
            self.steps.push(Step::DeleteRule {
                family: name.family.clone(),
                table: name.name.clone(),
                chain: chain.name.to_owned(),
                index,
                handle: rule.handle,
            });
        }
    }

    fn add_rules(&mut self, old: &Chain<'a>, new: &Chain<'a>, hunk: &Hunk) {
        // What follows a hunk stays, and has the handle of the listing that was read of the kernel.
        let next = match self.direction {
            Direction::Forward => old.rules.get(hunk.from.end),
            Direction::Back => new.rules.get(hunk.to.end),
        };
        let place = match next {
            Some(next) => format!("insert rule {} position {}", self.named(new.name), next.handle),
            None => format!("add rule {}", self.named(new.name)),
        };
        for rule in new.rules.get(hunk.to.clone()).unwrap_or_default() {
            self.command(format!("{place} {}", rule.text));
        }
    }

    fn set_policy(&mut self, chain: &Chain<'a>) {
        if let Some(policy) = chain.policy {
            self.command(format!("add chain {} {{ policy {policy}; }}", self.named(chain.name)));
        }
    }

    fn add_chain(&mut self, chain: &Chain<'a>) {
        let header = match chain_header(chain) {
            header if header.trim().is_empty() => String::new(),
            header => format!(" {{ {} }}", header.trim_end()),
        };
        self.command(format!("add chain {}{header}", self.named(chain.name)));
    }

    fn add_set(&mut self, set: &Set<'a>) {
        self.command(format!("add {} {} {{ {} }}", set.kind, self.named(set.name), set_header(set)));
    }

    fn add_object(&mut self, object: &Object<'a>) {
        self.command(format!(
            "add {} {} {{ {} }}",
            object.kind,
            self.named(object.name),
            object_body(object)
        ));
    }

    fn add_elements(&mut self, set: &str, list: Vec<&Element<'a>>) {
        if !list.is_empty() {
            self.command(format!("add element {} {{ {} }}", self.named(set), elements(list.into_iter())));
        }
    }

    /// Takes away the elements of a set that stays.
    fn delete_elements(&mut self, set: &'t Set<'a>, other: &'t Set<'a>) {
        if self.difference.dynamic.contains(set.name) || set.elements == other.elements {
            return;
        }
        let timed = |set: &Set<'a>| set.elements.values().any(|element| element.timed);
        if self.manner == Manner::Refill && !timed(set) && !timed(other) {
            self.refilled.insert(set.name);
            return self.command(format!("flush {} {}", set.kind, self.named(set.name)));
        }
        let (mut gone, mut keys) = (Vec::new(), Vec::new());
        for (key, element) in &set.elements {
            let new = other.elements.get(key);
            let keeps = match new {
                Some(new) => new.text == element.text,
                None => element.timed && self.direction == Direction::Forward,
            };
            if !keeps {
                if element.timed || self.manner == Manner::Refill {
                    gone.push(element);
                }
                keys.push(*key);
            }
        }
        // It may have run out: what is added first can be deleted in any case.
        self.add_elements(set.name, gone);
        if !keys.is_empty() {
            self.command(format!("delete element {} {{ {} }}", self.named(set.name), keys.join(", ")));
        }
    }

    /// Adds the elements of a set that stays.
    fn add_missing(&mut self, set: &'t Set<'a>, other: &'t Set<'a>) {
        if self.difference.dynamic.contains(set.name) {
            return;
        }
        let all = self.refilled.contains(set.name);
        let list = other.elements.iter().filter(|(key, element)| match set.elements.get(*key) {
            _ if all => true,
            Some(old) => old.text != element.text,
            None => !(element.timed && self.direction == Direction::Back),
        });
        let list = list.map(|(_, element)| element).collect();
        self.add_elements(set.name, list);
    }
}
