//! Cutting a ruleset into pieces that load one after another.
//!
//! In a user namespace nft and iptables may not enlarge their send buffer, so that a transaction of more than
//! about 300 rules fails with "Message too long". Nobody sees a throwaway namespace half loaded, so the pieces
//! need not be one transaction: first tables, chains and sets, then elements, then rules.

/// Most statements and most bytes of text in a piece.
const PIECE_STATEMENTS: usize = 100;
const PIECE_BYTES: usize = 12 << 10;

/// Collects statements into pieces.
struct Pieces {
    prelude: String,
    done: Vec<String>,
    current: String,
    statements: usize,
}

impl Pieces {
    fn push(&mut self, statement: &str) {
        if self.statements >= PIECE_STATEMENTS || self.current.len() + statement.len() > PIECE_BYTES {
            self.close();
        }
        if self.statements == 0 {
            self.current.push_str(&self.prelude);
        }
        self.current.push_str(statement);
        self.current.push('\n');
        self.statements += 1;
    }

    fn close(&mut self) {
        if self.statements > 0 {
            self.done.push(std::mem::take(&mut self.current));
            self.statements = 0;
        }
    }
}

/// Cuts an nft script. `None` where that could change its meaning: includes, definitions inside blocks,
/// constructs that are not recognised. Linear time.
pub fn cut_nft(text: &str) -> Option<Vec<String>> {
    let items = split(text, true)?;
    let is_definition = |item: &str| ["define", "redefine", "undefine"].contains(&first_word(item));
    let mut pieces =
        Pieces { prelude: String::new(), done: Vec::new(), current: String::new(), statements: 0 };
    for item in items {
        if first_word(item) == "include" {
            return None;
        }
        if is_definition(item) {
            pieces.close();
            pieces.prelude.push_str(item);
            pieces.prelude.push('\n');
            continue;
        }
        let Some((head, body)) = block(item).filter(|(head, _)| is_table(head)) else {
            pieces.push(item);
            continue;
        };
        let words: Vec<&str> = head.split_whitespace().filter(|w| !matches!(*w, "add" | "table")).collect();
        let name = match words.as_slice() {
            [name] => format!("ip {name}"),
            [family, name] => format!("{family} {name}"),
            _ => return None,
        };
        let mut options = String::new();
        let (mut chains, mut objects) = (Vec::new(), Vec::new());
        let (mut elements, mut rules) = (Vec::new(), Vec::new());
        for item in split(body, false)? {
            if is_definition(item) {
                return None;
            }
            let Some((head, body)) = block(item) else {
                options.push_str(item);
                options.push('\n');
                continue;
            };
            let object = head.split_whitespace().last()?;
            match first_word(head) {
                "chain" => {
                    let mut declaration = String::new();
                    for item in split(body, false)? {
                        match first_word(item) {
                            "type" | "policy" | "comment" | "devices" => {
                                declaration.push_str(item);
                                declaration.push('\n');
                            }
                            word if is_definition(word) => return None,
                            _ => rules.push(format!("add rule {name} {object} {item}")),
                        }
                    }
                    chains.push(format!("table {name} {{\nchain {object} {{\n{declaration}}}\n}}"));
                }
                "set" | "map" => {
                    let mut declaration = String::new();
                    for item in split(body, false)? {
                        if is_definition(item) {
                            return None;
                        }
                        let list = item.strip_prefix("elements").map(|rest| rest.trim_start());
                        match list.and_then(|rest| rest.strip_prefix('=')) {
                            Some(list) => {
                                let (_, list) = block(list.trim())?;
                                let list: Vec<&str> = separate(list, |c| c == ',')
                                    .into_iter()
                                    .filter(|e| !e.is_empty())
                                    .collect();
                                for part in list.chunks(PIECE_STATEMENTS) {
                                    let part = part.join(",\n");
                                    elements.push(format!("add element {name} {object} {{\n{part}\n}}"));
                                }
                            }
                            None => {
                                declaration.push_str(item);
                                declaration.push('\n');
                            }
                        }
                    }
                    objects.push(format!("table {name} {{\n{} {{\n{declaration}}}\n}}", head.trim()));
                }
                _ => objects.push(format!("table {name} {{\n{item}\n}}")),
            }
        }
        pieces.push(&format!("table {name} {{\n{options}}}"));
        // Chains before sets, since verdict maps name chains; base chains only see packets once all is loaded.
        for statement in chains.iter().chain(&objects).chain(&elements).chain(&rules) {
            pieces.push(statement);
        }
    }
    pieces.close();
    Some(pieces.done)
}

