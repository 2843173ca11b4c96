//! The texts of a host's rulesets as the kernel's own programs take them.

use crate::load::{Files, Format, RulesetFile, sections};
use firewarden_diagnostic::FileId;
use firewarden_oracle::Ruleset;
use firewarden_ruleset::ir;
use firewarden_ruleset::syntax::iptables::{self, Versions};
use firewarden_ruleset::syntax::nft::text::{MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES, SourceProvider};

/// What to load for a host: what nft reads, file by file, then the listings of the others, as the model puts them
/// together. The error says why it can't be loaded as it is.
pub fn of(inputs: &[RulesetFile], lowered: &ir::Ruleset, files: &mut Files) -> Result<Ruleset, String> {
    let (mut all, mut saved) = (Vec::new(), Saved::default());
    for input in inputs {
        match input.format {
            Format::NftText => {
                let mut expander = Expander { files, opened: 0, out: String::new() };
                expander.file(input.file, MAX_INCLUDE_DEPTH)?;
                all.push(Ruleset::Nft(expander.out));
            }
            Format::NftJson => all.push(Ruleset::NftJson(files.text(input.file).to_owned())),
            Format::IptablesSave | Format::IpsetSave => saved.add(input.file, files.text(input.file))?,
            Format::Stack | Format::Empty => {}
        }
    }
    let Saved { ipset, v4, v6 } = saved;
    if !(ipset.is_empty() && v4.is_empty() && v6.is_empty()) {
        if !all.is_empty() && twice(lowered) {
            return Err("nft and iptables-save list the same table, which can't be loaded twice".to_owned());
        }
        all.push(Ruleset::Iptables { ipset, v4, v6 });
    }
    Ok(match <[Ruleset; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(all) if all.is_empty() => Ruleset::Nft(String::new()),
        Err(all) => Ruleset::Several(all),
    })
}

/// Whether two tables share family and name, as where `nft list ruleset` shows those of iptables-nft.
fn twice(lowered: &ir::Ruleset) -> bool {
    let tables = &lowered.tables;
    tables.iter().enumerate().any(|(index, table)| {
        tables.iter().skip(index + 1).any(|other| other.family == table.family && other.name == table.name)
    })
}

/// Listings, by the program that restores them.
#[derive(Default)]
struct Saved {
    ipset: String,
    v4: String,
    v6: String,
}

impl Saved {
    /// Deals a text's tables out to iptables-restore and ip6tables-restore.
    fn add(&mut self, file: FileId, text: &str) -> Result<(), String> {
        if sections::has_sets(text) {
            self.ipset.push_str(&sections::only(text, true));
            self.ipset.push('\n');
        }
        if !sections::has_tables(text) {
            return Ok(());
        }
        let text = sections::only(text, false);
        let (save, _) = iptables::parse(file, &text);
        let mut start = 0;
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('*') {
                pieces.push((start, start));
            }
            start += line.len();
            if let Some(last) = pieces.last_mut() {
                last.1 = start;
            }
        }
        for table in &save.tables {
            let at = table.at.start as usize;
            let Some(&(from, to)) = pieces.iter().find(|&&(from, to)| from <= at && at < to) else {
                return Err("its rules are commands, not what iptables-save prints".to_owned());
            };
            for (version, all) in [(Versions::V4, &mut self.v4), (Versions::V6, &mut self.v6)] {
                if table.versions.contains(version) {
                    all.push_str(text.get(from..to).unwrap_or_default());
                    all.push('\n');
                }
            }
        }
        Ok(())
    }
}

/// Puts the texts of included files into the places of the `include`s: to nft, they are part of the text around them.
struct Expander<'e> {
    files: &'e mut Files,
    opened: usize,
    out: String,
}

impl Expander<'_> {
    fn file(&mut self, file: FileId, depth: usize) -> Result<(), String> {
        let text = self.files.text(file).to_owned();
        let mut rest = text.as_str();
        while let Some(include) = next_include(rest) {
            self.out.push_str(rest.get(..include.start).unwrap_or_default());
            rest = rest.get(include.end..).unwrap_or_default();
            let found = SourceProvider::open(self.files, file, include.pattern)?;
            self.opened += found.len();
            if depth == 0 || self.opened > MAX_INCLUDED_FILES {
                return Err("its ruleset includes too many files".to_owned());
            }
            for (other, _) in found {
                self.out.push('\n');
                self.file(other, depth - 1)?;
                self.out.push('\n');
            }
        }
        self.out.push_str(rest);
        Ok(())
    }
}

/// An `include "pattern"`.
struct Include<'t> {
    start: usize,
    end: usize,
    pattern: &'t str,
}

/// The first `include` at the beginning of a statement, outside of comments and strings. O(length up to it).
fn next_include(text: &str) -> Option<Include<'_>> {
    let mut at = 0;
    let mut begins = true;
    while let Some(rest) = text.get(at..) {
        let letter = rest.chars().next()?;
        let length = match letter {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => rest.get(1..)?.find('"').map_or(rest.len(), |end| end + 2),
            _ if letter.is_alphanumeric() || letter == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let after = rest.get(word..)?;
                let space = after.len() - after.trim_start_matches([' ', '\t']).len();
                if begins
                    && rest.get(..word) == Some("include")
                    && let Some(pattern) = after.get(space..)?.strip_prefix('"')
                    && let Some(end) = pattern.find('"')
                {
                    let pattern = pattern.get(..end)?;
                    return Some(Include { start: at, end: at + word + space + end + 2, pattern });
                }
                word
            }
            _ => letter.len_utf8(),
        };
        begins = match letter {
            '\n' | ';' | '{' | '}' => true,
            '#' => begins,
            _ => begins && letter.is_whitespace(),
        };
        at += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_found_where_statements_begin() {
        let text = "# include \"no\"\ncomment \"; include\"; x include \"no\"\ninclude\t\"a*.nft\"\n";
        let found = next_include(text).unwrap();
        assert_eq!((found.pattern, &text[found.start..found.end]), ("a*.nft", "include\t\"a*.nft\""));
        assert!(next_include(&text[found.end..]).is_none());
        let inside = "table ip t { include \"b\"\n}";
        assert_eq!(next_include(inside).unwrap().pattern, "b");
        assert!(next_include("included \"a\"\ninclude \"open").is_none());
        assert!(next_include("é#\n").is_none());
    }

    #[test]
    fn one_text_with_tables_of_both_versions() {
        let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n\
*filter\n:INPUT DROP [0:0]\n-A INPUT -s 2001:db8::1/128 -j ACCEPT\nCOMMIT\n";
        let mut saved = Saved::default();
        saved.add(FileId::default(), text).unwrap();
        assert!(saved.v4.contains("10.0.0.1") && !saved.v4.contains("2001"), "{}", saved.v4);
        assert!(saved.v6.contains("2001") && !saved.v6.contains("10.0.0.1"), "{}", saved.v6);
        assert!(saved.add(FileId::default(), "iptables -A INPUT -j DROP\n").is_ok());
        assert!(saved.add(FileId::default(), "-A INPUT -j DROP\n").is_err());
    }
}
