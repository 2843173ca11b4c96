//! Interfaces that rules refer to by index, and so need before they load.

use super::Sandbox;
use crate::program::{ProgramError, run};
use std::collections::BTreeSet;

/// Kinds of interface that stand for any other one; kernels are built without some of them.
const KINDS: [&str; 4] = ["dummy", "veth", "ifb", "bridge"];

/// The names of the interfaces of the calling thread's network namespace.
///
/// # Errors
/// [`ProgramError`].
pub fn interfaces_of() -> Result<BTreeSet<String>, ProgramError> {
    let text = run("ip", &["-o", "link", "show"])?;
    // `2: eth0@if7: <BROADCAST,...`
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// The interfaces that a text of nft names where they have to be there: after `iif`, `oif`, `device` and `devices`. Names
/// too many do no harm. O(n).
pub fn named_interfaces(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut list = false;
    let mut expected = false;
    for word in
        text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|word| !word.is_empty())
    {
        match word {
            "iif" | "oif" | "device" | "devices" => expected = true,
            "{" => list |= expected,
            "}" => (list, expected) = (false, false),
            "=" | "!=" | "==" | "." => {}
            _ if expected => {
                let name = word.trim_matches(|c| matches!(c, '"' | '{' | '}'));
                if is_name(name) {
                    names.insert(name.to_owned());
                }
                list = (list || word.starts_with('{')) && !word.ends_with('}');
                expected = list;
            }
            _ => {}
        }
    }
    names
}

fn is_name(word: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/\"'\\#%:$@".contains(c);
    !word.is_empty()
        && word.len() < 16
        && !word.contains(odd)
        && !word.bytes().all(|byte| byte.is_ascii_digit())
}

impl Sandbox {
    /// Makes interfaces of these names, as far as there are none. What can't be made isn't there: rules that need it
    /// won't load, and say so.
    pub fn add_interfaces(&self, names: &BTreeSet<String>) {
        for name in names.iter().filter(|name| *name != "lo" && is_name(name)) {
            for kind in KINDS {
                if self.run("ip", &["link", "add", "name", name, "type", kind], "").is_ok() {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_rules_need() {
        let text = "table netdev t { chain c { type filter hook ingress devices = { eth1, \"eth2\" } priority 0; } }
            table ip t { flowtable f { hook ingress priority 0; devices = { lan0, lan1 } }
            chain i { iif \"lo\" accept; iifname \"ppp0\" accept; oif != wan accept; iif { a, b } . ip saddr 1.2.3.4 drop
            type filter hook egress device \"br-5\" priority 0 } }";
        let found: Vec<String> = named_interfaces(text).into_iter().collect();
        assert_eq!(found, ["a", "b", "br-5", "eth1", "eth2", "lan0", "lan1", "lo", "wan"]);
        assert!(interfaces_of().unwrap().contains("lo"));
    }
}
