//! The rulesets that a service mesh writes for iptables-legacy and for iptables-nft mean the same.

use super::dumps::{tell, text_of};
use super::load::{Language, load, read};
use super::{Section, files, shown};
use firewarden_engine::Detail;
use firewarden_packet::AtomTable;
use firewarden_testkit::equivalence::{Equivalence, Limits, align, compare, questions};
use std::fmt::Write;
use std::path::Path;

const LIMITS: Limits = Limits { regions: 200_000, rules: 50_000_000, detail: Detail::Rules };

/// Compares each pair of `iptables/goldens/kuma`.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let (mut pairs, mut equivalent, mut regions_total) = (0, 0, 0);
    let mut listed = String::new();
    for path in files(&folder.join("iptables/goldens")) {
        let name = shown(&path, folder);
        let other = path.with_file_name(
            path.file_name().unwrap_or_default().to_string_lossy().replace("tables-legacy.", "tables-nft."),
        );
        if other == path || !other.is_file() {
            continue;
        }
        let language = if name.contains(".ip6tables") { Language::Iptables6 } else { Language::Iptables4 };
        pairs += 1;
        let mut atoms = AtomTable::default();
        let left = load(&read(&path), language, &path, &mut atoms).ruleset;
        let mut right = load(&read(&other), language, &other, &mut atoms).ruleset;
        align(&left, &mut right, &atoms, text_of);
        match compare(&left, &right, &atoms, &questions(&[&left, &right]), LIMITS) {
            Equivalence::Equivalent { regions } => {
                equivalent += 1;
                regions_total += regions;
            }
            answer => {
                let _ = writeln!(listed, "- `{name}`: {}", tell(&answer, &left, &right, &atoms));
            }
        }
    }
    if equivalent < pairs {
        section.failures.push(format!("goldens: {equivalent} of {pairs} pairs equivalent"));
    }
    let _ = write!(
        section.text,
        "## Legacy and nft variants of generated rulesets\n\n{pairs} pairs of `iptables/goldens`: {equivalent} are \
         equivalent, in {regions_total} regions.\n",
    );
    if !listed.is_empty() {
        let _ = write!(section.text, "\n{listed}");
    }
    section
}
