//! What differs between two versions of a table.

use super::listing::{Chain, Object, Rule, Set, Table, normal_form};
use super::{Edit, EditLine};
use imara_diff::{Algorithm, Diff, InternedInput};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The difference between two versions of a table.
pub(super) struct Difference<'t, 'a> {
    pub from: &'t Table<'a>,
    pub to: &'t Table<'a>,
    /// What has to be deleted and made anew under its name.
    pub anew: Anew<'a>,
    /// For each chain that stays, by name: the rules that differ.
    pub hunks: BTreeMap<&'a str, Vec<Hunk>>,
    /// Sets whose elements packets govern.
    pub dynamic: BTreeSet<&'a str>,
}

/// Names of what is made anew.
#[derive(Default)]
pub(super) struct Anew<'a> {
    pub chains: BTreeSet<&'a str>,
    pub sets: BTreeSet<&'a str>,
    pub objects: BTreeSet<(&'a str, &'a str)>,
}

/// Rules that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hunk {
    /// The indices of those that go.
    pub from: Range<usize>,
    /// The indices of those that come.
    pub to: Range<usize>,
}

impl<'a> Anew<'a> {
    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty() && self.objects.is_empty()
    }

    /// Whether words name anything that is made anew. Says yes too often rather than too rarely.
    fn is_named_in(&self, words: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let objects = || self.objects.iter().any(|(_, name)| words.contains(&format!("\"{name}\"")));
        let mut before = "";
        for word in words.split([' ', ',', '{', '}', '\n', '\t']).filter(|word| !word.is_empty()) {
            let named = match word.strip_prefix('@') {
                Some(name) => {
                    self.sets.contains(name) || self.objects.iter().any(|(_, object)| *object == name)
                }
                None => matches!(before, "jump" | "goto") && self.chains.contains(word),
            };
            if named {
                return true;
            }
            before = word;
        }
        objects()
    }
}

impl<'t, 'a> Difference<'t, 'a> {
    /// Compares two versions of a table. O(n log n).
    pub fn between(from: &'t Table<'a>, to: &'t Table<'a>) -> Difference<'t, 'a> {
        let anew = anew(from, to);
        let mut hunks = BTreeMap::new();
        for chain in &from.chains {
            if let Some(other) = to.chain(chain.name).filter(|_| !anew.chains.contains(chain.name)) {
                hunks.insert(chain.name, rules(&chain.rules, &other.rules, &anew));
            }
        }
        let mut dynamic = from.written_sets();
        dynamic.extend(to.written_sets());
        dynamic.extend(from.sets.iter().chain(&to.sets).filter(|set| set.is_dynamic()).map(|set| set.name));
        Difference { from, to, anew, hunks, dynamic }
    }

    /// The same the other way round: rules that stay are the same ones.
    pub fn inverted(self) -> Difference<'t, 'a> {
        let Difference { from, to, mut anew, mut hunks, dynamic } = self;
        out_of_order(to, from, &mut anew);
        hunks.retain(|name, _| !anew.chains.contains(name));
        for hunk in hunks.values_mut().flatten() {
            std::mem::swap(&mut hunk.from, &mut hunk.to);
        }
        Difference { from: to, to: from, anew, hunks, dynamic }
    }

    /// Makes the first hunk of each chain reach to its end, so that every rule comes at the end.
    pub fn skip_to_end(&mut self) {
        for (name, hunks) in &mut self.hunks {
            let length = |table: &Table<'a>| table.chain(name).map_or(0, |chain| chain.rules.len());
            hunks.truncate(1);
            if let Some(hunk) = hunks.first_mut() {
                (hunk.from.end, hunk.to.end) = (length(self.from), length(self.to));
            }
        }
    }

    /// True where not even one transaction can change the table in place: Linux refuses other flags together with base
    /// chains that come or go.
    pub fn needs_new_table(&self) -> bool {
        let lone =
            self.lone_chains(self.from, self.to).into_iter().chain(self.lone_chains(self.to, self.from));
        self.from.flags != self.to.flags && lone.into_iter().any(|chain| chain.base.is_some())
    }

