//! ClassBench filter sets as rulesets of nft: each compared with itself after fifty edits.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sets of a corpus folder, and the sizes of each.
const SEEDS: [&str; 3] = ["acl1", "fw1", "ipc1"];
const SIZES: [&str; 3] = ["1k", "10k", "100k"];

/// A set before and after its edits.
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) before: PathBuf,
    pub(super) after: PathBuf,
}

/// Writes each set that the corpus has, and its version with fifty edits, as nft below `folder`.
///
/// # Errors
/// When a file can't be read or written, or a line isn't a filter.
pub(super) fn write(corpus: &Path, folder: &Path) -> Result<Vec<Pair>, String> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    let mut pairs = Vec::new();
    for seed in SEEDS {
        for size in SIZES {
            let name = format!("{seed}_{size}");
            let translate = |version: &str| -> Result<PathBuf, String> {
                let text = read(corpus, &format!("{name}{version}"))?;
                let path = folder.join(format!("{name}{version}.nft"));
                std::fs::write(&path, ruleset(&text)?)
                    .map_err(|error| format!("{} can't be written: {error}", path.display()))?;
                Ok(path)
            };
            pairs.push(Pair { before: translate("")?, after: translate(".v50")?, name });
        }
    }
    Ok(pairs)
}

/// The large sets are packed.
fn read(corpus: &Path, name: &str) -> Result<String, String> {
    let plain = corpus.join(format!("{name}.csv"));
    if plain.exists() {
        return std::fs::read_to_string(&plain).map_err(|error| format!("{}: {error}", plain.display()));
    }
    let packed = corpus.join(format!("{name}.csv.gz"));
    let output = Command::new("gzip").arg("-dc").arg(&packed).output();
    let output = output.map_err(|error| format!("gzip can't be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{} can't be unpacked", packed.display()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{}: {error}", packed.display()))
}

fn ruleset(table: &str) -> Result<String, String> {
    let mut text = String::from(
        "table ip filter {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n",
    );
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.trim().split(',').collect();
        let [source, destination, protocol, from, to, action] = fields.as_slice() else {
            return Err(format!("`{line}` is not a filter"));
        };
        text.push_str("\t\t");
        for (word, prefix) in [("saddr", source), ("daddr", destination)] {
            if *prefix != "0.0.0.0/0" {
                let _ = write!(text, "ip {word} {prefix} ");
            }
        }
        if *protocol != "any" {
            let _ = write!(text, "meta l4proto {protocol} ");
        }
        for (word, ports) in [("sport", from), ("dport", to)] {
            if *ports != "0-65535" {
                let _ = write!(text, "th {word} {ports} ");
            }
        }
        text.push_str(if *action == "deny" { "drop\n" } else { "accept\n" });
    }
    text.push_str("\t}\n}\n");
    Ok(text)
}
