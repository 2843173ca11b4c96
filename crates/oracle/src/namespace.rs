//! A throwaway network namespace with the interfaces of a host. It belongs to one thread and ends with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, setsockopt,
    socket, sockopt,
};

use crate::harness::{OWN_MARK, run};
use crate::model::{Config, Destinations, Error, Hook};
use crate::sys;

/// Number standing for "no interface".
pub const NO_INTERFACE: u16 = u16::MAX;
/// MAC address of every interface.
const OWN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// Identity of the calling thread's network namespace.
fn identity() -> io::Result<(u64, u64)> {
    let entry = fs::metadata("/proc/thread-self/ns/net")?;
    Ok((entry.dev(), entry.ino()))
}

/// Whether the calling thread may make network namespaces directly (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and
/// `CAP_NET_RAW` in effect).
pub fn privileged() -> bool {
    const NEEDED: u64 = 1 << 21 | 1 << 12 | 1 << 13;
    fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?.trim().to_owned();
            u64::from_str_radix(&line, 16).ok()
        })
        .is_some_and(|held| held & NEEDED == NEEDED)
}

/// Makes the calling process root of a user namespace of its own; works in a process with one thread only.
pub fn enter_user_namespace() -> Result<(), Error> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let refused = |what: &str, error: String| Error::Unsupported(format!("{what}: {error}"));
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|e| refused("no root rights, and the system allows no user namespaces", e.to_string()))?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| refused(&format!("cannot write `/proc/self/{file}`"), e.to_string()))?;
    }
    if privileged() {
        Ok(())
    } else {
        Err(Error::Unsupported("a security module withholds rights in user namespaces".into()))
    }
}

/// How packets get into an interface.
enum Port {
    /// Written to the device.
    Tap(OwnedFd),
    /// Sent through a packet socket to the interface with this index, which hands them to the tested one.
    Peer(u32),
}

/// A namespace with interfaces, ready for a ruleset.
pub struct Namespace {
    ports: Vec<Port>,
    /// Number of each interface by kernel index.
    numbers: BTreeMap<u32, u16>,
    names: Vec<String>,
    packet_socket: OwnedFd,
    raw4: OwnedFd,
    raw6: Option<OwnedFd>,
    destinations: Destinations,
    /// Where every destination is at present: 0 on this host, n behind the nth interface.
    towards: Option<u16>,
    /// Whether the kernel sends as many ICMP errors as asked for.
    pub icmp_unlimited: bool,
    buffer: Vec<u8>,
}