/// Cuts a dump of iptables-save. The first piece is for a plain restore, the others for `--noflush`. Linear
/// time.
pub fn cut_iptables(text: &str) -> Vec<String> {
    let mut declarations = String::new();
    let mut rules = Vec::new();
    let mut table = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('*') {
            table = line;
            declarations.push_str(line);
            declarations.push('\n');
        } else if line.starts_with(':') || line == "COMMIT" {
            declarations.push_str(line);
            declarations.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            rules.push((table, line));
        }
    }
    let mut pieces = vec![declarations];
    for same_table in rules.chunk_by(|a, b| a.0 == b.0) {
        for part in same_table.chunks(PIECE_STATEMENTS) {
            let lines: String = part.iter().map(|(_, line)| format!("{line}\n")).collect();
            pieces.push(format!("{}\n{lines}COMMIT\n", part.first().map_or("", |(table, _)| table)));
        }
    }
    pieces
}

fn first_word(item: &str) -> &str {
    item.split(|c: char| c.is_whitespace() || c == '{').find(|word| !word.is_empty()).unwrap_or_default()
}

fn is_table(head: &str) -> bool {
    matches!(head.split_whitespace().collect::<Vec<_>>().as_slice(), ["table", ..] | ["add", "table", ..])
}

/// Head and body of an item that ends in a block.
fn block(item: &str) -> Option<(&str, &str)> {
    let (head, rest) = item.split_once('{')?;
    Some((head, rest.trim_end().strip_suffix('}')?))
}

/// The statements of a block or script; `None` if its braces do not match. Comments stay inside their
/// statement only where they do no harm, so a statement with one is refused unless the comment is a line of
/// its own.
fn split(text: &str, top: bool) -> Option<Vec<&str>> {
    let mut items = Vec::new();
    for item in separate(text, |c| c == '\n' || c == ';') {
        if item.is_empty() || item.starts_with('#') {
            continue;
        }
        items.push(item);
    }
    let balanced = items.iter().all(|item| depth_at_end(item) == Some(0));
    (balanced && (top || !items.iter().any(|item| first_word(item) == "include"))).then_some(items)
}

