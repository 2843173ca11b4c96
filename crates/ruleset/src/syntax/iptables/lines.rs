//! Lines of iptables-save, and commands, carried out one after another.

use super::rule::{Place, RuleParser, shorten};
use super::spec::{Versions, nearest};
use super::state::{TableState, builtin_chains, hook_bit, table_bit, table_names};
use super::tree::{Backend, OptionUse, Policy, Rule, Save, Table};
use super::words::{Quoting, Text, WordsError, split};
use firewarden_diagnostic::{Diagnostic, FileId, Severity, Span};

/// The most diagnostics of one text; what follows is counted.
const MAX_DIAGNOSTICS: usize = 1000;
/// What comparing two rules costs, in moved rules.
const COMPARED: u64 = 16;

/// The most rules moved by inserting and deleting in one table: bounds the time of a script of insertions.
const MAX_MOVED: u64 = 2_000_000_000;

/// Parses a text whose IP version shows in its content.
///
/// Never fails as a whole: each problem is a diagnostic, and the rule that has it stays, marked incomplete.
/// O(length), except for commands that insert and delete.
pub fn parse(file: FileId, text: &str) -> (Save<'_>, Vec<Diagnostic>) {
    parse_as(file, text, None)
}

/// Like [`parse`], for a caller that knows the IP version ([`Versions::V4`] for iptables).
pub fn parse_as(file: FileId, text: &str, versions: Option<Versions>) -> (Save<'_>, Vec<Diagnostic>) {
    let guess = text.len() / 64;
    let save = Save {
        file,
        text,
        tables: Vec::new(),
        rules: Vec::with_capacity(guess),
        options: Vec::with_capacity(guess * 4),
    };
    let mut reader = Reader {
        save,
        states: Vec::new(),
        open: None,
        declared: versions,
        header: None,
        backend: None,
        parser: RuleParser::default(),
        words: Vec::new(),
        arranged: Vec::new(),
        diagnostics: Vec::new(),
        more: 0,
        hidden_error: false,
    };
    if text.len() > u32::MAX as usize {
        reader
            .report(Diagnostic::error("too-long", "the text is longer than 4 GiB").help("split it by table"));
    } else {
        reader.read();
    }
    reader.finish()
}

struct Reader<'t> {
    save: Save<'t>,
    states: Vec<TableState<'t>>,
    /// The table that `*name` opened.
    open: Option<usize>,
    declared: Option<Versions>,
    header: Option<Versions>,
    backend: Option<Backend>,
    parser: RuleParser,
    words: Vec<Text>,
    arranged: Vec<Text>,
    diagnostics: Vec<Diagnostic>,
    more: u64,
    /// One of them is an error, and must not be lost with them.
    hidden_error: bool,
}

/// A command with the words that are left for its rule.
struct Command<'t> {
    letter: u8,
    chain: Option<(&'t str, Text)>,
    /// A number after the chain.
    position: Option<u32>,
}

