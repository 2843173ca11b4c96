//! What the representation doesn't hold: how files are loaded, and how rules are written.

use super::checks::{self, Check};
use super::words::{chain_text, rule_text};
use super::{Context, Found};
use crate::manager_of;
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use firewarden_ruleset::ir::{ChainId, Dialect, RuleRef};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at the texts of a host.
pub fn examine(context: &mut Context<'_, '_>) {
    files(context);
    rules(context);
}

/// True for files that flush all tables as they are loaded.
pub fn flushes(text: &str) -> bool {
    find_command(text, &["flush", "ruleset"]).is_some()
}

/// Where a command stands that begins with these words. O(length).
fn find_command(text: &str, command: &[&str]) -> Option<(usize, usize)> {
    let first = command.first()?;
    memchr::memmem::find_iter(text.as_bytes(), first.as_bytes()).find_map(|at| {
        let blank = |c: char| c.is_whitespace() && c != '\n';
        let before = text.get(..at)?.trim_end_matches(blank);
        if !before.is_empty() && !before.ends_with('\n') {
            return None;
        }
        let line = text.get(at..)?.split(['\n', '#']).next()?;
        let mut words = line.split_whitespace();
        let is_it = command
            .iter()
            .all(|wanted| words.next().is_some_and(|word| word.trim_end_matches(';') == *wanted));
        is_it.then(|| (at, at + line.trim_end().len()))
    })
}

/// Listings aren't loaded as they are: text that a program printed to standard output, JSON, or a list with handles.
fn is_listing(name: &str, text: &str) -> bool {
    name.starts_with('<') || text.trim_start().starts_with('{') || text.contains(" # handle ")
}

fn files(context: &mut Context<'_, '_>) {
    let ruleset = &context.host.ruleset;
    let sources = context.subject.sources;
    // The tables of each file.
    let mut by_file: BTreeMap<FileId, Vec<Span>> = BTreeMap::new();
    for table in ruleset.tables.iter().filter(|table| table.dialect == Dialect::Nft) {
        by_file.entry(table.span.file).or_default().push(table.span);
    }
    let mut managers = BTreeSet::new();
    for (number, chain) in ruleset.chains.iter().enumerate() {
        let at = RuleRef { chain: ChainId(number as u32), index: 0 };
        if let Some(manager) = manager_of(ruleset, at) {
            managers.insert((manager.name, chain.span.file));
        }
    }
    let mut found = Vec::new();
    for (&id, tables) in &by_file {
        let Some(file) = sources.get(id) else { continue };
        let commands = |command: &[&str]| find_command(&file.text, command);
        let flush = commands(&["flush", "ruleset"]);
        let others: Vec<&str> =
            managers.iter().filter(|(_, at)| *at != id).map(|(name, _)| name.as_str()).collect();
        if let Some((start, end)) = flush.filter(|_| !others.is_empty()) {
            let message = format!("loading this file removes the rules of {}", others.join(", "));
            let diagnostic = Diagnostic::warning(checks::FLUSH_BESIDE_MANAGER.id, message)
                .at(Span::new(id, start, end), "flushes the tables of everybody")
                .help("flush or delete only the tables of this file: `table inet filter`, then `delete table inet filter`, before they are written anew");
            found.push(
                Found::new(&checks::FLUSH_BESIDE_MANAGER, diagnostic).of(file.name.clone(), "flush ruleset"),
            );
        }
        let clears = flush.is_some()
            || ["flush", "delete", "destroy"]
                .iter()
                .any(|verb| commands(&[verb, "table"]).is_some() || commands(&[verb, "chain"]).is_some());
        let has_rules = ruleset.chains.iter().any(|chain| chain.span.file == id && !chain.rules.is_empty());
        if let (Some(&first), false, false, true) =
            (tables.first(), clears, is_listing(&file.name, &file.text), has_rules)
        {
            let message = "loading this file twice adds its rules a second time";
            let diagnostic = Diagnostic::note(checks::DOUBLED_ON_RELOAD.id, message)
                .at(first, "added to what is there")
                .help(
                    "empty the table first: `table …` to create it, then `flush table …` or `delete table …`",
                );
            found.push(Found::new(&checks::DOUBLED_ON_RELOAD, diagnostic).of(file.name.clone(), ""));
        }
    }
    context.found.extend(found);
}