/// Cuts at separators outside braces, strings and comments, and trims the parts. A line break after a
/// backslash is none.
fn separate(text: &str, is_separator: impl Fn(char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0u32);
    let (mut quoted, mut comment, mut escaped) = (false, false, false);
    for (at, c) in text.char_indices() {
        let was_escaped = std::mem::replace(&mut escaped, c == '\\' && !comment);
        match c {
            '\n' if comment => {
                comment = false;
                if depth == 0 && is_separator(c) {
                    parts.push(text.get(start..at).unwrap_or_default().trim());
                    start = at + 1;
                }
            }
            _ if comment => {}
            '"' => quoted = !quoted,
            _ if quoted => {}
            '#' => {
                if depth == 0 {
                    // A comment after a statement is cut off with the separator that ends it.
                    parts.push(text.get(start..at).unwrap_or_default().trim());
                    start = at;
                }
                comment = true;
            }
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 && !was_escaped && is_separator(c) => {
                parts.push(text.get(start..at).unwrap_or_default().trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
        if c == '}' && depth == 0 && !quoted && !comment && is_separator('\n') {
            // nft ends a table or chain block without a separator too: `} table`. Sets inside a rule are
            // followed by more of the rule, so only blocks that begin a statement end one.
            let item = text.get(start..=at).unwrap_or_default().trim();
            let mut words = item.split_whitespace().skip_while(|word| *word == "add");
            if matches!(words.next(), Some("table" | "chain" | "set" | "map")) {
                parts.push(item);
                start = at + 1;
            }
        }
    }
    parts.push(text.get(start..).unwrap_or_default().trim());
    parts
}

/// Braces left open at the end; `None` if one is closed that was not open.
fn depth_at_end(item: &str) -> Option<u32> {
    let (mut depth, mut quoted, mut comment) = (0u32, false, false);
    for c in item.chars() {
        match c {
            '\n' => comment = false,
            _ if comment => {}
            '"' => quoted = !quoted,
            _ if quoted => {}
            '#' => comment = true,
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    Some(depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_falls_into_declarations_elements_and_rules() {
        let text = "define web = { 80, 443 }\nflush ruleset\ntable inet t { # a comment }\n \
            set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 } }\n \
            chain c {\n type filter hook input priority 0; policy drop;\n \
            tcp dport { 1, 2 } accept; ip saddr @s log prefix \"a;{b\" drop # why\n jump d }\n \
            chain d { }\n}\nadd rule inet t d tcp dport { 1, 2 } accept\n";
        let pieces = cut_nft(text).unwrap();
        let expected = "define web = { 80, 443 }\nflush ruleset\ntable inet t {\n}\n\
            table inet t {\nchain c {\ntype filter hook input priority 0\npolicy drop\n}\n}\n\
            table inet t {\nchain d {\n}\n}\n\
            table inet t {\nset s {\ntype ipv4_addr\n}\n}\n\
            add element inet t s {\n10.0.0.1,\n10.0.0.2\n}\n\
            add rule inet t c tcp dport { 1, 2 } accept\n\
            add rule inet t c ip saddr @s log prefix \"a;{b\" drop\n\
            add rule inet t c jump d\n\
            add rule inet t d tcp dport { 1, 2 } accept\n";
        assert_eq!(pieces, [expected]);
        assert_eq!(cut_nft("include \"x\"\n"), None);
        assert_eq!(cut_nft("table t { chain c {\n"), None);
    }

    #[test]
    fn pieces_stay_small_and_keep_the_order() {
        let rules: String = (0..1000).map(|n| format!("tcp dport {n} accept\n")).collect();
        let pieces = cut_nft(&format!("table ip t {{\nchain c {{\n{rules}}}\n}}\n")).unwrap();
        assert!(pieces.len() >= 10);
        let ports: Vec<u32> = pieces
            .iter()
            .flat_map(|piece| piece.lines())
            .filter_map(|line| line.strip_prefix("add rule ip t c tcp dport ")?.strip_suffix(" accept"))
            .map(|port| port.parse().unwrap())
            .collect();
        assert_eq!(ports, (0..1000).collect::<Vec<_>>());
        let dump: String = (0..250).map(|n| format!("-A INPUT -s 10.0.0.{n} -j DROP\n")).collect();
        let pieces = cut_iptables(&format!("# x\n*filter\n:INPUT DROP [0:0]\n{dump}COMMIT\n"));
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces[0], "*filter\n:INPUT DROP [0:0]\nCOMMIT\n");
        assert!(
            pieces[3].starts_with("*filter\n-A INPUT -s 10.0.0.200 ") && pieces[3].ends_with("\nCOMMIT\n")
        );
    }

    /// With `FIREWARDEN_CORPUS` set and root rights: the listing of real rulesets is the same however they were
    /// loaded.
    #[test]
    fn pieces_of_real_rulesets_load_to_the_same() {
        use crate::model::Config;
        use crate::namespace::{Namespace, host_identity, privileged};

        let Some(corpus) = std::env::var_os("FIREWARDEN_CORPUS").filter(|_| privileged()) else {
            eprintln!("skipped: needs FIREWARDEN_CORPUS and root rights");
            return;
        };
        let nft = |arguments: &[&str], input: &str| crate::harness::run("nft", arguments, input);
        let config = Config::with_interfaces(["eth0", "eth1", "wan", "lan", "wg0", "br0", "docker0"]);
        Namespace::enter(&config, host_identity().unwrap()).unwrap();
        let (mut same, mut whole) = (0, 0);
        let mut files: Vec<_> =
            std::fs::read_dir(std::path::Path::new(&corpus).join("nft/real")).unwrap().flatten().collect();
        files.sort_by_key(|file| file.path());
        for file in files {
            let Ok(text) = std::fs::read_to_string(file.path()) else { continue };
            nft(&["flush", "ruleset"], "").unwrap();
            if nft(&["-f", "-"], &text).is_err() {
                continue;
            }
            let expected = nft(&["list", "ruleset"], "").unwrap();
            let Some(pieces) = cut_nft(&text) else {
                whole += 1;
                continue;
            };
            nft(&["flush", "ruleset"], "").unwrap();
            for piece in &pieces {
                nft(&["-f", "-"], piece).unwrap_or_else(|e| panic!("{:?}: {e}\n{piece}", file.path()));
            }
            // Chains and sets may change places in a table, lines in a chain or set may not.
            let sorted = |listing: &str| {
                let (mut table, mut block, mut place) = ("", "", 0);
                let mut lines = Vec::new();
                for line in listing.lines() {
                    match line.chars().take_while(|c| *c == '\t').count() {
                        0 => table = line,
                        1 => (block, place) = (line, 0),
                        _ => place += 1,
                    }
                    lines.push((table.to_owned(), block.to_owned(), place, line.to_owned()));
                }
                lines.sort();
                lines
            };
            let listing = nft(&["list", "ruleset"], "").unwrap();
            assert_eq!(sorted(&listing), sorted(&expected), "{:?}", file.path());
            same += 1;
        }
        eprintln!("{same} rulesets load the same in pieces, {whole} only as a whole");
        assert!(same > 0);
    }
}
