//! Texts of listings without what packets and time change in them. Lines that aren't understood stay as they are: then
//! equal rulesets may look different, never the other way round.

use firewarden_change::delta::normal_form;
use std::collections::BTreeMap;

/// The canonical text of `nft list ruleset`, with or without `-a` and `-s`. O(n log n).
pub fn canonical_nft(listing: &str) -> String {
    let mut tables: Vec<(String, String)> = Vec::new();
    let mut lines = listing.lines().filter(|line| !line.starts_with('#'));
    while let Some(line) = lines.next() {
        let line = without_handle(line);
        if line.trim().is_empty() {
            continue;
        }
        if !line.starts_with("table ") || !line.ends_with('{') {
            tables.push((line.to_owned(), format!("{line}\n")));
            continue;
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").map(without_handle).collect();
        tables.push((line.to_owned(), format!("{line}\n{}}}\n", table(&body))));
    }
    tables.sort();
    tables.into_iter().map(|(_, text)| text).collect()
}

/// The inside of a table: its objects sorted by their first lines.
fn table(body: &[&str]) -> String {
    let mut objects: Vec<(&str, String)> = Vec::new();
    // Base chains by where they hook in: of equal ones, the older gets the packet first.
    let mut hooks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut lines = body.iter().copied();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        if !line.ends_with('{') || line.starts_with("\t\t") {
            objects.push((line, format!("{line}\n")));
            continue;
        }
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "\t}").collect();
        let text = if line.starts_with("\tchain ") {
            let hook = inside.iter().find(|line| line.starts_with("\t\ttype ") && line.contains(" hook "));
            if let Some(hook) = hook {
                let place = hook.split_once("; policy").map_or(*hook, |(place, _)| place);
                hooks.entry(place.trim()).or_default().push(line.trim());
            }
            inside.iter().map(|line| normal_form(&stateless(line)).into_owned() + "\n").collect()
        } else {
            object(&inside)
        };
        objects.push((line, format!("{line}\n{text}\t}}\n")));
    }
    objects.sort();
    let mut text: String = objects.into_iter().map(|(_, text)| text).collect();
    for (hook, chains) in hooks.into_iter().filter(|(_, chains)| chains.len() > 1) {
        let chains: Vec<&str> = chains.into_iter().map(|chain| chain.trim_end_matches(" {")).collect();
        text.push_str(&format!("\t# {hook}: {}\n", chains.join(", ")));
    }
    text
}

/// The inside of a set, a map or a named object.
fn object(inside: &[&str]) -> String {
    let mut text = String::new();
    let mut passing = false;
    let mut elements: Option<String> = None;
    for line in inside {
        let words = line.trim();
        if let Some(gathered) = &mut elements {
            gathered.push(' ');
            gathered.push_str(words);
        } else if let Some(rest) = words.strip_prefix("elements = {") {
            elements = Some(rest.to_owned());
        } else {
            passing |= words.starts_with("timeout ");
            passing |= words.strip_prefix("flags ").is_some_and(|flags| flags.contains("dynamic"));
            let kept = stateless(words);
            // Of a counter that has a name, nothing else is left.
            if !kept.is_empty() {
                text.push_str(&format!("\t\t{kept}\n"));
            }
        }
    }
    if let Some(elements) = elements.filter(|_| !passing) {
        let elements = elements.trim_end().strip_suffix('}').unwrap_or(&elements);
        let mut list: Vec<String> = split_elements(elements)
            .into_iter()
            .filter(|element| !words_of(element).iter().any(|word| matches!(*word, "timeout" | "expires")))
            .map(stateless)
            .collect();
        list.sort();
        text.extend(list.iter().map(|element| format!("\t\telement {element}\n")));
    }
    text
}

/// Elements of a set, split at the commas between them.
fn split_elements(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut depth, mut quoted) = (0, 0_i32, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Words between white space; what is in quotes is one word with its quotes.
fn words_of(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut from, mut quoted) = (None, false);
    for (at, byte) in line.bytes().enumerate() {
        if byte == b'"' {
            quoted = !quoted;
        }
        if byte.is_ascii_whitespace() && !quoted {
            words.extend(from.take().and_then(|from| line.get(from..at)));
        } else if from.is_none() {
            from = Some(at);
        }
    }
    words.extend(from.and_then(|from| line.get(from..)));
    words
}

/// A line without what packets count up: counters, what quotas used, when a `last` matched last. Indentation stays.
fn stateless(line: &str) -> String {
    let indentation = line.strip_suffix(line.trim_start()).unwrap_or_default();
    let words = words_of(line);
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    let mut rest = words.as_slice();
    loop {
        rest = match rest {
            [] => break,
            ["packets", packets, "bytes", bytes, after @ ..] if number(packets) && number(bytes) => after,
            ["used", amount, unit, after @ ..] if number(amount) && unit.ends_with("bytes") => after,
            ["last", "used", _, after @ ..] | ["last", "never", after @ ..] => {
                kept.push("last");
                after
            }
            [word, after @ ..] => {
                kept.push(word);
                after
            }
        };
    }
    if kept.is_empty() { String::new() } else { format!("{indentation}{}", kept.join(" ")) }
}

fn number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A line without ` # handle 4` at its end; that of a table without ` # handle 4 progname x` too, which names its owner.
fn without_handle(line: &str) -> &str {
    if line.starts_with("table ")
        && let Some(end) = line.find(" { # ")
    {
        return line.get(..end + " {".len()).unwrap_or(line);
    }
    match line.rsplit_once(" # handle ") {
        Some((before, handle)) if number(handle) => before,
        _ => line,
    }
}

