//! Ansible inventories, as far as hosts, their addresses and groups go: the INI format and the YAML format
//! (ansible-inventory(1), "How to build your inventory"). Other variables, and plugins that make inventories, are left.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Hosts of one range (`web[01:50]`) that are made, at most.
const RANGE_LIMIT: u64 = 10_000;
/// Groups inside one another, at most.
const DEPTH_LIMIT: usize = 64;

/// What an inventory says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What `ansible_host` says of each host, where it does.
    pub hosts: BTreeMap<String, Option<String>>,
    /// The hosts and groups in each group; `all` and `ungrouped` are left out.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

impl Inventory {
    /// The address of a host: what `ansible_host` says, else its name, where that is one.
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        let said = self.hosts.get(name)?.as_deref().unwrap_or(name);
        said.parse().ok()
    }

    fn host(&mut self, pattern: &str, address: Option<String>, group: &str) -> Result<(), String> {
        for name in names(pattern)? {
            let known = self.hosts.entry(name.clone()).or_default();
            if address.is_some() {
                known.clone_from(&address);
            }
            self.member(group, name);
        }
        Ok(())
    }

    fn member(&mut self, group: &str, member: String) {
        if !matches!(group, "all" | "ungrouped") {
            self.groups.entry(group.to_owned()).or_default().insert(member);
        }
    }
}

/// Reads an inventory of either format.
///
/// # Errors
/// A sentence saying what is wrong with it.
pub fn read(text: &str) -> Result<Inventory, String> {
    let ini = |line: &str| line.starts_with('[') && line.ends_with(']');
    let said =
        || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let is_yaml = said().all(|line| !ini(line))
        && said().any(|line| line == "---" || line.ends_with(':') || line.contains(": "));
    if is_yaml { from_yaml(text) } else { from_ini(text) }
}

fn from_ini(text: &str) -> Result<Inventory, String> {
    let mut inventory = Inventory::default();
    let (mut group, mut kind) = ("ungrouped".to_owned(), String::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (name, of) = section.split_once(':').unwrap_or((section, ""));
            (group, kind) = (name.trim().to_owned(), of.trim().to_owned());
            if !matches!(kind.as_str(), "" | "children" | "vars") {
                return Err(format!("line {}: `[{section}]` is no group, children or vars", index + 1));
            }
            if kind != "vars" && !matches!(name, "all" | "ungrouped") {
                inventory.groups.entry(group.clone()).or_default();
            }
            continue;
        }
        let mut words = words(line).into_iter();
        let Some(first) = words.next() else { continue };
        match kind.as_str() {
            "vars" => {}
            "children" => inventory.member(&group, first),
            _ => {
                let mut address = words.filter_map(|word| {
                    let (key, value) = word.split_once('=')?;
                    matches!(key, "ansible_host" | "ansible_ssh_host").then(|| value.to_owned())
                });
                let address = address.next_back();
                let pattern = without_port(&first);
                inventory
                    .host(pattern, address, &group)
                    .map_err(|why| format!("line {}: {why}", index + 1))?;
            }
        }
    }
    Ok(inventory)
}

/// `host:2222` names a port; an IPv6 address has more colons, and a range's is between brackets.
fn without_port(pattern: &str) -> &str {
    let mut depth = 0_i32;
    let colons = pattern.chars().filter(|letter| {
        depth += i32::from(*letter == '[') - i32::from(*letter == ']');
        *letter == ':' && depth == 0
    });
    match pattern.rsplit_once(':') {
        Some((name, port)) if colons.count() == 1 && port.parse::<u16>().is_ok() => name,
        _ => pattern,
    }
}

/// The words of a line; quotes hold one together and are taken off.
fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.push(letter),
            None if matches!(letter, '"' | '\'') => quote = Some(letter),
            None if letter.is_whitespace() => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            None => word.push(letter),
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

fn from_yaml(text: &str) -> Result<Inventory, String> {
    let root: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string().replace('\n', " "))?;
    let Value::Object(groups) = root else { return Err("it isn't a map of groups".to_owned()) };
    let mut inventory = Inventory::default();
    for (name, group) in groups.iter().filter(|(name, _)| *name != "_meta") {
        yaml_group(name, group, &mut inventory, 0)?;
    }
    // `ansible-inventory --list` without `--yaml` has the variables of all hosts here.
    if let Some(Value::Object(hosts)) = groups.get("_meta").and_then(|meta| meta.get("hostvars")) {
        for (host, variables) in hosts {
            inventory.hosts.insert(host.clone(), host_address(variables));
        }
    }
    Ok(inventory)
}

fn host_address(variables: &Value) -> Option<String> {
    let said = ["ansible_host", "ansible_ssh_host"].iter().find_map(|key| variables.get(key));
    said.and_then(Value::as_str).map(str::to_owned)
}

