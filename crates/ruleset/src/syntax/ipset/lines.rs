//! Lines of `ipset save`, and `ipset` commands, carried out one after another.

use super::entry::{Entry, addresses, element};
use super::{Component, Set, Sets, components};
use crate::syntax::iptables::Text;
use crate::syntax::iptables::args;
use crate::syntax::iptables::spec::nearest;
use crate::syntax::iptables::words::{Quoting, WordsError, split};
use firewarden_diagnostic::{Diagnostic, FileId, Severity};
use std::collections::HashMap;

/// The most diagnostics of one text; what follows is counted.
const MAX_DIAGNOSTICS: usize = 1000;
/// The most entries compared by deletions: bounds the time of a script of deletions.
const MAX_COMPARED: u64 = 200_000_000;

const TYPES: [&str; 17] = [
    "bitmap:ip",
    "bitmap:ip,mac",
    "bitmap:port",
    "hash:ip",
    "hash:net",
    "hash:mac",
    "hash:ip,mac",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:net,port",
    "hash:net,port,net",
    "hash:net,net",
    "hash:net,iface",
    "hash:ip,mark",
    "list:set",
    "hash:ip,port,ip,port",
];

/// Parses a text of `ipset save`. Never fails as a whole: problems are diagnostics. O(length), except for deletions.
pub fn parse(file: FileId, text: &str) -> (Sets<'_>, Vec<Diagnostic>) {
    let mut reader = Reader {
        sets: Sets { file, text, sets: Vec::new() },
        index: HashMap::new(),
        diagnostics: Vec::new(),
        more: 0,
        hidden_error: false,
        compared: 0,
    };
    if text.len() > u32::MAX as usize {
        reader.report(Diagnostic::error("too-long", "the text is longer than 4 GiB").help("split it"));
    } else {
        reader.read();
    }
    if reader.more > 0 {
        let last = reader.diagnostics.last().and_then(Diagnostic::span);
        reader.diagnostics.push(crate::syntax::iptables::more(reader.more, reader.hidden_error, last));
    }
    (reader.sets, reader.diagnostics)
}

struct Reader<'t> {
    sets: Sets<'t>,
    /// Sets by name; only for looking up.
    index: HashMap<&'t str, usize>,
    diagnostics: Vec<Diagnostic>,
    more: u64,
    /// One of them is an error, and must not be lost with them.
    hidden_error: bool,
    compared: u64,
}

fn shorten(text: &str) -> &str {
    crate::syntax::iptables::rule::shorten(text)
}