/// The canonical text of `iptables-save`: without comments and counters, tables and chains sorted, the rules of each chain
/// in their order; without tables that have no rules, chains or policies of their own. O(n log n).
pub fn canonical_iptables(save: &str) -> String {
    #[derive(Default)]
    struct Table<'a> {
        chains: BTreeMap<&'a str, &'a str>,
        rules: BTreeMap<&'a str, Vec<&'a str>>,
        other: Vec<&'a str>,
    }
    let mut tables: BTreeMap<&str, Table> = BTreeMap::new();
    let mut table = "";
    for line in save.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
            tables.entry(table).or_default();
            continue;
        }
        let table = tables.entry(table).or_default();
        // With `-c`, rules have their counters in front.
        let line = match line.split_once("] ") {
            Some((counters, rest)) if counters.starts_with('[') => rest,
            _ => line,
        };
        if let Some((chain, rest)) = line.strip_prefix(':').and_then(|chain| chain.split_once(' ')) {
            table.chains.insert(chain, rest.split(' ').next().unwrap_or_default());
        } else if let Some(chain) = line.strip_prefix("-A ").and_then(|rule| rule.split(' ').next()) {
            table.rules.entry(chain).or_default().push(line);
        } else if line != "COMMIT" {
            table.other.push(line);
        }
    }
    let mut text = String::new();
    for (name, table) in tables {
        // The old iptables can't delete a table, only empty it; such a one does nothing.
        let accepts = table.chains.values().all(|policy| *policy == "ACCEPT");
        if accepts && table.rules.is_empty() && table.other.is_empty() {
            continue;
        }
        text.push_str(&format!("*{name}\n"));
        text.extend(table.chains.iter().map(|(chain, policy)| format!(":{chain} {policy}\n")));
        text.extend(table.rules.values().flatten().chain(&table.other).map(|line| format!("{line}\n")));
    }
    text
}

/// The canonical text of `ipset save`: without counters, sizes of hashes and seeds, and without the elements of sets that
/// have a timeout; sorted. O(n log n).
pub fn canonical_ipset(save: &str) -> String {
    let mut passing: Vec<&str> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for line in save.lines() {
        let words = words_of(line);
        match words.as_slice() {
            ["create", name, options @ ..] if options.contains(&"timeout") => passing.push(name),
            ["add", name, ..] if passing.contains(name) => continue,
            [] => continue,
            _ => {}
        }
        let mut kept: Vec<&str> = Vec::with_capacity(words.len());
        let mut rest = words.as_slice();
        loop {
            rest = match rest {
                [] => break,
                ["packets" | "bytes" | "initval" | "hashsize", _, after @ ..] => after,
                [word, after @ ..] => {
                    kept.push(word);
                    after
                }
            };
        }
        lines.push(kept.join(" "));
    }
    // `create` stays before `add` of the same set only by luck of the alphabet; nothing but equality is asked of this text.
    lines.sort();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What `nft -s -a list ruleset` prints, from what `nft -a list ruleset` printed, where nothing but counters of rules and
/// elements tells them apart: listing 100,000 rules again takes nft ten seconds. `None` where it may be more. O(n).
pub fn stateless_listing(listing: &str) -> Option<String> {
    const OTHERS: [&str; 6] = [" expires ", " used ", "flags dynamic", ",dynamic", "quota", "last "];
    let mut text = String::with_capacity(listing.len());
    for line in listing.split_inclusive('\n') {
        // A rule's counter has its numbers behind it; everything else of this kind isn't for here.
        let counter = line.trim_start().strip_prefix("counter").filter(|rest| rest.starts_with(' '));
        let is_object = counter.is_some_and(|rest| after_counter(rest).is_none());
        if is_object || OTHERS.iter().any(|other| line.contains(other)) {
            return None;
        }
        let (mut rest, mut is_quoted) = (line, false);
        while let Some(at) = rest.find("counter packets ") {
            let (before, after) = rest.split_at(at + "counter".len());
            is_quoted ^= before.matches('"').count() % 2 == 1;
            text.push_str(before);
            rest = match after_counter(after) {
                Some(after) if !is_quoted => after,
                _ => after,
            };
        }
        text.push_str(rest);
    }
    Some(text)
}

/// What follows ` packets N bytes N`.
fn after_counter(text: &str) -> Option<&str> {
    let digits = |text: &'_ str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text.strip_prefix(" packets ")?;
    let rest = rest.get(digits(rest)..)?.strip_prefix(" bytes ")?;
    rest.get(digits(rest)..)
}

/// The tables of `nft list ruleset` as they stand there, each with its family and name. O(n).
pub fn nft_tables(listing: &str) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    let mut lines = listing.lines();
    while let Some(line) = lines.next() {
        let Some(name) = without_handle(line).strip_prefix("table ").and_then(|rest| rest.strip_suffix(" {"))
        else {
            continue;
        };
        let mut text = format!("{line}\n");
        for line in lines.by_ref().take_while(|line| *line != "}") {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("}\n");
        tables.push((name.to_owned(), text));
    }
    tables
}

/// The tables of `iptables-save` as they stand there, from `*name` to `COMMIT`, each with its name. O(n).
pub fn save_tables(save: &str) -> Vec<(String, String)> {
    let mut tables: Vec<(String, String)> = Vec::new();
    for line in save.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('*') {
            tables.push((name.to_owned(), String::new()));
        }
        if let Some((_, text)) = tables.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    tables
}