impl<'t> Reader<'t> {
    fn span(&self, at: Text) -> Span {
        self.save.span(at)
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic)
        } else {
            self.more += 1;
            self.hidden_error |= diagnostic.severity == Severity::Error;
        }
    }

    fn error(&mut self, code: &'static str, at: Text, message: String, label: &str, help: &str) {
        let diagnostic = Diagnostic::error(code, message).at(self.span(at), label).help(help);
        self.report(diagnostic);
    }

    fn read(&mut self) {
        let bytes = self.save.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let mut end = at + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let start = at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
            if is_command(bytes.get(start..end).unwrap_or_default()) {
                end = continued(bytes, end);
            }
            at = end + 1;
            while end > start && bytes.get(end - 1).is_some_and(u8::is_ascii_whitespace) {
                end -= 1;
            }
            if start < end {
                self.line(Text { start: start as u32, end: end as u32, escaped: false });
            }
        }
    }

    fn line(&mut self, line: Text) {
        let (before, more) = (self.diagnostics.len(), self.more);
        let raw = line.raw(self.save.text);
        match raw.as_bytes().first() {
            Some(b'#') => self.comment(raw),
            Some(b'*') => self.table_line(line, raw),
            Some(b':') => self.chain_line(line, raw),
            Some(b'[' | b'-') => self.rule_line(line, Quoting::Restore, None),
            _ if raw == "COMMIT" => self.commit(line),
            _ if is_command(raw.as_bytes()) => self.command_line(line),
            _ => {
                let shown = shorten(raw);
                self.error(
                    "unknown-line",
                    line,
                    format!("`{shown}` is no line of iptables-save"),
                    "not understood",
                    "lines begin with `*table`, `:CHAIN`, `-A CHAIN`, `COMMIT` or `#`",
                );
            }
        }
        if self.diagnostics.len() > before || self.more > more {
            self.templates(line, raw, before);
        }
    }

    /// One diagnostic in place of those that a template's placeholder caused on a line.
    fn templates(&mut self, line: Text, raw: &str, before: usize) {
        let Some(marker) = ["{{", "{%", "${", "$(", "<%", "%("]
            .into_iter()
            .find(|marker| raw.contains(marker))
            .or_else(|| variable(raw))
        else {
            return;
        };
        if !self.diagnostics.iter().skip(before).any(|diagnostic| diagnostic.severity == Severity::Error) {
            return;
        }
        let offset = raw.find(marker).unwrap_or(0);
        let at = Text { start: line.start + offset as u32, end: line.end, escaped: false };
        self.diagnostics.truncate(before.min(self.diagnostics.len()));
        self.error(
            "template",
            at,
            format!("the line has a placeholder (`{marker}`), not a rule"),
            "placeholder",
            "fill in the template, or check what it produces: the output of iptables-save",
        );
    }

    fn comment(&mut self, raw: &str) {
        // `# Generated by ip6tables-save v1.8.9 (nf_tables) on …`; the program may be called by a longer name.
        let Some(program) = raw.split_ascii_whitespace().find(|word| word.ends_with("-save")) else { return };
        let program = program.rsplit('/').next().unwrap_or_default();
        if program.starts_with("ip6tables-") {
            self.header = Some(Versions::V6);
        } else if program.starts_with("iptables-") && raw.contains("enerated") {
            self.header = Some(Versions::V4);
        } else {
            return;
        }
        self.backend = raw.contains("enerated").then(|| {
            let nft = raw.contains("(nf_tables)") || program.contains("-nft-");
            if nft { Backend::Nft } else { Backend::Legacy }
        });
    }

    fn table_line(&mut self, line: Text, raw: &'t str) {
        self.close(line);
        let name = raw.get(1..).unwrap_or_default().trim();
        if builtin_chains(name).is_empty() {
            let near = nearest(name, table_names());
            let shown = shorten(name);
            let help = match near {
                Some(near) => format!("did you mean `*{near}`?"),
                None => {
                    "tables are filter, nat, mangle, raw and security; ebtables and arptables aren't read"
                        .to_owned()
                }
            };
            self.error("unknown-table", line, format!("there is no table `{shown}`"), "unknown", &help);
        }
        let mut state = TableState::new(name, line);
        state.declared = self.declared;
        state.header = self.header;
        state.table.backend = self.backend;
        self.states.push(state);
        self.open = Some(self.states.len() - 1);
    }

    /// A table that ends without `COMMIT`.
    fn close(&mut self, at: Text) {
        let open = self.open.take().and_then(|index| self.states.get(index));
        if let Some(name) = open.map(|state| state.table.name) {
            let name = shorten(name).to_owned();
            self.error(
                "missing-commit",
                at,
                format!("the table `{name}` has no `COMMIT`"),
                "expected before this",
                "add `COMMIT`: without it iptables-restore loads nothing of the table",
            );
        }
    }

    fn commit(&mut self, line: Text) {
        match self.open.take().and_then(|index| self.states.get_mut(index)) {
            Some(state) => state.table.committed = true,
            None => self.error(
                "stray-commit",
                line,
                "`COMMIT` without a table".to_owned(),
                "no table is open",
                "remove it",
            ),
        }
    }

    fn chain_line(&mut self, line: Text, raw: &'t str) {
        let Some(table) = self.open else {
            self.error(
                "no-table",
                line,
                "a chain is declared outside of a table".to_owned(),
                "no table is open",
                "put `*filter` (or its table) before it",
            );
            return;
        };
        let mut words = raw.get(1..).unwrap_or_default().split_ascii_whitespace();
        let (Some(name), policy) = (words.next(), words.next()) else {
            self.error("bad-chain", line, "the chain has no name".to_owned(), "", "write `:NAME - [0:0]`");
            return;
        };
        let counters_good =
            words.next().is_none_or(|counters| self::counters(counters).is_some()) && words.next().is_none();
        let Some(state) = self.states.get_mut(table) else { return };
        let declared = state.index.contains_key(name);
        let index = state.chain(name, line).unwrap_or_else(|| state.add_chain(name, line));
        let Some(chain) = state.table.chains.get_mut(index as usize) else { return };
        let verdict = match policy {
            Some("ACCEPT") => Some(Policy::Accept),
            Some("DROP") => Some(Policy::Drop),
            _ => None,
        };
        let builtin = chain.builtin;
        if builtin {
            chain.policy = verdict.map(|verdict| (verdict, line));
        }
        if declared && !builtin {
            let shown = shorten(name).to_owned();
            self.error(
                "repeated-chain",
                line,
                format!("the chain `{shown}` is declared twice"),
                "again",
                "keep one declaration",
            );
        } else if builtin != verdict.is_some() || (!builtin && policy.is_some_and(|policy| policy != "-")) {
            let shown = shorten(name).to_owned();
            let (message, help) = if builtin {
                (
                    format!("the built-in chain `{shown}` needs the policy ACCEPT or DROP"),
                    "write `ACCEPT` or `DROP` after its name",
                )
            } else {
                (
                    format!("the chain `{shown}` isn't built in and can't have a policy"),
                    "write `-` after its name",
                )
            };
            self.error("bad-policy", line, message, "", help);
        } else if !counters_good {
            self.error(
                "bad-counters",
                line,
                "the counters aren't `[packets:bytes]`".to_owned(),
                "",
                "write `[0:0]`",
            );
        }
        if name.len() > 28 {
            let shown = shorten(name).to_owned();
            self.error(
                "long-name",
                line,
                format!("the chain name `{shown}` has more than 28 characters"),
                "too long",
                "shorten it",
            );
        }
    }

    /// `iptables …`, perhaps with a path or `sudo` before it.
    fn command_line(&mut self, line: Text) {
        let raw = line.raw(self.save.text);
        let mut skip = 0;
        let mut version = Versions::V4;
        for word in raw.split_ascii_whitespace() {
            skip += 1;
            let program = word.rsplit('/').next().unwrap_or(word);
            if program.starts_with("ip6tables") {
                version = Versions::V6;
                break;
            }
            if program.starts_with("iptables") {
                break;
            }
        }
        self.rule_line(line, Quoting::Shell, Some((version, skip)));
    }

    /// A command, in the open table or in the one that `-t` names. `program` is its IP version and how many words
    /// come before its arguments.
    fn rule_line(&mut self, line: Text, quoting: Quoting, program: Option<(Versions, usize)>) {
        let text = self.save.text;
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        let mut start = line.start as usize;
        let mut counters = None;
        if text.as_bytes().get(start) == Some(&b'[') {
            let length = line.raw(text).find(']').map_or(0, |end| end + 1);
            counters = self::counters(text.get(start..start + length).unwrap_or_default());
            if counters.is_none() {
                self.error(
                    "bad-counters",
                    line,
                    "the counters aren't `[packets:bytes]`".to_owned(),
                    "",
                    "write `[0:0]`",
                );
            }
            start += length;
        }
        match split(text, start, line.end as usize, quoting, &mut words) {
            Ok(()) => {}
            Err(WordsError::OpenQuote(at)) => {
                let at = Text { start: at, end: at + 1, escaped: false };
                self.error(
                    "open-quote",
                    at,
                    "the quote isn't closed".to_owned(),
                    "opens here",
                    "close it on the same line",
                );
                words.push(Text { start: at.start, end: line.end, escaped: false });
            }
            Err(WordsError::TooMany) => {
                self.error(
                    "rule-too-long",
                    line,
                    "the line has more than 4096 words".to_owned(),
                    "",
                    "split it; iptables-restore takes 255 words",
                );
            }
        }
        let skip = program.map_or(0, |(_, skip)| skip);
        self.command(
            line,
            words.get(skip..).unwrap_or_default(),
            program.map(|(version, _)| version),
            counters,
        );
        self.words = words;
    }

    fn command(
        &mut self,
        line: Text,
        words: &[Text],
        program: Option<Versions>,
        counters: Option<(u64, u64)>,
    ) {
        let text = self.save.text;
        let place = words.iter().position(|word| command_letter(word.raw(text)).is_some());
        let Some(place) = place else {
            self.error(
                "no-command",
                line,
                "the line has no command".to_owned(),
                "",
                "begin it with `-A CHAIN`",
            );
            return;
        };
        let (before, rest) = words.split_at(place);
        let raw = rest.first().map_or("", |word| word.raw(text));
        let Some((letter, attached)) = command_letter(raw) else { return };
        let mut next = 1;
        let chain = match (attached, rest.first()) {
            (Some(offset), Some(word)) => Some(Text { start: word.start + offset, ..*word }),
            _ => {
                let word = rest.get(1).copied().filter(|word| !word.raw(text).starts_with('-'));
                next += usize::from(word.is_some());
                word
            }
        };
        let position = match letter {
            b'I' | b'D' | b'R' => rest.get(next).and_then(|word| word.raw(text).parse::<u32>().ok()),
            _ => None,
        };
        next += usize::from(position.is_some());
        let command = Command { letter, chain: chain.map(|at| (at.raw(text), at)), position };
        let tail = rest.get(next..).unwrap_or_default();
        if before.is_empty() {
            self.carry_out(line, &command, tail, program, counters);
        } else {
            let mut arranged = std::mem::take(&mut self.arranged);
            arranged.clear();
            arranged.extend_from_slice(before);
            arranged.extend_from_slice(tail);
            self.carry_out(line, &command, &arranged, program, counters);
            self.arranged = arranged;
        }
    }

    fn carry_out(
        &mut self,
        line: Text,
        command: &Command<'t>,
        words: &[Text],
        program: Option<Versions>,
        counters: Option<(u64, u64)>,
    ) {
        let text = self.save.text;
        if matches!(command.letter, b'L' | b'S' | b'C' | b'Z' | b'h') {
            return;
        }
        let Some(table) = self.table_for(line, words, program) else { return };
        let Some((name, at)) = command.chain else {
            match command.letter {
                b'F' => self.flush(table, None),
                b'X' => self.delete_unused(table),
                _ => self.error(
                    "missing-chain",
                    line,
                    "the command names no chain".to_owned(),
                    "which chain?",
                    "put the chain's name after it",
                ),
            }
            return;
        };
        match command.letter {
            b'A' | b'I' | b'R' | b'D' => {}
            b'N' => return self.new_chain(table, name, at),
            b'F' => return self.flush(table, Some(name)),
            b'X' => {
                if let Some(state) = self.states.get_mut(table) {
                    state.remove_chain(name);
                }
                return;
            }
            b'P' => return self.policy(table, name, at, words),
            _ => {
                self.error(
                    "unmodelled-command",
                    line,
                    "renaming chains isn't supported".to_owned(),
                    "",
                    "check the output of iptables-save",
                );
                return;
            }
        }
        let Some(chain) = self.chain_for(table, name, at, program.is_some()) else { return };
        let (index, hook) = (self.save.rules.len() as u32, hook_bit(name));
        if command.letter == b'D' && command.position.is_some() {
            return self.delete_at(table, chain, command.position, line);
        }
        let table_name = self.states.get(table).map_or("", |state| state.table.name);
        let place = Place { file: self.save.file, text, table: table_bit(table_name), hook };
        let known = self.diagnostics.len();
        let parsed = self.parser.parse(place, line, words, &mut self.save.options, &mut self.diagnostics);
        if self.diagnostics.len() > MAX_DIAGNOSTICS.max(known) {
            self.more += (self.diagnostics.len() - MAX_DIAGNOSTICS.max(known)) as u64;
            let hidden = self.diagnostics.split_off(MAX_DIAGNOSTICS.max(known));
            self.hidden_error |= hidden.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        }
        let mut rule = parsed.rule;
        rule.counters = rule.counters.or(counters);
        if command.letter == b'D' {
            self.delete_equal(table, chain, &rule, line);
            self.save.options.truncate(rule.first as usize);
            return;
        }
        self.save.rules.push(rule);
        let target = self.parser.chain_target;
        let Some(state) = self.states.get_mut(table) else { return };
        state.tally(&rule, parsed.weak);
        state.targets.extend(target.map(|at| (index, at)));
        let Some(chain) = state.table.chains.get_mut(chain as usize) else { return };
        let length = chain.rules.len();
        let position = command.position.unwrap_or(1).max(1) as usize - 1;
        match command.letter {
            b'A' => chain.rules.push(index),
            b'R' => match chain.rules.get_mut(position) {
                Some(old) => *old = index,
                None => self.bad_position(line, length),
            },
            _ if position > length => {
                chain.rules.push(index);
                self.bad_position(line, length);
            }
            _ => {
                state.moved += (length - position) as u64;
                if state.moved > MAX_MOVED {
                    chain.rules.push(index);
                    self.error(
                        "too-many-insertions",
                        line,
                        "too many rules are inserted".to_owned(),
                        "added at the end instead",
                        "check the output of iptables-save instead",
                    );
                } else {
                    chain.rules.insert(position, index);
                }
            }
        }
    }

    fn bad_position(&mut self, line: Text, length: usize) {
        self.error(
            "bad-position",
            line,
            format!("the chain has {length} rules, so there is no such position"),
            "",
            "positions count from 1",
        );
    }

    /// The table of a command.
    fn table_for(&mut self, line: Text, words: &[Text], program: Option<Versions>) -> Option<usize> {
        let text = self.save.text;
        if let (Some(open), None) = (self.open, program) {
            return Some(open);
        }
        let mut name = "filter";
        for (index, word) in words.iter().enumerate() {
            let raw = word.raw(text);
            if raw == "-t" || raw == "--table" {
                name = words.get(index + 1).map_or(name, |word| word.raw(text));
            } else if let Some(attached) =
                raw.strip_prefix("--table=").or(raw.strip_prefix("-t").filter(|rest| !rest.is_empty()))
            {
                name = attached;
            }
        }
        let declared = program.map(|version| self.declared.unwrap_or(version)).or(self.declared);
        // Commands also change what the text restored before.
        let wanted = declared.unwrap_or(Versions::V4);
        let found = self.states.iter_mut().rposition(|state| {
            state.table.name == name
                && if state.script { state.declared == declared } else { state.decide(None) == wanted }
        });
        if found.is_some() {
            return found;
        }
        if builtin_chains(name).is_empty() {
            let shown = shorten(name).to_owned();
            self.error(
                "unknown-table",
                line,
                format!("there is no table `{shown}`"),
                "unknown",
                "tables are filter, nat, mangle, raw and security",
            );
            return None;
        }
        let mut state = TableState::new(name, line);
        state.declared = declared;
        state.script = true;
        state.table.committed = true;
        self.states.push(state);
        Some(self.states.len() - 1)
    }

    fn chain_for(&mut self, table: usize, name: &'t str, at: Text, script: bool) -> Option<u32> {
        let state = self.states.get_mut(table)?;
        if let Some(index) = state.chain(name, at) {
            return Some(index);
        }
        let index = state.add_chain(name, at);
        let near = nearest(
            name,
            state.table.chains.iter().map(|chain| chain.name).filter(|other| *other != name).take(1000),
        );
        let shown = shorten(name);
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if script => format!("create it with `-N {shown}`"),
            None => format!("declare it with `:{shown} - [0:0]`"),
        };
        let message = format!("the chain `{shown}` isn't declared");
        let span = self.span(at);
        let diagnostic = if script {
            Diagnostic::warning("undeclared-chain", message)
        } else {
            Diagnostic::error("undeclared-chain", message)
        };
        self.report(diagnostic.at(span, "used here").help(help));
        Some(index)
    }

    fn new_chain(&mut self, table: usize, name: &'t str, at: Text) {
        let Some(state) = self.states.get_mut(table) else { return };
        if state.chain(name, at).is_none() {
            state.add_chain(name, at);
        }
    }

    fn flush(&mut self, table: usize, name: Option<&str>) {
        let Some(state) = self.states.get_mut(table) else { return };
        for chain in state.table.chains.iter_mut().filter(|chain| name.is_none_or(|name| chain.name == name))
        {
            chain.rules.clear();
        }
    }

    fn delete_unused(&mut self, table: usize) {
        let Some(state) = self.states.get_mut(table) else { return };
        let names: Vec<&str> = state
            .table
            .chains
            .iter()
            .filter(|chain| !chain.builtin && chain.rules.is_empty())
            .map(|chain| chain.name)
            .collect();
        for name in names.into_iter().take(10_000) {
            state.remove_chain(name);
        }
    }

    fn policy(&mut self, table: usize, name: &'t str, at: Text, words: &[Text]) {
        let text = self.save.text;
        let verdict = words.iter().find_map(|word| match word.raw(text) {
            "ACCEPT" => Some((Policy::Accept, *word)),
            "DROP" => Some((Policy::Drop, *word)),
            _ => None,
        });
        let chain = self.states.get_mut(table).and_then(|state| {
            let index = state.chain(name, at)?;
            state.table.chains.get_mut(index as usize)
        });
        match (chain, verdict) {
            (Some(chain), Some(verdict)) if chain.builtin => chain.policy = Some(verdict),
            _ => {
                let shown = shorten(name);
                self.error(
                    "bad-policy",
                    at,
                    format!("the policy of `{shown}` can't be set so"),
                    "",
                    "built-in chains have the policy ACCEPT or DROP",
                );
            }
        }
    }

    fn delete_at(&mut self, table: usize, chain: u32, position: Option<u32>, line: Text) {
        let Some(state) = self.states.get_mut(table) else { return };
        let Some(chain) = state.table.chains.get_mut(chain as usize) else { return };
        let length = chain.rules.len();
        match (position.unwrap_or(0) as usize).checked_sub(1).filter(|&position| position < length) {
            Some(position) => {
                state.moved += (length - position) as u64;
                if state.moved > MAX_MOVED {
                    return self.too_many_deletions(line);
                }
                chain.rules.remove(position);
            }
            None => self.bad_position(line, length),
        }
    }

    fn too_many_deletions(&mut self, line: Text) {
        self.error(
            "too-many-deletions",
            line,
            "too many rules are deleted".to_owned(),
            "not deleted",
            "check the output of iptables-save instead",
        );
    }

    /// Deletes the first rule that says the same.
    fn delete_equal(&mut self, table: usize, chain: u32, rule: &Rule, line: Text) {
        let Some(state) = self.states.get_mut(table) else { return };
        let Some(chain) = state.table.chains.get_mut(chain as usize) else { return };
        state.moved += chain.rules.len() as u64 * COMPARED;
        if state.moved > MAX_MOVED {
            return self.too_many_deletions(line);
        }
        let save = &self.save;
        let wanted = save.options(rule);
        let found = chain.rules.iter().position(|&index| {
            save.rules.get(index as usize).is_some_and(|other| same(save, wanted, save.options(other)))
        });
        match found {
            Some(position) => {
                chain.rules.remove(position);
            }
            None => self.error(
                "no-such-rule",
                line,
                "no rule says this, so nothing is deleted".to_owned(),
                "",
                "remove the line",
            ),
        }
    }

    /// Decides the tables' IP versions, drops tables that later ones replace, and checks what rules refer to.
    fn finish(mut self) -> (Save<'t>, Vec<Diagnostic>) {
        let end = self.save.text.len() as u32;
        self.close(Text { start: end, end, escaped: false });
        let mut before = None;
        for state in &mut self.states {
            before = Some(state.decide(before));
            state.complete();
        }
        let mut kept: Vec<TableState<'t>> = Vec::new();
        let mut reports: Vec<Diagnostic> = Vec::new();
        for state in std::mem::take(&mut self.states) {
            let old = kept.iter().position(|old| {
                !state.script
                    && !old.script
                    && old.table.name == state.table.name
                    && old.table.versions == state.table.versions
                    && !old.table.is_elsewhere(&state.table)
            });
            if let Some(old) = old.and_then(|index| kept.get_mut(index)) {
                reports.push(
                    Diagnostic::error(
                        "repeated-table",
                        format!("the table `{}` is there twice", shorten(old.table.name)),
                    )
                    .at(self.save.span(state.table.at), "this one")
                    .see(self.save.span(old.table.at), "and this one")
                    .because("iptables-restore would empty it at the second `*` line, and forget the first")
                    .help(
                        "give each table once; where one of them is for IPv6, keep the comment that ip6tables-save \
                         begins with: `# Generated by ip6tables-save`",
                    ),
                );
                *old = state;
            } else {
                kept.push(state);
            }
        }
        let mut rules = std::mem::take(&mut self.save.rules);
        for state in &kept {
            state.check(self.save.file, self.save.text, &mut rules, &mut |diagnostic| {
                if reports.len() < MAX_DIAGNOSTICS {
                    reports.push(diagnostic);
                } else {
                    self.more += 1;
                    self.hidden_error |= diagnostic.severity == Severity::Error;
                }
            });
        }
        self.save.rules = rules;
        for report in reports {
            self.report(report);
        }
        if self.more > 0 {
            let last = self.diagnostics.last().and_then(Diagnostic::span);
            self.diagnostics.push(more(self.more, self.hidden_error, last));
        }
        self.save.tables = kept.into_iter().map(|state| -> Table<'t> { state.table }).collect();
        (self.save, self.diagnostics)
    }
}

