//! What is proposed for a stack file, as YAML: entries of its sections, each with the comments that belong to it.

use super::flows::{Flow, Party};
use super::inventory::Inventory;
use firewarden_network::{Address, Host, ListenAddress, Listener};
use firewarden_verify::address::{AddressRange, Family, address};
use firewarden_verify::intent::{Expectation, Service, is_name, parse_intent};
use firewarden_verify::{Located, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Ports from here on are those of clients, as a rule; a UDP socket on one of them waits for an answer.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// The line of a host that has no rules yet.
pub const RULES_WANTED: &str = "  # rules: FILE";

/// Where a host is known from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The snapshot's folder, as the stack file names it; `None` where its rules are unknown.
    pub snapshot: Option<String>,
    /// Why there are no rules.
    pub no_rules: Option<String>,
}

/// Entries for the sections of a stack file. Lines have no indentation of their section.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Hosts.
    pub hosts: Vec<Vec<String>>,
    /// Groups.
    pub groups: Vec<Vec<String>>,
    /// Services.
    pub services: Vec<Vec<String>>,
    /// Intents, and comments about those that somebody may want.
    pub intents: Vec<Vec<String>>,
    /// What a person must know: one sentence each.
    pub remarks: Vec<String>,
}

impl Draft {
    /// The sections in the order in which they are written.
    pub fn sections(&self) -> [(&'static str, &[Vec<String>]); 4] {
        [
            ("hosts", &self.hosts),
            ("groups", &self.groups),
            ("services", &self.services),
            ("intents", &self.intents),
        ]
    }

    /// True where nothing but comments would be added.
    pub fn is_empty(&self) -> bool {
        let comment = |line: &String| line.trim_start().starts_with('#');
        self.sections().iter().all(|(_, entries)| entries.iter().flatten().all(comment))
    }

    /// A whole stack file.
    pub fn file(&self, about: &str) -> String {
        let mut text = format!(
            "# Made by `firewarden init` from {about}.\n\
             # An intent with `proposed: true` is one that somebody has yet to accept: it is checked, and fails nothing.\n\
             # Remove the line where the flow is meant, and say who answers for it (`owner`) and why (`because`).\n"
        );
        for (section, entries) in self.sections() {
            if entries.is_empty() {
                continue;
            }
            text += &format!("\n{section}:\n");
            for line in entries.iter().flatten() {
                text += &format!("  {line}\n");
            }
        }
        text
    }
}

/// One entry for a host.
pub fn host(host: &Host, origin: &Origin, published: &[AddressRange]) -> Vec<String> {
    let mut lines = vec![format!("{}:", scalar(&host.name))];
    if let Some(folder) = &origin.snapshot {
        lines.push(format!("  snapshot: {}", scalar(folder)));
    }
    if let Some(why) = &origin.no_rules {
        lines.push(format!(
            "  # Its rules aren't known ({}), so that nothing seems to be filtered:",
            short(why)
        ));
        lines.push(RULES_WANTED.to_owned());
    }
    let interfaces: Vec<(String, Vec<String>, bool)> = host
        .interfaces
        .iter()
        .map(|interface| {
            let own = interface.addresses.iter().filter(|own| !is_link_local(own)).map(with_length);
            (interface.name.to_string(), own.collect(), interface.uplink)
        })
        .filter(|(_, own, _): &(String, Vec<String>, bool)| !own.is_empty())
        .collect();
    let own: Vec<String> = host.addresses.iter().map(|own| ip(own).to_string()).collect();
    if origin.snapshot.is_some() {
        // The snapshot says it; a second time would only go out of date.
        for (name, own, uplink) in &interfaces {
            let uplink = if *uplink { " (uplink)" } else { "" };
            lines.push(format!("  # {name}: {}{uplink}", own.join(", ")));
        }
    } else {
        if !own.is_empty() {
            lines.push(format!("  address: {}", list(&own)));
        }
        if !interfaces.is_empty() {
            lines.push("  interfaces:".to_owned());
        }
        for (name, own, uplink) in &interfaces {
            let value = match uplink {
                true => format!("{{ address: {}, uplink: true }}", list(own)),
                false => list(own),
            };
            lines.push(format!("    {}: {value}", scalar(name)));
        }
    }
    let published: Vec<String> = published.iter().map(AddressRange::to_string).collect();
    if !published.is_empty() {
        lines.push(format!("  published: {}", list(&published)));
    }
    let open: Vec<String> =
        open_ports(host).iter().map(|(at, programs)| with_programs(at, programs)).collect();
    if !open.is_empty() {
        lines.push(format!("  # listens on {}", open.join(", ")));
    }
    lines
}

/// Ports on which a host waits for others, with the programs.
pub fn open_ports(host: &Host) -> BTreeMap<(u8, u16), BTreeSet<String>> {
    let mut open: BTreeMap<(u8, u16), BTreeSet<String>> = BTreeMap::new();
    for socket in host.listening.iter().flatten() {
        let client = socket.protocol != 6 && socket.port >= FIRST_CLIENT_PORT;
        if is_loopback(socket) || client || protocol_word(socket.protocol).is_none() {
            continue;
        }
        open.entry((socket.protocol, socket.port)).or_default().extend(socket.programs.iter().cloned());
    }
    open
}

/// Services by the programs that listen.
pub fn services(hosts: &[Host], taken: &dyn Fn(&str) -> bool) -> Vec<Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<(u8, u16)>> = BTreeMap::new();
    for host in hosts {
        for (at, programs) in open_ports(host) {
            for program in programs.iter().filter(|program| is_service_name(program) && !taken(program)) {
                found.entry(program.clone()).or_default().insert(at);
            }
        }
    }
    found
        .iter()
        .map(|(program, ports)| {
            let ports: Vec<String> = ports.iter().map(service).collect();
            vec![format!("{}: {}", scalar(program), list(&ports))]
        })
        .collect()
}

