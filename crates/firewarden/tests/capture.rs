//! Snapshots of network namespaces with real routes and rules: what is answered about them is what the kernel does.
//!
//! Needs root; is skipped with the reason without it, and fails under `CI=true`.

mod common;

use common::namespace::Namespace;
use common::{Folder, Run};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// What became of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connected {
    Yes,
    /// An answer said no.
    Refused,
    /// Nothing came back.
    Silence,
    Unreachable,
}

fn connect(from: &Namespace, to: &str) -> Connected {
    let to: SocketAddr = to.parse().unwrap();
    match from.within(|| TcpStream::connect_timeout(&to, Duration::from_millis(700))) {
        Ok(_) => Connected::Yes,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Connected::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Connected::Silence,
            _ => Connected::Unreachable,
        },
    }
}

const ROUTER_RULES: &str = "\
nft -f - <<'END'
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr 10.1.0.0/24 tcp dport { 7070, 8080, 9090 } accept
    ip saddr 10.9.0.0/24 tcp dport 8080 accept
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 10.1.0.1 tcp dport 80 dnat to 10.2.0.2:8080
  }
}
END";

const SERVER_RULES: &str = "\
nft -f - <<'END'
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp dport 9090 drop
  }
}
END";

/// client 10.1.0.2 — 10.1.0.1 router 10.2.0.1 — 10.2.0.2 server
struct World {
    client: Namespace,
    router: Namespace,
    server: Namespace,
}

impl World {
    fn new() -> Result<World, String> {
        let (client, router, server) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (end, name, number) in [(&client, "lan", 1), (&server, "dmz", 2)] {
            router.shell(&format!(
                "ip link set lo up
                 ip link add {name} type veth peer name eth0 netns {0}
                 ip address add 10.{number}.0.1/24 dev {name}
                 ip address add fd00:{number}::1/64 dev {name} nodad
                 ip link set {name} up",
                end.id()
            ));
            end.shell(&format!(
                "ip link set lo up
                 ip address add 10.{number}.0.2/24 dev eth0
                 ip address add fd00:{number}::2/64 dev eth0 nodad
                 ip link set eth0 up
                 ip route add 10.0.0.0/8 via 10.{number}.0.1
                 ip -6 route add default via fd00:{number}::1"
            ));
        }
        router.shell("sysctl -qw net.ipv4.ip_forward=1");
        router.shell(ROUTER_RULES);
        server.shell(SERVER_RULES);
        Ok(World { client, router, server })
    }

    fn capture(&self, folder: &Folder, more: &[&str]) {
        for (name, namespace) in
            [("client", &self.client), ("router", &self.router), ("server", &self.server)]
        {
            let id = namespace.id();
            let mut arguments = vec!["capture", "--out", "snapshots", "--host", name, "--netns", &id];
            arguments.extend(more);
            folder.run(&arguments).expect(0, &["ruleset.nft", "routes.json", "sockets.txt"]);
        }
    }
}

/// The world, or `None` after saying why there is none.
fn world() -> Option<World> {
    match World::new() {
        Ok(world) => Some(world),
        Err(why) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "network namespaces are needed in CI: {why}"
            );
            eprintln!("skipped, as there are no network namespaces here: {why}");
            None
        }
    }
}

fn trace(folder: &Folder, from: &str, to: &str) -> Run {
    folder.run(&["trace", &format!("tcp {from}:40000 -> {to} ct new"), "snapshots"])
}

#[test]
fn what_is_answered_is_what_passes() {
    let Some(world) = world() else { return };
    let _web = world.server.listen("[::]:8080");
    let _hidden = world.server.listen("0.0.0.0:9090");
    let folder = Folder::with(&[]);
    world.capture(&folder, &[]);
    for (to, expected, words) in [
        ("10.2.0.2:8080", Connected::Yes, &["\ndelivered to server\n"] as &[&str]),
        ("10.1.0.1:80", Connected::Yes, &["delivered to server, as tcp 10.1.0.2:40000 -> 10.2.0.2:8080"]),
        ("10.2.0.2:9090", Connected::Silence, &["dropped by server"]),
        ("10.2.0.2:22", Connected::Silence, &["dropped by router"]),
        ("10.2.0.2:7070", Connected::Refused, &["delivered to server, where nothing listens on tcp/7070"]),
        ("192.0.2.1:80", Connected::Unreachable, &["client has no route to it"]),
        ("10.3.0.9:8080", Connected::Unreachable, &["router has no route to it"]),
    ] {
        assert_eq!(connect(&world.client, to), expected, "{to}");
        trace(&folder, "10.1.0.2", to).expect(0, words);
    }
    let checked = folder.run(&[
        "check",
        "snapshots",
        "--allow",
        "client -> server tcp/8080",
        "--deny",
        "client -> server tcp/22",
        "--deny",
        "client -> server tcp/9090",
    ]);
    // IPv6 isn't switched on: what isn't forwarded isn't there.
    checked.expect(1, &["[fd00:2::2]:8080 is not forwarded by router", "2 pass"]);
    assert_ne!(connect(&world.client, "[fd00:2::2]:8080"), Connected::Yes);
    world.router.shell(
        "sysctl -qw net.ipv6.conf.all.forwarding=1
         nft add rule inet filter forward ip6 saddr fd00:1::2 tcp dport 8080 accept",
    );
    world.capture(&folder, &["--force"]);
    assert_eq!(connect(&world.client, "[fd00:2::2]:8080"), Connected::Yes);
    folder.run(&["check", "snapshots", "--allow", "client -> server tcp/8080"]).expect(0, &["1 pass"]);
    folder
        .run(&["check", "snapshots", "--allow", "10.1.0.2 -> 10.2.0.2 tcp/7070"])
        .expect(0, &["1 pass", "not-listening", "nothing listens on tcp/7070"]);
    folder.run(&["check", "snapshots", "--allow", "client -> server tcp/22"]).expect(1, &["router"]);
    folder.run(&["exposed", "snapshots/server"]).expect(0, &["server"]);
}

