//! Probers in every namespace of a lab, so that an attempt can come from any address.

use super::{Attempt, Ending, Prober};
use crate::layout::{INSIDE, ONLY, Prefix, UPLINK};
use crate::outside;
use crate::place::Lab;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// The internet between those outside: the supervisor's own namespace.
const INTERNET: &str = "internet";
/// A machine behind the edge that nobody declared.
const NEIGHBOUR: &str = "neighbour";
/// The ports on which anybody on the internet answers.
const ANSWERED: [&str; 2] = ["80", "443"];
/// The routing table that takes packets for addresses nobody has.
const TABLE: u32 = 77;

/// Probers of one lab.
#[derive(Debug)]
pub struct Probers {
    lab: Lab,
    probers: BTreeMap<String, Prober>,
    owners: Owners,
}

/// Who has which addresses.
#[derive(Debug)]
struct Owners {
    /// The machines with their addresses: first those of the stack, then those outside.
    machines: Vec<(String, Vec<Prefix>)>,
    /// The networks behind the edge.
    behind: Vec<Prefix>,
}

impl Probers {
    /// Starts a prober in each namespace, and makes those outside take answers for any address of theirs. `words` lead this
    /// program to [`super::serve`].
    ///
    /// # Errors
    /// The system's, with the machine's name.
    pub fn start(lab: &Lab, words: &[&str]) -> io::Result<Probers> {
        let prober = |mut command: Command, ports: &[&str]| {
            command.args(words).args(ports);
            Prober::start(command)
        };
        let mut probers = BTreeMap::new();
        let mut machines: Vec<(String, Vec<Prefix>)> = Vec::new();
        let unknown = |error| io::Error::other(format!("{error}"));
        for machine in &lab.layout().machines {
            let prefixes = machine.interfaces.iter().flat_map(|interface| interface.addresses.clone());
            machines.push((machine.name.clone(), prefixes.collect()));
        }
        for name in outside::MACHINES {
            let interface = outside::interface(name);
            machines.push((name.to_owned(), interface.map(|one| one.addresses).unwrap_or_default()));
            lab.network(name).map_err(unknown)?;
            take_all(|| lab.command(name, "ip").unwrap_or_else(|_| lab.command_between("ip")), ONLY, 5, "")?;
        }
        let edge = lab.layout().machine("edge").map(|edge| edge.prefixes(UPLINK)).unwrap_or_default();
        let edge = edge.iter().find(|prefix| prefix.address.is_ipv4());
        let inside = lab.layout().machine("edge").map(|edge| edge.prefixes(INSIDE));
        let inside_of_edge = inside.unwrap_or_default().to_vec();
        let inside = inside_of_edge.iter().find(|prefix| prefix.address.is_ipv4());
        // Who stands right before the edge can address what is behind it.
        let behind = match (inside, edge) {
            (Some(inside), Some(edge)) => format!("route add {} via {}\n", inside.network(), edge.address),
            _ => String::new(),
        };
        // After the ways to those outside, so that only what nobody has is taken.
        take_all(|| lab.command_between("ip"), UPLINK, 40_000, &behind)?;
        for (name, _) in &machines {
            // The partner has a real service there.
            let ports = match name.as_str() {
                outside::CLIENT | outside::OFFICE => &ANSWERED[..],
                _ => &[],
            };
            probers.insert(name.clone(), prober(lab.command(name, "firewarden").map_err(unknown)?, ports)?);
        }
        probers.insert(INTERNET.to_owned(), prober(lab.command_between("firewarden"), &ANSWERED)?);
        probers.insert(NEIGHBOUR.to_owned(), prober(neighbour(lab, &inside_of_edge)?, &[])?);
        let owners = Owners { machines, behind: inside_of_edge };
        Ok(Probers { lab: lab.clone(), probers, owners })
    }

    /// Makes all attempts at once, each from where its source address is. Endings are in the order of the attempts. Takes
    /// as long as the slowest, `patience` milliseconds at most.
    ///
    /// # Errors
    /// A prober is gone.
    pub fn make(&mut self, attempts: &[Attempt], patience: u64) -> io::Result<Vec<Ending>> {
        let mut of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, attempt) in attempts.iter().enumerate() {
            of.entry(self.owners.place(attempt.source).to_owned()).or_default().push(index);
        }
        if let Some(indexes) = of.get(NEIGHBOUR) {
            // One that took everything would answer in the name of every host behind the edge.
            let own: BTreeSet<IpAddr> = indexes.iter().map(|index| attempts[*index].source).collect();
            let lines = own.iter().map(|own| match own {
                IpAddr::V4(own) => format!("address add {own}/32 dev {ONLY}\n"),
                IpAddr::V6(own) => format!("address add {own}/128 dev {ONLY} nodad\n"),
            });
            batch(in_neighbour(&self.lab, "ip"), &[], &lines.collect::<String>())?;
        }
        for (place, indexes) in &of {
            let asked: Vec<Attempt> = indexes.iter().map(|index| attempts[*index].clone()).collect();
            self.prober(place)?.ask(&asked, patience)?;
        }
        let mut endings = vec![Ending::Silent; attempts.len()];
        for (place, indexes) in &of {
            for (index, ending) in indexes.iter().zip(self.prober(place)?.answer()?) {
                endings[*index] = ending;
            }
        }
        Ok(endings)
    }

    fn prober(&mut self, place: &str) -> io::Result<&mut Prober> {
        self.probers.get_mut(place).ok_or_else(|| io::Error::other(format!("there is no prober at {place}")))
    }
}