/// Looks at the words of every rule in nft's language.
fn rules(context: &mut Context<'_, '_>) {
    let ruleset = &context.host.ruleset;
    let sources = context.subject.sources;
    let mut found = Vec::new();
    let suspects: BTreeSet<FileId> =
        sources.iter().filter(|(_, file)| has_suspects(&file.text)).map(|(id, _)| id).collect();
    for (number, chain) in ruleset.chains.iter().enumerate() {
        let id = ChainId(number as u32);
        let nft =
            ruleset.table(chain.table).is_some_and(|table| table.dialect == Dialect::Nft && !table.dormant);
        if !nft {
            continue;
        }
        for (index, rule) in chain.rules.iter().enumerate() {
            // Texts of JSON have their own words.
            let text = sources.slice(rule.span);
            if text.starts_with('{') {
                continue;
            }
            // Most rules name nothing of what is looked for, and most files name little of it.
            let suspect = suspects.contains(&rule.span.file) && has_suspects(text);
            if !suspect && !may_name_a_host(text) {
                continue;
            }
            let at = RuleRef { chain: id, index: index as u32 };
            for (check, diagnostic) in words_of(text, rule.span) {
                found.push((at, check, diagnostic));
            }
        }
    }
    for (at, check, diagnostic) in found {
        if manager_of(ruleset, at).is_some() {
            continue;
        }
        let text = rule_text(sources, diagnostic.span().unwrap_or_default());
        let place = chain_text(ruleset, at.chain);
        let whole = ruleset.rule(at).map(|rule| rule_text(sources, rule.span)).unwrap_or_default();
        context.found.push(Found::new(check, diagnostic).of(place, format!("{whole} {text}")));
    }
}

/// A word of a rule with its place in it.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    start: usize,
}

/// The words outside of quotes and comments; quoted ones are left out, since they are names and comments.
fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        }
        if c == '#' && !quoted {
            break;
        }
        let inside = !quoted && !c.is_whitespace() && c != '"';
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.extend(text.get(from..at).map(|text| Word { text, start: from }));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        let end = text.find('#').unwrap_or(text.len()).max(from);
        words.extend(text.get(from..end).map(|text| Word { text, start: from }));
    }
    words
}

fn words_of(text: &str, span: Span) -> Vec<(&'static Check, Diagnostic)> {
    let mut found = Vec::new();
    let words = split(text);
    let place = |word: &Word<'_>| {
        let start = span.start as usize + word.start;
        Span::new(span.file, start, start + word.text.len())
    };
    let word = |index: usize| words.get(index).map_or("", |word| word.text);
    for (index, here) in words.iter().enumerate() {
        let (previous, next) = (index.checked_sub(1).map_or("", word), word(index + 1));
        match here.text {
            "iif" | "oif"
                if previous != "." && next != "." && !words.iter().any(|word| word.text == "fib") =>
            {
                // A quoted name isn't among the words; the text behind the keyword tells it.
                let rest = text.get(here.start + here.text.len()..).unwrap_or_default();
                let name = rest.trim_start().trim_start_matches("!=").trim_start().trim_start_matches('"');
                if name.starts_with("lo\"")
                    || name.starts_with("lo ")
                    || name.chars().next().is_none_or(|c| !c.is_alphabetic())
                {
                    continue;
                }
                let message = format!(
                    "`{}` is bound to the interface that has this name while the file is loaded",
                    here.text
                );
                let diagnostic = Diagnostic::note(checks::INTERFACE_BY_INDEX.id, message)
                    .at(place(here), "by index")
                    .because("loading fails while the interface is missing, and a new one of the same name isn't meant")
                    .help(format!("write `{}name` for interfaces that come and go", here.text));
                found.push((&checks::INTERFACE_BY_INDEX, diagnostic));
            }
            "flags" if previous == "tcp" => found.extend(flags(&words, index, &place)),
            "status" if previous == "ct" && (next.starts_with('{') || next == "==") => {
                let message =
                    "this asks for exactly these bits of the status, and a connection always has others too";
                let diagnostic = Diagnostic::warning(checks::EXACT_STATUS.id, message)
                    .at(place(here), "exact")
                    .help("write the bits with commas, as in `ct status dnat,snat`, which asks whether one of them is set");
                found.push((&checks::EXACT_STATUS, diagnostic));
            }
            "saddr" | "daddr" if previous != "ether" && previous != "." => {
                let value = if matches!(next, "!=" | "==") { index + 2 } else { index + 1 };
                if let Some(name) = words.get(value).filter(|name| is_hostname(name.text)) {
                    let message = format!("`{}` is looked up once, while the file is loaded", name.text);
                    let diagnostic = Diagnostic::warning(checks::HOSTNAME_IN_RULE.id, message)
                        .at(place(name), "a host name")
                        .because("the rule keeps the addresses of that moment, and loading fails where no name server answers, as at boot")
                        .help("write addresses, or a set that a program keeps up to date");
                    found.push((&checks::HOSTNAME_IN_RULE, diagnostic));
                }
            }
            _ => {}
        }
    }
    found
}

