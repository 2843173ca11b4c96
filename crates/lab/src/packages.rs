//! The programs that a lab is made of, and the Debian packages that have them.

use std::path::{Path, PathBuf};

/// A program with the package that has it.
const PROGRAMS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables-restore", "iptables"),
    ("ip6tables-restore", "iptables"),
    ("conntrack", "conntrack"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    ("postgres", "postgresql"),
];

/// Where Debian keeps the programs of each version of PostgreSQL.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// The packages that are missing, each once, in the order in which they are needed.
pub fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> = Vec::new();
    for (program, package) in PROGRAMS {
        let there = match program {
            "postgres" => postgresql().is_some(),
            _ => find(program).is_some(),
        };
        if !there && !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

/// The folder with the newest PostgreSQL's programs.
pub fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir(POSTGRESQL).ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/postgres").is_file())
        .max_by_key(|path| number(path))
        .map(|path| path.join("bin"))
}

/// A program in the folders that a lab looks in.
fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(crate::place::PATH).map(|folder| folder.join(program)).find(|path| path.is_file())
}