impl Owners {
    /// Whose an address is: of the machine that has it; of a machine outside that has it in its network (of IPv6, nobody
    /// would find it there); of a neighbour where it is in a network behind the edge; else of the internet.
    fn place(&self, address: IpAddr) -> &str {
        let has =
            |(_, prefixes): &&(String, Vec<Prefix>)| prefixes.iter().any(|prefix| prefix.address == address);
        let is_near = |(name, prefixes): &&(String, Vec<Prefix>)| {
            address.is_ipv4()
                && outside::MACHINES.contains(&name.as_str())
                && prefixes.iter().any(|prefix| prefix.holds(address))
        };
        let found = self.machines.iter().find(has).or_else(|| self.machines.iter().find(is_near));
        let is_behind = self.behind.iter().any(|prefix| prefix.holds(address));
        found.map_or(if is_behind { NEIGHBOUR } else { INTERNET }, |(name, _)| name)
    }
}

/// Attaches one more machine to the switch behind the edge, and gives the command that runs this program on it.
fn neighbour(lab: &Lab, networks: &[Prefix]) -> io::Result<Command> {
    let mut commands = format!(
        "netns add {NEIGHBOUR}\nlink add {NEIGHBOUR} type veth peer name {ONLY} netns {NEIGHBOUR}\n\
         link set {NEIGHBOUR} addrgenmode none\nlink set {NEIGHBOUR} master {INSIDE} up\n"
    );
    batch(lab.command_between("ip"), &[], &commands)?;
    commands.clear();
    for network in networks {
        // The last one of the network is nobody's.
        let own = Prefix { address: network.last(), length: network.length };
        let nodad = if own.address.is_ipv6() { " nodad" } else { "" };
        commands.push_str(&format!("address add {own} dev {ONLY}{nodad}\n"));
    }
    commands.push_str(&format!("link set {ONLY} up\nlink set lo up\n"));
    for network in networks {
        commands.push_str(&format!("route add default via {}\n", network.address));
    }
    batch(lab.command_between("ip"), &["-n", NEIGHBOUR], &commands)?;
    Ok(in_neighbour(lab, "firewarden"))
}

fn in_neighbour(lab: &Lab, program: &str) -> Command {
    let mut command = lab.command_between("ip");
    command.args(["netns", "exec", NEIGHBOUR, program]);
    command
}

/// Lets a namespace take packets that come in by an interface for addresses it doesn't have.
fn take_all(ip: impl Fn() -> Command, interface: &str, preference: u32, more: &str) -> io::Result<()> {
    let rule = format!("rule add iif {interface} pref {preference} lookup {TABLE}");
    let both = format!("{rule}\nroute add local default dev lo table {TABLE}\n");
    batch(ip(), &["-4"], &format!("{both}{more}"))?;
    batch(ip(), &["-6"], &both)
}

/// Runs commands of `ip`. With `-force`, what is there from an earlier run is no trouble; whether all of it works is seen
/// before anything is concluded from it.
fn batch(mut ip: Command, options: &[&str], commands: &str) -> io::Result<()> {
    let mut child = ip
        .args(options)
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_where_its_packets_can_come_from() {
        let prefix = |address: &str, length| Prefix { address: address.parse().unwrap(), length };
        let outside = |name: &str| (name.to_owned(), outside::interface(name).unwrap().addresses);
        let inside = vec![prefix("10.0.0.1", 16), prefix("2001:db8:0:1::1", 64)];
        let edge = [&inside[..], &[prefix("203.0.113.1", 24), prefix("2001:db8:ff::1", 64)]].concat();
        let lb = vec![prefix("10.0.1.10", 16), prefix("2001:db8:0:1::10", 64)];
        let stack = [("edge".to_owned(), edge), ("lb".to_owned(), lb)];
        let machines = stack.into_iter().chain(outside::MACHINES.map(outside)).collect();
        let owners = Owners { machines, behind: inside };
        for (address, owner) in [
            ("10.0.1.10", "lb"),
            ("2001:db8:0:1::10", "lb"),
            ("10.0.0.1", "edge"),
            ("203.0.113.1", "edge"),
            ("10.0.77.7", NEIGHBOUR),
            ("2001:db8:0:1::7777", NEIGHBOUR),
            ("198.51.100.10", outside::OFFICE),
            // Another desk in the same network; of IPv6, only who has the address is found.
            ("198.51.100.200", outside::OFFICE),
            ("2001:db8:fe::10", outside::OFFICE),
            ("2001:db8:fe::200", INTERNET),
            // The network that the edge's outer side is in belongs to nobody else.
            ("203.0.113.9", INTERNET),
            ("9.9.9.9", INTERNET),
            ("2a02:9999::1", INTERNET),
            ("10.1.0.1", INTERNET),
        ] {
            assert_eq!(owners.place(address.parse().unwrap()), owner, "{address}");
        }
        for v6 in [false, true] {
            assert_eq!(owners.place(outside::user(3, v6)), outside::CLIENT);
            assert_eq!(owners.place(outside::partner(v6)), outside::PARTNER);
        }
    }
}