    /// True where nothing differs that loading rules can change.
    pub fn is_nothing(&self) -> bool {
        self.edits().is_empty()
    }

    /// Sets on both sides that keep their identity, with their other version.
    pub fn kept_sets(&self) -> impl Iterator<Item = (&'t Set<'a>, &'t Set<'a>)> {
        self.from
            .sets
            .iter()
            .filter(|set| !self.anew.sets.contains(set.name))
            .filter_map(|set| Some((set, self.to.sets.iter().find(|other| other.name == set.name)?)))
    }

    /// Sets of one side that the other one doesn't have, and those that are made anew.
    pub fn lone_sets(&self, of: &'t Table<'a>, other: &'t Table<'a>) -> Vec<&'t Set<'a>> {
        let there: BTreeSet<&str> = other.sets.iter().map(|set| set.name).collect();
        of.sets.iter().filter(|set| !there.contains(set.name) || self.anew.sets.contains(set.name)).collect()
    }

    /// The same for chains.
    pub fn lone_chains(&self, of: &'t Table<'a>, other: &'t Table<'a>) -> Vec<&'t Chain<'a>> {
        let there: BTreeSet<&str> = other.chains.iter().map(|chain| chain.name).collect();
        of.chains
            .iter()
            .filter(|chain| !there.contains(chain.name) || self.anew.chains.contains(chain.name))
            .collect()
    }

    /// The same for named objects.
    pub fn lone_objects(&self, of: &'t Table<'a>, other: &'t Table<'a>) -> Vec<&'t Object<'a>> {
        let key = |object: &Object<'a>| (object.kind, object.name);
        let there: BTreeSet<_> = other.objects.iter().map(key).collect();
        of.objects
            .iter()
            .filter(|object| !there.contains(&key(object)) || self.anew.objects.contains(&key(object)))
            .collect()
    }