/// Intents for flows. Where there are none, for what listens; where nothing does, that nobody from outside gets in.
pub fn intents(
    flows: &BTreeMap<Flow, usize>,
    hosts: &[Host],
    known: &dyn Fn(usize, u8, u16) -> bool,
) -> Vec<Vec<String>> {
    let mut entries = Vec::new();
    for (flow, count) in flows {
        let (source, destination) = (party(flow.source, hosts), party(flow.destination, hosts));
        let at = (flow.protocol, flow.port);
        let programs = match flow.destination {
            Party::Host(index) => hosts.get(index).and_then(|host| open_ports(host).remove(&at)),
            _ => None,
        };
        let seen = if *count == 1 {
            "1 connection was seen".to_owned()
        } else {
            format!("{count} connections were seen")
        };
        let because = with_programs_text(&seen, &programs.unwrap_or_default());
        entries.push(proposal(
            Expectation::Allow,
            &format!("{source} -> {destination} {}", service(&at)),
            &because,
        ));
    }
    let unseen: Vec<(usize, (u8, u16), BTreeSet<String>)> = (0..hosts.len())
        .flat_map(|index| {
            let open = hosts.get(index).map(open_ports).unwrap_or_default();
            open.into_iter().map(move |(at, programs)| (index, at, programs))
        })
        .filter(|&(index, at, _)| {
            let met =
                |flow: &Flow| flow.destination == Party::Host(index) && (flow.protocol, flow.port) == at;
            !flows.keys().any(met) && !known(index, at.0, at.1)
        })
        .collect();
    for (index, at, programs) in &unseen {
        let text = format!("any -> {} {}", party(Party::Host(*index), hosts), service(at));
        let listens = with_programs_text("listens, and nobody was connected", programs);
        if flows.is_empty() {
            entries.push(proposal(Expectation::Allow, &text, &listens));
        } else {
            entries.push(vec![format!("# - allow: {text}   # {listens}")]);
        }
    }
    entries
}

/// Nobody from outside reaches these hosts: what can be proposed where nothing was seen.
pub fn nobody_from_outside(names: &[String]) -> Vec<String> {
    proposal(Expectation::Deny, &format!("internet -> {}", names.join(", ")), "nothing was seen to be open")
}

fn proposal(expectation: Expectation, text: &str, because: &str) -> Vec<String> {
    vec![
        format!("- {}: {}", expectation.word(), scalar(text)),
        "  proposed: true".to_owned(),
        format!("  because: {}", scalar(because)),
    ]
}

/// Hosts that an inventory knows by another name than the captured ones do, and those that only it knows.
pub struct Merged {
    /// For each name of the inventory the name that the host has here.
    pub names: BTreeMap<String, String>,
    /// Hosts to add.
    pub hosts: Vec<Host>,
    /// Hosts without an address.
    pub without_address: Vec<String>,
}

/// Takes an inventory's hosts together with those known already.
pub fn merge(inventory: &Inventory, known: &[Host]) -> Merged {
    let mut merged = Merged { names: BTreeMap::new(), hosts: Vec::new(), without_address: Vec::new() };
    for name in inventory.hosts.keys() {
        let address = inventory.address(name).map(network_address);
        let same = known.iter().find(|host| {
            let owns = |own: &Address| host.own(own.nfproto).contains(own.value);
            host.name == *name || address.as_ref().is_some_and(owns)
        });
        if let Some(host) = same {
            merged.names.insert(name.clone(), host.name.clone());
            continue;
        }
        let Some(address) = address else {
            merged.without_address.push(name.clone());
            continue;
        };
        let own = if is_name(name) {
            name.clone()
        } else {
            format!("host-{}", ip(&address).to_string().replace(':', "-"))
        };
        merged.names.insert(name.clone(), own.clone());
        let host = Host { name: own, addresses: vec![address], addresses_known: true, ..Host::default() };
        merged.hosts.push(host);
    }
    merged
}