fn yaml_group(name: &str, group: &Value, inventory: &mut Inventory, depth: usize) -> Result<(), String> {
    if depth >= DEPTH_LIMIT {
        return Err(format!("groups are nested more than {DEPTH_LIMIT} deep"));
    }
    if !matches!(name, "all" | "ungrouped") {
        inventory.groups.entry(name.to_owned()).or_default();
    }
    let Value::Object(group) = group else {
        return if group.is_null() { Ok(()) } else { Err(format!("the group `{name}` isn't a map")) };
    };
    let unread =
        |what: &str| Err(format!("`{what}` of the group `{name}` is neither a map nor a list of names"));
    match group.get("hosts") {
        None | Some(Value::Null) => {}
        Some(Value::Object(hosts)) => {
            for (host, variables) in hosts {
                inventory.host(host, host_address(variables), name)?;
            }
        }
        Some(Value::Array(hosts)) => {
            for host in hosts.iter().filter_map(Value::as_str) {
                inventory.host(host, None, name)?;
            }
        }
        Some(_) => return unread("hosts"),
    }
    match group.get("children") {
        None | Some(Value::Null) => {}
        Some(Value::Object(children)) => {
            for (child, inner) in children {
                inventory.member(name, child.clone());
                yaml_group(child, inner, inventory, depth + 1)?;
            }
        }
        Some(Value::Array(children)) => {
            for child in children.iter().filter_map(Value::as_str) {
                inventory.member(name, child.to_owned());
            }
        }
        Some(_) => return unread("children"),
    }
    Ok(())
}

/// The names that a pattern stands for: `web[01:03].example.org` is three, `db[a:c]` too.
fn names(pattern: &str) -> Result<Vec<String>, String> {
    let mut found = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((range, behind)) = after.split_once(']') else {
            return Err(format!("`{pattern}` has no `]`"));
        };
        let steps =
            steps(range).ok_or_else(|| format!("`[{range}]` is no range such as `[01:20]` or `[a:f]`"))?;
        if (found.len() as u64).saturating_mul(steps.len() as u64) > RANGE_LIMIT {
            return Err(format!("`{pattern}` stands for more than {RANGE_LIMIT} hosts"));
        }
        found = found
            .iter()
            .flat_map(|start| steps.iter().map(move |step| format!("{start}{before}{step}")))
            .collect();
        rest = behind;
    }
    for name in &mut found {
        name.push_str(rest);
    }
    Ok(found)
}

/// The steps of a range: `01:20`, `1:10:2`, `a:f`.
fn steps(range: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, stride) = match *parts.as_slice() {
        [first, last] => (first, last, 1),
        [first, last, stride] => (first, last, stride.parse::<usize>().ok().filter(|&stride| stride > 0)?),
        _ => return None,
    };
    if let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>()) {
        let width = first.len();
        let count = to.checked_sub(from)?.checked_add(1)?;
        if count > RANGE_LIMIT {
            return None;
        }
        return Some((from..=to).step_by(stride).map(|number| format!("{number:0width$}")).collect());
    }
    let letter = |text: &str| text.parse::<char>().ok().filter(char::is_ascii_alphabetic);
    let (from, to) = (letter(first)?, letter(last)?);
    Some((from..=to).step_by(stride).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INI: &str = "# a comment
mail.example.org
[web]
web[01:02].example.org:2222 ansible_user=root
lb ansible_host=10.0.1.10 ansible_ssh_common_args='-o ProxyCommand=\"ssh jump\"'  # in front
10.0.9.9
[db]
db-a ansible_host=\"2001:db8::30\"
[db:vars]
ansible_host=never
[stack:children]
web
db
";

    #[test]
    fn both_formats_say_the_same() {
        let ini = read(INI).unwrap();
        let yaml = read(
            "---
all:
  hosts:
    mail.example.org:
  children:
    stack:
      children:
        web:
          hosts:
            web[01:02].example.org: { ansible_user: root }
            lb: { ansible_host: 10.0.1.10 }
            10.0.9.9:
        db:
          hosts:
            db-a:
              ansible_host: 2001:db8::30
",
        )
        .unwrap();
        assert_eq!(ini, yaml);
        let names: Vec<&str> = ini.hosts.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["10.0.9.9", "db-a", "lb", "mail.example.org", "web01.example.org", "web02.example.org"]
        );
        assert_eq!(ini.address("lb"), "10.0.1.10".parse().ok());
        assert_eq!(ini.address("10.0.9.9"), "10.0.9.9".parse().ok());
        assert_eq!(ini.address("mail.example.org"), None);
        let stack: Vec<&str> = ini.groups["stack"].iter().map(String::as_str).collect();
        assert_eq!(stack, ["db", "web"]);
        assert_eq!(ini.groups["web"].len(), 4);
    }

    #[test]
    fn what_ansible_inventory_prints() {
        let inventory = read(
            "{\n  \"_meta\": { \"hostvars\": { \"db\": { \"ansible_host\": \"10.0.0.2\" } } },\n  \"all\": { \"children\": [\"ungrouped\", \"data\"] },\n  \"data\": { \"hosts\": [\"db\", \"spare\"] }\n}\n",
        )
        .unwrap();
        assert_eq!(inventory.address("db"), "10.0.0.2".parse().ok());
        assert_eq!(inventory.groups.keys().collect::<Vec<_>>(), ["data"]);
        assert_eq!(inventory.groups["data"].len(), 2);
        assert!(read("data:\n  hosts: 7\n").unwrap_err().contains("neither a map nor a list"));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(read("[web:wrong]\na\n").unwrap_err().contains("line 1"));
        assert!(read("web[1\n").unwrap_err().contains("has no `]`"));
        assert!(read("web[1:99999999]\n").is_err());
        assert!(read("web[1:9999][1:9999]\n").is_err());
        assert!(read("all: [a, b]\n").unwrap_err().contains("isn't a map"));
        assert!(read("a: {\n").is_err());
    }

    #[test]
    fn ranges() {
        assert_eq!(names("n[08:10]").unwrap(), ["n08", "n09", "n10"]);
        assert_eq!(names("[a:c]x[1:3:2]").unwrap(), ["ax1", "ax3", "bx1", "bx3", "cx1", "cx3"]);
        assert_eq!(names("plain").unwrap(), ["plain"]);
    }
}