/// What is said where there are too many problems. It is an error where one of them is, so that what follows doesn't
/// take the text for a good one.
pub(crate) fn more(count: u64, errors: bool, last: Option<Span>) -> Diagnostic {
    let severity = if errors { Severity::Error } else { Severity::Note };
    let diagnostic = Diagnostic::new(severity, "more", format!("{count} further problems aren't shown"))
        .help("deal with the first ones and run again");
    match last {
        Some(span) => diagnostic.at(span, "the last one shown"),
        None => diagnostic,
    }
}

/// True where two rules have the same options in the same order.
fn same(save: &Save<'_>, left: &[OptionUse], right: &[OptionUse]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| {
            std::ptr::eq(a.module, b.module)
                && a.name() == b.name()
                && a.negated == b.negated
                && save.value(a.value) == save.value(b.value)
                && save.value(a.second) == save.value(b.second)
        })
}

/// `[packets:bytes]`.
fn counters(text: &str) -> Option<(u64, u64)> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some((packets.parse().ok()?, bytes.parse().ok()?))
}

/// The letter of a command, and where the chain begins when it is attached to it.
fn command_letter(word: &str) -> Option<(u8, Option<u32>)> {
    let bytes = word.as_bytes();
    if bytes.first() != Some(&b'-') {
        return None;
    }
    match bytes.get(1)? {
        letter @ (b'A' | b'I' | b'D' | b'R' | b'N' | b'X' | b'F' | b'P' | b'E' | b'L' | b'S' | b'C'
        | b'Z') => Some((*letter, (bytes.len() > 2).then_some(2))),
        b'h' if bytes.len() == 2 => Some((b'h', None)),
        b'-' => {
            let letter = match word {
                "--append" => b'A',
                "--insert" => b'I',
                "--delete" => b'D',
                "--replace" => b'R',
                "--new" | "--new-chain" => b'N',
                "--delete-chain" => b'X',
                "--flush" => b'F',
                "--policy" => b'P',
                "--rename-chain" => b'E',
                "--list" => b'L',
                "--list-rules" => b'S',
                "--check" => b'C',
                "--zero" => b'Z',
                _ => return None,
            };
            Some((letter, None))
        }
        _ => None,
    }
}

/// True for `iptables …`, `sudo /sbin/ip6tables …` and the like.
fn is_command(line: &[u8]) -> bool {
    if !line.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'/') {
        return false;
    }
    for (index, word) in line.splitn(4, |byte| byte.is_ascii_whitespace()).enumerate().take(3) {
        let program = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
        if matches!(
            program,
            b"iptables"
                | b"ip6tables"
                | b"iptables-legacy"
                | b"ip6tables-legacy"
                | b"iptables-nft"
                | b"ip6tables-nft"
        ) {
            return true;
        }
        if index == 0 && program != b"sudo" {
            return false;
        }
    }
    false
}

/// The end of a command line that goes on behind a backslash.
fn continued(bytes: &[u8], mut end: usize) -> usize {
    loop {
        let line = bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.ends_with(b"\\") || end >= bytes.len() {
            return end;
        }
        let rest = bytes.get(end + 1..).unwrap_or_default();
        end = end + 1 + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }
}

/// A shell variable, `$NAME`.
fn variable(raw: &str) -> Option<&str> {
    let start = raw.find('$')?;
    let name = raw.get(start + 1..)?;
    let length = name.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if length == 0 { None } else { raw.get(start..start + 1 + length) }
}