#[test]
fn a_way_back_over_another_interface_is_refused() {
    let Some(world) = world() else { return };
    let _web = world.server.listen("0.0.0.0:8080");
    // The client speaks from an address to which the router's route leads elsewhere.
    world.client.shell("ip address add 10.9.0.1/32 dev lo");
    world.client.shell("ip route add 10.2.0.2 via 10.1.0.1 src 10.9.0.1");
    world.router.shell("ip route add 10.9.0.0/24 via 10.2.0.2");
    world.server.shell("ip route add 10.9.0.0/24 via 10.2.0.1");
    world.router.shell("sysctl -qw net.ipv4.conf.lan.rp_filter=1");
    let folder = Folder::with(&[]);
    world.capture(&folder, &[]);
    assert_eq!(connect(&world.client, "10.2.0.2:8080"), Connected::Silence);
    trace(&folder, "10.9.0.1", "10.2.0.2:8080").expect(0, &["dropped by router", "rp_filter"]);
    folder.run(&["check", "snapshots", "--allow", "10.9.0.1 -> server tcp/8080"]).expect(1, &["rp_filter"]);
    // With the right route it passes.
    world.router.shell("ip route replace 10.9.0.0/24 via 10.1.0.2");
    world.capture(&folder, &["--force"]);
    assert_eq!(connect(&world.client, "10.2.0.2:8080"), Connected::Yes);
    trace(&folder, "10.9.0.1", "10.2.0.2:8080").expect(0, &["delivered to server"]);
    folder.run(&["check", "snapshots", "--allow", "10.9.0.1 -> server tcp/8080"]).expect(0, &["1 pass"]);
}

#[test]
fn of_several_equal_ways_each_must_hold() {
    let Some(world) = world() else { return };
    let _web = world.server.listen("0.0.0.0:8080");
    // A second way from the client to the router, which lets nothing through that comes by it.
    world.router.shell(&format!(
        "ip link add lan2 type veth peer name eth1 netns {}
         ip address add 10.4.0.1/24 dev lan2
         ip link set lan2 up
         nft insert rule inet filter forward iifname lan2 drop",
        world.client.id()
    ));
    world.client.shell(
        "ip address add 10.4.0.2/24 dev eth1
         ip link set eth1 up
         ip route add 10.2.0.0/24 nexthop via 10.1.0.1 nexthop via 10.4.0.1",
    );
    let folder = Folder::with(&[]);
    world.capture(&folder, &[]);
    folder
        .run(&["check", "snapshots", "--allow", "10.1.0.2 -> server tcp/8080"])
        .expect(1, &["iifname \"lan2\" drop"]);
}

#[test]
fn a_snapshot_is_not_replaced_unasked_and_can_be_hidden() {
    let Some(world) = world() else { return };
    let folder = Folder::with(&[]);
    world.capture(&folder, &[]);
    let id = world.router.id();
    folder
        .run(&["capture", "--out", "snapshots", "--host", "router", "--netns", &id])
        .expect(2, &["exists already", "--force"]);
    folder
        .run(&["capture", "--out", "hidden", "--host", "router", "--netns", &id, "--anonymize"])
        .expect(0, &["routes.json"]);
    let mut texts = String::new();
    for entry in std::fs::read_dir(folder.path().join("hidden/router")).unwrap() {
        texts += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    for address in ["10.1.0.1", "10.2.0.2", "10.9.0.0", "fd00:1::1"] {
        let ip: IpAddr = address.parse().unwrap();
        assert!(!texts.contains(&ip.to_string()), "{address}");
    }
    // What is exposed has the same shape: the same words but for the addresses.
    let shape = |run: Run| -> Vec<String> {
        assert_eq!(run.code, 0, "{}", run.all());
        let address =
            |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
        let words = run.stdout.split_whitespace();
        let words = words.map(|word| if address(&word) { "ADDRESS" } else { word });
        let mut words: Vec<String> = words.map(|word| word.replace("hidden/", "snapshots/")).collect();
        // Longer addresses break lines elsewhere.
        words.sort_unstable();
        words
    };
    assert_eq!(
        shape(folder.run(&["exposed", "snapshots/router"])),
        shape(folder.run(&["exposed", "hidden/router"]))
    );
    folder
        .run(&["capture", "--netns", "no-such-namespace", "--host", "x"])
        .expect(2, &["cannot enter the network namespace"]);
}