impl Namespace {
    /// Moves the calling thread into a new namespace and sets it up. `host` is the identity of the namespace
    /// that the worker started in: the new one must be another.
    pub fn enter(config: &Config, host: (u64, u64)) -> Result<Self, Error> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| Error::Unsupported(format!("{what}: {error}"));
        check(config)?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed("cannot make a network namespace", &e))?;
        let own = identity().map_err(|e| failed("cannot read `/proc/thread-self/ns/net`", &e))?;
        let init = fs::metadata("/proc/1/ns/net").map(|entry| (entry.dev(), entry.ino())).ok();
        if own == host || Some(own) == init {
            return Err(Error::Unsupported("the new network namespace is the host's".into()));
        }

        let has_v6 = fs::exists("/proc/sys/net/ipv6").unwrap_or(false);
        for (name, value) in SYSCTLS {
            // IPv6 may be absent; whatever else is missing shows in the verdicts, which tests compare.
            let _ = sysctl(name, value);
        }
        let icmp_unlimited = sysctl("ipv4/icmp_msgs_per_sec", "1000000000").is_ok()
            && sysctl("ipv4/icmp_msgs_burst", "1000000000").is_ok();

        let mut ports = vec![Port::Peer(0)];
        let mut names = vec!["lo".to_owned()];
        let mut batch = String::from("link set dev lo up\n");
        for (number, interface) in config.interfaces.iter().enumerate() {
            let name = &interface.name;
            match sys::open_tap(name) {
                Ok(fd) => ports.push(Port::Tap(fd)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Question(format!("interface `{name}` is listed twice")));
                }
                // Without the device file a pair of virtual Ethernet interfaces does the same, more slowly.
                Err(_) => {
                    let peer = format!("zzpeer{number}");
                    run("ip", &["link", "add", "name", name, "type", "veth", "peer", "name", &peer], "")
                        .map_err(|e| failed("neither /dev/net/tun nor veth interfaces can be used", &e))?;
                    batch +=
                        &format!("link set dev {peer} address 02:00:00:00:00:fd arp off addrgenmode none\n");
                    batch += &format!("link set dev {peer} up\n");
                    let index = if_nametoindex(peer.as_str());
                    ports.push(Port::Peer(index.map_err(|e| failed("no index for a veth interface", &e))?));
                }
            }
            names.push(name.clone());
            let mac = OWN_MAC.map(|byte| format!("{byte:02x}")).join(":");
            batch += &format!(
                "link set dev {name} address {mac} arp off addrgenmode none\nlink set dev {name} up\n"
            );
            for (address, length) in &interface.addresses {
                let length = match (config.destinations, address) {
                    (Destinations::AsRouted, _) => *length,
                    (_, IpAddr::V4(_)) => 32,
                    (_, IpAddr::V6(_)) => 128,
                };
                let nodad = if address.is_ipv6() { " nodad" } else { "" };
                batch += &format!("address add {address}/{length} dev {name}{nodad}\n");
            }
        }
        if config.destinations == Destinations::AsRouted {
            for route in &config.routes {
                let (address, length) = route.destination;
                let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
                let onlink = if route.via.is_some() { " onlink" } else { "" };
                batch += &format!("route replace {address}/{length}{via} dev {}{onlink}\n", route.interface);
            }
        }
        run("ip", &["-batch", "-"], &batch).map_err(|e| failed("cannot set up the interfaces", &e))?;

        let mut numbers = BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            let index = if_nametoindex(name.as_str()).map_err(|e| failed("no index for an interface", &e))?;
            numbers.insert(index, number as u16);
            if number == 0 {
                ports[0] = Port::Peer(index);
            }
        }
        let raw = |family| {
            let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
            setsockopt(&fd, sockopt::Mark, &OWN_MARK)?;
            Ok::<_, nix::Error>(fd)
        };
        Ok(Self {
            ports,
            numbers,
            names,
            packet_socket: sys::open_packet_socket().map_err(|e| failed("no packet socket", &e))?,
            raw4: raw(AddressFamily::Inet).map_err(|e| failed("no raw socket", &e))?,
            raw6: has_v6
                .then(|| raw(AddressFamily::Inet6))
                .transpose()
                .map_err(|e| failed("no raw IPv6 socket", &e))?,
            destinations: config.destinations,
            towards: None,
            icmp_unlimited,
            buffer: Vec::new(),
        })
    }

    /// Applies the sysctls of the configuration; after loading, since some exist only once a module is there.
    pub fn apply_sysctls(&self, config: &Config) -> Result<(), Error> {
        for (name, value) in
            [("netfilter/nf_conntrack_tcp_be_liberal", "1"), ("netfilter/nf_conntrack_tcp_loose", "0")]
        {
            let _ = sysctl(name, value);
        }
        for (name, value) in &config.sysctls {
            let path = name.strip_prefix("net.").or(name.strip_prefix("net/")).unwrap_or(name);
            let path = if path.contains('/') { path.to_owned() } else { path.replace('.', "/") };
            if path.split('/').any(|part| part.is_empty() || part == "..") {
                return Err(Error::Question(format!("`{name}` is not a sysctl below `net`")));
            }
            sysctl(&path, value)
                .map_err(|e| Error::Question(format!("cannot set sysctl `net.{name}` to `{value}`: {e}")))?;
        }
        Ok(())
    }

    /// Sends every destination the way that the questions of a batch want.
    pub fn route(&mut self, hook: Hook, oif: u16) -> Result<(), Error> {
        let towards = if hook == Hook::Input { 0 } else { oif };
        if self.destinations == Destinations::AsRouted || self.towards == Some(towards) {
            return Ok(());
        }
        let mut families = vec!["0.0.0.0/0"];
        if self.raw6.is_some() {
            families.push("::/0");
        }
        let mut batch = String::new();
        for all in families {
            if towards == 0 {
                batch += &format!("route replace local {all} dev lo table local\n");
                continue;
            }
            if self.towards == Some(0) {
                batch += &format!("route del local {all} dev lo table local\n");
            }
            let name = self.names.get(usize::from(towards)).map_or("", String::as_str);
            batch += &format!("route replace {all} dev {name}\n");
        }
        run("ip", &["-batch", "-"], &batch)
            .map_err(|e| Error::Unsupported(format!("cannot set routes: {e}")))?;
        self.towards = Some(towards);
        Ok(())
    }

    /// Gives a packet to the kernel as if it came in by an interface. When this returns, the kernel is done
    /// with it, except on `lo` and veth interfaces under heavy load.
    pub fn inject(&mut self, iif: u16, mac: [u8; 6], packet: &[u8]) -> io::Result<()> {
        let ethertype: u16 = if packet.first().is_some_and(|byte| byte >> 4 == 4) { 0x0800 } else { 0x86dd };
        let (target, source) = if iif == 0 { ([0; 6], [0; 6]) } else { (OWN_MAC, mac) };
        self.buffer.clear();
        self.buffer.extend_from_slice(&target);
        self.buffer.extend_from_slice(&source);
        self.buffer.extend_from_slice(&ethertype.to_be_bytes());
        self.buffer.extend_from_slice(packet);
        match self.ports.get(usize::from(iif)) {
            Some(Port::Tap(fd)) => fs_write(fd, &self.buffer),
            Some(Port::Peer(index)) => {
                sys::send_frame(self.packet_socket.as_fd(), *index, ethertype, &self.buffer)
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such interface")),
        }
    }

    /// Gives a packet to the kernel as if a local process sent it. Every packet is dropped in the end, so
    /// errors say nothing; counters tell whether it arrived.
    pub fn emit(&self, packet: &[u8]) {
        let flags = MsgFlags::MSG_DONTWAIT;
        if packet.first().is_some_and(|byte| byte >> 4 == 4) {
            if let Some(dst) = packet.get(16..).and_then(|tail| tail.first_chunk::<4>()) {
                let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(*dst), 0));
                let _ = sendto(self.raw4.as_raw_fd(), packet, &to, flags);
            }
        } else if let Some(raw6) = &self.raw6
            && let Some(dst) = packet.get(24..).and_then(|tail| tail.first_chunk::<16>())
        {
            let to = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::from(*dst), 0, 0, 0));
            let _ = sendto(raw6.as_raw_fd(), packet, &to, flags);
        }
    }

    /// The number of the interface with a kernel index.
    pub fn number(&self, index: u32) -> u16 {
        self.numbers.get(&index).copied().unwrap_or(NO_INTERFACE)
    }

    /// How many interfaces there are, `lo` included.
    pub fn interfaces(&self) -> usize {
        self.ports.len()
    }
}

