//! The rulesets that a service mesh writes for iptables-legacy and for iptables-nft mean the same.

use super::dumps::{tell, text_of};
use super::load::{Language, load, read};
use super::{Section, files, shown};
use firewarden_engine::Detail;
use firewarden_packet::AtomTable;
use firewarden_testkit::equivalence::{Equivalence, Limits, compare, questions};
use firewarden_verify::diff::align;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const LIMITS: Limits = Limits { regions: 200_000, rules: 50_000_000, detail: Detail::Rules };

/// Parts of the names of files that aren't the same ruleset as the others of their configuration, and why.
const EXPLAINED: &[(&str, &str)] = &[];

/// The files of one configuration and IP version, by backend.
#[derive(Default)]
struct Group {
    legacy: Vec<PathBuf>,
    nft: Vec<PathBuf>,
}

/// Compares what is installed through iptables-legacy with what is installed through iptables-nft, for each
/// configuration of `iptables/goldens/kuma`: a host has one of the two, so the pairs are made across distributions.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let (mut pairs, mut equivalent, mut regions_total) = (0, 0, 0);
    let mut listed = String::new();
    for ((configuration, language), group) in groups(folder) {
        let Some(legacy) = group.legacy.first() else { continue };
        for other in group.legacy.iter().skip(1).chain(&group.nft) {
            pairs += 1;
            let mut atoms = AtomTable::default();
            let left = load(&read(legacy), language, legacy, &mut atoms).ruleset;
            let mut right = load(&read(other), language, other, &mut atoms).ruleset;
            align(&left, &mut right, &atoms, text_of);
            match compare(&left, &right, &atoms, &questions(&[&left, &right]), LIMITS) {
                Equivalence::Equivalent { regions } => {
                    equivalent += 1;
                    regions_total += regions;
                }
                answer => {
                    let name = shown(other, folder);
                    let explained = EXPLAINED.iter().find(|(part, _)| name.contains(part));
                    if explained.is_none() {
                        section.failures.push(format!("{name}: not as in the legacy variant"));
                    }
                    let why = explained.map_or("", |(_, why)| why);
                    let told = tell(&answer, &left, &right, &atoms);
                    let _ = writeln!(listed, "- configuration `{configuration}`, `{name}`: {told} {why}");
                }
            }
        }
    }
    let _ = write!(
        section.text,
        "## Legacy and nft variants of generated rulesets\n\nWhat a service mesh installs through iptables-legacy, and \
         through iptables-nft for the same configuration: {equivalent} of {pairs} pairs are equivalent, in \
         {regions_total} regions.\n",
    );
    if !listed.is_empty() {
        let _ = write!(section.text, "\n{listed}");
    }
    section
}

fn groups(folder: &Path) -> BTreeMap<(String, Language), Group> {
    let mut groups: BTreeMap<(String, Language), Group> = BTreeMap::new();
    for path in files(&folder.join("iptables/goldens")) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((host, backend)) = name.strip_suffix(".golden").and_then(|name| name.rsplit_once('.'))
        else {
            continue;
        };
        if !read(&path).lines().any(|line| line.starts_with("-A")) {
            continue;
        }
        let configuration = ["-default", "-with-multiple-config-flags", "-with-multiple-flags"]
            .into_iter()
            .find(|configuration| host.ends_with(configuration))
            .unwrap_or("-plain");
        let language = if backend.starts_with("ip6") { Language::Iptables6 } else { Language::Iptables4 };
        let group = groups.entry((configuration.trim_start_matches('-').to_owned(), language)).or_default();
        match backend.rsplit_once('-') {
            Some((_, "legacy")) => group.legacy.push(path),
            Some((_, "nft")) => group.nft.push(path),
            _ => {}
        }
    }
    groups
}