/// True where some words of a text may hide something, host names aside.
fn has_suspects(text: &str) -> bool {
    ["iif ", "oif ", "tcp flags", "ct status"].iter().any(|part| text.contains(part))
}

/// True where a word behind an address keyword could be a host's name.
fn may_name_a_host(text: &str) -> bool {
    text.match_indices("addr ").any(|(at, keyword)| {
        let rest = text.get(at + keyword.len()..).unwrap_or_default();
        // The first word may be an operator.
        rest.split_whitespace().take(2).any(is_hostname)
    })
}

/// `tcp flags syn`, which also matches SYN with ACK, and `tcp flags { syn, ack }`, which doesn't.
fn flags(
    words: &[Word<'_>],
    index: usize,
    place: &dyn Fn(&Word<'_>) -> Span,
) -> Option<(&'static Check, Diagnostic)> {
    let here = words.get(index)?;
    let first = words.get(index + 1)?;
    let check = &checks::FLAGS_BIT_TEST;
    if first.text.starts_with('{') {
        let message = "a set of TCP flags holds exact combinations: a packet with any other flag beside them isn't in it";
        let diagnostic = Diagnostic::note(check.id, message).at(place(here), "exact").help(
            "to ask whether one of the flags is set, write them with commas instead: `tcp flags syn,ack`",
        );
        return Some((check, diagnostic));
    }
    let bare = first.text.chars().all(|c| c.is_ascii_alphabetic() || c == ',' || c == ';');
    let masked = words.get(index + 2).is_some_and(|next| matches!(next.text, "/" | "&" | "==" | "!="));
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let all_flags = first.text.trim_end_matches(';').split(',').all(|flag| names.contains(&flag));
    if !bare || masked || !all_flags || first.text.contains("/") {
        return None;
    }
    let message = format!(
        "`tcp flags {0}` matches every packet that has {1}",
        first.text,
        match first.text.contains(',') {
            true => "one of these flags, whatever others it has",
            false => "this flag, whatever others it has",
        }
    );
    let diagnostic = Diagnostic::note(check.id, message)
        .at(place(here), "a test of bits")
        .help("for the first packet of a connection, write `tcp flags & (fin | syn | rst | ack) == syn`");
    Some((check, diagnostic))
}

/// A name with a dot whose last part is letters, or a word that can't be an address, a variable or a set.
fn is_hostname(word: &str) -> bool {
    let word = word.trim_end_matches([';', ',']);
    // Addresses of IPv4 end here.
    if !word.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return false;
    }
    let Some((_, last)) = word.rsplit_once('.') else { return false };
    last.len() > 1
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::{flushes, split, words_of};
    use firewarden_diagnostic::{FileId, Span};

    fn ids(rule: &str) -> Vec<&'static str> {
        words_of(rule, Span::new(FileId(0), 0, rule.len())).into_iter().map(|(check, _)| check.id).collect()
    }

    #[test]
    fn words_that_hide_something() {
        assert_eq!(ids("iif \"eth0\" accept"), ["interface-by-index"]);
        assert_eq!(ids("iif eth0 accept"), ["interface-by-index"]);
        assert_eq!(ids("iif lo accept"), [""; 0]);
        assert_eq!(ids("iif \"lo\" accept"), [""; 0]);
        assert_eq!(ids("iifname \"eth0\" accept"), [""; 0]);
        assert_eq!(ids("fib saddr . iif oif missing drop"), [""; 0]);
        assert_eq!(ids("tcp flags syn accept"), ["flags-bit-test"]);
        assert_eq!(ids("tcp flags { syn, ack } accept"), ["flags-bit-test"]);
        assert_eq!(ids("tcp flags & (fin | syn) == syn accept"), [""; 0]);
        assert_eq!(ids("tcp flags syn / fin,syn,rst,ack accept"), [""; 0]);
        assert_eq!(ids("ct status { dnat, snat } accept"), ["exact-status"]);
        assert_eq!(ids("ct status dnat accept"), [""; 0]);
        assert_eq!(ids("ip saddr updates.example.org accept"), ["hostname-in-rule"]);
        assert_eq!(ids("ip saddr 192.0.2.7 accept"), [""; 0]);
        assert_eq!(ids("ip saddr @a.b accept"), [""; 0]);
        assert_eq!(ids("ether saddr 00:11:22:33:44:55 accept comment \"ip saddr a.example\""), [""; 0]);
    }

    #[test]
    fn commands_of_a_file() {
        assert!(flushes("#!/usr/sbin/nft -f\n  flush ruleset;\ntable ip t { }\n"));
        assert!(!flushes("# flush ruleset\nflush table ip t\n"));
        let words: Vec<&str> = split("a \"b c\" d # e").iter().map(|word| word.text).collect();
        assert_eq!(words, ["a", "d"]);
    }
}
