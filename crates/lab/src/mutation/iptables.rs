//! Mistakes in texts of iptables-save.

use super::{Edit, Format, Kind, Plant};
use std::net::IpAddr;
use std::ops::Range;

/// A line with a rule.
struct Rule {
    /// Without the end of the line.
    line: Range<usize>,
    /// Its words.
    words: Vec<Range<usize>>,
    /// Its chain.
    chain: String,
}

pub fn plant(plant: &mut Plant) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut at = 0;
    for line in plant.text().split_inclusive('\n') {
        let place = at..at + line.trim_end().len();
        at += line.len();
        if line.starts_with(':') {
            policy(plant, &place);
        } else if line.starts_with("-A ") {
            let words = words(line.trim_end(), place.start);
            let chain = words.get(1).map(|word| plant.slice(word).to_owned()).unwrap_or_default();
            rules.push(Rule { line: place, words, chain });
        }
    }
    for rule in &rules {
        let what = format!("without `{}`", plant.slice(&rule.line));
        let line = plant.whole_line(&rule.line);
        plant.edit(Kind::Delete, line, "", what);
        in_rule(plant, rule);
        other_family(plant, rule);
    }
    for pair in rules.windows(2) {
        if let [first, second] = pair
            && first.chain == second.chain
        {
            plant.swap(&first.line, &second.line);
        }
    }
}

/// The words of a line that begins at `start`; a quoted one is one.
fn words(line: &str, start: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let (mut begun, mut quoted) = (None, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' => {
                quoted = !quoted;
                begun.get_or_insert(at);
            }
            b' ' | b'\t' if !quoted => {
                if let Some(from) = begun.take() {
                    words.push(start + from..start + at);
                }
            }
            _ => {
                begun.get_or_insert(at);
            }
        }
    }
    words.extend(begun.map(|from| start + from..start + line.len()));
    words
}

/// `:INPUT DROP [0:0]`.
fn policy(plant: &mut Plant, line: &Range<usize>) {
    let words = words(plant.slice(line), line.start);
    let Some(word) = words.get(1) else { return };
    match plant.slice(word) {
        "DROP" => plant.value(Kind::Policy, word, "ACCEPT"),
        "ACCEPT" => plant.value(Kind::Policy, word, "DROP"),
        _ => {}
    }
}

fn in_rule(plant: &mut Plant, rule: &Rule) {
    for (at, word) in rule.words.iter().enumerate() {
        let Some(value) = rule.words.get(at + 1) else { continue };
        let option = plant.slice(word);
        let negated = at > 0 && plant.slice(&rule.words[at - 1]) == "!";
        let start = if negated { rule.words[at - 1].start } else { word.start };
        let all = start..value.end;
        let text = plant.slice(&all).to_owned();
        let can_go = matches!(option, "-s" | "-d" | "-i" | "-o" | "--dport" | "--sport");
        if can_go {
            plant.edit(Kind::Widen, start..value.end + 1, "", format!("without `{text}`"));
        }
        if can_go || option == "--ctstate" {
            let (range, with) = if negated { (start..word.start, "") } else { (start..start, "! ") };
            plant.edit(Kind::Negate, range, with, format!("`{text}` the wrong way round"));
        }
        match option {
            "-s" | "-d" => addresses(plant, value),
            "--dport" | "--sport" => ports(plant, value),
            "-i" | "-o" => {
                let interfaces = plant.files[plant.file].interfaces;
                let now = plant.slice(value);
                for other in interfaces.iter().filter(|other| **other != now) {
                    plant.value(Kind::Interface, value, *other);
                }
            }
            "--ctstate" => states(plant, value),
            "--to-destination" | "--to-source" => {
                for other in
                    plant.slice(value).parse().map(|own| plant.other_addresses(own)).unwrap_or_default()
                {
                    plant.value(Kind::NatTarget, value, other);
                }
            }
            _ => {}
        }
        if option == "--dport" {
            plant.edit(
                Kind::Narrow,
                word.start..word.start,
                "--sport 20000:65535 ",
                "`--sport 20000:65535` in the rule",
            );
        }
    }
}

fn addresses(plant: &mut Plant, value: &Range<usize>) {
    let text = plant.slice(value);
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let (Ok(address), length) = (address.parse::<IpAddr>(), length.parse::<u8>().ok()) else { return };
    for other in plant.other_addresses(address) {
        plant.value(Kind::Set, value, other);
    }
    // iptables clears the host part by itself.
    let length = length.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
    plant.value(Kind::Widen, value, format!("{address}/{}", length.saturating_sub(8)));
}

fn ports(plant: &mut Plant, value: &Range<usize>) {
    let Ok(port) = plant.slice(value).parse::<u16>() else { return };
    plant.value(Kind::Narrow, value, port.saturating_add(1).to_string());
    plant.value(Kind::Widen, value, format!("{}:{}", port.saturating_sub(100), port.saturating_add(100)));
}

fn states(plant: &mut Plant, value: &Range<usize>) {
    let all = plant.slice(value).to_owned();
    let states: Vec<&str> = all.split(',').collect();
    for gone in &states {
        let left: Vec<&str> = states.iter().filter(|state| *state != gone).copied().collect();
        if !left.is_empty() {
            plant.value(Kind::Narrow, value, left.join(","));
        }
    }
    if !states.contains(&"NEW") {
        plant.value(Kind::Widen, value, format!("{all},NEW"));
    }
}

/// A rule that could stand in the file of the other IP version stands there.
fn other_family(plant: &mut Plant, rule: &Rule) {
    let own = plant.files[plant.file].format;
    let other = match own {
        Format::Iptables => Format::Ip6tables,
        Format::Ip6tables => Format::Iptables,
        Format::Nft => return,
    };
    let bound = rule.words.iter().any(|word| {
        let text = plant.slice(word);
        text.contains("icmp") || text == "-s" || text == "-d" || text == "hl"
    });
    let Some(file) = plant.files.iter().position(|file| file.format == other) else { return };
    let Some(end) = plant.files[file].text.rfind("COMMIT") else { return };
    if bound {
        return;
    }
    let text = plant.slice(&rule.line);
    let gone = Edit { file: plant.file, range: plant.whole_line(&rule.line), text: String::new() };
    let added = Edit { file, range: end..end, text: format!("{text}\n") };
    let mut edits = vec![gone, added];
    edits.sort_by_key(|edit| edit.file);
    plant.edits(Kind::Family, edits, format!("`{text}` in {} instead", plant.files[file].name));
}