/// Identity of the calling thread's namespace as it is before any [`Namespace::enter`].
pub fn host_identity() -> Result<(u64, u64), Error> {
    identity().map_err(|e| Error::Unsupported(format!("cannot read `/proc/thread-self/ns/net`: {e}")))
}

fn fs_write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    nix::unistd::write(fd, bytes).map(drop).map_err(io::Error::from)
}

fn sysctl(path: &str, value: &str) -> io::Result<()> {
    // Opened without create: a missing entry must be an error, not a try to make a file.
    fs::OpenOptions::new().write(true).open(format!("/proc/sys/net/{path}"))?.write_all(value.as_bytes())
}

/// Refuses names that the batch language of `ip` would take for something else.
fn check(config: &Config) -> Result<(), Error> {
    for name in config
        .interfaces
        .iter()
        .map(|interface| &interface.name)
        .chain(config.routes.iter().map(|route| &route.interface))
    {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/\"'\\#%:".contains(c);
        if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(odd) {
            return Err(Error::Question(format!("`{name}` is not an interface name")));
        }
        if name.starts_with("zzpeer") {
            return Err(Error::Question(format!("interface name `{name}` is reserved")));
        }
    }
    if config.interfaces.iter().any(|interface| interface.name == "lo") {
        return Err(Error::Question("interface `lo` always exists and must not be listed".into()));
    }
    if config.interfaces.len() >= usize::from(NO_INTERFACE) {
        return Err(Error::Question("too many interfaces".into()));
    }
    Ok(())
}

/// Set before interfaces are made, so that they take over the defaults.
const SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/lo/rp_filter", "0"),
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/conf/default/accept_local", "1"),
    ("ipv4/conf/all/route_localnet", "1"),
    ("ipv4/conf/default/route_localnet", "1"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/conf/default/log_martians", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/forwarding", "1"),
    ("ipv4/conf/default/forwarding", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
];
