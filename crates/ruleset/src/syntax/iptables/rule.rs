//! The words of one rule into options, checked against what its extensions take.

use super::names::{self, ADDONS};
use super::spec::{Given, Kind, Module, OptSpec, Versions, nearest};
use super::targets::{RULE, TARGETS};
use super::tree::{OptionUse, Rule};
use super::words::Text;
use super::{args, matches};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use std::borrow::Cow;

/// The most extensions in one rule: more is not a rule that anybody loads, and would make checks quadratic.
const MAX_EXTENSIONS: usize = 64;
/// The most options in one rule.
const MAX_OPTIONS: usize = 512;

/// What surrounds a rule.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub file: FileId,
    pub text: &'a str,
    /// The bit of the table, all bits where it is unknown.
    pub table: super::spec::Tables,
    /// The bit of the built-in chain's hook, all bits for other chains.
    pub hook: super::spec::Hooks,
}

/// An extension loaded by the rule.
#[derive(Clone, Copy)]
struct Loaded {
    module: &'static Module,
    instance: u8,
}

/// Parses rules one after another, reusing its memory.
#[derive(Default)]
pub(super) struct RuleParser {
    options: Vec<OptionUse>,
    loaded: Vec<Loaded>,
    /// Something unknown is loaded: options that nobody knows are its.
    absorbs: bool,
    incomplete: bool,
    shows: Versions,
    weak: Versions,
    versions: Option<Versions>,
    protocol: Option<(u8, bool)>,
    counters: Option<(u64, u64)>,
    /// The place of the target's name when it names no extension: a chain.
    pub chain_target: Option<Text>,
}

/// A rule and what the surroundings need of it.
pub(super) struct Parsed {
    pub rule: Rule,
    /// IP versions that it hints at without excluding the other.
    pub weak: Versions,
}

impl RuleParser {
    /// Parses `words` into a rule whose options are appended to `out`. Never fails: what isn't understood is told in
    /// `diagnostics` and marks the rule incomplete. O(words × options of its extensions).
    pub fn parse(
        &mut self,
        place: Place<'_>,
        line: Text,
        words: &[Text],
        out: &mut Vec<OptionUse>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Parsed {
        let mut options = std::mem::take(&mut self.options);
        options.clear();
        let mut loaded = std::mem::take(&mut self.loaded);
        loaded.clear();
        *self = RuleParser { options, loaded, ..RuleParser::default() };
        let mut walk = Walk { parser: self, place, words, next: 0, diagnostics };
        walk.words();
        walk.finish(line);
        let first = out.len() as u32;
        out.extend_from_slice(&self.options);
        let rule = Rule {
            at: line,
            first,
            count: self.options.len() as u32,
            versions: self.versions.unwrap_or(Versions::BOTH),
            incomplete: self.incomplete,
            counters: self.counters,
            shows: self.shows,
        };
        Parsed { rule, weak: self.weak }
    }
}

/// One pass over the words.
struct Walk<'a, 'd> {
    parser: &'a mut RuleParser,
    place: Place<'a>,
    words: &'a [Text],
    next: usize,
    diagnostics: &'d mut Vec<Diagnostic>,
}

/// What a long name turned out to be.
enum Found {
    Option(&'static OptSpec, &'static Module, u8),
    Ambiguous,
    Unknown,
}

impl<'a> Walk<'a, '_> {
    fn span(&self, at: Text) -> Span {
        Span { file: self.place.file, start: at.start, end: at.end }
    }

    fn error(&mut self, code: &'static str, at: Text, message: String, label: &str) {
        self.parser.incomplete = true;
        let span = self.span(at);
        self.diagnostics.push(Diagnostic::error(code, message).at(span, label));
    }

    fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.diagnostics.last_mut() {
            last.help = Some(help.into());
        }
    }

    fn words(&mut self) {
        let mut negation: Option<Text> = None;
        while let Some(&word) = self.words.get(self.next) {
            self.next += 1;
            let raw = word.raw(self.place.text);
            if raw == "!" {
                negation = Some(word);
                continue;
            }
            if self.parser.options.len() >= MAX_OPTIONS {
                self.error(
                    "rule-too-long",
                    word,
                    format!("the rule has more than {MAX_OPTIONS} options"),
                    "",
                );
                self.help("split the rule, or use a set");
                return;
            }
            let not = negation.take();
            if let Some(long) = raw.strip_prefix("--").filter(|long| !long.is_empty()) {
                self.long(word, long, not);
            } else if raw.len() >= 2 && raw.starts_with('-') && raw.is_char_boundary(2) {
                self.short(word, raw, not);
            } else {
                self.stray(word);
            }
        }
        if let Some(word) = negation {
            self.error("dangling-negation", word, "`!` has no option after it".to_owned(), "negates nothing");
            self.help("put `!` before the option that it negates");
        }
    }

    /// A word that is no option.
    fn stray(&mut self, word: Text) {
        if self.parser.absorbs {
            self.parser.incomplete = true;
            return;
        }
        let raw = shorten(word.raw(self.place.text));
        self.error("stray-word", word, format!("`{raw}` belongs to no option"), "unexpected");
        self.help("quote values that have spaces in them, and give each option its own value");
    }

    fn short(&mut self, word: Text, raw: &'a str, not: Option<Text>) {
        let attached = (raw.len() > 2).then(|| Text { start: word.start + 2, ..word });
        let name = match raw.as_bytes().get(1) {
            Some(b's') => "source",
            Some(b'd') => "destination",
            Some(b'p') => "protocol",
            Some(b'i') => "in-interface",
            Some(b'o') => "out-interface",
            Some(b'j') => "jump",
            Some(b'g') => "goto",
            Some(b'm') => "match",
            Some(b'f') => "fragment",
            Some(b'c') => "set-counters",
            Some(b'4') => return self.version(Versions::V4),
            Some(b'6') => return self.version(Versions::V6),
            Some(b'n' | b'v' | b'x') => return,
            Some(b'w' | b'W') => return self.skip_number(),
            // The reader of lines has looked at it.
            Some(b't') => {
                if attached.is_none() {
                    self.take();
                }
                return;
            }
            _ => {
                let raw = shorten(raw);
                self.error(
                    "unknown-option",
                    word,
                    format!("`{raw}` is not an option of iptables"),
                    "unknown",
                );
                self.help("options are one dash and a letter, or two dashes and a name: see iptables(8)");
                self.skip_values();
                return;
            }
        };
        if let Some(spec) = RULE.option(name) {
            self.option(word, spec, &RULE, 0, attached, not);
        }
    }

    fn long(&mut self, word: Text, long: &'a str, not: Option<Text>) {
        let (name, attached) = match long.split_once('=') {
            Some((name, _)) => {
                let start = word.start + 2 + name.len() as u32 + 1;
                (name, Some(Text { start, ..word }))
            }
            None => (long, None),
        };
        match name {
            "table" => {
                if attached.is_none() {
                    self.take();
                }
                return;
            }
            "ipv4" => return self.version(Versions::V4),
            "ipv6" => return self.version(Versions::V6),
            "wait" | "wait-interval" => {
                return if attached.is_none() {
                    self.skip_number()
                };
            }
            "verbose" | "numeric" | "line-numbers" | "exact" => return,
            _ => {}
        }
        let mut found = self.find(name);
        if matches!(found, Found::Unknown) && self.load_implied() {
            found = self.find(name);
        }
        match found {
            Found::Option(spec, module, instance) => self.option(word, spec, module, instance, attached, not),
            Found::Ambiguous => {
                let name = shorten(name);
                self.error(
                    "ambiguous-option",
                    word,
                    format!("`--{name}` is short for several options"),
                    "ambiguous",
                );
                self.help("write the option in full");
                self.skip_values();
            }
            Found::Unknown => self.unknown_option(word, name),
        }
    }

    fn unknown_option(&mut self, word: Text, name: &str) {
        self.skip_values();
        if self.parser.absorbs {
            self.parser.incomplete = true;
            return;
        }
        let known =
            RULE.options.iter().chain(self.parser.loaded.iter().flat_map(|loaded| loaded.module.options));
        let near = nearest(name, known.map(|spec| spec.name));
        let owner = matches::MATCHES.iter().chain(TARGETS).find(|module| module.option(name).is_some());
        let name = shorten(name);
        self.error("unknown-option", word, format!("`--{name}` is not an option of this rule"), "unknown");
        match (near, owner) {
            (Some(near), _) => self.help(format!("did you mean `--{near}`?")),
            (None, Some(owner)) if owner.kind == Kind::Match => {
                let protocol = owner.protocols.first().copied().and_then(names::match_of_protocol);
                let needs = if protocol == Some(owner.name) {
                    format!("`-p {}`", owner.name)
                } else {
                    format!("`-m {}`", owner.name)
                };
                self.help(format!("put {needs} before it"));
            }
            (None, Some(owner)) => self.help(format!("it belongs to `-j {}`", owner.name)),
            (None, None) => self.help("see iptables-extensions(8) for the options of each match and target"),
        }
    }

    /// The option of that name: the rule's own, then of the extensions, the last loaded first; also by a unique
    /// beginning, as getopt_long has it (`--dport` after `-m multiport` is `--dports`).
    fn find(&self, name: &str) -> Found {
        let loaded = self.parser.loaded.iter().rev();
        let own = Loaded { module: &RULE, instance: 0 };
        for entry in loaded.clone().copied().chain([own]) {
            if let Some(spec) = entry.module.option(name) {
                return Found::Option(spec, entry.module, entry.instance);
            }
        }
        let mut found: Option<(&'static OptSpec, Loaded)> = None;
        for entry in loaded.copied().chain([own]) {
            for spec in entry.module.options {
                if spec.name.starts_with(name) || (!spec.alias.is_empty() && spec.alias.starts_with(name)) {
                    match found {
                        Some((other, _)) if !std::ptr::eq(other, spec) => return Found::Ambiguous,
                        Some(_) => {}
                        None => found = Some((spec, entry)),
                    }
                }
            }
        }
        found.map_or(Found::Unknown, |(spec, entry)| Found::Option(spec, entry.module, entry.instance))
    }

    /// Loads the match that `-p` implies, unless it is loaded already.
    fn load_implied(&mut self) -> bool {
        let Some((protocol, _)) = self.parser.protocol else { return false };
        let Some(name) = names::match_of_protocol(protocol) else { return false };
        if self.parser.loaded.iter().any(|loaded| loaded.module.name == name) {
            return false;
        }
        match find_module(matches::MATCHES, name) {
            Some(module) => self.load(module, Text::default()),
            None => false,
        }
    }

    fn load(&mut self, module: &'static Module, at: Text) -> bool {
        if self.parser.loaded.len() >= MAX_EXTENSIONS {
            self.error(
                "rule-too-long",
                at,
                format!("the rule loads more than {MAX_EXTENSIONS} extensions"),
                "",
            );
            self.help("split the rule");
            return false;
        }
        let instance = self.parser.loaded.len() as u8 + 1;
        self.parser.loaded.push(Loaded { module, instance });
        if module.versions != Versions::BOTH {
            self.parser.shows = self.parser.shows.union(module.versions);
        }
        self.parser.options.push(OptionUse {
            module,
            spec: None,
            instance,
            negated: false,
            value: at,
            second: Text::default(),
            at: at.start,
        });
        true
    }

    /// The next word as a value.
    fn take(&mut self) -> Option<Text> {
        let word = self.words.get(self.next).copied();
        self.next += usize::from(word.is_some());
        word
    }

    /// Skips the values of an option that isn't understood.
    fn skip_values(&mut self) {
        while let Some(word) = self.words.get(self.next) {
            let raw = word.raw(self.place.text);
            if raw == "!" || (raw.starts_with('-') && raw.len() > 1) {
                break;
            }
            self.next += 1;
        }
    }

    fn skip_number(&mut self) {
        let number = self.words.get(self.next).map(|word| word.raw(self.place.text));
        self.next += usize::from(number.is_some_and(|raw| raw.bytes().all(|byte| byte.is_ascii_digit())));
    }

    fn version(&mut self, version: Versions) {
        self.parser.versions = Some(self.parser.versions.map_or(version, |other| other.intersect(version)));
    }

    fn option(
        &mut self,
        word: Text,
        spec: &'static OptSpec,
        module: &'static Module,
        instance: u8,
        attached: Option<Text>,
        not: Option<Text>,
    ) {
        let mut negated = not.is_some();
        let mut value = attached;
        if spec.arg.words > 0 && value.is_none() {
            value = self.value(spec, &mut negated);
            if value.is_none() && !spec.arg.optional {
                let (name, expects) = (spec.name, spec.arg.expects);
                self.error("missing-value", word, format!("`--{name}` has no value"), "needs a value");
                self.help(format!("give it {expects}"));
                return;
            }
        }
        let second = if spec.arg.words == 2 { self.take() } else { None };
        if negated && !spec.negatable {
            let name = spec.name;
            self.error(
                "not-negatable",
                not.unwrap_or(word),
                format!("`--{name}` can't be negated"),
                "not here",
            );
            self.help("remove the `!`");
            return;
        }
        if !spec.repeatable
            && self
                .parser
                .options
                .iter()
                .any(|other| other.instance == instance && other.spec.is_some_and(|o| std::ptr::eq(o, spec)))
        {
            let name = spec.name;
            self.error("repeated-option", word, format!("`--{name}` is given twice"), "again");
            self.help("keep one of them, or load the match a second time with `-m`");
            return;
        }
        if value.is_some_and(|value| !self.check(spec, value, second)) {
            return;
        }
        let used = OptionUse {
            module,
            spec: Some(spec),
            instance,
            negated,
            value: value.unwrap_or_default(),
            second: second.unwrap_or_default(),
            at: not.unwrap_or(word).start,
        };
        if instance == 0 { self.own(word, spec, used) } else { self.parser.options.push(used) }
    }

    /// The value of an option, which an old-style `!` may precede.
    fn value(&mut self, spec: &OptSpec, negated: &mut bool) -> Option<Text> {
        let word = *self.words.get(self.next)?;
        let raw = word.raw(self.place.text);
        if spec.arg.optional && raw.starts_with(['-', '!']) {
            return None;
        }
        self.next += 1;
        if raw == "!" && spec.negatable {
            *negated = true;
            return self.take();
        }
        Some(word)
    }

    fn check(&mut self, spec: &OptSpec, value: Text, second: Option<Text>) -> bool {
        let text = self.place.text;
        let first: Cow<'_, str> = value.value(text);
        let good = (spec.arg.check)(&first)
            && (spec.arg.words < 2 || second.is_some_and(|second| (spec.arg.second)(&second.value(text))));
        if spec.arg.shows_version && good {
            self.show(spec, &first);
        }
        if !good {
            let at = Text { start: value.start, end: second.unwrap_or(value).end, escaped: false };
            let given = shorten(at.raw(text)).to_owned();
            let (name, expects) = (spec.name, spec.arg.expects);
            self.error("bad-value", at, format!("`{given}` is not a value of `--{name}`"), "not valid here");
            self.help(format!("write {expects}"));
        }
        good
    }

    /// Takes note of the IP version that a value shows.
    fn show(&mut self, spec: &OptSpec, value: &str) {
        let shows = if spec.name == "reject-with" {
            names::reject(value).map_or(Versions::NONE, |(_, versions)| versions)
        } else {
            let host = value.split('/').next().unwrap_or(value);
            let colons = host.bytes().filter(|&byte| byte == b':').count();
            if value.starts_with('[') || colons > 1 {
                Versions::V6
            } else if !host.contains('.') {
                Versions::NONE
            } else if host.bytes().any(|byte| byte.is_ascii_alphabetic())
                && args::networks(value)
                    .is_some_and(|all| all.iter().all(|network| matches!(network, args::Network::Name(_))))
            {
                // A host name.
                Versions::NONE
            } else {
                Versions::V4
            }
        };
        self.parser.shows = self.parser.shows.union(shows);
    }

    /// An option of the rule itself.
    fn own(&mut self, word: Text, spec: &'static OptSpec, used: OptionUse) {
        let text = self.place.text;
        match spec.name {
            "match" => self.load_match(used.value),
            "jump" => {
                let name = used.value.raw(text);
                match find_module(TARGETS, name) {
                    Some(module) => {
                        self.parser.options.push(used);
                        self.load(module, used.value);
                    }
                    None => {
                        if !matches!(name, "ACCEPT" | "DROP" | "RETURN" | "QUEUE") {
                            self.parser.chain_target = Some(used.value);
                            self.parser.absorbs |= ADDONS.contains(&name);
                        }
                        self.parser.options.push(used);
                    }
                }
            }
            "goto" => {
                self.parser.chain_target = Some(used.value);
                self.parser.options.push(used);
            }
            "protocol" => {
                let number = args::protocol(used.value.raw(text)).unwrap_or(0);
                if number == 0 && used.negated {
                    self.error(
                        "matches-nothing",
                        word,
                        "`! -p all` matches no packet".to_owned(),
                        "never true",
                    );
                    self.help("name the protocol that shall not match");
                    return;
                }
                match number {
                    58 => self.parser.weak = self.parser.weak.union(Versions::V6),
                    1 | 2 => self.parser.weak = self.parser.weak.union(Versions::V4),
                    _ => {}
                }
                self.parser.protocol = Some((number, used.negated));
                self.parser.options.push(used);
            }
            "fragment" => {
                self.parser.shows = self.parser.shows.union(Versions::V4);
                self.parser.options.push(used);
            }
            "set-counters" => self.counters(used.value),
            _ => {
                let several =
                    matches!(spec.name, "source" | "destination") && used.value.raw(text).contains(',');
                if used.negated && several {
                    self.error(
                        "negated-list",
                        used.value,
                        "a list of addresses can't be negated".to_owned(),
                        "several addresses",
                    );
                    self.help("write one rule for each, or use a set");
                    return;
                }
                self.parser.options.push(used);
            }
        }
    }

    /// `-c packets bytes` or `-c packets,bytes`.
    fn counters(&mut self, value: Text) {
        let text = self.place.text;
        let raw = value.raw(text);
        let pair = match raw.split_once(',') {
            Some((packets, bytes)) => (Some(packets), Some(bytes)),
            None => (Some(raw), self.take().map(|word| word.raw(text))),
        };
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        match (number(pair.0), number(pair.1)) {
            (Some(packets), Some(bytes)) => self.parser.counters = Some((packets, bytes)),
            _ => {
                self.error("bad-value", value, "counters are two numbers".to_owned(), "not two numbers");
                self.help("write `-c packets bytes`");
            }
        }
    }

    fn load_match(&mut self, at: Text) {
        let name = at.raw(self.place.text);
        let name = match name {
            "icmpv6" | "ipv6-icmp" => "icmp6",
            "ipv6-mh" | "mobility-header" => "mh",
            other => other,
        };
        if let Some(module) = find_module(matches::MATCHES, name) {
            self.load(module, at);
            return;
        }
        self.load(&matches::UNKNOWN, at);
        self.parser.absorbs = true;
        self.parser.incomplete = true;
        let shown = shorten(name);
        if ADDONS.contains(&name) {
            let span = self.span(at);
            self.diagnostics.push(
                Diagnostic::warning(
                    "unmodelled-match",
                    format!("the match `{shown}` is not part of Linux and not modelled"),
                )
                .at(span, "kept as an unknown condition"),
            );
            return;
        }
        let near = nearest(name, matches::MATCHES.iter().map(|module| module.name));
        self.error("unknown-match", at, format!("there is no match `{shown}`"), "unknown");
        match near {
            Some(near) => self.help(format!("did you mean `-m {near}`?")),
            None => self.help("see iptables-extensions(8); the rule is kept with an unknown condition"),
        }
    }

    /// Checks that need the whole rule.
    fn finish(&mut self, line: Text) {
        if self.parser.options.iter().filter(|option| matches!(option.name(), "jump" | "goto")).count() > 1 {
            self.error("repeated-option", line, "the rule has `-j` and `-g`".to_owned(), "two targets");
            self.help("keep one of them");
        }
        for index in 0..self.parser.loaded.len() {
            if let Some(&entry) = self.parser.loaded.get(index) {
                self.finish_module(entry, line);
            }
        }
        self.finish_ports();
    }

    fn finish_module(&mut self, entry: Loaded, line: Text) {
        let module = entry.module;
        let at = self
            .parser
            .options
            .iter()
            .find(|option| option.instance == entry.instance && option.spec.is_none())
            .map(|option| option.value)
            .filter(|at| !at.is_empty())
            .unwrap_or(line);
        let name = module.name;
        let title = if module.kind == Kind::Match { format!("-m {name}") } else { format!("-j {name}") };
        if module.tables & self.place.table == 0 {
            self.error(
                "wrong-table",
                at,
                format!("`{title}` can't be used in this table"),
                "refused by the kernel",
            );
            self.help("move the rule to a table that takes it, see iptables-extensions(8)");
        } else if module.hooks & self.place.hook == 0 {
            self.error(
                "wrong-chain",
                at,
                format!("`{title}` can't be used in this chain"),
                "refused by the kernel",
            );
            self.help("move the rule to a chain that takes it, see iptables-extensions(8)");
        }
        let v6_ah = name == "ah" && (self.parser.shows == Versions::V6 || self.parser.protocol.is_none());
        if !module.protocols.is_empty() && !self.names_protocol(module.protocols) {
            if v6_ah {
                // Only ip6tables takes `-m ah` without `-p ah`.
                self.parser.shows = self.parser.shows.union(Versions::V6);
            } else {
                let wanted =
                    names::match_of_protocol(module.protocols.first().copied().unwrap_or(0)).unwrap_or("tcp");
                self.error("missing-protocol", at, format!("`{title}` needs a protocol"), "which protocol?");
                self.help(format!("put `-p {wanted}` before it"));
            }
        }
        if module.required.is_empty() && module.exclusive.is_empty() && module.check.is_none() {
            return;
        }
        // A value that was refused has been told already; the option then counts as given.
        let had_errors = self.parser.incomplete;
        let count = |group: &&[&str]| {
            let own = self.parser.options.iter().filter(|option| option.instance == entry.instance);
            own.filter(|option| option.spec.is_some_and(|spec| group.contains(&spec.name))).count()
        };
        let missing = module.required.iter().find(|group| count(group) == 0);
        let clash = module.exclusive.iter().find(|group| count(group) > 1);
        let wrong = module.check.and_then(|check| {
            let text = self.place.text;
            let own = self
                .parser
                .options
                .iter()
                .filter(|option| option.instance == entry.instance && option.spec.is_some());
            let values: Vec<_> = own
                .map(|option| (option.name(), option.value.value(text), option.second.value(text)))
                .collect();
            let given: Vec<(&'static str, &str, &str)> =
                values.iter().map(|(name, first, second)| (*name, &**first, &**second)).collect();
            check(&Given { options: &given })
        });
        if let Some(group) = missing.filter(|_| !had_errors) {
            let wanted: Vec<String> = group.iter().map(|name| format!("`--{name}`")).collect();
            let wanted = wanted.join(" or ");
            self.error("missing-option", at, format!("`{title}` needs {wanted}"), "incomplete");
            self.help(format!("add {wanted}"));
        } else if let Some(group) = clash {
            let these: Vec<String> = group.iter().map(|name| format!("`--{name}`")).collect();
            let these = these.join(", ");
            self.error("conflicting-options", at, format!("`{title}` takes only one of {these}"), "too many");
            self.help("keep one of them");
        } else if let Some(wrong) = wrong.filter(|_| !had_errors) {
            self.error("bad-options", at, format!("the options of `{title}` don't fit: {wrong}"), "");
            self.help(format!("see `{title}` in iptables-extensions(8)"));
        }
    }

    fn names_protocol(&self, wanted: &[u8]) -> bool {
        self.parser.protocol.is_some_and(|(number, negated)| !negated && wanted.contains(&number))
    }

    /// Ports in a translation, a TCP reset and TCP bits of ECN need a protocol.
    fn finish_ports(&mut self) {
        let asks =
            |name: &str| matches!(name, "DNAT" | "SNAT" | "REDIRECT" | "MASQUERADE" | "REJECT" | "ecn");
        if !self.parser.loaded.iter().any(|loaded| asks(loaded.module.name)) {
            return;
        }
        let text = self.place.text;
        let needs = |option: &OptionUse| -> Option<&'static [u8]> {
            let value = option.value.value(text);
            match option.name() {
                "to-ports" => Some(&[6, 17, 33, 132]),
                "to-destination" | "to-source"
                    if args::nat_to(&value).is_some_and(|to| to.ports.is_some()) =>
                {
                    Some(&[6, 17, 33, 132, 1, 58])
                }
                "reject-with" if names::reject(&value).is_some_and(|(reset, _)| reset) => Some(&[6]),
                "ecn-tcp-cwr" | "ecn-tcp-ece" => Some(&[6]),
                _ => None,
            }
        };
        let found = self
            .parser
            .options
            .iter()
            .find(|option| needs(option).is_some_and(|wanted| !self.names_protocol(wanted)))
            .copied();
        if let Some(option) = found {
            let at = Text { start: option.at, end: option.value.end.max(option.at), escaped: false };
            let name = option.name();
            self.error("missing-protocol", at, format!("`--{name}` needs a protocol"), "which protocol?");
            self.help("put `-p tcp` (or the protocol meant) before it");
        }
    }
}

/// At most 60 characters of what somebody wrote.
pub(crate) fn shorten(text: &str) -> &str {
    match text.char_indices().nth(60) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// An extension by name. O(log n).
pub(super) fn find_module(modules: &'static [Module], name: &str) -> Option<&'static Module> {
    modules.binary_search_by(|module| module.name.cmp(name)).ok().and_then(|index| modules.get(index))
}