    /// What differs, for people.
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        let place = |kind: &str, name: &str| format!("{kind} {} {name}", self.from.name);
        if self.from.flags != self.to.flags {
            let words = |flags: Option<&str>| flags.unwrap_or("none").to_owned();
            let changed = format!("flags {} -> {}", words(self.from.flags), words(self.to.flags));
            edits.push(Edit {
                place: format!("table {}", self.from.name),
                lines: vec![EditLine::Changed(changed)],
            });
        }
        for (of, other, kind) in [
            (self.from, self.to, EditLine::Removed as fn(String) -> EditLine),
            (self.to, self.from, EditLine::Added as fn(String) -> EditLine),
        ] {
            for object in self.lone_objects(of, other) {
                edits.push(Edit {
                    place: place(object.kind, object.name),
                    lines: vec![kind(object.body.join("; "))],
                });
            }
            for set in self.lone_sets(of, other) {
                let words = format!("{}, {} elements", set.header.join("; "), set.elements.len());
                edits.push(Edit { place: place(set.kind, set.name), lines: vec![kind(words)] });
            }
        }
        for (set, other) in self.kept_sets() {
            let lines = self.element_lines(set, other);
            if !lines.is_empty() {
                edits.push(Edit { place: place(set.kind, set.name), lines });
            }
        }
        self.chain_edits(&mut edits, &place);
        edits
    }

    fn element_lines(&self, set: &Set<'a>, other: &Set<'a>) -> Vec<EditLine> {
        if self.dynamic.contains(set.name) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for (key, element) in &set.elements {
            match other.elements.get(key) {
                Some(same) if same.text == element.text => {}
                None if element.timed => {}
                _ => lines.push(EditLine::Removed(element.text.to_owned())),
            }
        }
        for (key, element) in &other.elements {
            if set.elements.get(key).is_none_or(|old| old.text != element.text) {
                lines.push(EditLine::Added(element.text.to_owned()));
            }
        }
        lines
    }

    fn chain_edits(&self, edits: &mut Vec<Edit>, place: &impl Fn(&str, &str) -> String) {
        for chain in &self.from.chains {
            let mut lines = Vec::new();
            let other = self.to.chain(chain.name);
            match (other, self.hunks.get(chain.name)) {
                (Some(other), Some(hunks)) => {
                    if chain.policy != other.policy {
                        let words = |policy: Option<&str>| policy.unwrap_or("accept").to_owned();
                        lines.push(EditLine::Changed(format!(
                            "policy {} -> {}",
                            words(chain.policy),
                            words(other.policy)
                        )));
                    }
                    for hunk in hunks {
                        let texts = |rules: &[Rule<'a>], range: &Range<usize>| {
                            rules
                                .get(range.clone())
                                .unwrap_or_default()
                                .iter()
                                .map(|rule| rule.text.to_owned())
                                .collect::<Vec<_>>()
                        };
                        lines.extend(texts(&chain.rules, &hunk.from).into_iter().map(EditLine::Removed));
                        lines.extend(texts(&other.rules, &hunk.to).into_iter().map(EditLine::Added));
                    }
                }
                _ => {
                    lines.push(EditLine::Removed(chain_words(chain)));
                    lines.extend(other.map(|other| EditLine::Added(chain_words(other))));
                }
            }
            if !lines.is_empty() {
                edits.push(Edit { place: place("chain", chain.name), lines });
            }
        }
        for chain in self.to.chains.iter().filter(|chain| self.from.chain(chain.name).is_none()) {
            let first = EditLine::Added(chain_words(chain));
            let rules = chain.rules.iter().map(|rule| EditLine::Added(rule.text.to_owned()));
            edits.push(Edit {
                place: place("chain", chain.name),
                lines: std::iter::once(first).chain(rules).collect(),
            });
        }
    }

    /// What is lost or stays behind.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let table = &self.from.name;
        for name in &self.anew.chains {
            notes.push(format!("chain `{table} {name}` is made anew, since hook, priority and place among equal ones can't change: its rules count from zero"));
        }
        for name in &self.anew.sets {
            let lost = match self.dynamic.contains(name) {
                true => ", and elements that packets or timeouts brought are lost",
                false => "",
            };
            notes.push(format!("set `{table} {name}` is made anew with the rules that name it{lost}"));
        }
        for (kind, name) in &self.anew.objects {
            notes.push(format!(
                "{kind} `{table} {name}` is made anew with the rules that name it, and counts from zero"
            ));
        }
        for (set, other) in self.kept_sets() {
            if self.dynamic.contains(set.name) && set.elements.keys().ne(other.elements.keys()) {
                notes.push(format!("set `{table} {}` is filled by packets or emptied by timeouts: its elements stay as they are", set.name));
            }
            if set.comment != other.comment {
                notes.push(format!(
                    "the comment of set `{table} {}` stays: the kernel doesn't change it",
                    set.name
                ));
            }
        }
        if self.from.other != self.to.other {
            notes.push(format!("the comment of table `{table}` stays: the kernel doesn't change it"));
        }
        for chain in &self.from.chains {
            let other = self.to.chain(chain.name).filter(|_| self.hunks.contains_key(chain.name));
            if other.is_some_and(|other| comment(&chain.other) != comment(&other.other)) {
                notes.push(format!(
                    "the comment of chain `{table} {}` stays: the kernel doesn't change it",
                    chain.name
                ));
            }
        }
        notes
    }
}

/// A chain in a few words.
fn chain_words(chain: &Chain<'_>) -> String {
    let policy = chain.policy.map(|policy| format!("; policy {policy}")).unwrap_or_default();
    let base = chain.base.map(|base| format!("{base}{policy}, ")).unwrap_or_default();
    format!("{base}{} rules", chain.rules.len())
}