impl<'t> Reader<'t> {
    fn report(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic)
        } else {
            self.more += 1;
            self.hidden_error |= diagnostic.severity == Severity::Error;
        }
    }

    fn error(&mut self, code: &'static str, at: Text, message: String, help: &str) {
        let diagnostic = Diagnostic::error(code, message).at(self.sets.span(at), "").help(help);
        self.report(diagnostic);
    }

    fn read(&mut self) {
        let text = self.sets.text;
        let bytes = text.as_bytes();
        let mut words = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let end = at + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (start, line_end) = (at, end);
            at = end + 1;
            words.clear();
            match split(text, start, line_end, Quoting::Restore, &mut words) {
                Ok(()) => {}
                Err(WordsError::OpenQuote(position)) => {
                    let place = Text { start: position, end: position + 1, escaped: false };
                    self.error(
                        "open-quote",
                        place,
                        "the quote isn't closed".to_owned(),
                        "close it on the same line",
                    );
                }
                Err(WordsError::TooMany) => {
                    let place = Text { start: start as u32, end: line_end as u32, escaped: false };
                    self.error(
                        "rule-too-long",
                        place,
                        "the line has more than 4096 words".to_owned(),
                        "split it",
                    );
                }
            }
            self.line(&words);
        }
    }

    fn line(&mut self, words: &[Text]) {
        let text = self.sets.text;
        let mut words = words;
        // `ipset`, `sudo ipset`, and options of ipset itself.
        while let Some((first, rest)) = words.split_first() {
            let raw = first.raw(text);
            if matches!(raw.rsplit('/').next(), Some("ipset" | "sudo"))
                || matches!(raw, "-exist" | "-!" | "-quiet" | "-q")
            {
                words = rest;
            } else {
                break;
            }
        }
        let Some((&command, rest)) = words.split_first() else { return };
        let raw = command.raw(text);
        if raw.starts_with('#') || raw == "COMMIT" {
            return;
        }
        match raw {
            "create" | "-N" | "--create" | "n" => self.create(command, rest),
            "add" | "-A" | "--add" | "a" => self.add(command, rest),
            "del" | "-D" | "--del" => self.delete(command, rest),
            "destroy" | "-X" | "--destroy" | "x" => self.destroy(rest),
            "flush" | "-F" | "--flush" => self.flush(rest),
            "rename" | "-E" | "--rename" | "e" => self.rename(command, rest),
            "swap" | "-W" | "--swap" | "w" => self.swap(command, rest),
            "test" | "-T" | "list" | "-L" | "save" | "-S" | "version" => {}
            _ => {
                let shown = shorten(raw);
                let near =
                    nearest(raw, ["create", "add", "del", "destroy", "flush", "rename", "swap"].into_iter());
                let help = near.map_or("lines begin with `create` or `add`".to_owned(), |near| {
                    format!("did you mean `{near}`?")
                });
                self.error("unknown-line", command, format!("`{shown}` is no command of ipset"), &help);
            }
        }
    }

    fn create(&mut self, command: Text, words: &[Text]) {
        let text = self.sets.text;
        let (Some(&at), Some(&kind)) = (words.first(), words.get(1)) else {
            self.error(
                "missing-value",
                command,
                "`create` needs a name and a type".to_owned(),
                "write `create NAME TYPE`",
            );
            return;
        };
        let name = at.raw(text);
        let type_name = kind.raw(text);
        let known = components(type_name);
        if known.is_none() {
            let near = nearest(type_name, TYPES.into_iter());
            let help = near
                .map_or("see ipset(8) for the types".to_owned(), |near| format!("did you mean `{near}`?"));
            let shown = shorten(type_name);
            self.error("unknown-type", kind, format!("there is no type of set `{shown}`"), &help);
        }
        let mut set = Set {
            name,
            at,
            incomplete: known.is_none(),
            components: known.unwrap_or_default(),
            v6: false,
            timeout: false,
            mark_mask: None,
            address_mask: u128::MAX,
            range: None,
            entries: Vec::new(),
        };
        self.create_options(&mut set, type_name, words.get(2..).unwrap_or_default());
        // Old versions took ranges for hashes too, without a meaning.
        if !type_name.starts_with("bitmap") && !type_name.ends_with("map") {
            set.range = None;
        }
        if set.components.first() == Some(&Component::Address)
            && type_name.starts_with("bitmap")
            && set.range.is_none()
        {
            self.error(
                "missing-value",
                kind,
                format!("`{type_name}` needs a range"),
                "add `range FIRST-LAST`",
            );
            set.incomplete = true;
        }
        match self.index.get(name).copied() {
            Some(_) => {
                let shown = shorten(name);
                self.error(
                    "repeated-set",
                    at,
                    format!("the set `{shown}` exists already"),
                    "keep one of them",
                );
            }
            None => {
                self.index.insert(name, self.sets.sets.len());
                self.sets.sets.push(set);
            }
        }
    }

    fn create_options(&mut self, set: &mut Set<'t>, type_name: &str, words: &[Text]) {
        let text = self.sets.text;
        // The family decides how the other values read.
        set.v6 = words.windows(2).any(|pair| matches!(pair, [a, b] if a.raw(text).trim_start_matches('-') == "family" && matches!(b.raw(text), "inet6" | "ipv6")))
            || words.iter().any(|word| word.raw(text) == "-6");
        let width = if set.v6 { 128 } else { 32 };
        let mut first = None;
        let mut next = 0;
        while let Some(&word) = words.get(next) {
            next += 1;
            let raw = word.raw(text);
            let option = raw.trim_start_matches('-');
            let has_value = match option {
                "family" | "hashsize" | "maxelem" | "timeout" | "netmask" | "bitmask" | "range"
                | "markmask" | "size" | "probes" | "resize" | "bucketsize" | "initval" | "interval"
                | "from" | "to" | "network" | "gc" => true,
                "counters" | "comment" | "skbinfo" | "forceadd" | "exist" | "!" | "4" | "6" | "nomatch" => {
                    false
                }
                _ => {
                    let shown = shorten(raw);
                    self.error(
                        "unknown-option",
                        word,
                        format!("`{shown}` is not an option of `{type_name}`"),
                        "see ipset(8)",
                    );
                    set.incomplete = true;
                    continue;
                }
            };
            if !has_value {
                continue;
            }
            let value =
                words.get(next).copied().unwrap_or(Text { start: word.end, end: word.end, escaped: false });
            next += 1;
            let given = value.raw(text);
            let bits =
                |length: u64| if length == 0 { 0 } else { u128::MAX << (128 - length) >> (128 - width) };
            let good = match option {
                "family" => matches!(given, "inet" | "inet6" | "ipv4" | "ipv6"),
                "timeout" => {
                    set.timeout = true;
                    args::number(given, u64::from(u32::MAX)).is_some()
                }
                "netmask" => {
                    let length = args::number(given, width);
                    set.address_mask = length.map_or(u128::MAX, |length| {
                        if set.v6 {
                            bits(length)
                        } else {
                            u128::from(u32::MAX) << (32 - length) & u128::from(u32::MAX)
                        }
                    });
                    length.is_some_and(|length| length > 0)
                }
                "bitmask" => {
                    let mask = addresses(given, set.v6).filter(|(low, high)| low == high);
                    // Entries are ranges here, so that only masks that are prefixes are modelled.
                    let mask = mask.map(|(mask, _)| mask);
                    set.incomplete |= mask
                        .is_none_or(|mask| mask.leading_ones() + (128 - width as u32) < mask.count_ones());
                    set.address_mask = mask.unwrap_or(u128::MAX);
                    mask.is_some()
                }
                "markmask" => {
                    let mask = args::number(given, u64::from(u32::MAX));
                    set.mark_mask = mask.map(|mask| mask as u32).filter(|mask| *mask != u32::MAX);
                    mask.is_some_and(|mask| mask != 0)
                }
                "range" | "network" if set.components.first() == Some(&Component::BarePort) => {
                    set.range = given.split_once('-').and_then(|(low, high)| {
                        let (low, high) = (args::port(low)?, args::port(high)?);
                        Some((u128::from(low.min(high)), u128::from(low.max(high))))
                    });
                    set.range.is_some()
                }
                "range" | "network" => {
                    set.range = addresses(given, set.v6);
                    set.range.is_some()
                }
                "from" => {
                    first =
                        args::port(given).map(u128::from).or(addresses(given, set.v6).map(|(low, _)| low));
                    first.is_some()
                }
                "to" => {
                    let last =
                        args::port(given).map(u128::from).or(addresses(given, set.v6).map(|(_, high)| high));
                    set.range = first.zip(last);
                    last.is_some()
                }
                _ => args::number(given, u64::from(u32::MAX)).is_some(),
            };
            if !good {
                let shown = shorten(given);
                self.error(
                    "bad-value",
                    value,
                    format!("`{shown}` is not a value of `{option}`"),
                    "see ipset(8)",
                );
                set.incomplete = true;
            }
        }
    }

    /// The index of the set that a command names.
    fn named(&mut self, command: Text, words: &[Text]) -> Option<usize> {
        let text = self.sets.text;
        let Some(&at) = words.first() else {
            self.error(
                "missing-value",
                command,
                "the command names no set".to_owned(),
                "put the set's name after it",
            );
            return None;
        };
        let name = at.raw(text);
        let found = self.index.get(name).copied();
        if found.is_none() {
            let near = nearest(name, self.sets.sets.iter().map(|set| set.name).take(1000));
            let shown = shorten(name);
            let help = near.map_or_else(
                || format!("create it with `create {shown} TYPE`"),
                |near| format!("did you mean `{near}`?"),
            );
            self.error("unknown-set", at, format!("there is no set `{shown}`"), &help);
        }
        found
    }

    fn add(&mut self, command: Text, words: &[Text]) {
        let Some(index) = self.named(command, words) else { return };
        let Some(entry) = self.entry(index, command, words) else { return };
        if let Some(set) = self.sets.sets.get_mut(index) {
            set.entries.push(entry);
        }
    }

    /// The entry behind a set's name.
    fn entry(&mut self, index: usize, command: Text, words: &[Text]) -> Option<Entry> {
        let text = self.sets.text;
        let Some(&at) = words.get(1) else {
            self.error(
                "missing-value",
                command,
                "the command has no entry".to_owned(),
                "put the entry after the set's name",
            );
            return None;
        };
        let set = self.sets.sets.get(index)?;
        let known_type = !set.components.is_empty();
        let Some(parts) = element(set, text, at) else {
            if known_type {
                let shown = shorten(at.raw(text));
                let name = shorten(set.name);
                self.error(
                    "bad-entry",
                    at,
                    format!("`{shown}` is no entry of the set `{name}`"),
                    "entries follow the set's type, see ipset(8)",
                );
            }
            if let Some(set) = self.sets.sets.get_mut(index) {
                set.incomplete = true;
            }
            return None;
        };
        let mut nomatch = false;
        let mut next = 2;
        while let Some(&word) = words.get(next) {
            next += 1;
            match word.raw(text).trim_start_matches('-') {
                "nomatch" => nomatch = true,
                "exist" | "!" => {}
                "timeout" | "packets" | "bytes" | "comment" | "skbmark" | "skbprio" | "skbqueue"
                | "before" | "after" => {
                    let value = words.get(next).copied();
                    next += 1;
                    let name = word.raw(text);
                    let given = value.map(|value| value.value(text)).unwrap_or_default();
                    let good = match name {
                        "timeout" => args::number(&given, u64::from(u32::MAX)).is_some(),
                        "packets" | "bytes" => args::number(&given, u64::MAX).is_some(),
                        "comment" => given.len() <= 255,
                        _ => value.is_some(),
                    };
                    if !good {
                        self.error(
                            "bad-value",
                            value.unwrap_or(word),
                            format!("`{name}` has no such value"),
                            "see ipset(8)",
                        );
                    }
                }
                other => {
                    let shown = shorten(other).to_owned();
                    self.error(
                        "unknown-option",
                        word,
                        format!("`{shown}` is not an option of an entry"),
                        "quote comments",
                    );
                    if let Some(set) = self.sets.sets.get_mut(index) {
                        set.incomplete = true;
                    }
                }
            }
        }
        Some(Entry { at, parts, nomatch })
    }

    fn delete(&mut self, command: Text, words: &[Text]) {
        let Some(index) = self.named(command, words) else { return };
        let Some(entry) = self.entry(index, command, words) else { return };
        let Some(set) = self.sets.sets.get_mut(index) else { return };
        self.compared += set.entries.len() as u64;
        if self.compared > MAX_COMPARED {
            set.incomplete = true;
            self.error(
                "too-many-deletions",
                entry.at,
                "too many entries are deleted".to_owned(),
                "check the output of ipset save instead",
            );
            return;
        }
        match set.entries.iter().position(|other| other.parts == entry.parts) {
            Some(position) => {
                set.entries.remove(position);
            }
            None => self.error(
                "no-such-entry",
                entry.at,
                "the set has no such entry".to_owned(),
                "remove the line",
            ),
        }
    }

    fn flush(&mut self, words: &[Text]) {
        let name = words.first().map(|word| word.raw(self.sets.text));
        for set in self.sets.sets.iter_mut().filter(|set| name.is_none_or(|name| set.name == name)) {
            set.entries.clear();
        }
    }

    fn destroy(&mut self, words: &[Text]) {
        let name = words.first().map(|word| word.raw(self.sets.text));
        self.sets.sets.retain(|set| name.is_some_and(|name| set.name != name));
        self.renumber();
    }

    fn renumber(&mut self) {
        self.index = self.sets.sets.iter().enumerate().map(|(index, set)| (set.name, index)).collect();
    }

    fn rename(&mut self, command: Text, words: &[Text]) {
        let Some(index) = self.named(command, words) else { return };
        let Some(name) = words.get(1).map(|word| word.raw(self.sets.text)) else { return };
        if self.index.contains_key(name) {
            let shown = shorten(name);
            self.error(
                "repeated-set",
                command,
                format!("the set `{shown}` exists already"),
                "choose another name",
            );
            return;
        }
        if let Some(set) = self.sets.sets.get_mut(index) {
            set.name = name;
        }
        self.renumber();
    }

    fn swap(&mut self, command: Text, words: &[Text]) {
        let (Some(left), Some(right)) =
            (self.named(command, words), self.named(command, words.get(1..).unwrap_or_default()))
        else {
            return;
        };
        let names =
            (self.sets.sets.get(left).map(|set| set.name), self.sets.sets.get(right).map(|set| set.name));
        if let (Some(a), Some(b)) = names {
            if let Some(set) = self.sets.sets.get_mut(left) {
                set.name = b;
            }
            if let Some(set) = self.sets.sets.get_mut(right) {
                set.name = a;
            }
            self.renumber();
        }
    }
}