/// An inventory's groups, of which `taken` names are left out.
pub fn groups(inventory: &Inventory, merged: &Merged, taken: &dyn Fn(&str) -> bool) -> Vec<Vec<String>> {
    let host_names: BTreeSet<&str> = merged.names.values().map(String::as_str).collect();
    let usable = |name: &str| is_peer_name(name) && !host_names.contains(name);
    let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, inside) in inventory.groups.iter().filter(|(name, _)| usable(name)) {
        let known = inside.iter().filter_map(|member| {
            let group = inventory.groups.contains_key(member) && usable(member);
            merged.names.get(member).cloned().or_else(|| group.then(|| member.clone()))
        });
        members.insert(name, known.collect());
    }
    // A group without members is no use to the groups that name it.
    loop {
        let empty: Vec<&str> =
            members.iter().filter(|(_, inside)| inside.is_empty()).map(|(name, _)| *name).collect();
        if empty.is_empty() {
            break;
        }
        for name in empty {
            members.remove(name);
            for inside in members.values_mut() {
                inside.retain(|member| member != name);
            }
        }
    }
    let fresh = members.iter().filter(|(name, _)| !taken(name));
    fresh.map(|(name, inside)| vec![format!("{}: {}", scalar(name), list(inside))]).collect()
}

fn network_address(own: std::net::IpAddr) -> Address {
    let (family, value) = firewarden_verify::address::number(own);
    Address { nfproto: family.nfproto(), value, prefix: family.width() }
}

fn party(party: Party, hosts: &[Host]) -> String {
    match party {
        Party::Internet => "internet".to_owned(),
        Party::Host(index) => hosts.get(index).map(|host| host.name.clone()).unwrap_or_default(),
        Party::Range(range) => range.to_string(),
    }
}

fn protocol_word(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => return None,
    })
}

fn service((protocol, port): &(u8, u16)) -> String {
    format!("{}/{port}", protocol_word(*protocol).unwrap_or("tcp"))
}

fn with_programs(at: &(u8, u16), programs: &BTreeSet<String>) -> String {
    with_programs_text(&service(at), programs)
}

fn with_programs_text(text: &str, programs: &BTreeSet<String>) -> String {
    let names: Vec<String> = programs.iter().map(|name| one_line(name)).collect();
    if names.is_empty() { text.to_owned() } else { format!("{text} ({})", names.join(", ")) }
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn is_loopback(socket: &Listener) -> bool {
    match socket.at {
        ListenAddress::One(2, own) => own >> 24 == 127,
        ListenAddress::One(_, own) => own == 1,
        _ => socket.interface.is_some_and(|name| name.to_string() == "lo"),
    }
}

fn is_link_local(own: &Address) -> bool {
    own.nfproto == 10 && own.value >> 118 == 0xFE80 >> 6
}

fn ip(own: &Address) -> std::net::IpAddr {
    address(if own.nfproto == 2 { Family::V4 } else { Family::V6 }, own.value)
}

fn with_length(own: &Address) -> String {
    format!("{}/{}", ip(own), own.prefix)
}

/// A name that the intent grammar takes for a service of the stack file's.
fn is_service_name(name: &str) -> bool {
    let text = format!("any -> any {name}");
    let place = Place::exact(firewarden_diagnostic::Span::default());
    let parsed = parse_intent(&text, place, Some(Expectation::Allow));
    is_peer_name(name)
        && parsed.is_ok_and(|intent| {
            matches!(intent.services.as_slice(), [Located { value: Service::Named(_), .. }])
        })
}

/// A name that the intent grammar takes for a host or a group.
pub fn is_peer_name(name: &str) -> bool {
    is_name(name) && !["any", "internet", "except", "allow", "deny", "only"].contains(&name)
}

/// A text as YAML in a flow or block context: as it is where nobody can take it for something else, else in quotes.
fn scalar(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_./ ->,()".contains(letter);
    let word = !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '/');
    let number = text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o");
    if begins && word && !number && text.chars().all(plain) && !text.ends_with(' ') {
        return text.to_owned();
    }
    // JSON's strings are YAML's double-quoted ones.
    serde_json::Value::from(text).to_string()
}

/// One text, or a list of several.
fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items
        .iter()
        .map(|item| {
            if item.contains(',') { serde_json::Value::from(item.as_str()).to_string() } else { scalar(item) }
        })
        .collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("[{}]", quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        for (text, expected) in [
            ("web", "web"),
            ("on", "\"on\""),
            ("12", "\"12\""),
            ("1e5", "\"1e5\""),
            ("2001:db8::1/64", "\"2001:db8::1/64\""),
            ("10.0.0.1/24", "10.0.0.1/24"),
            ("- a", "\"- a\""),
            ("a #b", "\"a #b\""),
            ("a \"b\"", "\"a \\\"b\\\"\""),
            ("any -> web tcp/22", "any -> web tcp/22"),
        ] {
            assert_eq!(scalar(text), expected);
        }
        assert_eq!(list(&["a".to_owned(), "::1".to_owned()]), "[a, \"::1\"]");
    }

    #[test]
    fn protocols_are_no_services() {
        assert!(is_service_name("nginx") && is_service_name("node_exporter"));
        assert!(!is_service_name("tcp") && !is_service_name("any") && !is_service_name("a b"));
    }
}