fn comment<'a>(other: &[&'a str]) -> Option<&'a str> {
    other.iter().copied().find(|line| line.starts_with("comment "))
}

/// What can't be changed in place, and what hangs on it.
fn anew<'a>(from: &Table<'a>, to: &Table<'a>) -> Anew<'a> {
    let mut anew = Anew::default();
    let said = |chain: &Chain<'a>| {
        let other: Vec<&str> =
            chain.other.iter().copied().filter(|line| !line.starts_with("comment ")).collect();
        (chain.base, other)
    };
    for chain in &from.chains {
        if to.chain(chain.name).is_some_and(|other| said(chain) != said(other)) {
            anew.chains.insert(chain.name);
        }
    }
    out_of_order(from, to, &mut anew);
    let sets: BTreeMap<&str, &Set<'a>> = to.sets.iter().map(|set| (set.name, set)).collect();
    for set in &from.sets {
        if sets.get(set.name).is_some_and(|other| (set.kind, &set.header) != (other.kind, &other.header)) {
            anew.sets.insert(set.name);
        }
    }
    let objects: BTreeMap<_, _> =
        to.objects.iter().map(|object| ((object.kind, object.name), object)).collect();
    for object in &from.objects {
        let key = (object.kind, object.name);
        if objects.get(&key).is_some_and(|other| object.body != other.body) {
            anew.objects.insert(key);
        }
    }
    // Maps lead to chains and objects, never to sets: one pass finds them all.
    let mut maps = BTreeSet::new();
    for map in from.sets.iter().chain(&to.sets).filter(|set| set.kind == "map") {
        if sets.contains_key(map.name)
            && from.sets.iter().any(|set| set.name == map.name)
            && map.elements.values().any(|element| anew.is_named_in(element.text))
        {
            maps.insert(map.name);
        }
    }
    anew.sets.extend(maps);
    anew
}

/// Of base chains with the same hook and priority, the one that is listed first was made first and gets the packet first.
/// Where the order becomes another one, the later ones are made anew.
fn out_of_order<'a>(from: &Table<'a>, to: &Table<'a>, anew: &mut Anew<'a>) {
    let mut places: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for chain in &to.chains {
        if let Some(base) = chain.base {
            places.entry(base).or_default().push(chain.name);
        }
    }
    for (base, wanted) in places.into_iter().filter(|(_, chains)| chains.len() > 1) {
        let stays = |name: &&str| {
            from.chain(name).is_some_and(|chain| chain.base == Some(base)) && !anew.chains.contains(*name)
        };
        let names: BTreeSet<&str> = wanted.iter().copied().collect();
        let staying: Vec<&str> = from
            .chains
            .iter()
            .map(|chain| chain.name)
            .filter(|name| names.contains(name))
            .filter(stays)
            .collect();
        let right = staying.iter().zip(&wanted).take_while(|(is, should)| is == should).count();
        let late: Vec<&'a str> =
            wanted.iter().copied().skip(right).filter(|name| from.chain(name).is_some()).collect();
        anew.chains.extend(late);
    }
}

/// The rules that differ. A rule that names something that is made anew counts as another one.
fn rules(from: &[Rule<'_>], to: &[Rule<'_>], anew: &Anew<'_>) -> Vec<Hunk> {
    fn tokens<'r>(rules: &'r [Rule<'_>], anew: &Anew<'_>, side: u8) -> Vec<(Cow<'r, str>, u8)> {
        let token =
            |rule: &'r Rule<'_>| (normal_form(rule.text), if anew.is_named_in(rule.text) { side } else { 0 });
        rules.iter().map(token).collect()
    }
    let mut input = InternedInput::default();
    input.update_before(tokens(from, anew, 1).into_iter());
    input.update_after(tokens(to, anew, 2).into_iter());
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    Diff::compute(Algorithm::Histogram, &input)
        .hunks()
        .map(|hunk| Hunk { from: range(hunk.before), to: range(hunk.after) })
        .collect()
}
